r"""Lanczos tridiagonalisation with full reorthogonalisation, beside directions that are known already.

`m` products of a symmetric matrix `A` with vectors give `A Q = Q T + r e_m^T` with orthonormal rows of `Q^T` and a tridiagonal
`T`, whose eigenvalues `theta_j` and first components `s_j` make a Gauss quadrature of the spectrum that the start `z` sees:
`z^T f(A) z = |z|^2 sum_j s_j^2 f(theta_j)`, exactly for polynomials `f` of degree up to `2m - 1`. The Ritz vectors are
`y_j = Q s_j`, and `|A y_j - theta_j y_j|` is `|r|` times the last component of `s_j`.

This is our own loop because a space may be exhausted before `m` products (few parameters, a matrix of low rank). It ends there;
matfree 0.6 goes on with what rounding leaves and returns eigenvalues that the matrix does not have. It also runs one product at
a time, so that progress shows, and keeps clear of `known` directions.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nqmjax._tools import require

EXHAUSTED = 100
"""Roundings by which the rest of a product may be off 0 and count as 0."""


class Ritz(NamedTuple):
    """Eigenvalues of `T`, the squared first components of its eigenvectors, the Ritz vectors and their residuals."""

    values: np.ndarray
    """Shape `(k,)`, ascending, `k` at most the number of steps; 0 of them for a start that is nothing but known directions."""
    weights: np.ndarray
    """Shape `(k,)`; they sum to 1."""
    vectors: np.ndarray
    """Shape `(k, P)`, orthonormal."""
    residuals: np.ndarray
    """Shape `(k,)`."""
    square_norm: float
    """That of the start, without the known directions."""


def lanczos(product: Callable[[jax.Array], jax.Array], start: jax.Array, steps: int, known: np.ndarray | None = None) -> Ritz:
    """Ritz values and vectors of a symmetric matrix on the space spanned by a start and its products.

    Args:
      product: the matrix times a vector of shape `(P,)`.
      start: vector, shape `(P,)`.
      steps: number of products at most.
      known: at most `steps` orthonormal vectors, shape `(k, P)`, to which all others are kept orthogonal.
    """
    before = 0 if known is None else len(known)
    rows = np.zeros((2 * steps, start.size), start.dtype)  # as many whatever is known: one shape, one program
    rows[:before] = 0 if known is None else known
    basis, steps = jnp.asarray(rows), min(steps, start.size - before)
    vector, whole, length = _orthogonal(basis, start, start)
    small = EXHAUSTED * float(jnp.finfo(start.dtype).eps)
    square_norm = float(length) ** 2 if float(length) > small * float(whole) ** 0.5 else 0.0
    diagonal, beside = [], [float(length)]
    for step in range(steps if square_norm else 0):
        basis, unit = _placed(basis, before + step, vector, beside[-1])
        vector, along, length = _orthogonal(basis, product(unit), unit)
        remedy = "the second derivative of the loss is not finite here, as that of a norm or a root at 0"
        require(bool(np.isfinite(along)), "a product of the curvature with a vector", float(along), remedy)
        diagonal.append(float(along))
        beside.append(float(length))
        if beside[-1] <= small * max(map(abs, diagonal + beside[1:])):
            break
    off = beside[1 : len(diagonal)]
    values, components = np.linalg.eigh(np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1))
    vectors = components.T.astype(start.dtype) @ np.asarray(basis)[before : before + len(diagonal)]
    last = components[-1] if diagonal else np.zeros(0)
    return Ritz(values, components[:1].sum(0) ** 2, vectors, beside[-1] * np.abs(last), square_norm)


@functools.partial(jax.jit, donate_argnums=0)
def _placed(basis: jax.Array, row: int, vector: jax.Array, length: float) -> tuple[jax.Array, jax.Array]:
    """The basis with a vector of unit length in a row, and that vector."""
    unit = vector / length
    return basis.at[row].set(unit), unit


@jax.jit
def _orthogonal(basis: jax.Array, vector: jax.Array, unit: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """What is orthogonal to the rows of the basis, some of which may be 0; its component along `unit` before; its length."""
    along = vector @ unit
    for _ in range(2):  # once leaves what rounding leaves
        vector = vector - (basis @ vector) @ basis
    return vector, along, jnp.linalg.norm(vector)
