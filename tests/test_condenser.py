"""The condenser: plan, fit, fit_resample, and its place in pipelines."""

import copy
import inspect
import json
import pickle
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from cohorts import BUDGET, CLASSES, SURVIVAL, patients, quick, survivors
from imblearn.pipeline import make_pipeline as imblearn_pipeline
from joblib import parallel_config
from joblib.parallel import ThreadingBackend, register_parallel_backend
from lifelines import CoxPHFitter, WeibullAFTFitter
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sksurv.ensemble import RandomSurvivalForest
from sksurv.linear_model import CoxPHSurvivalAnalysis
from xgboost import XGBClassifier
from zodc import BudgetError, Condenser, DataError, Ledger, Release, Schema, phases, verify
from zodc.recipe import Anneal, default_recipe
from zodc.schema import Column


def _condenser(schema=CLASSES, **options) -> Condenser:
    settings = {"learner": "logistic" if schema.task == "classification" else "cox", "n_rows": 30, **BUDGET}
    settings["recipe"] = quick(schema)
    return Condenser(schema, **(settings | options))


def test_epsilon_delta_and_schema_have_no_default() -> None:
    parameters = inspect.signature(Condenser).parameters
    for name in ("schema", "epsilon", "delta"):
        assert parameters[name].default is inspect.Parameter.empty
    assert parameters["learner"].default == "any"
    assert parameters["n_rows"].default == 200
    assert parameters["random_state"].default is None
    with pytest.raises(TypeError, match="epsilon"):
        Condenser(CLASSES, learner="tree", delta=1e-5)


def test_the_plan_reads_no_data_and_keeps_the_budget() -> None:
    plan = Condenser(CLASSES, learner="tree", **BUDGET).plan()
    assert 0.999 < plan.spent_epsilon <= plan.epsilon == 1.0
    assert (plan.unit, plan.accountant, plan.sampling_rate) == ("row", "gdp", 1.0)
    assert "epsilon 1" in str(plan) and "one row" in str(plan)
    large = Condenser(CLASSES, learner="tree", expected_patients=1_000_000, **BUDGET).plan()
    assert large.sampling_rate < 1 and large.accountant == "rdp" and large.spent_epsilon <= 1.0
    with_patients = Schema((*CLASSES.columns, Column(name="id", kind="categorical", role="patient_id")))
    assert Condenser(with_patients, learner="tree", **BUDGET).plan().unit == "patient"


def test_every_released_value_is_valid_by_the_schema() -> None:
    frame = _condenser(learner="tree", n_rows=60).fit(patients()).release_.frame()
    assert len(frame) == 60
    assert list(frame.columns) == [
        "age", "stage", "stage_missing", "sex", "sex_missing", "smokes", "died",
    ]  # fmt: skip
    assert frame["age"].between(18, 100).all()
    assert frame["stage"].isin([1, 2, 3, 4]).all() and frame["stage"].dtype == np.int64
    assert frame["sex"].isin(["f", "m", "x"]).all()
    assert frame["died"].isin([0, 1]).all() and frame["died"].nunique() == 2
    assert frame["stage_missing"].isin([0, 1]).all()


@pytest.mark.parametrize("mode", ["two_phase", "direct"])
@pytest.mark.parametrize(
    "learner",
    [
        "tree",
        "logistic",
        ["tree", "logistic"],
        {"tree": 2.0, "logistic": 0.5},
        RandomForestClassifier(3),
        GradientBoostingClassifier(n_estimators=2),
        XGBClassifier(n_estimators=2, n_jobs=1),
        make_pipeline(SimpleImputer(), LogisticRegression(max_iter=1000)),
        {"tree": 1, RandomForestClassifier(3): 1},
    ],
    ids=str,
)
def test_any_classifier_in_both_modes(learner, mode: str) -> None:
    condenser = _condenser(learner=learner, mode=mode, recipe=quick(rounds=2))
    release = condenser.fit(patients(150)).release_
    assert len(release.frame()) == 30 and release.private and release.mode == mode


