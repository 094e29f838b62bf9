"""A first epoch of small batches."""

from typing import Any

import numpy as np

from nqmjax._tools import check_batch_size, is_traced, require, scalar, whole
from nqmjax.schedules.plan import Plan


def small_first_epoch(
    learning_rate: Any,
    epochs: int,
    batch_size: float,
    dataset_size: float,
    *,
    batch_divisor: float = 16.0,
    rate_factor: float = 0.1,
    **others: Any,
) -> Plan:
    r"""A first epoch of small batches, `batch_size / batch_divisor`, at `rate_factor` of the rate; then full batches and rate.

    An epoch is as many full batches as the data set holds, `floor(dataset_size / B)`; a remainder is left out. The first epoch
    has some `batch_divisor` times as many updates as others, and that is what it gains: compare with a run of as many updates.

    Args:
      learning_rate: after the first epoch.
      epochs: passes over the data set, the first one included, a whole number.
      batch_size: `B`, examples per update after the first epoch.
      dataset_size: examples in the data set, at least `B`.
      batch_divisor: by which the first epoch's batches are smaller, at least 1.
      rate_factor: of the first epoch's rate to the others', 0 or more; 1 keeps the rate.
      others: hyperparameters that the plan names too, for example `momentum=0.9`.

    Raises:
      ValueError: an argument is out of its range.

    >>> plan = small_first_epoch(0.05, epochs=100, batch_size=8192, dataset_size=50_000)
    >>> plan.batch_size, plan.steps, plan.learning_rate
    (array([ 512., 8192.]), array([ 97., 594.]), array([0.005, 0.05 ]))

    Source: Gao & Zhong 2020, section 3.2.
    """
    epochs, factor = whole("epochs", epochs), scalar("rate_factor", rate_factor)
    batch, size = scalar("batch_size", batch_size), scalar("dataset_size", dataset_size)
    divisor = scalar("batch_divisor", batch_divisor)
    check_batch_size(batch)
    require(1 <= divisor <= batch, "batch_divisor", divisor, f"give a factor from 1 to the batch size, {batch:g}")
    require(0 <= factor < np.inf, "rate_factor", factor, "give a share of the rate, 0 or more")
    require(batch <= size < np.inf, "dataset_size", size, f"give at least one batch of examples, {batch:g}")
    if not is_traced(learning_rate):
        rate = scalar("learning_rate", learning_rate)
        require(0 <= rate < np.inf, "learning_rate", rate, "give a finite rate that is not negative")
    pieces = min(epochs, 2)
    batches = np.array([batch / divisor, batch][:pieces])
    steps = np.floor(size / batches + 1e-9) * [1, epochs - 1][:pieces]
    return Plan(learning_rate * np.array([factor, 1.0][:pieces]), steps, batches, **others)
