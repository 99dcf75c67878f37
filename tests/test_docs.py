"""The code on the pages and in the notebooks runs as it stands there."""

from __future__ import annotations

import json
import math
import re
import shlex
import subprocess
from pathlib import Path

import click
import matplotlib.pyplot as plt
import pytest
from click.testing import CliRunner
from zodc import Condenser, cli, demo
from zodc.label import gaussian_tpr

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md"))
NOTEBOOKS = sorted((DOCS / "examples").glob("*.ipynb"))
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# What stands in text blocks is printed, not run.
LANGUAGES = {"python", "sh", "toml", "text"}
EXIT_CODE = re.compile(r"\s# exit code (\d)$")


def blocks(page: Path) -> list[tuple[str, str]]:
    return FENCE.findall(page.read_text(encoding="utf-8"))


def name_of(path: Path) -> str:
    return str(path.relative_to(DOCS))


def run_line(line: str) -> None:
    """Run a command of zodc in this process, which saves its imports; any other by the shell."""
    expected = EXIT_CODE.search(line)
    words = shlex.split(line, comments=True)
    if words[0] != "zodc":
        subprocess.run(["bash", "-euo", "pipefail", "-c", line], check=True, capture_output=True)
        return
    out = Path(words.pop()) if words[-2] == ">" else None
    if out is not None:
        words.pop()
    result = CliRunner().invoke(cli.main, words[1:])
    assert result.exit_code == int(expected[1] if expected else 0), f"{line}\n{result.output}"
    if out is not None:
        out.write_text(result.stdout, encoding="utf-8")


def commands(code: str) -> list[str]:
    lines = code.replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


RUN = [page for page in PAGES if {language for language, _ in blocks(page)} - {"text"}]


def test_there_are_pages_that_run():
    assert {"tutorials/researcher.md", "tutorials/custodian.md", "tutorials/engineer.md"} <= set(
        map(name_of, RUN)
    )
    assert len(NOTEBOOKS) == 3


@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_code_of_a_page_runs_in_order(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for language, code in blocks(page):
        assert language in LANGUAGES, f"nobody runs {language}"
        if language == "python":
            exec(compile(code, name_of(page), "exec"), names)
        elif language == "toml":
            Path("study.toml").write_text(code, encoding="utf-8")
        elif language == "sh":
            for line in commands(code):
                run_line(line)
    plt.close("all")


@pytest.mark.parametrize(
    ("epsilon", "page"), [(e, p) for e in (0.3, 1, 3, 10) for p in ("choosing", "patients")]
)
def test_the_attackers_chance_in_the_tables_is_that_of_the_plan(epsilon, page):
    plan = Condenser(demo.gbsg2().schema, learner="cox", epsilon=epsilon, delta=1e-5).plan()
    members = math.ceil(1000 * gaussian_tpr(plan.to_dict()["charges"])) / 10
    assert f"\n| {epsilon} | {members:.1f} " in (DOCS / f"{page}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_notebook_runs_and_holds_no_output(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    names: dict[str, object] = {}
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(cells) > 2
    for cell in cells:
        assert cell["outputs"] == [] and cell["execution_count"] is None, "strip the outputs"
        exec(compile("".join(cell["source"]), path.name, "exec"), names)
    plt.close("all")


def mentioned() -> list[tuple[str, str]]:
    """Commands anywhere in the pages, also those that need data that are not here."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = [line for language, code in blocks(page) if language == "sh" for line in commands(code)]
        lines += re.findall(r"^ {4,}(zodc .*)$", text, re.MULTILINE) + re.findall(r"`(zodc [^`]+)`", text)
        found += [(name_of(page), line) for line in lines if line.startswith("zodc ")]
    return found


@pytest.mark.parametrize(("page", "line"), mentioned())
def test_commands_and_options_are_known(page, line):
    command: click.Command = cli.main
    words = line.split(" #")[0].split()[1:]
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"{page}: {line}"
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word.rstrip(",.;") for word in words if word.startswith("--")} <= known, f"{page}: {line}"
