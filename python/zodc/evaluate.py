"""Train on a release, test on held-out real rows.

The held-out rows are real patients, so the figures are not private: they belong to the custodian's own
report, or must be paid for before they leave.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from lifelines import CoxPHFitter
from lifelines.fitters import RegressionFitter
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from zodc import frames, metrics
from zodc._zodc import DataError, Decoder
from zodc.metrics import Bools, Estimate, Floats
from zodc.options import OptionError
from zodc.release import Release, survival_records
from zodc.schema import Schema

__all__ = ["Evaluation", "Rows", "Score", "default_models", "encode_rows", "evaluate", "score_models"]

NOT_PRIVATE = "These figures come from real patients and are themselves not private."

Codes = NDArray[np.int64]
Metric = Callable[[Floats], Floats]


@dataclass(frozen=True, kw_only=True)
class Score:
    """One metric of one model."""

    model: str
    metric: str
    estimate: Estimate


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Scores on held-out real rows of models trained on a release. Not private.

    Attributes
    ----------
    scores : tuple of Score
        By model, then metric.
    """

    scores: tuple[Score, ...]

    def frame(self) -> pd.DataFrame:
        """Return the scores as columns model, metric, estimate, lower, upper."""
        return pd.DataFrame(
            {
                "model": [s.model for s in self.scores],
                "metric": [s.metric for s in self.scores],
                "estimate": [s.estimate.value for s in self.scores],
                "lower": [s.estimate.lower for s in self.scores],
                "upper": [s.estimate.upper for s in self.scores],
            }
        )

    def __rich__(self) -> Table:
        names = list(dict.fromkeys(score.metric for score in self.scores))
        table = Table(
            title="Trained on the release, tested on held-out real rows (95 % interval)",
            caption=NOT_PRIVATE,
            title_justify="left",
            caption_justify="left",
        )
        table.add_column("model", overflow="fold")
        for name in names:
            table.add_column(name, no_wrap=True)
        for model in dict.fromkeys(score.model for score in self.scores):
            by_metric = {s.metric: str(s.estimate) for s in self.scores if s.model == model}
            table.add_row(model, *(by_metric[name] for name in names))
        return table

    def __str__(self) -> str:
        console = Console(width=80, no_color=True)
        with console.capture() as capture:
            console.print(self)
        return capture.get()


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows as models see them.

    Attributes
    ----------
    x : DataFrame of shape (n_rows, width)
        Missing cells imputed, categories one-hot, standardised by the public scale.
    codes : ndarray of shape (n_rows,)
        Index of the class; for survival 1 where the event was seen.
    time : ndarray of shape (n_rows,) or None
        Follow-up, for survival.
    n_classes : int
        Classes of the schema.
    """

    x: pd.DataFrame = field(repr=False)
    codes: Codes = field(repr=False)
    time: Floats | None = field(repr=False)
    n_classes: int

    @property
    def event(self) -> Bools:
        """Whether the event was seen, for survival."""
        return np.asarray(self.codes == 1)

    def take(self, rows: Codes) -> Rows:
        """Select rows by position."""
        time = None if self.time is None else self.time[rows]
        return Rows(x=self.x.iloc[rows], codes=self.codes[rows], time=time, n_classes=self.n_classes)


def _encoded_names(schema: Schema) -> list[str]:
    names = []
    for column in schema.features:
        own = [f"{column.name}={c}" for c in column.categories] if column.kind == "categorical" else []
        names += own or [column.name]
        names += [column.flag_name] if column.flag_name is not None else []
    return names


def _without_units(schema: Schema) -> Schema:
    """Synthetic rows have no patient_id, and held-out ones need none."""
    columns = (replace(c, role="ignore") if c.role == "patient_id" else c for c in schema.columns)
    return Schema(tuple(columns), schema.name)


def encode_rows(frame: Any, schema: Schema, decoder: Decoder) -> Rows:
    """Encode a frame that holds features and outcome; rows without an outcome are left out.

    Parameters
    ----------
    frame : pandas, polars or pyarrow frame
        All columns of the schema that are not ignored.
    schema : Schema
        The public schema.
    decoder : Decoder
        Gives the public scale, and what a missing cell becomes.

    Returns
    -------
    Rows
    """
    encoded = frames.encode(frame, None, _without_units(schema))
    x = pd.DataFrame(decoder.encode(encoded.cells), columns=_encoded_names(schema))
    if schema.time is None:
        assert schema.target is not None
        codes, time, n_classes = encoded.outcome, None, len(schema.target.categories)
    else:
        assert encoded.event is not None
        codes, n_classes = encoded.event, 2
        time = np.clip(encoded.outcome, schema.time.lower, schema.time.upper)
    known = codes >= 0
    if time is not None:
        known &= ~np.isnan(time)
    found = Rows(x=x, codes=np.where(known, codes, 0).astype(np.int64), time=time, n_classes=n_classes)
    return found.take(np.flatnonzero(known))


def release_rows(release: Release, decoder: Decoder) -> Rows:
    """Encode the released rows, with cells missing where their flags say so."""
    frame = release.frame("pandas")
    for column in release.schema.features:
        if column.flag_name is not None:
            frame[column.name] = frame[column.name].mask(frame[column.flag_name] == 1)
            frame = frame.drop(columns=column.flag_name)
    return encode_rows(frame, release.schema, decoder)


def default_models(task: str, random_state: int | None = None) -> dict[str, Any]:
    """Return the models that a release is judged by: tree, forest, logistic; or Cox."""
    if task == "survival":
        return {"cox": CoxPHFitter(penalizer=0.1)}
    return {
        "tree": DecisionTreeClassifier(max_depth=4, min_samples_leaf=5, random_state=random_state),
        "forest": RandomForestClassifier(min_samples_leaf=2, random_state=random_state),
        "logistic": LogisticRegression(max_iter=1000),
    }


def _check_models(models: Mapping[str, Any], task: str) -> None:
    needed = "predict_survival_function" if task == "survival" else "predict_proba"
    for name, model in models.items():
        # A lifelines fitter shows its predictions only once it is fitted.
        can = hasattr(model, needed) or (task == "survival" and isinstance(model, RegressionFitter))
        if isinstance(model, type) or not (hasattr(model, "fit") and can):
            raise TypeError(f"The 'models' option must hold {task} models with {needed}. Got {name!r}.")


def _check_holdout(holdout: Rows, schema: Schema) -> None:
    column = schema.target if schema.event is None else schema.event
    assert column is not None
    if schema.time is not None and not holdout.event.any():
        problem, remedy = "no held-out row has the event", "pass more rows to test on"
    elif schema.time is None and len(np.unique(holdout.codes)) < 2:
        problem, remedy = "the held-out rows have one class only", "pass rows of every class to test on"
    else:
        return
    raise DataError(f"data, column '{column.name}': {problem}; {remedy}")


def _probabilities(model: Any, train: Rows, test: Rows) -> Floats:
    p = np.zeros((len(test.x), test.n_classes))
    classes = np.unique(train.codes)
    if len(classes) < 2:
        p[:, classes] = 1.0
        return p
    fitted = clone(model).fit(train.x, train.codes)
    p[:, fitted.classes_] = fitted.predict_proba(test.x)
    return p


def _survival(model: Any, train: Rows, test: Rows, times: Floats) -> Floats:
    """Probability to be free of the event after each time, of shape (n_rows, n_times)."""
    # A column that the synthetic rows hold constant carries nothing and makes a fit singular.
    varied = train.x.columns[train.x.nunique() > 1]
    x, x_test = train.x[varied], test.x[varied]
    assert train.time is not None
    if not isinstance(model, RegressionFitter):
        fitted = clone(model).fit(x, survival_records(np.column_stack([train.time, train.codes])))
        curves = fitted.predict_survival_function(x_test, return_array=True)
        before = np.column_stack([np.ones(len(x_test)), curves])
        steps = np.searchsorted(fitted.unique_times_, times, side="right")
        return np.asarray(before[:, steps])
    table = x.assign(time_=np.maximum(train.time, 1e-9), event_=train.event)
    fitted = copy.deepcopy(model).fit(table, duration_col="time_", event_col="event_")
    return np.asarray(fitted.predict_survival_function(x_test, times=times).to_numpy().T)


def _classification_metrics(model: Any, train: Rows, test: Rows) -> dict[str, Metric]:
    p = _probabilities(model, train, test)
    return {
        "AUROC": lambda w: metrics.auroc(test.codes, p, w),
        "AUPRC": lambda w: metrics.auprc(test.codes, p, w),
        "Brier": lambda w: metrics.brier(test.codes, p, w),
    }


def _survival_metrics(model: Any, train: Rows, test: Rows) -> dict[str, Metric]:
    assert test.time is not None
    time, event = test.time, test.event
    times = metrics.brier_times(time, event)
    survival = _survival(model, train, test, times)
    risk = -np.log(np.maximum(survival, 1e-12)).mean(axis=1)
    return {
        "C-index": lambda w: metrics.concordance(time, event, risk, w),
        "integrated Brier": lambda w: metrics.integrated_brier(time, event, survival, times, w),
    }


def score_models(models: Mapping[str, Any], train: Rows, test: Rows, counts: Floats) -> tuple[Score, ...]:
    """Fit models on one set of rows and score them on another.

    Parameters
    ----------
    models : mapping of str to model
        As for `evaluate`.
    train, test : Rows
        Encoded by the same decoder.
    counts : ndarray of shape (n_bootstrap, n_test)
        Replicates, from `metrics.bootstrap_counts`.

    Returns
    -------
    tuple of Score
    """
    of_model = _classification_metrics if test.time is None else _survival_metrics
    scores = []
    for name, model in models.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # fits of a few hundred rows are noted as unsteady
            scored = of_model(model, train, test)
        scores += [
            Score(model=name, metric=metric, estimate=metrics.estimate(score, counts))
            for metric, score in scored.items()
        ]
    return tuple(scores)


def evaluate(
    release: Release,
    holdout: Any,
    *,
    models: Mapping[str, Any] | None = None,
    n_bootstrap: int = 200,
    random_state: int | None = None,
) -> Evaluation:
    """Train models on a release and test them on held-out real rows.

    Parameters
    ----------
    release : Release
        The synthetic rows.
    holdout : pandas, polars or pyarrow frame
        Real rows with features and outcome that were not condensed.
    models : mapping of str to model, optional
        Classifiers with `predict_proba`; for survival lifelines regression fitters or scikit-survival
        estimators. They see numbers: missing cells imputed, categories one-hot, standardised. Default: a
        decision tree of depth 4, a random forest, logistic regression; for survival Cox regression.
    n_bootstrap : int, default=200
        Replicates for the 95 % intervals, drawn within classes; 0 for none.
    random_state : int, optional
        Fixes the replicates and the forest.

    Returns
    -------
    Evaluation
        AUROC, AUPRC and Brier score, or C-index and integrated Brier score. Not private.

    Raises
    ------
    DataError
        When the held-out rows do not fit the schema, or hold a single class or no event.
    """
    if n_bootstrap < 0:
        raise OptionError(f"The 'n_bootstrap' option must be 0 or more. Got {n_bootstrap} instead.")
    schema = release.schema
    models = default_models(schema.task, random_state) if models is None else models
    _check_models(models, schema.task)
    decoder = release.decoder
    test = encode_rows(holdout, schema, decoder)
    _check_holdout(test, schema)
    counts = metrics.bootstrap_counts(test.codes, n_bootstrap, np.random.default_rng(random_state))
    return Evaluation(scores=score_models(models, release_rows(release, decoder), test, counts))
