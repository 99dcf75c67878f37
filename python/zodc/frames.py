"""Tables in: files, frames and arrays become the numbers that the private half reads."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Never

import narwhals as nw
import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from zodc._zodc import DataError
from zodc.cells import Floats, Integers, encode_column, numbers, unit_numbers
from zodc.files import plain_cells, read_table, refuse_names
from zodc.schema import Column, Schema

__all__ = ["DataError", "Encoded", "encode", "read_table", "within_follow_up"]

# Types of a column of which nothing is known but that all its cells are missing.
_NULL_TYPES = ("null", "null[pyarrow]")


@dataclass(frozen=True, kw_only=True, repr=False)
class Encoded:
    """A cohort as numbers. Holds patients' rows: cannot be printed, pickled or copied.

    Attributes
    ----------
    cells : array of shape (n_rows, n_features)
        In the schema's order: numbers, or indices of categories; NaN missing, -1 unknown.
    outcome : array of shape (n_rows,)
        Class codes, or times.
    event : array of shape (n_rows,) or None
        For survival: 0, 1, or NaN.
    patient : array of shape (n_rows,) or None
        Rows with the same number belong to one patient.
    """

    cells: Floats
    outcome: Floats
    event: Floats | None
    patient: Integers | None

    def __repr__(self) -> str:
        return "Encoded(<private>)"

    def __reduce__(self) -> Never:
        raise TypeError("Encoded holds patients' rows and cannot be pickled or copied")


def within_follow_up(encoded: Encoded, time: Column) -> tuple[Floats, Floats]:
    """Return times within their bounds, and events: one after the upper bound is not seen, but censored."""
    assert encoded.event is not None and time.upper is not None
    is_late = (encoded.event == 1.0) & (encoded.outcome > time.upper)
    return np.clip(encoded.outcome, time.lower, time.upper), np.where(is_late, 0.0, encoded.event)


def encode(x: Any, y: Any, schema: Schema) -> Encoded:
    """Turn a cohort into numbers by the schema.

    Parameters
    ----------
    x : pandas, polars or pyarrow frame, or array of shape (n_rows, n_columns)
        Arrays hold the features (and the patient_id) in the schema's order. Ids of patients are integers
        or texts, never rounded; in an array of floats those from 2^53 on count as missing, and a row
        without an id is left out.
    y : None, str, list of str, array or series of shape (n_rows,), structured array, or frame
        Labels, or event (bool) and time; None or the schema's names take them from `x`.
    schema : Schema

    Returns
    -------
    Encoded

    Raises
    ------
    DataError
        When a column is missing, extra, double or of another type than the schema's, when lengths
        differ, or nothing is there. Names the column, never a value.
    """
    # A warning of a library would tell of one cell.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _encode(x, y, schema)


def _encode(x: Any, y: Any, schema: Schema) -> Encoded:
    within = y is None or _is_names(y, schema)
    table = _columns(x, schema, with_outcomes=within)
    outcomes = {c.name: table[c.name] for c in schema.outcomes} if within else split_outcome(y, schema)
    n_rows = len(next(iter(table.values())))
    if n_rows == 0:
        raise DataError("data: the table has no rows; pass at least one")
    for name, values in outcomes.items():
        if len(values) != n_rows:
            raise DataError(f"data, column '{name}': X and y differ in length; pass one outcome per row")
    encoded = [encode_column(outcomes[column.name], column) for column in schema.outcomes]
    cells = np.empty((n_rows, len(schema.features)))
    for place, column in enumerate(schema.features):
        cells[:, place] = encode_column(table[column.name], column)
    patient = None if schema.patient_id is None else unit_numbers(table[schema.patient_id.name])
    event = encoded[1] if len(encoded) > 1 else None
    return _without_unnamed(Encoded(cells=cells, outcome=encoded[0], event=event, patient=patient))


def split_outcome(y: Any, schema: Schema) -> dict[str, NDArray[Any]]:
    """Outcome columns of `y` under the schema's names."""
    if schema.task == "classification":
        name = schema.outcomes[0].name
        return {name: _labels(y, name)}
    times, events = schema.outcomes
    time, event = times.name, events.name
    if not is_frame(y):
        array = np.asarray(y)
        if array.dtype.names is None:
            raise DataError(
                f"data, columns '{time}' and '{event}': y is not a structured array; "
                "pass (event: bool, time: float) records, a frame, or the columns' names"
            )
        return dict(zip((time, event), _survival_fields(array, times, events), strict=True))
    columns = frame_columns(y)
    for name in (time, event):
        if name not in columns:
            raise DataError(f"data, column '{name}': it is missing from y; add it, or mend the schema")
    return {time: columns[time], event: columns[event]}


