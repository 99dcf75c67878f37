"""Checks 24, 26, 28, 30 and 32: what stands around the private half."""

from __future__ import annotations

import ast
import hashlib
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from cohorts import BUDGET, CLASSES, SURVIVAL, patients, quick, survivors
from rich.console import Console
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from zodc import Condenser, Ledger, Release
from zodc._zodc import BudgetError, FittedModels
from zodc.evaluate import evaluate

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = {"learner": "logistic", "n_rows": 12, **BUDGET}


def _condenser(schema=CLASSES, **options) -> Condenser:
    return Condenser(schema, **(OPTIONS | {"recipe": quick(schema, rounds=1)} | options))


def _entries(ledger: Ledger) -> int:
    return len(ledger.entries)


def test_check_24_every_fit_is_charged(tmp_path) -> None:
    """Tuning by fitting again pays each time; a choice among releases has no cheaper price here."""
    ledger = Ledger.create(tmp_path / "ledger.db", cohort="ward", epsilon=2.1, delta=1e-4)
    condenser = _condenser(ledger=ledger)
    for spent in (1, 2, 3):
        condenser.fit(patients(30))
        assert _entries(ledger) == spent
    with pytest.raises(BudgetError):
        for _ in range(20):
            condenser.fit(patients(30))


def test_check_24_a_grid_search_is_charged_for_every_fit(tmp_path) -> None:
    from imblearn.pipeline import Pipeline

    ledger = Ledger.create(tmp_path / "ledger.db", cohort="ward", epsilon=100.0, delta=1e-3)
    frame = patients(60)
    x, y = frame[["age", "smokes"]], frame["died"]
    schema = type(CLASSES)((CLASSES.columns[0], CLASSES.columns[3], CLASSES.columns[4]))
    condenser = _condenser(schema, ledger=ledger)
    pipeline = Pipeline([("zodc", condenser), ("model", LogisticRegression())])
    search = GridSearchCV(pipeline, {"zodc__n_rows": [10, 12]}, cv=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search.fit(x, y)
    # Two settings by two folds, and the refit on the best.
    assert _entries(ledger) == 5


_STATISTICS = {
    "min", "max", "amin", "amax", "nanmin", "nanmax", "quantile", "percentile", "median", "unique", "nunique",
    "std", "var", "mean", "nanmean", "average", "value_counts", "argmin", "argmax", "ptp",
    "histogram", "sort_values", "mode",
}  # fmt: skip


def test_check_26_no_statistic_of_the_cohort_is_taken() -> None:
    """What reads patients' tables in Python maps cell by cell: no bound, level, mean or share is observed."""
    folder = ROOT / "python" / "zodc"
    if not folder.is_dir():
        pytest.skip("needs the source tree")
    for name in ("frames.py", "cells.py", "containers.py", "files.py", "condenser.py", "phases.py"):
        tree = ast.parse((folder / name).read_text())
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            found = getattr(call.func, "attr", getattr(call.func, "id", ""))
            line = ast.unparse(call)
            # Of public numbers: a round's answer, the loss on a pseudo-population, a precision of floats.
            is_public = name == "phases.py" or line.startswith("min(_EXACT")
            assert found not in _STATISTICS or is_public, f"{name}, line {call.lineno}: {line}"


@pytest.mark.parametrize("values", [[40.0], [18.0, 100.0], [np.nan, 63.0]])
def test_check_26_the_public_decoder_starts_from_the_schema_alone(values) -> None:
    """The outer edges of a marginal are the schema's bounds, whatever the patients hold."""
    frame = patients(50)
    frame["age"] = np.resize(values, 50)
    marginals = json.loads(_condenser().fit(frame).release_.marginals)
    edges = marginals["features"][0]["edges"]
    assert (edges[0], edges[-1]) == (18.0, 100.0)
    assert [len(m["weights"]) for m in marginals["features"][1:]] == [4, 3, 2]


class RiskOnly(BaseEstimator):
    """A survival model that ranks: it has a partial likelihood and no loss of one patient."""

    def fit(self, X, y):  # noqa: D102
        return self

    def predict(self, X):  # noqa: D102
        return np.zeros(len(X))


@pytest.mark.parametrize(("schema", "model"), [(SURVIVAL, RiskOnly()), (CLASSES, LinearRegression())])
def test_check_28_a_loss_that_is_not_a_sum_over_patients_is_refused(schema, model) -> None:
    with pytest.raises(ValueError, match="cannot be written per patient is refused"):
        _condenser(schema, learner=model).plan()


@pytest.mark.parametrize("kind", ["cox", "logistic", "tree"])
def test_check_28_the_loss_of_a_row_is_the_same_in_any_company(kind: str) -> None:
    """To the last bit: Cox's partial likelihood would move with the risk sets."""
    rng = np.random.default_rng(0)
    x, n = rng.normal(size=(600, 3)), 600
    options = {
        "cox": '{"kind": "cox", "penalizer": 0.01}',
        "logistic": '{"kind": "logistic", "c": 1.0}',
        "tree": '{"kind": "tree", "max_depth": 4, "min_samples_leaf": 5, "smoothing": 1.0}',
    }
    learners = f'[{{"weight": 1.0, "learner": {options[kind]}}}]'
    if kind == "cox":
        time, event = rng.uniform(0.1, 10, n), rng.integers(0, 2, n).astype(float)
        grid = [0.0, 2.0, 5.0, 10.0]
        model = FittedModels(learners, x[:80], time[:80].copy(), event=event[:80].copy(), time_grid=grid)

        def losses(rows):
            return model.losses(x[rows].copy(), time[rows].copy(), event[rows].copy())
    else:
        y = (x[:, 0] + rng.normal(size=n) > 0).astype(float)
        model = FittedModels(learners, x[:80], y[:80].copy(), n_classes=2)

        def losses(rows):
            return model.losses(x[rows].copy(), y[rows].copy())

    whole = losses(np.arange(n))
    for rows in (np.arange(n)[::-1], rng.permutation(n)[:300], np.array([17]), np.arange(255, 259)):
        np.testing.assert_array_equal(losses(rows), whole[rows])


class Stops(ClassifierMixin, BaseEstimator):
    """Stops the program at one patient, whose age no public row has."""

    def __init__(self, error=SystemExit):
        self.error = error

    def fit(self, X, y):  # noqa: D102
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):  # noqa: D102
        if (X["age"] == 95.0).any():
            raise self.error("secret 95.0")
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))


