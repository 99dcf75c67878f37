"""The loss of each row, from what a model predicts for it."""

from __future__ import annotations

import numpy as np

from zodc.cells import Floats

__all__ = ["classification_losses", "survival_losses"]

# Probabilities below this count as this, so that no loss is infinite: forests predict exact zeros. Of an
# event within an interval given survival up to it, and of survival itself, likewise.
_LEAST_PROBABILITY = 1e-3


def classification_losses(probability: Floats, target: Floats) -> Floats:
    """Log loss of each row.

    Parameters
    ----------
    probability, target : array of shape (n_rows, n_classes)
        Predicted, and true (0 or 1 for patients).
    """
    losses: Floats = -(target * np.log(np.clip(probability, _LEAST_PROBABILITY, 1.0))).sum(axis=1)
    return losses


def survival_losses(survival: Floats, outcome: Floats, edges: Floats) -> Floats:
    """Minus the full log likelihood of each row, `H(t) − δ·log h(t)`, the hazard constant between edges.

    Parameters
    ----------
    survival : array of shape (n_rows, n_edges)
        Predicted probability to be free of the event at each edge.
    outcome : array of shape (n_rows, 2)
        Times, and events as 0 or 1.
    edges : array of shape (n_edges,)
        Ascending, in the unit of the times.
    """
    width = np.diff(edges)
    log_survival = np.log(np.clip(survival, _LEAST_PROBABILITY, 1.0))
    step = np.maximum(-np.diff(log_survival, axis=1), _LEAST_PROBABILITY)
    before = np.column_stack([np.zeros(len(step)), np.cumsum(step, axis=1)])
    time, event = np.clip(outcome[:, 0], edges[0], edges[-1]), outcome[:, 1]
    interval = np.searchsorted(edges[1:-1], time, side="left")
    row = np.arange(len(step))
    hazard = step[row, interval] / width[interval]
    cumulative = before[row, interval] + hazard * (time - edges[interval])
    losses: Floats = cumulative - event * np.log(hazard)
    return losses
