"""Databases in: one query, read-only, whose rows are read so that no row changes how another is read.

What a database says while it reads rows may quote a patient's cell, so its words are passed on only from
before it reads any: when it is reached, and when it takes the query.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

import numpy as np
import pandas as pd
import pyarrow as pa

from zodc._zodc import DataError
from zodc.draft import Type, types_of
from zodc.files import plain_cells
from zodc.options import OptionError

__all__ = ["query_types", "read_query"]

_PASSWORDS = ("ZODC_DATABASE_PASSWORD", "PGPASSWORD")
_SECRETS = ("password", "sslpassword", "scram_client_key", "scram_server_key", "oauth_client_secret")
_FORMS = "sqlite:///FILE, duckdb:///FILE or postgresql://USER@HOST/DATABASE"


class _Session(Protocol):
    """An open database that takes one query."""

    def types(self, query: str) -> list[tuple[str, Type]]: ...
    def rows(self, query: str) -> Any: ...


def read_query(query: str, database: str) -> Any:
    """Read the rows that a query gives, from a read-only connection.

    Parameters
    ----------
    query : str
        One SELECT. Each of its rows must depend on one patient alone: a mean over others, a rank or LIMIT
        would mix patients, and no clip bounds that.
    database : str
        sqlite:///FILE, duckdb:///FILE or postgresql://USER@HOST/DATABASE. A password is taken from the
        environment, ZODC_DATABASE_PASSWORD or PGPASSWORD, or from libpq's own files.

    Returns
    -------
    pandas.DataFrame or pyarrow.Table
        For `Condenser.fit`. SQLite has no types of columns: its cells stand as they are, one by one.

    Raises
    ------
    OptionError
        When the URL is not understood or holds a password, a package is missing, or the database does not
        answer.
    DataError
        When the database refuses the query, or a column occurs twice.
    """
    with _session(database) as session:
        _named(session, query)
        return session.rows(_one(query))


def query_types(query: str, database: str) -> dict[str, Type]:
    """Read names and types of the columns that a query gives, and no row. SQLite tells no types.

    Raises
    ------
    OptionError, DataError
        Like `read_query`.
    """
    with _session(database) as session:
        return dict(_named(session, query))


def _one(query: str) -> str:
    return query.strip().removesuffix(";").strip()


def _named(session: _Session, query: str) -> list[tuple[str, Type]]:
    columns = session.types(_one(query))
    names = [name for name, _ in columns]
    if not names:
        raise DataError("query: it gives no table; pass one SELECT")
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"query: it gives the column '{name}' twice; rename one with AS, or drop it")
    return columns


@contextmanager
def _session(database: str) -> Iterator[_Session]:
    url = _split(database)
    openers = {"sqlite": _sqlite, "duckdb": _duckdb, "postgresql": _postgres, "postgres": _postgres}
    if url.scheme not in openers:
        raise OptionError(f"The 'database' option must be a URL: {_FORMS}.")
    with openers[url.scheme](url) as session:
        yield session


def _split(database: str) -> SplitResult:
    try:
        url = urlsplit(database)
        has_password = url.password is not None or any(
            name.lower() in _SECRETS for name, _ in parse_qsl(url.query, keep_blank_values=True)
        )
    except ValueError:
        # Its text would quote the URL.
        raise OptionError(f"The 'database' option is not a valid URL; write {_FORMS}.") from None
    if has_password:
        raise OptionError(
            "The 'database' option holds a password, which the shell's history and the list of processes "
            f"would keep; take it out, and set it in the environment variable {_PASSWORDS[0]}."
        )
    return url


def _file(url: SplitResult) -> Path:
    if url.netloc or len(url.path) < 2:
        raise OptionError(f"The 'database' option needs three slashes before the file: {url.scheme}:///FILE.")
    path = Path(unquote(url.path[1:]))
    if not path.is_file():
        raise OptionError(f"The 'database' option names '{path}', which is no file; mend the path.")
    return path


def _refused(said: str) -> DataError:
    return DataError(f"query: the database refuses it: {' '.join(said.split())}; mend the query")


def _writes() -> DataError:
    return DataError("query: it is no SELECT, or writes to the database; pass one SELECT that only reads")


def _failed(kind: object) -> DataError:
    return DataError(
        f"query: the database stopped while reading rows ({kind}); what it said may quote a patient and is "
        "not shown: run the query in the database's own client"
    )


def _guarded(run: Callable[[], Any], errors: Any, fault: Callable[[Any], Exception]) -> Any:
    try:
        return run()
    except errors as error:
        raise fault(error) from None


# ---- SQLite


class _Sqlite:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def types(self, query: str) -> list[tuple[str, Type]]:
        def described(statement: str) -> list[str]:
            return [column[0] for column in self._connection.execute(statement).description or ()]

        def no_select(error: Any) -> DataError:
            is_other = getattr(error, "sqlite_errorname", "") == "SQLITE_ERROR"
            return _writes() if is_other else self._fault(error)

        # EXPLAIN compiles the query; a cursor on the query itself would read its first row.
        _guarded(lambda: described(f"EXPLAIN {query}"), sqlite3.Error, lambda error: _refused(str(error)))
        names = _guarded(lambda: described(f"SELECT * FROM (\n{query}\n) LIMIT 0"), sqlite3.Error, no_select)
        # SQLite calls the second column of a name "name:1" here.
        original = {f"{name}:{number}": name for name in names for number in range(1, len(names))}
        return [(original.get(name, name), None) for name in names]

    def rows(self, query: str) -> Any:
        def fetch() -> pd.DataFrame:
            cursor = self._connection.execute(query)
            names = [column[0] for column in cursor.description]
            rows = cursor.fetchall()
            cells = (
                np.fromiter((row[place] for row in rows), object, len(rows)) for place in range(len(names))
            )
            return pd.DataFrame(dict(zip(names, cells, strict=True)))

        return _guarded(fetch, sqlite3.Error, self._fault)

    @staticmethod
    def _fault(error: Any) -> DataError:
        kind = getattr(error, "sqlite_errorname", type(error).__name__)
        return _writes() if kind == "SQLITE_READONLY" else _failed(kind)


@contextmanager
def _sqlite(url: SplitResult) -> Iterator[_Session]:
    path = _file(url)

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)
        connection.execute("PRAGMA query_only = ON")
        connection.execute("SELECT count(*) FROM sqlite_master")
        return connection

    not_one = OptionError(f"The 'database' option names '{path}', which is no readable SQLite database.")
    with closing(_guarded(connect, sqlite3.Error, lambda _: not_one)) as connection:
        # One cell that is not UTF-8 would make an error that quotes it.
        connection.text_factory = lambda cell: cell.decode("utf-8", "surrogateescape")
        yield _Sqlite(connection)


# ---- DuckDB


class _Duckdb:
    def __init__(self, module: Any, connection: Any) -> None:
        self._module = module
        self._connection = connection

    def types(self, query: str) -> list[tuple[str, Type]]:
        def describe() -> Any:
            statements = self._module.extract_statements(query)
            if [statement.type.name for statement in statements] != ["SELECT"]:
                return None
            names = [row[0] for row in self._connection.execute(f"DESCRIBE {query}").fetchall()]
            if len(set(names)) < len(names):
                return [(name, None) for name in names]
            empty = self._connection.sql(query).limit(0).to_arrow_table()
            return list(types_of(plain_cells(empty)).items())

        return _guarded(describe, self._module.Error, lambda error: _refused(_first_line(error))) or []

    def rows(self, query: str) -> pa.Table:
        def fetch() -> pa.Table:
            return plain_cells(self._connection.sql(query).to_arrow_table())

        return _guarded(fetch, self._module.Error, lambda error: _failed(type(error).__name__))


@contextmanager
def _duckdb(url: SplitResult) -> Iterator[_Session]:
    duckdb = _imported("duckdb", "duckdb")
    path = _file(url)
    # Files outside the database would be read with types guessed from their cells.
    config = {"enable_external_access": "false", "lock_configuration": "true"}
    not_one = OptionError(
        f"The 'database' option names '{path}', which is no DuckDB database that can be read now; mend the "
        "path, or end the process that has it open."
    )
    connection = _guarded(
        lambda: duckdb.connect(str(path), read_only=True, config=config), duckdb.Error, lambda _: not_one
    )
    with closing(connection):
        yield _Duckdb(duckdb, connection)


# ---- PostgreSQL


class _Postgres:
    def __init__(self, module: Any, cursor: Any) -> None:
        self._module = module
        self._cursor = cursor

    def types(self, query: str) -> list[tuple[str, Type]]:
        """Let the server parse the query, which reads no row."""

        def fault(error: Any) -> Exception:
            if error.sqlstate is None:
                return _failed(type(error).__name__)
            return _refused(str(error).partition("ERROR:")[2].partition("\n")[0])

        schema = _guarded(lambda: self._cursor.adbc_execute_schema(query), self._module.Error, fault)
        # By place: names may occur twice.
        empty = {str(place): pa.chunked_array([], field.type) for place, field in enumerate(schema)}
        found = types_of(plain_cells(pa.table(empty)))
        is_numeric = [(field.metadata or {}).get(b"POSTGRESQL:type") == b"numeric" for field in schema]
        return [
            (field.name, "number" if numeric else found[str(place)])
            for place, (field, numeric) in enumerate(zip(schema, is_numeric, strict=True))
        ]

    def rows(self, query: str) -> pa.Table:
        def fetch() -> pa.Table:
            self._cursor.execute(query)
            return plain_cells(self._cursor.fetch_arrow_table())

        def fault(error: Any) -> Exception:
            if error.sqlstate == "25006":
                return _writes()
            return _failed(f"SQLSTATE {error.sqlstate}" if error.sqlstate else type(error).__name__)

        return _guarded(fetch, self._module.Error, fault)


@contextmanager
def _postgres(url: SplitResult) -> Iterator[_Session]:
    driver = _imported("adbc_driver_postgresql.dbapi", "postgres")
    password = next((os.environ[name] for name in _PASSWORDS if os.environ.get(name)), None)

    def unreachable(error: Exception) -> OptionError:
        said = str(error).partition("Failed to connect:")[2] or type(error).__name__
        # A driver may quote the address, in which the password is written by percent signs.
        if password is not None and (password in said or "password" in said or "://" in said):
            said = "the server refuses the connection"
        remedy = f"check host, port, user and database, and the password in {_PASSWORDS[0]}"
        return OptionError(f"The 'database' option: {' '.join(said.split())}; {remedy}.")

    connection = _guarded(lambda: driver.connect(_address(url, password)), driver.Error, unreachable)
    with closing(connection), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION READ ONLY")
        yield _Postgres(driver, cursor)


def _address(url: SplitResult, password: str | None) -> str:
    given = [] if password is None else [f"password={quote(password, safe='')}"]
    return url._replace(query="&".join([*filter(None, [url.query]), *given])).geturl()


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _imported(module: str, extra: str) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError:
        package = module.partition(".")[0].replace("_", "-")
        raise OptionError(
            f"The 'database' option needs the package {package}; install it: pip install 'zodc[{extra}]'."
        ) from None
