"""The condenser: plan, fit, fit_resample, and its place in pipelines."""

import copy
import inspect
import json
import pickle
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from cohorts import BUDGET, CLASSES, SURVIVAL, patients, quick, quick_condenser, survivors
from imblearn.pipeline import make_pipeline as imblearn_pipeline
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_score
from sklearn.utils.validation import check_is_fitted
from zodc import BudgetError, Condenser, DataError, Ledger, Release, Schema, phases, verify, weighted_rows
from zodc.learners import Logistic, Tree
from zodc.recipe import Anneal, default_recipe
from zodc.schema import Column


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
    frame = quick_condenser(learner="tree", n_rows=60).fit(patients()).release_.frame()
    assert len(frame) == 60
    assert list(frame.columns) == [
        "age", "stage", "stage_missing", "sex", "sex_missing", "smokes", "died",
    ]  # fmt: skip
    assert frame["age"].between(18, 100).all()
    assert frame["stage"].isin([1, 2, 3, 4]).all() and frame["stage"].dtype == np.int64
    assert frame["sex"].isin(["f", "m", "x"]).all()
    assert frame["died"].isin([0, 1]).all() and frame["died"].nunique() == 2
    assert frame["stage_missing"].isin([0, 1]).all()


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
    condenser = quick_condenser(learner=["tree", "logistic"], random_state=3)
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
    condenser = quick_condenser().fit(frame)
    found = pickle.dumps(condenser)
    for age in frame["age"]:
        assert np.float64(age).tobytes() not in found and str(age).encode() not in found
    twin = copy.deepcopy(pickle.loads(found))
    pd.testing.assert_frame_equal(twin.release_.frame(), condenser.release_.frame())
    assert not re.search(r"\b80\b", repr(condenser) + repr(condenser.release_))


def test_progress_tells_public_numbers() -> None:
    told = []
    quick_condenser(learner="tree").fit(patients(60), progress=lambda *public: told.append(public))
    assert all(
        phase in ("private", "draws", "public") and 0 <= done <= rounds for phase, done, rounds in told
    )
    assert ("private", 6, 6) in told and ("public", 2, 2) in told


def test_verbose_writes_to_standard_error(capsys) -> None:
    quick_condenser(verbose=True).fit(patients(60))
    out, err = capsys.readouterr()
    assert not out and "round 6 of 6" in err


def test_what_the_private_phase_paid_for_survives_the_public_one(tmp_path) -> None:
    def interrupt(phase, done, rounds):
        if phase == stop:
            raise KeyboardInterrupt

    for stop in ("private", "draws", "public"):
        condenser = quick_condenser(learner="tree")
        with pytest.raises(KeyboardInterrupt):
            condenser.fit(patients(60), progress=interrupt)
        assert hasattr(condenser, "release_") == (stop != "private")
    release = condenser.release_
    assert release.learner[0]["kind"] == "logistic" and len(release.rows) == 40
    release.save(tmp_path / "r")
    assert verify(tmp_path / "r").ok
    again = Release.load(tmp_path / "r").recondense("tree", n_rows=30, recipe=quick())
    assert len(again.rows) == 30 and again.learner[0]["kind"] == "tree"


@pytest.mark.filterwarnings("error")
def test_losses_that_overflow_warn_of_nobody() -> None:
    losses = np.array([[np.inf, np.inf, 1.0, 0.5], [1e308, -1e308, 2.0, 1.0]])
    found = phases._differences(losses, np.array([False, True]))
    assert np.isnan(found[0, 0]) and np.isinf(found[1, 0]) and not found[:, 1].any()


@pytest.mark.parametrize(("schema", "cohort"), [(CLASSES, patients), (SURVIVAL, survivors)])
def test_smooth_learners_are_released_from_a_private_phase_without_refit(schema, cohort) -> None:
    not_refitted = replace(quick(schema), refit_sd=0.0)
    release = quick_condenser(schema, recipe=not_refitted).fit(cohort(60)).release_
    np.testing.assert_array_equal(release.rows.latents, release.teacher.latents)


def test_other_learners_get_rows_of_their_own() -> None:
    release = quick_condenser(learner="tree").fit(patients(60)).release_
    assert (len(release.teacher), len(release.rows)) == (40, 30)


