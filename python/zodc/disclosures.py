"""What a manifest discloses besides its numbers, after NIST SP 800-226: the same words for every release."""

from __future__ import annotations

from typing import Any

__all__ = ["disclosures", "not_covered"]

_OTHER_RELEASE = "what other releases from the same patients have spent: their budgets add up"
_OUTSIDE_LEDGER = "what releases from the same patients have spent that were not charged to the ledger"
_AFTER_A_LOOK = (
    "the ledger's total, where a run that asks random samples was planned after an earlier release was seen"
)
_NOT_COVERED = (
    "the schema and the options: they count as public, and must not be chosen by looking at the patients",
    "scores on held-out patients, such as those of `zodc evaluate`",
    "who can see the machine on which the patients were read, its memory, or how long the run took",
    "that a run was made, or ended in an error about the file as a whole",
    "what is true of a group of patients with or without any one of them",
)
_PYTHON_MODEL = (
    "that the Python model scores each patient by that patient's row alone (probed on public rows only)",
    "what the Python model itself prints, stores or sends of the patients' rows that it scored",
)


def disclosures(*, is_private: bool, asks_python: bool) -> dict[str, Any]:
    """Say who is trusted, what was chosen from the data, and what is done after the noise.

    Parameters
    ----------
    is_private : bool
        Whether the noise came from the operating system.
    asks_python : bool
        Whether a Python model scored patients.
    """
    return {
        "trust_model": "central: one custodian holds the patients' rows and runs zodc; no reader is trusted",
        "data_holder": "the custodian; no row leaves the machine"
        + (", but to the workers that the custodian chose for the Python model" if asks_python else ""),
        "randomness": "noise from the operating system's generator, never seeded; all else is public"
        if is_private
        else "seeded noise, which anyone can draw again: a test, NOT PRIVATE",
        "data_dependent_choices": "none: questions, noise and settings were fixed before the data were read, "
        "and later questions depend on earlier noisy answers alone",
        "post_processing": "rows, report and all that is made of this release: it costs nothing more",
        "what_is_released": "rows, teacher rows, noisy marginals with a noisy count, noisy trace, "
        "this manifest: under one budget",
    }


def not_covered(*, asks_python: bool, has_ledger: bool) -> list[str]:
    """List what the guarantee says nothing about."""
    return [
        *((_OUTSIDE_LEDGER, _AFTER_A_LOOK) if has_ledger else (_OTHER_RELEASE,)),
        *_NOT_COVERED,
        *(_PYTHON_MODEL if asks_python else ()),
    ]
