"""Native learners against scikit-learn and lifelines; losses against their formulas."""

import json

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier
from zodc._zodc import FittedModels

RNG_SEEDS = range(6)
_TREE = {"kind": "tree", "max_depth": 4, "min_samples_leaf": 1, "smoothing": 1.0}


def _json(**learner) -> str:
    return json.dumps([{"weight": 1.0, "learner": learner}])


def _classes(seed: int, n: int = 300, p: int = 6, k: int = 2):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p))
    score = x @ rng.normal(size=(p, k)) + rng.gumbel(size=(n, k))
    return np.ascontiguousarray(x), score.argmax(axis=1).astype(float)


def _trees(x, y, depth: int, leaf: int, test) -> list[np.ndarray]:
    """Predictions of scikit-learn's tree under several seeds, which differ where splits tie."""
    trees = (DecisionTreeClassifier(max_depth=depth, min_samples_leaf=leaf, random_state=s) for s in range(8))
    return [tree.fit(x, y).predict_proba(test) for tree in trees]


@pytest.mark.parametrize("seed", RNG_SEEDS)
@pytest.mark.parametrize(("depth", "leaf", "k"), [(1, 1, 2), (4, 5, 2), (3, 1, 3), (3, 10, 4)])
def test_tree_predicts_as_scikit_learn(seed: int, depth: int, leaf: int, k: int) -> None:
    x, y = _classes(seed, k=k)
    # Smoothing next to nothing leaves the plain shares of the leaves.
    options = {"max_depth": depth, "min_samples_leaf": leaf, "smoothing": 1e-12}
    ours = FittedModels(_json(kind="tree", **options), x, y, n_classes=k)
    test = np.random.default_rng(seed + 100).normal(size=(500, x.shape[1]))
    theirs = _trees(x, y, depth, leaf, test)
    if not all(np.array_equal(theirs[0], other) for other in theirs):
        pytest.skip("two splits tie: scikit-learn decides by its seed")
    np.testing.assert_allclose(ours.predict_proba(test), theirs[0], atol=1e-9)


def test_most_trees_do_not_tie() -> None:
    """The comparison above must not skip itself away."""
    agree = 0
    for seed in RNG_SEEDS:
        x, y = _classes(seed)
        first, *others = _trees(x, y, 4, 5, x)
        agree += all(np.array_equal(first, other) for other in others)
    assert agree >= 3


@pytest.mark.parametrize("seed", RNG_SEEDS)
@pytest.mark.parametrize(("c", "k"), [(1.0, 2), (0.05, 2), (20.0, 2), (1.0, 3), (0.3, 5)])
def test_logistic_regression_agrees_to_1e_6(seed: int, c: float, k: int) -> None:
    x, y = _classes(seed, k=k)
    ours = FittedModels(_json(kind="logistic", c=c), x, y, n_classes=k)
    theirs = LogisticRegression(C=c, solver="newton-cg", tol=1e-12, max_iter=10_000).fit(x, y)
    np.testing.assert_allclose(ours.coef(), theirs.coef_, atol=1e-6)
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), atol=1e-6)


def _survival(seed: int, ties: bool, n: int = 250, p: int = 4):
    rng = np.random.default_rng(seed)
    x = np.ascontiguousarray(rng.normal(size=(n, p)) * [1.0, 0.2, 5.0, 1.0] + [0, 3, -2, 0])
    time = rng.exponential(np.exp(-x[:, 0] / 2)) + 0.05
    if ties:
        time = np.ceil(time * 4) / 4
    return x, time, (rng.random(n) < 0.7).astype(float)


