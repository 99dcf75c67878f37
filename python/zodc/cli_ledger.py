"""Commands of the ledger: create, show, verify."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from zodc.cli_common import FILE, FOLDER, Commands
from zodc.ledger import Ledger, LedgerEntry
from zodc.release import Release

__all__ = ["ledger"]

_COLUMNS = ("entry", "time", "run", "questions", "unit", "total epsilon", "head")


@click.group(cls=Commands, short_help="Keep a cohort's total budget over all runs.")
def ledger() -> None:
    """Keep a cohort's total budget over all runs."""


@ledger.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--cohort", required=True, help="Your name for the cohort; releases will carry it.")
@click.option("--epsilon", type=float, required=True, help="The cohort's total ε.")
@click.option("--delta", type=float, required=True, help="The cohort's total δ.")
def create(file: Path, cohort: str, epsilon: float, delta: float) -> None:
    """Create a ledger in FILE, on a disk of this machine, where it stays."""
    click.echo(_budget(Ledger.create(file, cohort=cohort, epsilon=epsilon, delta=delta)))


@ledger.command()
@click.argument("file", type=FILE)
def show(file: Path) -> None:
    """Show what was charged to FILE, and what is left."""
    found = Ledger(file)
    entries = found.entries
    console = Console()
    if console.is_terminal:
        table = Table(*_COLUMNS, title=f"ledger of {found.cohort}")
        for entry in entries:
            table.add_row(*_cells(entry, time_length=16, hash_length=8))
        console.print(table)
    else:
        for cells in (_COLUMNS, *map(_cells, entries)):
            click.echo("\t".join(cells))
    click.echo(_budget(found))


@ledger.command()
@click.argument("file", type=FILE)
@click.option("--release", type=FOLDER, multiple=True, help="A release that was charged to it.")
def verify(file: Path, release: tuple[Path, ...]) -> None:
    """Check FILE against its head file, its hashes, the accountant, and releases.

    A ledger that was put back together with its head file is found out by a later release alone.
    """
    found = Ledger(file)
    found.recompute()
    for folder in release:
        loaded = Release.load(folder)
        entry = found.find(loaded.ledger, loaded.plan)
        click.echo(f"{folder}: entry {entry.number}")
    click.echo(_budget(found))
    click.echo(f"verified: {len(found.entries)} charges, head {found.head}")


def _budget(found: Ledger) -> str:
    return (
        f"{found.path.name}: cohort {found.cohort!r}, epsilon {found.spent:.6g} of {found.epsilon:g} spent "
        f"at delta {found.delta:g}, {found.left:.6g} left"
    )


def _cells(
    entry: LedgerEntry, time_length: int | None = None, hash_length: int | None = None
) -> tuple[str, ...]:
    questions = sum(charge["count"] for charge in entry.charges)
    run, head = entry.run_id[:hash_length], entry.head[:hash_length]
    time = entry.time[:time_length]
    return (str(entry.number), time, run, str(questions), entry.unit, f"{entry.total:.6g}", head)
