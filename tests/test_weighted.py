"""Rows with weights: each class of a pseudo-patient, as likely as the teacher says."""

import numpy as np
import pytest
from cohorts import BUDGET, CLASSES, SURVIVAL, patients, quick, survivors
from sklearn.linear_model import LogisticRegression
from zodc import Column, Condenser, Schema, weighted_rows
from zodc.options import seed_of_draw


def _release(schema=CLASSES, frame=None):
    condenser = Condenser(schema, recipe=quick(schema, kind="any"), random_state=1, **BUDGET)
    return condenser.fit(patients(300) if frame is None else frame).release_


@pytest.fixture(scope="module")
def release():
    return _release()


def _kept(release, rows, n_patients, seed):
    """Find the draw of pseudo-patients that the rows are made of."""
    seeds = (seed_of_draw(seed, number) for number in range(400))
    draws = (release.decoder.population_table(release.population(n_patients, own)) for own in seeds)
    return next(draw for draw in draws if np.array_equal(2 * draw[2].ravel(), rows.weight))


def test_weights_are_the_teachers_probabilities(release):
    rows = weighted_rows(release, n_rows=101, random_state=4)
    _, _, probability = _kept(release, rows, 50, 4)
    assert len(rows.X) == len(rows.y) == len(rows.weight) == 100
    np.testing.assert_allclose(rows.weight.reshape(50, 2), 2 * probability)
    assert rows.weight.mean() == pytest.approx(1.0)
    assert list(rows.X.columns) == list(release.X.columns)
    assert all(set(pair) == set(release.y) for pair in rows.y.reshape(50, 2))


def test_a_model_of_weighted_rows_is_the_teacher(release):
    rows = weighted_rows(release, n_rows=4000, random_state=4)
    frame = rows.frame().drop(columns=["row_weight", rows.target])
    assert frame.equals(rows.X)
    cells, missing, probability = _kept(release, rows, 2000, 4)
    x = release.decoder.encode_table(cells, missing)
    codes = np.tile([0, 1], 2000)
    model = LogisticRegression(C=1e6, max_iter=5000, tol=1e-8)
    model.fit(np.repeat(x, 2, axis=0), codes, sample_weight=rows.weight)
    np.testing.assert_allclose(model.predict_proba(x)[:, 1], probability[:, 1], atol=1e-3)


def test_the_weights_column_takes_no_name_of_the_schema():
    columns = [
        Column(name="row_weight", kind="continuous", lower=30, upper=200),
        Column(name="died", kind="binary", role="target"),
    ]
    rng = np.random.default_rng(0)
    weight = rng.uniform(40, 120, 200)
    x = weight[:, None]
    condenser = Condenser(Schema(columns), recipe=quick(Schema(columns)), **BUDGET)
    release = condenser.fit(x, (weight > 80).astype(int)).release_
    assert list(weighted_rows(release, n_rows=10).frame().columns) == ["row_weight", "died", "row_weight_"]


def test_what_cannot_be_weighted_is_an_error(release):
    with pytest.raises(ValueError, match="'n_rows' option must be at least 2"):
        weighted_rows(release, n_rows=1)
    with pytest.raises(ValueError, match="The release must be of a classification"):
        weighted_rows(_release(SURVIVAL, survivors(100)))


def test_it_is_repeatable_by_its_seed(release):
    one, same, other = (weighted_rows(release, n_rows=60, random_state=seed) for seed in (1, 1, 2))
    assert one.frame().equals(same.frame()) and not one.frame().equals(other.frame())


def test_what_is_no_release_is_told():
    with pytest.raises(ValueError, match=r"'release' option must be a zodc\.Release"):
        weighted_rows("release")
