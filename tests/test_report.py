"""The report: what it says, that it depends on the release alone, that it loads nothing and escapes all."""

from __future__ import annotations

import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cohorts import BUDGET, CLASSES, SURVIVAL, patients, quick, survivors
from command_line import run
from dp_accounting.pld.privacy_loss_mechanism import GaussianPrivacyLoss
from pages import Page, check_harmless, words
from trust.replay import run as replayed
from zodc import Column, Condenser, DataError, Release, Schema, condenser, verify
from zodc import report as report_module
from zodc.label import attacker_tpr, gaussian_tpr, label

HOSTILE = '<script>alert("1")</script>'


def test_shares_of_the_budget_count_samples_at_their_rate():
    """What a sampled round costs falls with the rate; the plan set 15 % aside for the marginals."""
    condenser = Condenser(CLASSES, learner="logistic", expected_patients=1_000_000, **BUDGET)
    found = list(report_module.questions({"events": condenser.plan().to_dict()["charges"]}))
    assert "random sample" in found[-1].mechanism
    assert sum(q.share for q in found) == pytest.approx(1.0)
    assert 0.08 < sum(q.share for q in found if q.what == "marginals") < 0.3


def make(schema: Schema = CLASSES, learner="logistic", frame=None, **options) -> Release:
    frame = (patients() if schema is CLASSES else survivors()) if frame is None else frame
    options = {"n_rows": 30, "recipe": quick(schema), **BUDGET, **options}
    return Condenser(schema, learner=learner, **options).fit(frame).release_


