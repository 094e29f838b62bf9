"""Gao & Zhong 2020, sections 3 and 4: discarding small losses, a first epoch of small batches, rates of layers by medians."""

import functools
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from real_settings import MEASURED, Settings, at_best, few_digits, tiny

from nqmjax.training import Task, experiment, mlp

EPOCHS, SHARE, SMALLER = 40, 0.3, 16
"""Epochs; share of a batch that is discarded in the first half of them; how much smaller batches of a first epoch are."""


class Stage(NamedTuple):
    """Epochs at one batch size: its rate over that of the run, and the share of each batch, of small losses, discarded."""

    epochs: int
    batch: int
    factor: float = 1.0
    discarded: float = 0.0


def plans(batch: int, epochs: int) -> dict[str, list[Stage]]:
    """The methods, by name."""
    half, small = epochs // 2, batch // SMALLER
    return {
        "plain": [Stage(epochs, batch)],
        "small losses discarded": [Stage(half, batch, discarded=SHARE), Stage(epochs - half, batch)],
        "small first epoch, a tenth of the rate": [Stage(1, small, 0.1), Stage(epochs - 1, batch)],
        "small first epoch": [Stage(1, small), Stage(epochs - 1, batch)],
        "plain, as many updates": [Stage(epochs + SMALLER - 1, batch)],
    }


def first_epochs(settings: Settings) -> xr.Dataset:
    """Section 3: SGD at large batches, the rate tuned for each method; losses and accuracy after every epoch."""
    task = tiny() if settings.quick else mlp((32, 32), "relu", split=few_digits(4096))
    batches, epochs = ((64,), 4) if settings.quick else ((1024, 4096), EPOCHS)
    rates = 2.0 ** np.arange(-4, 2)
    rows = []
    for batch in batches:
        found = {}
        for name, stages in plans(batch, epochs).items():
            path = settings.place(f"{batch}-{name.replace(' ', '-')}-{settings.seeds}.nc")
            found[name] = kept(path, task, stages, rates, settings.seeds)
            print(batch, name, found[name].held_out_accuracy.isel(epoch=-1).mean("seed").max().item(), flush=True)
        rows.append(courses(found, rates))
    table = xr.concat(rows, xr.DataArray(list(batches), dims="batch_size", name="batch_size"), join="exact")
    return table.assign_attrs(task=repr(task), epochs=epochs, smaller=SMALLER, discarded=SHARE)


def courses(found: Mapping[str, xr.Dataset], rates: np.ndarray) -> xr.Dataset:
    """What methods measure at the end, at their best rates, and their curves at those that are best for the accuracy."""
    names = xr.DataArray(list(found), dims="method", name="method")
    last = xr.concat([one.isel(epoch=-1, drop=True) for one in found.values()], names, join="exact")
    table = at_best(last.assign(learning_rate=("rate", rates)), "learning_rate")
    best = last.held_out_accuracy.mean("seed", skipna=False).fillna(0).argmax("rate")
    return with_curves(table, xr.concat(list(found.values()), names, join="outer"), best)


def with_curves(table: xr.Dataset, curves: xr.Dataset, best: xr.DataArray) -> xr.Dataset:
    """The table and means and standard deviations of curves over seeds, at one rate of each method."""
    chosen = curves[list(MEASURED)].isel(rate=best)
    means = {f"curve_{name}": chosen[name].mean("seed") for name in MEASURED}
    return table.assign(means | {f"curve_{name}_deviation": chosen[name].std("seed", ddof=1) for name in MEASURED})


