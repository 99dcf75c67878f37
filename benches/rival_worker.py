"""One rival, run by its own Python: reads a table and its public columns, writes synthetic tables.

    python rival_worker.py METHOD FOLDER

The folder holds ``train.csv`` and ``task.json`` (columns with their levels or bounds, ε, δ, seed, sizes of
the tables to draw); the worker writes ``rows_N.csv`` for each size N. It needs nothing of zodc.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

Sampler = Callable[[int], pd.DataFrame]


class Task:
    """What every rival is given: rows without gaps, levels or bounds of each column, the budget."""

    def __init__(self, folder: Path) -> None:
        task = json.loads((folder / "task.json").read_text())
        self.columns: dict[str, dict[str, Any]] = task["columns"]
        self.epsilon, self.delta = float(task["epsilon"]), float(task["delta"])
        self.seed: int = task["seed"]
        self.sizes: list[int] = task["sizes"]
        texts = {name: str for name, column in self.columns.items() if "levels" in column}
        self.frame = pd.read_csv(folder / "train.csv", dtype=texts, keep_default_na=False)[list(self.columns)]

    def levels(self) -> dict[str, list[str]]:
        """Levels of the columns that have them."""
        return {name: column["levels"] for name, column in self.columns.items() if "levels" in column}

    def numbers(self) -> dict[str, tuple[float, float, int]]:
        """Bounds and number of bins of the other columns."""
        return {
            name: (float(column["lower"]), float(column["upper"]), int(column["bins"]))
            for name, column in self.columns.items()
            if "levels" not in column
        }


def smartnoise(task: Task, kind: str) -> Sampler:
    create = import_module("snsynth").Synthesizer.create
    transform = import_module("snsynth.transform")
    numbers = task.numbers()
    transformers = []
    for name in task.columns:
        if name in numbers:
            lower, upper, bins = numbers[name]
            transformers.append(transform.BinTransformer(bins=bins, lower=lower, upper=upper))
        else:
            transformers.append(transform.LabelTransformer(nullable=False))
    synthesizer = create(kind, epsilon=task.epsilon, delta=task.delta, verbose=False)
    synthesizer.fit(task.frame, transformer=transform.TableTransformer(transformers))
    return lambda size: pd.DataFrame(synthesizer.sample(size), columns=list(task.columns))


def zero_concentrated(epsilon: float, delta: float) -> float:
    """Largest ρ of zero-concentrated privacy that gives (ε, δ) (Canonne, Kamath, Steinke 2020)."""
    orders = 1 + 10 ** np.linspace(-2, 4, 601)

    def epsilon_of(rho: float) -> float:
        found = rho * orders + np.log1p(-1 / orders) - np.log(delta * orders) / (orders - 1)
        return float(found.min())

    lower, upper = 0.0, epsilon
    for _ in range(60):
        middle = (lower + upper) / 2
        lower, upper = (middle, upper) if epsilon_of(middle) <= epsilon else (lower, middle)
    return lower


def opendp(task: Task, kind: str) -> Sampler:
    dp = import_module("opendp.prelude")
    dp.enable_features("contrib")
    keys, numbers = task.levels(), task.numbers()
    cuts = {
        name: [lower + (upper - lower) * i / bins for i in range(1, bins)]
        for name, (lower, upper, bins) in numbers.items()
    }
    data = import_module("polars").from_pandas(task.frame).lazy()
    algorithm = dp.mbi.MST() if kind == "mst" else dp.mbi.AIM(queries=2)
    whole = zero_concentrated(task.epsilon, task.delta)
    # OpenDP refuses many values of ρ for the last binary digit ("insufficient budget"): spend a little less.
    for tries in range(12):
        rho = whole * (1 - tries * 1e-4)
        try:
            context = dp.Context.compositor(
                data=data,
                privacy_unit=dp.unit_of(contributions=1),
                privacy_loss=dp.loss_of(rho=rho, delta=0.0),
            )
            query = context.query(rho=rho, delta=0.0).select(*task.columns)
            table = query.contingency_table(keys=keys, cuts=cuts, algorithm=algorithm).release()
            break
        except Exception as fault:
            if "insufficient budget" not in str(fault) or tries == 11:
                raise

    def sample(size: int) -> pd.DataFrame:
        rows: pd.DataFrame = table.synthesize(size).to_pandas()[list(task.columns)]
        for name, levels in keys.items():
            rows[name] = rows[name].fillna(levels[0])
        for name, (lower, upper, _) in numbers.items():
            rows[name] = rows[name].fillna(lower).clip(lower, upper)
        return rows

    return sample


def dpmm(task: Task, kind: str) -> Sampler:
    pipelines = import_module("dpmm.pipelines")
    pipeline = {"mst": pipelines.MSTPipeline, "aim": pipelines.AIMPipeline}[kind]
    numbers = task.numbers()
    domain: dict[str, dict[str, Any]] = {name: {"categories": k} for name, k in task.levels().items()}
    domain |= {name: {"lower": lower, "upper": upper} for name, (lower, upper, _) in numbers.items()}
    frame = task.frame.copy()
    for name in task.levels():
        frame[name] = frame[name].astype("category")
    model = pipeline(
        epsilon=task.epsilon,
        delta=task.delta,
        proc_epsilon=None,
        binner_type="uniform",
        n_bins=10,
        n_jobs=1,
        max_model_size=None if kind == "mst" else 80,
    )
    model.fit(frame, domain=domain, random_state=task.seed)
    return lambda size: model.generate(n_records=size, random_state=task.seed)


FAMILIES = {"smartnoise": smartnoise, "opendp": opendp, "dpmm": dpmm}


def main() -> None:
    warnings.simplefilter("ignore")
    method, folder = sys.argv[1], Path(sys.argv[2])
    task = Task(folder)
    np.random.seed(task.seed)
    family, _, kind = method.partition("_")
    sample = FAMILIES[family](task, kind)
    for size in task.sizes:
        sample(size).to_csv(folder / f"rows_{size}.csv", index=False)


if __name__ == "__main__":
    main()
