r"""What no training run can beat: the least risk that a number of examples allows.

A gradient along a direction of curvature `h` is `h theta + xi`, so an example is a measurement of `h theta` of variance
`c`, wherever it is taken. After `N` examples the precision of `theta` is `1/s_0 + N h^2 / c` (the Kalman filter with
nothing to forget), and no method knows the optimum better than that.

Source: the Gaussian conjugate posterior; Wu et al. 2018, "Understanding short-horizon bias in stochastic
meta-optimization", for the greedy rates that attain it one direction at a time.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nqmjax._tools import check_loss, check_values, evaluate, is_traced, numeric
from nqmjax.problem import NoisyQuadratic, check_problem


def bayes_bound(problem: NoisyQuadratic, examples: Any) -> Any:
    r"""The least risk that any method can reach with `examples` examples, whatever its batch size and schedule.

    `irreducible + 1/2 sum_k w_k h_k / (1/s_k + N h_k^2 / c_k)`, with `s_k` the second moment of the start. It holds
    for every algorithm if start and gradient noise are Gaussian, and for every linear one whatever their distribution.

    Args:
      problem: the quadratic.
      examples: number of examples `N` (batch size times updates), not negative, any shape.

    Returns:
      array of the shape of `examples`; the initial risk at 0, ever closer to `irreducible` as `N` grows.

    Raises:
      ValueError: an argument is out of its range.

    >>> from nqmjax import power_law
    >>> bayes_bound(power_law(10_000), [0, 10_000, 100_000]).round(4)
    array([4.8938, 0.3466, 0.0477])

    Source: the precision of a Gaussian posterior; see the module.
    """
    check_problem(problem, "bayes_bound")
    return evaluate(_bayes_bound, problem, _check_examples(examples))


def flat_prior_bound(problem: NoisyQuadratic, examples: Any) -> Any:
    r"""The Bayes bound in the limit of a start that may be anywhere: a straight line in logarithms, for figures.

    `irreducible + 1/2 sum_k w_k c_k / (h_k N)`, which is `d / (2 N)` for `C = H`. It is *not* a bound of runs from a
    start of finite variance: it lies above `bayes_bound`, and good schedules get below it. Directions without
    curvature carry no risk.

    Args:
      problem: the quadratic; its `initial` does not matter.
      examples: number of examples `N`, not negative, any shape.

    Returns:
      array of the shape of `examples`; inf at 0.

    Raises:
      ValueError: an argument is out of its range.

    >>> from nqmjax import power_law
    >>> flat_prior_bound(power_law(10_000), [10_000, 100_000])
    array([0.5 , 0.05])

    Source: Zhang et al. 2019, section 3.6, where it is called the information theoretic lower bound.
    """
    check_problem(problem, "flat_prior_bound")
    return evaluate(_flat_prior_bound, problem, _check_examples(examples))


def bayes_examples(problem: NoisyQuadratic, target: Any) -> Any:
    r"""The number of examples below which no method reaches `target`: the inverse of `bayes_bound`.

    A run at batch size `B` takes at least `bayes_examples / B` updates; its efficiency is `bayes_examples` over the
    examples that it needs. Differentiable in the target and in the problem. Where the
    noise follows the loss, that of the target is taken: until it is reached, every gradient has more.

    Args:
      problem: the quadratic.
      target: risk to reach, the irreducible loss included, any shape.

    Returns:
      array of the shape of `target`, a real number of examples: inf where the target is not above `irreducible`, 0
      where it is not below the initial risk of the directions that have noise (the others take any `N > 0`).

    Raises:
      ValueError: an argument is out of its range.

    >>> from nqmjax import power_law
    >>> bayes_examples(power_law(10_000), [0.01, 0.1, 5.0]).round(1)
    array([495016.2,  45166.1,      0. ])

    Source: the precision of a Gaussian posterior; see the module.
    """
    check_problem(problem, "bayes_examples", loss_noise=True)
    check_loss(target)
    kernel = _bayes_examples_under_loss_noise if problem.follows_loss else _bayes_examples
    return evaluate(kernel, problem, target if is_traced(target) else numeric("target", target))


def _check_examples(examples: Any) -> Any:
    """`examples` as an array, its values checked unless they are traced."""
    if is_traced(examples):
        return examples
    values = numeric("examples", examples)
    check_values("examples", values, np.isfinite(values) & (values >= 0), "give a finite number that is not negative")
    return values


@jax.jit
def _bayes_bound(problem: NoisyQuadratic, examples: Any) -> jax.Array:
    return problem.irreducible + _excess(problem, examples)


@jax.jit
def _flat_prior_bound(problem: NoisyQuadratic, examples: Any) -> jax.Array:
    some = jnp.where(examples > 0, examples, 1)
    unit = _flat_excess(problem, jnp.asarray(problem.curvature) > 0)
    return problem.irreducible + jnp.where(examples > 0, unit / some, jnp.inf)


@jax.jit
def _bayes_examples(problem: NoisyQuadratic, target: Any) -> jax.Array:
    excess = target - problem.irreducible
    root = _bisect(*jax.lax.stop_gradient((problem, excess)))
    regular = (root > 0) & (root < jnp.inf)
    # The value is the root's; a Newton step from it carries the derivatives.
    value, slope = jax.jvp(lambda n: _excess(problem, n), (jnp.where(regular, root, 1),), (jnp.ones_like(root),))
    newton = jnp.where(regular, (excess - value) / jax.lax.stop_gradient(jnp.where(regular, slope, 1)), 0)
    return root + (newton - jax.lax.stop_gradient(newton))


@jax.jit
def _bayes_examples_under_loss_noise(problem: NoisyQuadratic, target: Any) -> jax.Array:
    gain = 0.0 if problem.loss_noise is None else problem.loss_noise

    def examples(target: jax.Array) -> jax.Array:
        noise = problem.noise + gain * target
        return _bayes_examples(dataclasses.replace(problem, noise=noise, loss_noise=None, own_noise=None), target)

    target = jnp.asarray(target)
    return jax.vmap(examples)(target.ravel()).reshape(target.shape)


def _excess(problem: NoisyQuadratic, examples: Any) -> jax.Array:
    """Bayes bound without the irreducible loss."""
    h, c, s = (jnp.asarray(values) for values in (problem.curvature, problem.noise, problem.initial))
    examples = jnp.asarray(examples)[..., None]
    precision = c + examples * (h * h * s)  # in units of 1 / (s c)
    known = examples * h > 0  # without noise, a single example tells everything
    left = jnp.where(precision > 0, c / jnp.where(precision > 0, precision, 1), jnp.where(known, 0, 1))
    return 0.5 * (problem.count * h * s * left).sum(-1)


def _flat_excess(problem: NoisyQuadratic, chosen: jax.Array) -> jax.Array:
    """`1/2 sum w c / h` over the chosen directions, all of positive curvature."""
    ratio = problem.noise / jnp.where(chosen, problem.curvature, 1)
    return 0.5 * jnp.where(chosen, problem.count * ratio, 0).sum()


def _bisect(problem: NoisyQuadratic, excess: jax.Array) -> jax.Array:
    """Root of `_excess(problem, N) = excess` by bisection in log N.

    The bracket: all directions are learnt at most as fast as the fastest, and the flat-prior line lies above.
    """
    h, c, s = (jnp.asarray(values) for values in (problem.curvature, problem.noise, problem.initial))
    noisy = (h > 0) & (c > 0) & (s > 0)
    start = 0.5 * jnp.where(noisy, problem.count * h * s, 0).sum()
    fastest = jnp.where(noisy, h * h * s / jnp.where(noisy, c, 1), 0).max()
    regular = (excess > 0) & (excess < start)
    e = jnp.where(regular, excess, 0.5 * start)
    low = jnp.maximum((start - e) / (e * fastest), jnp.finfo(e.dtype).tiny)
    high = jnp.minimum(_flat_excess(problem, noisy) / e, jnp.finfo(low.dtype).max)

    def halve(_: Any, bracket: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bracket
        middle = jnp.sqrt(low) * jnp.sqrt(high)
        above = _excess(problem, middle) > e
        return jnp.where(above, middle, low), jnp.where(above, high, middle)

    low, high = jax.lax.fori_loop(0, 64, halve, (low, high))
    return jnp.where(start <= excess, 0, jnp.where(excess > 0, high, jnp.inf))
