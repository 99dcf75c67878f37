"""Runs that are cut short and go on: killed at random, without space, with other options, with a ledger."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zodc
from cohorts import BUDGET, CLASSES, patients, quick
from journals import QUESTIONS, ROUNDS, condenser, records
from zodc import Condenser, JournalError
from zodc._zodc import Cohort
from zodc.frames import encode
from zodc.schema import Column, Schema


def cut(path: Path, lines: int) -> None:
    """Leave the journal as it was after so many lines."""
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:lines]))


def latents(fitted: Condenser) -> np.ndarray:
    return fitted.release_.rows.latents


def other_people() -> object:
    return patients(3, seed=99)


@pytest.mark.parametrize("mode", ["two_phase", "direct"])
def test_check_13_a_whole_journal_gives_the_same_release_and_asks_nobody(tmp_path, mode):
    from sklearn.naive_bayes import GaussianNB

    options = {} if mode == "two_phase" else {"learner": GaussianNB(), "mode": "direct"}
    journal = tmp_path / "run.journal"
    first = condenser(**options).fit(patients(), journal=journal)
    text = journal.read_text()
    assert journal.stat().st_mode & 0o777 == 0o600
    assert records(journal) == {
        "intent": [str(i) for i in range(QUESTIONS)],
        "answer": [str(i) for i in range(QUESTIONS)],
    }
    # Were anybody asked, other people would answer otherwise.
    again = condenser(**options).fit(other_people(), journal=journal, resume=True)
    assert np.array_equal(latents(first), latents(again))
    assert first.release_.marginals == again.release_.marginals
    assert journal.read_text() == text


def test_check_13_the_journal_holds_no_seed_but_the_public_one_and_no_exact_sum(tmp_path):
    """With seeded noise the exact sums are known: none stands in the file."""
    journal = tmp_path / "run.journal"
    seeded = Condenser._with_test_noise(
        5, CLASSES, learner="logistic", n_rows=20, recipe=quick(rounds=ROUNDS), random_state=3, **BUDGET
    )
    seeded.fit(patients(), journal=journal)
    header, *lines = journal.read_text().splitlines()
    assert "NOT-PRIVATE" in header
    declared = json.loads(header.split(" ", 4)[4])
    assert set(declared) == {"run_id", "seed", "declared"} and declared["seed"] == 3
    assert all(re.fullmatch(r"[0-9a-f]{8} (intent \d+ \w+|answer \d+ [0-9a-f]+)", line) for line in lines)
    with pytest.raises(JournalError, match="not from the same source"):
        condenser(random_state=3).fit(patients(), journal=journal, resume=True)


def test_check_33_a_round_without_an_answer_is_lost_and_not_asked_again(tmp_path):
    journal = tmp_path / "run.journal"
    condenser().fit(patients(), journal=journal)
    # Header, then two lines a question: marginals 0 and 1, rounds 2 to 7; cut after the intent of 4.
    cut(journal, 1 + 2 * 4 + 1)
    done = []
    condenser().fit(
        patients(), journal=journal, resume=True, progress=lambda phase, at, of: done.append((phase, at, of))
    )
    found = records(journal)
    assert found["lost"] == ["4"] and len(found["answer"]) == QUESTIONS - 1
    assert sorted(found["answer"] + found["lost"], key=int) == [str(i) for i in range(QUESTIONS)]
    assert ("private", ROUNDS, ROUNDS) in done


def test_marginals_without_an_answer_need_a_new_run(tmp_path):
    journal = tmp_path / "run.journal"
    condenser().fit(patients(), journal=journal)
    cut(journal, 2)
    with pytest.raises(JournalError, match=r"marginals .*lost; begin a new run.*stays spent"):
        condenser().fit(patients(), journal=journal, resume=True)


def test_a_wrong_seed_lets_the_journal_go(tmp_path):
    journal = tmp_path / "run.journal"
    condenser(random_state=3).fit(patients(), journal=journal)
    with pytest.raises(ValueError, match="'random_state' option") as kept:
        condenser(random_state=-1).fit(patients(), journal=journal, resume=True)
    condenser(random_state=3).fit(patients(), journal=journal, resume=True)
    assert kept.value is not None  # its traceback held the lock


def test_a_journal_is_never_overwritten(tmp_path):
    journal = tmp_path / "run.journal"
    condenser().fit(patients(), journal=journal)
    text = journal.read_text()
    with pytest.raises(FileExistsError, match="paid for: resume it"):
        condenser().fit(patients(), journal=journal)
    assert journal.read_text() == text
    with pytest.raises(ValueError, match=r"'resume' option must come with a journal"):
        condenser().fit(patients(), resume=True)
    with pytest.raises(FileNotFoundError):
        condenser().fit(patients(), journal=tmp_path / "gone.journal", resume=True)


OTHER_SCHEMA = Schema((Column(name="weight", kind="continuous", lower=1, upper=300), *CLASSES.columns))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"epsilon": 2.0}, "'epsilon'"),
        ({"delta": 1e-6}, "'delta'"),
        ({"n_rows": 21}, "'n_rows'"),
        ({"learner": "tree"}, "'learner'"),
        ({"mode": "direct"}, "'mode'"),
        ({"rounds": 5}, "'rounds'"),
        ({"directions": 5}, "'directions'"),
        ({"marginal_share": 0.3}, "'marginal_share'"),
        ({"sampling_rate": 0.5}, "'sampling_rate'"),
        ({"neighbours": "replace_one"}, "'neighbours'"),
        ({"random_state": 8}, "'random_state'"),
        ({"schema": OTHER_SCHEMA}, "'schema'"),
        ({"recipe": replace(quick(rounds=ROUNDS), population_rows=300)}, "'recipe'"),
    ],
)
def test_other_options_are_named_and_refused(tmp_path, change, name):
    journal = tmp_path / "run.journal"
    condenser(random_state=7).fit(patients(), journal=journal)
    cut(journal, 9)
    text = journal.read_text()
    other = condenser(**{"schema": CLASSES, "random_state": 7, **change})
    with pytest.raises(ValueError, match=f"Got another {name} than"):
        other.fit(patients().assign(weight=70.0), journal=journal, resume=True)
    assert journal.read_text() == text


# ---- the ledger


def test_a_resumed_run_is_charged_once(tmp_path):
    ledger = zodc.Ledger.create(tmp_path / "ward.ledger", epsilon=1.5, delta=1e-5)
    journal = tmp_path / "run.journal"
    condenser(ledger=ledger).fit(patients(), journal=journal)
    cut(journal, 8)
    resumed = condenser(ledger=ledger).fit(patients(), journal=journal, resume=True)
    assert len(ledger.entries) == 1
    assert resumed.release_.manifest()["ledger"]["run_id"] == ledger.entries[0].run_id
    assert ledger.entries[0].run_id == json.loads(zodc._zodc.Journal.open(journal).header)["run_id"]
    with pytest.raises(ValueError, match="Got another 'ledger'"):
        condenser().fit(patients(), journal=journal, resume=True)


def test_a_run_that_was_not_charged_yet_is_charged_when_resumed(tmp_path, monkeypatch):
    """A kill between the journal's first line and the charge."""
    ledger = zodc.Ledger.create(tmp_path / "ward.ledger", epsilon=1.5, delta=1e-5)
    journal = tmp_path / "run.journal"

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(zodc.Ledger, "charge", killed)
    with pytest.raises(KeyboardInterrupt):
        condenser(ledger=ledger).fit(patients(), journal=journal)
    monkeypatch.undo()
    assert len(journal.read_text().splitlines()) == 1 and not ledger.entries
    condenser(ledger=ledger).fit(patients(), journal=journal, resume=True)
    assert len(ledger.entries) == 1 and len(records(journal)["answer"]) == QUESTIONS


