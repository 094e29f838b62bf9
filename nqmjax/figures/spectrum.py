"""A network's spectrum: how many directions have which curvature, and the gradient noise along them."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from nqmjax.figures.style import COLOURS, DASHED, caption, fit_values, legend_below, log_axis, panels, title

CURVATURE = "curvature"
DECADES, PARTS = 7, 4
"""Decades of curvature below the largest that are drawn, and bins in each."""

LEAST = 0.1
"""Directions from which a bin is drawn: bars on a logarithmic axis begin above 0."""


def spectrum_figure(table: xr.Dataset) -> Figure:
    """Directions by curvature, and noise against curvature, both on logarithmic axes.

    Args:
      table: that of a `nqmjax.measure.Measurement`: `curvature`, `count`, `noise` and `probe` over the dimension `mode`.
    """
    figure, (left, right) = panels(2, CURVATURE, "directions", "noise (gradient variance)", common=False)
    curvature, count, noise = (table[name].values for name in ("curvature", "count", "noise"))
    largest = np.abs(curvature).max()
    edges = largest * 1.001 * 10.0 ** (np.arange(-DECADES * PARTS, 1) / PARTS)
    densities = []
    for sign, label in ((1, "positive"), (-1, "negative")):
        density, _ = np.histogram(sign * curvature, edges, weights=count)
        drawn = density > LEAST
        colour = COLOURS[0] if sign > 0 else "none"
        look = {"color": colour, "edgecolor": COLOURS[0 if sign > 0 else 1], "linewidth": 0.8, "alpha": 0.8, "label": label}
        if drawn.any():
            left.bar(edges[:-1][drawn], density[drawn] - LEAST, np.diff(edges)[drawn], LEAST, align="edge", **look)
            densities.append(density[drawn])
    positive = (curvature > edges[0]) & (noise > 0)
    alone = positive & (table.probe.values < 0)
    sampled = positive & ~alone
    looks = {"linestyle": "none", "marker": "o", "markersize": 3.5, "markeredgewidth": 0.8, "color": COLOURS[0]}
    right.plot(curvature[sampled], noise[sampled], markerfacecolor="white", label="sampled directions", **looks)
    right.plot(curvature[alone], noise[alone], label="eigenvectors", **looks)
    ratio = float(count @ noise / (count @ np.maximum(curvature, 0)))
    ends = np.array([curvature[positive].min(initial=largest), largest])
    right.plot(ends, ratio * ends, color="black", linestyle=DASHED, linewidth=1.0, label=f"C = {ratio:.3g} H")
    for axes, letter in ((left, "a"), (right, "b")):
        log_axis(axes, "x")
        log_axis(axes, "y")
        title(axes, f"({letter})")
    fit_values([left], *densities, [1.0])
    fit_values([right], noise[positive], ratio * ends)
    if len(densities) > 1:
        legend_below(figure, left, 1, "curvature", place="left")
    legend_below(figure, right, 1 if len(densities) > 1 else 3, "noise", place="right" if len(densities) > 1 else "center")
    caption(figure, table.attrs)
    return figure
