"""Descriptions of a table that a study already has: REDCap's data dictionary, and a flat OMOP CDM table."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zodc._zodc import DataError
from zodc.catalogue import Unit, Units, Variable, choose_unit, find, find_code
from zodc.draft import FILL_IN, Draft, Type, bounded, by_name, propose, write
from zodc.options import OptionError

__all__ = ["draft_schema", "read_omop", "read_redcap"]

Row = dict[str, str]

# Headings of the file that REDCap's web page gives, and of the one that its API gives.
_REDCAP = {
    "Variable / Field Name": "field_name",
    "Field Type": "field_type",
    "Field Label": "field_label",
    "Choices, Calculations, OR Slider Labels": "select_choices_or_calculations",
    "Text Validation Type OR Show Slider Number": "text_validation_type_or_show_slider_number",
    "Text Validation Min": "text_validation_min",
    "Text Validation Max": "text_validation_max",
    "Identifier?": "identifier",
}
_OMOP = ("field", "concept_name", "domain", "type", "unit")
_OMOP_OPTIONAL = ("concept_code", "values")
_OMOP_TYPES: dict[str, Type] = {
    **dict.fromkeys(("integer", "int", "bigint", "float", "numeric", "double", "real", "decimal"), "number"),
    **dict.fromkeys(("varchar", "text", "string", "char"), "text"),
    **dict.fromkeys(("boolean", "bool"), "truth"),
    **dict.fromkeys(("date", "datetime", "timestamp", "time"), "other"),
}
_FLAGS = ("condition", "drug", "procedure", "device")
# Also those with fixed decimals, such as number_2dp, and with a comma.
_NUMBERS = ("number", "integer")
# What REDCap writes of the person who answered, and no number or category.
_PERSONAL = ("email", "phone", "zipcode", "postalcode", "mrn", "ssn", "date", "datetime", "time")
_ELSEWHERE = re.compile(r"\bin (?!serum|plasma|blood|arterial|venous|capillary|platelet poor)", re.I)


def draft_schema(
    types: Mapping[str, Type] | None,
    *,
    units: Sequence[str] = (),
    dictionary: str | Path | None = None,
    omop: str | Path | None = None,
) -> str:
    """Draft the TOML text of a schema.

    Parameters
    ----------
    types : mapping of str to type, optional
        Columns of the table; without it those of the description.
    units : sequence of str
        "si", "conventional" or "NAME=UNIT".
    dictionary, omop : str or Path, optional
        REDCap's data dictionary; or the description of a flat OMOP table.

    Raises
    ------
    OSError, DataError, OptionError
    """
    known = Units.read(units)
    if dictionary is not None and omop is not None:
        raise OptionError("The 'omop' option excludes 'dictionary'; pass one of them.")
    described: list[Draft] = []
    if dictionary is not None:
        described = read_redcap(dictionary, known)
    elif omop is not None:
        described = read_omop(omop, known)
    elif types is None:
        raise OptionError("The 'dictionary' option is needed where there is no table; pass one, or a table.")
    of_name = {draft.name: draft for draft in described}
    if types is None:
        drafts = described
    else:
        if described and not set(of_name) & set(types):
            raise DataError(
                "dictionary: the table has none of its fields; pass its own dictionary, and a raw export"
            )
        is_redcap = dictionary is not None
        drafts = [
            of_name.get(name) or _administrative(name, is_redcap) or propose(name, dtype, known)
            for name, dtype in types.items()
        ]
    unknown = next((name for name in known.of if name not in {draft.name for draft in drafts}), None)
    if unknown is not None:
        raise OptionError(f"The 'units' option names '{unknown}', which is no column; mend the name.")
    return write(drafts)


def _administrative(name: str, is_redcap: bool) -> Draft | None:
    if is_redcap and (name.startswith("redcap_") or name.endswith("_complete")):
        return _left_out(name, "", "REDCap's own column")
    return None


def read_redcap(path: str | Path, units: Units) -> list[Draft]:
    """Draft the columns of a raw data export from REDCap's data dictionary.

    Choices become categories by their codes, validation bounds become bounds, identifiers are left out, and
    the first field, REDCap's record, is the patient.

    Raises
    ------
    OSError, DataError
        When the file is not UTF-8, not a dictionary, or one with another language's headings.
    """
    rows = _read(path, "REDCap data dictionary", _REDCAP, tuple(_REDCAP.values()))
    drafts = [draft for row in rows for draft in _redcap_columns(row, units)]
    if not drafts:
        raise DataError(f"dictionary: '{Path(path).name}' lists no field; export it again from REDCap")
    first = Draft(
        name=drafts[0].name,
        entries={"kind": "categorical", "role": "patient_id"},
        confirm="role",
        notes=["REDCap's record"],
    )
    return [first, *drafts[1:]]


def read_omop(path: str | Path, units: Units) -> list[Draft]:
    """Draft the columns of a flat table made from the OMOP CDM, from a CSV that describes them.

    One line a column: field, concept_name, domain, type, unit, and if wanted concept_code (LOINC) and
    values ("8507=MALE|8532=FEMALE": the values in the table, each with its meaning).

    Raises
    ------
    OSError, DataError
    """
    rows = _read(path, "OMOP description", {}, _OMOP, _OMOP_OPTIONAL)
    return [_omop_column(row, units) for row in rows]


def _read(
    path: str | Path, what: str, headings: dict[str, str], needed: Sequence[str], optional: Sequence[str] = ()
) -> list[Row]:
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(
            f"dictionary: '{path.name}' is not in UTF-8; save it as 'CSV UTF-8' (Excel), or convert it with "
            "iconv -f latin1 -t utf-8"
        ) from None
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error:
        raise DataError(f"dictionary: '{path.name}' is not a valid CSV; export it again") from None
    first = lines[0] if lines else []
    header = [headings.get(cell.strip(), cell.strip()) for cell in first]
    missing = [name for name in needed if name not in header]
    if missing:
        said = {value: key for key, value in headings.items()}
        names = ", ".join(f"'{said.get(name, name)}'" for name in missing)
        also = "; a dictionary in another language needs the English headings" if headings else ""
        raise DataError(f"dictionary: '{path.name}' is not a {what}: it has no column {names}{also}")
    wanted = [name for name in header if name in (*needed, *optional)]
    if len(set(wanted)) < len(wanted):
        twice = next(name for name in wanted if wanted.count(name) > 1)
        raise DataError(f"dictionary: '{path.name}' has the column '{twice}' twice; drop one")
    rows = [dict(zip(header, map(str.strip, line), strict=False)) for line in lines[1:]]
    found = [dict.fromkeys((*needed, *optional), "") | row for row in rows if any(row.values())]
    keys = [row[needed[0]] for row in found]
    if "" in keys or len(set(keys)) < len(keys):
        raise DataError(
            f"dictionary: '{path.name}' has a line without '{needed[0]}', or two with the same; mend it"
        )
    return found


def _redcap_columns(row: Row, units: Units) -> list[Draft]:
    name, kind = row["field_name"], row["field_type"].lower()
    label, validation = _plain(row["field_label"]), row["text_validation_type_or_show_slider_number"].lower()
    if row["identifier"].lower() == "y":
        return [_left_out(name, label, "marked as an identifier")]
    match kind:
        case "descriptive":
            return []
        case "checkbox":
            choices = _choices(row["select_choices_or_calculations"])
            # A raw export writes "_" for whatever is no letter or digit: -99 is field____99.
            codes = [re.sub("[^a-z0-9]", "_", code.lower()) for code, _ in choices]
            texts = [text for _, text in choices]
            return [
                _flag(f"{name}___{code}", f"{label}: {text}") for code, text in zip(codes, texts, strict=True)
            ]
        case "yesno" | "truefalse":
            return [_flag(name, label)]
        case "radio" | "dropdown":
            return [_chosen(name, label, _choices(row["select_choices_or_calculations"]))]
        case "slider":
            return [_measured(row, label, units, default=(0.0, 100.0))]
        case "calc":
            return [_measured(row, label, units)]
        case "text" if validation.startswith(_NUMBERS):
            return [_measured(row, label, units)]
        case "text" if not validation.startswith(_PERSONAL):
            found = propose(name, None, units)
            known = find(name) is not None
            return [found if known else _left_out(name, label, "free text; give it a kind if it is a number")]
    return [_left_out(name, label, f"a field of type {kind or 'unknown'} {validation}".rstrip())]


def _measured(row: Row, label: str, units: Units, default: tuple[float, float] | None = None) -> Draft:
    """Draft a number: bounds from the dictionary, and what it does not say from the catalogue."""
    name = row["field_name"]
    found = find(name)
    known = None if found is None else by_name(name, found, None, units)
    lower, upper = (_number(row[key]) for key in ("text_validation_min", "text_validation_max"))
    if lower is None and upper is None:
        if default is None and known is not None:
            return known
        lower, upper = default or (None, None)
    unit = units.of.get(name)
    if found is not None:
        chosen = choose_unit(*found, name, units)
        unit = unit if chosen is None else chosen.name
    return bounded(name, lower, upper, unit, description=label, notes=["bounds of the data dictionary"])


def _chosen(name: str, label: str, choices: list[tuple[str, str]]) -> Draft:
    codes = [code for code, _ in choices]
    if len(set(codes)) < 2 or len(set(codes)) < len(codes):
        return _left_out(name, label, "its choices are fewer than two, or one is listed twice")
    entries: dict[str, Any] = {
        "kind": "binary" if codes in (["0", "1"], ["1", "0"]) else "categorical",
        "categories": sorted(codes) if set(codes) == {"0", "1"} else codes,
        "description": f"{label}: {', '.join(f'{code} = {text}' for code, text in choices)}",
    }
    notes = ['the codes of a raw export; kind = "ordinal" if they have an order']
    return Draft(name=name, entries=entries, confirm="kind and categories", notes=notes)


def _flag(name: str, label: str) -> Draft:
    entries = {"kind": "binary", "categories": ["0", "1"], "description": label}
    return Draft(name=name, entries=entries, confirm="categories")


def _left_out(name: str, label: str, why: str) -> Draft:
    entries = {"kind": "categorical", "role": "ignore"} | ({"description": label} if label else {})
    return Draft(name=name, entries=entries, notes=[why])


def _choices(text: str) -> list[tuple[str, str]]:
    """Read "1, Male | 2, Female"."""
    parts = [part.partition(",") for part in text.split("|") if part.strip()]
    return [(code.strip(), _plain(label) or code.strip()) for code, _, label in parts]


def _plain(text: str) -> str:
    """Text without REDCap's HTML, in one line."""
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())


