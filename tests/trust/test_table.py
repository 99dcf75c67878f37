"""docs/privacy.md names code and tests; what it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRIVACY = ROOT / "docs" / "privacy.md"
pytestmark = pytest.mark.skipif(not (ROOT / "rust").is_dir(), reason="needs the source tree")
_DEFINES = r"\b(?:def|fn|class|struct|enum|const) {}\b"


def _section(title: str) -> str:
    return PRIVACY.read_text().split(f"## {title}\n")[1].split("\n## ")[0]


def _named(text: str) -> list[tuple[str, str]]:
    return re.findall(r"`([\w/.]+\.(?:rs|py))::(\w+)`", text)


def _assert_there(names: list[tuple[str, str]]) -> None:
    for path, name in names:
        assert (ROOT / path).is_file(), path
        assert re.search(_DEFINES.format(name), (ROOT / path).read_text()), f"{path} does not define {name}"


def test_every_claim_leads_to_code() -> None:
    names = _named(_section("From claim to code"))
    assert len(names) >= 30
    _assert_there(names)


def test_every_check_has_a_test_that_was_seen_to_fail() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+) \| (.+) \| (.+) \|$", _section("The checks"), re.MULTILINE)
    assert [int(number) for number, *_ in rows] == list(range(1, len(rows) + 1)) and len(rows) == 36
    for _, _, tests, broken in rows:
        assert _named(tests) and broken.strip() not in ("", "not yet")
        _assert_there(_named(tests))


def test_the_walk_finds_what_is_not_there() -> None:
    with pytest.raises(AssertionError, match="does not define"):
        _assert_there([("rust/lib.rs", "no_such_thing")])


def test_every_source_file_that_is_named_is_there() -> None:
    for name in re.findall(r"`((?:rust|python|tests|docs)/[\w/.]+)`", PRIVACY.read_text()):
        assert (ROOT / name).exists(), name
