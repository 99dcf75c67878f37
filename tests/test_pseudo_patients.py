"""Pseudo-patients: marginals of the cohort, dependence of the teacher's rows, labels of its probabilities."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from cohorts import BUDGET, CLASSES, SURVIVAL, patients, quick, survivors
from lifelines import CoxPHFitter
from scipy.stats import ks_2samp
from sklearn.linear_model import LogisticRegression
from zodc import Condenser, learners
from zodc._zodc import Rows
from zodc.recipe import default_recipe

N = 4000


@pytest.fixture(scope="module")
def release():
    # Seeded noise: how well labels follow a teacher depends on the teacher that the noise makes.
    options = {"learner": "any", "n_rows": 300, "recipe": quick(rounds=40), "random_state": 2, **BUDGET}
    return Condenser._with_test_noise(1, CLASSES, **options).fit(patients(3000)).release_


@pytest.fixture(scope="module")
def survival_release():
    return (
        Condenser(SURVIVAL, learner="cox", n_rows=200, recipe=quick(SURVIVAL, rounds=40), **BUDGET)
        .fit(survivors(3000))
        .release_
    )


def _population(release, seed=3):
    return release.population(N, seed)


@pytest.mark.parametrize("which", ["release", "survival_release"])
def test_columns_keep_their_noisy_marginals(which, request):
    release = request.getfixturevalue(which)
    cells = release.decoder.population_table(_population(release))[0]
    by_marginals = release.decoder.table(release.decoder.uniform_rows(N, 5))[0]
    for j in range(cells.shape[1]):
        # Two samples of 4,000 of one distribution stay below this with probability 1 - 1e-6 and more.
        assert ks_2samp(cells[:, j], by_marginals[:, j], method="asymp").statistic < 0.062


def test_columns_depend_on_each_other_as_in_the_teachers_rows(release):
    decoder, rng = release.decoder, np.random.default_rng(0)
    latents = rng.uniform(0.2, 0.7, (200, release.teacher.latents.shape[1]))
    classes = np.repeat([0, 1], 100)
    latents[classes == 1, 0] += 0.3
    latents[classes == 1, 1] -= 0.2
    outcome = {"task": "classes", "codes": classes.tolist(), "n_classes": 2}
    teacher = Rows(latents, json.dumps(outcome))
    native = learners.teacher("classification", c=1.0).native_json
    population = decoder.population(teacher, native, N, 3)
    rows = decoder.labelled_rows(population, N, 64.0).latents
    correlation = np.corrcoef(rows, rowvar=False)
    # Independent columns of 4,000 rows are within 5/√4000 of no correlation, but for 6e-7 of draws.
    assert correlation[0, 1] < -5 / np.sqrt(N)
    assert abs(correlation[2, 3]) < 5 / np.sqrt(N)


def test_labels_teach_a_logistic_model_what_the_teacher_knows(release):
    decoder = release.decoder
    population = _population(release)
    cells, missing, probabilities = decoder.population_table(population)
    x = decoder.encode_table(cells, missing)
    rows = decoder.table(decoder.labelled_rows(population, 1000, 1.0))
    fitted = LogisticRegression(C=100.0, max_iter=5000).fit(x[:1000], rows[2][:, 0])
    soft = LogisticRegression(C=100.0, max_iter=5000).fit(
        np.vstack([x[:1000], x[:1000]]),
        np.repeat([0, 1], 1000),
        sample_weight=np.concatenate([probabilities[:1000, 0], probabilities[:1000, 1]]),
    )
    assert np.linalg.norm(fitted.coef_ - soft.coef_) < 0.1 * np.linalg.norm(soft.coef_)


def test_rows_for_any_learner_get_no_free_rounds(release):
    assert release.learner == [{"kind": "any"}]
    assert default_recipe(survival=False, n_features=8, kind="any").public.rounds == 0


def test_rows_for_trees_are_those_for_any_learner(release):
    """They rank better than rows judged by the tree's own loss and moved by it (experiment 42)."""
    recipe = replace(default_recipe(survival=False, n_features=5, kind="any"), draws=6, population_rows=500)
    made = {
        name: release.recondense(learner, n_rows=60, recipe=recipe, random_state=1).rows.latents
        for name, learner in {"any": "any", "tree": "tree", "mixed": ["tree", "logistic"]}.items()
    }
    assert np.array_equal(made["any"], made["tree"]) and np.array_equal(made["any"], made["mixed"])
    first = release.recondense("any", n_rows=60, recipe=replace(recipe, draws=1), random_state=1).rows.latents
    assert not np.array_equal(made["any"], first)


