"""Drafts from REDCap's data dictionary and from a description of a flat OMOP table."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pandas as pd
import pytest
from zodc import DataError, Schema, SchemaError
from zodc.options import OptionError

HERE = Path(__file__).parent / "dictionaries"
REDCAP, OMOP = ((HERE / name).read_text(encoding="utf-8") for name in ("redcap.csv", "omop.csv"))


@pytest.fixture
def redcap() -> Path:
    return HERE / "redcap.csv"


@pytest.fixture
def omop() -> Path:
    return HERE / "omop.csv"


def _drafted(text: str) -> dict[str, dict]:
    return {column["name"]: column for column in tomllib.loads(text)["column"]}


def test_redcap_fields_become_columns(redcap):
    columns = _drafted(Schema.draft(dictionary=redcap))
    assert list(columns) == [
        "study_id", "first_name", "dob", "register_no", "age", "gender", "height", "creat", "score", "temp",
        "smokes", "died", "chronic___1", "chronic___b", "ward", "vas", "scan", "remarks_long", "mail",
    ]  # fmt: skip
    assert columns["study_id"]["role"] == "patient_id"
    for name in ("first_name", "dob", "register_no", "scan", "remarks_long", "mail"):
        assert columns[name]["role"] == "ignore", name
    assert (columns["age"]["lower"], columns["age"]["upper"]) == (0, 120)
    assert columns["gender"]["categories"] == ["1", "2"]
    assert columns["gender"]["description"] == "Gender: 1 = Male, 2 = Female"
    assert (columns["height"]["lower"], columns["height"]["upper"]) == (130, 215)
    assert columns["creat"]["lower"] == "FILL IN"
    assert (columns["score"]["lower"], columns["score"]["upper"]) == (0, "FILL IN")
    assert (columns["temp"]["lower"], columns["temp"]["upper"]) == (34.5, 42)
    assert columns["smokes"]["categories"] == columns["died"]["categories"] == ["0", "1"]
    assert columns["chronic___1"]["description"] == "Chronic: Asthma, bronchial"
    assert columns["ward"]["categories"] == ["S1", "M1", "ICU"]
    assert (columns["vas"]["lower"], columns["vas"]["upper"]) == (0, 100)


@pytest.mark.parametrize(
    "validation", ["number_1dp", "number_2dp", "number_comma_decimal", "number_1dp_comma_decimal", "integer"]
)
def test_redcap_numbers_with_fixed_decimals_are_numbers(tmp_path, validation):
    text = REDCAP.replace('"Height (cm)",,,number,130,215', f'"Height (cm)",,,{validation},131,214')
    assert text != REDCAP
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    height = _drafted(Schema.draft(dictionary=tmp_path / "a.csv"))["height"]
    assert (height["kind"], height["lower"], height["upper"]) == ("continuous", 131, 214)


def test_redcap_boxes_of_odd_codes_and_sliders_of_known_names(tmp_path):
    """As REDCap exports them (REDCapTidieR's issue 31); a slider ends at 100, whatever its name is."""
    text = REDCAP.replace("1, Asthma", "-99, Asthma").replace("\nvas,", "\npain,")
    assert text.count("-99") == 1 and "\npain," in text
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    columns = _drafted(Schema.draft(dictionary=tmp_path / "a.csv"))
    assert "chronic____99" in columns and "chronic___-99" not in columns
    assert (columns["pain"]["lower"], columns["pain"]["upper"]) == (0, 100)


def test_redcap_of_the_api_says_the_same(redcap, tmp_path):
    header, rest = REDCAP.split("\n", 1)
    names = (
        "field_name,form_name,section_header,field_type,field_label,select_choices_or_calculations,field_note,"
        "text_validation_type_or_show_slider_number,text_validation_min,text_validation_max,identifier,"
        "branching_logic,required_field,custom_alignment,question_number,matrix_group_name,matrix_ranking,"
        "field_annotation"
    )
    assert header.count(",") == names.count(",") + 2  # two commas stand in quotes
    (tmp_path / "api.csv").write_text(f"\ufeff{names}\n{rest}", encoding="utf-8")
    assert Schema.draft(dictionary=tmp_path / "api.csv") == Schema.draft(dictionary=redcap)


def test_redcap_with_a_table_keeps_the_tables_columns(redcap):
    table = pd.DataFrame(
        {"study_id": [1], "gender": [1], "labs_complete": [2], "redcap_event_name": ["x"], "sbp": [1.0]}
    )
    columns = _drafted(Schema.draft(table, dictionary=redcap))
    assert list(columns) == list(table.columns)
    assert columns["labs_complete"]["role"] == columns["redcap_event_name"]["role"] == "ignore"
    assert columns["sbp"]["upper"] == 300
    with pytest.raises(DataError, match="none of its fields"):
        Schema.draft(pd.DataFrame({"a": [1]}), dictionary=redcap)


def test_a_dictionary_is_confirmed_like_all_else(redcap):
    draft = Schema.draft(dictionary=redcap)
    with pytest.raises(SchemaError, match="not confirmed"):
        Schema.from_toml(draft)
    for name, column in _drafted(draft).items():
        is_open = "FILL IN" in (column.get("lower"), column.get("upper"))
        assert is_open or "confirm" in column or column.get("role") == "ignore", name


def test_units_reach_a_dictionary(redcap):
    columns = _drafted(Schema.draft(dictionary=redcap, units=["si", "height=cm"]))
    assert (columns["creat"]["unit"], columns["creat"]["upper"]) == ("umol/L", 4500)
    assert (columns["height"]["unit"], columns["height"]["upper"]) == ("cm", 215)


def test_omop_columns(omop):
    columns = _drafted(Schema.draft(omop=omop))
    assert columns["person_id"]["role"] == "patient_id"
    assert columns["gender_concept_id"]["categories"] == ["8507", "8532"]
    assert (columns["scr"]["unit"], columns["scr"]["upper"]) == ("umol/L", 4500)
    assert (columns["ucr"]["lower"], columns["ucr"]["unit"]) == ("FILL IN", "mg/dL")
    assert (columns["temp1"]["unit"], columns["temp1"]["upper"]) == ("°C", 46)
    assert columns["sbp_mean"]["unit"] == "mmHg"
    assert columns["t2dm"]["categories"] == ["0", "1"]
    assert columns["metformin"]["categories"] == ["0", "1"]
    assert (columns["odd"]["lower"], columns["odd"]["unit"]) == ("FILL IN", "U/mL")
    assert columns["index_date"]["role"] == "ignore"
    assert columns["year_of_birth"]["lower"] == "FILL IN"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (REDCAP.replace("Gender", "Größe").encode("latin-1"), ["UTF-8", "iconv"]),
        (REDCAP.encode("utf-16"), ["UTF-8"]),
        (REDCAP.replace("Field Type", "Feldtyp").encode(), ["Field Type", "English headings"]),
        (b"", ["Variable / Field Name"]),
        (b"\x00\x01", ["REDCap"]),
        (REDCAP.split("\n", 1)[0].encode(), ["lists no field"]),
        (REDCAP.replace("died,labs", "smokes,labs").encode(), ["two with the same"]),
        (REDCAP.replace("died,labs", ",labs").encode(), ["without 'field_name'"]),
        (REDCAP.replace('"Field Label"', '"Field Type"').encode(), ["Field Label"]),
        (OMOP.encode(), ["REDCap data dictionary"]),
    ],
)
def test_dictionaries_that_cannot_be_read(content, words, tmp_path):
    path = tmp_path / "dictionary.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        Schema.draft(dictionary=path)
    assert all(word in str(caught.value) for word in ("dictionary.csv", *words)), caught.value


def test_one_description_at_a_time(redcap, omop):
    with pytest.raises(OptionError, match="omop"):
        Schema.draft(dictionary=redcap, omop=omop)
    with pytest.raises(OptionError, match="dictionary"):
        Schema.draft()
    with pytest.raises(DataError, match="OMOP description"):
        Schema.draft(omop=redcap)
