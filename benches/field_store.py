"""The results file: one line for each score, appended as jobs are done, so that a run can go on later."""

from __future__ import annotations

import csv
import fcntl
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path

KEY = ("set", "seed", "epsilon", "method", "made_for", "rows")
TIMEOUT = "timeout"
COLUMNS = (*KEY, "learner", "metric", "score", "seconds", "peak_mb", "status")


@dataclass(frozen=True)
class Job:
    """What one line of the results file is about.

    Attributes
    ----------
    set : str
    seed : int
    epsilon : str
        "inf" for what is not private.
    method : str
    made_for : str
        Learner that the rows were made for; "-" for methods that have none in view.
    rows : int
    """

    set: str
    seed: int
    epsilon: str
    method: str
    made_for: str
    rows: int


class Store:
    """Appends to a results file, which several processes may share."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done: set[tuple[str, ...]] = set()
        self._timeouts: set[tuple[str, str, str]] = set()
        if path.exists():
            with path.open(newline="") as file:
                lines = list(csv.DictReader(file))
            self.done = {tuple(line[name] for name in KEY) for line in lines}
            late = [line for line in lines if line["status"] == TIMEOUT]
            self._timeouts = {(line["set"], line["epsilon"], line["method"]) for line in late}

    def has(self, job: Job) -> bool:
        """Whether the file holds the job, be it that it failed."""
        return tuple(map(str, astuple(job))) in self.done

    def timed_out(self, job: Job) -> bool:
        """Whether the method ran out of time on the set at this ε before, for any seed."""
        return (job.set, job.epsilon, job.method) in self._timeouts

    def add(
        self,
        job: Job,
        scores: Mapping[tuple[str, str], float],
        *,
        seconds: float,
        peak_mb: float,
        status: str = "ok",
    ) -> None:
        """Append the scores of a job; one line without score when there are none."""
        cost = (f"{seconds:.2f}", f"{peak_mb:.0f}", status)
        lines = [
            (*astuple(job), learner, metric, f"{value:.6f}", *cost)
            for (learner, metric), value in scores.items()
        ]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", newline="") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            writer = csv.writer(file)
            if file.seek(0, 2) == 0:
                writer.writerow(COLUMNS)
            writer.writerows(lines or [(*astuple(job), "", "", "", *cost)])
        self.done.add(tuple(map(str, astuple(job))))
