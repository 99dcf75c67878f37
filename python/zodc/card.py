"""The dataset card and the Croissant metadata of a release, for those who find it in a catalogue.

Both are made from the release folder alone, and may be published and edited.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from zodc.forecast import forecast
from zodc.label import Label, label
from zodc.report import environment, questions, usage, values_in_words
from zodc.schema import Column
from zodc.summary import Drawn
from zodc.tables import columns_of

__all__ = ["croissant", "markdown", "nist_disclosures"]

_MEDIA = {"condensed.csv": "text/csv", "condensed.parquet": "application/vnd.apache.parquet"}
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def markdown(release: Drawn, manifest: Mapping[str, Any], *, license: str | None = None) -> str:
    """Write the dataset card.

    Parameters
    ----------
    release : Release
    manifest : mapping
        The manifest as it stands in the folder.
    license : str, optional
        Of the rows; it is the custodian's to choose.

    Returns
    -------
    str
        Markdown, with a YAML head as catalogues read it.
    """
    pages = environment(escape=False)
    pages.filters["plain"] = _plain
    pages.filters["quoted"] = lambda text: json.dumps(str(text), ensure_ascii=False)
    found = label(manifest)
    return pages.get_template("card.md").render(
        label=found,
        manifest=manifest,
        schema=release.schema,
        columns=[(column, values_in_words(column)) for column in release.schema.columns],
        disclosures=nist_disclosures(found, manifest),
        forecasts=forecast(release),
        usage=usage(release),
        license=license,
        size=next(name for name, most in _SIZES if manifest["rows"] < most),
    )


def croissant(
    release: Drawn,
    manifest: Mapping[str, Any],
    *,
    license: str | None = None,
    creator: str | None = None,
    url: str | None = None,
) -> str:
    """Write Croissant 1.1 metadata, with the responsible-AI vocabulary.

    Parameters
    ----------
    release : Release
    manifest : mapping
        The manifest as it stands in the folder.
    license, creator, url : str, optional
        The custodian's to state; left out when not given.

    Returns
    -------
    str
        JSON-LD; file names are relative to the release folder.
    """
    found, name = label(manifest), release.schema.name or "condensed cohort"
    rows, maker = manifest["rows"], manifest["versions"]["zodc"]
    optional = {
        "license": license,
        "url": url,
        "creator": creator and {"@type": "Organization", "name": creator},
    }
    whole = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": [
            "http://mlcommons.org/croissant/1.1",
            "http://mlcommons.org/croissant/RAI/1.0",
        ],
        "name": name,
        "description": f"{rows} synthetic rows condensed from a clinical cohort. {_promise(found)}",
        "citeAs": f"{name}: {rows} synthetic rows, condensed by zodc {maker}, {manifest['created']}",
        "datePublished": manifest["created"],
        "version": "1.0.0",
        "keywords": ["synthetic data", "differential privacy", "health"],
        "inLanguage": "en",
        "isLiveDataset": False,
        **{key: value for key, value in optional.items() if value},
        **_responsible(found, manifest),
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": file,
                "name": file,
                "contentUrl": file,
                "encodingFormat": media,
                "sha256": manifest["sha256"][file],
            }
            for file, media in _MEDIA.items()
        ],
        "recordSet": [
            {"@type": "cr:RecordSet", "@id": "rows", "name": "rows", "field": _fields(release)},
        ],
    }
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def nist_disclosures(found: Label, manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Say what NIST SP 800-226 asks of whoever claims differential privacy, point by point."""
    plan = manifest["plan"]
    asked = "; ".join(f"{q.count} × {q.what}, noise {q.noise:.4g} × sensitivity" for q in questions(manifest))
    total = "no ledger was kept with this release: add other releases from the same cohort"
    if found.ledger:
        total = (
            f"by the ledger of cohort {found.ledger['cohort']}: ε {found.ledger['spent_epsilon']:.6g} of "
            f"{found.ledger['epsilon']:g} at δ {found.ledger['delta']:g}, this run included"
        )
    python = any(part["kind"] == "python" for part in manifest["private_learner"])
    learner = "a Python model scored the patients, row by row" if python else "native learners only"
    return [
        ("Definition", f"(ε, δ) differential privacy, ε = {found.epsilon:g}, δ = {found.delta:g}"),
        ("Unit of privacy", found.unit),
        ("Neighbouring data", found.neighbours),
        ("What it means", _promise(found)),
        ("Model of trust", manifest.get("trust_model", "central: the custodian adds the noise")),
        ("Data holder", manifest.get("data_holder", "the custodian")),
        ("Mechanism", f"{found.mechanism}; {learner}"),
        ("Questions asked", asked),
        ("Sensitivity", f"L2, on an integer lattice; a round's is {plan['round_sensitivity']} steps"),
        ("Sampling", f"each unit takes part in a round with probability {plan['sampling_rate']:g}"),
        ("Composition", f"{found.accountant}; together ε = {found.spent_epsilon:.6f}"),
        ("All releases of the cohort", total),
        ("Post-processing", manifest.get("post_processing", "all that follows the noisy answers")),
        ("Choices that depend on the data", manifest.get("data_dependent_choices", "not stated")),
        ("Arithmetic", "integers; no floating-point sum touches the guarantee"),
        ("Randomness", "the operating system's generator" if found.is_private else "SEEDED: NOT PRIVATE"),
        ("Tuning", "settings were chosen on public cohorts; bounds and categories by domain knowledge"),
        ("Verification", "`zodc verify` recomputes ε with dp-accounting from the manifest alone"),
        ("Not covered", "; ".join(line.replace("`", "") for line in found.not_covered)),
    ]


