"""Foreign models: fitted on synthetic rows, asked for one loss per row.

Nothing here raises for what a model does, or quotes it, but on the probe's public rows: on patients' rows the
text of an error could hold a patient's value, and whether there is one could depend on a single patient.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone

from zodc.cells import Floats
from zodc.losses import classification_losses, survival_losses
from zodc.options import OptionError, sklearn_seed
from zodc.schema import Column, Schema
from zodc.tables import Table, survival_records

__all__ = [
    "PythonModel",
    "fit_lifelines",
    "fit_sksurv",
    "numeric_frame",
    "survival_at",
]

# Rows that a model is given at once, and rows of the probe for coupling: a model that couples rows of large
# tables only would pass a smaller probe, and couple patients. Sizes of the parts that the probe is
# predicted in, and rows predicted one by one.
_BLOCK, _PARTS, _SINGLES = 1000, (1, 7, 60), 8
# Predictions of one row may differ by no more than the rounding of matrix products, which depends on the
# size of the batch; a model that couples rows through a value of one of 1000 rows differs by far more.
_ROUNDING = 1e-12

Predict = Callable[[pd.DataFrame], Floats]


@dataclass(frozen=True, kw_only=True)
class PythonModel:
    """A foreign model with what it needs to read tables.

    Attributes
    ----------
    estimator : object
        Never fitted itself; copies of it are.
    family : {"sklearn", "lifelines", "sksurv"}
        How it is called.
    schema : Schema
    time_grid : tuple of float or None
        Public edges between which a predicted hazard is taken as constant.
    seed : int or None
        Public; for estimators that leave `random_state` open, so that both sides of a direction agree.
    """

    estimator: Any = field(repr=False)
    family: str
    schema: Schema = field(repr=False)
    time_grid: tuple[float, ...] | None = None
    seed: int | None = None

    @classmethod
    def wrap(cls, estimator: Any, schema: Schema) -> Self:
        """Recognise a model by what it can do.

        Raises
        ------
        OptionError
            When it is of another task, or gives no probabilities: then its loss cannot be written per row.
        """
        name = estimator.__name__ if isinstance(estimator, type) else type(estimator).__name__
        need = "predict_survival_function" if schema.task == "survival" else "predict_proba"
        if isinstance(estimator, type) or not hasattr(estimator, "fit"):
            raise OptionError(
                "The 'learner' option must be a name, a zodc learner, or a model ready to fit. "
                f"Got {name} instead."
            )
        lineage = [(base.__module__.split(".")[0], base.__name__) for base in type(estimator).__mro__]
        # An unfitted lifelines fitter may not show its methods yet.
        is_lifelines = ("lifelines", "RegressionFitter") in lineage and schema.task == "survival"
        calibrated = "" if schema.task == "survival" else ", or calibrate it first"
        if not is_lifelines and not hasattr(estimator, need):
            raise OptionError(
                f"The 'learner' option must have {need} for {schema.task}: a loss that cannot be written per "
                f"patient is refused. Got {name} instead; take another model{calibrated}."
            )
        if _is_frozen(estimator):
            raise OptionError(
                "The 'learner' option must hold no part that is fitted already: what it was fitted on would "
                f"enter the rows without noise. Got {name} with a frozen part instead; take it unfitted."
            )
        survival = "lifelines" if is_lifelines else "sksurv"
        return cls(
            estimator=estimator, family=survival if schema.task == "survival" else "sklearn", schema=schema
        )

    def to_dict(self) -> dict[str, Any]:
        """Name for the manifest; options may hold anything, so they are left out."""
        kind = type(self.estimator)
        return {"kind": "python", "family": self.family, "class": f"{kind.__module__}.{kind.__qualname__}"}

    def losses(self, train: Table, rows: pd.DataFrame, outcome: Floats) -> Floats | None:
        """Fit on synthetic rows; return the loss of each of other rows.

        Parameters
        ----------
        train : Table
            Outcome: class codes (n × 1), or times and events (n × 2).
        rows : DataFrame
            What `frame` makes of a table.
        outcome : array
            Of these rows: class probabilities (n × n_classes), or times and events.

        Returns
        -------
        array of shape (n_rows,) or None
            NaN for a row at which the model fails. None when the fit itself fails: that is known from
            synthetic rows alone, hence public.
        """
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            predict = self._fit(train)
            if predict is None:
                return None
            predicted = _row_by_row(predict, rows, self._n_outputs())
            if self.time_grid is None:
                return classification_losses(predicted, outcome)
            return survival_losses(predicted, outcome, np.asarray(self.time_grid))

    def couples_rows(self, train: Table, probes: Table) -> bool:
        """Whether the prediction of a public probe row changes with the rows beside it.

        Then no clip bounds what a patient contributes, and the model must not meet patients. A probe can
        find coupling, never prove that there is none: the manifest says so.

        Raises
        ------
        OptionError
            When the model fails on public rows already: it would fail later in silence.
        """
        rng = np.random.default_rng(self.seed)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            train = (train[0], _random_flags(train[0].shape, rng), train[2])
            predict = self._fit(train)
            if predict is None:
                raise OptionError(
                    "The 'learner' option must hold models that can be fitted on random rows of the schema. "
                    f"Got {type(self.estimator).__name__}, which failed; mend this: {self._why(train)}"
                )
            # Each column drawn by itself: combinations that no row of the probes has.
            cells = np.column_stack([rng.choice(column, _BLOCK) for column in probes[0].T])
            frame = self.frame((cells, _random_flags(cells.shape, rng), probes[2]))
            return _is_coupled(predict, frame, self._n_outputs(), rng)

    def frame(self, table: Table) -> pd.DataFrame:
        """Build the frame that the model reads."""
        # A full set of 0/1 columns is collinear, which regressions without an intercept cannot bear.
        return numeric_frame(table, self.schema, reference=self.family != "sklearn")

    def _n_outputs(self) -> int:
        return len(self.schema.outcomes[0].categories) if self.time_grid is None else len(self.time_grid)

    def _fit(self, train: Table) -> Predict | None:
        """Fit a copy on synthetic rows; None when it fails, there or on all of the first rows fitted on."""
        frame = self.frame(train)
        try:
            predict = self._fit_family(frame, train[2])
        except KeyboardInterrupt:
            raise
        except BaseException:
            return None
        # A model that fails everywhere would be asked for each patient by itself, in vain.
        first = _row_by_row(predict, frame.iloc[:8], self._n_outputs())
        return None if np.isnan(first).all() else predict

    def _why(self, train: Table) -> str:
        """Quote the fault of a fit that failed: on public rows only, never on a patient's."""
        frame = self.frame(train)
        try:
            self._fit_family(frame, train[2])(frame.iloc[:8])
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            first = str(error).strip().partition("\n")[0]
            return f"{type(error).__name__}: {first}" if first else type(error).__name__
        return "its predictions are no numbers, or not one row of them for each row"

    def _fit_family(self, frame: pd.DataFrame, outcome: Floats) -> Predict:
        fit = {"sklearn": self._fit_sklearn, "lifelines": self._fit_lifelines, "sksurv": self._fit_sksurv}
        return fit[self.family](frame, outcome)

    def _fresh(self) -> Any:
        model = (
            clone(self.estimator) if hasattr(self.estimator, "get_params") else copy.deepcopy(self.estimator)
        )
        if self.seed is not None and hasattr(model, "get_params"):
            options = model.get_params(deep=True).items()
            is_open = [
                key for key, value in options if key.split("__")[-1] == "random_state" and value is None
            ]
            model.set_params(**dict.fromkeys(is_open, sklearn_seed(self.seed)))
        return model

    def _fit_sklearn(self, frame: pd.DataFrame, outcome: Floats) -> Predict:
        present, codes = np.unique(outcome[:, 0].astype(np.int64), return_inverse=True)
        model = self._fresh().fit(frame, codes)
        n_classes = self._n_outputs()

        def predict(rows: pd.DataFrame) -> Floats:
            probability = np.zeros((len(rows), n_classes))
            probability[:, present[np.asarray(model.classes_)]] = model.predict_proba(rows)
            return probability

        return predict

    def _fit_lifelines(self, frame: pd.DataFrame, outcome: Floats) -> Predict:
        return fit_lifelines(self._fresh(), frame, outcome, np.asarray(self.time_grid))

    def _fit_sksurv(self, frame: pd.DataFrame, outcome: Floats) -> Predict:
        return fit_sksurv(self._fresh(), frame, outcome, np.asarray(self.time_grid))


