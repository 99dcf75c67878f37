"""Whether a table fits a schema, from its names and types alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from zodc.draft import Type
from zodc.schema import Column, Schema

__all__ = ["Fit", "fit_of", "outcome_coding"]


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What keeps a table from being condensed, and what to look at. Tells names and types of columns only."""

    faults: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing keeps it."""
        return not self.faults

    def __str__(self) -> str:
        verdict = "the table fits the schema" if self.ok else "the table does not fit the schema"
        lines = [f"  {line}" for line in (*self.faults, *self.remarks)]
        return "\n".join([verdict, *lines])


def fit_of(types: Mapping[str, Type], schema: Schema) -> Fit:
    """Compare the columns of a table with a schema.

    Parameters
    ----------
    types : mapping of str to type
        As `zodc.files.read_types` reads them; None where the source does not tell.
    schema : Schema

    Examples
    --------
    >>> from zodc.schema import Column
    >>> schema = Schema([Column(name="age", kind="continuous", lower=0, upper=120),
    ...                  Column(name="died", kind="binary", role="target")])
    >>> print(fit_of({"age": "number", "sex": "text"}, schema))
    the table does not fit the schema
      column 'died': it is missing from the table; add it, or mend the schema
      column 'sex': the schema does not know it; drop it, or list it with role = "ignore"
    """
    read = {column.name: column for column in schema.columns if column.role != "ignore"}
    known = {column.name for column in schema.columns}
    faults = [
        f"column '{name}': it is missing from the table; add it, or mend the schema"
        for name in read
        if name not in types
    ]
    # Where no name is known, the table's may be those of a patient's row.
    if not known & set(types):
        return Fit(faults=("none of the schema's columns is there; check the header line",), remarks=())
    faults += [
        f"column '{name}': the schema does not know it; drop it, or list it with role = \"ignore\""
        for name in types
        if name not in known
    ]
    pairs = [(column, types[name]) for name, column in read.items() if name in types]
    faults += [
        f"column '{column.name}': its type is neither number, truth value nor text; turn dates into days"
        for column, dtype in pairs
        if dtype == "other" and column.role != "patient_id"
    ]
    remarks = [remark for column, dtype in pairs if (remark := _remark(column, dtype))]
    if any(dtype is None for _, dtype in pairs):
        remarks.append("this source does not tell types: names were compared, and types were not")
    return Fit(faults=tuple(faults), remarks=tuple(remarks))


def outcome_coding(schema: Schema) -> str:
    """Say in one line how the outcome's cells are read, so that 1 for 2 is noticed before budget is spent."""
    column = schema.target or schema.event
    assert column is not None
    rest = "is missing" if column.fallback is None else f"counts as '{column.fallback}'"
    classes = [f"'{category}'" for category in column.categories]
    if column.role == "target":
        return f"target: '{column.name}', classes {', '.join(classes)}; any other cell {rest}"
    return f"event: '{column.name}' = {classes[1]} (censored: {classes[0]}); any other cell {rest}"


def _remark(column: Column, dtype: Type) -> str | None:
    if column.role == "patient_id" or column.categories or dtype != "text":
        return None
    return f"column '{column.name}': it holds texts; those that are no number count as missing"
