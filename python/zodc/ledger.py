"""The ledger: a cohort's total budget, and every run that was charged to it."""

from __future__ import annotations

import datetime
import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Self

from zodc._zodc import BudgetError
from zodc.ledger_store import LedgerError, Row, Store
from zodc.options import OptionError
from zodc.plan import Plan
from zodc.spending import check_charges, largest_left, least_cost, normal

__all__ = ["Ledger", "LedgerEntry", "LedgerError", "open_ledger"]

_LONGEST_NAME = 200


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    """One charge.

    Attributes
    ----------
    number : int
        From 1.
    run_id : str
        Of the run that it pays for.
    time : str
        UTC.
    charges : list of dict
        The plan's events: mechanism with noise multiplier and sampling rate, count, what for.
    neighbours, unit : str
        What the guarantee is about.
    plan : str
        SHA-256 of the whole plan.
    total : float
        ε of all charges so far, this one included, at the ledger's δ.
    accountant : str
        Which accountant found the total.
    head : str
        Hash of this entry and all before it.
    """

    number: int
    run_id: str
    time: str
    charges: list[dict[str, Any]]
    neighbours: str
    unit: str
    plan: str
    total: float
    accountant: str
    head: str


class Ledger:
    """A cohort's total budget in a file; runs are charged to it before they ask anything.

    The whole plan of a run is charged as its exact events, in one transaction, and stays charged whatever
    becomes of the run. What the entries cost together is found by the accountant at the ledger's δ, so their
    ε do not add up. Copies of the object share the file; pickling it is an error.

    Parameters
    ----------
    path : str or Path
        The file, which `Ledger.create` or ``zodc ledger create`` wrote once. Opening never creates it: a
        script run in another folder would find a new ledger there, with the whole budget. It must stay on its
        disk.

    Attributes
    ----------
    path : Path
    cohort : str
    epsilon, delta : float
    identifier : str
        Random, of this ledger alone.

    Raises
    ------
    LedgerError
        When there is no such file, or it is not trusted.

    Examples
    --------
    >>> import tempfile, zodc
    >>> path = tempfile.mkdtemp() + "/ward7.ledger"
    >>> ledger = zodc.Ledger.create(path, epsilon=2.0, delta=1e-6, cohort="ward 7, 2019-2024")
    >>> ledger.spent, len(ledger.entries)
    (0.0, 0)
    """

    def __init__(self, path: str | Path) -> None:
        self._store = Store(Path(path))
        opening = self._store.rows()[0].body
        self.path = self._store.path
        self.identifier: str = opening["ledger"]
        self.cohort: str = opening["cohort"]
        self.epsilon: float = opening["epsilon"]
        self.delta: float = opening["delta"]

    @classmethod
    def create(cls, path: str | Path, *, epsilon: float, delta: float, cohort: str | None = None) -> Self:
        """Create a cohort's ledger, once.

        Parameters
        ----------
        path : str or Path
            A new file on a disk of this machine.
        epsilon, delta : float
            The cohort's total budget.
        cohort : str, optional
            The custodian's name for the cohort; it is written into releases. Without it the ledger takes the
            file's name without its ending.

        Raises
        ------
        OptionError
            For a number or a name out of its range; nothing is written.
        LedgerError
            When the file is there already, or cannot be written.
        """
        store = Store(Path(path))
        opening = {
            "ledger": uuid.uuid4().hex,
            "cohort": _name("cohort", store.path.stem if cohort is None else cohort),
            "epsilon": normal("epsilon", epsilon),
            "delta": normal("delta", delta, below=1),
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        store.create(opening)
        return cls(path)

    @property
    def entries(self) -> list[LedgerEntry]:
        """All charges in order, read anew and checked."""
        return [_entry(row) for row in self._rows()[1:]]

    @property
    def head(self) -> str:
        """Hash of the last entry and all before it."""
        return self._rows()[-1].head

    @property
    def spent(self) -> float:
        """ε of all charges together, at the ledger's δ."""
        entries = self.entries
        return entries[-1].total if entries else 0.0

    @property
    def left(self) -> float:
        """ε, at the ledger's δ, of the largest run on all patients that fits by the native accountant."""
        return largest_left(_spent(self.entries), self.epsilon, self.delta)

    def charge(self, plan: Plan, *, run_id: str | None = None) -> LedgerEntry:
        """Charge a whole plan, before anything is asked.

        Parameters
        ----------
        plan : Plan
        run_id : str, optional
            A new one unless given; a run is charged once.

        Returns
        -------
        LedgerEntry

        Raises
        ------
        BudgetError
            When the budget that is left cannot pay for it; nothing is charged.
        LedgerError
            When the ledger is not trusted, is locked or cannot be written, or the plan does not fit to its
            entries; nothing is charged.
        """
        run_id = uuid.uuid4().hex if run_id is None else _name("run_id", run_id)
        asked = plan.to_dict()
        charges = check_charges(asked["charges"], asked["neighbours"])

        def entry(rows: list[Row]) -> dict[str, Any]:
            entries = [_entry(row) for row in self._own(rows)[1:]]
            self._check_kind(entries, asked, run_id)
            found, accountant = least_cost([*_spent(entries), *charges], self.epsilon, self.delta)
            if not found <= self.epsilon:
                raise self._exhausted(entries, charges, plan.epsilon, found)
            return {
                "run_id": run_id,
                "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "charges": charges,
                "neighbours": asked["neighbours"],
                "unit": asked["unit"],
                "plan": _digest(plan),
                "total": found,
                "accountant": accountant,
            }

        return _entry(self._store.append(entry))

    def has_charge(self, run_id: str, plan: Plan) -> bool:
        """Whether this very plan was charged for this run, so that resuming it costs nothing."""
        digest = _digest(plan)
        return any(entry.run_id == run_id and entry.plan == digest for entry in self.entries)

    def recompute(self) -> float:
        """Compose all charges anew; return their ε.

        Raises
        ------
        LedgerError
            When they cost more than the ledger's budget.
        """
        entries = self.entries
        found = least_cost(_spent(entries), self.epsilon, self.delta)[0] if entries else 0.0
        if not found <= self.epsilon:
            raise self._refusal(f"its charges cost epsilon {found:.6g}, more than its {self.epsilon:g}")
        return found

    def find(self, receipt: dict[str, Any] | None, plan: Plan) -> LedgerEntry:
        """Find the entry that paid for a release.

        Parameters
        ----------
        receipt : dict or None
            As :attr:`Release.ledger`.
        plan : Plan
            Of the release.

        Raises
        ------
        LedgerError
            When it was not charged here, or this ledger has lost its entry.
        """
        if not isinstance(receipt, dict) or receipt.get("ledger") != self.identifier:
            raise self._refusal("the release was not charged to this ledger")
        entries = self.entries
        place = receipt.get("entry")
        if not isinstance(place, int) or not 0 < place <= len(entries):
            raise self._refusal(f"it was rolled back: the release was entry {place}, it has {len(entries)}")
        entry = entries[place - 1]
        if receipt != self.receipt(entry):
            raise self._refusal(f"it was edited or rolled back: entry {place} is not that of the release")
        if entry.plan != _digest(plan):
            raise self._refusal(f"the release's plan is not the one charged as entry {place}")
        return entry

    def receipt(self, entry: LedgerEntry) -> dict[str, Any]:
        """Return what a release tells of its charge; the head is the witness that the ledger cannot forge."""
        return {
            "cohort": self.cohort,
            "ledger": self.identifier,
            "epsilon": self.epsilon,
            "delta": self.delta,
            "spent_epsilon": entry.total,
            "entry": entry.number,
            "run_id": entry.run_id,
            "head": entry.head,
        }

    def _rows(self) -> list[Row]:
        return self._own(self._store.rows())

    def _own(self, rows: list[Row]) -> list[Row]:
        if rows[0].body["ledger"] != self.identifier:
            raise self._refusal("another ledger was put in its place")
        return rows

    def _check_kind(self, entries: list[LedgerEntry], asked: dict[str, Any], run_id: str) -> None:
        for entry in entries:
            if entry.run_id == run_id:
                raise self._refusal(f"the run {run_id} was charged before; take a new run_id")
            for name in ("neighbours", "unit"):
                if getattr(entry, name) != asked[name]:
                    raise self._refusal(
                        f"its charges are for {name} {getattr(entry, name)!r}, the plan's for "
                        f"{asked[name]!r}; they do not compose: keep a ledger for each"
                    )

    def _exhausted(
        self, entries: list[LedgerEntry], charges: list[dict[str, Any]], epsilon: float, found: float
    ) -> BudgetError:
        left = largest_left(_spent(entries), self.epsilon, self.delta)
        alone, _ = least_cost(charges, epsilon, self.delta)
        return BudgetError(
            f"ledger '{self.path.name}': the run asks for epsilon {alone:.6g}, "
            f"{left:.6g} is left of the cohort's total of {self.epsilon:g} (all at delta "
            f"{self.delta:g}; with the charges so far it would come to {found:.6g}); lower epsilon, or stop"
        )

    def _refusal(self, reason: str) -> LedgerError:
        return LedgerError(f"ledger '{self._store.path.name}': {reason}")

    def __repr__(self) -> str:
        budget = f"epsilon={self.epsilon!r}, delta={self.delta!r}"
        return f"Ledger({str(self.path)!r}, {budget}, cohort={self.cohort!r})"

    def __sklearn_clone__(self) -> Self:
        return self

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Ledger cannot be pickled: a copy would spend the budget again; pass the ledger's path "
            "instead, which every process opens anew"
        )


def open_ledger(given: Any) -> Ledger | None:
    """Open the ledger that an option names.

    Raises
    ------
    OptionError, LedgerError
    """
    if given is None or isinstance(given, Ledger):
        return given
    if isinstance(given, str | Path):
        return Ledger(given)
    raise OptionError(
        f"The 'ledger' option must be None, a zodc.Ledger or a path. Got {type(given).__name__} instead."
    )


def _spent(entries: Sequence[LedgerEntry]) -> list[dict[str, Any]]:
    return [charge for entry in entries for charge in entry.charges]


def _entry(row: Row) -> LedgerEntry:
    return LedgerEntry(number=row.number, head=row.head, **row.body)


def _digest(plan: Plan) -> str:
    return hashlib.sha256(plan.json.encode()).hexdigest()


def _name(option: str, value: Any) -> str:
    is_text = isinstance(value, str) and value.strip() and value.isprintable()
    if not is_text or len(value) > _LONGEST_NAME:
        raise OptionError(
            f"The '{option}' option must be one line of text of at most {_LONGEST_NAME} characters. "
            f"Got {type(value).__name__} instead."
        )
    return str(value)
