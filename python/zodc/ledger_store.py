"""The file of a ledger: an append-only SQLite table whose rows are chained by hashes, with a witness beside.

The witness (`<ledger>.head`) holds how many entries there are and the hash of the last, so that a ledger that
was cut, edited, copied or put back to an earlier state is refused. It is replaced after each commit and under
the same file lock; after a crash between the two it is one entry behind, which is mended.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from zodc._zodc import BudgetError

__all__ = ["LedgerError", "Row", "Store"]

# "zodc", in the header of the file.
_APPLICATION_ID = 0x7A6F6463
_FORMAT = 1
# Seconds to wait for another process.
_PATIENCE = 30.0
_MOUNTS = Path("/proc/self/mountinfo")

_DEFINITIONS = (
    "CREATE TABLE entries (number INTEGER PRIMARY KEY, body TEXT NOT NULL, head TEXT NOT NULL)",
    "CREATE TRIGGER no_update BEFORE UPDATE ON entries "
    "BEGIN SELECT RAISE(ABORT, 'a ledger is append-only'); END",
    "CREATE TRIGGER no_delete BEFORE DELETE ON entries "
    "BEGIN SELECT RAISE(ABORT, 'a ledger is append-only'); END",
    # Also against INSERT OR REPLACE, which deletes without the trigger above.
    "CREATE TRIGGER in_order BEFORE INSERT ON entries WHEN NEW.number <> (SELECT count(*) FROM entries) "
    "BEGIN SELECT RAISE(ABORT, 'a ledger is append-only'); END",
)
# Locks of these do not hold between machines, or they may show an old state.
_NETWORKED = re.compile(
    r"(nfs|cifs|smb|9p|afs|ceph|lustre|gluster|gpfs|beegfs|orangefs|pvfs|davfs|ncp|coda|virtiofs|vboxsf"
    r"|vmhgfs|prl_fs|drvfs|fuse\.(?!fuse-overlayfs$|gocryptfs$|encfs$)).*"
)


class LedgerError(BudgetError):
    """The ledger cannot be used or trusted. Nothing was charged."""


class _HeldError(LedgerError):
    """Another process holds the file."""


@dataclass(frozen=True)
class Row:
    """An entry as it stands in the file; number 0 opens the ledger."""

    number: int
    body: dict[str, Any]
    head: str


@dataclass(frozen=True)
class _Witness:
    """What the head file says: which ledger, at which place, how long, and the hash of its last entry."""

    ledger: str
    entries: int
    head: str
    path: str
    device: int
    inode: int


class Store:
    """A ledger's file. Every call opens and closes it, so that forks and threads share nothing.

    Parameters
    ----------
    path : Path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._witness = self.path.with_name(self.path.name + ".head")

    @property
    def is_there(self) -> bool:
        """Whether there is a file, or the witness of one."""
        return self._has_bytes or self._read_witness(entries=2) is not None

    def create(self, opening: dict[str, Any]) -> None:
        """Write a new ledger: whole or not at all.

        Raises
        ------
        LedgerError
            When there is one, or it cannot be written.
        """
        self._refuse_network()
        if self.is_there:
            raise self._refusal("it exists already; open it, or name another file")
        was_there, is_ours = self.path.exists(), False
        try:
            with self._transaction("IMMEDIATE", mode="rwc") as connection:
                # Another process may have been faster.
                if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    raise self._refusal("another process has just created it; open it")
                is_ours = True
                for definition in _DEFINITIONS:
                    connection.execute(definition)
                connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {_FORMAT}")
                row = _insert(connection, [], opening)
                # Before the commit: a witness of no charge says nothing against creating the ledger again.
                self._publish(self._stage([row]))
                connection.execute("COMMIT")
        except BaseException as error:
            # An empty file is what a full disk leaves of the first write.
            is_left_over = not (was_there or self._has_bytes or isinstance(error, _HeldError))
            if is_ours or is_left_over:
                self.path.unlink(missing_ok=True)
                self._witness.unlink(missing_ok=True)
            raise

    def rows(self) -> list[Row]:
        """Read all entries, checked against each other and the witness.

        Raises
        ------
        LedgerError
            With the reason why the ledger is not trusted.
        """
        self._refuse_network()
        with self._transaction("DEFERRED") as connection:
            return self._read(connection)

    def append(self, compose: Callable[[list[Row]], dict[str, Any]]) -> Row:
        """Add an entry, made from all earlier ones, in one transaction.

        Parameters
        ----------
        compose : callable
            Makes the entry from the rows so far. What it raises is passed on, and nothing is added.

        Raises
        ------
        LedgerError
            With the reason why nothing was added.
        """
        self._refuse_network()
        with self._transaction("IMMEDIATE") as connection:
            rows = self._read(connection)
            # A crash may have left it one behind; never let it fall back further.
            self._publish(self._stage(rows))
            row = _insert(connection, rows, compose(rows))
            # Written before the commit, so that a full disk is found while nothing is charged.
            staged = self._stage([*rows, row])
            try:
                connection.execute("COMMIT")
            except BaseException:
                staged.unlink(missing_ok=True)
                raise
            # The charge stands. A witness that is one behind is mended by the next call.
            with suppress(OSError):
                self._publish(staged)
        return row

    @property
    def _has_bytes(self) -> bool:
        return self.path.exists() and (not self.path.is_file() or self.path.stat().st_size > 0)

    @contextmanager
    def _transaction(self, kind: str, mode: str = "rw") -> Iterator[sqlite3.Connection]:
        """Open, begin, and roll back what is not committed; the lock is held until the end."""
        if mode == "rw" and not self._has_bytes:
            reason = "it is empty" if self.path.exists() else "there is no such file"
            if self._read_witness(entries=2):
                raise self._refusal(f"{reason}, but its head file tells of charges: it was deleted or cut")
            raise self._refusal(f"{reason}; create it once with zodc ledger create, or zodc.Ledger.create")
        uri = f"{self.path.as_uri()}?mode={mode}"
        try:
            with closing(
                sqlite3.connect(uri, uri=True, timeout=_PATIENCE, isolation_level=None)
            ) as connection:
                # EXTRA is FULL, and syncs the folder after the journal is removed: else a power cut could
                # bring the journal back and take a committed charge out again.
                connection.execute("PRAGMA synchronous = EXTRA")
                connection.execute(f"BEGIN {kind}")
                if kind != "DEFERRED":
                    # Keeps the lock beyond the commit, until the witness is in its place. Not before BEGIN:
                    # those who wait for it would keep their shared locks, and block each other.
                    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
                yield connection
        except sqlite3.Error as error:
            is_held = _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            refusal = _HeldError if is_held else LedgerError
            raise refusal(str(self._refusal(_reason(error)))) from None
        except OSError as error:
            raise self._refusal(f"{error.strerror or 'its folder cannot be written'}") from None

    def _read(self, connection: sqlite3.Connection) -> list[Row]:
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if application != _APPLICATION_ID:
            raise self._refusal("it belongs to another program")
        if version != _FORMAT:
            raise self._refusal(f"its format is {version}, this zodc knows {_FORMAT}; take a newer zodc")
        definitions = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
        if {text for (text,) in definitions} != set(_DEFINITIONS):
            raise self._refusal("it was edited: its table or its triggers are not those of a ledger")
        rows = self._chained(connection.execute("SELECT number, body, head FROM entries ORDER BY number"))
        self._check_witness(rows)
        return rows

    def _chained(self, records: Iterator[tuple[Any, ...]]) -> list[Row]:
        rows: list[Row] = []
        for number, body, head in records:
            if number != len(rows) or head != _head(rows, body):
                raise self._refusal(
                    f"it was edited or cut: entry {len(rows)} does not follow from those before"
                )
            rows.append(Row(number, json.loads(body), head))
        if not rows:
            raise self._refusal("it was cut: it has no entries")
        return rows

    def _check_witness(self, rows: list[Row]) -> None:
        witness = self._read_witness()
        name = self._witness.name
        if witness is None:
            raise self._refusal(
                f"its head file '{name}' is missing or damaged: a ledger cannot be copied alone"
            )
        if witness.ledger != rows[0].body["ledger"]:
            raise self._refusal(f"its head file '{name}' belongs to another ledger")
        here = self.path.stat()
        # Devices are renumbered when a machine starts, and paths differ between mounts: one must stand.
        is_same_place = here.st_dev == witness.device or str(self.path) == witness.path
        if here.st_ino != witness.inode or not is_same_place:
            raise self._refusal(f"it is a copy of a ledger that was made as '{witness.path}'; use that one")
        behind = len(rows) - witness.entries
        if behind < 0:
            raise self._refusal(
                f"it was rolled back or cut: it has {len(rows) - 1} charges, "
                f"its head file tells of {witness.entries - 1}"
            )
        if rows[witness.entries - 1].head != witness.head or behind > 1:
            raise self._refusal(f"it and its head file '{name}' disagree: one of them was edited or put back")

    def _read_witness(self, entries: int = 0) -> _Witness | None:
        """Read the witness, if it is whole and tells of at least so many entries."""
        try:
            found = _Witness(**json.loads(self._witness.read_text(encoding="utf-8")))
            return found if found.entries >= max(entries, 1) else None
        except (OSError, ValueError, TypeError):
            return None

    def _stage(self, rows: list[Row]) -> Path:
        """Write the next witness beside its place."""
        here = self.path.stat()
        witness = _Witness(
            ledger=rows[0].body["ledger"],
            entries=len(rows),
            head=rows[-1].head,
            path=str(self.path),
            device=here.st_dev,
            inode=here.st_ino,
        )
        staged = self._witness.with_name(f"{self._witness.name}.{secrets.token_hex(4)}")
        try:
            with staged.open("x", encoding="utf-8") as file:
                file.write(json.dumps(asdict(witness)) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            staged.unlink(missing_ok=True)
            raise
        return staged

    def _publish(self, staged: Path) -> None:
        os.replace(staged, self._witness)
        folder = os.open(self._witness.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _refuse_network(self) -> None:
        kind = filesystem_type(self.path.parent)
        if kind is None:
            raise self._refusal("its file system cannot be told; keep it on a disk of this machine")
        if _NETWORKED.fullmatch(kind):
            raise self._refusal(
                f"it is on a network file system ({kind}), where locks do not hold; keep it on a local disk"
            )

    def _refusal(self, reason: str) -> LedgerError:
        return LedgerError(f"ledger '{self.path.name}': {reason}")


def filesystem_type(folder: Path) -> str | None:
    """Find the type of the file system that holds a folder, from the kernel's table of mounts."""
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    found, depth = None, 0
    for line in lines:
        left, _, right = line.partition(" - ")
        point = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), left.split()[4]))
        # A later mount on the same point covers the earlier.
        if folder.is_relative_to(point) and len(point.parts) >= depth:
            found, depth = right.split()[0], len(point.parts)
    return found


def _head(rows: list[Row], body: str) -> str:
    previous = rows[-1].head if rows else "zodc ledger"
    return hashlib.sha256(f"{previous}\n{body}".encode()).hexdigest()


def _insert(connection: sqlite3.Connection, rows: list[Row], body: dict[str, Any]) -> Row:
    text = json.dumps(body, sort_keys=True, ensure_ascii=False, allow_nan=False)
    row = Row(len(rows), body, _head(rows, text))
    connection.execute("INSERT INTO entries VALUES (?, ?, ?)", (row.number, text, row.head))
    return row


def _code(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _reason(error: sqlite3.Error) -> str:
    match _code(error):
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return "another process holds it; try again when that has ended"
        case sqlite3.SQLITE_FULL:
            return "the disk is full; nothing was charged"
        case sqlite3.SQLITE_IOERR:
            return "the disk cannot be read or written, or is full; nothing was charged"
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return "it or its folder cannot be written; nothing was charged"
        case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
            return "it is damaged, cut, or no ledger"
    return f"it cannot be used ({error})"
