"""Cohorts of the benchmark, and what each method makes of them: rows to train on."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
from field_models import Scores, judges, score
from imblearn.under_sampling import ClusterCentroids
from sklearn.cluster import KMeans
from zodc import Condenser, Release, Schema, WeightedRows, frames, weighted_rows
from zodc._zodc import Decoder
from zodc.encoded import encode_flagged
from zodc.evaluate import EncodedRows, encode_rows, release_rows
from zodc.learners import Tree
from zodc.tables import columns_of
from zodc.weighted import WEIGHT

DELTA = 1e-5
MOST_TRAIN = 10_000
REAL_DRAWS = 10
CLASSIFICATION = (
    "covid_mexico",
    "covid_proteomics",
    "physionet2012_icu",
    "heart_uci",
    "mi_complications",
    "brfss_heart",
)
SURVIVAL = ("flchain", "metabric", "nhanes_mortality", "nhefs", "pbc")
SETS = CLASSIFICATION + SURVIVAL
# Column that names the hospital or region, where a set has several.
SITES = {"covid_mexico": "institution", "heart_uci": "site", "covid_proteomics": "site"}
# A site is left out only if it has so many patients of each class to test on.
LEAST_OF_CLASS = 20


# Rows for any classifier that takes weights.
WEIGHTED = "weighted"


def made_for(task: str, seed: int) -> dict[str, Any]:
    """Map the name in the results to the `learner` option of zodc; weighted rows have none."""
    teacher = "cox" if task == "survival" else "logistic"
    found: dict[str, Any] = {"any": "any", teacher: teacher}
    models = judges(task, seed)
    if task == "survival":
        return {**{name: models[name] for name in ("survival_forest", "survival_tree")}, **found}
    found |= {"tree": Tree(max_depth=5, min_samples_leaf=5), WEIGHTED: None}
    return {**{name: models[name] for name in ("forest", "xgboost")}, **found}


@dataclass(frozen=True)
class Cost:
    """Processor seconds (of all threads), and the peak memory of the process meanwhile, in megabytes.

    Processor seconds do not count what else the machine is doing.
    """

    seconds: float
    peak_mb: float


NO_COST = Cost(0.0, float("nan"))


@contextmanager
def measured() -> Iterator[list[Cost]]:
    """Measure a block: the list holds its cost once it has ended."""
    status = Path("/proc/self/status")
    try:
        Path("/proc/self/clear_refs").write_text("5")  # Linux: forget the peak so far
    except OSError:
        status = Path("/nonexistent")
    found: list[Cost] = []
    start = time.process_time()
    yield found
    seconds = time.process_time() - start
    peak = float("nan")
    if status.exists():
        lines = status.read_text().splitlines()
        peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    found.append(Cost(seconds, peak))


@dataclass(frozen=True)
class Unit:
    """One split of one set.

    Attributes
    ----------
    name : str
        The set; with a site left out "set/site".
    seed : int
    schema : Schema
    train, test : DataFrame
        Real rows in real units.
    """

    name: str
    seed: int
    schema: Schema
    train: pd.DataFrame = field(repr=False)
    test: pd.DataFrame = field(repr=False)

    @cached_property
    def decoder(self) -> Decoder:
        """Encode what has no decoder of its own: full data, real rows, rivals.

        It comes from noisy marginals at ε = 1 whose noise is fixed by the seed, so that every run of the
        benchmark judges by the same features.
        """
        condenser = Condenser._with_test_noise(
            self.seed,
            self.schema,
            learner="any",
            epsilon=1.0,
            delta=DELTA,
            rounds=1,
            random_state=self.seed,
        )
        return condenser.fit(self.train).release_.decoder

    @cached_property
    def real(self) -> EncodedRows:
        """Encoded training rows."""
        return encode_rows(self.train, self.schema, self.decoder)

    @cached_property
    def held_out(self) -> EncodedRows:
        """Encoded test rows."""
        return encode_rows(self.test, self.schema, self.decoder)

    def score(self, rows: EncodedRows) -> Scores:
        """Train on rows of `decoder`, test on the held-out ones."""
        return score(rows, self.held_out, self.seed)

    def score_table(self, table: pd.DataFrame) -> Scores:
        """Score rows in real units."""
        return self.score(encode_rows(table, self.schema, self.decoder))

    def without_gaps(self) -> pd.DataFrame:
        """Training rows in real units whose missing cells are filled as the decoder says."""
        filled, flags = self.decoder.tabulate(frames.encode(self.train, None, self.schema).cells)
        outcome = self.real.codes[:, None].astype(np.float64)
        if self.real.time is not None:
            outcome = np.column_stack([self.real.time, outcome])
        assert len(outcome) == len(filled)
        return pd.DataFrame(columns_of((filled, flags, outcome), self.schema))


def load_unit(folder: Path, name: str, seed: int) -> Unit:
    """Split a set as `datasets.split` does; or leave a site out, for a name "set/site"."""
    whole, _, site = name.partition("/")
    cohort = datasets.load(folder, whole)
    if not site:
        train, test = datasets.split(cohort, seed, MOST_TRAIN)
        return Unit(name, seed, cohort.schema, train, test)
    column = SITES[whole]
    # The site tells nothing of a patient from elsewhere.
    columns = (replace(c, role="ignore") if c.name == column else c for c in cohort.schema.columns)
    is_left_out = (cohort.frame[column].astype(str) == site).to_numpy()
    others = cohort.frame[~is_left_out]
    order = np.random.default_rng(seed).permutation(len(others))[:MOST_TRAIN]
    schema = Schema(columns=tuple(columns), name=whole)
    return Unit(name, seed, schema, others.iloc[order], cohort.frame[is_left_out])


def sites_of(folder: Path, name: str) -> list[str]:
    """Names of units that leave out one site each, of those with patients enough to test on."""
    cohort = datasets.load(folder, name)
    target = cohort.schema.target
    assert target is not None
    counts = pd.crosstab(cohort.frame[SITES[name]].astype(str), cohort.frame[target.name])
    return [f"{name}/{site}" for site in counts.index[(counts >= LEAST_OF_CLASS).all(axis=1)]]


def real_rows(unit: Unit, n_rows: int) -> Scores:
    """Mean scores of several draws of random real rows (not private)."""
    rng = np.random.default_rng(unit.seed)
    n = len(unit.real.x)
    draws = [unit.score(unit.real.take(rng.permutation(n)[:n_rows])) for _ in range(REAL_DRAWS)]
    return {key: float(np.nanmean([draw[key] for draw in draws])) for key in draws[0]}


def centroids(unit: Unit, n_rows: int) -> tuple[EncodedRows, Cost]:
    """Cluster centres of each class, at the real prevalence (not private)."""
    real = unit.real
    counts = np.bincount(real.codes, minlength=real.n_classes)
    n_rows = min(n_rows, len(real.x))
    wanted = {c: max(1, round(n_rows * n / len(real.x))) for c, n in enumerate(counts) if n}
    sampler = ClusterCentroids(
        sampling_strategy={c: min(n, int(counts[c])) for c, n in wanted.items()},
        estimator=KMeans(n_init=1, random_state=unit.seed),
        voting="soft",
        random_state=unit.seed,
    )
    with measured() as cost:
        x, codes = sampler.fit_resample(real.x.to_numpy(), real.codes)
    rows = EncodedRows(
        x=pd.DataFrame(x, columns=real.x.columns), codes=codes, time=None, n_classes=real.n_classes
    )
    return rows, cost[0]


@dataclass(frozen=True)
class Private:
    """The one private run of a unit at an ε, and what it cost."""

    release: Release
    cost: Cost


def private_run(unit: Unit, epsilon: float, place: Path) -> Private:
    """Condense with the default recipe; the release is kept at `place`, so that no run is made twice."""
    costs = place.with_name(f"{place.name}.json")
    if costs.exists():
        return Private(Release.load(place), Cost(**json.loads(costs.read_text())))
    condenser = Condenser(unit.schema, epsilon=epsilon, delta=DELTA, random_state=unit.seed)
    with measured() as cost:
        release = condenser.fit(unit.train).release_
    place.parent.mkdir(parents=True, exist_ok=True)
    release.save(place, overwrite=True, report=False)
    costs.write_text(json.dumps(vars(cost[0])))
    return Private(release, cost[0])


def zodc_rows(unit: Unit, run: Private, name: str, n_rows: int) -> tuple[Scores, Cost]:
    """Scores of rows made from a private run for a learner; all of it is inside the budget."""
    learner = made_for(unit.schema.task, unit.seed)[name]
    with measured() as cost:
        if name == WEIGHTED:
            weighted = weighted_rows(run.release, n_rows=n_rows, random_state=unit.seed)
        else:
            made = run.release.recondense(learner, n_rows=n_rows, random_state=unit.seed)
    both = Cost(run.cost.seconds + cost[0].seconds, float(np.fmax(run.cost.peak_mb, cost[0].peak_mb)))
    return score_weighted(unit, run, weighted) if name == WEIGHTED else score_release(unit, made), both


def start_rows(unit: Unit, run: Private, n_rows: int) -> tuple[Scores, Cost]:
    """Scores of the rows that the private phase starts from: noisy marginals, no rounds."""
    start = run.release.decoder.uniform_rows(n_rows, unit.seed)
    return score_release(unit, replace(run.release, rows=start)), NO_COST


def score_weighted(unit: Unit, run: Private, rows: WeightedRows) -> Scores:
    """Score learners that are trained with weights."""
    decoder = run.release.decoder
    train = encode_flagged(rows.frame().drop(columns=WEIGHT), unit.schema, decoder)
    return score(train, encode_rows(unit.test, unit.schema, decoder), unit.seed, rows.weight)


def score_release(unit: Unit, release: Release) -> Scores:
    """Score a release by its own decoder, which the budget has paid for."""
    decoder = release.decoder
    held_out = encode_rows(unit.test, unit.schema, decoder)
    return score(release_rows(release, decoder), held_out, unit.seed)
