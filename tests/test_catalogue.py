"""The catalogue of clinical variables, and what a draft makes of it."""

from __future__ import annotations

import math
import tomllib

import numpy as np
import pandas as pd
import polars as pl
import pytest
from zodc.catalogue import _index, _spellings, _words, find, find_code, variables
from zodc.options import OptionError
from zodc.schema import Column, Schema, SchemaError


def _drafted(text: str) -> dict[str, dict]:
    return {column["name"]: column for column in tomllib.loads(text)["column"]}


def _confirmed(draft: str) -> str:
    return "".join(line for line in draft.splitlines(keepends=True) if not line.startswith("confirm"))


def _check_digit(digits: str) -> int:
    """Find the check digit of a LOINC code (modulus 10)."""
    doubled = [int(d) * (2 if place % 2 == 0 else 1) for place, d in enumerate(reversed(digits))]
    return -sum(d // 10 + d % 10 for d in doubled) % 10


# ---- The entries


def test_the_catalogue_is_large_and_whole():
    assert len(variables()) >= 150
    for variable in variables().values():
        assert variable.label and variable.source and variable.key == variable.key.lower()
        assert variable.kind in ("continuous", "ordinal", "binary", "categorical")
        assert (variable.kind == "continuous") == bool(variable.units), variable.key
        assert (variable.kind == "ordinal") == (variable.range is not None), variable.key
        assert variable.assume in (None, *(unit.name for unit in variable.units))


def test_every_entry_makes_a_valid_column():
    target = Column(name="y", kind="binary", role="target")
    for variable in variables().values():
        for unit in variable.units:
            column = Column(name="x", kind="continuous", lower=unit.lower, upper=unit.upper, unit=unit.name)
            assert Schema([column, target]).features
            assert all(float(f"{bound:g}") == bound for bound in (unit.lower, unit.upper)), variable.key
        if variable.range is not None:
            lower, upper, step = variable.range
            column = Column(name="x", kind="ordinal", lower=lower, upper=upper, step=step)
            assert Schema([column, target]).features[0].levels[-1] == upper


def test_no_name_means_two_things():
    entries = [(key, name) for key, v in variables().items() for name in (key, *v.names)]
    keys = ["".join(_words(name)) for _, name in entries]
    assert all(keys)
    assert len(set(keys)) == len(keys) == len(_index())


def test_units_of_a_variable_are_told_apart():
    for variable in variables().values():
        spellings = [_spellings(unit.name) for unit in variable.units]
        shared = [a & b for place, a in enumerate(spellings) for b in spellings[:place]]
        assert not any(shared), variable.key


def test_loinc_codes_have_their_check_digit():
    codes = [unit.loinc for v in variables().values() for unit in v.units if unit.loinc]
    codes += [v.loinc for v in variables().values() if v.loinc]
    assert len(codes) > 100
    for code in codes:
        digits, check = code.split("-")
        assert _check_digit(digits) == int(check), code
    owners = {}
    for variable in variables().values():
        for code in {variable.loinc, *(unit.loinc for unit in variable.units)} - {None}:
            assert owners.setdefault(code, variable.key) == variable.key


def test_units_of_one_variable_agree():
    """Bounds of two units are those of one range: creatinine by 88.4, glucose by 18, and so on."""
    factors = {
        ("creatinine", "umol/L"): 88.4,
        ("glucose", "mmol/L"): 1 / 18.02,
        ("bilirubin", "umol/L"): 17.1,
        ("urea_nitrogen", "mmol/L"): 0.357,
        ("total_cholesterol", "mmol/L"): 1 / 38.67,
        ("triglycerides", "mmol/L"): 1 / 88.57,
        ("calcium", "mmol/L"): 0.2495,
        ("hemoglobin", "g/L"): 10,
        ("uric_acid", "umol/L"): 59.48,
        ("pco2", "kPa"): 0.1333,
        ("po2", "kPa"): 0.1333,
        ("height", "cm"): 2.54,
        ("weight", "kg"): 0.4536,
        ("vitamin_d", "nmol/L"): 2.496,
        ("free_t4", "pmol/L"): 12.87,
        ("iron", "umol/L"): 0.179,
        ("phosphate", "mmol/L"): 0.3229,
        ("urea", "mmol/L"): 0.1665,
        ("magnesium", "mmol/L"): 0.4114,
        ("cortisol", "nmol/L"): 27.59,
        ("testosterone", "nmol/L"): 0.0347,
        ("lactate", "mmol/L"): 0.111,
    }
    for (key, name), factor in factors.items():
        first, *others = variables()[key].units
        other = next(unit for unit in others if unit.name == name)
        assert math.isclose(other.upper, first.upper * factor, rel_tol=0.1), key


# ---- Names


@pytest.mark.parametrize(
    ("name", "key", "unit"),
    [
        ("age", "age", None),
        ("Age (years)", "age", "years"),
        ("AGE_AT_ADMISSION", "age", None),
        ("sysBP", "systolic_pressure", None),
        ("creatinine_max_24h", "creatinine", None),
        ("Creatinine (µmol/L)", "creatinine", "umol/L"),
        ("creatinine_mg_per_dl", "creatinine", "mg/dL"),
        ("serumCreatinine_umolL", "creatinine", "umol/L"),
        ("temp_c", "temperature", "°C"),
        ("Temperature (°F)", "temperature", "°F"),
        ("HbA1c", "hba1c", None),
        ("hba1c_pct", "hba1c", "%"),
        ("wbc_k_ul", "white_cells", "10^9/L"),
        ("weight_lbs", "weight", "lb"),
        ("baseline_sodium", "sodium", None),
        ("min_platelets", "platelets", None),
        ("ferritin_mcg_l", "ferritin", "ug/L"),
        ("neutrophils %", "neutrophils", "%"),
        ("subject_id", "patient_id", None),
        ("date_of_birth", "date", None),
    ],
)
def test_names_that_are_known(name, key, unit):
    variable, found = find(name)
    assert (variable.key, found and found.name) == (key, unit)


@pytest.mark.parametrize(
    "name",
    ["urine_sodium", "mother_age", "sodium_change", "age_at_death", "creatinine_sd", "x1", "", "💉",
     "csf_glucose", "creatinine_furlongs", "family_history_diabetes", "hr_missing", "min", "24h"],
)  # fmt: skip
def test_names_that_are_not_known(name):
    assert find(name) is None


def test_codes():
    assert (find_code("2160-0")[0].key, find_code("2160-0")[1].name) == ("creatinine", "mg/dL")
    assert (find_code("8310-5")[0].key, find_code("8310-5")[1]) == ("temperature", None)
    assert (find_code("9269-2")[0].key, find_code("9269-2")[1]) == ("gcs", None)
    assert find_code("0-0") is None


# ---- Drafts


def test_a_proposal_is_not_used_before_it_is_confirmed():
    frame = pd.DataFrame({"age": [71.25], "sbp": [120], "died": [1]})
    draft = Schema.draft(frame)
    with pytest.raises(SchemaError, match=r"'age'.*not confirmed; check kind, unit and bounds.*delete"):
        Schema.from_toml(draft)
    last = draft.rindex("confirm")
    with pytest.raises(SchemaError, match=r"'died'.*not confirmed"):
        Schema.from_toml(_confirmed(draft[:last]) + draft[last:])
    schema = Schema.from_toml(_confirmed(draft) + 'role = "target"\n')
    age, pressure, _ = schema.columns
    assert (age.lower, age.upper, age.unit) == (0, 120, "years")
    assert (pressure.upper, pressure.unit) == (300, "mmHg")
    assert "8480-6" in (pressure.description or "")


def test_a_unit_that_nothing_tells_is_a_gap_and_none_is_guessed():
    frame = pd.DataFrame({"creatinine": [1.0], "died": [1]})
    draft = Schema.draft(frame)
    assert "mg/dL 0 to 50; umol/L 0 to 4500" in draft
    with pytest.raises(SchemaError, match=r"'creatinine'.*lower is still 'FILL IN'"):
        Schema.from_toml(draft)
    for units, unit, upper in (
        (["si"], "umol/L", 4500),
        (["conventional"], "mg/dL", 50),
        (["creatinine=µmol/l"], "umol/L", 4500),
        (["si", "creatinine=mg/dL"], "mg/dL", 50),
    ):
        column = _drafted(Schema.draft(frame, units=units))["creatinine"]
        assert (column["unit"], column["upper"]) == (unit, upper)
    suffixed = _drafted(Schema.draft(pd.DataFrame({"creatinine_umol_l": [1.0]}), units=["conventional"]))
    assert suffixed["creatinine_umol_l"]["upper"] == 4500


@pytest.mark.parametrize(
    ("units", "words"),
    [
        (["metric"], ["units", "metric", "conventional"]),
        (["si", "conventional"], ["units"]),
        (["creatinine=furlong"], ["creatinine", "mg/dL", "umol/L"]),
        (["kreatinin=mg/dL"], ["kreatinin", "no column"]),
        (["=mg/dL"], ["units"]),
    ],
)
def test_units_that_make_no_sense(units, words):
    with pytest.raises(OptionError) as caught:
        Schema.draft(pd.DataFrame({"creatinine": [1.0]}), units=units)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame])
