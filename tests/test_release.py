"""Releases: what a folder holds, that it is whole or not there, recondensing, verification."""

import copy
import json
import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from cohorts import BUDGET, CLASSES, SURVIVAL, patients, quick, survivors
from sklearn.ensemble import RandomForestClassifier
from zodc import Condenser, DataError, Release, Schema, verify
from zodc.oracle import consult
from zodc.recipe import Recipe, default_recipe

FILES = {
    "condensed.csv",
    "condensed.parquet",
    "manifest.json",
    "marginals.json",
    "report.html",
    "schema.toml",
    "teacher.json",
}


@pytest.fixture(scope="module")
def release() -> Release:
    return Condenser(CLASSES, learner="tree", n_rows=30, recipe=quick(), **BUDGET).fit(patients()).release_


@pytest.fixture(scope="module")
def saved_once(release: Release, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "release"
    release.save(path)
    return path


@pytest.fixture
def saved(saved_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved_once, tmp_path / "release"))


def _edit(path: Path, change) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    change(manifest)
    (path / "manifest.json").write_text(json.dumps(manifest))


def test_a_folder_holds_all_of_it(release: Release, saved: Path) -> None:
    assert {file.name for file in saved.iterdir()} == FILES
    assert [file.name for file in saved.parent.iterdir()] == ["release"]
    pd.testing.assert_frame_equal(pd.read_csv(saved / "condensed.csv"), release.frame())
    pd.testing.assert_frame_equal(pd.read_parquet(saved / "condensed.parquet"), release.frame())
    assert Schema.load(saved / "schema.toml") == release.schema


def test_the_manifest_says_what_was_done_and_what_is_not_covered(saved: Path) -> None:
    manifest = json.loads((saved / "manifest.json").read_text())
    assert manifest["unit"] == "row" and manifest["neighbours"] == "add_remove"
    assert (manifest["epsilon"], manifest["delta"]) == (1.0, 1e-5)
    assert manifest["spent_epsilon"] <= 1.0 and manifest["accountant"] == "gdp"
    assert [event["what"] for event in manifest["events"]] == ["marginals", "marginals", "rounds"]
    assert manifest["events"][-1]["count"] == 6
    assert manifest["dp_accounting"]["pld_epsilon"] <= 1.0 + 1e-6
    assert any("schema" in line for line in manifest["not_covered"])
    assert set(manifest["sha256"]) == FILES - {"manifest.json"}
    assert {"zodc", "python", "numpy", "scikit-learn"} <= set(manifest["versions"])
    assert manifest["lattice"]["round"]["noise_scale"] > 0 and manifest["private"] is True
    assert manifest["learner"][0]["kind"] == "tree" and manifest["rows"] == 30


def test_check_22_nothing_but_the_noisy_answers_depends_on_the_cohort() -> None:
    """Manifest and prints of two cohorts of other sizes and contents are the same, letter by letter."""
    options = {"learner": "logistic", "n_rows": 30, "recipe": quick(), "random_state": 1, **BUDGET}
    few, many = (Condenser(CLASSES, **options).fit(patients(n, seed=n)).release_ for n in (31, 317))
    assert few.manifest() == many.manifest()
    assert (repr(few), str(few.plan)) == (repr(many), str(many.plan))
    assert json.loads(many.marginals)["count"] != 317


def test_load_gives_the_same_release(release: Release, saved: Path) -> None:
    loaded = Release.load(saved)
    pd.testing.assert_frame_equal(loaded.frame(), release.frame())
    for name in ("schema", "plan", "marginals", "learner", "recipe", "seed", "private", "created", "mode"):
        assert getattr(loaded, name) == getattr(release, name), name
    np.testing.assert_array_equal(loaded.teacher.latents, release.teacher.latents)
    pd.testing.assert_frame_equal(pickle.loads(pickle.dumps(loaded)).frame(), release.frame())
    pd.testing.assert_frame_equal(copy.deepcopy(loaded).frame(), release.frame())


def test_frames_and_outcomes(release: Release) -> None:
    assert isinstance(release.frame("polars"), pl.DataFrame)
    assert "died" not in release.X and len(release.X) == len(release.y) == 30
    survival = Condenser(SURVIVAL, learner="cox", n_rows=20, recipe=quick(SURVIVAL), **BUDGET)
    y = survival.fit(survivors()).release_.y
    assert y.dtype.names == ("event", "time") and y["event"].dtype == bool


