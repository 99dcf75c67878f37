"""Record and replay around a whole run: the outputs of D are kept, and stand frozen in the run on D′.

The private half is still asked about D′, with the same questions; only what it answers is exchanged for what
it answered about D. All that is left to differ is what a run tells besides its noisy answers.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zodc._zodc
from zodc import condenser, phases


@dataclass
class Tape:
    """Noisy outputs in order, with what was asked."""

    outputs: list[Any] = field(default_factory=list)
    shapes: list[Any] = field(default_factory=list)


def _shape(output: Any) -> Any:
    if isinstance(output, np.ndarray):
        return output.shape, output.dtype
    if isinstance(output, tuple):
        return tuple(_shape(part) for part in output)
    if isinstance(output, zodc._zodc.Rows):
        return "rows", output.latents.shape
    return type(output).__name__, len(output) if isinstance(output, list) else None


class _Cohort:
    """A real cohort whose outputs are recorded, or asked for and exchanged."""

    def __init__(self, tape: Tape, frozen: Tape | None, *arguments: Any) -> None:
        self.real = zodc._zodc.Cohort(*arguments)
        self._tape, self._frozen = tape, frozen

    @property
    def is_private(self) -> bool:
        return self.real.is_private

    def keep_journal(self, journal: Any) -> None:
        self.real.keep_journal(journal)

    def end(self) -> None:
        self.real.end()

    def recorded_round(self, clip_norm: float) -> Any:
        return self.real.recorded_round(clip_norm)

    def marginals(self) -> str:
        return self.through(self.real.marginals())

    def answer_differences(self, *arguments: Any) -> Any:
        return self.through(self.real.answer_differences(*arguments))

    def through(self, output: Any) -> Any:
        """Keep what was answered, and hand out what is frozen."""
        place = len(self._tape.outputs)
        self._tape.outputs.append(output)
        self._tape.shapes.append(_shape(output))
        return output if self._frozen is None else self._frozen.outputs[place]


@dataclass
class Trace:
    """All that an adversary beside the run could read."""

    tape: Tape
    told: str
    files: dict[str, bytes]
    reprs: list[str]


def run(work: Callable[[], Any], folder: Path, monkeypatch: Any, frozen: Tape | None = None) -> Trace:
    """Run `work`, which may write below `folder`; return what it told."""
    tape = Tape()
    private_native = phases.private_native

    def frozen_rounds(decoder: Any, cohort: _Cohort, *arguments: Any, **options: Any) -> Any:
        return cohort.through(private_native(decoder, cohort.real, *arguments, **options))

    text = io.StringIO()
    handler = logging.StreamHandler(text)
    # Libraries tell of their own objects at lower levels.
    handler.addFilter(lambda record: record.name.startswith("zodc") or record.levelno >= logging.INFO)
    logging.getLogger().addHandler(handler)
    level = logging.getLogger().level
    try:
        with monkeypatch.context() as patch, warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            patch.setattr(condenser, "Cohort", lambda *arguments: _Cohort(tape, frozen, *arguments))
            patch.setattr(phases, "private_native", frozen_rounds)
            logging.getLogger().setLevel(logging.DEBUG)
            with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
                found = work()
    finally:
        logging.getLogger().removeHandler(handler)
        logging.getLogger().setLevel(level)
    told = text.getvalue() + "".join(str(warning.message) for warning in warned)
    files = {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}
    return Trace(tape, told, files, [repr(found), str(found)])
