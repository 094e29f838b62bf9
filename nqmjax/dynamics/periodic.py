r"""Runs that synchronise with a period: `p` updates and a synchronisation are one map, and its powers are many periods.

    P = S A^p,      Q = S (sum_{j<p} A^j b b^T A^jT) S^T,      M  ->  A^s (P^q M P^qT + Q_q) A^sT + ..      for t = q p + s.

What the noise adds is carried as second moments: unlike in `doubling` it depends on the phase at which it came.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from nqmjax.dynamics import matrices, twofold
from nqmjax.dynamics.intervals import Span, both_sums, margin_of
from nqmjax.dynamics.matrices import apply, outer, quadratic, sandwich
from nqmjax.dynamics.model import FOREVER, Model, build_model, risk_of_squares, times, unit_plus, without_idle_directions
from nqmjax.dynamics.pieces import congruence, moments_of_update, repeated
from nqmjax.dynamics.twofold import Twofold, product
from nqmjax.optimizers import LinearSystem

LEVELS = 32
"""Doublings of the longest run, 2^31 updates, and of the longest period."""


def map_of_period(system: Model | LinearSystem) -> Twofold:
    """The map `P` of a period."""
    nothing = Twofold.of(jnp.zeros_like(system.increment))
    updates = repeated(unit_plus(system.increment), nothing, system.period.astype(jnp.uint32), LEVELS)
    return synchronised(system, *updates)[0]


def one_period(model: Model) -> tuple[Twofold, Twofold]:
    """The map of a period, and the second moments that its noise leaves."""
    return synchronised(model, *repeated(*moments_of_update(model), model.period.astype(jnp.uint32), LEVELS))


def synchronised(system: Model | LinearSystem, matrix: Twofold, noise: Twofold) -> tuple[Twofold, Twofold]:
    """A map and the second moments of its noise with a synchronisation behind them."""
    synchronise = unit_plus(system.synchronise)
    return product(synchronise, matrix), congruence(synchronise, noise)


def risk_of_moments(model: Model, matrix: Twofold, noise: Twofold) -> jax.Array:
    """The risk after a map of the start, with the noise that it added."""
    read = Twofold.of(model.read)
    start, spread = (
        twofold.dot(read, twofold.act(entry, vector)).rounded
        for entry, vector in ((matrix, Twofold.of(model.start)), (noise, read))
    )
    return risk_of_squares(model, times(model.initial, start**2) + jnp.maximum(spread, 0))


@jax.jit
def periodic_risk(problem: Any, optimizer: Any, batch_size: Any, steps: Any) -> jax.Array:
    """`risk` of an optimizer with a period."""
    steps = jnp.asarray(steps).astype(jnp.uint32)
    model = without_idle_directions(build_model(problem, optimizer, batch_size, steps.shape))
    period, steps = model.period.astype(jnp.uint32), jnp.broadcast_to(steps, model.noise.shape[:-1])[..., None]
    several = functools.partial(repeated, *moments_of_update(model), levels=LEVELS)
    updates = jax.vmap(several)(jnp.stack([period, steps % period]))  # both at once: compiled once
    whole, (last, added) = (jax.tree.map(lambda part, i=i: part[i], updates) for i in range(2))
    matrix, noise = repeated(*synchronised(model, *whole), steps // period, LEVELS)
    return risk_of_moments(model, product(last, matrix), congruence(last, noise) + added)


@jax.jit
def periodic_stationary_risk(problem: Any, optimizer: Any, batch_size: Any) -> jax.Array:
    """`stationary_risk` of an optimizer with a period, right after a synchronisation."""
    model = without_idle_directions(build_model(problem, optimizer, batch_size))

    def double(_: Any, carry: Any) -> Any:
        matrix, noise = carry
        return product(matrix, matrix), noise + congruence(matrix, noise)

    return risk_of_moments(model, *jax.lax.fori_loop(0, FOREVER, double, one_period(model)))


def update(model: Model, time: jax.Array, state: jax.Array, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
    """States `(m, k) + S + (n,)` and the second moments of the noise after update number `time`, counted from 1."""
    state = apply(model.increment[:, :, None], state)
    noise = sandwich(model.increment, noise) + model.noise * outer(model.kick)
    due = time.astype(jnp.uint32) % model.period.astype(jnp.uint32) == 0
    state = jnp.where(due, apply(model.synchronise[:, :, None], state), state)
    return state, jnp.where(due, sandwich(model.synchronise, noise), noise)


@functools.partial(jax.jit, static_argnames="num_steps")
def periodic_risk_curve(problem: Any, optimizer: Any, batch_size: Any, num_steps: int) -> jax.Array:
    """`risk_curve` of an optimizer with a period."""
    model = without_idle_directions(build_model(problem, optimizer, batch_size))

    def step(carry: Any, time: jax.Array) -> tuple[Any, jax.Array]:
        state, noise = carry
        squares = times(model.initial, matrices.dot(model.read, state[:, 0]) ** 2) + quadratic(noise, model.read)
        return update(model, time, state, noise), risk_of_squares(model, squares)

    start = (model.start[:, None], jnp.zeros_like(model.increment))
    _, risks = jax.lax.scan(step, start, jnp.arange(1, num_steps + 2))
    return jnp.moveaxis(risks, 0, -1)


def period_span(model: Model, longest: int) -> tuple[Span, jax.Array]:
    """The span of a period of at most `longest` updates, and the second moments that its noise leaves.

    Its sums are those over the updates of the period, the synchronisation being part of the last one.
    """
    increment, synchronise, read = model.increment, model.synchronise, model.read
    period = jnp.minimum(model.period[0].astype(jnp.int32), longest)
    moved = matrices.act(matrices.transpose(increment), read)
    shifted = matrices.act(matrices.transpose(synchronise), read)
    last = moved + apply(matrices.transpose(increment), shifted)

    def one(number: Any, carry: Any) -> Any:
        power, noise, sums = carry
        change = apply(matrices.transpose(power), jnp.where(number == period - 1, last, moved))
        sums = sums + both_sums(change, apply(matrices.transpose(power), read))
        noise = sandwich(increment, noise) + model.noise * outer(model.kick)
        return increment + power + matrices.product(increment, power), noise, sums

    zero = jnp.zeros_like(increment)
    power, noise, sums = jax.lax.fori_loop(0, period, one, (zero, zero, both_sums(0 * moved, 0 * moved)))
    whole = synchronise + power + matrices.product(synchronise, power)
    margin = period.astype(zero.dtype) * margin_of(increment) + margin_of(synchronise)
    return Span(whole, sums, margin), sandwich(synchronise, noise)
