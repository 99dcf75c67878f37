"""Pictures: axes in and out, drawn from what they say; the curves behind them are right."""

from __future__ import annotations

import pickle
from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
import pytest
from cohorts import BUDGET, CLASSES, SURVIVAL, patients, quick, survivors
from lifelines import CoxPHFitter
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import auc, roc_auc_score
from sksurv.metrics import concordance_index_censored
from zodc import Column, Condenser, DataError, Release, Schema, curves
from zodc.curves import Judged
from zodc.evaluate import evaluate
from zodc.figures import figure, page_style
from zodc.options import OptionError
from zodc.plots import COLOURS
from zodc.summary import bars_of, groups_of, kaplan_meier, noise_floor, noisy_marginals, released_cells


@pytest.fixture(autouse=True)
def _no_display(monkeypatch):
    matplotlib.use("Agg")
    yield
    from matplotlib import pyplot

    pyplot.close("all")


@pytest.fixture(scope="module")
def classes() -> Release:
    return Condenser(CLASSES, learner="tree", n_rows=40, recipe=quick(), **BUDGET).fit(patients()).release_


@pytest.fixture(scope="module")
def survival() -> Release:
    recipe = quick(SURVIVAL)
    return Condenser(SURVIVAL, learner="cox", n_rows=40, recipe=recipe, **BUDGET).fit(survivors()).release_


def axes() -> Axes:
    return Figure().subplots()


# ---- releases


def test_axes_come_in_and_go_out(classes, survival):
    mine = axes()
    for draw in (classes.plot.correlation, classes.plot.trace, survival.plot.survival, survival.plot.trace):
        given = axes()
        assert draw(ax=given) is given
        assert isinstance(draw(), Axes)
    assert list(classes.plot.marginals(["age"], axes=[mine])) == [mine]
    assert [ax.get_title() for ax in classes.plot.marginals()] == ["age", "stage", "sex", "smokes", "died"]
    assert len(survival.plot.marginals()) == 4


def test_wrong_options_are_told(classes, survival):
    with pytest.raises(OptionError, match="no column 'height'; take some of age"):
        classes.plot.marginals(["height"])
    with pytest.raises(OptionError, match="list of names"):
        classes.plot.marginals("age")
    with pytest.raises(OptionError, match="'axes' option must hold one per column, 2"):
        classes.plot.marginals(["age", "sex"], axes=[axes()])
    with pytest.raises(OptionError, match="time and an event"):
        classes.plot.survival()
    with pytest.raises(OptionError, match="older zodc"):
        replace(classes, trace=()).plot.trace()


def test_the_trace_is_kept(classes, tmp_path):
    assert len(classes.trace) == 6 and min(classes.trace) > 0
    classes.save(tmp_path / "r", report=False)
    assert Release.load(tmp_path / "r").trace == classes.trace
    assert classes.recondense("logistic", recipe=quick()).trace == classes.trace


@pytest.mark.parametrize("neighbours", ["add_remove", "replace_one"])
def test_the_line_of_noise_is_where_noise_lies(neighbours):
    """One patient's answer drowns in noise: its size is that of noise alone.

    32 × 150 normal draws: a relative spread of 1 %, so that 6 % fails once in 10⁸ runs.
    """
    recipe = replace(quick(rounds=150), directions=32, teacher_rows=10)
    condenser = Condenser(
        CLASSES, learner="logistic", n_rows=10, recipe=recipe, neighbours=neighbours, **BUDGET
    )
    release = condenser.fit(patients(1)).release_
    ratio = np.sqrt(np.mean((np.array(release.trace) / noise_floor(release)) ** 2))
    assert abs(ratio - 1) < 0.06


def test_the_line_of_noise_is_that_of_few_survivors():
    """Few patients are clipped tighter than the recipe says, and their noise is less in proportion."""
    usual = quick(SURVIVAL, rounds=150, kind="smooth")
    recipe = replace(usual, directions=32, teacher_rows=20, full_clip_from=1e9)
    condenser = Condenser(SURVIVAL, learner="cox", n_rows=20, recipe=recipe, **BUDGET)
    release = condenser.fit(survivors(20)).release_
    ratio = np.sqrt(np.mean((np.array(release.trace) / noise_floor(release)) ** 2))
    assert abs(ratio - 1) < 0.06


