r"""Many updates at once by repeated squaring: any `t` costs O(log t).

The two parts of the risk, `phi_t = r A^t v` and `sum_{s<t} psi_s^2` with `psi_s = r A^s b` (see `scan`), need only

    A_2n = A_n^2,      W_2n = W_n + A_n^T W_n A_n,      W_1 = r r^T:      sum_{j<n} psi_{s+j}^2 = y^T W_n y,  y = A^s b.

All of it in numbers of twice the precision (`twofold`): a direction that shrinks by `1e-16` an update is not lost against 1,
nor are roots that nearly coincide, nor what a contraction leaves of a start that is huge.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nqmjax._tools import check_steps, evaluate, is_traced, require, shown
from nqmjax.dynamics.checks import check_precision, check_run, check_shapes
from nqmjax.dynamics.loss_noise import most_updates, risk_under_loss_noise, stationary_risk_under_loss_noise
from nqmjax.dynamics.mean_field import mean_field_risk
from nqmjax.dynamics.model import FOREVER, Model, build_model, risk_of_squares, start_state, times, unit_plus
from nqmjax.dynamics.periodic import periodic_risk, periodic_stationary_risk
from nqmjax.dynamics.twofold import Twofold, act, dot, product, transpose, where
from nqmjax.optimizers import LinearOptimizer, MeanFieldOptimizer, Optimizer, PeriodicOptimizer, check_linear, is_anchored
from nqmjax.problem import NoisyQuadratic

LONGEST = 32
"""Doublings of the longest run, 2^31 updates."""


def risk(problem: NoisyQuadratic, optimizer: Optimizer, batch_size: Any, steps: Any, dtype: Any = "float64") -> Any:
    r"""Risk after `steps` updates, exactly, in O(log steps).

    `R_t = irreducible + 1/2 sum_k w_k h_k r^T M_t r` with `M_t` the second moments; the same numbers as `risk_curve`, whatever
    the start, and differentiable in every hyperparameter, the batch size and the problem. At a relative distance `d` from the
    edge of stability the risk is as sharp as the hyperparameters themselves: their rounding moves it by `1e-16 / d`.
    Optimizers that are not linear are followed one update at a time up to 512, then in leaps with an error of some 1e-4 of the
    risk; under a transformation of JAX always one at a time.

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
    check_run(problem, optimizer, batch_size, closures=True, periodic=True, loss_noise=True, asked="risk")
    check_precision(problem, dtype)
    check_steps("steps", steps)
    check_shapes(optimizer, batch_size=batch_size, steps=steps)
    if not is_traced(steps):
        steps = np.asarray(steps, dtype=np.uint32)
    if isinstance(optimizer, PeriodicOptimizer):
        return evaluate(periodic_risk, problem, optimizer, batch_size, steps, dtype=dtype)
    traced = is_traced(problem, optimizer, batch_size, steps)
    if isinstance(optimizer, MeanFieldOptimizer):
        length = int(np.max(steps, initial=0)) if traced and not is_traced(steps) else None
        return evaluate(functools.partial(mean_field_risk, length=length), problem, optimizer, batch_size, steps, dtype=dtype)
    if problem.follows_loss:
        length = most_updates(steps) if traced else None
        kernel = functools.partial(risk_under_loss_noise, length=length)
        return evaluate(kernel, problem, optimizer, batch_size, steps, dtype=dtype)
    levels = None if traced else np.uint32(int(np.max(steps, initial=0)).bit_length())
    return evaluate(_risk, problem, optimizer, batch_size, steps, levels, dtype=dtype)


