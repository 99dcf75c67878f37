"""URLs of databases: which are refused, and that no password and no cell is printed."""

from __future__ import annotations

import pytest
from command_line import SECRET, run
from zodc.database import read_query
from zodc.options import OptionError


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://ward:{SECRET}@127.0.0.1/x",
        f"postgresql://127.0.0.1/x?user=ward&password={SECRET}",
        f"postgres://ward@127.0.0.1/x?PASSWORD={SECRET}",
        f"postgresql:///x?sslpassword={SECRET}",
        f"postgresql://ward:{SECRET}@[bad/x",
        "postgresql://ward:@127.0.0.1/x",
    ],
)
def test_a_password_in_the_url_is_refused_and_never_printed(url):
    with pytest.raises(OptionError) as caught:
        read_query("SELECT 1 AS x", url)
    assert SECRET not in str(caught.value)
    if "[bad" not in url:
        assert "holds a password" in str(caught.value) and "ZODC_DATABASE_PASSWORD" in str(caught.value)
    result = run("schema", "init", "--query", "SELECT 1 AS x", "--database", url)
    assert result.exit_code == 2 and SECRET not in result.output
    assert result.output.startswith("Error: The '--database' option")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://h/x", ["sqlite:///FILE", "postgresql://"]),
        ("host=localhost dbname=x", ["URL"]),
        ("sqlite://a.db", ["three slashes"]),
        ("sqlite:///", ["three slashes"]),
        ("sqlite:///none.db", ["none.db", "no file"]),
        ("duckdb:///none.duckdb", ["none.duckdb", "no file"]),
    ],
)
def test_urls_that_are_not_understood(url, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionError) as caught:
        read_query("SELECT 1 AS x", url)
    assert all(word in str(caught.value) for word in words), caught.value
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["sqlite", "duckdb"])
def test_a_file_that_is_no_database(kind, tmp_path):
    (tmp_path / "a.db").write_text(SECRET * 100)
    with pytest.raises(OptionError, match=r"a\.db") as caught:
        read_query("SELECT 1 AS x", f"{kind}:///{tmp_path}/a.db")
    assert SECRET not in str(caught.value)


def test_a_driver_that_quotes_the_address_gives_no_password_away(monkeypatch):
    # A colon is missing before the port: libpq repeats the whole address, with the password percent-encoded.
    monkeypatch.setenv("ZODC_DATABASE_PASSWORD", "s3cr%t&=@/pw")
    with pytest.raises(OptionError) as caught:
        read_query("SELECT 1 AS x", "postgresql://ward@[::1]5432/clinic")
    assert "s3cr" not in str(caught.value) and "refuses the connection" in str(caught.value)
