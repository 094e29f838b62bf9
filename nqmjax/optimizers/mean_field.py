r"""Optimizers that are not linear in the gradient, followed through the law of each direction.

The directions of a group are independent copies of each other, so that the risk of many of them is an expectation under the
law of one. A *closure* keeps some moments of that law and says how one update changes them.
"""

from typing import Any, ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np

from nqmjax.optimizers.base import Optimizer


class Stride(NamedTuple):
    """What gradient and update are like along each direction in one update, arrays of shape `(n,)`.

    `gradient` is `E|g|` and `slope` its derivative by `log B` at a given law of the parameter, `signal` is `h^2 E theta^2`,
    `update` is `E|theta' - theta|`, and `overlap` is `E xi (theta' - theta)` with the noise `xi` of the gradient.
    """

    gradient: jax.Array
    slope: jax.Array
    signal: jax.Array
    update: jax.Array
    overlap: jax.Array

    @classmethod
    def gaussian(cls, signal: Any, noise: Any, update_squares: Any, overlap: Any) -> Self:
        """Of a gradient of mean square `signal + noise` and an update that are normal around 0."""
        deviation, mean = jnp.sqrt(signal + noise), (2 / jnp.pi) ** 0.5
        slope = -0.5 * mean * noise / jnp.where(deviation > 0, deviation, 1)
        return cls(mean * deviation, slope, signal, mean * jnp.sqrt(update_squares), overlap)


class MeanFieldOptimizer(Optimizer):
    """Base class of optimizers that are followed through moments, one update at a time; the closures are in `nonlinear`.

    Within these methods the problem's arrays have shape `(n,)` and hyperparameters are numbers, any of them traced. Only the
    last two look at values.
    """

    nodes = 1
    """Points over the start at which the law is followed; a subclass that has more of them makes a static field of it."""

    rate_units: ClassVar[str] = "those of the parameters, each of which an update moves by about the rate"

    leaps = False
    """Whether the class declares `leap`."""

    def start(self, problem: Any) -> Any:
        """Moments before the first update, a pytree of arrays."""
        raise NotImplementedError(f"{type(self).__name__} must declare start(self, problem)")

    def update(self, problem: Any, moments: Any, inverse_batch: Any, step: Any) -> Any:
        """Moments after one more update, `step` updates (a float) having been made before it."""
        raise NotImplementedError(f"{type(self).__name__} must declare update(self, problem, moments, inverse_batch, step)")

    def leap(self, problem: Any, moments: Any, inverse_batch: Any, step: Any, level: Any) -> tuple[Any, Any]:
        """Moments after `2^level` more updates at once, and an estimate of the error of `squares`, shape `(n,)`."""
        arguments = "self, problem, moments, inverse_batch, step, level"
        raise NotImplementedError(f"{type(self).__name__} must declare leap({arguments})")

    def squares(self, moments: Any) -> Any:
        """`E theta^2` of each group, shape `(n,)`."""
        raise NotImplementedError(f"{type(self).__name__} must declare squares(self, moments)")

    def stride(self, problem: Any, moments: Any, inverse_batch: Any, step: Any) -> Stride:
        """What gradient and update are like in the update that `update` with the same arguments makes."""
        raise NotImplementedError(f"{type(self).__name__} must declare stride(self, problem, moments, inverse_batch, step)")

    def carriers(self, problem: Any, moments: Any, inverse_batch: Any) -> Any:
        """The number of directions that carry the norms on which the next update rests, a number; None without norms."""
        return None

    def rate_scale(self, problem: Any) -> float:
        """A learning rate whose update is about as long as the start, counted by its part in the risk."""
        part = np.asarray(problem.count) * np.asarray(problem.curvature)
        return float(np.sqrt((part * np.asarray(problem.initial)).sum() / part.sum())) or 1.0

    def participation(self, problem: Any, batch_size: Any) -> np.ndarray | None:
        """The same at the start or among noise, whichever is less, of the shape of `batch_size`."""
        return None
