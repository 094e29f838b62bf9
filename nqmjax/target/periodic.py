r"""Rule "first" for optimizers with a period: update by update where the target may be met, whole periods where it cannot.

A period that has been walked gives two things. The noise at a phase of the period never decreases from one period to the
next, so that the least of a period bounds the noise of all later updates. And the sums of squares of the differences and
of the sums of successive iterates, over the updates of a period, are quadratic forms of the state at its start, so that
`nqmjax.dynamics.intervals` bounds the bias over any number of periods as over updates. Where both together stay above the
target, that many periods are passed at once. Each crossing is met by walking, and therefore exact.

What weight decay of the inner optimizer leaves of the bias is the same at all phases: the point where it rests is one that
synchronisations do not move.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nqmjax.dynamics import Model, Position, Span, floor_log2, look_ahead, period_span, quadratic, sandwich, settle, update
from nqmjax.target.table import FOREVER, GROWTH, MAX_LOOKS, StepsToTarget, crossing_time, huge, result, rounding

LEVELS = 31
"""Doublings of the longest hop, `2^30` periods."""

MAX_UPDATES = 2**20
"""Updates that a search may walk one by one."""


class _Run(NamedTuple):
    """Where a run stands: its state, shape `(m, 1, n)`, and the second moments of its noise at batch size 1."""

    time: jax.Array
    state: jax.Array
    moments: jax.Array
    bias: jax.Array
    noise: jax.Array


class _Walk(NamedTuple):
    """The run, what is known of each batch size, and the work done."""

    run: _Run
    steps: jax.Array  # the answer, inf where not reached yet
    crossing: jax.Array
    least: jax.Array  # the least noise of the period that was walked last
    level: jax.Array  # the next hop is of 2^level periods
    looks: jax.Array
    walked: jax.Array


class _Hop(NamedTuple):
    """What `2^level` periods do."""

    span: Span
    noise: jax.Array


class _Question(NamedTuple):
    """What is searched, and the table of hops for it."""

    model: Model
    hops: _Hop
    ever: Span | None
    period: jax.Array
    batch_size: jax.Array
    target: jax.Array
    max_steps: jax.Array

    def over(self, walk: _Walk) -> jax.Array:
        """Which batch sizes need not be followed further: reached, out of steps, or never to be reached."""
        return (walk.steps < jnp.inf) | (walk.run.time >= self.max_steps) | self.hopeless(walk)

    def hopeless(self, walk: _Walk) -> jax.Array:
        """Which batch sizes have too much noise at every phase, or with it a bias that stays."""
        if self.ever is None:
            return walk.least / self.batch_size > self.target
        bias = settle(self.model, self.ever, self.position(walk)).lower
        return walk.least / self.batch_size + jnp.nan_to_num(bias) > self.target + rounding(self.target)

    def position(self, walk: _Walk) -> Position:
        """Where the run stands, without its noise."""
        state = jnp.concatenate([walk.run.state, jnp.zeros_like(walk.run.state)], axis=1)
        return Position(state, walk.run.bias, walk.run.noise)

    def going_on(self, walk: _Walk) -> jax.Array:
        """Whether the search goes on."""
        able = (walk.run.bias < huge(self.model)) & (walk.looks < MAX_LOOKS) & (walk.walked < MAX_UPDATES)
        return ~self.over(walk).all() & able

    def step(self, walk: _Walk) -> _Walk:
        """A period update by update, then hops as long as nothing is missed."""
        walk = walk._replace(least=jnp.full_like(walk.least, jnp.inf))
        walk = self.update(walk)
        walk = jax.lax.while_loop(self.within, self.update, walk)
        whole = walk.run.time % self.period == 0
        walk = walk._replace(least=jnp.where(whole, walk.least, -jnp.inf), level=jnp.maximum(walk.level, 0))
        return jax.lax.while_loop(self.hopping, self.hop, walk)

    def within(self, walk: _Walk) -> jax.Array:
        """Whether a period is under way that has to be walked to its end."""
        done = (walk.steps < jnp.inf) | (walk.run.time >= self.max_steps)
        able = (walk.run.bias < huge(self.model)) & (walk.walked < MAX_UPDATES)
        return (walk.run.time % self.period != 0) & ~done.all() & able

    def update(self, walk: _Walk) -> _Walk:
        """One update; each batch size that meets the target by it has its answer."""
        time = walk.run.time + 1
        run = standing(self.model, time, *update(self.model, time, walk.run.state, walk.run.moments))
        before, after = (at.bias + at.noise / self.batch_size for at in (walk.run, run))
        now = (after <= self.target) & (walk.steps == jnp.inf) & (time <= self.max_steps)
        steps = jnp.where(now, time.astype(after.dtype), walk.steps)
        crossing = jnp.where(now, crossing_time(steps, before, after, self.target), walk.crossing)
        least = jnp.minimum(walk.least, run.noise)
        return walk._replace(run=run, steps=steps, crossing=crossing, least=least, walked=walk.walked + 1)

    def room(self, walk: _Walk) -> jax.Array:
        """Whole periods that are left."""
        return (self.max_steps[-1] - walk.run.time) // self.period

    def hopping(self, walk: _Walk) -> jax.Array:
        """Whether to look ahead once more."""
        return (walk.level >= 0) & (self.room(walk) > 0) & self.going_on(walk) & (walk.least > -jnp.inf)

    def hop(self, walk: _Walk) -> _Walk:
        """Look `2^level` periods ahead, go there if nothing is missed, and next time look twice or half as far."""
        level = jnp.minimum(walk.level, floor_log2(self.room(walk)))
        hop = jax.tree.map(lambda entry: jax.lax.dynamic_index_in_dim(entry, level, keepdims=False), self.hops)
        ahead = look_ahead(self.model, hop.span, self.position(walk))
        largest = jnp.where(self.over(walk), 0, self.batch_size).max()
        clear = ahead.lower + walk.least / largest > self.target + rounding(self.target)
        tame = ahead.end.bias < jnp.minimum(GROWTH * jnp.maximum(self.target, walk.run.bias), huge(self.model))
        time = walk.run.time + jnp.left_shift(jnp.ones_like(walk.run.time), level.astype(walk.run.time.dtype)) * self.period
        moments = sandwich(hop.span.increment, walk.run.moments) + hop.noise
        there = standing(self.model, time, ahead.end.state[:, :1], moments)
        going = clear & tame
        return walk._replace(
            run=jax.tree.map(lambda new, old: jnp.where(going, new, old), there, walk.run),
            level=jnp.where(going, jnp.minimum(level + 1, LEVELS - 1), level - 1),
            looks=walk.looks + 1,
        )


def standing(model: Model, time: jax.Array, state: jax.Array, moments: jax.Array) -> _Run:
    """The run at this time, with the two parts of its risk."""
    bias = (model.weight * model.initial * (model.read * state[:, 0]).sum(0) ** 2).sum()
    return _Run(time, state, moments, bias, (model.weight * quadratic(moments, model.read)).sum())


def periodic_passage(model: Model, batch_size: jax.Array, target: jax.Array, max_steps: jax.Array) -> StepsToTarget:
    """Rule "first" for one lane of an optimizer with a period; the arguments are those of `first_passage`."""
    period = model.period[0].astype(max_steps.dtype)
    span, noise = period_span(model, MAX_UPDATES)

    def double(hop: _Hop, _: Any) -> tuple[_Hop, _Hop]:
        return _Hop(hop.span.doubled(), hop.noise + sandwich(hop.span.increment, hop.noise)), hop

    _, hops = jax.lax.scan(double, _Hop(span, noise), length=LEVELS)
    ever = jax.lax.fori_loop(0, FOREVER, lambda _, span: span.doubled(), span) if model.anchored else None
    question = _Question(model, hops, ever, period, batch_size, target, max_steps)
    walk = jax.lax.while_loop(question.going_on, question.step, _start(model, batch_size, target, max_steps))
    followed = max_steps >= walk.run.time
    proven = (question.hopeless(walk) & followed) | (target <= 0)
    exploded = ~(walk.run.bias < huge(model)) & followed
    return result(model.replace(increment=span.increment), walk.steps, walk.crossing, proven, exploded)


def _start(model: Model, batch_size: jax.Array, target: jax.Array, max_steps: jax.Array) -> _Walk:
    run = standing(model, jnp.zeros_like(max_steps[0]), model.start[:, None], jnp.zeros_like(model.increment))
    steps = jnp.where((run.bias <= target) & (target > 0), jnp.zeros_like(batch_size), jnp.inf)
    steps = jnp.where(target > 0, steps, jnp.inf)
    none = jnp.zeros((), jnp.int32)
    return _Walk(run, steps, steps, jnp.full_like(run.noise, -jnp.inf), none, none, none)
