"""Markdown tables and plots of the benchmark, from its results files.

python benches/field_report.py results.csv rivals.csv --out report.md --plots FOLDER
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import field_plots
import numpy as np
import pandas as pd
from field_tables import (
    LEARNERS,
    METRIC_OF,
    Chosen,
    against_rivals,
    at,
    default_made_for,
    labelled,
    labels_of,
    load,
    mean_and_error,
    over_sets,
    paired,
    recorded,
    shares,
)

TITLES = {"auroc": "Classification: AUROC", "c_index": "Survival: C-index"}


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def with_error(values: Any) -> str:
    """Write mean ± standard error."""
    if not len(values) or values.isna().all():
        return ""
    mean, error = mean_and_error(values.dropna())
    return f"{mean:.3f}" if np.isnan(error) else f"{mean:.3f} ± {error:.3f}"


def share_table(table: pd.DataFrame, metric: str) -> str:
    """Score on full data, and each method's share of it, by set and learner; means over seeds."""
    labels = [label for label in labels_of(table) if label != "full data"]
    rows = []
    for learner in LEARNERS[metric]:
        own = table[table["learner"] == learner]
        for name, group in own.groupby("set", sort=True):
            full = with_error(group[group["label"] == "full data"]["score"])
            cells = [with_error(group[group["label"] == label]["share"]) for label in labels]
            rows.append([learner, str(name), full, *cells])
        means = [with_error(over_sets(own, label)) for label in labels]
        counts = [len(over_sets(own, label)) for label in labels]
        marked = [f"**{mean}** ({n})" if n else "" for mean, n in zip(means, counts, strict=True)]
        rows.append([learner, "**mean of sets (how many)**", "", *marked])
    return markdown(["learner", "set", "full data", *labels], rows)


def epsilon_table(table: pd.DataFrame, metric: str, rows: int) -> str:
    """Share by ε and learner: mean over sets ± standard error over sets."""
    private = table[np.isfinite(table["epsilon"]) & table["released"].isin([rows, 0])]
    lines = []
    for learner in LEARNERS[metric]:
        own = private[private["learner"] == learner]
        for label in labels_of(own):
            for epsilon, group in own[own["label"] == label].groupby("epsilon"):
                means = over_sets(group, label)
                lines.append([learner, label, f"{epsilon:g}", with_error(means), str(len(means))])
    return markdown(["learner", "method", "ε", "share of full data", "sets"], lines)


def rows_table(table: pd.DataFrame, metric: str, epsilon: float) -> str:
    """Share by the number of rows."""
    own = table[
        table["label"].isin(["zodc", "real rows", "centroids", "start"])
        & (np.isinf(table["epsilon"]) | (table["epsilon"] == epsilon))
    ]
    sizes = sorted(own["released"].unique())
    lines = []
    for learner in LEARNERS[metric]:
        for label in labels_of(own):
            group = own[(own["learner"] == learner) & (own["label"] == label)]
            by_size = [with_error(over_sets(group[group["released"] == size], label)) for size in sizes]
            lines.append([learner, label, *by_size])
    return markdown(["learner", "method", *(f"{size} rows" for size in sizes)], lines)


def difference_summary(found: dict[str, pd.DataFrame]) -> str:
    """For each rival: pairs of set and learner, and how many intervals exclude zero."""
    lines = []
    for label, pairs in found.items():
        known = pairs[pairs["lower"].notna()]
        ahead, behind = (known["lower"] > 0).sum(), (known["upper"] < 0).sum()
        lines.append(
            [
                label,
                str(len(pairs)),
                f"{pairs['difference'].mean():+.3f}",
                f"{(pairs['difference'] > 0).sum()} of {len(pairs)}",
                f"{ahead} of {len(known)}",
                f"{behind} of {len(known)}",
            ]
        )
    header = ["rival", "pairs", "mean difference", "zodc ahead", "interval above 0", "interval below 0"]
    return markdown(header, lines)


def difference_table(found: dict[str, pd.DataFrame]) -> str:
    """Differences of zodc to each rival by set and learner."""
    parts = [pairs.assign(rival=label) for label, pairs in found.items() if len(pairs)]
    if not parts:
        return ""
    table = pd.concat(parts)
    lines = []
    for (name, learner), group in table.groupby(["set", "learner"]):
        cells = {}
        line: Any
        for line in group.itertuples():
            interval = "" if np.isnan(line.lower) else f" ({line.lower:+.3f} to {line.upper:+.3f})"
            cells[line.rival] = f"{line.difference:+.3f}{interval}"
        lines.append([str(name), str(learner), *(cells.get(label, "") for label in found)])
    return markdown(["set", "learner", *found], lines)


