"""The ledger on the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from command_line import check_fault, condense, run, small_ward  # noqa: F401
from zodc import Ledger, cli_common, verify

NAMED = ("--cohort", "ward 7", "--epsilon", "5", "--delta", "1e-5")


@pytest.fixture
def ledger(here: Path) -> Path:
    assert run("ledger", "create", "ward.ledger", *NAMED).exit_code == 0
    return here / "ward.ledger"


def test_from_create_to_an_empty_budget(ledger: Path) -> None:
    for number in (1, 2):
        result = condense("--ledger", "ward.ledger", out=f"release{number}")
        assert result.exit_code == 0, result.output
        assert f"ledger of 'ward 7': entry {number}, epsilon " in result.stdout
    before = ledger.read_bytes()
    result = condense("--ledger", "ward.ledger", out="third")
    check_fault(result, cli_common.BUDGET, "asks for epsilon 2.99999", "is left of the cohort's total of 5")
    assert ledger.read_bytes() == before and not Path("third").exists()

    shown = run("ledger", "show", "ward.ledger").stdout.splitlines()
    assert shown[0].split("\t")[:3] == ["entry", "time", "run"] and len(shown) == 4
    assert shown[2].split("\t")[-1] == Ledger(ledger).head
    assert shown[3].startswith("ward.ledger: cohort 'ward 7', epsilon 4.46") and "of 5 spent" in shown[3]

    checked = run("ledger", "verify", "ward.ledger", "--release", "release1", "--release", "release2")
    assert checked.exit_code == 0, checked.output
    assert (
        "release2: entry 2" in checked.stdout and f"2 charges, head {Ledger(ledger).head}" in checked.stdout
    )
    text = run("verify", "release2").stdout
    assert "entry 2, epsilon 4.46" in text and Ledger(ledger).head in text
    assert json.loads(Path("release2/manifest.json").read_text())["ledger"]["cohort"] == "ward 7"


def test_a_ledger_put_back_with_its_head_file_is_found_by_a_release(ledger: Path) -> None:
    condense("--ledger", "ward.ledger", out="first")
    files = (ledger, ledger.with_name("ward.ledger.head"))
    old = [file.read_bytes() for file in files]
    condense("--ledger", "ward.ledger", out="lost")
    for file, content in zip(files, old, strict=True):
        file.write_bytes(content)
    # Nothing on the disk tells of it.
    checked = run("ledger", "verify", "ward.ledger", "--release", "first")
    assert checked.exit_code == 0 and "verified: 1 charge, head" in checked.stdout
    check_fault(
        run("ledger", "verify", "ward.ledger", "--release", "lost"),
        cli_common.BUDGET,
        "it was rolled back: the release was entry 2, it has 1",
    )
    condense("--ledger", "ward.ledger", out="again")
    check_fault(
        run("ledger", "verify", "ward.ledger", "--release", "lost"),
        cli_common.BUDGET,
        "edited or rolled back: entry 2 is not that of the release",
    )


def test_releases_of_no_ledger_or_another(ledger: Path) -> None:
    condense(out="free")
    assert "none; what other releases of the cohort" in str(verify("free"))
    run("ledger", "create", "other.ledger", *NAMED)
    condense("--ledger", "other.ledger", out="other")
    for release in ("free", "other"):
        check_fault(
            run("ledger", "verify", "ward.ledger", "--release", release),
            cli_common.BUDGET,
            "was not charged to this ledger",
        )
    manifest = json.loads(Path("other/manifest.json").read_text())
    manifest["ledger"]["spent_epsilon"] = 6.0
    Path("other/manifest.json").write_text(json.dumps(manifest))
    check_fault(run("verify", "other"), cli_common.BUDGET, "spent more than the cohort's budget")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--epsilon", "nan", "--delta", "1e-5"), "'--epsilon' option must be a finite number above 0"),
        (("--epsilon", "-1", "--delta", "1e-5"), "'--epsilon' option"),
        (("--epsilon", "1e-310", "--delta", "1e-5"), "'--epsilon' option must be a normal number"),
        (("--epsilon", "1", "--delta", "1"), "'--delta' option must be a finite number above 0 and below 1"),
        (
            ("--epsilon", "1", "--delta", "1e-5", "--cohort", " "),
            "'--cohort' option must be one line of text",
        ),
    ],
)
def test_creating_with_numbers_or_names_that_are_none(here: Path, options, words: str) -> None:
    check_fault(run("ledger", "create", "new.ledger", "--cohort", "x", *options), cli_common.USAGE, words)
    assert not Path("new.ledger").exists()


def test_files_that_are_no_ledger_for_this_machine(ledger: Path) -> None:
    check_fault(run("ledger", "create", "ward.ledger", *NAMED), cli_common.BUDGET, "exists already")
    check_fault(run("ledger", "show", "patients.csv"), cli_common.BUDGET, "damaged, cut, or no ledger")
    shutil.copy("ward.ledger", "copy.ledger")
    check_fault(condense("--ledger", "copy.ledger"), cli_common.BUDGET, "a ledger cannot be copied alone")
    assert not Path("release").exists()
    missing = condense("--ledger", "none.ledger")
    check_fault(missing, cli_common.USAGE, "does not exist")