def test_a_report_that_is_not_of_the_release_is_found_out(release: Release, tmp_path: Path) -> None:
    """Nobody is to sign a page that was put beside the release later."""
    release.save(tmp_path / "r", report=False)
    assert verify(tmp_path / "r").ok
    (tmp_path / "r" / "report.html").write_text("all is well")
    assert any("report.html" in fault for fault in verify(tmp_path / "r").faults)


def test_an_existing_folder_is_kept_unless_overwritten(release: Release, saved: Path) -> None:
    before = {file.name: file.read_bytes() for file in saved.iterdir()}
    with pytest.raises(FileExistsError, match="exists; name another, or overwrite"):
        release.save(saved)
    assert {file.name: file.read_bytes() for file in saved.iterdir()} == before
    release.recondense("logistic", n_rows=10, recipe=quick()).save(saved, overwrite=True)
    assert len(Release.load(saved).rows) == 10
    assert [file.name for file in saved.parent.iterdir()] == ["release"]


def test_what_is_not_a_release_is_never_overwritten(release: Release, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="not a release"):
        release.save(tmp_path / "home", overwrite=True)
    assert (tmp_path / "home" / "thesis.txt").read_text() == "years of work"


def test_an_unwritable_place(release: Release, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot be written there; name another folder"):
        release.save(tmp_path / "file" / "release")
    if os.geteuid():
        (tmp_path / "locked").mkdir(mode=0o500)
        with pytest.raises(OSError, match="cannot be written there"):
            release.save(tmp_path / "locked" / "release")


def test_nothing_is_written_half(release: Release, tmp_path: Path, monkeypatch) -> None:
    """The last write fails, or is interrupted: no folder, no leftovers, and the old release is whole."""
    release.save(tmp_path / "old")
    for fault in (OSError(28, "No space left on device"), KeyboardInterrupt()):

        def fail(*_, fault=fault, **__):
            raise fault

        with monkeypatch.context() as patch:
            patch.setattr(pd.DataFrame, "to_parquet", fail)
            for name, options in (("new", {}), ("old", {"overwrite": True})):
                with pytest.raises(type(fault)):
                    release.save(tmp_path / name, **options)
        assert [path.name for path in tmp_path.iterdir()] == ["old"]
        assert len(Release.load(tmp_path / "old").rows) == 30


def test_check_15_a_release_of_seeded_noise_is_not_saved(tmp_path: Path) -> None:
    options = {"learner": "logistic", "n_rows": 10, "recipe": quick(), **BUDGET}
    release = Condenser._with_test_noise(1, CLASSES, **options).fit(patients(50)).release_
    with pytest.raises(ValueError, match=r"NOT PRIVATE.*allow_not_private"):
        release.save(tmp_path / "r")
    assert not list(tmp_path.iterdir())
    release.save(tmp_path / "r", allow_not_private=True)
    assert not Release.load(tmp_path / "r").private
    assert not verify(tmp_path / "r").ok and "NOT PRIVATE" in str(verify(tmp_path / "r"))
    assert not Release.load(tmp_path / "r").recondense("tree", recipe=quick()).private


def test_recondensing_costs_nothing_and_needs_the_release_alone(release: Release, saved: Path) -> None:
    loaded = Release.load(saved)
    for learner in ("logistic", ["tree", "logistic"], RandomForestClassifier(3)):
        again = loaded.recondense(learner, n_rows=25, recipe=quick(), random_state=1)
        assert again.plan == release.plan and again.marginals == release.marginals and len(again.rows) == 25
        assert again.manifest()["events"] == release.manifest()["events"]
    one, two = (loaded.recondense("tree", recipe=quick(), random_state=5).rows.latents for _ in range(2))
    np.testing.assert_array_equal(one, two)
    with pytest.raises(ValueError, match="'n_rows' option"):
        loaded.recondense("tree", n_rows=0)
    with pytest.raises(ValueError, match="classification"):
        loaded.recondense("cox")


def test_verification(saved: Path) -> None:
    found = verify(saved)
    assert found.ok and found.epsilon == 1.0 and not found.faults
    assert found.recomputed.exact <= 1.0 + 1e-6 < found.recomputed.rdp
    assert "verified" in str(found)


def test_verification_of_a_sampled_run(tmp_path: Path) -> None:
    condenser = Condenser(
        CLASSES, learner="logistic", n_rows=10, recipe=quick(rounds=20), sampling_rate=0.1, **BUDGET
    )
    release = condenser.fit(patients(200)).release_
    release.save(tmp_path / "r")
    found = verify(tmp_path / "r")
    assert (
        found.ok and found.recomputed.pld < found.recomputed.rdp <= 1.001 and release.plan.accountant == "rdp"
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m["events"][-1].update(count=60), "more than it claims"),
        (lambda m: m["events"][-1]["event"].update(noise_multiplier=0.1), "more than it claims"),
        (lambda m: m.update(epsilon=0.5), "more than it claims"),
        (lambda m: m["lattice"]["round"].update(noise_scale=1), "lattice"),
        (lambda m: m["events"].pop(), "lattice"),
        (lambda m: m["events"][-1].update(count=5), "its events (count)"),
        (lambda m: m["recipe"]["private"].update(rounds=600), "its plan"),
        (lambda m: m["lattice"]["marginals"][0].update(sensitivity=1.0), "its lattice (sensitivity)"),
        (lambda m: m["lattice"]["round"].update(sensitivity=0), "sensitivity of its lattice"),
        (lambda m: m["plan"].update(sampling_rate=0.5), "its plan"),
        (lambda m: m["plan"].update(round_sensitivity=1), "its plan (round_sensitivity)"),
        (lambda m: m.update(unit="patient"), "its unit"),
        (lambda m: m.update(neighbours="replace_one"), "its neighbours"),
        (lambda m: m.update(delta=0), "accounted"),
        (lambda m: m["events"][0]["event"].update(noise_multiplier=0), "accounted"),
        (lambda m: m["events"][0]["event"].update(mechanism="laplace"), "laplace"),
        (lambda m: m["recipe"].update(rounds=1), "made anew"),
        (lambda m: m.update(private=False), "NOT PRIVATE"),
        (lambda m: m.update(rows_per_unit=50), "its rows_per_unit"),
        (lambda m: m.update(ledger={"epsilon": 1.0, "spent_epsilon": 0.5}), "receipt is malformed"),
        (lambda m: m.update(ledger="x"), "receipt is malformed"),
        (lambda m: m["sha256"].update({"condensed.csv": "0"}), "SHA-256"),
    ],
)
def test_false_manifests_are_found_out(saved: Path, change, words: str) -> None:
    _edit(saved, change)
    found = verify(saved)
    assert not found.ok and words in str(found) and "NOT verified" in str(found)


