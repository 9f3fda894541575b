"""matplotlib as far as jattr uses it: figures on canvases of their own, in a style of their own.

A window or a notebook is never needed, so what chooses one is ignored: `MPLBACKEND`, which notebook
kernels hand on to every program they start, and which stops the import of matplotlib where it
names what is not installed.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any


def _import_matplotlib() -> None:
    """Import matplotlib whatever `MPLBACKEND` says; the process has it as before afterwards."""
    if "matplotlib" in sys.modules:
        return
    chosen = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    finally:
        if chosen is not None:
            os.environ["MPLBACKEND"] = chosen
    if chosen:  # as matplotlib does: the caller's own figures may go there
        with contextlib.suppress(ValueError):
            matplotlib.rcParams["backend"] = chosen


_import_matplotlib()

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator, StrMethodFormatter

__all__ = [
    "Axes",
    "Axis",
    "Figure",
    "FigureCanvasAgg",
    "FigureCanvasSVG",
    "FuncFormatter",
    "Line2D",
    "LogLocator",
    "NullLocator",
    "StrMethodFormatter",
    "style_context",
]

# settings of the process, not of figures
NOT_STYLE = ("backend", "backend_fallback", "interactive", "toolbar", "webagg", "tk.", "timezone")


@contextlib.contextmanager
def style_context(style: Mapping[Any, Any]) -> Iterator[None]:
    """Draw in a style over matplotlib's own, whatever files and calls have set, for a while."""
    plain = {
        name: value
        for name, value in matplotlib.rcParamsDefault.items()
        if not name.startswith(NOT_STYLE)
    }
    with matplotlib.rc_context({**plain, **style}):
        yield
