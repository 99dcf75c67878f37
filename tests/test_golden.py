"""Help pages as they stand in tests/golden. Refresh them with: python tests/test_golden.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from zodc import cli

GOLDEN = Path(__file__).parent / "golden"


def _commands(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield words
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from _commands(inner, (*words, name))


def _help(words: tuple[str, ...]) -> str:
    result = CliRunner().invoke(cli.main, [*words, "--help"], prog_name="zodc", terminal_width=80)
    assert result.exit_code == 0
    return result.stdout


def _file(words: tuple[str, ...]) -> Path:
    return GOLDEN / f"{'-'.join(('zodc', *words))}.txt"


PAGES = list(_commands(cli.main))


@pytest.mark.parametrize("words", PAGES, ids=" ".join)
def test_help_page(words):
    page = _help(words)
    assert page == _file(words).read_text(encoding="utf-8"), "refresh with: python tests/test_golden.py"
    assert max(map(len, page.splitlines())) <= 80


def test_no_page_is_left_over():
    assert {path.name for path in GOLDEN.glob("*.txt")} == {_file(words).name for words in PAGES}


if __name__ == "__main__":
    for path in GOLDEN.glob("*.txt"):
        path.unlink()
    for words in PAGES:
        _file(words).write_text(_help(words), encoding="utf-8")
    print(f"{len(PAGES)} pages")
