# ruff: noqa: D102
"""What a user may write for a learner, and the losses of foreign models."""

import json
import warnings
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from lifelines import (
    AalenAdditiveFitter,
    CoxPHFitter,
    KaplanMeierFitter,
    LogLogisticAFTFitter,
    LogNormalAFTFitter,
    PiecewiseExponentialRegressionFitter,
    WeibullAFTFitter,
)
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC
from sksurv.ensemble import (
    ComponentwiseGradientBoostingSurvivalAnalysis,
    ExtraSurvivalTrees,
    GradientBoostingSurvivalAnalysis,
    RandomSurvivalForest,
)
from sksurv.linear_model import CoxnetSurvivalAnalysis, CoxPHSurvivalAnalysis
from sksurv.svm import FastSurvivalSVM
from sksurv.tree import SurvivalTree
from xgboost import XGBClassifier
from zodc.learners import Cox, Logistic, Tree, resolve, teacher
from zodc.losses import classification_losses, survival_losses
from zodc.models import PythonModel, numeric_frame
from zodc.schema import Column, Schema

FEATURES = (
    Column(name="age", kind="continuous", lower=0, upper=100),
    Column(name="stage", kind="ordinal", lower=1, upper=3, step=0.5, missing="indicator"),
    Column(name="site", kind="categorical", categories=("a", "b", "c")),
)
CLASSES = Schema((*FEATURES, Column(name="y", kind="categorical", role="target", categories=("p", "q", "r"))))
SURVIVAL = Schema(
    (
        *FEATURES,
        Column(name="t", kind="continuous", role="time", lower=0, upper=10),
        Column(name="e", kind="binary", role="event"),
    )
)
GRID = [0.0, 1.0, 2.5, 6.0, 10.0]


def _cells(rng, n):
    cells = np.column_stack([rng.uniform(0, 100, n), rng.integers(0, 5, n), rng.integers(0, 3, n)]).astype(
        float
    )
    missing = np.zeros_like(cells)
    missing[:, 1] = rng.random(n) < 0.2
    return cells, missing


def _classes(rng, n, hard=True):
    cells, missing = _cells(rng, n)
    codes = (cells[:, 0] // 34).astype(int)
    return cells, missing, codes[:, None].astype(float) if hard else np.eye(3)[codes]


def _survival(rng, n):
    cells, missing = _cells(rng, n)
    time = np.clip(rng.exponential(5 * np.exp(-cells[:, 0] / 50)), 0.01, 10)
    return cells, missing, np.column_stack([time, (rng.random(n) < 0.7) * 1.0])


def _losses(model, train, test):
    return model.losses(train, model.frame(test), test[2])


def test_names_lists_and_weights() -> None:
    assert resolve("tree", CLASSES).parts == ((1.0, Tree()),)
    assert resolve(["tree", Logistic(c=2)], CLASSES).parts == ((0.5, Tree()), (0.5, Logistic(c=2)))
    assert resolve([("tree", 3), "logistic"], CLASSES).parts == ((0.75, Tree()), (0.25, Logistic()))
    assert resolve({"tree": 2.5}, CLASSES).parts == ((1.0, Tree()),)
    assert resolve(Cox(penalizer=0), SURVIVAL).parts == ((1.0, Cox(penalizer=0)),)
    assert json.loads(resolve({"tree": 2}, CLASSES).native_json) == [
        {"weight": 1.0, "learner": {"kind": "tree", "max_depth": 4, "min_samples_leaf": 5, "smoothing": 1.0}}
    ]
    mixed = resolve({"tree": 1, RandomForestClassifier(): 2}, CLASSES)
    assert not mixed.is_native and mixed.models[0][0] == pytest.approx(2 / 3)
    assert "RandomForestClassifier" in mixed.describe()[1]["class"]


@pytest.mark.parametrize(
    ("objective", "served"),
    [
        (teacher("survival", c=1.0), (True, False)),
        (teacher("classification", c=1.0), (True, False)),
        (resolve("tree", CLASSES), (False, False)),
    ],
)
def test_whom_the_teachers_rows_serve(objective, served) -> None:
    assert tuple(objective.is_served_by_teacher(refitted=refitted) for refitted in (False, True)) == served


@pytest.mark.parametrize(
    ("learner", "schema", "words"),
    [
        ("forest", CLASSES, ["learner", "tree, logistic, cox", "'forest'"]),
        ("cox", CLASSES, ["classification", "tree, logistic", "'cox'"]),
        ("tree", SURVIVAL, ["survival", "cox", "'tree'"]),
        ([], CLASSES, ["learner", "at least one"]),
        ({"any": 2, "tree": 1}, CLASSES, ["'any' alone", "leave out its weight"]),
        ({"tree": 0}, CLASSES, ["weights above 0", "0"]),
        ({"tree": -1}, CLASSES, ["weights above 0"]),
        ({"tree": float("nan")}, CLASSES, ["weights above 0"]),
        ({"tree": True}, CLASSES, ["weights above 0"]),
        (LinearSVC(), CLASSES, ["predict_proba", "LinearSVC", "per patient"]),
        (RandomForestClassifier, CLASSES, ["ready to fit", "RandomForestClassifier"]),
        (RandomForestClassifier(), SURVIVAL, ["predict_survival_function"]),
        (FastSurvivalSVM(), SURVIVAL, ["predict_survival_function", "take another model."]),
        (KaplanMeierFitter(), SURVIVAL, ["predict_survival_function"]),
        (7, CLASSES, ["learner", "int"]),
    ],
)
def test_what_is_refused(learner, schema: Schema, words: list[str]) -> None:
    with pytest.raises(ValueError) as caught:
        resolve(learner, schema)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    ("kind", "options", "name"),
    [
        (Tree, {"max_depth": 0}, "max_depth"),
        (Tree, {"max_depth": 2.5}, "max_depth"),
        (Tree, {"min_samples_leaf": 0}, "min_samples_leaf"),
        (Tree, {"smoothing": 0}, "smoothing"),
        (Logistic, {"c": float("inf")}, "c"),
        (Logistic, {"c": -1}, "c"),
        (Cox, {"penalizer": -0.1}, "penalizer"),
        (Cox, {"penalizer": "1"}, "penalizer"),
    ],
)
def test_options_of_learners(kind, options, name: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}' option must be"):
        kind(**options)


