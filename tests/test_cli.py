"""The command line on real small runs: what it prints, what it writes, how it ends."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from zodc import cli, cli_common, cli_run, phases

# Stands in a patient's cell; no output may hold it.
SECRET = "Ann-Example-1234567"
SMALL = ["--rounds", "4", "--directions", "4", "--rows", "30"]
BUDGET = ["--epsilon", "3", "--delta", "1e-5"]

SCHEMA = """
name = "small ward"
[[column]]
name = "age"
kind = "continuous"
lower = 18
upper = 100
[[column]]
name = "ward"
kind = "categorical"
categories = ["a", "b", "c"]
[[column]]
name = "creatinine"
kind = "continuous"
lower = 0
upper = 50
missing = "indicator"
[[column]]
name = "died"
kind = "binary"
role = "target"
"""

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


def patients(n=200, seed=1):
    rng = np.random.default_rng(seed)
    age = rng.uniform(20, 90, n)
    creatinine = np.where(rng.random(n) < 0.2, np.nan, rng.lognormal(0, 0.4, n))
    died = (rng.random(n) < 1 / (1 + np.exp((60 - age) / 8))).astype(int)
    return pd.DataFrame(
        {"age": age, "ward": rng.choice(["a", "b", "c"], n), "creatinine": creatinine, "died": died}
    )


def followed(n=200, seed=1):
    rng = np.random.default_rng(seed)
    age = rng.uniform(20, 90, n)
    return pd.DataFrame(
        {"age": age, "days": rng.exponential(30000 / age) % 1000, "seen": (rng.random(n) < 0.6).astype(int)}
    )


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("schema.toml").write_text(SCHEMA)
    patients().to_csv("patients.csv", index=False)
    return tmp_path


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


def run(*arguments):
    return CliRunner().invoke(cli.main, [str(a) for a in arguments])


def condense(*more, file="patients.csv", learner="logistic", out="release"):
    return run(
        *["condense", file, "--schema", "schema.toml", "--learner", learner, *BUDGET, *SMALL],
        *["--out", out, *more],
    )


def check_fault(result, code, *words):
    """One line that names the words, and nothing of a patient."""
    assert result.exit_code == code, result.output
    lines = result.stderr.strip().splitlines()
    assert lines[-1].startswith("Error: ")
    if lines[0] != lines[-1]:
        assert lines[0].startswith("Usage: ")
    for word in words:
        assert word in lines[-1]
    assert "Traceback" not in result.output
    assert SECRET not in result.output


def nothing_written(*but):
    assert sorted(os.listdir()) == sorted(["patients.csv", "schema.toml", *but])


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
    for word in ("epsilon", "delta", "rounds", "marginals", "row"):
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


# ---- bad input


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


# ---- terminal, interrupt, faults


def start(here, *more, **streams):
    command = [sys.executable, "-m", "zodc", "condense", "patients.csv", "--schema", "schema.toml"]
    options = ["--learner", "logistic", *BUDGET, "--rounds", "200000", "--out", "release", *more]
    return subprocess.Popen([*command, *options], cwd=here, **streams)


def read_until(terminal, word, seconds=60):
    text, end = "", time.monotonic() + seconds
    while word not in text and time.monotonic() < end:
        text += os.read(terminal, 4096).decode(errors="replace")
    assert word in text
    return text


def test_progress_on_a_terminal_then_interrupt_leaves_the_journal_alone(here):
    ours, theirs = pty.openpty()
    process = start(here, stdout=subprocess.PIPE, stderr=theirs, stdin=subprocess.DEVNULL)
    os.close(theirs)
    read_until(ours, "/200000")
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    text = read_until(ours, "Error: interrupted; what was answered is kept in")
    stdout, _ = process.communicate(timeout=20)
    assert time.monotonic() - asked < 5
    assert "left" in text
    assert process.returncode == 130
    assert stdout == b""
    assert "Traceback" not in text
    nothing_written("release.journal")
    os.close(ours)


@pytest.mark.parametrize(("fault", "code"), [(KeyboardInterrupt(), 130), (RuntimeError(SECRET), 1)])
def test_the_paid_phase_is_saved_when_the_free_one_ends_early(here, monkeypatch, fault, code):
    def fail(*_, **__):
        raise fault

    monkeypatch.setattr(phases, "public", fail)
    result = condense(learner="tree")
    check_fault(result, code, "paid for and saved in 'release'", "finish with zodc recondense")
    assert run("verify", "release").exit_code == 0
    monkeypatch.undo()
    os.chdir(here)
    assert run("recondense", "release", "--learner", "tree", "--out", "again").exit_code == 0


def test_a_release_that_cannot_be_saved_there_is_saved_elsewhere(here, monkeypatch, tmp_path_factory):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("elsewhere")))
    monkeypatch.setattr(cli_run.Release, "save", refuse_once(cli_run.Release.save, Path("release")))
    result = condense()
    check_fault(result, 1, "No space left", "paid for and saved in")
    place = result.stderr.split("saved in '")[1].split("'")[0]
    assert run("verify", place).exit_code == 0


def refuse_once(save, place):
    def refusing(release, path, **options):
        if path == place:
            raise OSError(28, "No space left on device", str(path))
        return save(release, path, **options)

    return refusing


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
    assert "RuntimeError in test_cli.py" in fault.message


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
