"""What commands share: faults that end in one line and an exit code, options, the progress bar."""

from __future__ import annotations

import json
import math
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from zodc._zodc import BudgetError, DataError, JournalError, SchemaError
from zodc.options import ModelError, OptionError
from zodc.phases import Progress

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
    "as_fault",
    "json_option",
    "options_of",
    "progress_bar",
    "quiet_option",
    "seed_option",
    "tell",
]

USAGE, BUDGET, DISAGREEMENT, INTERRUPTED = 2, 3, 4, 130

# Options of the library that have another name here.
_OPTIONS = {"n_rows": "rows", "n_bootstrap": "bootstrap", "random_state": "seed"}
# What a phase is called on the bar.
_PHASES = {
    "private": "rounds, private",
    "draws": "draws, free",
    "public": "rounds, free",
    "demo": "runs",
    "releases": "releases attacked",
}

FILE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)
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
        case SchemaError() | DataError() | JournalError():
            return Fault(str(error), DISAGREEMENT)
        case KeyboardInterrupt():
            return Fault("interrupted; no release was written", INTERRUPTED)
        case OptionError() | ModelError():
            return Fault(_as_typed(str(error)), USAGE)
        case OSError() if error.strerror:
            return Fault(
                f"{error.strerror}: '{error.filename}'; check the path, and your rights to it", USAGE
            )
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
        except (click.ClickException, click.Abort, click.exceptions.Exit, SystemExit):
            raise
        except BaseException as error:  # also a panic of Rust, which is no Exception
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


def _remembered(key: str) -> Callable[[click.Context, click.Parameter, bool], None]:
    def remember(ctx: click.Context, _: click.Parameter, given: bool) -> None:
        ctx.meta[key] = given or ctx.meta.get(key, False)

    return remember


def _asked(key: str) -> bool:
    ctx = click.get_current_context(silent=True)
    return ctx is not None and bool(ctx.meta.get(key))


_JSON, _QUIET = "zodc.json", "zodc.quiet"
json_option = click.option(
    "--json",
    is_flag=True,
    expose_value=False,
    callback=_remembered(_JSON),
    help="Print JSON, for machines.",
)
quiet_option = click.option(
    "--quiet",
    is_flag=True,
    expose_value=False,
    callback=_remembered(_QUIET),
    help="Print faults only, and no progress.",
)


def tell(found: Any, values: Any) -> None:
    """Print a result as asked: for people, or its values as JSON; nothing if quiet."""
    if _asked(_JSON):
        click.echo(json.dumps(_finite(values), indent=2, ensure_ascii=False, allow_nan=False))
    elif not _asked(_QUIET):
        if isinstance(found, str):
            click.echo(found)
        else:
            Console().print(found)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def progress_bar() -> Iterator[Progress | None]:
    """Show a bar on standard error, if that is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal or _asked(_QUIET):
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
