"""Models trained on a release, tested on real rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter, WeibullAFTFitter
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sksurv.ensemble import RandomSurvivalForest
from sksurv.linear_model import CoxPHSurvivalAnalysis
from zodc import Column, Condenser, DataError, Schema
from zodc.evaluate import default_models, encode_rows, evaluate, score_models

CLASSES = Schema(
    [
        Column(name="id", kind="categorical", role="patient_id"),
        Column(name="age", kind="continuous", lower=18, upper=100),
        Column(name="ward", kind="categorical", categories=("a", "b", "c"), missing="indicator"),
        Column(name="grade", kind="ordinal", lower=1, upper=4),
        Column(name="outcome", kind="categorical", role="target", categories=("home", "ward", "dead")),
    ]
)
SURVIVAL = Schema(
    [
        Column(name="age", kind="continuous", lower=18, upper=100),
        Column(name="unused", kind="continuous", lower=0, upper=1),
        Column(name="days", kind="continuous", role="time", lower=0, upper=1000),
        Column(name="seen", kind="binary", role="event"),
    ]
)


def ward(n, seed):
    rng = np.random.default_rng(seed)
    age = rng.uniform(20, 90, n)
    place = np.where(rng.random(n) < 0.2, None, rng.choice(["a", "b", "c"], n))
    level = np.clip((age + rng.normal(0, 12, n)) // 30, 0, 2).astype(int)
    outcome = np.array(["home", "ward", "dead"])[np.clip(level - (age < 40), 0, 2)]
    return pd.DataFrame(
        {"id": np.arange(n), "age": age, "ward": place, "grade": rng.integers(1, 5, n), "outcome": outcome}
    )


def followed(n, seed):
    rng = np.random.default_rng(seed)
    age = rng.uniform(20, 90, n)
    days = rng.exponential(300 * np.exp((50 - age) / 15))
    censored = rng.uniform(0, 1500, n)
    return pd.DataFrame(
        {
            "age": age,
            "unused": 0.5,
            "days": np.minimum(days, censored),
            "seen": (days <= censored).astype(int),
        }
    )


@pytest.fixture(scope="module")
def ward_release():
    options = {"epsilon": 20.0, "delta": 1e-5, "n_rows": 60, "rounds": 30, "directions": 8}
    return Condenser(schema=CLASSES, learner="logistic", **options).fit(ward(800, 1)).release_


@pytest.fixture(scope="module")
def survival_release():
    options = {"epsilon": 20.0, "delta": 1e-5, "n_rows": 60, "rounds": 30, "directions": 8}
    return Condenser(schema=SURVIVAL, learner="cox", **options).fit(followed(800, 1)).release_


def test_classes_with_missing_cells_and_patient_ids(ward_release):
    found = evaluate(ward_release, ward(400, 2), n_bootstrap=20, random_state=1)
    table = found.frame().set_index(["model", "metric"])
    assert list(table.index.get_level_values("model").unique()) == ["tree", "forest", "logistic"]
    assert list(table.index.get_level_values("metric").unique()) == ["AUROC", "AUPRC", "Brier"]
    assert (table["lower"] <= table["estimate"]).all()
    assert (table["estimate"] <= table["upper"]).all()
    assert "not private" in str(found)


def test_random_state_repeats_the_figures(ward_release):
    first, second = (evaluate(ward_release, ward(200, 2), n_bootstrap=5, random_state=4) for _ in range(2))
    assert first == second


def test_own_models(ward_release, survival_release):
    models = {"boosting": HistGradientBoostingClassifier(max_iter=5), "constant": DummyClassifier()}
    table = evaluate(ward_release, ward(200, 2), models=models, n_bootstrap=0).frame()
    constant = table[(table["model"] == "constant") & (table["metric"] == "AUROC")]
    assert constant["estimate"].item() == 0.5
    assert table[["lower", "upper"]].isna().all(axis=None)

    models = {"weibull": WeibullAFTFitter()}
    table = evaluate(survival_release, followed(300, 2), models=models, n_bootstrap=0).frame()
    assert set(table["metric"]) == {"C-index", "integrated Brier"}
    assert not hasattr(models["weibull"], "params_")


def test_default_classifiers_learn_from_real_rows(ward_release):
    # The noise of a release differs from run to run; what real rows give does not.
    train, test = (encode_rows(ward(n, n), CLASSES, ward_release.decoder) for n in (800, 300))
    scores = score_models(default_models("classification", 0), train, test, np.zeros((0, 300)))
    assert all(s.estimate.value > 0.75 for s in scores if s.metric == "AUROC")
    assert all(s.estimate.value < 0.25 for s in scores if s.metric == "Brier")


def test_families_of_survival_models_agree_on_real_rows(survival_release):
    train, test = (encode_rows(followed(n, n), SURVIVAL, survival_release.decoder) for n in (800, 300))
    models = {
        "cox": CoxPHFitter(penalizer=0.1),
        "weibull": WeibullAFTFitter(),
        "forest": RandomSurvivalForest(n_estimators=20, min_samples_leaf=30, random_state=0),
        "sksurv cox": CoxPHSurvivalAnalysis(alpha=0.1),
    }
    scores = score_models(models, train, test, np.zeros((0, 300)))
    for metric, tolerance in (("C-index", 0.05), ("integrated Brier", 0.02)):
        values = [s.estimate.value for s in scores if s.metric == metric]
        assert max(values) - min(values) < tolerance
        assert metric != "C-index" or min(values) > 0.7


def test_survival(survival_release):
    found = evaluate(survival_release, followed(400, 2), n_bootstrap=20, random_state=1)
    scores = {s.metric: s.estimate for s in found.scores}
    assert scores["C-index"].lower < scores["C-index"].value < scores["C-index"].upper
    assert 0 < scores["integrated Brier"].value < 1


def test_features_of_any_name_reach_a_survival_model(survival_release):
    decoder = survival_release.decoder
    train, test = (encode_rows(followed(n, n), SURVIVAL, decoder) for n in (800, 300))
    renamed = [replace(rows, x=rows.x.rename(columns={"age": "time_"})) for rows in (train, test)]
    models = {"cox": CoxPHFitter(penalizer=0.1)}
    found = [score_models(models, *rows, np.zeros((0, 300))) for rows in ((train, test), renamed)]
    assert found[0] == found[1] and found[0][0].estimate.value > 0.7


def test_rows_without_an_outcome_are_left_out(ward_release):
    whole = ward(200, 2)
    holed = pd.concat([whole, whole.assign(outcome=None), whole.assign(outcome="elsewhere")])
    first, second = (evaluate(ward_release, t, n_bootstrap=0, random_state=1) for t in (whole, holed))
    assert first == second


@pytest.mark.parametrize("outcome", ["home", None])
def test_one_class_is_refused(ward_release, outcome):
    with pytest.raises(DataError, match=r"outcome.*one class"):
        evaluate(ward_release, ward(50, 2).assign(outcome=outcome))


def test_no_event_is_refused(survival_release):
    with pytest.raises(DataError, match=r"seen.*event"):
        evaluate(survival_release, followed(50, 2).assign(seen=0))


def test_other_columns_are_refused(ward_release):
    with pytest.raises(DataError, match="age"):
        evaluate(ward_release, ward(50, 2).drop(columns="age"))


def test_wrong_options(ward_release):
    with pytest.raises(ValueError, match="n_bootstrap"):
        evaluate(ward_release, ward(50, 2), n_bootstrap=-1)
    with pytest.raises(ValueError, match=r"'random_state' option"):
        evaluate(ward_release, ward(50, 2), random_state=-1)
    assert evaluate(ward_release, ward(50, 2), n_bootstrap=0, random_state=2**40).scores
    with pytest.raises(TypeError, match=r"models.*predict_proba.*'text'"):
        evaluate(ward_release, ward(50, 2), models={"text": "tree"})
