"""What `experiment` is asked for, checked before anything is trained."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nqmjax._tools import check_choice, check_values, numeric, require, scalar, whole
from nqmjax.training.lockstep import SAMPLING
from nqmjax.training.task import MEASURES, Task


def check_task(task: Any) -> Task:
    """Raise unless this is a task."""
    require(isinstance(task, Task), "task", type(task).__name__, "give a Task(loss, params, data)")
    return task


def batches_of(task: Task, batch_sizes: Any, sampling: str) -> np.ndarray:
    """Batch sizes as whole numbers that the examples suffice for."""
    check_choice("sampling", sampling, SAMPLING)
    values = np.atleast_1d(numeric("batch_sizes", batch_sizes))
    require(values.ndim == 1 and values.size > 0, "the shape of batch_sizes", values.shape, "give a 1-D array, not empty")
    check_values(
        "batch_sizes", values, (values >= 1) & (values == np.floor(values)), "give whole numbers of examples, at least 1"
    )
    remedy = f"there are {task.count} examples: give smaller batches, or more data"
    check_values("batch_sizes", values, values <= task.count, remedy)
    require(np.unique(values).size == values.size, "batch_sizes", batch_sizes, "give each one once")
    if sampling == "all":
        check_values("batch_sizes", values, values == task.count, f'give {task.count}, all examples, for sampling "all"')
    return values.astype(int)


def seeds_of(seeds: Any) -> list[int]:
    """Seeds as whole numbers; a number of them counts from 0."""
    values = numeric("seeds", seeds)
    if values.ndim == 0:
        return list(range(whole("seeds", seeds)))
    require(values.ndim == 1 and values.size > 0, "the shape of seeds", values.shape, "give how many, or a list, not empty")
    fitting = (values >= 0) & (values < 2**31) & (values == np.floor(values))
    check_values("seeds", values, fitting, "give whole numbers, 0 or more")
    require(np.unique(values).size == values.size, "seeds", seeds, "give each one once")
    return [int(value) for value in values]


def grids_of(max_steps: Any, spacing: float, batches: np.ndarray) -> list[np.ndarray]:
    """For each batch size the updates after which losses are recorded, 0 first and the last one of a run last."""
    require(1 < scalar("spacing", spacing) < np.inf, "spacing", spacing, "give a ratio above 1, for example 1.1")
    values = numeric("max_steps", max_steps)
    remedy = f"give a number, or {batches.size}, one for each batch size"
    require(values.shape in ((), batches.shape), "the shape of max_steps", values.shape, remedy)
    fitting = (values >= 1) & (values == np.floor(values)) & (values < 2**31)
    check_values("max_steps", values, fitting, "give whole numbers of updates, at least 1")
    return [grid_to(int(most), spacing) for most in np.broadcast_to(values, batches.shape)]


def grid_to(most: int, spacing: float) -> np.ndarray:
    """0, then updates at a ratio, those that are whole anew, and `most`."""
    count = int(np.log(most) / np.log(spacing)) + 1
    points = np.round(spacing ** np.arange(count)).astype(int)
    return np.unique([0, *points[points < most], most])


def rates_of(rates: Any, labels: list[str], batches: np.ndarray) -> np.ndarray:
    """Learning rates by optimizer, batch size and number, shape `(m, b, r)`."""
    if isinstance(rates, Mapping):
        remedy = f"give those of {', '.join(labels)}"
        require(set(rates) == set(labels), "the optimizers of rates", ", ".join(map(str, rates)), remedy)
    rows = [_by_batch(rates[label] if isinstance(rates, Mapping) else rates, batches) for label in labels]
    counts = {row.shape[1] for row in rows}
    require(len(counts) == 1, "the number of rates", sorted(counts), "give as many of each optimizer")
    return np.stack(rows)


def _by_batch(rates: Any, batches: np.ndarray) -> np.ndarray:
    rows = [numeric("rates", rates(int(batch)) if callable(rates) else rates) for batch in batches]
    for row in rows:
        require(row.ndim == 1 and row.size > 0, "the shape of rates", row.shape, "give a 1-D array, not empty")
        check_values("rates", row, np.isfinite(row) & (row > 0), "give rates above 0")
        require(np.unique(row).size == row.size, "rates", row, "give each one once")
        require(row.size == rows[0].size, "the number of rates", row.size, f"give {rows[0].size} at every batch size")
    return np.sort(np.stack(rows), axis=1)


def check_goal(task: Task, goal: str, target: float | None, slack: float | None) -> None:
    """Raise for a target that is no finite number, a measure that the task does not have, or a slack below 1."""
    check_choice("goal", goal, MEASURES)
    remedy = f"{task.name} has {', '.join(task.measures)}: give held_out (and accuracy), or another goal"
    require(goal in task.measures, "goal", goal, remedy)
    if target is not None:
        require(bool(np.isfinite(scalar("target", target))), "target", target, "give a finite number, or None")
        too_high = goal == MEASURES[0] and target >= task.first_loss
        require(not too_high, "target", target, f"give one below the loss at the start, {task.first_loss:.4g}")
    if slack is not None:
        require(target is not None, "slack", slack, "give a target too: it counts from the first run that reaches it")
        require(1 <= scalar("slack", slack) < np.inf, "slack", slack, "give a factor of at least 1, or None")
