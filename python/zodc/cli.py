"""The command line: one command per step of the custodian's work.

Results go to standard output, progress and faults to standard error. Exit codes: 0 done, 1 a fault of
zodc, 2 usage, 3 budget, 4 schema and data (or a release and its manifest) disagree, 130 interrupted.
"""

from __future__ import annotations

import click

from zodc.cli_check import audit, evaluate, verify
from zodc.cli_common import Commands
from zodc.cli_ledger import ledger
from zodc.cli_report import card, report, weigh
from zodc.cli_run import condense, demo, plan, recondense
from zodc.cli_schema import schema
from zodc.cli_study import completion, run

__all__ = ["main"]

COMMANDS: tuple[click.Command, ...] = (
    schema,
    plan,
    condense,
    recondense,
    weigh,
    run,
    evaluate,
    verify,
    audit,
    report,
    ledger,
    card,
    demo,
    completion,
)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="zodc", prog_name="zodc")
def main() -> None:
    """Condense a cohort of patients into a few hundred synthetic rows with a differential-privacy guarantee.

    Exit codes: 0 done, 2 usage, 3 budget, 4 schema and data disagree.
    """


for command in COMMANDS:
    main.add_command(command)
