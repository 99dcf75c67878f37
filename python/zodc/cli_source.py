"""Where a command's table is: a file, or a query on a database."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from zodc.cli_common import Command, options_of
from zodc.database import query_types, read_query
from zodc.draft import Type
from zodc.files import read_table, read_types
from zodc.schema import Schema

__all__ = ["Source", "source_options"]

# A table: a file, or a folder of Parquet files.
TABLE = click.Path(exists=True, readable=True, path_type=Path)


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a table is: a file, or a query on a database."""

    file: Path | None = None
    query: str = ""
    database: str = ""

    def table(self, schema: Schema) -> Any:
        """Read the rows."""
        if self.file is not None:
            return read_table(self.file, schema)
        return read_query(self.query, self.database)

    def types(self, schema: Schema | None = None) -> dict[str, Type]:
        """Read names and types of the columns, and no row."""
        if self.file is not None:
            known = None if schema is None else [column.name for column in schema.columns]
            return read_types(self.file, known)
        return query_types(self.query, self.database)


def source_options(*, needed: bool, name: str = "file") -> Callable[[Command], Command]:
    """Take a table as an argument, or as a query: the command gets a `source`."""
    word = name.upper() if name == "file" else f"--{name}"
    file = click.argument("file", type=TABLE, required=False)
    if name != "file":
        file = click.option(word, "file", type=TABLE, help="File of real rows that were not condensed.")
    both = options_of(
        file,
        click.option("--query", metavar="SQL", help="One SELECT, instead of a file; @FILE reads it."),
        click.option("--database", metavar="URL", help="Where to ask it: sqlite, duckdb or postgresql."),
    )

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def given(*args: Any, **options: Any) -> None:
            file, query, database = (options.pop(key) for key in ("file", "query", "database"))
            source = _source(file, query, database, word)
            if source is None and needed:
                raise click.UsageError(f"Pass {word}, or --query with --database.")
            command(*args, source=source, **options)

        return both(given)

    return decorate


def _source(file: Path | None, query: str | None, database: str | None, word: str) -> Source | None:
    if (query is None) != (database is None):
        missing = "--database" if database is None else "--query"
        raise click.UsageError(f"{missing} is missing: --query and --database go together.")
    if query is None or database is None:
        return None if file is None else Source(file=file)
    if file is not None:
        raise click.UsageError(f"Pass {word} or --query, not both.")
    if query.startswith("@"):
        query = _text_of(Path(query[1:]))
    return Source(query=query, database=database)


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise click.UsageError(f"The query in '{path}' is not in UTF-8; save it as UTF-8.") from None