def is_frame(table: Any) -> bool:
    """Whether it is a frame that narwhals knows."""
    try:
        return isinstance(nw.from_native(table, pass_through=True), nw.DataFrame | nw.LazyFrame)
    except nw.exceptions.DuplicateError:
        return True


def frame_columns(frame: Any) -> dict[str, NDArray[Any]]:
    """Columns of a frame as arrays of numbers or objects."""
    eager = _eager(frame)
    return {str(name): _series(eager[name], str(name)) for name in eager.columns}


def _eager(frame: Any, known: Iterable[str] | None = None) -> nw.DataFrame[Any]:
    names = getattr(frame, "column_names", None)
    if isinstance(frame, pd.DataFrame):
        names = frame.columns
    if names is not None:
        refuse_names([str(name) for name in names], known)
    if isinstance(frame, pa.Table):
        frame = plain_cells(frame)
    found: nw.DataFrame[Any] | nw.LazyFrame[Any] = nw.from_native(frame)
    if isinstance(found, nw.LazyFrame):
        raise DataError("data: X is a lazy frame; collect it first")
    return found


def _is_names(y: Any, schema: Schema) -> bool:
    names = [column.name for column in schema.outcomes]
    if isinstance(y, str):
        y = [y]
    if not isinstance(y, list | tuple) or not all(isinstance(name, str) for name in y):
        return False
    if sorted(y) == sorted(names):
        return True
    if len(y) <= 2 and not set(y) & set(schema.outcomes[0].categories):
        raise DataError(f"data: y names columns that are not the schema's outcome; it is {', '.join(names)}")
    return False


def _columns(x: Any, schema: Schema, *, with_outcomes: bool) -> dict[str, NDArray[Any]]:
    """Columns that the schema asks of X, by name."""
    roles = {"feature", "patient_id"} | ({"target", "time", "event"} if with_outcomes else set())
    wanted = [column for column in schema.columns if column.role in roles]
    if not is_frame(x):
        return _by_position(x, wanted)
    known = {column.name: column for column in schema.columns}
    frame = _eager(x, known)
    names = [str(name) for name in frame.columns]
    refuse_names(names, known)
    for name in names:
        if name not in known:
            raise DataError(
                f"data, column '{name}': the schema does not know it; drop it, "
                'or list it in the schema with role = "ignore"'
            )
        if known[name].role not in roles | {"ignore"}:
            raise DataError(f"data, column '{name}': it stands in X and in y; drop it from X, or leave out y")
    for column in wanted:
        if column.name not in names:
            raise DataError(f"data, column '{column.name}': it is missing; add it, or mend the schema")
    native_name = dict(zip(names, frame.columns, strict=True))
    series = {column: frame[native_name[column.name]] for column in wanted}
    return {
        column.name: _ids(found, column.name) if column.role == "patient_id" else _series(found, column.name)
        for column, found in series.items()
    }


def _by_position(x: Any, wanted: Sequence[Column]) -> dict[str, NDArray[Any]]:
    if hasattr(x, "toarray"):
        raise DataError("data: X is a sparse matrix; pass a dense one, X.toarray()")
    array = _array(x)
    if array.dtype.kind == "c":
        raise DataError("data: Complex data not supported; pass real numbers")
    if array.ndim != 2:
        raise DataError(
            "data: X is not a table with rows and columns; Reshape your data with X.reshape(-1, 1) or (1, -1)"
        )
    if array.shape[1] != len(wanted):
        names = ", ".join(column.name for column in wanted[:5]) + (", …" if len(wanted) > 5 else "")
        raise DataError(
            f"data: X has {array.shape[1]} features, but the schema asks for {len(wanted)} columns as input "
            f"({names}); pass them in the schema's order, or a frame"
        )
    if array.dtype.kind in "Mm":
        raise _wrong_type(wanted[0].name)
    return {column.name: array[:, place] for place, column in enumerate(wanted)}


