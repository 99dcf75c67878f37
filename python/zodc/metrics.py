"""Scores of predictions on held-out rows, with stratified bootstrap intervals.

A bootstrap replicate is a vector of counts: how often each row was drawn. Scores take such counts as
weights, so that a replicate needs no copy of the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import trapezoid
from sklearn.metrics import average_precision_score, roc_auc_score

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Rows of the pair matrix that are compared at once: bounds the memory of the concordance index.
_PAIR_BLOCK = 1024


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A score with its bootstrap interval.

    Attributes
    ----------
    value : float
        The score on the held-out rows.
    lower, upper : float
        Ends of the interval; NaN when no replicate was asked for.
    """

    value: float
    lower: float
    upper: float

    def __str__(self) -> str:
        interval = "" if np.isnan(self.lower) else f" ({self.lower:.3f}-{self.upper:.3f})"
        return f"{self.value:.3f}{interval}"


def mean_hazard(survival: Floats) -> Floats:
    """Mean cumulative hazard of survival probabilities (`n_rows × n_times`): higher means earlier events."""
    return np.asarray(-np.log(np.maximum(survival, 1e-12)).mean(axis=1))


def bootstrap_counts(strata: NDArray[np.int64], n_bootstrap: int, rng: np.random.Generator) -> Floats:
    """Count how often each row is drawn, within strata so that no replicate loses a class.

    Parameters
    ----------
    strata : ndarray of shape (n_rows,)
        Class of each row.
    n_bootstrap : int
        Number of replicates, 0 or more.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    ndarray of shape (n_bootstrap, n_rows)
    """
    counts = np.zeros((n_bootstrap, len(strata)))
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        counts[:, rows] = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=n_bootstrap)
    return counts


def estimate(score: Callable[[Floats], Floats], counts: Floats, *, level: float = 0.95) -> Estimate:
    """Evaluate a score on all rows and on every replicate.

    Parameters
    ----------
    score : callable
        Maps weights of shape (n_replicates, n_rows) to one score per replicate.
    counts : ndarray of shape (n_bootstrap, n_rows)
        From `bootstrap_counts`.
    level : float
        Coverage of the percentile interval, in (0, 1).

    Returns
    -------
    Estimate
    """
    scores = score(np.vstack([np.ones((1, counts.shape[1])), counts]))
    value, replicates = float(scores[0]), scores[1:]
    if not len(replicates):
        return Estimate(value=value, lower=np.nan, upper=np.nan)
    tail = (1 - level) / 2
    lower, upper = np.quantile(replicates, [tail, 1 - tail])
    return Estimate(value=value, lower=float(lower), upper=float(upper))


def _one_against_rest(
    scorer: Callable[..., float], codes: NDArray[np.int64], probabilities: Floats, weights: Floats
) -> Floats:
    n_classes = probabilities.shape[1]
    classes = [1] if n_classes == 2 else [c for c in range(n_classes) if 0 < np.sum(codes == c) < len(codes)]
    per_class = [[scorer(codes == c, probabilities[:, c], sample_weight=w) for c in classes] for w in weights]
    return np.asarray(np.mean(per_class, axis=1), dtype=np.float64)


def auroc(codes: NDArray[np.int64], probabilities: Floats, weights: Floats) -> Floats:
    """Area under the ROC curve; for several classes the mean of each against the rest.

    Parameters
    ----------
    codes : ndarray of shape (n_rows,)
        Index of each row's class.
    probabilities : ndarray of shape (n_rows, n_classes)
        Predicted probabilities; of two classes the second is the positive one.
    weights : ndarray of shape (n_replicates, n_rows)
        Counts of the rows.

    Returns
    -------
    ndarray of shape (n_replicates,)
    """
    return _one_against_rest(roc_auc_score, codes, probabilities, weights)


def auprc(codes: NDArray[np.int64], probabilities: Floats, weights: Floats) -> Floats:
    """Area under the precision-recall curve (average precision), as `auroc` over classes."""
    return _one_against_rest(average_precision_score, codes, probabilities, weights)


