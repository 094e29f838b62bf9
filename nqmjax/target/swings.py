r"""Many points of an oscillating run at once, with one bound of the risk between them for all directions together."""

from typing import NamedTuple, Self

import jax
import jax.numpy as jnp

from nqmjax.dynamics import Model, Position, Span, act, dot

BLOCK = 8
POINTS = 64
CLEAR = 1e-3
SHORT = 2.0
ROUNDING = 2.0**16


class Swings(NamedTuple):
    """What the roots of each direction's two state variables say, once for all times."""

    weight: jax.Array
    trace: jax.Array  # less 2
    apart: jax.Array  # of the two roots: a quarter of the discriminant, negative where they are complex
    decay: jax.Array  # logarithm of the determinant
    bend: jax.Array
    swings: jax.Array
    falls: jax.Array

    @classmethod
    def of(cls, model: Model) -> Self:
        (p, q), (r, s) = model.increment
        trace, at_one = p + s, p * s - q * r
        apart = trace**2 / 4 - at_one
        far = jnp.abs(apart) > CLEAR * (jnp.abs(at_one) + trace**2 / 4)
        inside = (trace + at_one >= -1) & (trace + at_one <= 0)
        decay = jnp.where(inside, jnp.log1p(jnp.where(inside, trace + at_one, 0)), 0)
        swings = far & (apart < 0) & inside
        turn = jnp.arctan2(jnp.sqrt(jnp.where(swings, -apart, 1)), jnp.abs(1 + trace / 2))
        falls = far & (apart > 0) & inside & (trace <= 0) & (trace >= -2) & (at_one >= 0)
        bend = jnp.where(swings, decay**2 + 2 * turn**2, 0)
        return cls(model.weight * model.initial, trace, apart, decay, bend, swings, falls)


class Scan(NamedTuple):
    good: jax.Array
    slack: jax.Array


def scan(model: Model, swings: Swings, span: Span, here: Position, length: jax.Array, floor: jax.Array, most: jax.Array) -> Scan:
    """How many strides of `length` updates from here stay above `floor`."""
    state = here.state[:, 0]
    z0, d0 = dot(model.read, state), dot(model.read, act(model.increment, state))
    z1 = z0 + dot(model.read, act(span.increment, state))
    slope = d0 - swings.trace / 2 * z0
    swing = swings.swings & (swings.bend * length**2 <= SHORT)
    size = jnp.where(swings.swings, slope**2 / jnp.where(swings.swings, -swings.apart, 1), 0) + z0**2
    slow = slope + jnp.sqrt(jnp.maximum(swings.apart, 0)) * z0
    fall = swings.falls & (d0 * z0 <= 0) & (slow * z0 >= 0)
    member = swing | fall
    trace = jnp.where(member, 2 + span.increment[0, 0] + span.increment[1, 1], 0)
    product = jnp.where(member, jnp.exp(length * swings.decay), 0)
    swing_weight, fall_weight = jnp.where(swing, swings.weight, 0), jnp.where(fall, swings.weight, 0)
    loss = (swing_weight * size * swings.bend).sum() * length**2 / 8
    fuzz = ROUNDING * jnp.finfo(size.dtype).eps * (jnp.where(member, swings.weight, 0) * size).sum()
    fade = jnp.where(swing, swings.decay, -jnp.inf).max() * length
    fade = jnp.where(fade > -jnp.inf, fade, 0)

    powers = [jnp.ones_like(trace), trace]
    for _ in range(BLOCK - 2):
        powers.append(trace * powers[-1] - product * powers[-2])
    ahead = jnp.stack(powers)
    behind = jnp.stack([jnp.zeros_like(trace), *(product * p for p in powers[:-1])])
    ahead, behind = jax.lax.optimization_barrier((ahead, behind))

    def going_on(carry):
        count, good = carry[:2]
        return (good == count) & (count < most)

    def block(carry):
        count, good, a, b, last, slack = carry
        z = ahead * b - behind * a
        risks = jnp.dot(z * z, swing_weight)
        least = jnp.minimum(risks, jnp.concatenate([last[None], risks[:-1]]))
        losses = loss * jnp.exp(fade * (count + jnp.arange(BLOCK)))
        room = least - losses + (fall_weight * z[-1] ** 2).sum() - fuzz - floor
        clear = room > 0
        fresh = jnp.where(clear.all(), BLOCK, jnp.argmin(clear)).astype(count.dtype)
        slack = jnp.minimum(slack, (room - 3 * losses).min())
        return count + BLOCK, good + fresh, z[-1], trace * z[-1] - product * z[-2], risks[-1], slack

    none = jnp.zeros_like(most)
    start = (none, none, jnp.where(member, z0, 0), jnp.where(member, z1, 0), (swing_weight * z0**2).sum(), jnp.full_like(loss, jnp.inf))
    _, good, *_, slack = jax.lax.while_loop(going_on, block, start)
    return Scan(jnp.minimum(good, most), slack)
