"""What machines and scripts rely on: JSON, exit codes, silence, completion, and studies in one file."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from cohorts import CLASSES, patients
from zodc import cli
from zodc.cli_common import json_option, tell

BUDGET = ["--epsilon", "3", "--delta", "1e-5"]
PLAN = ["plan", "schema.toml", "--learner", "tree"]
SMALL = ["--rounds", "4", "--directions", "4", "--rows", "30"]
STUDY = """\
[condense]
file = "patients.csv"
schema = "schema.toml"
learner = "logistic"
epsilon = 3
delta = 1e-5
rounds = 4
directions = 4
rows = 30
out = "release"

[[recondense]]
learner = { tree = 2, logistic = 1 }
rows = 20
seed = 1
out = "smaller"
json = true

[evaluate]
holdout = "held_out.csv"
bootstrap = 5
"""


def run(*arguments):
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


def values(*arguments):
    """Run, and read the whole of standard output as JSON."""
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout, parse_constant=pytest.fail)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    CLASSES.save("schema.toml")
    patients().to_csv("patients.csv", index=False)
    patients(200, seed=1).to_csv("held_out.csv", index=False)
    return tmp_path


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    folder = tmp_path_factory.mktemp("released")
    CLASSES.save(folder / "schema.toml")
    patients().to_csv(folder / "patients.csv", index=False)
    cohort = [folder / "patients.csv", "--schema", folder / "schema.toml", "--learner", "logistic"]
    result = run("condense", *cohort, *BUDGET, *SMALL, "--out", folder / "release")
    assert result.exit_code == 0, result.output
    return folder / "release"


# ---- JSON


def test_json_of_plan_condense_recondense_evaluate_verify(here):
    plan = values("plan", "schema.toml", "--learner", "logistic", *BUDGET, *SMALL, "--json")
    assert plan["epsilon"] == 3 and plan["charges"]
    cohort = ["patients.csv", "--schema", "schema.toml", "--learner", "logistic"]
    made = values("condense", *cohort, *BUDGET, *SMALL, "--out", "release", "--json")
    assert (made["release"], made["rows"], made["private"], made["unit"]) == ("release", 30, True, "row")
    assert 0 < made["spent_epsilon"] <= made["epsilon"] == 3 and made["ledger"] is None
    more = values("recondense", "release", "--learner", "tree", "--rows", "20", "--out", "more", "--json")
    assert (more["release"], more["rows"], more["spent_epsilon"]) == ("more", 20, made["spent_epsilon"])
    scores = values("evaluate", "release", "--holdout", "held_out.csv", "--bootstrap", "5", "--json")
    assert scores["private"] is False
    assert {"model", "metric", "estimate", "lower", "upper", "rows"} == set(scores["scores"][0])
    verified = values("verify", "release", "--json")
    assert verified["verified"] is True and verified["faults"] == []
    assert verified["recomputed"]["rdp"] > 0


def test_json_of_a_ledger(here):
    run("ledger", "create", "ward.ledger", "--cohort", "ward", "--epsilon", "5", "--delta", "1e-5")
    cohort = ["patients.csv", "--schema", "schema.toml", "--learner", "logistic", "--ledger", "ward.ledger"]
    made = values("condense", *cohort, *BUDGET, *SMALL, "--out", "release", "--json")
    shown = values("ledger", "show", "ward.ledger", "--json")
    assert (shown["cohort"], shown["epsilon"], len(shown["entries"])) == ("ward", 5, 1)
    assert shown["spent_epsilon"] == made["ledger"]["spent_epsilon"] == shown["entries"][0]["total_epsilon"]
    assert shown["left_epsilon"] > 0


def test_json_of_what_does_not_hold_keeps_the_exit_code(released, here):
    shutil.copytree(released, "release")
    with Path("release/condensed.csv").open("a") as file:
        file.write("1\n")
    result = run("verify", "release", "--json")
    assert result.exit_code == 4
    assert json.loads(result.stdout)["verified"] is False
    result = run("schema", "check", "held_out.csv", "--schema", "schema.toml", "--json")
    assert json.loads(result.stdout)["fits"] is True
    assert json.loads(result.stdout)["outcome"].startswith("target: 'died', classes '0', '1'")
    Path("held_out.csv").write_text("age,stage\n1,1\n")
    result = run("schema", "check", "held_out.csv", "--schema", "schema.toml", "--json")
    assert result.exit_code == 4 and "'sex'" in json.loads(result.stdout)["faults"][0]


def test_json_has_no_number_that_is_none():
    @click.command()
    @json_option
    def command() -> None:
        tell("text", {"a": [float("nan"), 1.5], "b": {"c": float("-inf")}})

    result = CliRunner().invoke(command, ["--json"])
    assert json.loads(result.stdout, parse_constant=pytest.fail) == {"a": [None, 1.5], "b": {"c": None}}
    assert CliRunner().invoke(command).stdout == "text\n"


# ---- Silence


def test_quiet_commands_print_faults_only(here):
    cohort = ["patients.csv", "--schema", "schema.toml", "--learner", "logistic"]
    made = run("condense", *cohort, *BUDGET, *SMALL, "--out", "release", "--quiet")
    assert (made.exit_code, made.output) == (0, "")
    assert run("verify", "release", "--quiet").output == ""
    again = run("condense", *cohort, *BUDGET, *SMALL, "--out", "release", "--quiet")
    assert again.exit_code == 2 and "exists" in again.stderr


def _in_terminal(arguments, **environment):
    """Run zodc in a terminal; give what it shows, escapes and all."""
    parent, child = pty.openpty()
    env = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "COLUMNS": "80", **environment}
    run = [sys.executable, "-m", "zodc", *map(str, arguments)]
    with subprocess.Popen(run, stdin=child, stdout=child, stderr=child, env=env) as process:
        os.close(child)
        shown = b""
        while True:
            try:
                part = os.read(parent, 65536)
            except OSError:
                break
            if not part:
                break
            shown += part
        assert process.wait(timeout=120) == 0
    os.close(parent)
    return shown.decode()


def test_colour_is_for_terminals_that_want_it(released, here):
    command = ["recondense", released, "--learner", "tree", "--rows", "20"]
    colour = re.compile(r"\x1b\[[0-9;]*\b(3[0-8]|9[0-7])\b")
    assert colour.search(_in_terminal([*command, "--out", here / "a"]))
    assert not colour.search(_in_terminal([*command, "--out", here / "b"], NO_COLOR="1"))
    command = ["evaluate", released, "--holdout", here / "held_out.csv", "--bootstrap", "5"]
    run = [sys.executable, "-m", "zodc", *map(str, command)]
    piped = subprocess.run(run, capture_output=True, check=True)
    assert b"\x1b" not in piped.stdout and piped.stderr == b""
    assert max(map(len, piped.stdout.decode().splitlines())) <= 80


def test_a_quiet_run_shows_no_bar(released, here):
    command = ["recondense", released, "--learner", "tree", "--rows", "20"]
    assert "rounds, free" in _in_terminal([*command, "--out", here / "a"])
    assert _in_terminal([*command, "--out", here / "b", "--quiet"]) == ""


# ---- A study in one file


def test_a_study_runs_from_one_file(here, monkeypatch):
    (here / "study.toml").write_text(STUDY)
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    result = run("run", here / "study.toml")
    assert result.exit_code == 0, result.output
    assert (here / "release" / "manifest.json").is_file() and (here / "smaller" / "manifest.json").is_file()
    assert not list((here / "elsewhere").iterdir())
    first, rest = result.stdout.split("\n", 1)
    assert first.startswith("release: 30 synthetic rows")
    made, end = json.JSONDecoder().raw_decode(rest)
    assert made["rows"] == 20
    assert "AUROC" in rest[end:] and "{" not in rest[end:]
    monkeypatch.chdir(here)
    weights = json.loads(Path("smaller/manifest.json").read_text())
    assert "tree" in json.dumps(weights) and "logistic" in json.dumps(weights)


def test_a_quiet_study(here):
    Path("study.toml").write_text(STUDY.replace("json = true\n", "").split("[evaluate]")[0])
    result = run("run", "study.toml", "--quiet")
    assert (result.exit_code, result.output) == (0, "")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("epsilon = 3", "epsilonn = 3", ["[condense]", "'epsilonn'", "epsilon"]),
        ("[evaluate]", "[evalute]", ["[evalute]", "[evaluate]"]),
        ("[condense]", "[[condense]]", ["one table [condense]"]),
        ("epsilon = 3\n", "", ["--epsilon"]),
        ("epsilon = 3", "epsilon = true", ["'epsilon'", "number"]),
        ("epsilon = 3", 'epsilon = "much"', ["--epsilon"]),
        ("json = true", "json = 1", ["'json'", "true or false"]),
        ("held_out.csv", "none.csv", ["none.csv"]),
        ('out = "smaller"', 'out = "release"', ["own out"]),
        ('out = "smaller"', 'out = "taken"', ["'taken'"]),
        ("rows = 20", "rows = [", ["not a TOML file"]),
        ("seed = 1", "seed = 2020-01-01", ["'seed'"]),
        ('learner = "logistic"', 'learner = "forest"', ["forest"]),
        ('file = "patients.csv"', 'query = "SELECT 1"', ["--database"]),
        ('file = "patients.csv"\n', "", ["FILE"]),
    ],
)
def test_a_study_with_a_fault_spends_nothing(old, new, words, here):
    Path("taken").mkdir()
    assert old in STUDY
    Path("study.toml").write_text(STUDY.replace(old, new, 1))
    result = run("run", "study.toml")
    assert result.exit_code == 2, result.output
    assert all(word in result.stderr for word in words), result.stderr
    assert not Path("release").exists() and not Path("smaller").exists()


@pytest.mark.parametrize(
    ("old", "new", "code", "words"),
    [
        ("learner = { tree = 2, logistic = 1 }", 'learner = "cox"', 2, ["'--learner'", "classification"]),
        ("[evaluate]\n", '[evaluate]\nreport = "r.html"\nby = ["bone"]\n', 4, ["'bone'", "no feature"]),
    ],
)
def test_a_later_step_that_does_not_fit_the_schema_is_told_first(old, new, code, words, here):
    assert old in STUDY
    Path("study.toml").write_text(STUDY.replace(old, new, 1))
    result = run("run", "study.toml")
    assert result.exit_code == code, result.output
    assert all(word in result.stderr for word in words), result.stderr
    assert not Path("release").exists()


# ---- Completion


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_scripts(shell, tmp_path):
    script = run("completion", shell)
    assert script.exit_code == 0 and "_ZODC_COMPLETE" in script.stdout
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "script").write_text(script.stdout)
    subprocess.run([shell, "-n", tmp_path / "script"], check=True)


def test_bash_completes_commands_and_options():
    def completed(*words):
        environment = os.environ | {
            "_ZODC_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(("zodc", *words)),
            "COMP_CWORD": str(len(words)),
        }
        code = "from zodc.cli import main; main(prog_name='zodc')"
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        return [line.partition(",")[2] for line in done.stdout.splitlines()]

    assert completed("con") == ["condense"]
    assert completed("schema", "") == ["check", "init", "json-schema"]
    assert "--epsilon" in completed("condense", "--eps")


# ---- Exit codes and remedies


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["plan", "none.toml", "--learner", "tree", *BUDGET], 2, ["none.toml"]),
        (
            ["plan", "schema.toml", "--learner", "tree", "--epsilon", "-1", "--delta", "1e-5"],
            2,
            ["--epsilon"],
        ),
        (["plan", "schema.toml", "--learner", "tree", "--epsilon", "1e-9", "--delta", "1e-9"], 3, []),
        (["schema", "check", "patients.csv", "--schema", "broken.toml"], 4, ["line 1"]),
        (["schema", "init"], 2, ["--dictionary"]),
        (["schema", "init", "--dictionary", "patients.csv"], 4, ["REDCap"]),
        (["schema", "init", "patients.csv", "--units", "x"], 2, ["--units"]),
        (["verify", "."], 4, []),
        (["nonsense"], 2, ["nonsense"]),
        (["completion", "fish"], 2, ["bash"]),
    ],
)
def test_exit_codes(arguments, code, words, here):
    Path("broken.toml").write_text("[[[")
    result = run(*arguments)
    assert result.exit_code == code, result.output
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: ") and all(word in last for word in words), last
