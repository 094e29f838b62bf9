"""Figures of plans: learning rates along a run, families compared, budgets."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from nqmjax.figures.style import (
    DASHED,
    DOTTED,
    STYLES,
    TEXT,
    Line,
    batch_size_axis,
    caption,
    fit_values,
    legend_below,
    line,
    log_axis,
    optimizer_line,
    optimizer_title,
    panels,
    power_line,
    title,
)
from nqmjax.schedules import Plan

SHARE, RATE, BATCHES = "share of the run", "learning rate", "batch size (examples)"
NAMES = {
    "optimal": "best possible plan",
    "step_decay": "step decay",
    "inverse_sqrt": "inverse square root",
    "wsd_sqrt": "WSD, 1-sqrt",
}


FAMILIES = (
    "optimal",
    "constant",
    "step_decay",
    "cosine",
    "linear",
    "exponential",
    "inverse_sqrt",
    "wsd_linear",
    "wsd_sqrt",
    "wsd_exponential",
)
"""Families of schedules in the order of their looks."""

LOOKS = {"SGD": "sgd", "momentum 0.9": "heavy_ball", "momentum 0.9, warm-up": "heavy_ball_warmup"}
"""Optimizers of tables by the names of their looks, where they differ."""


def family_line(name: str) -> Line:
    """The look of a family, the same in every figure."""
    place = FAMILIES.index(name) if name in FAMILIES else len(FAMILIES)
    return line(place, "-" if name == "optimal" else STYLES[1 + place // 7])


def family_title(name: str) -> str:
    """A family's name as one writes it."""
    return NAMES.get(name, name.replace("wsd_", "WSD, ").replace("_", " "))


def comparison_figure(table: xr.Dataset, shown: int = 7) -> Figure:
    """Rates along the run and final losses of schedule families, as `schedules.compare` returns them."""
    names = [str(name) for name in table.schedule.values]
    drawn = [name for name in names if name == "optimal"] + [name for name in names if name != "optimal"][: shown - 1]
    figure, (rates, risks) = panels(2, SHARE, RATE, "", height=3.2, common=False)
    for index, name in enumerate(drawn):
        values = table.learning_rates.sel(schedule=name)
        options = family_line(name).options(family_title(name))
        rates.plot(table.progress, values.where(values > 0), markevery=(5 * index, 57), **options)
    log_axis(rates, "y")
    values = table.learning_rates.sel(schedule=drawn, progress=slice(0, 0.99))
    fit_values([rates], values)
    _share_axis(rates)
    place = np.arange(len(names))[::-1]
    for y, name in zip(place, names, strict=True):
        risks.plot(table.risk.sel(schedule=name), y, **{**family_line(name).options(), "linestyle": "none"})
    risks.axvline(table.attrs["bayes_bound"], color="black", linewidth=1.1, linestyle=DOTTED, label="ideal bound")
    risks.set_yticks(place, [family_title(name) for name in names])
    risks.set_xlabel("final loss", fontsize=TEXT)
    risks.set_ylabel("")
    risks.set_xscale("log")
    risks.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    risks.xaxis.set_major_formatter("{x:g}")
    risks.xaxis.set_minor_formatter(NullFormatter())
    title(rates, "(a) rates at their best")
    title(risks, "(b) final losses")
    figure.suptitle(f"{table.attrs['steps']:,} updates of {table.attrs['batch_size']:g} examples", fontsize=TEXT)
    legend_below(figure, rates, 3, "schedule", risks.get_legend_handles_labels()[0])
    caption(figure, table.attrs)
    return figure


