"""The ledger: charges come first, compose by the accountant, and nobody spends the budget twice."""

from __future__ import annotations

import copy
import json
import multiprocessing
import pickle
from pathlib import Path

import pytest
from cohorts import CLASSES, patients, quick
from ledgers import condenser, ledger_path, state  # noqa: F401
from sklearn.base import clone
from zodc import BudgetError, Ledger, LedgerError, Plan, Release, Schema, verify
from zodc.oracle import consult

BAD_NUMBERS = [0, 0.0, -1.0, float("nan"), float("inf"), True, "1", None, 1e-310, 1j, b"1"]


@pytest.fixture
def ledger(path: Path) -> Ledger:
    return Ledger.create(path, epsilon=2.0, delta=1e-5, cohort="ward 7")


# ---- create and open


def test_a_ledger_is_created_once_and_opened(ledger: Ledger, path: Path) -> None:
    for again in (Ledger(path), Ledger(str(path))):
        assert (again.epsilon, again.delta, again.cohort) == (2.0, 1e-5, "ward 7")
        assert again.identifier == ledger.identifier and again.entries == [] and again.spent == 0.0
    with pytest.raises(LedgerError, match="exists already"):
        Ledger.create(path, epsilon=2.0, delta=1e-5)
    assert set(state(path)) == {"ward.ledger", "ward.ledger.head"}
    assert Ledger.create(path.with_name("b.ledger"), epsilon=1, delta=1e-5).cohort == "b"


@pytest.mark.parametrize("value", BAD_NUMBERS)
@pytest.mark.parametrize("name", ["epsilon", "delta"])
def test_numbers_that_are_no_budget_write_nothing(path: Path, name: str, value) -> None:
    with pytest.raises(ValueError, match=f"'{name}' option"):
        Ledger.create(path, **{"epsilon": 1.0, "delta": 1e-5, name: value})
    assert state(path) == {}


@pytest.mark.parametrize("value", ["", "  ", "a\nb", "x" * 201, 7])
def test_names_that_are_none(path: Path, value) -> None:
    with pytest.raises(ValueError, match="'cohort' option must be one line of text"):
        Ledger.create(path, epsilon=1.0, delta=1e-5, cohort=value)
    assert state(path) == {}


def test_a_ledger_that_is_not_there(path: Path) -> None:
    with pytest.raises(LedgerError, match="no such file; create it once with zodc ledger create"):
        Ledger(path)
    with pytest.raises(LedgerError, match="no such file"):
        condenser(path).fit(patients(50))
    assert state(path) == {}
    with pytest.raises(ValueError, match=r"'ledger' option must be None, a zodc\.Ledger or a path"):
        condenser(7).fit(patients(50))


# ---- charges


def test_charges_compose_by_the_accountant_and_are_refused_beyond_the_budget(ledger: Ledger) -> None:
    plan = condenser().plan()
    entries = []
    for _ in range(10):
        before, left = ledger.entries, ledger.left
        try:
            entries.append(ledger.charge(plan))
        except BudgetError as error:
            message, kind = str(error), type(error)
            break
    # By adding ε there would be two; exactly composed there is room for three.
    assert len(entries) == 3 and entries == before == ledger.entries
    oracle = consult([*plan.to_dict()["charges"]] * 3, ledger.delta)
    assert ledger.spent == pytest.approx(oracle.exact, rel=1e-6) and ledger.spent <= 2.0
    assert "asks for epsilon 0.999998, " in message and f"{left:.6g} is left" in message
    assert "total of 2 (all at delta 1e-05" in message and kind is BudgetError
    assert [entry.number for entry in entries] == [1, 2, 3]
    assert entries[-1].head == ledger.head and len({entry.run_id for entry in entries}) == 3
    assert entries[0].charges == plan.to_dict()["charges"]
    assert (entries[0].unit, entries[0].neighbours, entries[0].accountant) == ("row", "add_remove", "gdp")


def test_what_is_left_fits_and_hardly_more_does(ledger: Ledger) -> None:
    ledger.charge(condenser().plan())
    left = ledger.left
    with pytest.raises(BudgetError):
        ledger.charge(condenser(epsilon=left * 1.001).plan())
    ledger.charge(condenser(epsilon=left).plan())
    assert 1.999 < ledger.spent <= 2.0 and ledger.left < 0.02