def _number(text: str) -> float | None:
    try:
        found = float(text.replace(",", "."))
    except ValueError:  # "today", or the name of another field
        return None
    return found if abs(found) < 1e100 else None


def _omop_column(row: Row, units: Units) -> Draft:
    name, label, domain = row["field"], row["concept_name"], row["domain"].lower()
    dtype: Type = _OMOP_TYPES.get(row["type"].lower().partition("(")[0])
    if name == "person_id":
        entries = {"kind": "categorical", "role": "patient_id"}
        return Draft(name=name, entries=entries, confirm="role", notes=["OMOP's person"])
    if dtype == "other" or name.endswith(("_date", "_datetime")):
        return _left_out(name, label, "a date: turn it into days, or leave it out")
    if row["values"]:
        return _listed(name, label, row["values"])
    if domain in _FLAGS and dtype != "text" and not row["unit"]:
        flag: dict[str, Any] = {"kind": "binary", "categories": ["0", "1"], "description": label}
        return Draft(name=name, entries=flag, confirm="kind and categories")
    of = {**units.of, name: row["unit"]} if row["unit"] and name not in units.of else units.of
    # A unit that the catalogue does not know is no fault of the description: the bounds stay open.
    for lookup in (find_code, _component, find):
        found = _looked_up(lookup, row, Units(units.system, of))
        if found is not None:
            return by_name(name, found, dtype, Units(units.system))
    if dtype in ("number", None) and (row["unit"] or domain == "measurement"):
        return bounded(name, None, None, row["unit"] or None, description=label)
    return propose(name, dtype, units)


