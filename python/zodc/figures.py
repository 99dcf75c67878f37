"""Pictures for a page: matplotlib axes become SVG that stands in HTML. Needs no display and no pyplot."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from markupsafe import Markup, escape

__all__ = ["figure", "page_style"]

_SETTINGS = {
    "svg.fonttype": "none",
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.labelcolor": "#333333",
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "axes.edgecolor": "#767676",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.unicode_minus": False,
}
# They name the program and would differ from file to file.
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


@contextmanager
def page_style() -> Iterator[None]:
    """Draw as on every other machine, whatever the user's settings of matplotlib are."""
    from matplotlib import rc_context, style

    settings: Any = _SETTINGS
    with style.context("default"), rc_context(settings), warnings.catch_warnings():
        # The reader's fonts draw the glyphs that matplotlib's own lacks.
        warnings.simplefilter("ignore", UserWarning)
        yield


def figure(
    draw: Callable[[Any], object],
    *,
    name: str,
    describe: str,
    width: float = 3.7,
    height: float = 2.5,
    fitted: bool = False,
) -> Markup:
    """Draw on new axes, inside `page_style`; return the figure as an `<svg>` element.

    Parameters
    ----------
    draw : callable
        Takes matplotlib axes.
    name : str
        Its own on a page: it keeps the ids of figures apart.
    describe : str
        What a screen reader says.
    width, height : float
        In inches.
    fitted : bool, default=False
        Whether matplotlib shall fit the margins to what is drawn, which takes twice as long.
    """
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    rcParams["svg.hashsalt"] = name
    drawn = Figure(figsize=(width, height), layout="constrained" if fitted else None)
    ax = drawn.subplots()
    draw(ax)
    if fitted:
        # Room for readers' fonts that are wider than matplotlib's own.
        engine: Any = drawn.get_layout_engine()
        engine.set(w_pad=0.2, h_pad=0.1)
    else:
        drawn.subplots_adjust(
            left=_left_margin(ax) / width, right=1 - 0.2 / width, bottom=0.48 / height, top=1 - 0.28 / height
        )
    buffer = io.StringIO()
    drawn.savefig(buffer, format="svg", metadata=_NO_METADATA)
    return Markup(_inline(buffer.getvalue(), name, describe))


def _left_margin(ax: Any) -> float:
    """Inches that the labels of the vertical axis need."""
    from matplotlib.ticker import FixedLocator, MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(4))
    if isinstance(ax.yaxis.get_major_locator(), FixedLocator):
        return 0.15 + 0.072 * max((len(label.get_text()) for label in ax.get_yticklabels()), default=0)
    ax.yaxis.set_major_locator(MaxNLocator(4))
    return 0.62


def _inline(text: str, name: str, describe: str) -> str:
    body = text[text.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL)
    body = re.sub(r"<style[^>]*>.*?</style>\s*", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->\s*", "", body, flags=re.DOTALL)
    used = set(re.findall(r'(?:url\(#|href="#)([\w.-]+)', body))

    def own(match: re.Match[str]) -> str:
        return f' id="{name}-{match[1]}"' if match[1] in used else ""

    body = re.sub(r'\s+id="([\w.-]+)"', own, body)
    body = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", body)
    view = re.search(r'viewBox="[^"]*"', body)
    opening = f'<svg {view[0] if view else ""} role="img" aria-label="{escape(describe)}"'
    namespaces = ' xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    return opening + namespaces + body[body.index(">") + 1 :].strip()
