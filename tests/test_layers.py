"""Imports run one way, in Python and in Rust."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PYTHON, RUST = ROOT / "python" / "zodc", ROOT / "rust"
# What came earlier may be imported, never the reverse.
MODULES = (
    "_zodc",
    "options",
    "catalogue",
    "draft",
    "dictionary",
    "schema",
    "cells",
    "files",
    "database",
    "fit",
    "frames",
    "tables",
    "recipe",
    "losses",
    "models",
    "learners",
    "metrics",
    "draws",
    "phases",
    "plan",
    "outlook",
    "oracle",
    "certify",
    "spending",
    "ledger_store",
    "ledger",
    "journal",
    "disclosures",
    "folder",
    "label",
    "summary",
    "plots",
    "figures",
    "forecast",
    "report",
    "card",
    "release",
    "weighted",
    "containers",
    "condenser",
    "verify",
    "encoded",
    "curves",
    "evaluation_plots",
    "evaluate",
    "evaluation_report",
    "demo",
    "audit_bounds",
    "audit_mechanism",
    "audit_canaries",
    "audit_membership",
    "audit",
    "cli_common",
    "cli_source",
    "cli_schema",
    "cli_run",
    "cli_ledger",
    "cli_check",
    "cli_report",
    "cli_study",
    "cli",
    "__main__",
)
# `release` may come between `condense` and `python`; it lives in Python so far.
ROOMS = ("error", "schema", "marginals", "privacy", "learner", "zeroth_order", "condense", "python")
# The grid of the hazard is a plain record that marginals fill in.
ALLOWED_BACK = {("marginals", "privacy::predictor::TimeGrid")}
# Python code is not in a wheel's tests folder: these tests need the source tree.
pytestmark = pytest.mark.skipif(not PYTHON.is_dir(), reason="needs the source tree")


def _python_imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "zodc":
            inner = node.module.split(".")[1:]
            found |= {inner[0]} if inner else {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name}: relative import"
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("zodc.")}
    return found


def test_python_has_no_back_edge() -> None:
    order = {name: place for place, name in enumerate(MODULES)}
    edges = 0
    for path in sorted(PYTHON.glob("*.py")):
        if path.stem == "__init__":
            continue
        assert path.stem in order, f"{path.name}: give it a place in MODULES"
        for used in _python_imports(path):
            assert order[used] < order[path.stem], f"{path.name} imports {used}, which comes later"
            edges += 1
    assert edges > 20


def _rust_uses(text: str) -> set[str]:
    """Paths named after `crate::`, in `use` lines and elsewhere, with groups spelt out."""
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("//"))
    paths = set()
    for found in re.finditer(r"crate::((?:\w+::)*)(\w+|\{[^;]*?\}|\*)", code):
        prefix, last = found.groups()
        if last.startswith("{"):
            paths |= {prefix + part.strip() for part in last.strip("{}").split(",") if part.strip()}
        else:
            paths.add(prefix + last)
    return paths


def test_rust_has_no_back_edge() -> None:
    order = {name: place for place, name in enumerate(ROOMS)}
    edges = 0
    for path in sorted(RUST.rglob("*.rs")):
        room = path.relative_to(RUST).parts[0].removesuffix(".rs")
        if room == "lib":
            continue
        assert room in order, f"{path.relative_to(RUST)}: give it a place in ROOMS"
        for used in _rust_uses(path.read_text()):
            other = used.split("::")[0].strip()
            if other not in order or other == room:
                continue
            edges += 1
            if order[other] > order[room]:
                assert (room, used) in ALLOWED_BACK, (
                    f"{path.relative_to(RUST)} uses crate::{used}, which comes later"
                )
    assert edges > 20


def test_the_walk_of_rust_finds_edges() -> None:
    text = "use crate::error::{Error, Result};\n// crate::python\nlet x = crate::schema::Column::new();"
    assert _rust_uses(text) == {"error::Error", "error::Result", "schema::Column::new"}


def test_what_follows_the_answers_has_no_patient_in_reach() -> None:
    files = {path.name: path.read_text() for path in (RUST / "condense").glob("*.rs")}
    words = ("PrivateCohort", "privacy::cohort")
    # Of all that makes rows, the rounds alone know a cohort.
    assert [name for name, text in files.items() if any(word in text for word in words)] == ["mod.rs"]
    assert len(files) > 5


def test_pyo3_is_named_at_the_boundary_only() -> None:
    for path in RUST.rglob("*.rs"):
        if path.relative_to(RUST).parts[0] not in ("python", "python.rs", "lib.rs"):
            assert "pyo3" not in path.read_text() and "numpy::" not in path.read_text(), path


def test_files_stay_short() -> None:
    for folder in (PYTHON, RUST, ROOT / "tests", ROOT / "benches"):
        files = [path for path in folder.rglob("*.*") if path.suffix in (".py", ".rs")]
        assert files, folder
        for path in files:
            assert len(path.read_text().splitlines()) < 400, path.relative_to(ROOT)


def test_scikit_survival_is_never_imported() -> None:
    """Its licence is the GPL: a test's dependency only."""
    for path in PYTHON.glob("*.py"):
        assert not re.search(r"^\s*(import|from) sksurv", path.read_text(), re.MULTILINE), path.name
