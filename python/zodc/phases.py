"""The phases of a run: private rounds on patients, free rounds on a pseudo-population.

Native learners run in Rust. Any other model is fitted here on synthetic rows; only in direct mode is it
asked for the losses of patients, which the private half turns into a noisy answer.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import NDArray

from zodc._zodc import Answers, Cohort, Decoder, FittedModels, Population, Rows, Search
from zodc.cells import Floats
from zodc.draws import best_draw, misranking, misranking_of_risk, n_draws
from zodc.options import ModelError, seed_of_draw
from zodc.recipe import Kind, Recipe, Schedule
from zodc.tables import Table

__all__ = [
    "Model",
    "Objective",
    "Progress",
    "direct",
    "native_losses",
    "private_native",
    "public",
    "tell",
]

# Rounds in a row in which most fits fail, after which a run is given up.
_PATIENCE = 5

# Phase ("private", "draws" or "public"), rounds or draws done, and in all: public numbers.
Progress = Callable[[str, int, int], None]


class Model(Protocol):
    """A learner that Rust does not know."""

    def frame(self, table: Table) -> pd.DataFrame:
        """Build the frame that the model reads."""
        ...

    def losses(self, train: Table, rows: pd.DataFrame, outcome: Floats) -> Floats | None:
        """Fit on `train`, whose outcome is class codes (`n × 1`) or times and events (`n × 2`).

        Return the loss of each of `rows`, whose outcome is class probabilities (`n × n_classes`, 0 or 1 for
        patients) or times and events; NaN where the model fails, None when the fit fails. Never raises.
        """
        ...


class Objective(Protocol):
    """A weighted mixture of learners."""

    @property
    def kind(self) -> Kind:
        """What the rows are for."""
        ...

    @property
    def native_json(self) -> str:
        """JSON list of the native learners with their weights; `[]` when there are none."""
        ...

    @property
    def models(self) -> Sequence[tuple[float, Model]]:
        """All other learners with their weights."""
        ...


@dataclass
class _Losses:
    """Losses of rows under candidates, of which pairs make a direction."""

    models: Sequence[tuple[float, Model]]
    native_json: str
    test: Table = field(repr=False)
    n_jobs: int | None
    frames: list[pd.DataFrame] = field(init=False, repr=False)
    bad_rounds: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.frames = [model.frame(self.test) for _, model in self.models]

    def differences(self, decoder: Decoder, search: Search, directions: int) -> Floats:
        """Loss at `S + μU_k` minus loss at `S − μU_k`: `n_rows × K`.

        A direction of which a fit failed is 0 for every row: no row is to lose its whole vector for what
        happened on synthetic rows.

        Raises
        ------
        ModelError
            When most directions failed in each of the last rounds: known from synthetic rows alone.
        """
        candidates = [search.candidate(index) for index in range(2 * directions)]
        losses, failed = self.mixture(decoder, candidates)
        is_lost = failed[0::2] | failed[1::2]
        self.bad_rounds = self.bad_rounds + 1 if 2 * is_lost.sum() > directions else 0
        if self.bad_rounds >= _PATIENCE:
            raise ModelError(
                f"the learner could not be fitted on most of the synthetic rows of {_PATIENCE} rounds in a "
                "row; take a more robust one (more regularisation, fewer columns), or more rows"
            )
        return _differences(losses, is_lost)

    def mixture(self, decoder: Decoder, candidates: Sequence[Rows]) -> tuple[Floats, NDArray[np.bool_]]:
        """Weighted loss of each row under each candidate (`n_rows × n_candidates`); which fits failed."""
        tables = [decoder.table(rows) for rows in candidates]
        total = np.zeros((len(self.test[0]), len(candidates)))
        failed = np.zeros(len(candidates), dtype=np.bool_)
        # A warning must not tell of one patient's row. The filters are the whole process's: threads that set
        # them would take them back while others still work.
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            if json.loads(self.native_json):
                native = [native_losses(decoder, self.native_json, t, self.test) for t in tables]
                total += np.column_stack(native)
            for (weight, model), frame in zip(self.models, self.frames, strict=True):
                # max_nbytes=None: joblib must not write patients' rows to a temporary file.
                work = Parallel(n_jobs=self.n_jobs, max_nbytes=None)
                columns = work(delayed(model.losses)(train, frame, self.test[2]) for train in tables)
                for place, column in enumerate(columns):
                    if column is None:
                        failed[place] = True
                    else:
                        total[:, place] += weight * column
        return total, failed

    def mean(self, decoder: Decoder, rows: Rows) -> float:
        """Mean loss over the pseudo-patients whose loss is known; infinite when a fit failed."""
        try:
            loss, failed = self.mixture(decoder, [rows])
        except RuntimeError:  # a native fit that overflowed: other draws may do
            return np.inf
        is_known = np.isfinite(loss[:, 0])
        return np.inf if failed[0] or not is_known.any() else float(loss[is_known, 0].mean())


def tell(phase: str, done: int, rounds: int) -> None:
    """Tell the rounds or draws done on standard error."""
    end = "\n" if done == rounds else ""
    what = "draw" if phase == "draws" else f"{phase} round"
    print(f"\r{what} {done} of {rounds}", end=end, file=sys.stderr, flush=True)


def _reporter(progress: Progress | None, phase: str, rounds: int) -> Callable[[int], object] | None:
    return None if progress is None else lambda done: progress(phase, done, rounds)


def private_native(
    decoder: Decoder,
    cohort: Cohort,
    learners_json: str,
    recipe: Recipe,
    *,
    n_rows: int,
    seed: int,
    progress: Progress | None = None,
) -> tuple[Rows, list[float], Answers]:
    """Condense native learners on patients. Returns the rows, the noisy trace, and the late answers."""
    start = decoder.uniform_rows(n_rows, seed)
    schedule = recipe.private
    report = _reporter(progress, "private", schedule.rounds)
    return decoder.condense_private(
        cohort,
        start,
        learners_json,
        schedule.to_json(),
        recipe.directions,
        seed,
        report,
        keeps=recipe.refit_sd > 0.0,
    )


def direct(
    decoder: Decoder,
    cohort: Cohort,
    patients: Table,
    objective: Objective,
    recipe: Recipe,
    *,
    n_rows: int,
    seed: int,
    n_jobs: int | None = None,
    progress: Progress | None = None,
) -> tuple[Rows, list[float]]:
    """Condense any learners on patients.

    `patients` has the rows of `cohort` in the same order. Their losses go straight into the private half.
    Raises a ModelError when most fits fail round after round.
    """
    search = Search(decoder.uniform_rows(n_rows, seed), recipe.private.to_json(), recipe.directions, seed)
    report = _reporter(progress, "private", recipe.private.rounds)
    losses = _Losses(objective.models, objective.native_json, patients, n_jobs)
    trace = []
    for _ in range(recipe.private.rounds):
        answer = cohort.recorded_round(search.clip_norm)
        if answer is None:
            differences = losses.differences(decoder, search, recipe.directions)
            answer = cohort.answer_differences(differences, search.clip_norm)
        search.update(answer)
        trace.append(float(np.sqrt(np.mean(answer**2))))
        if report is not None:
            report(search.round)
    return search.rows, trace


def public(
    decoder: Decoder,
    draw: Callable[[int, int], Population],
    teacher_json: str,
    objective: Objective,
    recipe: Recipe,
    *,
    n_rows: int,
    seed: int,
    n_jobs: int | None = None,
    progress: Progress | None = None,
) -> Rows:
    """Condense any learners on a pseudo-population that the teacher labels: free, no patient is asked.

    Of `recipe.draws` draws of labelled rows the best is kept; the free rounds start from it. `draw` makes a
    population, given its rows and a seed.
    """

    def drawn(number: int) -> Rows:
        # Pseudo-patients of their own: those that judge must not have been learned from.
        own = draw(n_rows, seed_of_draw(seed, number))
        return decoder.labelled_rows(own, n_rows, recipe.sharpness)

    draws = n_draws(recipe.draws, n_rows)
    if draws == 1 and recipe.public.rounds == 0:  # nothing to judge, nobody to ask
        return drawn(0)
    population = draw(recipe.population_rows, seed)
    names_one = objective.models or json.loads(objective.native_json)
    native_json = objective.native_json if names_one else teacher_json
    losses = _Losses(objective.models, native_json, decoder.population_table(population), n_jobs)
    judge = _judge_of_draws(decoder, losses, population if objective.kind == "any" else None)
    start = best_draw(drawn, judge, draws, _reporter(progress, "draws", draws))
    schedule = recipe.public
    if objective.models:
        return _public_models(decoder, losses, start, recipe, seed, progress)
    rows, _ = decoder.condense_public(
        population,
        start,
        native_json,
        schedule.to_json(),
        recipe.public_directions,
        seed,
        recipe.check_every,
        _reporter(progress, "public", schedule.rounds),
    )
    return rows


def _judge_of_draws(
    decoder: Decoder, losses: _Losses, population: Population | None
) -> Callable[[Rows], float]:
    """Rows for any learner or for trees are judged by trees on a `population`, others by the mean loss."""
    if population is None:
        return partial(losses.mean, decoder)
    if decoder.time_grid is not None:
        misranked_risk = misranking_of_risk(decoder, population)
        return lambda rows: misranked_risk(decoder.table(rows))
    misranked = misranking(decoder, losses.test)
    return lambda rows: misranked(decoder.table(rows), None)


def _public_models(
    decoder: Decoder, losses: _Losses, start: Rows, recipe: Recipe, seed: int, progress: Progress | None
) -> Rows:
    schedule: Schedule = recipe.public
    search = Search(start, schedule.to_json(), recipe.public_directions, seed)
    report = _reporter(progress, "public", schedule.rounds)

    best, best_loss = start, losses.mean(decoder, start)
    for done in range(1, schedule.rounds + 1):
        differences = losses.differences(decoder, search, recipe.public_directions)
        search.update(np.where(np.isfinite(differences), differences, 0.0).mean(axis=0))
        if done % recipe.check_every == 0 and (loss := losses.mean(decoder, search.rows)) < best_loss:
            best, best_loss = search.rows, loss
        if report is not None:
            report(done)
    return best


def _differences(losses: Floats, is_lost: NDArray[np.bool_]) -> Floats:
    with np.errstate(all="ignore"):
        found = losses[:, 0::2] - losses[:, 1::2]
    found[:, is_lost] = 0.0
    return np.ascontiguousarray(found)


def native_losses(decoder: Decoder, learners_json: str, train: Table, test: Table) -> Floats:
    """Fit native learners on `train`; return the loss of each row of `test` (outcomes as of `Model`)."""
    x, x_test = decoder.encode_table(*train[:2]), decoder.encode_table(*test[:2])
    outcome = [np.ascontiguousarray(column) for column in train[2].T]
    columns = [np.ascontiguousarray(column) for column in test[2].T]
    if decoder.time_grid is not None:
        fitted = FittedModels(learners_json, x, outcome[0], event=outcome[1], time_grid=decoder.time_grid)
        return fitted.losses(x_test, columns[0], columns[1])
    fitted = FittedModels(learners_json, x, outcome[0], n_classes=len(columns))
    by_class = [fitted.losses(x_test, np.full(len(x_test), float(c))) for c in range(len(columns))]
    total: Floats = np.sum([p * loss for p, loss in zip(columns, by_class, strict=True)], axis=0)
    return total
