"""The phases of a run: private rounds on patients, free rounds on a pseudo-population.

Native learners run in Rust. Any other model is fitted here on synthetic rows; only in direct mode is it
asked for the losses of patients, which the private half turns into a noisy answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from joblib import Parallel, delayed

from zodc._zodc import Cohort, Decoder, FittedModels, Population, Rows, Search
from zodc.cells import Floats
from zodc.recipe import Recipe, Schedule
from zodc.tables import Table

__all__ = ["Model", "Objective", "Progress", "direct", "private_native", "public"]

Progress = Callable[[str, int, int], None]  # phase, rounds done, rounds in all: public numbers


class Model(Protocol):
    """A learner that Rust does not know."""

    def losses(self, train: Table, test: Table) -> Floats:
        """Fit on `train`, whose outcome is class codes (`n × 1`) or times and events (`n × 2`).

        Return the loss of each row of `test`, whose outcome is class probabilities (`n × n_classes`, 0 or 1
        for patients) or times and events; NaN where the model fails. Never raises.
        """
        ...


class Objective(Protocol):
    """A weighted mixture of learners."""

    @property
    def native_json(self) -> str:
        """JSON list of the native learners with their weights; `[]` when there are none."""
        ...

    @property
    def models(self) -> Sequence[tuple[float, Model]]:
        """All other learners with their weights."""
        ...


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
) -> tuple[Rows, list[float]]:
    """Condense native learners on patients. Returns the rows and the noisy trace."""
    start = decoder.uniform_rows(n_rows, seed)
    schedule = recipe.private
    report = _reporter(progress, "private", schedule.rounds)
    return decoder.condense_private(
        cohort, start, learners_json, schedule.to_json(), recipe.directions, seed, report
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
    """
    search = Search(decoder.uniform_rows(n_rows, seed), recipe.private.to_json(), recipe.directions, seed)
    report = _reporter(progress, "private", recipe.private.rounds)
    trace = []
    for _ in range(recipe.private.rounds):
        losses = _candidate_losses(decoder, search, recipe.directions, objective, patients, n_jobs)
        answer = cohort.answer_differences(_differences(losses), search.clip_norm)
        search.update(answer)
        trace.append(float(np.sqrt(np.mean(answer**2))))
        if report is not None:
            report(search.round)
    return search.rows, trace


def public(
    decoder: Decoder,
    teacher: Rows,
    teacher_json: str,
    objective: Objective,
    recipe: Recipe,
    *,
    n_rows: int,
    seed: int,
    n_jobs: int | None = None,
    progress: Progress | None = None,
) -> Rows:
    """Condense any learners on a pseudo-population that the teacher labels: free, no patient is asked."""
    n_population = max(recipe.population_rows, n_rows)
    population = decoder.population(teacher, teacher_json, n_population, seed)
    start = decoder.labelled_rows(population, n_rows)
    schedule = recipe.public
    if objective.models:
        return _public_models(decoder, population, start, objective, recipe, seed, n_jobs, progress)
    rows, _ = decoder.condense_public(
        population,
        start,
        objective.native_json,
        schedule.to_json(),
        recipe.public_directions,
        seed,
        recipe.check_every,
        _reporter(progress, "public", schedule.rounds),
    )
    return rows


def _public_models(
    decoder: Decoder,
    population: Population,
    start: Rows,
    objective: Objective,
    recipe: Recipe,
    seed: int,
    n_jobs: int | None,
    progress: Progress | None,
) -> Rows:
    schedule: Schedule = recipe.public
    test = decoder.population_table(population)
    search = Search(start, schedule.to_json(), recipe.public_directions, seed)
    report = _reporter(progress, "public", schedule.rounds)

    def mean_loss(rows: Rows) -> float:
        loss = _mixture_losses(decoder, [rows], objective, test, n_jobs)[:, 0]
        return float(np.nanmean(loss)) if np.isfinite(loss).any() else np.inf

    best, best_loss = start, mean_loss(start)
    for done in range(1, schedule.rounds + 1):
        losses = _candidate_losses(decoder, search, recipe.public_directions, objective, test, n_jobs)
        search.update(np.nan_to_num(_differences(losses)).mean(axis=0))
        if done % recipe.check_every == 0 and (loss := mean_loss(search.rows)) < best_loss:
            best, best_loss = search.rows, loss
        if report is not None:
            report(done)
    return best


def _candidate_losses(
    decoder: Decoder,
    search: Search,
    directions: int,
    objective: Objective,
    test: Table,
    n_jobs: int | None,
) -> Floats:
    candidates = [search.candidate(index) for index in range(2 * directions)]
    return _mixture_losses(decoder, candidates, objective, test, n_jobs)


def _differences(losses: Floats) -> Floats:
    """Loss at `S + μU_k` minus loss at `S − μU_k`: `n_rows × K`."""
    return np.ascontiguousarray(losses[:, 0::2] - losses[:, 1::2])


def _mixture_losses(
    decoder: Decoder, candidates: Sequence[Rows], objective: Objective, test: Table, n_jobs: int | None
) -> Floats:
    """Weighted loss of each test row under each candidate: `n_rows × n_candidates`."""
    tables = [decoder.table(rows) for rows in candidates]
    total = np.zeros((len(test[0]), len(candidates)))
    if json.loads(objective.native_json):
        total += np.column_stack([_native_losses(decoder, objective.native_json, t, test) for t in tables])
    for weight, model in objective.models:
        # max_nbytes=None: joblib must not write patients' rows to a temporary file.
        work = Parallel(n_jobs=n_jobs, max_nbytes=None)
        columns = work(delayed(model.losses)(train, test) for train in tables)
        total += weight * np.column_stack(columns)
    return total


def _native_losses(decoder: Decoder, learners_json: str, train: Table, test: Table) -> Floats:
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
