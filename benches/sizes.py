"""How a release's score follows from ε, from the number of patients, and from the number of rows.

Everything is inside the budget; scores are AUROC or C-index on held-out real rows. Run:

    python benches/sizes.py --data FOLDER --seeds 4
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from pathlib import Path

import datasets
import pandas as pd
from utility import DELTA, score
from zodc import Condenser
from zodc.evaluate import default_models, encode_rows, release_rows

MOST_TRAIN = 5_000
# Cohort, label column if survival is made a classification, and learner.
COHORTS = [("flchain", None, "cox"), ("covid_mexico", None, "logistic")]
PATIENTS = (250, 500, 1_000, 2_000, MOST_TRAIN)
EPSILONS = (0.3, 1.0, 3.0, 10.0)
ROWS = (25, 50, 100, 200, 400)


def settings() -> Iterator[tuple[str, float, int, int]]:
    """Each sweep moves one number and leaves the others at ε = 1, 5,000 patients, 200 rows."""
    yield from (("patients", 1.0, n, 200) for n in PATIENTS)
    yield from (("epsilon", epsilon, MOST_TRAIN, 200) for epsilon in EPSILONS)
    yield from (("rows", 1.0, MOST_TRAIN, rows) for rows in ROWS)


def run(folder: Path, name: str, label: str | None, learner: str, seed: int) -> Iterator[dict[str, object]]:
    """All settings on one split."""
    cohort = datasets.load(folder, name, label=label)
    train, test = datasets.split(cohort, seed, MOST_TRAIN)
    models = {learner: default_models(cohort.schema.task, seed)[learner]}
    for sweep, epsilon, patients, rows in settings():
        condenser = Condenser(cohort.schema, learner=learner, epsilon=epsilon, delta=DELTA, n_rows=rows)
        release = condenser.fit(train.iloc[:patients]).release_
        held_out = encode_rows(test, cohort.schema, release.decoder)
        real = encode_rows(train, cohort.schema, release.decoder)
        yield {
            "cohort": name,
            "sweep": sweep,
            "epsilon": epsilon,
            "patients": patients,
            "rows": rows,
            "share": score(models, release_rows(release, release.decoder), held_out)[learner]
            / score(models, real, held_out)[learner],
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of cohorts")
    parser.add_argument("--seeds", type=int, default=4)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    found: list[dict[str, object]] = []
    for seed in range(args.seeds):
        for cohort in COHORTS:
            found += run(args.data, *cohort, seed)
        table = pd.DataFrame(found).groupby(["cohort", "sweep", "epsilon", "patients", "rows"], sort=False)
        print(f"seeds {seed + 1}\n{table['share'].agg(['mean', 'sem']).round(4).to_string()}", flush=True)


if __name__ == "__main__":
    main()
