"""Commands that write files from a release: report, card, weigh."""

from __future__ import annotations

from pathlib import Path

import click

from zodc import folder
from zodc.card import croissant, markdown
from zodc.cli_common import FOLDER, USAGE, Fault, seed_option
from zodc.folder import CARD, CROISSANT, REPORT
from zodc.release import Release
from zodc.report import render
from zodc.weighted import weighted_rows

__all__ = ["card", "report", "weigh", "write_page"]


@click.command(short_help="Write the page that the custodian signs.")
@click.argument("release", type=FOLDER)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="HTML file to write, elsewhere.")
def report(release: Path, out: Path | None) -> None:
    """Write the report of RELEASE, one HTML page, from the folder alone.

    A release of this zodc has its report.html already.
    """
    loaded = Release.load(release)
    manifest = folder.read_manifest(release)
    place = release / REPORT if out is None else out
    if out is not None:
        write_page(out, render(loaded, manifest))
    elif REPORT not in manifest["sha256"]:
        folder.add_report(release, render(loaded, manifest))
    click.echo(str(place))


def write_page(path: Path, text: str) -> None:
    """Write a page beside its place, then move it there; never over a file that is there."""
    if path.exists():
        raise Fault(f"'{path}' exists; name another with --out", USAGE)
    folder.put(path, text)


@click.command(short_help="Write a dataset card and Croissant metadata.")
@click.argument("release", type=FOLDER)
@click.option("--license", help="Licence of the rows, by its SPDX name or address.")
@click.option("--creator", help="Who publishes the rows.")
@click.option("--url", help="Where the rows will be found.")
@click.option("--overwrite", is_flag=True, help="Replace a card that is there.")
def card(release: Path, license: str | None, creator: str | None, url: str | None, overwrite: bool) -> None:
    """Write README.md (dataset card) and croissant.json (Croissant 1.1) into RELEASE.

    Both come from the folder alone and may be edited; the manifest does not list them.
    """
    loaded = Release.load(release)
    manifest = folder.read_manifest(release)
    for name in (CARD, CROISSANT):
        if (release / name).exists() and not overwrite:
            raise Fault(f"'{release / name}' exists; pass --overwrite to replace it", USAGE)
    texts = {
        CARD: markdown(loaded, manifest, license=license),
        CROISSANT: croissant(loaded, manifest, license=license, creator=creator, url=url),
    }
    for name, text in texts.items():
        folder.put(release / name, text)
        click.echo(str(release / name))


@click.command(short_help="Write weighted rows, for any classifier.")
@click.argument("release", type=FOLDER)
@click.option("--rows", default=500, show_default=True, help="Rows to write, at most.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="CSV file to write."
)
@seed_option
def weigh(release: Path, rows: int, out: Path, seed: int | None) -> None:
    """Write rows with weights from RELEASE alone, free of charge.

    Every class of each pseudo-patient has a row; its weight (row_weight) says how likely the class is. Train
    with the weights: without them the labels say nothing.
    """
    found = weighted_rows(Release.load(release), n_rows=rows, random_state=seed)
    write_page(out, found.frame().to_csv(index=False, lineterminator="\n"))
    click.echo(f"{out}: {len(found.weight)} weighted rows; train with row_weight as their weights")
