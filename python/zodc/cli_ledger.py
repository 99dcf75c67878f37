"""Commands of the ledger: create, show, verify."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from zodc.cli_common import FILE, FOLDER, Commands, json_option, tell
from zodc.ledger import Ledger, LedgerEntry, LedgerError
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
@json_option
def show(file: Path) -> None:
    """Show what was charged to FILE, and what is left."""
    found = Ledger(file)
    table = Table(*_COLUMNS, title=f"ledger of {found.cohort}")
    for entry in found.entries:
        table.add_row(*_cells(entry, time_length=10, hash_length=8))
    plain = "\n".join("\t".join(cells) for cells in (_COLUMNS, *map(_cells, found.entries)))
    shown = Group(table, Text(_budget(found))) if Console().is_terminal else f"{plain}\n{_budget(found)}"
    tell(shown, _values(found))


@ledger.command()
@click.argument("file", type=FILE)
@click.option("--release", type=FOLDER, multiple=True, help="A release that was charged to it.")
def verify(file: Path, release: tuple[Path, ...]) -> None:
    """Check FILE against its head file, its hashes, the accountant, and releases.

    A ledger that was put back together with its head file is found out by a later release alone.
    """
    found = Ledger(file)
    found.recompute()
    answers: dict[str, str] = {}
    for folder in release:
        loaded = Release.load(folder)
        entry = found.find(loaded.ledger, loaded.plan)
        if answers.setdefault(entry.run_id, loaded.marginals) != loaded.marginals:
            raise LedgerError(
                f"ledger '{file.name}': releases of entry {entry.number} rest on different answers; its run "
                "was asked again without a charge: count it as another run, and release one of them only"
            )
        click.echo(f"{folder}: entry {entry.number}")
    click.echo(_budget(found))
    n = len(found.entries)
    click.echo(f"verified: {n} charge{'' if n == 1 else 's'}, head {found.head}")


def _values(found: Ledger) -> dict[str, Any]:
    return {
        "cohort": found.cohort,
        "epsilon": found.epsilon,
        "delta": found.delta,
        "spent_epsilon": found.spent,
        "left_epsilon": found.left,
        "entries": [
            {
                "entry": entry.number,
                "time": entry.time,
                "run": entry.run_id,
                "questions": sum(charge["count"] for charge in entry.charges),
                "unit": entry.unit,
                "total_epsilon": entry.total,
                "head": entry.head,
            }
            for entry in found.entries
        ],
    }


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
