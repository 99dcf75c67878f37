"""The unit of privacy from Python: the cap on a patient's rows, and what counts as neighbours."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cohorts import BUDGET, CLASSES, patients, quick
from zodc import Condenser
from zodc._zodc import make_plan
from zodc.oracle import consult
from zodc.schema import Column, Schema, SchemaError
from zodc.verify import verify

PATIENTS = Schema((*CLASSES.columns, Column(name="id", kind="categorical", role="patient_id", max_rows=4)))


def condenser(schema: Schema, **options):
    return Condenser(
        schema, learner="logistic", n_rows=20, recipe=quick(), random_state=1, **{**BUDGET, **options}
    )


def visits(n: int = 300) -> tuple:
    frame = patients(n)
    frame["id"] = np.arange(n) % 20
    return frame


def test_the_cap_is_public_and_recorded(tmp_path):
    release = condenser(PATIENTS).fit(visits()).release_
    assert release.manifest()["rows_per_unit"] == 4
    assert release.manifest()["unit"] == "patient"
    release.save(tmp_path / "release")
    assert "max_rows = 4" in (tmp_path / "release" / "schema.toml").read_text()
    assert verify(tmp_path / "release").ok
    assert condenser(CLASSES).fit(patients()).release_.manifest()["rows_per_unit"] == 1


def test_the_cap_has_a_default_that_the_schema_shows():
    schema = Schema((*CLASSES.columns, Column(name="id", kind="categorical", role="patient_id")))
    assert schema.patient_id.max_rows == 32
    assert Schema.from_toml(schema.to_toml()) == schema


@pytest.mark.parametrize("cap", [0, -1, 4097, 2.5, True, "3"])
def test_a_cap_that_is_none(cap):
    with pytest.raises(SchemaError, match=r"'id'.*max_rows"):
        Schema((*CLASSES.columns, Column(name="id", kind="categorical", role="patient_id", max_rows=cap)))


def test_only_patients_have_a_cap():
    with pytest.raises(SchemaError, match=r"'extra'.*only the patient_id column"):
        Schema((*CLASSES.columns, Column(name="extra", kind="binary", max_rows=3)))


@pytest.mark.parametrize("mode", ["two_phase", "direct"])
def test_patients_with_many_rows_are_dropped_in_silence(mode, capfd, recwarn):
    from sklearn.linear_model import LogisticRegression

    learner = LogisticRegression() if mode == "direct" else "logistic"
    small = Condenser(
        PATIENTS,
        learner=learner,
        mode=mode,
        n_rows=20,
        recipe=quick(kind="foreign" if mode == "direct" else "any"),
        **BUDGET,
    )
    small.fit(visits(600))
    assert len(small.release_.rows) == 20
    assert capfd.readouterr() == ("", "") and not list(recwarn)


def test_replacing_a_patient_is_recorded_and_verified(tmp_path):
    found = condenser(PATIENTS, neighbours="replace_one")
    assert "one patient, replaced by another" in str(found.plan())
    release = found.fit(visits()).release_
    manifest = release.manifest()
    assert manifest["neighbours"] == manifest["plan"]["neighbours"] == "replace_one"
    assert manifest["lattice"]["round"]["sensitivity"] == 2 * 2**20
    release.save(tmp_path / "release")
    assert verify(tmp_path / "release").ok


def test_a_release_cannot_pass_for_the_stronger_relation(tmp_path):
    """Noise for addition and removal, claimed for replacement."""
    condenser(PATIENTS).fit(visits()).release_.save(tmp_path / "release")
    place = tmp_path / "release" / "manifest.json"
    manifest = json.loads(place.read_text())
    manifest["neighbours"] = manifest["plan"]["neighbours"] = "replace_one"
    place.write_text(json.dumps(manifest))
    faults = verify(tmp_path / "release").faults
    assert any("sensitivity" in fault and "plan" in fault for fault in faults), faults


@pytest.mark.parametrize("epsilon", [0.3, 1.0, 8.0])
def test_what_replacement_costs_by_the_oracle(epsilon):
    """The worst pair lies at the stated sensitivity; the oracle composes that."""
    from dp_accounting.pld.privacy_loss_mechanism import GaussianPrivacyLoss

    plan = condenser(CLASSES, epsilon=epsilon, neighbours="replace_one").plan().to_dict()
    oracle = consult(plan["charges"], plan["delta"], "replace_one")
    assert oracle.tightest == pytest.approx(epsilon, rel=1e-3) and oracle.tightest <= epsilon * (1 + 1e-9)
    # The same from the lattice: opposite vectors of the clip ball in rounds, disjoint votes in histograms.
    precision = plan["rounds"] * (2 * 2**20 / plan["round_noise_scale"]) ** 2
    for stage in plan["marginals"]:
        units = 4096
        outcome = int(4096 * max(1, (len(CLASSES.features) / 4) ** 0.5)) if stage["outcome"] else 0
        squared = 2 * (stage["n_features"] * units**2 + outcome**2)
        precision += squared / stage["noise_scale"] ** 2
    delta = GaussianPrivacyLoss(precision**-0.5).get_delta_for_epsilon(epsilon)
    assert delta <= plan["delta"] * (1 + 1e-9)


def test_samples_and_unknown_relations_are_refused():
    with pytest.raises(ValueError, match=r"'sampling_rate'.*must be 1 with neighbours"):
        condenser(CLASSES, neighbours="replace_one", sampling_rate=0.1).plan()
    with pytest.raises(ValueError, match=r"'neighbours'.*'add_remove' or 'replace_one'"):
        condenser(CLASSES, neighbours="zero_out").plan()
    with pytest.raises(ValueError, match="neighbours"):
        make_plan(
            CLASSES.to_json(),
            epsilon=1,
            delta=0.1,
            rounds=1,
            directions=1,
            marginal_share=0.1,
            neighbours="x",
        )
    sampled = condenser(CLASSES, sampling_rate=0.1).plan().to_dict()["charges"]
    with pytest.raises(ValueError):
        consult(sampled, 1e-5, "replace_one")
