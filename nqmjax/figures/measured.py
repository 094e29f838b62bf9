"""Measured curves: what was measured, the law through it, and what it says of other batch sizes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nqmjax.figures.style import batch_size_axis, caption, fit_values, legend_below, line, log_axis, panels
from nqmjax.scaling import AnchoredCurve, Estimate

TICKS = (10, 6)
"""Ticks of one panel, and of one of two."""


def measured_figure(
    curves: Sequence[AnchoredCurve], names: Sequence[str], batch_size: Any, about: Mapping[str, str] | None = None
) -> Figure:
    """Updates, and rates if any is known, against batch size: measured points, curves with bands, and what was asked.

    Bands hold a share `level` of tuned runs. Rings are the batch sizes asked for.

    Args:
      curves: what `anchored_curve` returns.
      names: of their optimizers.
      batch_size: those asked for.
      about: attributes for the caption.
    """
    rates = any(curve.rate_draws is not None for curve in curves)
    labels = ["updates to target", "tuned learning rate"][: 1 + rates]
    figure, axes = panels(len(labels), "batch size (examples)", *labels, height=2.8, common=False)
    asked = np.atleast_1d(np.asarray(batch_size, dtype=float))
    every = np.concatenate([asked, *(curve.observed.batch_size for curve in curves)])
    dense = np.geomspace(every.min() / 1.5, every.max() * 1.5, 100)
    shown: list[list[np.ndarray]] = [[] for _ in labels]
    for index, (curve, name) in enumerate(zip(curves, names, strict=True)):
        label = f"{curve.observed.label}, {name}" if curve.observed.label != name else name
        points = curve.observed
        shown[0] += _draw(axes[0], index, label, curve.steps(dense), dense, (points.batch_size, points.steps))
        _rings(axes[0], index, asked, curve.steps(asked).value)
        if rates and curve.rate_draws is not None:
            measured = points.batch_size, points.learning_rate
            shown[1] += _draw(axes[1], index, label, curve.learning_rate(dense), dense, measured)
            _rings(axes[1], index, asked, curve.learning_rate(asked).value)
    for panel, values in zip(axes, shown, strict=True):
        batch_size_axis(panel, every, TICKS[rates])
        log_axis(panel, "y")
        fit_values([panel], *values)
    legend_below(figure, axes[0], min(len(curves), 2), f"measured, law with {100 * curves[0].level:.3g}% band, asked (rings)")
    caption(figure, about or {})
    return figure


def _draw(
    axes: Axes, index: int, label: str, found: Estimate, dense: np.ndarray, measured: tuple[np.ndarray, np.ndarray]
) -> list[np.ndarray]:
    """A curve, its band and the points measured; what the axis must span."""
    look = line(index)
    axes.fill_between(dense, found.lower, found.upper, color=look.colour, alpha=0.15, linewidth=0)
    axes.plot(dense, found.value, color=look.colour, linewidth=1.3)
    axes.plot(*measured, look.marker, color=look.colour, markersize=5, label=label.replace("$", r"\$"), zorder=3)
    return [measured[1], found.lower, found.upper]


def _rings(axes: Axes, index: int, asked: np.ndarray, values: np.ndarray) -> None:
    axes.plot(asked, values, "o", color=line(index).colour, markersize=8, markerfacecolor="none", zorder=4)
