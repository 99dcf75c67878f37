"""What the charges of several runs cost together, and how much more fits."""

from __future__ import annotations

import json
import sys
from typing import Any

from zodc import _zodc
from zodc.options import OptionError, number
from zodc.oracle import LEAST_DELTA, pld_epsilon

__all__ = ["check_charges", "compose", "largest_left", "least_cost", "normal"]

# Noise beyond which a question tells nothing.
_MOST_NOISE = 1e12


def compose(charges: list[dict[str, Any]], delta: float) -> tuple[float, str]:
    """Find ε of all charges together at δ, and the accountant that found it."""
    return _zodc.epsilon(json.dumps(_merged(charges)), delta)


def least_cost(charges: list[dict[str, Any]], epsilon: float, delta: float) -> tuple[float, str]:
    """Find ε as `compose` does; beyond a budget also by privacy-loss distributions, if there are samples.

    Both are upper bounds on the cost of all charges together, so that the smaller one holds.
    """
    found, accountant = compose(charges, delta)
    is_sampled = any(charge["event"]["mechanism"] == "poisson_gaussian" for charge in charges)
    # Nobody can be helped far beyond the budget, and the tables grow with ε.
    if found <= epsilon or not is_sampled or delta < LEAST_DELTA or found > 2.0 * epsilon + 1.0:
        return found, accountant
    return min((found, accountant), (pld_epsilon(_merged(charges), delta), "pld"))


def _merged(charges: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Equal events with their counts added: many runs of one plan take no more time than one."""
    counts: dict[str, int] = {}
    for charge in charges:
        event = json.dumps(charge["event"], sort_keys=True)
        counts[event] = counts.get(event, 0) + charge["count"]
    return [{"event": json.loads(event), "count": n, "what": "ledger"} for event, n in counts.items()]


def largest_left(charges: list[dict[str, Any]], epsilon: float, delta: float) -> float:
    """Find ε at δ of the largest run on all patients that fits beside the charges, rounded down."""

    def fits(noise: float) -> bool:
        return compose([*charges, _question(noise)], delta)[0] <= epsilon

    noisy, quiet = 1.0, 1.0
    while not fits(noisy):
        noisy *= 4.0
        if noisy > _MOST_NOISE:
            return 0.0
    while fits(quiet):
        quiet /= 4.0
    while noisy > quiet * (1.0 + 1e-12):
        middle = (noisy * quiet) ** 0.5
        noisy, quiet = (middle, quiet) if fits(middle) else (noisy, middle)
    return compose([_question(noisy)], delta)[0]


def check_charges(charges: Any, neighbours: str) -> list[dict[str, Any]]:
    """Check the charges of a plan that may have been written by hand; return them.

    Raises
    ------
    OptionError
    """
    if not isinstance(charges, list) or not charges:
        raise OptionError("The 'plan' option must hold charges; make it with Condenser.plan().")
    for charge in charges:
        event, count = charge["event"], charge["count"]
        normal("noise_multiplier", event["noise_multiplier"])
        if event["mechanism"] == "poisson_gaussian":
            normal("sampling_rate", event["sampling_rate"])
            if neighbours != "add_remove":
                raise OptionError(
                    "The 'sampling_rate' option must be 1 but for neighbours='add_remove': Poisson samples "
                    f"are accounted for there only. Got neighbours={neighbours!r} instead."
                )
        if type(count) is not int or count < 1:
            raise OptionError(
                f"The 'count' option must be a whole number of at least 1. Got {count!r} instead."
            )
    return charges


def normal(name: str, value: Any, *, below: float | None = None) -> float:
    """Check a number above 0; one so small that it has lost digits is refused, too.

    Raises
    ------
    OptionError
        Naming the option.
    """
    found = number(name, value, below=below)
    if found < sys.float_info.min:
        raise OptionError(f"The '{name}' option must be a normal number above 0. Got {value!r} instead.")
    return found


def _question(noise: float) -> dict[str, Any]:
    return {"event": {"mechanism": "gaussian", "noise_multiplier": noise}, "count": 1, "what": "rounds"}
