"""Files in: CSV and Parquet, read so that no row changes how another is read."""

from __future__ import annotations

import csv
import gzip
import io
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from zodc._zodc import DataError
from zodc.schema import Schema

__all__ = ["read_table", "refuse_names"]


def read_table(path: str | Path, schema: Schema | None = None) -> pd.DataFrame:
    """Read a CSV (also .csv.gz) or Parquet file.

    Every line of a CSV is one row, read from itself alone: a quote ends with its line at the latest. A line
    with too few fields has missing cells; one with more fields than the header is a fault of the file.

    Parameters
    ----------
    path : str or Path
        Its ending says what it is.
    schema : Schema, optional
        All cells of a CSV are then texts as they stand in the file ("007", "NA"), for `encode` to read one
        by one. Without it types are guessed column by column: enough to draft a schema, and for nothing
        private.

    Raises
    ------
    OSError
        When the file cannot be read.
    DataError
        When it is empty or not a table, or a column occurs twice. Names the line, and quotes no cell.
    """
    path = Path(path)
    name = path.name.lower()
    if not name.endswith((".csv", ".csv.gz", ".parquet", ".pq")):
        raise DataError(
            f"data: '{path.name}' is neither CSV nor Parquet; save it as .csv, .csv.gz or .parquet"
        )
    try:
        # A warning of the readers would tell of one cell.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if name.endswith((".parquet", ".pq")):
                # Else one missing id would make all ids floats.
                return pd.read_parquet(path, dtype_backend="numpy_nullable")
            return _read_csv(path, schema)
    except OSError as error:
        if isinstance(error, gzip.BadGzipFile) or error.errno is None:
            raise _unreadable(path) from None
        raise
    except DataError:
        raise
    # The readers' own messages may quote cells.
    except (ValueError, EOFError, csv.Error):
        raise _unreadable(path) from None


def refuse_names(names: Sequence[str], known: Iterable[str] | None) -> None:
    """Refuse a header that is none, or that has a name twice.

    Parameters
    ----------
    names : sequence of str
        The header.
    known : iterable of str, optional
        The schema's columns. Where the header has none of them it may be a patient's row, and no name is
        told.

    Raises
    ------
    DataError
    """
    if known is not None and not set(known) & set(names):
        raise DataError(
            "data: the header has none of the schema's columns; check that the table has a header line, "
            "or mend the schema"
        )
    for name, count in Counter(names).items():
        if count > 1:
            raise DataError(f"data, column '{name}': it occurs twice; drop or rename one")


def _read_csv(path: Path, schema: Schema | None) -> pd.DataFrame:
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8-sig") as file:
        lines = iter(file)
        header = _fields(next(lines, ""))
        if not header:
            raise DataError(f"data: '{path.name}' is empty; pass a table with a header and rows")
        refuse_names(header, None if schema is None else (column.name for column in schema.columns))
        text = io.StringIO(_line(header) + "".join(_rows(lines, len(header), path)))
    options: dict[str, Any] = {} if schema is None else {"dtype": str, "na_filter": False}
    return pd.read_csv(text, index_col=False, low_memory=False, **options)


def _rows(lines: Iterator[str], width: int, path: Path) -> Iterator[str]:
    """Lines that any reader takes for one row each."""
    for place, line in enumerate(lines, start=2):
        if '"' not in line and line.count(",") < width:
            yield line
            continue
        fields = _fields(line)
        # A comma at the end of a line is no field.
        if any(field.strip() for field in fields[width:]):
            raise DataError(
                f"data: '{path.name}' is not a valid table: line {place} has more fields than the header; "
                "put texts with commas in quotes"
            )
        yield _line(fields[:width])


def _fields(line: str) -> list[str]:
    return next(csv.reader((line.rstrip("\n"),)), [])


def _line(fields: list[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(fields)
    return text.getvalue()


def _unreadable(path: Path) -> DataError:
    return DataError(
        f"data: '{path.name}' is not a valid table; every line needs the fields of the header, in UTF-8"
    )
