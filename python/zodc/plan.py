"""The plan of a run: what will be asked of the patients, with how much noise, at what cost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zodc import _zodc
from zodc._zodc import BudgetError, SchemaError
from zodc.options import OptionError, count, number
from zodc.recipe import Recipe
from zodc.schema import Schema

__all__ = ["BudgetError", "Plan", "make_plan", "squared_cost"]

# The earth has fewer people.
_MOST_PATIENTS = 10_000_000_000
_NEIGHBOURS = {"add_remove": "added or removed", "replace_one": "replaced by another"}


@dataclass(frozen=True)
class Plan:
    """All questions of a run with their noise, fixed before data are read. Holds for any cohort.

    Attributes
    ----------
    json : str
        The plan as Rust reads it.
    """

    json: str

    def __post_init__(self) -> None:
        # One text for one plan, so that plans can be compared.
        object.__setattr__(self, "json", json.dumps(json.loads(self.json), sort_keys=True))

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers for the manifest."""
        values: dict[str, Any] = json.loads(self.json)
        return values

    @property
    def epsilon(self) -> float:
        """Target ε, which the release claims."""
        values = self.to_dict()
        return float(values["certified"]["target"] if "certified" in values else values["epsilon"])

    @property
    def delta(self) -> float:
        """Target δ."""
        return float(self.to_dict()["delta"])

    @property
    def spent_epsilon(self) -> float:
        """ε of all charges at δ; never above the target."""
        values = self.to_dict()
        return float(values.get("certified", values["spent"])["epsilon"])

    @property
    def native_epsilon(self) -> float:
        """ε of all charges at δ by zodc's own accountant; above the target where `accountant` is `"pld"`."""
        return float(self.to_dict()["spent"]["epsilon"])

    @property
    def accountant(self) -> str:
        """Accountant that found it: `"gdp"` is exact, `"rdp"` and the tighter `"pld"` serve samples."""
        values = self.to_dict()
        return str(values.get("certified", values["spent"])["accountant"])

    @property
    def unit(self) -> str:
        """Unit of privacy: `"patient"`, or `"row"` without a patient_id."""
        return str(self.to_dict()["unit"])

    @property
    def neighbours(self) -> str:
        """Which cohorts count as neighbours: one unit `"add_remove"`, or `"replace_one"`."""
        return str(self.to_dict()["neighbours"])

    @property
    def sampling_rate(self) -> float:
        """Probability that a unit takes part in a round; 1 is the full batch."""
        return float(self.to_dict()["sampling_rate"])

    @property
    def rounds(self) -> int:
        """Private rounds T."""
        return int(self.to_dict()["rounds"])

    @property
    def directions(self) -> int:
        """Directions K of a round."""
        return int(self.to_dict()["directions"])

    def __str__(self) -> str:
        rows = [
            ("budget", f"epsilon {self.epsilon:g}, delta {self.delta:g}"),
            ("spent", f"epsilon {self.spent_epsilon:.6f} ({self.accountant} accountant)"),
            *self._certificate(),
            ("unit", f"one {self.unit}, {_NEIGHBOURS[self.neighbours]}"),
            (
                "patients per round",
                "all" if self.sampling_rate >= 1 else f"a sample, each with {self.sampling_rate:g}",
            ),
        ]
        for charge in self.to_dict()["charges"]:
            noise = charge["event"]["noise_multiplier"]
            rows.append((charge["what"], f"{charge['count']} × Gaussian, noise {noise:.4g} × sensitivity"))
        rows.append(
            ("model fits", f"{2 * self.directions * self.rounds:,} (2 × {self.directions} × {self.rounds})")
        )
        return "\n".join(f"{name:<20}{text}" for name, text in rows)

    def _certificate(self) -> list[tuple[str, str]]:
        """Return what the native accountant finds beside the one that certifies the claim."""
        certified = self.to_dict().get("certified")
        if certified is None:
            return []
        return [
            ("native accountant", f"epsilon {self.native_epsilon:.6f}; not what is claimed"),
            (
                "noise saved",
                f"{certified['noise_saved']:.1%} of a round's, against a plan by the native accountant",
            ),
        ]


def squared_cost(charge: Mapping[str, Any]) -> float:
    """Squared privacy parameter μ² of a charge, to first order in the sampling rate."""
    event = charge["event"]
    return float(charge["count"] * (event.get("sampling_rate", 1.0) / event["noise_multiplier"]) ** 2)


def make_plan(
    schema: Schema,
    recipe: Recipe,
    *,
    epsilon: float,
    delta: float,
    sampling_rate: float | None = None,
    expected_patients: int | None = None,
    neighbours: str = "add_remove",
) -> Plan:
    """Fix the noise for a budget; reads no data.

    Raises
    ------
    OptionError
        For an option out of its range.
    BudgetError
        When the budget is too small for the rounds.
    """
    if neighbours not in _NEIGHBOURS:
        raise OptionError(
            f"The 'neighbours' option must be 'add_remove' or 'replace_one'. Got {neighbours!r} instead."
        )
    options: dict[str, Any] = {
        "neighbours": neighbours,
        "epsilon": number("epsilon", epsilon),
        "delta": number("delta", delta, below=1),
        "rounds": count("rounds", recipe.private.rounds),
        "directions": count("directions", recipe.directions),
        "marginal_share": number("marginal_share", recipe.marginal_share, below=1),
    }
    if sampling_rate is not None:
        options["sampling_rate"] = number("sampling_rate", sampling_rate)
    if expected_patients is not None:
        options["expected_patients"] = count("expected_patients", expected_patients, most=_MOST_PATIENTS)
    try:
        return Plan(_zodc.make_plan(schema.to_json(), **options))
    except (BudgetError, SchemaError):
        raise
    except ValueError as error:
        raise OptionError(str(error)) from None
