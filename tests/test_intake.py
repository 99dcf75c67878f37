"""No patient's cell changes how another's is read, and none makes an error or a sound."""

from __future__ import annotations

import csv
import datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from zodc.cells import number, text_of, unit_numbers
from zodc.files import read_types
from zodc.frames import DataError, Encoded, encode, read_table
from zodc.schema import Column, Schema

SCHEMA = Schema(
    (
        Column(name="age", kind="continuous", lower=18, upper=100),
        Column(name="sex", kind="categorical", categories=("f", "m")),
        Column(name="smokes", kind="binary"),
        Column(name="id", kind="categorical", role="patient_id"),
        Column(name="died", kind="binary", role="target"),
    )
)
BIG = 123456789012345600


class Trap:
    """A cell whose every conversion fails."""

    def __float__(self) -> float:
        raise RuntimeError("secret")

    def __str__(self) -> str:
        raise RuntimeError("secret")

    __hash__ = None


ODD = {
    "complex": 1 + 2j,
    "huge": 10**400,
    "too long to print": 10**5000,
    "signalling": Decimal("sNaN"),
    "trap": Trap(),
    "date": datetime.date(2020, 1, 1),
    "bytes": b"7",
    "list": [1.0],
    "array": np.zeros(3),
    "fraction": Fraction(1, 3),
    "text": "secret",
    "long text": "9" * 5000,
    "surrogate": "\ud800",
    "NUL": "\0",
    "underscore": "1_0",
    "NaT": pd.NaT,
    "numpy complex": np.complex128(1j),
}


def _frame(n: int = 3, **columns) -> pd.DataFrame:
    base = {"age": [20.0 + i for i in range(n)], "sex": "f", "smokes": 1, "id": range(n), "died": 0}
    return pd.DataFrame(base | columns)


def _units(ids) -> list[int]:
    patient = encode(_frame(len(ids)).assign(id=ids), None, SCHEMA).patient
    assert patient is not None
    return patient.tolist()


@pytest.mark.parametrize(
    "make",
    [
        lambda ids: pd.DataFrame({"id": ids}),
        lambda ids: pd.DataFrame({"id": pd.array(ids, dtype="Int64")}),
        lambda ids: pd.DataFrame({"id": pd.array(ids, dtype="int64[pyarrow]")}),
        lambda ids: pd.DataFrame({"id": np.asarray(ids, dtype=np.uint64) + np.uint64(2**63)}),
        lambda ids: pl.DataFrame({"id": ids}),
        lambda ids: pa.table({"id": ids}),
        lambda ids: pl.DataFrame({"id": [str(i) for i in ids]}),
    ],
)
def test_neighbouring_large_ids_are_different_patients(make) -> None:
    frame = make([BIG, BIG + 1, BIG])
    rest = _frame(3)
    for name in ("age", "sex", "smokes", "died"):
        if isinstance(frame, pd.DataFrame):
            frame[name] = rest[name]
        elif isinstance(frame, pl.DataFrame):
            frame = frame.with_columns(pl.Series(name, rest[name].tolist()))
        else:
            frame = frame.append_column(name, pa.array(rest[name].tolist()))
    assert encode(frame, None, SCHEMA).patient.tolist() == [0, 1, 0]


def test_ids_are_one_only_where_their_texts_are() -> None:
    objects = pd.Series([12, "12", 12.0, "012", True, 1, "1", 1.5, np.int64(12)], dtype=object)
    assert _units(objects) == [0, 0, 0, 1, 2, 3, 3, 4, 0]
    assert _units([7.0, 8.0, 7.0]) == [0, 1, 0]


def test_ids_that_a_float_may_have_rounded_are_missing() -> None:
    assert unit_numbers(np.array([2.0**53, 2.0**53 - 1, np.nan, np.inf, 4.0])).tolist() == [-1, 0, -1, -1, 1]
    assert unit_numbers(np.array([2.0**24, 3.0], dtype=np.float32)).tolist() == [-1, 0]


