"""The demonstration: two real cohorts condensed under schemas written from domain knowledge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd
from lifelines.datasets import load_gbsg2
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

from zodc.condenser import Condenser
from zodc.evaluate import EncodedRows, default_models, encode_rows, release_rows, score_models
from zodc.phases import Progress
from zodc.release import Release
from zodc.schema import Schema

__all__ = ["Demo", "DemoCohort", "breast_cancer", "gbsg2", "run_demo"]

EPSILONS = (1.0, 3.0)
DELTA = 1e-5
N_ROWS = 200
DRAWS = 10
# Fixes the split and the draws of real rows, so that their figures repeat; the noise is never seeded.
SPLIT = 0

# Models that are scored on the rows of one release.
CONDENSED: Sequence[tuple[Any, tuple[str, ...]]] = (
    ("any", ("tree", "forest")),
    ("logistic", ("logistic",)),
    ("cox", ("cox",)),
)
_FULL, _RANDOM = "all real rows", f"{N_ROWS} random real rows"

Scores = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class DemoCohort:
    """A real cohort that a dependency ships, with its public schema."""

    schema: Schema
    frame: pd.DataFrame = field(repr=False)

    def split(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return 70 % to condense and 30 % to test on."""
        outcome = self.schema.target or self.schema.event
        assert outcome is not None
        train, test = train_test_split(
            self.frame, test_size=0.3, random_state=SPLIT, stratify=self.frame[outcome.name]
        )
        return train, test


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Mean scores on held-out real rows.

    Attributes
    ----------
    scores : mapping of (cohort, training rows, model) to float
        AUROC, or the C-index of Cox regression.
    """

    scores: Mapping[tuple[str, str, str], float]

    def frame(self) -> pd.DataFrame:
        """Return one row per cohort and kind of training rows, one column per model."""
        return pd.Series(self.scores).unstack(sort=False)

    def __rich__(self) -> Table:
        models = ("tree", "forest", "logistic", "cox")
        table = Table(
            title="Trained on these rows, tested on held-out real rows",
            caption=f"AUROC; Cox: C-index. zodc: {N_ROWS} synthetic rows, delta {DELTA:g}, one private "
            "run per epsilon; the noise differs from run to run.",
            title_justify="left",
            caption_justify="left",
        )
        table.add_column("cohort")
        table.add_column("training rows", no_wrap=True)
        for model in models:
            table.add_column(model, justify="right")
        last = None
        for cohort, rows in dict.fromkeys(key[:2] for key in self.scores):
            found = [self.scores.get((cohort, rows, model)) for model in models]
            if last not in (None, cohort):
                table.add_section()
            name = "" if cohort == last else cohort
            table.add_row(name, rows, *("" if score is None else f"{score:.3f}" for score in found))
            last = cohort
        return table

    def __str__(self) -> str:
        console = Console(width=80, no_color=True)
        with console.capture() as capture:
            console.print(self)
        return capture.get()


def _schema(name: str) -> Schema:
    return Schema.from_toml((files("zodc") / "data" / f"{name}.toml").read_text(encoding="utf-8"))


def breast_cancer() -> DemoCohort:
    """Load the Wisconsin diagnostic breast cancer set of scikit-learn: 30 features, two classes."""
    data = load_breast_cancer(as_frame=True)
    names = np.array(["malignant", "benign"])
    frame = data.data.assign(diagnosis=names[data.target])
    return DemoCohort(schema=_schema("breast_cancer"), frame=frame)


def gbsg2() -> DemoCohort:
    """Load the GBSG2 trial of lifelines: 8 features, recurrence-free survival."""
    return DemoCohort(schema=_schema("gbsg2"), frame=load_gbsg2())


def _mean_scores(models: Mapping[str, Any], train: EncodedRows, test: EncodedRows) -> Scores:
    scores = score_models(models, train, test, np.zeros((0, len(test.x))))
    return {s.model: s.estimate.value for s in scores if s.metric in ("AUROC", "C-index")}


def _score_release(release: Release, test: pd.DataFrame, models: Mapping[str, Any]) -> Scores:
    """Score each model on rows condensed for it from one private run."""
    held_out = encode_rows(test, release.schema, release.decoder)
    scores: dict[str, float] = {}
    for learner, names in CONDENSED:
        wanted = {name: models[name] for name in names if name in models}
        if wanted:
            rows = release.recondense(learner, n_rows=N_ROWS)
            scores |= _mean_scores(wanted, release_rows(rows, release.decoder), held_out)
    return scores


def _score_random_rows(train: EncodedRows, test: EncodedRows, models: Mapping[str, Any]) -> Scores:
    rng = np.random.default_rng(SPLIT)
    draws = [rng.choice(len(train.x), N_ROWS, replace=False) for _ in range(DRAWS)]
    found = [_mean_scores(models, train.take(rows), test) for rows in draws]
    return {model: float(np.mean([scores[model] for scores in found])) for model in models}


def _condense(cohort: DemoCohort, train: pd.DataFrame, epsilon: float) -> Release:
    smooth = "cox" if cohort.schema.task == "survival" else "logistic"
    condenser = Condenser(schema=cohort.schema, learner=smooth, epsilon=epsilon, delta=DELTA, n_rows=N_ROWS)
    return condenser.fit(train).release_


def _score_cohort(
    cohort: DemoCohort, epsilons: Sequence[float], step: Callable[[], None]
) -> dict[str, Scores]:
    models = default_models(cohort.schema.task, SPLIT)
    train, test = cohort.split()
    private: dict[str, Scores] = {}
    for epsilon in epsilons:
        release = _condense(cohort, train, epsilon)
        private[f"zodc, epsilon {epsilon:g}"] = _score_release(release, test, models)
        step()
    encode = partial(encode_rows, schema=cohort.schema, decoder=release.decoder)
    real, held_out = encode(train), encode(test)
    public = {_FULL: _mean_scores(models, real, held_out)}
    step()
    public[_RANDOM] = _score_random_rows(real, held_out, models)
    step()
    return public | private


def run_demo(
    cohorts: Sequence[DemoCohort] | None = None,
    *,
    epsilons: Sequence[float] = EPSILONS,
    progress: Progress | None = None,
) -> Demo:
    """Condense cohorts at each ε and score models beside those trained on real rows.

    Parameters
    ----------
    cohorts : sequence of DemoCohort, optional
        Default: `breast_cancer` and `gbsg2`.
    epsilons : sequence of float
        One private run each.
    progress : callable, optional
        Called with "demo", the steps done, and their number.

    Returns
    -------
    Demo
    """
    cohorts = (breast_cancer(), gbsg2()) if cohorts is None else cohorts
    n_steps, done = len(cohorts) * (len(epsilons) + 2), 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress("demo", done, n_steps)

    scores = {
        (str(cohort.schema.name), rows, model): score
        for cohort in cohorts
        for rows, by_model in _score_cohort(cohort, epsilons, step).items()
        for model, score in by_model.items()
    }
    return Demo(scores=scores)
