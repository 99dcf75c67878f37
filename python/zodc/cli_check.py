"""Commands that judge a release: evaluate, verify, audit."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from zodc import folder, frames
from zodc.audit import audit as audit_release
from zodc.cli_common import (
    BUDGET,
    DISAGREEMENT,
    FILE,
    FOLDER,
    Fault,
    json_option,
    progress_bar,
    quiet_option,
    seed_option,
    tell,
)
from zodc.cli_source import Source, source_options
from zodc.evaluate import evaluate as evaluate_release
from zodc.evaluation_report import render_evaluation
from zodc.release import Release
from zodc.verify import verify as verify_release

__all__ = ["audit", "evaluate", "verify"]


@click.command(short_help="Test models of a release on held-out real rows.")
@click.argument("release", type=FOLDER)
@source_options(needed=True, name="holdout")
@click.option("--full", type=FILE, help="The real rows that were condensed, to train on beside.")
@click.option("--by", metavar="COLUMN", multiple=True, help="Feature for a subgroup table; repeat for more.")
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    help="HTML file to write: INTERNAL, NOT FOR RELEASE.",
)
@click.option("--bootstrap", default=200, show_default=True, help="Replicates for the intervals.")
@seed_option
@json_option
def evaluate(
    release: Path,
    source: Source,
    full: Path | None,
    by: tuple[str, ...],
    report: Path | None,
    bootstrap: int,
    seed: int | None,
) -> None:
    """Train on RELEASE, test on held-out real rows. The figures are themselves not private."""
    loaded = Release.load(release)
    if report is not None:
        _check_report(report, release)
    if by and report is None:
        raise click.BadParameter("its table stands in the report; pass --report FILE", param_hint="'--by'")
    found = evaluate_release(
        loaded,
        source.table(loaded.schema),
        full=None if full is None else frames.read_table(full, loaded.schema),
        by=by,
        n_bootstrap=bootstrap,
        random_state=seed,
    )
    if report is not None:
        page = render_evaluation(loaded, folder.read_manifest(release), found, n_bootstrap=bootstrap)
        folder.put(report, page)
    scores = found.frame().astype(object)
    tell(found, {"private": False, "scores": scores.where(scores.notna(), None).to_dict("records")})


def _check_report(report: Path, release: Path) -> None:
    """Refuse a place before the models are trained: taken, or inside of what will leave."""
    if report.exists():
        raise click.BadParameter(f"'{report}' exists; name another", param_hint="'--report'")
    if release.resolve() in report.resolve().parents:
        message = "it is INTERNAL and must not stand in the release folder; name another place"
        raise click.BadParameter(message, param_hint="'--report'")


@click.command(short_help="Recompute the budget of a release, check its files.")
@click.argument("release", type=FOLDER)
@json_option
@quiet_option
def verify(release: Path) -> None:
    """Recompute the budget of RELEASE from its manifest alone, and check its files."""
    found = verify_release(release)
    tell(str(found), {"verified": found.ok} | asdict(found))
    if not found.ok:
        only_files = all(fault.startswith(("file ", "its files ", "its manifest ")) for fault in found.faults)
        raise Fault(f"not verified: {'; '.join(found.faults)}", DISAGREEMENT if only_files else BUDGET)


@click.command(short_help="Attack runs with a release's settings.")
@click.argument("release", type=FOLDER)
@click.option("--runs", default=500, show_default=True, help="Runs of the worst pair, each way.")
@click.option("--releases", default=5, show_default=True, help="Releases attacked for membership.")
@seed_option
@json_option
def audit(release: Path, runs: int, releases: int, seed: int | None) -> None:
    """Attack runs with the settings of RELEASE, on made-up patients. Costs no budget; takes minutes."""
    with progress_bar() as progress:
        found = audit_release(release, runs=runs, releases=releases, random_state=seed, progress=progress)
    tell(found, found.to_dict())
    if not found.ok:
        raise Fault("the claim does not hold: an attack shows a larger epsilon; report it", BUDGET)
