"""The mutants of the audits still fit the source, and name tests that exist."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "tests" / "audit" / "mutants.py"
pytestmark = pytest.mark.skipif(not (ROOT / "rust").is_dir(), reason="needs the source tree")


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutants", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["mutants"] = module
    spec.loader.exec_module(module)
    return module


SCRIPTED = _script()


@pytest.mark.parametrize("name", SCRIPTED.MUTANTS)
def test_a_patch_fits_and_changes_the_source(name: str) -> None:
    mutant = SCRIPTED.MUTANTS[name]
    sound = (ROOT / mutant.file).read_text()
    assert mutant.apply(sound) != sound
    path, test = mutant.killer.split("::")
    function, _, case = test.partition("[")
    text = (ROOT / path).read_text()
    assert f"def {function}(" in text
    assert case.rstrip("]") in text


def test_a_patch_that_no_longer_fits_is_told() -> None:
    with pytest.raises(ValueError, match="0 places"):
        next(iter(SCRIPTED.MUTANTS.values())).apply("fn main() {}")
