"""Figures over updates and over momentum: losses, convergence rate and stationary risk."""

import xarray as xr
from matplotlib.figure import Figure

from nqmjax.figures.style import DASHED, DOTTED, TEXT, caption, legend_below, line, log_axis, optimizer_line, panels, title

STEPS = "updates"

LOOKS = {"momentum": "heavy_ball", "SGD": "sgd", "SGD, effective rate": "sgd_effective"}
"""Optimizers of the tables by the names of their looks."""


def decay_figure(table: xr.Dataset) -> Figure:
    """Risk of single directions against steps, at a constant rate (solid) and with one drop of it (dashed).

    Args:
      table: `risk` over the dimensions curvature, schedule ("constant", "dropped") and steps; the attribute `drop`.
    """
    figure, (axes,) = panels(1, STEPS, "loss of the direction")
    drop, every = table.attrs["drop"], max(table.sizes["steps"] // 8, 1)
    for index, curvature in enumerate(table.curvature.values):
        curves = table.risk.sel(curvature=curvature)
        name, dropped = f"curvature {curvature:g}", f", rate / {table.attrs['factor']:g} from update {drop:g}"
        axes.plot(table.steps, curves.sel(schedule="constant"), markevery=(every // 2, every), **line(index).options(name))
        late, options = curves.sel(schedule="dropped", steps=slice(drop, None)), line(index, DASHED).options(name + dropped)
        axes.plot(late.steps, late, markevery=every, **options)
    axes.axvline(drop, color="0.6", linewidth=0.9, linestyle=DOTTED, zorder=1)
    axes.set_xlim(0, float(table.steps.max()))
    axes.set_ylim(0, None)
    legend_below(figure, axes, 1, "direction and rate")
    caption(figure, table.attrs)
    return figure


def momentum_figure(table: xr.Dataset) -> Figure:
    """Convergence rate and stationary risk of one direction against `1 - momentum`, with plain SGD's at both rates.

    Args:
      table: the variables `convergence_rate` and `stationary_risk` over the dimensions optimizer ("momentum", "SGD",
        "SGD, effective rate") and distance (`1 - momentum`); the attribute `critical`, the distance at critical damping.
    """
    labels = {"convergence_rate": r"convergence rate $1 - |r_1|$", "stationary_risk": "loss after very many updates"}
    figure, axes = panels(2, r"$1 - \beta$ (momentum $\beta$)", *labels.values(), common=False)
    names = {"momentum": "heavy ball", "SGD": "SGD, same rate", "SGD, effective rate": r"SGD, rate $\alpha / (1 - \beta)$"}
    every = max(table.sizes["distance"] // 8, 1)
    for panel, variable, letter in zip(axes, labels, "ab", strict=True):
        for index, (method, name) in enumerate(names.items()):
            options = optimizer_line(LOOKS[method]).options(name)
            values = table[variable].sel(optimizer=method)
            panel.plot(table.distance, values, markevery=(index * every // 3, every), **options)
        panel.axvline(table.critical, color="0.5", linewidth=1.0, linestyle=DOTTED, label="critical damping", zorder=1)
        log_axis(panel, "x")
        log_axis(panel, "y")
        title(panel, f"({letter})")
    panel = axes[0]
    panel.text(table.critical * 0.85, 0.03, "underdamped", transform=panel.get_xaxis_transform(), ha="right", fontsize=TEXT - 2)
    panel.text(table.critical * 1.2, 0.03, "overdamped", transform=panel.get_xaxis_transform(), ha="left", fontsize=TEXT - 2)
    legend_below(figure, axes[0], 2, "optimizer")
    caption(figure, table.attrs)
    return figure


def effective_rate_figure(table: xr.Dataset) -> Figure:
    """Risk of momentum and of plain SGD at its effective rate against steps: a panel for each rate.

    Args:
      table: `risk` over the dimensions effective_learning_rate, optimizer ("momentum", "SGD") and steps; attribute `momentum`.
    """
    rates = table.effective_learning_rate.values
    figure, axes = panels(len(rates), STEPS, "loss")
    labels = {"momentum": rf"heavy ball, $\beta = {table.momentum:g}$", "SGD": r"SGD, rate $\alpha / (1 - \beta)$"}
    for panel, rate, letter in zip(axes, rates, "abcdefgh", strict=False):
        for method, label in labels.items():
            options = optimizer_line(LOOKS[method]).options(label)
            panel.plot(table.steps, table.risk.sel(effective_learning_rate=rate, optimizer=method), markevery=0.12, **options)
        log_axis(panel, "x")
        log_axis(panel, "y")
        title(panel, rf"({letter}) $\alpha / (1 - \beta) = {rate:g}$")
    legend_below(figure, axes[0], 2, "optimizer")
    caption(figure, table.attrs)
    return figure
