"""Check 31: one patient's cell, as a number and as a text, is in nothing that a run leaves behind."""

from __future__ import annotations

import copy
import logging
import pickle
import struct
import subprocess
import sys
import textwrap
import traceback
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from click.testing import CliRunner
from cohorts import BUDGET, CLASSES, patients, quick
from sklearn.base import BaseEstimator, ClassifierMixin
from zodc import Condenser, Ledger, Schema
from zodc.cli import main
from zodc.frames import read_table
from zodc.schema import Column

NUMBER, TEXT = 71.828182845904, "Zebedee-4711"
SCHEMA = Schema(
    (
        Column(name="age", kind="continuous", lower=18, upper=100),
        Column(name="creatinine", kind="continuous", lower=0, upper=2000, missing="indicator"),
        Column(name="sex", kind="categorical", categories=("f", "m"), fallback="m"),
        Column(name="smokes", kind="binary"),
        Column(name="id", kind="categorical", role="patient_id"),
        Column(name="died", kind="binary", role="target"),
    )
)
# As digits, as the bytes of a double either way round, and as a long integer.
TRACES = (
    b"71.82818", b"7.182818", b"71,82818", TEXT.encode(), TEXT.encode("utf-16-le"), TEXT.lower().encode(),
    struct.pack("<d", NUMBER), struct.pack(">d", NUMBER), b"Zebedee",
)  # fmt: skip


def cohort(n: int = 40) -> pd.DataFrame:
    """Make a cohort in which one patient's cells are canaries."""
    frame = patients(n)[["age", "sex", "smokes", "died"]].astype(object)
    frame.insert(1, "creatinine", np.linspace(50, 150, n).round(1).astype(object))
    frame["sex"] = frame["sex"].replace("x", "m")
    frame["id"] = [f"p{i}" for i in range(n)]
    frame.loc[3, ["age", "creatinine", "sex", "smokes", "id", "died"]] = [
        NUMBER, NUMBER, TEXT, TEXT, TEXT, TEXT,
    ]  # fmt: skip
    return frame


def assert_silent(found: bytes | str, what: str) -> None:
    """No trace of the canary in whatever form."""
    data = found.encode("utf-8", "surrogatepass") if isinstance(found, str) else found
    for trace in TRACES:
        assert trace not in data, f"{what} tells {trace!r}"


def _tell(error: BaseException) -> str:
    """Everything that a program or a person may print of an error."""
    chain, told = error, []
    while chain is not None:
        told += [str(chain), repr(chain), repr(chain.args), str(getattr(chain, "__notes__", ""))]
        chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)
    told += traceback.format_exception(error)
    try:
        told.append(repr(pickle.dumps(error)))
    except Exception:
        pass
    return "\n".join(told)


class Quotes(ClassifierMixin, BaseEstimator):
    """A model whose every error quotes what it was shown."""

    def fit(self, X, y):  # noqa: D102
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):  # noqa: D102
        if np.isclose(X.to_numpy(), NUMBER).any():
            raise RuntimeError(f"{X.to_numpy().tolist()} {TEXT}")
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))


def _condenser(**options) -> Condenser:
    settings = {"learner": "logistic", "n_rows": 12, "recipe": quick(SCHEMA, rounds=2), **BUDGET}
    return Condenser(SCHEMA, **(settings | options))


