"""Reports about what was measured on real networks: `nqmjax noise-scale`."""

from collections.abc import Mapping

import numpy as np

from nqmjax.cli.reports.text import COMMAND, columns_text, count_text, lines_of, report
from nqmjax.scaling import MeasuredNoise

NOISE_NOTES = [
    "noise scale: tr C / |G|^2, the batch size at which the noise of a mean gradient is as large as the gradient. |G|^2: "
    "square of the gradient without noise. tr C: variance of the gradient of one example, summed over all parameters.",
    "What it does not tell: the noise scale is about the next update. It moves by orders of magnitude along a run, as the "
    "gradient shrinks, and is not the batch size beyond which examples are wasted; that is within a factor of a few of it at "
    "best. Two runs at different batch sizes tell more: nqmjax transfer TUNED.csv.",
]


def quantity_text(value: float) -> str:
    """A measured number in three digits, thousands and millions in full.

    >>> quantity_text(1234.5), quantity_text(0.00123456), quantity_text(np.inf)
    ('1230', '0.00123', 'no end')
    """
    if not np.isfinite(value):
        return "no end"
    return count_text(float(f"{value:.3g}")) if 100 <= abs(value) < 1e8 else f"{value:.3g}"


def interval_text(lower: float, upper: float) -> str:
    """An interval of measured numbers, "-" for none."""
    return "-" if np.isnan(lower) else f"{quantity_text(lower)} to {quantity_text(upper)}"


def noise_report(found: Mapping[str, MeasuredNoise]) -> str:
    """The noise scale of a whole log and of its parts."""
    rows = list(found.values())
    columns = {
        "noise\nscale": ["hidden" if one.square_gradient <= 0 else quantity_text(one.noise_scale) for one in rows],
        f"{100 * rows[0].level:.3g}%\ninterval": [interval_text(one.lower, one.upper) for one in rows],
        "|G|^2": [f"{one.square_gradient:.3g}" for one in rows],
        "tr C": [f"{one.noise:.3g}" for one in rows],
        "steps": [f"{one.steps}" for one in rows],
    }
    notes = []
    if any(one.square_gradient <= 0 for one in rows):
        notes.append(
            "hidden: the estimate of |G|^2 is not positive. Noise hides the gradient, and the noise scale is only bounded from "
            "below; log more steps, or a larger largest batch size."
        )
    if any(one.noise <= 0 for one in rows):
        notes.append(
            "tr C is not positive: these batch sizes show no noise, and the noise scale is only bounded from above; log a "
            "smaller smallest batch size."
        )
    first = rows[0]
    if len(rows) > 1 and np.isfinite(first.noise_scale):
        ends = [one.noise_scale for one in rows[1:] if 0 < one.noise_scale < np.inf]
        if ends and max(ends) > 2 * min(ends):
            moved = f"Along this log it moves by a factor of {max(ends) / min(ends):.2g}"
            notes.append(f"{moved}: the value of the whole log is that of no step. Take the stretch that you ask about.")
    body = columns_text("", list(found), columns)
    heading = "Noise scale from norms of gradients, in examples"
    return report(heading, {"command": COMMAND.get()}, body, lines_of([*notes, *NOISE_NOTES]))
