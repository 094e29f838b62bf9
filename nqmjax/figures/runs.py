"""Figures of real training runs: how well a model fits them, its curves at like compute, and the best runs under limits."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterMathtext, LogLocator, MaxNLocator, NullFormatter, NullLocator

from nqmjax._tools import plain_exponent
from nqmjax.figures.style import (
    MARKERS,
    SMALL,
    STYLES,
    TEXT,
    Line,
    batch_size_axis,
    caption,
    legend_below,
    line,
    log_axis,
    panels,
    title,
)
from nqmjax.runs import RunModel, RunPlan, Runs, law_inputs, mean_log_losses, run_settings

LOSS, SIZE, BATCHES = "loss (nats)", "model size (parameters)", "batch size (examples)"
HEIGHT = 3.0

FEWEST, MOST = 3, 7
"""Model or batch sizes of a curve at least, and curves of a panel at most."""

BETWEEN = 10
"""Points of a model's curve from one run to the next."""


class Curve(NamedTuple):
    """Runs of one budget along model size, or along batch size: their places, and how they are drawn."""

    along: str
    budget: float
    label: str
    places: np.ndarray


def fit_figure(runs: Runs, table: xr.Dataset) -> Figure:
    """Observed against predicted losses with intervals, and the residuals against compute; groups by marker and colour.

    Args:
      runs: the runs that were fitted to.
      table: `predict(model, runs.settings)`.
    """
    labels = (f"observed {LOSS}", "observed above predicted (%)")
    figure, (fit, rest) = panels(2, f"predicted {LOSS}", *labels, height=HEIGHT, common=False)
    loss, lower, upper = (table[name].values for name in ("loss", "lower", "upper"))
    bars = np.array([loss - lower, upper - loss])
    for index, group in enumerate(np.unique(runs.group)):
        here = runs.group == group
        options = {**line(index).options(_group_title(str(group))), "linestyle": "none", "alpha": 0.85}
        fit.errorbar(loss[here], runs.loss[here], xerr=bars[:, here], elinewidth=0.7, **options)
        rest.plot(runs.compute[here], 100 * (runs.loss / loss - 1)[here], **options)
    ends = np.array([np.minimum(lower, runs.loss).min(), np.maximum(upper, runs.loss).max()])
    fit.plot(ends, ends, color="black", linewidth=0.9, label="observed = predicted", zorder=1)
    loss_axis(fit, "x", ends)
    loss_axis(fit, "y", ends)
    rest.axhline(0, color="black", linewidth=0.9, zorder=1)
    rest.set_xlabel(_compute_title(runs.compute_unit), fontsize=TEXT)
    log_axis(rest, "x")
    title(fit, f"(a) fit, {100 * table.attrs['level']:g}% intervals")
    title(rest, "(b) residuals")
    legend_below(figure, fit, 4, "group of runs")
    caption(figure, table.attrs)
    return figure


def iso_figure(runs: Runs, model: RunModel, about: Mapping[str, Any] = MappingProxyType({})) -> Figure:
    """Loss against model size, and against batch size, at the compute of each budget: runs as markers, the model as lines.

    A budget is drawn against batch size for each model size with three batch sizes or more, and against model size with its
    other runs, or where these are too few with the best run of each model size. Between neighbouring runs the model's other
    settings are interpolated in logarithms. `about` are further attributes for the caption, such as the command.
    """
    figure, axes = panels(2, SIZE, LOSS, LOSS, height=HEIGHT, common=False)
    both = [_some(_along_sizes(runs)), _some(_along_batches(runs))]
    lines = _model_lines(runs, model, [*both[0], *both[1]])
    budgets = np.unique([curve.budget for curve in [*both[0], *both[1]]]).tolist()
    for panel, curves in zip(axes, both, strict=True):
        shown = [runs.loss[np.concatenate([curve.places for curve in curves])] if curves else runs.loss]
        for curve, style in zip(curves, _styles(curves, budgets), strict=True):
            x, loss = next(lines)
            shown.append(loss)
            panel.plot(x, loss, color=style.colour, linestyle=style.style, linewidth=1.3, zorder=2)
            points = {**style.options(), "linestyle": "none"}
            panel.plot(getattr(runs, curve.along)[curve.places], runs.loss[curve.places], **points)
            panel.plot([], [], **style.options(curve.label))
        loss_axis(panel, "y", np.concatenate(shown))
        if curves:
            _legend(panel)
        else:
            panel.text(0.5, 0.5, f"no budget has {FEWEST} or more", transform=panel.transAxes, ha="center", fontsize=TEXT)
    log_axis(axes[0], "x")
    batch_size_axis(axes[1], runs.batch_size, 6)
    axes[1].set_xlabel(BATCHES, fontsize=TEXT)
    title(axes[0], "(a) model size at like compute")
    title(axes[1], "(b) batch size at like compute")
    figure.suptitle(f"{_compute_title(runs.compute_unit, 'C: compute')}; markers: runs; lines: the model", fontsize=TEXT)
    caption(figure, {**model.provenance, **about})
    return figure


