"""The release: synthetic rows with everything that is public about how they came to be."""

from __future__ import annotations

import datetime
import json
import platform
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zodc import folder, learners, phases
from zodc._zodc import DataError, Decoder, Population, Rows
from zodc.disclosures import disclosures, not_covered
from zodc.options import MOST_ROWS, OptionError, count, public_seed
from zodc.plan import Plan
from zodc.plots import ReleasePlots
from zodc.recipe import Recipe, default_recipe, own_recipe
from zodc.report import render
from zodc.schema import Schema
from zodc.tables import columns_of, survival_records, to_frame

__all__ = ["Release", "versions"]


@dataclass(frozen=True, kw_only=True)
class Release:
    """Synthetic rows under a differential-privacy guarantee. All of it may be published.

    Attributes
    ----------
    schema : Schema
    plan : Plan
        What was asked of the patients.
    marginals : str
        Noisy marginals, as JSON.
    teacher : Rows
        Rows of the private phase, from which rows for other learners can be made.
    teacher_model : str or None
        The teacher fitted again on the noisy answers, as JSON; None when the teacher is the one fitted on the
        teacher rows, as in direct mode and in releases of an older zodc.
    rows : Rows
        The released rows, as latents.
    learner : list of dict
        What the rows were made for.
    private_learner : list of dict
        What the teacher rows were made for: the learners whose losses were asked of the patients.
    mode : {"two_phase", "direct"}
    recipe : Recipe
    seed : int
        Of the public randomness; the noise has none.
    private : bool
        Whether the noise came from the operating system. Otherwise the release is NOT PRIVATE.
    created : str
        UTC date.
    versions : dict
        Of zodc, Python, NumPy and scikit-learn.
    ledger : dict or None
        The cohort's ledger after the charge: cohort, total budget and what is spent of it, entry, its hash.
    trace : tuple of float
        Size (root mean square) of each round's noisy answer; empty in releases of an older zodc.
    """

    schema: Schema
    plan: Plan
    marginals: str = field(repr=False)
    teacher: Rows = field(repr=False)
    rows: Rows = field(repr=False)
    learner: list[dict[str, Any]]
    private_learner: list[dict[str, Any]]
    mode: str
    recipe: Recipe = field(repr=False)
    seed: int
    private: bool
    created: str
    versions: dict[str, str] = field(repr=False)
    ledger: dict[str, Any] | None = field(default=None, repr=False)
    trace: tuple[float, ...] = field(repr=False, default=())
    teacher_model: str | None = field(repr=False, default=None)

    @property
    def plot(self) -> ReleasePlots:
        """Pictures of the release, on matplotlib axes."""
        return ReleasePlots(self)

    @property
    def decoder(self) -> Decoder:
        """Turns latents into rows in real units."""
        return Decoder(self.schema.to_json(), self.marginals, self.recipe.hazard_intervals)

    def population(self, n_rows: int, seed: int) -> Population:
        """Draw pseudo-patients from the noisy marginals, labelled by the teacher: no patient is asked."""
        native = learners.teacher(self.schema.task, c=self.recipe.teacher_c).native_json
        return self.decoder.population(self.teacher, native, n_rows, seed, self.teacher_model)

    def rows_for(
        self,
        objective: learners.Objective,
        recipe: Recipe,
        n_rows: int,
        seed: int,
        n_jobs: int | None,
        progress: phases.Progress | None,
    ) -> Rows:
        """Condense a learner on pseudo-patients: no patient is asked."""
        decoder = self.decoder
        return phases.public(
            decoder,
            self.population,
            learners.teacher(self.schema.task, c=self.recipe.teacher_c).native_json,
            objective.bound(decoder.time_grid, seed),
            recipe,
            n_rows=n_rows,
            seed=seed,
            n_jobs=n_jobs,
            progress=progress,
        )

    def columns(self) -> dict[str, NDArray[Any]]:
        """Released columns in the schema's order, as arrays."""
        return columns_of(self.decoder.table(self.rows), self.schema)

    def frame(self, library: str | ModuleType = "pandas") -> Any:
        """Build the released table: features, flags and outcome.

        Parameters
        ----------
        library : {"pandas", "polars", "pyarrow"}, default="pandas"
        """
        return to_frame(self.columns(), library)

    @property
    def X(self) -> pd.DataFrame:
        """Features and flags."""
        frame: pd.DataFrame = self.frame()
        return frame.drop(columns=[column.name for column in self.schema.outcomes])

    @property
    def y(self) -> NDArray[Any]:
        """Labels; or a structured array (event: bool, time: float)."""
        columns, outcomes = self.columns(), self.schema.outcomes
        if len(outcomes) == 1:
            return columns[outcomes[0].name]
        _, _, outcome = self.decoder.table(self.rows)
        return survival_records(outcome)

    def save(
        self,
        path: str | Path,
        *,
        overwrite: bool = False,
        allow_not_private: bool = False,
        report: bool = True,
    ) -> None:
        """Write the release folder: all of it or nothing.

        Parameters
        ----------
        path : str or Path
            The folder; it must not exist.
        overwrite : bool, default=False
            Whether to replace a release that is there.
        allow_not_private : bool, default=False
            Whether to write a release whose noise was seeded for a test.
        report : bool, default=True
            Whether to write `report.html`, which takes a second or more.

        Raises
        ------
        ValueError
            When the release is NOT PRIVATE.
        OSError
            When the folder exists or cannot be written.
        """
        if not self.private and not allow_not_private:
            raise OptionError(
                "this release is NOT PRIVATE: its noise was seeded for a test; condense again without "
                "the seed, or pass allow_not_private=True"
            )
        teacher = {
            "teacher": _rows_to_dict(self.teacher),
            "rows": _rows_to_dict(self.rows),
            "trace": list(self.trace),
            "model": None if self.teacher_model is None else json.loads(self.teacher_model),
        }
        texts = {
            "schema.toml": self.schema.to_toml(),
            "marginals.json": self.marginals,
            "teacher.json": json.dumps(teacher),
        }
        page = partial(render, self) if report else None
        folder.write(Path(path), self.frame(), texts, self.manifest(), overwrite=overwrite, report=page)

    def manifest(self) -> dict[str, Any]:
        """Everything that a reader needs to check the guarantee, but the hashes of the files."""
        from zodc.oracle import consult

        plan = self.plan.to_dict()
        found = consult(plan["charges"], plan["delta"], plan["neighbours"])
        return self.claims() | {"dp_accounting": {"pld_epsilon": found.tightest, "rdp_epsilon": found.rdp}}

    def claims(self) -> dict[str, Any]:
        """All of the manifest but the figures of dp-accounting."""
        plan = self.plan.to_dict()
        asks_python = any(part["kind"] == "python" for part in self.private_learner)
        return {
            "zodc": "release",
            "status": "private" if self.private else "NOT PRIVATE: the noise was seeded for a test",
            "private": self.private,
            "created": self.created,
            "unit": plan["unit"],
            "rows_per_unit": 1 if self.schema.patient_id is None else self.schema.patient_id.max_rows,
            "neighbours": plan["neighbours"],
            "epsilon": self.plan.epsilon,
            "delta": plan["delta"],
            "spent_epsilon": self.plan.spent_epsilon,
            "accountant": self.plan.accountant,
            "mechanism": "clip in L2, truncate to an integer lattice, sum exactly, add rounded normal noise",
            "lattice": {
                "round": {"noise_scale": plan["round_noise_scale"], "sensitivity": plan["round_sensitivity"]},
                "marginals": plan["marginals"],
            },
            "events": plan["charges"],
            "ledger": self.ledger,
            **disclosures(is_private=self.private, asks_python=asks_python),
            "not_covered": not_covered(asks_python=asks_python, has_ledger=self.ledger is not None),
            "mode": self.mode,
            "learner": self.learner,
            "private_learner": self.private_learner,
            "rows": len(self.rows),
            "recipe": self.recipe.to_dict(),
            "public_seed": self.seed,
            "versions": self.versions,
            "plan": plan,
        }

    @classmethod
    def load(cls, path: str | Path) -> Release:
        """Read a release folder.

        Raises
        ------
        OSError, DataError
            When the folder cannot be read, is no release, or a file differs from its hash.
        """
        manifest, texts = folder.read(Path(path))
        try:
            return cls._of_files(manifest, texts)
        except (KeyError, TypeError, AttributeError, OptionError):
            made = manifest.get("versions")
            maker = f"zodc {made['zodc']}" if isinstance(made, dict) and "zodc" in made else "another program"
            raise DataError(
                f"release, file '{folder.MANIFEST}': {maker} made it, and zodc {version('zodc')} cannot read "
                "it; install a newer zodc, or save it anew"
            ) from None

    @classmethod
    def _of_files(cls, manifest: dict[str, Any], texts: dict[str, str]) -> Release:
        rows = json.loads(texts["teacher.json"])
        return cls(
            schema=Schema.from_toml(texts["schema.toml"]),
            plan=Plan(json.dumps(manifest["plan"])),
            marginals=texts["marginals.json"],
            teacher=_rows_from_dict(rows["teacher"]),
            rows=_rows_from_dict(rows["rows"]),
            learner=manifest["learner"],
            private_learner=manifest["private_learner"],
            mode=manifest["mode"],
            recipe=Recipe.from_dict(manifest["recipe"]),
            seed=manifest["public_seed"],
            private=manifest["private"],
            created=manifest["created"],
            versions=manifest["versions"],
            ledger=manifest.get("ledger"),
            trace=tuple(rows.get("trace", ())),
            teacher_model=None if rows.get("model") is None else json.dumps(rows["model"]),
        )

    def recondense(
        self,
        learner: Any,
        *,
        n_rows: int | None = None,
        recipe: Recipe | None = None,
        random_state: Any = None,
        n_jobs: int | None = None,
        progress: phases.Progress | None = None,
    ) -> Release:
        """Make new rows for another learner from this release alone. Costs no budget.

        Parameters
        ----------
        learner : str, Native, estimator, list, or dict
            As of :class:`zodc.Condenser`.
        n_rows : int, optional
            As many as here unless stated.
        recipe : Recipe, optional
            Settings of the free rounds; takes the place of the defaults.
        random_state : None, int or NumPy generator
            Fixes the public randomness.
        n_jobs : int, optional
            For joblib, with models that Rust does not know.
        progress : callable, optional
            Called with the phase, the rounds done, and the rounds in all.

        Returns
        -------
        Release
            Its guarantee is that of this release.
        """
        objective = learners.resolve(learner, self.schema)
        n_rows = len(self.rows) if n_rows is None else count("n_rows", n_rows, most=MOST_ROWS)
        seed = public_seed(random_state)
        recipe = replace(self.recipe, **_public_settings(self.schema, objective, recipe))
        rows = self.teacher
        refitted = self.teacher_model is not None
        if not objective.is_served_by_teacher(refitted=refitted) or n_rows != len(self.teacher):
            rows = self.rows_for(objective, recipe, n_rows, seed, n_jobs, progress)
        return replace(
            self,
            rows=rows,
            learner=objective.describe(),
            recipe=recipe,
            seed=seed,
            created=today(),
            versions=versions(),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        for name in ("teacher", "rows"):
            values[name] = _rows_to_dict(values[name])
        return _restore, (values,)


def _public_settings(schema: Schema, objective: learners.Objective, recipe: Recipe | None) -> dict[str, Any]:
    chosen = own_recipe(recipe) or default_recipe(
        survival=schema.task == "survival", n_features=len(schema.features), kind=objective.kind
    )
    names = ("draws", "public", "public_directions", "population_rows", "sharpness", "check_every")
    return {name: getattr(chosen, name) for name in names}


def today() -> str:
    """UTC date."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def versions() -> dict[str, str]:
    """Versions that a release records; a tree of scikit-learn chooses among draws of rows."""
    packages = {name: version(name) for name in ("zodc", "numpy", "scikit-learn")}
    return {"python": platform.python_version(), **packages}


def _rows_to_dict(rows: Rows) -> dict[str, Any]:
    return {"latents": rows.latents.tolist(), "outcome": json.loads(rows.outcome)}


def _rows_from_dict(values: dict[str, Any]) -> Rows:
    return Rows(np.asarray(values["latents"], dtype=np.float64), json.dumps(values["outcome"]))


def _restore(values: dict[str, Any]) -> Release:
    rows = {name: _rows_from_dict(values[name]) for name in ("teacher", "rows")}
    return Release(**{**values, **rows})