def headline(table: pd.DataFrame, chosen: Chosen) -> str:
    """Compare zodc at ε = 0.5 with the best rival at ε = 8, over the sets that both have."""
    low, high = at(table, replace(chosen, epsilon=0.5)), at(table, replace(chosen, epsilon=8.0))
    lines = []
    for learner, metric in METRIC_OF.items():
        own = low[(low["label"] == "zodc") & (low["learner"] == learner) & (low["metric"] == metric)]
        best: tuple[float, list[str]] | None = None
        for label in labels_of(high, rivals_only=True):
            rival = high[(high["label"] == label) & (high["learner"] == learner) & (high["metric"] == metric)]
            both = paired(own, rival)
            if not len(both):
                continue
            score = rival[rival["set"].isin(both["set"])].groupby("set")["score"].mean().mean()
            mean, error = mean_and_error(both["difference"])
            line = [learner, label, str(len(both)), f"{score:.3f}", f"{score + mean:.3f}"]
            line += [f"{mean:+.3f} ± {error:.3f}"]
            if best is None or mean < best[0]:
                best = mean, line
        if best is not None:
            lines.append(best[1])
    header = ["learner", "nearest rival at ε = 8", "sets", "rival", "zodc at ε = 0.5", "difference"]
    return markdown(header, lines)


def beside_recorded(table: pd.DataFrame, path: Path, chosen: Chosen) -> str:
    """Compare shares of zodc with those of Tab-PE that another harness recorded."""
    found: dict[Any, Any] = {}
    private = table[(table["label"] == "zodc") & (table["released"] == chosen.rows)]
    for metric in LEARNERS:
        for key, group in shares(private_and_full(table, private), metric).groupby(
            ["set", "learner", "epsilon"]
        ):
            found[key] = group[group["label"] == "zodc"]["share"]
    lines = []
    line: Any
    for line in recorded(path).itertuples():
        own = found.get((line.set, line.learner, line.epsilon))
        if own is not None:
            share = f"{line.share:.3f} ({line.rows:.0f} rows)"
            lines.append([line.set, line.learner, f"{line.epsilon:g}", share, with_error(own)])
    return markdown(["set", "learner", "ε", "Tab-PE", f"zodc ({chosen.rows} rows)"], lines)


def private_and_full(table: pd.DataFrame, private: pd.DataFrame) -> pd.DataFrame:
    """Join lines with those of full data, which shares are taken of."""
    return pd.concat([private, table[table["label"] == "full data"]])


def calibration(table: pd.DataFrame) -> str:
    """Brier score as a multiple of the full-data model's, and the calibration slope."""
    brier, slope = shares(table, "brier"), table[table["metric"] == "slope"]
    integrated = shares(table, "integrated_brier")
    lines = []
    for learner, metric in METRIC_OF.items():
        errors = brier if metric == "auroc" else integrated
        for label in labels_of(table):
            ratio = errors[(errors["learner"] == learner) & (errors["label"] == label)]
            slopes = slope[(slope["learner"] == learner) & (slope["label"] == label)]
            if len(ratio):
                by_set = slopes.groupby("set")["score"].mean()
                lines.append([learner, label, with_error(over_sets(ratio, label)), with_error(by_set)])
    return markdown(["learner", "method", "Brier score / full data's", "calibration slope"], lines)


def transfer(table: pd.DataFrame, chosen: Chosen) -> str:
    """Scores of each learner on releases made for others: mean share over sets."""
    names = sorted(set(table[table["method"] == "zodc"]["made_for"]))
    lines = []
    for learner, metric in METRIC_OF.items():
        cells = []
        for name in names:
            found = shares(at(labelled(table, name), chosen), metric)
            cells.append(with_error(over_sets(found[found["learner"] == learner], "zodc")))
        lines.append([learner, *cells])
    return markdown(["learner", *(f"made for {name}" for name in names)], lines)


