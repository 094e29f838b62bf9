"""Figures over batch sizes: updates to a target loss and learning rates, from tables of `scaling_curves`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from nqmjax.figures.style import (
    OBSERVED,
    TEXT,
    batch_size_axis,
    caption,
    fit_values,
    legend,
    log_axis,
    optimizer_line,
    optimizer_title,
    paired_panels,
    panels,
    power_line,
    title,
)
from nqmjax.scaling import Observed

BATCHES, STEPS = "batch size (examples)", "updates to target loss"
TICKS = (10, 5)
"""Ticks of the batch-size axis of one panel, and of one of several side by side."""

BOUNDS = {
    "flat_prior_steps": {"color": "0.75", "linewidth": 2.8, "linestyle": (0, (2.2, 0.9))},
    "bayes_steps": {"color": "black", "linewidth": 1.1, "linestyle": (0, (5, 2.5))},
}
RING = {"marker": "o", "markersize": 9, "markerfacecolor": "none", "markeredgewidth": 1.3, "linestyle": "none"}
"""How a critical batch size is marked, in the colour of its curve."""


def observed_title(label: str) -> str:
    """A user's label in a legend: as it stands, not as mathematics, and not too long."""
    short = label if len(label) <= 32 else label[:31] + "\N{HORIZONTAL ELLIPSIS}"
    return short.replace("$", r"\$") + " (observed)"


def scaling_figure(table: xr.Dataset, observed: Sequence[Observed] = ()) -> Figure:
    """Updates to target against batch size and the efficiency below: panels for each power, a line for each optimizer.

    Optimizers that take no preconditioner are drawn again, faintly, at the other powers. Rings mark the critical batch sizes,
    at which a run needs 20% more examples than at perfect scaling. The efficiency
    tells curves apart that lie on each other above: the examples of the ideal bound over those used, or where there is no
    such bound the fewest examples of any curve over those used.

    Args:
      table: as `scaling_curves` returns it.
      observed: measured curves, as `read_observed` returns them, laid over every panel.
    """
    powers = table.power.values
    share, best = _efficiency(table)
    figure, upper, lower = paired_panels(len(powers), BATCHES, STEPS, f"efficiency\n({best}: 100%)")
    for steps, efficiency, power in zip(upper, lower, powers, strict=True):
        for index, name in enumerate(table.optimizer.values):
            options = optimizer_line(str(name), index).options(optimizer_title(str(name)))
            _one_optimizer(steps, efficiency, table.assign(share=share).sel(optimizer=name), power, options)
        _bounds(steps, table, ["bayes_steps"])
        for curve, marker in zip(observed, OBSERVED * len(observed), strict=False):
            points = {"color": "black", "markersize": 6, "markeredgewidth": 0.8, "markerfacecolor": "none", "zorder": 4}
            steps.plot(curve.batch_size, curve.steps, marker, label=observed_title(curve.label), **points)
        title(steps, f"power {power:g}" if len(powers) > 1 or power else "")
        efficiency.set_ylim(0, 1.05)
        efficiency.yaxis.set_major_formatter(PercentFormatter(1.0))
    _finish(upper, table, [curve.steps for curve in observed], [curve.batch_size for curve in observed])
    for panel in lower:
        batch_size_axis(
            panel, np.concatenate([table.batch_size.values, *(curve.batch_size for curve in observed)]), _ticks(lower)
        )
    _scaling_legends(figure, upper[0], table)
    heading = f"tuned updates to the loss {float(table.target):g}"
    heading = f"{heading}; {table.fixed} fixed" if table.attrs["fixed"] else heading
    about = "; power p of the preconditioner $H^p$" if len(powers) > 1 else ""
    faint = " (faint: without one)" if len(powers) > 1 and table.steps.isnull().all("batch_size").any() else ""
    figure.suptitle(heading + about + faint, fontsize=TEXT)
    caption(figure, table.attrs)
    return figure


def _one_optimizer(steps: Axes, efficiency: Axes, table: xr.Dataset, power: float, options: dict[str, Any]) -> None:
    """An optimizer's curve at one power; faint beside the others if it takes no preconditioner."""
    curve = table.sel(power=power)
    faint = bool(curve.steps.isnull().all()) and 0 in table.power
    if faint:
        curve, options = table.sel(power=0), {**options, "alpha": 0.4}
    for axes, values in ((steps, curve.steps), (efficiency, curve.share)):
        _plot(axes, table.batch_size, values, options)
        if not faint:
            _mark_critical(axes, curve, values, options["color"])


def _efficiency(table: xr.Dataset) -> tuple[xr.DataArray, str]:
    """Examples of the ideal bound over those used, where there is no bound the fewest of all; and which it is."""
    if (table.bayes_steps > 0).any() and np.isfinite(table.bayes_steps).all():
        return table.bayes_steps / table.steps, "ideal"
    examples = (table.steps * table.batch_size).where(np.isfinite(table.steps) & (table.steps > 0))
    return examples.min() / examples, "best"


