"""Scores against scikit-learn and scikit-survival."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score
from sksurv.metrics import concordance_index_censored, integrated_brier_score
from sksurv.util import Surv
from zodc import metrics


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def survival_rows(rng, n=300):
    # Whole days make ties.
    time = rng.integers(1, 60, n).astype(float)
    return time, rng.random(n) < 0.5, np.round(-time / 30 + rng.normal(size=n), 1)


def whole(n):
    return np.ones((1, n))


def test_binary_scores_agree_with_scikit_learn(rng):
    codes = rng.integers(0, 2, 200)
    p = np.clip(codes * 0.3 + rng.random(200) * 0.7, 0, 1)
    both = np.column_stack([1 - p, p])
    assert metrics.auroc(codes, both, whole(200))[0] == pytest.approx(roc_auc_score(codes, p))
    assert metrics.auprc(codes, both, whole(200))[0] == pytest.approx(average_precision_score(codes, p))
    assert metrics.brier(codes, both, whole(200))[0] == pytest.approx(brier_score_loss(codes, p))


def test_multiclass_auroc_agrees_with_scikit_learn_and_survives_an_absent_class(rng):
    codes = rng.integers(0, 3, 150)
    p = rng.dirichlet(np.ones(3), 150)
    expected = roc_auc_score(codes, p, multi_class="ovr")
    assert metrics.auroc(codes, p, whole(150))[0] == pytest.approx(expected)
    with_a_fourth = np.column_stack([p, np.zeros(150)])
    assert metrics.auroc(codes, with_a_fourth, whole(150))[0] == pytest.approx(expected)


def test_concordance_agrees_with_scikit_survival(rng):
    time, event, risk = survival_rows(rng)
    expected = concordance_index_censored(event, time, risk)[0]
    assert metrics.concordance(time, event, risk, whole(300))[0] == pytest.approx(expected, abs=1e-12)


def test_concordance_of_counts_is_that_of_repeated_rows(rng, monkeypatch):
    monkeypatch.setattr(metrics, "_PAIR_BLOCK", 37)
    time, event, risk = survival_rows(rng)
    counts = metrics.bootstrap_counts(event.astype(np.int64), 3, rng)
    found = metrics.concordance(time, event, risk, counts)
    for row, value in zip(counts.astype(int), found, strict=True):
        drawn = np.repeat(np.arange(300), row)
        # A row repeated is compared with itself only when it ties, which the copies count as half.
        pairs = (time[drawn][:, None] < time[drawn]) | ((time[drawn][:, None] == time[drawn]) & ~event[drawn])
        pairs &= event[drawn][:, None]
        r = risk[drawn]
        credit = (r[:, None] > r) + 0.5 * (r[:, None] == r)
        assert value == pytest.approx((pairs * credit).sum() / pairs.sum(), abs=1e-12)


def test_integrated_brier_agrees_with_scikit_survival(rng):
    time, event, risk = survival_rows(rng)
    # scikit-survival weighs an event that ties with a censoring by the curve after the tie.
    time = time + rng.random(300)
    times = metrics.brier_times(time, event)
    survival = np.exp(-np.exp(risk)[:, None] * times / 40)
    y = Surv.from_arrays(event, time)
    expected = integrated_brier_score(y, y, survival, times)
    assert metrics.integrated_brier(time, event, survival, times, whole(300))[0] == pytest.approx(expected)


def test_bootstrap_keeps_every_class_at_its_size(rng):
    strata = np.array([0] * 97 + [1] * 3)
    counts = metrics.bootstrap_counts(strata, 50, rng)
    assert (counts[:, strata == 1].sum(axis=1) == 3).all()
    assert (counts[:, strata == 0].sum(axis=1) == 97).all()


def test_interval_holds_the_estimate_and_narrows_with_rows(rng):
    widths = []
    for n in (100, 2000):
        codes = rng.integers(0, 2, n)
        p = np.clip(codes * 0.2 + rng.random(n) * 0.8, 0, 1)
        both = np.column_stack([1 - p, p])
        counts = metrics.bootstrap_counts(codes, 100, rng)
        found = metrics.estimate(lambda w, c=codes, b=both: metrics.auroc(c, b, w), counts)
        assert found.lower < found.value < found.upper
        widths.append(found.upper - found.lower)
    assert widths[1] < widths[0] / 2


def test_no_replicates_give_no_interval(rng):
    found = metrics.estimate(lambda w: w.mean(axis=1), np.zeros((0, 5)))
    assert found.value == 1.0 and np.isnan([found.lower, found.upper]).all() and str(found) == "1.000"
