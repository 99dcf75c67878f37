"""The evaluation's report: stamped, complete, and nowhere near what leaves the hospital."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cohorts import BUDGET, CLASSES, SURVIVAL, patients, quick, survivors
from command_line import run
from pages import Page, check_harmless, words
from zodc import Condenser, Schema


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("evaluation")
    for name, schema, learner, make in (
        ("classes", CLASSES, "logistic", patients),
        ("survival", SURVIVAL, "cox", survivors),
    ):
        options = {"n_rows": 40, "recipe": quick(schema), **BUDGET}
        release = Condenser(schema, learner=learner, **options).fit(make(300)).release_
        release.save(path / name, report=False)
        make(300).to_csv(path / f"{name}-full.csv", index=False)
        make(300, 5).to_csv(path / f"{name}-holdout.csv", index=False)
    return path


@pytest.mark.parametrize(
    ("name", "by", "headings", "pictures"),
    [
        ("classes", "sex", ["ROC", "Precision and recall", "Calibration", "Decision curve"], 12),
        ("survival", "age", ["C-index over time", "Calibration", "Decision curve", "by predicted risk"], 6),
    ],
)
def test_it_holds_what_tripod_asks_for(folder, tmp_path, name, by, headings, pictures):
    result = run(
        *["evaluate", folder / name, "--holdout", folder / f"{name}-holdout.csv", "--by", by],
        *["--full", folder / f"{name}-full.csv", "--report", tmp_path / "e.html", "--bootstrap", "10"],
    )
    assert result.exit_code == 0, result.output
    page = Page((tmp_path / "e.html").read_text(encoding="utf-8"))
    check_harmless(page)
    text = words(page)
    assert text.startswith("INTERNAL") and text.count("INTERNAL, NOT FOR RELEASE") == 2
    for word in (*headings, "released rows", "all real rows", "40 random real rows", "TRIPOD+AI", f"{by}: "):
        assert word in text, word
    assert sum(tag == "svg" for tag, _ in page.tags) == pictures
    table = re.findall(r"\d\.\d{3} \(\d\.\d{3}-\d\.\d{3}\)", text)
    assert len(table) == (27 if name == "classes" else 6)
    assert {f.name for f in (folder / name).iterdir()}.isdisjoint({"e.html"})


def test_of_several_classes_none_is_the_event(tmp_path):
    classes = ("none", "some", "much")
    *features, died = CLASSES.columns
    schema = Schema((*features, replace(died, kind="ordinal", categories=classes)))
    frame = patients(300).assign(died=np.resize(classes, 300))
    release = Condenser(schema, learner="logistic", n_rows=40, recipe=quick(schema), **BUDGET).fit(frame)
    release.release_.save(tmp_path / "r", report=False)
    frame.to_csv(tmp_path / "h.csv", index=False)
    result = run(
        *["evaluate", tmp_path / "r", "--holdout", tmp_path / "h.csv", "--by", "sex"],
        *["--report", tmp_path / "e.html", "--bootstrap", "5"],
    )
    assert result.exit_code == 0, result.output
    text = words(Page((tmp_path / "e.html").read_text(encoding="utf-8")))
    assert "Events" not in text
    assert "AUROC and AUPRC are the mean of one-against-rest." in text
    assert "AUROC in each group, the mean of one-against-rest, without intervals" in text


def test_it_stays_out_of_the_release(folder, tmp_path):
    rows = folder / "classes-holdout.csv"
    for place, word in (
        (folder / "classes" / "e.html", "must not stand in the release"),
        (folder / "classes" / "deep" / "e.html", "must not stand in the release"),
        (rows, "exists"),
    ):
        result = run("evaluate", folder / "classes", "--holdout", rows, "--report", place)
        assert result.exit_code == 2 and word in result.stderr, result.stderr
    assert not (folder / "classes" / "e.html").exists()


def test_columns_that_are_not_there(folder, tmp_path):
    rows, page = folder / "classes-holdout.csv", tmp_path / "e.html"
    result = run("evaluate", folder / "classes", "--holdout", rows, "--by", "site", "--report", page)
    assert result.exit_code == 4 and "column 'site'" in result.stderr and "take some of age" in result.stderr
    result = run("evaluate", folder / "classes", "--holdout", rows, "--by", "sex")
    assert result.exit_code == 2 and "--report" in result.stderr
    assert not page.exists()


def test_a_holdout_that_cannot_be_scored_leaves_nothing(folder, tmp_path):
    page = tmp_path / "e.html"
    for name, change, word in (
        ("classes", {"died": 1}, "one class"),
        ("survival", {"event": 0}, "no held-out row has the event"),
    ):
        make = patients if name == "classes" else survivors
        make(50).assign(**change).to_csv(tmp_path / "rows.csv", index=False)
        result = run("evaluate", folder / name, "--holdout", tmp_path / "rows.csv", "--report", page)
        assert result.exit_code == 4 and word in result.stderr
    assert not page.exists()
