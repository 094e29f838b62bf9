"""Smith et al. 2020: runs of a given number of epochs or updates by their schedule, on digits."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from real_settings import MEASURED, Settings, at_best, few_digits, small_batches, tiny

from nqmjax.training import Task, experiment, mlp

MOMENTUM, WARM = 0.9, 0.05
METHODS = {"sgd": (0.0, 0.0), "heavy_ball": (MOMENTUM, 0.0), "heavy_ball_warmup": (MOMENTUM, WARM)}
"""Momentum, and the share of a run over which the rate rises from 0."""

RATES = 2.0 ** np.arange(-7, 1)
"""Effective rates that are tried, over the largest one."""


def schedule(warmup: float, updates: int) -> Callable[[jax.Array], jax.Array]:
    """The rate over the largest one: constant for half of the run, then halved after every twentieth of it."""

    def factor(count: jax.Array) -> jax.Array:
        drops = jnp.clip(jnp.floor(20 * count / updates) - 9, 0, 10)
        return 0.5**drops * (jnp.minimum((count + 1) / (warmup * updates), 1.0) if warmup else 1.0)

    return factor


def task_of(settings: Settings) -> Task:
    """A perceptron of two hidden layers on 1,024 digits, 3,976 held out."""
    return tiny() if settings.quick else mlp((32, 32), "relu", split=few_digits(1024))


def ends(settings: Settings, task: Task, method: str, batch: int, updates: int, largest: float) -> xr.Dataset:
    """What runs measure at their end, over rate and seed; rates are effective ones, `rate / (1 - momentum)`."""
    momentum, warmup = METHODS[method]
    inner = optax.sgd(1.0, momentum) if momentum else optax.sgd(1.0)
    curves = experiment(
        task,
        {method: optax.chain(inner, optax.scale_by_schedule(schedule(warmup, updates)))},
        [batch],
        largest * RATES * (1 - momentum),
        max_steps=updates,
        seeds=settings.seeds,
        sampling="epochs",
        spacing=4.0,
        evaluation=None,
        folder=settings.place(f"{method}-{batch}-{updates}"),
    )
    last = curves[list(MEASURED)].sel(update=updates, drop=True)
    rates = curves.learning_rate / (1 - momentum)
    return last.assign(effective_rate=rates).squeeze(["optimizer", "batch_size"], drop=True)


def constant_epochs(settings: Settings) -> xr.Dataset:
    """Section 3: forty epochs at every batch size, SGD, momentum, and momentum with warm-up."""
    task, batches, epochs = task_of(settings), small_batches(settings, 2, 10), 4 if settings.quick else 40

    def one(method: str, batch: int) -> xr.Dataset:
        largest = min(batch / 16, 2.0 if method == "sgd" else 16.0)
        return ends(settings, task, method, batch, epochs * task.count // batch, largest)

    rows = [along("batch_size", batches, [one(method, int(batch)) for batch in batches]) for method in METHODS]
    return at_best(along("optimizer", list(METHODS), rows), "effective_rate").assign_attrs(task=repr(task), epochs=epochs)


def constant_updates(settings: Settings) -> xr.Dataset:
    """Section 4: as many updates at every batch size, momentum."""
    task, batches, updates = task_of(settings), small_batches(settings, 4, 10), 20 if settings.quick else 1280
    rows = [ends(settings, task, "heavy_ball", int(batch), updates, min(batch / 16, 8.0)) for batch in batches]
    return at_best(along("batch_size", batches, rows), "effective_rate").assign_attrs(task=repr(task), updates=updates)


def epoch_budgets(settings: Settings) -> xr.Dataset:
    """Section 5: momentum at a batch size of 32, budgets of 4 to 256 epochs."""
    task, batch, budgets = task_of(settings), 32, 4 * 2 ** np.arange(7)
    if settings.quick:
        budgets = budgets[:2]
    rows = [ends(settings, task, "heavy_ball", batch, int(epochs) * task.count // batch, 4.0) for epochs in budgets]
    return at_best(along("epochs", budgets, rows), "effective_rate").assign_attrs(task=repr(task), batch_size=batch)


def along(name: str, values: Sequence | np.ndarray, parts: list[xr.Dataset]) -> xr.Dataset:
    """Tables side by side."""
    return xr.concat(parts, xr.DataArray(values, dims=name, name=name), join="exact", combine_attrs="drop")
