r"""From a network to its curve: a few runs at a large batch size and at a small one, and the anchored law between them.

At each of the two batch sizes the rate is found in lock step. First rates a factor of 2 apart race with one seed, until the
first one arrives; without noise those end early that lag. At the small batch size they start from the best rate of the large
one, which is never below that of a small one, downwards. Then the best rate and its neighbours, a factor of `sqrt 2` away, run
with all seeds, and are moved on where the best of them is not the one in the middle.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from nqmjax._tools import check_batch_size, numeric, require, scalar, whole
from nqmjax.scaling import Observed
from nqmjax.training.arguments import check_goal, check_task
from nqmjax.training.experiment import experiment
from nqmjax.training.forecast import forecast, habits_of, with_pilots
from nqmjax.training.methods import Method, chosen
from nqmjax.training.task import Task
from nqmjax.training.tuned import tuned

RATES = 2.0 ** np.arange(-16, 5)
"""Rates that race at the large batch size, unless others are given."""

LOWER = 0.5 ** np.arange(8)
"""Rates that race at the small batch size, over the best one at the large batch size."""

AROUND = 2.0 ** np.array([-0.5, 0.0, 0.5])
"""Rates that run with all seeds, over the best one that is known."""

LAG, LATE = 4.0, 1.5
"""Factors of updates: without noise, by which a rate may lag; of the first one to arrive, within which neighbours must."""

SPACING = 1.1
"""Ratio of the updates after which losses are recorded."""

MOVES = 4
"""How often the rates that run with all seeds are moved on."""

MORE = 1.3
"""Updates at the small batch size over those of perfect scaling, at most."""


class Pilot(NamedTuple):
    """How runs at one batch size are made; see `pilot`."""

    task: Task
    label: str
    method: Method
    batch_size: int
    target: float
    seeds: int
    folder: Path | None
    evaluation: int | None
    progress: bool

    @property
    def noisy(self) -> bool:
        """Whether a batch is not all examples."""
        return self.batch_size < self.task.count

    def race(self, rates: np.ndarray, most: int, lag: float | None) -> tuple[float, float]:
        """The best rate by one seed, and the examples that all runs took.

        Raises:
          ValueError: no rate reaches the target.
        """
        curves = self.run("race", rates, most, 1, slack=1.0, lag=lag)
        best = tuned(curves, self.target).isel(optimizer=0, batch_size=0)
        self.check(best, rates, most)
        return float(best.learning_rate), self.examples(curves)

    def check(self, best: xr.Dataset, rates: np.ndarray, most: int) -> None:
        """Raise where no rate reached the target."""
        tried = f"{self.label} did not reach it in {most} updates of batch size {self.batch_size}"
        near = f"the nearest was {float(best.nearest):.4g}, at rate {float(best.nearest_learning_rate):.4g}"
        remedy = f"{tried} at rates from {rates.min():.3g} to {rates.max():.3g} ({near}): give a higher one, or more max_steps"
        require(bool(np.isfinite(best.steps)), "target", self.target, remedy)

    def tune(self, rate: float, most: int) -> tuple[xr.Dataset, float]:
        """The tuned runs near a rate, and the examples that all runs took."""
        cost, seeds = 0.0, self.seeds if self.noisy or self.task.random_start else 1
        for move in range(MOVES):
            curves = self.run(f"tune{move}", rate * AROUND, most, seeds, slack=LATE, lag=None)
            found, cost = tuned(curves, self.target).isel(optimizer=0, batch_size=0), cost + self.examples(curves)
            self.check(found, rate * AROUND, most)
            if not bool(found.learning_rate_at_edge):
                break
            rate = float(found.learning_rate)
        return found, cost

    def run(self, stage: str, rates: np.ndarray, most: int, seeds: int, *, slack: float, lag: float | None) -> xr.Dataset:
        """The curves of some rates."""
        folder = None if self.folder is None else self.folder / f"{self.label}-{self.batch_size}-{stage}"
        return experiment(
            self.task,
            {self.label: self.method},
            [self.batch_size],
            rates,
            max_steps=most,
            seeds=seeds,
            target=self.target,
            slack=slack,
            lag=lag,
            spacing=SPACING,
            sampling="replacement" if self.noisy else "all",
            evaluation=self.evaluation,
            folder=folder,
            progress=self.progress,
        )

    def examples(self, curves: xr.Dataset) -> float:
        """The examples on which these curves were trained."""
        last = curves["update"].where(curves.training_loss.notnull()).max("update")
        return float(last.sum()) * self.batch_size


def pilot(
    task: Task,
    optimizers: Any,
    batch_sizes: Any,
    target: float,
    *,
    fixed: Mapping[str, float] = MappingProxyType({}),
    small: int = 16,
    large: int | None = None,
    rates: Any = RATES,
    max_steps: int = 4000,
    seeds: int = 2,
    evaluation: int | None = 2000,
    level: float = 0.9,
    folder: str | os.PathLike | None = None,
    progress: bool = True,
) -> xr.Dataset:
    r"""Updates, learning rates and critical batch sizes of a network, from runs at two batch sizes.

    Args:
      task: what to train, see `Task`.
      optimizers: names, or a dict, see `experiment`; labels in a dict are names of optimizers that these are like.
      batch_sizes: those that are asked about, shape `(b,)`.
      target: training loss to reach.
      fixed: values of hyperparameters, for the optimizers that have them.
      small: batch size of the small pilot, where noise dominates.
      large: batch size of the large pilot; None for the largest of `batch_sizes`, or all examples, without noise, if these are
        fewer than twice that.
      rates: learning rates that are tried at the large batch size, a factor of 2 apart.
      max_steps: updates of a run at the large batch size, at most.
      seeds: starts, and orders of the batches, that tuned runs are means over.
      evaluation: examples on which the training loss is measured; None for all.
      level: of the intervals.
      folder: where runs are kept, see `experiment`.
      progress: whether to show a bar where it takes long.

    Returns:
      what `forecast` does, and over optimizer and pilot ("small", "large") the tuned runs: `pilot_batch_size`, `pilot_steps`,
      `pilot_standard_error`, `pilot_learning_rate`, `pilot_learning_rate_at_edge` and `pilot_examples`, the examples of all
      runs that were made for it.

    Raises:
      ValueError: no rate reaches the target (the message says which came how near), or an argument is out of its range.

    >>> from nqmjax.training import linear_regression
    >>> table = pilot(linear_regression(3, 200), ["sgd"], [4, 64], 0.7, small=2, seeds=1, progress=False)
    >>> table.steps.dims, table.pilot_batch_size.values
    (('optimizer', 'batch_size'), array([[ 2, 64]]))

    Source: the anchored law, see `nqmjax.anchored_curve`.
    """
    check_task(task)
    methods = chosen(optimizers, fixed)
    for label in methods:
        habits_of(label)
    check_goal(task, "training_loss", scalar("target", target), None)
    asked = numeric("batch_sizes", batch_sizes)
    ends = _ends(task, asked, small, large)
    most, seeds = whole("max_steps", max_steps), whole("seeds", seeds)
    runs, pilots = [], {}
    for label, method in methods.items():
        how = {"folder": None if folder is None else Path(folder), "evaluation": evaluation, "progress": progress}
        both = [Pilot(task, label, method, batch, float(target), seeds, **how) for batch in ends]
        pilots[label] = _one(both[0], both[1], numeric("rates", rates), most)
        columns = [pilots[label][f"pilot_{name}"].values for name in ("batch_size", "steps", "learning_rate", "standard_error")]
        runs.append(Observed(*columns, label=label))
    table = with_pilots(forecast(runs, asked, level=level), pilots)
    about = {"task": repr(task), "target": float(target), "seeds": seeds}
    return table.assign_attrs(about, fixed=", ".join(f"{name}={value:g}" for name, value in fixed.items()))


def _ends(task: Task, asked: np.ndarray, small: int, large: int | None) -> tuple[int, int]:
    """The batch sizes of the pilots."""
    require(asked.ndim == 1 and asked.size > 0, "the shape of batch_sizes", asked.shape, "give a 1-D array, not empty")
    check_batch_size(asked)
    for name, size in {"small": small, "large": task.count if large is None else large}.items():
        remedy = f"there are {task.count} examples: give a smaller batch, or more data"
        require(whole(name, size) <= task.count, name, size, remedy)
    low = int(small)
    top = max(int(asked.max()), 4 * low) if large is None else int(large)
    high = task.count if large is None and 2 * top > task.count else top
    remedy = f"the large pilot has {high}, of {task.count} examples: give batch sizes that are a factor of 4 apart"
    require(4 * low <= high, "small", small, remedy)
    return low, high


def _one(small: Pilot, large: Pilot, rates: np.ndarray, most: int) -> xr.Dataset:
    """The two tuned runs of one optimizer."""
    rate, raced = large.race(rates, most, LAG)
    high, spent = large.tune(rate, most)
    steps, top = float(high.steps), float(high.learning_rate)
    longest = int(np.ceil(MORE * steps * large.batch_size / small.batch_size))
    rate, more = small.race(top * AROUND[-1] * LOWER, longest, None)
    low, rest = small.tune(rate, longest)
    names = ("steps", "standard_error", "learning_rate", "learning_rate_at_edge")
    columns = {name: [one[name].values[()] for one in (low, high)] for name in names}
    columns |= {"batch_size": [small.batch_size, large.batch_size], "examples": [more + rest, raced + spent]}
    units = {"steps": "updates", "standard_error": "updates", "batch_size": "examples", "examples": "examples"}
    found = {f"pilot_{name}": ("pilot", np.array(values), {"units": units.get(name, "1")}) for name, values in columns.items()}
    return xr.Dataset(found, coords={"pilot": ["small", "large"]})
