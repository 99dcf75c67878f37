"""The evaluation's report: INTERNAL, since its figures come from real patients and are not private."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from zodc import metrics
from zodc.curves import Judged
from zodc.evaluate import Evaluation
from zodc.figures import figure, page_style
from zodc.label import label
from zodc.metrics import Bools, Floats
from zodc.release import Release
from zodc.report import environment

__all__ = ["Subgroup", "render_evaluation", "subgroups"]

# Items of TRIPOD+AI (Collins et al. 2024) that the page has something on, and those left to the authors.
TRIPOD = (
    ("5, 6, 20", "data and participants", "rows and events held out; how they were chosen is yours to say"),
    ("8, 9", "outcome and predictors", "the schema of the release, in its report"),
    ("10", "sample size", "rows and events are counted; no formula was applied"),
    ("11", "missing data", "imputed by the noisy mean or most likely category; flags where the schema says"),
    ("12c", "model building", "default settings on encoded rows, without tuning"),
    ("12e", "performance measures", "discrimination, calibration, net benefit"),
    ("14", "fairness", "scores by group, for the columns that were named"),
    ("16", "training against evaluation data", "trained on synthetic rows, tested on real ones"),
    ("23a", "performance with intervals", "the table of scores"),
    ("23b", "heterogeneity", "the subgroup table; sites only where they are a named column"),
)
_BENEFIT = (
    "Net benefit of acting above a threshold of risk: useful where it lies above acting on all and on none."
)
_NOT_TRIPOD = "title, abstract, aims, ethics, protocol, registration, funding and discussion"


@dataclass(frozen=True, kw_only=True)
class Subgroup:
    """Scores of one model in one group of held-out rows, by training rows; None where they cannot be had."""

    column: str
    group: str
    n: int
    events: int
    model: str
    scores: tuple[float | None, ...]


def render_evaluation(
    release: Release, manifest: Mapping[str, Any], evaluation: Evaluation, *, n_bootstrap: int
) -> str:
    """Write the evaluation's report.

    Parameters
    ----------
    release : Release
    manifest : mapping
        The release's manifest.
    evaluation : Evaluation
        With real rows beside where `evaluate` was given some.
    n_bootstrap : int
        Replicates behind the intervals.

    Returns
    -------
    str
        One HTML page without scripts, which loads nothing. It is about real patients and must not leave.
    """
    judged = evaluation.judged
    with page_style():
        figures = _figures(evaluation)
    names = list(dict.fromkeys(score.metric for score in evaluation.scores))
    rows = list(dict.fromkeys((s.rows, s.model) for s in evaluation.scores))
    table = {(s.rows, s.model, s.metric): str(s.estimate) for s in evaluation.scores}
    outcome = release.schema.target or release.schema.event
    return (
        environment()
        .get_template("evaluation.html")
        .render(
            schema=release.schema,
            outcome=outcome,
            manifest=manifest,
            label=label(manifest),
            judged=judged,
            n=len(judged.codes),
            events=int((judged.codes == 1).sum()),
            classes=[int((judged.codes == k).sum()) for k in range(len(outcome.levels))] if outcome else [],
            names=names,
            rows=rows,
            table=table,
            n_bootstrap=n_bootstrap,
            sections=figures,
            subgroups=subgroups(judged),
            score=_score_name(judged),
            is_multiclass=release.schema.target is not None and len(release.schema.target.levels) > 2,
            tripod=TRIPOD,
            not_tripod=_NOT_TRIPOD,
        )
    )


def subgroups(judged: Judged) -> list[Subgroup]:
    """Score each model in each group: AUROC, or C-index."""
    return [
        Subgroup(
            column=column,
            group=group,
            n=int(inside.sum()),
            events=int((judged.codes[inside] == 1).sum()),
            model=model,
            scores=tuple(_score(judged, source, model, inside) for source in judged.sources),
        )
        for column, groups in judged.groups.items()
        for group, inside in groups
        for model in judged.models
    ]


def _score_name(judged: Judged) -> str:
    return "C-index" if judged.is_survival else "AUROC"


def _score(judged: Judged, source: str, model: str, inside: Bools) -> float | None:
    one, codes = np.ones((1, int(inside.sum()))), judged.codes[inside]
    if judged.time is None:
        if len(np.unique(codes)) < 2:
            return None
        found = metrics.auroc(codes, judged.predictions[source, model][inside], one)[0]
    else:
        with np.errstate(all="ignore"):
            risk: Floats = judged.risk(source, model)[inside]
            found = metrics.concordance(judged.time[inside], codes == 1, risk, one)[0]
    return float(found) if np.isfinite(found) else None


def _figures(evaluation: Evaluation) -> list[tuple[str, str, list[Markup]]]:
    """Build sections: heading, what it shows, and a figure for each model."""
    plot, judged = evaluation.plot, evaluation.judged
    if judged.is_survival:
        when = f" Risk is judged by time {judged.times[judged.horizon]:.4g}."
        said = "Share of pairs in the right order, among those decided by each time."
        drawn: list[tuple[str, str, Callable[..., object]]] = [("C-index over time", said, plot.concordance)]
    else:
        n_classes = judged.predictions[judged.sources[0], judged.models[0]].shape[1]
        when = "" if n_classes == 2 else " Each class against the rest, pooled."
        drawn = [
            ("ROC", f"Discrimination at every threshold.{when}", plot.roc),
            ("Precision and recall", f"The hair line is the prevalence.{when}", plot.precision_recall),
        ]
    drawn += [
        (
            "Calibration",
            f"Ten groups by risk; on the diagonal, predictions are right.{when}",
            plot.calibration,
        ),
        ("Decision curve", f"{_BENEFIT}{when}", plot.decision_curve),
    ]
    sections = [
        (
            title,
            said,
            [_draw(f"{title}: {model}", f"e{k}-{m}", draw, model) for m, model in enumerate(judged.models)],
        )
        for k, (title, said, draw) in enumerate(drawn)
    ]
    if judged.is_survival:
        title = "Survival by predicted risk"
        groups = [
            _draw(title, f"g{m}-{s}", plot.risk_groups, model, source=source)
            for m, model in enumerate(judged.models)
            for s, source in enumerate(judged.sources)
        ]
        said = "Kaplan-Meier curves of held-out patients in thirds of the risk that each model predicts."
        sections.append((title, said, groups))
    return sections


def _draw(title: str, name: str, draw: Callable[..., object], model: str, **options: Any) -> Markup:
    return figure(
        lambda ax: draw(model, ax=ax, **options),
        name=name,
        describe=f"{title}: {', '.join([model, *options.values()])}",
        width=3.7,
        height=3.3,
    )
