"""Stability of an optimizer along a direction: the spectral radius of its map, and the largest stable learning rate."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nqmjax._tools import check_values, evaluate, numeric, require
from nqmjax.dynamics.model import unit_plus
from nqmjax.dynamics.periodic import map_of_period
from nqmjax.dynamics.twofold import product
from nqmjax.optimizers import (
    LinearOptimizer,
    PeriodicOptimizer,
    check_linear,
    check_optimizer,
    hyperparameters,
    is_anchored,
    linear_system,
)

ROUNDING = 2.0**-50
"""How far a spectral radius of 1 may come out above 1."""

RATES = 18
"""Rates that are tried at once in the search for the largest stable one."""


def spectral_radius(optimizer: LinearOptimizer | PeriodicOptimizer, curvature: Any) -> Any:
    """Largest modulus of the eigenvalues of `A(h)`: below 1 the direction converges, above 1 it diverges.

    Found by repeated squaring in twice the precision, so that roots that coincide cost no digits. The eigenvalue 1 of what
    never changes, the start to which weight decay pulls, does not count: the direction converges to where it rests.

    Of an optimizer with a period it is the root of that of a whole period, per update.

    Args:
      optimizer: hyperparameters of any shape `S`.
      curvature: `h`, a number or shape `(n,)`.

    Returns:
      array of shape `S` for a number, `S + (n,)` for an array.

    Raises:
      ValueError: a hyperparameter or a curvature is out of its range.

    >>> from nqmjax import HeavyBall
    >>> round(float(spectral_radius(HeavyBall(0.1, 0.81), curvature=1.0)), 12)  # complex roots: sqrt(momentum)
    0.9
    """
    check_optimizer(optimizer)
    check_linear("spectral_radius", optimizer, periodic=True)
    values = numeric("curvature", curvature)
    check_values("curvature", values, np.isfinite(values) & (values >= 0), "give finite values that are not negative")
    radius = evaluate(_spectral_radius, optimizer, np.atleast_1d(values))
    return radius if values.ndim else radius[..., 0]


def stability_edge(optimizer: LinearOptimizer | PeriodicOptimizer, curvature: Any) -> float:
    """The learning rate above which `optimizer` diverges along a direction, its other hyperparameters as they are.

    Found by bisection on `spectral_radius(optimizer, h) <= 1`, for any linear optimizer with a `learning_rate`.

    Args:
      optimizer: scalar hyperparameters; the value of its learning rate does not matter.
      curvature: `h`, a positive number.

    Returns:
      the edge; for SGD `2 / h`, heavy ball `2 (1 + beta) / h`, Nesterov `2 (1 + beta) / (h (1 + 2 beta))`.

    Raises:
      ValueError: the optimizer has no `learning_rate`, a value is not a scalar or out of its range.

    >>> from nqmjax import Nesterov
    >>> round(stability_edge(Nesterov(0.1, 0.5), curvature=2.0), 9)
    0.75

    Source: the bounds are the Jury conditions on the characteristic polynomial of `A(h)`.
    """
    check_linear("stability_edge", optimizer, periodic=True)
    names = hyperparameters(optimizer)
    require("learning_rate" in names, "optimizer", repr(optimizer), "it has no learning_rate to find the edge of")
    require(
        np.ndim(curvature) == 0 and float(numeric("curvature", curvature)) > 0, "curvature", curvature, "give a positive number"
    )
    for name, value in names.items():
        require(np.ndim(value) == 0, f"the shape of {name}", np.shape(value), "give a scalar")

    def stable(rates: Any) -> np.ndarray:
        rates = np.broadcast_to(rates, RATES)  # always as many, so that one program answers all questions
        return spectral_radius(optimizer.replace(learning_rate=rates), curvature) <= 1 + ROUNDING

    low, high = 0.0, 1.0 / float(curvature)
    while stable(high).all() and high < 1e300:
        low, high = high, 2 * high
    while not stable(high * 0.5).all() and high > 1e-300:
        high *= 0.5
    while high - low > ROUNDING * high:
        rates = np.linspace(low, high, RATES)
        first = max(int(np.argmin(stable(rates))), 1)  # the first that is not stable
        low, high = rates[first - 1], rates[first]
    return float(low)


def steepest_curvature(optimizer: LinearOptimizer | PeriodicOptimizer, curvature: Any) -> float:
    """The curvature, shape `(n,)`, along which a growing rate diverges first: at either end where a pull is preconditioned."""
    curvature = np.asarray(curvature)
    steep = curvature * np.asarray(optimizer.gradient_scale(curvature))
    steepest = float(curvature[steep.argmax()])
    if steepest == 0 or not is_anchored(optimizer) or "learning_rate" not in hyperparameters(optimizer):
        return steepest
    flattest = float(curvature[np.where(steep > 0, steep, np.inf).argmin()])
    return min(steepest, flattest, key=lambda curvature: stability_edge(optimizer, curvature))


@jax.jit
def _spectral_radius(optimizer: LinearOptimizer | PeriodicOptimizer, curvature: Any) -> jax.Array:
    """`|A^n|^(1/n)` for `n = 2^64`, each power divided by a power of two that is kept apart."""

    def square(level: Any, carry: Any) -> Any:
        matrix, exponent = carry
        matrix = product(matrix, matrix)
        size = jnp.abs(matrix.high).max((0, 1))
        shift = jnp.where(size > 0, jnp.frexp(size)[1], 0)
        matrix = jax.tree.map(lambda part: jnp.ldexp(part, -shift), matrix)
        return matrix, exponent + jnp.ldexp(shift.astype(size.dtype), -level - 1)

    system = linear_system(optimizer, curvature)
    matrix = unit_plus(system.increment) if system.period is None else map_of_period(system)
    matrix = matrix[: system.moving, : system.moving]
    matrix, exponent = jax.lax.fori_loop(0, 64, square, (matrix, jnp.zeros_like(matrix.high[0, 0])))
    radius = jnp.where((matrix.high == 0).all((0, 1)), 0.0, jnp.exp2(exponent))
    radius = jnp.where(jnp.isnan(matrix.high).any((0, 1)), jnp.inf, radius)
    return radius if system.period is None else radius ** (1 / system.period)