def _scaling_legends(figure: Figure, axes: Axes, table: xr.Dataset) -> None:
    """Optimizers at the left, what else is drawn at the right."""
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    names = [optimizer_title(str(name)) for name in table.optimizer.values]
    rest = [handle for name, handle in handles.items() if name not in names]
    rest.append(Line2D([], [], color="0.3", **RING, label="critical batch size: 20% more examples"))
    legend(figure, [handles[name] for name in names], -(-len(names) // 4), "optimizer, tuned", "left")
    legend(figure, rest, 1, "for comparison", "right")


def _mark_critical(axes: Axes, curve: xr.Dataset, values: xr.DataArray, colour: str) -> None:
    """A ring where the curve's examples are 20% above perfect scaling, if the curve shows it."""
    found = curve.sel(definition="overhead")
    some = np.isfinite(values) & (values > 0)
    if found.critical_batch_size_bound or not np.isfinite(found.critical_batch_size) or some.sum() < 2:
        return
    place = float(found.critical_batch_size)
    logs = np.interp(np.log(place), np.log(curve.batch_size[some]), np.log(values[some]))
    axes.plot([place], [np.exp(logs)], color=colour, zorder=5, **RING)


def powers_figure(table: xr.Dataset) -> Figure:
    """Updates to target against batch size in one panel: colours and markers for powers, styles of line for optimizers."""
    figure, (axes,) = panels(1, BATCHES, STEPS, height=3.0)
    _powers(axes, table)
    _bounds(axes, table, list(BOUNDS))
    _finish([axes], table)
    _powers_legends(figure, axes, table)
    title(axes, f"target loss {float(table.target):g}" if "target" in table.coords else "")
    caption(figure, table.attrs)
    return figure


def targets_figure(table: xr.Dataset) -> Figure:
    """As `powers_figure`, a panel for each entry of the table's dimension `target`."""
    figure, axes = panels(table.sizes["target"], BATCHES, STEPS, height=2.3)
    for panel, target in zip(axes, table.target.values, strict=True):
        part = table.sel(target=target)
        _powers(panel, part)
        _bounds(panel, part, list(BOUNDS))
        title(panel, f"target loss {target:g}")
    _finish(axes, table)
    _powers_legends(figure, axes[0], table)
    caption(figure, table.attrs)
    return figure


def rates_figure(table: xr.Dataset) -> Figure:
    """Tuned learning rates against batch size: a panel for each optimizer, a line for each power."""
    names = [str(name) for name in table.optimizer.values]
    figure, axes = panels(len(names), BATCHES, "tuned learning rate", height=2.6)
    for panel, name, letter in zip(axes, names, "abcdefgh", strict=False):
        curves = table.sel(optimizer=name)
        for index, power in enumerate(table.power.values):
            options = power_line(index, len(table.power), optimizer_line(name).style).options(f"{power:g}")
            _plot(panel, table.batch_size, curves.effective_learning_rate.sel(power=power), options)
        plain = not curves.get("momentum", curves.steps * np.nan).notnull().any()
        title(panel, f"({letter}) {optimizer_title(name)}{'' if plain else ', effective rate'}")
        batch_size_axis(panel, table.batch_size, _ticks(axes))
    log_axis(axes[0], "y")
    fit_values(axes, table.effective_learning_rate)
    legend(figure, axes[0].get_legend_handles_labels()[0], len(table.power), "preconditioner power")
    if "target" in table.coords:
        figure.suptitle(f"tuned for the target loss {float(table.target):g}", fontsize=TEXT)
    caption(figure, table.attrs)
    return figure


def _powers(axes: Axes, table: xr.Dataset) -> None:
    """Every optimizer's curves by power."""
    last = str(table.optimizer.values[-1])
    for index, power in enumerate(table.power.values):
        for name in map(str, table.optimizer.values):
            style = power_line(index, len(table.power), optimizer_line(name).style)
            options = style.options(f"{power:g}" if name == last else None)
            _plot(axes, table.batch_size, table.steps.sel(power=power, optimizer=name), options)


def _powers_legends(figure: Figure, axes: Axes, table: xr.Dataset) -> None:
    """Powers at the left; optimizers and bounds at the right."""
    handles, labels = axes.get_legend_handles_labels()
    count = len(table.power)
    names = [str(name) for name in table.optimizer.values]
    key = [Line2D([], [], **power_line(0, 1, optimizer_line(name).style)._replace(colour="0.45").options()) for name in names]
    for handle, name in zip(key, names, strict=True):
        handle.set_label(optimizer_title(name))
    bounds = [handle for handle, label in zip(handles, labels, strict=True) if label in _bound_names(table)]
    powers = [handle for handle in handles if handle not in bounds]
    legend(figure, powers[:count], -(-count // 4), "preconditioner power", "left")
    legend(figure, [*key, *bounds], 1, "optimizer", "right")


def _bound_names(table: xr.Dataset) -> list[str]:
    return [table[name].attrs["long_name"] for name in BOUNDS]


def _plot(axes: Axes, batch_size: xr.DataArray, values: xr.DataArray, options: dict[str, Any]) -> None:
    """One curve, with gaps where there is no value."""
    shown = np.where(np.isfinite(values) & (values > 0), values, np.nan)
    axes.plot(batch_size, shown, **options)


def _bounds(axes: Axes, table: xr.Dataset, names: Sequence[str]) -> None:
    """The bounds, dashed and named, where they say something."""
    for name in names:
        if (table[name] > 0).any() and np.isfinite(table[name]).any():
            _plot(axes, table.batch_size, table[name], {**BOUNDS[name], "label": table[name].attrs["long_name"], "zorder": 1})


def _ticks(axes: Sequence[Axes]) -> int:
    """Ticks of the batch-size axis of each of these panels."""
    spec = axes[0].get_subplotspec()
    columns = spec.get_gridspec().ncols if spec is not None else 1
    return TICKS[columns > 1]


def _finish(axes: Sequence[Axes], table: xr.Dataset, steps: Sequence[Any] = (), batches: Sequence[Any] = ()) -> None:
    """Axes that span the curves and what was measured; the bounds leave at the bottom."""
    for panel in axes:
        batch_size_axis(panel, np.concatenate([table.batch_size.values, *batches]), _ticks(axes))
        log_axis(panel, "y")
        if not np.isfinite(table.steps).any() and not steps:
            panel.text(0.5, 0.5, "no setting reaches the target", transform=panel.transAxes, ha="center", fontsize=TEXT)
    fit_values(axes, table.steps, *steps)
