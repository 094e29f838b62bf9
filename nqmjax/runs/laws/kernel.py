r"""Bias and variance of every direction under a schedule in pieces, in closed form piece by piece.

In a piece of `k` updates, a direction whose excess loss shrinks by the factor `exp(2 l)` per update has

    log bias  ->  log bias + 2 k l,        variance  ->  e^(2 k l) variance + noise (e^(2 k l) - 1) / (e^(2 l) - 1),

with `z` the rate times the curvature and `l = log |1 - z|` for updates as they are made, or `l = -z` for the gradient flow
over the same time, in which no bias ever grows. Numbers of updates need not be whole.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nqmjax.runs.laws.sums import namespace

LARGEST_GROWTH = 200.0
"""Cap on the logarithm of the growth in a piece, so that runs that explode stay finite, in float32 too after a root."""


SERIES = tuple(1 / math.factorial(power) for power in range(1, 10))
"""Coefficients of `(exp(x) - 1) / x`, to 1e-16 where `|x| < 0.1`."""


class Pieces(NamedTuple):
    """Updates in each piece, rate relative to that of the direction, and noise that an update adds, `(runs, pieces)` each."""

    steps: Any
    rate: Any
    noise: Any


def piece_sums(log_rate: Any, pieces: Pieces, discrete: bool) -> tuple[Any, Any]:
    """Logarithm of the factor by which the bias shrank, and the variance, `(runs, nodes)` each.

    Args:
      log_rate: logarithm of rate times curvature, `(runs, nodes)`.
      pieces: the schedule.
      discrete: updates as they are made, not the flow.
    """
    return (_piece_sums if namespace(log_rate, pieces) is np else _differentiable)(log_rate, pieces, discrete)


def _piece_sums(log_rate: Any, pieces: Pieces, discrete: bool) -> tuple[Any, Any]:
    xp = namespace(log_rate, pieces)
    speed = xp.exp(log_rate)
    numbers = np.finfo(speed.dtype)  # of complex ones, those of their parts
    cap = LARGEST_GROWTH if numbers.bits == 64 else LARGEST_GROWTH / 10
    least = 1e3 * math.sqrt(numbers.tiny)

    def piece(state: Any, now: Any) -> tuple[Any, None]:
        log_bias, variance = state
        steps, rate, noise = (column[:, None] for column in now)
        z = rate * speed
        log_factor = xp.log(xp.maximum(xp.where(z.real < 1, 1 - z, z - 1), 1e-30)) if discrete else -z
        exponent = xp.minimum(2 * steps * log_factor, cap)
        change, once = expm1(exponent), expm1(2 * log_factor)
        still = abs(once) < least  # its square, in the derivative, would underflow
        updates = xp.where(still, steps, change / xp.where(still, 1.0, once))
        grown = xp.minimum((1 + change) * variance + noise * updates, math.exp(cap))
        return (xp.minimum(log_bias + exponent, cap), grown), None

    start = xp.zeros_like(speed)
    if xp is jnp:
        return jax.lax.scan(piece, (start, start), jax.tree.map(jnp.transpose, pieces))[0]
    state = start, start
    for now in zip(*(column.T for column in pieces), strict=True):
        state, _ = piece(state, now)
    return state


_differentiable = jax.custom_jvp(_piece_sums, nondiff_argnums=(2,))


@functools.partial(_differentiable.defjvp, symbolic_zeros=True)
def _piece_sums_jvp(discrete: bool, primals: Any, tangents: Any) -> Any:
    """One derivative by the logarithm of the rate serves all parameters: the spectrum enters through nothing else."""
    (log_rate, pieces), (direction, pieces_direction) = primals, tangents
    unit = jnp.ones_like(log_rate)
    values, slopes = jax.jvp(lambda x: _piece_sums(x, pieces, discrete), (log_rate,), (unit,))
    changes = [0.0, 0.0] if _is_zero(direction) else [slope * direction for slope in slopes]
    if not all(_is_zero(part) for part in pieces_direction):
        given = jax.tree.map(
            lambda part, value: jnp.zeros_like(value) if _is_zero(part) else part, pieces_direction, pieces, is_leaf=_is_zero
        )
        _, more = jax.jvp(lambda x: _piece_sums(log_rate, x, discrete), (pieces,), (given,))
        changes = [change + extra for change, extra in zip(changes, more, strict=True)]
    return values, tuple(jnp.broadcast_to(change, log_rate.shape).astype(log_rate.dtype) for change in changes)


def _is_zero(tangent: Any) -> bool:
    return isinstance(tangent, jax.custom_derivatives.SymbolicZero)


def expm1(x: Any) -> Any:
    """`exp(x) - 1` to a few roundings, several times faster than XLA's.

    >>> print(expm1(np.array([-1e-9, 0.1, 1.0])))
    [-9.99999999e-10  1.05170918e-01  1.71828183e+00]
    """
    xp = namespace(x)
    series = xp.full_like(x, SERIES[-1])
    for coefficient in SERIES[-2::-1]:
        series = series * x + coefficient
    return xp.where(abs(x) < 0.1, x * series, xp.exp(x) - 1)
