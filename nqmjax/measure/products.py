"""For users' own programs: products of a network's curvature with trees, and its loss on all data, chunk by chunk."""

import contextlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from nqmjax._tools import is_traced, own_arithmetic, require, whole
from nqmjax.measure.inputs import CHUNK, build, checked_data, mean_loss
from nqmjax.measure.network import Examples, over_chunks, settings


def curvature_product(
    function: Callable, params: Any, data: Any, *, loss: Any = None, matrix: str | None = None, chunk: int = CHUNK
) -> Callable[[Any], Any]:
    r"""Products of the Hessian, or of the Gauss-Newton matrix, of a mean loss with trees like the parameters.

    The Gauss-Newton matrix is the mean over examples of `J^T H_out J`, with `J` the derivative of the outputs in the parameters
    and `H_out` the Hessian of the loss in the outputs: the part of the Hessian that is never negative for a convex loss.

    Args:
      function: `loss(params, batch)`, the mean loss of a batch; or with `loss` given `apply(params, inputs)`.
      params: tree of floating-point arrays.
      data: tree of arrays whose first axis counts examples; with `loss` given a pair of inputs and targets.
      loss: "cross_entropy", "squared_error", or a function of outputs and targets that returns the mean loss of a batch.
      matrix: "hessian" or "gauss_newton"; None for the latter if `loss` is given.
      chunk: examples that are worked on together, at most.

    Returns:
      function of a tree like `params` that returns the product, a tree like it, in float32 at least.

    Raises:
      ValueError: an argument is not what it should be, see `measure`.

    >>> x = np.array([[1.0, 0.0], [1.0, 2.0]], np.float32)
    >>> product = curvature_product(lambda w, x: x @ w, jnp.zeros(2), (x, np.zeros(2, np.float32)), loss="squared_error")
    >>> product(jnp.array([1.0, 0.0])).tolist()  # the mean of x x^T is [[1, 1], [1, 2]]
    [1.0, 1.0]

    Source: Pearlmutter 1994 (Hessian); Schraudolph 2002 (Gauss-Newton).
    """
    with settings():
        network = build(function, params, data, np.random.default_rng(0), loss=loss, matrix=matrix, chunk=chunk)

    def product(tree: Any) -> Any:
        like = jax.tree.structure(tree) == jax.tree.structure(params)
        require(like and jax.tree.map(np.shape, tree) == jax.tree.map(np.shape, params), "tree", tree, "give one like params")
        full = contextlib.nullcontext() if is_traced(tree) else settings()
        with full, own_arithmetic(), jax.default_matmul_precision("highest"):
            flat, _ = ravel_pytree(jax.tree.map(lambda leaf: jnp.asarray(leaf, network.vector.dtype), tree))
            return network.unravel_wide(network.product(flat))

    return product


def dataset_loss(function: Callable, data: Any, *, loss: Any = None, chunk: int = CHUNK) -> Callable[[Any], jax.Array]:
    r"""The mean loss on all data as a function of the parameters that may be differentiated and needs the memory of a chunk.

    For what wants a function of the parameters alone, such as `nqmjax.nonlinear.hessian_diagonal`.

    Args:
      function: `loss(params, batch)`, the mean loss of a batch; or with `loss` given `apply(params, inputs)`.
      data: tree of arrays whose first axis counts examples; with `loss` given a pair of inputs and targets.
      loss: "cross_entropy", "squared_error", or a function of outputs and targets that returns the mean loss of a batch.
      chunk: examples that are worked on together, at most; intermediate values are computed again for derivatives.

    Raises:
      ValueError: an argument is not what it should be.

    >>> from nqmjax.nonlinear import hessian_diagonal
    >>> x = np.array([[1.0, 0.0], [1.0, 2.0]], np.float32)
    >>> total = dataset_loss(lambda w, x: x @ w, (x, np.zeros(2, np.float32)), loss="squared_error", chunk=1)
    >>> jax.jit(lambda w: hessian_diagonal(total, w).diagonal)(jnp.zeros(2)).tolist()
    [1.0, 2.0]
    """
    of_batch, _ = mean_loss(function, loss)
    arrays, number = checked_data(data, pair=loss is not None)
    chunk = whole("chunk", chunk)

    def total(params: Any) -> jax.Array:
        @jax.checkpoint
        def part(examples: Examples, weights: jax.Array) -> jax.Array:
            alone = jax.vmap(lambda example: of_batch(params, jax.tree.map(lambda array: array[None], example)))
            return weights @ alone(examples).astype(weights.dtype)

        with own_arithmetic():
            return over_chunks(part, jax.tree.map(jnp.asarray, arrays), jnp.full(number, 1 / number), chunk)

    return total
