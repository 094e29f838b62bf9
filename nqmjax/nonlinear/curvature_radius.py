r"""Curvature-based learning rates for optax: each parameter's own radius of curvature, and the diagonal of a Hessian for it."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from nqmjax._tools import is_traced, own_arithmetic, require, whole
from nqmjax.nonlinear.layer_rates import aligned, check_not_negative, check_parameters, stateless, wide
from nqmjax.nonlinear.monte_carlo import as_key

CHUNK = 64
"""Columns of the Hessian that are computed together."""


class HessianDiagonal(NamedTuple):
    """The diagonal of a Hessian, and how far off its estimate is."""

    diagonal: Any
    """Second derivatives, a tree like the parameters, in float32 at least."""
    standard_error: Any
    """Their standard errors, a tree like the parameters: 0 where the diagonal is exact."""


def hessian_diagonal(
    loss: Callable[[Any], jax.Array], params: Any, *, probes: int | None = None, key: Any = None
) -> HessianDiagonal:
    r"""The diagonal of the Hessian of a loss, exactly or by Hutchinson's estimator with its measured standard error.

    Exactly, it takes one Hessian-vector product for each parameter: right up to some ten thousand of them. With `probes`, it
    is the mean of `z * (H z)` over vectors `z` of random signs, whose entry `i` has the variance
    `sum_{j != i} H_ij^2 / probes`. That is much where the Hessian is not nearly diagonal: on a small network 16 probes had an
    error of 90%, 256 one of 22%.

    Call it under `jax.jit`, or it compiles anew each time.

    Args:
      loss: function of the parameters that returns one number; its batch is its own affair.
      params: tree of floating-point arrays, `n` numbers in all.
      probes: number of random vectors, at least 2; None for the exact diagonal.
      key: a whole number or a JAX key, for probes.

    Raises:
      ValueError: an argument is out of its range, the loss is not one number, or the tree has no parameters.

    >>> import numpy as np
    >>> loss = lambda w: (w["a"] ** 3).sum() + w["a"][0] * w["b"]
    >>> w = {"a": jnp.array([1.0, 2.0]), "b": jnp.array(3.0)}
    >>> hessian_diagonal(loss, w).diagonal["a"].tolist()
    [6.0, 12.0]
    >>> estimate = jax.jit(lambda w, key: hessian_diagonal(loss, w, probes=100, key=key))(w, jax.random.key(0))
    >>> np.asarray(estimate.standard_error["a"]).round(1)  # sqrt(1 / 100), and nothing beside the diagonal
    array([0.1, 0. ], dtype=float32)

    Source: Bekas, Kokiopoulou & Saad 2007 (the estimator).
    """
    check_parameters(params)
    require(callable(loss), "loss", loss, "give a function of the parameters")
    shape = jax.eval_shape(loss, params)
    require(getattr(shape, "shape", None) == (), "the shape of loss(params)", shape, "give a loss that returns one number")
    if probes is not None:
        probes = whole("probes", probes, least=2)
        key = key if is_traced(key) else as_key(key)
    with own_arithmetic():
        flat, unravel = ravel_pytree(jax.tree.map(lambda leaf: wide(leaf)[0], params))

        def loss_of(vector: jax.Array) -> jax.Array:
            return loss(jax.tree.map(lambda value, leaf: value.astype(jnp.result_type(leaf)), unravel(vector), params))

        _, product = jax.linearize(jax.grad(loss_of), flat)
        like = (flat.size, flat.dtype)
        found = _exact(product, *like) if probes is None else _hutchinson(product, *like, probes, key)
        return HessianDiagonal(*map(unravel, found))


def scale_by_curvature_radius(
    hessian_diagonal: Callable[[Any], Any] | None = None, *, damping: Any = 0.01, weight_decay: Any = 0.0
) -> optax.GradientTransformationExtraArgs:
    r"""Scale each gradient by the radius of curvature of the loss along its parameter.

    The update of a parameter with gradient `g` and second derivative `h` is `g (1 + g^2)^(3/2) / (|h| + damping)`. Weight
    decay is that of the loss with `(beta / 2) |w|^2` added: `g + beta w` for `g`, `h + beta` for `h`. Directions without
    curvature, and estimates by chance near 0, need the damping: about the error of the diagonal, 0.01 to 0.1 on small networks.
    Where the factor is infinite (no curvature and no damping, gradients whose cube overflows) it is 1; a second derivative
    that is NaN makes the update NaN.

    The diagonal comes from the function given here, at each update anew, or from the argument `hessian_diagonal` of `update`,
    which goes before: for a diagonal of this batch, with new probes, or kept for some updates.

    Args:
      hessian_diagonal: function of the parameters that returns the diagonal, a tree like them, or a `HessianDiagonal`. Name it
        in the `static_args` of `optax.inject_hyperparams`, which takes functions for schedules.
      damping: 0 or more, in units of curvature.
      weight_decay: `beta`, 0 or more, in units of curvature.

    Returns:
      optax transformation without state, to be followed by `optax.scale_by_learning_rate`; `update` needs the parameters.

    Raises:
      ValueError: an argument is out of its range, there is no diagonal or one of another shape, or the transformation is
        applied to a tree without parameters.

    >>> import numpy as np
    >>> w, g = np.array([1.0, -1.0]), np.array([2.0, -0.5])
    >>> method = scale_by_curvature_radius(lambda w: np.array([2.0, 0.5]), damping=0.0)
    >>> np.asarray(method.update(g, method.init(w), w)[0]).round(3)  # 2 * 5^1.5 / 2 and -0.5 * 1.25^1.5 / 0.5
    array([11.18 , -1.398], dtype=float32)
    >>> method = scale_by_curvature_radius()
    >>> np.asarray(method.update(g, method.init(w), w, hessian_diagonal=np.array([1.99, 0.49]))[0]).round(3)
    array([11.18 , -1.398], dtype=float32)

    Source: Gao & Zhong 2020, eqs. 9 to 11 (CBLR).
    """
    require(
        hessian_diagonal is None or callable(hessian_diagonal),
        "hessian_diagonal",
        hessian_diagonal,
        "give a function of the parameters here, a diagonal itself to `update`",
    )
    check_not_negative("damping", damping)
    check_not_negative("weight_decay", weight_decay)
    scale = functools.partial(_scaled, damping=damping, weight_decay=weight_decay)

    def update(updates: Any, params: Any, **given: Any) -> Any:
        diagonal = given.get("hessian_diagonal")
        if diagonal is None and hessian_diagonal is not None:
            diagonal = hessian_diagonal(params)
        require(diagonal is not None, "hessian_diagonal", None, "give a function of the parameters, or it to `update`")
        diagonal = diagonal.diagonal if isinstance(diagonal, HessianDiagonal) else diagonal
        return jax.tree.map(scale, updates, params, diagonal)

    return stateless(update)


def _scaled(gradient: Any, weight: Any, curvature: Any, damping: Any, weight_decay: Any) -> jax.Array:
    g, w, h = aligned(gradient=gradient, weight=weight, curvature=curvature)
    beta = jnp.asarray(weight_decay, g.dtype)
    g, h = g + beta * w, jnp.abs(h + beta) + jnp.asarray(damping, g.dtype)
    radius = (1 + g**2) ** 1.5 / jnp.where(h == 0, 1, h)
    return (g * jnp.where((h == 0) | jnp.isinf(radius), 1, radius)).astype(jnp.result_type(gradient))


def _exact(product: Callable[[jax.Array], jax.Array], size: int, dtype: Any) -> tuple[jax.Array, jax.Array]:
    """The diagonal of the matrix whose products with vectors are given, and its error."""

    def entry(i: jax.Array) -> jax.Array:
        return product(jnp.zeros(size, dtype).at[i].set(1))[i]

    diagonal = jax.lax.map(entry, jnp.arange(size), batch_size=min(size, CHUNK))
    return diagonal, jnp.zeros(size, dtype)


def _hutchinson(
    product: Callable[[jax.Array], jax.Array], size: int, dtype: Any, probes: int, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Mean and standard error over probes, one probe at a time."""

    def add(carry: tuple[jax.Array, jax.Array], probe: jax.Array) -> tuple[tuple[jax.Array, jax.Array], None]:
        mean, squares = carry
        signs = jax.random.rademacher(jax.random.fold_in(key, probe), (size,), dtype)
        sample = signs * product(signs)
        new = mean + (sample - mean) / (probe + 1)
        return (new, squares + (sample - mean) * (sample - new)), None

    zeros = jnp.zeros(size, dtype)
    (mean, squares), _ = jax.lax.scan(add, (zeros, zeros), jnp.arange(probes))
    return mean, jnp.sqrt(squares / (probes - 1) / probes)
