"""Figures over batch sizes: steps to target and learning rates, from tables of `nqmjax.scaling.scaling_curves`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nqmjax.figures.style import (
    OBSERVED,
    TEXT,
    Line,
    batch_size_axis,
    fit_values,
    legend_below,
    line,
    log_axis,
    panels,
    title,
)

Observed = Sequence[tuple[str, np.ndarray, np.ndarray]]
"""Measured curves: label, batch sizes and steps of each, as `nqmjax.files.read_observed` returns them."""

BATCHES, STEPS = "batch size (examples)", "steps to target (updates)"
TICKS = (10, 5)
"""Ticks of the batch-size axis of one panel, and of one of several."""

TITLES = {
    "sgd": "SGD",
    "heavy_ball": "heavy ball",
    "nesterov": "Nesterov",
    "qhm": "QHM",
    "ema": "SGD + EMA",
    "sgd_schedule": "SGD, optimised schedule",
}
BOUNDS = {
    "flat_prior_steps": {"color": "0.75", "linewidth": 2.8, "linestyle": (0, (2.2, 0.9))},
    "bayes_steps": {"color": "black", "linewidth": 1.1, "linestyle": (0, (5, 2.5))},
}
STYLES = ("-", (0, (4, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))


def optimizer_title(name: str) -> str:
    """An optimizer's name as one writes it."""
    inner = name.removeprefix("ema_")
    return TITLES.get(name) or (f"{TITLES.get(inner, inner)} + EMA" if inner != name else name)


def observed_title(label: str) -> str:
    """A user's label in a legend: as it stands, not as mathematics, and not too long."""
    short = label if len(label) <= 32 else label[:31] + "\N{HORIZONTAL ELLIPSIS}"
    return short.replace("$", r"\$") + " (observed)"


def scaling_figure(table: xr.Dataset, observed: Observed = ()) -> Figure:
    """Steps to target against batch size: a panel for each preconditioner power, a line for each optimizer.

    Args:
      table: as `scaling_curves` returns it.
      observed: measured curves, laid over every panel.
    """
    powers = table.power.values
    figure, axes = panels(len(powers), BATCHES, STEPS, height=2.3 if len(powers) > 1 else 3.0)
    for panel, power in zip(axes, powers, strict=True):
        for index, name in enumerate(table.optimizer.values):
            options = line(index, STYLES[index % len(STYLES)]).options(optimizer_title(str(name)))
            _plot(panel, table.batch_size, table.steps.sel(power=power, optimizer=name), options)
        _bounds(panel, table)
        for (label, batches, steps), marker in zip(observed, OBSERVED * len(observed), strict=False):
            panel.plot(
                batches,
                steps,
                marker,
                color="black",
                markersize=6,
                markeredgewidth=0.8,
                markerfacecolor="none",
                label=observed_title(label),
                zorder=4,
            )
        title(panel, f"preconditioner power {power:g}" if len(powers) > 1 or power else "")
    _finish(axes, table, [steps for _, _, steps in observed], [batches for _, batches, _ in observed])
    legend_below(figure, axes[0], 3 if len(powers) > 1 else 2)
    heading = f"tuned steps to risk {float(table.target):g}"
    figure.suptitle(f"{heading}; {table.fixed} fixed" if table.attrs["fixed"] else heading, fontsize=TEXT)
    return figure


def powers_figure(table: xr.Dataset) -> Figure:
    """Steps to target against batch size in one panel: colours for powers, the last optimizer solid, the first dashed."""
    figure, (axes,) = panels(1, BATCHES, STEPS, height=3.0)
    _powers(axes, table)
    _bounds(axes, table)
    _finish([axes], table)
    legend_below(figure, axes, 2, _style_key(table))
    title(axes, f"target risk {float(table.target):g}" if "target" in table.coords else "")
    return figure


def targets_figure(table: xr.Dataset) -> Figure:
    """As `powers_figure`, a panel for each entry of the table's dimension `target`."""
    figure, axes = panels(table.sizes["target"], BATCHES, STEPS, height=2.3)
    for panel, target in zip(axes, table.target.values, strict=True):
        part = table.sel(target=target)
        _powers(panel, part)
        _bounds(panel, part)
        title(panel, f"target risk {target:g}")
    _finish(axes, table)
    legend_below(figure, axes[0], 4, _style_key(table))
    return figure


def rates_figure(table: xr.Dataset) -> Figure:
    """Tuned learning rates against batch size: a panel for each optimizer, a line for each power."""
    names = [str(name) for name in table.optimizer.values]
    figure, axes = panels(len(names), BATCHES, "tuned learning rate", height=2.6)
    for panel, name, letter in zip(axes, names, "abcdefgh", strict=False):
        curves = table.sel(optimizer=name)
        for index, power in enumerate(table.power.values):
            options = line(index).options(f"power {power:g}")
            _plot(panel, table.batch_size, curves.effective_learning_rate.sel(power=power), options)
        plain = not curves.get("momentum", curves.steps * np.nan).notnull().any()
        title(panel, f"({letter}) {optimizer_title(name)}{'' if plain else ', effective rate'}")
        batch_size_axis(panel, table.batch_size, TICKS[len(axes) > 1])
    log_axis(axes[0], "y")
    fit_values(axes, table.effective_learning_rate)
    legend_below(figure, axes[0], len(table.power))
    if "target" in table.coords:
        figure.suptitle(f"tuned for target risk {float(table.target):g}", fontsize=TEXT)
    return figure


def _powers(axes: Axes, table: xr.Dataset) -> None:
    """Every optimizer's curves by power, dashed but for the last."""
    *others, solid = table.optimizer.values
    for index, power in enumerate(table.power.values):
        for name in others:
            _plot(axes, table.batch_size, table.steps.sel(power=power, optimizer=name), line(index, STYLES[1]).options())
        _plot(axes, table.batch_size, table.steps.sel(power=power, optimizer=solid), line(index).options(f"power {power:g}"))


def _style_key(table: xr.Dataset) -> list[Line2D]:
    """What solid and dashed stand for."""
    first, *_, last = (optimizer_title(str(name)) for name in table.optimizer.values)
    styles = {last: Line("0.45", "o"), first: Line("0.45", "o", STYLES[1])}
    return [Line2D([], [], **style.options(label)) for label, style in styles.items()]


def _plot(axes: Axes, batch_size: xr.DataArray, values: xr.DataArray, options: dict[str, Any]) -> None:
    """One curve, with gaps where there is no value."""
    shown = np.where(np.isfinite(values) & (values > 0), values, np.nan)
    axes.plot(batch_size, shown, **options)


def _bounds(axes: Axes, table: xr.Dataset) -> None:
    """The two bounds, dashed and named, where they say something."""
    for name, style in BOUNDS.items():
        if (table[name] > 0).any() and np.isfinite(table[name]).any():
            _plot(axes, table.batch_size, table[name], {**style, "label": table[name].attrs["long_name"], "zorder": 1})


def _finish(axes: Sequence[Axes], table: xr.Dataset, steps: Sequence[Any] = (), batches: Sequence[Any] = ()) -> None:
    """Axes that span the curves and what was measured; the bounds leave at the bottom."""
    for panel in axes:
        batch_size_axis(panel, np.concatenate([table.batch_size.values, *batches]), TICKS[len(axes) > 1])
        log_axis(panel, "y")
        if not np.isfinite(table.steps).any() and not steps:
            panel.text(0.5, 0.5, "no setting reaches the target", transform=panel.transAxes, ha="center", fontsize=TEXT)
    fit_values(axes, table.steps, *steps)
