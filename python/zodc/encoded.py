"""Rows as models see them: real ones and released ones, encoded by the same public decoder."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zodc import frames
from zodc._zodc import Decoder
from zodc.metrics import Bools, Floats
from zodc.release import Release
from zodc.schema import Schema

__all__ = ["Codes", "EncodedRows", "encode_flagged", "encode_rows", "encode_with_cells", "release_rows"]

Codes = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class EncodedRows:
    """Rows as models see them.

    Attributes
    ----------
    x : DataFrame of shape (n_rows, width)
        Missing cells imputed, categories one-hot, standardised by the public scale.
    codes : ndarray of shape (n_rows,)
        Index of the class; for survival 1 where the event was seen.
    time : ndarray of shape (n_rows,) or None
        Follow-up, for survival.
    n_classes : int
        Classes of the schema.
    """

    x: pd.DataFrame = field(repr=False)
    codes: Codes = field(repr=False)
    time: Floats | None = field(repr=False)
    n_classes: int

    @property
    def event(self) -> Bools:
        """Whether the event was seen, for survival."""
        return np.asarray(self.codes == 1)

    def take(self, rows: Codes) -> EncodedRows:
        """Select rows by position."""
        time = None if self.time is None else self.time[rows]
        return EncodedRows(x=self.x.iloc[rows], codes=self.codes[rows], time=time, n_classes=self.n_classes)


def _encoded_names(schema: Schema) -> list[str]:
    names = []
    for column in schema.features:
        own = [f"{column.name}={c}" for c in column.categories] if column.kind == "categorical" else []
        names += own or [column.name]
        names += [column.flag_name] if column.flag_name is not None else []
    return names


def _without_units(schema: Schema) -> Schema:
    """Synthetic rows have no patient_id, and held-out ones need none."""
    columns = (
        replace(c, role="ignore", max_rows=None) if c.role == "patient_id" else c for c in schema.columns
    )
    return Schema(tuple(columns), schema.name)


def encode_rows(frame: Any, schema: Schema, decoder: Decoder) -> EncodedRows:
    """Encode a frame that holds features and outcome; rows without an outcome are left out.

    Parameters
    ----------
    frame : pandas, polars or pyarrow frame
        All columns of the schema that are not ignored.
    schema : Schema
        The public schema.
    decoder : Decoder
        Gives the public scale, and what a missing cell becomes.

    Returns
    -------
    EncodedRows
    """
    return encode_with_cells(frame, schema, decoder)[0]


def encode_with_cells(frame: Any, schema: Schema, decoder: Decoder) -> tuple[EncodedRows, Floats]:
    """Encode rows with a known outcome; return their cells, too, as a release's table has them."""
    encoded = frames.encode(frame, None, _without_units(schema))
    x = pd.DataFrame(decoder.encode(encoded.cells), columns=_encoded_names(schema))
    if schema.time is None:
        assert schema.target is not None
        codes, time, n_classes = encoded.outcome, None, len(schema.target.categories)
    else:
        (time, codes), n_classes = frames.within_follow_up(encoded, schema.time), 2
    known = codes >= 0
    if time is not None:
        known &= ~np.isnan(time)
    found = EncodedRows(x=x, codes=np.where(known, codes, 0).astype(np.int64), time=time, n_classes=n_classes)
    kept = np.flatnonzero(known)
    has_names = np.array([bool(column.categories) for column in schema.features], dtype=np.bool_)
    is_known = ~np.isnan(encoded.cells) & ~(has_names & (encoded.cells < 0))
    cells = np.where(is_known, decoder.tabulate(encoded.cells)[0], np.nan)
    return found.take(kept), cells[kept]


def release_rows(release: Release, decoder: Decoder) -> EncodedRows:
    """Encode the released rows, with cells missing where their flags say so."""
    return encode_flagged(release.frame("pandas"), release.schema, decoder)


def encode_flagged(frame: pd.DataFrame, schema: Schema, decoder: Decoder) -> EncodedRows:
    """Encode a table with flags, as releases have it: cells are missing where their flags say so."""
    for column in schema.features:
        if column.flag_name is not None:
            missing = frame[column.flag_name] == 1
            frame = frame.assign(**{column.name: frame[column.name].mask(missing)})
            frame = frame.drop(columns=column.flag_name)
    return encode_rows(frame, schema, decoder)
