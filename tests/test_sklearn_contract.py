"""scikit-learn's own checks of an estimator."""

from __future__ import annotations

import numpy as np
from cohorts import quick
from sklearn.utils.estimator_checks import parametrize_with_checks
from zodc import Condenser, Schema
from zodc.schema import Column

# Each is a promise that a condenser makes to patients rather than to scikit-learn.
EXPECTED_FAILURES = {
    "check_dtype_object": "wants an error for one unreadable cell; a cell is missing here, without a word, "
    "since no outcome may depend on one patient",
    "check_estimators_empty_data_messages": "wants the shape in a message; it counts the patients",
}


class AnyWidth(Condenser):
    """A condenser whose schema follows from the width of X alone: checks bring tables of any width."""

    def __init__(
        self, schema=None, *, learner="logistic", epsilon=1.0, delta=1e-5, n_rows=10, random_state=None
    ):
        super().__init__(
            schema,
            learner=learner,
            epsilon=epsilon,
            delta=delta,
            n_rows=n_rows,
            random_state=random_state,
        )

    def fit(self, X, y=None, **options):
        """Fit by a schema that knows nothing but the width."""
        width = np.shape(X)[1] if np.ndim(X) == 2 else 1
        names = list(X.columns) if hasattr(X, "columns") else range(width)
        columns = [
            Column(name=str(name), kind="continuous", lower=-10, upper=10, missing="impute") for name in names
        ] or [Column(name="0", kind="continuous", lower=-10, upper=10)]
        target = Column(
            name="y", kind="categorical", role="target", categories=("-1", "0", "1", "2", "3"), fallback="0"
        )
        twin = Condenser(
            Schema((*columns, target)),
            learner=self.learner,
            epsilon=self.epsilon,
            delta=self.delta,
            n_rows=self.n_rows,
            recipe=quick(rounds=2),
            random_state=self.random_state,
        ).fit(X, y, **options)
        for name in ("release_", "n_features_in_", "feature_names_in_"):
            if hasattr(twin, name):
                setattr(self, name, getattr(twin, name))
        return self


@parametrize_with_checks([AnyWidth()], expected_failed_checks=lambda _: EXPECTED_FAILURES)
def test_scikit_learns_checks(estimator, check) -> None:
    check(estimator)
