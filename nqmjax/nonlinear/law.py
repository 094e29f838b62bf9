r"""The law of a direction, conditioned on where it started: what closures of element-wise methods keep.

Given `|theta_0|` the pair `(theta, m)` of parameter and momentum is taken for a Gaussian, and the running mean square `v` of
the gradient for its conditional mean. The start itself, `theta_0 = sqrt(s) z` with a standard normal `z`, is integrated over
by nodes on `z > 0`; the other half line mirrors it. One Gaussian for the whole group would be 3% to 83% off, because far
starts still travel when near ones have arrived.

For a normal `u` of mean `mu` and variance `sigma^2`, `E sign(u) = erf(mu / (sqrt(2) sigma))`, by Stein's lemma
`Cov(x, sign(u)) = Cov(x, u) (2 / sigma) phi(mu / sigma)` for any `x` that is jointly normal with it, and `E|u|` follows.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nqmjax.optimizers import Stride

NODES = 96
"""Nodes over the start, where nothing else is asked for."""

FARTHEST = 6.0
"""Standard deviations of the start up to which there are nodes; beyond lie 2e-9 of the directions."""


class Law(NamedTuple):
    """Means and covariances given the start, of shape `(nodes, n)`; None where a method has no such variable."""

    start: Any
    theta: Any
    theta_theta: Any
    m: Any = None
    theta_m: Any = None
    m_m: Any = None
    v: Any = None


def quadrature(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes `z` and weights for expectations over a standard normal of even functions, shapes `(nodes, 1)` and `(nodes,)`.

    With a single node, at 1, squares of what is linear in `z` are exact.

    >>> z, weight = quadrature(16)
    >>> [round(float(weight @ z[:, 0] ** power), 4) for power in (0, 2, 4)]
    [1.0, 1.0, 3.0]
    """
    if nodes == 1:
        return np.ones((1, 1)), np.ones(1)
    x, weight = np.polynomial.legendre.leggauss(nodes)
    z = FARTHEST / 2 * (x + 1)
    weight = weight * np.exp(-(z**2) / 2)
    return z[:, None], weight / weight.sum()


def at_rest(problem: Any, nodes: int, momentum: bool = False) -> Law:
    """The law before the first update."""
    z, _ = quadrature(nodes)
    start = jnp.sqrt(problem.initial) * z.astype(problem.initial.dtype)
    zero = jnp.zeros_like(start)
    return Law(start, start, zero, *(3 * [zero] if momentum else []))


def mean_over_starts(values: Any) -> jax.Array:
    """Expectation over the start of values at the nodes, shape `(n,)`."""
    _, weight = quadrature(values.shape[0])
    return weight.astype(values.dtype) @ values


def mean_squares(law: Law) -> jax.Array:
    """`E theta^2` of each group."""
    return mean_over_starts(law.theta**2 + law.theta_theta)


def gradient_law(problem: Any, law: Law, inverse_batch: Any, strength: Any = 0.0) -> tuple[jax.Array, jax.Array]:
    """Mean and variance of the gradient at each node, `strength` times the weight added to it."""
    h = problem.curvature + strength
    return h * law.theta - strength * law.start, h**2 * law.theta_theta + problem.noise * inverse_batch


def gathered(problem: Any, law: Law, inverse_batch: Any, old: Any, new: Any, strength: Any = 0.0) -> Law:
    """The law after `m' = old m + new g`, the parameter still where it was; `strength` as in `gradient_law`."""
    h = problem.curvature + strength
    mean, variance = gradient_law(problem, law, inverse_batch, strength)
    return law._replace(
        m=old * law.m + new * mean,
        theta_m=old * law.theta_m + new * h * law.theta_theta,
        m_m=old**2 * law.m_m + 2 * old * new * h * law.theta_m + new**2 * variance,
    )


def displaced(law: Law, rate: Any, pull: Any = 0.0) -> Law:
    """The law after `theta' = theta - rate m - pull w` with the weights `w = theta - theta_0`."""
    keep = 1 - pull
    theta_theta = keep**2 * law.theta_theta - 2 * keep * rate * law.theta_m + rate**2 * law.m_m
    return law._replace(
        theta=keep * law.theta + pull * law.start - rate * law.m,
        theta_theta=jnp.maximum(theta_theta, 0),  # rounding
        theta_m=keep * law.theta_m - rate * law.m_m,
    )


def layer_totals(problem: Any, values: Any) -> jax.Array:
    """The sum of `values`, shape `(n,)`, over all directions of the layer that each group belongs to, shape `(n,)`."""
    names, place = problem.layers
    weighted = problem.count * values
    if len(names) == 1:
        return jnp.broadcast_to(weighted.sum(), weighted.shape)
    return jnp.zeros(len(names), weighted.dtype).at[place].add(weighted)[place]


def sign_law(mean: Any, variance: Any) -> tuple[jax.Array, jax.Array]:
    """`E sign(u)`, and the factor that makes `Cov(x, u)` into `Cov(x, sign(u))`."""
    deviation = jnp.sqrt(variance)
    certain = deviation == 0
    score = mean / jnp.where(certain, 1, deviation)
    expected = jnp.where(certain, jnp.sign(mean), jax.scipy.special.erf(score / jnp.sqrt(2.0).astype(score.dtype)))
    density = jnp.exp(-(score**2) / 2) * (2 / jnp.pi) ** 0.5
    return expected, jnp.where(certain, 0, density / jnp.where(certain, 1, deviation))


def absolute(mean: Any, variance: Any) -> tuple[jax.Array, jax.Array]:
    """`E|u|` and its derivative by the variance, given by mean and variance at each node; shapes `(n,)`."""
    if mean.shape[0] == 1:  # a single node stands for starts that are normal around 0
        mean, variance = jnp.zeros_like(mean), mean**2 + variance
    expected, factor = sign_law(mean, variance)
    return mean_over_starts(variance * factor + mean * expected), 0.5 * mean_over_starts(factor)


def stride_of(problem: Any, law: Law, inverse_batch: Any, update: Any, response: Any) -> Stride:
    """The stride of an update of mean length `update` that adds `response` times the noise of the gradient."""
    noise = problem.noise * inverse_batch
    gradient, slope = absolute(*gradient_law(problem, law, inverse_batch))
    signal = problem.curvature**2 * mean_squares(law)
    return Stride(gradient, -noise * slope, signal, update, noise * mean_over_starts(response))