@pytest.mark.parametrize("error", [SystemExit, MemoryError, GeneratorExit, BaseException, StopIteration])
def test_check_30_a_model_that_stops_the_program_at_a_patient_is_silent(error, capsys, recwarn) -> None:
    frame = patients(40)
    frame.loc[0, "age"] = 95.0
    release = _condenser(learner=Stops(error), mode="direct").fit(frame).release_
    assert len(release.rows) == 12
    assert capsys.readouterr() == ("", "") and not recwarn.list


def test_check_32_scores_on_real_rows_stay_apart_from_the_release(tmp_path) -> None:
    """They say that they are not private, and no file of the release changes or holds them."""
    release = _condenser().fit(patients(80)).release_
    release.save(tmp_path / "release")

    def hashes():
        return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in (tmp_path / "release").iterdir()}

    before = hashes()
    found = evaluate(Release.load(tmp_path / "release"), patients(200, seed=1), n_bootstrap=5, random_state=0)
    console = Console(record=True, width=200)
    console.print(found)
    assert "not private" in console.export_text()
    assert hashes() == before
    assert any("evaluate" in line for line in release.manifest()["not_covered"])
    survival = _condenser(SURVIVAL, learner="cox").fit(survivors(60)).release_
    assert not {"auroc", "c_index", "score", "metrics", "evaluation"} & survival.manifest().keys()


def test_the_manifest_makes_the_disclosures_of_nist_800_226() -> None:
    """Unit, neighbours, ε, δ, mechanism, accountant, trust, data, choices, post-processing, limits."""
    manifest = _condenser().fit(patients(40)).release_.manifest()
    told = {
        "unit", "neighbours", "epsilon", "delta", "spent_epsilon", "mechanism", "accountant", "events",
        "lattice",
        "trust_model", "data_holder", "randomness", "data_dependent_choices", "post_processing",
        "what_is_released", "not_covered", "ledger",
    }  # fmt: skip
    assert told <= manifest.keys()
    assert manifest["trust_model"].startswith("central")
    assert "workers" not in manifest["data_holder"]
    direct = _condenser(learner=Stops(), mode="direct").fit(patients(40)).release_.manifest()
    assert "workers" in direct["data_holder"] and any("prints" in line for line in direct["not_covered"])
