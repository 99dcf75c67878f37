"""The command line: one command per step of the custodian's work.

Results go to standard output, progress and faults to standard error. Exit codes: 0 done, 1 a fault of
zodc, 2 usage, 3 budget, 4 schema and data (or a release and its manifest) disagree, 130 interrupted.
"""

from __future__ import annotations

import re
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from zodc import frames
from zodc._zodc import BudgetError, DataError, SchemaError
from zodc.condenser import Condenser
from zodc.demo import run_demo
from zodc.evaluate import evaluate as evaluate_release
from zodc.folder import MANIFEST
from zodc.options import ModelError, OptionError
from zodc.phases import Progress
from zodc.release import Release
from zodc.schema import Schema
from zodc.verify import verify as verify_release

__all__ = ["main"]

USAGE, BUDGET, DISAGREEMENT, INTERRUPTED = 2, 3, 4, 130

# Options of the library that have another name here.
_OPTIONS = {"n_rows": "rows", "n_bootstrap": "bootstrap", "random_state": "seed"}
# What a phase is called on the bar.
_PHASES = {"private": "rounds, private", "public": "rounds, free", "demo": "runs"}

_FILE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


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


def _as_fault(error: BaseException) -> Fault:
    match error:
        case BudgetError():
            return Fault(str(error), BUDGET)
        case SchemaError() | DataError():
            return Fault(str(error), DISAGREEMENT)
        case KeyboardInterrupt():
            return Fault("interrupted; nothing was written", INTERRUPTED)
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
            raise _as_fault(error) from None


Learner = str | dict[str, float]


def _read_learners(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> Learner:
    """Read names, each with a weight after a sign of equality if it has one."""
    weights: dict[str, float] = {}
    for text in given:
        name, sign, weight = text.partition("=")
        if name in weights:
            raise click.BadParameter(f"{name!r} is named twice", ctx, param)
        try:
            weights[name] = float(weight) if sign else 1.0
        except ValueError:
            raise click.BadParameter(f"the weight of {name!r} is not a number", ctx, param) from None
    return given[0] if given == tuple(weights) and len(given) == 1 else weights


Command = Callable[..., None]


def _options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_learner_option = click.option(
    "--learner",
    metavar="NAME[=WEIGHT]",
    callback=_read_learners,
    multiple=True,
    required=True,
    help="tree, logistic or cox; several mix, with weights if given.",
)
_rows_option = click.option("--rows", default=200, show_default=True, help="Synthetic rows to release.")
_seed_option = click.option(
    "--seed", type=int, help="Fixes the public randomness; the noise is never seeded."
)
_out_options = _options(
    click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write."),
    click.option("--overwrite", is_flag=True, help="Replace the folder if it is there."),
)
_recipe_options = _options(
    _learner_option,
    click.option("--epsilon", type=float, required=True, help="Budget ε; no default on purpose."),
    click.option("--delta", type=float, required=True, help="Budget δ; no default on purpose."),
    _rows_option,
    click.option(
        "--mode",
        type=click.Choice(["two_phase", "direct"]),
        default="two_phase",
        show_default=True,
        help="Budget to a smooth teacher, or to the learner itself.",
    ),
    click.option("--rounds", type=int, help="Private rounds T."),
    click.option("--directions", type=int, help="Directions K of a round."),
    click.option("--sampling-rate", type=float, help="Share of the patients asked in a round."),
    click.option(
        "--expected-patients", type=int, help="Your public guess of their number, never the file's."
    ),
)


def _condenser(schema: Schema, *, learner: Learner, rows: int, **options: Any) -> Condenser:
    return Condenser(schema=schema, learner=learner, n_rows=rows, **options)


@contextmanager
def _progress() -> Iterator[Progress | None]:
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


def _check_out(out: Path, overwrite: bool) -> None:
    """Refuse a folder that could not be written, before any budget is spent."""
    if out.exists() and not overwrite:
        raise click.BadParameter(f"'{out}' exists; name another, or pass --overwrite", param_hint="'--out'")
    if out.exists() and not (out / MANIFEST).is_file():
        message = f"'{out}' is not a release and is left alone; name another folder"
        raise click.BadParameter(message, param_hint="'--out'")
    parent = next(place for place in out.absolute().parents if place.exists())
    try:
        with tempfile.TemporaryDirectory(dir=parent):
            pass
    except OSError:
        message = f"'{parent}' cannot be written to; name another folder"
        raise click.BadParameter(message, param_hint="'--out'") from None


def _save(release: Release, out: Path, overwrite: bool) -> None:
    release.save(out, overwrite=overwrite)
    plan = release.plan
    click.echo(f"{out}: {len(release.rows)} synthetic rows, epsilon {plan.epsilon:g}, delta {plan.delta:g}")


def _rescue(error: BaseException, release: Release, out: Path, overwrite: bool, then: str) -> NoReturn:
    """Save what has been paid for, elsewhere if need be, and tell where it is."""
    is_interrupt = isinstance(error, KeyboardInterrupt)
    cause = "interrupted" if is_interrupt else _as_fault(error).message
    try:
        release.save(out, overwrite=overwrite)
    except Exception:
        out = Path(tempfile.mkdtemp(prefix="zodc-")) / "release"
        release.save(out)
    message = f"{cause}; the private phase is paid for and saved in '{out}'; {then}"
    raise Fault(message, INTERRUPTED if is_interrupt else 1) from None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="zodc", prog_name="zodc")
