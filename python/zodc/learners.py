"""What the rows are made for: native learners, foreign models, and weighted mixtures of both."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from numbers import Real
from typing import Any

from zodc.models import PythonModel
from zodc.options import MOST_ROWS, OptionError, count, number, settle
from zodc.recipe import Kind
from zodc.schema import Schema, Task

__all__ = ["Cox", "Logistic", "Native", "Objective", "Tree", "resolve", "teacher"]


_MOST_DEPTH = 1000


@dataclass(frozen=True, kw_only=True)
class Native:
    """A learner that runs in Rust."""

    def to_dict(self) -> dict[str, Any]:
        """Name and options, as Rust and the manifest read them."""
        return {"kind": type(self).__name__.lower(), **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class Tree(Native):
    """Classification tree (CART, Gini), as scikit-learn's `DecisionTreeClassifier`.

    Parameters
    ----------
    max_depth : int, default=4
        Most splits from the root to a leaf.
    min_samples_leaf : int, default=5
        Fewest synthetic rows in a leaf.
    smoothing : float, default=1.0
        Pseudo-count of each class in a leaf, above 0: keeps probabilities away from 0 and 1.
    """

    max_depth: int = 4
    min_samples_leaf: int = 5
    smoothing: float = 1.0

    def __post_init__(self) -> None:
        settle(
            self,
            max_depth=count("max_depth", self.max_depth, most=_MOST_DEPTH),
            min_samples_leaf=count("min_samples_leaf", self.min_samples_leaf, most=MOST_ROWS),
            smoothing=number("smoothing", self.smoothing),
        )


@dataclass(frozen=True, kw_only=True)
class Logistic(Native):
    """Logistic regression, binary or multinomial, with an L2 penalty.

    Parameters
    ----------
    c : float, default=1.0
        Inverse strength of the penalty, as scikit-learn's `C`.
    """

    c: float = 1.0

    def __post_init__(self) -> None:
        settle(self, c=number("c", self.c))


@dataclass(frozen=True, kw_only=True)
class Cox(Native):
    """Cox regression (Efron ties, ridge) with a piecewise-constant baseline hazard.

    Parameters
    ----------
    penalizer : float, default=0.01
        Strength of the ridge, as in lifelines' `CoxPHFitter`.
    """

    penalizer: float = 0.01

    def __post_init__(self) -> None:
        settle(self, penalizer=number("penalizer", self.penalizer, or_zero=True))


_NATIVE: dict[str, tuple[type[Native], Task]] = {
    "tree": (Tree, "classification"),
    "logistic": (Logistic, "classification"),
    "cox": (Cox, "survival"),
}


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A weighted mixture of learners.

    Attributes
    ----------
    parts : tuple of (float, Native or PythonModel)
        Weights above 0 that sum to 1, with their learners. Empty: rows for any learner, as the teacher
        labels them.
    """

    parts: tuple[tuple[float, Native | PythonModel], ...]

    @property
    def native_json(self) -> str:
        """Native learners with their weights, as Rust reads them."""
        natives = [(weight, part) for weight, part in self.parts if isinstance(part, Native)]
        return json.dumps([{"weight": weight, "learner": part.to_dict()} for weight, part in natives])

    @property
    def models(self) -> tuple[tuple[float, PythonModel], ...]:
        """Foreign models with their weights."""
        return tuple((weight, part) for weight, part in self.parts if isinstance(part, PythonModel))

    @property
    def kind(self) -> Kind:
        """What the recipe's defaults follow: see `zodc.recipe.Kind`."""
        if self.parts and all(isinstance(part, Logistic | Cox) for _, part in self.parts):
            return "smooth"
        return "foreign" if self.models else "any"

    @property
    def is_native(self) -> bool:
        """Whether all of it runs in Rust."""
        return not self.models

    def is_served_by_teacher(self, *, refitted: bool) -> bool:
        """Whether the rows of the private phase are the release.

        Those of a teacher that was fitted again are not: rows made from it are better.
        """
        return self.kind == "smooth" and not refitted

    def describe(self) -> list[dict[str, Any]]:
        """Plain description for the manifest."""
        return [{"weight": weight, **part.to_dict()} for weight, part in self.parts] or [{"kind": "any"}]

    def bound(self, time_grid: list[float] | None, seed: int) -> Objective:
        """Give foreign models the public time grid, and a public seed where they have none."""
        grid = None if time_grid is None else tuple(time_grid)

        def bind(part: Native | PythonModel) -> Native | PythonModel:
            return part if isinstance(part, Native) else replace(part, time_grid=grid, seed=seed)

        return Objective(parts=tuple((weight, bind(part)) for weight, part in self.parts))


