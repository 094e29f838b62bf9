r"""One update at a time: slow, and the one to trust.

Along a direction the start contributes `phi_t = r A^t v`, with `v` the state of parameter 1 at rest, and the noise of an
update what it has become after `s` more, `psi_s = r A^s b`. All are independent, so that their mean squares add up:

    E theta_t^2 = E theta_0^2 phi_t^2 + (c / B) sum_{s<t} psi_s^2.

This is the recursion of second moments, `M' = A M A^T + (c / B) b b^T`, without its cancellation in runs that explode.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nqmjax._tools import check_steps, evaluate, require
from nqmjax.dynamics.checks import check_run, check_shapes, warn_of_few_later
from nqmjax.dynamics.loss_noise import risk_curve_under_loss_noise
from nqmjax.dynamics.matrices import apply, dot
from nqmjax.dynamics.mean_field import mean_field_curve
from nqmjax.dynamics.model import build_model, risk_of_squares, start_state, times
from nqmjax.dynamics.periodic import periodic_risk_curve
from nqmjax.optimizers import LinearOptimizer, MeanFieldOptimizer, Optimizer, PeriodicOptimizer
from nqmjax.problem import NoisyQuadratic


def risk_curve(problem: NoisyQuadratic, optimizer: Optimizer, batch_size: Any, num_steps: int, dtype: Any = "float64") -> Any:
    r"""Risk `R_0 .. R_T` after every update, by the plain recursion under `lax.scan`.

    `R_t = irreducible + 1/2 sum_k w_k h_k r^T M_t r`, `M_{t+1} = A M_t A^T + (c/B) b b^T`, `M_0 = s_0 v v^T`; of optimizers
    that are not linear, by their closure.

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
    check_run(problem, optimizer, batch_size, closures=True, periodic=True, loss_noise=True, asked="risk_curve")
    check_steps("num_steps", num_steps)
    require(np.ndim(num_steps) == 0, "the shape of num_steps", np.shape(num_steps), "give one number")
    check_shapes(optimizer, batch_size=batch_size)
    if isinstance(optimizer, MeanFieldOptimizer):
        kernel = functools.partial(mean_field_curve, num_steps=int(num_steps))
        risks, fewest = evaluate(kernel, problem, optimizer, batch_size, dtype=dtype)
        warn_of_few_later(problem, optimizer, batch_size, fewest)
        return risks
    kernel = periodic_risk_curve if isinstance(optimizer, PeriodicOptimizer) else _risk_curve
    kernel = risk_curve_under_loss_noise if problem.follows_loss else kernel
    return evaluate(functools.partial(kernel, num_steps=int(num_steps)), problem, optimizer, batch_size, dtype=dtype)


@functools.partial(jax.jit, static_argnames="num_steps")
def _risk_curve(problem: NoisyQuadratic, optimizer: LinearOptimizer, batch_size: Any, num_steps: int) -> jax.Array:
    model = build_model(problem, optimizer, batch_size)

    def update(carry: Any, _: None) -> tuple[Any, jax.Array]:
        state, noise = carry
        phi, psi = dot(model.read[:, None], state)
        risk = risk_of_squares(model, times(model.initial, phi**2) + times(model.noise, noise))
        return (apply(model.increment[:, :, None], state), noise + psi**2), risk

    start = (start_state(model), jnp.zeros_like(model.kick[0]))
    _, risks = jax.lax.scan(update, start, length=num_steps + 1)
    return jnp.moveaxis(risks, 0, -1)
