"""Ledgers with small charges, and their files, that tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from cohorts import BUDGET, CLASSES, quick
from zodc import Condenser, Ledger, LedgerError, Plan


def condenser(ledger=None, **options) -> Condenser:
    options = {"learner": "logistic", "n_rows": 10, "recipe": quick(), "random_state": 1, **BUDGET, **options}
    return Condenser(CLASSES, ledger=ledger, **options)


@pytest.fixture(name="path")
def ledger_path(tmp_path: Path) -> Path:
    return tmp_path / "ward.ledger"


@pytest.fixture(name="plan", scope="module")
def small_plan() -> Plan:
    return condenser(epsilon=0.2).plan()


@pytest.fixture(name="ledger")
def charged_ledger(path: Path, plan: Plan) -> Ledger:
    """Give a ledger with two charges."""
    ledger = Ledger.create(path, epsilon=2.0, delta=1e-5, cohort="ward 7")
    ledger.charge(plan)
    ledger.charge(plan)
    return ledger


def state(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.parent.iterdir()}


def refused(ledger: Ledger, plan: Plan, words: str) -> None:
    """Whatever is done with it, it is refused and left as it is."""
    before = state(ledger.path)
    actions = [
        lambda: Ledger(ledger.path),
        lambda: ledger.charge(plan),
        lambda: ledger.entries,
        lambda: ledger.has_charge("x", plan),
    ]
    for act in actions:
        with pytest.raises(LedgerError, match=words):
            act()
    assert state(ledger.path) == before