def test_names_of_the_numeric_frame_do_not_collide() -> None:
    features = (
        Column(name="a", kind="categorical", categories=("b", "c")),
        Column(name="a=b", kind="continuous", lower=0, upper=9),
        Column(name="__time", kind="continuous", lower=0, upper=9),
        Column(name="__event", kind="continuous", lower=0, upper=9),
    )
    schema = Schema((*features, *SURVIVAL.outcomes))
    cells = np.random.default_rng(0).integers(0, 2, (80, 4)).astype(float)
    frame = numeric_frame((cells, np.zeros((80, 4)), np.zeros((80, 2))), schema)
    assert list(frame.columns) == ["a=b_", "a=c", "a=b", "__time", "__event"]
    np.testing.assert_array_equal(frame["a=b"], cells[:, 1])
    model = resolve(CoxPHFitter(penalizer=0.1), schema).bound(GRID, seed=0).models[0][1]
    train = (cells, np.zeros((80, 4)), _survival(np.random.default_rng(1), 80)[2])
    assert np.isfinite(_losses(model, train, train)).all()


def test_the_numeric_frame() -> None:
    cells = np.array([[12.5, 2.0, 1.0], [99.0, 0.0, 0.0]])
    missing = np.array([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    frame = numeric_frame((cells, missing, np.zeros((2, 1))), CLASSES)
    expected = pd.DataFrame(
        {
            "age": [12.5, 99.0],
            "stage": [2.0, 1.0],
            "stage_missing": [0.0, 1.0],
            "site=a": [0.0, 1.0],
            "site=b": [1.0, 0.0],
            "site=c": [0.0, 0.0],
        }
    )
    pd.testing.assert_frame_equal(frame, expected)


@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestClassifier(10, random_state=1),
        GradientBoostingClassifier(n_estimators=5, random_state=1),
        XGBClassifier(n_estimators=5, n_jobs=1),
        make_pipeline(SimpleImputer(), LogisticRegression(max_iter=1000)),
    ],
    ids=lambda e: type(e).__name__,
)
@pytest.mark.parametrize("absent", [None, 0, 1, 2])
def test_classifiers_give_the_log_loss(estimator, absent) -> None:
    rng = np.random.default_rng(0)
    train, test = _classes(rng, 150), _classes(rng, 40, hard=False)
    if absent is not None:
        keep = train[2][:, 0] != absent
        train = tuple(part[keep] for part in train)
    model = PythonModel.wrap(estimator, CLASSES)
    losses = _losses(model, train, test)

    codes, inverse = np.unique(train[2][:, 0], return_inverse=True)
    fitted = model._fresh().fit(numeric_frame(train, CLASSES), inverse)
    truth = test[2].argmax(axis=1)
    for row, loss in enumerate(losses):
        shares = dict(zip(codes, fitted.predict_proba(numeric_frame(test, CLASSES))[row], strict=True))
        assert loss == pytest.approx(-np.log(max(shares.get(truth[row], 0.0), 1e-3)), rel=1e-6)
    assert not hasattr(estimator, "classes_") or "Pipeline" in str(type(estimator))


