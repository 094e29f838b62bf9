r"""Figures 3, 4, 5, 7 and 8 of Gao & Zhong 2020 on the quadratic: what computes their tables, and what draws them.

They say that gradients fall as `1/sqrt(B)` and with them updates and gains. On the quadratic they do while noise dominates;
rings mark where noise and signal are alike. Their eqs. 4, 6 and 28 have `2 sigma / sqrt(pi n)` for the mean of `|g|`, whose
value is `sqrt(2 / pi) sigma / sqrt n`; eq. 8 is the gain of the batch itself, of which the population sees less.
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nqmjax.dynamics import risk
from nqmjax.figures.style import DOTTED, batch_size_axis, caption, fit_values, legend_below, line, log_axis, panels, title
from nqmjax.optimizers import SGD, provenance
from nqmjax.problem import NoisyQuadratic, power_law
from nqmjax.scaling import strides

BATCHES, EPOCHS = "batch size (examples)", "epochs"
LAYERS = ("directions 1 to 10", "11 to 100", "101 to 1,000", "1,001 to 10,000")
RING = {"marker": "o", "markersize": 9, "markerfacecolor": "none", "markeredgewidth": 1.3, "linestyle": "none"}
DATA_SET, RATE, LAST_EPOCH = 50_000, 0.5, 12
"""Examples of an epoch, as in CIFAR-10; the constant rate; epochs that are followed."""

SMALLEST_RATE = 2.0**-10
"""Rate of the smallest batch where rates follow the linear rule."""


def gao_problem() -> NoisyQuadratic:
    """The paper's quadratic, `H = C = diag(1/i)` of 10^4 directions, its decades taken for layers."""
    return power_law(10_000, layer=np.repeat(LAYERS, [10, 90, 900, 9000])).quantize(100)


def first_gradient_table(progress: bool = True) -> xr.Dataset:
    """Figure 3: the first gradient against batch size, of each layer, and of noise alone."""
    problem, batches = gao_problem(), 2.0 ** np.arange(0, 21, 2)
    first = strides(problem, SGD(RATE), batches, 1).isel(step=0)
    noise = np.sqrt(problem.noise)
    place, names = np.array(problem.layer), first.layer.values[1:]
    alone = [np.average(noise[those], weights=problem.count[those]) for those in (place == name for name in names)]
    table = first[["mean_gradient", "exponent"]].sel(layer=names).assign(B_L1=first.B_L1.sel(layer=names).isel(batch_size=0))
    return table.assign(noise_alone=np.sqrt(2 / np.pi / table.batch_size) * xr.DataArray(alone, dims="layer"))


