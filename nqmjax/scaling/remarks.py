"""What is to be said of measured curves: what is odd about their points, and what they do not tell."""

import numpy as np

from nqmjax._tools import require
from nqmjax.scaling.observed import Observed

RISE = 1.25
"""Steps at the largest batch size over those at the smallest from which a curve is refused."""

OFF, ODD = 3.0, 0.15
"""A run is odd that is off the curve by so many times the usual, and by this share."""

UNSEEN = 30.0
"""Factor beyond the measured batch sizes where a bend is not seen."""

UNIT = 100.0
"""Factor beyond the measured batch sizes from which a noise scale may have another unit."""


def rising(points: Observed) -> None:
    """Raise for steps that rise with the batch size."""
    ends = points.batch_size.argmin(), points.batch_size.argmax()
    (low, high), (first, last) = (values[list(ends)] for values in (points.batch_size, points.steps))
    text = f"{first:.6g} at batch size {low:.6g} and {last:.6g} at {high:.6g}"
    remedy = (
        "tuned runs to one target do not take more updates at larger batches: tune the rate at each batch size, take one "
        "target, and see that the columns are updates, not examples"
    )
    require(low == high or last < RISE * first, "steps", text, remedy)


def remarks(
    points: Observed, residuals: np.ndarray, lonely: bool, hidden: tuple[bool, bool], noise_scale: float | None
) -> list[str]:
    """All that is to be said, each a sentence or two."""
    said = [*_alone(points, lonely), *_steps(points, residuals), *_rates(points)]
    low, high = points.batch_size.min(), points.batch_size.max()
    if noise_scale is not None and not low / UNIT < noise_scale < high * UNIT:
        said.append(
            f"The noise scale {noise_scale:.4g} is far from the batch sizes measured, {low:.4g} to {high:.4g}: give both in "
            "the same unit, both in examples, both in sequences or both in tokens."
        )
    below, beyond = (False, False) if lonely else hidden
    if beyond:
        said.append(
            f"The runs scale almost perfectly: where that ends, beyond batch size {high:.4g}, is not seen. A run at a batch "
            "size 4 to 16 times as large would show it, or a noise scale (nqmjax noise-scale)."
        )
    if below:
        said.append(
            f"The updates hardly fall: the runs lie beyond the batch sizes that pay, and where that begins, below {low:.4g}, "
            "is not seen. A run at a batch size 4 to 16 times smaller would show it."
        )
    return said


def unseen(points: Observed, bend: np.ndarray) -> tuple[bool, bool]:
    """Whether the bend may lie far below, or far beyond, the batch sizes measured, by draws of its logarithm."""
    low, high = np.exp(np.quantile(bend, [0.05, 0.95]))
    return bool(low < points.batch_size.min() / UNSEEN), bool(high > UNSEEN * points.batch_size.max())


def _alone(points: Observed, lonely: bool) -> list[str]:
    count = np.unique(points.batch_size).size
    if lonely:
        return [
            "One batch size does not tell how updates fall with another: they lie between perfect scaling (updates in "
            "proportion to 1/B) and none. A tuned run at 4 to 16 times the batch size would settle it, or a noise scale from "
            "a log of gradient norms (nqmjax noise-scale), within a factor of about 3."
        ]
    if count <= 2:
        runs = "One run" if count == 1 else "Two batch sizes"
        return [f"{runs} cannot show the scatter of tuned runs: 4% is assumed, and how sharply the curve bends."]
    return []


def _steps(points: Observed, residuals: np.ndarray) -> list[str]:
    said, order = [], np.argsort(points.batch_size, kind="stable")
    batches, steps = points.batch_size[order], points.steps[order]
    before = np.minimum.accumulate(steps)
    for place in np.flatnonzero((steps[1:] > 1.1 * before[:-1]) & (batches[1:] > batches[:-1])).tolist():
        said.append(
            f"The run at batch size {batches[place + 1]:.6g} takes more updates ({steps[place + 1]:.6g}) than a smaller batch "
            f"({before[place]:.6g}): its rate may not be tuned, or its target another."
        )
    usual = 1.4826 * np.median(np.abs(residuals))
    for place in np.flatnonzero(np.abs(residuals) > max(OFF * usual, ODD)).tolist():
        more = "more" if residuals[place] > 0 else "fewer"
        said.append(
            f"The run at batch size {points.batch_size[place]:.6g} takes {100 * abs(residuals[place]):.0f}% {more} updates "
            "than the curve: see that it was tuned, and to the same target."
        )
    return said


def _rates(points: Observed) -> list[str]:
    known = ~np.isnan(points.learning_rate)
    said = []
    if known.any() and not known.all():
        said.append(
            f"Rates are known of {known.sum()} of {len(points)} runs only: rates elsewhere rest on these and on the rule of "
            "the optimizer."
        )
    order = np.argsort(points.batch_size[known], kind="stable")
    rates = points.learning_rate[known][order]
    if rates.size > 1 and rates[-1] < rates[0]:
        said.append(
            f"The tuned rate falls from {rates[0]:.4g} to {rates[-1]:.4g} as the batch grows: a larger batch stands a larger "
            "rate, so that one of these runs is not tuned, or something else limits the rate."
        )
    return said
