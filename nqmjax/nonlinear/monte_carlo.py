r"""The sampled quadratic, driven by any optax transformation: the independent check, and the tool for nonlinear methods.

Every seed is one training run: `theta_0 ~ N(0, s)`, gradients `g = h theta + xi` with `xi ~ N(0, c / B)` drawn afresh for
each update, and the loss of the iterate recorded after each. Nothing here knows of second moments or linear systems.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr

from nqmjax._tools import (
    FirstAlone,
    Workers,
    check_batch_size,
    check_steps,
    check_values,
    evaluate,
    is_traced,
    numeric,
    precision,
    progress_bar,
    require,
    shown,
)
from nqmjax.nonlinear.transforms import GIVEN, asked, batch, default_eval_params, fast, looks_ahead
from nqmjax.optimizers import provenance
from nqmjax.problem import NoisyQuadratic, check_problem, noise_of_the_run

CHUNK_ENTRIES = 2**16
"""Seeds times directions that run together: few enough to stay in the processor's cache and to report progress."""

CHUNK_RECORDS = 2**21
"""Seeds times updates whose losses one result holds; each thread has two under way."""


def monte_carlo(
    problem: NoisyQuadratic,
    optax_transformation: optax.GradientTransformation,
    batch_size: float,
    num_steps: int,
    num_seeds: int,
    key: Any,
    average: float = 0.0,
    dtype: Any = "float64",
    *,
    eval_params: Callable[[Any, Any], Any] | None = None,
    devices: Any = None,
) -> xr.Dataset:
    r"""Mean risk over sampled training runs after every update, and its standard error, for any optimizer of optax.

    A run is `theta_0 ~ N(0, s)`, `g_t = h theta_t + sqrt(c / B) z_t` with standard normal `z_t`, and whatever the
    transformation makes of `g_t`. The loss is scored at `avg_{t+1} = average avg_t + (1 - average) theta_{t+1}`,
    `avg_0 = theta_0`: the iterate itself by default, otherwise what `Averaged` scores.

    Methods that ask for more than the gradient are given it of the same batch, whose loss is the quadratic
    `irreducible + 1/2 theta^T H theta + xi . theta` with the gradient `H theta + xi` everywhere: `value` and `value_fn`
    (Polyak's step, line searches, plateaus), `obj_fn` (estimates of the Hessian) and `grad_fn`. So a line search fits its
    batch, not the risk, and the loss of a batch may lie below the irreducible one.

    Methods that are evaluated at another point than their gradients are scored there: `optax.lookahead` at its slow
    parameters, `optax.contrib.schedule_free` at its average, `optax.contrib.sam` at the unperturbed parameters.

    The parameter is one vector of shape `(dim,)`, so a norm-based method such as LARS sees a single layer. A group stands
    for `count` directions, each of them sampled by itself. A transformation is a closure over its hyperparameters:
    the first call with each one compiles, later ones with the same object and shapes do not. Randomness inside a
    transformation (`optax.add_noise`) is the same for all seeds, which the standard error does not account for.

    Args:
      problem: the quadratic; its counts are whole numbers.
      optax_transformation: the optimizer, learning rate and sign included, as `optax.apply_updates` needs it.
      batch_size: examples per update, a number.
      num_steps: number of updates `T`.
      num_seeds: number of runs, at least 2. The first runs of many are those of few.
      key: a whole number or a JAX key; the same key gives the same runs.
      average: decay of the moving average that is scored, in [0, 1); 0 scores the iterate.
      dtype: "float64" or "float32".
      eval_params: function of the transformation's state and the parameters that returns the point to score, such as
        `optax.contrib.schedule_free_eval_params`; None scores what is said above.
      devices: where to compute, see `sweep`; the numbers are the same.

    Returns:
      dataset over `step` (0 to `T`) of `risk` (mean over seeds) and `standard_error`, both losses; attributes repeat the
      arguments. Both are inf where any run has diverged, never NaN.

    Raises:
      ValueError: an argument is out of its range, a count is not whole, or the transformation cannot work on one vector of
        parameters with what it is given (per-example gradients, matrices); the message repeats its reason.

    >>> from nqmjax import power_law
    >>> runs = monte_carlo(power_law(100), optax.adam(0.02), batch_size=64, num_steps=200, num_seeds=200, key=0)
    >>> runs.risk.sel(step=[0, 100, 200]).values.round(2)
    array([2.57, 0.13, 0.02])

    Source: Zhang et al. 2019, section 3.1 (the sampled model).
    """
    _check(problem, optax_transformation, batch_size, num_steps, num_seeds, average, eval_params)
    num_steps, num_seeds, workers = int(num_steps), int(num_seeds), Workers(devices)
    directions, prng_key = _single_directions(problem), as_key(key)
    method = {"transformation": optax_transformation, "eval_params": eval_params or default_eval_params}
    kernel = functools.partial(_risks, key=prng_key, num_steps=num_steps, **method)
    chunk = max(1, min(num_seeds, CHUNK_ENTRIES // directions.curvature.size, CHUNK_RECORDS // (num_steps + 1)))
    compiles = FirstAlone()

    def risks_from(first: int) -> np.ndarray:
        seeds = np.arange(first, first + chunk, dtype=np.uint32)  # a last chunk of the same shape does not compile again
        with compiles("kernel"):
            return evaluate(kernel, directions, batch_size, average, seeds, dtype=dtype)[: num_seeds - first]

    chunks = range(0, num_seeds, chunk)
    found = zip(chunks, workers.map(risks_from, chunks, ahead=2), strict=True)
    mean, squares = np.zeros((2, num_steps + 1))
    for first, risks in progress_bar(found, progress=True, desc="monte_carlo", total=len(chunks), unit=" chunks"):
        with np.errstate(over="ignore", invalid="ignore"):
            before, mean = mean, mean + (risks - mean).sum(0) / (first + len(risks))
            squares += ((risks - before) * (risks - mean)).sum(0)
    error = np.sqrt(np.maximum(squares, 0) / (num_seeds - 1) / num_seeds)
    return xr.Dataset(
        {
            "risk": ("step", _finite_or_inf(mean), {"long_name": "risk, mean over seeds", "units": "loss"}),
            "standard_error": ("step", _finite_or_inf(error), {"long_name": "standard error of the risk", "units": "loss"}),
        },
        coords={"step": ("step", np.arange(num_steps + 1), {"long_name": "updates", "units": "updates"})},
        attrs={
            **provenance(problem, "a transformation of optax"),
            "batch_size": float(batch_size),
            "num_seeds": num_seeds,
            "key": _numbers(prng_key),
            "average": float(average),
            "dim": directions.curvature.size,
            "irreducible": float(problem.irreducible),
        },
    )


def precondition(problem: NoisyQuadratic, power: float) -> optax.GradientTransformation:
    r"""An optax transformation that scales the gradient along each direction by `h^-power`.

    Put it first in a chain: `optax.chain(precondition(problem, power), optax.sgd(a))` is what `monte_carlo` takes for
    `Preconditioned(SGD(a), power)`. Directions without curvature are left alone.

    Args:
      problem: the quadratic whose curvature it uses, the one given to `monte_carlo`.
      power: 0 changes nothing, 1 is Newton's method.

    Raises:
      ValueError: the power is not in [0, 1], or a count is not whole.

    >>> from nqmjax import from_spectrum
    >>> newton = precondition(from_spectrum([1.0, 0.25], count=[1, 2]), power=1)
    >>> newton.update(np.ones(3), newton.init(None))[0]
    array([1., 4., 4.])

    Source: Zhang et al. 2019, eq. 8.
    """
    _check_samplable(problem)
    _check_scalar("power", power)
    require(0 <= float(power) <= 1, "power", power, "give a value in [0, 1]")
    curvature = np.asarray(_single_directions(problem).curvature, dtype=np.float64)
    scale = np.where(curvature > 0, curvature, 1.0) ** -float(power)
    return optax.stateless_with_tree_map(lambda gradient, _: gradient * scale)


@functools.partial(jax.jit, static_argnames=("transformation", "eval_params", "num_steps"))
def _risks(
    problem: NoisyQuadratic,
    batch_size: jax.Array,
    average: jax.Array,
    seeds: jax.Array,
    key: jax.Array,
    transformation: optax.GradientTransformation,
    eval_params: Callable,
    num_steps: int,
) -> jax.Array:
    """Losses of the runs numbered `seeds` at every step, shape `(len(seeds), num_steps + 1)`."""
    h, followed, method = problem.curvature, noise_of_the_run(problem), optax.with_extra_args_support(transformation)
    names = asked(method.update)

    def loss(theta: jax.Array) -> jax.Array:
        return problem.irreducible + 0.5 * jnp.where(h > 0, h * theta**2, 0.0).sum()

    def deviation(theta: jax.Array) -> jax.Array:
        units = {"loss_noise": loss(theta), "own_noise": theta**2}
        return jnp.sqrt((problem.noise + sum(gain * units[name] for name, gain in followed.items())) / batch_size)

    def run(seed: jax.Array) -> jax.Array:
        run_key = jax.random.fold_in(key, seed)

        def normal(step: Any) -> jax.Array:
            return jax.random.normal(jax.random.fold_in(run_key, step), h.shape, h.dtype)

        def update(carry: Any, step: jax.Array) -> tuple[Any, jax.Array]:
            params, state, scored = carry
            given = batch(h, deviation(fast(params)) * normal(step), loss, params)
            updates, new_state = method.update(given["grad"], state, params, **{name: given[name] for name in names})
            found, expected = (jax.tree.map(jnp.shape, tree) for tree in (updates, params))
            if found != expected:
                raise ValueError(f"its updates have the shape {found} where the parameters have {expected}")
            params = jax.tree.map(jnp.asarray, optax.apply_updates(params, updates))
            state = jax.tree.map(lambda new, old: jnp.asarray(new, jnp.asarray(old).dtype), new_state, state)
            scored = average * scored + (1 - average) * eval_params(state, params)
            return (params, state, scored), loss(scored)

        start = jnp.sqrt(problem.initial) * normal(0)
        params = optax.LookaheadParams.init_synced(start) if looks_ahead(method, start) else start
        steps = jnp.arange(1, num_steps + 1, dtype=jnp.uint32)
        _, risks = jax.lax.scan(update, (params, method.init(params), start), steps)
        return jnp.concatenate([loss(start)[None], risks])

    try:
        return jax.vmap(run)(seeds)
    except Exception as error:
        reason = f"its update gives {type(error).__name__}: {error}"
        remedy = f"give one that works on one vector of parameters with a batch's gradient, {', '.join(GIVEN)}"
        raise ValueError(f"optax_transformation is {shown(transformation)}, {reason}; {remedy}") from error


def _single_directions(problem: NoisyQuadratic) -> NoisyQuadratic:
    """The same problem with every group written out as directions of count 1."""
    count = np.asarray(problem.count).astype(np.int64)
    curvature, noise, initial = (np.repeat(v, count) for v in (problem.curvature, problem.noise, problem.initial))
    followed = {name: np.repeat(values, count) for name, values in noise_of_the_run(problem).items()}
    layer = problem.layer and tuple(np.repeat(problem.layer, count).tolist())
    return NoisyQuadratic(curvature, noise, initial, np.ones(count.sum()), problem.irreducible, **followed, layer=layer)


def _finite_or_inf(values: np.ndarray) -> np.ndarray:
    """The statistics of runs of which some have diverged: inf."""
    return np.where(np.isfinite(values), values, np.inf)


def as_key(key: Any) -> jax.Array:
    """A JAX key from a whole number or a key of either kind."""
    require(not is_traced(key), "key", "traced", "call this outside jit, vmap and grad")
    try:
        with precision():  # all 64 bits of a number count, whatever the caller's precision
            key = jax.random.key(key) if isinstance(key, int | np.integer) and key >= 0 else key
            jax.random.fold_in(key, 0)
        return key
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"key is {shown(key)}: give a whole number from 0 to 2^63, or one key, jax.random.key(0)") from None


def _numbers(key: jax.Array) -> np.ndarray:
    with precision():
        return np.asarray(jax.random.key_data(key))


def _check(
    problem: Any, transformation: Any, batch_size: Any, num_steps: Any, num_seeds: Any, average: Any, eval_params: Any
) -> None:
    _check_samplable(problem)
    require(
        isinstance(transformation, optax.GradientTransformation),
        "optax_transformation",
        transformation,
        "give an optax.GradientTransformation, for example optax.sgd(0.1, momentum=0.9)",
    )
    for name, value in {"batch_size": batch_size, "num_steps": num_steps, "num_seeds": num_seeds, "average": average}.items():
        _check_scalar(name, value)
    check_batch_size(batch_size)
    check_steps("num_steps", num_steps)
    whole = 2 <= num_seeds <= 2**31 and float(num_seeds).is_integer()
    require(whole, "num_seeds", num_seeds, "give a whole number of runs, from 2 to 2^31")
    require(0 <= float(average) < 1, "average", average, "give a decay in [0, 1)")
    require(eval_params is None or callable(eval_params), "eval_params", eval_params, "give a function of state and parameters")


def _check_samplable(problem: Any) -> None:
    """Besides what any problem must satisfy, each direction must be one that can be sampled."""
    check_problem(problem, loss_noise=True)
    require(not is_traced(problem), "problem", "traced", "call this outside jit, vmap and grad")
    count = np.asarray(problem.count)
    remedy = "every direction is sampled by itself, so give whole numbers, for example the counts rounded"
    check_values("count", count, count == np.floor(count), remedy)


def _check_scalar(name: str, value: Any) -> None:
    require(numeric(name, value).ndim == 0, f"the shape of {name}", np.shape(value), "give one number")
