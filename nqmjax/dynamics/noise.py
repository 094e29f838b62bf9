r"""How noisy the gradient of a quadratic is: noise scales at a point of a run."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nqmjax._tools import check_choice, check_values, evaluate, is_traced, numeric, require
from nqmjax.problem import NoisyQuadratic, check_problem


def noise_scale(problem: NoisyQuadratic, second_moments: Any = None, definition: str = "B_noise") -> Any:
    r"""The batch size at which gradient noise and gradient matter alike for the next update.

    - "B_noise": `tr(H C) / (g^T H g) = sum w h c / sum w h^3 s`. The best rate of a single SGD update is
      `a_max / (1 + B_noise / B)`.
    - "B_simple": `tr C / |g|^2 = sum w c / sum w h^2 s`, the same if all curvatures were equal.

    Both grow along a run, by orders of magnitude: they say what the next update wants, not where the curve of steps to
    target bends, which `critical_batch_size` tells.

    Args:
      problem: the quadratic.
      second_moments: `E theta^2` at the point in question, shape `(..., n)`; None takes the start, `problem.initial`.
      definition: "B_noise" or "B_simple".

    Returns:
      array of the leading shape of `second_moments`; 0 without noise, inf where there is noise but no gradient.

    Raises:
      ValueError: an argument is out of its range.

    >>> from nqmjax import power_law
    >>> round(float(noise_scale(power_law(10_000))), 4), round(float(noise_scale(power_law(10_000), definition="B_simple")), 4)
    (1.3683, 5.9505)

    Source: McCandlish et al. 2018, "An empirical model of large-batch training", section 2.2.
    """
    check_problem(problem, "noise_scale")
    check_choice("definition", definition, ["B_noise", "B_simple"])
    second_moments = problem.initial if second_moments is None else second_moments
    if not is_traced(second_moments):
        second_moments = numeric("second_moments", second_moments)
    shape, size = np.shape(second_moments), np.shape(problem.curvature)[-1]
    require(shape[-1:] == (size,), "the shape of second_moments", shape, f"give {size} on the last axis, one a direction")
    if not is_traced(second_moments):
        valid = np.isfinite(second_moments) & (second_moments >= 0)
        check_values("second_moments", second_moments, valid, "give finite values that are not negative")
    return evaluate(_hessian_noise_scale if definition == "B_noise" else _simple_noise_scale, problem, second_moments)


@jax.jit
def _hessian_noise_scale(problem: NoisyQuadratic, second_moments: Any) -> jax.Array:
    return _noise_to_gradient(problem, second_moments, problem.count * problem.curvature)


@jax.jit
def _simple_noise_scale(problem: NoisyQuadratic, second_moments: Any) -> jax.Array:
    return _noise_to_gradient(problem, second_moments, jnp.asarray(problem.count))


def _noise_to_gradient(problem: NoisyQuadratic, second_moments: Any, weight: Any) -> jax.Array:
    """`sum weight c / sum weight h^2 s`."""
    noise = (weight * problem.noise).sum(-1)
    gradient = (weight * problem.curvature**2 * second_moments).sum(-1)
    ratio = noise / jnp.where(gradient > 0, gradient, 1)
    return jnp.where(gradient > 0, ratio, jnp.where(noise > 0, jnp.inf, 0))
