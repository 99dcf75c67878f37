"""Pictures of a release, on matplotlib axes: drawn from the release alone, so that they may be published.

Colours are those of Okabe and Ito (2008), which the colour-blind tell apart, some darker for contrast on
white; what overlaps also differs in form.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from zodc.cells import Floats
from zodc.options import OptionError
from zodc.schema import Column
from zodc.summary import (
    Bars,
    Drawn,
    bars_of,
    correlation,
    groups_of,
    kaplan_meier,
    level_names,
    noise_floor,
    noisy_marginals,
    released_cells,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["COLOURS", "LINES", "ReleasePlots", "draw_marginal", "draw_outcome", "new_axes", "tidy"]

BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#00785A", "#A5507F", "#4D4D4D"
PALE = "#9CC8E4"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, GREY)
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
_MOST_BARS = 10


class ReleasePlots:
    """Pictures of a release; each method draws on the axes that it is given, or on new ones.

    Examples
    --------
    >>> import numpy as np, zodc
    >>> schema = zodc.Schema([
    ...     zodc.Column(name="age", kind="continuous", lower=18, upper=100),
    ...     zodc.Column(name="died", kind="binary", role="target"),
    ... ])
    >>> condenser = zodc.Condenser(
    ...     schema, learner="logistic", epsilon=1.0, delta=1e-5, n_rows=20, rounds=5
    ... )
    >>> ages = np.random.default_rng(0).uniform(20, 90, (500, 1))
    >>> release = condenser.fit(ages, (ages[:, 0] > 60).astype(int)).release_
    >>> axes = release.plot.marginals()
    >>> [ax.get_title() for ax in axes]
    ['age', 'died']
    >>> release.plot.trace().get_xlabel()
    'round'
    """

    def __init__(self, release: Drawn) -> None:
        self._release = release

    def marginals(
        self, columns: Sequence[str] | None = None, *, axes: Sequence[Axes] | None = None
    ) -> NDArray[np.object_]:
        """Draw each column's released values against its noisy marginal.

        Parameters
        ----------
        columns : sequence of str, optional
            Default: all features and outcomes, in the schema's order.
        axes : sequence of matplotlib axes, optional
            One per column.

        Returns
        -------
        ndarray of matplotlib axes
        """
        release = self._release
        chosen = self._columns(columns)
        taken = _grid(len(chosen)) if axes is None else list(axes)
        if len(taken) != len(chosen):
            raise OptionError(
                f"The 'axes' option must hold one per column, {len(chosen)}. Got {len(taken)} instead."
            )
        cells, noisy = released_cells(release), noisy_marginals(release)
        for column, ax in zip(chosen, taken, strict=True):
            draw_marginal(column, bars_of(column, cells[column.name], noisy[column.name]), ax)
        found = np.empty(len(taken), dtype=object)
        found[:] = taken
        return found

    def correlation(self, *, ax: Axes | None = None) -> Axes:
        """Draw the Spearman correlations of the released columns, at most 40.

        Returns
        -------
        matplotlib axes
        """
        found = correlation(self._release)
        size = min(9.0, 2.6 + 0.22 * len(found))
        ax = new_axes(size, size) if ax is None else ax
        image = ax.imshow(found.to_numpy(), cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
        ticks = np.arange(len(found))
        ax.set_xticks(ticks, [_short(name) for name in found.columns], rotation=90)
        ax.set_yticks(ticks, [_short(name) for name in found.columns])
        ax.tick_params(length=0)
        bar = ax.figure.colorbar(image, ax=ax, fraction=0.045, pad=0.03, ticks=[-1, -0.5, 0, 0.5, 1])
        bar.set_label("Spearman correlation")
        return ax

    def survival(self, *, ax: Axes | None = None) -> Axes:
        """Draw Kaplan-Meier curves of the released rows and of the teacher's.

        Returns
        -------
        matplotlib axes

        Raises
        ------
        ValueError
            When the task is not survival.
        """
        release = self._release
        time, event = release.schema.time, release.schema.event
        if time is None or event is None:
            raise OptionError(
                "survival curves need a schema with a time and an event; draw marginals instead"
            )
        ax = new_axes() if ax is None else ax
        drawn = (
            ("released rows", release.rows, BLUE, "-"),
            ("teacher's rows", release.teacher, ORANGE, "--"),
        )
        for name, rows, colour, line in drawn:
            cells = released_cells(release, rows)
            curve = kaplan_meier(cells[time.name], cells[event.name])
            ax.step(curve.times, curve.survival, where="post", color=colour, linestyle=line, label=name)
        ax.set(xlabel=_with_unit(time), ylabel="share without the event", ylim=(0, 1.02))
        ax.set_xlim(left=0)
        ax.legend(frameon=False, loc="best")
        return tidy(ax)

    def trace(self, *, ax: Axes | None = None) -> Axes:
        """Draw the size of each round's noisy answer, and what noise alone would give.

        Returns
        -------
        matplotlib axes

        Raises
        ------
        ValueError
            When the release has no trace, since an older zodc made it.
        """
        trace = np.asarray(self._release.trace)
        if not len(trace):
            raise OptionError("the release has no trace: an older zodc made it; condense anew to get one")
        ax = new_axes() if ax is None else ax
        rounds = np.arange(1, len(trace) + 1)
        ax.plot(rounds, trace, color=PALE, linewidth=0.8, label="each round")
        width = max(1, len(trace) // 20)
        if width > 1:
            smooth = np.sqrt(np.convolve(trace**2, np.ones(width) / width, mode="valid"))
            middle = rounds[width - 1 :] - (width - 1) / 2
            ax.plot(middle, smooth, color=BLUE, label=f"mean of {width} rounds")
        floor = noise_floor(self._release)[: len(trace)]
        ax.plot(rounds[: len(floor)], floor, color=ORANGE, linestyle="--", label="noise alone")
        ax.set(xlabel="round", ylabel="size of the noisy answer", ylim=(0, None))
        ax.legend(frameon=False, loc="best")
        return tidy(ax)

    def _columns(self, names: Sequence[str] | None) -> list[Column]:
        schema = self._release.schema
        known = {column.name: column for column in (*schema.features, *schema.outcomes)}
        if names is None:
            return list(known.values())
        if isinstance(names, str):
            raise OptionError("The 'columns' option must be a list of names. Got a text instead.")
        lost = [name for name in names if name not in known]
        if lost:
            raise OptionError(f"the release has no column {lost[0]!r}; take some of {', '.join(known)}")
        return [known[name] for name in names]


def new_axes(width: float = 5.2, height: float = 3.4) -> Axes:
    """Make axes of a new figure by pyplot, so that notebooks show them."""
    from matplotlib import pyplot

    _, ax = pyplot.subplots(figsize=(width, height), layout="constrained")
    return ax


def tidy(ax: Axes) -> Axes:
    """Take away what carries nothing."""
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def draw_marginal(column: Column, bars: Bars, ax: Axes) -> Axes:
    """Draw released shares as bars, the noisy marginal as steps or diamonds."""
    if bars.edges is not None:
        ax.stairs(bars.released, bars.edges, fill=True, color=PALE, label="released rows")
        ax.stairs(bars.noisy, bars.edges, color=ORANGE, linewidth=1.3, label="noisy marginal")
        ax.set(xlabel=_with_unit(column, name=False), ylim=(0, None))
        ax.set_xlim(bars.edges[0], bars.edges[-1])
        ax.set_ylabel("share")
    else:
        shown = np.argsort(-bars.noisy, kind="stable")[:_MOST_BARS]
        shown = np.sort(shown)[::-1]
        places = np.arange(len(shown))
        ax.barh(places, bars.released[shown], height=0.62, color=PALE, label="released rows")
        ax.plot(bars.noisy[shown], places, "D", color=ORANGE, markersize=5, label="noisy marginal")
        ax.set_yticks(places, [_short(bars.labels[k]) for k in shown])
        ax.set_ylim(-0.6, len(shown) - 0.4)
        ax.set_xlim(0, 1.08 * max(bars.released.max(), bars.noisy.max(), 1e-9))
        ax.set_xlabel(
            "share" if len(shown) == len(bars.labels) else f"share; {_MOST_BARS} of {len(bars.labels)}"
        )
    ax.set_title(_short(column.name, 32))
    return tidy(ax)


def draw_outcome(release: Drawn, column: Column, cells: dict[str, Floats], ax: Axes) -> Axes:
    """Draw how the outcome goes with a column, in the released rows."""
    schema = release.schema
    if schema.target is not None:
        _draw_classes(schema.target, column, cells, ax)
    else:
        assert schema.time is not None and schema.event is not None
        groups = groups_of(column, cells[column.name], 3)
        for place, (name, inside) in enumerate(groups):
            curve = kaplan_meier(cells[schema.time.name][inside], cells[schema.event.name][inside])
            ax.step(
                curve.times,
                curve.survival,
                where="post",
                color=COLOURS[place],
                linestyle=LINES[place],
                label=f"{_short(name)} (n={inside.sum()})",
            )
        ax.set(xlabel=_with_unit(schema.time), ylabel="without the event", ylim=(0, 1.02))
        ax.set_xlim(left=0)
        if groups:
            ax.legend(frameon=False, fontsize="small", loc="best", title=column.unit and _short(column.unit))
    ax.set_title(_short(column.name, 32))
    return tidy(ax)


def _draw_classes(target: Column, column: Column, cells: dict[str, Floats], ax: Axes) -> None:
    """Draw the share of the positive class, or of each class when there are more, by group of rows."""
    classes = level_names(target)
    groups = groups_of(column, cells[column.name], 5)
    drawn = [1] if len(classes) == 2 else range(min(len(classes), len(COLOURS)))
    places = np.arange(len(groups))
    for k in drawn:
        counts = np.array([inside.sum() for _, inside in groups], dtype=np.float64)
        share = np.array([np.mean(cells[target.name][inside] == k) for _, inside in groups])
        error = (
            1.96 * np.sqrt(np.maximum(share * (1 - share), 0.25 / counts) / counts) if len(groups) else None
        )
        shift = 0.0 if len(classes) == 2 else 0.12 * (k - (len(drawn) - 1) / 2)
        marker = "os^Dv"[k % 5]
        ax.errorbar(
            share,
            places + shift,
            xerr=error,
            fmt=marker,
            color=COLOURS[k if len(classes) > 2 else 0],
            markersize=4.5,
            elinewidth=1,
            label=_short(classes[k]),
        )
    ax.set_yticks(places, [_short(name) for name, _ in groups])
    ax.set_ylim(len(groups) - 0.5, -0.5)
    ax.set_xlim(0, 1)
    name = f"share of {target.name} = {classes[1]}" if len(classes) == 2 else f"share of each {target.name}"
    ax.set_xlabel(_short(name, 44))
    if len(classes) > 2:
        ax.legend(frameon=False, fontsize="small", loc="best")


def _grid(n: int) -> list[Axes]:
    from matplotlib import pyplot

    across = min(3, max(1, n))
    down = math.ceil(max(1, n) / across)
    figure, grid = pyplot.subplots(
        down, across, figsize=(3.6 * across, 2.5 * down), layout="constrained", squeeze=False
    )
    axes = list(grid.ravel())
    for ax in axes[n:]:
        ax.remove()
    handles = [(PALE, "released rows"), (ORANGE, "noisy marginal")]
    from matplotlib.lines import Line2D

    figure.legend(
        handles=[Line2D([], [], color=colour, linewidth=4, label=name) for colour, name in handles],
        loc="outside upper right",
        ncols=2,
        frameon=False,
    )
    return axes[:n]


def _short(text: str, most: int = 18) -> str:
    """Shorten a text, and take away what matplotlib would read as mathematics."""
    plain = " ".join(str(text).split()).replace("$", r"\$")
    return plain if len(plain) <= most else plain[: most - 1] + "…"


def _with_unit(column: Column, *, name: bool = True) -> str:
    unit = _short(column.unit, 24) if column.unit else ""
    if not name:
        return unit
    return f"{_short(column.name, 24)} ({unit})" if unit else _short(column.name, 24)
