r"""Methods whose rate follows a norm: normalized and clipped SGD, LARS, LAMB.

A norm couples all directions of its layer. Of many directions it hardly varies from run to run, and the method is SGD, or
Adam, with a rate that is known beforehand,

    |g|^2 = sum_i w_i (h_i^2 E theta_i^2 + c_i / B),      |theta|^2 = sum_i w_i E theta_i^2,

summed over the layer. How many directions carry a sum of squares `x` its *participation* says, `(sum x)^2 / sum x^2`:
where it is above 100 answers are within 1% of sampled ones, where it is below 30 they are 2% to 20% off. A warning speaks of
that; `risk_curve` and `strides` look along the whole run, the other questions at the start and at what is left of noise.

The weights of LARS and LAMB are `theta`, whose norm vanishes at the optimum as the gradient does: their rates adapt to the
distance from it, which those of a network, whose weights keep their norm, do not. PercentDelta and the printed median
curvature have no such limit: they divide by `g / theta` of single weights, or by medians around 0, whose distributions
have Cauchy's tails, so that no number of directions makes their rate certain. They can only be sampled.
"""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from nqmjax.nonlinear.adaptive import Adam
from nqmjax.nonlinear.law import (
    Law,
    absolute,
    at_rest,
    displaced,
    gathered,
    layer_totals,
    mean_over_starts,
    mean_squares,
    stride_of,
)
from nqmjax.nonlinear.participation import carriers_of, fewest_carriers, of_gradients
from nqmjax.optimizers import MeanFieldOptimizer, Stride


class NormCoupled(MeanFieldOptimizer):
    """What SGD with a rate that follows norms shares: `m' = beta m + gain g`, `theta' = theta - rate m'`."""

    learning_rate: Any
    momentum = 0.0

    def start(self, problem: Any) -> Law:
        return at_rest(problem, 1, momentum=True)

    def update(self, problem: Any, moments: Law, inverse_batch: Any, step: Any) -> Law:
        return displaced(*self._momentum(problem, moments, inverse_batch)[:2])

    def squares(self, moments: Law) -> jax.Array:
        return mean_squares(moments)

    def stride(self, problem: Any, moments: Law, inverse_batch: Any, step: Any) -> Stride:
        after, rate, gain = self._momentum(problem, moments, inverse_batch)
        update = absolute(-rate * after.m, rate**2 * after.m_m)[0]
        response = jnp.broadcast_to(-rate * gain, after.m.shape)
        return stride_of(problem, moments, inverse_batch, update, response)

    def _momentum(self, problem: Any, law: Law, inverse_batch: Any) -> tuple[Law, Any, Any]:
        """The law with its new momentum, the parameter still where it was, and the factors on momentum and gradient."""
        gain, rate = self.factors(problem, mean_squares(law), gradient_squares(problem, law, inverse_batch))
        return gathered(problem, law, inverse_batch, self.momentum, gain), rate, gain

    def factors(self, problem: Any, theta_squares: Any, gradient_squares: Any) -> tuple[Any, Any]:
        """`gain` and `rate`, given `E theta^2` and `E g^2` of each group."""
        raise NotImplementedError(f"{type(self).__name__} must declare factors(self, problem, theta_squares, gradient_squares)")

    def carriers(self, problem: Any, moments: Any, inverse_batch: Any) -> Any:
        return carriers_of(dataclasses.replace(problem, layer=None), gradient_squares(problem, moments, inverse_batch))

    def participation(self, problem: Any, batch_size: Any) -> np.ndarray | None:
        return of_gradients(dataclasses.replace(problem, layer=None), batch_size)

    @property
    def effective_learning_rate(self) -> Any:
        return self.learning_rate / (1 - self.momentum)