def test_bars_hold_all_of_both(classes, survival):
    for release in (classes, survival):
        cells, noisy = released_cells(release), noisy_marginals(release)
        for column in (*release.schema.features, *release.schema.outcomes):
            bars = bars_of(column, cells[column.name], noisy[column.name])
            assert bars.released.sum() == pytest.approx(1.0)
            assert bars.noisy.sum() == pytest.approx(1.0, abs=0.005)
            assert len(bars.released) == len(bars.noisy)
    stage = next(c for c in CLASSES.features if c.name == "stage")
    shown = released_cells(classes)["stage"]
    flags = classes.columns()["stage_missing"]
    np.testing.assert_array_equal(np.isnan(shown), flags == 1)
    assert bars_of(stage, shown, noisy_marginals(classes)["stage"]).missing[0] == pytest.approx(flags.mean())


def test_far_bounds_do_not_squeeze_the_picture():
    column = Column(name="creatinine", kind="continuous", lower=0, upper=1000)
    marginal = {"missing": 0.0, "edges": [0, 1, 2, 1000], "weights": [0.5, 0.4999, 0.0001]}
    bars = bars_of(column, np.array([0.5, 1.5, np.nan]), marginal)
    assert bars.edges[-1] < 3 and bars.released.sum() == pytest.approx(1.0)
    steps = Column(name="nodes", kind="ordinal", lower=0, upper=60)
    marginal = {"missing": 0.0, "edges": [], "weights": np.full(61, 1 / 61)}
    bars = bars_of(steps, np.array([0.0, 60.0, 7.0]), marginal)
    assert bars.released.sum() == pytest.approx(1.0) and bars.noisy.sum() == pytest.approx(1.0, abs=0.01)


def test_groups_cover_each_row_at_most_once(classes):
    cells = released_cells(classes)
    for column in CLASSES.features:
        groups = groups_of(column, cells[column.name], 3)
        total = np.sum([inside for _, inside in groups], axis=0)
        np.testing.assert_array_equal(total == 1, ~np.isnan(cells[column.name]))
    constant = groups_of(CLASSES.features[0], np.full(5, 50.0), 3)
    assert constant[0][1].all()
    assert groups_of(CLASSES.features[0], np.full(5, np.nan), 3) == []


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([1, 2, 3, 4, 5, 6], ["1 to 2", "3 to 4", "5 to 6"]),
        ([1, 1, 1, 2, 5, 9], ["1 to 2", "3 to 9"]),
        ([0, 0, 1, 1, 2, 2], ["0", "1", "2"]),
        ([1.5, 2.5, 3.5, 7, 8], ["[1.5, 2.83)", "[2.83, 5.83)", "[5.83, 8]"]),
    ],
)
def test_the_name_of_a_group_says_which_values_are_in_it(values, labels):
    found = groups_of(Column(name="n", kind="continuous", lower=0, upper=10), np.asarray(values, float), 3)
    assert [name for name, _ in found] == labels


def test_the_survival_curve_is_that_of_lifelines_by_hand():
    curve = kaplan_meier(np.array([1.0, 2, 3, 4]), np.array([1.0, 0, 1, 1]))
    np.testing.assert_allclose(curve.survival, [1, 0.75, 0.75, 0.375, 0])


def test_figures_stand_beside_each_other_on_a_page(classes):
    """No id twice, no metadata, the same bytes again, whatever was drawn before."""
    with page_style():
        one, two, again = (
            figure(lambda ax: classes.plot.trace(ax=ax), name=name, describe='a "trace" <b>')
            for name in ("a", "b", "a")
        )
    assert one == again != two
    assert "<metadata" not in one and "<script" not in one and "<b>" not in one
    ids = [set(part.split('"')[0] for part in svg.split(' id="')[1:]) for svg in (one, two)]
    assert ids[0] and not ids[0] & ids[1]