def frontier_figure(plan: RunPlan) -> Figure:
    """Least loss with its interval, and the settings of the best run, against multiples of the limits.

    Args:
      plan: as `nqmjax.runs.plan` returns it.
    """
    table, best = plan.frontier, plan.frontier.sel(limits=1.0)
    labels = (LOSS, "relative to the run at $2^0$")
    figure, (losses, settings) = panels(2, "multiple of the limits", *labels, height=HEIGHT, common=False)
    style = line(0)
    band = {"color": style.colour, "alpha": 0.18, "linewidth": 0, "label": f"{100 * table.attrs['level']:g}% interval"}
    losses.fill_between(table.limits, table.lower, table.upper, **band)
    losses.plot(table.limits, table.loss, color=style.colour, linewidth=1.3)
    for far, face, words in ((False, style.colour, "within the compute seen"), (True, "white", "beyond the compute seen")):
        part = table.isel(limits=(table.beyond.values > 1) == far)
        if part.sizes["limits"]:
            points = {**style.options(words), "markerfacecolor": face, "linestyle": "none"}
            losses.plot(part.limits, part.loss, **points)
    names = {"model_size": "parameters", "batch_size": "batch size", "steps": "updates"}
    for index, (name, words) in enumerate(names.items()):
        options = line(index, STYLES[index]).options(f"{words} ({_short(float(best[name]))} at $2^0$)")
        settings.plot(table.limits, table[name] / best[name], **options)
    for panel, text in ((losses, "(a) least loss"), (settings, "(b) the best run")):
        batch_size_axis(panel, table.limits, 9)
        title(panel, text)
        _legend(panel, 1)
    loss_axis(losses, "y", np.concatenate([table.lower, table.upper]))
    settings.set_yscale("log", base=2)
    settings.yaxis.set_major_formatter(LogFormatterMathtext(base=2))
    settings.yaxis.set_minor_locator(NullLocator())
    caption(figure, table.attrs)
    return figure


def loss_axis(axes: Axes, which: str, values: Any) -> None:
    """An axis over losses: linear where they lie within a factor of ten, logarithmic beyond."""
    low, high = float(np.min(values)), float(np.max(values))
    wide = high > 10 * low
    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log" if wide else "linear")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)) if wide else MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())
    margin = 0.06 * (high - low) or 0.05 * high
    ends = (low / 1.2, high * 1.2) if wide else (low - margin, high + margin)
    (axes.set_xlim if which == "x" else axes.set_ylim)(*ends)


def _along_sizes(runs: Runs) -> list[Curve]:
    """The budgets that have three model sizes or more, with the runs that are no part of a curve along batch size."""
    found = []
    for budget in runs.budgets.tolist():
        here = np.flatnonzero(runs.budget == budget)
        taken = [curve.places for curve in _along_batches(runs) if curve.budget == budget]
        single = np.setdiff1d(here, np.concatenate(taken)) if taken else here
        if len(np.unique(runs.model_size[single])) < FEWEST:
            single = _best_of_each(runs, here)
        if len(np.unique(runs.model_size[single])) >= FEWEST:
            places = single[np.argsort(runs.model_size[single], kind="stable")]
            found.append(Curve("model_size", budget, f"C = {_short(budget)}", places))
    return found


