r"""Strides: how long gradients and updates are along a run, how much each lowers the loss, and what larger batches change.

Along a direction a linear optimizer's state is what the start and the noise of each update have become (see
`nqmjax.dynamics.scan`), all of it normal around 0. With `p` the row that reads the parameter off the state, `d` that of its
change, and `x_t = A^t v`, `y_s = A^s b` the two kinds of parts,

    E g^2      = h^2 (s_0 (p . x_t)^2 + (c/B) sum_{s<t} (p . y_s)^2) + c/B,
    E dtheta^2 = s_0 (d . x_t)^2 + (c/B) (sum_{s<t} (d . y_s)^2 + (p . b)^2),

and mean lengths are `sqrt(2 / pi)` times the roots. An update changes the loss of its own batch by `E xi dtheta = (r . b) c/B`
more than the population's: for SGD `-a c/B`, so that every batch thinks it has gained more than it has. Optimizers that are
not linear say the same of their closures.

Absolute gradients fall as `B^-1/2` while noise dominates and not at all beyond: the local exponent is `-1/2` times the share
of the noise. The two parts are alike at `B_L1 = (sum sqrt c / sum h sqrt s)^2` for absolute values, and at
`B_simple = sum c / sum h^2 s` for squares.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from nqmjax._tools import evaluate, numeric, require, scalar, whole
from nqmjax.dynamics import apply, begin, build_model, check_run, dot, follow, in_one_precision, start_state, times
from nqmjax.optimizers import (
    LinearOptimizer,
    MeanFieldOptimizer,
    Optimizer,
    Stride,
    hyperparameters,
    linear_system,
    provenance,
)
from nqmjax.problem import NoisyQuadratic

CHUNK = 256
"""Updates that are made by one call of what is compiled, whatever the length of the run."""

WHOLE = "all"
"""Name of all layers together."""

SUMMED = {
    "mean_gradient": "mean |gradient| of a direction",
    "mean_update": "mean |update| of a direction",
    "mean_update_over_rate": "mean |update| of a direction, over the learning rate",
    "loss_change": "change of the loss by an update",
    "batch_loss_change": "change of the loss of the batch by the update made with it",
}
"""Variables that are also added up."""

SINGLE = {
    "exponent": "local exponent of the mean |gradient| against the batch size",
    "B_L1": "batch size at which noise and signal are alike in the mean |gradient|",
    "B_simple": "batch size at which noise and signal are alike in the squared gradient",
    "participation": "directions that share the squared gradient",
}
"""Variables of single updates."""


def strides(
    problem: NoisyQuadratic,
    optimizer: Optimizer,
    batch_size: Any,
    steps: int,
    *,
    dataset_size: float | None = None,
    dtype: Any = "float64",
) -> xr.Dataset:
    r"""Length of gradients and updates, and what updates do to the loss: of each, accumulated, by layer and by epoch.

    Exact for linear optimizers, by the closure for others; start and noise are normal. Averages over directions are plain
    means; losses are sums. The update is that of the parameter at which gradients are taken, the loss that of the iterate
    which is scored.

    Args:
      problem: the quadratic; its layers, if any, are told apart.
      optimizer: hyperparameters are numbers.
      batch_size: examples per update, a number or a 1-D array.
      steps: number of updates, at least 1.
      dataset_size: examples of an epoch, which has `floor(dataset_size / B)` updates; None is no epochs.
      dtype: "float64" or "float32".

    Returns:
      `xarray.Dataset` over batch_size (if it is an array), layer ("all", then the layers' names) and step (1 to `steps`):
      `mean_gradient` (of `|g|`), `mean_update` (of `|theta' - theta|`), `mean_update_over_rate`, `loss_change` (of the
      population), `batch_loss_change` (of the batch itself); each also as `.._sum`, from the first update to this one, and
      with `dataset_size` as `.._per_epoch`, the sum over each complete epoch, over epoch (1 to the last one), NaN where a
      batch size has had fewer. At each update too `exponent` (of `mean_gradient` against batch size), `B_L1` and `B_simple`
      (batch sizes at which it turns from `-1/2` to 0 and at which noise and signal are alike in squares), and
      `participation` (`(sum x)^2 / sum x^2` with `x = E g^2`, the number of directions that share the squared gradient).
      inf where the run diverges, quotients of such values NaN. The gradient is the one before any preconditioner.

    Raises:
      ValueError: an argument is out of its range or has another shape, or a layer is called "all".

    >>> from nqmjax import SGD, power_law
    >>> run = strides(power_law(1000), SGD(0.5), [1, 64, 4096], steps=20).sel(layer="all")
    >>> run.mean_gradient.isel(step=0).values.round(4), run.exponent.isel(step=0).values.round(2)
    (array([0.0502, 0.0094, 0.0061]), array([-0.48, -0.26, -0.02]))
    >>> float(run.B_L1.isel(step=0)[0].round(1)), float(run.B_simple.isel(step=0)[0].round(2))
    (68.2, 4.55)

    Source: Gao & Zhong 2020, section 2, whose constant in eqs. 4 and 6 should be `sqrt(2 / pi)`.
    """
    check_run(problem, optimizer, batch_size, closures=True)
    batches, steps = numeric("batch_size", batch_size), whole("steps", steps)
    require(batches.ndim <= 1 and batches.size > 0, "the shape of batch_size", batches.shape, "give a number or a 1-D array")
    for name, value in hyperparameters(optimizer).items():
        require(np.ndim(value) == 0, f"the shape of {name}", np.shape(value), "give a number; call strides once for each value")
    names = problem.layers[0] if problem.layer else []
    require(WHOLE not in names, "a layer", repr(WHOLE), "rename it, for this is what all layers together are called")
    length = None if dataset_size is None else scalar("dataset_size", dataset_size)
    if length is not None:
        least = float(batches.max())
        require(least <= length < np.inf, "dataset_size", length, f"give at least one batch of examples, {least:g}")
    found = _follow(problem, optimizer, np.atleast_1d(batches), steps, dtype)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = float(hyperparameters(optimizer).get("learning_rate", np.nan))
        found["mean_update_over_rate"] = found["mean_update"] / rate
    return _table(found, batches, [WHOLE, *names], steps, length).assign_attrs(
        title="strides of gradients and updates", **provenance(problem, optimizer)
    )


def _table(
    found: dict[str, np.ndarray], batches: np.ndarray, layers: list[str], steps: int, length: float | None
) -> xr.Dataset:
    """What was found, of shape `(b, steps, layers)`, labelled, with its sums."""
    dims = ("batch_size", "layer", "step")
    coordinates = {"batch_size": np.atleast_1d(batches), "layer": layers, "step": np.arange(1, steps + 1)}
    single = {name: np.moveaxis(found[name], 1, 2) for name in [*SUMMED, *SINGLE]}
    table = xr.Dataset({name: (dims, values, _text(name)) for name, values in single.items()}, coordinates)
    for name in SUMMED:
        table[f"{name}_sum"] = dims, single[name].cumsum(-1), _text(name, ", summed from the first update")
    if length is not None:
        updates = np.floor(length / np.atleast_1d(batches) + 1e-9).astype(int)
        epochs = int((steps // updates).max())
        table = table.assign_coords(epoch=np.arange(1, epochs + 1), updates_per_epoch=("batch_size", updates))
        for name in SUMMED:
            sums = np.stack([_by_epoch(values, count, epochs) for values, count in zip(single[name], updates, strict=True)])
            table[f"{name}_per_epoch"] = (*dims[:2], "epoch"), sums, _text(name, ", summed over the epoch")
    return table if batches.ndim else table.isel(batch_size=0)


def _text(name: str, more: str = "") -> dict[str, str]:
    return {"long_name": {**SUMMED, **SINGLE}[name] + more}


def _by_epoch(values: np.ndarray, updates: int, epochs: int) -> np.ndarray:
    """Sums over complete epochs of so many updates, shape `(layers, epochs)`, NaN beyond the last."""
    complete = values.shape[-1] // updates
    sums = np.full((len(values), epochs), np.nan)
    sums[:, :complete] = values[:, : complete * updates].reshape(len(values), complete, updates).sum(-1)
    return sums


class _Parts(NamedTuple):
    """Of a linear run: `x` and `y`, shape `(m, 2, n)`, and the sums of `(p . y)^2` and `(d . y)^2` so far, shape `(2, n)`."""

    state: jax.Array
    sums: jax.Array


def _follow(problem: Any, optimizer: Any, batch_size: np.ndarray, steps: int, dtype: Any) -> dict[str, np.ndarray]:
    """The variables of the table, each of shape `(b, steps, layers)`, some updates at a time."""
    runs, parts = evaluate(_starts, problem, optimizer, batch_size, dtype=dtype), []
    for _ in range(0, steps, CHUNK):
        runs, found = evaluate(_updates, problem, optimizer, batch_size, runs, dtype=dtype)
        parts.append(found)
    return {name: np.concatenate([part[name] for part in parts], axis=1)[:, :steps] for name in parts[0]}


@jax.jit
def _starts(problem: Any, optimizer: Any, batch_size: Any) -> dict[str, Any]:
    """The runs of all batch sizes before their first update."""
    problem, optimizer, batch_size = in_one_precision((problem, optimizer, batch_size))
    return {"runs": jax.vmap(lambda batch_size: _run(problem, optimizer, 1 / batch_size)[0])(batch_size)}


@jax.jit
def _updates(problem: Any, optimizer: Any, batch_size: Any, runs: dict[str, Any]) -> tuple[Any, dict[str, jax.Array]]:
    """`CHUNK` more updates of the runs of all batch sizes, and the variables of each."""
    names, place = problem.layers
    problem, optimizer, batch_size = in_one_precision((problem, optimizer, batch_size))
    ones = np.ones((1, place.size))
    members = np.concatenate([ones, place == np.arange(len(names))[:, None]]) if problem.layer else ones

    def follow_one(batch_size: Any, run: Any) -> tuple[Any, dict[str, jax.Array]]:
        _, update = _run(problem, optimizer, 1 / batch_size)
        summary = functools.partial(_by_layer, problem, jnp.asarray(members, batch_size.dtype), 1 / batch_size)

        def step(run: Any, _: None) -> tuple[Any, dict[str, jax.Array]]:
            run, stride, change = update(run)
            return run, summary(stride, change)

        return jax.lax.scan(step, run, length=CHUNK)

    after, found = jax.vmap(follow_one)(batch_size, runs["runs"])
    return {"runs": after}, found


def _run(problem: Any, optimizer: Any, inverse_batch: Any) -> tuple[Any, Any]:
    """A run before its first update, and what makes a stride of it, with the change of `E (r . x)^2`."""
    if isinstance(optimizer, LinearOptimizer):
        return _linear_run(problem, optimizer, inverse_batch)
    return _closure_run(problem, optimizer, inverse_batch)


def _linear_run(problem: Any, optimizer: LinearOptimizer, inverse_batch: Any) -> tuple[Any, Any]:
    """Of a linear optimizer, exactly."""
    model = build_model(problem, optimizer, 1 / inverse_batch)
    noise, reads = model.noise, linear_system(optimizer, problem.curvature).parameter
    moves, scores = (
        jnp.stack([dot(row, column) for column in jnp.swapaxes(model.increment, 0, 1)]) for row in (reads, model.read)
    )

    def update(parts: _Parts) -> tuple[_Parts, Stride, jax.Array]:
        state = parts.state
        theta, moved, score, scored = (dot(row[:, None], state) for row in (reads, moves, model.read, scores))
        squares = times(problem.initial, jnp.stack([theta[0], moved[0]]) ** 2) + times(noise, parts.sums)
        stride = Stride.gaussian(
            times(problem.curvature**2, squares[0]),
            noise,
            squares[1] + times(noise, dot(reads, model.kick) ** 2),
            noise * dot(model.read, model.kick),
        )
        change = times(problem.initial, scored[0] * (2 * score[0] + scored[0])) + times(noise, score[1] ** 2)
        after = apply(model.increment[:, :, None], state)
        return _Parts(after, parts.sums + jnp.stack([theta[1], moved[1]]) ** 2), stride, change

    return _Parts(start_state(model), jnp.zeros_like(noise, shape=(2, *noise.shape))), update


def _closure_run(problem: Any, optimizer: MeanFieldOptimizer, inverse_batch: Any) -> tuple[Any, Any]:
    """Of an optimizer that is not linear, by its closure."""

    def update(walk: Any) -> tuple[Any, Stride, jax.Array]:
        stride = optimizer.stride(problem, walk.moments, inverse_batch, walk.step.astype(problem.curvature.dtype))
        after = follow(problem, optimizer, inverse_batch, walk)
        return after, stride, optimizer.squares(after.moments) - optimizer.squares(walk.moments)

    return begin(problem, optimizer), update


def _by_layer(problem: Any, members: jax.Array, inverse_batch: Any, stride: Stride, change: Any) -> dict[str, jax.Array]:
    """The variables of one update, each of shape `(layers,)`, of what they are along each direction."""
    h, noise = problem.curvature, problem.noise * inverse_batch

    def total(values: jax.Array) -> jax.Array:
        values = times(members * problem.count, values).sum(-1)
        return jnp.where(jnp.isnan(values), jnp.inf, values)

    def quotient(above: jax.Array, below: jax.Array) -> jax.Array:
        return jnp.where(above == 0, 0.0, above / below)

    directions, gradient, squares = total(jnp.ones_like(h)), total(stride.gradient), stride.signal + noise
    loss_change = total(times(0.5 * h, change))
    return {
        "mean_gradient": gradient / directions,
        "mean_update": total(stride.update) / directions,
        "loss_change": loss_change,
        "batch_loss_change": loss_change + total(stride.overlap),
        "exponent": quotient(total(stride.slope), gradient),
        "B_L1": quotient(total(jnp.sqrt(problem.noise)), total(jnp.sqrt(stride.signal))) ** 2,
        "B_simple": quotient(total(problem.noise), total(stride.signal)),
        "participation": jnp.where(total(squares) == 0, jnp.inf, quotient(total(squares) ** 2, total(squares**2))),
    }