@pytest.mark.parametrize(
    "estimator",
    [
        CoxPHFitter(penalizer=0.1),
        CoxPHFitter(),
        WeibullAFTFitter(penalizer=0.1),
        LogNormalAFTFitter(penalizer=0.1),
        LogLogisticAFTFitter(penalizer=0.1),
        PiecewiseExponentialRegressionFitter([2.0, 5.0], penalizer=0.1),
        CoxPHSurvivalAnalysis(alpha=0.1),
        CoxnetSurvivalAnalysis(fit_baseline_model=True),
        SurvivalTree(min_samples_leaf=30, random_state=1),
        RandomSurvivalForest(30, min_samples_leaf=15, random_state=1),
        ExtraSurvivalTrees(30, min_samples_leaf=15, random_state=1),
        GradientBoostingSurvivalAnalysis(n_estimators=20, random_state=1),
        ComponentwiseGradientBoostingSurvivalAnalysis(n_estimators=20, random_state=1),
    ],
    ids=lambda e: type(e).__name__,
)
def test_survival_models_give_the_full_likelihood(estimator) -> None:
    rng = np.random.default_rng(1)
    model = resolve(estimator, SURVIVAL).bound(GRID, seed=3).models[0][1]
    train, test = _survival(rng, 200), _survival(rng, 100)
    losses = _losses(model, train, test)
    assert np.isfinite(losses).all()
    # A model that knows nothing: one hazard for all.
    rate = train[2][:, 1].sum() / train[2][:, 0].sum()
    assert losses.mean() < (rate * test[2][:, 0] - test[2][:, 1] * np.log(rate)).mean()


def test_a_model_that_answers_at_its_own_times_is_read_at_the_grid() -> None:
    """Aalen's additive model takes no times."""
    train = _survival(np.random.default_rng(1), 400)
    model = resolve(AalenAdditiveFitter(coef_penalizer=1.0), SURVIVAL).bound(GRID, seed=3).models[0][1]
    predict, frame = model._fit(train), model.frame(train)
    assert predict is not None
    table = frame.assign(t=train[2][:, 0], e=train[2][:, 1])
    curves = AalenAdditiveFitter(coef_penalizer=1.0).fit(table, "t", "e").predict_survival_function(frame)
    at_all = curves.reindex(curves.index.union(GRID)).ffill().fillna(1.0)
    np.testing.assert_allclose(predict(frame), at_all.loc[GRID].to_numpy().T, rtol=1e-12)
    assert np.isfinite(_losses(model, train, train)).all()


def test_survival_losses_against_a_naive_twin() -> None:
    rng = np.random.default_rng(2)
    survival = np.sort(rng.random((30, len(GRID))), axis=1)[:, ::-1]
    survival[0] = 1.0
    survival[1, 2:] = 0.0
    time = np.r_[0.0, 1.0, 2.5, 10.0, 99.0, rng.uniform(0, 10, 25)]
    event = rng.integers(0, 2, 30).astype(float)
    found = survival_losses(survival, np.column_stack([time, event]), np.array(GRID))
    for i in range(30):
        t, cumulative = min(time[i], GRID[-1]), 0.0
        for b, (left, right) in enumerate(pairwise(GRID)):
            fall = np.log(max(survival[i, b], 1e-3)) - np.log(max(survival[i, b + 1], 1e-3))
            hazard = max(fall, 1e-3) / (right - left)
            if t <= right:
                break
            cumulative += hazard * (right - left)
        expected = cumulative + hazard * (t - left) - event[i] * np.log(hazard)
        assert found[i] == pytest.approx(expected, rel=1e-9)


