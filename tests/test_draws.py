"""Which of many draws of rows is kept."""

from dataclasses import replace

import numpy as np
import pytest
from cohorts import BUDGET, CLASSES, SURVIVAL, patients, quick, survivors
from sklearn.metrics import roc_auc_score
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from zodc import Condenser, weighted_rows
from zodc._zodc import Rows
from zodc.draws import best_draw, misranking, misranking_of_risk, n_draws
from zodc.options import seed_of_draw
from zodc.phases import native_losses
from zodc.recipe import default_recipe


@pytest.fixture(scope="module")
def release():
    recipe = quick(CLASSES, rounds=60)
    # Seeded noise: draws of a teacher that knows nothing may all be judged alike.
    condenser = Condenser._with_test_noise(1, CLASSES, recipe=recipe, random_state=0, **BUDGET)
    return condenser.fit(patients(2000)).release_


def _draws(release, recipe, n_rows, seed):
    """Rows of each draw that `recondense` with this seed chooses from."""
    draw = release.decoder.labelled_rows
    seeds = (seed_of_draw(seed, number) for number in range(recipe.draws))
    return [draw(release.population(n_rows, own), n_rows, recipe.sharpness) for own in seeds]


def _best_by_own_loss(release, recipe, n_rows, seed, kind):
    """Draw that a native learner learns most from."""
    decoder = release.decoder
    table = decoder.population_table(release.population(recipe.population_rows, seed))
    learner = f'[{{"weight": 1.0, "learner": {{"kind": "{kind}"}}}}]'
    draws = _draws(release, recipe, n_rows, seed)
    losses = [native_losses(decoder, learner, decoder.table(rows), table).mean() for rows in draws]
    assert len(set(losses)) > 1
    return draws[int(np.argmin(losses))]


def test_the_best_draw_is_kept_and_a_single_one_is_not_judged() -> None:
    losses, heard = [3.0, 1.0, 2.0, 1.0], []
    assert best_draw(lambda n: n, lambda n: losses[n], 4, heard.append) == 1
    assert heard == [2, 3, 4]
    assert best_draw(lambda n: n, lambda n: pytest.fail("judged"), 1) == 0
    assert best_draw(lambda n: n, lambda n: np.inf, 3) == 0


@pytest.mark.parametrize(
    ("most", "n_rows", "expected"),
    [(64, 50, 64), (64, 500, 64), (64, 2000, 16), (64, 10**6, 1), (0, 500, 1)],
)
def test_larger_draws_are_fewer(most: int, n_rows: int, expected: int) -> None:
    assert n_draws(most, n_rows) == expected


@pytest.mark.parametrize("is_weighted", [False, True])
def test_rows_are_judged_by_the_mean_auroc_of_a_tree_cut_at_three_depths(release, is_weighted) -> None:
    decoder = release.decoder
    population = decoder.population_table(release.population(400, 5))
    rows = decoder.labelled_rows(release.population(400, 6), 400, 3.0)
    cells, missing, outcome = decoder.table(rows)
    x, other = decoder.encode_table(cells, missing), decoder.encode_table(*population[:2])
    weight = np.random.default_rng(0).random(400) if is_weighted else np.ones(400)
    tree = DecisionTreeClassifier(max_depth=8, min_samples_leaf=5, random_state=0)
    tree.fit(x, outcome[:, 0], weight)
    n_classes = population[2].shape[1]
    assert len(tree.classes_) == n_classes and tree.get_depth() > 5
    # The nodes that each row passes on its way down: of pseudo-patients, and of the rows trained on.
    path, own = tree.decision_path(other).toarray(), tree.decision_path(x).toarray()
    areas = []
    for depth in (3, 5, 8):
        level = path.cumsum(axis=1) * path
        node = np.where((level > 0) & (level <= depth + 1), level, 0).argmax(axis=1)
        inside = own[:, node].T * weight
        predicted = np.column_stack([inside @ (outcome[:, 0] == c) for c in range(n_classes)])
        predicted /= predicted.sum(axis=1, keepdims=True)
        by_class = [
            roc_auc_score(
                np.repeat([1, 0], len(other)),
                np.tile(predicted[:, c].round(12), 2),
                sample_weight=np.concatenate([population[2][:, c], 1 - population[2][:, c]]),
            )
            for c in range(n_classes)
        ]
        areas.append(by_class[1] if n_classes == 2 else np.mean(by_class))
    loss = misranking(decoder, population)(decoder.table(rows), weight if is_weighted else None)
    assert loss == pytest.approx(1 - np.mean(areas), abs=1e-12)


