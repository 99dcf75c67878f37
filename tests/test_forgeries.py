"""What `zodc verify` finds in a folder whose hashes were all made anew, and what only the ledger finds."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cohorts import BUDGET, CLASSES, patients, quick, quick_condenser
from command_line import run
from zodc import Condenser, Ledger, Schema, verify
from zodc.plan import make_plan
from zodc.recipe import Recipe

RECEIPT = {
    "cohort": "ward", "ledger": "l", "epsilon": 5.0, "delta": 1e-5, "entry": 1, "run_id": "r", "head": "h"
}  # fmt: skip


@pytest.fixture(scope="module")
def genuine(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("genuine") / "release"
    quick_condenser(random_state=1).fit(patients(200)).release_.save(path)
    return path


def replaced_by_patients(path: Path, manifest: dict) -> None:
    real = patients(60).assign(stage_missing=0, sex_missing=0)
    real = real.astype({"stage": "Int64"}).fillna({"stage": 1})
    real.to_csv(path / "condensed.csv", index=False)
    real.to_parquet(path / "condensed.parquet", index=False)


def one_table_differs(path: Path, manifest: dict) -> None:
    lines = (path / "condensed.csv").read_text().splitlines(keepends=True)
    (path / "condensed.csv").write_text("".join(lines[:-1]))


def no_parquet(path: Path, manifest: dict) -> None:
    (path / "condensed.parquet").write_text("no Parquet")


def garbage(path: Path, manifest: dict) -> None:
    (path / "teacher.json").write_text('"garbage"')


def other_bound(path: Path, manifest: dict) -> None:
    text = (path / "schema.toml").read_text()
    (path / "schema.toml").write_text(re.sub(r"upper = 100[.\d]*", "upper = 120.0", text))


def cheaper(path: Path, manifest: dict) -> None:
    """All that the plan says, made for a tenth of ε; the noise that was used was for all of it."""
    recipe = Recipe.from_dict(manifest["recipe"])
    made = make_plan(Schema.load(path / "schema.toml"), recipe, epsilon=0.1, delta=BUDGET["delta"])
    plan = made.to_dict()
    lattice = {"noise_scale": plan["round_noise_scale"], "sensitivity": plan["round_sensitivity"]}
    manifest |= {
        "plan": plan,
        "epsilon": 0.1,
        "spent_epsilon": made.spent_epsilon,
        "events": plan["charges"],
        "lattice": {"round": lattice, "marginals": plan["marginals"]},
    }


def says(**claims: object) -> Callable[[Path, dict], None]:
    return lambda _, manifest: manifest.update(claims)


def forgets(name: str) -> Callable[[Path, dict], None]:
    return lambda _, manifest: manifest.pop(name)


@pytest.mark.parametrize(
    ("forge", "words"),
    [
        (replaced_by_patients, ["condensed.csv", "condensed.parquet", "release's rows"]),
        (one_table_differs, ["condensed.csv", "release's rows"]),
        (no_parquet, ["condensed.parquet", "release's rows"]),
        (garbage, ["do not make a release"]),
        (other_bound, ["edges go from 18 to 100"]),
        (cheaper, ["marginals.json", "noise"]),
        (says(status="NOT PRIVATE"), ["manifest (status)"]),
        (says(mechanism="none"), ["manifest (mechanism)"]),
        (says(accountant="exact"), ["manifest (accountant)"]),
        (says(not_covered=[]), ["manifest (not_covered)"]),
        (says(rows=5), ["manifest (rows)"]),
        (says(trust_model="local DP"), ["manifest (trust_model)"]),
        (says(dp_accounting={"pld_epsilon": 0.001, "rdp_epsilon": 0.001}), ["dp-accounting"]),
        (forgets("not_covered"), ["not_covered"]),
        (says(ledger={**RECEIPT, "spent_epsilon": 0.1}), ["receipt"]),
    ],
)
def test_a_forged_folder_is_found_out(genuine: Path, tmp_path: Path, forge, words: list[str]) -> None:
    path = Path(shutil.copytree(genuine, tmp_path / "forged"))
    manifest = json.loads((path / "manifest.json").read_text())
    forge(path, manifest)
    manifest["sha256"] = {
        name: hashlib.sha256((path / name).read_bytes()).hexdigest() for name in manifest["sha256"]
    }
    (path / "manifest.json").write_text(json.dumps(manifest))
    found = verify(path)
    assert not found.ok and all(word in " ".join(found.faults) for word in words), found.faults


def test_genuine_folders_hold_and_tell_the_hash_of_the_manifest(genuine: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(genuine, tmp_path / "release"))
    assert run("card", path).exit_code == 0
    (path / "patients.csv").write_text("age\n50\n")
    found = run("verify", path)
    assert found.exit_code == 0, found.output
    assert hashlib.sha256((path / "manifest.json").read_bytes()).hexdigest() in found.stdout
    assert "'patients.csv', which is no part" in found.stdout and "README.md" not in found.stdout
    assert json.loads(run("verify", path, "--json").stdout)["strangers"] == ["patients.csv"]


def test_two_runs_under_one_charge_are_found_out_by_the_ledger(tmp_path: Path) -> None:
    """A journal made up from a release lets its run be asked again; the answers then differ."""
    Ledger.create(tmp_path / "ward.ledger", epsilon=1.5, delta=BUDGET["delta"])
    options = {"learner": "logistic", "n_rows": 20, "recipe": quick(), "random_state": 1, **BUDGET}
    condenser = Condenser(CLASSES, ledger=tmp_path / "ward.ledger", **options)
    release = condenser.fit(patients(80)).release_
    release.save(tmp_path / "first")
    release.recondense("tree", n_rows=30, recipe=quick()).save(tmp_path / "again")
    again = Condenser(CLASSES, **options).fit(patients(80)).release_
    manifest = json.loads((tmp_path / "first" / "manifest.json").read_text())
    again.save(tmp_path / "second")
    forged = json.loads((tmp_path / "second" / "manifest.json").read_text())
    forged |= {name: manifest[name] for name in ("ledger", "not_covered")}
    (tmp_path / "second" / "manifest.json").write_text(json.dumps(forged))

    def check(*names: str):
        pairs = [option for name in names for option in ("--release", tmp_path / name)]
        return run("ledger", "verify", tmp_path / "ward.ledger", *pairs)

    assert check("first", "again").exit_code == 0 and check("second").exit_code == 0
    found = check("first", "again", "second")
    assert found.exit_code == 3 and "different answers" in found.stderr, found.output
