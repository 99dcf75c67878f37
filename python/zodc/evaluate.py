"""Train on a release, test on held-out real rows.

The held-out rows are real patients, so the figures are not private: they belong to the custodian's own
report, or must be paid for before they leave.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from lifelines import CoxPHFitter
from lifelines.fitters import RegressionFitter
from rich.console import Console
from rich.table import Table
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from zodc import metrics
from zodc._zodc import DataError
from zodc.curves import Judged
from zodc.encoded import EncodedRows, encode_rows, encode_with_cells, release_rows
from zodc.evaluation_plots import EvaluationPlots
from zodc.metrics import Bools, Estimate, Floats
from zodc.models import fit_lifelines, fit_sksurv
from zodc.options import count, public_seed, sklearn_seed
from zodc.release import Release
from zodc.schema import Schema
from zodc.summary import groups_of

__all__ = [
    "FULL",
    "RELEASED",
    "EncodedRows",
    "Evaluation",
    "Score",
    "check_by",
    "default_models",
    "encode_rows",
    "evaluate",
    "release_rows",
    "score_models",
]

NOT_PRIVATE = "These figures come from real patients and are themselves not private."

Metric = Callable[[Floats], Floats]

RELEASED, FULL = "released rows", "all real rows"
_N_SUBGROUPS = 4


@dataclass(frozen=True, kw_only=True)
class Score:
    """One metric of one model, trained on one kind of rows."""

    model: str
    metric: str
    estimate: Estimate
    rows: str = RELEASED


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Scores on held-out real rows of models trained on a release. Not private.

    Attributes
    ----------
    scores : tuple of Score
        By training rows, then model, then metric.
    judged : Judged
        Outcomes and predictions of the held-out patients, for pictures.
    """

    scores: tuple[Score, ...]
    judged: Judged = field(repr=False, compare=False)

    @property
    def plot(self) -> EvaluationPlots:
        """Pictures of the evaluation, on matplotlib axes. Not private."""
        return EvaluationPlots(self.judged)

    def frame(self) -> pd.DataFrame:
        """Return the scores as columns rows, model, metric, estimate, lower, upper."""
        return pd.DataFrame(
            {
                "rows": [s.rows for s in self.scores],
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
            title="Trained on these rows, tested on held-out real rows (95 % interval)",
            caption=NOT_PRIVATE,
            title_justify="left",
            caption_justify="left",
        )
        several = len(self.judged.sources) > 1
        if several:
            table.add_column("rows", overflow="fold")
        table.add_column("model", overflow="fold")
        for name in names:
            table.add_column(name, no_wrap=not several)
        for rows, model in dict.fromkeys((score.rows, score.model) for score in self.scores):
            own = [s for s in self.scores if (s.rows, s.model) == (rows, model)]
            by_metric = {s.metric: str(s.estimate) for s in own}
            table.add_row(*([rows] if several else []), model, *(by_metric[name] for name in names))
        return table

    def __str__(self) -> str:
        console = Console(width=80, no_color=True)
        with console.capture() as capture:
            console.print(self)
        return capture.get()


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


def _check_holdout(holdout: EncodedRows, schema: Schema) -> None:
    column = schema.target if schema.event is None else schema.event
    assert column is not None
    if schema.time is not None and not holdout.event.any():
        problem, remedy = "no held-out row has the event", "pass more rows to test on"
    elif schema.time is None and len(np.unique(holdout.codes)) < 2:
        problem, remedy = "the held-out rows have one class only", "pass rows of every class to test on"
    else:
        return
    raise DataError(f"data, column '{column.name}': {problem}; {remedy}")


def _probabilities(model: Any, train: EncodedRows, test: EncodedRows) -> Floats:
    p = np.zeros((len(test.x), test.n_classes))
    classes = np.unique(train.codes)
    if len(classes) < 2:
        p[:, classes] = 1.0
        return p
    fitted = clone(model).fit(train.x, train.codes)
    p[:, fitted.classes_] = fitted.predict_proba(test.x)
    return p


def _survival(model: Any, train: EncodedRows, test: EncodedRows, times: Floats) -> Floats:
    """Probability to be free of the event after each time, of shape (n_rows, n_times)."""
    # A column that the synthetic rows hold constant carries nothing and makes a fit singular.
    varied = train.x.columns[train.x.nunique() > 1]
    x, x_test = train.x[varied], test.x[varied]
    assert train.time is not None
    outcome = np.column_stack([train.time, train.codes])
    if isinstance(model, RegressionFitter):
        return fit_lifelines(copy.deepcopy(model), x, outcome, times)(x_test)
    return fit_sksurv(clone(model), x, outcome, times)(x_test)


def _predict(model: Any, train: EncodedRows, test: EncodedRows, times: Floats) -> Floats:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fits of a few hundred rows are noted as unsteady
        if test.time is None:
            return _probabilities(model, train, test)
        return _survival(model, train, test, times)


def _times(test: EncodedRows) -> Floats:
    return np.zeros(0) if test.time is None else metrics.brier_times(test.time, test.event)


def _metrics(predicted: Floats, test: EncodedRows, times: Floats) -> dict[str, Metric]:
    if test.time is None:
        return {
            "AUROC": lambda w: metrics.auroc(test.codes, predicted, w),
            "AUPRC": lambda w: metrics.auprc(test.codes, predicted, w),
            "Brier": lambda w: metrics.brier(test.codes, predicted, w),
        }
    time, event = test.time, test.event
    risk = metrics.mean_hazard(predicted)
    return {
        "C-index": lambda w: metrics.concordance(time, event, risk, w),
        "integrated Brier": lambda w: metrics.integrated_brier(time, event, predicted, times, w),
    }


def score_models(
    models: Mapping[str, Any], train: EncodedRows, test: EncodedRows, counts: Floats
) -> tuple[Score, ...]:
    """Fit models on one set of rows and score them on another.

    Parameters
    ----------
    models : mapping of str to model
        As for `evaluate`.
    train, test : EncodedRows
        Encoded by the same decoder.
    counts : ndarray of shape (n_bootstrap, n_test)
        Replicates, from `metrics.bootstrap_counts`.

    Returns
    -------
    tuple of Score
    """
    times = _times(test)
    return tuple(
        score
        for name, model in models.items()
        for score in _scores(RELEASED, name, _predict(model, train, test, times), test, times, counts)
    )


def _scores(
    rows: str, model: str, predicted: Floats, test: EncodedRows, times: Floats, counts: Floats
) -> Iterator[Score]:
    for metric, score in _metrics(predicted, test, times).items():
        yield Score(rows=rows, model=model, metric=metric, estimate=metrics.estimate(score, counts))


def evaluate(
    release: Release,
    holdout: Any,
    *,
    full: Any = None,
    by: Sequence[str] = (),
    models: Mapping[str, Any] | None = None,
    n_bootstrap: int = 200,
    random_state: Any = None,
) -> Evaluation:
    """Train models on a release and test them on held-out real rows.

    Parameters
    ----------
    release : Release
        The synthetic rows.
    holdout : pandas, polars or pyarrow frame
        Real rows with features and outcome that were not condensed.
    full : pandas, polars or pyarrow frame, optional
        The real rows that were condensed. Models are then trained on all of them, too, and on as many drawn
        at random as the release has.
    by : sequence of str, default=()
        Feature columns for whose groups the pictures and the report are to tell the scores.
    models : mapping of str to model, optional
        Classifiers with `predict_proba`; for survival lifelines regression fitters or scikit-survival
        estimators. They see numbers: missing cells imputed, categories one-hot, standardised. Default: a
        decision tree of depth 4, a random forest, logistic regression; for survival Cox regression.
    n_bootstrap : int, default=200
        Replicates for the 95 % intervals, drawn within classes; 0 for none.
    random_state : None, int or NumPy generator
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
    n_bootstrap, seed = count("n_bootstrap", n_bootstrap, least=0), public_seed(random_state)
    schema = release.schema
    models = default_models(schema.task, sklearn_seed(seed)) if models is None else models
    _check_models(models, schema.task)
    check_by(schema, by)
    decoder = release.decoder
    test, cells = encode_with_cells(holdout, schema, decoder)
    _check_holdout(test, schema)
    rng = np.random.default_rng(seed)
    counts = metrics.bootstrap_counts(test.codes, n_bootstrap, rng)
    sources = {RELEASED: release_rows(release, decoder)}
    if full is not None:
        real = encode_rows(full, schema, decoder)
        n_random = min(len(release.rows), len(real.x))
        sources[FULL] = real
        sources[f"{n_random} random real rows"] = real.take(rng.permutation(len(real.x))[:n_random])
    times = _times(test)
    predictions = {
        (rows, name): _predict(model, train, test, times)
        for rows, train in sources.items()
        for name, model in models.items()
    }
    scores = [
        score
        for (rows, name), predicted in predictions.items()
        for score in _scores(rows, name, predicted, test, times, counts)
    ]
    judged = Judged(
        codes=test.codes,
        time=test.time,
        times=times,
        predictions=predictions,
        groups=_groups(schema, by, cells),
    )
    return Evaluation(scores=tuple(scores), judged=judged)


def check_by(schema: Schema, by: Sequence[str]) -> None:
    """Refuse groups by a column that is no feature of the schema."""
    names = [column.name for column in schema.features]
    for name in by:
        if name not in names:
            raise DataError(
                f"schema, column '{name}': it is no feature, so that there are no groups by it; "
                f"take some of {', '.join(names)}"
            )


def _groups(schema: Schema, by: Sequence[str], cells: Floats) -> dict[str, tuple[tuple[str, Bools], ...]]:
    found = {}
    for place, column in enumerate(schema.features):
        if column.name in by:
            groups = groups_of(column, cells[:, place], _N_SUBGROUPS)
            rest = ~np.any([inside for _, inside in groups], axis=0) if groups else np.ones(len(cells), bool)
            other = [("any other, or not known", rest)] if rest.any() else []
            found[column.name] = tuple([*groups, *other])
    return found
