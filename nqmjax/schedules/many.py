"""Optimal learning rates of many runs at once: one search for each batch size, all of them under `vmap`."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nqmjax._tools import check_steps, precision, require
from nqmjax.dynamics import check_run, doublings
from nqmjax.optimizers import LinearOptimizer
from nqmjax.problem import NoisyQuadratic
from nqmjax.schedules.plan import piece_lengths
from nqmjax.schedules.problem import Search, final_excess
from nqmjax.schedules.search import TOLERANCE


class OptimizedRates(NamedTuple):
    """Optimal rates of many runs: `learning_rate` and `steps` of shape `(b, pieces)`, `risk` and `converged` of `(b,)`."""

    learning_rate: np.ndarray
    steps: np.ndarray
    risk: np.ndarray
    converged: np.ndarray


def optimize_rates(
    problem: NoisyQuadratic,
    optimizer: LinearOptimizer,
    batch_size: Any,
    steps: Any,
    pieces: int = 10,
    *,
    max_learning_rate: float | None = None,
) -> OptimizedRates:
    r"""Optimal learning rates of many runs at once, by `optax.lbfgs` under `vmap`.

    The rates are `cap / (1 + exp(-u))` with free `u`, so that no bound is needed; a rate at the cap is approached, not met.

    Args:
      problem: the quadratic.
      optimizer: scalar hyperparameters; its learning rate is replaced.
      batch_size: examples per update, shape `(b,)`.
      steps: numbers of updates, a number or shape `(b,)`.
      pieces: pieces of each run.
      max_learning_rate: cap of the rate, finite; by default `learning_rate_cap`.

    Returns:
      `OptimizedRates`; what did not converge to a slope of `log R` below 10^-3 says so.

    Raises:
      ValueError: an argument is out of its range.

    >>> from nqmjax import SGD, power_law
    >>> found = optimize_rates(power_law(100), SGD(0.1), batch_size=[4, 64], steps=1000, pieces=5)
    >>> found.risk.round(4), found.converged
    (array([0.02  , 0.0014]), array([ True,  True]))

    Source: as `optimize_schedule`, which is for one run at a time, with bounds that are met and other hyperparameters.
    """
    check_run(problem, optimizer, batch_size, asked="optimize_rates")
    check_steps("steps", steps)
    batches, counts = np.broadcast_arrays(np.atleast_1d(np.asarray(batch_size, float)), np.asarray(steps))
    require(batches.ndim == 1, "the shape of batch_size", batches.shape, "give a number or a 1-D array")
    search = Search(problem, optimizer, batches[0], pieces, max_learning_rate, ["learning_rate"], None, (1.0, np.inf))
    require(np.isfinite(search.cap), "max_learning_rate", search.cap, "give a finite cap")
    lengths = np.stack([piece_lengths(int(count), pieces) for count in counts])
    plans = [search.kernel.plan(batch, row, search.cap) for batch, row in zip(batches, lengths, strict=True)]
    share = np.clip(np.stack([plan.learning_rate for plan in plans]) / search.cap, 1e-9, 0.999)
    levels = doublings(int(lengths.max()))
    with precision():
        start, inverse = np.log(share / (1 - share)), np.repeat(1 / batches[:, None], pieces, axis=1)
        rates, risk, slope = _many(search.problem, optimizer, start, inverse, lengths.astype(np.uint32), search.cap, levels)
    return OptimizedRates(np.asarray(rates), lengths, np.asarray(risk) + float(problem.irreducible), np.asarray(slope) <= 1e-3)


@functools.partial(jax.jit, static_argnames="levels")
def _many(problem: Any, optimizer: Any, start: Any, inverse: Any, steps: Any, cap: Any, levels: int) -> Any:
    """Rates, risks less the irreducible loss and largest slopes, each run an L-BFGS of its own under `vmap`."""

    def one(start: jax.Array, inverse: jax.Array, steps: jax.Array) -> Any:
        def objective(free: jax.Array) -> jax.Array:
            point = jnp.log(cap) + jax.nn.log_sigmoid(free)[None]
            return jnp.log(final_excess(problem, optimizer, point, inverse, steps, ("learning_rate",), levels))

        solver = optax.lbfgs(memory_size=20)
        with_slope = optax.value_and_grad_from_state(objective)

        def going_on(carry: Any) -> jax.Array:
            _, _, slope, count = carry
            return (jnp.abs(slope).max() > TOLERANCE) & (count < 300)

        def step(carry: Any) -> Any:
            free, state, _, count = carry
            value, slope = with_slope(free, state=state)
            change, state = solver.update(slope, state, free, value=value, grad=slope, value_fn=objective)
            return optax.apply_updates(free, change), state, slope, count + 1

        carry = (start, solver.init(start), jnp.full_like(start, jnp.inf), 0)
        free = jax.lax.while_loop(going_on, step, carry)[0]
        value, slope = jax.value_and_grad(objective)(free)
        return cap * jax.nn.sigmoid(free), jnp.exp(value), jnp.abs(slope).max()

    return jax.vmap(one)(start, inverse, steps)
