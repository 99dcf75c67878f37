"""The teacher fitted again on the noisy answers, from the run to the release and back."""

import copy
import json
import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from cohorts import BUDGET, CLASSES, SURVIVAL, patients, quick, survivors
from sklearn.linear_model import LogisticRegression
from zodc import Condenser, Release, Schema, condenser
from zodc._zodc import Decoder
from zodc.audit_membership import model_losses
from zodc.containers import patients_table
from zodc.encoded import encode_rows
from zodc.frames import encode
from zodc.schema import Column


def _fit(schema=CLASSES, frame=None, **options):
    settings = {"recipe": quick(schema, kind="any"), "random_state": 1, **BUDGET, **options}
    return Condenser(schema, **settings).fit(patients(300) if frame is None else frame).release_


@pytest.fixture(scope="module")
def release():
    return _fit()


def test_pseudo_patients_are_labelled_by_the_refitted_model(release):
    model = json.loads(release.teacher_model)
    cells, missing, probabilities = release.decoder.population_table(release.population(200, 5))
    eta = model["intercept"][0] + release.decoder.encode_table(cells, missing) @ np.array(model["coef"])
    np.testing.assert_allclose(probabilities[:, 1], 1 / (1 + np.exp(-eta)), rtol=1e-12)


def test_survival_has_a_hazard():
    release = _fit(SURVIVAL, survivors(200))
    model = json.loads(release.teacher_model)
    grid = release.decoder.time_grid
    assert model["kind"] == "hazard" and len(model["log_hazard"]) == len(grid) - 1
    passed = np.cumsum(np.exp(model["log_hazard"]) * np.diff(grid))
    np.testing.assert_allclose(model["cumulative"], np.append(0, passed[:-1]), rtol=1e-12)


def test_it_stays_with_the_release(release, tmp_path):
    release.save(tmp_path / "release", report=False)
    loaded = Release.load(tmp_path / "release")
    wanted = json.loads(release.teacher_model)
    for other in (loaded, pickle.loads(pickle.dumps(release)), copy.deepcopy(release)):
        assert json.loads(other.teacher_model) == wanted
        again = other.recondense("any", n_rows=25, random_state=2)
        assert again.rows.outcome == release.recondense("any", n_rows=25, random_state=2).rows.outcome


def test_releases_of_an_older_zodc_have_none(release, tmp_path):
    older = replace(release, teacher_model=None)
    older.save(tmp_path / "release", report=False)
    loaded = Release.load(tmp_path / "release")
    assert loaded.teacher_model is None
    assert len(loaded.recondense("tree", n_rows=20).rows) == 20


def test_no_refit_in_direct_mode_and_where_patients_have_several_rows():
    assert _fit(mode="direct", learner="logistic").teacher_model is None
    several = Schema((*CLASSES.columns, Column(name="id", kind="categorical", role="patient_id")))
    frame = patients(60).assign(id=np.repeat(np.arange(20), 3))
    release = _fit(several, frame)
    assert release.teacher_model is None and release.recipe.refit_sd == 0.0
    one = Schema((*CLASSES.columns, Column(name="id", kind="categorical", role="patient_id", max_rows=1)))
    assert _fit(one, frame).teacher_model is not None


def test_a_model_of_another_schema_is_refused(release):
    short = json.dumps({"kind": "linear", "coef": [0.1], "intercept": [0.0]})
    with pytest.raises(ValueError, match="teacher model"):
        replace(release, teacher_model=short).population(10, 1)
    hazard = _fit(SURVIVAL, survivors(100)).teacher_model
    with pytest.raises(ValueError, match="teacher model"):
        replace(release, teacher_model=hazard).population(10, 1)


def test_it_is_the_same_for_the_same_answers():
    """Bits follow from the noisy answers: a resumed run must end as the one that was cut short."""
    fits = [
        Condenser._with_test_noise(7, CLASSES, recipe=quick(kind="any"), random_state=1, **BUDGET)
        .fit(patients(200))
        .release_
        for _ in range(2)
    ]
    assert fits[0].teacher_model == fits[1].teacher_model