@pytest.mark.parametrize("seed", RNG_SEEDS)
@pytest.mark.parametrize("penalizer", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("ties", [False, True])
def test_cox_regression_agrees_with_lifelines_to_1e_6(seed: int, penalizer: float, ties: bool) -> None:
    x, time, event = _survival(seed, ties)
    grid = np.linspace(0, time.max(), 6).tolist()
    ours = FittedModels(_json(kind="cox", penalizer=penalizer), x, time, event=event, time_grid=grid)
    frame = pd.DataFrame(x).assign(t=time, e=event)
    theirs = CoxPHFitter(penalizer=penalizer).fit(frame, "t", "e", fit_options={"precision": 1e-12})
    # lifelines penalises the standardised coefficients, as zodc does.
    np.testing.assert_allclose(ours.coef()[0], theirs.params_.to_numpy(), atol=1e-6)


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("learner", [_TREE, {"kind": "logistic"}], ids=["tree", "logistic"])
def test_class_losses_are_log_losses(learner: dict[str, object], k: int) -> None:
    x, y = _classes(1, k=k)
    model = FittedModels(_json(**learner), x, y, n_classes=k)
    losses = model.losses(x, y)
    expected = -np.log(model.predict_proba(x)[np.arange(len(y)), y.astype(int)])
    np.testing.assert_allclose(losses, expected, rtol=1e-9, atol=1e-12)


def test_tree_probabilities_are_smoothed() -> None:
    x, y = np.array([[0.0], [0.1], [1.0], [1.1], [1.2]]), np.array([0.0, 0, 1, 1, 1])
    model = FittedModels(_json(**{**_TREE, "max_depth": 1}), x, y, n_classes=2)
    np.testing.assert_allclose(model.predict_proba(x)[[0, 4]], [[3 / 4, 1 / 4], [1 / 5, 4 / 5]])


@pytest.mark.parametrize("ties", [False, True])
def test_survival_losses_are_the_full_likelihood(ties: bool) -> None:
    """Against the written-out formula, with the baseline of events over weighted exposure."""
    x, time, event = _survival(3, ties)
    grid = np.quantile(time, np.linspace(0, 1, 6))
    grid[0] = 0.0
    options = {"penalizer": 0.1, "prior_events": 1e-12}
    model = FittedModels(_json(kind="cox", **options), x, time, event=event, time_grid=grid.tolist())
    eta = x @ model.coef()[0]
    exposure = np.clip(time[:, None] - grid[:-1], 0, np.diff(grid))
    interval = np.searchsorted(grid[1:-1], time, side="left")
    died = np.array([event[interval == b].sum() for b in range(5)])
    hazard = died / (np.exp(eta)[:, None] * exposure).sum(axis=0)
    expected = exposure @ hazard * np.exp(eta) - event * (eta + np.log(hazard[interval]))
    np.testing.assert_allclose(model.losses(x, time, event), expected, rtol=1e-6, atol=1e-8)


def test_a_loss_depends_on_its_row_alone() -> None:
    """Whatever the rows beside: the partial likelihood, which couples them, is not used."""
    x, time, event = _survival(4, ties=True)
    grid = np.linspace(0, time.max(), 6).tolist()
    model = FittedModels(_json(kind="cox"), x, time, event=event, time_grid=grid)
    whole = model.losses(x, time, event)
    order = np.random.default_rng(0).permutation(len(x))
    np.testing.assert_array_equal(model.losses(x[order].copy(), time[order], event[order]), whole[order])
    for row in (0, 17, len(x) - 1):
        one = slice(row, row + 1)
        assert model.losses(x[one].copy(), time[one], event[one])[0] == whole[row]


def test_a_mixture_adds_weighted_losses() -> None:
    x, y = _classes(2)
    parts = [{"weight": w, "learner": learner} for w, learner in ((2.0, _TREE), (0.5, {"kind": "logistic"}))]
    tree, logistic = (FittedModels(json.dumps([{**p, "weight": 1.0}]), x, y, n_classes=2) for p in parts)
    both = FittedModels(json.dumps(parts), x, y, n_classes=2)
    np.testing.assert_allclose(
        both.losses(x, y), 2 * tree.losses(x, y) + 0.5 * logistic.losses(x, y), rtol=1e-12
    )


def test_missing_outcomes_have_no_loss() -> None:
    x, y = _classes(5)
    y_test = y.copy()
    y_test[3] = np.nan
    losses = FittedModels(_json(kind="logistic"), x, y, n_classes=2).losses(x, y_test)
    assert losses[3] == 0 and (np.delete(losses, 3) > 0).all()
