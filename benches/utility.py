"""Utility on public cohorts: train on a release, test on real rows, beside full data and random real rows.

Everything is inside the budget: one private run per cohort and seed, from which rows for each learner are
made. Run:

    python benches/utility.py --data FOLDER --seeds 10 --out results.csv
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
from lifelines import CoxPHFitter
from zodc import Condenser
from zodc.evaluate import EncodedRows, default_models, encode_rows, release_rows, score_models
from zodc.learners import Tree

DELTA = 1e-5
MOST_TRAIN = 10_000
REAL_DRAWS = 10
# Cohort, label column if survival is made a classification, and (learner, rows, target share of full data).
CLASSIFICATION: list[tuple[str, str | None, list[tuple[str, int, float | None]]]] = [
    ("heart_uci", None, [("logistic", 200, 0.985), ("tree", 500, 0.95), ("forest", 500, 0.96)]),
    ("covid_mexico", None, [("logistic", 200, 0.985), ("tree", 500, 0.95), ("forest", 500, 0.96)]),
    ("flchain", "death", [("logistic", 200, None), ("tree", 500, 0.94), ("forest", 500, None)]),
    ("physionet2012_icu", None, [("logistic", 200, 0.965)]),
]
SURVIVAL = {
    "flchain": {1.0: 0.99, 3.0: 0.995},
    "nhanes_mortality": {1.0: 0.99, 3.0: 0.995},
    "metabric": {1.0: 0.98, 3.0: 0.985},
}


def score(models: dict[str, Any], train: EncodedRows, test: EncodedRows) -> dict[str, float]:
    """AUROC or C-index of each model."""
    found = score_models(models, train, test, np.zeros((0, len(test.x))))
    return {s.model: s.estimate.value for s in found if s.metric in ("AUROC", "C-index")}


def real_rows(
    models: dict[str, Any], train: EncodedRows, test: EncodedRows, n_rows: int, seed: int
) -> dict[str, float]:
    """Mean score of models trained on random real rows (not private)."""
    rng = np.random.default_rng(seed)
    n = len(train.x)
    draws = [rng.choice(n, min(n_rows, n), replace=False) for _ in range(REAL_DRAWS)]
    return dict(pd.DataFrame([score(models, train.take(rows), test) for rows in draws]).mean())


def classify(
    folder: Path, name: str, label: str | None, wanted: list[Any], seed: int
) -> list[dict[str, Any]]:
    """One private run at ε = 1, and rows for each learner."""
    cohort = datasets.load(folder, name, label=label)
    train, test = datasets.split(cohort, seed, MOST_TRAIN)
    models = default_models("classification", seed)
    condenser = Condenser(cohort.schema, learner="logistic", epsilon=1.0, delta=DELTA)
    start = time.perf_counter()
    release = condenser.fit(train).release_
    seconds = {"logistic": time.perf_counter() - start}
    real, held_out = (encode_rows(part, cohort.schema, release.decoder) for part in (train, test))
    full = score(models, real, held_out)
    learners = {"tree": Tree(max_depth=4, min_samples_leaf=5), "forest": models["forest"]}
    rows = []
    for learner, n_rows, target in wanted:
        made = release
        if learner in learners:
            start = time.perf_counter()
            made = release.recondense(learners[learner], n_rows=n_rows)
            seconds[learner] = time.perf_counter() - start
        one = {learner: models[learner]}
        rows.append(
            {
                "cohort": name if label is None else f"{name} ({label})",
                "learner": learner,
                "epsilon": 1.0,
                "seed": seed,
                "rows": n_rows,
                "zodc": score(one, release_rows(made, made.decoder), held_out)[learner],
                "full": full[learner],
                "real": real_rows(one, real, held_out, n_rows, seed)[learner],
                "target": target,
                "seconds": seconds[learner],
            }
        )
    return rows


def survive(folder: Path, name: str, epsilon: float, target: float, seed: int) -> dict[str, Any]:
    """Cox regression at one ε."""
    cohort = datasets.load(folder, name)
    train, test = datasets.split(cohort, seed, MOST_TRAIN)
    start = time.perf_counter()
    release = Condenser(cohort.schema, learner="cox", epsilon=epsilon, delta=DELTA).fit(train).release_
    seconds = time.perf_counter() - start
    real, held_out = (encode_rows(part, cohort.schema, release.decoder) for part in (train, test))
    # The ridge that suits a release (docs/experiments.md, 27); lifelines diverges with it on some real rows.
    models = {"cox": CoxPHFitter(penalizer=0.03)}
    # The better of two ridges stands for full data, and for real rows.
    ridges = [CoxPHFitter(penalizer=ridge) for ridge in (0.001, 0.1)]
    full = max(score({"cox": ridge}, real, held_out)["cox"] for ridge in ridges)
    return {
        "cohort": name,
        "learner": "cox",
        "epsilon": epsilon,
        "seed": seed,
        "rows": 200,
        "zodc": score(models, release_rows(release, release.decoder), held_out)["cox"],
        "full": full,
        "real": max(real_rows({"cox": m}, real, held_out, 200, seed)["cox"] for m in ridges),
        "target": target,
        "seconds": seconds,
    }


def summary(results: pd.DataFrame) -> str:
    """Mean over seeds, the share of full data with its standard error, and the target."""
    table = results.assign(
        share=results["zodc"] / results["full"], real_share=results["real"] / results["full"]
    )
    groups = table.groupby(["cohort", "learner", "epsilon"], sort=False)
    lines = [
        "| cohort | learner | ε | rows | full data | random real rows | zodc | share of full | target | s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (cohort, learner, epsilon), group in groups:
        share = group["share"].mean()
        error = group["share"].sem() if len(group) > 1 else float("nan")
        target = group["target"].iloc[0]
        goal = "" if pd.isna(target) else f"{target:.3f} {'met' if share >= target else 'MISSED'}"
        lines.append(
            f"| {cohort} | {learner} | {epsilon:g} | {group['rows'].iloc[0]} | {group['full'].mean():.4f} "
            f"| {group['real'].mean():.4f} | {group['zodc'].mean():.4f} | {share:.4f} ± {error:.4f} "
            f"| {goal} | {group['seconds'].mean():.1f} |"
        )
    return "\n".join(lines)


def recorded_peers(path: Path) -> str:
    """Return recorded scores of Tab-PE at ε = 1, from its own harness."""
    table = pd.read_csv(path)
    chosen = table[(table["peer"] == "pe_tab") & (pd.to_numeric(table["eps"], errors="coerce") == 1.0)]
    scores = chosen.assign(score=pd.to_numeric(chosen["score"], errors="coerce"))
    return str(scores.groupby(["dataset", "model"])["score"].mean().round(4).to_string())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of cohorts")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--only", nargs="*", help="names of cohorts")
    parser.add_argument("--learners", nargs="*", help="names of learners of classification")
    parser.add_argument("--out", type=Path, help="CSV of all results")
    parser.add_argument("--peers", type=Path, help="CSV of recorded rivals")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    rows: list[dict[str, Any]] = []
    for seed in range(args.seeds):
        for name, epsilons in SURVIVAL.items():
            if not args.only or name in args.only:
                rows += [survive(args.data, name, eps, target, seed) for eps, target in epsilons.items()]
        for name, label, all_wanted in CLASSIFICATION:
            wanted = [w for w in all_wanted if not args.learners or w[0] in args.learners]
            if wanted and (not args.only or name in args.only):
                rows += classify(args.data, name, label, wanted, seed)
        print(f"seed {seed} done", flush=True)
        if args.out:
            pd.DataFrame(rows).to_csv(args.out, index=False)
    print(summary(pd.DataFrame(rows)))
    if args.peers:
        print(recorded_peers(args.peers))


if __name__ == "__main__":
    main()
