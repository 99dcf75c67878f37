"""accountant="pld": less noise for the same claim, certified from above, and no other claim beside it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from cohorts import CLASSES, patients, quick
from command_line import SCHEMA, run
from test_accounting import VALUES, _gaussian, _sampled
from zodc import BudgetError, Condenser, Ledger, Plan, Release, verify
from zodc._zodc import epsilon
from zodc.oracle import consult, pld_epsilon


def condenser(ledger=None, **options) -> Condenser:
    given = {"epsilon": 0.5, "delta": 1e-5, "sampling_rate": 0.1, "accountant": "pld", **options}
    return Condenser(CLASSES, learner="logistic", n_rows=10, recipe=quick(), ledger=ledger, **given)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return condenser().plan()


def _reference() -> list:
    """Rows of the table; those with a large ε need half a minute."""
    with VALUES.open() as file:
        rows = [tuple(float(row[name]) for name in row) for row in csv.DictReader(file)]
    assert len(rows) == 20
    return [pytest.param(*row, marks=[pytest.mark.slow] if row[-1] > 1.9 else []) for row in rows]


@pytest.mark.parametrize(("rate", "noise", "steps", "delta", "rdp", "order", "expected"), _reference())
def test_the_reference_table(rate, noise, steps, delta, rdp, order, expected) -> None:
    """Never below the figure that zodc did not compute, and hardly above it."""
    charge = _sampled(rate, noise, int(steps)) if rate < 1 else _gaussian(noise, int(steps))
    found = pld_epsilon([charge], delta)
    # The reference has nine digits.
    assert expected * (1 - 1e-6) <= found <= min(expected * (1 + 1e-3), rdp)
    if rate == 1:
        assert found >= epsilon(json.dumps([charge]), delta)[0] * (1 - 1e-7)


@pytest.mark.parametrize("delta", [1e-9, 1e-6, 1e-3])
@pytest.mark.parametrize(("noise", "count"), [(40.0, 1), (40.0, 30), (80.0, 2000)])
def test_rounding_never_takes_it_below_an_exact_figure(delta: float, noise: float, count: int) -> None:
    exact, accountant = epsilon(json.dumps([_gaussian(noise, count)]), delta)
    found = pld_epsilon([_sampled(1.0, noise, count)], delta)
    assert accountant == "gdp" and exact * (1 - 1e-7) <= found <= exact * 1.01 + 1e-3


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"epsilon": 0.1, "rounds": 200, "sampling_rate": 0.02},
        {"epsilon": 1.0, "delta": 1e-8, "rounds": 30},
        {"epsilon": 0.3, "rounds": 1, "sampling_rate": 0.5, "marginal_share": 0.5},
    ],
)
def test_a_plan_costs_no_more_than_it_claims_and_has_less_noise(options) -> None:
    found, native = condenser(**options).plan(), condenser(accountant="native", **options).plan()
    assert found.epsilon == native.epsilon and found.delta == native.delta
    oracle = consult(found.to_dict()["charges"], found.delta)
    assert oracle.pld <= found.spent_epsilon <= found.epsilon
    assert found.spent_epsilon > 0.99 * found.epsilon and found.accountant == "pld"
    # Both figures belong to the plan; only one is its claim.
    assert found.native_epsilon > found.epsilon >= native.native_epsilon == native.spent_epsilon
    before, after = (p.to_dict()["charges"][-1]["event"]["noise_multiplier"] for p in (native, found))
    assert found.to_dict()["certified"]["noise_saved"] == pytest.approx(1 - after / before) and after < before


def test_all_patients_in_every_round_leave_nothing_to_save() -> None:
    for options in ({"sampling_rate": None}, {"sampling_rate": 1.0, "neighbours": "replace_one"}):
        assert condenser(**options).plan() == condenser(accountant="native", **options).plan()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"accountant": "rdp"}, "'accountant' option must be 'native' or 'pld'"),
        ({"accountant": None}, "'accountant' option must be"),
        ({"delta": 1e-10}, "'delta' option must be at least 1e-09 with accountant='pld'"),
        ({"neighbours": "replace_one"}, "sampling_rate"),
    ],
)
def test_options_that_cannot_be(options, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        condenser(**options).plan()


def test_the_plan_says_both_figures_and_which_is_claimed(plan: Plan) -> None:
    text = str(plan)
    assert "epsilon 0.5, delta 1e-05" in text and f"epsilon {plan.spent_epsilon:.6f} (pld accountant)" in text
    assert f"epsilon {plan.native_epsilon:.6f}; not what is claimed" in text and "noise saved" in text


def test_release_manifest_and_verification_speak_of_the_wanted_epsilon(tmp_path: Path) -> None:
    release = condenser().fit(patients(200)).release_
    release.save(tmp_path / "r")
    manifest = json.loads((tmp_path / "r" / "manifest.json").read_text())
    assert (manifest["epsilon"], manifest["accountant"]) == (0.5, "pld")
    assert 0.495 < manifest["spent_epsilon"] <= 0.5
    assert release.plan.epsilon == Release.load(tmp_path / "r").plan.epsilon == 0.5
    found = verify(tmp_path / "r")
    assert found.ok and found.epsilon == 0.5 and found.recomputed.tightest <= 0.5 < found.recomputed.rdp
    report = (tmp_path / "r" / "report.html").read_text() if (tmp_path / "r" / "report.html").exists() else ""
    assert f"{release.plan.native_epsilon:.6f}" not in report


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: (m.update(epsilon=0.4), m["plan"]["certified"].update(target=0.4)), "more than it claims"),
        (lambda m: m["plan"]["certified"].update(target=0.7), "certified for another epsilon"),
        (lambda m: m.update(spent_epsilon=0.3), "cost more than it says was spent"),
        (lambda m: m["plan"].pop("certified"), "its plan"),
        (lambda m: m["plan"].update(epsilon=0.5), "its plan"),
    ],
)
def test_a_claim_that_was_changed_is_not_verified(saved: Path, change, words: str) -> None:
    text = (saved / "manifest.json").read_text()
    manifest = json.loads(text)
    change(manifest)
    (saved / "manifest.json").write_text(json.dumps(manifest))
    try:
        assert words in str(verify(saved)) and not verify(saved).ok
    finally:
        (saved / "manifest.json").write_text(text)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("pld") / "r"
    condenser().fit(patients(200)).release_.save(path)
    return path


def test_a_ledger_charges_what_the_distributions_cost(tmp_path: Path, plan: Plan) -> None:
    ledger = Ledger.create(tmp_path / "l", epsilon=0.5, delta=1e-5)
    entry = ledger.charge(plan)
    assert entry.accountant == "pld" and entry.total <= 0.5 < plan.native_epsilon
    with pytest.raises(BudgetError, match=r"asks for epsilon 0\.49\d+, .* is left of the cohort's total"):
        ledger.charge(plan)
    assert ledger.recompute() == pytest.approx(entry.total)
    # Two of them fit where Rényi accounting has no room for them.
    pair = Ledger.create(tmp_path / "pair", epsilon=0.7, delta=1e-5)
    pair.charge(plan)
    total = pair.charge(plan).total
    oracle = consult([*plan.to_dict()["charges"]] * 2, 1e-5)
    # Charges composed one by one are rounded up more often than equal ones merged.
    assert oracle.pld == pytest.approx(total, rel=1e-6) and total <= 0.7 < oracle.rdp


def test_the_command_line(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("schema.toml").write_text(SCHEMA)
    budget = ["--learner", "logistic", "--epsilon", "0.2", "--delta", "1e-5", "--rounds", "5"]
    sampled = run("plan", "schema.toml", *budget, "--accountant", "pld", "--sampling-rate", "0.1")
    assert sampled.exit_code == 0, sampled.output
    assert "(pld accountant)" in sampled.stdout and "native accountant" in sampled.stdout
    assert "noise saved" in sampled.stdout
    full = run("plan", "schema.toml", *budget, "--accountant", "pld")
    assert "(gdp accountant)" in full.stdout and "pld saves nothing here" in full.stdout
    refused = run(
        "plan", "schema.toml", *budget, "--accountant", "pld", "--delta", "1e-12", "--sampling-rate", "0.1"
    )
    assert refused.exit_code == 2 and "'--delta' option must be at least 1e-09" in refused.stderr