Lookup = Callable[[str], tuple[Variable, Unit | None] | None]


def _looked_up(lookup: Lookup, row: Row, units: Units) -> tuple[Variable, Unit | None] | None:
    """Entry of the catalogue whose units include the column's, if it states one."""
    key = {find_code: row["concept_code"], find: row["field"]}.get(lookup, row["concept_name"])
    found = lookup(key) if key else None
    if found is None or row["field"] not in units.of:
        return found
    variable, _ = found
    try:
        return variable, choose_unit(variable, None, row["field"], units)
    except ValueError:
        return None


def _component(concept: str) -> tuple[Variable, Unit | None] | None:
    """Variable of a concept's name: its component, unless it was measured in another specimen."""
    return None if _ELSEWHERE.search(concept) else find(concept.partition("[")[0])


def _listed(name: str, label: str, values: str) -> Draft:
    codes = [part.partition("=")[0].strip() for part in values.split("|") if part.strip()]
    entries: dict[str, Any] = {
        "kind": "categorical",
        "categories": codes,
        "description": f"{label}: {values}",
    }
    if len(codes) < 2 or len(set(codes)) < len(codes):
        notes = ["its values are fewer than two, or one occurs twice"]
        return Draft(name=name, entries=entries | {"categories": [FILL_IN]}, notes=notes)
    return Draft(name=name, entries=entries, confirm="kind and categories")
