"""Figures of plans: learning rates along a run, families compared, budgets."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from nqmjax.figures.style import TEXT, Line, batch_size_axis, fit_values, legend_below, line, log_axis, panels, title
from nqmjax.plans import Plan

SHARE, RATE, BATCHES = "share of the run", "learning rate", "batch size (examples)"
DASHED, DOTTED = (0, (4, 1.5)), (0, (1.2, 1.2))
NAMES = {
    "optimal": "best possible plan",
    "step_decay": "step decay",
    "inverse_sqrt": "inverse square root",
    "wsd_sqrt": "WSD, 1-sqrt",
}


def family_title(name: str) -> str:
    """A family's name as one writes it."""
    return NAMES.get(name, name.replace("wsd_", "WSD, ").replace("_", " "))


def comparison_figure(table: xr.Dataset, shown: int = 7) -> Figure:
    """Rates along the run and final risks of schedule families, as `compare_schedules` returns them."""
    names = [str(name) for name in table.schedule.values]
    drawn = [name for name in names if name == "optimal"] + [name for name in names if name != "optimal"][: shown - 1]
    figure, (rates, risks) = panels(2, SHARE, RATE, "", height=3.2, common=False)
    for index, name in enumerate(drawn):
        values = table.learning_rates.sel(schedule=name)
        options = line(index, "-" if name == "optimal" else DASHED).options(family_title(name))
        rates.plot(table.progress, values.where(values > 0), markevery=(5 * index, 57), **options)
    log_axis(rates, "y")
    values = table.learning_rates.sel(schedule=drawn, progress=slice(0, 0.99))
    fit_values([rates], values)
    _share_axis(rates)
    place = np.arange(len(names))[::-1]
    for y, name in zip(place, names, strict=True):
        style = line(drawn.index(name), "-" if name == "optimal" else DASHED) if name in drawn else Line("0.5", ".")
        risks.plot(table.risk.sel(schedule=name), y, **{**style.options(), "linestyle": "none"})
    risks.axvline(table.attrs["bayes_bound"], color="black", linewidth=1.1, linestyle=DOTTED, label="Bayes bound")
    risks.set_yticks(place, [family_title(name) for name in names])
    risks.set_xlabel("final risk", fontsize=TEXT)
    risks.set_ylabel("")
    risks.set_xscale("log")
    risks.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    risks.xaxis.set_major_formatter("{x:g}")
    risks.xaxis.set_minor_formatter(NullFormatter())
    title(rates, "(a) rates at their best")
    title(risks, "(b) final risks")
    figure.suptitle(f"{table.attrs['steps']:,} updates of {table.attrs['batch_size']:g} examples", fontsize=TEXT)
    legend_below(figure, rates, 3, risks.get_legend_handles_labels()[0])
    return figure


def plan_figure(plan: Plan) -> Figure:
    """The hyperparameters and the batch size of a plan along its run."""
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
    return figure


def budget_figure(table: xr.Dataset) -> Figure:
    """Tuned final risk and tuned effective rate against batch size, a line for each entry of the dimension `optimizer`."""
    figure, (risks, rates) = panels(2, BATCHES, "tuned final risk", "tuned effective learning rate", height=2.8, common=False)
    for index, name in enumerate(table.optimizer.values):
        curve, options = table.sel(optimizer=name), line(index, ["-", DASHED, DOTTED][index % 3]).options(str(name))
        risks.plot(table.batch_size, curve.risk, **options)
        rates.plot(table.batch_size, curve.effective_learning_rate, **options)
        if "boundary" in table and np.isfinite(curve.boundary):
            for panel in (risks, rates):
                panel.axvline(float(curve.boundary), color=line(index).colour, linewidth=0.9, linestyle=DOTTED, zorder=1)
    for panel, text in ((risks, "(a) final risk"), (rates, "(b) rate")):
        batch_size_axis(panel, table.batch_size, 5)
        log_axis(panel, "y")
        title(panel, text)
    meeting = Line2D([], [], color="0.45", linewidth=0.9, linestyle=DOTTED, label="where the regimes meet")
    legend_below(figure, risks, 2, [meeting])
    return figure


def optimal_rates_figure(table: xr.Dataset) -> Figure:
    """Figure 3c: rates of the optimal plans along the run, a line for each batch size."""
    figure, (axes,) = panels(1, SHARE, RATE, height=3.2)
    middles = (np.arange(table.sizes["piece"]) + 0.5) / table.sizes["piece"]
    for index, batch in enumerate(table.batch_size.values):
        options = line(index, "-" if index < 5 else DASHED).options(f"$2^{{{np.log2(batch):.0f}}}$")
        axes.plot(middles, table.learning_rates.sel(batch_size=batch), markevery=(index, 9), **options)
    log_axis(axes, "y")
    _share_axis(axes)
    title(axes, f"target risk {table.attrs['target']:g}, {table.sizes['piece']} pieces, by batch size")
    legend_below(figure, axes, 5)
    return figure


def final_rates_figure(table: xr.Dataset) -> Figure:
    """Figure 15: first and last rates of the optimal plans against batch size."""
    figure, (axes,) = panels(1, BATCHES, RATE, height=2.8)
    final = table.learning_rates.isel(piece=-1)
    axes.plot(table.batch_size, table.learning_rates.isel(piece=0), **line(0).options("first piece"))
    axes.plot(table.batch_size, final, **line(1, DASHED).options("last piece"))
    axes.plot(
        table.batch_size,
        final[0] / table.batch_size[0] * table.batch_size,
        color="0.5",
        linestyle=DOTTED,
        label="in proportion",
    )
    batch_size_axis(axes, table.batch_size, 10)
    log_axis(axes, "y")
    legend_below(figure, axes, 3)
    return figure


def _share_axis(axes: Axes) -> None:
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
