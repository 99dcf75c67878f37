"""Commands that judge a release: evaluate, verify, audit."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console

from zodc.audit import audit as audit_release
from zodc.cli_common import (
    BUDGET,
    DISAGREEMENT,
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
from zodc.release import Release
from zodc.verify import verify as verify_release

__all__ = ["audit", "evaluate", "verify"]


@click.command(short_help="Test models of a release on held-out real rows.")
@click.argument("release", type=FOLDER)
@source_options(needed=True, name="holdout")
@click.option("--bootstrap", default=200, show_default=True, help="Replicates for the intervals.")
@seed_option
@json_option
def evaluate(release: Path, source: Source, bootstrap: int, seed: int | None) -> None:
    """Train on RELEASE, test on held-out real rows. The figures are themselves not private."""
    loaded = Release.load(release)
    rows = source.table(loaded.schema)
    found = evaluate_release(loaded, rows, n_bootstrap=bootstrap, random_state=seed)
    tell(found, {"private": False, "scores": found.frame().to_dict("records")})


@click.command(short_help="Recompute the budget of a release, check its files.")
@click.argument("release", type=FOLDER)
@json_option
@quiet_option
def verify(release: Path) -> None:
    """Recompute the budget of RELEASE from its manifest alone, and check its files."""
    found = verify_release(release)
    tell(str(found), {"verified": found.ok} | asdict(found))
    if not found.ok:
        only_files = all(fault.startswith("file ") for fault in found.faults)
        raise Fault(f"not verified: {'; '.join(found.faults)}", DISAGREEMENT if only_files else BUDGET)


@click.command(short_help="Attack runs with a release's settings.")
@click.argument("release", type=FOLDER)
@click.option("--runs", default=500, show_default=True, help="Runs of the worst pair, each way.")
@click.option("--releases", default=5, show_default=True, help="Releases attacked for membership.")
@click.option("--json", "as_json", is_flag=True, help="Print plain numbers.")
@seed_option
def audit(release: Path, runs: int, releases: int, as_json: bool, seed: int | None) -> None:
    """Attack runs with the settings of RELEASE, on made-up patients. Costs no budget; takes minutes."""
    with progress_bar() as progress:
        found = audit_release(release, runs=runs, releases=releases, random_state=seed, progress=progress)
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2))
    else:
        Console().print(found)
    if not found.ok:
        raise Fault("the claim does not hold: an attack shows a larger epsilon; report it", BUDGET)
