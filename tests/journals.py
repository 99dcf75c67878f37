"""Short runs with a journal, and what stands in it, that tests share."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from cohorts import BUDGET, CLASSES, quick
from zodc import Condenser
from zodc.schema import Schema

ROUNDS = 6
QUESTIONS = ROUNDS + 2


def condenser(schema: Schema = CLASSES, **options) -> Condenser:
    defaults = {"learner": "logistic", "n_rows": 20, "recipe": quick(rounds=ROUNDS), **BUDGET}
    return Condenser(schema, **{**defaults, **options})


def records(path: Path) -> dict[str, list[str]]:
    """Numbers of the questions on record, by kind of record."""
    found = defaultdict(list)
    for line in path.read_text().split("\n")[1:]:
        words = line.split(" ")
        if len(words) > 2:
            found[words[1]].append(words[2])
    return found
