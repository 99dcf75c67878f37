"""Between the caller's containers and the tables that models read.

Rows given back have the caller's kind of container and the schema's types: the caller's own may depend on
one patient, as where one missing label makes all labels floats.
"""

from __future__ import annotations

from typing import Any

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from zodc._zodc import Decoder
from zodc.cells import Floats
from zodc.frames import Encoded, is_frame, within_follow_up
from zodc.schema import Column, Schema
from zodc.tables import Table, column_values, columns_of, to_array, to_frame

__all__ = ["frame_names", "like_x", "like_y", "patients_table", "probe_tables"]

# Enough to see that a prediction depends on its neighbours.
_PROBES = 60


def like_x(table: Table, schema: Schema, x: Any) -> Any:
    """Synthetic features in the container of `x`, in its order."""
    columns = columns_of(table, schema, flags=False)
    names = [column.name for column in schema.features]
    if not is_frame(x):
        return to_array({name: columns[name] for name in names})
    order = [name for name in frame_names(x) if name in names]
    return to_frame({name: columns[name] for name in order}, nw.get_native_namespace(x))


def like_y(table: Table, schema: Schema, x: Any, y: Any) -> Any:
    """Synthetic outcome in the container of `y`; of `x` when `y` is None or names."""
    outcome, outcomes = table[2], schema.outcomes
    columns = {c.name: column_values(outcome[:, place], c) for place, c in enumerate(outcomes)}
    if y is None or isinstance(y, str) or _holds_names(y, columns):
        return _outcome_of_x(columns, x)
    if is_frame(y):
        names = [name for name in frame_names(y) if name in columns]
        return to_frame(
            {name: columns[name] for name in names} if names else columns, nw.get_native_namespace(y)
        )
    series = nw.from_native(y, pass_through=True, allow_series=True)
    values = next(iter(columns.values()))
    if isinstance(series, nw.Series):
        found = nw.new_series("y", values.tolist(), backend=nw.get_native_namespace(y)).to_native()
        return found.rename(series.name) if hasattr(found, "rename") else found
    if isinstance(y, list | tuple):
        return values.tolist()
    dtype = np.asarray(y).dtype
    return values if dtype.names is None else _records_like(outcome, dtype.names, dtype, schema)


def patients_table(decoder: Decoder, encoded: Encoded, schema: Schema) -> Table:
    """Patients' rows as models in direct mode read them; NaN in the outcome where it is missing."""
    cells, missing = decoder.tabulate(encoded.cells)
    if encoded.event is None:
        target = schema.outcomes[0]
        codes = _known(encoded.outcome, target)
        share = (codes[:, None] == np.arange(len(target.categories))).astype(np.float64)
        share[np.isnan(codes)] = np.nan
        return cells, missing, share
    time, event = schema.outcomes
    times, events = within_follow_up(encoded, time)
    return cells, missing, np.column_stack([times, _known(events, event)])


def probe_tables(schema: Schema, n_intervals: int, seed: int) -> tuple[Table, Table, list[float] | None]:
    """Random rows from the schema alone, to train on and to predict, and a time grid."""
    rng = np.random.default_rng(seed)

    def draw(column: Column, n: int) -> Floats:
        if column.levels:
            return rng.integers(len(column.levels), size=n).astype(np.float64)
        assert column.lower is not None and column.upper is not None
        return rng.uniform(column.lower, column.upper, n)

    def table(n: int) -> Table:
        cells = np.column_stack([draw(column, n) for column in schema.features])
        outcome = np.column_stack([draw(column, n) for column in schema.outcomes])
        return cells, np.zeros_like(cells), outcome

    time = schema.time
    grid = None if time is None else np.linspace(0.0, time.upper or 1.0, n_intervals + 1).tolist()
    return table(2 * _PROBES), table(_PROBES), grid


def _known(codes: Floats, column: Column) -> Floats:
    """Codes with the unknown ones mapped by the schema's rule."""
    fallback = np.nan if column.fallback is None else float(column.categories.index(column.fallback))
    return np.where(codes < 0, fallback, codes)


def frame_names(frame: Any) -> list[str]:
    """Names of a frame's columns, as texts."""
    return [str(name) for name in nw.from_native(frame).collect_schema().names()]


def _holds_names(y: Any, columns: dict[str, NDArray[Any]]) -> bool:
    return isinstance(y, list | tuple) and len(y) == len(columns) and set(y) == set(columns)


def _outcome_of_x(columns: dict[str, NDArray[Any]], x: Any) -> Any:
    if not is_frame(x):
        return to_array(columns) if len(columns) > 1 else next(iter(columns.values()))
    frame = nw.from_native(to_frame(columns, nw.get_native_namespace(x)))
    return frame[next(iter(columns))].to_native() if len(columns) == 1 else frame.to_native()


def _records_like(
    outcome: Floats, names: tuple[str, ...], dtype: np.dtype[Any], schema: Schema
) -> NDArray[Any]:
    """Make records (event: bool, time: float) under the caller's names of both fields, in their order."""
    truths = [name for name in names if dtype[name].kind == "b"]
    event = truths[0] if truths else schema.outcomes[1].name
    records = np.empty(len(outcome), [(name, np.bool_ if name == event else np.float64) for name in names])
    for name in names:
        records[name] = outcome[:, 1] == 1.0 if name == event else outcome[:, 0]
    return records
