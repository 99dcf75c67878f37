"""Files in: CSV, Parquet and Arrow, read so that no row changes how another is read."""

from __future__ import annotations

import csv
import gzip
import io
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from zodc._zodc import DataError
from zodc.draft import Type, types_of
from zodc.schema import Schema

__all__ = ["plain_cells", "read_table", "read_types", "refuse_names"]

_KINDS = (
    (".csv", "csv"),
    (".csv.gz", "csv"),
    (".parquet", "parquet"),
    (".pq", "parquet"),
    (".arrow", "arrow"),
    (".feather", "arrow"),
)
# A field that stands for a day, as no name of a column does.
_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}")


def read_table(path: str | Path, schema: Schema | None = None) -> Any:
    """Read a CSV (also .csv.gz), Parquet (file or folder), or Arrow file.

    Every line of a CSV is one row, read from itself alone. A line with too few fields has missing cells. One
    with more fields than the header is a fault of the file, and so is a quote that is still open at the end
    of its line: a record over several lines would count as several patients, and a stray quote would swallow
    others.

    Parameters
    ----------
    path : str or Path
        Its ending says what it is: .csv, .csv.gz, .parquet, .pq, .arrow or .feather. A folder holds Parquet
        files with the same columns and types; what names of folders say ("site=3") is read as texts.
    schema : Schema, optional
        All cells of a CSV are then texts as they stand in the file ("007", "NA"), for `encode` to read one
        by one. Without it types are guessed column by column, which is good for nothing private.

    Returns
    -------
    pandas.DataFrame or pyarrow.Table

    Raises
    ------
    OSError
        When the file cannot be read.
    DataError
        When it is empty or not a table, or a column occurs twice. Names the line, and quotes no cell.
    """
    path = Path(path)

    def read(kind: str) -> Any:
        return _read_csv(path, schema) if kind == "csv" else _read_arrow(path, kind)

    return _guarded(path, read)


def read_types(path: str | Path, known: Iterable[str] | None = None) -> dict[str, Type]:
    """Read names and types of the columns; of a CSV its first line alone, which tells no types.

    Parameters
    ----------
    path : str or Path
    known : iterable of str, optional
        The schema's columns, for `refuse_names`.

    Raises
    ------
    OSError, DataError
        Like `read_table`; also for a CSV whose first line holds a number or a date, and so is no header.
    """
    path = Path(path)

    def read(kind: str) -> dict[str, Type]:
        if kind != "csv":
            schema = _arrow_schema(path, kind)
            refuse_names(schema.names, known)
            return types_of(schema.empty_table())
        # Bytes, since a decoder reads ahead, into patients' rows.
        opener = gzip.open if path.name.lower().endswith(".gz") else open
        with opener(path, "rb") as file:
            header = _header(file.readline().decode("utf-8-sig").rstrip("\r\n"), path)
        refuse_names(header, known)
        if any(_is_number(field) or _DATE.match(field.strip()) for field in header):
            raise DataError(
                f"data: the first line of '{path.name}' holds a number or a date; put the names of the "
                "columns there"
            )
        return dict.fromkeys(header)

    return _guarded(path, read)


Result = TypeVar("Result")


def _guarded(path: Path, read: Callable[[str], Result]) -> Result:
    """Read a file of a known kind; what readers say may quote cells, and is not passed on."""
    of_ending = (kind for ending, kind in _KINDS if path.name.lower().endswith(ending))
    kind = "folder" if path.is_dir() else next(of_ending, None)
    if kind is None:
        raise DataError(
            f"data: '{path.name}' is neither CSV, Parquet nor Arrow; save it as .csv, .csv.gz, .parquet "
            "or .arrow"
        )
    try:
        # A warning of the readers would tell of one cell.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read(kind)
    except OSError as error:
        if isinstance(error, gzip.BadGzipFile) or error.errno is None:
            raise _unreadable(path) from None
        raise
    except DataError:
        raise
    # The readers' own messages may quote cells, and pyarrow has errors of many classes.
    except Exception:
        raise _unreadable(path) from None


def plain_cells(table: pa.Table) -> pa.Table:
    """Take Arrow's extension types off, and read texts that are not UTF-8 cell by cell."""
    for place, name in enumerate(table.column_names):
        column = table.column(place)
        if isinstance(column.type, pa.BaseExtensionType):
            column = _storage(column)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            column = _readable(column)
        if column is not table.column(place):
            table = table.set_column(place, name, column)
    return table


def _storage(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if column.type.extension_name == "arrow.uuid":
        texts = [None if cell is None else str(cell) for cell in column.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.string())])
    return pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)


def _readable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        column.validate(full=True)
        return column
    except pa.ArrowInvalid:
        cells = column.cast(pa.large_binary(), safe=False).to_pylist()
        texts = [None if cell is None else cell.decode("utf-8", "backslashreplace") for cell in cells]
        return pa.chunked_array([texts], pa.large_string())


def _read_arrow(path: Path, kind: str) -> pa.Table:
    if kind == "folder":
        return _read_folder(path)
    if kind == "parquet":
        # Not `read_table`, which takes names of folders for columns.
        with pq.ParquetFile(path) as file:
            return plain_cells(file.read())
    with _open_ipc(path) as reader:
        return plain_cells(reader.read_all())


