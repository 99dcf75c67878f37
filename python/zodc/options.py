"""Checks of options, in scikit-learn's form of words."""

from __future__ import annotations

import math
import secrets
from numbers import Integral, Real
from typing import Any

import numpy as np

__all__ = [
    "MOST_ROWS",
    "ModelError",
    "OptionError",
    "count",
    "number",
    "public_seed",
    "seed_of_draw",
    "settle",
    "sklearn_seed",
]

# Rows of a table to make: far above any use, far below what a machine cannot hold.
MOST_ROWS = 1_000_000

# Public seeds are whole numbers below this.
_SEEDS = 2**63


class OptionError(ValueError):
    """An option is out of its range. Its text is zodc's own and quotes no patient."""


class ModelError(RuntimeError):
    """A model of the user's fails on synthetic rows. Its text is zodc's own and quotes no patient."""


def number(name: str, value: Any, *, below: float | None = None, or_zero: bool = False) -> float:
    """Check a number above 0, or 0 where it may be; return it.

    Raises
    ------
    OptionError
        Naming the option.
    """
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    found = float(value) if is_number else math.nan
    is_above = found > 0 or (or_zero and found == 0)
    if not (math.isfinite(found) and is_above and (below is None or found < below)):
        least = "of at least 0" if or_zero else "above 0"
        limit = "" if below is None else f" and below {below:g}"
        raise OptionError(
            f"The '{name}' option must be a finite number {least}{limit}. Got {value!r} instead."
        )
    return found


def count(name: str, value: Any, *, least: int = 1, most: int | None = None) -> int:
    """Check a whole number from `least` to `most`; return it.

    Raises
    ------
    OptionError
        Naming the option.
    """
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_whole or value < least or (most is not None and value > most):
        allowed = f"of at least {least}" if most is None else f"from {least} to {most:,}"
        raise OptionError(f"The '{name}' option must be a whole number {allowed}. Got {value!r} instead.")
    return int(value)


def settle(options: object, **values: Any) -> None:
    """Store checked options on a frozen dataclass: NumPy's numbers, no JSON, would fail after the charge."""
    for name, value in values.items():
        object.__setattr__(options, name, value)


def public_seed(random_state: Any) -> int:
    """Seed of the public randomness: the user's, or a fresh one. It never touches the noise.

    Raises
    ------
    OptionError
        When it is neither None, nor a whole number of at least 0, nor a NumPy generator.
    """
    if random_state is None:
        return secrets.randbelow(_SEEDS)
    if isinstance(random_state, Integral):
        seed = int(random_state)
        if 0 <= seed < _SEEDS:
            return seed
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(_SEEDS))
    got = random_state if isinstance(random_state, Integral) else type(random_state).__name__
    raise OptionError(
        "The 'random_state' option must be None, a whole number from 0 to 2^63 - 1, or a NumPy generator. "
        f"Got {got} instead."
    )


def sklearn_seed(seed: int) -> int:
    """Seed in scikit-learn's range, of a public one."""
    return seed % 2**32


def seed_of_draw(seed: int, number: int) -> int:
    """Public seed of one of many draws: neighbouring seeds must not share draws."""
    state = np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)
    return int(state[0]) % _SEEDS
