"""Wrong options, files and schemas on the command line: one line says what is wrong, and quotes no cell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import (
    BUDGET,
    SCHEMA,
    SECRET,
    check_fault,
    condense,
    nothing_written,
    patients,
    run,
    small_ward,  # noqa: F401
)
from zodc import cli_common

# ---- options and files


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--epsilon", "0"], ["--epsilon"]),
        (["--epsilon", "-1"], ["epsilon"]),
        (["--epsilon", "nan"], ["epsilon"]),
        (["--epsilon", "inf"], ["epsilon"]),
        (["--epsilon", "one"], ["epsilon", "one"]),
        (["--delta", "1"], ["delta"]),
        (["--delta", "0"], ["delta"]),
        (["--rows", "0"], ["--rows", "0"]),
        (["--rounds", "0"], ["--rounds", "0"]),
        (["--directions", "0"], ["--directions", "0"]),
        (["--sampling-rate", "2"], ["--sampling-rate"]),
        (["--learner", "oak"], ["oak", "tree", "logistic"]),
        (["--learner", "logistic"], ["twice"]),
        (["--learner", "any=2"], ["--learner", "'any' alone"]),
        (["--learner", "tree=much"], ["tree", "weight"]),
        (["--learner", "tree=0"], ["weight"]),
        (["--learner", "cox"], ["cox"]),
        (["--mode", "fast"], ["--mode", "direct"]),
    ],
)
def test_wrong_options_end_with_2(here, options, words):
    result = condense(*options)
    check_fault(result, 2, *words)
    nothing_written()


@pytest.mark.parametrize(
    "command", [["condense", "gone.csv"], ["schema", "init", "gone.csv"], ["plan", "gone.toml"]]
)
def test_missing_file(here, command):
    check_fault(run(*command), 2, "gone", "does not exist")


def test_missing_schema(here):
    result = run("condense", "patients.csv", "--learner", "tree", *BUDGET, "--out", "release")
    check_fault(result, 2, "--schema")


def test_other_kind_of_file(here):
    Path("patients.xlsx").write_text("x")
    check_fault(condense(file="patients.xlsx"), 4, "csv", "parquet")


@pytest.mark.parametrize("text", ["", "age,ward,creatinine,died\n"])
def test_empty_file(here, text):
    Path("patients.csv").write_text(text)
    check_fault(condense(), 4, "patients.csv" if not text else "row")
    nothing_written()


def test_file_that_is_not_what_its_name_says(here):
    Path("patients.parquet").write_text(f"{SECRET}\n")
    check_fault(condense(file="patients.parquet"), 4, "patients.parquet")
    nothing_written("patients.parquet")


def test_ragged_csv(here):
    Path("patients.csv").write_text(f"age,ward,creatinine,died\n50,a,1,0\n{SECRET},a,1,0,9,9\n")
    check_fault(condense(), 4, "patients.csv")
    nothing_written()


def test_budget_too_small_ends_with_3(here):
    check_fault(condense("--epsilon", "1e-9", "--delta", "1e-12"), 3, "budget")
    nothing_written()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop(columns="age"), ["age"]),
        (lambda t: t.assign(name=SECRET), ["name", "ignore"]),
        (lambda t: t.assign(age=SECRET), ["age"]),
    ],
)
def test_schema_and_data_disagree_ends_with_4(here, change, words):
    change(patients()).to_csv("patients.csv", index=False)
    check_fault(condense(), 4, *words)
    nothing_written()


def test_duplicated_column(here):
    text = Path("patients.csv").read_text().replace("ward", "age", 1)
    Path("patients.csv").write_text(text)
    check_fault(condense(), 4, "age")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("upper = 100", "upper = 10", ["age", "lower", "upper"]),
        ("upper = 100", "upper = inf", ["age", "finite"]),
        ("upper = 100", "", ["age", "upper"]),
        ("upper = 100", "uper = 100", ["uper"]),
        ('categories = ["a", "b", "c"]', "", ["ward", "categories"]),
        ('role = "target"', "", ["target"]),
        ("[[column]]", "[[column", []),
    ],
)
def test_bad_schema_ends_with_4(here, old, new, words):
    Path("schema.toml").write_text(SCHEMA.replace(old, new))
    check_fault(condense(), 4, *words)
    nothing_written()


@pytest.mark.parametrize(
    "table",
    [
        patients(1),
        patients(10),
        pd.concat([patients(50)] * 3),
        patients().assign(age=50),
        patients().assign(creatinine=np.nan),
        patients().assign(died=0),
        patients().assign(died=np.nan),
        patients().assign(ward="unknown"),
        patients().assign(age=lambda t: t["age"].mask(t.index == 3, np.inf).mask(t.index == 4, 1e308)),
        patients().astype({"age": object}).assign(age=lambda t: t["age"].mask(t.index == 3, SECRET)),
    ],
    ids=[
        *["one row", "few rows", "duplicates", "constant", "column missing", "class absent"],
        *["no outcome", "unknown category", "infinite cells", "text in a cell"],
    ],
)
def test_what_concerns_patients_is_silent(here, table):
    table.to_csv("patients.csv", index=False)
    result = condense()
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert "30 synthetic rows" in result.stdout
    assert SECRET not in result.stdout


# ---- faults that nobody foresaw


@pytest.mark.parametrize("kind", [ValueError, UnicodeError, OSError])
def test_texts_of_others_are_withheld(kind):
    """Also of pandas and NumPy, whose faults are ValueErrors that quote cells."""
    try:
        raise kind(SECRET)
    except kind as error:
        fault = cli_common.as_fault(error)
    assert SECRET not in fault.message and kind.__name__ in fault.message


def test_unexpected_fault_withholds_its_text():
    try:
        raise RuntimeError(SECRET)
    except RuntimeError as error:
        fault = cli_common.as_fault(error)
    assert fault.exit_code == 1
    assert SECRET not in fault.message
    assert "RuntimeError in test_cli_faults.py" in fault.message