def teacher(task: Task, *, c: float) -> Objective:
    """Return the smooth learner that takes the budget in the two-phase mode; `c` is of the logistic one."""
    return Objective(parts=((1.0, Cox() if task == "survival" else Logistic(c=c)),))


def resolve(learner: Any, schema: Schema) -> Objective:
    """Turn what the user wrote into an objective.

    Parameters
    ----------
    learner : str, Native, estimator, list, or dict
        `"any"`, rows that no learner is asked about; `"tree"`, `"logistic"`, `"cox"`; their classes with
        options; a scikit-learn classifier with `predict_proba`; a lifelines regression fitter; a
        scikit-survival estimator with `predict_survival_function`. A list of these, or of (learner,
        weight) pairs, or a dict from learner to weight, is a mixture. Weights are divided by their sum, for
        the clip is absolute.
    schema : Schema

    Returns
    -------
    Objective

    Raises
    ------
    OptionError
        For an unknown name, a learner of another task, a weight that is not above 0, or a model whose
        loss cannot be written per patient.

    Notes
    -----
    In mode `"direct"`, and with a recipe that has free rounds, all options and weights matter. Else those of
    native learners do only for logistic regressions, and beside Python models: a native tree, alone or in a
    mixture of native learners, gives the rows for any learner, and options of `Cox` change nothing.

    Examples
    --------
    >>> from zodc.schema import Column, Schema
    >>> schema = Schema([
    ...     Column(name="age", kind="continuous", lower=18, upper=100),
    ...     Column(name="died", kind="binary", role="target"),
    ... ])
    >>> [weight for weight, _ in resolve({"tree": 2, "logistic": 1}, schema).parts]
    [0.6666666666666666, 0.3333333333333333]
    """
    if isinstance(learner, str) and learner == "any":
        return Objective(parts=())
    parts = tuple((_weight(weight), _one(part, schema)) for part, weight in _pairs(learner))
    if not parts:
        raise OptionError("The 'learner' option must name at least one learner. Got none.")
    whole = sum(weight for weight, _ in parts)
    return Objective(parts=tuple((weight / whole, part) for weight, part in parts))


def _pairs(learner: Any) -> list[tuple[Any, Any]]:
    if isinstance(learner, Mapping):
        return list(learner.items())
    if isinstance(learner, list | tuple):
        return [part if isinstance(part, tuple) and len(part) == 2 else (part, 1.0) for part in learner]
    return [(learner, 1.0)]


def _weight(weight: Any) -> float:
    holds = isinstance(weight, Real) and not isinstance(weight, bool) and math.isfinite(weight)
    if not holds or weight <= 0:
        raise OptionError(f"The 'learner' option must have weights above 0. Got {weight!r} instead.")
    return float(weight)


def _one(learner: Any, schema: Schema) -> Native | PythonModel:
    if isinstance(learner, str):
        if learner == "any":
            raise OptionError("The 'learner' option takes 'any' alone: leave out its weight, and others.")
        if learner not in _NATIVE:
            names = ", ".join(["any", *_NATIVE])
            raise OptionError(
                f"The 'learner' option must be one of {names}, or a model. Got {learner!r} instead."
            )
        return _of_task(_NATIVE[learner][0](), schema)
    if isinstance(learner, Native):
        return _of_task(learner, schema)
    return PythonModel.wrap(learner, schema)


def _of_task(learner: Native, schema: Schema) -> Native:
    name = type(learner).__name__.lower()
    if _NATIVE[name][1] != schema.task:
        fitting = ", ".join(other for other, (_, task) in _NATIVE.items() if task == schema.task)
        raise OptionError(
            f"The 'learner' option must fit the schema's task, {schema.task}: take {fitting}. "
            f"Got {name!r} instead."
        )
    return learner
