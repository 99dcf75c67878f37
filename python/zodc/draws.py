"""Which of many draws of rows to keep: free, since only pseudo-patients are asked.

A few hundred rows drawn at random teach a tree well or badly by chance. What a model learned from a draw
shows on other pseudo-patients, whose class probabilities are known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from lifelines import NelsonAalenFitter
from numpy.typing import NDArray
from scipy.optimize import brentq
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from zodc._zodc import Decoder, Population
from zodc.cells import Floats
from zodc.tables import Table

__all__ = ["best_draw", "misranking", "misranking_of_risk", "n_draws"]

Draw = TypeVar("Draw")

# Depths at which the tree is cut that judges rows for any learner: the mean over them keeps what serves one
# tree only from winning.
_DEPTHS = (3, 5, 8)
_LEAST_IN_LEAF = 5
_LEAST_IN_SURVIVAL_LEAF = 10
# Rows up to which all draws are made: larger ones differ less, and cost more.
_ROWS = 500


def n_draws(most: int, n_rows: int) -> int:
    """Return how many draws of `n_rows` rows are worth their time, of `most` for a few hundred rows."""
    return max(1, min(most, most * _ROWS // n_rows))


def best_draw(
    draw: Callable[[int], Draw],
    loss: Callable[[Draw], float],
    draws: int,
    report: Callable[[int], object] | None = None,
) -> Draw:
    """Return the draw with the lowest loss; the first of equals.

    Parameters
    ----------
    draw : callable
        Makes rows from the number of the draw, from 0.
    loss : callable
        Judges rows; infinite where they serve nobody.
    draws : int
        At least 1. A single draw is not judged.
    report : callable, optional
        Hears the number of draws done.
    """
    best = draw(0)
    if draws == 1:
        return best
    least = loss(best)
    for number in range(1, draws):
        rows = draw(number)
        if (found := loss(rows)) < least:
            best, least = rows, found
        if report is not None:
            report(number + 1)
    return best


def misranking(decoder: Decoder, population: Table) -> Callable[[Table, Floats | None], float]:
    """Return a loss of rows: 1 less the AUROC that a tree trained on them reaches on a pseudo-population.

    It is the mean over several depths at which the tree is cut.

    Parameters
    ----------
    decoder : Decoder
        Of a classification.
    population : Table
        Its outcome holds class probabilities: each pseudo-patient counts once for each class, as likely as it
        is.

    Returns
    -------
    callable
        Takes rows whose outcome holds class codes, and their weights or None.
    """
    # Trees read single precision: thousands of rows are turned into it once, not for each tree.
    x, probability = decoder.encode_table(*population[:2]).astype(np.float32), population[2]

    def loss(rows: Table, weight: Floats | None) -> float:
        train, labels = decoder.encode_table(*rows[:2]), rows[2][:, 0].astype(np.int64)
        tree = DecisionTreeClassifier(
            max_depth=max(_DEPTHS), min_samples_leaf=_LEAST_IN_LEAF, random_state=0
        ).fit(train, labels, weight)
        predicted: Floats = np.zeros((tree.tree_.node_count, probability.shape[1]))
        predicted[:, tree.classes_] = tree.tree_.value[:, 0]
        return 1.0 - float(np.mean(_aurocs(tree, predicted, x, probability)))

    return loss


def misranking_of_risk(decoder: Decoder, population: Population) -> Callable[[Table], float]:
    """Return a loss of survival rows, as `misranking` for classes.

    The tree is one of events per cumulated hazard (LeBlanc and Crowley 1992, Biometrics 48:411); a
    pseudo-patient has the event, by the teacher, by a time at which half of all have it.

    Parameters
    ----------
    decoder : Decoder
        Of a survival task.
    population : Population
        Pseudo-patients.

    Returns
    -------
    callable
        Takes rows whose outcome holds times and events.
    """
    cells, missing, _ = decoder.population_table(population)
    x, chance = decoder.encode_table(cells, missing).astype(np.float32), _half_have_it(population.log_risk)
    probability = np.column_stack([1.0 - chance, chance])

    def loss(rows: Table) -> float:
        train, (time, event) = decoder.encode_table(*rows[:2]), rows[2].T
        if not event.any():
            return 0.5
        hazard = NelsonAalenFitter(nelson_aalen_smoothing=False).fit(time, event)
        passed = hazard.cumulative_hazard_at_times(time).to_numpy()
        passed = np.maximum(passed, passed[passed > 0.0].min())
        tree = DecisionTreeRegressor(
            criterion="poisson",
            max_depth=max(_DEPTHS),
            min_samples_leaf=_LEAST_IN_SURVIVAL_LEAF,
            random_state=0,
        ).fit(train, event / passed, passed)
        rate = tree.tree_.value[:, 0, 0]
        return 1.0 - float(np.mean(_aurocs(tree, np.column_stack([-rate, rate]), x, probability)))

    return loss


def _half_have_it(log_risk: Floats) -> Floats:
    """Probability of the event for each log hazard ratio, by the time when it is a half in the mean."""
    risk = np.exp(log_risk - log_risk.max())
    hazard = brentq(lambda log: float(np.mean(-np.expm1(-np.exp(log) * risk))) - 0.5, -5.0, 700.0)
    return np.asarray(-np.expm1(-np.exp(hazard) * risk))


def _aurocs(
    tree: DecisionTreeClassifier | DecisionTreeRegressor,
    predicted: Floats,
    x: NDArray[np.float32],
    probability: Floats,
) -> list[float]:
    """AUROC of a tree cut at each of the depths, among rows with class probabilities.

    `predicted` has a score of each node for each class. From sums over the nodes: `roc_auc_score` with the
    rows as weights says the same, and takes longer than the tree to fit.
    """
    n_classes, nodes = probability.shape[1], tree.tree_
    leaf = nodes.apply(x)
    # Of two classes the second is the positive one.
    positive = [1] if n_classes == 2 else range(n_classes)
    areas = []
    for depth in _DEPTHS:
        node = _ancestors(tree, depth)[leaf]
        chances = [_sums(node, p, nodes.node_count) for p in probability.T]
        everyone = np.sum(chances, axis=0)
        own = [_area(predicted[:, c], chances[c], everyone - chances[c]) for c in positive]
        areas.append(float(np.mean(own)))
    return areas


def _ancestors(tree: DecisionTreeClassifier | DecisionTreeRegressor, depth: int) -> NDArray[np.int64]:
    """Node in which each node ends up when the tree is cut at a depth."""
    parent, level = np.zeros((2, tree.tree_.node_count), dtype=np.int64)
    # A parent comes before its children.
    for node, children in enumerate(zip(tree.tree_.children_left, tree.tree_.children_right, strict=True)):
        if children[0] != children[1]:
            parent[list(children)], level[list(children)] = node, level[node] + 1
    found = np.arange(len(parent))
    for _ in range(max(_DEPTHS) - depth):
        found = np.where(level[found] > depth, parent[found], found)
    return found


def _area(score: Floats, cases: Floats, others: Floats) -> float:
    """Share of pairs of a case and another that `score` puts in order; ties count half."""
    _, tied = np.unique(score, return_inverse=True)
    up, down = _sums(tied, cases, len(score)), _sums(tied, others, len(score))
    pairs = up @ (np.cumsum(down) - down / 2)
    return float(pairs / (up.sum() * down.sum()))


def _sums(place: NDArray[np.int64], values: Floats, n_places: int) -> Floats:
    """Sum of the values at each place."""
    return np.bincount(place, weights=values, minlength=n_places).astype(np.float64, copy=False)
