"""Types of the extension module. Texts named `..._json` are JSON; arrays are C-contiguous float64.

All classes hold public data but :class:`Cohort`, which nothing can be read from. Calls that draw, fit, sum or
take in a cohort release the interpreter; the loops of rounds and the refit also look for Ctrl-C every 50 ms,
and the loops call `progress` with the number of rounds done.
"""

from collections.abc import Callable
from os import PathLike
from typing import Final, Never, final

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]
_Progress = Callable[[int], object] | None

__all__ = [
    "FEATURE_UNITS",
    "LATTICE_RADIUS",
    "Answers",
    "BudgetError",
    "Cohort",
    "DataError",
    "Decoder",
    "FittedModels",
    "Journal",
    "JournalError",
    "Population",
    "Rows",
    "SchemaError",
    "Search",
    "check_schema",
    "epsilon",
    "make_plan",
    "schema_from_toml",
    "schema_to_toml",
]

FEATURE_UNITS: Final = 4096
"""Lattice steps of one patient in one column of the marginals (docs/privacy.md)."""

LATTICE_RADIUS: Final = 1048576
"""Most that a patient's vector of loss differences measures on the lattice, in L2 (docs/privacy.md)."""

class SchemaError(ValueError):
    """The public schema is wrong."""

class DataError(ValueError):
    """The data do not fit the schema."""

class JournalError(ValueError):
    """The journal of a run cannot be trusted or resumed."""

class BudgetError(ValueError):
    """The privacy budget cannot pay for this."""

def check_schema(schema: str) -> str:
    """Check a schema given as JSON; return it with defaults filled in."""

def schema_from_toml(text: str) -> str:
    """Read a TOML schema; return JSON."""

def schema_to_toml(schema: str) -> str:
    """Write a JSON schema as TOML."""

def make_plan(
    schema: str,
    *,
    epsilon: float,
    delta: float,
    rounds: int,
    directions: int,
    marginal_share: float,
    sampling_rate: float | None = None,
    expected_patients: int | None = None,
    neighbours: str = "add_remove",
) -> str:
    """Fix the noise of a run; reads no data. Return the plan as JSON."""

def epsilon(charges: str, delta: float) -> tuple[float, str]:
    """Return the ε of a JSON list of charges at δ, and the name of the accountant that found it."""

@final
class Cohort:
    """Patients' rows behind their plan. Nothing can be read from it, and it cannot be pickled."""

    def __new__(
        cls,
        schema: str,
        plan: str,
        cells: _Floats,
        outcome: _Floats,
        event: _Floats | None = None,
        patient: _Integers | None = None,
        test_seed: int | None = None,
    ) -> Cohort:
        """Take in `n_rows × n_columns` cells; see :func:`zodc.frames.encode` for their form."""

    def marginals(self) -> str:
        """Ask for all marginals that the plan holds; return them as JSON."""

    def keep_journal(self, journal: Journal) -> None:
        """Keep this journal, and take what is on record there for those questions."""

    def end(self) -> None:
        """Answer nothing from here on, and let the journal go, whoever still holds this object."""

    def recorded_round(self, clip_norm: float) -> _Floats | None:
        """Return the answer to the next round if the journal has it, without asking anybody."""

    def answer_differences(self, differences: _Floats, clip_norm: float) -> _Floats:
        """Answer a round with noise, from `n_rows × K` loss differences of a Python model."""

    @property
    def is_private(self) -> bool:
        """Whether the noise comes from the operating system."""

    def __reduce__(self) -> Never: ...

@final
class Journal:
    """The journal of a run, locked while open; a cohort takes it over. It holds noisy answers only."""

    @staticmethod
    def create(path: str | PathLike[str], header: str, is_private: bool) -> Journal:
        """Begin the journal of a run; `header` is public text."""

    @staticmethod
    def open(path: str | PathLike[str]) -> Journal:
        """Open the journal of a run that was cut short."""

    def close(self) -> None:
        """Let the file and its lock go, unless a cohort has taken them."""

    @property
    def header(self) -> str:
        """The text with which the run began."""

@final
class Rows:
    """Synthetic rows as latents in [0, 1], with the outcome that stays fixed."""

    def __new__(cls, latents: _Floats, outcome: str) -> Rows:
        """Take `n_rows × n_latents` latents, and the outcome as JSON."""

    @property
    def latents(self) -> _Floats:
        """The latents, `n_rows × n_latents`."""

    @property
    def outcome(self) -> str:
        """The outcome as JSON."""

    def __len__(self) -> int: ...