def first_epoch_table(progress: bool = True) -> xr.Dataset:
    """Figures 4 and 7: the first epoch, of updates and of losses, over the rate and per update."""
    batches = 2.0 ** np.arange(5, 16)
    run = strides(gao_problem(), SGD(RATE), batches, int(DATA_SET // batches[0]), dataset_size=DATA_SET)
    epoch = run.isel(epoch=0, drop=True)
    losses = {name: -epoch[f"{name}_per_epoch"] / RATE / run.updates_per_epoch for name in ("loss_change", "batch_loss_change")}
    return xr.Dataset(
        {
            "path": epoch.mean_update_over_rate_per_epoch,
            "length": epoch.mean_update_over_rate_per_epoch / run.updates_per_epoch,
            **losses,
            "B_L1": run.B_L1.isel(batch_size=0, step=0, drop=True),
            "B_simple": run.B_simple.isel(batch_size=0, step=0, drop=True),
        },
        attrs=run.attrs,
    )


def epochs_table(progress: bool = True) -> xr.Dataset:
    """Figures 5 and 8: updates and losses by epoch, at one rate for all batch sizes and by the linear rule."""
    problem, batches = power_law(10_000).quantize(100), 2.0 ** np.arange(5, 16, 2)
    rates = {"one rate": np.full(batches.shape, RATE), "linear rule": SMALLEST_RATE * batches / batches[0]}
    path, loss = np.empty((2, batches.size, LAST_EPOCH)), np.empty((2, batches.size, LAST_EPOCH + 1))
    for rule, chosen in enumerate(rates.values()):
        for place, (batch, rate) in enumerate(zip(batches, chosen, strict=True)):
            updates = int(DATA_SET // batch)
            run = strides(problem, SGD(rate), batch, LAST_EPOCH * updates, dataset_size=DATA_SET)
            path[rule, place] = run.mean_update_per_epoch.sel(layer="all")
            loss[rule, place] = risk(problem, SGD(rate), batch, updates * np.arange(LAST_EPOCH + 1))
    about = (
        f"SGD, rate {RATE:g}, and rates of {SMALLEST_RATE:g} to {rates['linear rule'][-1]:g} in proportion to the batch size"
    )
    return xr.Dataset(
        {
            "path": (("rule", "batch_size", "epoch"), path),
            "loss": (("rule", "batch_size", "epochs_done"), loss),
            "learning_rate": (("rule", "batch_size"), np.stack([*rates.values()])),
        },
        coords={
            "rule": list(rates),
            "batch_size": batches,
            "epoch": np.arange(1, LAST_EPOCH + 1),
            "epochs_done": np.arange(LAST_EPOCH + 1),
        },
        attrs=provenance(problem, about),
    )


def first_gradient_figure(table: xr.Dataset) -> Figure:
    """Mean size of the first gradient against batch size, and its local exponent, with the law of noise alone dotted."""
    figure, (sizes, exponents) = panels(2, BATCHES, "mean |gradient|", "local exponent", common=False)
    for index, name in enumerate(table.layer.values):
        layer, look = table.sel(layer=name), line(index)
        sizes.plot(table.batch_size, layer.mean_gradient, **look.options(str(name)))
        sizes.plot(table.batch_size, layer.noise_alone, color=look.colour, linestyle=DOTTED, linewidth=1.0)
        exponents.plot(table.batch_size, layer.exponent, **look.options())
        _ring(sizes, layer.B_L1, table.batch_size, layer.mean_gradient, look.colour)
        _ring(exponents, layer.B_L1, table.batch_size, layer.exponent, look.colour, logarithmic=False)
    log_axis(sizes, "y")
    fit_values([sizes], table.mean_gradient)
    exponents.set_yticks([-0.5, -0.25, 0.0])
    _finish(figure, (sizes, exponents), table, ("first gradient; dotted: noise", "its exponent"))
    return figure


def first_epoch_figure(table: xr.Dataset) -> Figure:
    """Mean |update| over the rate in the first epoch against batch size: of an update, and of all of the epoch."""
    figure, axes = panels(2, BATCHES, "mean |update| / rate", "its sum over the epoch", common=False)
    for index, name in enumerate(table.layer.values[1:]):
        layer, look = table.sel(layer=name), line(index)
        for panel, values in zip(axes, (layer.length, layer.path), strict=True):
            panel.plot(table.batch_size, values, **look.options(str(name)))
        _ring(axes[0], layer.B_L1, table.batch_size, layer.length, look.colour)
    for panel, values, power in zip(axes, (table.length, table.path), (-0.5, -1.5), strict=True):
        log_axis(panel, "y")
        _law(panel, values, power)
        fit_values([panel], values)
    _finish(figure, axes, table, (r"an update; dotted: $B^{-1/2}$", r"the epoch; dotted: $B^{-3/2}$"))
    return figure


def first_epoch_loss_figure(table: xr.Dataset) -> Figure:
    """Gain of an update over the rate, averaged over the first epoch: the batch's own and the population's, by layer."""
    figure, axes = panels(2, BATCHES, "gain of the batch / rate", "gain of the population / rate", common=False)
    for panel, name in zip(axes, ("batch_loss_change", "loss_change"), strict=True):
        for index, layer in enumerate(table.layer.values[1:]):
            options = line(index).options(str(layer))
            gain = table[name].sel(layer=layer)
            panel.plot(table.batch_size, gain.where(gain > 0), **options)
        log_axis(panel, "y")
        fit_values([panel], *(table[each] for each in ("batch_loss_change", "loss_change")))
    _law(axes[0], table.batch_loss_change, -1.0)
    for index, layer in enumerate(table.layer.values[1:]):
        part = table.sel(layer=layer)
        _ring(axes[0], part.B_simple, table.batch_size, part.batch_loss_change, line(index).colour)
    _finish(figure, axes, table, ("of the batch itself; dotted: 1/B", "of the population"))
    return figure


def epochs_figure(table: xr.Dataset) -> Figure:
    """Mean |update| summed over each epoch, a line for each batch size: at one rate, and by the linear rule."""
    return _by_rule(table, table.path, table.epoch, "sum of mean |update|")


def losses_figure(table: xr.Dataset) -> Figure:
    """Loss after each epoch, a line for each batch size: at one rate, and by the linear rule."""
    return _by_rule(table, table.loss, table.epochs_done, "loss")


def _by_rule(table: xr.Dataset, values: xr.DataArray, epochs: xr.DataArray, label: str) -> Figure:
    figure, axes = panels(2, EPOCHS, label)
    for panel, rule, letter in zip(axes, table.rule.values, "ab", strict=True):
        for index, batch in enumerate(table.batch_size.values):
            panel.plot(epochs, values.sel(rule=rule, batch_size=batch), **line(index).options(f"{batch:,.0f}"))
        log_axis(panel, "y")
        title(panel, f"({letter}) {rule}")
    fit_values(axes, values)
    legend_below(figure, axes[0], 3, "batch size (examples)")
    caption(figure, table.attrs)
    return figure


def _law(axes: Axes, values: xr.DataArray, power: float) -> None:
    """A power of the batch size that begins where the curve of the last layer does."""
    sizes = values.batch_size
    start = values.isel(layer=-1, batch_size=0)
    axes.plot(sizes, start * (sizes / sizes[0]) ** power, color="0.3", linestyle=DOTTED, zorder=1)


def _ring(axes: Axes, place: xr.DataArray, x: xr.DataArray, y: xr.DataArray, colour: str, logarithmic: bool = True) -> None:
    """Mark where a curve passes a batch size, if that is drawn."""
    where = float(place)
    if float(x[0]) <= where <= float(x[-1]):
        values = np.log(y) if logarithmic else y
        height = np.interp(np.log(where), np.log(x), values)
        axes.plot([where], [np.exp(height) if logarithmic else height], color=colour, zorder=5, **RING)


def _finish(figure: Figure, axes: Sequence[Axes], table: xr.Dataset, titles: Sequence[str]) -> None:
    """Batch sizes in powers of two, titles, one legend, and what it is about."""
    for panel, text, letter in zip(axes, titles, "ab", strict=True):
        batch_size_axis(panel, table.batch_size, 5)
        title(panel, f"({letter}) {text}")
    legend_below(figure, axes[0], 2, "layer; rings: where noise and signal are alike")
    caption(figure, table.attrs)
