"""Small runs of the command line, and what they may print and write, that tests share."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from zodc import cli

# Stands in a patient's cell; no output may hold it.
SECRET = "Ann-Example-1234567"
SMALL = ["--rounds", "4", "--directions", "4", "--rows", "30"]
BUDGET = ["--epsilon", "3", "--delta", "1e-5"]

SCHEMA = """
name = "small ward"
[[column]]
name = "age"
kind = "continuous"
lower = 18
upper = 100
[[column]]
name = "ward"
kind = "categorical"
categories = ["a", "b", "c"]
[[column]]
name = "creatinine"
kind = "continuous"
lower = 0
upper = 50
missing = "indicator"
[[column]]
name = "died"
kind = "binary"
role = "target"
"""


def patients(n=200, seed=1):
    rng = np.random.default_rng(seed)
    age = rng.uniform(20, 90, n)
    creatinine = np.where(rng.random(n) < 0.2, np.nan, rng.lognormal(0, 0.4, n))
    died = (rng.random(n) < 1 / (1 + np.exp((60 - age) / 8))).astype(int)
    return pd.DataFrame(
        {"age": age, "ward": rng.choice(["a", "b", "c"], n), "creatinine": creatinine, "died": died}
    )


@pytest.fixture(name="here")
def small_ward(tmp_path, monkeypatch):
    """Stand in a folder with a schema and its patients."""
    monkeypatch.chdir(tmp_path)
    Path("schema.toml").write_text(SCHEMA)
    patients().to_csv("patients.csv", index=False)
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(cli.main, [str(a) for a in arguments])


def condense(*more, file="patients.csv", learner="logistic", out="release"):
    return run(
        *["condense", file, "--schema", "schema.toml", "--learner", learner, *BUDGET, *SMALL],
        *["--out", out, *more],
    )


def check_fault(result, code, *words):
    """One line that names the words, and nothing of a patient."""
    assert result.exit_code == code, result.output
    lines = result.stderr.strip().splitlines()
    assert lines[-1].startswith("Error: "), lines
    if lines[0] != lines[-1]:
        assert lines[0].startswith("Usage: "), lines
    for word in words:
        assert word in lines[-1], (word, lines[-1])
    assert "Traceback" not in result.output, result.output
    assert SECRET not in result.output, result.output


def nothing_written(*but):
    found = sorted(os.listdir())
    assert found == sorted(["patients.csv", "schema.toml", *but]), found
