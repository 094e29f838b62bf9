r"""Adam and its kin: rates that follow the running mean square of each gradient, `v`.

Given the start, `v` is replaced by its mean, so that an update is linear in `(theta, m)` with a rate of its own for each
node and group,

    m' = beta1 m + (1 - beta1) g,      v' = beta2 v + (1 - beta2) E g^2,
    theta' = theta - k m' - a lambda w,      k = a / (1 - beta1^t) / (sqrt(v' / (1 - beta2^t)) + eps).

Weights are `w = theta - theta_0`: they begin near zero, the optimum lies elsewhere, and decay pulls back to the start.
"""

from typing import Any

import jax
import jax.numpy as jnp

from nqmjax.nonlinear.law import (
    NODES,
    Law,
    absolute,
    at_rest,
    displaced,
    gathered,
    gradient_law,
    layer_totals,
    mean_over_starts,
    mean_squares,
    stride_of,
)
from nqmjax.nonlinear.leaps import Frozen, doubt, matrix
from nqmjax.optimizers import MeanFieldOptimizer, Stride, static


class Adaptive(MeanFieldOptimizer):
    """What Adam and its kin share: all but the rate of an update and the pull of weight decay."""

    beta1 = beta2 = 0.0
    leaps = True
    basis: str = static(default="aligned", choices=("aligned", "rotated"))
    nodes: int = static(default=NODES, least=2)

    def start(self, problem: Any) -> Law:
        law = at_rest(problem, 1 if self.basis == "rotated" else self.nodes, momentum=True)
        return law._replace(v=law.m)

    def update(self, problem: Any, moments: Law, inverse_batch: Any, step: Any) -> Law:
        after, rate = self._momentum(problem, moments, inverse_batch, step)
        return displaced(after, rate, self.pull())

    def _momentum(self, problem: Any, law: Law, inverse_batch: Any, step: Any) -> tuple[Law, Any]:
        """The law with its new momentum and mean square, the parameter still where it was, and the factor on the momentum."""
        strength = self.regularization()
        mean, variance = gradient_law(problem, law, inverse_batch, strength)
        v = self.beta2 * law.v + (1 - self.beta2) * self.shared(problem, mean**2 + variance)
        after = gathered(problem, law, inverse_batch, self.beta1, 1 - self.beta1, strength)._replace(v=v)
        rate = self.rate(v, step + 1)
        return after, rate * self.trust(problem, after, rate)

    def leap(self, problem: Any, moments: Law, inverse_batch: Any, step: Any, level: Any) -> tuple[Law, jax.Array]:
        count = 2.0 ** level.astype(problem.curvature.dtype)
        first = self.frozen(problem, moments, inverse_batch, self.rate(moments.v, step))
        half = self.moved(problem, moments, inverse_batch, first.over(level - 1))
        middle = self.frozen(problem, moments, inverse_batch, self.rate(half.v, step + count / 2))
        end = self.moved(problem, moments, inverse_batch, middle.over(level))
        return end, doubt(first, middle, moments, end)

    def frozen(self, problem: Any, law: Law, inverse_batch: Any, k: Any) -> Frozen:
        """One update at the rate `k`."""
        old, new, pull, strength = self.beta1, 1 - self.beta1, self.pull(), self.regularization()
        size = 2 if all(isinstance(each, float) and each == 0 for each in (pull, strength)) else 3
        slope = problem.curvature + strength
        gain, back = new * slope, new * strength
        increment = [[-pull - k * gain, -k * old, pull + k * back], [gain, -new, -back], [0.0, 0.0, 0.0]]
        variance = new**2 * problem.noise * inverse_batch
        noise = [[k**2 * variance, -k * variance, 0.0], [-k * variance, variance, 0.0], [0.0, 0.0, 0.0]]
        past = [[slope**2, 0.0, -slope * strength], [0.0, 0.0, 0.0], [-slope * strength, 0.0, strength**2]]
        spread, noise, past = (matrix([row[:size] for row in rows[:size]], law.theta) for rows in (increment, noise, past))
        return Frozen(k[None], spread, noise, past=past, before=jnp.zeros_like(law.theta), keep=jnp.asarray(self.beta2))

    def moved(self, problem: Any, law: Law, inverse_batch: Any, frozen: Frozen) -> Law:
        """The law after the updates of `frozen`."""
        found, total = frozen.applied(law)
        assert total is not None  # there is a `past`
        squares = (1 - self.beta2) * jnp.maximum(total, 0) + (1 - frozen.keep) * problem.noise * inverse_batch
        return found._replace(v=frozen.keep * law.v + self.shared(problem, squares))

    def shared(self, problem: Any, squares: Any) -> Any:
        """Mean squares of the gradient as the coordinates see them, each its own or all of a layer the same."""
        if self.basis == "aligned":
            return squares
        totals, sizes = (layer_totals(problem, each) for each in (mean_over_starts(squares), jnp.ones_like(problem.count)))
        return (totals / sizes)[None]

    def squares(self, moments: Law) -> jax.Array:
        return mean_squares(moments)

    def stride(self, problem: Any, moments: Law, inverse_batch: Any, step: Any) -> Stride:
        after, rate = self._momentum(problem, moments, inverse_batch, step)
        pull = self.pull()
        mean = -rate * after.m - pull * (moments.theta - moments.start)
        variance = rate**2 * after.m_m + 2 * pull * rate * after.theta_m + pull**2 * moments.theta_theta
        return stride_of(problem, moments, inverse_batch, absolute(mean, variance)[0], -rate * (1 - self.beta1))

    def rate(self, v: Any, steps: Any) -> Any:
        """Factor on the momentum in update number `steps`."""
        raise NotImplementedError(f"{type(self).__name__} must declare rate(self, v, steps)")

    def pull(self) -> Any:
        """Share of the weight that an update takes away."""
        return 0.0

    def regularization(self) -> Any:
        """Share of the weight that is added to the gradient."""
        return 0.0

    def trust(self, problem: Any, law: Law, rate: Any) -> Any:
        """Factor on the whole update of a layer, of the law with its new momentum."""
        return 1.0


