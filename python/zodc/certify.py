"""Plans with less noise for the same budget, by accounting with privacy-loss distributions.

Rényi accounting of Poisson samples is not tight, so that a plan for ε costs less than ε. Here a plan is made
for a larger ε, and taken when `dp-accounting` certifies from above that it costs no more than the ε wanted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from zodc.options import OptionError
from zodc.oracle import pld_epsilon
from zodc.plan import Plan, make_plan
from zodc.recipe import Recipe
from zodc.schema import Schema

__all__ = ["make_certified_plan", "sharpened"]

# The certified ε is at least this share of the wanted one, or the search ends after so many plans.
_CLOSE_ENOUGH = 0.999
_MOST_PLANS = 8


def make_certified_plan(
    schema: Schema, recipe: Recipe, *, epsilon: float, accountant: str = "native", **options: Any
) -> Plan:
    """Make a plan as `zodc.plan.make_plan` does, with less noise if the accountant is `"pld"`.

    Raises
    ------
    OptionError, BudgetError
    """
    if accountant not in ("native", "pld"):
        raise OptionError(f"The 'accountant' option must be 'native' or 'pld'. Got {accountant!r} instead.")

    def plan_for(target: float) -> Plan:
        return make_plan(schema, recipe, epsilon=target, **options)

    return plan_for(epsilon) if accountant == "native" else sharpened(plan_for, epsilon)


def sharpened(plan_for: Callable[[float], Plan], epsilon: float) -> Plan:
    """Find the plan with the least noise that costs at most ε by privacy-loss distributions.

    Parameters
    ----------
    plan_for : callable
        Makes the plan for a target ε of the native accountant.
    epsilon : float
        The ε wanted, which the result claims.

    Returns
    -------
    Plan
        The native plan itself when it asks all patients in every round, since its accounting is exact; else
        one whose JSON holds under `certified` what was found.

    Raises
    ------
    OptionError
        For a δ so small that rounding in the distributions could matter.
    BudgetError
        When the budget is too small for the rounds.
    """
    native = plan_for(epsilon)
    if native.sampling_rate >= 1.0:
        return native
    best, cost = native, pld_epsilon(native.to_dict()["charges"], native.delta)
    if not cost <= epsilon:
        raise OptionError(
            f"The 'accountant' option cannot be 'pld' here: it finds epsilon {cost:g}, no better than the "
            "native one. Take accountant='native'."
        )
    # Target of the plan and its cost: one that is affordable, and one that is not or is not known yet.
    below, above = (epsilon, cost), None
    for _ in range(_MOST_PLANS):
        if below[1] >= _CLOSE_ENOUGH * epsilon:
            break
        tried = plan_for(_next_target(below, above, epsilon))
        cost = pld_epsilon(tried.to_dict()["charges"], tried.delta)
        if cost <= epsilon:
            best, below = tried, (tried.epsilon, cost)
        else:
            above = (tried.epsilon, cost)
    found = {
        "accountant": "pld",
        "epsilon": below[1],
        "target": epsilon,
        "noise_saved": 1.0 - _round_noise(best) / _round_noise(native),
    }
    return Plan(json.dumps({**best.to_dict(), "certified": found}))


def _round_noise(plan: Plan) -> float:
    return float(plan.to_dict()["charges"][-1]["event"]["noise_multiplier"])


def _next_target(below: tuple[float, float], above: tuple[float, float] | None, epsilon: float) -> float:
    """Aim a little below the wanted ε on the line through both ends, or on that through the origin."""
    aim = (1.0 + _CLOSE_ENOUGH) / 2.0 * epsilon
    if above is None:
        return below[0] * aim / below[1]
    slope = (above[0] - below[0]) / (above[1] - below[1])
    return below[0] + slope * (aim - below[1])
