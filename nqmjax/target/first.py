"""Rule "first": the first update at which the risk is at or below the target, of many batch sizes in one walk."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nqmjax.dynamics import Model, Position, Span, floor_log2, for_ever, look_ahead, settle, start_position
from nqmjax.target.swings import POINTS, Stride, Swings, scan
from nqmjax.target.table import (
    FOREVER,
    GROWTH,
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

FAILS = 3
"""Hops that fail before strides are scanned."""

SCANS, RETRY = 3, 12
"""Scans in a row that show nothing before hops go on alone, and how many more of those have to fail then."""

ENOUGH = 5
"""Doublings of a stride from which on a look that is as long would be cheaper than a scan."""

LEVELS = 31
"""Doublings of the longest search, 2^31 updates."""


def first_passage(model: Model, batch_size: jax.Array, target: jax.Array, max_steps: jax.Array) -> StepsToTarget:
    """Rule "first" for one lane.

    Args:
      model: at batch size 1.
      batch_size: shape `(b,)`, from large to small.
      target: without the irreducible loss.
      max_steps: shape `(b,)`, not decreasing.
    """

    powers, hopeless = powers_of_two(LEVELS, max_steps), _hopeless(model, batch_size, target)

    def decided(level: jax.Array, there: Position) -> jax.Array:
        noise = there.noise / batch_size
        over = (noise > target) | (powers[level] >= max_steps) | hopeless(there)
        return ((there.bias + noise <= target) | over).all()

    table = climb(model, LEVELS, decided)
    limits = jnp.where(table.enough, jnp.minimum(max_steps, powers[table.top]), max_steps) if model.anchored else max_steps
    swings = None if model.anchored or len(model.read) != 2 else Swings.of(model)
    question = _Question(model, table, swings, powers, batch_size, target, limits)
    walk = jax.lax.while_loop(question.going_on, question.step, question.start())
    # A batch size that ran out of steps before the walk ended was not followed any further.
    followed = max_steps >= walk.time
    proven = ((~(walk.here.noise / batch_size <= target) | hopeless(walk.here)) & followed) | (target <= 0)
    exploded = ~(walk.here.bias < huge(model)) & followed
    crossing = crossing_time(walk.steps, walk.before, walk.after, target)
    return result(model, walk.steps, crossing, proven, exploded, table.lost(walk.steps))


def _hopeless(model: Model, batch_size: jax.Array, target: jax.Array) -> Callable[[Position], jax.Array]:
    """Whether the bias that stays and the noise so far keep the risk above the target from a position on, for ever."""
    if not model.anchored:
        return lambda _: jnp.zeros(batch_size.shape, bool)
    ever = for_ever(model, FOREVER)
    return lambda there: settle(model, ever, there).lower + there.noise / batch_size > target + rounding(target)


class _Stride(NamedTuple):
    """How far the next hop goes, `2^level` updates, and what the hops so far say about it."""

    level: jax.Array
    streak: jax.Array  # hops of this length in a row
    patience: jax.Array  # how many make the next one longer
    smooth: jax.Array  # whether the last hop that failed met the target at its end
    fails: jax.Array  # hops that failed, for the batch size at hand; from `FAILS` on `level` is that of strides to scan


class _Walk(NamedTuple):
    """Where the walk stands, and what is known of each batch size."""

    time: jax.Array
    here: Position
    safe: jax.Array  # a time up to which nothing is missed
    stride: _Stride
    limits: jax.Array  # one update later the target is met, or the search is over
    ends: jax.Array  # risk at that later update, inf where it is not known
    current: jax.Array  # index of the largest batch size that is still under way
    steps: jax.Array  # the answer, inf where not reached yet
    before: jax.Array  # risk one update before that
    after: jax.Array  # and at it
    looks: jax.Array


class _Look(NamedTuple):
    """What a look `2^level` updates ahead shows."""

    time: jax.Array
    end: Position
    single: jax.Array  # whether it is a single update
    met: jax.Array  # whether the batch size at hand meets the target at its end
    clear: jax.Array  # whether the look proves that nothing is missed by going there
    hop: jax.Array  # whether nothing is


class _Question(NamedTuple):
    """What is searched, and the table for it."""

    model: Model
    table: Table
    swings: Swings | None  # where there are two state variables
    powers: jax.Array  # 2^level
    batch_size: jax.Array
    target: jax.Array
    max_steps: jax.Array

    def start(self) -> _Walk:
        """At the start, with what the table tells of each batch size."""
        start = start_position(self.model)
        seen = self.table.bias + self.table.noise / self.batch_size[:, None]
        met = (seen <= self.target) & (self.powers <= self.max_steps[:, None])
        limits = jnp.where(met, self.powers - 1, self.max_steps[:, None]).min(1)
        ends = jnp.where(met & (self.powers - 1 == limits[:, None]), seen, jnp.inf).min(1)
        steps = jnp.where((start.bias <= self.target) & (self.target > 0), jnp.zeros_like(self.batch_size), jnp.inf)
        current = _count((steps < jnp.inf) | (self.max_steps <= 0) | (self.target <= 0))
        none = jnp.zeros_like(current)
        stride = _Stride(none, none, none + 2, self.largest(ends, current) < jnp.inf, none)
        now = jnp.zeros_like(limits[0])
        walk = _Walk(now, start, now, stride, limits, ends, current, steps, steps, steps, none)
        return walk._replace(stride=stride._replace(level=self.longest(walk)))

    def going_on(self, walk: _Walk) -> jax.Array:
        """Whether some batch size is under way that can still meet the target."""
        possible = walk.here.noise / self.largest(self.batch_size, walk.current) <= self.target
        possible &= (walk.here.bias < huge(self.model)) & (walk.looks < MAX_LOOKS)
        return (walk.current < len(self.batch_size)) & possible

    def step(self, walk: _Walk) -> _Walk:
        """Look ahead, write down what is seen, and choose how far to look next."""
        if self.swings is None:
            look = self.look(walk)
            further = self.account(walk, look)
            return further._replace(stride=self.next_hop(walk, look, further))
        scanning = walk.stride.fails >= FAILS
        scan, skip = self.scan, lambda walk: (walk.safe, walk.stride)
        safe, stride = jax.lax.cond(scanning & (walk.safe <= walk.time), scan, skip, walk)
        ahead = floor_log2(safe - walk.time)
        level = jnp.minimum(jnp.where(safe > walk.time, ahead, stride.level), self.longest(walk))
        walk = walk._replace(safe=safe, stride=stride._replace(level=level))
        look = self.look(walk)
        further = self.account(walk, look)
        # Where a look proves by itself about as much as a scan, looks are enough.
        enough = scanning & look.clear & (level >= stride.level + ENOUGH)
        hop = self.next_hop(walk, look, further)
        hop = hop._replace(fails=jnp.where(enough, 0, hop.fails))
        on = scanning & ~enough & (stride.fails >= FAILS) & (further.current == walk.current)
        return further._replace(stride=jax.tree.map(functools.partial(jnp.where, on), stride, hop))

    def scan(self, walk: _Walk) -> tuple[jax.Array, _Stride]:
        """A time up to which strides show that the target is not met, and how long to make them next."""
        assert self.swings is not None
        wanted = (walk.stride.fails >= FAILS) & (walk.safe <= walk.time)
        room = self.largest(walk.limits, walk.current) - walk.time
        level = jnp.clip(floor_log2(room) - 2, 0, jnp.minimum(walk.stride.level, self.table.top))
        length = self.powers[level]
        most = jnp.where(wanted, jnp.minimum(room // length, POINTS), 0).astype(jnp.int32)
        floor = self.target + rounding(self.target) - walk.here.noise / self.batch_size[walk.current]
        spans = self.table.spans
        increment, margin = (jax.lax.dynamic_index_in_dim(x, level, keepdims=False) for x in (spans.increment, spans.margin))
        stride = Stride(level, length.astype(floor.dtype), increment, margin)
        found = scan(self.model, self.swings, stride, walk.here, floor, most)
        longer = (found.good == most) & (found.slack > 0)
        shorter = jnp.where(found.good == 0, 2, jnp.where(found.good < most, 1, 0))
        fails = jnp.where(found.good > 0, FAILS, walk.stride.fails + 1)
        given_up = fails >= FAILS + SCANS
        level = jnp.where(given_up, walk.stride.level + 2 * (SCANS - 1), jnp.maximum(level + longer - shorter, 0))
        fails = jnp.where(given_up, -RETRY, fails)
        stride = walk.stride._replace(level=level.astype(jnp.int32), fails=fails)
        return walk.time + found.good * length, stride

    def look(self, walk: _Walk) -> _Look:
        """Whether the target can be met before the end of the next hop, by the batch size at hand."""
        ahead = look_ahead(self.model, self.table.span(walk.stride.level), walk.here)
        batch, single = self.batch_size[walk.current], walk.stride.level == 0
        risk, risk_at_end = (at.bias + at.noise / batch for at in (walk.here, ahead.end))
        met = risk_at_end <= self.target
        clear = (ahead.lower + walk.here.noise / batch > self.target - rounding(self.target)) & ~met
        tame = risk_at_end < jnp.minimum(GROWTH * jnp.maximum(self.target, risk), huge(self.model))
        time, clear = walk.time + self.powers[walk.stride.level], clear & tame
        return _Look(time, ahead.end, single, met, clear, single | clear | (time <= walk.safe))

    def account(self, walk: _Walk, look: _Look) -> _Walk:
        """Go there if nothing is missed; each batch size that meets the target there has its answer, or a limit."""
        before, after = (at.bias + at.noise / self.batch_size for at in (walk.here, look.end))
        # A longer hop saw the target met here: so it is, but for rounding, or else that hop was too long for the precision.
        passed, near = look.single & (look.time > walk.limits), self.target * (1 + jnp.finfo(after.dtype).eps ** 0.5)
        met = (after <= self.target) | (passed & (after <= near))
        arrived = look.single & met & (walk.steps == jnp.inf) & (look.time <= self.max_steps)
        steps = jnp.where(arrived, look.time.astype(after.dtype), walk.steps)
        time = jnp.where(look.hop, look.time, walk.time)
        nearer = ~look.hop & (after <= self.target) & (look.time <= walk.limits)
        return _Walk(
            time=time,
            here=jax.tree.map(functools.partial(jnp.where, look.hop), look.end, walk.here),
            safe=walk.safe,
            stride=walk.stride,
            limits=jnp.where(nearer, look.time - 1, jnp.where(passed, self.max_steps, walk.limits)),
            ends=jnp.where(nearer, after, jnp.where(passed, jnp.inf, walk.ends)),
            current=_count((steps < jnp.inf) | (time >= self.max_steps)),
            steps=steps,
            before=jnp.where(arrived, before, walk.before),
            after=jnp.where(arrived, after, walk.after),
            looks=walk.looks + 1,
        )

    def next_hop(self, walk: _Walk, look: _Look, further: _Walk) -> _Stride:
        """Twice as far after `patience` hops in a row, half as far after none; or to where the target is expected."""
        stride, next_batch = walk.stride, further.current > walk.current
        failed = ~look.hop
        first, streak = stride.streak == 0, jnp.where(look.hop, stride.streak + 1, 0)
        longer = streak >= stride.patience
        level = stride.level + jnp.where(longer, 1, jnp.where(failed, -1, 0))
        patience = jnp.where(first, jnp.where(failed, jnp.minimum(2 * stride.patience, 16), 2), stride.patience)

        smooth = jnp.where(next_batch, self.largest(further.ends, further.current) < jnp.inf, stride.smooth)
        smooth = jnp.where(failed, look.met, smooth)
        expected = self.expected(further)
        jump = next_batch | (smooth & (expected < level))
        return _Stride(
            level=jnp.clip(jnp.where(jump, expected, level), 0, self.longest(further)),
            streak=jnp.where(jump | longer, 0, streak),
            patience=jnp.where(next_batch, 1, patience),
            smooth=smooth,
            fails=jnp.where(next_batch, 0, stride.fails + failed),
        )

    def longest(self, walk: _Walk) -> jax.Array:
        """Level of the longest hop that is allowed."""
        return jnp.minimum(self.table.top, floor_log2(self.largest(walk.limits, walk.current) - walk.time))

    def expected(self, walk: _Walk) -> jax.Array:
        """Level of a hop to where `log R`, were it a straight line, meets the target."""
        room, end = (self.largest(values, walk.current) for values in (walk.limits - walk.time, walk.ends))
        risk = walk.here.bias + walk.here.noise / self.largest(self.batch_size, walk.current)
        share = jnp.log(risk / self.target) / jnp.log(risk / jnp.maximum(end, jnp.finfo(end.dtype).tiny))
        return floor_log2((share * (room + 1)).astype(room.dtype))

    def largest(self, values: jax.Array, current: jax.Array) -> jax.Array:
        """Value of the largest batch size that is under way, of the smallest where none is."""
        return values[jnp.minimum(current, len(self.batch_size) - 1)]


def _count(done: jax.Array) -> jax.Array:
    return done.sum(dtype=jnp.int32)


def first_passage_by_steps(model: Model, batch_size: jax.Array, target: jax.Array, max_steps: jax.Array) -> StepsToTarget:
    """The same as `first_passage`, update by update: slow, and the one to trust."""
    span, start = Span.one_update(model), start_position(model)

    def update(carry: Any) -> Any:
        time, here, steps, crossing = carry
        there = look_ahead(model, span, here).end
        before, after = (at.bias + at.noise / batch_size for at in (here, there))
        now = (after <= target) & (steps == jnp.inf) & (time < max_steps)
        steps = jnp.where(now, (time + 1).astype(steps.dtype), steps)
        return time + 1, there, steps, jnp.where(now, crossing_time(steps, before, after, target), crossing)

    def going_on(carry: Any) -> jax.Array:
        time, here, steps, _ = carry
        return ((steps == jnp.inf) & (time < max_steps) & (here.noise / batch_size <= target)).any() & (here.bias < huge(model))

    steps = jnp.where((start.bias <= target) & (target > 0), jnp.zeros_like(batch_size), jnp.inf)
    carry = (jnp.zeros_like(max_steps[0]), start, steps, steps)
    time, here, steps, crossing = jax.lax.while_loop(going_on, update, carry)
    followed = max_steps >= time
    hopeless = _hopeless(model, batch_size, target)(here)
    proven = ((~(here.noise / batch_size <= target) | hopeless) & followed) | (target <= 0)
    return result(model, steps, crossing, proven, ~(here.bias < huge(model)) & followed)
