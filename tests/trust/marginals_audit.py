"""White-box audit of the noisy marginals: one more patient on a known background, or not."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from zodc._zodc import Cohort
from zodc.audit_bounds import CONFIDENCE, Bound, Floats, two_sample_bound
from zodc.plan import Plan
from zodc.schema import Column, Schema

# The background that keeps every noisy count away from zero.
_PER_BIN = 30


def marginals_schema(n_features: int = 8) -> Schema:
    """Build the schema of the marginals' audit: levels only, so that the released shares tell all counts."""
    features = [Column(name=f"x{i}", kind="binary", missing="indicator") for i in range(n_features)]
    return Schema((*features, Column(name="y", kind="binary", role="target")))


def audit_marginals(
    schema: Schema,
    plan: Plan,
    *,
    runs: int = 10_000,
    delta: float | None = None,
    confidence: float = CONFIDENCE,
) -> Bound:
    """Bound the ε of the marginals of a plan: one more patient on a known background, or not.

    Parameters
    ----------
    schema : Schema
        From `marginals_schema`.
    plan : Plan
    runs, delta, confidence
        As of `audit_rounds`.

    Returns
    -------
    Bound
    """
    n_choose = max(20, runs // 2)
    other = 1.0 if plan.to_dict()["neighbours"] == "replace_one" else None
    present, absent = (
        _marginal_statistics(schema, plan, level, other, runs + n_choose) for level in (0.0, other)
    )
    delta = plan.delta if delta is None else delta
    return two_sample_bound(present, absent, n_choose=n_choose, delta=delta, confidence=confidence)


def _marginal_statistics(
    schema: Schema, plan: Plan, level: float | None, other: float | None, runs: int
) -> Floats:
    """Noisy count of the bins of the patient in question, less that of the one in the patient's place."""
    column = np.tile([0.0, 1.0, np.nan], _PER_BIN)
    column = column if level is None else np.append(column, level)
    cells = np.ascontiguousarray(np.tile(column[:, None], len(schema.features)))
    arrays = (schema.to_json(), plan.json, cells, column)
    found = np.empty((runs, 1))
    for run in range(runs):
        marginals = json.loads(Cohort(*arrays).marginals())
        found[run] = _count(marginals, 0) - (0.0 if other is None else _count(marginals, int(other)))
    return found


def _count(marginals: dict[str, Any], level: int) -> float:
    shares = [feature["weights"][level] * (1.0 - feature["missing"]) for feature in marginals["features"]]
    return float(marginals["count"] * (sum(shares) + marginals["outcome"]["weights"][level]))