def test_a_paid_release_stays_until_the_next_run_is_paid_for(tmp_path) -> None:
    fitted = quick_condenser().fit(patients(60))
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


def test_a_run_that_was_not_paid_for_leaves_it_unfitted(tmp_path) -> None:
    Ledger.create(tmp_path / "ward.ledger", epsilon=0.1, delta=1e-5)
    condenser = quick_condenser(ledger=tmp_path / "ward.ledger")
    with pytest.raises(BudgetError):
        condenser.fit(patients(60))
    with pytest.raises(NotFittedError):
        check_is_fitted(condenser)


@pytest.mark.parametrize("recipe", ["fast", {}, 7])
def test_a_recipe_that_is_none_is_told(recipe) -> None:
    with pytest.raises(ValueError, match=r"'recipe' option must be a zodc\.Recipe"):
        quick_condenser().set_params(recipe=recipe).plan()


def test_all_rows_of_a_patient_count_once() -> None:
    schema = Schema((*CLASSES.columns, Column(name="id", kind="categorical", role="patient_id")))
    frame = patients(60).assign(id=np.repeat(np.arange(20), 3))
    x_new, _ = quick_condenser(schema).fit_resample(frame)
    assert "id" not in x_new
    assert quick_condenser(schema).fit(frame).release_.plan.unit == "patient"


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
    release = quick_condenser(SURVIVAL, learner="cox", mode=mode, epsilon=5.0).fit(survivors(120)).release_
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
        # Too large for any machine: an abort of the program would come after the charge.
        ("teacher_rows", 4 * 10**18), ("population_rows", 10**11), ("public_directions", 2**16),
        ("hazard_intervals", 10**9), ("directions", 4097),
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


def test_settings_of_numpy_are_plain_numbers(tmp_path) -> None:
    # json knows none of NumPy's: such a run failed after it was charged, or could not be saved.
    recipe = replace(
        quick(),
        teacher_c=np.float32(0.5),
        directions=np.int64(3),
        population_rows=np.int32(200),
        private=replace(quick().private, rounds=np.int64(2), clip=Anneal(np.float32(0.5), np.float64(0.25))),
    )
    direct = {"mode": "direct", "learner": Logistic(c=np.float32(0.5)), "n_rows": np.int64(8)}
    for options in ({"learner": Tree(max_depth=np.int64(3))}, direct):
        release = quick_condenser(**{"recipe": recipe, **options}).fit(patients(60)).release_
        release.save(tmp_path / options.get("mode", "two_phase"))


@pytest.mark.parametrize("n_rows", [10**11, 4 * 10**18])
def test_more_rows_than_a_machine_holds_are_refused_before_they_are_paid_for(n_rows: int, tmp_path) -> None:
    ledger = Ledger.create(tmp_path / "cohort.ledger", epsilon=9.0, delta=1e-5, cohort="ward")
    condenser = quick_condenser(n_rows=n_rows, ledger=ledger)
    with pytest.raises(ValueError, match="'n_rows' option must be a whole number from 1 to 1,000,000"):
        condenser.fit(patients(60))
    assert len(ledger.entries) == 0
    release = quick_condenser().fit(patients(60)).release_
    for make in (
        lambda: release.recondense("tree", n_rows=n_rows),
        lambda: weighted_rows(release, n_rows=n_rows),
    ):
        with pytest.raises(ValueError, match="'n_rows'"):
            make()


@pytest.mark.parametrize("options", [{"rounds": 2**65}, {"expected_patients": 2**65}, {"directions": 2**65}])
def test_numbers_that_rust_does_not_hold_are_told(options) -> None:
    with pytest.raises(ValueError, match=f"The '{next(iter(options))}' option"):
        quick_condenser(**options).plan()


@pytest.mark.parametrize("recipe", [replace(quick(), hazard_intervals=3)])
def test_fit_with_a_recipe_of_ones_own(recipe) -> None:
    condenser = quick_condenser(recipe=recipe, rounds=3, directions=2, marginal_share=0.4)
    assert condenser.fit(patients(60)).release_.recipe.private.rounds == 3
    assert condenser.plan().directions == 2
