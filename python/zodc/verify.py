"""Checks of a release by anyone: the budget by an independent accountant, the files against each other.

They show that a folder is consistent. Who may write the folder may also make up a consistent one, so that
the receiver compares the manifest's hash with the one that the custodian tells, or a signature of it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zodc import folder
from zodc._zodc import FEATURE_UNITS, DataError
from zodc.oracle import Oracle, consult
from zodc.plan import make_plan
from zodc.recipe import Recipe
from zodc.release import Release
from zodc.schema import Schema

__all__ = ["Verification", "verify"]

# Accountants agree up to their own rounding.
_TOLERANCE = 1e-6
# Figures of dp-accounting, which differ between its versions.
_FIGURES_TOLERANCE = 1e-3
# What a release may say as it likes: `verify` checks the hashes itself.
_FREE = ("created", "versions", "dp_accounting", "sha256")
_VERIFIED = (
    "verified: the plan costs what is claimed, and the files agree with it and each other; that they come "
    "from the custodian is for the hash of the manifest to show"
)
# What `Ledger.receipt` writes.
_RECEIPT = (
    *((name, str) for name in ("cohort", "ledger", "run_id", "head")),
    *((name, float) for name in ("epsilon", "delta", "spent_epsilon")),
    ("entry", int),
)


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
    ledger : dict or None
        The entry of the cohort's ledger that the release says it was charged as; the ledger itself proves it
        (`zodc ledger verify`).
    digest : str
        SHA-256 of the manifest, which holds those of all files.
    strangers : tuple of str
        Files in the folder that are no part of the release.
    """

    epsilon: float
    delta: float
    recomputed: Oracle
    faults: tuple[str, ...]
    ledger: dict[str, Any] | None = None
    digest: str
    strangers: tuple[str, ...] = ()

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
            f"ledger       {self._ledger_line}",
            f"manifest     SHA-256 {self.digest}",
            *(f"beside it    '{name}', which is no part of the release" for name in self.strangers),
            *(f"FAULT        {fault}" for fault in self.faults),
            _VERIFIED if self.ok else "NOT verified",
        ]
        return "\n".join(lines)

    @property
    def _ledger_line(self) -> str:
        if self.ledger is None:
            return "none; what other releases of the cohort have spent is not known"
        return (
            "cohort {cohort!r}, entry {entry}, epsilon {spent_epsilon:.6g} of {epsilon:g} spent at delta "
            "{delta:g}, head {head}".format(**self.ledger)
        )


def _receipt(manifest: dict[str, Any]) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the ledger's receipt if it is one, and what is wrong with it."""
    ledger = manifest.get("ledger")
    if ledger is None:
        return None, []
    if not isinstance(ledger, dict) or any(type(ledger.get(key)) is not kind for key, kind in _RECEIPT):
        return None, ["its ledger's receipt is malformed"]
    if not ledger["spent_epsilon"] <= ledger["epsilon"]:
        return ledger, ["its ledger has spent more than the cohort's budget"]
    alone = consult(manifest["events"], ledger["delta"], manifest["neighbours"]).tightest
    is_possible = alone <= ledger["spent_epsilon"] * (1 + _TOLERANCE)
    return ledger, [] if is_possible else ["it costs more than its ledger's receipt says was spent in all"]


def verify(path: str | Path) -> Verification:
    """Recompute the budget of a release, rebuild its plan from schema and recipe, and check its files.

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
    files = folder.hash_faults(Path(path), manifest)
    try:
        epsilon, delta = float(manifest["epsilon"]), float(manifest["delta"])
        recomputed, faults = _recomputed(manifest["events"], delta, manifest["neighbours"])
        faults += [*_budget_faults(manifest, recomputed), *_lattice_faults(manifest)]
        ledger, found = _receipt(manifest)
        faults += found
        if "schema.toml" not in files:
            faults += _plan_faults(manifest, Path(path) / "schema.toml")
        if not files:
            faults += _content_faults(Path(path), manifest, recomputed)
    except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise DataError(
            f"release, file '{folder.MANIFEST}': {error!s} is missing or malformed; save it anew"
        ) from None
    faults += [f"file '{name}': {fault}" for name, fault in files.items()]
    return Verification(
        epsilon=epsilon,
        delta=delta,
        recomputed=recomputed,
        faults=tuple(faults),
        ledger=ledger,
        digest=hashlib.sha256((Path(path) / folder.MANIFEST).read_bytes()).hexdigest(),
        strangers=tuple(folder.strangers(Path(path))),
    )


def _recomputed(events: list[dict[str, Any]], delta: float, neighbours: str) -> tuple[Oracle, list[str]]:
    """Bounds on ε; none, with the fault, for events that no accountant takes."""
    try:
        if not 0.0 < delta < 1.0:
            raise ValueError("delta must be above 0 and below 1")
        return consult(events, delta, neighbours), []
    except (ValueError, ArithmeticError) as error:
        unbounded = Oracle(rdp=math.inf, pld=None, exact=None)
        return unbounded, [f"its events cannot be accounted for: {error}"]


def _plan_faults(manifest: dict[str, Any], schema: Path) -> list[str]:
    """Name what differs from the plan that zodc makes of the release's schema, recipe and budget."""
    claimed, lattice = manifest["plan"], manifest["lattice"]
    try:
        rate = float(claimed["sampling_rate"])
        public = Schema.load(schema)
        plan = make_plan(
            public,
            Recipe.from_dict(manifest["recipe"]),
            # A certified plan was made for more than it claims; that it costs no more is recomputed.
            epsilon=claimed["epsilon"] if "certified" in claimed else manifest["epsilon"],
            delta=manifest["delta"],
            sampling_rate=rate,
            neighbours=claimed["neighbours"],
        ).to_dict()
    except (ValueError, TypeError, ArithmeticError) as error:
        return [f"its plan cannot be made anew: {error}"]
    round_lattice = {"noise_scale": plan["round_noise_scale"], "sensitivity": plan["round_sensitivity"]}
    rows = 1 if public.patient_id is None else public.patient_id.max_rows
    pairs = [
        ("plan", {name: value for name, value in claimed.items() if name != "certified"}, plan),
        ("events", manifest["events"], plan["charges"]),
        ("unit", manifest["unit"], plan["unit"]),
        ("rows_per_unit", manifest["rows_per_unit"], rows),
        ("neighbours", manifest["neighbours"], plan["neighbours"]),
        ("lattice", lattice, {"round": round_lattice, "marginals": plan["marginals"]}),
    ]
    return [
        f"its {name} ({', '.join(places)}) is not what zodc plans for its schema, recipe and budget"
        for name, found, expected in pairs
        if (places := sorted(set(_differences(found, expected, name))))
    ]


def _content_faults(path: Path, manifest: dict[str, Any], recomputed: Oracle) -> list[str]:
    """Name what the files of a release do not say of it together."""
    try:
        release = Release.load(path)
        tables = folder.table_faults(path, release.frame())
    except (DataError, ValueError, RuntimeError, LookupError) as error:
        return [f"its files do not make a release: {error}"]
    faults = [f"file '{name}': {fault}" for name, fault in tables.items()]
    said, own = (
        {k: v for k, v in claims.items() if k not in _FREE} for claims in (manifest, release.claims())
    )
    places = sorted(set(_differences(said, own, "manifest")))
    if places:
        faults.append(
            f"its manifest ({', '.join(places)}) is not what zodc writes for its files; save it anew"
        )
    figures = {"pld_epsilon": recomputed.tightest, "rdp_epsilon": recomputed.rdp}
    if list(_differences(manifest["dp_accounting"], figures, "", _FIGURES_TOLERANCE)):
        faults.append("its figures of dp-accounting are not those recomputed")
    marginals = json.loads(release.marginals)
    noise = manifest["plan"]["marginals"][-1]["noise_scale"] / FEATURE_UNITS / marginals["count"]
    if not math.isclose(marginals["share_sd"], min(noise, 0.5), rel_tol=_TOLERANCE):
        faults.append("file 'marginals.json': its noise is not that of the plan")
    return faults


def _differences(found: Any, expected: Any, place: str, tolerance: float = _TOLERANCE) -> Iterator[str]:
    """Places at which two JSON values differ by more than rounding."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in found.keys() | expected.keys():
            yield from _differences(found.get(key), expected.get(key), key, tolerance)
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for one, other in zip(found, expected, strict=True):
            yield from _differences(one, other, place, tolerance)
    elif isinstance(expected, float | int) and isinstance(found, float | int):
        if not math.isclose(found, expected, rel_tol=tolerance):
            yield place
    elif found != expected:
        yield place


def _budget_faults(manifest: dict[str, Any], recomputed: Oracle) -> list[str]:
    faults = []
    if manifest["private"] is not True:
        faults.append("the release is stamped NOT PRIVATE")
    if not recomputed.tightest <= manifest["epsilon"] * (1 + _TOLERANCE):
        faults.append(f"its events cost epsilon {recomputed.tightest:.6f}, more than it claims")
    certified = manifest["plan"].get("certified")
    if certified is not None and certified["target"] != manifest["epsilon"]:
        faults.append("its plan was certified for another epsilon than it claims")
    if not manifest["spent_epsilon"] <= manifest["epsilon"]:
        faults.append("it has spent more than its budget")
    if not recomputed.tightest <= manifest["spent_epsilon"] * (1 + _TOLERANCE):
        faults.append("its events cost more than it says was spent")
    return faults


def _lattice_faults(manifest: dict[str, Any]) -> list[str]:
    """Noise that the lattice gives must be at least that of the events, question by question."""
    lattice = manifest["lattice"]
    stages = [*lattice["marginals"], lattice["round"]]
    if not all(stage["sensitivity"] > 0 for stage in stages):
        return ["the sensitivity of its lattice is not above 0"]
    given = [stage["noise_scale"] / stage["sensitivity"] for stage in stages]
    charged = [charge["event"]["noise_multiplier"] for charge in manifest["events"]]
    if len(given) != len(charged) or any(not g >= c for g, c in zip(given, charged, strict=False)):
        return ["the noise of its lattice is less than its events say"]
    if not all(math.isfinite(noise) for noise in given):
        return ["the noise of its lattice is not a finite number"]
    return []