@pytest.mark.parametrize("mode", ["two_phase", "direct"])
@pytest.mark.parametrize(
    "learner",
    [
        "cox",
        CoxPHFitter(penalizer=0.1),
        WeibullAFTFitter(penalizer=0.1),
        CoxPHSurvivalAnalysis(alpha=0.1),
        RandomSurvivalForest(3),
        ["cox", RandomSurvivalForest(3)],
    ],
    ids=str,
)
def test_any_survival_model_in_both_modes(learner, mode: str) -> None:
    condenser = _condenser(SURVIVAL, learner=learner, mode=mode, recipe=quick(SURVIVAL, rounds=2))
    frame = condenser.fit(survivors(150)).release_.frame()
    assert list(frame.columns) == ["age", "smokes", "time", "event"] and len(frame) == 30
    assert frame["time"].between(0, 10).all() and frame["event"].isin([0, 1]).all()


@pytest.mark.parametrize(
    ("schema", "cohort", "learner"),
    [(CLASSES, patients, "logistic"), (SURVIVAL, survivors, "cox")],
    ids=["classes", "survival"],
)
@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_fit_resample_gives_back_the_callers_library(schema, cohort, learner, library: str) -> None:
    make = {"pandas": lambda f: f, "polars": pl.from_pandas, "pyarrow": pa.Table.from_pandas}[library]
    frame, names = cohort(120), [column.name for column in schema.outcomes]
    whole, features = make(frame), make(frame.drop(columns=names))
    condenser = _condenser(schema, learner=learner)
    for y in (None, names):
        x_new, y_new = condenser.fit_resample(whole, y)
        assert type(x_new) is type(features) and len(x_new) == len(y_new) == 30
        assert pd.DataFrame(_plain(x_new)).columns.tolist() == frame.drop(columns=names).columns.tolist()
        assert type(y_new).__module__.split(".")[0] == type(whole).__module__.split(".")[0]
    x_new, y_new = condenser.fit_resample(features, make(frame[names]))
    assert type(y_new) is type(whole) and len(y_new) == 30


def _plain(frame):
    return frame if isinstance(frame, pd.DataFrame) else frame.to_pandas()


@pytest.mark.parametrize(
    "y",
    [
        lambda f: f["died"],
        lambda f: f["died"].astype(float).where(f.index != 3),
        lambda f: f["died"].to_numpy(),
        lambda f: f["died"].to_numpy() == 1,
        lambda f: f["died"].to_numpy().astype(float),
        lambda f: f["died"].astype(str).to_numpy().astype("U1"),
        lambda f: f["died"].astype(str).to_numpy(),
        lambda f: pl.Series("died", f["died"].to_numpy()),
    ],
)
def test_labels_come_back_in_their_container_with_the_type_of_the_schema(y) -> None:
    """The caller's type may depend on one patient: one missing label makes all of them floats."""
    frame = patients(100)
    labels = y(frame)
    _, y_new = _condenser().fit_resample(frame.drop(columns="died"), labels)
    assert type(y_new) is type(labels) and np.asarray(y_new).dtype == np.int64
    assert set(np.asarray(y_new).tolist()) == {0, 1}
    if isinstance(labels, pd.Series):
        assert y_new.name == "died"


def test_arrays_come_back_with_the_type_of_the_schema() -> None:
    schema = Schema((CLASSES.columns[0], CLASSES.columns[3], CLASSES.columns[4]))
    x = patients(60)[["age", "smokes"]].to_numpy(np.float32)
    x_new, _ = _condenser(schema).fit_resample(x, patients(60)["died"].tolist())
    assert x_new.dtype == np.float64


