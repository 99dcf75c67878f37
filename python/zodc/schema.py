"""The public schema: what a custodian states about the columns without looking at a patient."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from numbers import Real
from pathlib import Path
from typing import Any, Literal, get_args

from zodc import _zodc
from zodc._zodc import SchemaError
from zodc.dictionary import draft_schema
from zodc.draft import CONFIRM, FILL_IN, types_of

__all__ = ["Column", "Kind", "Missing", "Role", "Schema", "SchemaError", "Task"]

Kind = Literal["continuous", "ordinal", "binary", "categorical"]
Role = Literal["feature", "target", "time", "event", "patient_id", "ignore"]
Missing = Literal["impute", "indicator"]
Task = Literal["classification", "survival"]

_GAPS = ("kind", "lower", "upper", "unit", "categories")


@dataclass(frozen=True, kw_only=True)
class Column:
    """Public facts about one column.

    Parameters
    ----------
    name : str
        Name in the cohort and in the release.
    kind : {"continuous", "ordinal", "binary", "categorical"}
        How the values are ordered and spaced. The second category of a binary column is the positive one.
    role : {"feature", "target", "time", "event", "patient_id", "ignore"}, default="feature"
        What the column is for. Rows with the same patient_id belong to one patient.
    lower, upper : float, optional
        Smallest and largest plausible value, in `unit`, from domain knowledge; values beyond are clipped.
    step : float, optional
        Distance of neighbouring levels of an ordinal column without categories; 1 unless stated.
    categories : iterable of str, default=()
        All categories, in order where there is one.
    fallback : str, optional
        Category that unknown values become; without it they count as missing.
    max_rows : int, optional
        For the patient_id: most rows of a patient that count, from 1 to 4096; 32 unless stated. Further rows
        are dropped silently, by a rule that depends on that patient's rows alone.
    missing : {"impute", "indicator"}, default="impute"
        A missing cell takes the noisy mean or most likely category; with "indicator" a released column
        `NAME_missing` says so.
    unit, description : str, optional
        For people.

    Raises
    ------
    SchemaError
        When a value has the wrong type, or a bound is not finite.
    """

    name: str
    kind: Kind
    role: Role = "feature"
    lower: float | None = None
    upper: float | None = None
    step: float | None = None
    categories: tuple[str, ...] = ()
    fallback: str | None = None
    max_rows: int | None = None
    missing: Missing = "impute"
    unit: str | None = None
    description: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise SchemaError("schema: a column has no name; give each column its name as a text")
        for option, allowed in (("kind", Kind), ("role", Role), ("missing", Missing)):
            words = get_args(allowed)
            if getattr(self, option) not in words:
                raise self._fault(f"its {option} is not known", f"take one of {', '.join(words)}")
        for option in ("lower", "upper", "step"):
            self._take_number(option)
        if self.max_rows is not None and (type(self.max_rows) is not int or self.max_rows < 1):
            raise self._fault(
                "its max_rows is not a whole number of at least 1",
                "state how many rows of a patient may count",
            )
        self._take_categories()
        for option in ("fallback", "unit", "description"):
            if not isinstance(getattr(self, option), str | None):
                raise self._fault(f"its {option} is not a text", "put it in quotes")

    def _take_number(self, option: str) -> None:
        value = getattr(self, option)
        if value is None:
            return
        if isinstance(value, bool) or not isinstance(value, Real):
            raise self._fault(f"its {option} is not a number", "state a plausible finite number")
        if not math.isfinite(value):
            raise self._fault(f"its {option} is not a finite number", "state a plausible finite number")
        object.__setattr__(self, option, float(value))

    def _take_categories(self) -> None:
        texts = () if isinstance(self.categories, str) else tuple(self.categories)
        if isinstance(self.categories, str) or not all(isinstance(text, str) for text in texts):
            raise self._fault("its categories are not a list of texts", 'write them as ["a", "b"]')
        object.__setattr__(self, "categories", texts)

    def _fault(self, problem: str, remedy: str) -> SchemaError:
        return SchemaError(f"schema, column '{self.name}': {problem}; {remedy}")

    @property
    def levels(self) -> tuple[str, ...] | tuple[float, ...]:
        """The categories, or the numbers of an ordinal column without any; empty where continuous."""
        if self.categories or self.kind != "ordinal":
            return self.categories
        if self.lower is None or self.upper is None:
            return ()
        # By decimals, as they were written: 0.3, not 0.30000000000000004.
        lower, step = (Decimal(repr(number)) for number in (self.lower, self.step or 1.0))
        n_levels = round((self.upper - self.lower) / float(step)) + 1
        return tuple(float(lower + step * level) for level in range(n_levels))

    @property
    def flag_name(self) -> str | None:
        """Name of the released 0/1 column that says where this one was missing; None without one."""
        return f"{self.name}_missing" if self.missing == "indicator" else None


@dataclass(frozen=True)
class Schema:
    """All columns of a cohort, in the order of the released table.

    Parameters
    ----------
    columns : iterable of Column
        One target, or one time and one event, and at least one feature.
    name : str, optional
        A public name for the cohort, copied into the release.

    Raises
    ------
    SchemaError
        Naming the column, the fault and the remedy.

    Examples
    --------
    >>> schema = Schema([
    ...     Column(name="age", kind="continuous", lower=18, upper=100, unit="years"),
    ...     Column(name="died", kind="binary", role="target"),
    ... ])
    >>> schema.task
    'classification'
    >>> Schema.from_toml(schema.to_toml()) == schema
    True
    """

    columns: tuple[Column, ...]
    name: str | None = None

    def __post_init__(self) -> None:
        columns = tuple(self.columns)
        if not all(isinstance(column, Column) for column in columns):
            raise SchemaError("schema: a column is not a zodc.Column; build each with Column(name=…, kind=…)")
        checked = json.loads(_zodc.check_schema(_to_json(columns, self.name)))
        object.__setattr__(self, "columns", tuple(Column(**column) for column in checked["column"]))

    @classmethod
    def from_toml(cls, text: str) -> Schema:
        """Read a TOML schema.

        Raises
        ------
        SchemaError
            Naming the column or line, the fault and the remedy; also for a draft with gaps left.
        """
        _refuse_gaps(text)
        return cls._from_table(json.loads(_zodc.schema_from_toml(text)))

    @classmethod
    def load(cls, path: str | Path) -> Schema:
        """Read a TOML file.

        Raises
        ------
        OSError, SchemaError
            When the file cannot be read, or is not a valid schema.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise SchemaError(f"schema: '{path}' is not a UTF-8 text; save it as TOML in UTF-8") from None
        return cls.from_toml(text)

    @staticmethod
    def draft(
        frame: Any = None,
        *,
        units: Sequence[str] = (),
        dictionary: str | Path | None = None,
        omop: str | Path | None = None,
    ) -> str:
        """Write the TOML text of a schema to be completed by hand, from names and types alone.

        Parameters
        ----------
        frame : pandas, polars or pyarrow frame, or mapping of names to types, optional
            Without it the columns are those of `dictionary` or `omop`.
        units : sequence of str
            "si", "conventional", or "NAME=UNIT", where names of columns do not tell the unit.
        dictionary : str or Path, optional
            REDCap's data dictionary (CSV).
        omop : str or Path, optional
            CSV that describes a flat OMOP table: field, concept_name, domain, type, unit.

        Returns
        -------
        str
            Kinds and bounds of common clinical variables are proposed, each to be confirmed, and all else is
            marked as a gap; loading it with either left is an error.

        Raises
        ------
        OSError, DataError, OptionError
            When a dictionary cannot be read, or a unit is not known.
        """
        types = frame if frame is None or isinstance(frame, Mapping) else types_of(frame)
        return draft_schema(types, units=units, dictionary=dictionary, omop=omop)

    @classmethod
    def _from_table(cls, table: dict[str, Any]) -> Schema:
        return cls(tuple(Column(**column) for column in table["column"]), table.get("name"))

    def to_json(self) -> str:
        """Write the JSON form."""
        return _to_json(self.columns, self.name)

    def to_toml(self) -> str:
        """Write the TOML form; `from_toml` reads it back unchanged."""
        return _zodc.schema_to_toml(self.to_json())

    def save(self, path: str | Path) -> None:
        """Write a TOML file."""
        Path(path).write_text(self.to_toml(), encoding="utf-8")

    @property
    def features(self) -> tuple[Column, ...]:
        """Columns that models learn from, in order."""
        return tuple(column for column in self.columns if column.role == "feature")

    @property
    def target(self) -> Column | None:
        """The class to predict."""
        return self._role("target")

    @property
    def time(self) -> Column | None:
        """Follow-up time."""
        return self._role("time")

    @property
    def event(self) -> Column | None:
        """Whether the event was seen at that time."""
        return self._role("event")

    @property
    def patient_id(self) -> Column | None:
        """Says which rows belong to one patient."""
        return self._role("patient_id")

    @property
    def encoded_width(self) -> int:
        """Number of encoded features: one for each category of a categorical column, one for each flag."""
        return sum(
            (len(column.categories) if column.kind == "categorical" else 1) + (column.flag_name is not None)
            for column in self.features
        )

    @property
    def n_coefficients(self) -> int:
        """Numbers of a linear model of the outcome: for each output an intercept and the encoded features."""
        n_classes = 2 if self.target is None else len(self.target.levels)
        return (self.encoded_width + 1) * (n_classes if n_classes > 2 else 1)

    @property
    def has_repeated_rows(self) -> bool:
        """Whether a patient may have several rows."""
        return self.patient_id is not None and self.patient_id.max_rows != 1

    @property
    def outcomes(self) -> tuple[Column, ...]:
        """The target; or time and event."""
        return tuple(column for column in (self.target, self.time, self.event) if column is not None)

    @property
    def task(self) -> Task:
        """What the rows are for."""
        return "survival" if self.target is None else "classification"

    def _role(self, role: Role) -> Column | None:
        return next((column for column in self.columns if column.role == role), None)


def _to_json(columns: Iterable[Column], name: str | None) -> str:
    def stated(column: Column) -> dict[str, Any]:
        values = {field.name: getattr(column, field.name) for field in fields(column)}
        return {key: value for key, value in values.items() if value is not None}

    table: dict[str, Any] = {"column": [stated(column) for column in columns]}
    if name is not None:
        table["name"] = name
    return json.dumps(table)


def _refuse_gaps(text: str) -> None:
    """Raise for the first gap of a draft; leaves any other fault to the reader of the schema."""
    try:
        columns = tomllib.loads(text).get("column", [])
    except tomllib.TOMLDecodeError:
        return
    for column in columns if isinstance(columns, list) else []:
        for option, value in column.items() if isinstance(column, dict) else ():
            if option in _GAPS and value in (FILL_IN, [FILL_IN]):
                raise SchemaError(
                    f"schema, column '{column.get('name')}': its {option} is still '{FILL_IN}'; "
                    "state it from domain knowledge, never from the data"
                )
            if option == CONFIRM:
                raise SchemaError(
                    f"schema, column '{column.get('name')}': its proposal is not confirmed; check {value}, "
                    f"then delete the line '{CONFIRM}'"
                )
