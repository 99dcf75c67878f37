"""A run that is cut short on the command line: --resume goes on, and a saved release ends its journal."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cohorts import CLASSES, patients
from command_line import run
from journals import ROUNDS, records
from zodc import phases

SMALL = ["--learner", "logistic", "--epsilon", "1", "--delta", "1e-5", "--directions", "4", "--rows", "30"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    CLASSES.save("schema.toml")
    patients().to_csv("patients.csv", index=False)
    return tmp_path


def condense(*more: str, rounds: int = ROUNDS):
    command = ["condense", "patients.csv", "--schema", "schema.toml", *SMALL, "--rounds", str(rounds)]
    return run(*command, "--out", "release", *more)


def wait_for(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_the_command_line_removes_the_journal_of_a_saved_release(here):
    result = condense()
    assert result.exit_code == 0, result.output
    assert not Path("release.journal").exists()
    result = condense("--resume", "--overwrite")
    assert result.exit_code == 2 and "leave out --resume" in result.output


def test_an_interrupted_run_goes_on(here, monkeypatch):
    command = [sys.executable, "-m", "zodc", "condense", "patients.csv", "--schema", "schema.toml"]
    arguments = [*command, *SMALL, "--rounds", "3000", "--out", "release"]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: Path("release.journal").exists() and len(records(Path("release.journal"))["answer"]) > 5)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "kept in 'release.journal'; go on with --resume" in stderr
    result = condense(rounds=3000)
    assert result.exit_code == 2 and "finish it with --resume" in result.output
    result = condense("--resume", rounds=2999)
    assert result.exit_code == 2 and "'rounds'" in result.output and Path("release.journal").exists()
    Path("release.journal").write_text("other")
    result = condense("--resume", rounds=3000)
    assert result.exit_code == 4 and "journal" in result.output


def test_the_journal_goes_when_the_paid_phase_is_saved(here, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError

    monkeypatch.setattr(phases, "public", fail)
    result = condense("--learner", "tree")
    assert result.exit_code == 1 and "finish with zodc recondense" in result.output
    assert Path("release").exists() and not Path("release.journal").exists()
