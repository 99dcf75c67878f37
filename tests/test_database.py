"""Queries on SQLite, DuckDB and a real PostgreSQL server: what is read, and what is refused."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cohorts import CLASSES, patients
from command_line import BUDGET, SECRET, SMALL, run
from zodc import DataError
from zodc.database import _address, _split, query_types, read_query
from zodc.frames import encode
from zodc.options import OptionError
from zodc.schema import Column, Schema

PASSWORD = "p@ss/w:rd %?#"
QUERY = "SELECT age, stage, sex, smokes, died FROM patients"

# ---- A PostgreSQL server of our own


def _server_programs() -> Path | None:
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).parent
    return next((path.parent for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Start a server with a password, and a table; give its URL."""
    programs = _server_programs()
    if programs is None:
        pytest.skip("no PostgreSQL server is installed (Debian: apt-get install postgresql)")
    driver = pytest.importorskip("adbc_driver_postgresql.dbapi")
    folder = Path(tempfile.mkdtemp(prefix="zodc-pg-", dir="/tmp"))
    (folder / "password").write_text(PASSWORD)
    run = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "timeout": 120}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root.
        for path in (folder, folder / "password"):
            shutil.chown(path, "postgres")
        run |= {"user": "postgres", "extra_groups": [], "cwd": folder}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = folder / "data"
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    try:
        access = ["-A", "scram-sha-256", f"--pwfile={folder / 'password'}"]
        encoding = ["-E", "LATIN1", "--locale=C", "--no-sync"]
        subprocess.run([programs / "initdb", "-D", data, "-U", "ward", *access, *encoding], **run)
        subprocess.run([programs / "pg_ctl", "-D", data, "-o", options, "-w", "start"], **run)
        url = f"postgresql://ward@127.0.0.1:{port}/postgres"
        address = _address(_split(url), PASSWORD)
        with driver.connect(address, autocommit=True) as connection, connection.cursor() as cursor:
            _fill(cursor)
        yield url
    finally:
        stop = [programs / "pg_ctl", "-D", data, "-m", "immediate", "stop"]
        subprocess.run(stop, **(run | {"check": False}))
        shutil.rmtree(folder, ignore_errors=True)


def _fill(cursor) -> None:
    cursor.adbc_ingest("patients", _arrow_patients(), mode="create")
    for statement in (
        "CREATE TYPE mood AS ENUM ('sad', 'ok')",
        "CREATE TABLE odd (id bigint, n numeric, r real, b boolean, m mood, d date, u uuid, s text, j jsonb)",
        f"INSERT INTO odd VALUES ({2**60 + 1}, 12.5, 1.5, true, 'ok', '2020-01-01', "
        f"'00000000-0000-0000-0000-000000000001', '{SECRET}', '{{}}'), "
        f"({2**60}, 'NaN', null, false, 'sad', null, '00000000-0000-0000-0000-000000000002', 'é', null)",
    ):
        cursor.execute(statement)


def _arrow_patients():
    import pyarrow as pa

    return pa.Table.from_pandas(patients(), preserve_index=False)


@pytest.fixture
def postgres(server, monkeypatch) -> str:
    monkeypatch.setenv("ZODC_DATABASE_PASSWORD", PASSWORD)
    return server


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("sqlite") / "ward 1.db"
    connection = sqlite3.connect(path)
    patients().to_sql("patients", connection, index=False)
    connection.execute("CREATE TABLE odd (x, y)")
    connection.commit()
    connection.close()
    return f"sqlite:///{path}"


@pytest.fixture(scope="module")
def duckdb(tmp_path_factory) -> str:
    module = pytest.importorskip("duckdb")
    path = tmp_path_factory.mktemp("duckdb") / "ward.duckdb"
    with module.connect(str(path)) as connection:
        frame = patients()  # noqa: F841 - DuckDB finds it by its name
        connection.execute("CREATE TABLE patients AS SELECT * FROM frame")
        connection.execute("CREATE TABLE odd (id BIGINT, n DECIMAL(9, 2), s VARCHAR, d DATE, u UUID)")
        connection.execute(f"INSERT INTO odd VALUES ({2**60 + 1}, 2.5, '{SECRET}', '2020-01-01', uuid())")
    return f"duckdb:///{path}"


@pytest.fixture(params=["sqlite", "duckdb", "postgres"])
def database(request) -> str:
    return request.getfixturevalue(request.param)


# ---- The same on each


def test_a_query_gives_the_same_cohort_as_the_frame(database):
    found = encode(read_query(f"  {QUERY} ORDER BY age ;\n", database), None, CLASSES)
    first = encode(patients().sort_values("age", kind="stable"), None, CLASSES)
    order = np.lexsort(np.nan_to_num(found.cells, nan=-9).T), np.lexsort(np.nan_to_num(first.cells, nan=-9).T)
    np.testing.assert_array_equal(found.cells[order[0]], first.cells[order[1]])
    assert found.outcome.sum() == first.outcome.sum()


