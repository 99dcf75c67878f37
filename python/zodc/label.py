"""The privacy label: what a release promises, in numbers and in plain words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

__all__ = ["FALSE_POSITIVES", "Label", "attacker_tpr", "label"]

# Share of outsiders that an attacker may accuse wrongly, by convention (Carlini et al. 2022).
FALSE_POSITIVES = 0.01

_NORMAL = NormalDist()
_UNITS = {"patient": "one patient, with all rows of that patient{most}", "row": "one row of the table"}
_NEIGHBOURS = {
    "add_remove": "cohorts that differ by one {unit}, added or removed",
    "replace_one": "cohorts of the same size in which one {unit} is exchanged for another",
}
_ACCOUNTANTS = {
    "gdp": "Gaussian differential privacy (exact composition)",
    "pld": "privacy-loss distributions (an upper bound by dp-accounting, for Poisson samples)",
    "rdp": "Rényi differential privacy (an upper bound, for Poisson samples)",
}


@dataclass(frozen=True, kw_only=True)
class Label:
    """The guarantee of a release.

    Attributes
    ----------
    is_private : bool
        Whether the noise came from the operating system; otherwise nothing below holds.
    unit, neighbours : str
        Whose presence is hidden, and between which cohorts, in words.
    unit_word : str
        One word for the unit.
    epsilon, delta : float
    tpr : float
        Upper bound on an attacker's true-positive rate at a false-positive rate of `FALSE_POSITIVES`.
    tpr_from : str
        Which curve the bound was read from.
    mechanism, accountant : str
    spent_epsilon : float
        ε of all questions of this run.
    ledger : mapping or None
        What the cohort's ledger says of all runs, when the release has an entry.
    not_covered : tuple of str
    """

    is_private: bool
    unit: str
    unit_word: str
    neighbours: str
    epsilon: float
    delta: float
    tpr: float
    tpr_from: str
    mechanism: str
    accountant: str
    spent_epsilon: float
    ledger: Mapping[str, Any] | None
    not_covered: tuple[str, ...]

    @property
    def found_of_1000(self) -> int:
        """Members that the best attacker can find among 1000, rounded up."""
        return math.ceil(1000 * self.tpr - 1e-9)

    @property
    def factor(self) -> float:
        """Factor e^ε: for any set S, P(release in S) is at most this times a neighbour's, plus δ."""
        return math.exp(self.epsilon)


def label(manifest: Mapping[str, Any]) -> Label:
    """Read the label from a release's manifest.

    Examples
    --------
    >>> from zodc.label import attacker_tpr
    >>> round(attacker_tpr(1.0, 1e-5), 4)
    0.0272
    """
    unit = str(manifest["unit"])
    tpr, source = _best_bound(manifest)
    neighbours = str(manifest["neighbours"])
    accountant = str(manifest["accountant"])
    rows = manifest.get("rows_per_unit")
    most = "" if rows is None else f" ({rows} at most; the rest were left out)"
    return Label(
        is_private=manifest["private"] is True,
        unit=_UNITS.get(unit, unit).format(most=most),
        unit_word=unit,
        neighbours=_NEIGHBOURS.get(neighbours, neighbours.replace("_", " ")).format(unit=unit),
        epsilon=float(manifest["epsilon"]),
        delta=float(manifest["delta"]),
        tpr=tpr,
        tpr_from=source,
        mechanism=str(manifest["mechanism"]),
        accountant=_ACCOUNTANTS.get(accountant, accountant),
        spent_epsilon=float(manifest["spent_epsilon"]),
        ledger=manifest.get("ledger"),
        not_covered=tuple(manifest["not_covered"]),
    )


def attacker_tpr(epsilon: float, delta: float, fpr: float = FALSE_POSITIVES) -> float:
    """Largest true-positive rate of any test of membership, by the (ε, δ) trade-off curve.

    Parameters
    ----------
    epsilon, delta : float
    fpr : float, default=0.01
        Share of non-members that the test may accuse.
    """
    steep = math.exp(min(epsilon, 700.0)) * fpr + delta
    flat = 1.0 - math.exp(-epsilon) * max(0.0, 1.0 - delta - fpr)
    return min(1.0, steep, flat)


def gaussian_tpr(charges: Iterable[Mapping[str, Any]], fpr: float = FALSE_POSITIVES) -> float:
    """Return the same by the trade-off curve of all charges as Gaussian mechanisms.

    Their composition is one Gaussian mechanism with μ² = Σ count / noise². A Poisson sample only helps the
    patients, so that the bound holds for it, too.
    """
    squares = (charge["count"] / charge["event"]["noise_multiplier"] ** 2 for charge in charges)
    return _NORMAL.cdf(math.sqrt(sum(squares)) + _NORMAL.inv_cdf(fpr))


def _best_bound(manifest: Mapping[str, Any]) -> tuple[float, str]:
    by_pair = attacker_tpr(float(manifest["epsilon"]), float(manifest["delta"]))
    mechanisms = {charge["event"]["mechanism"] for charge in manifest["events"]}
    if mechanisms <= {"gaussian", "poisson_gaussian"}:
        by_noise = gaussian_tpr(manifest["events"])
        if by_noise < by_pair:
            return by_noise, "the trade-off curve of the Gaussian noise that was added"
    return by_pair, "the trade-off curve of the pair (ε, δ)"
