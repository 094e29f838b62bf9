"""`nqmjax noise-scale`: the gradient noise scale from a log of gradient norms."""

from pathlib import Path

import numpy as np
from cyclopts import App

from nqmjax import scaling
from nqmjax.cli import reports
from nqmjax.cli.options import Count

HELP = """\
The log is a CSV file with the columns step, batch and square norm, a row for
each gradient: batch is the number of examples whose mean gradient it is, at two
or more values, and square norm the square of its norm over all parameters (or
norm, which is squared here), before clipping and weight decay.

Data-parallel training has both for nothing: the norm of the gradient of one
device before the devices are averaged, and that of the average. With gradient
accumulation: the norm of the first micro-batch, and that of the sum divided by
their number.

Examples:

  nqmjax example noise-log
  nqmjax noise-scale noise-log.csv
"""

PARTS = ("first quarter", "second quarter", "third quarter", "last quarter")
FEWEST = 40
"""Steps of a log that is looked at in parts."""


command = App(name="noise-scale", help_epilogue=HELP)


@command.default
def run(log: Path, /, *, block: Count = None) -> None:
    """The batch size at which noise and gradient matter alike, from a log of gradient norms.

    Args:
      log: CSV file of square norms at two or more batch sizes.
      block: Consecutive steps that depend on each other. [default: number of steps to the power 0.4]
    """
    sizes, norms, steps = scaling.read_norms(log)
    found = {"whole log": scaling.noise_scale_from_norms(sizes, norms, steps, block=block)}
    if steps is not None and found["whole log"].steps >= FEWEST:
        quarter = np.minimum(4 * np.argsort(np.argsort(np.unique(steps))) // np.unique(steps).size, 3)
        place = quarter[np.searchsorted(np.unique(steps), steps)]
        for index, name in enumerate(PARTS):
            here = place == index
            if np.unique(sizes[here]).size > 1:
                found[name] = scaling.noise_scale_from_norms(sizes[here], norms[here], steps[here], block=block)
    print(reports.noise_report(found))
