"""The report of a release: one HTML page that can be signed. It is made from the release folder alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from zodc.figures import figure, page_style
from zodc.folder import REPORT
from zodc.forecast import forecast
from zodc.label import FALSE_POSITIVES, label
from zodc.plan import squared_cost
from zodc.plots import ReleasePlots, draw_marginal, draw_outcome
from zodc.schema import Column, Schema
from zodc.summary import Drawn, bars_of, correlation, noisy_marginals, released_cells
from zodc.tables import column_values

__all__ = ["environment", "questions", "render", "usage", "values_in_words"]

_QUESTIONS = {
    "marginals": "How are the values of each column, and the outcome, distributed?",
    "rounds": "Which of two nearby versions of the synthetic rows teaches a better model?",
}


@dataclass(frozen=True, kw_only=True)
class Question:
    """One kind of question asked of the patients."""

    what: str
    asked: str
    count: int
    mechanism: str
    noise: float
    share: float


def environment(*, escape: bool = True) -> Environment:
    """Templates that escape whatever comes from a schema, as HTML unless told otherwise."""
    found = Environment(
        loader=PackageLoader("zodc"),
        autoescape=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["number"] = _number
    found.filters["percent"] = _percent
    return found


def render(release: Drawn, manifest: Mapping[str, Any]) -> str:
    """Write the report.

    Parameters
    ----------
    release : Release
    manifest : mapping
        The release's manifest; of the hashes, those of the files that the report describes.

    Returns
    -------
    str
        One HTML page without scripts, which loads nothing. The same release gives the same page.
    """
    hashes = {name: text for name, text in sorted(manifest["sha256"].items()) if name != REPORT}
    with page_style():
        figures = _figures(release)
    return (
        environment()
        .get_template("report.html")
        .render(
            label=label(manifest),
            false_positives=FALSE_POSITIVES,
            manifest=manifest,
            schema=release.schema,
            questions=list(questions(manifest)),
            columns=[(column, values_in_words(column)) for column in release.schema.columns],
            figures=figures,
            shown=(len(correlation(release)), len(release.schema.features)),
            forecasts=forecast(release),
            usage=usage(release),
            hashes=hashes,
        )
    )


def questions(manifest: Mapping[str, Any]) -> Iterator[Question]:
    """List what was asked, each with its share of the budget in squared noise."""
    looks = sum(charge["what"] == "marginals" for charge in manifest["events"])
    cost = [squared_cost(charge) for charge in manifest["events"]]
    for place, (charge, own) in enumerate(zip(manifest["events"], cost, strict=True)):
        event = charge["event"]
        rate = event.get("sampling_rate")
        whom = "all patients" if rate is None else f"a random sample, each with probability {rate:.3g}"
        asked = _QUESTIONS.get(charge["what"], charge["what"])
        if charge["what"] == "marginals" and looks > 1:
            asked += " (coarse bins)" if place == 0 else " (bins fitted to the first answer)"
        yield Question(
            what=charge["what"],
            asked=asked,
            count=charge["count"],
            mechanism=f"Gaussian noise; {whom}",
            noise=event["noise_multiplier"],
            share=own / sum(cost),
        )


def usage(release: Drawn) -> str:
    """Three lines of Python that train a model on the released rows."""
    schema = release.schema
    if schema.target is not None:
        name = schema.target.name
        return (
            "import pandas as pd; from sklearn.ensemble import RandomForestClassifier\n"
            f'rows = pd.read_parquet("condensed.parquet"); y = rows.pop({name!r})\n'
            f"model = RandomForestClassifier().fit(pd.get_dummies(rows{_nominal(schema)}), y)"
        )
    assert schema.time is not None and schema.event is not None
    time, event = schema.time.name, schema.event.name
    seen = f"rows[{event!r}] == {column_values(np.ones(1), schema.event).tolist()[0]!r}"
    return (
        "import pandas as pd; from lifelines import CoxPHFitter\n"
        'rows = pd.read_parquet("condensed.parquet"); '
        f"x = pd.get_dummies(rows.drop(columns={event!r}){_nominal(schema)}, drop_first=True, dtype=float)\n"
        f"model = CoxPHFitter(penalizer=0.03).fit(x.assign(seen={seen}), {time!r}, 'seen')"
    )


def _nominal(schema: Schema) -> str:
    """Argument that names texts and nominal codes, which a model would take for numbers."""

    def is_nominal(column: Column) -> bool:
        return column.kind == "categorical" or column_values(np.zeros(1), column).dtype == object

    names = [column.name for column in schema.features if is_nominal(column)]
    return f", columns={names!r}" if names else ""


def _figures(release: Drawn) -> dict[str, Any]:
    schema, plots = release.schema, ReleasePlots(release)
    cells, noisy = released_cells(release), noisy_marginals(release)
    columns = (*schema.features, *schema.outcomes)

    def marginal(place: int, column: Column) -> Markup:
        bars = bars_of(column, cells[column.name], noisy[column.name])
        said = f"{column.name}: shares of released values against the noisy marginal"
        return figure(partial(draw_marginal, column, bars), name=f"m{place}", describe=said)

    def outcome(place: int, column: Column) -> Markup:
        said = f"Outcome by {column.name}, in the released rows"
        draw = partial(draw_outcome, release, column, cells)
        return figure(lambda ax: draw(ax), name=f"o{place}", describe=said)

    n = len(correlation(release))
    size = min(8.0, 2.4 + 0.2 * n)
    found: dict[str, Any] = {
        "marginals": [marginal(place, column) for place, column in enumerate(columns)],
        "outcome": [outcome(place, column) for place, column in enumerate(schema.features)],
        "correlation": figure(
            lambda ax: plots.correlation(ax=ax),
            name="c",
            describe="Spearman correlations of the released columns",
            width=size,
            height=size * 0.9,
            fitted=True,
        ),
        "survival": None,
        "trace": None,
    }
    if schema.task == "survival":
        said = "Kaplan-Meier curves of the released rows and of the teacher's rows"
        found["survival"] = figure(
            lambda ax: plots.survival(ax=ax), name="s", describe=said, width=4.2, height=2.8
        )
    if release.trace:
        said = "Size of each round's noisy answer, beside what noise alone would give"
        found["trace"] = figure(lambda ax: plots.trace(ax=ax), name="t", describe=said, width=4.2, height=2.7)
    return found


def values_in_words(column: Column) -> str:
    """Say in words which values are allowed."""
    unit = f" {column.unit}" if column.unit else ""
    if column.categories:
        return ", ".join(column.categories)
    if column.lower is None or column.upper is None:
        return "not used"
    step = f" in steps of {column.step or 1:g}" if column.kind == "ordinal" else ""
    return f"{column.lower:g} to {column.upper:g}{unit}{step}"


def _number(value: float) -> str:
    """Write a number as people do: 0.000001 as 1 × 10⁻⁶."""
    if value == 0 or not math.isfinite(value) or 1e-3 <= abs(value) < 1e6:
        return f"{value:.4g}"
    digits, _, power = f"{value:.2e}".partition("e")
    raised = str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    digits = digits.rstrip("0").rstrip(".") if "." in digits else digits
    return f"{digits} × 10{raised}"


def _percent(value: float, places: int = 1) -> str:
    return f"{100 * value:.{places}f} %"
