"""Curves of predictions on held-out real rows: discrimination, calibration, net benefit. Not private."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Never

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from zodc.metrics import Bools, Floats, concordance, mean_hazard
from zodc.summary import Step, kaplan_meier

__all__ = [
    "Curve",
    "Judged",
    "calibration",
    "concordance_over_time",
    "net_benefit",
    "precision_recall",
    "risk_groups",
    "roc",
]

_N_GROUPS = 10
_N_RISK_GROUPS = 3
_N_HORIZONS = 8


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Points to draw."""

    x: Floats
    y: Floats


@dataclass(frozen=True, kw_only=True, repr=False)
class Judged:
    """Outcomes of held-out patients with what models predicted. Cannot be printed, pickled or copied.

    Attributes
    ----------
    codes : ndarray of shape (n_rows,)
        Class, or whether the event was seen.
    time : ndarray or None
        Follow-up, for survival.
    times : ndarray
        At which survival was predicted; empty for classification.
    predictions : mapping of (training rows, model) to ndarray
        Probabilities of classes, or of survival at `times`.
    groups : mapping of column to groups of rows
        Named masks, for the subgroup table.
    """

    codes: NDArray[np.int64]
    time: Floats | None
    times: Floats
    predictions: Mapping[tuple[str, str], Floats]
    groups: Mapping[str, tuple[tuple[str, Bools], ...]]

    def __repr__(self) -> str:
        return "Judged(<private>)"

    def __reduce__(self) -> Never:
        raise TypeError("Judged holds patients' outcomes and cannot be pickled or copied")

    @property
    def is_survival(self) -> bool:
        """Whether the outcome has a time."""
        return self.time is not None

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models."""
        return tuple(dict.fromkeys(model for _, model in self.predictions))

    @property
    def sources(self) -> tuple[str, ...]:
        """Kinds of training rows."""
        return tuple(dict.fromkeys(source for source, _ in self.predictions))

    @property
    def horizon(self) -> int:
        """Place in `times` at which risk is judged: the middle one."""
        return len(self.times) // 2

    def risk(self, source: str, model: str) -> Floats:
        """Mean cumulative hazard over `times`: higher means an earlier event."""
        return mean_hazard(self.predictions[source, model])

    def binary(self, source: str, model: str) -> tuple[Bools, Floats]:
        """Truth and probability of the positive class; of several, each against the rest, pooled."""
        p = self.predictions[source, model]
        if p.shape[1] == 2:
            return self.codes == 1, p[:, 1]
        return np.eye(p.shape[1])[self.codes].ravel() == 1.0, p.ravel()


def roc(judged: Judged, source: str, model: str) -> Curve:
    """Return false-positive and true-positive rates."""
    truth, p = judged.binary(source, model)
    x, y, _ = roc_curve(truth, p)
    return Curve(x=x, y=y)


def precision_recall(judged: Judged, source: str, model: str) -> Curve:
    """Return recall and precision."""
    truth, p = judged.binary(source, model)
    precision, recall, _ = precision_recall_curve(truth, p)
    return Curve(x=recall[::-1], y=precision[::-1])


def calibration(judged: Judged, source: str, model: str) -> Curve:
    """Return predicted and observed risk in ten groups of equal size; for survival at the horizon."""
    if judged.is_survival:
        p = 1.0 - judged.predictions[source, model][:, judged.horizon]
    else:
        truth, p = judged.binary(source, model)
    groups = [g for g in np.array_split(np.argsort(p, kind="stable"), _N_GROUPS) if len(g)]
    if judged.is_survival:
        observed = [_failed(judged, g) for g in groups]
    else:
        observed = [float(truth[g].mean()) for g in groups]
    return Curve(x=np.array([p[g].mean() for g in groups]), y=np.array(observed))


def net_benefit(judged: Judged, source: str | None, model: str, thresholds: Floats) -> Floats:
    """Return the net benefit of treating above each threshold (Vickers and Elkin 2006).

    Parameters
    ----------
    judged : Judged
    source : str or None
        Training rows; None treats everybody.
    model : str
    thresholds : ndarray
        Risks in (0, 1).

    Returns
    -------
    ndarray of the shape of `thresholds`
        In true positives per patient; for survival of the risk at the horizon, by Kaplan-Meier.
    """
    some = judged.sources[0] if source is None else source
    if judged.is_survival:
        p = 1.0 - judged.predictions[some, model][:, judged.horizon]
        truth = None
    else:
        truth, p = judged.binary(some, model)
    odds = thresholds / (1.0 - thresholds)
    found = np.zeros(len(thresholds))
    for place, threshold in enumerate(thresholds):
        treated = np.flatnonzero(p >= threshold) if source is not None else np.arange(len(p))
        if not len(treated):
            continue
        share = len(treated) / len(p)
        event = _failed(judged, treated) if truth is None else float(truth[treated].mean())
        found[place] = share * (event - (1.0 - event) * odds[place])
    return found


def concordance_over_time(judged: Judged, source: str, model: str) -> Curve:
    """Return the C-index of all pairs that are decided by each of eight times."""
    assert judged.time is not None
    event, risk = judged.codes == 1, judged.risk(source, model)
    times = np.quantile(judged.time[event], np.linspace(0.2, 1.0, _N_HORIZONS))
    one = np.ones((1, len(risk)))
    values = [
        concordance(np.minimum(judged.time, t), event & (judged.time <= t), risk, one)[0] for t in times
    ]
    return Curve(x=times, y=np.array(values))


def risk_groups(judged: Judged, source: str, model: str) -> list[Step]:
    """Return Kaplan-Meier curves of thirds of the held-out rows, from the lowest predicted risk up."""
    assert judged.time is not None
    order = np.argsort(judged.risk(source, model), kind="stable")
    return [
        kaplan_meier(judged.time[g], (judged.codes[g] == 1).astype(np.float64))
        for g in np.array_split(order, _N_RISK_GROUPS)
        if len(g)
    ]


def _failed(judged: Judged, rows: NDArray[np.int64]) -> float:
    """Share with the event by the horizon, by Kaplan-Meier."""
    assert judged.time is not None
    curve = kaplan_meier(judged.time[rows], (judged.codes[rows] == 1).astype(np.float64))
    before = np.searchsorted(curve.times, judged.times[judged.horizon], side="right") - 1
    return 1.0 - float(curve.survival[max(0, before)])
