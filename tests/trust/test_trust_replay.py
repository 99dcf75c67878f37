"""Check 22: with the noisy outputs frozen, a run on a neighbour tells the same, byte for byte."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from cohorts import BUDGET, CLASSES, SURVIVAL, patients, quick, survivors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from replay import Trace, run
from sklearn.ensemble import RandomForestClassifier
from zodc import Condenser, Schema
from zodc.cli import main
from zodc.schema import Column

WITH_ID = Schema((*CLASSES.columns, Column(name="id", kind="categorical", role="patient_id")))
OUTLIER = {"age": 1e308, "stage": "unheard of", "sex": None, "smokes": np.inf, "died": "secret"}


def _same(one: Trace, other: Trace) -> None:
    assert one.tape.shapes == other.tape.shapes and one.tape.outputs
    assert one.told == other.told
    assert one.files.keys() == other.files.keys() and one.files
    assert one.files == other.files
    assert one.reprs == other.reprs


def _compare(
    schema, cohort, neighbour, tmp_path, monkeypatch, *, report: bool = False, **options
) -> tuple[Trace, Trace]:
    settings = {"learner": "logistic", "n_rows": 12, "recipe": quick(schema, rounds=2), "random_state": 3}
    told: dict[str, list] = {"a": [], "b": []}

    def work(name: str, frame) -> object:
        condenser = Condenser(schema, **(settings | BUDGET | options))
        condenser.fit(frame, progress=lambda *public: told[name].append(public))
        condenser.release_.save(tmp_path / name / "release", report=report)
        return condenser, condenser.release_

    recorded = run(lambda: work("a", cohort), tmp_path / "a", monkeypatch)
    replayed = run(lambda: work("b", neighbour), tmp_path / "b", monkeypatch, recorded.tape)
    assert told["a"][-1] == told["b"][-1]
    _same(recorded, replayed)
    return recorded, replayed


@pytest.mark.parametrize(
    ("schema", "cohort", "options"),
    [
        (CLASSES, patients, {}),
        (CLASSES, patients, {"learner": ["tree", "logistic"]}),
        (CLASSES, patients, {"learner": "tree", "mode": "direct"}),
        (CLASSES, patients, {"sampling_rate": 0.5}),
        (CLASSES, patients, {"learner": RandomForestClassifier(3), "mode": "direct"}),
        (SURVIVAL, survivors, {"learner": "cox"}),
    ],
    ids=["logistic", "mixture", "direct tree", "sampled", "direct forest", "cox"],
)
def test_check_22_a_neighbour_changes_no_byte(schema, cohort, options, tmp_path, monkeypatch) -> None:
    frame = cohort(40)
    recorded, replayed = _compare(schema, frame, frame.iloc[1:], tmp_path, monkeypatch, **options)
    # The replay asked the neighbour, and the neighbour answered otherwise.
    assert recorded.tape.outputs[0] != replayed.tape.outputs[0]


def test_check_22_an_outlier_changes_no_byte(tmp_path, monkeypatch) -> None:
    frame = patients(40).astype(object)
    more = pd.concat([frame, pd.DataFrame([OUTLIER]).astype(object)], ignore_index=True)
    _compare(CLASSES, frame, more, tmp_path, monkeypatch, report=True)


def test_check_22_a_patient_of_many_rows_changes_no_byte(tmp_path, monkeypatch) -> None:
    frame = patients(60).assign(id=np.repeat(np.arange(20), 3))
    _compare(WITH_ID, frame, frame[frame["id"] != 7], tmp_path, monkeypatch)
    (tmp_path / "again").mkdir()
    _compare(WITH_ID, frame, frame.assign(id=frame["id"].replace(7, 8)), tmp_path / "again", monkeypatch)


def test_check_22_the_command_line_tells_the_same(tmp_path, monkeypatch) -> None:
    """Two files of other lengths; a run of the command, with what it prints."""
    monkeypatch.chdir(tmp_path)
    CLASSES.save("schema.toml")
    command = "condense cohort.csv --schema schema.toml --learner tree --epsilon 1 --delta 1e-5 --rows 10"
    command += " --rounds 2 --directions 2 --seed 1 --out release"

    def work(n: int):
        patients(n).to_csv("cohort.csv", index=False)
        found = CliRunner().invoke(main, command.split())
        assert found.exit_code == 0, found.output
        (tmp_path / "cohort.csv").unlink()
        return found.output

    first = run(lambda: work(40), tmp_path, monkeypatch)
    for file in (tmp_path / "release").iterdir():
        file.unlink()
    (tmp_path / "release").rmdir()
    _same(first, run(lambda: work(39), tmp_path, monkeypatch, first.tape))


_CELLS = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(-5, 120),
    st.sampled_from([None, "", "f", "m", "secret", "nan", True, 1e308]),
)


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)
@given(row=st.tuples(*[_CELLS] * 5), n=st.integers(2, 30), sampled=st.booleans())
def test_check_22_whatever_one_patient_holds(row, n, sampled, tmp_path_factory, monkeypatch) -> None:
    frame = patients(n).astype(object)
    more = pd.concat([frame, pd.DataFrame([row], columns=frame.columns).astype(object)], ignore_index=True)
    options = {"sampling_rate": 0.5 if sampled else None}
    _compare(CLASSES, frame, more, tmp_path_factory.mktemp("replay"), monkeypatch, **options)


def test_check_22_the_wheel_has_no_way_to_a_sum_without_noise() -> None:
    """The extension's whole surface: nothing of it gives a sum, a row or a count of patients."""
    from zodc import _zodc

    public = {name for name in dir(_zodc) if not name.startswith("__")}
    assert public == {
        "Answers", "BudgetError", "Cohort", "DataError", "Decoder", "FEATURE_UNITS", "FittedModels",
        "Journal", "JournalError", "LATTICE_RADIUS", "Population", "Rows", "SchemaError", "Search",
        "check_schema", "epsilon", "make_plan", "schema_from_toml", "schema_to_toml",
    }  # fmt: skip
    methods = {name for name in dir(_zodc.Cohort) if not name.startswith("_")}
    assert methods == {
        "answer_differences", "end", "is_private", "keep_journal", "marginals", "recorded_round"
    }  # fmt: skip
