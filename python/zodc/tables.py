"""Tables out: decoded synthetic rows become frames or arrays with the schema's types."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from zodc.cells import Floats
from zodc.schema import Column, Schema

__all__ = ["Table", "column_values", "columns_of", "survival_records", "to_array", "to_frame"]

# Cells, missing flags (both n_rows × n_features), and outcome, as `_zodc.Decoder.table` returns them.
Table = tuple[Floats, Floats, Floats]


def columns_of(table: Table, schema: Schema, *, flags: bool = True) -> dict[str, NDArray[Any]]:
    """Columns of the released table in the schema's order, each with the schema's type."""
    cells, missing, outcome = table
    features = {column.name: place for place, column in enumerate(schema.features)}
    outcomes = {column.name: place for place, column in enumerate(schema.outcomes)}
    columns: dict[str, NDArray[Any]] = {}
    for column in schema.columns:
        if column.name in outcomes:
            columns[column.name] = column_values(outcome[:, outcomes[column.name]], column)
        elif column.name in features:
            place = features[column.name]
            values = column_values(cells[:, place], column)
            is_missing = missing[:, place] == 1.0
            columns[column.name] = values if flags else _blank(values, is_missing)
            if flags and column.flag_name is not None:
                columns[column.flag_name] = is_missing.astype(np.int64)
    return columns


def column_values(decoded: Floats, column: Column) -> NDArray[Any]:
    """Values in real units of one decoded column: numbers, or indices of levels."""
    if column.kind == "continuous":
        return np.asarray(decoded, dtype=np.float64)
    return _level_values(column)[decoded.astype(np.int64)]


def to_frame(columns: dict[str, NDArray[Any]], library: str | ModuleType = "pandas") -> Any:
    """Build a frame of pandas, polars or pyarrow."""
    plain = {name: values.tolist() if values.dtype == object else values for name, values in columns.items()}
    return nw.from_dict(plain, backend=library).to_native()  # type: ignore[arg-type]


def to_array(columns: dict[str, NDArray[Any]]) -> NDArray[Any]:
    """Build an array of shape (n_rows, n_columns): float64, or objects when a column holds texts."""
    dtype = object if any(values.dtype == object for values in columns.values()) else np.float64
    return np.column_stack([values.astype(dtype) for values in columns.values()])


def survival_records(outcome: Floats) -> NDArray[Any]:
    """Structured (event: bool, time: float) array of times and events, `n_rows × 2`."""
    records = np.empty(len(outcome), dtype=[("event", np.bool_), ("time", np.float64)])
    records["time"], records["event"] = outcome[:, 0], outcome[:, 1] == 1.0
    return records


def _level_values(column: Column) -> NDArray[Any]:
    levels = column.levels
    if all(isinstance(level, float) for level in levels):
        return _whole(np.asarray(levels, dtype=np.float64))
    texts = [str(level) for level in levels]
    # A category is a number only if it is written as numbers are: "18_39", "1E50" and "007" are names.
    if not all(map(_is_written_as_a_number, texts)):
        return np.asarray(texts, dtype=object)
    numbers = np.asarray([float(text) for text in texts])
    return numbers if any("." in text for text in texts) else _whole(numbers)


def _is_written_as_a_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and text in (str(int(float(text))), repr(float(text)))
    except ValueError:
        return False


def _whole(numbers: Floats) -> NDArray[Any]:
    return numbers.astype(np.int64) if (numbers == np.round(numbers)).all() else numbers


def _blank(values: NDArray[Any], is_missing: NDArray[np.bool_]) -> NDArray[Any]:
    if not is_missing.any():
        return values
    if values.dtype == object:
        return np.where(is_missing, None, values)  # type: ignore[call-overload, no-any-return]
    return np.where(is_missing, np.nan, values.astype(np.float64))
