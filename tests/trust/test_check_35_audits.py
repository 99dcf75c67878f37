"""Check 35: end-to-end audits. The worst pair through the compiled path, and a thousand canaries in one fit.

Every bound holds with probability 1 - 1e-6: a sound mechanism fails a test once in a million runs.
`tests/audit/mutants.py` breaks the private half on purpose and sees them fail.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from marginals_audit import audit_marginals, marginals_schema
from zodc import _zodc, learners
from zodc.audit_bounds import Bound, clopper_pearson, one_run_epsilon, one_run_p_value
from zodc.audit_canaries import audit_canaries
from zodc.audit_mechanism import audit_rounds, claimed_epsilon
from zodc.plan import Plan, make_plan
from zodc.recipe import Anneal, default_recipe
from zodc.schema import Column, Schema

DELTA = 0.15
EVERYDAY, HEAVY = 2_000, 10_000


def plan(*, rounds: int = 1, marginal_share: float = 1e-3, sampling_rate: float | None = None) -> Plan:
    """One (ε, δ) for all: ε 3.3 at δ 0.15, where counts of thousands of runs say most."""
    return Plan(
        _zodc.make_plan(
            marginals_schema().to_json(),
            epsilon=3.3,
            delta=DELTA,
            rounds=rounds,
            directions=4,
            marginal_share=marginal_share,
            sampling_rate=sampling_rate,
        )
    )


QUESTIONS = {
    "one round": (plan(), "rounds"),
    "eight rounds": (plan(rounds=8), "rounds"),
    "one sampled round": (plan(sampling_rate=0.8), "rounds"),
    "four sampled rounds": (plan(rounds=4, sampling_rate=0.8), "rounds"),
    "marginals": (plan(marginal_share=0.999), "marginals"),
}
# Little is claimed of a small sample, and little found: there to see what would be found if all were asked.
SMALL_SAMPLE = plan(sampling_rate=0.4)


def check_white_box(question: str, runs: int, least: float) -> None:
    asked, what = QUESTIONS[question]
    claimed = claimed_epsilon(asked, DELTA, what=what)
    audit = audit_marginals if what == "marginals" else audit_rounds
    found = audit(marginals_schema(), asked, runs=runs, delta=DELTA)
    assert found.runs == runs
    assert found.epsilon <= claimed <= asked.spent_epsilon, (found, claimed)
    assert found.epsilon >= least * claimed, (found, claimed)


@pytest.mark.parametrize("question", [name for name in QUESTIONS if name != "four sampled rounds"])
def test_the_worst_pair_stays_within_the_claim(question: str) -> None:
    check_white_box(question, EVERYDAY, least=0.35)


def test_a_small_sample_hides_a_patient_as_claimed() -> None:
    claimed = claimed_epsilon(SMALL_SAMPLE, DELTA, what="rounds")
    found = audit_rounds(marginals_schema(), SMALL_SAMPLE, runs=EVERYDAY, delta=DELTA)
    assert found.epsilon <= claimed < 1.6


@pytest.mark.slow
@pytest.mark.parametrize("question", QUESTIONS)
def test_ten_thousand_runs_come_near_the_claim(question: str) -> None:
    check_white_box(question, HEAVY, least=0.6)


def canaries(epsilon: float) -> tuple[Bound, Plan]:
    """Audit a full fit. δ is small: 2000·δ must be below the false-alarm rate for any bound above 0."""
    schema = marginals_schema()
    recipe = default_recipe(survival=False, n_features=8, kind="any")
    asked = make_plan(schema, recipe, epsilon=epsilon, delta=1e-9)
    return audit_canaries(schema, asked, recipe), asked


@pytest.mark.parametrize("epsilon", [1.0, 8.0])
def test_a_thousand_canaries_in_one_fit(epsilon: float) -> None:
    found, asked = canaries(epsilon)
    assert found.runs == 1000
    assert found.epsilon <= asked.spent_epsilon
    if epsilon == 8.0:
        assert found.epsilon > 0.3


def test_canaries_without_noise_are_all_found() -> None:
    found, _ = canaries(1e6)
    assert found.epsilon > 3.0


# Published: appendix D and section 7 of arXiv 2305.08846; the second is cut, not rounded, there.
@pytest.mark.parametrize(
    ("canaries", "guesses", "correct", "delta", "published"),
    [(1000, 100, 75, 1e-4, 0.673), (100_000, 1510, 1439, 1e-5, 2.675)],
)
def test_one_run_bound_gives_the_published_values(
    canaries: int, guesses: int, correct: int, delta: float, published: float
) -> None:
    found = one_run_epsilon(canaries, guesses, correct, delta, confidence=0.95)
    assert found == pytest.approx(published, abs=1e-3)


def test_one_run_p_value_is_the_sum_by_hand() -> None:
    def binomial(successes: int, trials: int, rate: Fraction) -> Fraction:
        return math.comb(trials, successes) * rate**successes * (1 - rate) ** (trials - successes)

    for guesses, correct, odds in itertools.product((5, 12), (0, 3, 5), (1, 3)):
        rate = Fraction(odds, odds + 1)
        tail = sum((binomial(w, guesses, rate) for w in range(correct, guesses + 1)), Fraction(0))
        slack = max(
            (
                sum((binomial(correct - j, guesses, rate) for j in range(1, i + 1)), Fraction(0)) / i
                for i in range(1, correct + 1)
            ),
            default=Fraction(0),
        )
        expected = min(Fraction(1), tail + 2 * 20 * Fraction(1, 1000) * slack)
        found = one_run_p_value(20, guesses, correct, math.log(odds), 1e-3)
        assert found == pytest.approx(float(expected), rel=1e-9)


def test_one_run_bound_covers_randomised_response() -> None:
    """500 audits of exact ε = 1 at 95 %: more than 60 above it happen with probability below 1e-8."""
    rng = np.random.default_rng(0)
    right = rng.binomial(1000, 1 / (1 + math.exp(-1.0)), 500)
    above = [one_run_epsilon(1000, 1000, int(v), 0.0, confidence=0.95) > 1.0 for v in right]
    assert 2 < sum(above) <= 60


def test_clopper_pearson_ends_are_exact() -> None:
    for successes, trials, tail in itertools.product((1, 7, 29), (30, 200), (0.05, 1e-4)):
        lower, upper = clopper_pearson(successes, trials, tail)

        def at_least(p: float, k: int, n: int = trials) -> float:
            return sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))

        assert at_least(lower, successes) == pytest.approx(tail, rel=1e-6)
        assert 1 - at_least(upper, successes + 1) == pytest.approx(tail, rel=1e-6)
    assert clopper_pearson(0, 10, 0.1)[0] == 0.0
    assert clopper_pearson(10, 10, 0.1)[1] == 1.0


SURVIVAL = Schema(
    [
        Column(name="x", kind="continuous", lower=0, upper=1),
        Column(name="z", kind="continuous", lower=0, upper=1),
        Column(name="time", kind="continuous", role="time", lower=0, upper=10),
        Column(name="event", kind="binary", role="event"),
    ]
)


def test_no_patient_moves_an_answer_through_the_others() -> None:
    """Native losses, nearly without noise: a patient moves the answer by the clip norm at most.

    A partial likelihood would let the last patient, who is in every risk set, turn all others' losses.
    """
    rng = np.random.default_rng(3)
    n, clip = 80, 1e-3
    cells = np.ascontiguousarray(rng.random((n, 2)))
    cells[-1] = 1.0, 0.0
    time, event = rng.uniform(0.1, 5, n), np.ones(n)
    time[-1] = 10.0
    recipe = default_recipe(survival=True, n_features=2, kind="any").but(rounds=1, directions=1)
    schedule = replace(recipe.private, clip=Anneal(clip, clip)).to_json()
    asked = make_plan(SURVIVAL, replace(recipe, directions=1), epsilon=1e12, delta=1e-5)

    def cohort(keep: slice) -> _zodc.Cohort:
        arrays = [np.ascontiguousarray(part[keep]) for part in (cells, time, event)]
        return _zodc.Cohort(SURVIVAL.to_json(), asked.json, *arrays)

    decoder = _zodc.Decoder(SURVIVAL.to_json(), cohort(slice(None)).marginals(), 10)
    learner = learners.teacher("survival", c=1.0).native_json
    moved = []
    for seed in range(20):
        rows = decoder.uniform_rows(30, seed)
        sizes = [
            decoder.condense_private(cohort(keep), rows, learner, schedule, 1, seed)[1][0]
            for keep in (slice(None), slice(n - 1))
        ]
        moved.append(abs(sizes[0] - sizes[1]) / clip)
    assert max(moved) <= 1 + 1e-4, max(moved)
    # The patient does count.
    assert max(moved) > 0.9
