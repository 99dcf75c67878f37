"""The code in the README runs as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def test_the_two_commands_stand_in_the_readme():
    text = README.read_text(encoding="utf-8")
    assert "pip install . && zodc demo" in text
    assert 'pip install ".[test]" && pytest' in text


def test_the_licences_travel_with_the_package():
    assert metadata.metadata("zodc")["License-Expression"] == "MIT OR Apache-2.0"
    files = {path.name for path in metadata.files("zodc") or ()}
    assert {"LICENSE-MIT", "LICENSE-APACHE"} <= files


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)]+)\)", README.read_text(encoding="utf-8")):
        assert (README.parent / target).exists(), target


def test_code_runs_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # The commands of the environment that runs the tests.
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    names: dict[str, object] = {}
    ran = []
    for language, code in BLOCKS:
        if language == "python":
            exec(compile(code, str(README), "exec"), names)
        elif language == "toml":
            (tmp_path / "study.toml").write_text(code, encoding="utf-8")
            done = subprocess.run(["zodc", "run", "study.toml"], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
        elif "pip install" not in code:
            done = subprocess.run(["bash", "-euo", "pipefail", "-c", code], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
        else:
            continue
        ran.append(language)
    assert ran.count("python") == 3
    assert (ran.count("sh"), ran.count("toml")) == (1, 1)
    made = {"patients.csv", "release", "smaller", "study", "study-100", "release_logistic"}
    assert made <= {p.name for p in tmp_path.iterdir()}


@pytest.mark.parametrize("block", [code for language, code in BLOCKS if language == "sh"])
def test_every_command_is_known(block):
    from zodc.cli import main

    for name in re.findall(r"\bzodc ([a-z]+)", block):
        assert name in main.commands
