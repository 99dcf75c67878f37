"""A ledger that was copied, cut, edited, put back, locked or cannot be written: refused, and nothing lost."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from test_ledger import condenser, state
from zodc import Ledger, LedgerError, Plan, ledger_store


@pytest.fixture(scope="module")
def plan() -> Plan:
    return condenser(epsilon=0.2).plan()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ward.ledger"


@pytest.fixture
def ledger(path: Path, plan: Plan) -> Ledger:
    """Give a ledger with two charges."""
    ledger = Ledger.create(path, epsilon=2.0, delta=1e-5, cohort="ward 7")
    ledger.charge(plan)
    ledger.charge(plan)
    return ledger


def head_of(path: Path) -> Path:
    return path.with_name(path.name + ".head")


def sql(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def refused(ledger: Ledger, plan: Plan, words: str) -> None:
    """Whatever is done with it, it is refused and left as it is."""
    before = state(ledger.path)
    actions = [
        lambda: Ledger(ledger.path),
        lambda: ledger.charge(plan),
        lambda: ledger.entries,
        lambda: ledger.has_charge("x", plan),
    ]
    for act in actions:
        with pytest.raises(LedgerError, match=words):
            act()
    assert state(ledger.path) == before


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


# ---- what the machine refuses


def test_a_ledger_that_another_process_holds(ledger: Ledger, path: Path, plan: Plan, monkeypatch) -> None:
    monkeypatch.setattr(ledger_store, "_PATIENCE", 0.1)
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        refused(ledger, plan, "another process holds it; try again when that has ended")
    assert len(ledger.entries) == 2


@contextmanager
def file_limit(size: int):
    """Let no file of this process grow beyond a size: for those who write it is a full disk."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


@pytest.mark.parametrize("size", [0, 100, 600, 3000, 8192, 10000])
def test_a_full_disk_in_the_middle_of_a_charge(path: Path, size: int) -> None:
    ledger = Ledger.create(path, epsilon=1e6, delta=1e-5)
    long = condenser().plan().to_dict()
    # Big enough for new pages of the database.
    long["charges"] = long["charges"] * 60
    plan = Plan(json.dumps(long))
    ledger.charge(condenser(epsilon=0.1).plan())
    entries = ledger.entries
    with file_limit(size), pytest.raises(LedgerError, match=r"disk|File too large"):
        ledger.charge(plan)
    assert ledger.entries == entries
    assert {file for file in os.listdir(path.parent) if "journal" not in file} == {
        path.name,
        path.name + ".head",
    }
    assert ledger.charge(plan).number == 2


@pytest.mark.parametrize("size", [0, 100, 3000])
def test_a_full_disk_while_a_ledger_is_created(path: Path, size: int) -> None:
    with file_limit(size), pytest.raises(LedgerError, match=r"disk|File too large"):
        Ledger.create(path, epsilon=1.0, delta=1e-5)
    assert state(path) == {}
    Ledger.create(path, epsilon=1.0, delta=1e-5)


@contextmanager
def nobody():
    """Be a user whom permissions bind."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("locked", ["folder", "file"])
def test_a_folder_or_file_that_cannot_be_written(plan: Plan, locked: str) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        path = folder / "ward.ledger"
        ledger = Ledger.create(path, epsilon=2.0, delta=1e-5)
        entry = ledger.charge(plan)
        folder.chmod(0o555)
        if locked == "file":
            path.chmod(0o444)
        before = state(path)
        with nobody():
            with pytest.raises(LedgerError, match=r"cannot be written|Permission denied"):
                ledger.charge(plan)
            assert Ledger(path).entries == [entry]
            with pytest.raises(LedgerError, match=r"cannot be written|Permission denied"):
                Ledger.create(folder / "new.ledger", epsilon=2.0, delta=1e-5)
        assert state(path) == before
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:45 / {folder} rw,relatime shared:9 master:2 - {kind} server:/share rw
31 30 0:46 / {folder}/deeper rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    "kind", ["nfs4", "nfs", "cifs", "smb3", "9p", "fuse.sshfs", "ceph", "fuse.s3fs", "afs"]
)
def test_a_network_file_system(ledger: Ledger, path: Path, plan: Plan, monkeypatch, tmp_path, kind) -> None:
    mounts = tmp_path / "mountinfo"
    monkeypatch.setattr(ledger_store, "_MOUNTS", mounts)
    folder = str(tmp_path).replace(" ", "\\040")
    mounts.write_text(MOUNTS.format(folder=folder, kind=kind))
    refused(ledger, plan, rf"on a network file system \({kind}\)")
    with pytest.raises(LedgerError, match="network file system"):
        Ledger.create(tmp_path / "new.ledger", epsilon=1.0, delta=1e-5)
    assert not (tmp_path / "new.ledger").exists()
    (tmp_path / "deeper").mkdir()
    Ledger.create(tmp_path / "deeper" / "new.ledger", epsilon=1.0, delta=1e-5)


@pytest.mark.parametrize(
    "kind", ["ext4", "xfs", "btrfs", "zfs", "overlay", "tmpfs", "fuse.gocryptfs", "fuseblk"]
)
def test_a_local_file_system(monkeypatch, tmp_path: Path, kind: str) -> None:
    mounts = tmp_path / "mountinfo"
    monkeypatch.setattr(ledger_store, "_MOUNTS", mounts)
    mounts.write_text(MOUNTS.format(folder="/srv/my\\040disk", kind=kind))
    assert ledger_store.filesystem_type(Path("/srv/my disk/ward")) == kind
    assert ledger_store.filesystem_type(Path("/srv/my diskette")) == "ext4"
    assert not ledger_store._NETWORKED.fullmatch(kind)


def test_a_file_system_that_cannot_be_told(ledger: Ledger, plan: Plan, monkeypatch) -> None:
    monkeypatch.setattr(ledger_store, "_MOUNTS", Path("/nowhere/mountinfo"))
    refused(ledger, plan, "file system cannot be told")


def test_this_machine_tells_its_file_system(tmp_path: Path) -> None:
    found = subprocess.run(["stat", "-f", "-c", "%T", tmp_path], capture_output=True, text=True, check=True)
    kind = ledger_store.filesystem_type(tmp_path)
    assert kind is not None and kind.removesuffix("fs")[:3] in found.stdout
