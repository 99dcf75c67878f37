"""Checks 10, 21 and 25 seen from Python (the mechanism's others stand in tests/*.rs and test_noise)."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from cohorts import BUDGET, CLASSES, patients, quick
from replay import run
from scipy import stats
from zodc import Condenser
from zodc._zodc import BudgetError, Cohort, epsilon
from zodc.frames import encode

ALARM = 1e-6


def test_check_10_no_timing_is_told(tmp_path, monkeypatch) -> None:
    """A slow run and a quick one, their answers alike: every byte of the release is the same."""
    recipe = quick(rounds=3)
    told = []

    def work(folder, pause):
        def progress(*public):
            told.append(public)
            time.sleep(pause)

        condenser = Condenser(CLASSES, learner="tree", n_rows=20, recipe=recipe, random_state=1, **BUDGET)
        condenser.fit(patients(60), progress=progress).release_.save(folder / "release", report=False)
        return condenser.release_

    quickly = run(lambda: work(tmp_path / "a", 0.0), tmp_path / "a", monkeypatch)
    slowly = run(lambda: work(tmp_path / "b", 0.1), tmp_path / "b", monkeypatch, quickly.tape)
    assert quickly.files == slowly.files and quickly.files
    assert all(isinstance(n, int) for public in told for n in public[1:])
    manifest = json.loads(quickly.files["release/manifest.json"])
    assert len(manifest["created"]) == 10
    assert any("how long" in line for line in manifest["not_covered"])


def _sampled(rate: float, rounds: int, n: int) -> np.ndarray:
    """Which patient was asked in which round: patient i alone moves direction i."""
    options = {"sampling_rate": rate, "rounds": rounds, "directions": n, "epsilon": 1e7, "delta": 0.5}
    plan = Condenser(CLASSES, learner="tree", recipe=quick(), **options).plan()
    noise = plan.to_dict()["charges"][-1]["event"]["noise_multiplier"]
    assert noise < 0.02, noise
    rows = encode(patients(n), None, CLASSES)
    cohort = Cohort(CLASSES.to_json(), plan.json, rows.cells, rows.outcome)
    answers = np.stack([cohort.answer_differences(np.eye(n), 1.0) for _ in range(rounds)])
    found = np.round(answers)
    assert np.abs(answers - found).max() < 0.2 and set(np.unique(found)) == {0.0, 1.0}
    return found


def test_check_21_each_patient_is_sampled_alone_at_the_charged_rate() -> None:
    """Inclusions are independent coins of the charged rate; their number a round is not fixed."""
    rate, rounds, n = 0.3, 400, 64
    asked = _sampled(rate, rounds, n)
    assert stats.binomtest(int(asked.sum()), rounds * n, rate).pvalue > ALARM
    assert min(stats.binomtest(int(k), rounds, rate).pvalue for k in asked.sum(axis=0)) > ALARM / n
    sizes = asked.sum(axis=1)
    spread = ((sizes - n * rate) ** 2).sum() / (n * rate * (1 - rate))
    assert stats.chi2.sf(spread, rounds) > ALARM / 2 and stats.chi2.cdf(spread, rounds) > ALARM / 2
    centred = (asked - rate) / np.sqrt(rate * (1 - rate))
    pairs = centred.T @ centred / np.sqrt(rounds)
    limit = stats.norm.isf(ALARM / (n * n)) * 1.3  # sums of 400 products are nearly normal
    assert np.abs(pairs[~np.eye(n, dtype=bool)]).max() < limit
    assert abs((centred[1:] * centred[:-1]).sum() / np.sqrt((rounds - 1) * n)) < stats.norm.isf(ALARM / 2)


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.update(sampling_rate=0.25),
        lambda p: p.update(sampling_rate=1.0),
        lambda p: p["charges"][-1]["event"].update(sampling_rate=0.1),
        lambda p: p["charges"][-1]["event"].update(mechanism="fixed_size_gaussian"),
        lambda p: p["charges"][-1]["event"].update(batch_size=10),
        lambda p: p["charges"][-1].update(count=1),
    ],
)
def test_check_21_no_other_sampler_can_be_charged(change) -> None:
    plan = Condenser(CLASSES, learner="tree", recipe=quick(), sampling_rate=0.5, **BUDGET).plan().to_dict()
    rows = encode(patients(20), None, CLASSES)
    Cohort(CLASSES.to_json(), json.dumps(plan), rows.cells, rows.outcome)
    change(plan)
    with pytest.raises((BudgetError, ValueError)):
        Cohort(CLASSES.to_json(), json.dumps(plan), rows.cells, rows.outcome)


@pytest.mark.parametrize("count", [-1, 1.5, "3", True, None])
def test_check_25_counts_of_charges_are_whole(count) -> None:
    charge = {"event": {"mechanism": "gaussian", "noise_multiplier": 2.0}, "count": count, "what": "rounds"}
    with pytest.raises(ValueError, match="charges"):
        epsilon(json.dumps([charge]), 1e-6)


@pytest.mark.parametrize("noise", [-1.0, "2", True, None, float("nan"), float("inf")])
def test_check_25_noise_of_charges_is_a_number(noise) -> None:
    event = {"mechanism": "gaussian", "noise_multiplier": noise}
    with pytest.raises(ValueError, match=r"charges|noise_multiplier"):
        epsilon(json.dumps([{"event": event, "count": 1, "what": "rounds"}]), 1e-6)
