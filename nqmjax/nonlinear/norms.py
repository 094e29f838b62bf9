r"""Methods whose rate follows a norm: normalized and clipped SGD, LARS, LAMB.

A norm couples all directions of its layer. Of many directions it hardly varies from run to run, and the method is SGD, or
Adam, with a rate that is known beforehand,

    |g|^2 = sum_i w_i (h_i^2 E theta_i^2 + c_i / B),      |theta|^2 = sum_i w_i E theta_i^2,

summed over the layer. How many directions carry a sum of squares `x` its *participation* says, `(sum x)^2 / sum x^2`:
where it is above 100 answers are within 1% of sampled ones, where it is below 30 some 2% to 7% off, of which a warning
speaks.

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

from nqmjax._tools import check_batch_size, check_values, is_traced, numeric, require
from nqmjax.nonlinear.adaptive import Adam
from nqmjax.nonlinear.law import (
    Law,
    absolute,
    at_rest,
    gathered,
    layer_totals,
    mean_over_starts,
    mean_squares,
    moved,
    stride_of,
)
from nqmjax.optimizers import MeanFieldOptimizer, Stride
from nqmjax.problem import NoisyQuadratic, check_problem


class NormCoupled(MeanFieldOptimizer):
    """What SGD with a rate that follows norms shares: `m' = beta m + gain g`, `theta' = theta - rate m'`."""

    learning_rate: Any
    momentum = 0.0

    def start(self, problem: Any) -> Law:
        return at_rest(problem, 1, momentum=True)

    def update(self, problem: Any, moments: Law, inverse_batch: Any, step: Any) -> Law:
        return moved(*self._momentum(problem, moments, inverse_batch)[:2])

    def squares(self, moments: Law) -> jax.Array:
        return mean_squares(moments)

    def stride(self, problem: Any, moments: Law, inverse_batch: Any, step: Any) -> Stride:
        after, rate, gain = self._momentum(problem, moments, inverse_batch)
        update = absolute(-rate * after.m, rate**2 * after.m_m)[0]
        response = jnp.broadcast_to(-rate * gain, after.m.shape)
        return stride_of(problem, moments, inverse_batch, update, response)

    def _momentum(self, problem: Any, law: Law, inverse_batch: Any) -> tuple[Law, Any, Any]:
        """The law with its new momentum, the parameter still where it was, and the factors on momentum and gradient."""
        squares = mean_squares(law)
        gain, rate = self.factors(problem, squares, problem.curvature**2 * squares + problem.noise * inverse_batch)
        return gathered(problem, law, inverse_batch, self.momentum, gain), rate, gain

    def factors(self, problem: Any, theta_squares: Any, gradient_squares: Any) -> tuple[Any, Any]:
        """`gain` and `rate`, given `E theta^2` and `E g^2` of each group."""
        raise NotImplementedError(f"{type(self).__name__} must declare factors(self, problem, theta_squares, gradient_squares)")

    def participation(self, problem: Any, batch_size: Any) -> np.ndarray | None:
        return _of_gradients(dataclasses.replace(problem, layer=None), batch_size)

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

    def participation(self, problem: Any, batch_size: Any) -> np.ndarray | None:
        return np.minimum(_of_gradients(problem, batch_size), _fewest(problem, problem.initial))


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
    rate_units: ClassVar[str] = "shares of the norm of a layer, by which an update moves it"

    def trust(self, problem: Any, law: Law, rate: Any) -> Any:
        weight = jnp.sqrt(layer_totals(problem, mean_squares(law)))
        update = jnp.sqrt(layer_totals(problem, mean_over_starts(rate**2 * (law.m**2 + law.m_m))))
        return _quotient(self.learning_rate * weight, update)

    def rate_scale(self, problem: Any) -> float:
        return 1.0

    def participation(self, problem: Any, batch_size: Any) -> np.ndarray | None:
        """All directions of a layer move alike."""
        fewest = _fewest(problem, np.stack([problem.initial, np.ones_like(problem.initial)])).min()
        return np.broadcast_to(fewest, np.shape(batch_size))


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
    return _fewest(problem, np.asarray(problem.curvature) ** 2 * moments + np.asarray(problem.noise) * inverse[..., None])


def _of_gradients(problem: NoisyQuadratic, batch_size: Any) -> np.ndarray:
    """At the start, or where noise is all that is left of the gradient, if that is less."""
    return np.minimum(participation(problem, batch_size), _fewest(problem, problem.noise))


def _fewest(problem: NoisyQuadratic, squares: Any) -> np.ndarray:
    """The participation of `squares`, shape `S + (n,)`, in the layer in which it is smallest, shape `S`; inf of zeros."""
    names, place = problem.layers
    weighted = np.asarray(problem.count) * squares
    sums, fourth = (
        np.stack([values[..., place == number].sum(-1) for number in range(len(names))])
        for values in (weighted, weighted * squares)
    )
    return np.divide(sums**2, fourth, out=np.full(fourth.shape, np.inf), where=fourth > 0).min(0)


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
