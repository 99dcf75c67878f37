"""Public settings of a run: everything that is fixed before data are read, and cost nothing to choose.

The defaults were chosen on public cohorts (docs/experiments.md), never on the data at hand.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from zodc.options import MOST_ROWS, OptionError, count, number, settle

__all__ = ["MOST_REFITTED", "Anneal", "Kind", "Recipe", "Schedule", "default_recipe", "own_recipe"]

# Feature columns from which a table counts as wide: a weak ridge then fits the chance effects of a few
# hundred rows, and the differences between candidates are mostly these.
WIDE = 50
# What rows are made for: any learner, and trees; smooth native ones; or such as need Python.
Kind = Literal["any", "smooth", "foreign"]
# Sharpness of the labels by kind; on wide tables twice it, but 1 for smooth learners.
_SHARPNESS: dict[Kind, float] = {"smooth": 1.2, "any": 3.0, "foreign": 4.0}
# Draws of rows by kind, of which the best is kept, and what bounds them times the feature columns.
_DRAWS: dict[Kind, int] = {"smooth": 100, "any": 256, "foreign": 16}
_MOST_DRAWN = 7_500
# Draws of survival rows: each takes a sixth of a second, for the exchange of outcomes.
_SURVIVAL_DRAWS = 32
# Coefficients up to which the teacher is fitted again.
MOST_REFITTED = 1000
# Settings that are whole numbers from 1 on, and the most that each may be; a plan has the same limits.
_MOST_ROUNDS, _MOST_DIRECTIONS = 1_000_000, 4096
_COUNTS = {
    "directions": _MOST_DIRECTIONS,
    "teacher_rows": MOST_ROWS,
    "draws": MOST_ROWS,
    "public_directions": _MOST_DIRECTIONS,
    "population_rows": MOST_ROWS,
    "check_every": _MOST_ROUNDS,
    "hazard_intervals": 1000,
}
# Sharpness at which labels are those of the likeliest rows.
_HARD = 64.0
# The least share of the clip that few patients get.
_LEAST_CLIP = 0.2


@dataclass(frozen=True)
class Anneal:
    """Start and end of a quantity that falls geometrically over the rounds, both above 0."""

    start: float
    end: float


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What changes from round to round.

    Attributes
    ----------
    rounds : int
        Number of rounds T.
    radius : Anneal
        Smoothing radius μ, in latents: a share of the patients.
    step : Anneal
        Step, in latents.
    clip : Anneal
        Clip C of one loss difference, in nats; a patient's K-vector is clipped to C·√K.
    momentum : float
        In [0, 1).
    """

    rounds: int
    radius: Anneal
    step: Anneal
    clip: Anneal
    momentum: float = 0.9

    def __post_init__(self) -> None:
        settle(
            self,
            rounds=count("rounds", self.rounds, least=0, most=_MOST_ROUNDS),
            momentum=number("momentum", self.momentum, below=1, or_zero=True),
            **{name: _settled(name, getattr(self, name)) for name in ("radius", "step", "clip")},
        )

    def to_json(self) -> str:
        """Write as the extension reads it."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All public settings of a run.

    Attributes
    ----------
    private : Schedule
        Rounds that ask the patients.
    directions : int
        Directions K of a private round.
    full_clip_from : float
        Noisy count of patients a feature column from which rounds clip as `private` says. Fewer are clipped
        tighter in proportion, to a fifth at least, where the refit undoes the bias of it: a wide clip lets in
        little but noise then. 0 clips all as `private` says.
    marginal_share : float
        Share of the budget, in squared GDP parameter, for the noisy marginals.
    teacher_rows : int
        Synthetic rows of the private phase.
    teacher_c : float
        Inverse strength of the logistic teacher's L2 penalty, above 0.
    refit_sd : float
        Prior standard deviation by which the teacher, fitted again on the noisy answers, may depart from the
        one fitted on the teacher rows, for a coefficient of a standardised feature; 0 leaves it as it is, and
        stands for what cannot be fitted again: direct mode, several rows a patient, a thousand coefficients.
    draws : int
        Draws of labelled rows that pseudo-patients judge before the free rounds, which start from the best.
    public : Schedule
        Free rounds that ask the pseudo-population.
    public_directions : int
        Directions of a free round.
    population_rows : int
        Pseudo-patients.
    sharpness : float
        Power that the teacher's odds are raised to before the rows are labelled, above 0: 1 is calibrated,
        more ranks better.
    check_every : int
        Free rounds between two looks at the mean loss; the best rows seen are kept.
    hazard_intervals : int
        Intervals of the piecewise-constant baseline hazard.
    """

    private: Schedule
    directions: int
    full_clip_from: float
    marginal_share: float
    teacher_rows: int
    teacher_c: float
    refit_sd: float
    draws: int
    public: Schedule
    public_directions: int
    population_rows: int
    sharpness: float
    check_every: int
    hazard_intervals: int

    def __post_init__(self) -> None:
        # Before a run is charged: a setting that fails later would cost the budget.
        counts = {name: count(name, getattr(self, name), most=most) for name, most in _COUNTS.items()}
        settle(
            self,
            **counts,
            teacher_c=number("teacher_c", self.teacher_c),
            sharpness=number("sharpness", self.sharpness),
            full_clip_from=number("full_clip_from", self.full_clip_from, or_zero=True),
            refit_sd=number("refit_sd", self.refit_sd, or_zero=True),
            marginal_share=number("marginal_share", self.marginal_share, below=1),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers for the manifest."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Recipe:
        """Read what `to_dict` wrote."""
        schedules = {name: _schedule(values[name]) for name in ("private", "public")}
        # Releases of 0.1.0's first days have no penalty of the teacher: it was 1; their labels were hard,
        # their teachers were not fitted again, and their rows were the first draw.
        older = {"teacher_c": 1.0, "sharpness": _HARD, "refit_sd": 0.0, "draws": 1, "full_clip_from": 0.0}
        return cls(**{**older, **values, **schedules})

    def private_for(self, patients: float, n_features: int) -> Schedule:
        """Return the private rounds for a noisy count of patients and a number of feature columns."""
        wanted = self.full_clip_from * n_features if self.refit_sd > 0.0 else 0.0
        share = min(1.0, max(_LEAST_CLIP, patients / wanted)) if wanted > 0.0 else 1.0
        clip = Anneal(share * self.private.clip.start, share * self.private.clip.end)
        return replace(self.private, clip=clip)

    def but(
        self,
        *,
        rounds: int | None = None,
        directions: int | None = None,
        marginal_share: float | None = None,
    ) -> Recipe:
        """Take other numbers for the private phase, where they are given."""
        return replace(
            self,
            private=self.private if rounds is None else replace(self.private, rounds=rounds),
            directions=self.directions if directions is None else directions,
            marginal_share=self.marginal_share if marginal_share is None else marginal_share,
        )


def _settled(name: str, anneal: Anneal) -> Anneal:
    return Anneal(number(f"{name}.start", anneal.start), number(f"{name}.end", anneal.end))


def _schedule(values: dict[str, Any]) -> Schedule:
    anneals = {name: Anneal(**values[name]) for name in ("radius", "step", "clip")}
    return Schedule(**{**values, **anneals})


def own_recipe(recipe: object) -> Recipe | None:
    """Return the recipe of the user, None without one.

    Raises
    ------
    OptionError
        When it is none.
    """
    if recipe is None or isinstance(recipe, Recipe):
        return recipe
    raise OptionError(f"The 'recipe' option must be a zodc.Recipe. Got {type(recipe).__name__} instead.")


def default_recipe(
    *,
    survival: bool,
    n_features: int,
    kind: Kind,
) -> Recipe:
    """Choose the settings from public facts.

    Parameters
    ----------
    survival : bool
        Task of the schema.
    n_features : int
        Feature columns of the schema.
    kind : {"any", "smooth", "foreign"}
        What the rows are for: foreign learners get few free rounds, since each fit takes long; smooth ones
        get labels nearly as calibrated as the teacher, all others sharper ones, which rank better.
    """
    is_wide = n_features >= WIDE and not survival
    narrowing = Anneal(0.15, 0.03)
    if survival:
        private = Schedule(rounds=400, radius=narrowing, step=Anneal(0.03, 0.004), clip=Anneal(0.5, 0.2))
    elif is_wide:
        private = Schedule(
            rounds=100, radius=Anneal(0.15, 0.15), step=Anneal(0.05, 0.006), clip=Anneal(0.4, 0.4)
        )
    else:
        private = Schedule(rounds=200, radius=narrowing, step=Anneal(0.06, 0.004), clip=Anneal(0.3, 0.15))
    is_smooth = kind == "smooth" and not survival
    public = Schedule(
        rounds=_public_rounds(kind, survival=survival, is_wide=is_wide),
        radius=narrowing,
        step=Anneal(0.06 if is_smooth else 0.03, 0.004),
        clip=Anneal(1.0, 1.0),
    )
    return Recipe(
        private=private,
        directions=32,
        full_clip_from=150.0 if survival else 0.0,
        marginal_share=0.12 if survival else 0.15,
        teacher_rows=200,
        teacher_c=0.03 if is_wide else 0.2,
        refit_sd=0.1,
        draws=_draws(kind, survival=survival, n_features=n_features),
        public=public,
        public_directions=4 if kind == "foreign" else 32,
        population_rows=4000,
        sharpness=_sharpness(kind, is_wide=is_wide),
        check_every=1 if kind == "foreign" else 50,
        hazard_intervals=10,
    )


def _public_rounds(kind: Kind, *, survival: bool, is_wide: bool) -> int:
    """Return the free rounds: they help the learner that is asked, and cost all others.

    The best of many draws does more for trees. Balanced survival outcomes say all that the teacher knows.
    """
    if kind == "foreign":
        return 10
    return 400 if kind == "smooth" and is_wide and not survival else 0


def _draws(kind: Kind, *, survival: bool, n_features: int) -> int:
    """Return the draws to choose from; rows for Cox regression gain nothing by it."""
    if survival and kind == "smooth":
        return 1
    most = _SURVIVAL_DRAWS if survival else _DRAWS[kind]
    return max(1, min(most, _DRAWS[kind], _MOST_DRAWN // max(1, n_features)))


def _sharpness(kind: Kind, *, is_wide: bool) -> float:
    if not is_wide:
        return _SHARPNESS[kind]
    return 1.0 if kind == "smooth" else 2.0 * _SHARPNESS[kind]
