"""How many directions carry a norm: of many the norm is the same in every run."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nqmjax._tools import check_batch_size, check_values, is_traced, numeric, require
from nqmjax.nonlinear.law import layer_totals
from nqmjax.problem import NoisyQuadratic, check_problem


def participation(problem: NoisyQuadratic, batch_size: Any, second_moments: Any = None) -> np.ndarray:
    r"""How many directions carry the squared gradient of a layer, `(sum w x)^2 / sum w x^2`, `x = h^2 s + c / B`.

    The norm of a gradient that many carry is the same in every run; see `strides` for what it is along a run.

    Args:
      problem: the quadratic; of several layers the one with the fewest counts.
      batch_size: examples per update.
      second_moments: `s = E theta^2` at the point in question, shape `(n,)`; None takes the start, `problem.initial`.

    Returns:
      array of the shape of `batch_size`; inf where there is no gradient.

    Raises:
      ValueError: an argument is out of its range, or traced.

    >>> from nqmjax import power_law
    >>> participation(power_law(10_000), [1, 2**20]).round(1)
    array([25.5,  2.5])

    Source: the inverse participation ratio (Thouless 1974).
    """
    check_problem(problem)
    check_batch_size(batch_size)
    require(not is_traced(problem, batch_size, second_moments), "problem", "traced", "call this outside jit, vmap and grad")
    moments = numeric("second_moments", problem.initial if second_moments is None else second_moments)
    shape = np.shape(problem.curvature)
    require(moments.shape == shape, "the shape of second_moments", moments.shape, f"give {shape[0]}, one a direction")
    valid = np.isfinite(moments) & (moments >= 0)
    check_values("second_moments", moments, valid, "give finite values that are not negative")
    inverse = 1 / numeric("batch_size", batch_size)
    return fewest_carriers(
        problem, np.asarray(problem.curvature) ** 2 * moments + np.asarray(problem.noise) * inverse[..., None]
    )


def of_gradients(problem: NoisyQuadratic, batch_size: Any) -> np.ndarray:
    """At the start, or where noise is all that is left of the gradient, if that is less."""
    return np.minimum(participation(problem, batch_size), fewest_carriers(problem, problem.noise))


def fewest_carriers(problem: NoisyQuadratic, squares: Any) -> np.ndarray:
    """The participation of `squares`, shape `S + (n,)`, in the layer in which it is smallest, shape `S`; inf of zeros."""
    names, place = problem.layers
    weighted = np.asarray(problem.count) * squares
    sums, fourth = (
        np.stack([values[..., place == number].sum(-1) for number in range(len(names))])
        for values in (weighted, weighted * squares)
    )
    return np.divide(sums**2, fourth, out=np.full(fourth.shape, np.inf), where=fourth > 0).min(0)


def carriers_of(problem: Any, squares: Any) -> jax.Array:
    """`fewest_carriers` of one set of squares, traced."""
    fourth = layer_totals(problem, squares**2)
    return jnp.where(fourth > 0, layer_totals(problem, squares) ** 2 / jnp.where(fourth > 0, fourth, 1), jnp.inf).min()
