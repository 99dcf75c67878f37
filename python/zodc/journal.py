"""Runs that can be resumed: what a run declares of itself, and the journal of its noisy answers.

A run is known again by what its custodian declared, never by its patients: data that changed in between
cannot be noticed, and must not be.
"""

from __future__ import annotations

import errno
import json
import uuid
from dataclasses import dataclass
from importlib.metadata import version
from numbers import Integral
from pathlib import Path
from typing import Any, Self

from zodc._zodc import BudgetError, Cohort, Journal, JournalError
from zodc.learners import Objective
from zodc.ledger import Ledger, LedgerEntry, LedgerError
from zodc.options import OptionError, public_seed
from zodc.plan import Plan
from zodc.recipe import Recipe
from zodc.schema import Schema

__all__ = ["JournalError", "Run", "declare", "journal_of"]

# These follow from others, and are named only where no other differs.
_FOLLOWING = ("recipe", "plan")


def journal_of(out: Path) -> Path:
    """Place of the journal of a run that will be saved as `out`."""
    return out.with_name(out.name + ".journal")


def declare(
    schema: Schema,
    objective: Objective,
    recipe: Recipe,
    plan: Plan,
    *,
    mode: str,
    n_rows: int,
    ledger: Ledger | None,
) -> dict[str, Any]:
    """Everything public that must be the same when a run is resumed."""
    return {
        "zodc": version("zodc"),
        "schema": json.loads(schema.to_json()),
        "learner": objective.describe(),
        "mode": mode,
        "n_rows": n_rows,
        "epsilon": plan.epsilon,
        "delta": plan.delta,
        "neighbours": plan.neighbours,
        "sampling_rate": plan.sampling_rate,
        "rounds": plan.rounds,
        "directions": plan.directions,
        "marginal_share": recipe.marginal_share,
        "ledger": None if ledger is None else {"cohort": ledger.cohort, "identifier": ledger.identifier},
        "recipe": recipe.to_dict(),
        "plan": plan.to_dict(),
    }


@dataclass(kw_only=True, repr=False)
class Run:
    """One private run.

    Attributes
    ----------
    run_id : str
        Random and public; the ledger knows the run by it.
    seed : int
        Of the public randomness.
    """

    run_id: str
    seed: int
    declared: dict[str, Any]
    path: Path | None
    opened: Journal | None
    cohort: Cohort | None = None

    @classmethod
    def begin(cls, path: str | Path | None, declared: dict[str, Any], random_state: Any) -> Self:
        """Begin a run, with a journal if `path` says where.

        Raises
        ------
        OSError
            When a journal is there already.
        """
        place = None if path is None else Path(path)
        if place is not None and (place.exists() or place.is_symlink()):
            raise FileExistsError(
                errno.EEXIST, "it holds a run that may be paid for: resume it, or name another", str(place)
            )
        seed = public_seed(random_state)
        return cls(run_id=uuid.uuid4().hex, seed=seed, declared=declared, path=place, opened=None)

    @classmethod
    def resume(cls, path: str | Path | None, declared: dict[str, Any], random_state: Any) -> Self:
        """Take up a run that was cut short.

        Raises
        ------
        OptionError
            When the run was begun with other options, which it names.
        JournalError, OSError
            When the journal is damaged, in use, or cannot be read.
        """
        if path is None:
            raise OptionError("The 'resume' option must come with a journal. Got none.")
        wanted = public_seed(random_state) if isinstance(random_state, Integral) else None
        journal = Journal.open(path)
        try:
            header = json.loads(journal.header)
            run_id, seed, begun = str(header["run_id"]), int(header["seed"]), dict(header["declared"])
        except (ValueError, KeyError, TypeError):
            journal.close()
            raise JournalError(f"journal '{path}': its header is not zodc's; begin a new run") from None
        differing = _differing(begun, json.loads(json.dumps(declared)))
        if wanted is not None and wanted != seed:
            differing.append("random_state")
        if differing:
            journal.close()
            names = ", ".join(f"'{name}'" for name in differing)
            raise OptionError(
                f"The 'resume' option must come with what the run was begun with. Got another {names} than "
                f"journal '{path}' has; state it as it was, or begin a new run under another name."
            )
        return cls(run_id=run_id, seed=seed, declared=declared, path=Path(path), opened=journal)

    def start(self, cohort: Cohort, ledger: Ledger | None, plan: Plan) -> dict[str, Any] | None:
        """Put the run on disk, then charge it unless it is charged, before the first question.

        Returns
        -------
        dict or None
            The ledger's receipt.
        """
        self._keep(cohort)
        if ledger is None:
            return None
        if self.opened is not None and ledger.has_charge(self.run_id, plan):
            return ledger.receipt(_entry(ledger, self.run_id))
        try:
            return ledger.receipt(ledger.charge(plan, run_id=self.run_id))
        except (BudgetError, LedgerError):
            # Neither charged nor asked: a journal of nothing would only stand in the way.
            if self.path is not None and self.opened is None:
                self.path.unlink()
            raise

    def close(self) -> None:
        """Let the journal go: a traceback that is kept, as notebooks do, must not hold its lock."""
        if self.opened is not None:
            self.opened.close()
        if self.cohort is not None:
            self.cohort.end()

    def _keep(self, cohort: Cohort) -> None:
        self.cohort = cohort
        if self.path is None:
            return
        journal = self.opened
        if journal is None:
            self.path.absolute().parent.mkdir(parents=True, exist_ok=True)
            header = {"run_id": self.run_id, "seed": self.seed, "declared": self.declared}
            journal = Journal.create(self.path, json.dumps(header), cohort.is_private)
        cohort.keep_journal(journal)


def _differing(begun: dict[str, Any], now: dict[str, Any]) -> list[str]:
    found = [name for name in now if begun.get(name) != now[name]]
    return [name for name in found if name not in _FOLLOWING] or found


def _entry(ledger: Ledger, run_id: str) -> LedgerEntry:
    return next(entry for entry in ledger.entries if entry.run_id == run_id)
