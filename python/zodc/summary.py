"""Numbers behind the pictures of a release: its rows against its noisy marginals. No patient is asked."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import pandas as pd
from lifelines import KaplanMeierFitter
from numpy.typing import NDArray

from zodc._zodc import Decoder, Population, Rows
from zodc.cells import Floats
from zodc.plan import Plan
from zodc.recipe import Recipe
from zodc.schema import Column, Schema

__all__ = [
    "Bars",
    "Drawn",
    "Step",
    "bars_of",
    "correlation",
    "groups_of",
    "kaplan_meier",
    "noise_floor",
    "noisy_marginals",
    "released_cells",
]

_N_BINS = 24
# More numbered levels than that are drawn as bins.
_MOST_LEVELS = 14
_OUTSIDE = 0.002
_MOST_CORRELATED = 40


class Drawn(Protocol):
    """What pictures and summaries need of a release."""

    @property
    def schema(self) -> Schema:
        """The public schema."""
        ...

    @property
    def plan(self) -> Plan:
        """What was asked."""
        ...

    @property
    def recipe(self) -> Recipe:
        """Public settings."""
        ...

    @property
    def marginals(self) -> str:
        """Noisy marginals, as JSON."""
        ...

    @property
    def trace(self) -> tuple[float, ...]:
        """Size of each noisy answer."""
        ...

    @property
    def teacher(self) -> Rows:
        """Rows of the private phase."""
        ...

    @property
    def teacher_model(self) -> str | None:
        """The teacher fitted again on the noisy answers, as JSON, if it was."""
        ...

    @property
    def rows(self) -> Rows:
        """Released rows."""
        ...

    def population(self, n_rows: int, seed: int) -> Population:
        """Draw pseudo-patients, labelled by the teacher."""
        ...

    @property
    def decoder(self) -> Decoder:
        """From latents to real units."""
        ...


@dataclass(frozen=True, kw_only=True)
class Bars:
    """Shares of a column's values, released and noisy.

    Attributes
    ----------
    edges : ndarray or None
        Of the bins of a numeric column; None where `labels` name the bars.
    labels : tuple of str
    released, noisy : ndarray
        Shares, each summing to 1 but for what lies beyond the edges.
    missing : tuple of float
        Share of missing cells, released and noisy.
    """

    edges: Floats | None
    labels: tuple[str, ...]
    released: Floats
    noisy: Floats
    missing: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Step:
    """A Kaplan-Meier curve: the share free of the event after each time."""

    times: Floats
    survival: Floats


def noisy_marginals(release: Drawn) -> dict[str, Any]:
    """Noisy marginals by the name of the column, and the outcome's under its column."""
    stored = json.loads(release.marginals)
    found = {c.name: m for c, m in zip(release.schema.features, stored["features"], strict=True)}
    outcome, schema = stored["outcome"], release.schema
    if schema.target is not None:
        found[schema.target.name] = {"missing": 0.0, "edges": [], "weights": outcome["weights"]}
        return found
    assert schema.time is not None and schema.event is not None
    censored, event = np.asarray(outcome["censored"]), np.asarray(outcome["event"])
    found[schema.time.name] = {"missing": 0.0, "edges": outcome["edges"], "weights": censored + event}
    found[schema.event.name] = {"missing": 0.0, "edges": [], "weights": [censored.sum(), event.sum()]}
    return found


def released_cells(release: Drawn, rows: Rows | None = None) -> dict[str, Floats]:
    """Cells by column, as numbers or indices of levels; NaN where the flag says missing."""
    schema = release.schema
    cells, missing, outcome = release.decoder.table(release.rows if rows is None else rows)
    blanked = np.where(missing == 1.0, np.nan, cells)
    found = {column.name: blanked[:, place] for place, column in enumerate(schema.features)}
    return found | {column.name: outcome[:, place] for place, column in enumerate(schema.outcomes)}


def bars_of(column: Column, values: Floats, marginal: dict[str, Any]) -> Bars:
    """Put released values and the noisy marginal of a column on common bars."""
    known = values[~np.isnan(values)]
    missing = (1.0 - len(known) / max(1, len(values)), float(marginal["missing"]))
    weights = np.asarray(marginal["weights"], dtype=np.float64)
    levels = level_names(column)
    if column.kind == "continuous":
        edges = np.asarray(marginal["edges"], dtype=np.float64)
    elif len(levels) > _MOST_LEVELS and not column.categories:
        numbers = np.asarray(column.levels, dtype=np.float64)
        half = 0.5 * (numbers[1] - numbers[0])
        edges, known = np.append(numbers - half, numbers[-1] + half), numbers[known.astype(np.int64)]
    else:
        released = np.bincount(known.astype(np.int64), minlength=len(levels)) / max(1, len(known))
        return Bars(edges=None, labels=levels, released=released, noisy=weights, missing=missing)
    common = _common_edges(edges, weights, known, whole=column.kind == "ordinal")
    cumulative = np.concatenate([[0.0], np.cumsum(weights)])
    noisy = np.diff(np.interp(common, edges, cumulative))
    released = np.histogram(known, common)[0] / max(1, len(known))
    return Bars(edges=common, labels=(), released=released, noisy=noisy, missing=missing)


def level_names(column: Column) -> tuple[str, ...]:
    """Levels as texts."""
    return tuple(f"{level:g}" if isinstance(level, float) else level for level in column.levels)


