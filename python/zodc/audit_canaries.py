"""One-run audit: a thousand canaries in one full fit, each included by a coin flip.

After Steinke, Nasr, Jagielski (2023), "Privacy auditing with one (1) training run", arXiv
2305.08846. The attacker sees every noisy answer of the rounds and guesses the coins from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from zodc import phases
from zodc._zodc import Cohort, Decoder
from zodc.audit_bounds import CONFIDENCE, Bools, Bound, Floats, one_run_bound
from zodc.plan import Plan
from zodc.recipe import Kind, Recipe
from zodc.schema import Schema
from zodc.tables import Table

__all__ = ["audit_canaries"]

# Loss difference of a canary along each direction, in nats: far beyond any clip.
_LOUD = 100.0
# Synthetic rows of the fit: their number does not touch the noise.
_ROWS = 20


@dataclass
class _CanaryModel:
    """Stands in for a learner: the loss of a canary follows its own public signs, round by round.

    Every candidate pair differs by a vector that the clip takes to the edge of its ball, in a direction of
    the canary's own: the worst case, and nearly orthogonal to the others'.
    """

    signs: Sequence[Floats]
    calls: int = 0

    def frame(self, table: Table) -> pd.DataFrame:
        """Name the rows by their place."""
        return pd.DataFrame(index=range(len(table[0])))

    def losses(self, train: Table, rows: pd.DataFrame, outcome: Floats) -> Floats:
        """Lose more under the one half of a pair, by the sign of round and direction."""
        directions = self.signs[0].shape[1]
        round_, candidate = divmod(self.calls, 2 * directions)
        self.calls += 1
        side = 1.0 if candidate % 2 == 0 else -1.0
        found: Floats = 0.5 * side * _LOUD * self.signs[round_][:, candidate // 2]
        return found


@dataclass
class _Objective:
    model: _CanaryModel
    native_json: str = "[]"
    kind: Kind = "foreign"

    @property
    def models(self) -> Sequence[tuple[float, phases.Model]]:
        return [(1.0, self.model)]


@dataclass
class _Recorder:
    """A cohort that keeps its noisy answers, as an attacker may."""

    cohort: Cohort
    answers: list[tuple[Floats, float]] = field(default_factory=list)

    def recorded_round(self, clip_norm: float) -> None:
        """Nothing is on record: an audit keeps no journal."""

    def answer_differences(self, differences: Floats, clip_norm: float) -> Floats:
        """Ask the private half, and keep what it says."""
        answer = self.cohort.answer_differences(differences, clip_norm)
        self.answers.append((answer, clip_norm))
        return answer


def audit_canaries(
    schema: Schema,
    plan: Plan,
    recipe: Recipe,
    *,
    canaries: int = 1000,
    seed: int = 0,
    delta: float | None = None,
    confidence: float = CONFIDENCE,
    progress: phases.Progress | None = None,
) -> Bound:
    """Bound the ε of a whole plan from one fit in which canaries take part by coin flips.

    Parameters
    ----------
    schema : Schema
    plan : Plan
    recipe : Recipe
        Of which the plan was made: its rounds and directions are run.
    canaries : int
    seed : int
        Of the coins and the canaries; the noise has none.
    delta : float, optional
        The plan's.
    confidence : float
    progress : callable, optional
        Called with the phase, the rounds done, and the rounds in all.

    Returns
    -------
    Bound
        To be compared with the plan's ε.
    """
    rng = np.random.default_rng(seed)
    included: Bools = rng.random(canaries) < 0.5
    shape = (plan.rounds, canaries, plan.directions)
    signs = [rng.choice(np.array([-1.0, 1.0]), size=shape[1:]) for _ in range(shape[0])]
    recorder = _fit(schema, plan, recipe, [s[included] for s in signs], seed, progress)
    scores = np.zeros(canaries)
    for sign, (answer, clip_norm) in zip(signs, recorder.answers, strict=True):
        edge = sign * clip_norm / np.sqrt(plan.directions)
        # What half of the canaries would add tells nothing of one of them.
        scores += edge @ (answer - 0.5 * plan.sampling_rate * edge.sum(axis=0)) / clip_norm**2
    delta = plan.delta if delta is None else delta
    return one_run_bound(scores, included, delta=delta, confidence=confidence)


def _fit(
    schema: Schema,
    plan: Plan,
    recipe: Recipe,
    signs: Sequence[Floats],
    seed: int,
    progress: phases.Progress | None,
) -> _Recorder:
    """Run marginals and all rounds of the direct phase on the canaries that are in."""
    n_rows = len(signs[0])
    cells, zeros = np.zeros((n_rows, len(schema.features))), np.zeros(n_rows)
    is_survival = schema.task == "survival"
    event = np.ones(n_rows) if is_survival else None
    patient = None if schema.patient_id is None else np.arange(n_rows)
    recorder = _Recorder(Cohort(schema.to_json(), plan.json, cells, zeros, event, patient))
    decoder = Decoder(schema.to_json(), recorder.cohort.marginals(), recipe.hazard_intervals)
    table: Table = (cells, np.zeros_like(cells), np.zeros((n_rows, 1)))
    asked: Any = recorder
    phases.direct(
        decoder,
        asked,
        table,
        _Objective(_CanaryModel(signs)),
        recipe,
        n_rows=_ROWS,
        seed=seed,
        progress=progress,
    )
    return recorder