def _array(values: Any) -> NDArray[Any]:
    if isinstance(values, np.ma.MaskedArray) and values.dtype.names is None:
        found: NDArray[Any] = np.asarray(values.data).astype(object)
        found[np.ma.getmaskarray(values)] = None
        return found
    # NumPy would find one type for all cells of a list.
    return np.asarray(values, dtype=object if isinstance(values, list | tuple) else None)


def _series(series: Any, name: str) -> NDArray[Any]:
    """Cells of a column as numbers or objects, by the column's type alone."""
    dtype = series.dtype
    if dtype.is_numeric():
        try:
            found = np.asarray(series.cast(nw.Float64).to_numpy(), dtype=np.float64)
            return found.astype(np.float32) if dtype == nw.Float32 else found
        # Arrow refuses to round an integer.
        except Exception:
            return numbers(_objects(series), name)
    if dtype == nw.Boolean or isinstance(dtype, nw.String | nw.Categorical | nw.Enum | nw.Object):
        return _objects(series)
    native = series.to_native()
    if str(getattr(native, "dtype", getattr(native, "type", ""))).lower() in _NULL_TYPES:
        return np.full(len(series), np.nan)
    raise _wrong_type(name)


def _ids(series: Any, name: str) -> NDArray[Any]:
    """Ids of patients, never cast: a cast may make two patients one."""
    if series.dtype.is_nested() or series.dtype.is_temporal():
        raise _wrong_type(name)
    found = np.asarray(series.to_numpy())
    # Narrow floats say by their type from where on they are rounded.
    return found if found.dtype.kind == "f" and found.dtype.itemsize < 8 else _objects(series)


def _objects(series: Any) -> NDArray[Any]:
    return np.fromiter(series.to_list(), dtype=object, count=len(series))


def _wrong_type(name: str) -> DataError:
    return DataError(
        f"data, column '{name}': its type is neither number, truth value nor text; "
        "turn dates into days, lists into columns"
    )


def _labels(y: Any, name: str) -> NDArray[Any]:
    if is_frame(y):
        columns = frame_columns(y)
        if len(columns) != 1:
            raise DataError(f"data, column '{name}': y has several columns; pass the target alone")
        return next(iter(columns.values()))
    series = nw.from_native(y, pass_through=True, allow_series=True)
    if isinstance(series, nw.Series):
        return _series(series, name)
    array = _array(y)
    if array.dtype.names is not None or array.ndim == 0 or array.dtype.kind in "cMm":
        raise DataError(f"data, column '{name}': y does not hold labels; pass one label per row")
    if array.ndim == 2 and array.shape[1] == 1:
        return array[:, 0]
    if array.ndim != 1:
        raise DataError(f"data, column '{name}': y should be a 1d array; pass one label per row")
    return array


def _survival_fields(array: NDArray[Any], time: Column, event: Column) -> list[NDArray[Any]]:
    names = array.dtype.names or ()
    truths = [name for name in names if array.dtype[name].kind == "b"]
    if set(names) == {time.name, event.name} and not truths:
        return [array[time.name], array[event.name]]
    if len(names) != 2 or len(truths) != 1:
        raise DataError(
            f"data, columns '{time.name}' and '{event.name}': y must have two fields, one of type bool; "
            "pass (event: bool, time: float) records"
        )
    other = next(name for name in names if name != truths[0])
    # The second category of the event column is the event, whatever it is called.
    return [array[other], np.asarray(event.categories, dtype=object)[array[truths[0]].astype(np.int64)]]


def _without_unnamed(cohort: Encoded) -> Encoded:
    """Leave out rows without a patient id: nothing would bound what their patient contributes."""
    if cohort.patient is None or not (cohort.patient < 0).any():
        return cohort
    keep = cohort.patient >= 0
    event = None if cohort.event is None else cohort.event[keep]
    return Encoded(
        cells=cohort.cells[keep], outcome=cohort.outcome[keep], event=event, patient=cohort.patient[keep]
    )