def test_a_budget_that_cannot_pay_leaves_no_journal(tmp_path):
    ledger = zodc.Ledger.create(tmp_path / "ward.ledger", epsilon=0.5, delta=1e-5)
    with pytest.raises(zodc.BudgetError):
        condenser(ledger=ledger).fit(patients(), journal=tmp_path / "run.journal")
    assert not (tmp_path / "run.journal").exists() and not ledger.entries


# ---- a full disk


FULL = """
import resource, sys
from cohorts import patients
from journals import condenser
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
try:
    condenser().fit(patients(), journal="run.journal", resume=len(sys.argv) > 2)
except OSError as error:
    print(error)
"""


def test_a_full_disk_loses_nothing_that_is_paid_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    condenser().fit(patients(), journal="whole.journal")
    ends = np.cumsum([len(line) for line in Path("whole.journal").read_text().splitlines(keepends=True)])

    def run(limit: int, *more: str) -> str:
        path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
        command = [sys.executable, "-c", FULL, str(limit), *more]
        environment = {**os.environ, "PYTHONPATH": path}
        found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert found.returncode == 0, found.stderr
        return found.stdout

    # Not even the header fits; then some of the room of an answer is missing, in the marginals and later.
    assert "run.journal" in run(100) and not Path("run.journal").exists()
    assert "free space" in run(int(ends[0]) + 300)
    assert "free space" in run(int(ends[-1]) - 700, "resume")
    assert "lost" not in records(Path("run.journal"))
    assert run(10**9, "resume") == ""
    found = records(Path("run.journal"))
    assert found["answer"] == [str(i) for i in range(QUESTIONS)] and "lost" not in found


