"""Black-box audit: who took part, told from a release alone.

The attacker has the whole release (noisy marginals, rows, teacher rows, refitted teacher, manifest),
reference patients of the same kind, and other releases made in the same way whose patients are known
(shadows). Scores in the manner of DOMIAS (density of the release over that of the reference) are weighed by a
model trained on the shadows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, QuantileTransformer

from zodc import learners, phases
from zodc._zodc import Decoder
from zodc.audit_bounds import Bools, Floats
from zodc.condenser import Condenser
from zodc.containers import patients_table
from zodc.frames import encode
from zodc.metrics import Estimate
from zodc.release import Release
from zodc.tables import Table

__all__ = ["Membership", "audit_membership", "traces"]

# False positives at which the share of patients found is told.
FALSE_POSITIVES = 0.01
_REPLICATES = 500


@dataclass(frozen=True, kw_only=True)
class Membership:
    """How well the attacker told members from others.

    Attributes
    ----------
    auc : Estimate
        Area under the attacker's ROC curve; 0.5 is chance.
    found : Estimate
        Share of the members found at 1 % false positives; 0.01 is chance.
    releases : int
        Releases attacked; as many others were the shadows.
    patients : int
        Members of each release.
    """

    auc: Estimate
    found: Estimate
    releases: int
    patients: int


def audit_membership(
    condense: Callable[[], Condenser],
    pool: pd.DataFrame,
    *,
    patients: int = 100,
    releases: int = 10,
    seed: int = 0,
    progress: phases.Progress | None = None,
) -> Membership:
    """Make releases of random patients of a pool, and guess who was in.

    Parameters
    ----------
    condense : callable
        Makes a condenser with the settings to be audited. The rows of its private phase are attacked, and
        the marginals: all else in a release is made from these.
    pool : DataFrame
        Patients that fit the schema; made up, or public. Those that are neither members nor tested
        serve as the reference.
    patients : int
        Members of each release, and others beside them; a third of the pool or less.
    releases : int
        Releases attacked, and as many shadows.
    seed : int
        Of the choice of members; the noise has none.
    progress : callable, optional
        Called with the phase, the releases done, and the releases in all.

    Returns
    -------
    Membership
    """
    rng = np.random.default_rng(seed)
    found = []
    is_member = np.repeat([True, False], patients)
    for done in range(2 * releases):
        order = rng.permutation(len(pool))
        chosen, rest = order[: 2 * patients], order[2 * patients :]
        release = condense().fit(pool.iloc[chosen[:patients]]).release_
        found.append(traces(release, pool.iloc[chosen], pool.iloc[rest]))
        if progress is not None:
            progress("releases", done + 1, 2 * releases)
    shadows = np.vstack(found[:releases])
    model = make_pipeline(
        QuantileTransformer(n_quantiles=min(100, len(shadows))),
        PolynomialFeatures(2),
        LogisticRegression(C=0.1, max_iter=500),
    )
    model.fit(shadows, np.tile(is_member, releases))
    scores = np.array([model.decision_function(one) for one in found[releases:]])
    return Membership(
        auc=_estimate(_area, scores, is_member, rng),
        found=_estimate(_found, scores, is_member, rng),
        releases=releases,
        patients=patients,
    )


def traces(release: Release, records: pd.DataFrame, reference: pd.DataFrame) -> Floats:
    """Tell what a release says of each record: each column higher where it speaks for a member.

    Parameters
    ----------
    release : Release
    records, reference : DataFrame
        That fit its schema.

    Returns
    -------
    ndarray of shape (n_records, n_traces)
        Log density under the marginals over that of the reference: summed over the columns, and the
        least; the three least counts of a record's bins; nearness to rows over nearness to the reference; the
        loss under a model of the teacher rows, below that under a model of the reference; the same of the
        teacher fitted again.
    """
    decoder, schema = release.decoder, release.schema
    seen, known = (encode(frame, None, schema) for frame in (records, reference))
    columns = json.loads(release.marginals)["features"]
    count = json.loads(release.marginals)["count"]
    ratios, counts = [], []
    for place, column in enumerate(columns):
        ours, theirs = (_shares(column, table.cells[:, place]) for table in (seen, known))
        share = _release_shares(column)[ours]
        usual = (np.bincount(theirs, minlength=ours.max() + 1)[ours] + 0.5) / (len(theirs) + 1.0)
        ratios.append(np.log((share * count + 0.1) / (usual * count + 0.1)))
        counts.append(share * count)
    tables = [patients_table(decoder, table, schema) for table in (seen, known)]
    return np.column_stack(
        [
            np.sum(ratios, axis=0),
            np.min(ratios, axis=0),
            np.sort(counts, axis=0)[:3].T,
            _nearness(decoder, decoder.table(release.teacher), *tables),
            _model_gain(release, decoder, *tables),
        ]
    )


def _release_shares(column: dict[str, Any]) -> Floats:
    """Share of each bin of a column among all patients, the missing ones last."""
    return np.append(np.asarray(column["weights"]) * (1.0 - column["missing"]), column["missing"])


def _shares(column: dict[str, Any], cells: Floats) -> NDArray[np.intp]:
    """Bin of each cell, as the marginals count them."""
    n_bins = len(column["weights"])
    known = np.nan_to_num(cells, nan=0.0)
    inner = np.asarray(column["edges"][1:-1])
    bins = np.searchsorted(inner, known, side="left") if len(column["edges"]) else known.astype(np.intp)
    return np.where(np.isnan(cells), n_bins, np.clip(bins, 0, n_bins - 1))


def _nearness(decoder: Decoder, rows: Table, seen: Table, known: Table) -> Floats:
    x, reference, published = (decoder.encode_table(*table[:2]) for table in (seen, known, rows))
    scale = reference.std(axis=0) + 1e-9
    distances = [
        NearestNeighbors(n_neighbors=1).fit(to / scale).kneighbors(x / scale)[0][:, 0]
        for to in (published, reference)
    ]
    return np.asarray(np.log(distances[1] + 1e-9) - np.log(distances[0] + 1e-9))


def _model_gain(release: Release, decoder: Decoder, seen: Table, known: Table) -> Floats:
    native = learners.teacher(release.schema.task, c=release.recipe.teacher_c).native_json
    cells, missing, outcome = (part[~np.isnan(known[2]).any(axis=1)] for part in known)
    if release.schema.task == "classification":
        # Patients have class probabilities; models are fitted on codes.
        outcome = outcome.argmax(axis=1)[:, None].astype(np.float64)
    usual = phases.native_losses(decoder, native, (cells, missing, outcome), seen)
    taught = [phases.native_losses(decoder, native, decoder.table(release.teacher), seen)]
    if release.teacher_model is not None:
        taught.append(model_losses(json.loads(release.teacher_model), decoder, seen))
    return np.nan_to_num(np.column_stack([usual - losses for losses in taught]))


def model_losses(model: Mapping[str, Any], decoder: Decoder, seen: Table) -> Floats:
    """Loss of each record under a refitted teacher, as it stands in a release."""
    cells, missing, outcome = seen
    x = decoder.encode_table(cells, missing)
    if model["kind"] == "linear":
        intercept = np.asarray(model["intercept"])
        eta = intercept + x @ np.reshape(model["coef"], (len(intercept), -1)).T
        eta = np.column_stack([np.zeros(len(x)), eta]) if len(intercept) == 1 else eta
        return np.asarray(logsumexp(eta, axis=1) - np.sum(outcome * eta, axis=1))
    edges = np.asarray(decoder.time_grid)
    time, event = outcome.T
    place = np.clip(np.searchsorted(edges[1:-1], time, side="left"), 0, len(edges) - 2)
    level = np.asarray(model["log_hazard"])[place]
    passed = np.asarray(model["cumulative"])[place] + np.exp(level) * (time - edges[place])
    eta = x @ np.asarray(model["coef"])
    return np.asarray(passed * np.exp(eta) - event * (eta + level))


def _area(scores: Floats, is_member: Bools) -> float:
    return float(roc_auc_score(is_member, scores))


def _found(scores: Floats, is_member: Bools) -> float:
    wrong, right, _ = roc_curve(is_member, scores)
    return float(right[wrong <= FALSE_POSITIVES].max())


def _estimate(
    score: Callable[[Floats, Bools], float], scores: Floats, is_member: Bools, rng: np.random.Generator
) -> Estimate:
    """95 % interval by bootstrap over releases, and over the records of each."""
    n_releases, n_records = scores.shape
    half = n_records // 2
    replicates = []
    for _ in range(_REPLICATES):
        drawn = rng.integers(0, n_releases, (n_releases, 1))
        records = np.hstack(
            [rng.integers(0, half, (n_releases, half)), rng.integers(half, n_records, (n_releases, half))]
        )
        replicates.append(score(scores[drawn, records].ravel(), np.tile(is_member, n_releases)))
    lower, upper = np.quantile(replicates, [0.025, 0.975])
    value = score(scores.ravel(), np.tile(is_member, n_releases))
    return Estimate(value=value, lower=float(lower), upper=float(upper))
