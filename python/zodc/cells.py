"""From the cells of one column to the numbers that the private half reads.

A cell never makes an error: what cannot be read is missing, what is unknown follows the schema. Only a
whole column of another type than the schema's does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
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
        When the schema asks for numbers, and the column holds texts none of which is a number.
    """
    return category_codes(values, column) if column.categories else numbers(values, column.name)


def numbers(values: NDArray[Any], name: str) -> Floats:
    """Read numbers; a cell that is none is missing."""
    if values.dtype.kind in "biuf":
        return values.astype(np.float64)
    cells = values.astype(object)
    found: Floats = pd.to_numeric(pd.Series(cells, dtype=object), errors="coerce").to_numpy(np.float64)
    if np.isnan(found).all() and not _is_missing(cells).all():
        raise DataError(
            f"data, column '{name}': it holds text where the schema asks for numbers; "
            "convert it, or list its categories in the schema"
        )
    return found


def category_codes(values: NDArray[Any], column: Column) -> Floats:
    """Index of each cell's category: NaN where missing, -1 where unknown."""
    cells = values if values.dtype.kind in "biuf" else _hashable(values.astype(object))
    codes, uniques = pd.factorize(cells)
    code_of = _matcher(column.categories)
    levels = [code_of(value) for value in uniques]
    # factorize writes -1 for None and NaN: the last entry.
    of_code: Floats = np.asarray([*levels, math.nan], dtype=np.float64)
    found: Floats = of_code[codes]
    return found


def unit_numbers(values: NDArray[Any]) -> Integers:
    """Give each distinct value a number; -1 where missing."""
    cells = values if values.dtype.kind in "biuf" else _hashable(values.astype(object))
    codes, uniques = pd.factorize(cells)
    is_blank = np.asarray([isinstance(value, str) and value in MISSING_TEXTS for value in uniques] + [True])
    return np.where(is_blank[codes], -1, codes).astype(np.int64)


def _matcher(categories: tuple[str, ...]) -> Callable[[object], float]:
    """Exact match first; then 1, 1.0, True and "1" are the same, and so are 0, 0.0, False and "0"."""
    exact = {text: float(code) for code, text in enumerate(categories)}
    keys = [_key(text) for text in categories]
    alike = {key: float(code) for code, key in enumerate(keys) if keys.count(key) == 1}

    def code_of(value: object) -> float:
        text = str(value)
        if text in exact:
            return exact[text]
        code = alike.get(_key(text))
        if code is not None:
            return code
        return math.nan if text in MISSING_TEXTS else UNKNOWN

    return code_of


def _key(text: str) -> float | str:
    stripped = text.strip()
    try:
        number = float(stripped)
    except ValueError:
        return _WORDS.get(stripped.casefold(), stripped)
    return number if math.isfinite(number) else stripped


def _hashable(cells: NDArray[Any]) -> NDArray[Any]:
    def plain(value: Any) -> Any:
        if value is None or value is pd.NA or value is pd.NaT:
            return None
        # Equal numbers of other types (NumPy scalars, Decimal) have equal texts.
        return value if isinstance(value, str | int | float) else str(value)

    return np.fromiter((plain(value) for value in cells), dtype=object, count=len(cells))


def _is_missing(cells: NDArray[Any]) -> NDArray[np.bool_]:
    texts = np.fromiter((isinstance(c, str) and c.strip() in MISSING_TEXTS for c in cells), bool, len(cells))
    absent = np.asarray(pd.isna(pd.Series(cells, dtype=object)), dtype=np.bool_)
    missing: NDArray[np.bool_] = absent | texts
    return missing
