"""Fit the constants of `zodc.outlook` to the results of `field.py`.

Run:  python benches/field_outlook.py results.csv --data FOLDER
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from field_methods import DELTA, SETS, load_unit
from zodc import Condenser
from zodc.outlook import signal

# Smaller losses are within the noise of a few seeds.
LEAST_LOSS = 0.01


def losses(results: pd.DataFrame) -> pd.DataFrame:
    """Mean over learners and seeds of 1 - share of full data, per set and ε; rows for any learner."""
    scores = results[results["metric"].isin(["auroc", "c_index"])]
    full = scores[scores["method"] == "full"].set_index(["set", "seed", "learner"])["score"]
    own = scores[(scores["method"] == "zodc") & (scores["made_for"] == "any") & (scores["rows"] == 500)]
    keys = pd.MultiIndex.from_frame(own[["set", "seed", "learner"]])
    share = own["score"].to_numpy() / full.reindex(keys).to_numpy()
    return own.assign(loss=1 - share).groupby(["set", "epsilon"], as_index=False)["loss"].mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()
    table = losses(pd.read_csv(args.results, dtype={"epsilon": str}))
    for task in ("classification", "survival"):
        points = []
        for name in SETS:
            unit = load_unit(args.data, name, 0)
            if unit.schema.task != task:
                continue
            for row in table[table["set"] == name].itertuples():
                plan = Condenser(unit.schema, epsilon=float(row.epsilon), delta=DELTA).plan()
                points.append((name, np.log(signal(unit.schema, plan, len(unit.train))), row.loss))
        sets, x, loss = zip(*points, strict=True)
        y = np.log(np.maximum(loss, LEAST_LOSS))
        slope, intercept = np.polyfit(x, y, 1)
        # Each set is forecast from the others: what a new cohort would see.
        missed = []
        for name in dict.fromkeys(sets):
            own = np.array([other == name for other in sets])
            fit = np.polyfit(np.array(x)[~own], y[~own], 1)
            missed += list(y[own] - np.polyval(fit, np.array(x)[own]))
        print(f'"{task}": ({intercept:.3f}, {slope:.3f}, {np.sqrt(np.mean(np.square(missed))):.3f}),')


if __name__ == "__main__":
    main()