def test_structured_outcomes_come_back_structured() -> None:
    frame = survivors(120)
    for dtype in ([("cens", bool), ("t", np.float32)], [("time", np.int64), ("event", float)]):
        y = np.empty(120, dtype=dtype)
        event, time = ("cens", "t") if dtype[0][0] == "cens" else ("event", "time")
        y[event], y[time] = frame["event"] == 1, frame["time"]
        x_new, y_new = _condenser(SURVIVAL).fit_resample(frame[["age", "smokes"]].to_numpy(), y)
        assert y_new.dtype.names == y.dtype.names and x_new.shape == (30, 2) and x_new.dtype == np.float64
        assert y_new.dtype[event] == np.bool_ and y_new.dtype[time] == np.float64
        assert y_new[event].any() and not y_new[event].all()


def test_as_a_sampler_in_an_imblearn_pipeline() -> None:
    """The classifier behind is trained on synthetic rows, and predicts real ones."""
    schema = Schema((CLASSES.columns[0], CLASSES.columns[3], CLASSES.columns[4]))
    frame = patients(600)
    x, y = frame[["age", "smokes"]], frame["died"]
    condenser = Condenser(schema, learner="logistic", epsilon=10.0, delta=1e-5, n_rows=100, rounds=60)
    pipeline = imblearn_pipeline(condenser, LogisticRegression(max_iter=1000))
    pipeline.fit(x, y)
    assert pipeline[-1].coef_.shape == (1, 2)
    test = patients(600, seed=1)
    assert roc_auc_score(test["died"], pipeline.predict_proba(test[["age", "smokes"]])[:, 1]) > 0.8
    assert cross_val_score(pipeline, x, y, cv=2, scoring="roc_auc").min() > 0.7


def test_check_14_random_state_fixes_public_randomness_and_never_the_noise() -> None:
    def latents(seed, noise=None):
        options = {"learner": "logistic", "n_rows": 20, "recipe": quick(), "random_state": seed, **BUDGET}
        if noise is None:
            return Condenser(CLASSES, **options).fit(patients(100)).release_.rows.latents
        return Condenser._with_test_noise(noise, CLASSES, **options).fit(patients(100)).release_.rows.latents

    np.testing.assert_array_equal(latents(1, 7), latents(1, 7))
    assert not np.array_equal(latents(1, 7), latents(1, 8))
    assert not np.array_equal(latents(1, 7), latents(2, 7))
    assert not np.array_equal(latents(1), latents(1))


def test_check_15_seeded_noise_is_stamped_and_not_inherited(tmp_path) -> None:
    condenser = Condenser._with_test_noise(
        3, CLASSES, learner="logistic", n_rows=20, recipe=quick(), **BUDGET
    )
    release = condenser.fit(patients(60)).release_
    assert not release.private and "NOT PRIVATE" in release.manifest()["status"]
    assert clone(condenser).fit(patients(60)).release_.private
    assert "seed" not in " ".join(condenser.get_params())


def test_constructor_only_stores_and_clones() -> None:
    condenser = _condenser(learner=["tree", "logistic"], random_state=3)
    twin = clone(condenser)
    assert {k: str(v) for k, v in twin.get_params().items()} == {
        k: str(v) for k, v in condenser.get_params().items()
    }
    nonsense = Condenser("schema", learner=0, epsilon=None, delta="x", n_rows=-1, mode="?")
    assert nonsense.get_params(deep=False)["mode"] == "?"


def test_check_31_a_fitted_condenser_holds_no_patient() -> None:
    """What pickles, copies and prints is the release: none of the cells is in it."""
    frame = patients(80)
    frame["age"] = 18.123457 + np.arange(80) * 0.918273
    condenser = _condenser().fit(frame)
    found = pickle.dumps(condenser)
    for age in frame["age"]:
        assert np.float64(age).tobytes() not in found and str(age).encode() not in found
    twin = copy.deepcopy(pickle.loads(found))
    pd.testing.assert_frame_equal(twin.release_.frame(), condenser.release_.frame())
    assert not re.search(r"\b80\b", repr(condenser) + repr(condenser.release_))