def fit_lifelines(model: Any, frame: pd.DataFrame, outcome: Floats, times: Floats) -> Predict:
    """Fit a lifelines regression to times and events (`n_rows × 2`).

    Returns
    -------
    callable
        From rows to their probabilities to be free of the event after each of `times` (`n_rows × n_times`).
    """
    # lifelines stops at a constant column, and at a time of 0.
    names = [name for name in frame.columns if frame[name].nunique() > 1]
    time, event = _new_name("__time", frame.columns), _new_name("__event", frame.columns)
    rows = frame[names].assign(**{time: np.maximum(outcome[:, 0], 1e-6 * times[-1]), event: outcome[:, 1]})
    model.fit(rows, duration_col=time, event_col=event)

    def predict(rows: pd.DataFrame) -> Floats:
        survival = model.predict_survival_function(rows[names].reset_index(drop=True), times=times)
        # Aalen's additive model answers at times of its own.
        return survival_at(times, np.asarray(survival.index), np.asarray(survival, dtype=np.float64).T)

    return predict


def fit_sksurv(model: Any, frame: pd.DataFrame, outcome: Floats, times: Floats) -> Predict:
    """Fit a scikit-survival estimator, as `fit_lifelines` does its."""
    model.fit(frame, survival_records(outcome))

    def predict(rows: pd.DataFrame) -> Floats:
        survival = np.asarray(model.predict_survival_function(rows, return_array=True), dtype=np.float64)
        return survival_at(times, model.unique_times_, survival)

    return predict


