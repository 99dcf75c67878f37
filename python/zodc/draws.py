"""Which of many draws of rows to keep: free, since only pseudo-patients are asked.

A few hundred rows drawn at random teach a tree well or badly by chance. What a model learned from a draw
shows on other pseudo-patients, whose class probabilities are known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from sklearn.tree import DecisionTreeClassifier

from zodc import metrics
from zodc._zodc import Decoder
from zodc.cells import Floats
from zodc.tables import Table

__all__ = ["best_draw", "misranking", "n_draws"]

Draw = TypeVar("Draw")

# Trees that judge rows for any learner. The mean over depths keeps what serves one tree only from winning.
_DEPTHS = (3, 5, 8)
_LEAST_IN_LEAF = 5
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
    """Return a loss of rows: 1 less the mean AUROC that trees trained on them reach on a pseudo-population.

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
    x, probability = decoder.encode_table(*population[:2]), population[2]

    def loss(rows: Table, weight: Floats | None) -> float:
        train, labels = decoder.encode_table(*rows[:2]), rows[2][:, 0].astype(np.int64)
        trees = [
            DecisionTreeClassifier(max_depth=depth, min_samples_leaf=_LEAST_IN_LEAF, random_state=0)
            for depth in _DEPTHS
        ]
        areas = [_auroc(tree.fit(train, labels, weight), x, probability) for tree in trees]
        return 1.0 - float(np.mean(areas))

    return loss


def _auroc(tree: DecisionTreeClassifier, x: Floats, probability: Floats) -> float:
    """AUROC of a tree among rows with class probabilities; rows of one leaf are counted together."""
    n_classes = probability.shape[1]
    leaves, first, leaf = np.unique(tree.apply(x), return_index=True, return_inverse=True)
    chances: Floats = np.column_stack([np.bincount(leaf, weights=p) for p in probability.T])
    predicted: Floats = np.zeros_like(chances)
    predicted[:, tree.classes_] = tree.predict_proba(x[first])
    codes = np.tile(np.arange(n_classes), len(leaves))
    return float(metrics.auroc(codes, predicted.repeat(n_classes, axis=0), chances.reshape(1, -1))[0])