def test_nearly_without_noise_it_is_the_model_of_all_patients():
    """Large cohort, huge budget: the refit finds the coefficients of a model fitted on the patients."""
    frame = patients(4000)
    recipe = replace(quick(kind="any", rounds=120), directions=16, teacher_rows=100, refit_sd=1.0)
    budget = {"epsilon": 1000.0, "delta": 1e-5}
    release = (
        Condenser._with_test_noise(3, CLASSES, recipe=recipe, random_state=1, **budget).fit(frame).release_
    )
    rows = encode_rows(frame, CLASSES, release.decoder)
    wanted = LogisticRegression(C=1e3, max_iter=5000).fit(rows.x, rows.codes)
    model = json.loads(release.teacher_model)
    ours = rows.x.to_numpy() @ np.array(model["coef"])
    theirs = rows.x.to_numpy() @ wanted.coef_[0]
    assert pd.Series(ours).corr(pd.Series(theirs)) > 0.99
    assert np.polyfit(theirs, ours, 1)[0] == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize(("schema", "frame"), [(CLASSES, patients(300)), (SURVIVAL, survivors(300))])
def test_the_membership_attack_knows_the_refitted_model(schema, frame):
    """Its losses are those of a native model with the same numbers, by the arithmetic of the private half."""
    release = _fit(schema, frame)
    decoder = release.decoder
    seen = patients_table(decoder, encode(frame, None, schema), schema)
    seen = tuple(part[~np.isnan(seen[2]).any(axis=1)] for part in seen)
    model = json.loads(release.teacher_model)
    x = decoder.encode_table(*seen[:2])
    found = model_losses(model, decoder, seen)
    eta = x @ np.array(model["coef"])
    if schema is CLASSES:
        p = 1 / (1 + np.exp(-eta - model["intercept"][0]))
        wanted = -np.log(np.where(seen[2][:, 1] == 1, p, 1 - p))
    else:
        grid, rate = np.array(decoder.time_grid), np.exp(model["log_hazard"])
        spent = np.clip(seen[2][:, :1] - grid[:-1], 0, np.diff(grid))
        last = (seen[2][:, :1] > grid[1:-1]).sum(axis=1)
        wanted = (spent @ rate) * np.exp(eta) - seen[2][:, 1] * (eta + np.log(rate[last]))
    np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-8)


def test_very_wide_tables_are_not_refitted():
    columns = [Column(name=f"x{j}", kind="binary") for j in range(1000)]
    schema = Schema([*columns, Column(name="died", kind="binary", role="target")])
    assert schema.n_coefficients == 1001
    assert Condenser(schema, **BUDGET)._settings()[1].refit_sd == 0.0
    assert Condenser(CLASSES, **BUDGET)._settings()[1].refit_sd > 0.0


def test_the_number_of_coefficients_is_that_of_the_model(release):
    model = json.loads(release.teacher_model)
    assert release.schema.n_coefficients == len(model["coef"]) + len(model["intercept"])


def test_what_is_paid_for_outlives_a_refit_that_is_cut_short(monkeypatch):
    class Interrupted:
        def __init__(self, *arguments):
            self._real = Decoder(*arguments)

        def __getattr__(self, name):
            return getattr(self._real, name)

        def refit(self, *arguments):
            raise KeyboardInterrupt

    monkeypatch.setattr(condenser, "Decoder", Interrupted)
    run = Condenser(CLASSES, recipe=quick(kind="any"), random_state=1, **BUDGET)
    with pytest.raises(KeyboardInterrupt):
        run.fit(patients(100))
    assert run.release_.teacher_model is None and len(run.release_.rows) == len(run.release_.teacher)
    assert len(run.release_.recondense("any", n_rows=20).rows) == 20
