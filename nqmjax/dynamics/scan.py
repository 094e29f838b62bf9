r"""The plain recursion, `M' = A M A^T + (c / B) b b^T`, one update at a time: slow, and the one to trust."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from nqmjax.checks import check_steps
from nqmjax.dynamics.matrices import sandwich
from nqmjax.dynamics.model import build_model, moment_risk
from nqmjax.frontdoor import check_run, check_shapes, evaluate
from nqmjax.optimizers import LinearOptimizer
from nqmjax.problem import NoisyQuadratic


def risk_curve(
    problem: NoisyQuadratic, optimizer: LinearOptimizer, batch_size: Any, num_steps: int, dtype: Any = "float64"
) -> Any:
    r"""Risk `R_0 .. R_T` after every update, by the recursion of second moments under `lax.scan`.

    `R_t = irreducible + 1/2 sum_k w_k h_k r^T M_t r`, `M_{t+1} = A M_t A^T + (c/B) b b^T`, `M_0 = s_0 v v^T`.

    Args:
      problem: the quadratic.
      optimizer: hyperparameters that broadcast to a shape `S` with `batch_size`.
      batch_size: examples per update.
      num_steps: number of updates `T`.
      dtype: "float64" or "float32"; arguments under a JAX transformation keep their own precision.

    Returns:
      array of shape `S + (num_steps + 1,)`; where the run diverges it holds huge numbers or inf, never NaN.

    Raises:
      ValueError: an argument is out of its range.

    >>> from nqmjax import SGD, power_law
    >>> risk_curve(power_law(3), SGD(0.5), batch_size=10, num_steps=3).round(4)
    array([0.9167, 0.3984, 0.2136, 0.1334])

    Source: Zhang et al. 2019, eq. 3, 5 and 11.
    """
    check_run(problem, optimizer, batch_size)
    check_steps("num_steps", num_steps)
    check_shapes(optimizer, batch_size=batch_size)
    return evaluate(functools.partial(_risk_curve, num_steps=int(num_steps)), problem, optimizer, batch_size, dtype=dtype)


@functools.partial(jax.jit, static_argnames="num_steps")
def _risk_curve(problem: NoisyQuadratic, optimizer: LinearOptimizer, batch_size: Any, num_steps: int) -> jax.Array:
    model = build_model(problem, optimizer, batch_size)

    def update(moments: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        moments = sandwich(model.increment, moments) + model.kicks
        return moments, moment_risk(model, moments)

    _, risks = jax.lax.scan(update, model.start, length=num_steps)
    return jnp.moveaxis(jnp.concatenate([moment_risk(model, model.start)[None], risks]), 0, -1)
