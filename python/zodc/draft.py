"""Draft of a schema, from names, types, the catalogue and dictionaries; never from a value of a patient.

What is proposed has to be confirmed, and what is not known filled in: a draft cannot be loaded as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import narwhals as nw

from zodc.catalogue import Unit, Units, Variable, choose_unit, find

__all__ = ["CONFIRM", "FILL_IN", "Draft", "Type", "bounded", "by_name", "propose", "types_of", "write"]

# What a source says of a column's type without a look at its cells; None where it says nothing, as a CSV.
Type = Literal["number", "truth", "text", "other"] | None

# Stands in a drafted schema wherever the custodian has to decide.
FILL_IN = "FILL IN"
# Key of a drafted column whose proposal nobody has confirmed yet; no schema has such a key.
CONFIRM = "confirm"

_HEAD = f"""\
#:schema ./schema.schema.json
# A draft from the names and types of the columns; no value was copied. Replace every "{FILL_IN}" from domain
# knowledge, never from the data. Check every proposal, and delete its line "{CONFIRM}". Then set
# role = "target" on the class to predict, or role = "time" and role = "event" on two columns,
# role = "patient_id" where a patient has several rows, role = "ignore" on what is not needed.
"""
_KINDS = "continuous and ordinal need lower and upper, categorical needs categories"
_CODING = "unknown categories count as missing"


@dataclass(frozen=True, kw_only=True)
class Draft:
    """One drafted column: its entries in TOML, what has to be confirmed, and remarks for the custodian."""

    name: str
    entries: Mapping[str, Any]
    confirm: str | None = None
    notes: Sequence[str] = field(default=())


def types_of(frame: Any) -> dict[str, Type]:
    """Types of the columns of a frame."""
    return {str(name): _type(dtype) for name, dtype in nw.from_native(frame).collect_schema().items()}


def _type(dtype: Any) -> Type:
    if dtype == nw.Boolean:
        return "truth"
    if dtype.is_numeric():
        return "number"
    if dtype == nw.Unknown:
        return None
    return "text" if isinstance(dtype, nw.String | nw.Categorical | nw.Enum | nw.Object) else "other"


def propose(name: str, dtype: Type, units: Units) -> Draft:
    """Draft a column by its name, or else by its type."""
    found = find(name)
    if dtype == "other":
        return _ignored(name, "neither number, truth value nor text: turn dates into days, or leave it out")
    if found is None:
        return _by_type(name, dtype, units)
    return by_name(name, found, dtype, units)


def by_name(name: str, found: tuple[Variable, Unit | None], dtype: Type, units: Units) -> Draft:
    """Draft a column that the catalogue knows."""
    variable, named = found
    source = f"range: {variable.source}" if variable.units or variable.range else variable.source
    note = f"taken for {variable.label}; {source}"
    entries: dict[str, Any] = {"kind": variable.kind}
    if variable.role != "feature":
        entries |= {"role": variable.role, "description": variable.label}
        return Draft(name=name, entries=entries, confirm="role", notes=[note])
    match variable.kind:
        case "binary":
            return _binary(name, variable, dtype)
        case "categorical":
            hints = " or ".join(json.dumps(hint) for hint in variable.hints)
            notes = [note, f"often {hints}"] if hints else [note]
            entries |= {"categories": [FILL_IN], "description": variable.label}
            return Draft(name=name, entries=entries, confirm=f"kind and categories: {_CODING}", notes=notes)
        case "ordinal":
            assert variable.range is not None
            lower, upper, step = variable.range
            entries |= {"lower": lower, "upper": upper, "step": step}
            entries["description"] = _described(variable, variable.loinc)
            return Draft(name=name, entries=entries, confirm="kind and bounds", notes=_noted(note, dtype))
    unit = choose_unit(variable, named, name, units)
    notes = _noted(note, dtype)
    if unit is None:
        ranges = "; ".join(f"{unit.name} {unit.lower:g} to {unit.upper:g}" for unit in variable.units)
        notes.append(f"{ranges}; or pass --units si, conventional or '{name}=UNIT'")
        return bounded(name, None, None, None, description=variable.label, notes=notes)
    return bounded(
        name, unit.lower, unit.upper, unit.name, description=_described(variable, unit.loinc), notes=notes
    )


def bounded(
    name: str,
    lower: float | None,
    upper: float | None,
    unit: str | None,
    *,
    description: str | None = None,
    notes: Sequence[str] = (),
) -> Draft:
    """Draft a continuous column; what is None is a gap, and an empty unit none."""
    entries: dict[str, Any] = {
        "kind": "continuous",
        "lower": FILL_IN if lower is None else lower,
        "upper": FILL_IN if upper is None else upper,
    }
    if unit != "":
        entries["unit"] = FILL_IN if unit is None else unit
    if description:
        entries["description"] = description
    confirm = None if lower is None or upper is None else "kind, unit and bounds"
    return Draft(name=name, entries=entries, confirm=confirm, notes=notes)


def write(drafts: Sequence[Draft]) -> str:
    """Write the TOML text of drafted columns."""
    return "\n".join([_HEAD, *map(_block, drafts)])


def _binary(name: str, variable: Variable, dtype: Type) -> Draft:
    note = f"taken for {variable.label}"
    entries: dict[str, Any] = {"kind": "binary", "description": variable.label}
    if dtype == "text":
        entries["categories"] = [FILL_IN]
        return Draft(name=name, entries=entries, notes=[note, "list two categories, the positive one last"])
    # Truth values match these, too, and come back as numbers.
    entries["categories"] = ["0", "1"]
    return Draft(name=name, entries=entries, confirm=f"categories: {_CODING}", notes=[note])


def _by_type(name: str, dtype: Type, units: Units) -> Draft:
    match dtype:
        case "truth":
            return Draft(name=name, entries={"kind": "binary", "categories": ["0", "1"]})
        case "number":
            return bounded(name, None, None, units.of.get(name))
        case "text":
            return Draft(name=name, entries={"kind": "categorical", "categories": [FILL_IN]})
    return Draft(name=name, entries={"kind": FILL_IN}, notes=[_KINDS])


def _ignored(name: str, why: str) -> Draft:
    return Draft(name=name, entries={"kind": "categorical", "role": "ignore"}, notes=[why])


def _described(variable: Variable, loinc: str | None) -> str:
    return variable.label if loinc is None else f"{variable.label} (LOINC {loinc})"


def _noted(note: str, dtype: Type) -> list[str]:
    return [note, "but the table holds texts here"] if dtype == "text" else [note]


def _block(draft: Draft) -> str:
    lines = ["[[column]]", f"name = {_text(draft.name)}"]
    lines += [f"# {_one_line(note)}" for note in draft.notes]
    lines += [f"{key} = {_value(value)}" for key, value in draft.entries.items()]
    if draft.confirm:
        lines.append(f"{CONFIRM} = {_text(draft.confirm)}")
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    return _text(value) if isinstance(value, str) else repr(float(value))


def _text(text: str) -> str:
    # A JSON text is a TOML text, but for this sign.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _one_line(text: str) -> str:
    return "".join(sign for sign in " ".join(text.split()) if sign.isprintable())