def test_names_and_types_of_a_query(database):
    types = query_types(QUERY, database)
    typed = {"age": "number", "stage": "number", "sex": "text", "smokes": "number", "died": "number"}
    assert types == (dict.fromkeys(typed) if database.startswith("sqlite") else typed)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT age, age FROM patients", ["'age' twice", "AS"]),
        ("SELECT nope FROM patients", ["nope", "mend"]),
        ("SELECT age FROM nowhere", ["nowhere"]),
        ("selec 1", ["query"]),
        ("", ["query"]),
        ("DELETE FROM patients", ["query"]),
        ("DROP TABLE patients", ["query"]),
        ("CREATE TABLE more AS SELECT 1 AS x", ["query"]),
        ("SELECT age FROM patients; DROP TABLE patients", ["query"]),
    ],
)
def test_queries_that_are_refused(query, words, database):
    for read in (read_query, query_types):
        if read is query_types and query.startswith("CREATE") and database.startswith("postgres"):
            continue  # it is refused when it would run
        with pytest.raises((DataError, OptionError)) as caught:
            read(query, database)
        assert all(word in str(caught.value) for word in words), caught.value
    assert len(encode(read_query(QUERY, database), None, CLASSES).cells) == len(patients())


def test_a_fault_in_a_row_quotes_no_cell(database):
    query = {
        "sqlite": "SELECT abs(CASE WHEN age > 0 THEN -9223372036854775807 - 1 END) AS x FROM patients",
        "duckdb": "SELECT CAST(s AS INTEGER) AS x FROM odd",
        "postgresql": "SELECT CAST(s AS INTEGER) AS x FROM odd",
    }[database.partition(":")[0]]
    with pytest.raises(DataError, match="may quote a patient") as caught:
        read_query(query, database)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


