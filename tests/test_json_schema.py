"""The JSON Schema of schema.toml says what the parser says, but for what needs two values compared."""

from __future__ import annotations

import copy
import json
import tomllib
from dataclasses import fields
from importlib.resources import files
from pathlib import Path

import pytest
from click.testing import CliRunner
from cohorts import CLASSES, SURVIVAL
from hypothesis import given, settings
from hypothesis import strategies as st
from zodc import _zodc, cli
from zodc._zodc import SchemaError
from zodc.catalogue import variables
from zodc.schema import Column, Schema

jsonschema = pytest.importorskip("jsonschema")

TEXT = json.loads(CliRunner().invoke(cli.main, ["schema", "json-schema"]).stdout)
VALID = jsonschema.Draft202012Validator(TEXT)
# Faults that a JSON Schema cannot tell: two values are compared, or an entry with another column.
RELATIONS = (
    "is not below its upper bound",
    "too close to tell apart",
    "within the bounds",
    "whole number of steps",
    "needs at least two levels",
    "more than 1000 levels",
    "is not one of its categories",
    "the name occurs twice",
)
TARGET = {"name": "y y", "kind": "binary", "role": "target"}
TIME = {"name": "y y", "kind": "continuous", "role": "time", "lower": 0, "upper": 1}
EVENT = {"name": "y y", "kind": "binary", "role": "event"}
FEATURE = {"name": "z z", "kind": "binary"}


def _parsed(table: dict) -> str | None:
    """Ask the parser in Rust what is wrong."""
    try:
        _zodc.check_schema(json.dumps(table))
        return None
    except SchemaError as error:
        return str(error)


def _agree(table: dict) -> None:
    fault, is_valid = _parsed(table), VALID.is_valid(table)
    if fault is None:
        assert is_valid, (table, [error.message for error in VALID.iter_errors(table)])
    elif is_valid:
        assert any(words in fault for words in RELATIONS), (table, fault)


def _tables() -> dict[str, dict]:
    root = files("zodc").joinpath("data")
    texts = {
        path.name: path.read_text(encoding="utf-8") for path in root.iterdir() if path.name.endswith("toml")
    }
    shipped = {name: tomllib.loads(text) for name, text in texts.items() if name != "catalogue.toml"}
    made = {"classes": CLASSES, "survival": SURVIVAL}
    return shipped | {name: json.loads(schema.to_json()) for name, schema in made.items()}


def test_it_is_a_json_schema_itself():
    jsonschema.Draft202012Validator.check_schema(TEXT)


def test_it_knows_every_entry_of_a_column():
    assert set(TEXT["$defs"]["column"]["properties"]) == {field.name for field in fields(Column)}


@pytest.mark.parametrize("name", _tables())
def test_shipped_schemas_are_valid(name):
    table = _tables()[name]
    VALID.validate(table)
    assert _parsed(table) is None


