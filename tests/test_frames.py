"""Frames and arrays in, frames and arrays out."""

import copy
import datetime
import gzip
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from zodc import _zodc
from zodc.frames import DataError, encode, read_table
from zodc.schema import Column, Schema
from zodc.tables import columns_of, to_array, to_frame

SCHEMA = Schema(
    (
        Column(name="age", kind="continuous", lower=18, upper=100),
        Column(name="stage", kind="ordinal", lower=1, upper=4, missing="indicator"),
        Column(name="sex", kind="categorical", categories=("f", "m", "x"), missing="indicator"),
        Column(name="smokes", kind="binary"),
        Column(name="note", kind="categorical", role="ignore", categories=("a", "b")),
        Column(name="died", kind="binary", role="target"),
    )
)
SURVIVAL = Schema(
    (
        Column(name="age", kind="continuous", lower=18, upper=100),
        Column(name="time", kind="continuous", role="time", lower=0, upper=100),
        Column(name="event", kind="binary", role="event", categories=("no", "yes")),
        Column(name="id", kind="categorical", role="patient_id"),
    )
)
COLUMNS = {
    "age": [70.0, None, 1e308, float("inf")],
    "stage": [1, 4, None, 2],
    "sex": ["m", None, "unheard of", "f"],
    "smokes": [True, False, True, None],
    "died": [0, 1, 1, 0],
}
CELLS = [[70, 1, 1, 1], [np.nan, 4, np.nan, 0], [1e308, np.nan, -1, 1], [np.inf, 2, 0, np.nan]]


def _nullable(columns, **options):
    with np.errstate(invalid="ignore"):
        return pd.DataFrame(columns).convert_dtypes(**options)


LIBRARIES = {
    "pandas": pd.DataFrame,
    "pandas nullable": _nullable,
    "pandas categorical": lambda c: pd.DataFrame(c).astype({"sex": "category", "died": "category"}),
    "pandas arrow": lambda c: _nullable(c, dtype_backend="pyarrow"),
    "polars": pl.DataFrame,
    "pyarrow": pa.table,
}


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_library_encodes_alike(library: str) -> None:
    encoded = encode(LIBRARIES[library](COLUMNS), None, SCHEMA)
    np.testing.assert_array_equal(encoded.cells, CELLS)
    np.testing.assert_array_equal(encoded.outcome, [0, 1, 1, 0])
    assert encoded.cells.flags.c_contiguous and encoded.event is None and encoded.patient is None


def test_arrays_are_taken_by_position() -> None:
    cells = np.array([[70, 1, "m", 1], [20, 2, "f", 0]], dtype=object)
    encoded = encode(cells, ["1", "0"], SCHEMA)
    np.testing.assert_array_equal(encoded.cells, [[70, 1, 1, 1], [20, 2, 0, 0]])
    np.testing.assert_array_equal(encoded.outcome, [1, 0])


@pytest.mark.parametrize(
    "y",
    [
        np.array([0, 1, 1, 0]),
        np.array([0.0, 1.0, 1.0, 0.0]),
        np.array([False, True, True, False]),
        np.array(["0", "1", "1", "0"]),
        [0, 1, 1, 0],
        pd.Series([0, 1, 1, 0], index=[7, 5, 3, 1]),
        pd.Series(["0", "1", "1", "0"], dtype="category"),
        pl.Series("other", [0, 1, 1, 0]),
        pd.DataFrame({"died": [0, 1, 1, 0]}),
        "died",
        ["died"],
        None,
    ],
    ids=str,
)
def test_labels_in_every_form(y) -> None:
    frame = pd.DataFrame(COLUMNS)
    is_named = y is None or isinstance(y, str) or (isinstance(y, list) and y == ["died"])
    x = frame if is_named else frame.drop(columns="died")
    np.testing.assert_array_equal(encode(x, y, SCHEMA).outcome, [0, 1, 1, 0])


def test_survival_outcomes_in_every_form() -> None:
    frame = pd.DataFrame({"age": [30.0, 40.0], "id": ["a", "b"]})
    times, events = [5.0, 7.5], [True, False]
    forms = [
        np.array(list(zip(events, times, strict=True)), dtype=[("cens", bool), ("t", float)]),
        np.array(list(zip(times, events, strict=True)), dtype=[("time", float), ("event", bool)]),
        pd.DataFrame({"time": times, "event": ["yes", "no"]}),
        pl.DataFrame({"event": ["yes", "no"], "time": times}),
    ]
    for y in forms:
        encoded = encode(frame, y, SURVIVAL)
        np.testing.assert_array_equal(encoded.outcome, times)
        np.testing.assert_array_equal(encoded.event, [1, 0])
    whole = frame.assign(time=times, event=["yes", "no"])
    for names in (None, ["event", "time"], ("time", "event")):
        np.testing.assert_array_equal(encode(whole, names, SURVIVAL).event, [1, 0])


