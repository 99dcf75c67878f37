"""What does not belong together is refused at the door to Rust: no panic, and no answer either."""

import json
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from cohorts import quick
from zodc import Column, Condenser, Schema
from zodc._zodc import Cohort, DataError, Decoder, FittedModels, Rows, Search

LOGISTIC = '[{"weight": 1.0, "learner": {"kind": "logistic"}}]'
COX = '[{"weight": 1.0, "learner": {"kind": "cox"}}]'
X, TWO = np.random.default_rng(0).random((10, 2)), np.arange(10.0) % 2
TIME, EVENT, GRID = np.arange(1.0, 11), np.ones(10), [0.0, 5.0, 11.0]


def _schema(n_features: int, n_classes: int) -> Schema:
    features = [Column(name=f"x{j}", kind="continuous", lower=0, upper=1) for j in range(n_features)]
    categories = tuple("abcd"[:n_classes])
    return Schema([*features, Column(name="y", kind="categorical", categories=categories, role="target")])


def _decoder(n_features: int, n_classes: int) -> Decoder:
    feature = {"missing": 0.0, "edges": [0.0, 0.5, 1.0], "weights": [0.5, 0.5]}
    outcome = {"task": "classes", "weights": [1 / n_classes] * n_classes}
    marginals = {"count": 100.0, "share_sd": 0.01, "features": [feature] * n_features, "outcome": outcome}
    return Decoder(_schema(n_features, n_classes).to_json(), json.dumps(marginals), 4)


def _rows(n_features: int, codes: list[int], n_classes: int) -> Rows:
    latents = np.linspace(0, 1, len(codes) * n_features).reshape(len(codes), n_features)
    return Rows(latents, json.dumps({"task": "classes", "codes": codes, "n_classes": n_classes}))


@pytest.mark.parametrize(
    "rows",
    [
        _rows(2, [0, 1, 2, 1], 3),
        _rows(2, [0, 1, 2, 1], 2),
        _rows(3, [0, 1, 0, 1], 2),
        Rows(np.zeros((2, 2)), json.dumps({"task": "events", "event": [True, False]})),
    ],
    ids=["three classes", "a code too high", "another width", "survival"],
)
def test_rows_of_another_schema_are_refused(rows: Rows) -> None:
    decoder = _decoder(2, 2)
    with pytest.raises(DataError, match="do not belong to this schema"):
        decoder.population(rows, LOGISTIC, 100, 1)
    with pytest.raises(DataError, match="do not belong to this schema"):
        decoder.table(rows)


@pytest.mark.parametrize("shape", [(3, 2), (2, 3)], ids=["another width", "three classes"])
def test_pseudo_patients_of_another_schema_are_refused(shape: tuple[int, int]) -> None:
    n_classes = shape[1]
    codes = [row % n_classes for row in range(12)]
    population = _decoder(*shape).population(_rows(shape[0], codes, n_classes), LOGISTIC, 100, 1)
    decoder, start = _decoder(2, 2), _rows(2, [0, 1] * 6, 2)
    with pytest.raises(DataError, match="population"):
        decoder.labelled_rows(population, 50, 1.0)
    with pytest.raises(DataError, match="population"):
        decoder.condense_public(population, start, LOGISTIC, _schedule(1), 2, 1, 1)
    with pytest.raises(DataError, match="population"):
        decoder.population_table(population)


def test_no_pseudo_patients_cannot_be_labelled() -> None:
    decoder = _decoder(2, 2)
    population = decoder.population(_rows(2, [0, 1] * 6, 2), LOGISTIC, 0, 1)
    with pytest.raises(RuntimeError, match="there are no rows"):
        decoder.labelled_rows(population, 5, 1.0)
    with pytest.raises(ValueError, match="'n_rows' option must be at least 1"):
        decoder.uniform_rows(0, 1)


