"""What attacks prove: lower bounds on ε from counts, each with the confidence at which it holds.

A bound is compared with the claim: above it, the claim is false; far below it, the attack was weak.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from zodc._zodc import epsilon

__all__ = [
    "CONFIDENCE",
    "Bound",
    "Floats",
    "clopper_pearson",
    "one_run_bound",
    "one_run_epsilon",
    "one_run_p_value",
    "two_sample_bound",
]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# A sound mechanism is called broken once in a million audits.
CONFIDENCE = 1.0 - 1e-6

# Small, so that no threshold is chosen for a handful of runs beyond it.
_CHOICE_TAIL = 1e-5
# Thresholds tried per statistic, and numbers of guesses tried in a one-run audit.
_THRESHOLDS = 200
_GUESSES = 8


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A lower bound on ε.

    Attributes
    ----------
    epsilon : float
        The mechanism is not (ε′, δ)-private for any ε′ below it.
    certain : float
        The same from the same runs, at a confidence of 1 - 1e-6: what refutes a claim.
    delta : float
    confidence : float
        Probability that `epsilon` is such a bound, over the noise of the mechanism.
    runs : int
        Runs, or canaries, that it rests on.
    """

    epsilon: float
    certain: float
    delta: float
    confidence: float
    runs: int


def clopper_pearson(successes: float, trials: float, tail: float) -> tuple[float, float]:
    """Exact bounds on a proportion, each wrong with a probability of at most `tail`.

    Parameters
    ----------
    successes, trials : float
    tail : float
        In (0, 1).

    Returns
    -------
    tuple of float
        Lower and upper end.

    Examples
    --------
    >>> lower, upper = clopper_pearson(0, 100, 0.05)
    >>> lower, round(upper, 4)
    (0.0, 0.0295)
    """
    failures = trials - successes
    lower = 0.0 if successes <= 0 else stats.beta.ppf(tail, successes, failures + 1)
    upper = 1.0 if failures <= 0 else stats.beta.ppf(1.0 - tail, successes + 1, failures)
    return float(lower), float(upper)


@dataclass(frozen=True)
class _Test:
    """An event of a run's statistics, and which cohort it speaks for."""

    statistic: int
    threshold: float
    above: bool
    for_present: bool

    def counts(self, present: Floats, absent: Floats) -> tuple[int, int]:
        """How often the event was seen on the cohort that it speaks for, and on the other."""
        seen = [
            int(np.sum((found[:, self.statistic] > self.threshold) == self.above))
            for found in (present, absent)
        ]
        return (seen[0], seen[1]) if self.for_present else (seen[1], seen[0])

    def ends(self, runs: tuple[Floats, Floats], tail: float) -> tuple[float, float]:
        """Least share of the event where it speaks for the cohort, and greatest on the other."""
        seen, other = self.counts(*runs)
        trials = (len(runs[0]), len(runs[1])) if self.for_present else (len(runs[1]), len(runs[0]))
        return clopper_pearson(seen, trials[0], tail)[0], clopper_pearson(other, trials[1], tail)[1]


def _epsilon(ends: tuple[float, float], delta: float) -> float:
    """ε below which (P(event) − δ) / P′(event) cannot be."""
    seen, other = ends
    return max(0.0, math.log((seen - delta) / other)) if seen > delta else 0.0


def _least_mu(ends: tuple[float, float], delta: float) -> float:
    """Least μ at which μ-GDP allows such an event: its trade-off curve is Φ(Φ⁻¹(1 − α) − μ)."""
    return float(stats.norm.ppf(ends[0]) - stats.norm.ppf(ends[1]))


def _gaussian_epsilon(ends: tuple[float, float], delta: float) -> float:
    """ε at δ of the least μ."""
    mu = _least_mu(ends, delta)
    if not mu > 1e-3:
        return 0.0
    event = {"mechanism": "gaussian", "noise_multiplier": 1.0 / mu}
    return epsilon(json.dumps([{"event": event, "count": 1, "what": "audit"}]), delta)[0]


def _tests(present: Floats, absent: Floats) -> Iterator[_Test]:
    shares = np.linspace(0.0, 1.0, _THRESHOLDS)
    for statistic in range(present.shape[1]):
        pooled = np.concatenate([present[:, statistic], absent[:, statistic]])
        for threshold in np.unique(np.quantile(pooled, shares)):
            for above in (True, False):
                for for_present in (True, False):
                    yield _Test(statistic, float(threshold), above, for_present)