@pytest.fixture
def place(tmp_path, monkeypatch, capfd, caplog, recwarn):
    """Give an empty folder, also for temporary files; at the end search it and all that was told."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    caplog.set_level(logging.DEBUG)
    yield tmp_path
    out, err = capfd.readouterr()
    assert_silent(out + err + caplog.text + "".join(str(w.message) for w in recwarn.list), "the console")
    for file in tmp_path.rglob("*"):
        assert_silent(str(file), "a file's name")
        if file.is_file() and "input" not in file.name:
            assert_silent(file.read_bytes(), file.name)


@pytest.mark.parametrize("learner", ["logistic", "tree", Quotes()], ids=["logistic", "tree", "quotes"])
@pytest.mark.parametrize("mode", ["two_phase", "direct"])
def test_check_31_a_run_tells_no_cell(learner, mode: str, place: Path) -> None:
    ledger = Ledger.create(place / "ledger.db", cohort="ward", epsilon=10.0, delta=1e-3)
    condenser = _condenser(learner=learner, mode=mode, verbose=True, ledger=ledger)
    told = []
    x_new, y_new = condenser.fit_resample(cohort(), progress=lambda *public: told.append(public))
    release = condenser.release_
    release.save(place / "release")
    release.recondense("tree", n_rows=10, recipe=quick(SCHEMA)).save(place / "other")
    assert_silent(repr((condenser, release, told, x_new, y_new, release.plan, ledger)), "a print")
    assert_silent(pickle.dumps(release), "a pickle")
    assert_silent(pickle.dumps(copy.deepcopy(release)), "a copy")
    assert_silent(pickle.dumps(condenser.set_params(ledger=None)), "a pickle")
    assert_silent(release.frame().to_csv() + str(release.manifest()) + release.marginals, "the release")


def _faults(frame: pd.DataFrame) -> dict[str, object]:
    dates = frame.assign(age=pd.Timestamp("2020-01-01"))
    return {
        "missing column": frame.drop(columns="smokes"),
        "extra column": frame.assign(extra=TEXT),
        "double column": pd.concat([frame, frame[["age"]]], axis=1),
        "all text": frame.assign(age=TEXT, creatinine=TEXT),
        "dates": dates,
        "lists": frame.assign(age=[[NUMBER]] * len(frame)),
        "no id": frame.assign(id=None),
        "empty": frame.iloc[:0],
        "no header": frame.set_axis([TEXT, str(NUMBER), "a", "b", "c", "d"], axis=1),
        "numbers as header": frame.set_axis([NUMBER, TEXT, 1, 2, 3, 4], axis=1),
        "array": frame.to_numpy(),
        "wide array": np.hstack([frame.to_numpy(), frame.to_numpy()]),
        "list": frame.to_numpy().tolist(),
        "ragged list": [*frame.to_numpy().tolist(), [NUMBER, TEXT]],
        "polars of texts": pl.DataFrame({name: [str(c) for c in frame[name]] for name in frame}),
        "arrow of lists": pa.table({name: [[str(c)] for c in frame[name]] for name in frame}),
        "lazy": pl.DataFrame({name: [str(c) for c in frame[name]] for name in frame}).lazy(),
        "dict": frame.to_dict(),
        "a text": TEXT,
        "nothing": None,
        "a number": NUMBER,
        "series": frame["age"],
    }


@pytest.mark.parametrize("fault", _faults(cohort()))
@pytest.mark.parametrize("y", ["inside", "short", "texts", "structured", "frame"])
def test_check_31_no_fault_of_the_table_tells_a_cell(fault: str, y: str, place: Path) -> None:
    table = _faults(cohort())[fault]
    outcome = {
        "inside": None,
        "short": [TEXT, NUMBER],
        "texts": [TEXT] * 40,
        "structured": np.array([(True, NUMBER)] * 40, dtype=[("event", bool), ("time", float)]),
        "frame": pd.DataFrame({"a": [TEXT] * 40, "b": [NUMBER] * 40}),
    }[y]
    try:
        _condenser().fit(table, outcome)
    except Exception as error:
        assert_silent(_tell(error), f"{type(error).__name__} of {fault}")


_LINES = {
    "plain": b"",
    "ragged": f"{NUMBER},{TEXT},m,1,x,0,{TEXT}\n".encode(),
    "open quote": f'"{NUMBER},{TEXT}\n'.encode(),
    "not UTF-8": f"{NUMBER},".encode() + b"\xff\xfe\n" + TEXT.encode(),
    "NUL": f"{NUMBER},\0,{TEXT}\n".encode(),
    "long field": (TEXT * 20_000 + ",1\n").encode(),
    "carriage returns": f"{NUMBER}\r{TEXT}\r\n".encode(),
}


@pytest.mark.parametrize("line", _LINES)
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_check_31_no_fault_of_a_file_tells_a_cell(line: str, suffix: str, place: Path) -> None:
    path = place / f"input{suffix}"
    path.write_bytes(cohort().to_csv(index=False).encode() + _LINES[line])
    SCHEMA.save("schema.toml")
    try:
        _condenser().fit(read_table(path, SCHEMA))
    except Exception as error:
        assert_silent(_tell(error), f"{type(error).__name__} of a file")
    command = f"condense input{suffix} --schema schema.toml --learner logistic --epsilon 1 --delta 1e-5"
    found = CliRunner().invoke(main, [*command.split(), "--rounds", "2", "--rows", "9", "--out", "release"])
    assert_silent(found.output + str(found.exception), "the command")


@pytest.mark.parametrize("stop", ["private", "public"])
@pytest.mark.parametrize("fault", [RuntimeError, KeyboardInterrupt, MemoryError, OSError])
def test_check_31_a_run_that_breaks_off_tells_no_cell(stop: str, fault, place: Path) -> None:
    def progress(phase: str, done: int, rounds: int) -> None:
        if phase == stop:
            raise fault("stopped")

    condenser = _condenser(learner="tree", recipe=replace(quick(SCHEMA, rounds=2)))
    with pytest.raises(BaseException) as caught:
        condenser.fit(cohort(), progress=progress)
    assert_silent(_tell(caught.value), "the error")
    assert_silent(pickle.dumps(condenser), "a pickle")


def test_check_31_a_release_that_cannot_be_saved_tells_no_cell(place: Path, monkeypatch) -> None:
    release = _condenser().fit(cohort()).release_
    (place / "file").write_text("")
    monkeypatch.setattr(
        pd.DataFrame, "to_parquet", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "full"))
    )
    for where in ("file/release", "release"):
        with pytest.raises(OSError) as caught:
            release.save(place / where)
        assert_silent(_tell(caught.value), "the error")


_CRASH = """
    import faulthandler, os, signal, sys
    faulthandler.enable()
    sys.path[:0] = {path!r}
    from test_check_31_canary import _condenser, cohort
    def progress(phase, done, rounds):
        if phase == "private":
            os.kill(os.getpid(), signal.SIGABRT)
    _condenser().fit(cohort(), progress=progress)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_check_31_a_crash_dump_of_python_tells_no_cell(place: Path) -> None:
    """Python prints frames; a core file of the system is not covered, and limits keep it away here."""
    import resource

    folder = Path(__file__).resolve().parent
    code = textwrap.dedent(_CRASH).format(path=[str(folder), str(folder.parent)])
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
        timeout=120,
    )
    assert found.returncode != 0 and b"Fatal Python error" in found.stderr
    assert_silent(found.stdout + found.stderr, "the crash")


def test_check_31_the_search_would_find_a_canary(place: Path) -> None:
    for leak in (f"age {NUMBER}", TEXT, struct.pack("<d", NUMBER), pickle.dumps(cohort())):
        with pytest.raises(AssertionError, match="tells"):
            assert_silent(leak, "a leak")
    assert CLASSES is not SCHEMA
