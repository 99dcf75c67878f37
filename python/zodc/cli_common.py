"""What commands share: faults that end in one line and an exit code, options, the progress bar."""

from __future__ import annotations

import functools
import json
import math
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from zodc._zodc import BudgetError, DataError, SchemaError
from zodc.database import query_types, read_query
from zodc.draft import Type
from zodc.files import read_table, read_types
from zodc.options import ModelError, OptionError
from zodc.phases import Progress
from zodc.schema import Schema

__all__ = [
    "BUDGET",
    "DISAGREEMENT",
    "FILE",
    "FOLDER",
    "INTERRUPTED",
    "USAGE",
    "Command",
    "Commands",
    "Fault",
    "Source",
    "as_fault",
    "json_option",
    "options_of",
    "print_json",
    "progress_bar",
    "seed_option",
    "source_options",
]

USAGE, BUDGET, DISAGREEMENT, INTERRUPTED = 2, 3, 4, 130

# Options of the library that have another name here.
_OPTIONS = {"n_rows": "rows", "n_bootstrap": "bootstrap", "random_state": "seed"}
# What a phase is called on the bar.
_PHASES = {
    "private": "rounds, private",
    "public": "rounds, free",
    "demo": "runs",
    "releases": "releases attacked",
}

FILE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)
# A table: a file, or a folder of Parquet files.
TABLE = click.Path(exists=True, readable=True, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


class Fault(click.ClickException):
    """A fault told in one line."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(" ".join(message.split()))
        self.exit_code = exit_code  # type: ignore[misc]


def _as_typed(message: str) -> str:
    """Name options as the command line does."""

    def renamed(match: re.Match[str]) -> str:
        option = _OPTIONS.get(match[1], match[1]).replace("_", "-")
        return f"The '--{option}' option"

    return re.sub(r"The '(\w+)' option", renamed, message)


def as_fault(error: BaseException) -> Fault:
    """Tell any error in one line that quotes no patient."""
    match error:
        case BudgetError():
            return Fault(str(error), BUDGET)
        case SchemaError() | DataError():
            return Fault(str(error), DISAGREEMENT)
        case KeyboardInterrupt():
            return Fault("interrupted; no release was written", INTERRUPTED)
        case OptionError() | ModelError():
            return Fault(_as_typed(str(error)), USAGE)
        case OSError() if error.strerror:
            return Fault(f"{error.strerror}: '{error.filename}'", USAGE)
    # The text of any other error, also of pandas or NumPy, may hold a patient's value; its place does not.
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name}, line {frame.lineno}"
    return Fault(f"a fault of zodc, {type(error).__name__} in {place}; please report it", 1)


class Commands(click.Group):
    """A group whose commands end every fault in one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except (Exception, KeyboardInterrupt) as error:
            raise as_fault(error) from None


Command = Callable[..., None]


def options_of(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Bundle options that several commands take."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


seed_option = click.option("--seed", type=int, help="Fixes the public randomness; the noise is never seeded.")


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")


def print_json(value: Any) -> None:
    """Print a value as JSON, numbers that are none as null."""
    click.echo(json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


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

    def types(self) -> dict[str, Type]:
        """Read names and types of the columns, and no row."""
        if self.file is not None:
            return read_types(self.file)
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
        query = Path(query[1:]).read_text(encoding="utf-8-sig")
    return Source(query=query, database=database)


@contextmanager
def progress_bar() -> Iterator[Progress | None]:
    """Show a bar on standard error, if that is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    tasks: dict[str, TaskID] = {}
    with Bar(*columns, console=console, transient=True) as bar:

        def report(phase: str, done: int, total: int) -> None:
            if phase not in tasks:
                tasks[phase] = bar.add_task(_PHASES.get(phase, phase), total=total)
            bar.update(tasks[phase], completed=done)

        yield report