@pytest.mark.parametrize("name", sorted(FILES - {"manifest.json"}))
def test_changed_and_lost_files_are_found_out(saved: Path, name: str) -> None:
    (saved / name).write_bytes((saved / name).read_bytes() + b" ")
    assert any(name in fault and "SHA-256" in fault for fault in verify(saved).faults)
    with pytest.raises(DataError, match=rf"'{name}'.*SHA-256"):
        Release.load(saved)
    (saved / name).unlink()
    assert any(name in fault and "missing" in fault for fault in verify(saved).faults)
    with pytest.raises(DataError, match=rf"'{name}'.*missing"):
        Release.load(saved)


def test_what_is_no_release(tmp_path: Path, saved: Path) -> None:
    with pytest.raises(FileNotFoundError):
        verify(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="manifest"):
        Release.load(tmp_path / "empty")
    (tmp_path / "empty" / "manifest.json").write_text("{}")
    with pytest.raises(DataError, match="manifest"):
        verify(tmp_path / "empty")
    _edit(saved, lambda m: m.pop("events"))
    with pytest.raises(DataError, match="events"):
        verify(saved)
    _edit(saved, lambda m: m.update(epsilon="one"))
    with pytest.raises(DataError, match="'one' is missing or malformed"):
        verify(saved)


def test_a_rate_just_below_one_costs_no_more_than_all_rows() -> None:
    def charges(event):
        return [{"event": {"noise_multiplier": 80.0, **event}, "count": 400, "what": "rounds"}]

    whole = consult(charges({"mechanism": "gaussian"}), 1e-5)
    almost = consult(charges({"mechanism": "poisson_gaussian", "sampling_rate": 0.999999999}), 1e-5)
    assert almost.tightest <= whole.tightest * (1 + 1e-9)


def test_an_unknown_mechanism_is_not_believed() -> None:
    charge = {"event": {"mechanism": "laplace", "noise_multiplier": 1.0}, "count": 1, "what": "rounds"}
    with pytest.raises(ValueError, match="laplace"):
        consult([charge], 1e-5)


def test_recipes_of_older_releases_are_read() -> None:
    recipe = default_recipe(survival=False, n_features=8, kind="any")
    then = {"teacher_c": 1.0, "sharpness": 64.0, "refit_sd": 0.0, "draws": 1, "full_clip_from": 0.0}
    older = {name: value for name, value in recipe.to_dict().items() if name not in then}
    assert Recipe.from_dict(older) == replace(recipe, **then)
