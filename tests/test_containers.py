"""What fit_resample gives back: the caller's library and container, with the types of the schema."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from cohorts import CLASSES, SURVIVAL, patients, quick_condenser, survivors
from zodc import Schema


@pytest.mark.parametrize(
    ("schema", "cohort", "learner"),
    [(CLASSES, patients, "logistic"), (SURVIVAL, survivors, "cox")],
    ids=["classes", "survival"],
)
@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_fit_resample_gives_back_the_callers_library(schema, cohort, learner, library: str) -> None:
    make = {"pandas": lambda f: f, "polars": pl.from_pandas, "pyarrow": pa.Table.from_pandas}[library]
    frame, names = cohort(120), [column.name for column in schema.outcomes]
    whole, features = make(frame), make(frame.drop(columns=names))
    condenser = quick_condenser(schema, learner=learner)
    for y in (None, names):
        x_new, y_new = condenser.fit_resample(whole, y)
        assert type(x_new) is type(features) and len(x_new) == len(y_new) == 30
        assert pd.DataFrame(_plain(x_new)).columns.tolist() == frame.drop(columns=names).columns.tolist()
        assert type(y_new).__module__.split(".")[0] == type(whole).__module__.split(".")[0]
    x_new, y_new = condenser.fit_resample(features, make(frame[names]))
    assert type(y_new) is type(whole) and len(y_new) == 30


def _plain(frame):
    return frame if isinstance(frame, pd.DataFrame) else frame.to_pandas()


@pytest.mark.parametrize(
    "y",
    [
        lambda f: f["died"],
        lambda f: f["died"].astype(float).where(f.index != 3),
        lambda f: f["died"].to_numpy(),
        lambda f: f["died"].to_numpy() == 1,
        lambda f: f["died"].to_numpy().astype(float),
        lambda f: f["died"].astype(str).to_numpy().astype("U1"),
        lambda f: f["died"].astype(str).to_numpy(),
        lambda f: pl.Series("died", f["died"].to_numpy()),
    ],
)
def test_labels_come_back_in_their_container_with_the_type_of_the_schema(y) -> None:
    """The caller's type may depend on one patient: one missing label makes all of them floats."""
    frame = patients(100)
    labels = y(frame)
    _, y_new = quick_condenser().fit_resample(frame.drop(columns="died"), labels)
    assert type(y_new) is type(labels) and np.asarray(y_new).dtype == np.int64
    assert set(np.asarray(y_new).tolist()) == {0, 1}
    if isinstance(labels, pd.Series):
        assert y_new.name == "died"


def test_arrays_come_back_with_the_type_of_the_schema() -> None:
    schema = Schema((CLASSES.columns[0], CLASSES.columns[3], CLASSES.columns[4]))
    x = patients(60)[["age", "smokes"]].to_numpy(np.float32)
    x_new, _ = quick_condenser(schema).fit_resample(x, patients(60)["died"].tolist())
    assert x_new.dtype == np.float64


def test_structured_outcomes_come_back_structured() -> None:
    frame = survivors(120)
    for dtype in ([("cens", bool), ("t", np.float32)], [("time", np.int64), ("event", float)]):
        y = np.empty(120, dtype=dtype)
        event, time = ("cens", "t") if dtype[0][0] == "cens" else ("event", "time")
        y[event], y[time] = frame["event"] == 1, frame["time"]
        x_new, y_new = quick_condenser(SURVIVAL).fit_resample(frame[["age", "smokes"]].to_numpy(), y)
        assert y_new.dtype.names == y.dtype.names and x_new.shape == (30, 2) and x_new.dtype == np.float64
        assert y_new.dtype[event] == np.bool_ and y_new.dtype[time] == np.float64
        assert y_new[event].any() and not y_new[event].all()