def costs(table: pd.DataFrame) -> str:
    """Processor seconds and peak memory."""
    made = table[table["status"].isin(["ok", "timeout"]) & ~table["method"].isin(["full", "real", "start"])]
    jobs = made.drop_duplicates(["set", "seed", "epsilon", "method", "made_for", "rows"])
    lines = []
    for (method, epsilon), group in jobs.groupby(["method", "epsilon"]):
        seconds, memory = group["seconds"], group["peak_mb"]
        lines.append(
            [
                str(method),
                f"{epsilon:g}",
                f"{seconds.median():.0f} ({seconds.min():.0f} to {seconds.max():.0f})",
                f"{memory.median():.0f} ({memory.min():.0f} to {memory.max():.0f})",
            ]
        )
    return markdown(["method", "ε", "processor seconds: median (range)", "peak MB: median (range)"], lines)


def unfinished(table: pd.DataFrame) -> str:
    """Jobs without a score."""
    lost = table[table["status"] != "ok"].drop_duplicates(["set", "seed", "epsilon", "method"])
    lines = []
    for (method, epsilon, name), group in lost.groupby(["method", "epsilon", "set"]):
        said = ", ".join(f"seed {line.seed}: {line.status}" for line in group.itertuples())
        seconds = group["seconds"].max()
        lines.append([str(method), f"{epsilon:g}", str(name), said, f"{seconds:.0f}"])
    return markdown(["method", "ε", "set", "what", "processor seconds"], lines) if lines else "None."


def report(table: pd.DataFrame, chosen: Chosen, peers: Path | None) -> Iterator[str]:
    """Yield the parts of the report."""
    is_site = table["set"].str.contains("/")
    sites, table = table[is_site], table[~is_site]
    own = labelled(table, chosen.made_for)
    same = at(own, chosen)
    setting = f"ε = {chosen.epsilon:g}, {chosen.rows} rows, release made for: {chosen.made_for}"
    yield f"# zodc in the field\n\nUnless stated: {setting}. ± is the standard error."
    for metric, title in TITLES.items():
        yield f"## {title}, share of full data\n\n{share_table(shares(same, metric), metric)}"
    for metric, title in TITLES.items():
        yield f"## {title} by ε\n\n{epsilon_table(shares(own, metric), metric, chosen.rows)}"
        yield f"## {title} by rows\n\n{rows_table(shares(own, metric), metric, chosen.epsilon)}"
    found = against_rivals(own, chosen)
    yield (
        "## zodc minus rival at the same ε\n\nAUROC or C-index; paired over seeds, with Student's 95 % "
        f"interval where there are two seeds or more.\n\n{difference_summary(found)}\n\n"
        f"{difference_table(found)}"
    )
    yield f"## Headline: ε = 0.5 against ε = 8\n\n{headline(own, chosen)}"
    if peers is not None:
        beside = beside_recorded(own, peers, chosen)
        yield f"## Tab-PE as another harness recorded it: share of its full data\n\n{beside}"
    yield f"## Calibration\n\n{calibration(same)}"
    yield f"## Releases made for other learners\n\n{transfer(table, chosen)}"
    if len(sites):
        away = at(labelled(sites, chosen.made_for), chosen)
        yield f"## Tested on a site left out\n\n{share_table(shares(away, 'auroc'), 'auroc')}"
    yield f"## Cost\n\n{costs(table)}"
    yield f"## Without a score\n\n{unfinished(table)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, nargs="+", help="results files of field.py")
    parser.add_argument("--out", type=Path, help="Markdown file; printed unless given")
    parser.add_argument("--peers", type=Path, help="CSV of rivals that another harness recorded")
    parser.add_argument("--plots", type=Path, help="folder of plots")
    parser.add_argument("--epsilon", type=float, default=1.0)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--made-for", help='learner, "own" or "teacher"; "any" if the results have it')
    args = parser.parse_args()
    table = load(args.results)
    chosen = Chosen(args.epsilon, args.rows, args.made_for or default_made_for(table))
    text = "\n\n".join(report(table, chosen, args.peers)) + "\n"
    if args.out:
        args.out.write_text(text)
    else:
        print(text)
    if args.plots:
        args.plots.mkdir(parents=True, exist_ok=True)
        field_plots.draw(
            labelled(table[~table["set"].str.contains("/")], chosen.made_for), chosen, args.plots
        )


if __name__ == "__main__":
    main()
