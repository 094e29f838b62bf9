r"""Optimizers that are not linear in the gradient, followed through the law of each direction.

The directions of a group are independent copies of each other, so that the risk of many of them is an expectation under the
law of one. A *closure* keeps some moments of that law and says how one update changes them.
"""

from typing import Any

from nqmjax.optimizers.base import Optimizer


class MeanFieldOptimizer(Optimizer):
    """Base class of optimizers that are followed through moments, one update at a time; the closures are in `nonlinear`.

    Within these methods the problem's arrays have shape `(n,)` and hyperparameters are numbers, any of them traced.
    """

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
