r"""Optimizers whose updates repeat with a period: inner updates, and after every `period` of them an outer one.

The outer optimizer keeps slow weights `phi`. After each `period` inner updates it takes their distance from the inner
iterate, `phi - theta`, for a gradient, and the inner iterate goes on from where it arrives. All else that the inner
optimizer keeps, momentum say, is kept. The scored iterate is the inner one, at and between synchronisations; right after
one it is `phi`.

Along a direction that is `x' = A x + b xi` for an update and `x' = S x` for a synchronisation, which follows after every
`period`-th update and belongs to it: `steps` count inner updates.
"""

import dataclasses
from typing import Any, Self

import numpy as np

from nqmjax._tools import check_values, is_traced, numeric, require, shown
from nqmjax.optimizers.base import LinearOptimizer, Optimizer, State, is_anchored
from nqmjax.optimizers.methods import SGD
from nqmjax.optimizers.wrappers import Averaged, Preconditioned


class PeriodicOptimizer(Optimizer):
    """Base class of optimizers that synchronise with slow weights every `period` updates."""

    inner: LinearOptimizer

    @property
    def slow(self) -> LinearOptimizer:
        """The optimizer of the slow weights."""
        raise NotImplementedError(f"{type(self).__name__} must declare slow")

    def initial(self, theta: Any) -> State:
        """State at the start: that of the inner optimizer, then that of the outer one."""
        return *self.inner.initial(theta), *self.slow.initial(theta)

    def change(self, state: State, gradient: Any) -> State:
        """Change of each state variable in one inner update."""
        inner, outer = self.parts(state)
        return *self.inner.change(inner, gradient), *(0.0 for _ in outer)

    def synchronise(self, state: State) -> State:
        """Change of each state variable in a synchronisation."""
        inner, outer = self.parts(state)
        distance = outer[0] - inner[0]
        change = self.slow.change(outer, distance)
        return distance + change[0], *(0.0 for _ in inner[1:]), *change

    def parts(self, state: State) -> tuple[State, State]:
        """The states of the inner and of the outer optimizer."""
        size = len(self.inner.initial(0.0))
        return tuple(state[:size]), tuple(state[size:])

    def read(self, state: State) -> Any:
        """The iterate whose loss is scored: the inner one."""
        return self.inner.read(self.parts(state)[0])

    def gradient_scale(self, curvature: Any) -> Any:
        """Factor on the gradient along each direction, the inner optimizer's."""
        return self.inner.gradient_scale(curvature)

    def along(self, curvature: Any) -> Self:
        """The optimizer along directions of this curvature; the outer one is the same along all."""
        return dataclasses.replace(self, inner=self.inner.along(curvature))  # pyright: ignore[reportArgumentType]

    @property
    def noise_scale(self) -> Any:
        """Factor on the gradient noise."""
        return 1.0

    @property
    def effective_learning_rate(self) -> Any:
        """That of the inner optimizer."""
        return self.inner.effective_learning_rate


class Lookahead(PeriodicOptimizer):
    r"""Lookahead: after `period` updates of `inner`, the slow weights go the share `pull` of the way to the fast ones.

    `phi' = phi + pull (theta - phi)`, `theta' = phi'`. The inner state is kept, as by `optax.lookahead` by default. The fast
    weights are scored, which are the slow ones right after a synchronisation (optax scores the slow ones throughout).

    >>> from nqmjax import SGD, power_law, risk_curve
    >>> optimizer = Lookahead(SGD(0.5), period=5, pull=0.5)
    >>> risk_curve(power_law(100), optimizer, batch_size=16, num_steps=1000)[[0, 5, 1000]].round(4)
    array([2.5937, 1.7187, 0.0198])

    Source: Zhang, Lucas, Hinton & Ba 2019, "Lookahead optimizer: k steps forward, 1 step back", algorithm 1.
    """

    period: Any
    pull: Any

    @property
    def slow(self) -> LinearOptimizer:
        """Gradient descent of rate `pull`."""
        return SGD(self.pull)


class LocalSGD(PeriodicOptimizer):
    r"""Local SGD: `workers` copies run `inner` alone for `period` updates, then `outer` moves all to one point.

    Each worker takes batches of `batch_size` examples, so that an update takes `workers batch_size` in all. The outer
    gradient is the distance of the slow weights from the mean of the workers; `SGD(1.0)` is plain averaging. Every worker
    keeps its own inner state, momentum say. The mean of the workers is scored.

    The mean needs no more than one copy: worker `i` follows `x_i' = A x_i + b xi_i` with independent noise of variance
    `c / B`, so that the mean of `k` follows the same recursion, `x' = A x + b xi`, with noise of variance `c / (k B)`; and a
    synchronisation, linear and the same for all, takes means to means. So between synchronisations this is synchronous
    training with batches of `k B`, exactly, and with plain averaging throughout: there the period does not matter. That ends
    where the noise depends on the parameter, where curvature does, and for the loss of single workers, which stray from the
    mean.

    >>> from nqmjax import SGD, Nesterov, power_law, risk_curve
    >>> optimizer = LocalSGD(SGD(0.5), Nesterov(0.7, 0.9), period=10, workers=8)
    >>> risk_curve(power_law(100), optimizer, batch_size=16, num_steps=1000)[[0, 10, 1000]].round(4)
    array([2.5937, 0.8201, 0.0163])

    Source: Stich 2019, "Local SGD converges fast and communicates little"; with an outer Nesterov, Douillard et al. 2023,
    "DiLoCo".
    """

    outer: LinearOptimizer
    period: Any
    workers: Any

    @property
    def slow(self) -> LinearOptimizer:
        """The outer optimizer."""
        return self.outer

    @property
    def noise_scale(self) -> Any:
        """That of a mean of so many."""
        return self.workers**-0.5


def check_periods(optimizer: PeriodicOptimizer) -> None:
    """Raise `ValueError` for a period, a pull or a number of workers out of its range, or an outer optimizer that cannot be."""
    for name, value in vars(optimizer).items():
        if isinstance(value, LinearOptimizer) or is_traced(value):
            continue
        require(not isinstance(value, dict | None), name, value, "give a number or an array of numbers")
        found = numeric(name, value)
        if name == "pull":
            check_values(name, found, (found > 0) & (found <= 1), "give a value above 0, at most 1")
        else:
            valid = (found >= 1) & (found == np.floor(found)) & (found < 2**31)
            check_values(name, found, valid, "give whole numbers of at least 1")
    plain = not isinstance(optimizer.slow, Averaged | Preconditioned) and not is_anchored(optimizer.slow)
    remedy = "it has no curvature, average or start of its own: give SGD, HeavyBall or Nesterov"
    require(plain, "outer", shown(optimizer.slow), remedy)
