"""What a release may be worth: a forecast from public facts, learned on public cohorts."""

from __future__ import annotations

import math
from dataclasses import dataclass

from zodc.options import count
from zodc.plan import Plan, squared_cost
from zodc.schema import Schema, Task

__all__ = ["Outlook", "outlook", "signal"]

# Intercept, slope and spread of log(loss) against log(signal) on eleven public cohorts at ε of 0.5 to 8. The
# spread is that of each cohort about what the others forecast for it (benches/field_outlook.py).
_FIT: dict[Task, tuple[float, float, float]] = {
    "classification": (-1.778, -0.291, 1.191),
    "survival": (-1.440, -0.402, 0.727),
}
# Eight of ten normal values are within.
_EIGHT_OF_TEN = 1.2816


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """Share of the full data's score that models trained on a release may keep. A forecast, no promise.

    Attributes
    ----------
    patients : int
        Patients that it is made for.
    share : float
        Of the AUROC or C-index, in the mean over trees, forests, boosted trees and regression.
    lower, upper : float
        Eight of ten cohorts would lie between, if they miss the forecast as the public ones did, normally on
        the scale of log(1 - share).
    """

    patients: int
    share: float
    lower: float
    upper: float

    def __str__(self) -> str:
        return (
            f"{self.patients:,} patients: {self.share:.2f} of full data ({self.lower:.2f}-{self.upper:.2f})"
        )


def signal(schema: Schema, plan: Plan, patients: int) -> float:
    """Patients' voice against the noise: `n √(Σ (q/σ)² / d)`, for d encoded columns. Above 0."""
    squares = sum(map(squared_cost, plan.to_dict()["charges"]))
    return patients * math.sqrt(squares / schema.encoded_width)


def outlook(schema: Schema, plan: Plan, patients: int) -> Outlook:
    """Forecast how 500 rows for any learner will do, from public facts alone.

    Parameters
    ----------
    schema : Schema
    plan : Plan
        Of this schema.
    patients : int
        A public guess of how many there are.

    Returns
    -------
    Outlook

    Raises
    ------
    OptionError
        When `patients` is no whole number of at least 1.

    Examples
    --------
    >>> from zodc import Condenser, demo
    >>> schema = demo.gbsg2().schema
    >>> plan = Condenser(schema, epsilon=1, delta=1e-5).plan()
    >>> outlook(schema, plan, 500).share < outlook(schema, plan, 5000).share
    True
    """
    intercept, slope, spread = _FIT[schema.task]
    log_loss = intercept + slope * math.log(signal(schema, plan, count("patients", patients)))
    # A score of chance is half of a perfect one: no model that ranks at all loses more.
    shares = [1 - min(math.exp(log_loss + k * spread), 0.5) for k in (0, _EIGHT_OF_TEN, -_EIGHT_OF_TEN)]
    return Outlook(patients=patients, share=shares[0], lower=shares[1], upper=shares[2])
