"""zodc beside full data, real rows, cluster centroids and private rivals, on eleven clinical cohorts.

Everything of zodc is inside the budget: one private run per set, seed and ε, from which rows of every size
and for every learner are made at no further cost. Run:

    python benches/field.py --data FOLDER --out results.csv --seeds 10
    python benches/field.py --data FOLDER --out reduced.csv --reduced
    python benches/field.py --data FOLDER --out rivals.csv --methods smartnoise_mst --venvs FOLDER
    python benches/field.py --data FOLDER --out sites.csv --leave-site-out

Jobs that the results file holds are not done again, and a private run whose release is kept beside it is not
either: give a changed zodc a results file of its own. Tables and plots: ``field_report.py``.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import field_methods as methods
import rivals
from field_methods import SETS, SITES, Unit
from field_store import Job, Store

OWN = ("full", "real", "start", "centroids", "zodc")
NOT_PRIVATE = "inf"
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")


@dataclass(frozen=True)
class Settings:
    """Options of a run, as one process needs them."""

    data: Path
    out: Path
    work: Path
    methods: tuple[str, ...]
    epsilons: tuple[float, ...]
    rows: tuple[int, ...]
    made_for: tuple[str, ...]
    venvs: Path | None
    limit: float


def run_unit(settings: Settings, name: str, seed: int) -> str:
    """Do all jobs of one split of one set; return a line to print."""
    warnings.simplefilter("ignore")
    start = time.perf_counter()
    store = Store(settings.out)
    before = len(store.done)
    unit = methods.load_unit(settings.data, name, seed)
    for method in settings.methods:
        if method in rivals.METHODS:
            for epsilon in settings.epsilons:
                run_rival(settings, store, unit, method, epsilon)
        elif method in ("zodc", "start"):
            for epsilon in settings.epsilons:
                run_zodc(settings, store, unit, method, epsilon)
        else:
            run_real(settings, store, unit, method)
    n_jobs = len(store.done) - before
    return f"{name}, seed {seed}: {n_jobs} jobs in {time.perf_counter() - start:.0f} s"


def run_real(settings: Settings, store: Store, unit: Unit, method: str) -> None:
    """Full data, random real rows, or centroids: not private."""
    if method == "centroids" and unit.schema.task == "survival":
        return
    sizes = (len(unit.train),) if method == "full" else settings.rows
    for n_rows in sizes:
        job = Job(unit.name, unit.seed, NOT_PRIVATE, method, "-", n_rows)
        if store.has(job):
            continue
        cost = methods.NO_COST
        if method == "full":
            scores = unit.score(unit.real)
        elif method == "real":
            scores = methods.real_rows(unit, n_rows)
        else:
            rows, cost = methods.centroids(unit, n_rows)
            scores = unit.score(rows)
        store.add(job, scores, seconds=cost.seconds, peak_mb=cost.peak_mb)


def run_zodc(settings: Settings, store: Store, unit: Unit, method: str, epsilon: float) -> None:
    """Rows of the one private run, for each learner and size; or the rows that it starts from."""
    known = methods.made_for(unit.schema.task, unit.seed)
    names = settings.made_for or ("any", methods.WEIGHTED)
    wanted = ("-",) if method == "start" else tuple(name for name in names if name in known)
    base = Job(unit.name, unit.seed, f"{epsilon:g}", method, "-", 0)
    jobs = [replace(base, made_for=name, rows=n_rows) for name in wanted for n_rows in settings.rows]
    jobs = [job for job in jobs if not store.has(job)]
    if not jobs:
        return
    place = settings.work / f"{unit.name.replace('/', '@')}-{unit.seed}-{epsilon:g}"
    run = methods.private_run(unit, epsilon, place)
    for job in jobs:
        if method == "start":
            scores, cost = methods.start_rows(unit, run, job.rows)
        else:
            scores, cost = methods.zodc_rows(unit, run, job.made_for, job.rows)
        store.add(job, scores, seconds=cost.seconds, peak_mb=cost.peak_mb)


def run_rival(settings: Settings, store: Store, unit: Unit, method: str, epsilon: float) -> None:
    """Fit a rival once; judge as many of its rows as zodc releases, and as many as it was given."""
    sizes = [max(settings.rows), len(unit.train)]
    jobs = [Job(unit.name, unit.seed, f"{epsilon:g}", method, "-", n_rows) for n_rows in sizes]
    if all(store.has(job) for job in jobs):
        return
    if store.timed_out(jobs[0]):  # with another seed: no run is started
        for job in jobs:
            store.add(job, {}, seconds=float("nan"), peak_mb=float("nan"), status="not run")
        return
    assert settings.venvs is not None
    outcome = rivals.run(
        method,
        unit.without_gaps(),
        unit.schema,
        epsilon=epsilon,
        delta=methods.DELTA,
        seed=unit.seed,
        sizes=sizes,
        venvs=settings.venvs,
        limit=settings.limit,
    )
    cost = {"seconds": outcome.seconds, "peak_mb": outcome.peak_mb}
    print(f"{jobs[0]}: {outcome.status} in {outcome.seconds:.0f} s {outcome.message}", flush=True)
    for job in jobs:
        scores = {}
        if outcome.status == "ok":
            table = outcome.tables[job.rows]
            name = f"{job.method}-{job.set.replace('/', '@')}-{job.seed}-{job.epsilon}-{job.rows}.csv.gz"
            settings.work.mkdir(parents=True, exist_ok=True)
            table.to_csv(settings.work / name, index=False)
            scores = unit.score_table(table)
        store.add(job, scores, status=outcome.status, **cost)


def units(args: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """Yield sets, or sites to leave out, for each seed."""
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        for name in args.sets:
            if not args.leave_site_out:
                yield name, seed
            elif name in SITES:
                yield from ((site, seed) for site in methods.sites_of(args.data, name))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of cohorts")
    parser.add_argument("--out", type=Path, required=True, help="results file (CSV), appended to")
    parser.add_argument("--work", type=Path, help="folder of releases and rivals' rows; beside --out")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--seeds", type=int, default=10, help="number of splits")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--epsilons", type=float, nargs="+", default=[0.5, 1, 3, 8])
    parser.add_argument("--rows", type=int, nargs="+", default=[50, 100, 200, 500])
    parser.add_argument(
        "--methods", nargs="+", default=list(OWN), choices=[*OWN, *rivals.METHODS], metavar="METHOD"
    )
    parser.add_argument(
        "--made-for",
        nargs="+",
        default=[],
        help="learners that zodc's rows are made for: any, weighted, tree, forest, xgboost, logistic, cox, "
        "survival_forest, survival_tree; any and weighted unless stated",
    )
    parser.add_argument("--venvs", type=Path, help="folder of the rivals' virtual environments")
    parser.add_argument("--limit", type=float, default=200, help="seconds of one run of a rival")
    parser.add_argument("--workers", type=int, default=1, help="processes, each on one core")
    parser.add_argument("--leave-site-out", action="store_true", help="test on each site in turn")
    parser.add_argument(
        "--reduced", action="store_true", help="ε = 1, 500 rows, two seeds, two processes, no rivals"
    )
    args = parser.parse_args()
    if args.reduced:
        args.seeds, args.epsilons, args.rows, args.workers = 2, [1.0], [500], 2
        args.methods = ["full", "real", "centroids", "zodc"]
    if args.venvs is None and any(method in rivals.METHODS for method in args.methods):
        parser.error("rivals need --venvs")
    return args


def main() -> None:
    args = parse()
    settings = Settings(
        data=args.data,
        out=args.out,
        work=args.work or args.out.with_name(f"{args.out.stem}_work"),
        methods=tuple(args.methods),
        epsilons=tuple(args.epsilons),
        rows=tuple(args.rows),
        made_for=tuple(args.made_for),
        venvs=args.venvs,
        limit=args.limit,
    )
    wanted = list(units(args))
    if args.workers == 1:
        for name, seed in wanted:
            print(run_unit(settings, name, seed), flush=True)
        return
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    with ProcessPoolExecutor(args.workers, mp_context=get_context("spawn")) as pool:
        for done in [pool.submit(run_unit, settings, name, seed) for name, seed in wanted]:
            print(done.result(), flush=True)


if __name__ == "__main__":
    main()
