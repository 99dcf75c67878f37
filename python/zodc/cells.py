"""From the cells of one column to the numbers that the private half reads.

A cell never makes an error: what cannot be read is missing, what is unknown follows the schema. Only a
whole column of another type than the schema's does. Each cell is read from itself alone: were it read by
its column's type, one patient's cell could change how all others are read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zodc._zodc import DataError
from zodc.schema import Column

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Texts that stand for a missing cell, unless the schema lists them as a category.
MISSING_TEXTS = frozenset(
    ("", "#N/A", "#NA", "-nan", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "na", "nan", "null")
)
# Code of a category that the schema does not know; Rust applies the schema's rule to it.
UNKNOWN = -1.0

_WORDS = {"false": 0.0, "true": 1.0}
# From here on neighbouring whole numbers are one float.
_EXACT = 2.0**53
# A number as spreadsheets write it when it has many digits: several patients may have become one.
_ROUNDED = re.compile(r"\d([.,]\d+)?[eE]\+\d+")


def encode_column(values: NDArray[Any], column: Column) -> Floats:
    """Encode one feature or outcome column.

    Parameters
    ----------
    values : array of shape (n_rows,)
        Numbers, truth values, or objects.
    column : Column

    Returns
    -------
    array of shape (n_rows,)
        The number itself, or the index of the category; NaN where missing, -1 where unknown.

    Raises
    ------
    DataError
        When the schema asks for numbers, and the column holds texts none of which is a number; or for an
        outcome, and not one cell is one of its categories.
    """
    return category_codes(values, column) if column.categories else numbers(values, column.name)


def numbers(values: NDArray[Any], name: str) -> Floats:
    """Read numbers; a cell that is none is missing.

    Raises
    ------
    DataError
        When not one cell of the column can be read: a fault of the file, told to the custodian before
        any budget is spent.
    """
    # NumPy would warn of a cell beyond the floats.
    with np.errstate(all="ignore"):
        if values.dtype.kind in "biuf":
            return values.astype(np.float64)
        found: Floats = np.fromiter((number(cell) for cell in values), np.float64, count=len(values))
    if np.isnan(found).all() and not all(_is_missing(cell) for cell in values):
        raise DataError(
            f"data, column '{name}': it holds text where the schema asks for numbers; "
            "convert it, or list its categories in the schema"
        )
    return found


def number(cell: object) -> float:
    """Read one cell as a number; NaN where it is none. "inf" and "1e999" are infinite, and clipped later."""
    try:
        if isinstance(cell, str):
            return _number_of_text(cell)
        if isinstance(cell, int | float | Decimal | np.bool_ | np.integer | np.floating):
            return float(cell)
    except Exception:  # A cell of any class whatever may come, and none may make an error.
        pass
    return math.nan


def category_codes(values: NDArray[Any], column: Column) -> Floats:
    """Index of each cell's category: NaN where missing, -1 where unknown.

    Raises
    ------
    DataError
        When the column is an outcome, and not one cell is one of its categories.
    """
    code_of = _matcher(column.categories)
    if values.dtype.kind in "biuf":
        # Zero has two signs and one category. A float32 keeps its width: its text is 0.1, not 0.10000000149.
        plain = values if values.dtype.kind == "b" else _as_floats(values) + 0
        codes, uniques = pd.factorize(plain)
        # factorize writes -1 for NaN: the last entry.
        of_code: Floats = np.asarray([*map(code_of, map(text_of, uniques)), math.nan])
        found: Floats = of_code[codes]
    else:
        known: dict[str | None, float] = {None: math.nan}

        def code(cell: object) -> float:
            text = text_of(cell)
            if text not in known:
                known[text] = code_of(text)
            return known[text]

        found = np.fromiter((code(cell) for cell in values), np.float64, count=len(values))
    if column.role in ("target", "event") and (found == UNKNOWN).any() and not (found >= 0).any():
        raise DataError(
            f"data, column '{column.name}': not one of its cells is one of its categories; "
            "mend the categories in the schema, or recode the column"
        )
    return found


def unit_numbers(values: NDArray[Any]) -> Integers:
    """Give each distinct patient a number; -1 where the id is missing or cannot be told from others.

    Ids are compared as texts: whole numbers of any type as their decimals, all else as it stands, so "007",
    "07" and 7 are three patients, and 7, 7.0 and "7" are one. A float from 2^53 on (float32: 2^24) may have
    been rounded to another patient's number before it came here: it counts as missing, and so does
    "1.23E+11", as spreadsheets write long numbers. Pass such ids as integers or texts.
    """
    seen: dict[str, int] = {}
    # float32 rounds from 2^24 on.
    exact = min(_EXACT, 2.0 ** (np.finfo(values.dtype).nmant + 1)) if values.dtype.kind == "f" else _EXACT

    def unit(cell: object) -> int:
        is_rounded = isinstance(cell, float | np.floating) and not abs(float(cell)) < exact
        text = None if is_rounded else text_of(cell)
        if text is None or text in MISSING_TEXTS or _ROUNDED.fullmatch(text):
            return -1
        return seen.setdefault(text, len(seen))

    return np.fromiter((unit(cell) for cell in values), np.int64, count=len(values))


def text_of(cell: object) -> str | None:
    """Text of one cell: whole numbers as their decimals, all else as it stands; None where missing."""
    try:
        if isinstance(cell, str):
            return str(cell)
        if cell is None or cell is pd.NA or cell is pd.NaT:
            return None
        if isinstance(cell, float | np.floating):
            value = float(cell)
            if math.isnan(value):
                return None
            return str(int(value)) if value.is_integer() and abs(value) < _EXACT else str(cell)
        return str(cell)
    except Exception:  # A cell of any class whatever may come, and none may make an error.
        return None


def _matcher(categories: tuple[str, ...]) -> Callable[[str | None], float]:
    """Exact match first; then 1, 1.0, True and "1" are the same, and so are 0, 0.0, False and "0"."""
    exact = {text: float(code) for code, text in enumerate(categories)}
    keys = [_key(text) for text in categories]
    alike = {key: float(code) for code, key in enumerate(keys) if keys.count(key) == 1}

    def code_of(text: str | None) -> float:
        if text is None:
            return math.nan
        if text in exact:
            return exact[text]
        code = alike.get(_key(text))
        if code is not None:
            return code
        return math.nan if text in MISSING_TEXTS else UNKNOWN

    return code_of


def _key(text: str) -> float | str:
    stripped = text.strip()
    found = _number_of_text(stripped)
    return found if math.isfinite(found) else stripped


def _number_of_text(text: str) -> float:
    word = text.strip()
    try:
        # Python alone reads "1_0" as ten.
        return math.nan if "_" in word else float(word)
    except ValueError:
        return _WORDS.get(word.casefold(), math.nan)


def _as_floats(values: NDArray[Any]) -> NDArray[Any]:
    """Numbers as floats: of the width they have, if they are floats."""
    with np.errstate(all="ignore"):
        return values if values.dtype.kind == "f" else values.astype(np.float64)


def _is_missing(cell: object) -> bool:
    text = text_of(cell)
    return text is None or text.strip() in MISSING_TEXTS
