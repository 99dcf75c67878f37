"""Audit of a release's settings: attacks on runs like it, on made-up patients.

Nothing here reads a patient. The settings (schema, plan, recipe) come from the release, and the patients of
the black-box attack are drawn from its noisy marginals and labelled by its teacher: post-processing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from zodc import learners
from zodc.audit_bounds import Bound
from zodc.audit_canaries import audit_canaries
from zodc.audit_mechanism import audit_rounds, claimed_epsilon
from zodc.audit_membership import Membership, audit_membership
from zodc.condenser import Condenser
from zodc.options import OptionError, count, public_seed, sklearn_seed
from zodc.phases import Progress
from zodc.plan import Plan
from zodc.release import Release
from zodc.schema import Schema
from zodc.tables import columns_of, to_frame

__all__ = ["Audit", "Finding", "audit", "made_up_patients"]

# What a table shows; a claim is refuted at 1 - 1e-6 only.
_CONFIDENCE = 0.95
# ε that stands for no noise: the attack must succeed there, or it proves nothing where it fails.
_NO_NOISE = 1e6
# With samples, counts of runs say little at the plan's δ.
_SAMPLED_DELTA = 0.05


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A lower bound beside what is claimed at the same δ."""

    attack: str
    claimed: float
    bound: Bound

    @property
    def holds(self) -> bool:
        """Whether the claim stands; a sound one is refuted once in a million audits."""
        return self.bound.certain <= self.claimed


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What attacks found on a release's settings.

    Attributes
    ----------
    epsilon, delta : float
        The guarantee that the release claims.
    findings : tuple of Finding
        Lower bounds on ε.
    membership : Membership
        Black-box attack on releases with these settings.
    without_noise : Membership
        The same attack on releases without noise: it must succeed.
    """

    epsilon: float
    delta: float
    findings: tuple[Finding, ...]
    membership: Membership
    without_noise: Membership

    @property
    def ok(self) -> bool:
        """Whether no attack refutes the claim."""
        return all(finding.holds for finding in self.findings)

    @property
    def attack_works(self) -> bool:
        """Whether the black-box attack succeeds without noise; else it says nothing of the noise."""
        return self.without_noise.auc.lower > 0.6

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers."""
        return {**asdict(self), "ok": self.ok, "attack_works": self.attack_works}

    def __rich__(self) -> Table:
        table = Table(
            title=f"Attacks on the settings, claimed epsilon {self.epsilon:g} at delta {self.delta:g}",
            caption="Bounds and intervals at 95 %; a claim is refuted at 99.9999 %. "
            "Chance: area 0.500, found 0.010.",
            title_justify="left",
            caption_justify="left",
        )
        for name in ("attack", "runs", "found", "claimed", "verdict"):
            table.add_column(name)
        for one in self.findings:
            found = f"epsilon at least {one.bound.epsilon:.2f}"
            claimed = f"{one.claimed:.2f} at delta {one.bound.delta:g}"
            table.add_row(
                one.attack, str(one.bound.runs), found, claimed, "holds" if one.holds else "REFUTED"
            )
        for name, attacked in (("", self.membership), (", no noise", self.without_noise)):
            verdict = "" if not name else "attack works" if self.attack_works else "ATTACK TOO WEAK"
            table.add_row(f"membership{name}", str(attacked.releases), f"area {attacked.auc}", "", verdict)
            table.add_row("", "", f"found {attacked.found}", "", "")
        return table

    def __str__(self) -> str:
        console = Console(width=110, no_color=True)
        with console.capture() as capture:
            console.print(self)
        return capture.get()


def made_up_patients(release: Release, n_patients: int, seed: int) -> pd.DataFrame:
    """Draw patients from a release's noisy marginals, labelled by its teacher. Free: no patient is asked.

    Parameters
    ----------
    release : Release
    n_patients : int
    seed : int

    Returns
    -------
    DataFrame
        That fits the release's schema; a patient_id is the number of the row.
    """
    decoder, schema = release.decoder, release.schema
    calibrated = 1.0
    rows = decoder.labelled_rows(release.population(n_patients, seed), n_patients, calibrated)
    columns = columns_of(decoder.table(rows), schema, flags=False)
    frame: pd.DataFrame = to_frame(columns)
    if schema.patient_id is not None:
        frame[schema.patient_id.name] = np.arange(len(frame))
    return frame