def main() -> None:
    """Condense a cohort of patients into a few hundred synthetic rows with a differential-privacy guarantee.

    Exit codes: 0 done, 2 usage, 3 budget, 4 schema and data disagree.
    """


@main.group()
def schema() -> None:
    """Begin the public schema of a cohort."""


@schema.command("init")
@click.argument("file", type=_FILE)
def schema_init(file: Path) -> None:
    """Draft a schema from the names and types in FILE, to be completed by hand.

    No value of a patient is copied: bounds and categories are yours to state.
    """
    click.echo(Schema.draft(frames.read_table(file)), nl=False)


@main.command(short_help="Show what would be spent, and on what.")
@click.argument("schema", type=_FILE)
@_recipe_options
def plan(schema: Path, **options: Any) -> None:
    """Show what would be spent, and on what. Reads no data."""
    click.echo(str(_condenser(Schema.load(schema), **options).plan()))


@main.command(short_help="Condense a cohort and write a release folder.")
@click.argument("file", type=_FILE)
@click.option("--schema", type=_FILE, required=True, help="The public schema (TOML).")
@_recipe_options
@_out_options
@_seed_option
def condense(file: Path, schema: Path, out: Path, overwrite: bool, seed: int | None, **options: Any) -> None:
    """Condense the cohort in FILE (CSV or Parquet) and write a release folder."""
    _check_out(out, overwrite)
    public = Schema.load(schema)
    condenser = _condenser(public, random_state=seed, **options)
    condenser.plan()
    cohort = frames.read_table(file, public)
    try:
        with _progress() as progress:
            condenser.fit(cohort, progress=progress)
    except (Exception, KeyboardInterrupt) as error:
        if not hasattr(condenser, "release_"):
            raise
        _rescue(error, condenser.release_, out, overwrite, "finish with zodc recondense")
    try:
        _save(condenser.release_, out, overwrite)
    except (Exception, KeyboardInterrupt) as error:
        _rescue(error, condenser.release_, out, overwrite, "it is whole")


@main.command(short_help="Make rows for another learner, free of charge.")
@click.argument("release", type=_FOLDER)
@_learner_option
@_rows_option
@_out_options
@_seed_option
def recondense(
    release: Path,
    learner: Learner,
    rows: int,
    out: Path,
    overwrite: bool,
    seed: int | None,
) -> None:
    """Make new rows for another learner from RELEASE alone, free of charge."""
    _check_out(out, overwrite)
    with _progress() as progress:
        found = Release.load(release).recondense(learner, n_rows=rows, random_state=seed, progress=progress)
    _save(found, out, overwrite)


@main.command(short_help="Test models of a release on held-out real rows.")
@click.argument("release", type=_FOLDER)
@click.option("--holdout", type=_FILE, required=True, help="Real rows that were not condensed.")
@click.option("--bootstrap", default=200, show_default=True, help="Replicates for the intervals.")
@_seed_option
def evaluate(release: Path, holdout: Path, bootstrap: int, seed: int | None) -> None:
    """Train on RELEASE, test on held-out real rows. The figures are themselves not private."""
    loaded = Release.load(release)
    rows = frames.read_table(holdout, loaded.schema)
    found = evaluate_release(loaded, rows, n_bootstrap=bootstrap, random_state=seed)
    Console().print(found)


@main.command(short_help="Recompute the budget of a release, check its files.")
@click.argument("release", type=_FOLDER)
def verify(release: Path) -> None:
    """Recompute the budget of RELEASE from its manifest alone, and check its files."""
    found = verify_release(release)
    click.echo(str(found))
    if not found.ok:
        only_files = all(fault.startswith("file ") for fault in found.faults)
        raise Fault(f"not verified: {'; '.join(found.faults)}", DISAGREEMENT if only_files else BUDGET)


@main.command(short_help="Condense two real cohorts and print one table.")
def demo() -> None:
    """Condense two real cohorts that ship with scikit-learn and lifelines; print one table."""
    with _progress() as progress:
        table = run_demo(progress=progress)
    Console().print(table)
