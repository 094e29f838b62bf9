"""How figures look: sizes that are read at column width, axes in powers of two, lines that are told apart without colour."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogFormatterMathtext, LogLocator, NullFormatter, NullLocator

COLUMN, PAGE = 4.0, 6.0
"""Widths in inches of a figure of one panel and of several side by side."""

TEXT, SMALL = 9, 8
"""Sizes in points of labels, and of ticks and legends."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#AA4499", "#E69F00", "#56B4E9", "#882255", "#332288")
"""Told apart by colour-blind readers, and most of them in greys (Okabe and Ito; Tol)."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
OBSERVED = ("*", "P", "X", "h", "p", "d")


class Line(NamedTuple):
    """How one line is drawn."""

    colour: str
    marker: str
    style: Any = "-"

    def options(self, label: str | None = None) -> dict[str, Any]:
        """Arguments for `Axes.plot`."""
        filled = self.colour if self.style == "-" else "white"
        return {
            "color": self.colour,
            "marker": self.marker,
            "linestyle": self.style,
            "linewidth": 1.3,
            "markersize": 4.0,
            "markerfacecolor": filled,
            "markeredgewidth": 0.9,
            "label": label,
        }


def line(index: int, style: Any = "-") -> Line:
    """The line number `index`: colour and marker both tell which it is, filled markers and a full line that it is solid."""
    return Line(COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)], style)


def panels(count: int, xlabel: str, *ylabels: str, height: float = 2.6, common: bool = True) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, at most three side by side: with the same axes, or each with a label of its own."""
    columns = 1 if count == 1 else 2 if count <= 4 else 3
    rows = -(-count // columns)
    figure = Figure(figsize=(COLUMN if columns == 1 else PAGE, 0.7 + height * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=common, sharey=common, squeeze=False).ravel()
    for axes in grid[count:]:
        axes.set_axis_off()
    for index, axes in enumerate(grid[:count]):
        axes.tick_params(labelsize=SMALL)
        axes.grid(color="0.9", linewidth=0.6)
        axes.set_axisbelow(True)
        if index >= count - columns:
            axes.tick_params(labelbottom=True)
            axes.set_xlabel(xlabel, fontsize=TEXT)
        if index % columns == 0 or not common:
            axes.set_ylabel(ylabels[index % len(ylabels)], fontsize=TEXT)
    return figure, list(grid[:count])


def batch_size_axis(axes: Axes, values: Any, ticks: int) -> None:
    """A logarithmic axis over batch sizes with about so many ticks, labelled 2^k."""
    low, high = np.log2(np.min(values)), np.log2(np.max(values))
    stride = max(int(np.ceil((high - low) / ticks)), 1)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(2.0 ** np.arange(np.ceil(low - 1e-9), high + stride, stride)))
    axes.xaxis.set_major_formatter(LogFormatterMathtext(base=2))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(2 ** (low - 0.6), 2 ** (high + 0.6))


def log_axis(axes: Axes, which: str) -> None:
    """A logarithmic axis in powers of ten."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log", nonpositive="mask")
    axis.set_major_locator(LogLocator(base=10, numticks=8))
    axis.set_minor_formatter(NullFormatter())


def fit_values(axes: Sequence[Axes], *values: Any) -> None:
    """Let the logarithmic value axis span the positive finite `values` of what matters, whatever else is drawn."""
    found = np.concatenate([np.ravel(np.asarray(part, dtype=float)) for part in values])
    found = found[np.isfinite(found) & (found > 0)]
    low, high = (found.min(), found.max()) if found.size else (1.0, 10.0)
    for panel in axes:
        panel.set_ylim(low / 1.6, high * 1.6)


def title(axes: Axes, text: str) -> None:
    """A panel's title, at its left."""
    axes.set_title(text, fontsize=TEXT, loc="left", pad=3)


def legend_below(figure: Figure, axes: Axes, columns: int, also: Sequence[Any] = ()) -> None:
    """One legend for all panels, below them."""
    figure.legend(
        handles=[*axes.get_legend_handles_labels()[0], *also],
        loc="outside lower center",
        ncols=columns,
        fontsize=SMALL,
        frameon=False,
        handlelength=2.6,
        columnspacing=1.4,
    )


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure in the format that the name's suffix says."""
    figure.savefig(path, dpi=220)