def test_every_stratum_of_a_marginal_has_its_row(release):
    n_rows = 250
    latents = release.decoder.labelled_rows(release.population(n_rows, 4), n_rows, 1.0).latents
    strata = np.sort(np.floor(latents * n_rows), axis=0)
    assert np.array_equal(strata, np.tile(np.arange(n_rows)[:, None], latents.shape[1]))


def test_a_few_survival_rows_have_events_and_none(survival_release):
    decoder = survival_release.decoder
    drawn, kept = [], []
    for seed in range(30):
        population = survival_release.population(4, seed)
        drawn.append(decoder.population_table(population)[2][:, 1].sum())
        kept.append(decoder.table(decoder.labelled_rows(population, 4, 1.0))[2][:, 1].sum())
    assert set(drawn) != {2.0} and set(kept) == {2.0}


@pytest.mark.parametrize("kind", ["any", "smooth"])
def test_survival_rows_need_no_free_rounds(kind):
    assert default_recipe(survival=True, n_features=8, kind=kind).public.rounds == 0


@pytest.mark.parametrize("learner", ["any", "cox"])
def test_cox_regression_finds_in_the_rows_what_the_teacher_knows(learner):
    recipe = replace(
        quick(SURVIVAL, rounds=60, kind="smooth"),
        public=default_recipe(survival=True, n_features=3, kind="smooth").public,
    )
    condenser = Condenser._with_test_noise(
        1, SURVIVAL, learner=learner, recipe=recipe, n_rows=400, random_state=0, **BUDGET
    )
    release = condenser.fit(survivors(2000)).release_
    cells, missing, outcome = release.decoder.table(release.rows)
    x = pd.DataFrame(release.decoder.encode_table(cells, missing))
    varied = x.columns[x.nunique() > 1]
    table = x[varied].assign(time=outcome[:, 0], event=outcome[:, 1])
    found = CoxPHFitter(penalizer=0.03).fit(table, "time", "event").params_.to_numpy()
    known = np.array(json.loads(release.teacher_model)["coef"])[varied]
    assert np.linalg.norm(known) > 0.3
    assert np.linalg.norm(found - known) < 0.05 * np.linalg.norm(known)


def test_direct_mode_needs_a_learner():
    with pytest.raises(ValueError, match="'learner' option must name a learner in mode='direct'"):
        Condenser(CLASSES, mode="direct", **BUDGET).plan()


@pytest.mark.parametrize("sharpness", [0.0, -1.0, float("nan"), float("inf")])
def test_sharpness_is_a_finite_number_above_zero(release, sharpness):
    with pytest.raises(ValueError, match="'sharpness' option must be a finite number above 0"):
        release.recondense("any", recipe=replace(release.recipe, sharpness=sharpness))


def test_the_report_says_that_rows_are_for_any_learner(survival_release, tmp_path):
    survival_release.recondense("any", n_rows=50).save(tmp_path / "release")
    assert "the rows for any learner were made" in (tmp_path / "release" / "report.html").read_text()


@pytest.mark.parametrize(
    ("learner", "kind", "is_sharp"),
    [("any", "any", True), ("tree", "any", True), ("logistic", "smooth", False)],
)
def test_the_report_says_whose_probabilities_are_too_sure(release, learner, kind, is_sharp, tmp_path):
    made = release.recondense(learner, n_rows=40, recipe=quick(CLASSES, kind=kind))
    made.save(tmp_path / "release", allow_not_private=True)
    page = (tmp_path / "release" / "report.html").read_text()
    assert ("probabilities that are too sure" in page) == is_sharp
