"""What is to be said of predictions that the runs fitted to hardly support."""

import numpy as np
import xarray as xr

from nqmjax._tools import plain_exponent
from nqmjax.runs import RunModel

WIDE = 2.0
"""Factor between the ends of an interval from which the runs hardly tell the loss."""

LARGER = 10.0
"""Factor in model size over the largest run from which a prediction rests on the law alone."""

SHOWN = 10
"""Numbers of runs that are listed at most."""


def run_cautions(table: xr.Dataset, model: RunModel) -> list[str]:
    """Lines about one predicted run, a table without the dimension `run`."""
    lines = []
    ratio = float(table.upper) / float(table.lower)
    if ratio > WIDE:
        lines.append(f"The runs fitted to hardly tell this loss: the ends of the interval differ by a factor of {ratio:.3g}")
    larger = float(table.model_size) / model.seen["model_size"][1]
    if larger > LARGER:
        size = plain_exponent(f"{larger:.3g}")
        lines.append(f"N is {size} times the largest of the runs fitted to: so far out this is the formula, not the runs")
    steps = float(table["steps"])
    if not steps.is_integer():
        lines.append("K is not a whole number: taken as examples over those of an update")
    return lines


def table_cautions(table: xr.Dataset) -> list[str]:
    """Lines about many predicted runs: how many lie outside those fitted to, in what, and whose intervals are wide."""
    marks = [[mark for mark in str(text).split(", ") if mark and "compute" not in mark] for text in table.outside.values]
    lines = []
    if any(marks):
        named = dict.fromkeys(mark.rsplit(" ", 1)[0].replace("_", " ") for some in marks for mark in some)
        lines.append(f"Outside the runs fitted to (in {', '.join(named)}): {_which(np.array([bool(some) for some in marks]))}")
    wide = table.upper.values > WIDE * table.lower.values
    if wide.any():
        lines.append(f"The runs fitted to hardly tell the loss (interval wider than a factor of {WIDE:g}): {_which(wide)}")
    return lines


def _which(mask: np.ndarray) -> str:
    """The numbers of the runs at which the mask is True, from 1, or how many they are."""
    numbers = np.flatnonzero(mask) + 1
    if len(numbers) > SHOWN:
        return f"{len(numbers)} of {len(mask)} runs"
    return f"run{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"
