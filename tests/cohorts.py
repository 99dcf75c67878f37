"""Small made-up cohorts and quick settings that tests share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from zodc import Condenser
from zodc.recipe import Kind, Recipe, default_recipe
from zodc.schema import Column, Schema

CLASSES = Schema(
    (
        Column(name="age", kind="continuous", lower=18, upper=100, unit="years"),
        Column(name="stage", kind="ordinal", lower=1, upper=4, missing="indicator"),
        Column(name="sex", kind="categorical", categories=("f", "m", "x"), missing="indicator"),
        Column(name="smokes", kind="binary"),
        Column(name="died", kind="binary", role="target"),
    )
)
SURVIVAL = Schema(
    (
        Column(name="age", kind="continuous", lower=18, upper=100),
        Column(name="smokes", kind="binary"),
        Column(name="time", kind="continuous", role="time", lower=0, upper=10, unit="years"),
        Column(name="event", kind="binary", role="event"),
    )
)
BUDGET = {"epsilon": 1.0, "delta": 1e-5}


def patients(n: int = 400, seed: int = 0) -> pd.DataFrame:
    """Rows that fit CLASSES."""
    rng = np.random.default_rng(seed)
    age = rng.uniform(20, 95, n).round(1)
    smokes = rng.integers(0, 2, n)
    died = (age + 20 * smokes + rng.normal(0, 15, n) > 70).astype(int)
    stage = np.where(rng.random(n) < 0.1, np.nan, rng.integers(1, 5, n))
    sex = rng.choice(["f", "m", "x"], n)
    return pd.DataFrame({"age": age, "stage": stage, "sex": sex, "smokes": smokes, "died": died})


def survivors(n: int = 400, seed: int = 0) -> pd.DataFrame:
    """Rows that fit SURVIVAL."""
    rng = np.random.default_rng(seed)
    age, smokes = rng.uniform(20, 95, n), rng.integers(0, 2, n)
    time = rng.exponential(40 * np.exp(-age / 25 - 0.5 * smokes) + 0.05)
    ends = rng.uniform(1, 12, n)
    event = (time <= ends).astype(int)
    return pd.DataFrame(
        {"age": age, "smokes": smokes, "time": np.minimum(time, ends).clip(0.01, 10), "event": event}
    )


def quick(schema: Schema = CLASSES, *, rounds: int = 6, kind: Kind = "any") -> Recipe:
    """Make settings that need a fraction of a second."""
    recipe = default_recipe(survival=schema.task == "survival", n_features=len(schema.features), kind=kind)
    return replace(
        recipe,
        private=replace(recipe.private, rounds=rounds),
        public=replace(recipe.public, rounds=2),
        directions=4,
        public_directions=2,
        teacher_rows=40,
        teacher_c=1.0,
        draws=2,
        population_rows=200,
        check_every=1,
    )


def quick_condenser(schema: Schema = CLASSES, **options) -> Condenser:
    """Make a condenser whose run needs a fraction of a second."""
    learner = "logistic" if schema.task == "classification" else "cox"
    settings = {"learner": learner, "n_rows": 30, "recipe": quick(schema), **BUDGET}
    return Condenser(schema, **(settings | options))
