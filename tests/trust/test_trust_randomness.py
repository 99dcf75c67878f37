"""Where the noise comes from: checks 12, 13 and 16 (11, 14 and 15 stand in test_noise and test_condenser)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from cohorts import CLASSES, patients, quick
from joblib import Parallel, delayed
from zodc import Condenser
from zodc._zodc import Cohort
from zodc.frames import encode

ROOT = Path(__file__).resolve().parents[2]
CLIP = 2.0**20  # one lattice step is 1


def _cohort(rounds: int, directions: int) -> Cohort:
    options = {"rounds": rounds, "directions": directions, "epsilon": 0.01, "delta": 1e-5}
    plan = Condenser(CLASSES, learner="tree", recipe=quick(), **options).plan()
    rows = encode(patients(2), None, CLASSES)
    return Cohort(CLASSES.to_json(), plan.json, rows.cells, rows.outcome)


def _draws(rounds: int) -> np.ndarray:
    cohort = _cohort(rounds, 4096)
    silent = np.zeros((2, 4096))
    return np.concatenate([cohort.answer_differences(silent, CLIP) for _ in range(rounds)]).astype(np.int64)


@pytest.mark.slow
def test_check_12_workers_never_draw_the_same_noise() -> None:
    """A million draws in processes and threads: no four in a row occur twice (128 bits and more)."""
    rounds = 31
    found = [
        draws
        for backend in ("loky", "threading")
        for draws in Parallel(n_jobs=4, backend=backend)(delayed(_draws)(rounds) for _ in range(4))
    ]
    draws = np.concatenate(found)
    assert len(draws) > 1_000_000
    windows = np.lib.stride_tricks.sliding_window_view(draws, 4)
    assert len({window.tobytes() for window in windows}) == len(windows)


def test_check_13_the_private_source_has_no_state() -> None:
    """What a snapshot could copy is not there: words come from the system, and ChaCha serves tests alone."""
    if not (ROOT / "rust").is_dir():
        pytest.skip("needs the source tree")
    code = (ROOT / "rust" / "privacy" / "noise.rs").read_text().split("#[cfg(test)]\nmod tests")[0]
    assert re.search(r"\bOperatingSystem,\n", code), "the operating system's source holds no field"
    assert re.search(r"Self::OperatingSystem => getrandom::u64\(\)", code)
    for path in (ROOT / "rust" / "privacy").rglob("*.rs"):
        if path.name != "noise.rs":
            assert not re.search(r"ChaCha|rand::|thread_rng|SmallRng|fastrand", path.read_text()), path


_ENTROPY = """
    import ctypes, errno, platform, resource, struct, sys
    import numpy as np
    sys.path[:0] = {path!r}
    from test_trust_randomness import _cohort
    cohort = _cohort(3, 8)
    silent = np.zeros((2, 8))
    assert np.isfinite(cohort.answer_differences(silent, 1.0)).all()
    number = {{"x86_64": 318, "aarch64": 278}}[platform.machine()]
    def op(code, k, jt=0, jf=0):
        return struct.pack("HBBI", code, jt, jf, k)
    # getrandom fails with EIO, on every thread (TSYNC); every other call is let through.
    program = op(0x20, 0) + op(0x15, number, 0, 1) + op(0x06, 0x00050000 | errno.EIO) + op(0x06, 0x7fff0000)
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(program)
    fprog = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 4, ctypes.addressof(buffer)))
    seccomp, set_filter, tsync = number - 1, 1, 1
    if libc.prctl(38, 1, 0, 0, 0) or libc.syscall(seccomp, set_filter, tsync, fprog):
        print("no seccomp")
        sys.exit()
    for _ in range(3):
        try:
            print("answered", cohort.answer_differences(silent, 1.0))
        except (RuntimeError, ValueError) as error:
            print(type(error).__name__, error)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs seccomp")
def test_check_16_without_entropy_there_is_no_answer() -> None:
    """The kernel refuses random bytes: an error, no other generator, and the question stays spent."""
    path = [str(ROOT / "tests" / "trust"), str(ROOT / "tests")]
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_ENTROPY).format(path=path)],
        capture_output=True,
        text=True,
        env=dict(os.environ),
        timeout=120,
    )
    if "no seccomp" in found.stdout or "KeyError" in found.stderr:
        pytest.skip("no seccomp here")
    lines = found.stdout.splitlines()
    assert len(lines) == 3, found.stderr
    assert all(line.startswith("RuntimeError") and "random generator failed" in line for line in lines[:2])
    assert "all of them are spent" in lines[2]