@final
class Answers:
    """Noisy answers of late rounds, with what was proposed and how it was asked."""

@final
class Population:
    """Pseudo-patients drawn from the noisy marginals and labelled by the teacher."""

    @property
    def log_risk(self) -> NDArray[np.float64]:
        """Log hazard ratio of each pseudo-patient by the teacher; empty for classification."""

@final
class Decoder:
    """Everything public that decodes latents: schema, noisy marginals, the hazard's time grid."""

    def __new__(cls, schema: str, marginals: str, n_intervals: int) -> Decoder: ...
    @property
    def time_grid(self) -> list[float] | None:
        """Edges of the baseline hazard's intervals; None for classification."""

    def uniform_rows(self, n_rows: int, seed: int) -> Rows:
        """Return the start of the private phase: uniform latents, outcomes at the noisy prevalence."""

    def population(
        self, teacher: Rows, learner: str, n_rows: int, seed: int, model: str | None = None
    ) -> Population:
        """Draw a pseudo-population, labelled by `model`, or by the learner fitted on the teacher rows."""

    def labelled_rows(self, population: Population, n_rows: int, sharpness: float) -> Rows:
        """Return the start of the public phase: the first pseudo-patients with balanced labels."""

    def condense_private(
        self,
        cohort: Cohort,
        rows: Rows,
        learners: str,
        schedule: str,
        directions: int,
        seed: int,
        progress: _Progress = None,
        keeps: bool = False,
    ) -> tuple[Rows, list[float], Answers]:
        """Run the loop on patients.

        Return the rows, the size of each noisy answer, and the answers of the later half of the rounds if it
        `keeps` them.
        """

    def refit(self, teacher: Rows, learner: str, answers: Answers, prior_sd: float, seed: int) -> str:
        """Return the model of the teacher's rows, fitted again on the noisy answers, as JSON."""

    def condense_public(
        self,
        population: Population,
        rows: Rows,
        learners: str,
        schedule: str,
        directions: int,
        seed: int,
        every: int,
        progress: _Progress = None,
    ) -> tuple[Rows, list[float]]:
        """Run free rounds on pseudo-patients; return the best rows and the mean losses compared."""

    def table(self, rows: Rows) -> tuple[_Floats, _Floats, _Floats]:
        """Return cells in real units, missing flags (both `n_rows × n_columns`), and the outcome."""

    def population_table(self, population: Population) -> tuple[_Floats, _Floats, _Floats]:
        """Return the same as `table`; for classification the outcome holds class probabilities."""

    def tabulate(self, cells: _Floats) -> list[_Floats]:
        """Return cells and missing flags as `table` has them, of cells as a cohort is given."""

    def encode(self, cells: _Floats) -> _Floats:
        """Return what native learners see of cells in the form of :func:`zodc.frames.encode`."""

    def encode_table(self, cells: _Floats, missing: _Floats) -> _Floats:
        """Return what native learners see of cells and flags as `table` has them."""

@final
class Search:
    """The zeroth-order search driven from Python, for models that Rust does not know."""

    def __new__(cls, rows: Rows, schedule: str, directions: int, seed: int) -> Search: ...
    @property
    def round(self) -> int:
        """Rounds done."""

    @property
    def clip_norm(self) -> float:
        """L2 norm to which a patient's vector of this round is clipped."""

    @property
    def rows(self) -> Rows:
        """Rows where the search stands."""

    def candidate(self, index: int) -> Rows:
        """Return candidate `2k` (plus direction k) or `2k + 1` (minus direction k)."""

    def update(self, answers: _Floats) -> None:
        """Step by one answer per direction."""

@final
class FittedModels:
    """A weighted mixture of native learners fitted on encoded rows."""

    def __new__(
        cls,
        learners: str,
        x: _Floats,
        outcome: _Floats,
        *,
        n_classes: int = 0,
        event: _Floats | None = None,
        time_grid: list[float] | None = None,
    ) -> FittedModels: ...
    def coef(self) -> _Floats:
        """Return the first model's coefficients, `n_outputs × n_features`; empty for a tree."""

    def predict_proba(self, x: _Floats) -> _Floats:
        """Return the first model's class probabilities, `n_rows × n_classes`."""

    def losses(self, x: _Floats, outcome: _Floats, event: _Floats | None = None) -> _Floats:
        """Return the loss of each row under the mixture, as the private half computes it."""