def audit(
    release: Release | str | Path,
    *,
    runs: int = 500,
    releases: int = 5,
    canaries: int = 1000,
    patients: int = 100,
    random_state: Any = None,
    progress: Progress | None = None,
) -> Audit:
    """Attack runs with the settings of a release, on made-up patients. Costs no budget.

    Parameters
    ----------
    release : Release or path
        Whose schema, plan and recipe are audited.
    runs : int
        Runs of all rounds on each of the two cohorts of the worst pair.
    releases : int
        Releases attacked for membership, with noise and without; as many more train the attack.
    canaries : int
        Canaries of the one-run audit.
    patients : int
        Members of an attacked release; few, which favours the attacker.
    random_state : None, int or NumPy generator
        Fixes the public choices; the noise is never seeded.
    progress : callable, optional
        Called with the phase, the steps done, and their number.

    Returns
    -------
    Audit

    Raises
    ------
    OptionError
        For an option out of its range.
    OSError, DataError
        When there is no release.
    """
    for name, value, least in (
        ("runs", runs, 20),
        ("releases", releases, 2),
        ("canaries", canaries, 20),
        ("patients", patients, 10),
    ):
        if count(name, value) < least:
            raise OptionError(f"The '{name}' option must be at least {least}. Got {value!r} instead.")
    found = release if isinstance(release, Release) else Release.load(release)
    seed = sklearn_seed(public_seed(random_state))
    findings = (_worst_pair(found.schema, found.plan, runs), _canaries(found, canaries, seed, progress))
    pool = made_up_patients(found, 5 * patients, seed)

    def attack(epsilon: float) -> Membership:
        return audit_membership(
            _condensers(found, epsilon),
            pool,
            patients=patients,
            releases=releases,
            seed=seed,
            progress=progress,
        )

    return Audit(
        epsilon=found.plan.epsilon,
        delta=found.plan.delta,
        findings=findings,
        membership=attack(found.plan.epsilon),
        without_noise=attack(_NO_NOISE),
    )


def _worst_pair(schema: Schema, plan: Plan, runs: int) -> Finding:
    """Audit all rounds; with two directions, which have the noise of all and are quicker to draw."""
    quick = Plan(json.dumps({**plan.to_dict(), "directions": min(2, plan.directions)}))
    asks_all = plan.sampling_rate >= 1.0
    delta = plan.delta if asks_all else _SAMPLED_DELTA
    bound = audit_rounds(schema, quick, runs=runs, delta=delta, confidence=_CONFIDENCE, gaussian=asks_all)
    return Finding(attack="worst pair", claimed=claimed_epsilon(plan, delta, what="rounds"), bound=bound)


def _canaries(release: Release, canaries: int, seed: int, progress: Progress | None) -> Finding:
    plan = release.plan
    bound = audit_canaries(
        release.schema,
        plan,
        release.recipe,
        canaries=canaries,
        seed=seed,
        confidence=_CONFIDENCE,
        progress=progress,
    )
    return Finding(attack="canaries, one run", claimed=plan.spent_epsilon, bound=bound)


def _condensers(release: Release, epsilon: float) -> Callable[[], Condenser]:
    """Condensers with the settings of a release. The teacher of the task stands in for Python models."""
    teacher = learners.teacher(release.schema.task, c=release.recipe.teacher_c)
    native = teacher.describe()[0]["kind"]
    plan = release.plan

    def make() -> Condenser:
        return Condenser(
            release.schema,
            learner=native,
            epsilon=epsilon,
            delta=plan.delta,
            n_rows=len(release.teacher),
            sampling_rate=plan.sampling_rate,
            neighbours="replace_one" if plan.to_dict()["neighbours"] == "replace_one" else "add_remove",
            recipe=release.recipe,
        )

    return make