def test_progress_tells_public_numbers() -> None:
    told = []
    _condenser(learner="tree").fit(patients(60), progress=lambda *public: told.append(public))
    assert all(
        phase in ("private", "draws", "public") and 0 <= done <= rounds for phase, done, rounds in told
    )
    assert ("private", 6, 6) in told and ("public", 2, 2) in told


def test_verbose_writes_to_standard_error(capsys) -> None:
    _condenser(verbose=True).fit(patients(60))
    out, err = capsys.readouterr()
    assert not out and "round 6 of 6" in err


class Coupled(ClassifierMixin, BaseEstimator):
    """Predicts ranks."""

    def fit(self, X, y):  # noqa: D102
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):  # noqa: D102
        rank = np.argsort(np.argsort(X["age"])) / len(X)
        return np.column_stack([rank, 1 - rank])


class Probe(ClassifierMixin, BaseEstimator):
    """Keeps count of the rows that it is shown."""

    seen: list = []  # noqa: RUF012

    def fit(self, X, y):  # noqa: D102
        self.classes_ = np.unique(y)
        Probe.seen.append(X)
        return self

    def predict_proba(self, X):  # noqa: D102
        Probe.seen.append(X)
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))


def test_check_29_direct_mode_refuses_models_that_couple_rows() -> None:
    with pytest.raises(ValueError, match=r"'learner'.*each row by itself.*two_phase"):
        _condenser(learner=Coupled(), mode="direct").fit(patients(60))
    _condenser(learner=Coupled()).fit(patients(60))


def test_in_two_phases_a_python_model_never_sees_a_patient() -> None:
    frame = patients(97)
    frame["age"] = 18.123456 + np.arange(97) / 1000
    Probe.seen.clear()
    _condenser(learner=Probe()).fit(frame)
    shown = pd.concat(Probe.seen)["age"]
    assert len(shown) and not shown.isin(frame["age"]).any()
    assert 97 not in {len(rows) for rows in Probe.seen}
    Probe.seen.clear()
    _condenser(learner=Probe(), mode="direct").fit(frame)
    assert any(len(rows) == 97 for rows in Probe.seen)


class Recording(ThreadingBackend):  # type: ignore[misc]
    """Counts how often it is asked to work."""

    used = 0

    def configure(self, *args, **kwargs):
        """Count."""
        Recording.used += 1
        return super().configure(*args, **kwargs)


def test_joblib_chooses_the_backend() -> None:
    register_parallel_backend("recording", Recording)
    condenser = _condenser(learner=RandomForestClassifier(2), mode="direct", recipe=quick(rounds=3))
    with parallel_config("recording", n_jobs=2):
        assert len(condenser.fit(patients(60)).release_.rows) == 30
    assert Recording.used >= 3


class Fails(Probe):
    """Raises on some patients."""

    def predict_proba(self, X):
        """Quote what must not be quoted."""
        if (X["age"] > 90).any():
            raise RuntimeError(f"secret {X['age'].max()}")
        return super().predict_proba(X)


def test_check_30_a_model_that_fails_on_patients_is_silent(recwarn, capsys) -> None:
    _condenser(learner=Fails(), mode="direct", recipe=quick(rounds=1)).fit(patients(60))
    out, err = capsys.readouterr()
    assert not recwarn.list and "secret" not in out + err


class FailsToFit(Probe):
    """Raises at every nth fit; the first few serve the public trials."""

    every, fits = 3, 0

    def fit(self, X, y):
        """Fail now and then."""
        FailsToFit.fits += 1
        if FailsToFit.fits > 1 and FailsToFit.fits % self.every == 0:
            raise RuntimeError("no convergence")
        return super().fit(X, y)


def test_a_failed_fit_costs_its_direction_alone(monkeypatch) -> None:
    """Not the whole round: whether a fit on synthetic rows failed is public."""
    asked = []
    FailsToFit.fits = 0
    found = phases._Losses.differences

    def spy(*arguments):
        asked.append(found(*arguments))
        return asked[-1]

    monkeypatch.setattr(phases._Losses, "differences", spy)
    learner = {FailsToFit(): 1, LogisticRegression(max_iter=1000): 1}
    _condenser(learner=learner, mode="direct", recipe=quick(rounds=1)).fit(patients(60))
    (differences,) = asked
    assert np.isfinite(differences).all()
    is_lost = (differences == 0).all(axis=0)
    assert is_lost.any() and not is_lost.all()


