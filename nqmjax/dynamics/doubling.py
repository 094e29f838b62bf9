r"""Many updates at once by repeated squaring: any `t` costs O(log t).

The two parts of the risk, `phi_t = r A^t v` and `sum_{s<t} psi_s^2` with `psi_s = r A^s b` (see `scan`), need only

    A_2n = A_n^2,      W_2n = W_n + A_n^T W_n A_n,      W_1 = r r^T:      sum_{j<n} psi_{s+j}^2 = y^T W_n y,  y = A^s b.

`A_n` is kept as `E_n = A_n - I`, so that `E_2n = 2 E_n + E_n^2` does not lose a slow direction against 1.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nqmjax.checks import check_steps, is_traced
from nqmjax.dynamics.matrices import apply, dot, outer, quadratic, sandwich, square, transpose
from nqmjax.dynamics.model import build_model, risk_of_squares, start_state, times
from nqmjax.frontdoor import check_run, check_shapes, evaluate
from nqmjax.optimizers import LinearOptimizer
from nqmjax.problem import NoisyQuadratic

FOREVER = 62
"""Doublings after which a run has forgotten its start: 2^62 updates."""


def risk(problem: NoisyQuadratic, optimizer: LinearOptimizer, batch_size: Any, steps: Any, dtype: Any = "float64") -> Any:
    r"""Risk after `steps` updates, exactly, in O(log steps).

    `R_t = irreducible + 1/2 sum_k w_k h_k r^T M_t r` with `M_t` the second moments; the same numbers as
    `risk_curve` as long as less than some 30 decimal orders of the start have decayed (float32: 12), differentiable in
    every hyperparameter, the batch size and the problem.

    Args:
      problem: the quadratic.
      optimizer: hyperparameters of any shapes that broadcast with `batch_size` and `steps`.
      batch_size: examples per update.
      steps: number of updates, 0 to 2^31.
      dtype: "float64" or "float32"; arguments under a JAX transformation keep their own precision.

    Returns:
      array of the broadcast shape; huge or inf where the run diverges, never NaN (gradients may be NaN there).

    Raises:
      ValueError: an argument is out of its range.

    >>> from nqmjax import HeavyBall, power_law
    >>> risk(power_law(10_000), HeavyBall(0.1, 0.9), 2**14, [0, 1000, 2**31]).round(4)
    array([4.8938e+00, 6.1280e-01, 2.0000e-04])

    Source: Zhang et al. 2019, eq. 4, theorems 1 and 2 (upper bounds of what is exact here).
    """
    check_run(problem, optimizer, batch_size)
    check_steps("steps", steps)
    check_shapes(optimizer, batch_size=batch_size, steps=steps)
    if not is_traced(steps):
        steps = np.asarray(steps, np.uint32)
    return evaluate(_risk, problem, optimizer, batch_size, steps, dtype=dtype)


def stationary_risk(problem: NoisyQuadratic, optimizer: LinearOptimizer, batch_size: Any, dtype: Any = "float64") -> Any:
    r"""Risk in the limit of many updates, `irreducible + 1/2 sum_k w_k h_k r^T S r` with `S = A S A^T + (c/B) b b^T`.

    Args:
      problem: the quadratic.
      optimizer: hyperparameters of any shapes that broadcast with `batch_size`.
      batch_size: examples per update.
      dtype: "float64" or "float32".

    Returns:
      array of the broadcast shape; inf, or at the very edge of stability huge, where a direction is unstable. A direction
      that never moves (rate 0) keeps its initial risk.

    Raises:
      ValueError: an argument is out of its range.

    >>> from nqmjax import SGD, power_law
    >>> float(stationary_risk(power_law(1), SGD(0.5), batch_size=10))  # a c / (2 B (2 - a h))
    0.016666666666666666

    Source: Zhang et al. 2019, eq. 4 (steady-state risk).
    """
    check_run(problem, optimizer, batch_size)
    check_shapes(optimizer, batch_size=batch_size)
    return evaluate(_stationary_risk, problem, optimizer, batch_size, dtype=dtype)


def double(increment: jax.Array, sums: jax.Array) -> tuple[jax.Array, jax.Array]:
    """From the map and the sum of `n` updates to those of `2 n`."""
    return square(increment), sums + sandwich(transpose(increment), sums)


@jax.jit
def _risk(problem: NoisyQuadratic, optimizer: LinearOptimizer, batch_size: Any, steps: Any) -> jax.Array:
    steps = jnp.asarray(steps).astype(jnp.uint32)
    model = build_model(problem, optimizer, batch_size, steps.shape)

    def bit(carry: Any, _: None) -> tuple[Any, None]:
        state, noise, increment, sums, left = carry
        odd = left & 1 == 1
        noise = jnp.where(odd, noise + quadratic(sums, state[:, 1]), noise)
        state = jnp.where(odd, apply(increment[:, :, None], state), state)
        # Where nothing is left to do, double zeros: an overflow there would spoil gradients.
        doubled = double(*(jnp.where(left > 1, entry, 0) for entry in (increment, sums)))
        return (state, noise, *doubled, left >> 1), None

    left = jnp.broadcast_to(steps, model.noise.shape[:-1])[..., None]
    carry = (start_state(model), jnp.zeros_like(model.kick[0]), model.increment, outer(model.read), left)
    state, noise = jax.lax.scan(bit, carry, length=32)[0][:2]
    return risk_of_squares(model, times(model.initial, dot(model.read, state[:, 0]) ** 2) + times(model.noise, noise))


@jax.jit
def _stationary_risk(problem: NoisyQuadratic, optimizer: LinearOptimizer, batch_size: Any) -> jax.Array:
    model = build_model(problem, optimizer, batch_size)
    forever, sums = jax.lax.fori_loop(0, FOREVER, lambda _, both: double(*both), (model.increment, outer(model.read)))
    state = apply(forever[:, :, None], start_state(model))
    squares = times(model.initial, dot(model.read, state[:, 0]) ** 2) + times(model.noise, quadratic(sums, model.kick))
    return risk_of_squares(model, squares)
