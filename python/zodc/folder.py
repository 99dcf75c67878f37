"""Release folders on disk: written whole or not at all, read only when every hash agrees."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from zodc._zodc import DataError

__all__ = ["MANIFEST", "TABLES", "hash_faults", "read", "read_manifest", "write"]

MANIFEST = "manifest.json"
TABLES = ("condensed.csv", "condensed.parquet")
TEXTS = ("schema.toml", "marginals.json", "teacher.json")


def write(
    path: Path, frame: pd.DataFrame, texts: dict[str, str], manifest: dict[str, Any], *, overwrite: bool
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
        frame.to_csv(new / TABLES[0], index=False, lineterminator="\n")
        frame.to_parquet(new / TABLES[1], index=False)
        for name, text in texts.items():
            (new / name).write_text(text, encoding="utf-8")
        hashes = {file.name: _hash(file) for file in sorted(new.iterdir())}
        whole = json.dumps({**manifest, "sha256": hashes}, indent=2, ensure_ascii=False)
        (new / MANIFEST).write_text(whole + "\n", encoding="utf-8")
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
        raise FileNotFoundError(2, "there is no release folder", str(path))
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        manifest = None
    if not isinstance(manifest, dict) or manifest.get("zodc") != "release" or "sha256" not in manifest:
        raise DataError(f"release, file '{MANIFEST}': it is missing or not zodc's; name a release folder")
    return manifest


def hash_faults(path: Path, manifest: dict[str, Any]) -> dict[str, str]:
    """Find the files that are missing, or differ from the manifest's hash."""
    faults = {}
    for name in (*TABLES, *TEXTS):
        if not (path / name).is_file():
            faults[name] = "it is missing"
        elif manifest["sha256"].get(name) != _hash(path / name):
            faults[name] = "its SHA-256 is not that of the manifest"
    return faults


def _refuse_taken(path: Path, overwrite: bool) -> None:
    if not path.exists() and not path.is_symlink():
        return
    if not overwrite:
        raise FileExistsError(17, "the folder exists; name another, or overwrite it", str(path))
    if not (path / MANIFEST).is_file():
        raise FileExistsError(17, "what is there is not a release and is left alone; name another", str(path))


def _hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