def test_sampled_runs_compose_by_renyi_accounting(path: Path) -> None:
    ledger = Ledger.create(path, epsilon=2.0, delta=1e-6)
    sampled, full = condenser(sampling_rate=0.1).plan(), condenser(epsilon=0.3).plan()
    for plan in (sampled, full, sampled):
        entry = ledger.charge(plan)
    oracle = consult([charge for e in ledger.entries for charge in e.charges], 1e-6)
    assert entry.accountant == "rdp" and oracle.tightest <= entry.total <= oracle.rdp * 1.001
    # The δ of a run does not count, only that of its ledger.
    assert entry.total > ledger.entries[0].total > sampled.spent_epsilon


def test_a_run_is_charged_once(ledger: Ledger) -> None:
    plan, other = condenser().plan(), condenser(epsilon=0.1).plan()
    assert not ledger.has_charge("run 1", plan)
    entry = ledger.charge(plan, run_id="run 1")
    assert entry.run_id == "run 1" and ledger.has_charge("run 1", Plan(plan.json))
    assert not ledger.has_charge("run 1", other) and not ledger.has_charge("run 2", plan)
    for again in (plan, other):
        with pytest.raises(LedgerError, match="run 1 was charged before"):
            ledger.charge(again, run_id="run 1")
    assert len(ledger.entries) == 1


def _edited(change) -> Plan:
    values = condenser().plan().to_dict()
    change(values)
    return Plan(json.dumps(values))


@pytest.mark.parametrize("value", [v for v in BAD_NUMBERS if not isinstance(v, bytes | complex)])
@pytest.mark.parametrize("field", ["noise_multiplier", "count", "sampling_rate"])
def test_spends_that_are_no_spends(ledger: Ledger, path: Path, field: str, value) -> None:
    def change(values) -> None:
        charge = values["charges"][-1]
        if field == "sampling_rate":
            charge["event"]["mechanism"] = "poisson_gaussian"
        (charge if field == "count" else charge["event"])[field] = value

    before = state(path)
    with pytest.raises(ValueError, match=f"'{field}' option"):
        ledger.charge(_edited(change))
    assert state(path) == before


@pytest.mark.parametrize("change", [lambda v: v.update(charges=[]), lambda v: v.update(charges=None)])
def test_a_plan_without_charges(ledger: Ledger, change) -> None:
    with pytest.raises(ValueError, match="'plan' option"):
        ledger.charge(_edited(change))
    assert ledger.entries == []


@pytest.mark.parametrize(("name", "value"), [("neighbours", "replace_one"), ("unit", "patient")])
def test_mixed_guarantees_are_refused(ledger: Ledger, name: str, value: str) -> None:
    ledger.charge(condenser().plan())
    with pytest.raises(LedgerError, match=f"{name} .*keep a ledger for each"):
        ledger.charge(_edited(lambda values: values.update({name: value})))
    assert len(ledger.entries) == 1


def test_replaced_units_compose_by_their_own_noise_and_never_with_samples(path: Path) -> None:
    ledger = Ledger.create(path, epsilon=2.0, delta=1e-5)
    assert ledger.charge(condenser(neighbours="replace_one").plan()).neighbours == "replace_one"
    assert 0.99 < ledger.spent <= 1.0

    def sample(values) -> None:
        values["neighbours"] = "replace_one"
        values["charges"][-1]["event"].update(mechanism="poisson_gaussian", sampling_rate=0.1)

    with pytest.raises(ValueError, match="'sampling_rate' option must be 1 but for"):
        ledger.charge(_edited(sample))
    assert len(ledger.entries) == 1


# ---- runs


def test_fit_is_charged_before_anything_is_asked(ledger: Ledger, monkeypatch) -> None:
    seen = []

    class Cohort:
        is_private = True

        def __init__(self, *_) -> None:
            pass

        def marginals(self) -> str:
            seen.append(ledger.spent)
            raise RuntimeError("power cut")

        def end(self) -> None:
            pass

    monkeypatch.setattr("zodc.condenser.Cohort", Cohort)
    with pytest.raises(RuntimeError, match="power cut"):
        condenser(ledger).fit(patients(50))
    # Charged when the run began to ask, and nothing is given back.
    assert seen == [ledger.spent] and 0.99 < ledger.spent <= 1.0


