"""Commands that make rows: plan, condense, recondense, demo."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console

from zodc.cli_common import (
    FILE,
    FOLDER,
    INTERRUPTED,
    Fault,
    as_fault,
    json_option,
    options_of,
    progress_bar,
    quiet_option,
    seed_option,
    tell,
)
from zodc.cli_source import Source, source_options
from zodc.condenser import Condenser
from zodc.demo import run_demo
from zodc.fit import outcome_coding
from zodc.folder import MANIFEST
from zodc.journal import journal_of
from zodc.outlook import outlook
from zodc.release import Release
from zodc.schema import Schema

__all__ = ["check_out", "condense", "demo", "plan", "recondense"]

Learner = str | dict[str, float]

# Sizes that a forecast is made for when nobody says how many patients there are.
_PATIENTS = (500, 2000, 10_000)


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
    return given[0] if given == tuple(weights) and len(given) == 1 else weights or "any"


_learner_option = click.option(
    "--learner",
    metavar="NAME[=WEIGHT]",
    callback=_read_learners,
    multiple=True,
    help="any (the default), tree, logistic or cox; several mix, with weights if given.",
)
_rows_option = click.option("--rows", default=200, show_default=True, help="Synthetic rows to release.")
_out_options = options_of(
    click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write."),
    click.option("--overwrite", is_flag=True, help="Replace the folder if it is there."),
)
_recipe_options = options_of(
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
    click.option(
        "--accountant",
        type=click.Choice(["native", "pld"]),
        default="native",
        show_default=True,
        help="pld: less noise when rounds ask samples.",
    ),
    click.option("--sampling-rate", type=float, help="Share of the patients asked in a round."),
    click.option(
        "--expected-patients", type=int, help="Your public guess of their number, never the file's."
    ),
    click.option(
        "--neighbours",
        type=click.Choice(["add_remove", "replace_one"]),
        default="add_remove",
        show_default=True,
        help="Whether one patient more or less is hidden, or one patient's content.",
    ),
)


def _condenser(schema: Schema, *, learner: Learner, rows: int, **options: Any) -> Condenser:
    return Condenser(schema=schema, learner=learner, n_rows=rows, **options)


def _check_journal(journal: Path, resume: bool) -> None:
    """Refuse to forget a run that is paid for, before anything is read."""
    if resume and not journal.is_file():
        message = f"there is no '{journal}'; leave out --resume to begin a run"
        raise click.BadParameter(message, param_hint="'--resume'")
    if not resume and (journal.exists() or journal.is_symlink()):
        message = (
            f"'{journal}' holds a run that may be paid for; finish it with --resume, or name another folder "
            "(deleting the file gives up what was spent)"
        )
        raise click.BadParameter(message, param_hint="'--out'")


def check_out(out: Path, overwrite: bool) -> None:
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
    plan, ledger = release.plan, release.ledger
    lines = [f"{out}: {len(release.rows)} synthetic rows, epsilon {plan.epsilon:g}, delta {plan.delta:g}"]
    if ledger is not None:
        lines.append(
            f"ledger of {ledger['cohort']!r}: entry {ledger['entry']}, epsilon "
            f"{ledger['spent_epsilon']:.6g} of {ledger['epsilon']:g} spent at delta {ledger['delta']:g}"
        )
    values = {
        "release": str(out),
        "rows": len(release.rows),
        "private": release.private,
        "epsilon": plan.epsilon,
        "delta": plan.delta,
        "spent_epsilon": plan.spent_epsilon,
        "unit": plan.unit,
        "neighbours": plan.neighbours,
        "ledger": ledger,
    }
    tell("\n".join(lines), values)


def _cut_short(error: BaseException, journal: Path) -> NoReturn:
    """Tell that a run can be resumed."""
    is_interrupt = isinstance(error, KeyboardInterrupt)
    cause = Fault("interrupted", INTERRUPTED) if is_interrupt else as_fault(error)
    message = f"{cause.message}; what was answered is kept in '{journal}'; go on with --resume"
    raise Fault(message, cause.exit_code) from None


def _rescue(
    error: BaseException, release: Release, out: Path, overwrite: bool, journal: Path, then: str
) -> NoReturn:
    """Save what has been paid for, elsewhere if need be, and tell where it is."""
    is_interrupt = isinstance(error, KeyboardInterrupt)
    cause = "interrupted" if is_interrupt else as_fault(error).message
    try:
        release.save(out, overwrite=overwrite, report=False)
    except Exception:
        out = Path(tempfile.mkdtemp(prefix="zodc-")) / "release"
        release.save(out, report=False)
    journal.unlink(missing_ok=True)
    message = f"{cause}; the private phase is paid for and saved in '{out}'; {then}"
    raise Fault(message, INTERRUPTED if is_interrupt else 1) from None


@click.command(short_help="Show what would be spent, and on what.")
@click.argument("schema", type=FILE)
@_recipe_options
@json_option
def plan(schema: Path, **options: Any) -> None:
    """Show what would be spent, and on what. Reads no data."""
    public = Schema.load(schema)
    found = _condenser(public, **options).plan()
    expected = options["expected_patients"]
    forecasts = [outlook(public, found, n) for n in ([expected] if expected else _PATIENTS)]
    coding = outcome_coding(public)
    heads = [str(found), coding, "forecast (of rows for any model; no promise)"]
    lines = [*heads, *(f"  {f}" for f in forecasts)]
    if options["accountant"] == "pld" and found.sampling_rate >= 1:
        lines.append("pld saves nothing here: with all patients in every round the native figure is exact")
    values = {**found.to_dict(), "outcome": coding, "forecast": [asdict(f) for f in forecasts]}
    tell("\n".join(lines), values)


@click.command(short_help="Condense a cohort and write a release folder.")
@source_options(needed=True)
@click.option("--schema", type=FILE, required=True, help="The public schema (TOML).")
@_recipe_options
@click.option("--ledger", type=FILE, help="The cohort's ledger, to which the run is charged first.")
@_out_options
@click.option("--resume", is_flag=True, help="Go on with a run that was cut short; give its options again.")
@seed_option
@json_option
@quiet_option
def condense(
    source: Source,
    schema: Path,
    out: Path,
    overwrite: bool,
    resume: bool,
    seed: int | None,
    **options: Any,
) -> None:
    """Condense the cohort in FILE (CSV, Parquet or Arrow), or of a query, and write a release folder.

    Until the release is saved, OUT.journal keeps every noisy answer. Pass --resume to go on with a run that
    was cut short: with the same options and data, at no further charge.
    """
    check_out(out, overwrite)
    journal = journal_of(out)
    _check_journal(journal, resume)
    public = Schema.load(schema)
    condenser = _condenser(public, random_state=seed, **options)
    condenser.plan()
    cohort = source.table(public)
    try:
        with progress_bar() as progress:
            condenser.fit(cohort, journal=journal, resume=resume, progress=progress)
    except BaseException as error:
        if hasattr(condenser, "release_"):
            _rescue(error, condenser.release_, out, overwrite, journal, "finish with zodc recondense")
        # Every refusal of an option, a schema, a table or a budget is a ValueError, and asks nobody.
        if journal.exists() and not isinstance(error, ValueError):
            _cut_short(error, journal)
        raise
    try:
        _save(condenser.release_, out, overwrite)
    except BaseException as error:
        _rescue(error, condenser.release_, out, overwrite, journal, "it is whole")
    journal.unlink(missing_ok=True)


@click.command(short_help="Make rows for another learner, free of charge.")
@click.argument("release", type=FOLDER)
@_learner_option
@_rows_option
@_out_options
@seed_option
@json_option
@quiet_option
def recondense(
    release: Path,
    learner: Learner,
    rows: int,
    out: Path,
    overwrite: bool,
    seed: int | None,
) -> None:
    """Make new rows for another learner from RELEASE alone, free of charge."""
    check_out(out, overwrite)
    with progress_bar() as progress:
        found = Release.load(release).recondense(learner, n_rows=rows, random_state=seed, progress=progress)
    _save(found, out, overwrite)


@click.command(short_help="Condense two real cohorts and print one table.")
def demo() -> None:
    """Condense two real cohorts that ship with scikit-learn and lifelines; print one table."""
    with progress_bar() as progress:
        table = run_demo(progress=progress)
    Console().print(table)
