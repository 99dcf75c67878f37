"""Speed: a round against the same round with scikit-learn or lifelines, whole runs, and growth with size.

Ratios come from one process on one machine. Run:

    python benches/speed.py            # rounds, and the table of growth
    python benches/speed.py --data FOLDER   # also whole runs on public cohorts, with peak memory
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from lifelines import CoxPHFitter
from sklearn.tree import DecisionTreeClassifier
from zodc import Column, Condenser, Schema, _zodc
from zodc.learners import Tree
from zodc.recipe import Anneal, Schedule

DELTA = 1e-5
DIRECTIONS = 32


def schema(n_features: int, survival: bool) -> Schema:
    """Features within ±5, and an outcome."""
    columns = [Column(name=f"x{j}", kind="continuous", lower=-5, upper=5) for j in range(n_features)]
    if survival:
        columns.append(Column(name="time", kind="continuous", role="time", lower=0, upper=10))
        columns.append(Column(name="event", kind="binary", role="event"))
    else:
        columns.append(Column(name="y", kind="binary", role="target"))
    return Schema(tuple(columns))


def patients(n: int, n_features: int, survival: bool) -> tuple[Any, ...]:
    """Gaussian features with a linear effect."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, n_features))
    eta = x[:, :5].sum(axis=1) / 2
    if not survival:
        return x, (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(float), None
    time_to_event, censoring = rng.exponential(np.exp(-eta)) * 3, rng.uniform(0, 10, n)
    return x, np.minimum(time_to_event, censoring), (time_to_event <= censoring).astype(float)


def learners(*kinds: str) -> str:
    options: dict[str, dict[str, Any]] = {"tree": {"max_depth": 4, "min_samples_leaf": 5}}
    return json.dumps([{"weight": 1.0, "learner": {"kind": k, **options.get(k, {})}} for k in kinds])


def schedule(rounds: int) -> str:
    anneal = Anneal(0.1, 0.05)
    return Schedule(rounds=rounds, radius=anneal, step=Anneal(0.03, 0.01), clip=Anneal(0.1, 0.1)).to_json()


def native_run(
    data: tuple[Any, ...],
    public: Schema,
    kinds: tuple[str, ...],
    *,
    n_rows: int,
    rounds: int,
    directions: int = DIRECTIONS,
    expected_patients: int | None = None,
) -> tuple[float, Any, Any]:
    """Seconds of the private rounds alone; the decoder and the rows."""
    text = public.to_json()
    options = {"rounds": rounds, "directions": directions, "marginal_share": 0.15}
    plan = _zodc.make_plan(text, epsilon=1.0, delta=DELTA, expected_patients=expected_patients, **options)
    cohort = _zodc.Cohort(text, plan, *data)
    decoder = _zodc.Decoder(text, cohort.marginals(), 10)
    start = decoder.uniform_rows(n_rows, 1)
    began = time.perf_counter()
    rows, _, _ = decoder.condense_private(cohort, start, learners(*kinds), schedule(rounds), directions, 1)
    return time.perf_counter() - began, decoder, rows


def scikit_round(decoder: Any, rows: Any, data: tuple[Any, ...]) -> float:
    """Seconds of one round with scikit-learn's tree: fit every candidate, score every patient."""
    search = _zodc.Search(rows, schedule(1), DIRECTIONS, 1)
    x = decoder.encode(data[0])
    codes = data[1].astype(int)
    began = time.perf_counter()
    for index in range(2 * DIRECTIONS):
        cells, missing, outcome = decoder.table(search.candidate(index))
        tree = DecisionTreeClassifier(max_depth=4, min_samples_leaf=5)
        tree.fit(decoder.encode_table(cells, missing), outcome[:, 0])
        np.log(np.maximum(tree.predict_proba(x)[np.arange(len(x)), codes], 1e-3))
    return time.perf_counter() - began


def round_of_a_run(learner: Any, data: tuple[Any, ...], rounds: tuple[int, int]) -> float:
    """Seconds of a round when zodc itself runs the learner on patients: what one more round adds to a run."""

    def seconds(n: int) -> float:
        condenser = Condenser(
            schema(data[0].shape[1], False),
            learner=learner,
            epsilon=1.0,
            delta=DELTA,
            mode="direct",
            rounds=n,
        )
        began = time.perf_counter()
        condenser.fit(data[0], data[1].astype(int))
        return time.perf_counter() - began

    few, many = rounds
    return (seconds(many) - seconds(few)) / (many - few)


def lifelines_round(decoder: Any, rows: Any, data: tuple[Any, ...]) -> float:
    """Seconds of one round with lifelines' Cox: fit every candidate, score every patient."""
    search = _zodc.Search(rows, schedule(1), DIRECTIONS, 1)
    x, grid = pd.DataFrame(decoder.encode(data[0])), np.asarray(decoder.time_grid)
    began = time.perf_counter()
    for index in range(2 * DIRECTIONS):
        cells, missing, outcome = decoder.table(search.candidate(index))
        frame = pd.DataFrame(decoder.encode_table(cells, missing))
        fitted = CoxPHFitter(penalizer=0.1).fit(
            frame.assign(t=outcome[:, 0], e=outcome[:, 1]), duration_col="t", event_col="e"
        )
        cumulative = fitted.predict_cumulative_hazard(x, times=grid).to_numpy()
        np.diff(cumulative, axis=0)
    return time.perf_counter() - began


def rounds_against_python() -> None:
    """Print the ratio of a round with another package to the native one."""
    print("\nA round, 64 fits on 200 rows of 20 features and the scores of 2,000 patients")
    print("(the other package in a bare loop: fit, predict, nothing else):")
    pairs: list[tuple[str, bool, Callable[..., float], int]] = [
        ("tree", False, scikit_round, 40),
        ("cox", True, lifelines_round, 300),
    ]
    for kind, survival, other_round, goal in pairs:
        data = patients(2000, 20, survival)
        seconds, decoder, rows = native_run(data, schema(20, survival), (kind,), n_rows=200, rounds=50)
        other = min(other_round(decoder, rows, data) for _ in range(3))
        ratio = other / (seconds / 50)
        print(
            f"  {kind}: {1e3 * seconds / 50:.1f} ms, other {1e3 * other:.0f} ms, {ratio:.0f}× (goal {goal}×)"
        )
    data = patients(2000, 20, False)
    native = round_of_a_run(Tree(max_depth=4, min_samples_leaf=5), data, (20, 220))
    other = round_of_a_run(DecisionTreeClassifier(max_depth=4, min_samples_leaf=5), data, (2, 6))
    print(
        f"  tree, both run by zodc in mode='direct': {1e3 * native:.1f} ms, "
        f"scikit-learn's {1e3 * other:.0f} ms, {other / native:.0f}× (goal 40×)"
    )


def growth() -> None:
    """Print seconds per unit of work as n, rows, T and K grow."""
    print("\nGrowth (Cox, 10 features; base n=20,000, 100 rows, T=20, K=16):")
    base = {"n": 20_000, "n_rows": 100, "rounds": 20, "directions": 16}
    for name, values in {
        "n": [20_000, 40_000, 80_000],
        "n_rows": [100, 200, 400],
        "rounds": [20, 40, 80],
        "directions": [16, 32, 64],
    }.items():
        cells = []
        for value in values:
            size = {**base, name: value}
            data = patients(size.pop("n"), 10, True)
            seconds, _, _ = native_run(data, schema(10, True), ("cox",), **size)
            cells.append(f"{value}: {seconds:.2f} s")
        print(f"  {name:10s} " + "   ".join(cells))
    print("\nOne million patients, chosen by the plan to be Poisson sampled (10 features, T=100, K=16):")
    data = patients(1_000_000, 10, True)
    before = peak_megabytes()
    seconds, _, _ = native_run(
        data, schema(10, True), ("cox",), n_rows=100, rounds=100, directions=16, expected_patients=1_000_000
    )
    encoded = data[0].nbytes / 1e6
    print(
        f"  {seconds:.1f} s; peak memory grew by {peak_megabytes() - before:.0f} MB "
        f"over {encoded:.0f} MB of data"
    )


def peak_megabytes() -> float:
    """Peak resident memory of this process; `ru_maxrss` would begin with that of the one that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def whole_run(folder: Path, name: str, mode: Any) -> None:
    """Print seconds and peak memory of one `Condenser.fit`; meant for a process of its own."""
    import datasets
    from zodc.frames import encode

    cohort = datasets.load(folder, name)
    train, _ = datasets.split(cohort, 0)
    learner, n_rows, rounds, goal = (
        ("cox", 100, 400, 3) if name == "flchain" else ({"tree": 1.0, "logistic": 1.0}, 200, 600, 60)
    )
    condenser = Condenser(
        cohort.schema,
        learner=learner,
        epsilon=1.0,
        delta=DELTA,
        n_rows=n_rows,
        mode=mode,
        rounds=rounds,
        directions=DIRECTIONS,
    )
    before, began = peak_megabytes(), time.perf_counter()
    condenser.fit(train)
    seconds = time.perf_counter() - began
    encoded = encode(train, None, cohort.schema)
    megabytes = 8e-6 * len(encoded.cells) * condenser.release_.decoder.encode(encoded.cells[:1]).shape[1]
    print(
        f"  {name}, {learner}, {n_rows} rows, T={rounds}, K={DIRECTIONS}, mode {mode}: {seconds:.1f} s "
        f"(goal {goal} s); peak memory {peak_megabytes():.0f} MB, of which the run "
        f"{peak_megabytes() - before:.0f} MB (goal 2 × {megabytes:.1f} + 100 MB)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of cohorts")
    parser.add_argument("--whole-run", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.whole_run:
        name, mode = args.whole_run
        whole_run(args.data, name, mode)
        return
    rounds_against_python()
    growth()
    if args.data:
        print("\nWhole runs, marginals and free phases included:", flush=True)
        for name, mode in itertools.product(("flchain", "physionet2012_icu"), ("two_phase", "direct")):
            command = [sys.executable, __file__, "--data", str(args.data), "--whole-run", name, mode]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
