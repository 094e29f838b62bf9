r"""Risks of optimizers that are not linear: the moments of their closure, one update at a time, or many where little changes.

The first updates are made one by one. Then, where the optimizer can leap, `2^l` are made at once, at most a share of those made
so far, with `l` such that the errors of all leaps add up to some 1e-4 of the risk for each factor of ten in updates.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nqmjax.dynamics.intervals import floor_log2
from nqmjax.dynamics.model import in_one_precision, times
from nqmjax.optimizers import MeanFieldOptimizer

LANES = 64
"""Runs that are followed side by side on an accelerator."""


SHORTEST = 5
"""Leaps are of `2^5` updates at least; shorter ones cost as much as the updates."""

SHARE = 4
"""Leaps are of `2^-4` of the updates made so far at most, so that no oscillation is stepped over while it lasts."""

GROWING = 0.2
"""Share of the error allowed below which the next leap is twice as long: then it makes some four times the error."""

ERROR = 3e-4
"""Error of the risk that a leap may make, relative to it and to the share of the updates made so far that it makes."""


class Walk(NamedTuple):
    """A run under way: the updates made, the moments after them, the next leap to try and the updates to make before it."""

    step: jax.Array
    moments: Any
    level: jax.Array
    wait: jax.Array


def begin(problem: Any, optimizer: MeanFieldOptimizer) -> Walk:
    """A run before its first update."""
    zero = jnp.zeros((), jnp.uint32)
    return Walk(zero, optimizer.start(problem), jnp.asarray(SHORTEST, jnp.int32), jnp.zeros((), jnp.int32))


def follow(problem: Any, optimizer: MeanFieldOptimizer, inverse_batch: Any, walk: Walk) -> Walk:
    """One more update."""
    moments = optimizer.update(problem, walk.moments, inverse_batch, walk.step.astype(problem.curvature.dtype))
    return walk._replace(step=walk.step + 1, moments=moments, wait=jnp.maximum(walk.wait - 1, 0))


def advance(
    problem: Any, optimizer: MeanFieldOptimizer, inverse_batch: Any, walk: Walk, end: jax.Array, most: Any = 31
) -> Walk:
    """One more update, or a leap of at most `2^most` that does not pass `end`; the same walk where a leap fails."""
    if not optimizer.leaps:
        return follow(problem, optimizer, inverse_batch, walk)
    room = floor_log2(jnp.minimum(end - walk.step, walk.step >> SHARE))
    level = jnp.minimum(jnp.minimum(walk.level, room), jnp.asarray(most, jnp.int32))

    def leap(walk: Walk) -> Walk:
        step, count = walk.step.astype(problem.curvature.dtype), jnp.left_shift(1, level).astype(walk.step.dtype)
        moments, doubt = optimizer.leap(problem, walk.moments, inverse_batch, step, level)
        weight = 0.5 * problem.count * problem.curvature
        risk = times(weight, optimizer.squares(moments)).sum()
        error = times(weight, doubt).sum() / risk / (ERROR * count.astype(step.dtype) / step)
        longer = level + (error < GROWING).astype(jnp.int32)
        done = walk._replace(step=walk.step + count, moments=moments, level=longer)
        shorter, pause = jnp.maximum(level - 1, SHORTEST), jnp.where(level > SHORTEST, 0, 1 << SHORTEST)
        failed = walk._replace(level=shorter, wait=pause.astype(jnp.int32))
        return jax.tree.map(lambda yes, no: jnp.where(error <= 1, yes, no), done, failed)

    return jax.lax.cond(
        (level >= SHORTEST) & (walk.wait == 0), leap, lambda walk: follow(problem, optimizer, inverse_batch, walk), walk
    )


def excess_of_groups(problem: Any, optimizer: MeanFieldOptimizer, walk: Walk) -> jax.Array:
    """What each group adds to the risk, shape `(n,)`; inf, never NaN, once it has overflowed."""
    excess = times(0.5 * problem.count * problem.curvature, optimizer.squares(walk.moments))
    return jnp.where(jnp.isnan(excess), jnp.inf, excess)


def risk_of(problem: Any, optimizer: MeanFieldOptimizer, walk: Walk) -> jax.Array:
    """The risk, a number."""
    return problem.irreducible + excess_of_groups(problem, optimizer, walk).sum()


def map_runs(function: Callable, *settings: Any) -> Any:
    """`function` of every entry of `settings`, pytrees whose leaves broadcast to one shape `S`; results of shape `S + ..`."""
    leaves, structure = jax.tree.flatten(settings)
    leaves = jnp.broadcast_arrays(*leaves)
    flat = jax.tree.unflatten(structure, [leaf.ravel() for leaf in leaves])
    side_by_side = {} if jax.default_backend() == "cpu" else {"batch_size": LANES}
    found = jax.lax.map(lambda entries: function(*entries), flat, **side_by_side)
    return jax.tree.map(lambda values: values.reshape(leaves[0].shape + values.shape[1:]), found)


@functools.partial(jax.jit, static_argnames="num_steps")
def mean_field_curve(
    problem: Any, optimizer: MeanFieldOptimizer, batch_size: Any, num_steps: int
) -> tuple[jax.Array, jax.Array | None]:
    """Risks after every update, shape `S + (num_steps + 1,)`, and the fewest directions that carry a norm, shape `S`."""
    problem, optimizer, batch_size = in_one_precision((problem, optimizer, batch_size))

    def curve(optimizer: Any, batch_size: Any) -> tuple[jax.Array, jax.Array | None]:
        def update(walk: Walk, _: None) -> tuple[Walk, tuple[jax.Array, jax.Array | None]]:
            carriers = optimizer.carriers(problem, walk.moments, 1 / batch_size)
            return follow(problem, optimizer, 1 / batch_size, walk), (risk_of(problem, optimizer, walk), carriers)

        last, (risks, carriers) = jax.lax.scan(update, begin(problem, optimizer), length=num_steps)
        fewest = None if carriers is None else carriers.min(initial=jnp.inf)
        return jnp.append(risks, risk_of(problem, optimizer, last)), fewest

    return map_runs(curve, optimizer, batch_size)


@functools.partial(jax.jit, static_argnames="length")
def mean_field_risk(problem: Any, optimizer: Any, batch_size: Any, steps: Any, length: int | None) -> jax.Array:
    """Risk after `steps` updates; with a static `length`, the most that there are, in a form that has gradients."""
    problem, optimizer, batch_size = in_one_precision((problem, optimizer, batch_size))

    def end(optimizer: Any, batch_size: Any, steps: Any) -> jax.Array:
        def update(walk: Walk, _: None) -> tuple[Walk, None]:
            return jax.lax.cond(walk.step < steps, follow_on, lambda walk: walk, walk), None

        follow_on, onward = (functools.partial(move, problem, optimizer, 1 / batch_size) for move in (follow, advance))
        walk = begin(problem, optimizer)
        if length is None:
            walk = jax.lax.while_loop(lambda walk: walk.step < steps, lambda walk: onward(walk, steps), walk)
        else:
            walk, _ = jax.lax.scan(update, walk, length=length)
        return risk_of(problem, optimizer, walk)

    return map_runs(end, optimizer, batch_size, jnp.asarray(steps).astype(jnp.uint32))


@jax.jit
def mean_field_risks_of_pieces(problem: Any, optimizer: Any, inverse_batch: Any, steps: Any) -> jax.Array:
    """Risks `(pieces + 1,)`, of hyperparameters, `1 / B` and unsigned `steps` of shape `(pieces,)`."""
    problem, optimizer, inverse_batch = in_one_precision((problem, optimizer, inverse_batch))
    steps = jnp.asarray(steps).astype(jnp.uint32)
    optimizer = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, steps.shape), optimizer)

    def piece(walk: Walk, piece: Any) -> tuple[Walk, jax.Array]:
        optimizer, inverse_batch, steps = piece
        end = walk.step + steps
        onward = functools.partial(advance, problem, optimizer, inverse_batch)
        walk = jax.lax.while_loop(lambda walk: walk.step < end, lambda walk: onward(walk, end), walk)
        return walk, risk_of(problem, optimizer, walk)

    first = jax.tree.map(lambda leaf: leaf[0], optimizer)
    start = begin(problem, first)
    _, risks = jax.lax.scan(piece, start, (optimizer, inverse_batch, steps))
    return jnp.concatenate([risk_of(problem, first, start)[None], risks])