def numeric_frame(table: Table, schema: Schema, *, reference: bool = False) -> pd.DataFrame:
    """Frame of float64 columns that any model can read.

    Parameters
    ----------
    table : Table
        Its cells are complete: missing ones are imputed.
    schema : Schema
    reference : bool, default=False
        Whether the first category of a categorical column gets no 0/1 column.

    Returns
    -------
    DataFrame
        Numbers as they are, listed levels as 0, 1, …, categories as 0/1 columns `NAME=CATEGORY`, flags as
        `NAME_missing`. A made name that the schema uses already gets underscores behind.
    """
    cells, missing, _ = table
    columns: dict[str, Floats] = {}
    taken = {column.name for column in schema.columns}
    for place, column in enumerate(schema.features):
        for name, values in _numeric_columns(cells[:, place], column, reference).items():
            columns[name if name == column.name else _new_name(name, taken | columns.keys())] = values
        if column.flag_name is not None:
            columns[_new_name(column.flag_name, taken | columns.keys())] = missing[:, place]
    return pd.DataFrame(columns)


def _is_frozen(estimator: Any) -> bool:
    """Whether a clone keeps what a part of it was fitted on, as scikit-learn's `FrozenEstimator` does."""
    parts = [estimator, *(estimator.get_params().values() if hasattr(estimator, "get_params") else ())]
    return any(
        getattr(type(part), "__sklearn_clone__", BaseEstimator.__sklearn_clone__)
        is not BaseEstimator.__sklearn_clone__
        for part in parts
    )


def _new_name(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _random_flags(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    return (rng.random(shape) < 0.2).astype(np.float64)


def _is_coupled(predict: Predict, frame: pd.DataFrame, n_outputs: int, rng: np.random.Generator) -> bool:
    """Whether order, number or content of other rows changes what is predicted for a row."""
    whole = _row_by_row(predict, frame, n_outputs)

    def differs(places: NDArray[np.int64], rows: pd.DataFrame) -> bool:
        found, expected = _row_by_row(predict, rows, n_outputs)[: len(places)], whole[places]
        return not np.allclose(found, expected, rtol=_ROUNDING, atol=_ROUNDING, equal_nan=True)

    places = np.arange(len(frame))
    parts = [*np.split(places, np.cumsum(_PARTS)), *places[:_SINGLES, None], places[::-1]]
    parts += [rng.permutation(places), places.repeat(2), places[1:]]
    if any(differs(part, frame.iloc[part]) for part in parts):
        return True
    # A row with the largest, then the least cell of each column, beside all others.
    edges = [pd.concat([frame, edge.to_frame().T], ignore_index=True) for edge in (frame.max(), frame.min())]
    return any(differs(places, rows) for rows in edges)


def _numeric_columns(values: Floats, column: Column, reference: bool) -> dict[str, Floats]:
    if column.kind == "categorical":
        listed = list(enumerate(column.categories))[int(reference) :]
        return {f"{column.name}={category}": (values == code).astype(np.float64) for code, category in listed}
    if column.kind == "ordinal" and not column.categories:
        return {column.name: np.asarray(column.levels, dtype=np.float64)[values.astype(np.int64)]}
    return {column.name: values}


def survival_at(times: Floats, known: Floats, survival: Floats) -> Floats:
    """Survival curves at other times, of shape (n_rows, n_times).

    Parameters
    ----------
    times : array of shape (n_times,)
        Where they are wanted.
    known : array of shape (n_known,)
        Ascending times of the curves, which are constant between them and 1 before.
    survival : array of shape (n_rows, n_known)
    """
    steps = np.column_stack([np.ones(len(survival)), survival])
    at: Floats = steps[:, np.searchsorted(known, times, side="right")]
    return at


def _row_by_row(predict: Predict, rows: pd.DataFrame, n_outputs: int) -> Floats:
    """Predictions; NaN for just those rows at which the model raises, so that none takes others along."""
    if not len(rows):
        return np.empty((0, n_outputs))
    if len(rows) > _BLOCK:
        blocks = (rows.iloc[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK))
        return np.vstack([_row_by_row(predict, block, n_outputs) for block in blocks])
    try:
        # An index would tell a model where a patient stands among the others.
        predicted = np.asarray(predict(rows.reset_index(drop=True)), dtype=np.float64)
        if predicted.shape == (len(rows), n_outputs):
            return predicted
    except KeyboardInterrupt:
        raise
    except BaseException:  # also SystemExit: that a model stops at one patient must end no run
        pass
    if len(rows) == 1:
        return np.full((1, n_outputs), np.nan)
    half = len(rows) // 2
    parts = (rows.iloc[:half], rows.iloc[half:])
    return np.vstack([_row_by_row(predict, part, n_outputs) for part in parts])
