"""Plots of the benchmark: share of full data against ε and rows, and each set beside its rivals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from field_tables import ALL_ROWS, LEARNERS, METRIC_OF, Chosen, at, labels_of, over_sets, shares
from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind readers tell apart; markers differ, too.
STYLES: dict[str, dict[str, Any]] = {
    "zodc": {"color": "#0072B2", "marker": "o", "linewidth": 2.5, "markersize": 7, "zorder": 5},
    "real rows": {"color": "#666666", "marker": "s", "linestyle": "--"},
    "centroids": {"color": "#999999", "marker": "D", "linestyle": ":"},
    "start": {"color": "#BBBBBB", "marker": "x", "linestyle": ":"},
    "smartnoise MST": {"color": "#D55E00", "marker": "v"},
    "smartnoise AIM": {"color": "#E69F00", "marker": "^"},
    "OpenDP MST": {"color": "#CC79A7", "marker": "<"},
    "OpenDP AIM": {"color": "#009E73", "marker": ">"},
    "dpmm MST": {"color": "#56B4E9", "marker": "P"},
    "dpmm AIM": {"color": "#000000", "marker": "X"},
}
NAMES = {"auroc": "AUROC", "c_index": "C-index"}
TITLES = {
    "tree": "decision tree",
    "forest": "random forest",
    "xgboost": "XGBoost",
    "logistic": "logistic regression",
    "cox": "Cox regression",
    "survival_forest": "random survival forest",
    "survival_tree": "survival tree",
}
NOT_PRIVATE = ("real rows", "centroids")


def draw(table: pd.DataFrame, chosen: Chosen, folder: Path) -> None:
    """Write all plots for which there are results, as PNG and SVG."""
    for metric in LEARNERS:
        scores = shares(table, metric)
        if scores.empty:
            continue
        for name, figure in {
            f"{metric}_by_epsilon": by_epsilon(scores, metric, chosen),
            f"{metric}_by_rows": by_rows(scores, metric, chosen),
            f"{metric}_by_set": by_set(scores, metric, chosen),
        }.items():
            for ending in ("png", "svg"):
                figure.savefig(folder / f"{name}.{ending}", dpi=150, bbox_inches="tight")


def _panels(metric: str, height: float) -> tuple[Figure, dict[str, Any]]:
    names = LEARNERS[metric]
    figure = Figure(figsize=(3.4 * len(names), height), layout="constrained")
    axes = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for ax, name in zip(axes, names, strict=True):
        ax.set_title(TITLES[name], fontsize=11)
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(color="#dddddd", linewidth=0.6)
        ax.set_axisbelow(True)
    return figure, dict(zip(names, axes, strict=True))


def _finish(figure: Figure, note: str) -> None:
    handles: dict[str, Any] = {}
    for ax in figure.axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if handles:
        figure.legend(
            handles.values(), handles.keys(), loc="outside lower center", ncols=min(len(handles), 6),
            frameon=False, fontsize=10,
        )  # fmt: skip
    figure.suptitle(note, fontsize=10, color="#444444")


def _common_sets(table: pd.DataFrame) -> list[str]:
    """Find the sets on which every method has a score, so that means compare like with like."""
    by_label = [set(group["set"]) for _, group in table.groupby("label")]
    return sorted(set.intersection(*by_label)) if by_label else []


def _over_seeds(table: pd.DataFrame, sets: list[str]) -> tuple[float, float]:
    """Mean share over sets, and its standard error over seeds (0 for a single seed)."""
    means: Any = (
        table[table["set"].isin(sets)].groupby(["seed", "set"])["share"].mean().groupby("seed").mean()
    )
    return float(means.mean()), float(means.sem()) if len(means) > 1 else 0.0


def by_epsilon(table: pd.DataFrame, metric: str, chosen: Chosen) -> Figure:
    """Mean share over the sets that all methods have, against ε; bars are standard errors over seeds."""
    shown = table[table["released"] == chosen.rows]
    shown = shown[~shown["label"].isin(["centroids", "start"])]
    sets = _common_sets(shown)
    figure, axes = _panels(metric, 4.0)
    for learner, ax in axes.items():
        own = shown[shown["learner"] == learner]
        ax.axhline(1, color="#333333", linewidth=0.8)
        for label in labels_of(own):
            group = own[own["label"] == label]
            if label in NOT_PRIVATE:
                ax.axhline(over_sets(group, label, sets).mean(), label=f"{label} (not private)",
                           color=STYLES[label]["color"], linestyle="--")  # fmt: skip
                continue
            epsilons = sorted(group["epsilon"].unique())
            found = [_over_seeds(group[group["epsilon"] == e], sets) for e in epsilons]
            means, errors = zip(*found, strict=True) if found else ((), ())
            ax.errorbar(epsilons, means, yerr=errors, capsize=2, elinewidth=1, label=label, **STYLES[label])
        ax.set_xscale("log")
        ax.set_xlim(0.4, 10)
        ax.set_xticks([0.5, 1, 3, 8], ["0.5", "1", "3", "8"])
        ax.set_xlabel("ε")
        ax.minorticks_off()
    axes[LEARNERS[metric][0]].set_ylabel(f"{NAMES[metric]}, share of full data")
    _finish(figure, f"{chosen.rows} rows, δ = 10⁻⁵; mean of the {len(sets)} sets that all methods finished")
    return figure


def by_rows(table: pd.DataFrame, metric: str, chosen: Chosen) -> Figure:
    """Mean share over sets against the number of rows."""
    shown = table[table["label"].isin(["zodc", *NOT_PRIVATE, "start"]) & (table["released"] > 0)]
    shown = shown[np.isinf(shown["epsilon"]) | (shown["epsilon"] == chosen.epsilon)]
    figure, axes = _panels(metric, 3.8)
    for learner, ax in axes.items():
        own = shown[shown["learner"] == learner]
        ax.axhline(1, color="#333333", linewidth=0.8)
        for label in labels_of(own):
            group = own[own["label"] == label]
            sizes = sorted(group["released"].unique())
            means = [over_sets(group[group["released"] == size], label).mean() for size in sizes]
            named = f"{label} (not private)" if label in NOT_PRIVATE else label
            ax.plot(sizes, means, label=named, **STYLES[label])
        ax.set_xscale("log")
        ax.set_xticks([50, 100, 200, 500], ["50", "100", "200", "500"])
        ax.minorticks_off()
        ax.set_xlabel("rows")
    axes[LEARNERS[metric][0]].set_ylabel(f"{NAMES[metric]}, share of full data")
    _finish(figure, f"ε = {chosen.epsilon:g}; mean over sets")
    return figure


def by_set(table: pd.DataFrame, metric: str, chosen: Chosen) -> Figure:
    """Share of each method on each set; a rival counts with the better of its two sizes."""
    same = at(table, chosen)
    same = same.assign(label=same["label"].str.removesuffix(ALL_ROWS))
    same = same[~same["label"].isin(["full data", "start", "centroids"])]
    sizes = same.groupby(["set", "learner", "label", "rows"])["share"].mean()
    best = sizes.groupby(["set", "learner", "label"]).max().reset_index()
    sets = sorted(best["set"].unique(), reverse=True)
    figure, axes = _panels(metric, 1.8 + 0.38 * len(sets))
    for learner, ax in axes.items():
        own = best[(best["learner"] == learner) & (METRIC_OF[learner] == metric)]
        ax.axvline(1, color="#333333", linewidth=0.8)
        for label in labels_of(own):
            group = own[own["label"] == label]
            style = {**STYLES[label], "linestyle": "none"}
            places = [sets.index(name) for name in group["set"]]
            named = f"{label} (not private)" if label in NOT_PRIVATE else label
            ax.plot(group["share"], places, label=named, **style)
        ax.set_yticks(range(len(sets)), sets)
        ax.set_ylim(-0.5, len(sets) - 0.5)
        ax.set_xlabel("share of full data")
    _finish(figure, f"{NAMES[metric]}; ε = {chosen.epsilon:g}, {chosen.rows} rows")
    return figure
