"""Times, events and long scales in released rows are like the patients'. Noise is seeded: no false alarm."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from cohorts import BUDGET, SURVIVAL, quick, survivors
from zodc import Column, Condenser, Schema
from zodc.encoded import encode_rows


def release_of(schema: Schema, frame: pd.DataFrame, seed: int, **options):
    condenser = Condenser._with_test_noise(seed, schema, random_state=seed, **{**BUDGET, **options})
    return condenser.fit(frame).release_


@pytest.mark.parametrize("mode", ["two_phase", "direct"])
def test_an_event_after_the_upper_bound_is_not_seen(mode: str) -> None:
    """As for a horizon: who dies after it was alive at it."""
    cohort = survivors(300)
    late = cohort.assign(time=np.where(cohort.index % 3 == 0, 25.0, cohort["time"]), event=1)
    is_late = late["time"] > 10
    censored = late.assign(time=late["time"].clip(upper=10), event=(~is_late).astype(int))
    first, second = (
        release_of(SURVIVAL, frame, 1, learner="cox", recipe=quick(SURVIVAL), mode=mode)
        for frame in (late, censored)
    )
    assert first.marginals == second.marginals and first.trace == second.trace
    rows = encode_rows(late, SURVIVAL, first.decoder)
    assert not rows.event[is_late].any() and rows.event[~is_late].all() and rows.time.max() == 10


@pytest.mark.parametrize("learner", ["cox", "any"])
def test_as_many_events_as_the_patients_have_where_times_are_whole_months(learner: str) -> None:
    """Answers to rounds say little about when: the baseline hazard is the marginals'."""
    rng = np.random.default_rng(7)
    x = rng.normal(0, 1, 4000)
    dies, leaves = rng.exponential(1000 * np.exp(-x)), rng.uniform(100, 2000, 4000)
    months = np.ceil(np.minimum(dies, leaves) / 30.4)
    frame = pd.DataFrame({"x": x, "months": months, "event": (dies <= leaves).astype(int)})
    schema = Schema(
        [
            Column(name="x", kind="continuous", lower=-4, upper=4),
            Column(name="months", kind="continuous", role="time", lower=0, upper=120),
            Column(name="event", kind="binary", role="event"),
        ]
    )
    for seed in range(4):
        found = release_of(schema, frame, seed, learner=learner, epsilon=3.0).frame()
        assert abs(found["event"].mean() - frame["event"].mean()) < 0.1
        for time in (5, 10, 20, 40):
            had = [((t["months"] <= time) & (t["event"] == 1)).mean() for t in (found, frame)]
            assert abs(had[0] - had[1]) < 0.1, (seed, time, had)


def test_a_long_scale_gets_no_tail_from_the_noise() -> None:
    """Nodes from 0 to 60, of which hardly anybody has more than 20."""
    rng = np.random.default_rng(1)
    nodes = np.minimum(rng.geometric(0.2, 480) - 1, 60)
    frame = pd.DataFrame({"nodes": nodes, "died": (rng.random(480) < 0.3).astype(int)})
    schema = Schema(
        [
            Column(name="nodes", kind="ordinal", lower=0, upper=60),
            Column(name="died", kind="binary", role="target"),
        ]
    )
    for seed in range(5):
        marginals = json.loads(
            release_of(schema, frame, seed, learner="logistic", recipe=quick(schema)).marginals
        )
        shares = np.asarray(marginals["features"][0]["weights"])
        assert shares[21:].sum() < 0.1 and abs(shares @ np.arange(61) - nodes.mean()) < 2.0