def test_colours_differ_for_the_colour_blind():
    """Under deuteranopia (Machado et al. 2009, severity 1) the colours keep apart in luminance or hue."""
    matrix = np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]])
    seen = [matrix @ (np.array(matplotlib.colors.to_rgb(c)) ** 2.2) for c in COLOURS[:3]]
    for k, first in enumerate(seen):
        for other in seen[k + 1 :]:
            assert np.linalg.norm(first - other) > 0.1


# ---- evaluations


@pytest.fixture(scope="module")
def judged_classes(classes):
    return evaluate(
        classes, patients(300, 5), full=patients(400), by=["sex", "age"], n_bootstrap=5, random_state=1
    )


@pytest.fixture(scope="module")
def judged_survival(survival):
    return evaluate(
        survival, survivors(300, 5), full=survivors(400), by=["smokes"], n_bootstrap=5, random_state=1
    )


def test_evaluation_compares_with_real_rows(judged_classes, judged_survival):
    for found, n_models in ((judged_classes, 3), (judged_survival, 1)):
        frame = found.frame()
        assert list(dict.fromkeys(frame["rows"])) == ["released rows", "all real rows", "40 random real rows"]
        assert len(frame.groupby(["rows", "model"])) == 3 * n_models
        assert "40 random" in str(found) and "not private" in str(found)


def test_pictures_of_evaluations(judged_classes, judged_survival):
    plot = judged_classes.plot
    for draw in (plot.roc, plot.precision_recall, plot.calibration, plot.decision_curve):
        given = axes()
        assert draw("forest", ax=given) is given and given.get_title() == "forest"
        assert isinstance(draw(), Axes)
    plot = judged_survival.plot
    for draw in (plot.concordance, plot.calibration, plot.decision_curve, plot.risk_groups):
        given = axes()
        assert draw(ax=given) is given
    assert len(plot.risk_groups(source="all real rows").get_lines()) == 3
    with pytest.raises(OptionError, match="no model 'oak'"):
        plot.calibration("oak")
    with pytest.raises(OptionError, match="no rows 'gold'"):
        plot.risk_groups(source="gold")
    with pytest.raises(OptionError, match="classification"):
        plot.roc()
    with pytest.raises(OptionError, match="survival"):
        judged_classes.plot.concordance()


def test_patients_stay_out_of_prints_and_pickles(judged_classes):
    assert "judged" not in repr(judged_classes) and repr(judged_classes.judged) == "Judged(<private>)"
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(judged_classes)


def test_the_roc_has_the_area_of_the_score(judged_classes):
    frame = judged_classes.frame().query("metric == 'AUROC' and rows == 'released rows'").set_index("model")
    for model in ("tree", "forest", "logistic"):
        curve = curves.roc(judged_classes.judged, "released rows", model)
        assert auc(curve.x, curve.y) == pytest.approx(frame.loc[model, "estimate"])


def known(p, codes) -> Judged:
    p = np.asarray(p, dtype=float)
    predictions = {("r", "m"): np.column_stack([1 - p, p])}
    return Judged(codes=np.asarray(codes), time=None, times=np.zeros(0), predictions=predictions, groups={})


def test_net_benefit_by_hand():
    """Above 0.5 two are treated, one in vain: 1/4 - 1/4 · 1."""
    judged = known([0.9, 0.6, 0.2, 0.1], [1, 0, 1, 0])
    at = np.array([0.5, 0.05, 0.95])
    np.testing.assert_allclose(curves.net_benefit(judged, "r", "m", at), [0.0, 0.5 - 0.5 * 0.05 / 0.95, 0.0])
    everybody = curves.net_benefit(judged, None, "m", at)
    np.testing.assert_allclose(everybody, 0.5 - 0.5 * at / (1 - at))


def test_calibration_of_right_probabilities_lies_on_the_diagonal():
    """20 000 rows in ten groups: a spread of at most 0.011, so that 0.06 fails once in 10⁷ runs."""
    rng = np.random.default_rng(0)
    p = rng.random(20_000)
    curve = curves.calibration(known(p, (rng.random(20_000) < p).astype(int)), "r", "m")
    assert len(curve.x) == 10 and np.abs(curve.x - curve.y).max() < 0.06
    wrong = curves.calibration(known(p**3, (rng.random(20_000) < p).astype(int)), "r", "m")
    assert np.abs(wrong.x - wrong.y).max() > 0.2