@pytest.mark.parametrize("width", [1, 3, 4])
def test_cells_of_another_width_are_not_encoded(width: int) -> None:
    decoder, cells = _decoder(2, 2), np.zeros((4, width))
    for call in (decoder.encode, decoder.tabulate, lambda cells: decoder.encode_table(cells, cells)):
        with pytest.raises(DataError, match="their number is not the schema's"):
            call(cells)


def test_flags_of_another_shape_are_not_encoded() -> None:
    with pytest.raises(DataError, match="another shape"):
        _decoder(2, 2).encode_table(np.zeros((4, 2)), np.zeros((3, 2)))


def _logistic() -> FittedModels:
    return FittedModels(LOGISTIC, X, TWO, n_classes=2)


def _cox(event: np.ndarray | None = EVENT, grid: list[float] | None = None) -> FittedModels:
    return FittedModels(COX, X, TIME, event=event, time_grid=grid or GRID)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: FittedModels("[]", X, TWO, n_classes=2), "no learner"),
        (lambda: FittedModels(LOGISTIC, np.zeros((10, 0)), TWO, n_classes=2), "no columns"),
        (lambda: FittedModels(LOGISTIC, X, TWO - 1, n_classes=2), "none of 2 classes"),
        (lambda: FittedModels(LOGISTIC, X, TWO / 2, n_classes=2), "none of 2 classes"),
        (lambda: FittedModels(LOGISTIC, X, np.full(10, np.nan), n_classes=2), "missing"),
        (lambda: _cox(event=None), "one per time"),
        (lambda: _cox(event=EVENT[:3]), "one per time"),
        (lambda: _cox(grid=[9.0, 5.0, 1.0]), "ascend"),
        (lambda: _cox(grid=[0.0, 5.0, 5.0]), "ascend"),
        (lambda: _logistic().predict_proba(np.zeros((3, 5))), "another width"),
        (lambda: _logistic().losses(np.zeros((10, 5)), TWO), "another width"),
        (lambda: _logistic().losses(X, TWO[:4]), "one value per row"),
        (lambda: _logistic().losses(X, np.full(10, 7.0)), "none of 2 classes"),
        (lambda: _logistic().losses(X, TIME, EVENT), "one per time"),
        (lambda: _cox().losses(X, TIME), "one per time"),
        (lambda: _cox().losses(X, TIME, EVENT[:3]), "one per time"),
    ],
)
def test_models_refuse_what_they_cannot_be_fitted_or_scored_on(
    call: Callable[[], object], message: str
) -> None:
    with pytest.raises((DataError, RuntimeError), match=message):
        call()


def _schedule(rounds: int) -> str:
    constant = {"start": 0.1, "end": 0.1}
    return json.dumps(
        {"rounds": rounds, "radius": constant, "step": constant, "clip": constant, "momentum": 0.9}
    )


def test_directions_that_would_repeat_those_of_the_next_round_are_refused() -> None:
    rows = _rows(2, [0, 1], 2)
    assert Search(rows, _schedule(2), 1 << 16, 1).round == 0
    with pytest.raises(ValueError, match=r"'directions' option must be .* to 65536\. Got 65537"):
        Search(rows, _schedule(2), (1 << 16) + 1, 1)


def test_the_interpreter_is_free_while_a_cohort_is_taken_in() -> None:
    """Another thread moves on; with the interpreter held, it would not once."""
    recipe = quick(rounds=1)
    condenser = Condenser(_schema(40, 2), learner="logistic", epsilon=1.0, delta=1e-5, recipe=recipe)
    plan, n = condenser.plan(), 200_000
    cells, classes = np.zeros((n, 40)), np.zeros(n)
    ticks, done = [0.0], threading.Event()

    def tick() -> None:
        while not done.wait(0.001):
            ticks.append(time.perf_counter())

    thread = threading.Thread(target=tick)
    thread.start()
    start = time.perf_counter()
    Cohort(_schema(40, 2).to_json(), plan.json, cells, classes)
    end = time.perf_counter()
    done.set()
    thread.join()
    assert sum(start + 0.1 * (end - start) < tick < end - 0.1 * (end - start) for tick in ticks) > 0
