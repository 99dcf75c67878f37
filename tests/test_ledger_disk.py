"""A ledger on a disk that is locked, full, forbidden or networked: refused, and nothing lost."""

from __future__ import annotations

import json
import os
import resource
import shutil
import sqlite3
import subprocess
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from ledgers import charged_ledger, condenser, ledger_path, refused, small_plan, state  # noqa: F401
from zodc import Ledger, LedgerError, Plan, ledger_store


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