def stationary_risk(problem: NoisyQuadratic, optimizer: LinearOptimizer, batch_size: Any, dtype: Any = "float64") -> Any:
    r"""Risk in the limit of many updates, `irreducible + 1/2 sum_k w_k h_k r^T S r` with `S = A S A^T + (c/B) b b^T`.

    Under weight decay the start leaves a bias for ever, `s_0 (r . x)^2` with `x = A x` the state where it rests, for
    example `s_0 (lambda / (h + lambda))^2` under `L2(SGD(a), lambda)`: it is added to `r^T S r`.

    Of an optimizer with a period it is the risk right after a synchronisation.

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
    check_run(problem, optimizer, batch_size, closures=True, periodic=True, loss_noise=True, asked="stationary_risk")
    check_linear("stationary_risk", optimizer, periodic=True)
    check_shapes(optimizer, batch_size=batch_size)
    if problem.follows_loss:
        remedy = "with noise that follows the loss its limit is not known: ask for risk after many updates"
        require(not is_anchored(optimizer), "optimizer", shown(optimizer), remedy)
        return evaluate(stationary_risk_under_loss_noise, problem, optimizer, batch_size, dtype=dtype)
    if isinstance(optimizer, PeriodicOptimizer):
        return evaluate(periodic_stationary_risk, problem, optimizer, batch_size, dtype=dtype)
    kernel = functools.partial(_stationary_risk, differentiable=is_traced(problem, optimizer, batch_size))
    return evaluate(kernel, problem, optimizer, batch_size, dtype=dtype)


def double(matrix: Twofold, sums: Twofold) -> tuple[Twofold, Twofold]:
    """From the map and the sum of `n` updates to those of `2 n`."""
    return product(matrix, matrix), sums + product(transpose(matrix), product(sums, matrix))


def first_update(model: Model) -> tuple[Twofold, Twofold]:
    """The map `A` and the sum `r r^T` of a single update."""
    return unit_plus(model.increment), Twofold.of(model.read)[:, None] * Twofold.of(model.read)[None]


def squares_left(model: Model, state: Twofold) -> jax.Array:
    """What is left of the start, `E theta_0^2 (r . x)^2`."""
    return times(model.initial, dot(Twofold.of(model.read), state).rounded ** 2)


def kicks(sums: Twofold, state: Twofold) -> Twofold:
    """`y^T W y`, never negative; inf where it has overflowed."""
    total = dot(state, act(sums, state))
    lost = jnp.isnan(total.high) & (state.high != 0).any(0)
    return where(total.high > 0, total, Twofold.of(jnp.where(lost, jnp.inf, jnp.zeros_like(total.high))))


@jax.jit
def _risk(problem: NoisyQuadratic, optimizer: LinearOptimizer, batch_size: Any, steps: Any, levels: Any) -> jax.Array:
    """`levels` doublings; None is as many as any run may need, in a form that can be differentiated backwards."""
    steps = jnp.asarray(steps).astype(jnp.uint32)
    model = build_model(problem, optimizer, batch_size, steps.shape)

    def bit(_: Any, carry: Any) -> Any:
        state, noise, matrix, sums, left = carry
        odd = left & 1 == 1
        noise = where(odd, noise + kicks(sums, state[:, 1]), noise)
        state = where(odd, act(matrix[:, :, None], state), state)
        # Where nothing is left to do, double zeros: an overflow there would spoil gradients.
        matrix, sums = (jax.tree.map(lambda part: jnp.where(left > 1, part, 0), entry) for entry in (matrix, sums))
        return (state, noise, *double(matrix, sums), left >> 1)

    left = jnp.broadcast_to(steps, model.noise.shape[:-1])[..., None]
    carry = (Twofold.of(start_state(model)), Twofold.of(jnp.zeros_like(model.kick[0])), *first_update(model), left)
    bounds = (0, LONGEST) if levels is None else (jnp.zeros_like(levels), levels)
    state, noise = jax.lax.fori_loop(*bounds, bit, carry)[:2]
    return risk_of_squares(model, squares_left(model, state[:, 0]) + times(model.noise, noise.rounded))


@functools.partial(jax.jit, static_argnames="differentiable")
def _stationary_risk(problem: Any, optimizer: Any, batch_size: Any, differentiable: bool) -> jax.Array:
    model = build_model(problem, optimizer, batch_size)

    def going_on(carry: Any) -> jax.Array:
        """Until every direction has forgotten its start, or has grown beyond the range of numbers."""
        level, matrix, _ = carry
        moving = matrix.high[: model.moving, : model.moving]
        return (level < FOREVER) & (jnp.isfinite(moving) & (moving != 0)).any()

    def step(carry: Any) -> Any:
        level, matrix, sums = carry
        return (level + 1, *double(matrix, sums))

    if differentiable:
        matrix, sums = jax.lax.fori_loop(0, FOREVER, lambda _, carry: double(*carry), first_update(model))
    else:
        _, matrix, sums = jax.lax.while_loop(going_on, step, (0, *first_update(model)))
    state = act(matrix, Twofold.of(start_state(model)[:, 0]))
    noise = kicks(sums, Twofold.of(model.kick))
    return risk_of_squares(model, squares_left(model, state) + times(model.noise, noise.rounded))
