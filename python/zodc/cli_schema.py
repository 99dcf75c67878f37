"""Commands on the public schema."""

from __future__ import annotations

from pathlib import Path

import click

from zodc import frames
from zodc.cli_common import FILE
from zodc.schema import Schema

__all__ = ["schema"]


@click.group()
def schema() -> None:
    """Begin the public schema of a cohort."""


@schema.command("init")
@click.argument("file", type=FILE)
def schema_init(file: Path) -> None:
    """Draft a schema from the names and types in FILE, to be completed by hand.

    No value of a patient is copied: bounds and categories are yours to state.
    """
    click.echo(Schema.draft(frames.read_table(file)), nl=False)