def test_rows_of_a_patient_and_rows_of_nobody() -> None:
    frame = pd.DataFrame(
        {"age": [1.0, 2, 3, 4, 5], "id": ["b", "a", None, "b", ""], "time": 1.0, "event": "yes"}
    )
    encoded = encode(frame, None, SURVIVAL)
    assert encoded.patient is not None
    np.testing.assert_array_equal(encoded.cells[:, 0], [1, 2, 4])
    assert encoded.patient[0] == encoded.patient[2] != encoded.patient[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.drop(columns="age"), ["'age'", "missing", "add"]),
        (lambda f: f.assign(extra=1), ["'extra'", "ignore"]),
        (lambda f: pd.concat([f, f[["age"]]], axis=1), ["'age'", "twice", "drop"]),
        (lambda f: f.assign(age="old"), ["'age'", "text", "convert"]),
        (lambda f: f.assign(age=datetime.datetime(2020, 1, 1)), ["'age'", "dates"]),
        (lambda f: f.assign(sex=datetime.datetime(2020, 1, 1)), ["'sex'", "dates"]),
        (lambda f: f.iloc[:0], ["no rows"]),
        (lambda f: pl.DataFrame(f).lazy(), ["collect"]),
        (lambda f: pa.table([[1.0], [2.0]], names=["age", "age"]), ["'age'", "twice"]),
    ],
)
def test_faults_of_the_table_name_column_and_remedy(change, words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        encode(change(pd.DataFrame(COLUMNS)), None, SCHEMA)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    ("y", "schema", "words"),
    [
        ([0, 1], SCHEMA, ["'died'", "length"]),
        ("dead", SCHEMA, ["died"]),
        (np.zeros((4, 2)), SCHEMA, ["'died'", "one label"]),
        (np.zeros(4), SURVIVAL, ["'time'", "'event'", "structured"]),
        (np.zeros(4, dtype=[("a", float), ("b", float)]), SURVIVAL, ["bool"]),
        (pd.DataFrame({"time": [1.0] * 4}), SURVIVAL, ["'event'", "missing"]),
    ],
)
def test_faults_of_the_outcome(y, schema: Schema, words: list[str]) -> None:
    names = [column.name for column in schema.columns if column.role in ("feature", "patient_id")]
    frame = pd.DataFrame({name: COLUMNS.get(name, [1, 2, 3, 4]) for name in names})
    with pytest.raises(DataError) as caught:
        encode(frame, y, schema)
    assert all(word in str(caught.value) for word in words), caught.value


def test_outcome_in_x_and_y_is_refused() -> None:
    with pytest.raises(DataError, match=r"'died'.*X and in y.*drop"):
        encode(pd.DataFrame(COLUMNS), [0, 1, 1, 0], SCHEMA)


@pytest.mark.parametrize("x", [np.zeros((3, 9)), np.zeros(3), np.zeros((3, 4), complex)])
def test_arrays_of_another_shape(x) -> None:
    with pytest.raises(DataError):
        encode(x, [0, 1, 0], SCHEMA)


def test_one_unreadable_cell_is_missing_not_an_error() -> None:
    """No outcome may depend on one patient: "n/a" typed into a column of numbers is a missing value."""
    frame = pd.DataFrame(COLUMNS).assign(age=["70", "n/a", "approx. 12", 5])
    np.testing.assert_array_equal(encode(frame, None, SCHEMA).cells[:, 0], [70, np.nan, np.nan, 5])


def test_categories_match_across_types() -> None:
    def codes(values, categories):
        schema = Schema((Column(name="a", kind="categorical", categories=categories), SCHEMA.columns[-1]))
        return encode(pd.DataFrame({"a": values}), np.zeros(len(values)), schema).cells[:, 0].tolist()

    assert codes([1, 0, 2], ("0", "1")) == [1, 0, -1]
    assert codes([1.0, 0.0], ("0", "1")) == [1, 0]
    assert codes([True, False], ("0", "1")) == [1, 0]
    assert codes(["True", "false"], ("0", "1")) == [1, 0]
    assert codes(["007", "7", "8"], ("007", "7")) == [0, 1, -1]
    assert codes(["NA", "", None], ("NA", "b"))[0] == 0
    assert np.isnan(codes(["NA", "", None], ("NA", "b"))[1:]).all()
    assert codes([1, 0], ("false", "true")) == [1, 0]