_SIZES = (("n<1K", 1_000), ("1K<n<10K", 10_000), ("10K<n<100K", 100_000), ("100K<n<1M", float("inf")))


def _promise(found: Label) -> str:
    if not found.is_private:
        return "NOT PRIVATE: the noise was seeded for a test. Do not use."
    return (
        f"Differentially private with ε = {found.epsilon:g}, δ = {found.delta:g} for {found.unit}: the best "
        "attacker who accuses 10 of 1000 outsiders wrongly finds at most "
        f"{found.found_of_1000} of 1000 members."
    )


def _responsible(found: Label, manifest: Mapping[str, Any]) -> dict[str, str]:
    told = dict(nist_disclosures(found, manifest))
    return {
        "rai:personalSensitiveInformation": f"No row was copied from a patient. {_promise(found)}",
        "rai:dataManipulationProtocol": (
            f"Zeroth-order dataset condensation by zodc {manifest['versions']['zodc']}. {told['Mechanism']}. "
            f"{told['Questions asked']}. {told['Composition']}."
        ),
        "rai:dataLimitations": (
            "Rows are a training set for the learner they were made for; counts, rates and tests computed "
            f"from them do not describe the cohort. Not covered by the guarantee: {told['Not covered']}."
        ),
        "rai:dataUseCases": "Training and comparing risk models, before validation on real patients.",
        "rai:dataBiases": "Those of the cohort, and of noise: rare groups are represented worst.",
    }


def _fields(release: Drawn) -> list[dict[str, Any]]:
    schema = release.schema
    by_name = {column.name: column for column in schema.columns}
    columns = columns_of(release.decoder.table(release.rows), schema)
    return [
        {
            "@type": "cr:Field",
            "@id": f"rows/{quote(name)}",
            "name": name,
            "description": _describe(name, by_name.get(name)),
            "dataType": _data_type(values),
            "source": {"fileObject": {"@id": "condensed.csv"}, "extract": {"column": name}},
        }
        for name, values in columns.items()
    ]


def _describe(name: str, column: Column | None) -> str:
    if column is None:
        return f"1 where {name.removesuffix('_missing')} is missing, else 0"
    said = f"{column.description}; " if column.description else ""
    return f"{said}{column.kind}, {column.role}: {values_in_words(column)}"


def _data_type(values: NDArray[Any]) -> str:
    if values.dtype == object:
        return "sc:Text"
    return "sc:Integer" if np.issubdtype(values.dtype, np.integer) else "sc:Float"


def _plain(text: object) -> str:
    """Write a text so that Markdown shows it as it stands."""
    one_line = " ".join(str(text).split())
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        one_line = one_line.replace(sign, entity)
    return re.sub(r"([\\`*_{}\[\]()#!|~$])", r"\\\1", one_line)