class NormalizedSGD(NormCoupled):
    r"""Normalized SGD, `m' = beta m + g / (|g| + eps)`, `theta' = theta - a m'`, with the norm of the whole gradient.

    Without momentum every update has the length `a`. `optax.chain(optax.normalize_by_update_norm(), optax.sgd(a, beta))`.

    Args:
      learning_rate: `a`, the length of an update.
      momentum: `beta`, in [0, 1).
      eps: added to the norm, not negative.

    Source: Nesterov 1984 (without noise); Cutkosky & Mehta 2020, "Momentum improves normalized SGD", algorithm 1.

    >>> from nqmjax import power_law, risk
    >>> risk(power_law(10_000, 0.25), NormalizedSGD([0.3, 1.0]), batch_size=64, steps=200).round(2)
    array([140.93,   1.37])
    """

    learning_rate: Any
    momentum: Any = 0.0
    eps: Any = 1e-6
    rate_units: ClassVar[str] = "those of the norm of all parameters, which an update moves by the rate"

    def factors(self, problem: Any, theta_squares: Any, gradient_squares: Any) -> tuple[Any, Any]:
        return _quotient(1.0, _whole_norm(problem, gradient_squares) + self.eps), self.learning_rate

    def rate_scale(self, problem: Any) -> float:
        return _start_norm(problem)


class ClippedSGD(NormCoupled):
    r"""SGD on clipped gradients, `m' = beta m + g min(1, C / |g|)`, `theta' = theta - a m'`.

    The norm is that of the whole gradient. `optax.chain(optax.clip_by_global_norm(C), optax.sgd(a, beta))`.

    Args:
      learning_rate: `a`.
      max_norm: `C`, above 0.
      momentum: `beta`, in [0, 1).

    Source: Pascanu et al. 2013, "On the difficulty of training recurrent neural networks", algorithm 1.

    >>> from nqmjax import power_law, risk
    >>> risk(power_law(10_000, 0.25), ClippedSGD(0.1, max_norm=[1.0, 10.0, 100.0]), batch_size=64, steps=200).round(2)
    array([432.33,   5.97,   5.24])
    """

    learning_rate: Any
    max_norm: Any
    momentum: Any = 0.0
    rate_units: ClassVar[str] = "1 over those of the curvature, and an update is at most the rate times the largest norm"

    def factors(self, problem: Any, theta_squares: Any, gradient_squares: Any) -> tuple[Any, Any]:
        norm = _whole_norm(problem, gradient_squares)
        return jnp.minimum(1.0, _quotient(self.max_norm, norm)), self.learning_rate

    def rate_scale(self, problem: Any) -> float:
        return max(1 / float(np.max(problem.curvature)), _start_norm(problem) / float(np.asarray(self.max_norm)))


class LARS(NormCoupled):
    r"""LARS, `m' = beta m + a g T |theta| / (|g| + eps)`, `theta' = theta - m'`, with the norms of each layer (`optax.lars`).

    The problem's `layer` names the layers; without it there is one. Without momentum an update moves each layer by the share
    `a T` of its distance from the optimum, whatever its curvature. Where a norm is 0 the ratio `T |theta| / |g|` is 1.

    Args:
      learning_rate: `a`, of which each update is that share times `T`.
      momentum: `beta`, in [0, 1).
      trust_coefficient: `T`, above 0.
      eps: added to the norm of the gradient, not negative.

    Source: You et al. 2017, "Large batch training of convolutional networks", algorithm 1.

    >>> from nqmjax import from_spectrum, risk
    >>> problem = from_spectrum([1.0, 0.1, 0.01], count=1000, noise=0, initial=[0.01, 0.1, 1], layer=["a", "b", "c"])
    >>> risk(problem, LARS(100.0, momentum=0.0), batch_size=1024, steps=[0, 10, 20]).round(2)  # 0.9^20 of the way is left
    array([15.  ,  1.82,  0.22])
    """

    learning_rate: Any
    momentum: Any = 0.9
    trust_coefficient: Any = 0.001
    eps: Any = 0.0
    rate_units: ClassVar[str] = "such that rate times trust coefficient is the share of itself by which a layer moves"

    def factors(self, problem: Any, theta_squares: Any, gradient_squares: Any) -> tuple[Any, Any]:
        weight, gradient = (jnp.sqrt(layer_totals(problem, squares)) for squares in (theta_squares, gradient_squares))
        ratio = _quotient(self.trust_coefficient * weight, jnp.where(gradient > 0, gradient + self.eps, 0))
        return self.learning_rate * ratio, 1.0

    def rate_scale(self, problem: Any) -> float:
        return 1 / float(np.asarray(self.trust_coefficient))

    def carriers(self, problem: Any, moments: Any, inverse_batch: Any) -> Any:
        gradient = carriers_of(problem, gradient_squares(problem, moments, inverse_batch))
        return jnp.minimum(gradient, carriers_of(problem, mean_squares(moments)))

    def participation(self, problem: Any, batch_size: Any) -> np.ndarray | None:
        return np.minimum(of_gradients(problem, batch_size), fewest_carriers(problem, problem.initial))


