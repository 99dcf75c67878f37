"""The condenser: from a cohort to a release, in scikit-learn's and imbalanced-learn's manner."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from zodc import learners, phases
from zodc._zodc import Answers, Cohort, DataError, Decoder, Rows, SchemaError
from zodc.certify import make_certified_plan
from zodc.containers import frame_names, like_x, like_y, patients_table, probe_tables
from zodc.frames import Encoded, encode, is_frame
from zodc.journal import Run, declare
from zodc.ledger import Ledger, open_ledger
from zodc.options import MOST_ROWS, OptionError, count
from zodc.plan import Plan
from zodc.recipe import MOST_REFITTED, Recipe, default_recipe, own_recipe
from zodc.release import Release, today, versions
from zodc.schema import Schema

__all__ = ["Condenser"]

Mode = Literal["two_phase", "direct"]
Neighbours = Literal["add_remove", "replace_one"]


class Condenser(BaseEstimator):  # type: ignore[misc]
    """Condense a cohort into a few synthetic rows under (ε, δ) differential privacy.

    Every `fit` spends the whole budget anew: releases from the same patients add up. A `ledger` keeps count.

    Parameters
    ----------
    schema : Schema
        Public facts about the columns.
    learner : str, Native, estimator, list, or dict, default="any"
        What the rows are made for: `"any"`, `"tree"`, `"logistic"`, `"cox"`, a model of scikit-learn,
        lifelines or scikit-survival, or a weighted mixture; `zodc.learners.resolve` says when options count.
    epsilon : float
        Budget ε, above 0. No default on purpose.
    delta : float
        Budget δ, above 0 and below 1. No default on purpose.
    n_rows : int, default=200
        Synthetic rows to release.
    mode : {"two_phase", "direct"}, default="two_phase"
        The budget goes to a smooth teacher (logistic or Cox regression, penalised as the recipe says), from
        which rows for another learner are made for free; or to the learner itself. Directly, a Python
        model reads patients' rows, and may run in joblib's workers.
    rounds, directions, marginal_share : optional
        Private rounds T, directions K of a round, share of the budget for the noisy marginals. Defaults
        were chosen on public cohorts.
    sampling_rate : float, optional
        Probability that a patient takes part in a round; 1, or less for a large `expected_patients`.
    expected_patients : int, optional
        A public guess, never the file's count.
    neighbours : {"add_remove", "replace_one"}, default="add_remove"
        Whether neighbouring cohorts differ by a unit more or less, or by one unit's content; the second asks
        every patient in every round, and doubles the noise of rounds.
    recipe : Recipe, optional
        All public settings at once; takes the place of the defaults.
    accountant : {"native", "pld"}, default="native"
        `"pld"` lets `dp-accounting` certify a plan with less noise, when rounds ask samples.
    ledger : Ledger or path, optional
        Holds the cohort's total budget. Every `fit` is charged to it before any row is asked; clones share
        it.
    random_state : None, int or NumPy generator
        Fixes the public randomness. The noise comes from the operating system and has no seed.
    n_jobs : int, optional
        For joblib, with models that Rust does not know. `joblib.parallel_config` chooses the backend; in
        mode `"direct"` patients' rows go to its workers: take one that stays on the custodian's machine.
    verbose : bool, default=False
        Whether to tell the rounds done on standard error.

    Attributes
    ----------
    release_ : Release
        What may be published.
    n_features_in_ : int
        Columns of X; those of a frame may hold the outcome.
    feature_names_in_ : array of str
        When X is a frame.

    See Also
    --------
    zodc.Schema : the public facts.
    zodc.Release.recondense : rows for another learner, free of charge.

    References
    ----------
    .. [1] Thakur et al., "Democratising Clinical AI through Dataset Condensation for Classical Clinical
       Models", arXiv 2603.09356.

    Examples
    --------
    >>> import numpy as np
    >>> from zodc import Column, Condenser, Schema
    >>> schema = Schema([
    ...     Column(name="age", kind="continuous", lower=18, upper=100, unit="years"),
    ...     Column(name="died", kind="binary", role="target"),
    ... ])
    >>> ages = np.random.default_rng(0).uniform(20, 90, (500, 1))
    >>> condenser = Condenser(
    ...     schema, learner="logistic", epsilon=1.0, delta=1e-5, n_rows=20, rounds=5
    ... )
    >>> condenser.plan().epsilon
    1.0
    >>> X, y = condenser.fit_resample(ages, (ages[:, 0] > 60).astype(int))
    >>> X.shape, y.dtype
    ((20, 1), dtype('int64'))
    """

    # Of tests only; never a parameter, so that no clone inherits it.
    _test_noise_seed: int | None = None

    def __init__(
        self,
        schema: Schema,
        *,
        learner: Any = "any",
        epsilon: float,
        delta: float,
        n_rows: int = 200,
        mode: Mode = "two_phase",
        rounds: int | None = None,
        directions: int | None = None,
        marginal_share: float | None = None,
        sampling_rate: float | None = None,
        expected_patients: int | None = None,
        neighbours: Neighbours = "add_remove",
        recipe: Recipe | None = None,
        accountant: str = "native",
        ledger: Ledger | str | Path | None = None,
        random_state: Any = None,
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        self.schema = schema
        self.learner = learner
        self.epsilon = epsilon
        self.delta = delta
        self.n_rows = n_rows
        self.mode = mode
        self.rounds = rounds
        self.directions = directions
        self.marginal_share = marginal_share
        self.sampling_rate = sampling_rate
        self.expected_patients = expected_patients
        self.neighbours = neighbours
        self.recipe = recipe
        self.accountant = accountant
        self.ledger = ledger
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    @classmethod
    def _with_test_noise(cls, seed: int, schema: Schema, **options: Any) -> Self:
        """Build a condenser whose noise is seeded. For tests: its releases are NOT PRIVATE."""
        condenser = cls(schema, **options)
        condenser._test_noise_seed = seed
        return condenser

    def plan(self) -> Plan:
        """Fix what will be asked of the patients, and with how much noise. Reads no data.

        Returns
        -------
        Plan

        Raises
        ------
        ValueError
            For an option out of its range; a BudgetError when the budget is too small.
        """
        return self._settings()[2]

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        journal: str | Path | None = None,
        resume: bool = False,
        progress: phases.Progress | None = None,
    ) -> Self:
        """Condense a cohort. Every call spends the budget anew, and is charged to the ledger if there is one.

        When the free public phase fails or is interrupted, `release_` holds the rows of the private phase,
        which is paid for: finish with `release_.recondense`.

        Parameters
        ----------
        X : pandas, polars or pyarrow frame, or array of shape (n_rows, n_columns)
            Arrays hold the features (and the patient_id) in the schema's order.
        y : None, str, list of str, labels, structured array, or frame
            Labels; event (bool) and time; None or the schema's names take them from `X`.
        journal : str or Path, optional
            New file that keeps each noisy answer before it is used; delete it once the release is saved.
        resume : bool, default=False
            Whether to go on with the journal's run, with the same options and data, at no further charge.
        progress : callable, optional
            Called with the phase, the rounds done, and the rounds in all: public numbers.

        Returns
        -------
        Condenser

        Raises
        ------
        SchemaError, BudgetError, ValueError
            For a fault of the schema, the budget or another option, before any row is read.
        DataError
            When the table does not fit the schema.
        JournalError, OSError
            When the journal cannot be trusted, written or resumed.
        ModelError
            When a Python model cannot be fitted on most of the synthetic rows.
        """
        objective, recipe, plan = self._settings()
        n_rows = int(self.n_rows)  # checked there
        ledger = open_ledger(self.ledger)
        declared = declare(self.schema, objective, recipe, plan, mode=self.mode, n_rows=n_rows, ledger=ledger)
        run = (Run.resume if resume else Run.begin)(journal, declared, self.random_state)
        try:
            self._try_models(objective, recipe, run.seed)
            encoded = encode(X, y, self.schema)
            cohort = self._cohort(encoded, plan)
            # From here on nothing is refunded. An earlier release, which was paid for, stays until then.
            receipt = run.start(cohort, ledger, plan)
            self.__dict__.pop("release_", None)
            self._remember_input(X)
            progress = progress or (phases.tell if self.verbose else None)
            self._condense(cohort, encoded, objective, recipe, plan, n_rows, run.seed, receipt, progress)
        finally:
            run.close()
        return self

    def fit_resample(self, X: Any, y: Any = None, **fit_options: Any) -> tuple[Any, Any]:
        """Condense a cohort, and return the synthetic rows in the containers of `X` and `y`.

        Returns
        -------
        X_resampled : of the type of `X`
            The features of `X`; a missing cell is missing where the schema says `indicator`.
        y_resampled : of the type of `y`
            Of the schema's columns in `X`, in a frame of its library, when `y` is None or their names.
        """
        self.fit(X, y, **fit_options)
        table = self.release_.decoder.table(self.release_.rows)
        return like_x(table, self.schema, X), like_y(table, self.schema, X, y)

    def _settings(self) -> tuple[learners.Objective, Recipe, Plan]:
        if not isinstance(self.schema, Schema):
            raise SchemaError(
                "The 'schema' option must be a zodc.Schema: bounds are never guessed from the data. "
                f"Got {type(self.schema).__name__} instead; build one, or read it with Schema.load(path)."
            )
        if self.mode not in ("two_phase", "direct"):
            raise OptionError(
                f"The 'mode' option must be 'two_phase' or 'direct'. Got {self.mode!r} instead."
            )
        count("n_rows", self.n_rows, most=MOST_ROWS)
        objective = learners.resolve(self.learner, self.schema)
        if self.mode == "direct" and not objective.parts:
            raise OptionError("The 'learner' option must name a learner in mode='direct'. Got 'any' instead.")
        recipe = self._recipe(objective)
        plan = make_certified_plan(
            self.schema,
            recipe,
            accountant=self.accountant,
            epsilon=self.epsilon,
            delta=self.delta,
            sampling_rate=self.sampling_rate,
            expected_patients=self.expected_patients,
            neighbours=self.neighbours,
        )
        return objective, recipe, plan

    def _recipe(self, objective: learners.Objective) -> Recipe:
        recipe = own_recipe(self.recipe) or default_recipe(
            survival=self.schema.task == "survival",
            n_features=len(self.schema.features),
            kind=objective.kind,
        )
        # The refit takes a row for a patient, and its cost grows with the square of the coefficients.
        too_large = self.schema.n_coefficients > MOST_REFITTED
        if self.mode == "direct" or self.schema.has_repeated_rows or too_large:
            recipe = replace(recipe, refit_sd=0.0)
        return recipe.but(
            rounds=None if self.rounds is None else count("rounds", self.rounds),
            directions=self.directions,
            marginal_share=self.marginal_share,
        )

    def _try_models(self, objective: learners.Objective, recipe: Recipe, seed: int) -> None:
        """Try foreign models on public random rows, before any budget is spent."""
        if objective.is_native:
            return
        train, probes, grid = probe_tables(self.schema, recipe.hazard_intervals, seed)
        for _, model in objective.bound(grid, seed).models:
            if model.couples_rows(train, probes) and self.mode == "direct":
                raise OptionError(
                    "The 'learner' option must predict each row by itself in mode='direct'. "
                    f"Got {type(model.estimator).__name__}, whose predictions depend on the rows beside; "
                    "no clip bounds what a patient adds to it: take mode='two_phase'."
                )

    def _cohort(self, encoded: Encoded, plan: Plan) -> Cohort:
        if not len(encoded.cells):
            raise DataError("data: no row has a patient_id; fill in the column, or give it another role")
        arrays = (encoded.cells, encoded.outcome, encoded.event, encoded.patient)
        return Cohort(self.schema.to_json(), plan.json, *arrays, self._test_noise_seed)

    def _condense(
        self,
        cohort: Cohort,
        encoded: Encoded,
        objective: learners.Objective,
        recipe: Recipe,
        plan: Plan,
        n_rows: int,
        seed: int,
        receipt: dict[str, Any] | None,
        progress: phases.Progress | None,
    ) -> None:
        marginals = cohort.marginals()
        decoder = Decoder(self.schema.to_json(), marginals, recipe.hazard_intervals)
        objective = objective.bound(decoder.time_grid, seed)
        is_last = self.mode == "direct" or objective.is_served_by_teacher(refitted=recipe.refit_sd > 0.0)
        asked = objective if self.mode == "direct" else learners.teacher(self.schema.task, c=recipe.teacher_c)
        n_asked = n_rows if is_last else recipe.teacher_rows
        schedule = recipe.private_for(json.loads(marginals)["count"], len(self.schema.features))
        teacher, trace, answers = self._private_phase(
            decoder, cohort, encoded, asked, replace(recipe, private=schedule), n_asked, seed, progress
        )
        # Paid for: whatever becomes of the free phase, it must not be lost.
        self.release_ = Release(
            schema=self.schema,
            plan=plan,
            marginals=marginals,
            teacher=teacher,
            rows=teacher,
            learner=asked.describe(),
            private_learner=asked.describe(),
            mode=self.mode,
            recipe=recipe,
            seed=seed,
            private=cohort.is_private,
            ledger=receipt,
            created=today(),
            versions=versions(),
            trace=tuple(trace),
        )
        if answers is not None and recipe.refit_sd > 0.0:
            model = decoder.refit(teacher, asked.native_json, answers, recipe.refit_sd, seed)
            self.release_ = replace(self.release_, teacher_model=model)
        del answers  # tens of megabytes, which the free phase does not need
        if not is_last:
            rows = self.release_.rows_for(objective, recipe, n_rows, seed, self.n_jobs, progress)
            self.release_ = replace(self.release_, rows=rows, learner=objective.describe())

    def _private_phase(
        self,
        decoder: Decoder,
        cohort: Cohort,
        encoded: Encoded,
        asked: learners.Objective,
        recipe: Recipe,
        n_rows: int,
        seed: int,
        progress: phases.Progress | None,
    ) -> tuple[Rows, list[float], Answers | None]:
        """Return the teacher's rows, the noisy trace, and the late answers of native learners."""
        options: Any = {"n_rows": n_rows, "seed": seed, "progress": progress}
        if asked.is_native:
            return phases.private_native(decoder, cohort, asked.native_json, recipe, **options)
        patients = patients_table(decoder, encoded, self.schema)
        rows, trace = phases.direct(decoder, cohort, patients, asked, recipe, n_jobs=self.n_jobs, **options)
        return rows, trace, None

    def _remember_input(self, X: Any) -> None:
        self.__dict__.pop("feature_names_in_", None)
        if is_frame(X):
            names: NDArray[Any] = np.asarray(frame_names(X), dtype=object)
            self.feature_names_in_ = names
            self.n_features_in_ = len(names)
        else:
            self.n_features_in_ = np.asarray(X).shape[1]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags
