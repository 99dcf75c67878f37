"""Public clinical cohorts for the benchmarks: a folder of tables with data dictionaries.

Each cohort is ``NAME.csv`` or ``NAME.parquet`` beside ``NAME.schema.json``, whose bounds come from domain
knowledge. The folder is given with ``--data``; it is not part of the project.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from zodc import Column, Schema

# Distance of neighbouring levels where it is not 1 (from the cohorts' documentation).
STEPS = {("pbc", "edema"): 0.5}
MOST_LEVELS = 100


@dataclass(frozen=True)
class Cohort:
    """A table and its public schema."""

    name: str
    frame: pd.DataFrame
    schema: Schema


def load(folder: Path, name: str, *, label: str | None = None) -> Cohort:
    """Read one cohort; ``label`` makes a survival cohort a classification of that event column."""
    meta = json.loads((folder / f"{name}.schema.json").read_text())
    parquet = folder / f"{name}.parquet"
    frame = (
        pd.read_parquet(parquet)
        if parquet.exists()
        else pd.read_csv(folder / f"{name}.csv", low_memory=False)
    )
    columns = [_column(name, c) for c in meta["columns"]]
    if meta["task"] == "classification":
        columns.append(_outcome(frame, meta["target"], "target"))
    elif label is not None:
        columns.append(_outcome(frame, label, "target"))
        columns.append(Column(name=meta["time"], kind="continuous", role="ignore"))
    else:
        lower, upper = meta["time_bounds"]
        columns.append(Column(name=meta["time"], kind="continuous", role="time", lower=lower, upper=upper))
        columns.append(_outcome(frame, meta["event"], "event"))
    return Cohort(name, frame, Schema(columns=tuple(columns), name=name))


def split(cohort: Cohort, seed: int, most_train: int | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split 70/30 by seed; the training part holds at most ``most_train`` patients."""
    order = np.random.default_rng(seed).permutation(len(cohort.frame))
    cut = int(0.7 * len(order))
    train = order[: min(cut, most_train or cut)]
    return cohort.frame.iloc[train], cohort.frame.iloc[order[cut:]]


def _column(cohort: str, c: dict[str, object]) -> Column:
    kind, lower, upper = c["kind"], c["lower"], c["upper"]
    categories = tuple(str(x) for x in c["categories"] or ())  # type: ignore[attr-defined]
    step = None
    if kind == "ordinal" and not categories:
        step = STEPS.get((cohort, str(c["name"])), 1.0)
        if (upper - lower) / step > MOST_LEVELS:  # type: ignore[operator]
            kind, step = "continuous", None
    by_level = bool(categories) or kind == "binary"
    return Column(
        name=str(c["name"]),
        kind=str(kind),
        lower=None if by_level else lower,  # type: ignore[arg-type]
        upper=None if by_level else upper,  # type: ignore[arg-type]
        step=step,
        categories=categories,
        unit=c.get("unit"),  # type: ignore[arg-type]
    )


def _outcome(frame: pd.DataFrame, name: str, role: str) -> Column:
    return Column(name=name, kind="binary", role=role, categories=("0", "1"))