def test_a_missing_id_merges_no_others_in_a_file(tmp_path: Path) -> None:
    ids = [BIG, BIG + 1, None, BIG]
    frame = _frame(4).assign(id=pd.array(ids, dtype="Int64"))
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    for name in ("a.csv", "a.parquet"):
        assert encode(read_table(tmp_path / name, SCHEMA), None, SCHEMA).patient.tolist() == [0, 1, 0]


def _csv(tmp_path: Path, *rows: str, schema: Schema = SCHEMA) -> Encoded:
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["age,sex,smokes,id,died", *rows]) + "\n")
    return encode(read_table(path, schema), None, schema)


@pytest.mark.parametrize(
    "last", ["5,5,5,5,5", "x,x,x,x,x", ",,,z,", '"a"b,"c,"",d",e', '20,"f ""x""",1,9,0', "20", "é,é,é,é,é"]
)
def test_no_line_changes_how_another_is_read(last: str, tmp_path: Path) -> None:
    rows = ["70,m,True,007,1", "True,f,False,07,0", '"30","f",1.0,7,"1"', "inf,m,0,a,1e0"]
    alone, joined = _csv(tmp_path, *rows), _csv(tmp_path, last, *rows)
    n = len(rows)
    np.testing.assert_array_equal(joined.cells[-n:], alone.cells)
    np.testing.assert_array_equal(joined.outcome[-n:], alone.outcome)
    np.testing.assert_array_equal(alone.cells, [[70, 1, 1], [1, 0, 0], [30, 0, 1], [np.inf, 1, 0]])
    np.testing.assert_array_equal(alone.outcome, [1, 0, 1, 1])
    assert len(set(joined.patient[-n:].tolist())) == 4


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
@pytest.mark.parametrize("note", ["seen today{}stable", "x{}30,m,1,2,1{}fever", "x{}", "{}", 'a ""b""{}c'])
def test_a_record_over_several_lines_is_no_more_patients(note: str, end: str, tmp_path: Path) -> None:
    """Its lines would be units of their own, one of them perhaps of another patient's number."""
    path = tmp_path / "a.csv"
    rows = ["age,sex,smokes,id,died", "20,f,1,1,0", f'secret,"{note.replace("{}", end)}",1,2,0', "40,f,1,3,1"]
    path.write_bytes("\n".join(rows).encode())
    with pytest.raises(DataError, match=r"quote is still open at the end of line 3; .* Parquet") as caught:
        read_table(path, SCHEMA)
    assert "secret" not in str(caught.value)


def test_a_quote_without_an_end_is_a_fault_of_the_file(tmp_path: Path) -> None:
    for bad in ('20,"f,1,1,0', '20,f,1,1,"'):
        with pytest.raises(DataError, match="open at the end of line 2"):
            _csv(tmp_path, bad, "30,m,1,2,1")
    (tmp_path / "h.csv").write_text('age,"sex\n20,f\n')
    with pytest.raises(DataError, match="open at the end of line 1"):
        read_table(tmp_path / "h.csv", SCHEMA)


