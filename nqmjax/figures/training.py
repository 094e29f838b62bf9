"""Figures of papers from training runs of small networks, whose tables come with the package: updates to targets, budgets.

`benchmarks/real_training.py` makes the tables. All are over seeds; bars are standard errors of means over them.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nqmjax._tools import ENGINE
from nqmjax.figures.style import (
    COLOURS,
    DASHED,
    DOTTED,
    Line,
    batch_size_axis,
    caption,
    fit_values,
    legend_below,
    line,
    log_axis,
    optimizer_line,
    optimizer_title,
    paired_panels,
    panels,
    title,
)

FOLDER = Path(__file__).parent / "trained"
BATCHES, UPDATES, RATE = "batch size (examples)", "updates to target", "learning rate / (1 - momentum)"
ACCURACY, HELD_OUT, LOSS = "held-out accuracy", "held-out loss", "training loss"
MOMENTUM = {"heavy_ball": 0.9, "nesterov": 0.9}
"""Momentum of the runs, of those that have any."""

BAND: dict[str, Any] = {"alpha": 0.18, "linewidth": 0}
RING = {"markersize": 7.0, "markerfacecolor": "none"}


def trained(name: str, methods: str) -> Callable[[bool], xr.Dataset]:
    """What reads a table that comes with the package, told whether to show progress.

    Args:
      name: of the file.
      methods: the optimizers in words, for the caption.
    """

    def read(progress: bool = True) -> xr.Dataset:
        table = xr.load_dataset(FOLDER / f"{name}.nc", engine=ENGINE)
        return table.assign_attrs(problem=f"{table.attrs['task']}; {table.attrs['seeds']} seeds", optimizer=methods)

    return read


def reached_figure(optimizers: Sequence[str], goals: Sequence[str]) -> Callable[[xr.Dataset], Figure]:
    """What draws tuned updates against batch size, and below the examples that they take, a pair of panels for each goal.

    Bands are the intervals of what pilots foretold.

    Args:
      optimizers: those that are drawn.
      goals: names of targets.
    """

    def draw(table: xr.Dataset) -> Figure:
        figure, above, below = paired_panels(len(goals), BATCHES, UPDATES, "examples")
        shown, batches = table.sel(optimizer=list(optimizers), goal=list(goals)), table.batch_size
        for upper, lower, goal, letter in zip(above, below, goals, "abcd", strict=False):
            for name in optimizers:
                one, look = shown.sel(optimizer=name, goal=goal), optimizer_line(name)
                for panel, factor in ((upper, 1), (lower, batches)):
                    steps, error = one.tuned_steps * factor, one.tuned_standard_error * factor
                    _points(panel, look, batches, steps, error, optimizer_title(name))
                    if goal == str(table.goal_foretold.item()):
                        _foretold(panel, look, one, "steps", factor)
            title(upper, f"({letter}) {goal.replace('held out', 'held-out')}")
            batch_size_axis(lower, batches, 5)
        for panels_of, values in ((above, shown.tuned_steps), (below, shown.tuned_steps * batches)):
            for panel in panels_of:
                log_axis(panel, "y")
            fit_values(panels_of, values)
        legend_below(
            figure, above[0], min(len(optimizers), 4), "at the best rate; bands: foretold by pilots at two batch sizes"
        )
        caption(figure, table.attrs)
        return figure

    return draw


def best_rates_figure(optimizers: Sequence[str], goals: Sequence[str]) -> Callable[[xr.Dataset], Figure]:
    """What draws the best rates, with momentum effective ones, against batch size; foretold ones as bands.

    Args:
      optimizers, goals: see `reached_figure`.
    """

    def draw(table: xr.Dataset) -> Figure:
        figure, axes = panels(len(goals), BATCHES, RATE)
        drawn = []
        for panel, goal, letter in zip(axes, goals, "abcd", strict=False):
            for name in optimizers:
                one, look = table.sel(optimizer=name, goal=goal), optimizer_line(name)
                effective = 1 - MOMENTUM.get(name, 0.0)
                drawn.append(one.tuned_learning_rate / effective)
                panel.plot(table.batch_size, drawn[-1], **look.options(optimizer_title(name)))
                if goal == str(table.goal_foretold.item()):
                    _foretold(panel, look, one, "learning_rate", 1 / effective)
            low = table.batch_size.values[[0, 0]] * [1, 2**6]
            panel.plot(low, float(drawn[-1][0]) * low / low[0] / 2, color="0.3", linestyle=DOTTED, zorder=1)
            title(panel, f"({letter}) {goal.replace('held out', 'held-out')}")
            log_axis(panel, "y")
            batch_size_axis(panel, table.batch_size, 8 if len(goals) == 1 else 5)
        fit_values(axes, *drawn)
        legend_below(
            figure, axes[0], len(optimizers), "best rate; bands: foretold by pilots; dotted: in proportion to the batch size"
        )
        caption(figure, table.attrs)
        return figure

    return draw


def _points(axes: Axes, look: Line, x: Any, y: xr.DataArray, error: xr.DataArray, label: str, ring: bool = False) -> None:
    """A line through points with bars of standard errors; what was not reached is left out."""
    axes.plot(x, y.where(np.isfinite(y)), **look.options(label) | (RING if ring else {}))
    axes.vlines(x, y - error, y + error, color=look.colour, linewidth=1.0)


def _foretold(axes: Axes, look: Line, one: xr.Dataset, name: str, factor: Any) -> None:
    """The interval of what pilots foretold."""
    low, high = (one[f"foretold_{name}_{end}"] * factor for end in ("lower", "upper"))
    axes.fill_between(one.batch_size, low, high, color=look.colour, **BAND)


def regimes_figure(table: xr.Dataset) -> Figure:
    """Accuracy, losses and effective rate against batch size, at the rates that are best for accuracy.

    Dotted with the training loss: what it is at the rates that are best for it. Bars of rates hold those that are no worse by
    one standard deviation.
    """
    names = [str(name) for name in table.optimizer.values]
    figure, axes = panels(4, BATCHES, ACCURACY, HELD_OUT, LOSS, RATE, common=False)
    for name in names:
        both, look = table.sel(optimizer=name), optimizer_line(name)
        label = "heavy ball, warm-up" if name == "heavy_ball_warmup" else optimizer_title(name)
        _measures(axes, look, table.batch_size, both.sel(best_for="held_out_accuracy"), label)
        lowest = both.training_loss.sel(best_for="training_loss")
        axes[2].plot(table.batch_size, lowest, color=look.colour, linestyle=DOTTED, linewidth=1.1)
    _finish_budget(figure, axes, table, table.batch_size, "rates best for accuracy; dotted: best for the training loss")
    return figure


def updates_figure(table: xr.Dataset) -> Figure:
    """The same for as many updates at every batch size."""
    return regimes_figure(table.expand_dims(optimizer=["heavy_ball"]))


def temperature_figure(table: xr.Dataset) -> Figure:
    """Accuracy, losses and rates against the budget of epochs, at the rates best for accuracy and at those for the loss."""
    figure, axes = panels(4, "budget (epochs)", ACCURACY, HELD_OUT, LOSS, RATE, common=False)
    for index, goal in enumerate(table.best_for.values):
        name = {"held_out_accuracy": ACCURACY, "training_loss": LOSS}[str(goal)]
        look = Line(COLOURS[index], "os"[index], DASHED if index else "-")
        _measures(axes, look, table.epochs, table.sel(best_for=goal), f"best for {name}", ring=index > 0)
    _finish_budget(figure, axes, table, table.epochs, "at the best rates")
    return figure


def _measures(axes: Sequence[Axes], look: Line, x: xr.DataArray, best: xr.Dataset, label: str, ring: bool = False) -> None:
    """What runs measure at their best rates, and these."""
    for panel, name in zip(axes, ("held_out_accuracy", "held_out_loss", "training_loss"), strict=False):
        _points(panel, look, x, best[name], best[f"{name}_error"], label, ring)
    axes[3].plot(x, best.effective_rate, **look.options() | (RING if ring else {}))
    axes[3].vlines(x, best.effective_rate_lower, best.effective_rate_upper, color=look.colour, linewidth=1.0)


def _finish_budget(figure: Figure, axes: Sequence[Axes], table: xr.Dataset, x: xr.DataArray, heading: str) -> None:
    for panel, letter in zip(axes, "abcd", strict=True):
        batch_size_axis(panel, x, 5)
        title(panel, f"({letter})")
    log_axis(axes[2], "y")
    fit_values([axes[2]], table.training_loss)
    axes[3].set_yscale("log", base=2)
    fit_values([axes[3]], table.effective_rate_lower, table.effective_rate_upper)
    legend_below(figure, axes[0], 3, heading)
    caption(figure, table.attrs)


def course_figure(measure: str, methods: Sequence[str]) -> Callable[[xr.Dataset], Figure]:
    """What draws a measure against epochs, a panel for each batch size: means over seeds, bands of one standard deviation.

    Args:
      measure: "training_loss" or "held_out_accuracy".
      methods: those that are drawn.
    """

    def draw(table: xr.Dataset) -> Figure:
        sizes = table.batch_size.values
        figure, axes = panels(sizes.size, "epochs", measure.replace("_", " ").replace("held out", "held-out"))
        for panel, size in zip(axes, sizes, strict=True):
            for index, name in enumerate(methods):
                one, look = table.sel({"batch_size": size, "method": name}), line(index)
                mean, spread = one[f"curve_{measure}"], one[f"curve_{measure}_deviation"]
                every = max(mean.sizes["epoch"] // 8, 1)
                panel.plot(table.epoch, mean, markevery=(index * every // len(methods), every), **look.options(name))
                panel.fill_between(table.epoch, mean - spread, mean + spread, color=look.colour, **BAND)
            title(panel, f"batch size {size:,d}")
            if measure == "training_loss":
                log_axis(panel, "y")
        legend_below(figure, axes[0], 2, "rate best for held-out accuracy; bands: one standard deviation over seeds")
        caption(figure, table.attrs)
        return figure

    return draw


def layers_figure(table: xr.Dataset) -> Figure:
    """Accuracy against updates of methods with rates of layers: means over seeds, bands of one standard deviation."""
    figure, (axes,) = panels(1, "updates", ACCURACY)
    for index, name in enumerate(table.optimizer.values):
        one, look = table.sel(optimizer=name), optimizer_line(str(name), index)
        mean, spread = one.curve_held_out_accuracy, one.curve_held_out_accuracy_deviation
        axes.plot(table["update"], mean, **look.options(optimizer_title(str(name))))
        axes.fill_between(table["update"], mean - spread, mean + spread, color=look.colour, **BAND)
    axes.set_xscale("log")
    axes.set_xlim(1, None)
    legend_below(figure, axes, 2, f"batch size {table.attrs['batch_size']:,}, best rates; bands: one standard deviation")
    caption(figure, table.attrs)
    return figure
