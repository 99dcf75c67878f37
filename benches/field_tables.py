"""Results of the benchmark as frames: shares of full data, paired differences, and what they average to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

MAIN = {"classification": "auroc", "survival": "c_index"}
LEARNERS = {
    "auroc": ("tree", "forest", "xgboost", "logistic"),
    "c_index": ("cox", "survival_forest", "survival_tree"),
}
METRIC_OF = {learner: metric for metric, names in LEARNERS.items() for learner in names}
RIVALS = {
    "smartnoise_mst": "smartnoise MST",
    "smartnoise_aim": "smartnoise AIM",
    "opendp_mst": "OpenDP MST",
    "opendp_aim": "OpenDP AIM",
    "dpmm_mst": "dpmm MST",
    "dpmm_aim": "dpmm AIM",
}
OWN = {
    "full": "full data",
    "real": "real rows",
    "centroids": "centroids",
    "start": "start",
    "zodc": "zodc",
}
# Names of the recorded rivals' learners.
RECORDED = {
    "DT5": "tree",
    "RF": "forest",
    "LR": "logistic",
    "Cox": "cox",
    "SurvTree5": "survival_tree",
}
# What the release is for while there is no learner "any".
TEACHERS = ("logistic", "cox")
ALL_ROWS = ", n rows"


@dataclass(frozen=True)
class Chosen:
    """Which of the results a table is about."""

    epsilon: float
    rows: int
    made_for: str


def load(paths: Sequence[Path]) -> pd.DataFrame:
    """Read results files; a job that is in several counts as the last has it."""
    kinds = {"made_for": str, "set": str, "method": str}
    table = pd.concat([pd.read_csv(path, dtype=kinds) for path in paths], ignore_index=True)
    key = ["set", "seed", "epsilon", "method", "made_for", "rows", "learner", "metric"]
    return table.drop_duplicates(key, keep="last")


def default_made_for(table: pd.DataFrame) -> str:
    """Return "any" if the results have it, else "teacher": the logistic or the Cox release."""
    return "any" if (table["made_for"] == "any").any() else "teacher"


def labelled(table: pd.DataFrame, made_for: str) -> pd.DataFrame:
    """Keep scores of the wanted releases, and give each line the label of its method.

    Parameters
    ----------
    table : DataFrame
        From `load`.
    made_for : str
        Name of a learner; "own" for the release made for the learner that is tested; "teacher".

    Returns
    -------
    DataFrame
        With the columns `label` and `released` (rows; 0 for full data, and for rivals' tables of the size
        of the cohort, whose label tells it).
    """
    table = table[table["status"] == "ok"]
    wanted = {
        "own": table["made_for"] == table["learner"],
        "teacher": table["made_for"].isin(TEACHERS),
    }.get(made_for, table["made_for"] == made_for)
    table = table[(table["method"] != "zodc") | wanted]
    n_train = table[table["method"] == "full"].groupby(["set", "seed"])["rows"].first()
    whole = table[["set", "seed"]].join(n_train, on=["set", "seed"])["rows"]
    is_rival = table["method"].isin(list(RIVALS))
    is_whole = (table["rows"] == whole) & (is_rival | (table["method"] == "full"))
    names = table["method"].map({**OWN, **RIVALS})
    label = names.where(~(is_whole & is_rival), names + ALL_ROWS)
    return table.assign(label=label, released=table["rows"].where(~is_whole, 0))


def shares(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Add the share of the full data's score, of the same set, seed and learner."""
    table = table[table["metric"] == metric]
    key = ["set", "seed", "learner"]
    full = table[table["method"] == "full"].set_index(key)["score"].rename("full")
    joined = table.join(full, on=key)
    return joined.assign(share=joined["score"] / joined["full"]).dropna(subset=["full"])


def at(table: pd.DataFrame, chosen: Chosen) -> pd.DataFrame:
    """Keep lines of one ε (or not private) and one number of released rows (or as many as real rows)."""
    epsilon, released = table["epsilon"], table["released"]
    fits = (np.isinf(epsilon) | (epsilon == chosen.epsilon)) & ((released == chosen.rows) | (released == 0))
    kept: pd.DataFrame = table.loc[fits]
    return kept


def mean_and_error(values: Any) -> tuple[float, float]:
    """Mean, and its standard error (not a number for a single value)."""
    return float(values.mean()), float(values.sem()) if len(values) > 1 else float("nan")


def paired(table: pd.DataFrame, rival: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """Difference of zodc to another method over the seeds that both have, for each set and learner.

    Parameters
    ----------
    table, rival : DataFrame
        Scores of one metric, one line for each set, seed and learner.
    level : float
        Of Student's t interval.

    Returns
    -------
    DataFrame
        Columns set, learner, difference, lower, upper, seeds; the ends are not numbers for one seed.
    """
    key = ["set", "seed", "learner"]
    both: Any = table.set_index(key)[["score"]].join(
        rival.set_index(key)[["score"]], how="inner", lsuffix="", rsuffix="_rival"
    )
    rows = []
    for (name, learner), group in (both["score"] - both["score_rival"]).groupby(level=["set", "learner"]):
        mean, error = mean_and_error(group)
        half = stats.t.ppf((1 + level) / 2, len(group) - 1) * error if len(group) > 1 else float("nan")
        rows.append((name, learner, mean, mean - half, mean + half, len(group)))
    return pd.DataFrame(rows, columns=["set", "learner", "difference", "lower", "upper", "seeds"])


def against_rivals(table: pd.DataFrame, chosen: Chosen) -> dict[str, pd.DataFrame]:
    """Paired differences of zodc to each rival at the same ε, in AUROC or C-index."""
    found = {}
    same = at(table, chosen)
    same = same[same["metric"].isin(list(MAIN.values()))]
    own = same[same["label"] == "zodc"]
    for label in labels_of(same, rivals_only=True):
        found[label] = paired(own, same[same["label"] == label])
    return found


def labels_of(table: pd.DataFrame, *, rivals_only: bool = False) -> list[str]:
    """Labels that the table has, in the order of the benchmark."""
    known = [] if rivals_only else list(OWN.values())
    for name in RIVALS.values():
        known += [name, name + ALL_ROWS]
    present = set(table["label"])
    return [label for label in known if label in present]


def over_sets(table: pd.DataFrame, label: str, sets: Sequence[str] | None = None) -> Any:
    """Mean share by set for one label; `sets` keeps only these."""
    own = table[table["label"] == label]
    means = own.groupby("set")["share"].mean()
    return means if sets is None else means.reindex(list(sets)).dropna()


def recorded(path: Path, peer: str = "pe_tab") -> pd.DataFrame:
    """Read shares of full data that another harness recorded: set, learner, epsilon, share, rows.

    Its splits, encoding and learners differ a little from these, so that only shares of its own full data
    can be compared.
    """
    table = pd.read_csv(path)
    table = table[(table["status"] == "ok") & table["model"].isin(list(RECORDED))]
    key = ["dataset", "seed", "model"]
    full = table[table["peer"] == "real"].set_index(key)["score"].rename("full")
    own = table[table["peer"] == peer].join(full, on=key)
    own = own.assign(share=own["score"] / own["full"], learner=own["model"].map(RECORDED))
    grouped = own.rename(columns={"dataset": "set", "eps": "epsilon"}).groupby(["set", "learner", "epsilon"])
    return grouped.agg(
        share=("share", "mean"), rows=("rows", "mean"), seeds=("seed", "nunique")
    ).reset_index()