def test_missing_outcomes_give_no_loss() -> None:
    survival = np.full((2, len(GRID)), 0.5)
    outcome = np.array([[np.nan, 1.0], [3.0, np.nan]])
    assert np.isnan(survival_losses(survival, outcome, np.array(GRID))).all()
    assert np.isnan(classification_losses(np.full((1, 3), 1 / 3), np.full((1, 3), np.nan))).all()


class Fragile(ClassifierMixin, BaseEstimator):
    """Raises at ages above 90, quoting them; gives NaN below 10."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        age = np.asarray(X["age"])
        if (age > 90).any():
            warnings.warn(f"age {age.max()}", stacklevel=1)
            raise RuntimeError(f"age {age.max()}")
        return np.where(age[:, None] < 10, np.nan, 1 / 3) * np.ones((1, len(self.classes_)))


class Unfit(Fragile):
    """Cannot be fitted."""

    def fit(self, X, y):
        raise RuntimeError("no convergence")


class Coupled(Fragile):
    """Compares each row with the others, as a rank does."""

    def predict_proba(self, X):
        rank = np.argsort(np.argsort(X["age"])) / len(X)
        return np.column_stack([rank / 2, rank / 2, 1 - rank])


class Subtle(Fragile):
    """Leaks by a hair from the other rows, or only from rows that are flagged, or in large batches."""

    def __init__(self, way="hair"):
        self.way = way

    def predict_proba(self, X):
        others = {
            "hair": 1e-9 * np.mean(X["age"]),
            "flag": 1e-3 * np.max(X["stage_missing"] * X["age"]),
            "batch": 1e-3 * (len(X) > 200) * np.mean(X["age"]),
            "largest": 1e-3 * (np.max(X["age"]) >= 99.0),
        }[self.way]
        share = 1 / (1 + np.exp(np.asarray(X["age"]) / 50 - 1 + others))
        return np.column_stack([share / 2, share / 2, 1 - share])


@pytest.mark.parametrize("way", ["hair", "flag", "batch", "largest"])
def test_a_little_coupling_is_found_out_too(way: str) -> None:
    rng = np.random.default_rng(4)
    train, probes = _classes(rng, 60), _classes(rng, 50)
    assert PythonModel.wrap(Subtle(way), CLASSES).couples_rows(train, probes)


def test_a_failing_model_fails_alone_and_in_silence() -> None:
    rng = np.random.default_rng(3)
    train, test = _classes(rng, 60), _classes(rng, 200, hard=False)
    train[0][:, 0] *= 0.9
    losses = _losses(PythonModel.wrap(Fragile(), CLASSES), train, test)
    age = test[0][:, 0]
    np.testing.assert_array_equal(np.isnan(losses), (age > 90) | (age < 10))
    assert _losses(PythonModel.wrap(Unfit(), CLASSES), train, test) is None


def test_models_that_couple_rows_are_found_out() -> None:
    rng = np.random.default_rng(4)
    train, probes = _classes(rng, 60), _classes(rng, 50)
    assert PythonModel.wrap(Coupled(), CLASSES).couples_rows(train, probes)
    for estimator in (RandomForestClassifier(5), XGBClassifier(n_estimators=3, n_jobs=1), Fragile()):
        assert not PythonModel.wrap(estimator, CLASSES).couples_rows(train, probes)
    assert not PythonModel.wrap(LogisticRegression(max_iter=1000), CLASSES).couples_rows(train, probes)
    cause = r"'learner'.*Unfit, which failed; mend this: RuntimeError: no convergence$"
    with pytest.raises(ValueError, match=cause):
        PythonModel.wrap(Unfit(), CLASSES).couples_rows(train, probes)
    survival = resolve([CoxPHFitter(penalizer=0.1), RandomSurvivalForest(5)], SURVIVAL).bound(GRID, seed=0)
    for _, model in survival.models:
        assert not model.couples_rows(_survival(rng, 80), _survival(rng, 30))


def test_both_sides_of_a_direction_share_an_open_seed() -> None:
    rng = np.random.default_rng(5)
    train, test = _classes(rng, 60), _classes(rng, 20, hard=False)
    forest = resolve(RandomForestClassifier(5), CLASSES)
    model = forest.bound(None, seed=2**63).models[0][1]
    np.testing.assert_array_equal(_losses(model, train, test), _losses(model, train, test))
    assert forest.models[0][1].estimator.random_state is None