def _best_of_each(runs: Runs, here: np.ndarray) -> np.ndarray:
    """The places of the runs of least loss for each model size."""
    ranked = here[np.lexsort((runs.loss[here], runs.model_size[here]))]
    return ranked[np.unique(runs.model_size[ranked], return_index=True)[1]]


def _along_batches(runs: Runs) -> list[Curve]:
    """The budgets and model sizes that have three batch sizes or more."""
    found = []
    for budget in runs.budgets.tolist():
        for size in np.unique(runs.model_size[runs.budget == budget]).tolist():
            here = np.flatnonzero((runs.budget == budget) & (runs.model_size == size))
            if len(np.unique(runs.batch_size[here])) >= FEWEST:
                places = here[np.argsort(runs.batch_size[here], kind="stable")]
                found.append(Curve("batch_size", budget, f"C = {_short(budget)}, N = {_short(size)}", places))
    return found


def _some(curves: list[Curve]) -> list[Curve]:
    """Not more than can be told apart, spread evenly."""
    chosen = np.unique(np.linspace(0, len(curves) - 1, min(MOST, len(curves))).round().astype(int))
    return [curves[index] for index in chosen]


def _styles(curves: Sequence[Curve], budgets: Sequence[float]) -> list[Line]:
    """A marker for each curve; a colour for each budget, the same in both panels; a style of lines for each of its curves."""
    seen: dict[float, int] = {}
    styles = []
    for curve, marker in zip(curves, MARKERS, strict=False):
        number = seen[curve.budget] = seen.get(curve.budget, -1) + 1
        styles.append(Line(line(budgets.index(curve.budget)).colour, marker, STYLES[number % len(STYLES)]))
    return styles


def _model_lines(runs: Runs, model: RunModel, curves: Sequence[Curve]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Where each curve is drawn and the model's loss there; all are predicted in one call, which compiles once."""
    paths = [_path(runs, curve) for curve in curves]
    if not paths:
        return
    columns = [np.concatenate(parts) for parts in zip(*paths, strict=True)]
    *numbers, nearest = columns
    schedules = [runs.settings.schedule[place] for place in nearest]
    sizes, batches, steps, rates = np.exp(numbers)
    loss = np.exp(mean_log_losses(model, law_inputs(run_settings(sizes, batches, steps, rates, schedules))))
    ends = np.cumsum([len(path[0]) for path in paths])
    for curve, path, part in zip(curves, paths, np.split(loss, ends[:-1]), strict=True):
        yield np.exp(path[("model_size", "batch_size").index(curve.along)]), part


def _path(runs: Runs, curve: Curve) -> tuple[np.ndarray, ...]:
    """Logarithms of the settings along a curve, and the place of the nearest run at each point."""
    settings = runs.settings.select(np.isin(np.arange(len(runs)), curve.places))
    along, which = np.unique(np.log(getattr(settings, curve.along)), return_inverse=True)
    places = np.arange((len(along) - 1) * BETWEEN + 1) / BETWEEN
    columns = (settings.model_size, settings.batch_size, settings.steps, settings.learning_rate)
    means = [np.bincount(which, np.log(column)) / np.bincount(which) for column in columns]
    numbers = [np.interp(places, np.arange(len(along)), mean) for mean in means]
    first = np.sort(curve.places)[np.unique(which, return_index=True)[1]]
    return *numbers, first[places.round().astype(int)]


def _compute_title(unit: str, name: str = "compute") -> str:
    return f"{name} ({unit})".replace(" x ", " \N{MULTIPLICATION SIGN} ")


def _group_title(group: str) -> str:
    """A label of the user's file: as it stands, not as mathematics, and not too long."""
    short = group if len(group) <= 24 else group[:23] + "\N{HORIZONTAL ELLIPSIS}"
    return short.replace("$", r"\$") or "runs"


def _short(value: float) -> str:
    """Three digits, as people write them."""
    return plain_exponent(f"{value:.3g}")


def _legend(axes: Axes, columns: int = 2) -> None:
    """A legend below one panel."""
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.2),
        ncols=columns,
        fontsize=SMALL - 1,
        frameon=False,
        handlelength=2.6,
        columnspacing=1.2,
    )