def _arrow_schema(path: Path, kind: str) -> pa.Schema:
    if kind == "folder":
        return pa.unify_schemas([_part_schema(path, part) for part in _parts(path)])
    if kind == "parquet":
        return pq.read_schema(path)
    with _open_ipc(path) as reader:
        return reader.schema


def _open_ipc(path: Path) -> Any:
    try:
        return pa.ipc.open_file(pa.memory_map(str(path)))
    except pa.ArrowInvalid:
        return pa.ipc.open_stream(pa.memory_map(str(path)))


def _parts(folder: Path) -> list[Path]:
    found = [
        part
        for part in sorted(folder.rglob("*"))
        if part.is_file()
        and part.name.lower().endswith((".parquet", ".pq"))
        and not any(name.startswith(("_", ".")) for name in part.relative_to(folder).parts)
    ]
    if not found:
        raise DataError(f"data: '{folder.name}' has no Parquet file; pass the folder that holds them")
    schemas = [_part_schema(folder, part) for part in found]
    for schema in schemas[1:]:
        _refuse_other_columns(schemas[0], schema, folder)
    return found


def _part_schema(folder: Path, part: Path) -> pa.Schema:
    schema = pq.read_schema(part).remove_metadata()
    for name, _ in _of_folders(folder, part):
        schema = schema.append(pa.field(name, pa.string()))
    return schema


def _refuse_other_columns(first: pa.Schema, other: pa.Schema, folder: Path) -> None:
    odd = sorted(set(first.names) ^ set(other.names))
    if not odd:
        types = ((name, {first.field(name).type, other.field(name).type}) for name in first.names)
        odd = [name for name, found in types if len(found - {pa.null()}) > 1]
    if odd:
        raise DataError(
            f"data, column '{odd[0]}': it is not the same in all files of '{folder.name}'; "
            "write them with one set of columns and types"
        )


def _read_folder(folder: Path) -> pa.Table:
    tables: list[pa.Table] = []
    for part in _parts(folder):
        with pq.ParquetFile(part) as file:
            table = file.read().replace_schema_metadata()
        for name, value in _of_folders(folder, part):
            table = table.append_column(name, pa.array([value] * len(table), pa.string()))
        refuse_names(table.column_names, None)
        tables.append(table.select(tables[0].column_names if tables else table.column_names))
    return plain_cells(pa.concat_tables(tables, promote_options="default"))


def _of_folders(folder: Path, part: Path) -> list[tuple[str, str | None]]:
    """Read what the names of folders say, as Hive writes it."""
    pairs = [name.partition("=") for name in part.relative_to(folder).parts[:-1] if "=" in name]
    return [
        (unquote(name), None if value == "__HIVE_DEFAULT_PARTITION__" else unquote(value))
        for name, _, value in pairs
    ]


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
    with opener(path, "rt", encoding="utf-8-sig") as file, _fields_of_any_length():
        lines = iter(file)
        header = _header(next(lines, ""), path)
        refuse_names(header, None if schema is None else (column.name for column in schema.columns))
        text = io.StringIO(_line(header) + "".join(_rows(lines, len(header), path)))
    options: dict[str, Any] = {} if schema is None else {"dtype": str, "na_filter": False}
    frame: pd.DataFrame = pd.read_csv(text, index_col=False, low_memory=False, **options)
    return frame


def _header(line: str, path: Path) -> list[str]:
    header = _fields(line, 1, path)
    if not header:
        raise DataError(f"data: '{path.name}' is empty; pass a table with a header and rows")
    if len(header) == 1 and any(mark in line for mark in ";\t"):
        raise DataError(
            f"data: '{path.name}' has no comma in its first line; separate the fields by commas, and write "
            "decimals with a point"
        )
    for place, name in enumerate(header, start=1):
        if not name.strip():
            raise DataError(
                f"data: column {place} of '{path.name}' has no name; give it one, or save the table without "
                "the numbers of its rows (in pandas to_csv(index=False))"
            )
    return header


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return field.strip().lower() not in ("nan", "inf", "infinity")


def _rows(lines: Iterator[str], width: int, path: Path) -> Iterator[str]:
    """Lines that any reader takes for one row each."""
    for place, line in enumerate(lines, start=2):
        if '"' not in line and line.count(",") < width:
            yield line
            continue
        fields = _fields(line, place, path)
        # A comma at the end of a line is no field.
        if any(field.strip() for field in fields[width:]):
            raise DataError(
                f"data: '{path.name}' is not a valid table: line {place} has more fields than the header; "
                "put texts with commas in quotes"
            )
        yield _line(fields[:width])


@contextmanager
def _fields_of_any_length() -> Iterator[None]:
    """Lift the process's limit meanwhile: a letter in one cell must not make the file unreadable."""
    usual = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(usual)


def _fields(line: str, place: int, path: Path) -> list[str]:
    reader = csv.reader((line.rstrip("\n"), ""))
    fields = next(reader, [])
    if reader.line_num > 1:
        raise DataError(
            f"data: '{path.name}' is not a valid table: a quote is still open at the end of line {place}; "
            "take line breaks out of texts and close the quote, or save the table as Parquet"
        )
    return fields


def _line(fields: list[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(fields)
    return text.getvalue()


def _unreadable(path: Path) -> DataError:
    return DataError(
        f"data: '{path.name}' is not a valid table; every line needs the fields of the header, in UTF-8"
    )
