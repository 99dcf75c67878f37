"""The Python door under random input: files, tables and manifests. No fault but zodc's own, no cell told.

The everyday run tries a few hundred inputs; `pytest -m slow tests/trust/test_fuzz_door.py` thousands.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cohorts import BUDGET, quick
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from test_check_31_canary import NUMBER, SCHEMA, TEXT, _condenser, _tell, assert_silent, cohort
from zodc import Condenser, Release, verify
from zodc._zodc import BudgetError, DataError, SchemaError, check_schema, schema_from_toml
from zodc.frames import encode, read_table
from zodc.plan import make_plan

QUICK, SLOW = 30, 1000
OWN = (DataError, SchemaError, BudgetError)


def _examples(n: int):
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much]
    # A failing input is shown as it was found: shrinking objects of any class takes minutes.
    phases = [Phase.explicit, Phase.generate]
    return settings(max_examples=n, deadline=None, database=None, suppress_health_check=checks, phases=phases)


_FIELD = st.one_of(
    st.sampled_from([str(NUMBER), TEXT, "", "NA", "f", "m", "1", "0", '"', "'", "inf", "1e999", "\0", "﻿"]),
    st.text(max_size=6),
    st.floats().map(repr),
)
_TABLE = st.lists(st.lists(_FIELD, max_size=8), max_size=6).map(
    lambda rows: "\n".join(",".join(row) for row in rows)
)
_HEADER = st.sampled_from(["age,creatinine,sex,smokes,id,died\n", "age,age\n", "", TEXT + ",1\n", "\n"])


def _csv(header: str, body: str, noise: bytes) -> None:
    data = (header + body).encode("utf-8", "surrogatepass") + noise
    Path("input.csv").write_bytes(data)
    try:
        encode(read_table("input.csv", SCHEMA), None, SCHEMA)
    except OWN as error:
        assert_silent(_tell(error), "an error")


def _parquet(place: int, byte: int, cut: int) -> None:
    frame = cohort(6).astype(str)
    frame.to_parquet("input.parquet")
    data = bytearray(Path("input.parquet").read_bytes())
    data[place % len(data)] = byte
    Path("input.parquet").write_bytes(data[: len(data) - cut])
    try:
        encode(read_table("input.parquet", SCHEMA), None, SCHEMA)
    except (*OWN, OSError) as error:
        assert_silent(_tell(error), "an error")


_ODD = st.one_of(
    st.sampled_from(
        [NUMBER, TEXT, None, np.nan, np.inf, -np.inf, pd.NA, pd.NaT, b"7", 1j, 10**400, [NUMBER]]
    ),
    st.integers(),
    st.floats(),
    st.text(max_size=4),
    st.booleans(),
    st.dates(),
    st.decimals(),
    st.fractions(),
)
_ROWS = st.lists(st.tuples(*[_ODD] * 6), min_size=1, max_size=5)


def _joined(base: pd.DataFrame, rows: list[tuple]) -> pd.DataFrame:
    """Add rows of objects as they are: pandas must not look for a type of all, nor count them."""
    cells = {}
    for place, name in enumerate(base):
        column = np.empty(len(base) + len(rows), dtype=object)
        column[: len(base)] = base[name]
        for row, cell in enumerate((row[place] for row in rows), start=len(base)):
            column[row] = cell
        cells[name] = column
    return pd.DataFrame(cells)


def _cells(rows: list[tuple]) -> None:
    """Cells make no error but where a whole column is unreadable, and no warning."""
    frame = _joined(cohort(5), rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        release = _condenser(recipe=quick(SCHEMA, rounds=1)).fit(frame).release_
    assert len(release.rows) == 12
    assert_silent(repr(release) + release.frame().to_csv(), "the release")


def _one_cell_alone(rows: list[tuple]) -> None:
    """No row changes how another is read."""
    base = cohort(5)
    more = _joined(base, rows)
    alone, joined = encode(base, None, SCHEMA), encode(more, None, SCHEMA)
    np.testing.assert_array_equal(alone.cells, joined.cells[:5])
    np.testing.assert_array_equal(alone.outcome, joined.outcome[:5])
    np.testing.assert_array_equal(alone.patient, joined.patient[:5])


_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """One release folder, saved once."""
    condenser = Condenser(SCHEMA, learner="logistic", n_rows=9, recipe=quick(SCHEMA, rounds=1), **BUDGET)
    folder = tmp_path_factory.mktemp("door") / "release"
    condenser.fit(cohort()).release_.save(folder)
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


_CSV = (_HEADER, _TABLE, st.binary(max_size=8))
_BYTES = (st.integers(0, 10**6), st.integers(0, 255), st.sampled_from([0, 0, 0, 1, 100]))


@_examples(5 * QUICK)
@given(*_CSV)
def test_check_31_any_csv(here, header, body, noise) -> None:
    _csv(header, body, noise)


@pytest.mark.slow
@_examples(4 * SLOW)
@given(*_CSV)
def test_check_31_slow_any_csv(here, header, body, noise) -> None:
    _csv(header, body, noise)


@_examples(QUICK)
@given(*_BYTES)
def test_check_31_any_parquet(here, place, byte, cut) -> None:
    _parquet(place, byte, cut)


@pytest.mark.slow
@_examples(SLOW)
@given(*_BYTES)
def test_check_31_slow_any_parquet(here, place, byte, cut) -> None:
    _parquet(place, byte, cut)


@_examples(QUICK)
@given(_ROWS)
def test_check_06_any_cells_are_condensed(rows) -> None:
    _cells(rows)


@pytest.mark.slow
@_examples(SLOW)
@given(_ROWS)
def test_check_06_slow_any_cells_are_condensed(rows) -> None:
    _cells(rows)


@_examples(5 * QUICK)
@given(_ROWS)
def test_check_06_no_row_changes_how_another_is_read(rows) -> None:
    _one_cell_alone(rows)


@_examples(2 * QUICK)
@given(st.data())
def test_check_31_any_manifest(release, tmp_path_factory, data) -> None:
    """A manifest of any shape is refused or read: no other error than zodc's own."""
    manifest = json.loads((release / "manifest.json").read_text())
    target = manifest
    for _ in range(data.draw(st.integers(0, 2))):
        inner = [value for value in target.values() if isinstance(value, dict)]
        if inner:
            target = data.draw(st.sampled_from(inner))
    key = data.draw(st.sampled_from(sorted(target)))
    if data.draw(st.booleans()):
        del target[key]
    else:
        target[key] = data.draw(_JSON)
    copy = tmp_path_factory.mktemp("copy") / "release"
    copy.mkdir()
    for file in release.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / "manifest.json").write_text(json.dumps(manifest))
    for read in (verify, Release.load):
        try:
            read(copy)
        except (*OWN, OSError):
            pass


@_examples(5 * QUICK)
@given(st.text(max_size=40) | _JSON.map(json.dumps))
def test_check_26_any_schema_text(text: str) -> None:
    for read in (check_schema, schema_from_toml):
        try:
            read(text)
        except ValueError:
            pass
    plan = make_plan(SCHEMA, quick(SCHEMA), **BUDGET)
    assert plan.epsilon == 1.0