def page_of(path: Path) -> Page:
    return Page((path / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def classes(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("classes") / "release"
    make(learner="tree").save(path)
    return path


@pytest.fixture(scope="module")
def survival(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("survival") / "release"
    make(SURVIVAL, "cox").save(path)
    return path


# ---- what it says


def test_it_is_written_with_the_release_and_loads_nothing(classes, survival):
    for path in (classes, survival):
        page = page_of(path)
        check_harmless(page)
        style = re.search(r"<style>(.*?)</style>", (path / "report.html").read_text(), re.DOTALL)
        assert style is not None and "url(" not in style[1] and "@import" not in style[1]
        policy = [a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a]
        assert policy and policy[0].startswith("default-src 'none'")
        assert verify(path).ok


def test_the_label_stands_on_top_in_numbers_and_words(classes):
    text = words(page_of(classes))
    manifest = json.loads((classes / "manifest.json").read_text())
    found = label(manifest)
    assert text.index("Privacy label") < text.index("What was done")
    for expected in (
        "one row of the table",
        "cohorts that differ by one row, added or removed",
        "1 × 10⁻⁵",
        "at most 2.72 times that of the other, plus δ = 1 × 10⁻⁵; and the other way round",
        "No exact number of patients is known to this page",
        f"at most {found.found_of_1000} of 1000 members",
        "Gaussian noise that was added",
        "Gaussian differential privacy",
        "no ledger was kept",
        *(line.replace("`", "") for line in manifest["not_covered"]),
        "no reader is trusted",
    ):
        assert expected in text, expected


def test_all_sections_are_there(classes, survival):
    for path, drawn in ((classes, 5 + 4 + 2), (survival, 4 + 2 + 3)):
        page, manifest = page_of(path), json.loads((path / "manifest.json").read_text())
        text = words(page)
        assert sum(tag == "svg" for tag, _ in page.tags) == drawn
        assert all(a["role"] == "img" and a["aria-label"] for tag, a in page.tags if tag == "svg")
        for name, value in manifest["sha256"].items():
            assert name == "report.html" or value in text
        for heading in ("Schema", "trace", "Forecast", "How to use", "Versions and hashes", "Sign-off"):
            assert heading in text
        ids = [a["id"] for _, a in page.tags if "id" in a]
        assert len(ids) == len(set(ids))


def test_the_ledger_of_the_cohort_is_told(tmp_path):
    release = make()
    receipt = {
        "cohort": "ward 7",
        "ledger": "a" * 32,
        "epsilon": 4.0,
        "delta": 1e-4,
        "spent_epsilon": 2.25,
        "entry": 3,
        "run_id": "x",
        "head": "b" * 64,
    }
    replace(release, ledger=receipt).save(tmp_path / "r")
    text = words(page_of(tmp_path / "r"))
    assert "cohort “ward 7”, with this run: ε 2.25 spent of 4, at δ 1 × 10⁻⁴ (entry 3" in text
    assert "no ledger was kept" not in text


def test_seeded_noise_is_stamped(classes, tmp_path):
    options = {"learner": "logistic", "n_rows": 10, "recipe": quick(), **BUDGET}
    release = Condenser._with_test_noise(1, CLASSES, **options).fit(patients(50)).release_
    release.save(tmp_path / "r", allow_not_private=True)
    stamp = "NOT PRIVATE: the noise was seeded"
    assert stamp in words(page_of(tmp_path / "r")) and stamp not in words(page_of(classes))


@pytest.mark.parametrize("which", ["classes", "survival"])
def test_the_lines_of_python_run(which, request, monkeypatch):
    path = request.getfixturevalue(which)
    monkeypatch.chdir(path)
    code = report_module.usage(Release.load(path))
    assert code.count("\n") == 2 and code in words_of_code(path)
    names: dict[str, object] = {}
    exec(code, names)
    assert hasattr(names["model"], "predict" if which == "classes" else "predict_survival_function")


@pytest.mark.parametrize("events", [("false", "true"), ("01", "02"), ("0", "1"), ("alive", "dead")])
def test_the_lines_of_python_know_the_event_and_the_categories_of_hard_names(events, tmp_path, monkeypatch):
    """Not so with pandas' reading of CSV: "true" would be True, and "None" a missing cell."""
    age, _, time, event = SURVIVAL.columns
    drinks = Column(name="drinks", kind="categorical", categories=("None", "NA", "heavy"))
    schema = Schema((age, drinks, time, replace(event, kind="binary", categories=events)))
    frame = survivors(200).rename(columns={"smokes": "drinks"})
    frame["drinks"] = np.resize(["None", "NA", "heavy"], 200)
    frame["event"] = frame["event"].map(dict(enumerate(events)))
    release = Condenser(schema, learner="cox", n_rows=60, recipe=quick(schema), **BUDGET).fit(frame).release_
    release.save(tmp_path / "r")
    monkeypatch.chdir(tmp_path / "r")
    names: dict[str, object] = {}
    exec(report_module.usage(release), names)
    seen = release.decoder.table(release.rows)[2][:, 1]
    assert names["model"].event_observed.sum() == seen.sum() > 0
    assert {"drinks_heavy"} < {*names["x"].columns} & {"drinks_NA", "drinks_None", "drinks_heavy"}
    assert not names["rows"].isna().any(axis=None)


def test_the_lines_of_python_take_nominal_codes_for_no_number(tmp_path, monkeypatch):
    """Codes 1, 2, 3 are integers in Parquet; a model must not take race 3 for more than race 1."""
    race = Column(name="race", kind="categorical", categories=("1", "2", "3"))
    stage = Column(name="stage", kind="ordinal", categories=("I", "II"))
    schema = Schema((CLASSES.columns[0], race, stage, *CLASSES.columns[3:]))
    made = {"race": np.resize([1, 2, 3], 200), "stage": np.resize(["I", "II"], 200)}
    frame = patients(200).drop(columns="sex").assign(**made)
    release = make(schema, "logistic", frame, recipe=quick(schema), n_rows=60)
    release.save(tmp_path / "r")
    monkeypatch.chdir(tmp_path / "r")
    names: dict[str, object] = {}
    exec(report_module.usage(release), names)
    read = set(names["model"].feature_names_in_)
    assert {"race_1", "race_2", "race_3", "age", "smokes", "stage_I"} <= read and "race" not in read


def words_of_code(path: Path) -> str:
    text = (path / "report.html").read_text()
    return (
        re.search(r"<pre><code>(.*?)</code></pre>", text, re.DOTALL)[1]
        .replace("&#39;", "'")
        .replace("&#34;", '"')
    )


# ---- the attacker's best chance


def test_the_bound_from_epsilon_and_delta():
    assert attacker_tpr(1.0, 0.0) == pytest.approx(math.e / 100)
    assert attacker_tpr(0.0, 0.0) == pytest.approx(0.01)
    assert attacker_tpr(8.0, 1e-5) == pytest.approx(1 - math.exp(-8) * (1 - 1e-5 - 0.01))
    assert attacker_tpr(1e6, 0.0) == 1.0
    assert attacker_tpr(0.0, 0.5) == pytest.approx(0.51)


@pytest.mark.parametrize("mu", [0.05, 0.27, 1.0, 3.0])
def test_the_bound_from_the_noise_is_the_hull_of_all_pairs(mu):
    """Independent of the formula: the least bound over the pairs (ε, δ) of dp-accounting."""
    loss = GaussianPrivacyLoss(1 / mu)
    pairs = [(epsilon, loss.get_delta_for_epsilon(epsilon)) for epsilon in np.linspace(0, 12, 4001)]
    hull = min(attacker_tpr(epsilon, delta) for epsilon, delta in pairs)
    charges = [{"count": 4, "event": {"mechanism": "gaussian", "noise_multiplier": 2 / mu}}]
    assert gaussian_tpr(charges) == pytest.approx(hull, rel=1e-4)
    assert gaussian_tpr(charges) <= hull + 1e-12


def test_the_label_takes_the_tighter_bound_and_says_which(classes):
    manifest = json.loads((classes / "manifest.json").read_text())
    found = label(manifest)
    assert found.tpr == gaussian_tpr(manifest["events"]) < attacker_tpr(1.0, 1e-5)
    unknown = [{"count": 1, "event": {"mechanism": "other", "noise_multiplier": 1e9}}]
    found = label({**manifest, "events": unknown})
    assert found.tpr == attacker_tpr(1.0, 1e-5) and "pair" in found.tpr_from
    assert found.found_of_1000 == 28  # 27.19, never rounded down


# ---- it depends on the release alone


def test_the_same_folder_gives_the_same_bytes(classes, tmp_path):
    result = run("report", classes, "--out", tmp_path / "again.html")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "again.html").read_bytes() == (classes / "report.html").read_bytes()


@pytest.mark.parametrize("schema", [CLASSES, SURVIVAL])
def test_neighbouring_cohorts_with_the_same_noisy_answers_have_the_same_report(schema, tmp_path, monkeypatch):
    """The private half is asked about D′, but its answers are those about D: nothing else may differ."""
    monkeypatch.setattr(condenser, "today", lambda: "2026-01-01")
    whole = patients(120) if schema is CLASSES else survivors(120)
    learner = "tree" if schema is CLASSES else "cox"

    def work(frame, place):
        return lambda: make(schema, learner, frame, random_state=3).save(place / "r")

    places = [tmp_path / name for name in ("d", "neighbour", "other")]
    first = replayed(work(whole, places[0]), places[0], monkeypatch)
    second = replayed(work(whole.iloc[1:], places[1]), places[1], monkeypatch, frozen=first.tape)
    assert first.files["r/report.html"] == second.files["r/report.html"]
    assert first.files == second.files
    other = replayed(work(whole.iloc[1:], places[2]), places[2], monkeypatch)
    assert first.files["r/report.html"] != other.files["r/report.html"]


def test_an_older_release_gets_its_report(classes, tmp_path):
    """Without trace, ledger and report, as zodc wrote it before there were any."""
    path = Path(shutil.copytree(classes, tmp_path / "old"))
    (path / "report.html").unlink()
    old = json.loads((path / "teacher.json").read_text())
    del old["trace"]
    (path / "teacher.json").write_text(json.dumps(old))
    manifest = json.loads((path / "manifest.json").read_text())
    for name in ("ledger", "trust_model", "data_holder", "post_processing", "data_dependent_choices"):
        del manifest[name]
    del manifest["sha256"]["report.html"]
    manifest["sha256"]["teacher.json"] = hash_of(path / "teacher.json")
    (path / "manifest.json").write_text(json.dumps(manifest))
    assert Release.load(path).trace == ()
    # It does not say what is said today, which deleting the words would bring about, too.
    assert [fault for fault in verify(path).faults if "trust_model" in fault and "save it anew" in fault]
    result = run("report", path)
    assert result.exit_code == 0 and result.stdout.strip() == str(path / "report.html")
    assert "has no trace" in words(page_of(path))
    Release.load(path).save(tmp_path / "anew")
    assert verify(tmp_path / "anew").ok
    assert {f.name for f in path.iterdir()} == {f.name for f in classes.iterdir()}
    assert (
        run("recondense", path, "--learner", "tree", "--rows", "20", "--out", tmp_path / "new").exit_code == 0
    )
    assert "has no trace" in words(page_of(tmp_path / "new"))


def hash_of(file: Path) -> str:
    import hashlib

    return hashlib.sha256(file.read_bytes()).hexdigest()


# ---- bad input


def test_texts_of_the_schema_are_escaped(tmp_path):
    columns = (
        Column(name=f"age {HOSTILE}", kind="continuous", lower=0, upper=1, unit=HOSTILE, description=HOSTILE),
        Column(
            name="wärd $x$ _1 年", kind="categorical", categories=(HOSTILE, '"><img src=x onerror=1>', "_c")
        ),
        Column(name="' onload='", kind="binary"),
        Column(name="died & {{ 7*7 }}", kind="binary", role="target"),
    )
    schema = Schema(columns, f"</title>{HOSTILE}")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            columns[0].name: rng.random(60),
            columns[1].name: rng.choice(columns[1].categories, 60),
            columns[2].name: rng.integers(0, 2, 60),
            columns[3].name: rng.integers(0, 2, 60),
        }
    )
    make(schema, "logistic", frame, recipe=quick(schema)).save(tmp_path / "r")
    page = page_of(tmp_path / "r")
    check_harmless(page)
    assert not any(tag == "img" for tag, _ in page.tags)
    text = words(page)
    assert HOSTILE in text and "{{ 7*7 }}" in text and "年" in text


@pytest.mark.parametrize("n_rows", [1, 2])
def test_a_release_of_hardly_any_row(n_rows, tmp_path):
    make(n_rows=n_rows).save(tmp_path / "r")
    make(SURVIVAL, "cox", n_rows=n_rows).save(tmp_path / "s")
    for name in ("r", "s"):
        check_harmless(page_of(tmp_path / name))


def test_outcomes_of_one_kind(tmp_path):
    for name, schema, frame in (
        ("r", CLASSES, patients().assign(died=0)),
        ("s", SURVIVAL, survivors().assign(event=0)),
    ):
        make(schema, "logistic" if schema is CLASSES else "cox", frame).save(tmp_path / name)
        check_harmless(page_of(tmp_path / name))


def test_the_users_settings_of_matplotlib_change_nothing(classes, tmp_path, monkeypatch):
    import matplotlib

    with matplotlib.rc_context({"font.size": 30, "axes.grid": True, "svg.fonttype": "path"}):
        release = Release.load(classes)
        manifest = json.loads((classes / "manifest.json").read_text())
        assert report_module.render(release, manifest) == (classes / "report.html").read_text(
            encoding="utf-8"
        )


def test_a_report_in_place_is_left_alone(classes, tmp_path):
    before = (classes / "report.html").read_bytes(), (classes / "manifest.json").read_bytes()
    assert run("report", classes).exit_code == 0
    assert before == ((classes / "report.html").read_bytes(), (classes / "manifest.json").read_bytes())
    (tmp_path / "there.html").write_text("mine")
    result = run("report", classes, "--out", tmp_path / "there.html")
    assert result.exit_code == 2 and "exists" in result.stderr
    assert (tmp_path / "there.html").read_text() == "mine"


@pytest.mark.parametrize("change", ["lost", "changed", "newer", "empty"])
def test_a_folder_that_is_not_as_released_has_no_report(classes, change, tmp_path):
    path = Path(shutil.copytree(classes, tmp_path / "r"))
    if change == "lost":
        (path / "marginals.json").unlink()
    elif change == "changed":
        (path / "condensed.csv").write_text("a,b\n1,2\n")
    elif change == "newer":
        manifest = json.loads((path / "manifest.json").read_text())
        manifest["recipe"]["a setting of tomorrow"] = 1
        (path / "manifest.json").write_text(json.dumps(manifest))
    else:
        shutil.rmtree(path)
        path.mkdir()
    result = run("report", path, "--out", tmp_path / "r.html")
    assert result.exit_code == 4 and result.stderr.startswith("Error: "), result.stderr
    assert [f.name for f in tmp_path.iterdir()] == ["r"]


def test_a_changed_report_is_not_read_as_released(classes, tmp_path):
    path = Path(shutil.copytree(classes, tmp_path / "r"))
    text = (path / "report.html").read_text()
    (path / "report.html").write_text(text.replace("add it", "all is well"))
    assert not verify(path).ok
    with pytest.raises(DataError, match=r"report\.html"):
        Release.load(path)


def test_a_report_that_fails_loses_no_release(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    CLASSES.save("schema.toml")
    patients(100).to_csv("patients.csv", index=False)
    monkeypatch.setattr("zodc.release.render", lambda *_: 1 / 0)
    options = ["--learner", "logistic", "--epsilon", "1", "--delta", "1e-5", "--rounds", "4", "--rows", "20"]
    result = run("condense", "patients.csv", "--schema", "schema.toml", *options, "--out", "release")
    assert result.exit_code == 1 and "paid for and saved in 'release'" in result.stderr
    assert verify("release").ok and not Path("release/report.html").exists()
