"""Rounds of the native loop under pytest-benchmark.

Run: pytest benches/test_rounds.py -o addopts="" --benchmark-only
"""

from __future__ import annotations

import pytest
import speed
from zodc import _zodc

ROUNDS = 5


@pytest.mark.parametrize(("kind", "survival"), [("tree", False), ("logistic", False), ("cox", True)])
def test_private_rounds(benchmark, kind, survival):
    data, public = speed.patients(2000, 20, survival), speed.schema(20, survival)
    benchmark.pedantic(
        lambda: speed.native_run(data, public, (kind,), n_rows=200, rounds=ROUNDS), rounds=5, warmup_rounds=1
    )


@pytest.mark.parametrize(("kind", "survival"), [("tree", False), ("logistic", False), ("cox", True)])
def test_one_fit(benchmark, kind, survival):
    x, outcome, event = speed.patients(200, 20, survival)
    options = {"event": event, "time_grid": [0.0, 2.0, 5.0, 10.0]} if survival else {"n_classes": 2}
    benchmark(lambda: _zodc.FittedModels(speed.learners(kind), x, outcome, **options))
