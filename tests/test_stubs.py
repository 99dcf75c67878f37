"""The types written for the extension are those that it has."""

import subprocess
import sys
from importlib.resources import files

import pytest


def test_stubs_match_the_extension() -> None:
    pytest.importorskip("mypy.stubtest")
    found = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "zodc._zodc"], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout


def test_the_package_says_that_it_is_typed() -> None:
    assert (files("zodc") / "py.typed").is_file()