def kept(path: Path, task: Task, stages: list[Stage], rates: np.ndarray, seeds: int) -> xr.Dataset:
    """Curves over rate, seed and epoch, from a file if they are there."""
    if path.exists():
        return xr.load_dataset(path, engine="h5netcdf")
    values = train(task, stages, rates, seeds)
    curves = xr.Dataset(
        {name: (("rate", "seed", "epoch"), values[..., place]) for place, name in enumerate(MEASURED)},
        coords={"epoch": np.arange(values.shape[2])},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    curves.to_netcdf(path, engine="h5netcdf")
    return curves


def train(task: Task, stages: list[Stage], rates: np.ndarray, seeds: int) -> np.ndarray:
    """What runs measure at the start and after every epoch, shape `(rates, seeds, epochs + 1, measures)`."""
    lanes = np.repeat(rates, seeds).astype(np.float32), np.tile(np.arange(seeds), rates.size)
    starts = [task.start(seed) for seed in range(seeds)]
    params = jax.tree.map(lambda *leaves: jnp.asarray(np.stack([leaves[seed] for seed in lanes[1]])), *starts)
    measured = jax.jit(lambda every: jax.lax.map(lambda one: task.measured(one, task.data, task.held_out), every))
    found, done = [np.asarray(measured(params))[:, None]], 0
    for stage in stages:
        params, values = advance(task, stage)(params, *lanes, done)
        found.append(np.asarray(values))
        done += stage.epochs
    return np.concatenate(found, axis=1).reshape(rates.size, seeds, done + 1, -1)


@functools.cache
def advance(task: Task, stage: Stage) -> Any:
    """A compiled function that takes runs through a stage."""
    count = task.count // stage.batch

    def one(lane: tuple[Any, jax.Array, jax.Array], first: jax.Array) -> tuple[Any, jax.Array]:
        params, rate, seed = lane

        def epoch(params: Any, number: jax.Array) -> tuple[Any, jax.Array]:
            order = jax.random.permutation(jax.random.fold_in(jax.random.key(seed), number), task.count)

            def update(place: jax.Array, params: Any) -> Any:
                chosen = jax.lax.dynamic_slice(order, (place * stage.batch,), (stage.batch,))
                batch = jax.tree.map(lambda leaf: jnp.asarray(leaf)[chosen], task.data)
                slope = jax.grad(loss_of_large(task, stage.discarded))(params, batch)
                return jax.tree.map(lambda old, one: old - stage.factor * rate * one, params, slope)

            params = jax.lax.fori_loop(0, count, update, params)
            return params, task.measured(params, task.data, task.held_out)

        return jax.lax.scan(epoch, params, first + jnp.arange(stage.epochs))

    return jax.jit(lambda params, rates, seeds, first: jax.lax.map(lambda lane: one(lane, first), (params, rates, seeds)))


def loss_of_large(task: Task, discarded: float) -> Any:
    """The mean loss of a batch without its smallest ones."""

    def loss(params: Any, batch: Any) -> jax.Array:
        losses = optax.softmax_cross_entropy_with_integer_labels(task.function(params, batch[0]), batch[1])
        kept = jax.lax.top_k(losses, losses.size - round(discarded * losses.size))[0]
        return kept.mean()

    return loss if discarded else task.mean_loss


def by_medians(signed: bool) -> optax.GradientTransformation:
    """SGD with a rate of each layer, the ratio of medians of its weights and gradients: of sizes, or as the paper prints it."""

    def scaled(slope: jax.Array, weights: jax.Array) -> jax.Array:
        size = (lambda values: values) if signed else jnp.abs
        above, below = jnp.median(size(weights)), jnp.median(size(slope))
        ratio = jnp.where((above == 0) | (below == 0), 1.0, above / jnp.where(below == 0, 1.0, below))
        return -jnp.abs(ratio) * slope

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        return jax.tree.map(scaled, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


LAYERED: Mapping[str, tuple[Any, float]] = MappingProxyType(
    {
        "sgd": ("sgd", 2.0),
        "heavy_ball": ("heavy_ball", 0.5),
        "lars": ("lars", 256.0),
        "medians of sizes": (by_medians(signed=False), 0.25),
        "signed medians": (by_medians(signed=True), 0.25),
        "lamb": ("lamb", 0.25),
    }
)
"""Methods, and the largest rate that is tried of each."""


def layer_rates(settings: Settings) -> xr.Dataset:
    """Section 4: forty epochs at a batch size of 1,024, constant rates."""
    task, batch, epochs = mlp((32, 32), "relu", split=few_digits(4096)), 1024, EPOCHS
    if settings.quick:
        task, batch, epochs = tiny(), 64, 3
    updates = epochs * task.count // batch
    curves = experiment(
        task,
        {name: method for name, (method, _) in LAYERED.items()},
        [batch],
        {name: largest * 2.0 ** np.arange(-7, 1) for name, (_, largest) in LAYERED.items()},
        max_steps=updates,
        seeds=settings.seeds,
        sampling="epochs",
        spacing=1.5,
        evaluation=None,
        folder=settings.place("runs"),
    ).squeeze("batch_size", drop=True)
    last = curves[list(MEASURED)].sel(update=updates, drop=True).assign(learning_rate=curves.learning_rate)
    table = at_best(last, "learning_rate")
    best = last.mean("seed", skipna=False).held_out_accuracy.fillna(0).argmax("rate")
    return with_curves(table, curves, best).assign_attrs(task=repr(task), epochs=epochs, batch_size=batch)
