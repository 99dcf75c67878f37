"""Commands on the public schema."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import click

from zodc.cli_common import DISAGREEMENT, FILE, Fault, json_option, quiet_option, tell
from zodc.cli_source import Source, source_options
from zodc.fit import fit_of, outcome_coding
from zodc.schema import Schema

__all__ = ["schema"]


@click.group()
def schema() -> None:
    """Begin, check and complete the public schema of a cohort."""


@schema.command("init", short_help="Draft a schema from names and types.")
@source_options(needed=False)
@click.option("--dictionary", type=FILE, help="REDCap data dictionary (CSV).")
@click.option("--omop", type=FILE, help="Description of a flat OMOP table (CSV).")
@click.option(
    "--units", metavar="TEXT", multiple=True, help="si, conventional, or NAME=UNIT; may be given again."
)
def schema_init(
    source: Source | None, dictionary: Path | None, omop: Path | None, units: tuple[str, ...]
) -> None:
    """Draft a schema from the names and types in FILE, to be completed by hand.

    No value of a patient is read into it. Kinds and bounds of common clinical variables are proposed, each
    for you to confirm; all other bounds and categories are yours to state.
    """
    types = None if source is None else source.types()
    if types is None and dictionary is None and omop is None:
        raise click.UsageError("Pass FILE, --query with --database, --dictionary, or --omop.")
    click.echo(Schema.draft(types, units=units, dictionary=dictionary, omop=omop), nl=False)


@schema.command("check", short_help="Say whether a table fits a schema.")
@source_options(needed=True)
@click.option("--schema", "public", type=FILE, required=True, help="The public schema (TOML).")
@json_option
@quiet_option
def schema_check(source: Source, public: Path) -> None:
    """Say whether FILE fits a schema, by the names and types of its columns. Tells nothing of a patient."""
    wanted = Schema.load(public)
    found = fit_of(source.types(wanted), wanted)
    coding = outcome_coding(wanted)
    values = {"fits": found.ok, "faults": found.faults, "remarks": found.remarks, "outcome": coding}
    tell(f"{found}\n  {coding}", values)
    if not found.ok:
        raise Fault("the table does not fit the schema; mend what is listed", DISAGREEMENT)


@schema.command("json-schema", short_help="Print the JSON Schema of schema.toml, for editors.")
def schema_json_schema() -> None:
    """Print the JSON Schema of schema.toml. Saved as schema.schema.json beside it, editors complete it."""
    text = files("zodc").joinpath("data/schema.schema.json").read_text(encoding="utf-8")
    click.echo(json.dumps(json.loads(text), indent=2, ensure_ascii=False))