def test_rows_of_one_class_rank_nobody(release) -> None:
    decoder = release.decoder
    rows = decoder.labelled_rows(release.population(50, 6), 50, 3.0)
    _, _, outcome = decoder.table(rows)
    same = Rows(rows.latents, rows.outcome.replace("1", "0"))
    assert len(np.unique(outcome)) > 1 and len(np.unique(decoder.table(same)[2])) == 1
    judge = misranking(decoder, decoder.population_table(release.population(200, 5)))
    assert judge(decoder.table(same), None) == pytest.approx(0.5)


def test_rows_for_any_learner_are_the_best_draw(release) -> None:
    recipe = replace(default_recipe(survival=False, n_features=8, kind="any"), draws=6, population_rows=500)
    made = release.recondense("any", n_rows=120, recipe=recipe, random_state=3)
    decoder = release.decoder
    judge = misranking(decoder, decoder.population_table(release.population(500, 3)))
    draws = _draws(release, recipe, 120, 3)
    losses = [judge(decoder.table(rows), None) for rows in draws]
    assert len(set(losses)) > 1
    best = draws[int(np.argmin(losses))]
    assert np.array_equal(made.rows.latents, best.latents) and made.rows.outcome == best.outcome


def test_rows_for_a_named_learner_start_from_the_draw_it_learns_most_from(release) -> None:
    recipe = quick(CLASSES, kind="smooth")
    recipe = replace(recipe, draws=5, public=replace(recipe.public, rounds=0))
    made = release.recondense("logistic", n_rows=80, recipe=recipe, random_state=3)
    best = _best_by_own_loss(release, recipe, 80, 3, "logistic")
    assert np.array_equal(made.rows.latents, best.latents)


def test_a_draw_whose_fit_overflows_is_not_kept(release, monkeypatch) -> None:
    recipe = quick(CLASSES, kind="smooth")
    recipe = replace(recipe, draws=3, public=replace(recipe.public, rounds=0))
    kept = release.recondense("logistic", n_rows=80, recipe=recipe, random_state=3).rows
    rows = [draw.latents.tolist() for draw in _draws(release, recipe, 80, 3)]
    lost, asked = rows.index(kept.latents.tolist()), []

    def losses(*arguments):
        asked.append(len(asked))
        if asked[-1] == lost:
            raise RuntimeError("the logistic regression overflowed")
        return native_losses(*arguments)

    monkeypatch.setattr("zodc.phases.native_losses", losses)
    other = release.recondense("logistic", n_rows=80, recipe=recipe, random_state=3).rows
    assert len(asked) == 3
    assert rows.index(other.latents.tolist()) != lost


def _risk_by_hand(release, population, rows) -> float:
    """One less the mean AUROC of trees of events per cumulated hazard, each grown to its own depth."""
    decoder = release.decoder
    x = decoder.encode_table(*decoder.population_table(population)[:2])
    cells, missing, outcome = decoder.table(rows)
    time, event = outcome.T
    at_risk = (time[None, :] >= time[:, None]).sum(axis=1)
    passed = np.array([sum(1 / at_risk[i] for i in np.flatnonzero((time <= t) & (event == 1))) for t in time])
    passed = np.maximum(passed, passed[passed > 0].min())
    log_hazard = np.linspace(-20, 20, 400_001)
    mean = [np.mean(1 - np.exp(-np.exp(h + population.log_risk))) for h in log_hazard[::4000]]
    low = log_hazard[::4000][np.searchsorted(mean, 0.5) - 1]
    fine = log_hazard[(log_hazard >= low) & (log_hazard <= low + 0.41)]
    mean = [np.mean(1 - np.exp(-np.exp(h + population.log_risk))) for h in fine]
    chance = 1 - np.exp(-np.exp(fine[np.searchsorted(mean, 0.5)] + population.log_risk))
    areas = []
    for depth in (3, 5, 8):
        tree = DecisionTreeRegressor(
            criterion="poisson", max_depth=depth, min_samples_leaf=10, random_state=0
        )
        tree.fit(decoder.encode_table(cells, missing), event / passed, passed)
        rate = np.tile(tree.predict(x), 2)
        areas.append(
            roc_auc_score(np.repeat([1, 0], len(x)), rate, sample_weight=np.concatenate([chance, 1 - chance]))
        )
    return 1 - np.mean(areas)


