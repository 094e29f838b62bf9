"""How figures look: sizes that are read at column width, axes in powers of two, lines that are told apart without colour."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogFormatterMathtext, LogLocator, NullFormatter, NullLocator

COLUMN, PAGE, WIDE = 4.0, 6.0, 7.6
"""Widths in inches of a figure of one panel, of two or three side by side, and of four."""

TEXT, SMALL, TINY = 9, 8, 6
"""Sizes in points of labels, of ticks and legends, and of the caption."""

LETTERS, LEADING = 22.5, 1.25
"""Letters of the caption to an inch, and heights of a letter from line to line."""

DASHED, DOTTED, DASHDOT, LONG = (0, (4, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (8, 2))
STYLES = ("-", DASHED, DOTTED, DASHDOT)

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


OPTIMIZERS: Mapping[str, Line] = MappingProxyType(
    {
        "sgd": Line(COLOURS[0], "o", DASHED),
        "heavy_ball": Line(COLOURS[1], "s"),
        "nesterov": Line(COLOURS[3], "D", DASHDOT),
        "qhm": Line(COLOURS[7], "P", DOTTED),
        "ema": Line(COLOURS[2], "^"),
        "ema_heavy_ball": Line(COLOURS[6], "v", LONG),
        "ema_nesterov": Line(COLOURS[5], "X", DASHDOT),
        "ema_qhm": Line(COLOURS[4], "*", DOTTED),
        "adam": Line(COLOURS[4], "D"),
        "adam_rotated": Line(COLOURS[4], "X", DOTTED),
        "adamw": Line(COLOURS[6], "P", LONG),
        "rmsprop": Line(COLOURS[5], "v", DASHDOT),
        "sign": Line(COLOURS[2], "P", DASHDOT),
        "lion": Line(COLOURS[7], "*", DOTTED),
        "normalized_sgd": Line(COLOURS[3], "o", DASHED),
        "clipped_sgd": Line(COLOURS[0], "v", DOTTED),
        "lars": Line(COLOURS[1], "*", DASHDOT),
        "lamb": Line(COLOURS[4], "s", LONG),
        "sgd_schedule": Line(COLOURS[7], "h"),
        "sgd_effective": Line(COLOURS[5], "v", DOTTED),
        "heavy_ball_warmup": Line(COLOURS[4], "*", DOTTED),
    }
)
"""The one look of each optimizer in all figures; figures of preconditioner powers take marker and colour for the powers."""

TITLES: Mapping[str, str] = MappingProxyType(
    {
        "sgd": "SGD",
        "heavy_ball": "heavy ball",
        "nesterov": "Nesterov",
        "qhm": "QHM",
        "ema": "SGD + EMA",
        "sgd_schedule": "SGD, optimised schedule",
        "adam": "Adam",
        "adam_rotated": "Adam, rotated",
        "adamw": "AdamW",
        "rmsprop": "RMSprop",
        "sign": "sign descent",
        "lion": "Lion",
        "normalized_sgd": "normalized SGD",
        "clipped_sgd": "clipped SGD",
        "lars": "LARS",
        "lamb": "LAMB",
    }
)


def optimizer_title(name: str) -> str:
    """An optimizer's name as one writes it."""
    inner = name.removeprefix("ema_")
    return TITLES.get(name) or (f"{TITLES.get(inner, inner)} + EMA" if inner != name else name)


def optimizer_line(name: str, index: int = 0) -> Line:
    """The look of an optimizer; of one that is not known here the one that its place in the figure gives."""
    return OPTIMIZERS.get(name) or line(index + 3, STYLES[(index + 1) % len(STYLES)])


def power_line(index: int, count: int, style: Any = "-") -> Line:
    """The line number `index` out of `count` in order: from dark to light."""
    red, green, blue, _ = colormaps["viridis"](0.8 * index / max(count - 1, 1))
    return Line(f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}", MARKERS[index % len(MARKERS)], style)


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


