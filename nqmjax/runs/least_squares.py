r"""Nonlinear least squares from many starts at once: Levenberg-Marquardt, traceable, so that `vmap` does the rest.

A step solves `(J^T J + mu diag(J^T J)) dx = -J^T r` (Marquardt 1963). One that does not lower the sum of squares is taken back
and tried again with a larger `mu`, so that the sum never rises, and what is not finite is never accepted.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

LARGEST_STEP = 2.0
"""Bound of a step in every coordinate: coordinates are logarithms or exponents."""

TOLERANCE = 1e-10
"""A search is over when a step lowers the sum of squares by less than this share of it,"""

MOST_DAMPING = 1e8
"""or when no step with this `mu` lowers it."""


class Minimum(NamedTuple):
    """Where a search ended: the sum of squares, residuals and Jacobian there, and whether it was over."""

    coordinates: Any
    cost: Any
    residuals: Any
    jacobian: Any
    converged: Any


class _State(NamedTuple):
    best: Minimum
    damping: Any
    candidate: Any
    count: Any


def minimize(residuals: Callable[[Any], Any], start: Any, steps: int) -> Minimum:
    """The least sum of squares of `residuals` that at most so many steps find from `start`.

    Args:
      residuals: traceable function of the coordinates, shape `(coordinates,)`, to an array of any length.
      start: coordinates. If something there is not finite, they come back with the cost inf.
      steps: evaluations of residuals and Jacobian, at most.

    >>> with jax.enable_x64():
    ...     print(minimize(lambda x: jnp.array([x[0] - 1, 10 * (x[1] - x[0] ** 2)]), jnp.array([-1.0, 2.0]), 60).coordinates)
    [1. 1.]
    """
    shape = jax.eval_shape(residuals, start)
    start = jnp.asarray(start, shape.dtype)
    nothing = jnp.zeros(shape.shape, shape.dtype)
    unknown = Minimum(
        start, jnp.asarray(jnp.inf, shape.dtype), nothing, jnp.zeros((*shape.shape, *start.shape), shape.dtype), False
    )
    first = _State(unknown, jnp.asarray(1e-2, start.dtype), start, 0)

    def evaluate(x: Any) -> tuple[Any, Any]:
        found = residuals(x)
        return found, found

    def step(state: _State) -> _State:
        best, damping, x, count = state
        jacobian, here = jax.jacfwd(evaluate, has_aux=True)(x)
        cost = jnp.where(jnp.isfinite(jacobian).all(), here @ here, jnp.inf)
        better = cost < best.cost
        small = better & (damping < 1) & (best.cost - cost < TOLERANCE * best.cost)
        damping = jnp.where(better, damping * 0.3, damping * 4)
        reached = Minimum(x, cost, here, jacobian, small)
        kept = best._replace(converged=jnp.isfinite(best.cost) & (damping > MOST_DAMPING))
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), reached, kept)
        normal = best.jacobian.T @ best.jacobian
        scale = jnp.diag(jnp.maximum(jnp.diag(normal), 1e-12))
        change = -jnp.linalg.solve(normal + damping * scale, best.jacobian.T @ best.residuals)
        change = change * jnp.minimum(1.0, LARGEST_STEP / jnp.maximum(jnp.max(abs(change)), 1e-30))
        return _State(best, damping, best.coordinates + change, count + 1)

    def going(state: _State) -> Any:
        return (state.count < steps) & ~state.best.converged & ((state.count == 0) | jnp.isfinite(state.best.cost))

    return jax.lax.while_loop(going, step, first).best