def test_survival_rows_for_any_learner_are_judged_by_trees_of_events_per_hazard() -> None:
    condenser = Condenser._with_test_noise(1, SURVIVAL, recipe=quick(SURVIVAL), random_state=0, **BUDGET)
    release = condenser.fit(survivors(2000)).release_
    recipe = quick(SURVIVAL, kind="any")
    recipe = replace(recipe, draws=4, population_rows=500, public=replace(recipe.public, rounds=0))
    made = release.recondense("any", n_rows=100, recipe=recipe, random_state=3)
    population = release.population(500, 3)
    draws = _draws(release, recipe, 100, 3)
    judge = misranking_of_risk(release.decoder, population)
    losses = [judge(release.decoder.table(rows)) for rows in draws]
    assert losses == pytest.approx([_risk_by_hand(release, population, rows) for rows in draws], abs=1e-4)
    assert len(set(losses)) > 1
    best = draws[int(np.argmin(losses))]
    assert np.array_equal(made.rows.latents, best.latents) and made.rows.outcome == best.outcome


def test_survival_rows_without_events_rank_nobody() -> None:
    condenser = Condenser._with_test_noise(1, SURVIVAL, recipe=quick(SURVIVAL), random_state=0, **BUDGET)
    release = condenser.fit(survivors(500)).release_
    cells, missing, outcome = release.decoder.population_table(release.population(50, 1))
    outcome[:, 1] = 0.0
    assert misranking_of_risk(release.decoder, release.population(50, 2))((cells, missing, outcome)) == 0.5


def test_progress_tells_the_draws(release) -> None:
    heard = []
    recipe = replace(default_recipe(survival=False, n_features=8, kind="any"), draws=3, population_rows=200)
    release.recondense(
        "any", n_rows=40, recipe=recipe, random_state=0, progress=lambda *told: heard.append(told)
    )
    assert ("draws", 3, 3) in heard


@pytest.mark.parametrize(("n_features", "expected"), [(8, 256), (114, 65), (500, 15), (7_500, 1), (10**6, 1)])
def test_wide_tables_get_fewer_draws(n_features: int, expected: int) -> None:
    assert default_recipe(survival=False, n_features=n_features, kind="any").draws == expected


def test_survival_rows_for_cox_regression_are_the_first_draw() -> None:
    draws = {
        kind: default_recipe(survival=True, n_features=8, kind=kind).draws
        for kind in ("any", "smooth", "foreign")
    }
    assert draws == {"any": 32, "smooth": 1, "foreign": 16}


def test_weighted_rows_are_the_best_draw(release) -> None:
    made = weighted_rows(release, n_rows=60, random_state=3)
    decoder = release.decoder
    recipe = default_recipe(survival=False, n_features=4, kind="any")
    judge = misranking(decoder, decoder.population_table(release.population(recipe.population_rows, 3)))
    found = {}
    for number in range(n_draws(recipe.draws, 60)):
        cells, missing, chances = decoder.population_table(release.population(30, seed_of_draw(3, number)))
        classes = np.tile([0.0, 1.0], 30)[:, None]
        table = (cells.repeat(2, axis=0), missing.repeat(2, axis=0), classes)
        found[judge(table, 2 * chances.ravel())] = 2 * chances.ravel()
    assert len(found) > 1
    assert np.array_equal(made.weight, found[min(found)])