def test_what_fails_before_the_charge_costs_nothing(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="age"):
        condenser(ledger).fit(patients(50).drop(columns="age"))
    with pytest.raises(ValueError, match="n_rows"):
        condenser(ledger, n_rows=0).fit(patients(50))
    with pytest.raises(BudgetError, match="is left of the cohort's total"):
        condenser(ledger, epsilon=2.5).fit(patients(50))
    assert ledger.spent == 0.0 and ledger.entries == []


def test_a_release_carries_its_entry(ledger: Ledger, tmp_path: Path) -> None:
    condenser(ledger).fit(patients(50))
    release = condenser(ledger.path).fit(patients(50)).release_
    entry = ledger.entries[1]
    assert release.ledger == {
        "cohort": "ward 7",
        "ledger": ledger.identifier,
        "epsilon": 2.0,
        "delta": 1e-5,
        "spent_epsilon": ledger.spent,
        "entry": 2,
        "run_id": entry.run_id,
        "head": entry.head,
    }
    assert entry.charges == release.plan.to_dict()["charges"]
    release.save(tmp_path / "release")
    loaded = Release.load(tmp_path / "release")
    assert loaded.manifest()["ledger"] == loaded.ledger == release.ledger and verify(tmp_path / "release").ok
    assert loaded.recondense("logistic", n_rows=5, recipe=quick()).ledger == release.ledger
    assert len(ledger.entries) == 2


def test_clones_share_the_one_ledger_and_each_fit_is_charged(ledger: Ledger) -> None:
    first = condenser(ledger)
    copies = [clone(first), copy.deepcopy(first), copy.copy(first)]
    assert all(one.ledger is ledger for one in copies)
    for one in copies:
        one.fit(patients(50))
    with pytest.raises(BudgetError):
        first.fit(patients(50))
    assert len(ledger.entries) == 3


def test_pickling_is_an_error_and_a_path_is_the_way(ledger: Ledger) -> None:
    for thing in (ledger, condenser(ledger)):
        with pytest.raises(TypeError, match=r"cannot be pickled.*pass the ledger's path instead"):
            pickle.dumps(thing)
    assert pickle.loads(pickle.dumps(condenser(str(ledger.path)))).ledger == str(ledger.path)


def _race(path: Path, plan: Plan, gate, wins) -> None:
    ledger = Ledger(path)
    gate.wait()
    try:
        ledger.charge(plan)
        wins.put(True)
    except BudgetError as error:
        wins.put("is left of the cohort's total" not in str(error) and str(error))


def test_processes_race_for_the_last_budget_and_one_wins(path: Path) -> None:
    plan, n_processes = condenser().plan(), 6
    ledger = Ledger.create(path, epsilon=1.2, delta=1e-5)
    context = multiprocessing.get_context("fork")
    gate, wins = context.Barrier(n_processes), context.Queue()
    processes = [context.Process(target=_race, args=(path, plan, gate, wins)) for _ in range(n_processes)]
    for process in processes:
        process.start()
    found = [wins.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(timeout=60)
    assert found.count(True) == 1 and found.count(False) == n_processes - 1, found
    assert len(ledger.entries) == 1


def test_grid_search_charges_every_fit(ledger: Ledger) -> None:
    from imblearn.pipeline import Pipeline
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    frame = patients(80)
    schema = Schema([column for column in CLASSES.columns if column.name in ("age", "died")])
    asked = condenser(ledger, epsilon=0.1).set_params(schema=schema)
    pipeline = Pipeline([("zodc", asked), ("model", LogisticRegression())])
    search = GridSearchCV(pipeline, {"zodc__n_rows": [10, 20]}, cv=2, error_score="raise")
    search.fit(frame[["age"]], frame["died"])
    # Two settings by two folds, and the refit: five runs on one ledger.
    assert len(ledger.entries) == 5
