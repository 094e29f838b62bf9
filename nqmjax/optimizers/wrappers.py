"""Wrappers: each changes one thing about an optimizer and is an optimizer itself, so they stack in any order."""

from typing import Any

import jax.numpy as jnp

from nqmjax.optimizers.base import LinearOptimizer, State


class Preconditioned(LinearOptimizer):
    """`optimizer` on gradients preconditioned by `P = H^power`: `g` becomes `h^-power g`, its noise included.

    `power = 0` changes nothing, `power = 1` is Newton's method. Directions without curvature are left alone.

    Source: Zhang et al. 2019, eq. 8.

    >>> from nqmjax import HeavyBall
    >>> Preconditioned(HeavyBall(0.1, 0.9), power=0.5)
    Preconditioned(optimizer=HeavyBall(learning_rate=0.1, momentum=0.9), power=0.5)
    """

    optimizer: LinearOptimizer
    power: Any

    def initial(self, theta: Any) -> State:
        return self.optimizer.initial(theta)

    def change(self, state: State, gradient: Any) -> State:
        return self.optimizer.change(state, gradient)

    def read(self, state: State) -> Any:
        return self.optimizer.read(state)

    def gradient_scale(self, curvature: Any) -> Any:
        curved = jnp.where(curvature > 0, curvature, 1.0)
        return self.optimizer.gradient_scale(curvature) * curved ** (-self.power)

    @property
    def effective_learning_rate(self) -> Any:
        return self.optimizer.effective_learning_rate


class Averaged(LinearOptimizer):
    """Exponential moving average of the iterates, `avg' = decay avg + (1 - decay) theta'`, `avg_0 = theta_0`.

    The average is scored; training itself is unchanged. `decay = 0` scores the iterate.

    Source: Zhang et al. 2019, eq. 11.

    >>> from nqmjax import SGD
    >>> Averaged(SGD(0.1), decay=0.99)
    Averaged(optimizer=SGD(learning_rate=0.1), decay=0.99)
    """

    optimizer: LinearOptimizer
    decay: Any

    def initial(self, theta: Any) -> State:
        return *self.optimizer.initial(theta), theta

    def change(self, state: State, gradient: Any) -> State:
        *inner, average = state
        change = self.optimizer.change(tuple(inner), gradient)
        lead = self.optimizer.read(tuple(inner)) - average  # apart from its change, which may be far smaller
        return *change, (1 - self.decay) * (lead + self.optimizer.read(change))

    def read(self, state: State) -> Any:
        return state[-1]

    def gradient_scale(self, curvature: Any) -> Any:
        return self.optimizer.gradient_scale(curvature)

    @property
    def effective_learning_rate(self) -> Any:
        return self.optimizer.effective_learning_rate