def test_toml_of_the_repository_is_valid():
    root = Path(__file__).resolve().parents[1]
    found = [path for path in root.glob("examples/**/*.toml") if "[[column]]" in path.read_text()]
    for path in found:
        VALID.validate(tomllib.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("keys", [["age", "sex", "died", "creatinine"], [*variables()]])
def test_a_draft_is_not_valid_before_it_is_completed(keys):
    draft = tomllib.loads(Schema.draft(dict.fromkeys(keys, "number")))
    assert not VALID.is_valid(draft)
    for column in draft["column"]:
        is_open = "confirm" in column or "FILL IN" in json.dumps(column, ensure_ascii=False)
        whole = {
            "column": [
                column,
                {"name": "y y", "kind": "binary", "role": "target"},
                {"name": "z z", "kind": "binary"},
            ]
        }
        assert VALID.is_valid(whole) != (is_open or column.get("role") == "target")


BREAKS = [
    lambda t: t.update(column=[]),
    lambda t: t.pop("column"),
    lambda t: t.update(nmae="x"),
    lambda t: t.update(name=3),
    lambda t: t["column"][0].pop("name"),
    lambda t: t["column"][0].update(name=" "),
    lambda t: t["column"][0].pop("kind"),
    lambda t: t["column"][0].update(kind="number"),
    lambda t: t["column"][0].update(role="label"),
    lambda t: t["column"][0].update(missing="drop"),
    lambda t: t["column"][0].update(low=3),
    lambda t: t["column"][0].pop("upper"),
    lambda t: t["column"][0].update(lower="18"),
    lambda t: t["column"][0].update(lower=-1e101),
    lambda t: t["column"][0].update(categories=["a"]),
    lambda t: t["column"][0].update(confirm="kind"),
    lambda t: t["column"][2].update(categories=["a"]),
    lambda t: t["column"][2].update(categories=["a", "a"]),
    lambda t: t["column"][2].update(categories=[1, 2]),
    lambda t: t["column"][3].update(categories=["a", "b", "c"]),
    lambda t: t["column"][4].update(missing="indicator"),
    lambda t: t["column"][4].update(role="feature"),
    lambda t: t["column"][4].update(role="time"),
    lambda t: t["column"][0].update(role="target"),
    lambda t: t["column"][0].update(role="event"),
    lambda t: t["column"][0].update(max_rows=3),
    lambda t: t["column"][0].update(role="patient_id", max_rows=0),
    lambda t: t["column"][0].update(role="patient_id", max_rows=4097),
    lambda t: [column.update(role="ignore") for column in t["column"][:4]],
    lambda t: [column.update(role="patient_id") for column in t["column"][:2]],
]


SURVIVAL_BREAKS = [
    lambda t: t["column"][2].update(lower=-1),
    lambda t: t["column"][2].update(kind="ordinal"),
    lambda t: t["column"][3].update(kind="categorical", categories=["a", "b"]),
    lambda t: t["column"].pop(),
]


@pytest.mark.parametrize(
    ("name", "broken"),
    [("classes", broken) for broken in BREAKS] + [("survival", broken) for broken in SURVIVAL_BREAKS],
)
def test_broken_schemas_are_refused_by_both(name, broken):
    table = copy.deepcopy(_tables()[name])
    broken(table)
    assert not VALID.is_valid(table)
    assert _parsed(table) is not None


bounds = st.sampled_from([-1e101, -5, -1, 0, 0.5, 1, 3, 100, 1e6, 1e101, "1", None, True])
roles = st.sampled_from(["feature"] * 4 + ["target"] * 2 + ["time", "event", "patient_id", "ignore", "x"])
texts = st.sampled_from(["a", "b", "c", "0", "1", " ", ""])


@st.composite
def columns(draw) -> dict:
    column = {
        "name": draw(st.sampled_from(["p", "q", "r", "s", "t", "u", "p_missing", " "])),
        "kind": draw(st.sampled_from(["continuous", "ordinal", "binary", "categorical"] * 3 + ["other"])),
    }
    for key, values in (
        (
            "role",
            st.sampled_from(
                ["feature"] * 4 + ["target", "target", "time", "event", "patient_id", "ignore", "x"]
            ),
        ),
        ("lower", bounds),
        ("upper", bounds),
        ("step", st.sampled_from([-1, 0, 0.5, 1, 2, 1e7])),
        ("categories", st.lists(texts, max_size=4) | st.just("a") | st.just([1])),
        ("fallback", texts),
        ("missing", st.sampled_from(["impute", "indicator"] * 4 + ["drop"])),
        ("max_rows", st.sampled_from([1, 32, 4096, 4097, 0, -1, "3"])),
        ("unit", st.sampled_from(["mg", "", 3])),
        ("odd", st.just(1)),
    ):
        weight = {"odd": 30, "fallback": 5, "unit": 5, "missing": 4, "step": 4, "max_rows": 4}.get(key, 1)
        if draw(st.integers(0, weight)) == 0 or (key in ("lower", "upper") and draw(st.booleans())):
            column[key] = draw(values)
    return {key: value for key, value in column.items() if value is not None}


good = st.sampled_from(_tables()["classes"]["column"] + _tables()["survival"]["column"])


@given(column=columns())
@settings(max_examples=600, deadline=None)
def test_parser_and_json_schema_agree_on_a_column(column):
    rest = [{"name": "y y", "kind": "binary", "role": "target"}, {"name": "z z", "kind": "binary"}]
    if column.get("role") in ("target", "time", "event"):
        others = {"time": {"name": "y y", "kind": "binary", "role": "event"}}
        survival = {"name": "y y", "kind": "continuous", "role": "time", "lower": 0, "upper": 1}
        rest = [
            {"target": rest[1]}.get(column["role"], others.get(column["role"], survival)),
            rest[1] | {"name": "w w"},
        ]
    _agree({"column": [column, *rest]})


@given(table=st.fixed_dictionaries({"column": st.lists(columns() | good, max_size=6)}))
@settings(max_examples=200, deadline=None)
def test_parser_and_json_schema_agree_on_tables(table):
    _agree(table)


@given(st.integers(0, 4), st.sampled_from(["role", "kind", "lower", "categories"]), st.data())
@settings(max_examples=200, deadline=None)
def test_parser_and_json_schema_agree_on_small_changes(place, key, data):
    table = copy.deepcopy(_tables()["classes"])
    other = data.draw(columns())
    table["column"][place].pop(key, None)
    if key in other:
        table["column"][place][key] = other[key]
    _agree(table)