def test_a_letter_in_a_cell_is_read_and_the_limit_left_as_it_was(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    found = _csv(tmp_path, f'20,"{"y" * 200_000}",1,1,0', '30,"m",1,2,1')
    np.testing.assert_array_equal(found.cells[:, 0], [20, 30])
    assert csv.field_size_limit() == limit


def test_ids_that_a_spreadsheet_has_rounded_count_as_missing(tmp_path: Path) -> None:
    """Several patients may have become one, and one unit is priced as one patient."""
    ids = ["1.23457E+11", "1.23457E+11", "1,5e+12", "123456789012", "12E5", "7E+x"]
    found = _csv(tmp_path, *(f'20,f,1,"{text}",0' for text in ids))
    assert len(found.cells) == 3 and len(set(found.patient.tolist())) == 3


@pytest.mark.parametrize(
    "ids",
    [
        np.array([3, 2051, 2052], np.float16),
        pa.array(np.array([3, 2051, 2052], np.float16)),
        np.array([3, 2**24 + 1, 2**24 + 2], np.float32),
        pd.Categorical(pd.Index(np.array([3, 2**24 + 1, 2**24 + 3], np.float32))),
    ],
    ids=["half", "arrow half", "single", "categories"],
)
def test_narrow_floats_that_may_be_rounded_are_no_ids(ids) -> None:
    columns = {"age": [1, 2, 3], "sex": ["f"] * 3, "smokes": [0] * 3, "id": ids, "died": [0, 1, 1]}
    found = encode(pa.table(columns) if isinstance(ids, pa.Array) else pd.DataFrame(columns), None, SCHEMA)
    assert found.cells[:, 0].tolist() == [1.0]
    assert found.patient.tolist() == [0]


def test_an_arrow_text_that_is_not_utf_8_is_one_unknown_cell() -> None:
    bad = pa.array([b"f", b"\xe9", b"m"], pa.binary())
    sex = pa.StringArray.from_buffers(3, *bad.buffers()[1:])
    columns = {"age": [20, 30, 40], "sex": sex, "smokes": [0, 1, 1], "id": [1, 2, 3], "died": [0, 1, 1]}
    found = encode(pa.table(columns), None, SCHEMA)
    alone = encode(pa.table({**columns, "sex": ["f", "?", "m"]}), None, SCHEMA)
    np.testing.assert_array_equal(found.cells, alone.cells)


def test_a_date_is_no_id() -> None:
    """One of them may be beyond what Python's dates can hold."""
    days = pa.array([1, 2, 10_000_000], pa.int32()).cast(pa.date32())
    table = pa.table({"age": [1, 2, 3], "sex": ["f"] * 3, "smokes": [0] * 3, "id": days, "died": [0, 1, 1]})
    with pytest.raises(DataError, match="column 'id': its type"):
        encode(table, None, SCHEMA)


def test_a_first_line_with_a_date_is_no_header(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for line in ("P-001,SMITH John,1950-02-01,yes", "x,01/02/1950", "y,1.2.50"):
        path.write_text(f"{line}\n")
        with pytest.raises(DataError, match="holds a number or a date") as caught:
            read_types(path)
        assert "SMITH" not in str(caught.value)


@pytest.mark.parametrize("mark", [";", "\t"])
def test_another_separator_is_told(mark: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"age{mark}sex\n20{mark}f\n")
    for read in (read_types, lambda path: read_table(path, SCHEMA)):
        with pytest.raises(DataError, match="separate the fields by commas"):
            read(path)


def test_a_column_without_a_name_is_told(tmp_path: Path) -> None:
    pd.DataFrame({"age": [20], "sex": ["f"]}).to_csv(tmp_path / "a.csv")
    for read in (read_types, lambda path: read_table(path, SCHEMA)):
        with pytest.raises(DataError, match=r"column 1 of 'a.csv' has no name; .*index=False"):
            read(tmp_path / "a.csv")


def test_commas_at_the_end_of_lines_are_no_fields(tmp_path: Path) -> None:
    np.testing.assert_array_equal(_csv(tmp_path, "20,f,1,1,0,", "30,m,1,2,1").cells[:, 0], [20, 30])


def test_a_line_with_too_many_fields_is_named_and_not_quoted(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 3 has more fields") as caught:
        _csv(tmp_path, "20,f,1,1,0", "30,m,1,secret,1,7")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("column", ["age", "sex", "smokes", "id", "died"])
def test_no_cell_changes_another_or_makes_an_error(odd: str, column: str, recwarn) -> None:
    frame = _frame(3).astype(object)
    mixed = (
        pd.Series(["25", True, 0], dtype=object) if column != "id" else pd.Series(["a", 7, "b"], dtype=object)
    )
    frame[column] = mixed
    alone = encode(frame, None, SCHEMA)
    more = pd.concat([frame, _frame(1).astype(object)], ignore_index=True)
    more[column] = pd.Series([*mixed, None], dtype=object)
    more.at[3, column] = ODD[odd]
    joined = encode(more, None, SCHEMA)
    np.testing.assert_array_equal(joined.cells[:3], alone.cells)
    np.testing.assert_array_equal(joined.outcome[:3], alone.outcome)
    np.testing.assert_array_equal(joined.patient[:3], alone.patient)
    assert not recwarn.list


def test_cells_of_lists_are_read_one_by_one() -> None:
    schema = Schema((SCHEMA.columns[0], SCHEMA.columns[2], SCHEMA.columns[3], SCHEMA.columns[4]))
    rows = [[20, True, BIG], [30.5, False, BIG + 1]]
    for last in ([40, 1, 1], ["x", "y", 1.5], [None, None, "z"]):
        found = encode([*rows, last], [1, 0, "?"], schema)
        np.testing.assert_array_equal(found.cells[:2], [[20, 1], [30.5, 0]])
        assert found.patient.tolist() == [0, 1, 2] and found.outcome.tolist() == [1, 0, -1]


def test_numbers_of_single_cells() -> None:
    assert [number(cell) for cell in (" 7 ", "1e3", True, "True", np.float32(0.5), Decimal("2.5"), 3)] == [
        7, 1000, 1, 1, 0.5, 2.5, 3,
    ]  # fmt: skip
    assert [number(cell) for cell in ("inf", "-1e999")] == [np.inf, -np.inf]
    assert np.isnan([number(cell) for cell in ("", "NA", "nan", "x", None, pd.NA, 1j, Trap(), 10**400)]).all()
    assert [text_of(cell) for cell in (-0.0, 7.0, True, " a", None, np.nan, Trap())] == [
        "0", "7", "True", " a", None, None, None,
    ]  # fmt: skip


def test_large_integers_of_arrow_are_clipped_later_like_any() -> None:
    ages = pa.chunked_array([[2**60 + 1, 20, None]])
    frame = pa.table({"age": ages, "sex": ["f"] * 3, "smokes": [1] * 3, "id": [1, 2, 3], "died": [0] * 3})
    np.testing.assert_array_equal(encode(frame, None, SCHEMA).cells[:, 0], [2.0**60, 20, np.nan])


def test_the_type_of_a_column_and_no_cell_makes_an_error() -> None:
    """A column of dates is refused even where all are missing: a date more would be told otherwise."""
    for dtype in ("datetime64[ns]", "timedelta64[ns]"):
        with pytest.raises(DataError, match=r"'age'.*dates"):
            encode(_frame(3).assign(age=pd.Series([pd.NaT] * 3, dtype=dtype)), None, SCHEMA)
    for empty in (pl.Series([None] * 3), pa.nulls(3).to_pandas()):
        assert np.isnan(encode(_frame(3).assign(age=np.asarray(empty)), None, SCHEMA).cells[:, 0]).all()
    polars = pl.from_pandas(_frame(3)).with_columns(pl.lit(None).alias("age"))
    assert np.isnan(encode(polars, None, SCHEMA).cells[:, 0]).all()


def test_a_column_without_one_number_is_a_fault_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'age'.*text.*convert") as caught:
        _csv(tmp_path, "secret,f,1,1,0", "secret,m,1,2,1")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("first", ["71.8,secret,1,77,0", "secret,secret,1,1,0"])
def test_a_file_without_a_header_line_tells_no_cell(first: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"{first}\n20,f,1,8,0\n")
    with pytest.raises(
        DataError, match="none of the schema's columns; check that the table has a header"
    ) as caught:
        encode(read_table(path, SCHEMA), None, SCHEMA)
    frame = pd.DataFrame([[1.0] * 5], columns=first.split(","))
    with pytest.raises(DataError, match="none of the schema's columns") as again:
        encode(frame, None, SCHEMA)
    assert not any(cell in f"{caught.value}{again.value}" for cell in ("secret", "71.8", "77"))


def test_a_wide_header_is_checked() -> None:
    """Name by name against all others, 50,000 would take minutes."""
    frame = pd.DataFrame(np.zeros((1, 50_000))).rename(columns=str).rename(columns={"0": "age"})
    with pytest.raises(DataError, match="'1'"):
        encode(frame, None, SCHEMA)