def test_a_missing_package_names_its_extra(database, monkeypatch):
    if database.startswith("sqlite"):
        pytest.skip("SQLite comes with Python")
    for module in ("duckdb", "adbc_driver_postgresql.dbapi"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(OptionError, match=r"pip install 'zodc\[(duckdb|postgres)\]'"):
        read_query("SELECT 1 AS x", database)


# ---- SQLite: any cell of any column may be of any type


def test_sqlite_reads_each_cell_by_itself(tmp_path):
    schema = Schema(
        [
            Column(name="age", kind="continuous", lower=0, upper=120),
            Column(name="ward", kind="categorical", categories=("1", "b")),
            Column(name="id", kind="categorical", role="patient_id"),
            Column(name="died", kind="binary", role="target"),
        ]
    )
    rows = [("70", 1, 2**60 + 1, 1), (30.5, "b", "2", 0), (41, "1", 2**60, "1"), (None, 1.0, "x", "0")]
    odd = [(b"\x00\xff", SECRET, None, 9), ("ten", b"b", 1.5, None), ("\udcff", "\udcff", "\udcfe", 1)]

    def encoded(cells):
        path = tmp_path / f"{len(cells)}.db"
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE t (age, ward, id, died)")
            for row in cells:
                marks = ",".join(
                    "CAST(? AS TEXT)" if isinstance(cell, str) and not cell.isascii() else "?" for cell in row
                )
                row = [
                    cell.encode("utf-8", "surrogateescape")
                    if isinstance(cell, str) and not cell.isascii()
                    else cell
                    for cell in row
                ]
                connection.execute(f"INSERT INTO t VALUES ({marks})", row)
        connection.close()
        return encode(read_query("SELECT * FROM t", f"sqlite:///{path}"), None, schema)

    alone, joined = encoded(rows), encoded(rows + odd)
    np.testing.assert_array_equal(joined.cells[:4], alone.cells)
    np.testing.assert_array_equal(joined.outcome[:4], alone.outcome)
    np.testing.assert_array_equal(alone.cells, [[70, 0], [30.5, 1], [41, 0], [np.nan, 0]])
    assert alone.patient.tolist() == [0, 1, 2, 3]


def test_sqlite_file_is_not_touched(sqlite):
    path = Path(sqlite.removeprefix("sqlite:///"))
    before = path.read_bytes(), path.stat().st_mtime_ns, sorted(path.parent.iterdir())
    read_query(QUERY, sqlite)
    with pytest.raises(DataError, match="writes"):
        read_query("UPDATE patients SET age = 1 RETURNING age", sqlite)
    assert (path.read_bytes(), path.stat().st_mtime_ns, sorted(path.parent.iterdir())) == before


# ---- DuckDB


def test_duckdb_reads_no_other_file(duckdb, tmp_path):
    (tmp_path / "a.csv").write_text("age\n20\n")
    for query in (
        f"SELECT * FROM '{tmp_path}/a.csv'",
        f"SELECT * FROM read_csv('{tmp_path}/a.csv')",
        f"COPY patients TO '{tmp_path}/b.csv'",
        "SET enable_external_access = true",
        f"ATTACH '{tmp_path}/b.duckdb'",
    ):
        with pytest.raises(DataError, match="query"):
            read_query(query, duckdb)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv"]


def test_duckdb_types(duckdb):
    table = read_query("SELECT * FROM odd", duckdb)
    assert table["id"].to_pylist() == [2**60 + 1]
    assert query_types("SELECT * FROM odd", duckdb) == {
        "id": "number", "n": "number", "s": "text", "d": "other", "u": "text",
    }  # fmt: skip


# ---- PostgreSQL


def test_postgres_types(postgres):
    table = read_query("SELECT id, n, r, b, m, u, s FROM odd ORDER BY n", postgres)
    assert table["id"].to_pylist() == [2**60 + 1, 2**60]
    assert table["n"].to_pylist() == ["12.5", "nan"]
    assert table["m"].to_pylist() == ["ok", "sad"]
    assert table["u"].to_pylist()[0].endswith("0001")
    assert table["s"].to_pylist() == [SECRET, "é"]
    assert query_types("SELECT * FROM odd", postgres) == {
        "id": "number", "n": "number", "r": "number", "b": "truth", "m": "text", "d": "other", "u": "text",
        "s": "text", "j": "text",
    }  # fmt: skip


def test_postgres_is_read_only(postgres):
    for query in (
        "INSERT INTO odd (id) VALUES (1) RETURNING id",
        "WITH more AS (INSERT INTO odd (id) VALUES (1) RETURNING id) SELECT * FROM more",
        "UPDATE patients SET age = 1 RETURNING age",
    ):
        with pytest.raises(DataError, match="only reads"):
            read_query(query, postgres)
    with pytest.raises(DataError, match="gives no table"):
        read_query("SET TRANSACTION READ WRITE", postgres)
    assert len(read_query("SELECT id FROM odd", postgres)) == 2


def test_postgres_password_from_either_variable_or_not_at_all(server, monkeypatch):
    monkeypatch.delenv("ZODC_DATABASE_PASSWORD", raising=False)
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    assert len(read_query("SELECT 1 AS x", server)) == 1
    monkeypatch.setenv("PGPASSWORD", "wrong-word")
    with pytest.raises(OptionError, match="ZODC_DATABASE_PASSWORD") as caught:
        read_query("SELECT 1 AS x", server)
    assert "wrong-word" not in str(caught.value)
    monkeypatch.setenv("ZODC_DATABASE_PASSWORD", PASSWORD)
    assert len(read_query("SELECT 1 AS x", server)) == 1


def test_postgres_that_is_down_or_unknown(server, postgres, monkeypatch):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for url in (
        f"postgresql://ward@127.0.0.1:{port}/postgres",
        server.replace("/postgres", "/nowhere"),
        server.replace("ward@", "nobody@"),
        server + "?nonsense=1",
    ):
        with pytest.raises(OptionError, match=r"'database'.*check host") as caught:
            read_query("SELECT 1 AS x", url)
        assert PASSWORD not in str(caught.value)


# ---- The command line


def test_condense_from_postgres_by_the_command_line(postgres, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    CLASSES.save("schema.toml")
    Path("query.sql").write_text(QUERY + ";\n")
    common = ["--database", postgres]
    result = run(
        *["condense", "--query", "@query.sql", *common, "--schema", "schema.toml", "--learner", "logistic"],
        *[*BUDGET, *SMALL, "--out", "r"],
    )
    assert result.exit_code == 0, result.output
    result = run("evaluate", "r", "--query", QUERY, *common, "--bootstrap", "5")
    assert result.exit_code == 0, result.output
    result = run("schema", "check", "--query", QUERY, *common, "--schema", "schema.toml")
    assert (result.exit_code, result.stdout) == (
        0,
        "the table fits the schema\n  target: 'died', classes '0', '1'; any other cell is missing\n",
    )
    result = run("schema", "init", "--query", QUERY, *common)
    assert result.exit_code == 0 and 'name = "stage"' in result.stdout
    written = b"".join(path.read_bytes() for path in Path("r").iterdir())
    assert PASSWORD.encode() not in written and b"127.0.0.1" not in written


def test_options_that_go_together(sqlite, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text("age\n")
    for arguments, word in (
        (["--query", "SELECT 1"], "--database"),
        (["--database", sqlite], "--query"),
        (["a.csv", "--query", "SELECT 1", "--database", sqlite], "not both"),
        (["--query", "@none.sql", "--database", sqlite], "none.sql"),
        ([], "FILE"),
    ):
        result = run("schema", "init", *arguments)
        assert result.exit_code == 2 and word in result.output, result.output
