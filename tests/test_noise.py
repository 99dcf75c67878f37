"""Noise, forks, threads, row order and Ctrl-C, seen from Python."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cohorts import BUDGET, CLASSES, patients, quick
from scipy import stats
from zodc import Condenser
from zodc._zodc import BudgetError, Cohort
from zodc.frames import encode
from zodc.plan import make_plan

HERE = Path(__file__).parent
# False alarms of the distribution tests, each.
ALARM = 1e-6


def _cohort(rounds: int, directions: int, n: int = 20, test_seed: int | None = None) -> tuple[Cohort, float]:
    recipe = quick(rounds=rounds)
    condenser = Condenser(
        CLASSES, learner="tree", epsilon=5.0, delta=1e-5, recipe=recipe, rounds=rounds, directions=directions
    )
    plan = condenser.plan()
    rows = encode(patients(n), None, CLASSES)
    cohort = Cohort(CLASSES.to_json(), plan.json, rows.cells, rows.outcome, None, None, test_seed)
    return cohort, plan.to_dict()["charges"][-1]["event"]["noise_multiplier"]


def test_check_01_the_noise_is_normal_with_the_planned_scale() -> None:
    """The clipped sum is exact, so what is left over is the noise, in units of the clip norm."""
    rounds, directions, clip = 60, 500, 2.0
    cohort, multiplier = _cohort(rounds, directions)
    silent = np.zeros((20, directions))
    noise = np.concatenate([cohort.answer_differences(silent, clip) for _ in range(rounds)])
    scale = multiplier * clip
    assert stats.kstest(noise / scale, "norm").pvalue > ALARM
    half = stats.norm.isf(ALARM / 2) / np.sqrt(2 * len(noise))
    assert noise.std() / scale == pytest.approx(1.0, abs=half)
    assert abs(noise.mean() / scale) < stats.norm.isf(ALARM / 2) / np.sqrt(len(noise))
    assert abs(np.corrcoef(noise[:-1], noise[1:])[0, 1]) < stats.norm.isf(ALARM / 2) / np.sqrt(len(noise))


def test_a_patients_vector_is_clipped_jointly_and_nan_counts_as_nothing() -> None:
    quiet = {"epsilon": 1e4, "delta": 0.1, "rounds": 2, "directions": 4, "marginal_share": 0.01}
    plan = Condenser(CLASSES, learner="tree", **quiet).plan()
    noise = plan.to_dict()["charges"][-1]["event"]["noise_multiplier"]
    assert noise < 0.02
    rows = encode(patients(3), None, CLASSES)
    cohort = Cohort(CLASSES.to_json(), plan.json, rows.cells, rows.outcome)
    losses = np.array([[3.0, 0, 4.0, 0], [0.1, 0, 0, 0], [9.0, np.nan, 9.0, 9.0]])
    np.testing.assert_allclose(cohort.answer_differences(losses, 1.0), [0.7, 0, 0.8, 0], atol=8 * noise)
    losses[2] = [np.inf, 1, 1, 1]
    np.testing.assert_allclose(cohort.answer_differences(losses, 1.0), [0.7, 0, 0.8, 0], atol=8 * noise)


def test_questions_beyond_the_plan_are_refused() -> None:
    cohort, _ = _cohort(2, 4)
    for _ in range(2):
        cohort.answer_differences(np.zeros((20, 4)), 1.0)
    with pytest.raises(ValueError, match="all of them are spent"):
        cohort.answer_differences(np.zeros((20, 4)), 1.0)
    cohort.marginals()
    with pytest.raises(ValueError, match="all of them are spent"):
        cohort.marginals()


def _in_a_child(work: Callable[[], bytes]) -> bytes:
    """Return what `work` returns in a fork of this process."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:  # whatever happens, the child must not go on with the other tests
            signal.alarm(60)  # ends a child that waits for ever
            os.write(writer, work())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        found = pipe.read()
    os.waitpid(child, 0)
    return found


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_check_11_fork_gives_distinct_noise() -> None:
    """A generator in user space would be copied by the fork; a pool of threads would not, and be waited for.

    600 rows are more than one task: the answer needs a worker.
    """

    def answer() -> bytes:
        cohort, _ = _cohort(1, 16, n=600)
        return cohort.answer_differences(np.zeros((600, 16)), 1.0).tobytes()

    answers = [answer(), *(_in_a_child(answer) for _ in range(3)), answer()]
    assert all(len(answer) == 128 for answer in answers) and len(set(answers)) == 5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_copy_of_a_cohort_answers_nothing() -> None:
    """Parent and child would each ask all that one charge pays for."""
    cohort, _ = _cohort(1, 16)

    def refusals() -> bytes:
        refused = []
        for ask in (lambda: cohort.answer_differences(np.zeros((20, 16)), 1.0), cohort.marginals):
            try:
                ask()
            except BudgetError as error:
                refused.append(str(error))
        return "\n".join(refused).encode()

    first, second = _in_a_child(refusals).decode().split("\n")
    assert first == second and "forked" in first and "after the fork" in first
    assert len(cohort.answer_differences(np.zeros((20, 16)), 1.0)) == 16
    cohort.marginals()