def plan_figure(plan: Plan, about: Mapping[str, str] = MappingProxyType({})) -> Figure:
    """The hyperparameters and the batch size of a plan along its run.

    Args:
      plan: the plan.
      about: what the caption says: `problem`, `optimizer`, `rate_units`, `command`.
    """
    columns = {name.replace("_", " "): np.asarray(values) for name, values in plan.hyperparameters.items()}
    columns["batch size (examples)"] = np.asarray(plan.batch_size)
    figure, axes = panels(len(columns), "update", *columns, height=2.4, common=False)
    edges = np.concatenate([[0], np.cumsum(plan.steps)])
    for index, (panel, (name, values)) in enumerate(zip(axes, columns.items(), strict=True)):
        panel.stairs(values, edges, baseline=None, color=line(index).colour, linewidth=1.6)
        panel.xaxis.set_major_locator(MaxNLocator(4))
        panel.set_xlim(0, edges[-1])
        panel.set_ylabel(name, fontsize=TEXT)
        if name.startswith("batch"):
            panel.set_yscale("log", base=2)
            panel.set_ylim(values.min() / 2, values.max() * 2)
        elif name == "learning rate":
            log_axis(panel, "y")
            panel.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    caption(figure, about)
    return figure


def budget_figure(table: xr.Dataset) -> Figure:
    """Tuned final risk and tuned effective rate against batch size, a line for each entry of the dimension `optimizer`."""
    figure, (risks, rates) = panels(2, BATCHES, "tuned final loss", "tuned effective learning rate", height=2.8, common=False)
    for index, name in enumerate(table.optimizer.values):
        curve, name = table.sel(optimizer=name), str(name)
        options = optimizer_line(LOOKS.get(name, name), index).options(optimizer_title(name))
        risks.plot(table.batch_size, curve.risk, **options)
        rates.plot(table.batch_size, curve.effective_learning_rate, **options)
        if "boundary" in table and np.isfinite(curve.boundary):
            for panel in (risks, rates):
                panel.axvline(float(curve.boundary), color=options["color"], linewidth=0.9, linestyle=DOTTED, zorder=1)
    for panel, text in ((risks, "(a) final loss"), (rates, "(b) rate")):
        batch_size_axis(panel, table.batch_size, 5)
        log_axis(panel, "y")
        title(panel, text)
    meeting = Line2D([], [], color="0.45", linewidth=0.9, linestyle=DOTTED, label="where the regimes meet")
    legend_below(figure, risks, 2, "optimizer", [meeting])
    caption(figure, table.attrs)
    return figure


def optimal_rates_figure(table: xr.Dataset) -> Figure:
    """Figure 3c: rates of the optimal plans along the run, a line for each batch size."""
    figure, (axes,) = panels(1, SHARE, RATE, height=3.2)
    middles = (np.arange(table.sizes["piece"]) + 0.5) / table.sizes["piece"]
    for index, batch in enumerate(table.batch_size.values):
        style = power_line(index, table.sizes["batch_size"], "-" if index < 5 else DASHED)
        options = style.options(f"$2^{{{np.log2(batch):.0f}}}$")
        axes.plot(middles, table.learning_rates.sel(batch_size=batch), markevery=(index, 9), **options)
    log_axis(axes, "y")
    _share_axis(axes)
    title(axes, f"target loss {table.attrs['target']:g}, {table.sizes['piece']} pieces")
    legend_below(figure, axes, 5, BATCHES)
    caption(figure, table.attrs)
    return figure


def final_rates_figure(table: xr.Dataset) -> Figure:
    """Figure 15: first and last rates of the optimal plans against batch size."""
    figure, (axes,) = panels(1, BATCHES, RATE, height=2.8)
    final = table.learning_rates.isel(piece=-1)
    axes.plot(table.batch_size, table.learning_rates.isel(piece=0), **line(0).options("first"))
    axes.plot(table.batch_size, final, **line(1, DASHED).options("last"))
    axes.plot(
        table.batch_size,
        final[0] / table.batch_size[0] * table.batch_size,
        color="0.5",
        linestyle=DOTTED,
        label="in proportion to the batch size",
    )
    batch_size_axis(axes, table.batch_size, 10)
    log_axis(axes, "y")
    title(axes, f"target loss {table.attrs['target']:g}, {table.sizes['piece']} pieces")
    legend_below(figure, axes, 3, "piece of the plan")
    caption(figure, table.attrs)
    return figure


def _share_axis(axes: Axes) -> None:
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
