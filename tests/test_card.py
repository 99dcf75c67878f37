"""The dataset card and the Croissant metadata: valid by mlcroissant, honest, and escaped."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from cohorts import BUDGET, CLASSES, SURVIVAL, patients, quick, survivors
from zodc import Column, Condenser, Schema, cli, verify
from zodc.card import nist_disclosures
from zodc.label import label

HOSTILE = "<script>alert(1)</script> | [x](javascript:1) `a` $b$"


def run(*arguments):
    return CliRunner().invoke(cli.main, [str(a) for a in arguments])


def make(path: Path, schema: Schema, learner: str, frame: pd.DataFrame) -> Path:
    recipe = quick(schema)
    release = Condenser(schema, learner=learner, n_rows=25, recipe=recipe, **BUDGET).fit(frame).release_
    release.save(path)
    return path


@pytest.fixture(scope="module")
def classes(tmp_path_factory) -> Path:
    return make(tmp_path_factory.mktemp("card") / "r", CLASSES, "tree", patients())


@pytest.fixture
def release(classes, tmp_path) -> Path:
    return Path(shutil.copytree(classes, tmp_path / "r"))


def validate(folder: Path):
    """Read by the reference implementation, which raises on any error."""
    mlcroissant = pytest.importorskip("mlcroissant", reason="needs the extra 'test': mlcroissant")
    dataset = mlcroissant.Dataset(jsonld=str(folder / "croissant.json"))
    assert not dataset.metadata.issues.errors
    return dataset


@pytest.mark.filterwarnings("ignore")
def test_mlcroissant_reads_the_rows_as_they_are(release):
    options = ["--license", "CC-BY-4.0", "--creator", "Ward 7", "--url", "https://example.org/rows"]
    result = run("card", release, *options)
    assert result.exit_code == 0, result.output
    dataset = validate(release)
    assert not dataset.metadata.issues.warnings, dataset.metadata.issues.report()
    assert str(dataset.metadata.ctx.conforms_to.value) == "http://mlcommons.org/croissant/1.1"
    for file in json.loads((release / "croissant.json").read_text())["distribution"]:
        assert file["sha256"] == hashlib.sha256((release / file["contentUrl"]).read_bytes()).hexdigest()
    rows = pd.read_csv(release / "condensed.csv")
    found = pd.DataFrame(list(dataset.records("rows")))
    assert len(found) == len(rows) == 25
    for name in rows:
        values = [v.decode() if isinstance(v, bytes) else v for v in found[f"rows/{name}"]]
        assert values == rows[name].tolist()


@pytest.mark.filterwarnings("ignore")
def test_a_survival_cohort_with_hostile_names(tmp_path):
    columns = (
        Column(name=HOSTILE, kind="continuous", lower=0, upper=1, unit=HOSTILE, description=HOSTILE),
        Column(name="wärd, 年", kind="categorical", categories=("a,b", '"c"')),
        *(column for column in SURVIVAL.columns if column.role != "feature"),
    )
    rng = np.random.default_rng(0)
    frame = survivors(80)[["time", "event"]]
    frame.insert(0, HOSTILE, rng.random(80))
    frame.insert(1, "wärd, 年", rng.choice(["a,b", '"c"'], 80))
    path = make(tmp_path / "r", Schema(columns, f"cohort {HOSTILE}"), "cox", frame)
    result = run("card", path)
    assert result.exit_code == 0, result.output
    dataset = validate(path)
    names = {f["name"] for f in json.loads((path / "croissant.json").read_text())["recordSet"][0]["field"]}
    assert names == set(pd.read_csv(path / "condensed.csv").columns)
    assert len(list(dataset.records("rows"))) == 25
    card = (path / "README.md").read_text()
    card = card.removeprefix("---").partition("---\n")[2]
    outside = card[: card.index("```python")] + card[card.rindex("```") :]
    assert "<script" not in outside and "[x](" not in outside and " | [" not in outside
    head = (path / "README.md").read_text().split("---")[1]
    assert json.dumps(f"cohort {HOSTILE}", ensure_ascii=False) in head


def test_the_card_makes_the_disclosures_of_nist(release):
    assert run("card", release, "--license", "CC-BY-4.0").exit_code == 0
    manifest = json.loads((release / "manifest.json").read_text())
    told = dict(nist_disclosures(label(manifest), manifest))
    for point in (
        *("Definition", "Unit of privacy", "Neighbouring data", "Model of trust", "Mechanism", "Sensitivity"),
        *("Composition", "All releases of the cohort", "Randomness", "Arithmetic", "Tuning", "Not covered"),
    ):
        assert told[point]
    assert "ε = 1, δ = 1e-05" in told["Definition"] and told["Unit of privacy"] == "one row of the table"
    card = (release / "README.md").read_text()
    for expected in (
        *("NIST SP 800-226", "added or removed", "operating system", 'license: "CC-BY-4.0"', "n<1K"),
        *(manifest["sha256"][name] for name in ("condensed.csv", "schema.toml")),
    ):
        assert expected in card, expected
    metadata = json.loads((release / "croissant.json").read_text())
    assert "at most" in metadata["rai:personalSensitiveInformation"]
    assert metadata["datePublished"] == manifest["created"]


def test_seeded_noise_is_told(tmp_path):
    options = {"learner": "logistic", "n_rows": 10, "recipe": quick(), **BUDGET}
    release = Condenser._with_test_noise(1, CLASSES, **options).fit(patients(50)).release_
    release.save(tmp_path / "r", allow_not_private=True)
    assert run("card", tmp_path / "r").exit_code == 0
    assert "NOT PRIVATE" in (tmp_path / "r" / "README.md").read_text()
    metadata = json.loads((tmp_path / "r" / "croissant.json").read_text())
    assert "NOT PRIVATE" in metadata["description"] and "finds at most" not in metadata["description"]


def test_a_card_that_was_edited_is_kept(release):
    assert run("card", release).exit_code == 0
    (release / "README.md").write_text("mine")
    result = run("card", release)
    assert result.exit_code == 2 and "--overwrite" in result.stderr
    assert (release / "README.md").read_text() == "mine"
    assert run("card", release, "--overwrite").exit_code == 0
    assert "NIST" in (release / "README.md").read_text()
    assert verify(release).ok


def test_a_changed_release_has_no_card(release):
    (release / "condensed.csv").write_text("a\n1\n")
    result = run("card", release)
    assert result.exit_code == 4 and "condensed.csv" in result.stderr
    assert not (release / "README.md").exists() and not (release / "croissant.json").exists()