@pytest.mark.parametrize("mode", ["two_phase", "direct"])
def test_a_model_that_mostly_fails_is_given_up(mode: str, monkeypatch) -> None:
    FailsToFit.fits = 0
    monkeypatch.setattr(FailsToFit, "every", 1)
    recipe = replace(quick(rounds=9), public=replace(quick().public, rounds=9))
    with pytest.raises(RuntimeError, match=r"5 rounds in a row; take a more robust one"):
        _condenser(learner=FailsToFit(), mode=mode, recipe=recipe).fit(patients(60))


def test_what_the_private_phase_paid_for_survives_the_public_one(tmp_path) -> None:
    def interrupt(phase, done, rounds):
        if phase == stop:
            raise KeyboardInterrupt

    for stop in ("private", "draws", "public"):
        condenser = _condenser(learner="tree")
        with pytest.raises(KeyboardInterrupt):
            condenser.fit(patients(60), progress=interrupt)
        assert hasattr(condenser, "release_") == (stop != "private")
    release = condenser.release_
    assert release.learner[0]["kind"] == "logistic" and len(release.rows) == 40
    release.save(tmp_path / "r")
    assert verify(tmp_path / "r").ok
    again = Release.load(tmp_path / "r").recondense("tree", n_rows=30, recipe=quick())
    assert len(again.rows) == 30 and again.learner[0]["kind"] == "tree"


def test_the_manifest_does_not_vouch_for_a_python_model_on_patients() -> None:
    def says(release) -> bool:
        return any("row alone" in line for line in release.manifest()["not_covered"])

    direct = _condenser(learner=Probe(), mode="direct", recipe=quick(rounds=1)).fit(patients(60)).release_
    assert says(direct) and says(direct.recondense("tree", recipe=quick()))
    assert not says(_condenser(learner=Probe(), recipe=quick(rounds=1)).fit(patients(60)).release_)
    assert not says(_condenser(learner="tree", mode="direct").fit(patients(60)).release_)


@pytest.mark.filterwarnings("error")
def test_losses_that_overflow_warn_of_nobody() -> None:
    losses = np.array([[np.inf, np.inf, 1.0, 0.5], [1e308, -1e308, 2.0, 1.0]])
    found = phases._differences(losses, np.array([False, True]))
    assert np.isnan(found[0, 0]) and np.isinf(found[1, 0]) and not found[:, 1].any()


@pytest.mark.parametrize(("schema", "cohort"), [(CLASSES, patients), (SURVIVAL, survivors)])
def test_smooth_learners_are_released_from_a_private_phase_without_refit(schema, cohort) -> None:
    not_refitted = replace(quick(schema), refit_sd=0.0)
    release = _condenser(schema, recipe=not_refitted).fit(cohort(60)).release_
    np.testing.assert_array_equal(release.rows.latents, release.teacher.latents)


def test_other_learners_get_rows_of_their_own() -> None:
    release = _condenser(learner="tree").fit(patients(60)).release_
    assert (len(release.teacher), len(release.rows)) == (40, 30)


def test_a_paid_release_stays_until_the_next_run_is_paid_for(tmp_path) -> None:
    fitted = _condenser().fit(patients(60))
    first = fitted.release_
    with pytest.raises(DataError):
        fitted.fit(patients(60).rename(columns={"age": "years"}))
    with pytest.raises(ValueError, match="epsilon"):
        fitted.set_params(epsilon=-1.0).fit(patients(60))
    Ledger.create(tmp_path / "ward.ledger", epsilon=0.1, delta=1e-5)
    with pytest.raises(BudgetError):
        fitted.set_params(epsilon=1.0, ledger=tmp_path / "ward.ledger").fit(patients(60))
    assert fitted.release_ is first
    assert fitted.set_params(ledger=None).fit(patients(60)).release_ is not first


