"""Rule "first": the first update at which the risk is at or below the target, of many batch sizes in one walk."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nqmjax.dynamics import Model, Position, look_ahead, start_position
from nqmjax.target.table import (
    GROWTH,
    MAX_LOOKS,
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


class _Walk(NamedTuple):
    """The walk of `first_passage`; next a hop of `2^level` updates."""

    time: jax.Array
    here: Position
    level: jax.Array
    streak: jax.Array  # hops of this length in a row
    patience: jax.Array  # how many make the next one longer
    limits: jax.Array  # of each batch size: one update later the target is met, or the search is over
    ends: jax.Array  # risk at that later update, inf where it is not known
    smooth: jax.Array  # whether the last hop that failed met the target at its end
    current: jax.Array  # index of the largest batch size that is still under way
    steps: jax.Array  # of each batch size, inf where not reached yet
    before: jax.Array  # risk one update before that
    after: jax.Array  # and at it
    looks: jax.Array


def first_passage(model: Model, batch_size: jax.Array, target: jax.Array, max_steps: jax.Array) -> StepsToTarget:
    """Rule "first" for one lane: `batch_size` from large to small, `max_steps` not decreasing, both of shape `(b,)`;
    `target` without the irreducible loss."""
    powers, last = powers_of_two(31, max_steps), len(batch_size) - 1
    info = jnp.finfo(target.dtype)
    floor, near, tiny = target - rounding(target), target * (1 + info.eps**0.5), info.tiny

    def decided(level: jax.Array, there: Position) -> jax.Array:
        noise = there.noise / batch_size
        return ((there.bias + noise <= target) | (noise > target) | (powers[level] >= max_steps)).all()

    table = climb(model, 31, decided)
    seen = table.bias + table.noise / batch_size[:, None]
    met = (seen <= target) & (powers <= max_steps[:, None])
    limits = jnp.where(met, powers - 1, max_steps[:, None]).min(1)  # as far as the table tells
    ends = jnp.where(met & (powers - 1 == limits[:, None]), seen, jnp.inf).min(1)

    def levels(time: jax.Array, here: Position, limits: jax.Array, ends: jax.Array, current: jax.Array) -> Any:
        """Of the longest hop allowed, and of one to where `log R`, were it a straight line, meets the target."""
        which = jnp.minimum(current, last)
        room, risk = limits[which] - time, here.bias + here.noise / batch_size[which]
        share = jnp.log(risk / target) / jnp.log(risk / jnp.maximum(ends[which], tiny))
        expected = (share * (room + 1)).astype(room.dtype)
        return jnp.minimum(table.top, floor_log2(room)), floor_log2(expected)

    def going_on(walk: _Walk) -> jax.Array:
        possible = walk.here.noise / batch_size[jnp.minimum(walk.current, last)] <= target
        return (walk.current <= last) & possible & (walk.here.bias < huge(model)) & (walk.looks < MAX_LOOKS)

    def step(walk: _Walk) -> _Walk:
        ahead, batch = look_ahead(model, table.span(walk.level), walk.here), batch_size[walk.current]
        risk_at_end = ahead.end.bias + ahead.end.noise / batch
        single = walk.level == 0
        clear = (ahead.lower + walk.here.noise / batch > floor) & (risk_at_end > target)
        highest = jnp.minimum(GROWTH * jnp.maximum(target, walk.here.bias + walk.here.noise / batch), huge(model))
        hop = single | (clear & (risk_at_end < highest))
        far = walk.time + powers[walk.level]
        before, after = (at.bias + at.noise / batch_size for at in (walk.here, ahead.end))
        # A longer hop saw the target met here: so it is, but for rounding, or else that hop was too long for the precision.
        passed = single & (far > walk.limits)
        met = (after <= target) | (passed & (after <= near))
        arrived = single & met & (walk.steps == jnp.inf) & (far <= max_steps)
        steps = jnp.where(arrived, far.astype(after.dtype), walk.steps)
        time = jnp.where(hop, far, walk.time)
        current = ((steps < jnp.inf) | (time >= max_steps)).sum()
        here = jax.tree.map(functools.partial(jnp.where, hop), ahead.end, walk.here)
        nearer = ~hop & (after <= target) & (far <= walk.limits)
        limits = jnp.where(nearer, far - 1, jnp.where(passed, max_steps, walk.limits))
        ends = jnp.where(nearer, after, jnp.where(passed, jnp.inf, walk.ends))
        next_batch = current > walk.current
        smooth = jnp.where(next_batch, ends[jnp.minimum(current, last)] < jnp.inf, walk.smooth)
        smooth = jnp.where(hop, smooth, risk_at_end <= target)
        level, streak, patience = next_level(walk, hop)
        longest, expected = levels(time, here, limits, ends, current)
        jump = next_batch | (smooth & (expected < level))
        return _Walk(
            time=time,
            here=here,
            level=jnp.clip(jnp.where(jump, expected, level), 0, longest),
            streak=jnp.where(jump, 0, streak),
            patience=jnp.where(next_batch, 1, patience),
            limits=limits,
            ends=ends,
            smooth=smooth,
            current=current,
            steps=steps,
            before=jnp.where(arrived, before, walk.before),
            after=jnp.where(arrived, after, walk.after),
            looks=walk.looks + 1,
        )

    start, zero = start_position(model), jnp.zeros_like(max_steps[0])
    steps = jnp.where((start.bias <= target) & (target > 0), jnp.zeros_like(batch_size), jnp.inf)
    current = ((steps < jnp.inf) | (max_steps <= 0) | (target <= 0)).sum()
    none, two = jnp.int32(0), jnp.int32(2)
    level, _ = levels(zero, start, limits, ends, current)
    smooth = ends[jnp.minimum(current, last)] < jnp.inf
    walk = _Walk(zero, start, level, none, two, limits, ends, smooth, current, steps, steps, steps, none)
    walk = jax.lax.while_loop(going_on, step, walk)
    # A batch size that ran out of steps before the walk ended was not followed any further.
    followed = max_steps >= walk.time
    proven = (~(walk.here.noise / batch_size <= target) & followed) | (target <= 0)
    crossing = crossing_time(walk.steps, walk.before, walk.after, target)
    return result(model, walk.steps, crossing, proven, ~(walk.here.bias < huge(model)) & followed)
