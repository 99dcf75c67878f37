"""Release folders on disk: written whole or not at all, read only when every hash agrees."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from zodc._zodc import DataError

__all__ = [
    "CARD",
    "CROISSANT",
    "MANIFEST",
    "REPORT",
    "TABLES",
    "Page",
    "add_report",
    "hash_faults",
    "put",
    "read",
    "read_manifest",
    "write",
]

MANIFEST = "manifest.json"
TABLES = ("condensed.csv", "condensed.parquet")
TEXTS = ("schema.toml", "marginals.json", "teacher.json")
# Of the dataset card, which may be made later.
CARD, CROISSANT = "README.md", "croissant.json"
# Not in releases of an older zodc.
REPORT = "report.html"

# Makes the report from the manifest with the hashes of all other files.
Page = Callable[[dict[str, Any]], str]


def write(
    path: Path,
    frame: pd.DataFrame,
    texts: dict[str, str],
    manifest: dict[str, Any],
    *,
    overwrite: bool,
    report: Page | None = None,
) -> None:
    """Write a release folder beside its place, then move it there.

    Raises
    ------
    OSError
        When the place is taken or cannot be written.
    """
    _refuse_taken(path, overwrite)
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.absolute().parent))
    except OSError as error:
        raise OSError(
            error.errno, "the release cannot be written there; name another folder", str(path)
        ) from None
    try:
        new = scratch / "new"
        new.mkdir()
        (new / TABLES[0]).write_text(_csv(frame), encoding="utf-8", newline="")
        frame.to_parquet(new / TABLES[1], index=False)
        for name, text in texts.items():
            (new / name).write_text(text, encoding="utf-8")
        hashes = {file.name: _hash(file) for file in sorted(new.iterdir())}
        whole = {**manifest, "sha256": hashes}
        if report is not None:
            _put_report(new, whole, report(whole))
        _put_manifest(new, whole)
        _refuse_taken(path, overwrite)
        if path.exists():
            os.replace(path, scratch / "old")
        os.replace(new, path)
    finally:
        if (scratch / "old").exists() and not path.exists():
            os.replace(scratch / "old", path)
        shutil.rmtree(scratch, ignore_errors=True)


def read(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Read manifest and texts.

    Raises
    ------
    OSError, DataError
        When the folder cannot be read, is no release, or a file differs from its hash.
    """
    manifest = read_manifest(path)
    for name, fault in hash_faults(path, manifest).items():
        raise DataError(f"release, file '{name}': {fault}; take the folder as it was saved")
    return manifest, {name: (path / name).read_text(encoding="utf-8") for name in TEXTS}


def read_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest alone.

    Raises
    ------
    OSError, DataError
        When there is none.
    """
    if not path.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no release folder", str(path))
    try:
        manifest: dict[str, Any] | None = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        manifest = None
    is_release = isinstance(manifest, dict) and manifest.get("zodc") == "release"
    if manifest is None or not is_release or not isinstance(manifest.get("sha256"), dict):
        raise DataError(f"release, file '{MANIFEST}': it is missing or not zodc's; name a release folder")
    return manifest


def hash_faults(path: Path, manifest: dict[str, Any]) -> dict[str, str]:
    """Find the files that are missing, or differ from the manifest's hash."""
    faults = {}
    has_report = (path / REPORT).exists() or REPORT in manifest["sha256"]
    for name in (*TABLES, *TEXTS, *((REPORT,) if has_report else ())):
        if not (path / name).is_file():
            faults[name] = "it is missing"
        elif manifest["sha256"].get(name) != _hash(path / name):
            faults[name] = "its SHA-256 is not that of the manifest"
    return faults


def table_faults(path: Path, frame: pd.DataFrame) -> dict[str, str]:
    """Find the tables that do not hold just the rows of `frame`."""
    is_own = {
        TABLES[0]: (path / TABLES[0]).read_bytes() == _csv(frame).encode(),
        TABLES[1]: _parquet(path / TABLES[1]).equals(frame),
    }
    return {name: "it does not hold the release's rows" for name, own in is_own.items() if not own}


def strangers(path: Path) -> list[str]:
    """Find the names beside the release's own files and its dataset card."""
    own = {*TABLES, *TEXTS, REPORT, MANIFEST, CARD, CROISSANT}
    return sorted(file.name for file in path.iterdir() if file.name not in own)


def add_report(path: Path, text: str) -> None:
    """Write the report into a release that has none, and its hash into the manifest.

    Raises
    ------
    OSError, DataError
        When the folder cannot be read or written, or is no release.
    """
    manifest = read_manifest(path)
    with tempfile.TemporaryDirectory(prefix=".report.", dir=path) as scratch:
        whole = {**manifest, "sha256": dict(manifest["sha256"])}
        _put_report(Path(scratch), whole, text)
        _put_manifest(Path(scratch), whole)
        # A report without its hash is a fault that `verify` tells; a hash without its report is one, too.
        os.replace(Path(scratch) / REPORT, path / REPORT)
        os.replace(Path(scratch) / MANIFEST, path / MANIFEST)


def put(path: Path, text: str) -> None:
    """Write a text beside its place, then move it there: all of it or nothing."""
    path.absolute().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".zodc.", dir=path.absolute().parent) as scratch:
        whole = Path(scratch) / "whole"
        whole.write_text(text, encoding="utf-8", newline="\n")
        os.replace(whole, path)


def _put_report(path: Path, manifest: dict[str, Any], text: str) -> None:
    (path / REPORT).write_text(text, encoding="utf-8", newline="\n")
    manifest["sha256"] = {**manifest["sha256"], REPORT: _hash(path / REPORT)}


def _put_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    text = json.dumps(manifest, indent=2, ensure_ascii=False)
    (path / MANIFEST).write_text(text + "\n", encoding="utf-8")


def _refuse_taken(path: Path, overwrite: bool) -> None:
    if not path.exists() and not path.is_symlink():
        return
    if not overwrite:
        raise FileExistsError(errno.EEXIST, "the folder exists; name another, or overwrite it", str(path))
    if not (path / MANIFEST).is_file():
        raise FileExistsError(
            errno.EEXIST, "what is there is not a release and is left alone; name another", str(path)
        )


def _csv(frame: pd.DataFrame) -> str:
    text: str = frame.to_csv(index=False, lineterminator="\n")
    return text


def _parquet(file: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(file)
    except (OSError, ValueError):  # no Parquet
        return pd.DataFrame()


def _hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
