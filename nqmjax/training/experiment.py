"""Loss curves of a task by optimizer, batch size, learning rate and seed: trained in lock step, kept, and labelled."""

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import xarray as xr

from nqmjax._tools import require, scalar, whole
from nqmjax.training.arguments import batches_of, check_goal, check_task, grids_of, rates_of, seeds_of
from nqmjax.training.methods import chosen
from nqmjax.training.race import End
from nqmjax.training.store import Store
from nqmjax.training.task import Task
from nqmjax.training.units import Key, Rules, Runs, Unit, specification, train

UNITS = {"training_loss": "loss", "held_out_loss": "loss", "held_out_accuracy": "share of the examples"}


def experiment(
    task: Task,
    optimizers: Any,
    batch_sizes: Any,
    rates: Any,
    *,
    max_steps: Any,
    seeds: Any = 3,
    target: float | None = None,
    goal: str = "training_loss",
    slack: float | None = None,
    lag: float | None = None,
    fixed: Mapping[str, float] = MappingProxyType({}),
    sampling: str = "replacement",
    spacing: float = 1.2,
    evaluation: int | None = 2000,
    folder: str | os.PathLike | None = None,
    progress: bool = True,
) -> xr.Dataset:
    r"""Train a task at all combinations of optimizer, batch size, learning rate and seed; its loss curves.

    All rates and seeds of a batch size run in lock step in one compiled program, batch sizes on all cores at a time. Losses are
    recorded after 0, 1, 2, .. updates, from there on at a ratio of `spacing`. A seed means the same start and the same batches
    at every rate. With a target, runs end that have reached it, and with `slack` those that are late; curves to the target
    serve for every easier one.

    Args:
      task: what to train, see `Task`.
      optimizers: names, see `nqmjax.training.method`; or a dict of labels to names, to what `method` returns, or to
        transformations of optax for a learning rate of 1.
      batch_sizes: whole numbers of examples, shape `(b,)`.
      rates: learning rates, shape `(r,)`; or a function of the batch size that returns them; or a dict of these by optimizer.
      max_steps: updates of a run at most, a number, or one for each batch size.
      seeds: how many, or a list of whole numbers.
      target: value of `goal` at which a run ends; None if none does.
      goal: "training_loss", "held_out_loss" or "held_out_accuracy".
      slack: a run ends that has not reached the target after so many times the updates of the first one of its seed; None for
        no such end.
      lag: a run ends whose training loss another one of its seed had after so many times fewer updates: for runs with little
        noise, where the fastest rate stays the fastest; None for no such end.
      fixed: values of hyperparameters, for the optimizers that have them.
      sampling: "replacement", "epochs" (each example once in an epoch, a last batch that is not full left out) or "all" (no
        noise: every update takes all examples, the batch size must be their number).
      spacing: ratio of the updates after which losses are recorded, above 1.
      evaluation: examples on which the training loss is measured, chosen once at random; None for all.
      folder: where runs are kept, each optimizer, batch size and seed in a file; those that are there are not trained again.
        None keeps nothing.
      progress: whether to show a bar where it takes long.

    Returns:
      `xarray.Dataset` over optimizer, batch_size, rate, seed and update of `training_loss` and, with held-out examples,
      `held_out_loss` and `held_out_accuracy`, NaN after the end of a run; `learning_rate` over optimizer, batch_size and rate;
      and `end`, how each run ended.

    Raises:
      ValueError: an argument is out of its range; there are fewer examples than in the largest batch; the target is above the
        loss at the start; or `folder` holds runs that were made otherwise.

    >>> x = np.random.default_rng(0).normal(size=(64, 3))
    >>> plane = Task(lambda w, x: x @ w, np.zeros(3), (x, x.sum(1)), loss="squared_error")
    >>> curves = experiment(plane, ["sgd"], [64], [0.05, 0.1], max_steps=20, seeds=1, sampling="all")
    >>> curves.training_loss.values[0, 0, :, 0, -1].round(3)
    array([0.181, 0.022], dtype=float32)
    """
    check_task(task)
    methods = chosen(optimizers, fixed)
    batches, numbers = batches_of(task, batch_sizes, sampling), seeds_of(seeds)
    grids, table = grids_of(max_steps, spacing, batches), rates_of(rates, list(methods), batches)
    check_goal(task, goal, target, slack)
    require(lag is None or 1 < scalar("lag", lag) < np.inf, "lag", lag, "give a factor above 1, or None")
    number = None if evaluation is None else whole("evaluation", evaluation)
    rules = Rules(sampling, target, goal, slack, lag, number)
    store = None if folder is None else Store(folder, specification(task, rules, spacing))
    found: dict[Key, Runs] = {}
    units: list[Unit] = []
    for row, (label, method) in enumerate(methods.items()):
        for column, batch in enumerate(batches.tolist()):
            unit = Unit(label, method, batch, tuple(numbers), table[row, column], grids[column])
            if store is not None:
                found |= _there(store, unit)
            missing = tuple(seed for seed in numbers if (label, batch, seed) not in found)
            units += unit._replace(seeds=missing).parts()
    found |= train(task, rules, sorted(units, key=lambda unit: unit.seeds), store, progress)
    return _labelled(task, rules, found, list(methods), batches, numbers, table, grids)


def _there(store: Store, unit: Unit) -> dict[Key, Runs]:
    """The runs of a unit that are kept already."""
    kept = {seed: store.load(unit.label, unit.batch_size, seed, unit.cell()) for seed in unit.seeds}
    return {(unit.label, unit.batch_size, seed): runs for seed, runs in kept.items() if runs is not None}


def _labelled(
    task: Task,
    rules: Rules,
    found: Mapping[Key, Runs],
    labels: list[str],
    batches: np.ndarray,
    seeds: list[int],
    rates: np.ndarray,
    grids: list[np.ndarray],
) -> xr.Dataset:
    """All runs as one table."""
    updates = np.unique(np.concatenate(grids))
    shape = (len(labels), batches.size, rates.shape[-1], len(seeds))
    values = np.full((*shape, updates.size, len(task.measures)), np.nan, np.float32)
    end = np.zeros(shape, np.int8)
    for row, label in enumerate(labels):
        for column, (batch, grid) in enumerate(zip(batches.tolist(), grids, strict=True)):
            places = np.searchsorted(updates, grid)
            for place, seed in enumerate(seeds):
                runs = found[label, batch, seed]
                values[row, column, :, place, places] = np.moveaxis(runs["values"], 1, 0)
                end[row, column, :, place] = runs["end"]
    cell = ("optimizer", "batch_size", "rate", "seed")
    measures = {
        name: ((*cell, "update"), values[..., place], {"long_name": name.replace("_", " "), "units": UNITS[name]})
        for place, name in enumerate(task.measures)
    }
    meaning = {"flag_values": [int(how) for how in End], "flag_meanings": " ".join(how.name.lower() for how in End)}
    return xr.Dataset(
        {
            **measures,
            "learning_rate": (cell[:3], rates, {"long_name": "learning rate"}),
            "end": (cell, end, {"long_name": "how the run ended", **meaning}),
        },
        coords={
            "optimizer": labels,
            "batch_size": ("batch_size", batches, {"units": "examples"}),
            "seed": seeds,
            "update": ("update", updates, {"units": "updates"}),
        },
        attrs={"title": f"loss curves of {task.name}", "task": repr(task), **_told(rules)},
    )


def _told(rules: Rules) -> dict[str, Any]:
    """The rules as attributes, those that are None left out."""
    return {name: value for name, value in rules._asdict().items() if value is not None}
