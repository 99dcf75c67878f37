"""Models of other libraries and of one's own: any is fitted in both modes; odd ones are refused or silent."""

import time
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from cohorts import CLASSES, SURVIVAL, patients, quick, quick_condenser, survivors
from joblib import parallel_config
from joblib.parallel import ThreadingBackend, register_parallel_backend
from lifelines import CoxPHFitter, WeibullAFTFitter
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sksurv.ensemble import RandomSurvivalForest
from sksurv.linear_model import CoxPHSurvivalAnalysis
from xgboost import XGBClassifier
from zodc import phases
from zodc.learners import resolve


@pytest.mark.parametrize("mode", ["two_phase", "direct"])
@pytest.mark.parametrize(
    "learner",
    [
        "tree",
        "logistic",
        ["tree", "logistic"],
        {"tree": 2.0, "logistic": 0.5},
        RandomForestClassifier(3),
        GradientBoostingClassifier(n_estimators=2),
        XGBClassifier(n_estimators=2, n_jobs=1),
        make_pipeline(SimpleImputer(), LogisticRegression(max_iter=1000)),
        {"tree": 1, RandomForestClassifier(3): 1},
    ],
    ids=str,
)
def test_any_classifier_in_both_modes(learner, mode: str) -> None:
    condenser = quick_condenser(learner=learner, mode=mode, recipe=quick(rounds=2))
    release = condenser.fit(patients(150)).release_
    assert len(release.frame()) == 30 and release.private and release.mode == mode


@pytest.mark.parametrize("mode", ["two_phase", "direct"])
@pytest.mark.parametrize(
    "learner",
    [
        "cox",
        CoxPHFitter(penalizer=0.1),
        WeibullAFTFitter(penalizer=0.1),
        CoxPHSurvivalAnalysis(alpha=0.1),
        RandomSurvivalForest(3),
        ["cox", RandomSurvivalForest(3)],
    ],
    ids=str,
)
def test_any_survival_model_in_both_modes(learner, mode: str) -> None:
    condenser = quick_condenser(SURVIVAL, learner=learner, mode=mode, recipe=quick(SURVIVAL, rounds=2))
    frame = condenser.fit(survivors(150)).release_.frame()
    assert list(frame.columns) == ["age", "smokes", "time", "event"] and len(frame) == 30
    assert frame["time"].between(0, 10).all() and frame["event"].isin([0, 1]).all()


class Coupled(ClassifierMixin, BaseEstimator):
    """Predicts ranks."""

    def fit(self, X, y):  # noqa: D102
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):  # noqa: D102
        rank = np.argsort(np.argsort(X["age"])) / len(X)
        return np.column_stack([rank, 1 - rank])


class Probe(ClassifierMixin, BaseEstimator):
    """Keeps count of the rows that it is shown."""

    seen: list = []  # noqa: RUF012

    def fit(self, X, y):  # noqa: D102
        self.classes_ = np.unique(y)
        Probe.seen.append(X)
        return self

    def predict_proba(self, X):  # noqa: D102
        Probe.seen.append(X)
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))


def test_check_29_direct_mode_refuses_models_that_couple_rows() -> None:
    with pytest.raises(ValueError, match=r"'learner'.*each row by itself.*two_phase"):
        quick_condenser(learner=Coupled(), mode="direct").fit(patients(60))
    quick_condenser(learner=Coupled()).fit(patients(60))


class InLargeTables(Probe):
    """Reads the index of its rows, or couples the rows of tables larger than a probe was once."""

    def __init__(self, by="index"):
        self.by = by

    def predict_proba(self, X):  # noqa: D102
        shift = X.index.to_numpy() % 7 if self.by == "index" else np.full(len(X), 5 * (len(X) > 900))
        chance = 0.1 + 0.1 * shift
        return np.column_stack([chance, 1 - chance])


def test_check_29_neither_index_nor_size_of_a_table_reaches_a_model_unseen_by_the_probe() -> None:
    for by in ("index", "size"):
        with pytest.raises(ValueError, match="each row by itself"):
            quick_condenser(learner=InLargeTables(by), mode="direct").fit(patients(60))


class Large(Probe):
    """Keeps the sizes of tables."""

    sizes: list = []  # noqa: RUF012

    def predict_proba(self, X):  # noqa: D102
        Large.sizes.append(len(X))
        assert X.index.equals(pd.RangeIndex(len(X)))
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))


def test_check_29_patients_come_in_tables_no_larger_than_the_probe() -> None:
    rng = np.random.default_rng(0)

    def table(n):
        return (
            rng.integers(0, 2, (n, 4)).astype(float),
            np.zeros((n, 4)),
            rng.integers(0, 2, (n, 1)).astype(float),
        )

    Large.sizes.clear()
    model = resolve(Large(), CLASSES).models[0][1]
    rows = table(2_345)
    losses = model.losses(table(50), model.frame(rows), np.eye(2)[rows[2][:, 0].astype(int)])
    assert losses.shape == (2_345,) and np.isfinite(losses).all()
    assert sorted(Large.sizes)[-3:] == [345, 1000, 1000]