def paired_panels(count: int, xlabel: str, upper: str, lower: str) -> tuple[Figure, list[Axes], list[Axes]]:
    """A figure of `count` pairs of panels, the lower one under the upper one, at most four pairs side by side."""
    columns = min(count, 4)
    rows = -(-count // columns)
    width = {1: COLUMN, 2: PAGE}.get(columns, WIDE)
    figure = Figure(figsize=(width, 0.9 + 3.6 * rows), layout="constrained")
    grid = figure.subplots(2 * rows, columns, sharex=True, sharey="row", squeeze=False, height_ratios=[1.6, 1.0] * rows)
    ups, downs = grid[::2].ravel(), grid[1::2].ravel()
    for axes in [*ups[count:], *downs[count:]]:
        axes.set_axis_off()
    for index, pair in enumerate(zip(ups[:count], downs[:count], strict=True)):
        for axes, label in zip(pair, (upper, lower), strict=True):
            axes.tick_params(labelsize=SMALL)
            axes.grid(color="0.9", linewidth=0.6)
            axes.set_axisbelow(True)
            if index % columns == 0:
                axes.set_ylabel(label, fontsize=TEXT)
        if index >= count - columns:
            pair[1].tick_params(labelbottom=True)
            pair[1].set_xlabel(xlabel, fontsize=TEXT)
    return figure, list(ups[:count]), list(downs[:count])


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


def legend_below(
    figure: Figure, axes: Axes, columns: int, heading: str, also: Sequence[Any] = (), place: str = "center"
) -> None:
    """A legend for all panels, below them, under a heading; several stand side by side at "left", "center" and "right"."""
    legend(figure, [*axes.get_legend_handles_labels()[0], *also], columns, heading, place)


def legend(figure: Figure, handles: Sequence[Any], columns: int, heading: str, place: str = "center") -> None:
    """A legend of these handles below all panels."""
    loc: Any = f"outside lower {place}"
    found = figure.legend(
        handles=handles,
        loc=loc,
        ncols=columns,
        title=heading,
        fontsize=SMALL,
        title_fontsize=SMALL,
        frameon=False,
        handlelength=2.6,
        columnspacing=1.4,
        alignment="left",
    )
    found.get_title().set_fontweight("bold")


CAPTION = {"problem": "Problem", "optimizer": "Optimizer", "rate_units": "Rates", "command": "Command"}
"""Attributes of a table that stand below a figure, and their titles."""


def caption(figure: Figure, attributes: Mapping[str, Any]) -> None:
    """Say below a finished figure, which grows by this, what it is about, in which units, and which command made it."""
    given = [f"{title}: {attributes[name]}" for name, title in CAPTION.items() if attributes.get(name)]
    columns = int(LETTERS * figure.get_figwidth())
    text = "\n".join(textwrap.fill(part, columns, break_on_hyphens=False) for part in given)
    if not given:
        return
    height = (text.count("\n") + 1) * TINY * LEADING / 72 + 0.06
    sizes = [each.get_window_extent().transformed(figure.dpi_scale_trans.inverted()) for each in figure.legends]
    apart = sum(size.width for size in sizes) <= figure.get_figwidth()
    highest = max((size.height for size in sizes), default=0.0)
    space = highest if apart else sum(size.height for size in sizes)
    whole = figure.get_figheight() + height + space - highest
    figure.set_figheight(whole)
    below = height
    for each, size in reversed(list(zip(figure.legends, sizes, strict=True))):
        each.set_bbox_to_anchor((0.0, below / whole, 1.0, 1 - below / whole), figure.transFigure)
        if not apart:
            each.set_loc("lower left")
            below += size.height
    engine: Any = figure.get_layout_engine()
    bottom = (height + space) / whole
    engine.set(rect=(0.0, bottom, 1.0, 1 - bottom))
    words = figure.text(0.008, (height - 0.02) / whole, text.replace("$", r"\$"), va="top")
    words.set(fontsize=TINY, color="0.35", linespacing=LEADING, in_layout=False)
    figure.set_label("; ".join(given))


METADATA = {".png": "Description", ".pdf": "Subject", ".svg": "Description"}
"""Where a file says what its figure is about."""


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure in the format that the name's suffix says, what it is about in its metadata."""
    about = {METADATA[path.suffix]: figure.get_label()} if path.suffix in METADATA and figure.get_label() else {}
    figure.savefig(path, dpi=220, metadata=about)
