"""Private rivals, each in its own virtual environment, as their pins conflict.

A folder of virtual environments (``--venvs``) holds one for each family: ``smartnoise`` (smartnoise-synth),
``opendp`` (opendp[mbi]) and ``dpmm``. A rival gets the training rows with missing cells filled, the levels or
bounds of each column from the public schema, and the budget; for survival, time and event are columns like
any other. Python 3.11 runs all three; their own pins do not suffice, so take these::

    python -m venv FOLDER/smartnoise
    FOLDER/smartnoise/bin/python -m pip install --no-deps smartnoise-synth==1.0.8
    FOLDER/smartnoise/bin/python -m pip install "smartnoise-sql>=1.0.10" mbi==1.1.0 "disjoint-set<0.10" Faker
    python -m venv FOLDER/opendp
    FOLDER/opendp/bin/python -m pip install "opendp[mbi]==0.14.2" "pandas<3" "jax<0.6" "chex<0.1.90"
    python -m venv FOLDER/dpmm
    FOLDER/dpmm/bin/python -m pip install dpmm==0.1.9

smartnoise-synth is installed without torch, which its MST and AIM do not use. The mbi 1.0.0 that OpenDP pins
cannot trace its factors under a newer jax, and under pandas 3 its synthetic tables lose their columns.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from zodc import Column, Schema

METHODS = ("smartnoise_mst", "smartnoise_aim", "opendp_mst", "opendp_aim", "dpmm_mst", "dpmm_aim")
BINS, TIME_BINS = 10, 20
# An ordinal column of at most so many levels is given level by level, else in bins.
MOST_LEVELS = 13
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "JAX_PLATFORMS": "cpu",
}


@dataclass(frozen=True)
class Outcome:
    """What became of one run: tables by size, or none when it timed out or failed."""

    status: str
    seconds: float
    peak_mb: float
    tables: dict[int, pd.DataFrame]
    message: str = ""


def run(
    method: str,
    train: pd.DataFrame,
    schema: Schema,
    *,
    epsilon: float,
    delta: float,
    seed: int,
    sizes: list[int],
    venvs: Path,
    limit: float,
) -> Outcome:
    """Fit a rival on rows without gaps, and draw tables of each size.

    Parameters
    ----------
    method : str
        One of `METHODS`.
    train : DataFrame
        In real units, without missing cells.
    schema : Schema
        Gives levels and bounds.
    epsilon, delta : float
        The budget.
    seed : int
        Of what the rival lets one seed.
    sizes : list of int
        Rows of the tables to draw from the one fitted model.
    venvs : Path
        Folder of virtual environments.
    limit : float
        Processor seconds after which the run is ended, so that other work on the machine does not count.

    Returns
    -------
    Outcome
    """
    columns = {column.name: _public(column) for column in schema.columns if column.role != "ignore"}
    python = venvs / method.partition("_")[0] / "bin" / "python"
    worker = Path(__file__).with_name("rival_worker.py")
    with tempfile.TemporaryDirectory(prefix="rival_") as place:
        folder = Path(place)
        _as_text(train[list(columns)], columns).to_csv(folder / "train.csv", index=False)
        task = {"columns": columns, "epsilon": epsilon, "delta": delta, "seed": seed, "sizes": sizes}
        (folder / "task.json").write_text(json.dumps(task))
        command = [str(python), str(worker), method, str(folder)]
        status, seconds, peak_mb, said = _child(command, folder / "log", limit)
        tables = {}
        if status == "ok":
            read = {size: pd.read_csv(folder / f"rows_{size}.csv") for size in sizes}
            tables = {size: _of_schema(table, schema) for size, table in read.items()}
    return Outcome(status, seconds, peak_mb, tables, said)


def _public(column: Column) -> dict[str, Any]:
    levels = _levels(column)
    if levels is not None:
        return {"levels": levels}
    bins = TIME_BINS if column.role == "time" else BINS
    return {"lower": column.lower, "upper": column.upper, "bins": bins}


def _levels(column: Column) -> list[str] | None:
    if column.categories:
        return list(column.categories)
    if column.kind == "ordinal" and column.step is not None:
        if len(column.levels) <= MOST_LEVELS:
            return [_text(level) for level in column.levels]
    return None


def _text(value: Any) -> str:
    """Write whole numbers without a point, as categories are written."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _as_text(frame: pd.DataFrame, columns: dict[str, dict[str, Any]]) -> pd.DataFrame:
    frame = frame.copy()
    for name, public in columns.items():
        if "levels" in public:
            texts = frame[name].map(_text)
            frame[name] = texts.where(texts.isin(public["levels"]), public["levels"][0])
        else:
            frame[name] = frame[name].astype(float).clip(public["lower"], public["upper"])
    return frame


def _of_schema(table: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Columns as the schema has them: text for categories, else numbers on the column's steps."""
    for column in schema.columns:
        if column.role == "ignore":
            continue
        if column.categories:
            table[column.name] = table[column.name].map(_text)
        else:
            values = table[column.name].astype(float)
            if column.step is not None:
                assert column.lower is not None
                values = column.lower + ((values - column.lower) / column.step).round() * column.step
            table[column.name] = values
    return table


def _child(command: list[str], log: Path, limit: float) -> tuple[str, float, float, str]:
    """Run a command to its end or its limit; return status, processor seconds, peak megabytes, last words."""
    ticks = os.sysconf("SC_CLK_TCK")
    with log.open("w") as output:
        child = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | ONE_THREAD,
            start_new_session=True,
        )
    status = "ok"
    try:
        while True:
            pid, code, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                break
            used = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[11:15]
            if sum(map(int, used)) / ticks > limit:
                status = "timeout"
                os.killpg(child.pid, signal.SIGKILL)
                _, code, usage = os.wait4(child.pid, 0)
                break
            time.sleep(0.2)
    except BaseException:
        os.killpg(child.pid, signal.SIGKILL)
        raise
    child.returncode = os.waitstatus_to_exitcode(code)
    if status == "ok" and child.returncode != 0:
        status = "failed"
    said = " | ".join(log.read_text(errors="replace").strip().splitlines()[-2:])[-300:]
    return status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, said