@pytest.mark.parametrize("recipe", ["fast", {}, 7])
def test_a_recipe_that_is_none_is_told(recipe) -> None:
    with pytest.raises(ValueError, match=r"'recipe' option must be a zodc\.Recipe"):
        _condenser().set_params(recipe=recipe).plan()


def test_all_rows_of_a_patient_count_once() -> None:
    schema = Schema((*CLASSES.columns, Column(name="id", kind="categorical", role="patient_id")))
    frame = patients(60).assign(id=np.repeat(np.arange(20), 3))
    x_new, _ = _condenser(schema).fit_resample(frame)
    assert "id" not in x_new
    assert _condenser(schema).fit(frame).release_.plan.unit == "patient"


def test_few_patients_are_clipped_tighter_where_the_refit_undoes_it() -> None:
    recipe = default_recipe(survival=True, n_features=10, kind="smooth")
    wide = recipe.private.clip
    for count, share in ((-3.0, 0.2), (150.0, 0.2), (750.0, 0.5), (1_500.0, 1.0), (1e6, 1.0)):
        schedule = recipe.private_for(count, 10)
        assert schedule.clip.start == pytest.approx(share * wide.start)
        assert schedule.clip.end == pytest.approx(share * wide.end)
        assert replace(schedule, clip=wide) == recipe.private
    assert replace(recipe, refit_sd=0.0).private_for(150.0, 10) == recipe.private
    assert replace(recipe, full_clip_from=0.0).private_for(150.0, 10) == recipe.private
    classes = default_recipe(survival=False, n_features=10, kind="any")
    assert classes.private_for(150.0, 10) == classes.private


@pytest.mark.parametrize("mode", ["two_phase", "direct"])
def test_the_clip_follows_the_noisy_count(monkeypatch, mode: str) -> None:
    asked = []
    condense = phases.private_native

    def listen(decoder, cohort, learners, recipe, **options):
        asked.append(recipe.private.clip.start)
        return condense(decoder, cohort, learners, recipe, **options)

    monkeypatch.setattr(phases, "private_native", listen)
    release = _condenser(SURVIVAL, learner="cox", mode=mode, epsilon=5.0).fit(survivors(120)).release_
    count = json.loads(release.marginals)["count"]
    share = min(1.0, max(0.2, count / (150 * len(SURVIVAL.features)))) if mode == "two_phase" else 1.0
    assert asked == [pytest.approx(share * release.recipe.private.clip.start)] and (share < 1.0) == (
        mode != "direct"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("teacher_rows", 0), ("teacher_c", 0.0), ("teacher_c", float("nan")), ("sharpness", -1.0),
        ("draws", 0), ("population_rows", 0.5), ("check_every", 0), ("hazard_intervals", 0),
        ("public_directions", 0),
        ("refit_sd", -0.1), ("full_clip_from", float("inf")), ("marginal_share", 1.0), ("directions", True),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_is_refused_before_it_is_paid_for(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"'{name}' option"):
        replace(quick(), **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("momentum", 1.0), ("momentum", -0.1), ("rounds", -1), ("clip", Anneal(0.0, 1.0)),
        ("radius", Anneal(1.0, float("nan"))), ("step", Anneal(1.0, -1.0)),
    ],
)  # fmt: skip
def test_a_schedule_that_cannot_be_is_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"'{name}"):
        replace(quick().private, **{name: value})


@pytest.mark.parametrize("recipe", [replace(quick(), hazard_intervals=3)])
def test_fit_with_a_recipe_of_ones_own(recipe) -> None:
    condenser = _condenser(recipe=recipe, rounds=3, directions=2, marginal_share=0.4)
    assert condenser.fit(patients(60)).release_.recipe.private.rounds == 3
    assert condenser.plan().directions == 2