def _common_edges(edges: Floats, weights: Floats, known: Floats, *, whole: bool) -> Floats:
    """Equal bins over what holds nearly all of both, so that far bounds do not squeeze the picture."""
    cumulative = np.concatenate([[0.0], np.cumsum(weights)])
    low, high = np.interp([_OUTSIDE, cumulative[-1] - _OUTSIDE], cumulative, edges)
    if len(known):
        low, high = min(low, known.min()), max(high, known.max())
    if not high > low:
        low, high = edges[0], edges[-1]
    if not whole:
        return np.linspace(low, high, _N_BINS + 1)
    inside = edges[(edges >= low - (edges[1] - edges[0])) & (edges <= high + (edges[1] - edges[0]))]
    every = math.ceil(max(1, len(inside) - 1) / _N_BINS)
    kept = inside[::every]
    return kept if kept[-1] == inside[-1] else np.append(kept, inside[-1])


def correlation(release: Drawn) -> pd.DataFrame:
    """Spearman correlations of the released columns; of a categorical one, of each category's indicator.

    At most 40 columns, those that go most with the outcome.
    """
    schema, cells = release.schema, released_cells(release)
    table: dict[str, Floats] = {}
    for column in (*schema.features, *schema.outcomes):
        levels, values = level_names(column), cells[column.name]
        if column.kind == "categorical" and len(levels) > 2:
            known = np.where(np.isnan(values), np.nan, 1.0)
            table |= {f"{column.name}={name}": known * (values == k) for k, name in enumerate(levels)}
        else:
            table[column.name] = values
    found = pd.DataFrame(table).corr(method="spearman")
    if len(found) > _MOST_CORRELATED:
        last = found.columns[-1]
        strength = found[last].abs().fillna(0.0).to_numpy()
        keep = np.sort(np.argsort(-strength, kind="stable")[:_MOST_CORRELATED])
        found = found.iloc[keep, keep]
    return found


def kaplan_meier(time: Floats, event: Floats) -> Step:
    """Estimate survival from follow-up and events."""
    fitted = KaplanMeierFitter().fit(time, event == 1.0)
    curve = fitted.survival_function_.iloc[:, 0]
    return Step(times=curve.index.to_numpy(dtype=np.float64), survival=curve.to_numpy(dtype=np.float64))


def groups_of(column: Column, values: Floats, n_groups: int) -> list[tuple[str, NDArray[np.bool_]]]:
    """Split rows by a column: by level, or in ranges of about equal size; the largest groups only."""
    levels = level_names(column)
    if levels and (column.categories or len(levels) <= n_groups):
        groups = [(name, values == k) for k, name in enumerate(levels)]
        groups = sorted(groups, key=lambda group: -int(group[1].sum()))[:n_groups]
        order = {name: k for k, name in enumerate(levels)}
        return sorted((g for g in groups if g[1].any()), key=lambda group: order[group[0]])
    numbers = values if not levels else _numbers(column, values)
    known = numbers[~np.isnan(numbers)]
    if not len(known):
        return []
    cuts = np.unique(np.quantile(known, np.linspace(0, 1, n_groups + 1)))
    if len(cuts) < 2:
        return [(_brief(known[0]), ~np.isnan(numbers))]
    place = np.clip(np.searchsorted(cuts, numbers, side="right") - 1, 0, len(cuts) - 2)
    place = np.where(np.isnan(numbers), -1, place)
    spans = _whole_spans(cuts) if (known == np.round(known)).all() else _half_open_spans(cuts)
    return [(span, place == k) for k, span in enumerate(spans) if (place == k).any()]


def _whole_spans(cuts: Floats) -> list[str]:
    """First and last whole number of each range; only the last range holds its upper cut."""
    firsts = np.ceil(cuts)
    lasts = np.append(firsts[1:-1] - 1, cuts[-1])
    pairs = zip(firsts[:-1], lasts, strict=True)
    return [_brief(low) if low == high else f"{_brief(low)} to {_brief(high)}" for low, high in pairs]


def _half_open_spans(cuts: Floats) -> list[str]:
    spans = [f"[{_brief(low)}, {_brief(high)})" for low, high in pairwise(cuts)]
    return [*spans[:-1], spans[-1][:-1] + "]"]


def _brief(number: float) -> str:
    return f"{number:.3g}" if abs(number) < 1000 else f"{number:.0f}"


def _numbers(column: Column, values: Floats) -> Floats:
    numbers = np.asarray(column.levels, dtype=np.float64)
    is_known = ~np.isnan(values)
    found = np.full(len(values), np.nan)
    found[is_known] = numbers[values[is_known].astype(np.int64)]
    return found


def noise_floor(release: Drawn) -> Floats:
    """Return the size that each round's answer would have by noise alone, in the trace's unit."""
    count = json.loads(release.marginals)["count"]
    schedule = release.recipe.private_for(count, len(release.schema.features))
    plan = release.plan.to_dict()
    done = np.minimum(np.arange(schedule.rounds) / (max(schedule.rounds, 2) - 1), 1.0)
    clip = schedule.clip.start * (schedule.clip.end / schedule.clip.start) ** done
    norm = clip * math.sqrt(release.recipe.directions)
    # Replacing a unit takes one vector away and adds another: the lattice's radius is half of that.
    radius = plan["round_sensitivity"] / (2 if plan["neighbours"] == "replace_one" else 1)
    return np.asarray(norm * plan["round_noise_scale"] / radius)