def test_an_encoded_cohort_tells_nothing() -> None:
    encoded = encode(pd.DataFrame(COLUMNS), None, SCHEMA)
    assert repr(encoded) == str(encoded) == "Encoded(<private>)"
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled"):
            leak(encoded)


def test_patients_behind_their_plan_tell_nothing() -> None:
    plan = _zodc.make_plan(
        SCHEMA.to_json(), epsilon=1.0, delta=1e-5, rounds=1, directions=1, marginal_share=0.5
    )
    encoded = encode(pd.DataFrame(COLUMNS), None, SCHEMA)
    arrays = (encoded.cells, encoded.outcome, encoded.event, encoded.patient)
    cohort = _zodc.Cohort(SCHEMA.to_json(), plan, *arrays)
    assert repr(cohort) == str(cohort) == "Cohort(<private>)"
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled"):
            leak(cohort)


TABLE = (
    np.array([[70.5, 0.0, 1.0, 1.0], [20.25, 3.0, 0.0, 0.0]]),
    np.array([[0.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0]]),
    np.array([[1.0], [0.0]]),
)


@pytest.mark.parametrize("like", [pd.DataFrame({"a": [1]}), pl.DataFrame({"a": [1]}), pa.table({"a": [1]})])
def test_decoded_rows_have_the_library_and_types_of_the_schema(like) -> None:
    frame = to_frame(columns_of(TABLE, SCHEMA), type(like).__module__.partition(".")[0])
    assert type(frame) is type(like)
    table = pa.table(frame) if not isinstance(frame, pd.DataFrame) else pa.Table.from_pandas(frame)
    found = {field.name: str(field.type).removeprefix("large_") for field in table.schema}
    assert {name: kind.removesuffix("_view") for name, kind in found.items()} == {
        "age": "double",
        "stage": "int64",
        "stage_missing": "int64",
        "sex": "string",
        "sex_missing": "int64",
        "smokes": "int64",
        "died": "int64",
    }
    assert table.to_pylist()[0] == {
        "age": 70.5,
        "stage": 1,
        "stage_missing": 0,
        "sex": "m",
        "sex_missing": 1,
        "smokes": 1,
        "died": 1,
    }


def test_without_flags_missing_cells_are_missing() -> None:
    frame = to_frame(columns_of(TABLE, SCHEMA, flags=False))
    assert list(frame.columns) == ["age", "stage", "sex", "smokes", "died"]
    assert np.isnan(frame["stage"][1]) and frame["sex"][0] is None
    np.testing.assert_array_equal(
        encode(frame, None, SCHEMA).cells, [[70.5, 1, np.nan, 1], [20.25, np.nan, 0, 0]]
    )


def test_decoded_arrays() -> None:
    assert to_array(columns_of(TABLE, SCHEMA)).dtype == object
    numeric = Schema((SCHEMA.columns[0], SCHEMA.columns[-1]))
    table = (TABLE[0][:, :1], TABLE[1][:, :1], TABLE[2])
    np.testing.assert_array_equal(to_array(columns_of(table, numeric)), [[70.5, 1], [20.25, 0]])


@pytest.mark.parametrize(
    ("categories", "values"),
    [
        (("1", "2"), [1, 2]),
        (("-1", "0"), [-1, 0]),
        (("0.5", "1"), [0.5, 1.0]),
        (("01", "2"), ["01", "2"]),
        (("nan", "1"), ["nan", "1"]),
        (("a", "1"), ["a", "1"]),
        (("1.0", "2.0"), [1.0, 2.0]),
        # Names that Python's float() would read as numbers.
        (("18_39", "40_59"), ["18_39", "40_59"]),
        (("1E50", "1E51"), ["1E50", "1E51"]),
        (("1.10", "1.1"), ["1.10", "1.1"]),
        (("00", "1"), ["00", "1"]),
        (("-0", "1"), ["-0", "1"]),
        (("123456789012345678901", "1"), ["123456789012345678901", "1"]),
    ],
)
def test_types_of_categories(categories: tuple[str, ...], values: list[object]) -> None:
    schema = Schema((Column(name="a", kind="categorical", categories=categories), SCHEMA.columns[-1]))
    table = (np.array([[0.0], [1.0]]), np.zeros((2, 1)), np.zeros((2, 1)))
    assert to_frame(columns_of(table, schema))["a"].tolist() == values