def test_two_runs_never_share_their_noise() -> None:
    one, two = (_cohort(1, 8)[0].answer_differences(np.zeros((20, 8)), 1.0) for _ in range(2))
    assert not np.isin(one, two).any()
    seeded = [_cohort(1, 8, test_seed=4)[0] for _ in range(2)]
    assert not any(cohort.is_private for cohort in seeded)
    a, b = (cohort.answer_differences(np.zeros((20, 8)), 1.0) for cohort in seeded)
    np.testing.assert_array_equal(a, b)


_RUN = """
    import hashlib, sys
    import numpy as np
    from cohorts import BUDGET, CLASSES, SURVIVAL, patients, quick, survivors
    from zodc import Condenser
    for schema, cohort, learner in ((CLASSES, patients, ["tree", "logistic"]), (SURVIVAL, survivors, "cox")):
        frame = cohort(1000)
        if len(sys.argv) > 1:
            frame = frame.sample(frac=1, random_state=int(sys.argv[1]))
        condenser = Condenser._with_test_noise(
            5, schema, learner=learner, n_rows=40, recipe=quick(schema), random_state=3, **BUDGET
        )
        release = condenser.fit(frame).release_
        print(hashlib.sha256(release.rows.latents.tobytes() + release.marginals.encode()).hexdigest())
"""


def _run(threads: int, *arguments: str) -> str:
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_RUN), *arguments],
        env={**os.environ, "RAYON_NUM_THREADS": str(threads), "PYTHONPATH": str(HERE)},
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout


def test_check_04_threads_and_the_order_of_rows_change_no_bit() -> None:
    reference = _run(1)
    assert len(reference.split()) == 2
    assert _run(2) == reference
    assert _run(8) == reference
    assert _run(2, "11") == reference
    assert _run(8, "12") == reference


_LONG = """
    import signal, sys
    from dataclasses import replace
    from cohorts import BUDGET, CLASSES, patients, quick
    from zodc import Condenser
    signal.signal(signal.SIGINT, signal.default_int_handler)
    frame = patients(20_000)
    recipe = replace(quick(rounds=100_000), directions=64)
    options = {"mode": sys.argv[1], "n_rows": 300, "recipe": recipe, **BUDGET}
    condenser = Condenser(CLASSES, learner=["tree", "logistic"], **options)
    def tell(phase, done, rounds):
        if done >= 1:
            print("running", flush=True)
    try:
        condenser.fit(frame, progress=tell)
    except KeyboardInterrupt:
        print("stopped", hasattr(condenser, "release_"), flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize("mode", ["direct", "two_phase"])
def test_ctrl_c_ends_a_run(mode: str) -> None:
    """100,000 rounds would take hours."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_LONG), mode],
        env={**os.environ, "PYTHONPATH": str(HERE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "running\n"
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    word, has_release = out.split("\n")[-2].split()
    assert (word, has_release) == ("stopped", "False"), err


def test_make_plan_is_what_the_cohort_answers_by() -> None:
    recipe = quick()
    assert (
        make_plan(CLASSES, recipe, **BUDGET)
        == Condenser(CLASSES, learner="tree", recipe=recipe, **BUDGET).plan()
    )
