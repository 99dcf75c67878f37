"""Checks of a release by anyone: the budget by an independent accountant, and the files by their hashes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zodc import folder
from zodc._zodc import DataError
from zodc.oracle import Oracle, consult

__all__ = ["Verification", "verify"]

# Accountants agree up to their own rounding.
_TOLERANCE = 1e-6


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What was found.

    Attributes
    ----------
    epsilon, delta : float
        The guarantee that the release claims.
    recomputed : Oracle
        Upper bounds on ε by `dp-accounting`, from the events of the manifest.
    faults : tuple of str
        What does not hold; empty when the claim is right.
    """

    epsilon: float
    delta: float
    recomputed: Oracle
    faults: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether everything holds."""
        return not self.faults

    def __str__(self) -> str:
        found = self.recomputed
        others = (("PLD", found.pld), ("exact", found.exact))
        tighter = "".join(f", {name} {value:.6f}" for name, value in others if value is not None)
        lines = [
            f"claimed      epsilon {self.epsilon:g} at delta {self.delta:g}",
            f"recomputed   epsilon {found.tightest:.6f} (RDP {found.rdp:.6f}{tighter})",
            *(f"FAULT        {fault}" for fault in self.faults),
            "verified: the claim holds and every file is as released" if self.ok else "NOT verified",
        ]
        return "\n".join(lines)


def verify(path: str | Path) -> Verification:
    """Recompute the budget of a release from its manifest alone, and check its files.

    Parameters
    ----------
    path : str or Path
        A release folder.

    Returns
    -------
    Verification

    Raises
    ------
    OSError, DataError
        When there is no release, or its manifest is incomplete.
    """
    manifest = folder.read_manifest(Path(path))
    try:
        epsilon, delta = float(manifest["epsilon"]), float(manifest["delta"])
        recomputed = consult(manifest["events"], delta)
        faults = [*_budget_faults(manifest, recomputed), *_lattice_faults(manifest)]
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"release, file '{folder.MANIFEST}': {error!s} is missing or malformed; save it anew"
        ) from None
    files = folder.hash_faults(Path(path), manifest)
    faults += [f"file '{name}': {fault}" for name, fault in files.items()]
    return Verification(epsilon=epsilon, delta=delta, recomputed=recomputed, faults=tuple(faults))


def _budget_faults(manifest: dict[str, Any], recomputed: Oracle) -> list[str]:
    faults = []
    if manifest["private"] is not True:
        faults.append("the release is stamped NOT PRIVATE")
    if not recomputed.tightest <= manifest["epsilon"] * (1 + _TOLERANCE):
        faults.append(f"its events cost epsilon {recomputed.tightest:.6f}, more than it claims")
    if not manifest["spent_epsilon"] <= manifest["epsilon"]:
        faults.append("it has spent more than its budget")
    return faults


def _lattice_faults(manifest: dict[str, Any]) -> list[str]:
    """Noise that the lattice gives must be at least that of the events, question by question."""
    lattice = manifest["lattice"]
    given = [stage["noise_scale"] / stage["sensitivity"] for stage in lattice["marginals"]]
    given.append(lattice["round"]["noise_scale"] / lattice["round"]["sensitivity"])
    charged = [charge["event"]["noise_multiplier"] for charge in manifest["events"]]
    if len(given) != len(charged) or any(not g >= c for g, c in zip(given, charged, strict=False)):
        return ["the noise of its lattice is less than its events say"]
    if not all(math.isfinite(noise) for noise in given):
        return ["the noise of its lattice is not a finite number"]
    return []
