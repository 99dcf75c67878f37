"""A ledger that was copied, cut, edited, put back, or left by a crash: refused, and nothing lost."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from ledgers import charged_ledger, ledger_path, refused, small_plan, state  # noqa: F401
from zodc import Ledger, LedgerError, Plan, ledger_store


def head_of(path: Path) -> Path:
    return path.with_name(path.name + ".head")


def sql(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


# ---- edited


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET body = '{}'",
        "DELETE FROM entries WHERE number = 2",
        "INSERT OR REPLACE INTO entries SELECT 2, body, head FROM entries WHERE number = 1",
        "INSERT INTO entries VALUES (7, '{}', '')",
        "INSERT INTO entries (body, head) VALUES ('{}', '')",
    ],
)
def test_the_file_itself_refuses_changes(ledger: Ledger, path: Path, statement: str) -> None:
    entries = ledger.entries
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        sql(path, statement)
    assert ledger.entries == entries


TRIGGERS = ("no_update", "no_delete", "in_order")
DROPS = [f"DROP TRIGGER {name}" for name in TRIGGERS]


def tamper(path: Path, *statements: str) -> None:
    """Change the rows as somebody would who knows SQLite, with the triggers put back afterwards."""
    sql(path, *DROPS, *statements, *ledger_store._DEFINITIONS[1:])


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (
            "UPDATE entries SET body = replace(body, '\"count\": 6', '\"count\": 1') WHERE number = 1",
            "edited",
        ),
        ("UPDATE entries SET body = replace(body, '2.0', '9.0') WHERE number = 0", "edited"),
        ("DELETE FROM entries WHERE number = 1", "edited"),
        ("DELETE FROM entries WHERE number = 2", "rolled back or cut: it has 1 charges, .* tells of 2"),
        ("DELETE FROM entries WHERE number > 0", "rolled back or cut"),
        ("DELETE FROM entries", "cut: it has no entries"),
        ("UPDATE entries SET head = 'x' WHERE number = 2", "edited"),
    ],
)
def test_edited_rows(ledger: Ledger, path: Path, plan: Plan, statement: str, words: str) -> None:
    tamper(path, statement)
    refused(ledger, plan, words)


def test_an_edit_with_all_hashes_made_anew_differs_from_the_witness(ledger, path, plan) -> None:
    with closing(sqlite3.connect(path)) as connection:
        bodies = [body for (body,) in connection.execute("SELECT body FROM entries ORDER BY number")]
    bodies[1] = bodies[1].replace('"count": 6', '"count": 1')
    rows: list[ledger_store.Row] = []
    for number, body in enumerate(bodies):
        rows.append(ledger_store.Row(number, {}, ledger_store._head(rows, body)))
    tamper(
        path,
        *(
            f"UPDATE entries SET body = '{body}', head = '{row.head}' WHERE number = {row.number}"
            for row, body in zip(rows, bodies, strict=True)
        ),
    )
    refused(ledger, plan, "disagree: one of them was edited or put back")


@pytest.mark.parametrize("statement", [*DROPS, "CREATE TABLE notes (text)", "PRAGMA application_id = 1"])
def test_a_changed_build(ledger: Ledger, path: Path, plan: Plan, statement: str) -> None:
    sql(path, statement)
    refused(ledger, plan, "edited|another program")


def test_a_newer_format(ledger: Ledger, path: Path, plan: Plan) -> None:
    sql(path, "PRAGMA user_version = 2")
    refused(ledger, plan, "its format is 2, this zodc knows 1; take a newer zodc")


# ---- of others


def test_the_file_of_another_program(path: Path) -> None:
    sql(path, "CREATE TABLE contacts (name)", "PRAGMA application_id = 99")
    before = state(path)
    with pytest.raises(LedgerError, match="belongs to another program"):
        Ledger(path)
    path.with_name("notes.txt").write_text("no database at all, and longer than a header of SQLite. " * 40)
    before = state(path)
    with pytest.raises(LedgerError, match="damaged, cut, or no ledger"):
        Ledger(path.with_name("notes.txt"))
    for there in (path, path.with_name("notes.txt"), path.parent):
        with pytest.raises(LedgerError, match="exists already"):
            Ledger.create(there, epsilon=1.0, delta=1e-5)
    assert state(path) == before


# ---- cut, copied, put back


@pytest.mark.parametrize("length", [0, 50, 4096, 5000])
def test_a_file_cut_short(ledger: Ledger, path: Path, plan: Plan, length: int) -> None:
    os.truncate(path, length)
    refused(ledger, plan, "or cut|damaged, cut, or no ledger")


def test_a_deleted_file(ledger: Ledger, path: Path, plan: Plan) -> None:
    path.unlink()
    refused(ledger, plan, "no such file, but its head file tells of charges")


def test_a_copy(ledger: Ledger, path: Path, plan: Plan) -> None:
    (path.parent / "other").mkdir()
    for other in (path.with_name("copy.ledger"), path.parent / "other" / "ward.ledger"):
        shutil.copy2(path, other)
        with pytest.raises(LedgerError, match="cannot be copied alone"):
            Ledger(other)
        shutil.copy2(head_of(path), head_of(other))
        with pytest.raises(LedgerError, match="is a copy of a ledger that was made as"):
            Ledger(other)
    os.link(path, path.with_name("link.ledger"))
    with pytest.raises(LedgerError, match="cannot be copied alone"):
        Ledger(path.with_name("link.ledger"))
    assert ledger.charge(plan).number == 3


def test_the_same_inode_on_another_disk_is_a_copy(
    ledger: Ledger, path: Path, plan: Plan, monkeypatch
) -> None:
    text = head_of(path).read_text()
    device = f'"device": {path.stat().st_dev}'
    assert device in text
    head_of(path).write_text(text.replace(device, '"device": 1'))
    # A machine that has started again: the path stands.
    assert len(Ledger(path).entries) == 2
    head_of(path).write_text(text.replace(device, '"device": 1').replace("ward.ledger", "old.ledger"))
    refused(ledger, plan, "is a copy")


def test_a_symbolic_link_is_the_ledger_and_a_move_with_its_head_file_is_none(ledger, path, plan) -> None:
    link = path.with_name("link.ledger")
    link.symlink_to(path)
    assert Ledger(link).charge(plan).number == 3 and Ledger(link).path == path
    path.rename(path.with_name("moved.ledger"))
    head_of(path).rename(path.with_name("moved.ledger.head"))
    moved = Ledger(path.with_name("moved.ledger"))
    assert moved.charge(plan).number == 4 and len(moved.entries) == 4


def test_an_old_state_put_back(ledger: Ledger, path: Path, plan: Plan) -> None:
    old = {file: file.read_bytes() for file in (path, head_of(path))}
    ledger.charge(plan)
    ledger.charge(plan)
    new = {file: file.read_bytes() for file in (path, head_of(path))}
    path.write_bytes(old[path])
    refused(ledger, plan, "rolled back or cut: it has 2 charges, its head file tells of 4")
    path.write_bytes(new[path])
    head_of(path).write_bytes(old[head_of(path)])
    refused(ledger, plan, "disagree: one of them was edited or put back")
    head_of(path).unlink()
    refused(ledger, plan, "head file 'ward.ledger.head' is missing or damaged")
    head_of(path).write_text("{}")
    refused(ledger, plan, "missing or damaged")
    head_of(path).write_bytes(new[head_of(path)])
    assert len(ledger.entries) == 4


def test_another_ledger_put_in_its_place(ledger: Ledger, path: Path, plan: Plan) -> None:
    other = Ledger.create(path.with_name("other.ledger"), epsilon=9.0, delta=1e-5)
    other.charge(plan)
    shutil.copy2(head_of(other.path), head_of(path))
    refused(ledger, plan, "head file 'ward.ledger.head' belongs to another ledger")
    os.replace(other.path, path)
    os.replace(head_of(other.path), head_of(path))
    with pytest.raises(LedgerError, match="another ledger was put in its place"):
        ledger.charge(plan)


# ---- crashes


@pytest.mark.parametrize("point", ["_publish", "_insert", "_stage"])
def test_a_crash_before_the_commit_charges_nothing(ledger, path, plan, monkeypatch, point: str) -> None:
    entries = ledger.entries
    if os.fork() == 0:
        place = ledger_store if point == "_insert" else ledger_store.Store
        monkeypatch.setattr(place, point, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        ledger.charge(plan)
    assert os.WTERMSIG(os.wait()[1]) == signal.SIGKILL
    assert ledger.entries == entries
    assert ledger.charge(plan).number == 3


def test_a_crash_between_commit_and_witness_keeps_the_charge(ledger, path, plan, monkeypatch) -> None:
    if os.fork() == 0:
        publish, calls = ledger_store.Store._publish, []

        def die_at_second(store, staged) -> None:
            calls.append(staged)
            if len(calls) == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            publish(store, staged)

        monkeypatch.setattr(ledger_store.Store, "_publish", die_at_second)
        ledger.charge(plan)
    assert os.WTERMSIG(os.wait()[1]) == signal.SIGKILL
    behind = head_of(path).read_bytes()
    # The charge stands, for readers and writers, and the witness catches up.
    assert len(ledger.entries) == 3 and head_of(path).read_bytes() == behind
    assert ledger.charge(plan).number == 4
    head_of(path).write_bytes(behind)
    refused(ledger, plan, "disagree")


def test_nobody_charges_between_the_commit_and_the_witness_of_another(
    ledger, path, plan, monkeypatch
) -> None:
    """Else a witness that comes late could take the place of a newer one."""
    (told, tells), (waits, ends) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        publish, calls = ledger_store.Store._publish, []

        def wait_at_second(store, staged) -> None:
            calls.append(staged)
            if len(calls) == 2:
                os.write(tells, b"x")
                os.read(waits, 1)
            publish(store, staged)

        monkeypatch.setattr(ledger_store.Store, "_publish", wait_at_second)
        ledger.charge(plan)
        os._exit(0)
    os.read(told, 1)
    monkeypatch.setattr(ledger_store, "_PATIENCE", 0.2)
    try:
        with pytest.raises(LedgerError, match="another process holds it"):
            ledger.charge(plan)
    finally:
        os.write(ends, b"x")
        os.waitpid(child, 0)
    assert ledger.charge(plan).number == 4 and len(ledger.entries) == 4
    for end in (told, tells, waits, ends):
        os.close(end)


def test_killed_at_random_times_it_is_never_broken(path: Path, plan: Plan) -> None:
    """A charge that was told of is never lost; one that was not told of is there wholly or not at all."""
    told = path.with_name("told")
    Ledger.create(path, epsilon=1e6, delta=1e-5)
    for round_ in range(12):
        child = os.fork()
        if child == 0:
            ledger = Ledger(path)
            while True:
                entry = ledger.charge(plan)
                with told.open("a") as file:
                    file.write(f"{entry.run_id}\n")
        time.sleep(0.05 + 0.013 * round_)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        runs = [entry.run_id for entry in Ledger(path).entries]
        lines = told.read_text().splitlines() if told.exists() else []
        assert set(lines) <= set(runs) and len(runs) <= len(lines) + round_ + 1
    assert len(runs) > 12
