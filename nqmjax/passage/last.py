"""Rule "stays": the first update after which the risk stays at or below the target."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from nqmjax.dynamics.doubling import FOREVER
from nqmjax.dynamics.intervals import Position, Span, look_ahead, start_position
from nqmjax.dynamics.model import Model
from nqmjax.passage.common import (
    StepsToTarget,
    climb,
    crossing_time,
    floor_log2,
    huge,
    next_level,
    powers_of_two,
    result,
    rounding,
)


class _BothSides(NamedTuple):
    """The walk of `last_passage`, above and below the target."""

    time: jax.Array
    here: Position
    level: jax.Array
    streak: jax.Array
    patience: jax.Array
    limit: jax.Array
    above: jax.Array  # whether the risk here is above the target
    since: jax.Array  # when it last crossed the target
    before: jax.Array  # risk one update before that
    after: jax.Array  # and at it


def last_passage(model: Model, batch_size: jax.Array, target: jax.Array, max_steps: jax.Array) -> StepsToTarget:
    """Rule "stays" for one lane: `batch_size` of shape `(1,)`; `target` without the irreducible loss."""
    model, max_steps = model._replace(noise=model.noise / batch_size), max_steps[0]
    forever = jax.lax.fori_loop(0, FOREVER, lambda _, span: span.doubled(), Span.one_update(model))
    floor, ceiling = target - rounding(target), target + rounding(target)
    near = target * jnp.finfo(target.dtype).eps ** 0.5
    levels = min(FOREVER, jnp.iinfo(max_steps.dtype).bits - 1)
    powers = powers_of_two(levels, max_steps)

    def settled(there: Position) -> jax.Array:
        rest = look_ahead(model, forever, there)
        return rest.upper + rest.end.noise <= ceiling

    table = climb(model, levels, lambda _, there: settled(there) | (there.noise > target))
    latest = jnp.iinfo(max_steps.dtype).max
    end = jnp.where(table.top == levels - 1, latest, powers[table.top])
    end = jnp.where(table.overflow, latest // 2, end)

    def going_on(walk: _BothSides) -> jax.Array:
        return (walk.time < end) & (walk.here.noise <= target) & (walk.here.bias < huge(model))

    def step(walk: _BothSides) -> _BothSides:
        ahead = look_ahead(model, table.span(walk.level), walk.here)
        risk, risk_at_end = walk.here.bias + walk.here.noise, ahead.end.bias + ahead.end.noise
        single = walk.level == 0
        above = (ahead.lower + walk.here.noise > floor) & (risk_at_end > target) & (risk_at_end < huge(model))
        below = (ahead.upper + ahead.end.noise <= ceiling) & (risk_at_end <= target)
        hop = single | jnp.where(walk.above, above, below)
        far = walk.time + powers[walk.level]
        crossed = (risk_at_end <= target) == walk.above
        passed = single & (far > walk.limit)  # see `first_passage`
        crosses = single & (crossed | (passed & (jnp.abs(risk_at_end - target) <= near)))
        time = jnp.where(hop, far, walk.time)
        limit = jnp.where(crosses | passed, end, jnp.where(~hop & crossed, far - 1, walk.limit))
        level, streak, patience = next_level(walk, hop)
        return _BothSides(
            time=time,
            here=jax.tree.map(functools.partial(jnp.where, hop), ahead.end, walk.here),
            level=jnp.clip(level, 0, jnp.minimum(table.top, floor_log2(limit - time))),
            streak=streak,
            patience=patience,
            limit=limit,
            above=walk.above ^ crosses,
            since=jnp.where(crosses, far, walk.since),
            before=jnp.where(crosses, risk, walk.before),
            after=jnp.where(crosses, risk_at_end, walk.after),
        )

    start, zero = start_position(model), jnp.zeros_like(max_steps)
    above = start.bias > target
    none, two = jnp.int32(0), jnp.int32(2)
    walk = _BothSides(zero, start, table.top, none, two, end, above, zero, start.bias, start.bias)
    walk = jax.lax.while_loop(going_on, step, walk)
    reached = ~walk.above & (walk.time >= end) & settled(walk.here) & (walk.since <= max_steps) & (target > 0)
    steps = jnp.where(reached, walk.since.astype(model.weight.dtype), jnp.inf)[None]
    proven, exploded = ~(walk.here.noise <= target) | (target <= 0), ~(walk.here.bias < huge(model))
    return result(model, steps, crossing_time(steps, walk.before, walk.after, target), proven[None], exploded[None])
