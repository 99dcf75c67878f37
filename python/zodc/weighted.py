"""Rows with weights: every class of a pseudo-patient, as likely as the teacher says.

A label says yes or no, a weight says how likely. Trees and forests trained on weighted rows rank patients
better than on as many labelled ones, and their probabilities are nearer the truth. Free: only the release is
read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zodc.cells import Floats
from zodc.draws import best_draw, misranking, n_draws
from zodc.options import MOST_ROWS, OptionError, count, public_seed, seed_of_draw
from zodc.recipe import default_recipe
from zodc.release import Release
from zodc.tables import Table, columns_of, to_frame

__all__ = ["WEIGHT", "WeightedRows", "weighted_rows"]

# Name of the column that holds the weights; underscores are added until no column of the schema has it.
WEIGHT = "row_weight"


@dataclass(frozen=True, kw_only=True)
class WeightedRows:
    """Rows to train a classifier on with `fit(X, y, sample_weight=weight)`. All of it may be published.

    Attributes
    ----------
    X : DataFrame of shape (n_rows, n_columns)
        Features and flags, as in a release.
    y : ndarray of shape (n_rows,)
        Labels.
    weight : ndarray of shape (n_rows,)
        Weights, at least 0, 1 in the mean. Without them the labels say nothing: each class is as frequent.
    target : str
        Name of the target.
    """

    X: pd.DataFrame = field(repr=False)
    y: NDArray[Any] = field(repr=False)
    weight: Floats = field(repr=False)
    target: str

    def frame(self) -> pd.DataFrame:
        """Build one table: features, the target, and a column `row_weight`."""
        name = WEIGHT
        while name in self.X or name == self.target:
            name += "_"
        return self.X.assign(**{self.target: self.y, name: self.weight})


def weighted_rows(release: Release, *, n_rows: int = 500, random_state: Any = None) -> WeightedRows:
    """Draw pseudo-patients from a release, each once with every class, weighted by the teacher.

    Of many draws the one is kept from which trees learn the teacher best.

    Parameters
    ----------
    release : Release
        Of a classification.
    n_rows : int, default=500
        Rows at most: the number of classes times the pseudo-patients.
    random_state : None, int or NumPy generator
        Fixes the pseudo-patients.

    Returns
    -------
    WeightedRows

    Raises
    ------
    ValueError
        For a survival release, or fewer rows than classes.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from zodc import Column, Condenser, Schema, weighted_rows
    >>> schema = Schema([
    ...     Column(name="age", kind="continuous", lower=18, upper=100, unit="years"),
    ...     Column(name="died", kind="binary", role="target"),
    ... ])
    >>> ages = np.random.default_rng(0).uniform(20, 90, (500, 1))
    >>> condenser = Condenser(schema, epsilon=1.0, delta=1e-5, rounds=5)
    >>> release = condenser.fit(ages, (ages[:, 0] > 60).astype(int)).release_
    >>> rows = weighted_rows(release, n_rows=100)
    >>> rows.X.shape, round(float(rows.weight.mean()), 6)
    ((100, 1), 1.0)
    >>> model = DecisionTreeClassifier(max_depth=3).fit(rows.X, rows.y, sample_weight=rows.weight)
    """
    if not isinstance(release, Release):
        raise OptionError(
            "The 'release' option must be a zodc.Release, such as a fitted Condenser's release_. "
            f"Got {type(release).__name__} instead."
        )
    schema = release.schema
    if schema.target is None:
        raise OptionError(
            "The release must be of a classification: weights say how likely a class is. Got a survival "
            "release instead; take its rows as they are, or recondense it for another learner."
        )
    n_classes = len(schema.target.levels)
    n_patients = count("n_rows", n_rows, most=MOST_ROWS) // n_classes
    if n_patients < 1:
        raise OptionError(
            f"The 'n_rows' option must be at least {n_classes}, one row for each class. Got {n_rows} instead."
        )
    decoder, seed = release.decoder, public_seed(random_state)
    recipe = default_recipe(survival=False, n_features=len(schema.features), kind="any")
    judges = decoder.population_table(release.population(recipe.population_rows, seed))
    misranked = misranking(decoder, judges)

    def drawn(number: int) -> tuple[Table, Floats]:
        own = release.population(n_patients, seed_of_draw(seed, number))
        return _once_with_every_class(decoder.population_table(own))

    table, weight = best_draw(drawn, lambda draw: misranked(*draw), n_draws(recipe.draws, n_rows))
    columns = columns_of(table, schema)
    frame = to_frame(columns)
    return WeightedRows(
        X=frame.drop(columns=schema.target.name),
        y=columns[schema.target.name],
        weight=weight,
        target=schema.target.name,
    )


def _once_with_every_class(population: Table) -> tuple[Table, Floats]:
    """Rows of pseudo-patients, each with every class, and weights that are 1 in the mean."""
    cells, missing, probability = population
    n_patients, n_classes = probability.shape
    classes = np.tile(np.arange(float(n_classes)), n_patients)[:, None]
    table = (np.repeat(cells, n_classes, axis=0), np.repeat(missing, n_classes, axis=0), classes)
    return table, np.ascontiguousarray(n_classes * probability.ravel())