def two_sample_bound(
    present: Floats,
    absent: Floats,
    *,
    n_choose: int,
    delta: float,
    confidence: float = CONFIDENCE,
    gaussian: bool = False,
) -> Bound:
    """Bound ε from runs on two neighbouring cohorts.

    The first runs choose the statistic, the threshold and the direction; the others alone are counted, with
    Clopper-Pearson ends. So the choice costs no confidence.

    Parameters
    ----------
    present, absent : ndarray of shape (n_runs, n_statistics)
        What an attacker computes from each run with and without the patient.
    n_choose : int
        Runs of each that choose; the bound rests on the rest.
    delta : float
    confidence : float
    gaussian : bool
        Whether the claim is one of Gaussian differential privacy. Then its whole trade-off curve is tested,
        which says much more at a small δ than counts of events can.

    Returns
    -------
    Bound

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> clear, dull = rng.normal(3, 1, (2000, 1)), rng.normal(0, 1, (2000, 1))
    >>> two_sample_bound(clear, dull, n_choose=500, delta=0.1).epsilon > 2
    True
    >>> two_sample_bound(dull, dull, n_choose=500, delta=0.1).epsilon
    0.0
    """
    choosing, counted = (present[:n_choose], absent[:n_choose]), (present[n_choose:], absent[n_choose:])
    score = _least_mu if gaussian else _epsilon
    best = max(_tests(*choosing), key=lambda test: score(test.ends(choosing, _CHOICE_TAIL), delta))
    bound = _gaussian_epsilon if gaussian else _epsilon
    found, certain = (
        bound(best.ends(counted, (1.0 - level) / 2.0), delta) for level in (confidence, CONFIDENCE)
    )
    return Bound(epsilon=found, certain=certain, delta=delta, confidence=confidence, runs=len(counted[0]))


def one_run_p_value(canaries: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    """Probability of so many correct guesses if the mechanism were (ε, δ)-private.

    Steinke, Nasr, Jagielski (2023), Theorem 5.2: each guess is right with probability at most
    e^ε/(1 + e^ε), whatever the others, but for a slack in δ.

    Parameters
    ----------
    canaries : int
        Each included with probability ½, independently.
    guesses : int
        Canaries guessed; on the others the auditor abstained.
    correct : int
        Guesses that were right.
    epsilon, delta : float
        The guarantee that is tested.

    Returns
    -------
    float
        An upper bound on the p-value.

    Examples
    --------
    >>> one_run_p_value(10, 10, 10, 0.0, 0.0)
    0.0009765625
    """
    rate = 1.0 / (1.0 + math.exp(-epsilon))
    pmf = stats.binom.pmf(np.arange(correct + 1), guesses, rate)
    tail = float(stats.binom.sf(correct - 1, guesses, rate))
    # P(correct - i <= W < correct) / i at its largest.
    below = np.cumsum(pmf[:correct][::-1])
    slack = float(np.max(below / np.arange(1, correct + 1), initial=0.0))
    return min(1.0, tail + 2.0 * canaries * delta * slack)


def one_run_epsilon(canaries: int, guesses: int, correct: int, delta: float, *, confidence: float) -> float:
    """Largest ε that so many correct guesses refute; 0 when none.

    Parameters
    ----------
    canaries, guesses, correct : int
        As of `one_run_p_value`.
    delta : float
    confidence : float

    Returns
    -------
    float

    Examples
    --------
    The value printed in appendix D of the paper:

    >>> round(one_run_epsilon(1000, 100, 75, 1e-4, confidence=0.95), 3)
    0.673
    """
    level = 1.0 - confidence

    def refuted(epsilon: float) -> bool:
        return one_run_p_value(canaries, guesses, correct, epsilon, delta) < level

    if not refuted(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while refuted(high):
        low, high = high, 2.0 * high
    for _ in range(50):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low


def one_run_bound(scores: Floats, included: Bools, *, delta: float, confidence: float = CONFIDENCE) -> Bound:
    """Bound ε from the scores of canaries in a single run.

    The `r / 2` highest scores are guessed as included, the `r / 2` lowest as left out. Several `r` are tried,
    and the confidence is shared among them (Bonferroni).

    Parameters
    ----------
    scores : ndarray of shape (n_canaries,)
        Higher where the attacker believes in inclusion.
    included : ndarray of shape (n_canaries,)
        How the coins fell.
    delta : float
    confidence : float

    Returns
    -------
    Bound
    """
    order = np.argsort(scores)
    n_canaries = len(scores)
    sides = np.unique(np.geomspace(8, n_canaries // 2, _GUESSES).astype(int))
    correct = [int(np.sum(~included[order[:side]]) + np.sum(included[order[-side:]])) for side in sides]

    def bound(level: float) -> float:
        each = 1.0 - (1.0 - level) / len(sides)
        return max(
            one_run_epsilon(n_canaries, 2 * int(side), right, delta, confidence=each)
            for side, right in zip(sides, correct, strict=True)
        )

    return Bound(
        epsilon=bound(confidence),
        certain=bound(CONFIDENCE),
        delta=delta,
        confidence=confidence,
        runs=n_canaries,
    )
