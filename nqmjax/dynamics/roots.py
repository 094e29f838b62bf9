r"""Whether a map is stable, decided by the coefficients of its characteristic polynomial and not by its powers.

`q(s) = det(s I - (A - I))` has the roots `s = z - 1`, `z` the eigenvalues of `A`. The disc `|z| < 1` is the half plane
`Re w < 0` in `z = (1 + w) / (1 - w)`, where

    (1 - w)^m q(2 w / (1 - w)) = sum_k 2^k q_k w^k (1 - w)^(m - k),

whose roots lie there if and only if the first column of its Routh array is positive. Powers of `A` are no judge: near a
double eigenvalue of -1 a rounding `eps` of a matrix moves the modulus by `sqrt(eps)`, and `2^62` updates make that a growth.
Starting from `A - I` keeps roots near 1 apart from it, whatever slow they are.
"""

from functools import reduce
from math import comb
from operator import add

import jax
import jax.numpy as jnp

from nqmjax.dynamics.matrices import product, unit_like

ROUNDING = 8
"""How far above 1 a modulus may come out that is 1, in units of the rounding."""


def unstable(increment: jax.Array) -> jax.Array:
    """Whether the powers of `I + increment`, shape `(m, m, ...)`, grow without bound; at the very edge they do not."""
    tiny = ROUNDING * jnp.finfo(increment.dtype).eps
    unit = unit_like(increment)
    first = _routh(_half_plane(_characteristic((increment - tiny * unit) / (1 + tiny), unit)))
    return ~reduce(jnp.logical_and, (entry > 0 for entry in first))


def _characteristic(matrix: jax.Array, unit: jax.Array) -> list[jax.Array]:
    """Coefficients `q_0 .. q_m = 1` of `det(s I - matrix)`, by Faddeev and LeVerrier."""
    size, minors = len(matrix), jnp.broadcast_to(unit, matrix.shape)
    coefficients = [jnp.ones_like(matrix[0, 0])]
    for k in range(1, size + 1):
        minors = product(matrix, minors)
        coefficients.append(-reduce(add, (minors[i, i] for i in range(size))) / k)
        minors = minors + coefficients[-1] * unit
    return coefficients[::-1]


def _half_plane(coefficients: list[jax.Array]) -> list[jax.Array]:
    """Coefficients of `sum_k 2^k q_k w^k (1 - w)^(m - k)`, from `w^0` to `w^m`."""
    degree = len(coefficients) - 1
    return [
        reduce(add, (2**k * comb(degree - k, j - k) * (-1) ** (j - k) * coefficients[k] for k in range(j + 1)))
        for j in range(degree + 1)
    ]


def _routh(coefficients: list[jax.Array]) -> list[jax.Array]:
    """The first column of the Routh array."""
    upper, lower = coefficients[::-1][::2], coefficients[::-1][1::2]
    column = [upper[0]]
    while lower:
        column.append(lower[0])
        ratio, padded = upper[0] / lower[0], [*lower[1:], *[jnp.zeros_like(lower[0])] * (len(upper) - len(lower))]
        upper, lower = lower, [above - ratio * below for above, below in zip(upper[1:], padded, strict=False)]
    return column
