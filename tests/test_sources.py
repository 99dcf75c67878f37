"""Parquet folders, Arrow files, headers: what is read, and that no row changes how another is read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cohorts import CLASSES, SURVIVAL, patients
from zodc.draft import types_of
from zodc.files import read_table, read_types
from zodc.fit import fit_of, outcome_coding
from zodc.frames import DataError, encode
from zodc.schema import Column, Schema

SECRET = "Ann-Example-1234567"


def _write(frame: pd.DataFrame, folder: Path) -> dict[str, Path]:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    paths = {
        name: folder / name for name in ("a.csv", "a.csv.gz", "a.parquet", "a.arrow", "a.feather", "many")
    }
    frame.to_csv(paths["a.csv"], index=False)
    frame.to_csv(paths["a.csv.gz"], index=False)
    pq.write_table(table, paths["a.parquet"])
    with pa.ipc.new_file(paths["a.arrow"], table.schema) as file:
        file.write_table(table)
    with pa.ipc.new_stream(paths["a.feather"], table.schema) as stream:
        stream.write_table(table)
    (paths["many"] / "z").mkdir(parents=True)
    pq.write_table(table.slice(0, 100), paths["many"] / "part-0.parquet")
    pq.write_table(table.slice(100), paths["many"] / "z" / "part-1.parquet")
    (paths["many"] / "_SUCCESS").write_text("")
    (paths["many"] / ".part-0.parquet.crc").write_text("")
    return paths


def test_all_kinds_of_files_give_the_same_cohort(tmp_path):
    paths = _write(patients(), tmp_path)
    first = encode(patients(), None, CLASSES)
    for path in paths.values():
        found = encode(read_table(path, CLASSES), None, CLASSES)
        np.testing.assert_array_equal(found.cells, first.cells, err_msg=path.name)
        np.testing.assert_array_equal(found.outcome, first.outcome)


def test_names_of_folders_are_texts(tmp_path):
    for ward in ("1", "02", "x y"):
        (tmp_path / f"ward={ward.replace(' ', '%20')}").mkdir()
        part = tmp_path / f"ward={ward.replace(' ', '%20')}" / "a.parquet"
        pq.write_table(pa.table({"age": [20.0]}), part)
    (tmp_path / "ward=__HIVE_DEFAULT_PARTITION__").mkdir()
    pq.write_table(pa.table({"age": [20.0]}), tmp_path / "ward=__HIVE_DEFAULT_PARTITION__" / "a.parquet")
    table = read_table(tmp_path)
    assert sorted(map(str, table["ward"].to_pylist())) == ["02", "1", "None", "x y"]
    assert read_types(tmp_path) == {"age": "number", "ward": "text"}
    alone = read_table(tmp_path / "ward=1" / "a.parquet")
    assert alone.column_names == ["age"]


def test_parts_of_a_folder_must_agree(tmp_path):
    pq.write_table(pa.table({"age": [1], "id": [2**60 + 1]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"id": [2**60], "age": pa.nulls(1)}), tmp_path / "b.parquet")
    assert read_table(tmp_path)["id"].to_pylist() == [2**60 + 1, 2**60]
    pq.write_table(pa.table({"age": [1], "id": [1.5]}), tmp_path / "c.parquet")
    for read in (read_table, read_types):
        with pytest.raises(DataError, match=r"column 'id'.*not the same in all files"):
            read(tmp_path)
    pq.write_table(pa.table({"age": [1]}), tmp_path / "c.parquet")
    with pytest.raises(DataError, match=r"column 'id'.*not the same"):
        read_table(tmp_path)


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.feather", "a.csv.gz"])
def test_files_that_are_none(name, tmp_path):
    (tmp_path / name).write_text(SECRET * 20)
    for read in (read_table, read_types):
        with pytest.raises(DataError, match="not a valid table") as caught:
            read(tmp_path / name)
        assert SECRET not in str(caught.value)


def test_a_folder_without_parquet(tmp_path):
    (tmp_path / "a.csv").write_text("x\n1\n")
    with pytest.raises(DataError, match="no Parquet file"):
        read_table(tmp_path)


def test_a_text_that_is_not_utf8_changes_no_other(tmp_path):
    schema = Schema(
        [
            Column(name="ward", kind="categorical", categories=("é", "b")),
            Column(name="id", kind="categorical", role="patient_id"),
            Column(name="died", kind="binary", role="target"),
        ]
    )
    cells = [b"\xc3\xa9", b"b", b"\xe9", b"\xff"]
    buffers = pa.array(cells, pa.binary()).buffers()
    bad = pa.StringArray.from_buffers(4, buffers[1], buffers[2])
    table = pa.table({"ward": bad, "id": bad, "died": [0, 1, 0, 1]})
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as file:
        file.write_table(table)
    found = encode(read_table(tmp_path / "a.arrow"), None, schema)
    np.testing.assert_array_equal(found.cells[:, 0], [0, 1, -1, -1])
    assert found.patient.tolist() == [0, 1, 2, 3]


# ---- Names and types


def test_types_of_each_kind_of_file(tmp_path):
    paths = _write(patients(), tmp_path)
    typed = {"age": "number", "stage": "number", "sex": "text", "smokes": "number", "died": "number"}
    for name, path in paths.items():
        wanted = dict.fromkeys(typed) if "csv" in name else typed
        assert read_types(path) == wanted, name


def test_types_of_frames():
    frame = pd.DataFrame(
        {"a": [1], "b": [True], "c": ["x"], "d": pd.to_datetime(["2020-01-01"]), "e": pd.Categorical(["x"])}
    )
    wanted = {"a": "number", "b": "truth", "c": "text", "d": "other", "e": "text"}
    assert types_of(frame) == wanted
    assert types_of(pa.table({"n": pa.nulls(1)})) == {"n": None}


def test_of_a_csv_the_first_line_alone_is_read(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"age,sex\n" + b"\xff\x00" + SECRET.encode())
    assert read_types(path) == {"age": None, "sex": None}


@pytest.mark.parametrize("line", ["71,f,Ann", "Ann,-3.5", "1e3,x"])
def test_a_row_instead_of_a_header_is_not_repeated(line, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(line + "\n")
    with pytest.raises(DataError, match="holds a number") as caught:
        read_types(path)
    assert "Ann" not in str(caught.value) and "71" not in str(caught.value)


# ---- Whether a table fits


def test_what_fits():
    assert fit_of(types_of(patients()), CLASSES).ok
    assert str(fit_of(types_of(patients()), CLASSES)) == "the table fits the schema"


def test_the_coding_of_the_outcome_is_told_in_one_line():
    """A file coded 1/2 under a schema coded 0/1 would turn events and censored round."""
    assert outcome_coding(CLASSES) == "target: 'died', classes '0', '1'; any other cell is missing"
    *features, event = SURVIVAL.columns
    coded = Schema((*features, replace(event, categories=("1", "2"), fallback="1")))
    assert outcome_coding(coded) == "event: 'event' = '2' (censored: '1'); any other cell counts as '1'"


def test_what_does_not_fit():
    types = {"age": "other", "sex": "text", "smokes": "text", "stage": "text", "ward": "text"}
    fit = fit_of(types, CLASSES)
    assert not fit.ok
    text = str(fit)
    for words in (
        "'died': it is missing",
        "'ward': the schema does not know",
        "'age': its type",
        "'stage': it h",
    ):
        assert words in text
    assert "smokes" not in text


def test_fit_and_condensing_agree():
    """A table that fits by names and types is one that encode takes, and the reverse."""
    for change in (
        lambda frame: frame,
        lambda frame: frame.drop(columns="sex"),
        lambda frame: frame.assign(extra=1),
        lambda frame: frame.assign(age=pd.Timestamp("2020-01-01")),
        lambda frame: frame.assign(sex=frame["sex"].astype("category"), smokes=frame["smokes"].astype(bool)),
        lambda frame: frame.assign(age=frame["age"].astype(str)),
    ):
        frame = change(patients(30))
        fits = fit_of(types_of(frame), CLASSES).ok
        try:
            encode(frame, None, CLASSES)
            taken = True
        except DataError:
            taken = False
        assert fits == taken


def test_a_fit_names_no_column_of_a_foreign_table():
    fit = fit_of({SECRET: None, "71": None}, CLASSES)
    assert not fit.ok and SECRET not in str(fit)
