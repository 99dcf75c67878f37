"""Pictures of an evaluation, on matplotlib axes. They show real patients' outcomes: INTERNAL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from zodc import curves
from zodc.curves import Curve, Judged
from zodc.options import OptionError
from zodc.plots import COLOURS, LINES, new_axes, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["EvaluationPlots"]

_HAIR: dict[str, Any] = {"color": "#767676", "linewidth": 0.8, "linestyle": (0, (2, 2))}
_MOST_THRESHOLD = 0.99


class EvaluationPlots:
    """Pictures of an evaluation; each method draws one model on given axes, or on new ones.

    All compare the kinds of training rows: the release's, and real rows where `evaluate` was given some.
    """

    def __init__(self, judged: Judged) -> None:
        self._judged = judged

    def roc(self, model: str | None = None, *, ax: Axes | None = None) -> Axes:
        """Draw ROC curves.

        Parameters
        ----------
        model : str, optional
            One of the models that were evaluated; the first unless stated.
        ax : matplotlib axes, optional

        Returns
        -------
        matplotlib axes
        """
        name = self._model(model, survival=False)
        ax = _lines(self._judged, name, curves.roc, ax)
        ax.plot([0, 1], [0, 1], **_HAIR)
        ax.set(xlabel="false-positive rate", ylabel="true-positive rate", xlim=(0, 1), ylim=(0, 1.01))
        return _legend(ax)

    def precision_recall(self, model: str | None = None, *, ax: Axes | None = None) -> Axes:
        """Draw precision against recall; parameters as of `roc`."""
        name = self._model(model, survival=False)
        ax = _lines(self._judged, name, curves.precision_recall, ax)
        truth, _ = self._judged.binary(self._judged.sources[0], name)
        ax.axhline(float(truth.mean()), **_HAIR)
        ax.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.01))
        return _legend(ax)

    def calibration(self, model: str | None = None, *, ax: Axes | None = None) -> Axes:
        """Draw observed against predicted risk, in ten groups; parameters as of `roc`."""
        ax = _lines(self._judged, self._model(model), curves.calibration, ax, marker="o", markersize=3)
        ax.plot([0, 1], [0, 1], **_HAIR)
        when = f" by {self._judged.times[self._judged.horizon]:.4g}" if self._judged.is_survival else ""
        ax.set(xlabel=f"predicted risk{when}", ylabel="observed risk", xlim=(0, 1), ylim=(0, 1))
        return _legend(ax)

    def decision_curve(self, model: str | None = None, *, ax: Axes | None = None) -> Axes:
        """Draw net benefit by threshold, beside treating all and none; parameters as of `roc`."""
        name, judged = self._model(model), self._judged
        thresholds = np.linspace(0.01, _MOST_THRESHOLD, 99)

        def benefit(judged: Judged, source: str, model: str) -> Curve:
            return Curve(x=thresholds, y=curves.net_benefit(judged, source, model, thresholds))

        ax = _lines(judged, name, benefit, ax)
        everybody = curves.net_benefit(judged, None, name, thresholds)
        ax.plot(thresholds, everybody, label="treat all", **{**_HAIR, "linestyle": ":"})
        ax.axhline(0, label="treat none", **_HAIR)
        top = max(0.02, 1.1 * float(everybody[0]))
        ax.set(xlabel="threshold of risk", ylabel="net benefit", xlim=(0, 1), ylim=(-0.25 * top, top))
        return _legend(ax)

    def concordance(self, model: str | None = None, *, ax: Axes | None = None) -> Axes:
        """Draw the C-index of what is decided by each time; parameters as of `roc`."""
        name = self._model(model, survival=True)
        ax = _lines(self._judged, name, curves.concordance_over_time, ax, marker="o", markersize=3)
        ax.set(xlabel="time", ylabel="C-index up to then")
        ax.set_xlim(left=0)
        return _legend(ax)

    def risk_groups(
        self, model: str | None = None, *, source: str | None = None, ax: Axes | None = None
    ) -> Axes:
        """Draw Kaplan-Meier curves of held-out patients by third of predicted risk.

        Parameters
        ----------
        model : str, optional
        source : str, optional
            Kind of training rows; the released rows unless stated.
        ax : matplotlib axes, optional

        Returns
        -------
        matplotlib axes
        """
        name = self._model(model, survival=True)
        source = self._judged.sources[0] if source is None else source
        if source not in self._judged.sources:
            raise OptionError(f"there are no rows {source!r}; take one of {', '.join(self._judged.sources)}")
        ax = new_axes() if ax is None else ax
        names = ("low risk", "middle", "high risk")
        for place, step in enumerate(curves.risk_groups(self._judged, source, name)):
            ax.step(
                step.times,
                step.survival,
                where="post",
                color=COLOURS[place],
                linestyle=LINES[place],
                label=names[place],
            )
        ax.set(xlabel="time", ylabel="share without the event", ylim=(0, 1.02), title=source)
        ax.set_xlim(left=0)
        return _legend(ax)

    def _model(self, name: str | None, *, survival: bool | None = None) -> str:
        judged = self._judged
        if survival is not None and survival != judged.is_survival:
            task = "survival" if survival else "classification"
            raise OptionError(f"this picture is for {task}; take another")
        if name is None:
            return judged.models[0]
        if name not in judged.models:
            raise OptionError(f"there is no model {name!r}; take one of {', '.join(judged.models)}")
        return name


def _lines(judged: Judged, model: str, curve: Any, ax: Axes | None, **style: Any) -> Axes:
    ax = new_axes(4.4, 4.0) if ax is None else ax
    for place, source in enumerate(judged.sources):
        found = curve(judged, source, model)
        ax.plot(
            found.x,
            found.y,
            color=COLOURS[place % len(COLOURS)],
            linestyle=LINES[place % len(LINES)],
            label=source,
            linewidth=1.4,
            **style,
        )
    ax.set_title(model)
    return tidy(ax)


def _legend(ax: Axes) -> Axes:
    ax.legend(frameon=False, fontsize="small", loc="best")
    return ax