def test_levels_of_a_step_are_the_decimals_that_were_written() -> None:
    score = Column(name="a", kind="ordinal", lower=0, upper=1, step=0.1)
    assert list(score.levels) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]


@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame, pa.table])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_categories_of_single_precision_are_known(library, dtype: str) -> None:
    schema = Schema(
        (Column(name="a", kind="categorical", categories=["0.1", "0.2", "0.5"]), SCHEMA.columns[-1])
    )
    frame = {"a": np.array([0.1, 0.2, 0.5, np.nan], dtype=dtype), "died": np.array([0, 1, 0, 1])}
    np.testing.assert_array_equal(encode(library(frame), None, schema).cells[:, 0], [0, 1, 2, np.nan])
    nullable = pd.DataFrame(frame).astype({"a": dtype.capitalize()})
    np.testing.assert_array_equal(encode(nullable, None, schema).cells[:, 0], [0, 1, 2, np.nan])
    array = frame["a"][:, None]
    np.testing.assert_array_equal(encode(array, frame["died"], schema).cells[:, 0], [0, 1, 2, np.nan])


def test_masked_cells_are_missing() -> None:
    schema = Schema((SCHEMA.columns[0], SCHEMA.columns[-1]))
    masked = np.ma.masked_values(np.array([[50.0], [999.0]]), 999.0)
    np.testing.assert_array_equal(encode(masked, [0, 1], schema).cells, [[50.0], [np.nan]])


@pytest.mark.parametrize("role", ["target", "event"])
@pytest.mark.parametrize("cells", [["Yes", "No"], ["dead", "alive"], [2, 3], [2.5, None]])
def test_an_outcome_that_the_schema_does_not_know_is_a_fault(role: str, cells: list[object]) -> None:
    """Otherwise the whole budget would buy rows of nothing; a feature stays silent, as its patients do."""
    outcome = Column(name="y", kind="binary", role=role)
    time = [Column(name="t", kind="continuous", role="time", lower=0, upper=9)] if role == "event" else []
    feature = Column(name="a", kind="binary")
    frame = pd.DataFrame({"a": cells, "y": cells, **({"t": [1.0, 2.0]} if time else {})})
    with pytest.raises(DataError, match="column 'y': not one of its cells") as caught:
        encode(frame, None, Schema((feature, *time, outcome)))
    assert str(cells[0]) not in str(caught.value)
    known = frame.assign(y=[1, cells[0]])
    assert np.isnan(encode(known, None, Schema((feature, *time, outcome))).cells).sum() == cells.count(None)


def test_files(tmp_path) -> None:
    frame = pd.DataFrame(COLUMNS)
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "a.csv.gz", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    for name in ("a.csv", "a.csv.gz", "a.parquet"):
        for schema in (None, SCHEMA):
            cells = encode(read_table(tmp_path / name, schema), None, SCHEMA).cells
            np.testing.assert_array_equal(cells, CELLS)


def test_categories_are_read_as_they_stand(tmp_path) -> None:
    schema = Schema((Column(name="a", kind="categorical", categories=("NA", "007", "7")), SCHEMA.columns[-1]))
    (tmp_path / "a.csv").write_text("a,died\nNA,0\n007,1\n7,1\n,0\nNULL,0\n")
    found = encode(read_table(tmp_path / "a.csv", schema), None, schema).cells[:, 0]
    np.testing.assert_array_equal(found, [0, 1, 2, np.nan, np.nan])


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.xlsx", b"", ["a.xlsx", "Parquet"]),
        ("a.csv", b"", ["a.csv", "empty"]),
        ("a.csv", b"age,age\n1,2\n", ["'age'", "twice"]),
        ("a.csv", b"age,died\n1,2\nsecret,5,6,7\n", ["a.csv", "not a valid table"]),
        ("a.csv", b"age,died\n\xff\xfe,1\n", ["a.csv", "UTF-8"]),
        ("a.csv.gz", b"age", ["a.csv.gz", "not a valid table"]),
        ("a.csv.gz", gzip.compress(b"age,died\n1,2\n")[:12], ["a.csv.gz"]),
        ("a.parquet", b"PAR1", ["a.parquet", "not a valid table"]),
    ],
)
def test_faults_of_files(tmp_path, name: str, content: bytes, words: list[str]) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_table(tmp_path / name)
    assert all(word in str(caught.value) for word in words), caught.value
    assert "secret" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path) -> None:
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / "none.csv")
