"""Runs on the command line that end early: interrupted, without space, failing after they are paid for."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from command_line import (
    BUDGET,
    SECRET,
    check_fault,
    condense,
    nothing_written,
    run,
    small_ward,  # noqa: F401
)
from zodc import cli_run, phases


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
    process.send_signal(signal.SIGINT)
    text = read_until(ours, "Error: interrupted; what was answered is kept in")
    stdout, _ = process.communicate(timeout=20)
    assert "left" in text
    assert process.returncode == 130
    assert stdout == b""
    assert "Traceback" not in text
    nothing_written("release.journal")
    os.close(ours)


class Panic(BaseException):
    """Stand for a panic of Rust, which is no Exception."""


@pytest.mark.parametrize(
    ("fault", "code"), [(KeyboardInterrupt(), 130), (RuntimeError(SECRET), 1), (Panic(SECRET), 1)]
)
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
