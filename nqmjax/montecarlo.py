r"""The sampled quadratic, driven by any optax transformation: the independent check, and the tool for nonlinear methods.

Every seed is one training run: `theta_0 ~ N(0, s)`, gradients `g = h theta + xi` with `xi ~ N(0, c / B)` drawn afresh for
each update, and the loss of the iterate recorded after each. Nothing here knows of second moments or linear systems.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from tqdm import tqdm

from nqmjax.checks import check_batch_size, check_steps, check_values, is_traced, numeric, require
from nqmjax.frontdoor import evaluate
from nqmjax.optimizers import provenance
from nqmjax.problem import NoisyQuadratic, check_problem

CHUNK_ENTRIES = 2**16
"""Seeds times directions that run together: few enough to stay in the processor's cache and to report progress."""

CHUNK_RECORDS = 2**24
"""Seeds times updates whose losses are held at a time."""


def monte_carlo(
    problem: NoisyQuadratic,
    optax_transformation: optax.GradientTransformation,
    batch_size: float,
    num_steps: int,
    num_seeds: int,
    key: Any,
    average: float = 0.0,
    dtype: Any = "float64",
) -> xr.Dataset:
    r"""Mean risk over sampled training runs after every update, and its standard error, for any optimizer of optax.

    A run is `theta_0 ~ N(0, s)`, `g_t = h theta_t + sqrt(c / B) z_t` with standard normal `z_t`, and whatever the
    transformation makes of `g_t`. The loss is scored at `avg_{t+1} = average avg_t + (1 - average) theta_{t+1}`,
    `avg_0 = theta_0`: the iterate itself by default, otherwise what `Averaged` scores.

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

    Returns:
      dataset over `step` (0 to `T`) of `risk` (mean over seeds) and `standard_error`, both losses; attributes repeat the
      arguments. Both are inf where any run has diverged, never NaN.

    Raises:
      ValueError: an argument is out of its range, or a count is not whole.

    >>> from nqmjax import power_law
    >>> runs = monte_carlo(power_law(100), optax.adam(0.02), batch_size=64, num_steps=200, num_seeds=200, key=0)
    >>> runs.risk.sel(step=[0, 100, 200]).values.round(2)
    array([2.57, 0.13, 0.02])

    Source: Zhang et al. 2019, section 3.1 (the sampled model).
    """
    _check(problem, optax_transformation, batch_size, num_steps, num_seeds, average)
    num_steps, num_seeds = int(num_steps), int(num_seeds)
    directions, prng_key = _single_directions(problem), _as_key(key)
    kernel = functools.partial(_risks, key=prng_key, transformation=optax_transformation, num_steps=num_steps)
    chunk = max(1, min(num_seeds, CHUNK_ENTRIES // directions.curvature.size, CHUNK_RECORDS // (num_steps + 1)))
    mean, squares = np.zeros((2, num_steps + 1))
    for first in tqdm(range(0, num_seeds, chunk), desc="monte_carlo", unit="chunk", delay=2, leave=False):
        seeds = np.arange(first, first + chunk, dtype=np.uint32)  # a last chunk of the same shape does not compile again
        risks = evaluate(kernel, directions, batch_size, average, seeds, dtype=dtype)[: num_seeds - first]
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
            "key": np.asarray(jax.random.key_data(prng_key)),
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


@functools.partial(jax.jit, static_argnames=("transformation", "num_steps"))
def _risks(
    problem: NoisyQuadratic,
    batch_size: jax.Array,
    average: jax.Array,
    seeds: jax.Array,
    key: jax.Array,
    transformation: optax.GradientTransformation,
    num_steps: int,
) -> jax.Array:
    """Losses of the runs numbered `seeds` at every step, shape `(len(seeds), num_steps + 1)`."""
    h, deviation = problem.curvature, jnp.sqrt(problem.noise / batch_size)

    def loss(theta: jax.Array) -> jax.Array:
        return problem.irreducible + 0.5 * jnp.where(h > 0, h * theta**2, 0.0).sum()

    def run(seed: jax.Array) -> jax.Array:
        run_key = jax.random.fold_in(key, seed)

        def normal(step: Any) -> jax.Array:
            return jax.random.normal(jax.random.fold_in(run_key, step), h.shape, h.dtype)

        def update(carry: Any, step: jax.Array) -> tuple[Any, jax.Array]:
            theta, state, scored = carry
            gradient = h * theta + deviation * normal(step)
            updates, state = transformation.update(gradient, state, theta)
            theta = jnp.asarray(optax.apply_updates(theta, updates))
            scored = average * scored + (1 - average) * theta
            return (theta, state, scored), loss(scored)

        start = jnp.sqrt(problem.initial) * normal(0)
        steps = jnp.arange(1, num_steps + 1, dtype=jnp.uint32)
        _, risks = jax.lax.scan(update, (start, transformation.init(start), start), steps)
        return jnp.concatenate([loss(start)[None], risks])

    return jax.vmap(run)(seeds)


def _single_directions(problem: NoisyQuadratic) -> NoisyQuadratic:
    """The same problem with every group written out as directions of count 1."""
    count = np.asarray(problem.count).astype(np.int64)
    curvature, noise, initial = (np.repeat(v, count) for v in (problem.curvature, problem.noise, problem.initial))
    return NoisyQuadratic(curvature, noise, initial, np.ones(count.sum()), problem.irreducible)


def _finite_or_inf(values: np.ndarray) -> np.ndarray:
    """The statistics of runs of which some have diverged: inf."""
    return np.where(np.isfinite(values), values, np.inf)


def _as_key(key: Any) -> jax.Array:
    """A JAX key from a whole number or a key of either kind."""
    require(not is_traced(key), "key", "traced", "call this outside jit, vmap and grad")
    try:
        with jax.enable_x64(True):  # all 64 bits of a number count, whatever the caller's precision
            key = jax.random.key(key) if isinstance(key, int | np.integer) and key >= 0 else key
            jax.random.fold_in(key, 0)
        return key
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"key is {key!r}: give a whole number from 0 to 2^63, or one key, jax.random.key(0)") from None


def _check(problem: Any, transformation: Any, batch_size: Any, num_steps: Any, num_seeds: Any, average: Any) -> None:
    _check_samplable(problem)
    require(
        isinstance(transformation, optax.GradientTransformation),
        "optax_transformation",
        repr(transformation),
        "give an optax.GradientTransformation, for example optax.sgd(0.1, momentum=0.9)",
    )
    for name, value in {"batch_size": batch_size, "num_steps": num_steps, "num_seeds": num_seeds, "average": average}.items():
        _check_scalar(name, value)
    check_batch_size(batch_size)
    check_steps("num_steps", num_steps)
    whole = 2 <= num_seeds <= 2**31 and float(num_seeds).is_integer()
    require(whole, "num_seeds", num_seeds, "give a whole number of runs, from 2 to 2^31")
    require(0 <= float(average) < 1, "average", average, "give a decay in [0, 1)")


def _check_samplable(problem: Any) -> None:
    """Besides what any problem must satisfy, each direction must be one that can be sampled."""
    check_problem(problem)
    require(not is_traced(problem), "problem", "traced", "call this outside jit, vmap and grad")
    count = np.asarray(problem.count)
    remedy = "every direction is sampled by itself, so give whole numbers, for example the counts rounded"
    check_values("count", count, count == np.floor(count), remedy)


def _check_scalar(name: str, value: Any) -> None:
    require(numeric(name, value).ndim == 0, f"the shape of {name}", np.shape(value), "give one number")