@pytest.mark.parametrize(
    "wrap", [lambda frozen: frozen, lambda frozen: make_pipeline(StandardScaler(), frozen)]
)
def test_a_part_that_is_fitted_already_is_refused(wrap) -> None:
    x = np.random.default_rng(0).normal(size=(20, 2))
    frozen = FrozenEstimator(LogisticRegression().fit(x, x[:, 0] > 0))
    with pytest.raises(ValueError, match=r"'learner'.*fitted already"):
        quick_condenser(learner=wrap(frozen)).plan()


class WarnsOfAPatient(Probe):
    """Warns where it sees an extreme patient."""

    def predict_proba(self, X):  # noqa: D102
        if (X["age"] > 99).any():
            warnings.warn(f"extreme patient {X['age'].max()}", stacklevel=1)
        time.sleep(0.002)
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))


def test_check_30_threads_warn_of_nobody(capfd) -> None:
    frame = patients(80)
    frame.loc[3, "age"] = 99.5
    filters = list(warnings.filters)
    with parallel_config("threading", n_jobs=4):
        quick_condenser(learner=WarnsOfAPatient(), mode="direct", n_jobs=4).fit(frame)
    assert warnings.filters == filters and "extreme" not in capfd.readouterr().err


def test_in_two_phases_a_python_model_never_sees_a_patient() -> None:
    frame = patients(97)
    frame["age"] = 18.123456 + np.arange(97) / 1000
    Probe.seen.clear()
    quick_condenser(learner=Probe()).fit(frame)
    shown = pd.concat(Probe.seen)["age"]
    assert len(shown) and not shown.isin(frame["age"]).any()
    assert 97 not in {len(rows) for rows in Probe.seen}
    Probe.seen.clear()
    quick_condenser(learner=Probe(), mode="direct").fit(frame)
    assert any(len(rows) == 97 for rows in Probe.seen)


class Recording(ThreadingBackend):  # type: ignore[misc]
    """Counts how often it is asked to work."""

    used = 0

    def configure(self, *args, **kwargs):
        """Count."""
        Recording.used += 1
        return super().configure(*args, **kwargs)


def test_joblib_chooses_the_backend() -> None:
    register_parallel_backend("recording", Recording)
    condenser = quick_condenser(learner=RandomForestClassifier(2), mode="direct", recipe=quick(rounds=3))
    with parallel_config("recording", n_jobs=2):
        assert len(condenser.fit(patients(60)).release_.rows) == 30
    assert Recording.used >= 3


class Fails(Probe):
    """Raises on some patients."""

    def predict_proba(self, X):
        """Quote what must not be quoted."""
        if (X["age"] > 90).any():
            raise RuntimeError(f"secret {X['age'].max()}")
        return super().predict_proba(X)


def test_check_30_a_model_that_fails_on_patients_is_silent(recwarn, capsys) -> None:
    quick_condenser(learner=Fails(), mode="direct", recipe=quick(rounds=1)).fit(patients(60))
    out, err = capsys.readouterr()
    assert not recwarn.list and "secret" not in out + err


class FailsToFit(Probe):
    """Raises at every nth fit; the first few serve the public trials."""

    every, fits = 3, 0

    def fit(self, X, y):
        """Fail now and then."""
        FailsToFit.fits += 1
        if FailsToFit.fits > 1 and FailsToFit.fits % self.every == 0:
            raise RuntimeError("no convergence")
        return super().fit(X, y)


def test_a_failed_fit_costs_its_direction_alone(monkeypatch) -> None:
    """Not the whole round: whether a fit on synthetic rows failed is public."""
    asked = []
    FailsToFit.fits = 0
    found = phases._Losses.differences

    def spy(*arguments):
        asked.append(found(*arguments))
        return asked[-1]

    monkeypatch.setattr(phases._Losses, "differences", spy)
    learner = {FailsToFit(): 1, LogisticRegression(max_iter=1000): 1}
    quick_condenser(learner=learner, mode="direct", recipe=quick(rounds=1)).fit(patients(60))
    (differences,) = asked
    assert np.isfinite(differences).all()
    is_lost = (differences == 0).all(axis=0)
    assert is_lost.any() and not is_lost.all()


@pytest.mark.parametrize("mode", ["two_phase", "direct"])
def test_a_model_that_mostly_fails_is_given_up(mode: str, monkeypatch) -> None:
    FailsToFit.fits = 0
    monkeypatch.setattr(FailsToFit, "every", 1)
    recipe = replace(quick(rounds=9), public=replace(quick().public, rounds=9))
    with pytest.raises(RuntimeError, match=r"5 rounds in a row; take a more robust one"):
        quick_condenser(learner=FailsToFit(), mode=mode, recipe=recipe).fit(patients(60))


def test_the_manifest_does_not_vouch_for_a_python_model_on_patients() -> None:
    def says(release) -> bool:
        return any("row alone" in line for line in release.manifest()["not_covered"])

    direct = (
        quick_condenser(learner=Probe(), mode="direct", recipe=quick(rounds=1)).fit(patients(60)).release_
    )
    assert says(direct) and says(direct.recondense("tree", recipe=quick()))
    assert not says(quick_condenser(learner=Probe(), recipe=quick(rounds=1)).fit(patients(60)).release_)
    assert not says(quick_condenser(learner="tree", mode="direct").fit(patients(60)).release_)
