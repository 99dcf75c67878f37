"""The forecast of a plan: it follows public facts, in the right direction, and reads no data."""

import json
import math

import pytest
from cohorts import CLASSES, SURVIVAL
from hypothesis import given, settings
from hypothesis import strategies as st
from zodc import Condenser, demo, outlook
from zodc.outlook import signal


@pytest.mark.parametrize("schema", [CLASSES, SURVIVAL, demo.breast_cancer().schema])
def test_more_patients_and_more_budget_promise_more(schema):
    plans = [Condenser(schema, epsilon=epsilon, delta=1e-5).plan() for epsilon in (0.5, 1, 3, 8)]
    by_budget = [outlook(schema, plan, 3000).share for plan in plans]
    by_patients = [outlook(schema, plans[1], n).share for n in (300, 1000, 3000, 10_000)]
    assert by_budget == sorted(by_budget) and by_budget[0] < by_budget[-1]
    assert by_patients == sorted(by_patients) and by_patients[0] < by_patients[-1]


@given(patients=st.integers(1, 10**7), epsilon=st.floats(0.05, 20))
@settings(max_examples=40, deadline=None)
def test_a_share_lies_in_its_range(patients, epsilon):
    found = outlook(CLASSES, Condenser(CLASSES, epsilon=epsilon, delta=1e-5).plan(), patients)
    assert 0.5 <= found.lower <= found.share <= found.upper < 1


def test_half_the_budget_is_about_half_the_patients():
    whole, half = (Condenser(CLASSES, epsilon=epsilon, delta=1e-5).plan() for epsilon in (1, 0.5))
    assert signal(CLASSES, whole, 1000) == pytest.approx(signal(CLASSES, half, 2000), rel=0.15)


def test_signal_by_hand():
    # age, stage with a flag, three sexes with a flag, smokes: 1 + 2 + 4 + 1 encoded columns.
    plan = Condenser(CLASSES, epsilon=1, delta=1e-5).plan()
    squares = sum(c["count"] / c["event"]["noise_multiplier"] ** 2 for c in plan.to_dict()["charges"])
    assert signal(CLASSES, plan, 700) == pytest.approx(700 * math.sqrt(squares / 8))


@pytest.mark.parametrize("wrong", [0, -1, 2.5, "many"])
def test_patients_are_counted_in_whole_numbers(wrong):
    with pytest.raises((ValueError, TypeError), match="patients"):
        outlook(CLASSES, Condenser(CLASSES, epsilon=1, delta=1e-5).plan(), wrong)


def test_the_plan_command_forecasts(tmp_path):
    from click.testing import CliRunner
    from zodc.cli import main

    CLASSES.save(tmp_path / "schema.toml")
    options = ["plan", str(tmp_path / "schema.toml"), "--epsilon", "1", "--delta", "1e-5"]
    shown = CliRunner().invoke(main, options)
    assert "no promise" in shown.stdout and "2,000 patients: 0." in shown.stdout
    told = CliRunner().invoke(main, [*options, "--expected-patients", "700", "--json"])
    (forecast,) = json.loads(told.stdout)["forecast"]
    assert forecast["patients"] == 700 and forecast["lower"] < forecast["share"] < forecast["upper"]
