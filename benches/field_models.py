"""Learners that the benchmark judges releases by, and the measures of their predictions."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from lifelines import CoxPHFitter
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier
from sksurv.ensemble import RandomSurvivalForest
from sksurv.tree import SurvivalTree
from xgboost import XGBClassifier
from zodc import metrics
from zodc.evaluate import EncodedRows
from zodc.metrics import Floats
from zodc.tables import survival_records

# Probabilities this close to 0 or 1 are moved here before their logit is taken.
LOGIT_MARGIN = 1e-4
# Steps into which forests and trees see the time up to the last one that is scored.
TIME_STEPS = 400

Scores = dict[tuple[str, str], float]


def judges(task: str, seed: int) -> dict[str, Any]:
    """Unfitted learners by name."""
    if task == "survival":
        return {
            "cox": CoxPHFitter(penalizer=0.1),
            "survival_forest": RandomSurvivalForest(
                n_estimators=100, min_samples_leaf=10, random_state=seed, n_jobs=1
            ),
            "survival_tree": SurvivalTree(max_depth=5, min_samples_leaf=10, random_state=seed),
        }
    return {
        "tree": DecisionTreeClassifier(max_depth=5, min_samples_leaf=5, random_state=seed),
        "forest": RandomForestClassifier(n_estimators=200, min_samples_leaf=2, random_state=seed, n_jobs=1),
        "xgboost": XGBClassifier(
            n_estimators=100, max_depth=3, learning_rate=0.1, random_state=seed, n_jobs=1
        ),
        "logistic": LogisticRegression(max_iter=1000),
    }


def score(train: EncodedRows, test: EncodedRows, seed: int, weight: Floats | None = None) -> Scores:
    """Train each learner on rows, and score its predictions of others.

    Parameters
    ----------
    train, test : EncodedRows
        Encoded by the same decoder.
    seed : int
        Of forests and trees.
    weight : ndarray of shape (n_train,), optional
        Weights of the rows, for classification.

    Returns
    -------
    dict of (str, str) to float
        By learner and metric. A learner that cannot be trained on the rows predicts the same for everyone.
    """
    one = np.ones((1, len(test.x)))
    found: Scores = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fits of a few hundred rows are noted as unsteady
        if test.time is None:
            for name, model in judges("classification", seed).items():
                p = _probabilities(model, train, test, weight)
                found[name, "auroc"] = float(metrics.auroc(test.codes, p, one)[0])
                found[name, "auprc"] = float(metrics.auprc(test.codes, p, one)[0])
                found[name, "brier"] = float(metrics.brier(test.codes, p, one)[0])
                found[name, "slope"] = calibration_slope(test.codes, p[:, 1])
            return found
        times = metrics.brier_times(test.time, test.event)
        for name, model in judges("survival", seed).items():
            risk, free = _survival(model, train, test, times)
            found[name, "c_index"] = float(metrics.concordance(test.time, test.event, risk, one)[0])
            found[name, "integrated_brier"] = float(
                metrics.integrated_brier(test.time, test.event, free, times, one)[0]
            )
    return found


def calibration_slope(codes: Any, p: Floats) -> float:
    """Slope of the logistic regression of the outcome on the logit of its prediction; 1 is best."""
    p = np.clip(p, LOGIT_MARGIN, 1 - LOGIT_MARGIN)
    logit = np.log(p / (1 - p))
    if np.ptp(logit) < 1e-9 or len(np.unique(codes)) < 2:
        return float("nan")
    fitted = LogisticRegression(C=1e8, max_iter=1000).fit(logit[:, None], codes)
    return float(fitted.coef_[0, 0])


def _probabilities(model: Any, train: EncodedRows, test: EncodedRows, weight: Floats | None) -> Floats:
    p = np.zeros((len(test.x), test.n_classes))
    classes = np.unique(train.codes)
    if len(classes) < 2:
        p[:, classes] = 1.0
        return p
    # Arrays, as XGBoost refuses names such as "age<65".
    fitted = clone(model).fit(train.x.to_numpy(), train.codes, sample_weight=weight)
    p[:, fitted.classes_] = fitted.predict_proba(test.x.to_numpy())
    return p


def _survival(model: Any, train: EncodedRows, test: EncodedRows, times: Floats) -> tuple[Floats, Floats]:
    """Risk of each row, and its probability to be free of the event after each time."""
    fit = _cox if isinstance(model, CoxPHFitter) else _survival_trees
    try:
        return fit(model, train, test, times)
    except (ValueError, ArithmeticError):  # no event, or rows without any spread
        assert train.time is not None
        free = 1 - train.event.mean() * np.clip(times / max(train.time.max(), 1e-9), 0, 1)
        return np.zeros(len(test.x)), np.tile(free, (len(test.x), 1))


def _cox(model: Any, train: EncodedRows, test: EncodedRows, times: Floats) -> tuple[Floats, Floats]:
    assert train.time is not None
    # A column that the rows hold constant carries nothing and makes the fit singular.
    varied = train.x.columns[train.x.nunique() > 1]
    table = train.x[varied].assign(time_=np.maximum(train.time, 1e-9), event_=train.event)
    model.fit(table, duration_col="time_", event_col="event_")
    x = test.x[varied]
    free = model.predict_survival_function(x, times=times).to_numpy().T
    return np.asarray(model.predict_log_partial_hazard(x)), np.asarray(free)


def _survival_trees(
    model: Any, train: EncodedRows, test: EncodedRows, times: Floats
) -> tuple[Floats, Floats]:
    assert train.time is not None
    # Curves have a step at each distinct time: rows with thousands of them would take minutes.
    width = times[-1] / TIME_STEPS
    time = np.ceil(train.time / width) * width
    records = survival_records(np.column_stack([time, train.codes]))
    fitted = model.fit(train.x.to_numpy(), records)
    x = test.x.to_numpy()
    curves = fitted.predict_survival_function(x, return_array=True)
    before = np.column_stack([np.ones(len(x)), curves])
    free = before[:, np.searchsorted(fitted.unique_times_, times, side="right")]
    return np.asarray(fitted.predict(x)), free
