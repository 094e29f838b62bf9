r"""Nonlinear least squares from many starts at once: Levenberg-Marquardt, traceable, so that `vmap` does the rest.

A step solves `(J^T J + mu D) dx = -J^T r`, `D` the largest diagonal of `J^T J` so far (Moré 1978). One that does not lower the
sum of squares is taken back and tried again with a larger `mu`, so that the sum never rises, and what is not finite is never
accepted. After others `mu` falls the more, the closer the gain was to what the linear model foretold (Nielsen 1999).

Sources: J. J. Moré, "The Levenberg-Marquardt algorithm: implementation and theory", Lecture Notes in Mathematics 630, 1978;
H. B. Nielsen, "Damping parameter in Marquardt's method", report IMM-REP-1999-05, Technical University of Denmark, 1999.
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

RISE, FALL = 4.0, 0.1
"""Factors of `mu` after a step that is taken back, and after one whose gain was foretold."""


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
    scale: Any
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
    first = _State(unknown, jnp.asarray(1e-2, start.dtype), jnp.full_like(start, 1e-12), start, 0)

    def evaluate(x: Any) -> tuple[Any, Any]:
        found = residuals(x)
        return found, found

    def step(state: _State) -> _State:
        best, damping, scale, x, count = state
        jacobian, here = jax.jacfwd(evaluate, has_aux=True)(x)
        cost = jnp.where(jnp.isfinite(jacobian).all(), here @ here, jnp.inf)
        better = cost < best.cost
        small = better & (damping < 1) & (best.cost - cost < TOLERANCE * best.cost)
        foretold = best.cost - jnp.sum((best.residuals + best.jacobian @ (x - best.coordinates)) ** 2)
        factor = jnp.maximum(FALL, 1 - (2 * (best.cost - cost) / foretold - 1) ** 3)
        damping = jnp.where(better, damping * jnp.where(count > 0, factor, 1.0), damping * RISE)
        reached = Minimum(x, cost, here, jacobian, small)
        kept = best._replace(converged=jnp.isfinite(best.cost) & (damping > MOST_DAMPING))
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), reached, kept)
        normal = best.jacobian.T @ best.jacobian
        scale = jnp.maximum(scale, jnp.diag(normal))
        change = -jnp.linalg.solve(normal + damping * jnp.diag(scale), best.jacobian.T @ best.residuals)
        change = change * jnp.minimum(1.0, LARGEST_STEP / jnp.maximum(jnp.max(abs(change)), 1e-30))
        return _State(best, damping, scale, best.coordinates + change, count + 1)

    def going(state: _State) -> Any:
        return (state.count < steps) & ~state.best.converged & ((state.count == 0) | jnp.isfinite(state.best.cost))

    return jax.lax.while_loop(going, step, first).best
