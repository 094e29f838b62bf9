"""Rule "stays": the first update after which the risk stays at or below the target.

That is the one after the last update above the target, and the search for the last need not follow those before. Once
squaring has come to `2^k` updates after which the upper bound over all that follow is at or below the target, the part
before is halved again and again, the later half first. A part whose upper bound is at or below the target is done with;
earlier halves wait, at most one of each length. How often the risk passes through the target before costs nothing.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from nqmjax.dynamics import Model, Position, for_ever, look_ahead, settle, start_position
from nqmjax.target.table import (
    FOREVER,
    MAX_LOOKS,
    StepsToTarget,
    Table,
    climb,
    crossing_time,
    huge,
    powers_of_two,
    result,
    rounding,
)


class _Part(NamedTuple):
    """Updates `time` to `time + 2^level`, from the position at `time`."""

    time: jax.Array
    here: Position


class _Search(NamedTuple):
    """The search of `last_passage`: the part at hand, and those that wait, stacked by their level."""

    part: _Part
    level: jax.Array
    waiting: jax.Array
    parts: _Part
    looks: jax.Array
    over: jax.Array  # found, or no part is left
    steps: jax.Array  # the answer once found; 0 until then, as if the risk were never above the target
    before: jax.Array  # risk one update before that
    after: jax.Array  # and at it


def last_passage(model: Model, batch_size: jax.Array, target: jax.Array, max_steps: jax.Array) -> StepsToTarget:
    """Rule "stays" for one lane: `batch_size` of shape `(1,)`; `target` without the irreducible loss."""
    model, max_steps = model.replace(noise=model.noise / batch_size), max_steps[0]
    ever = for_ever(model, FOREVER)
    levels = min(FOREVER, jnp.iinfo(max_steps.dtype).bits - 1)

    def settled(there: Position) -> jax.Array:
        rest = settle(model, ever, there)
        return rest.upper + rest.end.noise <= target + rounding(target)

    def hopeless(there: Position) -> jax.Array:
        return settle(model, ever, there).lower + there.noise > target + rounding(target)

    table = climb(model, levels, lambda _, there: settled(there) | hopeless(there) | (there.noise > target))
    last = table.top + table.overflow
    start = start_position(model)
    end = look_ahead(model, table.span(table.top), start).end
    exploded, proven = ~(table.bias[last] < huge(model)), ~(table.noise[last] <= target) | (target <= 0)
    settles = ~exploded & ~proven & settled(end)
    proven |= hopeless(end)
    search = _start(start, table, powers_of_two(levels, max_steps), ~settles)
    search = jax.lax.while_loop(
        lambda search: ~search.over & (search.looks < MAX_LOOKS),
        functools.partial(_step, model, table, powers_of_two(levels, max_steps), target),
        search,
    )
    reached = settles & search.over & (search.steps <= max_steps)
    steps = jnp.where(reached, search.steps.astype(model.weight.dtype), jnp.inf)[None]
    crossing = crossing_time(steps, search.before, search.after, target)
    return result(model, steps, crossing, proven[None], exploded[None], table.lost(steps))


def _start(start: Position, table: Table, powers: jax.Array, over: jax.Array) -> _Search:
    """All updates up to those after which the risk has settled are one part."""
    part = _Part(jnp.zeros_like(powers[0]), start)
    parts = jax.tree.map(lambda entry: jnp.zeros((len(powers), *entry.shape), entry.dtype), part)
    waiting = jnp.zeros(len(powers), bool)
    return _Search(part, table.top, waiting, parts, jnp.int32(0), over, part.time, start.bias, start.bias)


def _step(model: Model, table: Table, powers: jax.Array, target: jax.Array, search: _Search) -> _Search:
    """Look at the part: it is done with, or it is the update sought, or its later half comes next."""
    (time, here), level, half = search.part, search.level, jnp.maximum(search.level - 1, 0)
    whole, middle = look_ahead(model, table.span(level), here), look_ahead(model, table.span(half), here).end
    risk, risk_at_end = here.bias + here.noise, whole.end.bias + whole.end.noise
    single, above = level == 0, (risk > target)
    below = ~above & (risk_at_end <= target) & (whole.upper + whole.end.noise <= target + rounding(target))
    found, halve = single & above, ~single & ~below

    waits = jnp.argmax(search.waiting).astype(level.dtype)  # the shortest is the latest
    later = _Part(time + powers[half], middle)
    parts = jax.tree.map(lambda stack, entry: _put(stack, entry, half, halve), search.parts, search.part)
    earlier = jax.tree.map(lambda stack: stack[waits], search.parts)
    return _Search(
        part=jax.tree.map(functools.partial(jnp.where, halve), later, earlier),
        level=jnp.where(halve, half, waits),
        waiting=search.waiting.at[jnp.where(halve, half, waits)].set(halve),
        parts=parts,
        looks=search.looks + 1,
        over=found | ~(halve | search.waiting.any()),
        steps=jnp.where(found, time + 1, search.steps),
        before=jnp.where(found, risk, search.before),
        after=jnp.where(found, risk_at_end, search.after),
    )


def _put(stack: jax.Array, entry: jax.Array, index: jax.Array, wanted: jax.Array) -> jax.Array:
    """The stack with the entry at the index, if it is wanted there."""
    return stack.at[index].set(jnp.where(wanted, entry, stack[index]))