def test_survival_curves_against_independent_figures(judged_survival):
    judged = judged_survival.judged
    risk = judged.risk("all real rows", "cox")
    curve = curves.concordance_over_time(judged, "all real rows", "cox")
    for t, value in zip(curve.x, curve.y, strict=True):
        event = (judged.codes == 1) & (judged.time <= t)
        expected = concordance_index_censored(event, np.minimum(judged.time, t), risk)[0]
        assert value == pytest.approx(expected, abs=1e-9)
    low, middle, high = curves.risk_groups(judged, "all real rows", "cox")
    at = judged.times[judged.horizon]
    shares = [
        step.survival[np.searchsorted(step.times, at, side="right") - 1] for step in (low, middle, high)
    ]
    assert shares[0] > shares[1] > shares[2]
    benefit = curves.net_benefit(judged, None, "cox", np.array([0.2]))
    fitted = kaplan_meier(judged.time, (judged.codes == 1).astype(float))
    event = 1 - fitted.survival[np.searchsorted(fitted.times, at, side="right") - 1]
    assert benefit[0] == pytest.approx(event - (1 - event) * 0.25)


def test_groups_by_a_column_that_is_not_there(classes):
    for name in ("height", "died"):
        with pytest.raises(DataError, match=f"column '{name}': it is no feature.*take some of age"):
            evaluate(classes, patients(100, 5), by=[name])


def test_values_that_the_schema_does_not_know_are_a_group(classes):
    """A site, or a sex, that nobody foresaw is told as such, without its name."""
    holdout = patients(200, 5)
    holdout["sex"] = holdout["sex"].mask(np.arange(200) < 50, "Ann-Example")
    found = evaluate(classes, holdout, by=["sex", "stage", "age"], n_bootstrap=0)
    groups = {name: dict(groups) for name, groups in found.judged.groups.items()}
    assert groups["sex"]["any other, or not known"][:50].all()
    assert "Ann-Example" not in str(list(groups["sex"]))
    missing = holdout["stage"].isna().to_numpy()
    np.testing.assert_array_equal(groups["stage"]["any other, or not known"], missing)
    assert "any other, or not known" not in groups["age"]
    for by_group in groups.values():
        np.testing.assert_array_equal(np.sum(list(by_group.values()), axis=0), np.ones(200))
    is_f = (holdout["sex"] == "f").to_numpy()
    np.testing.assert_array_equal(groups["sex"]["f"], is_f)


def test_subgroup_scores_are_those_of_the_group(judged_classes):
    from zodc.evaluation_report import subgroups

    judged = judged_classes.judged
    row = next(r for r in subgroups(judged) if (r.column, r.group, r.model) == ("sex", "f", "logistic"))
    inside = dict(judged.groups["sex"])["f"]
    p = judged.predictions["all real rows", "logistic"][inside, 1]
    assert row.scores[1] == pytest.approx(roc_auc_score(judged.codes[inside], p))
    assert row.n == inside.sum() and row.events == (judged.codes[inside] == 1).sum()


def test_several_classes_are_pooled():
    schema = Schema(
        [
            Column(name="age", kind="continuous", lower=18, upper=100),
            Column(name="goes", kind="categorical", role="target", categories=("home", "ward", "dead")),
        ]
    )
    rng = np.random.default_rng(0)
    age = rng.uniform(20, 90, 300)
    goes = np.array(["home", "ward", "dead"])[np.clip(age // 30, 0, 2).astype(int)]
    frame = pd.DataFrame({"age": age, "goes": goes})
    release = (
        Condenser(schema, learner="logistic", n_rows=30, recipe=quick(schema), **BUDGET).fit(frame).release_
    )
    found = evaluate(release, frame, n_bootstrap=0)
    for draw in (found.plot.roc, found.plot.calibration, found.plot.decision_curve):
        draw()
    assert len(release.plot.marginals()) == 2


def test_a_fitter_of_lifelines_can_be_drawn(survival):
    found = evaluate(survival, survivors(200, 5), models={"mine": CoxPHFitter(penalizer=1.0)}, n_bootstrap=0)
    assert found.plot.concordance("mine").get_title() == "mine"