class LAMB(Adam):
    r"""LAMB, `theta' = theta - a u |theta| / |u|` with Adam's `u = m^ / (sqrt(v^) + eps)` and norms of layers (`optax.lamb`).

    The problem's `layer` names the layers; without it there is one. Each update moves a layer by the share `a` of its
    distance from the optimum. Where a norm is 0 the ratio `|theta| / |u|` is 1.

    Args:
      learning_rate: `a`, the share of itself by which a layer moves.
      beta1, beta2, basis, nodes: see `Adam`.
      eps: added to the root, not negative.

    Source: You et al. 2020, "Large batch optimization for deep learning", algorithm 2, without weight decay.

    >>> from nqmjax import power_law, risk
    >>> round(float(risk(power_law(10_000).quantize(100), LAMB(0.02), batch_size=1024, steps=200)), 4)
    0.0394
    """

    eps: Any = 1e-6
    leaps = False
    rate_units: ClassVar[str] = "shares of the norm of a layer, by which an update moves it"

    def trust(self, problem: Any, law: Law, rate: Any) -> Any:
        weight = jnp.sqrt(layer_totals(problem, mean_squares(law)))
        update = jnp.sqrt(layer_totals(problem, _update_squares(law, rate)))
        return _quotient(self.learning_rate * weight, update)

    def carriers(self, problem: Any, moments: Any, inverse_batch: Any) -> Any:
        """Of the norms of the weights and of the last update, whose `v` is the one that is known."""
        rate = self.rate(moments.v, 1.0)
        update = carriers_of(problem, _update_squares(moments, rate))
        return jnp.minimum(update, carriers_of(problem, mean_squares(moments)))

    def rate_scale(self, problem: Any) -> float:
        return 1.0

    def participation(self, problem: Any, batch_size: Any) -> np.ndarray | None:
        """All directions of a layer move alike."""
        fewest = fewest_carriers(problem, np.stack([problem.initial, np.ones_like(problem.initial)])).min()
        return np.broadcast_to(fewest, np.shape(batch_size))


def gradient_squares(problem: Any, law: Law, inverse_batch: Any) -> jax.Array:
    """`E g^2` of each group."""
    return problem.curvature**2 * mean_squares(law) + problem.noise * inverse_batch


def _update_squares(law: Law, rate: Any) -> jax.Array:
    """`E (rate m)^2` of each group."""
    return mean_over_starts(rate**2 * (law.m**2 + law.m_m))


def _whole_norm(problem: Any, squares: Any) -> jax.Array:
    """The root of the sum over all directions."""
    return jnp.sqrt((problem.count * squares).sum())


def _start_norm(problem: Any) -> float:
    """The norm of the start, 1 where it is 0."""
    return float(np.sqrt((np.asarray(problem.count) * np.asarray(problem.initial)).sum())) or 1.0


def _quotient(above: Any, below: Any) -> Any:
    """The quotient, 1 where one of the two is 0."""
    defined = (above > 0) & (below > 0)
    return jnp.where(defined, above / jnp.where(defined, below, 1), 1.0)
