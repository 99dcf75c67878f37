"""The public schema: what it accepts, what it says about faults, TOML in and out."""

import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zodc.schema import Column, Schema, SchemaError

AGE = Column(name="age", kind="continuous", lower=18, upper=100, unit="years")
SEX = Column(name="sex", kind="binary", categories=("f", "m"))
DIED = Column(name="died", kind="binary", role="target")
TIME = Column(name="time", kind="continuous", role="time", lower=0, upper=3650)
EVENT = Column(name="event", kind="binary", role="event")


def test_defaults_are_filled_in() -> None:
    stage = Column(name="stage", kind="ordinal", lower=1, upper=4)
    schema = Schema((AGE, stage, DIED), name="ward")
    assert schema.columns[1].step == 1.0
    assert schema.columns[1].levels == (1.0, 2.0, 3.0, 4.0)
    assert schema.target is not None and schema.target.categories == ("0", "1")
    assert schema.task == "classification"
    assert (schema.time, schema.event, schema.patient_id) == (None, None, None)


def test_survival_roles() -> None:
    schema = Schema([AGE, EVENT, TIME, Column(name="id", kind="categorical", role="patient_id")])
    assert schema.task == "survival"
    assert [column.name for column in schema.outcomes] == ["time", "event"]
    assert [column.name for column in schema.features] == ["age"]
    assert schema.patient_id is not None


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ([], ["columns", "add"]),
        ([AGE], ["one target", "role"]),
        ([DIED], ["feature"]),
        ([AGE, AGE, DIED], ["age", "twice"]),
        ([AGE, SEX, TIME, DIED], ["one target"]),
        ([Column(name="a", kind="continuous", lower=1), DIED], ["'a'", "upper", "never from the data"]),
        ([Column(name="a", kind="continuous", lower=5, upper=2), DIED], ["'a'", "lower bound 5", "exchange"]),
        ([Column(name="a", kind="categorical"), DIED], ["'a'", "categories", "list"]),
        ([Column(name="a", kind="binary", categories=("x", "y", "z")), DIED], ["'a'", "two categories"]),
        (
            [Column(name="a", kind="binary", categories=("x", "y"), fallback="z"), DIED],
            ["'a'", "fallback", "add it"],
        ),
        ([Column(name="a", kind="categorical", categories=("x", "x")), DIED], ["'a'", "twice"]),
        ([Column(name="a", kind="ordinal", lower=0, upper=1, step=0.3), DIED], ["'a'", "step"]),
        ([AGE, EVENT, Column(name="t", kind="continuous", role="time", lower=-1, upper=9)], ["'t'", "lower"]),
        ([AGE, Column(name="y", kind="continuous", role="target", lower=0, upper=1)], ["'y'", "classes"]),
        (["age", DIED], ["zodc.Column"]),
    ],
)
def test_faults_name_column_and_remedy(columns: list[Column], words: list[str]) -> None:
    with pytest.raises(SchemaError) as caught:
        Schema(tuple(columns))
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "number"}, ["'a'", "kind", "continuous"]),
        ({"role": "label"}, ["'a'", "role", "target"]),
        ({"missing": "drop"}, ["'a'", "missing", "impute"]),
        ({"lower": float("-inf")}, ["'a'", "lower", "finite"]),
        ({"upper": float("nan")}, ["'a'", "upper", "finite"]),
        ({"upper": "9"}, ["'a'", "upper", "number"]),
        ({"lower": True}, ["'a'", "lower", "number"]),
        ({"categories": "yes"}, ["'a'", "categories"]),
        ({"categories": (0, 1)}, ["'a'", "categories", "texts"]),
        ({"unit": 3}, ["'a'", "unit"]),
        ({"name": " "}, ["name"]),
    ],
)
def test_faults_of_one_column(options: dict[str, object], words: list[str]) -> None:
    with pytest.raises(SchemaError) as caught:
        Column(**({"name": "a", "kind": "continuous"} | options))  # type: ignore[arg-type]
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize("bound", ["inf", "-inf", "nan"])
def test_infinite_bound_in_toml(bound: str) -> None:
    text = Schema((AGE, DIED)).to_toml().replace("lower = 18.0", f"lower = {bound}")
    with pytest.raises(SchemaError, match=r"'age'.*not a finite number.*state"):
        Schema.from_toml(text)


