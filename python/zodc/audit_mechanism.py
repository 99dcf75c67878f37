"""White-box audits: the worst pair of neighbouring cohorts, asked through the compiled path many times.

The attacker knows everything but the noise and the sample. No patient is read: cohorts are made up.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from zodc._zodc import LATTICE_RADIUS, Cohort
from zodc.audit_bounds import CONFIDENCE, Bound, Floats, two_sample_bound
from zodc.oracle import consult
from zodc.plan import Plan
from zodc.schema import Schema

__all__ = ["audit_rounds", "claimed_epsilon", "tiny_cohorts"]

# The patient's vector before the clip, over the clip norm: a missing clip shows.
_OUTSIDE = 1000.0
_CLIP_NORM = 0.1


def tiny_cohorts(schema: Schema, plan: Plan, n_rows: int) -> Callable[[], Cohort]:
    """Build made-up cohorts of equal rows, each a unit, behind a plan."""
    cells, zeros = np.zeros((n_rows, len(schema.features))), np.zeros(n_rows)
    event = zeros if schema.task == "survival" else None
    patient = None if schema.patient_id is None else np.arange(n_rows)
    return partial(Cohort, schema.to_json(), plan.json, cells, zeros, event, patient)


def claimed_epsilon(plan: Plan, delta: float, *, what: str) -> float:
    """ε that the charges of a plan claim at another δ, by the tightest of the accountants.

    Parameters
    ----------
    plan : Plan
    delta : float
    what : {"rounds", "marginals"}
        Which charges.

    Returns
    -------
    float
    """
    charges = [charge for charge in plan.to_dict()["charges"] if charge["what"] == what]
    return consult(charges, delta, plan.to_dict()["neighbours"]).tightest


def _signs(rounds: int, directions: int) -> Floats:
    """Public signs of the worst patient's vector: noise used twice would cancel along them."""
    parity = np.add.outer(np.arange(rounds), np.arange(directions)) % 2
    return np.asarray(1.0 - 2.0 * parity)


def _round_statistics(schema: Schema, plan: Plan, weight: float, other: float, runs: int) -> Floats:
    """Log likelihood ratio of a run's answers, and how far they are from the public lattice."""
    rounds, directions, rate = plan.rounds, plan.directions, plan.sampling_rate
    signs = _signs(rounds, directions)
    noise = plan.to_dict()["round_noise_scale"] / LATTICE_RADIUS
    n_rows = 1 + (weight != 0.0)
    questions = [np.zeros((n_rows, directions)) for _ in range(rounds)]
    for question, sign in zip(questions, signs, strict=True):
        question[1:] = weight * _OUTSIDE * _CLIP_NORM * sign
    make = tiny_cohorts(schema, plan, n_rows)
    found = np.empty((runs, 2))
    for run in range(runs):
        cohort = make()
        answers = np.array([cohort.answer_differences(question, _CLIP_NORM) for question in questions])
        along = (answers * signs).sum(axis=1) / (_CLIP_NORM * np.sqrt(directions))
        steps = answers * (LATTICE_RADIUS / _CLIP_NORM)
        ratio = _log_likelihood(along, 1.0, noise, rate) - _log_likelihood(along, other, noise, rate)
        found[run] = ratio, np.abs(steps - np.round(steps)).max()
    return found


def _log_likelihood(along: Floats, mean: float, noise: float, rate: float) -> float:
    """Log density of the answers along the signs, over that without the patient."""
    if mean == 0.0:
        return 0.0
    exponent = (2.0 * mean * along - mean**2) / (2.0 * noise**2)
    return float(np.logaddexp(np.log(rate) + exponent, np.log1p(-rate) if rate < 1.0 else -np.inf).sum())


def audit_rounds(
    schema: Schema,
    plan: Plan,
    *,
    runs: int = 10_000,
    delta: float | None = None,
    confidence: float = CONFIDENCE,
    gaussian: bool = False,
) -> Bound:
    """Bound the ε of the rounds of a plan: one patient at the clip ball's edge, or not there.

    Each run makes a cohort and asks all rounds of the plan through the private half.

    Parameters
    ----------
    schema : Schema
    plan : Plan
    runs : int
        Runs counted for each of the two cohorts; half as many choose the threshold before.
    delta : float, optional
        The plan's; counts of thousands of runs say more at a larger one.
    confidence : float
    gaussian : bool
        Whether to test the trade-off curve of Gaussian differential privacy, for rounds that ask all
        patients (see `two_sample_bound`).

    Returns
    -------
    Bound
        To be compared with `claimed_epsilon`.
    """
    n_choose = max(20, runs // 2)
    other = -1.0 if plan.to_dict()["neighbours"] == "replace_one" else 0.0
    present, absent = (
        _round_statistics(schema, plan, weight, other, runs + n_choose) for weight in (1.0, other)
    )
    delta = plan.delta if delta is None else delta
    return two_sample_bound(
        present, absent, n_choose=n_choose, delta=delta, confidence=confidence, gaussian=gaussian
    )