class Adam(Adaptive):
    r"""Adam, `m' = beta1 m + (1 - beta1) g`, `v' = beta2 v + (1 - beta2) g^2`, `theta' = theta - a m^ / (sqrt(v^) + eps)`.

    `m^ = m' / (1 - beta1^t)` and `v^ = v' / (1 - beta2^t)` after `t` updates (`optax.adam`). The answers are those of a
    closure (see `nqmjax.nonlinear`): within 1% of sampled risks where noise dominates, within 4% at large batches.

    Adam works on coordinates, the quadratic on eigenvectors. `basis="aligned"` takes the one for the other. In
    `basis="rotated"` the coordinates are a random rotation of the eigenvectors: every coordinate sees the same mixture, `v`
    is the same for all, and Adam is SGD with momentum, normalized by the root mean square of the gradient. A network lies
    between.

    Args:
      learning_rate: `a`, in units of the parameter.
      beta1: momentum, in [0, 1).
      beta2: decay of the mean square, in [0, 1).
      eps: added to the root, not negative.
      basis: "aligned" or "rotated" (within each layer, where the problem has layers).
      nodes: points over the start at which the law is followed.

    Source: Kingma & Ba 2015, algorithm 1.

    >>> from nqmjax import power_law, steps_to_target
    >>> float(steps_to_target(power_law(10_000).quantize(100), Adam(0.02), batch_size=2**14, target=0.01).steps)
    224.0
    """

    learning_rate: Any
    beta1: Any = 0.9
    beta2: Any = 0.999
    eps: Any = 1e-8

    def rate(self, v: Any, steps: Any) -> Any:
        corrected = v / (1 - self.beta2**steps)
        return self.learning_rate / (1 - self.beta1**steps) / (jnp.sqrt(corrected) + self.eps)


class AdamW(Adam):
    r"""Adam with decoupled weight decay, `theta' = theta - a (m^ / (sqrt(v^) + eps) + lambda w)` (`optax.adamw`).

    The weights `w = theta - theta_0` begin near zero: decay pulls back to the start, away from the optimum.

    Args:
      learning_rate, beta1, beta2, eps, basis, nodes: see `Adam`.
      weight_decay: `lambda`, not negative.

    Source: Loshchilov & Hutter 2019, algorithm 2.

    >>> from nqmjax import power_law, risk
    >>> [round(float(risk(power_law(100), AdamW(0.01, weight_decay=decay), 64, steps=2000)), 4) for decay in (0, 0.1)]
    [0.0056, 0.0134]
    """

    weight_decay: Any = 0.01

    def pull(self) -> Any:
        return self.learning_rate * self.weight_decay


class AdamL2(Adam):
    r"""Adam with L2 regularization: `lambda w` is added to the gradient that Adam is given, as PyTorch's `Adam` does it.

    Momentum and mean square see the pull, so that directions with large gradients are pulled less than by `AdamW`: in optax,
    `add_decayed_weights` ahead of `scale_by_adam`. The weights `w = theta - theta_0` begin near zero, as for `AdamW`.

    Args:
      learning_rate, beta1, beta2, eps, basis, nodes: see `Adam`.
      strength: `lambda`, not negative.

    Source: Loshchilov & Hutter 2019, algorithm 2.

    >>> from nqmjax import power_law, risk
    >>> [round(float(risk(power_law(100), AdamL2(0.01, strength=strength), 64, steps=2000)), 4) for strength in (0, 0.01)]
    [0.0056, 0.1015]
    """

    strength: Any = 0.01

    def regularization(self) -> Any:
        return self.strength


class RMSprop(Adaptive):
    r"""RMSprop, `v' = beta2 v + (1 - beta2) g^2`, `theta' = theta - a g / sqrt(v' + eps)` (`optax.rmsprop`).

    Nothing corrects the start of `v` at 0: the first updates are `(1 - beta2)^-1/2` times longer, and as long as they last
    the closure is its least exact (5% at rates up to 0.03).

    Args:
      learning_rate: `a`.
      beta2: decay of the mean square, in [0, 1).
      eps: added under the root, not negative.
      basis, nodes: see `Adam`.

    Source: Tieleman & Hinton 2012, lecture 6.5.

    >>> from nqmjax import power_law, risk
    >>> round(float(risk(power_law(100), RMSprop(0.01), batch_size=64, steps=200)), 4)
    0.0703
    """

    learning_rate: Any
    beta2: Any = 0.9
    eps: Any = 1e-8

    def rate(self, v: Any, steps: Any) -> Any:
        return self.learning_rate / jnp.sqrt(v + self.eps)
