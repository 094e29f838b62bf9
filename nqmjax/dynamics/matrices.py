"""Algebra of very small matrices, one for each direction.

A matrix has shape `(m, m, ...)` and a vector `(m, ...)`: the short axes come first and are unrolled, so that the long
ones, directions and hyperparameters, are what the processor vectorizes. `increment` always stands for `A - I`.
"""

from functools import reduce
from operator import add

import jax
import jax.numpy as jnp


def product(a: jax.Array, b: jax.Array) -> jax.Array:
    """`A B`, matrix times matrix."""
    return reduce(add, (a[:, k, None] * b[None, k] for k in range(len(b))))


def dot(x: jax.Array, y: jax.Array) -> jax.Array:
    """`x . y`."""
    return reduce(add, (a * b for a, b in zip(x, y, strict=True)))


def outer(x: jax.Array) -> jax.Array:
    """`x x^T`."""
    return x[:, None] * x[None]


def act(matrix: jax.Array, x: jax.Array) -> jax.Array:
    """`M x`."""
    return reduce(add, (matrix[:, k] * x[k] for k in range(len(x))))


def apply(increment: jax.Array, x: jax.Array) -> jax.Array:
    """`A x`."""
    return x + act(increment, x)


def solve(matrix: jax.Array, right: jax.Array) -> jax.Array:
    """`x` with `M x = right`, by elimination in the order of the rows: not finite where a pivot vanishes."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for i, pivot in enumerate(rows):
        for j in range(i + 1, len(rows)):
            factor = rows[j][i] / pivot[i]
            rows[j] = [entry - factor * above for entry, above in zip(rows[j], pivot, strict=True)]
    x: list[jax.Array] = []
    for i, row in reversed(list(enumerate(rows))):
        known = zip(row[i + 1 : -1], x, strict=True)
        x.insert(0, (row[-1] - sum(entry * value for entry, value in known)) / row[i])
    return jnp.stack(x)


def square(increment: jax.Array) -> jax.Array:
    """The increment of `A^2`, `2 (A - I) + (A - I)^2`: exact to rounding however small `A - I` is."""
    return 2 * increment + product(increment, increment)


def sandwich(increment: jax.Array, inner: jax.Array) -> jax.Array:
    """`A P A^T` for symmetric `P`."""
    half = inner + product(inner, transpose(increment))
    return half + product(increment, half)


def plus_unit(increment: jax.Array) -> jax.Array:
    """`A` itself."""
    return increment + unit_like(increment)


def unit_like(matrix: jax.Array) -> jax.Array:
    """`I`, with as many axes."""
    return jnp.expand_dims(jnp.eye(len(matrix), dtype=matrix.dtype), tuple(range(2, matrix.ndim)))


def squared_size(matrix: jax.Array) -> jax.Array:
    """Squared size of `M` in each direction, whatever the units of the state variables: the largest `|M_ij M_ji|`."""
    return jnp.abs(matrix * transpose(matrix)).max((0, 1))


def transpose(matrix: jax.Array) -> jax.Array:
    """`M^T`."""
    return jnp.swapaxes(matrix, 0, 1)


def quadratic(inner: jax.Array, x: jax.Array) -> jax.Array:
    """`x^T P x` for symmetric `P`."""
    squares = reduce(add, (inner[i, i] * (x[i] * x[i]) for i in range(len(x))))
    mixed = (inner[i, j] * (2 * x[i] * x[j]) for i in range(len(x)) for j in range(i))
    return reduce(add, mixed, squares)