def test_a_draft_depends_on_names_and_types_alone(library):
    names = ["age", "sex", "creatinine_umol_l", "gcs", "diabetes", "foo", "patient_id"]

    def frame(number, text):
        return library({name: [text] if name in ("sex", "patient_id") else [number] for name in names})

    first, second = Schema.draft(frame(71.5, "Ann")), Schema.draft(frame(-3.25, "Bob"))
    assert first == second
    assert "Ann" not in first and "71.5" not in first
    columns = _drafted(first)
    assert columns["patient_id"]["role"] == "patient_id"
    assert columns["gcs"] | {"confirm": ""} == {
        "name": "gcs", "kind": "ordinal", "lower": 3, "upper": 15, "step": 1, "confirm": "",
        "description": "Glasgow coma scale (LOINC 9269-2)",
    }  # fmt: skip
    assert columns["sex"]["categories"] == ["FILL IN"] and columns["diabetes"]["categories"] == ["0", "1"]


def test_types_overrule_names():
    frame = pd.DataFrame(
        {
            "age": pd.to_datetime(["2020-01-01"]),
            "diabetes": ["yes"],
            "stroke": [True],
            "sodium": ["low"],
            "x": [None],
        }
    )
    columns = _drafted(Schema.draft(frame))
    assert columns["age"]["role"] == "ignore"
    assert columns["diabetes"]["categories"] == ["FILL IN"]
    assert columns["stroke"]["categories"] == ["0", "1"]
    assert "holds texts" in Schema.draft(frame)


def test_every_drafted_column_is_either_open_or_to_be_confirmed():
    """Or its type leaves nothing to decide: truth values."""
    rng = np.random.default_rng(3)
    names = [name for v in variables().values() for name in (v.key, *v.names)]
    names = [str(name) for name in rng.choice(names, 300, replace=False)]
    for dtype in ("number", "truth", "text", "other", None):
        for name, column in _drafted(Schema.draft(dict.fromkeys(names, dtype))).items():
            gaps = "FILL IN" in [column.get("lower"), column["kind"], *column.get("categories", [])]
            is_open = gaps or "confirm" in column or column.get("role") == "ignore"
            assert is_open, (name, dtype, column)