# ---- kill -9


def run_here(folder: str) -> None:
    """Begin or resume the run of a folder, in a process of its own."""
    os.chdir(folder)
    journal = Path("run.journal")
    with open("stderr", "w") as errors:
        os.dup2(errors.fileno(), 2)
        run = condenser(recipe=quick(rounds=40), ledger="ward.ledger", random_state=1)
        run.fit(patients(), journal=journal, resume=journal.exists())


def start() -> multiprocessing.process.BaseProcess:
    """Start from a server that has imported zodc, and has run nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["test_resume"])
    process = context.Process(target=run_here, args=(os.getcwd(),))
    process.start()
    return process


def kill_until_done(kills: int, seed: int) -> int:
    """Kill a run at random times until it is done; return how often it was killed."""
    rng, killed = np.random.default_rng(seed), 0
    seen: dict[str, str] = {}
    ledger = zodc.Ledger.create("ward.ledger", epsilon=1.0, delta=1e-5)
    while True:
        process = start()
        if killed < kills:
            time.sleep(rng.uniform(0, 0.15))
            process.kill()
        process.join(60)
        stderr = Path("stderr").read_text() if Path("stderr").exists() else ""
        journal = Path("run.journal")
        text = journal.read_text() if journal.exists() else ""
        for line in text.split("\n")[1:]:
            words = line.split(" ")
            if len(words) == 4 and words[1] == "answer":
                assert seen.setdefault(words[2], words[3]) == words[3], "two answers to one question"
        # Nothing is asked that is not charged.
        assert len(ledger.entries) == 1 or " intent " not in text
        if process.exitcode == 1:
            # The marginals were cut short, or the header: the only two ends without a release.
            assert "begin a new run" in stderr or "nothing was asked" in stderr, stderr
            return killed
        assert process.exitcode in (0, -signal.SIGKILL), stderr
        if process.exitcode == 0:
            return killed
        killed += 1


@pytest.mark.slow
def test_check_33_fifty_kills_at_random_times(tmp_path, monkeypatch):
    total, finished, seed = 0, 0, 0
    while total < 50:
        seed += 1
        folder = tmp_path / str(seed)
        folder.mkdir()
        monkeypatch.chdir(folder)
        total += kill_until_done(50 - total, seed)
        found = records(folder / "run.journal")
        numbers = [*found["answer"], *found.get("lost", [])]
        if len(numbers) < 42:
            continue
        finished += 1
        assert sorted(numbers, key=int) == [str(i) for i in range(42)]
        assert found["intent"] == [str(i) for i in range(42)]
        assert len(zodc.Ledger("ward.ledger").entries) == 1
        same = {"recipe": quick(rounds=40), "ledger": "ward.ledger", "random_state": 1}
        one = condenser(**same).fit(other_people(), journal="run.journal", resume=True)
        two = condenser(**same).fit(patients(), journal="run.journal", resume=True)
        assert np.array_equal(latents(one), latents(two))
    assert finished


def test_check_33_a_kill_at_a_random_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kill_until_done(1, 3)


def test_a_kept_traceback_does_not_keep_the_journal(tmp_path):
    """Notebooks keep the last error, and with it every object of the run that was cut short."""
    journal, kept = tmp_path / "run.journal", []

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as cut_short:
        condenser().fit(patients(), journal=journal, progress=stop)
    kept.append(cut_short.value)
    with pytest.raises(ValueError, match="'n_rows'") as refused:
        condenser(n_rows=21).fit(patients(), journal=journal, resume=True)
    kept.append(refused.value)
    with pytest.raises(zodc.DataError) as refused:
        condenser().fit(patients().drop(columns="age"), journal=journal, resume=True)
    kept.append(refused.value)
    condenser().fit(patients(), journal=journal, resume=True)


def test_a_cohort_whose_run_has_ended_answers_nothing():
    encoded = encode(patients(), None, CLASSES)
    cohort = Cohort(CLASSES.to_json(), condenser().plan().json, encoded.cells, encoded.outcome)
    cohort.end()
    with pytest.raises(zodc.BudgetError, match="spent"):
        cohort.marginals()
