"""The command line on real small runs: what it prints, what it writes, how it ends."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import (
    BUDGET,
    SCHEMA,
    SECRET,
    SMALL,
    check_fault,
    condense,
    nothing_written,
    patients,
    run,
    small_ward,  # noqa: F401
)

SURVIVAL = """
[[column]]
name = "age"
kind = "continuous"
lower = 18
upper = 100
[[column]]
name = "days"
kind = "continuous"
role = "time"
lower = 0
upper = 1000
[[column]]
name = "seen"
kind = "binary"
role = "event"
"""


def followed(n=200, seed=1):
    rng = np.random.default_rng(seed)
    age = rng.uniform(20, 90, n)
    return pd.DataFrame(
        {"age": age, "days": rng.exponential(30000 / age) % 1000, "seen": (rng.random(n) < 0.6).astype(int)}
    )


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """Give a release, made once, that tests read only."""
    folder = tmp_path_factory.mktemp("released")
    (folder / "schema.toml").write_text(SCHEMA)
    patients().to_csv(folder / "patients.csv", index=False)
    result = run(
        *["condense", str(folder / "patients.csv"), "--schema", str(folder / "schema.toml")],
        *["--learner", "logistic", *BUDGET, *SMALL, "--out", str(folder / "release")],
    )
    assert result.exit_code == 0, result.output
    return folder / "release"


# ---- schema init and plan


def test_schema_init_drafts_names_and_types_only(here):
    table = patients(50).assign(name=SECRET, age=77.125)
    table.to_csv("patients.csv", index=False)
    table.to_parquet("patients.parquet")
    drafts = [run("schema", "init", file) for file in ("patients.csv", "patients.parquet")]
    for draft in drafts:
        assert draft.exit_code == 0
        assert draft.stderr == ""
        for name in ("age", "ward", "creatinine", "died", "name"):
            assert f'name = "{name}"' in draft.stdout
        assert SECRET not in draft.stdout
        assert "77.1" not in draft.stdout
    Path("schema.toml").write_text(drafts[0].stdout)
    check_fault(run("plan", "schema.toml", "--learner", "tree", *BUDGET), 4, "age", "not confirmed")


def test_plan_says_what_is_spent_and_reads_no_data(here):
    os.remove("patients.csv")
    result = run("plan", "schema.toml", "--learner", "logistic", *BUDGET, *SMALL)
    assert result.exit_code == 0, result.output
    for word in ("epsilon", "delta", "rounds", "marginals", "row", "target: '"):
        assert word in result.stdout.lower()
    assert result.stderr == ""
    assert max(map(len, result.stdout.splitlines())) <= 80


@pytest.mark.parametrize("command", ["plan", "condense"])
@pytest.mark.parametrize("missing", ["--epsilon", "--delta"])
def test_the_budget_has_no_default(here, command, missing):
    options = {"--epsilon": "1", "--delta": "1e-5"}
    given = [text for name in options if name != missing for text in (name, options[name])]
    first = ["plan", "schema.toml"]
    if command == "condense":
        first = ["condense", "patients.csv", "--schema", "schema.toml", "--out", "release"]
    check_fault(run(*first, *given), 2, missing)


# ---- a whole life


def test_condense_evaluate_verify_recondense(here):
    result = condense()
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert "release" in result.stdout
    assert {"condensed.csv", "condensed.parquet", "manifest.json"} <= set(os.listdir("release"))
    rows = pd.read_csv("release/condensed.csv")
    assert list(rows.columns) == ["age", "ward", "creatinine", "creatinine_missing", "died"]
    assert len(rows) == 30
    assert rows["age"].between(18, 100).all()
    assert rows["ward"].isin(["a", "b", "c"]).all()

    result = run("verify", "release")
    assert result.exit_code == 0, result.output

    patients(300, seed=2).to_parquet("holdout.parquet")
    result = run("evaluate", "release", "--holdout", "holdout.parquet", "--bootstrap", "20")
    assert result.exit_code == 0, result.output
    for word in ("AUROC", "AUPRC", "Brier", "tree", "forest", "logistic", "not private"):
        assert word in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80

    result = run("recondense", "release", "--learner", "tree", "--rows", "25", "--out", "again")
    assert result.exit_code == 0, result.output
    assert len(pd.read_csv("again/condensed.csv")) == 25
    assert run("verify", "again").exit_code == 0


def test_survival_from_parquet(here):
    Path("schema.toml").write_text(SURVIVAL)
    followed().to_parquet("patients.parquet")
    result = condense(file="patients.parquet", learner="cox")
    assert result.exit_code == 0, result.output
    followed(300, seed=2).to_csv("holdout.csv", index=False)
    result = run("evaluate", "release", "--holdout", "holdout.csv", "--bootstrap", "20", "--seed", "1")
    assert result.exit_code == 0, result.output
    assert "C-index" in result.stdout
    assert "integrated Brier" in result.stdout
    result = run("recondense", "release", "--learner", "cox", "--rows", "25", "--out", "again")
    assert result.exit_code == 0, result.output
    rows = pd.read_csv("again/condensed.csv")
    assert len(rows) == 25 and list(rows.columns) == list(pd.read_csv("release/condensed.csv").columns)
    assert run("verify", "again").exit_code == 0


def test_weighted_mixture_and_direct_mode(here):
    result = condense("--learner", "tree=2", "--mode", "direct")
    assert result.exit_code == 0, result.output


# ---- the output folder


def test_existing_folder_is_refused_before_the_run_and_kept(here):
    Path("release").mkdir()
    Path("release/mine.txt").write_text("keep")
    check_fault(condense(), 2, "--out", "release", "--overwrite")
    assert os.listdir("release") == ["mine.txt"]
    nothing_written("release")


def test_overwrite_leaves_alone_what_is_not_a_release(here):
    Path("release").mkdir()
    Path("release/mine.txt").write_text("keep")
    check_fault(condense("--overwrite"), 2, "--out", "not a release")
    assert os.listdir("release") == ["mine.txt"]


def test_overwrite_replaces_the_folder(here):
    assert condense().exit_code == 0
    first = Path("release/manifest.json").read_text()
    result = condense("--overwrite")
    assert result.exit_code == 0, result.output
    assert Path("release/manifest.json").read_text() != first
    assert run("verify", "release").exit_code == 0
    nothing_written("release")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that even root cannot write")
def test_unwritable_folder_is_refused_before_the_run(here):
    check_fault(condense(out="/proc/zodc-release"), 2, "--out", "/proc", "another folder")
    nothing_written()


def test_folder_below_a_file_is_refused(here):
    check_fault(condense(out="patients.csv/release"), 2, "--out")
    nothing_written()


def test_new_parents_are_made(here):
    assert condense(out="deep/down/release").exit_code == 0
    assert Path("deep/down/release/manifest.json").exists()


# ---- recondense, evaluate, verify


def test_recondense_wants_a_release(here, released):
    Path("empty").mkdir()
    check_fault(run("recondense", "empty", "--learner", "tree", "--out", "x"), 4, "manifest.json")
    check_fault(run("recondense", "gone", "--learner", "tree", "--out", "x"), 2, "gone")
    check_fault(run("recondense", released, "--learner", "tree", "--out", released), 2, "--overwrite")
    check_fault(run("recondense", released, "--learner", "cox", "--out", "x"), 2, "cox")
    check_fault(run("recondense", released, "--learner", "tree", "--rows", "0", "--out", "x"), 2, "rows")
    nothing_written("empty")


def test_weigh_writes_weighted_rows(here, released):
    result = run("weigh", released, "--rows", "40", "--out", "rows.csv", "--seed", "1")
    assert result.exit_code == 0 and "40 weighted rows" in result.stdout
    table = pd.read_csv("rows.csv")
    assert len(table) == 40 and table["row_weight"].mean() == pytest.approx(1.0)
    check_fault(run("weigh", released, "--out", "rows.csv"), 2, "exists")
    check_fault(run("weigh", released, "--rows", "1", "--out", "x.csv"), 2, "rows")
    nothing_written("rows.csv")


def test_evaluate_wants_rows_of_both_classes(here, released):
    patients().assign(died=0).to_csv("holdout.csv", index=False)
    check_fault(run("evaluate", released, "--holdout", "holdout.csv"), 4, "died", "one class")
    patients().drop(columns="age").to_csv("holdout.csv", index=False)
    check_fault(run("evaluate", released, "--holdout", "holdout.csv"), 4, "age")
    patients().to_csv("holdout.csv", index=False)
    check_fault(run("evaluate", released, "--holdout", "holdout.csv", "--bootstrap", "-1"), 2, "--bootstrap")


def copy_of(released):
    folder = Path("copy")
    folder.mkdir()
    for file in released.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def test_verify_notices_changed_rows(here, released):
    folder = copy_of(released)
    text = (folder / "condensed.csv").read_text()
    (folder / "condensed.csv").write_text(text + text.splitlines()[-1] + "\n")
    check_fault(run("verify", folder), 4, "condensed.csv")
    (folder / "condensed.csv").unlink()
    check_fault(run("verify", folder), 4, "condensed.csv")


def test_verify_notices_a_claim_that_is_too_low(here, released):
    folder = copy_of(released)
    manifest = json.loads((folder / "manifest.json").read_text())
    lowered = json.dumps(manifest).replace('"epsilon": 3.0', '"epsilon": 0.5')
    (folder / "manifest.json").write_text(lowered)
    check_fault(run("verify", folder), 3, "more than it claims")


# ---- help


def test_help_of_every_command_fits_a_terminal():
    for command in (
        [],
        ["schema", "init"],
        ["plan"],
        ["condense"],
        ["recondense"],
        ["evaluate"],
        ["verify"],
        ["demo"],
    ):
        result = run(*command, "--help")
        assert result.exit_code == 0
        assert max(map(len, result.output.splitlines())) <= 80
    assert run("--version").output.startswith("zodc")
