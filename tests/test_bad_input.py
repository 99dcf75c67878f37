"""Bad input: faults of file, schema and options are clear errors; patients' cells are none.

Every error must name the column or option and the remedy, and no patient's value; nothing is written.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cohorts import BUDGET, CLASSES, SURVIVAL, patients, quick, survivors
from zodc import BudgetError, Condenser, DataError, Schema, SchemaError
from zodc.frames import read_table
from zodc.schema import Column

SECRET = 71.828182


def _condenser(schema=CLASSES, **options) -> Condenser:
    settings = {
        "learner": "cox" if schema.task == "survival" else "logistic",
        "n_rows": 20,
        "recipe": quick(schema, rounds=3),
        **BUDGET,
    }
    return Condenser(schema, **(settings | options))


def _frame() -> pd.DataFrame:
    frame = patients(50)
    frame.loc[0, "age"] = SECRET
    return frame


@pytest.mark.parametrize("schema", [None, "schema.toml", {"column": []}])
def test_check_26_no_schema_is_an_error(schema) -> None:
    with pytest.raises(SchemaError, match=r"'schema' option must be a zodc.Schema.*Schema.load"):
        _condenser(CLASSES, learner="tree").set_params(schema=schema).fit(_frame())
    with pytest.raises(TypeError, match="schema"):
        Condenser(learner="tree", **BUDGET)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.drop(columns="age"), ["'age'", "missing", "add it"]),
        (lambda f: f.drop(columns="died"), ["'died'", "missing", "add it"]),
        (lambda f: pd.concat([f, f[["age"]]], axis=1), ["'age'", "twice", "drop or rename"]),
        (lambda f: f.assign(extra=SECRET), ["'extra'", "drop it", "ignore"]),
        (lambda f: f.assign(age="secret"), ["'age'", "text", "convert"]),
        (lambda f: f.assign(age=pd.Timestamp("1971-08-28")), ["'age'", "type", "dates"]),
        (lambda f: f.iloc[:0], ["no rows", "at least one"]),
    ],
)
def test_faults_of_the_table(change, words, tmp_path) -> None:
    condenser = _condenser()
    with pytest.raises(DataError) as caught:
        condenser.fit(change(_frame()))
    text = str(caught.value)
    assert all(word in text for word in words), text
    assert not any(secret in text for secret in (str(SECRET), "secret", "1971", "50"))
    assert not hasattr(condenser, "release_")


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.parquet"])
def test_an_empty_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError, match=rf"'{name}'"):
        read_table(tmp_path / name)
    header = tmp_path / "header.csv"
    header.write_text("age,stage,sex,smokes,died\n")
    with pytest.raises(DataError, match="no rows"):
        _condenser().fit(read_table(header, CLASSES))


def test_a_bound_reversed_or_infinite() -> None:
    with pytest.raises(SchemaError, match=r"'age'.*not below its upper.*exchange"):
        Schema((Column(name="age", kind="continuous", lower=9, upper=1), *CLASSES.columns[1:]))
    with pytest.raises(SchemaError, match=r"'age'.*upper is not a finite number.*plausible"):
        Column(name="age", kind="continuous", lower=9, upper=float("inf"))


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "1", None, True])
def test_check_25_epsilon(value) -> None:
    with pytest.raises(ValueError, match="'epsilon' option must be a finite number above 0"):
        _condenser(epsilon=value).fit(_frame())


@pytest.mark.parametrize("value", [0, 1, 1.5, -1e-5, float("nan"), None])
def test_check_25_delta(value) -> None:
    with pytest.raises(ValueError, match="'delta' option must be a finite number above 0 and below 1"):
        _condenser(delta=value).fit(_frame())


@pytest.mark.parametrize("name", ["directions", "rounds", "n_rows", "expected_patients"])
@pytest.mark.parametrize("value", [0, -3, 2.5, "8", True, float("nan")])
def test_counts(name: str, value) -> None:
    with pytest.raises(ValueError, match=f"'{name}' option must be a whole number (of at least 1|from 1 to)"):
        _condenser(**{name: value}).fit(_frame())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sampling_rate": 0}, "'sampling_rate' option must be"),
        ({"sampling_rate": 1.5}, "'sampling_rate' option must be"),
        ({"marginal_share": 1.0}, "'marginal_share' option must be"),
        ({"mode": "three_phase"}, "'mode' option must be"),
        ({"learner": "forest"}, "'learner' option must be one of"),
        ({"random_state": "seed"}, "'random_state' option must be"),
        ({"random_state": -1}, "'random_state' option must be"),
    ],
)
def test_other_options(options, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        _condenser(**options).fit(_frame())


def test_a_budget_too_small_for_the_plan() -> None:
    with pytest.raises(BudgetError, match="raise epsilon or delta, or lower rounds"):
        _condenser(epsilon=1e-9, delta=1e-300).fit(_frame())


def _released(schema: Schema, cohort: pd.DataFrame, **options) -> pd.DataFrame:
    frame = _condenser(schema, **options).fit(cohort).release_.frame()
    for column in (c for c in schema.columns if c.role not in ("ignore", "patient_id")):
        if column.kind == "continuous":
            assert frame[column.name].between(column.lower, column.upper).all()
        else:
            assert frame[column.name].astype(str).isin([_text(level) for level in column.levels]).all()
    return frame


def _text(level) -> str:
    return f"{level:g}" if isinstance(level, float) else level


CELLS = {
    "below": -1e6,
    "above": 1e6,
    "NaN": np.nan,
    "inf": np.inf,
    "-inf": -np.inf,
    "1e308": 1e308,
    "-1e308": -1e308,
    "text": "secret",
    "None": None,
}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("column", ["age", "stage", "sex", "smokes", "died"])
@pytest.mark.parametrize("whole", [False, True], ids=["one cell", "half of them"])
def test_check_06_cells_of_patients_make_no_error_and_no_sound(
    cell: str, column: str, whole: bool, capsys, recwarn
) -> None:
    frame = patients(40)
    frame[column] = frame[column].astype(object)
    frame.loc[frame.index[: 20 if whole else 1], column] = CELLS[cell]
    for learner in ("logistic", "tree"):
        _released(CLASSES, frame, learner=learner, mode="direct")
    assert capsys.readouterr() == ("", "") and not recwarn.list


@pytest.mark.parametrize("cell", [0.0, -3.0, *CELLS.values()], ids=str)
@pytest.mark.parametrize("column", ["time", "event", "age"])
def test_cells_of_survival_outcomes(cell, column: str, capsys, recwarn) -> None:
    frame = survivors(40)
    frame[column] = frame[column].astype(object)
    frame.loc[frame.index[:7], column] = cell
    _released(SURVIVAL, frame)
    assert capsys.readouterr() == ("", "") and not recwarn.list


def test_an_unreadable_cell_changes_no_pre_noise_bit_of_the_others() -> None:
    """A patient with nothing but unreadable cells answers every round with zero."""
    options = {"learner": "logistic", "n_rows": 20, "recipe": quick(rounds=4), "random_state": 2, **BUDGET}
    blank = dict.fromkeys(CLASSES.columns[i].name for i in range(5))
    base = patients(40)
    latents = []
    for died in (None, np.nan, "unheard of"):
        row = pd.DataFrame([{**blank, "died": died}]).astype(object)
        frame = pd.concat([base.astype(object), row], ignore_index=True)
        release = Condenser._with_test_noise(1, CLASSES, **options).fit(frame).release_
        latents.append(release.rows.latents)
    np.testing.assert_array_equal(latents[0], latents[1])
    np.testing.assert_array_equal(latents[0], latents[2])


@pytest.mark.parametrize("learner", ["logistic", "tree"])
def test_check_27_a_class_of_the_schema_that_nobody_has(learner: str) -> None:
    """Works, whichever class: its absence is private."""
    for died in (0, 1):
        frame = _released(CLASSES, patients(60).assign(died=died), learner=learner)
        assert len(frame) == 20
    target = Column(name="y", kind="categorical", role="target", categories=("a", "b", "c", "d"))
    schema = Schema((*CLASSES.columns[:-1], target))
    cohort = patients(60).drop(columns="died").assign(y="b")
    _released(schema, cohort, learner=learner)


@pytest.mark.parametrize("event", [0, 1])
def test_nobody_or_everybody_has_the_event(event: int) -> None:
    _released(SURVIVAL, survivors(60).assign(event=event))


@pytest.mark.parametrize("column", ["age", "stage", "sex", "smokes", "died"])
@pytest.mark.parametrize("blank", [None, np.nan, pd.NA], ids=str)
def test_all_values_of_a_column_are_missing(column: str, blank) -> None:
    _released(CLASSES, patients(60).astype({column: object}).assign(**{column: blank}))


@pytest.mark.parametrize("column", ["time", "event"])
def test_all_survival_outcomes_are_missing(column: str) -> None:
    _released(SURVIVAL, survivors(60).assign(**{column: np.nan}))


@pytest.mark.parametrize("column", ["age", "stage", "sex", "smokes"])
def test_constant_columns(column: str) -> None:
    cohort = patients(60)
    _released(CLASSES, cohort.assign(**{column: cohort[column].iloc[1]}), learner=["tree", "logistic"])
    _released(CLASSES, cohort.assign(age=50.0, stage=2, sex="f", smokes=0))


@pytest.mark.parametrize(("schema", "cohort"), [(CLASSES, patients), (SURVIVAL, survivors)])
@pytest.mark.parametrize("mode", ["two_phase", "direct"])
def test_one_row_and_fewer_patients_than_rows(schema: Schema, cohort, mode: str) -> None:
    for n in (1, 2, 7):
        assert len(_released(schema, cohort(n), mode=mode, n_rows=30)) == 30


@pytest.mark.parametrize("n_rows", [1, 2, 3])
@pytest.mark.parametrize("learner", ["logistic", "tree"])
def test_very_few_synthetic_rows(n_rows: int, learner: str) -> None:
    assert len(_released(CLASSES, patients(60), n_rows=n_rows, learner=learner)) == n_rows


def test_duplicate_patients() -> None:
    cohort = patients(20)
    _released(CLASSES, pd.concat([cohort] * 5, ignore_index=True))
    schema = Schema((*CLASSES.columns, Column(name="id", kind="categorical", role="patient_id")))
    _released(schema, pd.concat([cohort.assign(id=range(20))] * 5, ignore_index=True))
    _released(schema, cohort.assign(id="one"))
    _released(schema, cohort.assign(id=[None, *range(19)]))


def test_no_row_has_a_patient_id() -> None:
    schema = Schema((*CLASSES.columns, Column(name="id", kind="categorical", role="patient_id")))
    with pytest.raises(DataError, match="patient_id"):
        _condenser(schema).fit(patients(20).assign(id=None))


def test_ten_thousand_columns_of_noise() -> None:
    names = [f"x{i}" for i in range(10_000)]
    features = [Column(name=name, kind="continuous", lower=-3, upper=3) for name in names]
    schema = Schema((*features, Column(name="y", kind="binary", role="target")))
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 10_000)), rng.integers(0, 2, 40)
    options = {"recipe": quick(schema, rounds=1), "n_rows": 10, "directions": 1}
    x_new, y_new = _condenser(schema, learner="tree", mode="direct", **options).fit_resample(x, y)
    assert x_new.shape == (10, 10_000) and len(y_new) == 10
    assert np.abs(x_new).max() <= 3


def test_an_interrupted_run_leaves_nothing() -> None:
    condenser = _condenser(learner="tree")
    condenser.fit(patients(50))

    def stop(*_) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        condenser.fit(patients(50), progress=stop)
    assert not hasattr(condenser, "release_")


def test_bounds_far_wider_than_the_data_lose_no_resolution() -> None:
    """Creatinine from 0 to 50 with most values below 2: the released rows keep to where the patients are."""
    schema = Schema(
        (Column(name="creatinine", kind="continuous", lower=0, upper=50, unit="mg/dl"), CLASSES.columns[-1])
    )
    rng = np.random.default_rng(0)
    values = rng.lognormal(0.0, 0.3, 5000)
    cohort = pd.DataFrame({"creatinine": values, "died": (values > 1.2).astype(int)})
    released = _released(schema, cohort, n_rows=200, learner="logistic")["creatinine"]
    for share in (0.25, 0.5, 0.75):
        assert released.quantile(share) == pytest.approx(np.quantile(values, share), abs=0.25)
    # Nor is it one value near the middle: quartiles of the patients lie .41 apart.
    assert 0.2 < released.quantile(0.75) - released.quantile(0.25) < 0.8


def test_no_error_of_the_interpreter_holds_a_value() -> None:
    """Whatever the dtype of the column, its text is not quoted."""
    for column, value in (("age", "secret"), ("stage", ["secret"]), ("sex", {"a": "secret"})):
        frame = patients(30).astype({column: object})
        frame[column] = [value] * 30
        try:
            _condenser().fit(frame)
        except ValueError as error:
            assert "secret" not in str(error) and column in str(error)


def test_the_manifest_of_bad_cells_is_as_any_other() -> None:
    options = {"random_state": 1}
    good = _condenser(**options).fit(patients(50)).release_.manifest()
    frame = patients(50).astype(object)
    frame.iloc[3] = [np.inf, -5, "unheard of", "?", None]
    assert json.dumps(_condenser(**options).fit(frame).release_.manifest()) == json.dumps(good)
