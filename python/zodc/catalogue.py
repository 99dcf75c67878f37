"""Common clinical variables by name and unit: what the draft of a schema may propose."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from zodc.options import OptionError

__all__ = ["Unit", "Units", "Variable", "choose_unit", "find", "find_code", "variables"]

# Words that say when or how a value was taken, and leave its unit and bounds as they are.
_DECORATIONS = frozenset(
    "adm admission admit at average avg base baseline best bl current day enrollment enrolment entry final "
    "first highest initial lab labs last level levels lowest max maximum mean measured median min minimum "
    "on postop preop recent result screening val value worst 6h 12h 24h 48h 72h".split()
)
_PER = frozenset(("per",))
# Other spellings of units, without signs.
_SPELLINGS = {
    "years": "a y yr yrs year",
    "months": "mo mon month",
    "weeks": "wk wks week",
    "days": "d day",
    "hours": "h hr hrs hour",
    "109l": "k kul 103ul 10e9l 10e3ul x109l 103mm3 kmm3 thoul",
    "1012l": "mul 106ul 10e12l x1012l 106mm3",
    "106l": "cellsul ul mm3 cellsmm3",
    "ul": "iul unitsl",
    "uml": "iuml unitsml",
    "uiuml": "miul",
    "miul": "uiuml",
    "1min": "min bpm beatsmin breathsmin brpm",
    "mmhg": "torr",
    "l": "liter liters litre litres",
    "ml": "cc",
    "kg": "kgs kilogram kilograms",
    "g": "gm gram grams",
    "lb": "lbav lbs pound pounds",
    "m": "meter meters metre metres",
    "in": "inch inches",
    "ft": "feet",
    "s": "sec secs seconds",
    "ms": "msec",
    "°c": "c cel degc celsius",
    "°f": "f degf fahrenheit",
    "%": "pct percent perc",
    "%predicted": "pctpredicted pctpred percentpredicted %pred pp",
    "fraction": "frac",
    "mlmin173m2": "mlmin",
}


@dataclass(frozen=True)
class Unit:
    """A unit, plausible bounds in it, and the LOINC code where it is certain."""

    name: str
    lower: float
    upper: float
    loinc: str | None = None


@dataclass(frozen=True, kw_only=True)
class Variable:
    """One entry of the catalogue; `data/catalogue.toml` says what the fields mean."""

    key: str
    label: str
    kind: str
    names: tuple[str, ...]
    source: str
    units: tuple[Unit, ...] = ()
    assume: str | None = None
    range: tuple[float, float, float] | None = None
    loinc: str | None = None
    hints: tuple[tuple[str, ...], ...] = ()
    role: str = "feature"


@dataclass(frozen=True)
class Units:
    """What the user says of units: a system for all columns, and units of single ones."""

    system: str | None = None
    of: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, texts: Iterable[str]) -> Units:
        """Read "si", "conventional" and "NAME=UNIT".

        Raises
        ------
        OptionError
        """
        system, of = None, {}
        for text in texts:
            name, sign, unit = text.rpartition("=")
            if sign and name.strip() and unit.strip():
                of[name.strip()] = unit.strip()
            elif text in ("si", "conventional") and system in (None, text):
                system = text
            else:
                raise OptionError(
                    "The 'units' option must be 'si' or 'conventional', or a column and its unit as in "
                    f"creatinine=umol/L. Got {text!r} instead."
                )
        return cls(system, of)


@cache
def variables() -> dict[str, Variable]:
    """All entries, by key."""
    table = tomllib.loads(files("zodc").joinpath("data/catalogue.toml").read_text(encoding="utf-8"))
    sources = table.pop("sources")

    def entry(key: str, facts: dict[str, object]) -> Variable:
        facts = {name: _frozen(value) for name, value in facts.items()}
        units = tuple(Unit(*unit) for unit in facts.pop("units", ()))  # type: ignore[attr-defined]
        source = sources[facts.pop("source")]
        return Variable(key=key, units=units, source=source, **facts)  # type: ignore[arg-type]

    return {key: entry(key, facts) for key, facts in table.items()}


def find(name: str) -> tuple[Variable, Unit | None] | None:
    """Variable that a column's name stands for, and its unit where the name tells it.

    The whole name has to be understood: words before and after may only say when the value was taken, or
    its unit. "urine_sodium" is not sodium.

    Examples
    --------
    >>> variable, unit = find("Creatinine_max_umol_L")
    >>> variable.key, unit.name
    ('creatinine', 'umol/L')
    >>> find("urine_sodium") is None
    True
    """
    words = _words(name)
    for start in range(len(words)):
        if not all(map(_is_decoration, words[:start])):
            break
        for end in range(len(words), start, -1):
            variable = _index().get("".join(words[start:end]))
            if variable is None:
                continue
            tail = words[end:]
            rest = [word for word in tail if not _is_decoration(word)]
            if not rest and _unit_of(variable, tail) is None:
                return variable, None
            unit = _unit_of(variable, tail) or _unit_of(variable, rest)
            if unit is not None:
                return variable, unit
    return None


def find_code(loinc: str) -> tuple[Variable, Unit | None] | None:
    """Variable with a LOINC code, and its unit where the code settles it."""
    for variable in variables().values():
        if variable.loinc == loinc:
            return variable, None
        units = [unit for unit in variable.units if unit.loinc == loinc]
        if units:
            return variable, units[0] if len(units) == 1 else None
    return None


def choose_unit(variable: Variable, named: Unit | None, column: str, units: Units) -> Unit | None:
    """Choose a column's unit: the user's word, then the name's, then what leaves no doubt; else None.

    Raises
    ------
    OptionError
        When the user's unit is not one of the variable's.
    """
    if column in units.of:
        unit = _unit_of(variable, _words(units.of[column]))
        if unit is None:
            known = ", ".join(unit.name for unit in variable.units) or "none"
            raise OptionError(
                f"The 'units' option gives '{column}' a unit that the catalogue does not know for "
                f"{variable.label}; take one of: {known}, or state unit and bounds in the draft"
            )
        return unit
    if named is not None or not variable.units:
        return named
    first = variable.units[0]
    if all((unit.lower, unit.upper) == (first.lower, first.upper) for unit in variable.units):
        return first
    if variable.assume is not None:
        return next(unit for unit in variable.units if unit.name == variable.assume)
    return {"conventional": first, "si": variable.units[1]}.get(units.system or "")


def _frozen(value: object) -> object:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


@cache
def _index() -> dict[str, Variable]:
    return {
        "".join(_words(name)): variable
        for variable in variables().values()
        for name in (variable.key, *variable.names)
    }


def _words(text: str) -> list[str]:
    plain = unicodedata.normalize("NFKC", text).replace("μ", "u")
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", plain).lower()
    return [re.sub(r"^mcg", "ug", word) for word in re.findall(r"[a-z0-9%°]+", apart)]


def _is_decoration(word: str) -> bool:
    return word in _DECORATIONS or word.isdigit()


def _unit_of(variable: Variable, words: list[str]) -> Unit | None:
    text = "".join(word for word in words if word not in _PER)
    return next((unit for unit in variable.units if text and text in _spellings(unit.name)), None)


@cache
def _spellings(unit: str) -> frozenset[str]:
    plain = "".join(word for word in _words(unit) if word not in _PER)
    return frozenset((plain, *_SPELLINGS.get(plain, "").split())) - {""}