def brier(codes: NDArray[np.int64], probabilities: Floats, weights: Floats) -> Floats:
    """Mean squared error of the probabilities, in [0, 1]; half the sum over classes."""
    truth = np.eye(probabilities.shape[1])[codes]
    return _weighted_mean(((probabilities - truth) ** 2).sum(axis=1) / 2, weights)


def concordance(time: Floats, event: Bools, risk: Floats, weights: Floats) -> Floats:
    """Harrell's concordance index.

    Parameters
    ----------
    time, event : ndarray of shape (n_rows,)
        Follow-up, and whether the event was seen.
    risk : ndarray of shape (n_rows,)
        Higher means an earlier event.
    weights : ndarray of shape (n_replicates, n_rows)
        Counts of the rows.

    Returns
    -------
    ndarray of shape (n_replicates,)
    """
    concordant, comparable = np.zeros(len(weights)), np.zeros(len(weights))
    died = np.flatnonzero(event)
    for rows in np.array_split(died, max(1, -(-len(died) // _PAIR_BLOCK))):
        t, r = time[rows, None], risk[rows, None]
        pair = (t < time) | ((t == time) & ~event)
        credit = pair * ((r > risk) + 0.5 * (r == risk))
        concordant += np.einsum("bi,bi->b", weights[:, rows], weights @ credit.T)
        comparable += np.einsum("bi,bi->b", weights[:, rows], weights @ pair.T.astype(np.float64))
    return concordant / comparable


def censoring_survival(time: Floats, event: Bools, at: Floats) -> Floats:
    """Kaplan-Meier estimate of the probability to be uncensored just before `at`.

    Parameters
    ----------
    time, event : ndarray of shape (n_rows,)
        Follow-up, and whether the event was seen.
    at : ndarray
        Times.

    Returns
    -------
    ndarray of the shape of `at`
    """
    times = np.unique(time[~event])
    # A patient who dies at the time of a censoring leaves first, by convention.
    at_risk = np.array([np.sum((time > t) | ((time == t) & ~event)) for t in times], dtype=np.float64)
    censored = np.array([np.sum((time == t) & ~event) for t in times], dtype=np.float64)
    survival = np.concatenate([[1.0], np.cumprod(1 - censored / at_risk)])
    return np.asarray(survival[np.searchsorted(times, at, side="left")])


def brier_times(time: Floats, event: Bools, n_times: int = 50) -> Floats:
    """Choose the times of the Brier score: between the 10 % and 90 % quantiles of the events."""
    lower, upper = np.quantile(time[event], [0.1, 0.9])
    return np.linspace(lower, upper, n_times)


def integrated_brier(time: Floats, event: Bools, survival: Floats, times: Floats, weights: Floats) -> Floats:
    """Brier score of survival curves, averaged over `times`, weighted for censoring (Graf et al. 1999).

    The weights come from the held-out rows themselves and stay fixed over the replicates.

    Parameters
    ----------
    time, event : ndarray of shape (n_rows,)
        Follow-up, and whether the event was seen.
    survival : ndarray of shape (n_rows, n_times)
        Predicted probability to be free of the event after each of `times`.
    times : ndarray of shape (n_times,)
        Ascending.
    weights : ndarray of shape (n_replicates, n_rows)
        Counts of the rows.

    Returns
    -------
    ndarray of shape (n_replicates,)
    """
    failed = (time[:, None] <= times) & event[:, None]
    free = time[:, None] > times
    own = np.maximum(censoring_survival(time, event, time), 1e-12)
    # Uncensored up to and including each time.
    still = np.maximum(censoring_survival(time, event, np.nextafter(times, np.inf)), 1e-12)
    loss = failed * survival**2 / own[:, None] + free * (1 - survival) ** 2 / still
    span = times[-1] - times[0]
    per_row = trapezoid(loss, times, axis=1) / span if span > 0 else loss[:, 0]
    return _weighted_mean(per_row, weights)


def _weighted_mean(values: Floats, weights: Floats) -> Floats:
    return np.asarray(weights @ values / weights.sum(axis=1))