def test_toml_faults_name_the_line() -> None:
    with pytest.raises(SchemaError, match="line 3"):
        Schema.from_toml('[[column]]\nname = "age"\nkind = "real"\n')
    with pytest.raises(SchemaError, match="unknown field"):
        Schema.from_toml('[[column]]\nname = "age"\nkind = "continuous"\nlow = 3\n')
    with pytest.raises(SchemaError):
        Schema.from_toml("not toml at all [")


@given(
    name=st.text(min_size=1, max_size=20).filter(str.strip),
    lower=st.integers(-1000000, 1000000),
    width=st.sampled_from([0.001, 0.5, 1.0, 7.25, 1e6]),
    categories=st.lists(st.text(max_size=8), min_size=2, max_size=6, unique=True),
    # A draft's gap is refused by name, and hypothesis finds that word in the source.
    unit=st.none() | st.text(max_size=10).filter(lambda text: text != "FILL IN"),
)
@settings(max_examples=60, deadline=None)
def test_toml_and_json_round_trips(
    name: str, lower: int, width: float, categories: list[str], unit: str | None
) -> None:
    columns = (
        Column(
            name=name, kind="continuous", lower=lower, upper=lower + width, unit=unit, missing="indicator"
        ),
        Column(name=name + "_c", kind="categorical", categories=tuple(categories), fallback=categories[0]),
        Column(name=name + "_y", kind="binary", role="target"),
    )
    schema = Schema(columns, name=unit)
    assert Schema.from_toml(schema.to_toml()) == schema


def test_files(tmp_path) -> None:
    schema = Schema((AGE, SEX, DIED))
    schema.save(tmp_path / "schema.toml")
    assert Schema.load(tmp_path / "schema.toml") == schema
    with pytest.raises(FileNotFoundError):
        Schema.load(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes('name = "Köln"'.encode("latin-1"))
    with pytest.raises(SchemaError, match="UTF-8"):
        Schema.load(tmp_path / "latin.toml")


@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame])
def test_a_draft_copies_no_value_and_must_be_completed(library) -> None:
    frame = library({'odd "x" \U0001f600': [71.25, 34.5], "ward": ["west", "east"], "seen": [True, False]})
    draft = Schema.draft(frame)
    assert not any(value in draft for value in ("71.25", "34.5", "west", "east"))
    assert [line for line in draft.splitlines() if line.startswith("kind")] == [
        'kind = "continuous"',
        'kind = "categorical"',
        'kind = "binary"',
    ]
    with pytest.raises(SchemaError, match=r"'odd \"x\" .'.*lower is still 'FILL IN'.*never from the data"):
        Schema.from_toml(draft)
    filled = draft.replace('lower = "FILL IN"', "lower = 0").replace('upper = "FILL IN"', "upper = 120")
    with pytest.raises(SchemaError, match="unit is still"):
        Schema.from_toml(filled)
    filled = filled.replace('unit = "FILL IN"', 'unit = "years"').replace('["FILL IN"]', '["f", "m"]')
    filled += 'role = "target"\n'
    assert Schema.from_toml(filled).task == "classification"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"kind": "ordinal", "lower": 0, "upper": 1e20}, "more than 1000 levels"),
        ({"kind": "continuous", "lower": -8e307, "upper": 8e307}, "not a finite number below 1e100"),
        ({"kind": "continuous", "lower": 1.0, "upper": 1.0000000000000002}, "too close to tell apart"),
        ({"kind": "continuous", "lower": 0.0, "upper": 5e-324}, "too close to tell apart"),
    ],
)
def test_extreme_bounds_are_refused_before_a_budget_is_spent(options, problem):
    with pytest.raises(SchemaError, match=problem):
        Schema([Column(name="x", **options), Column(name="y", kind="binary", role="target")])
