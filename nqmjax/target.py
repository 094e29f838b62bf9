r"""Exact steps to target: the first passage of the risk, which need not be monotone.

Hop through time with certified bounds (`nqmjax.dynamics.intervals`): from a time whose risk is above the target, look
`2^l` updates ahead. If the lower bound exceeds the target, no crossing lies in between: hop there, and after two hops
in a row try twice as far. If it does not, halve the distance. A hop of one update has no interior, so its bound is the
risk itself and the answer is exact. Powers of two come from repeated squaring, kept in a table, so that a hop costs a
few multiplications per direction whatever its length.

Three things shorten the walk. The accumulated noise never decreases: once it alone exceeds the target, there is no
crossing any more. A time known to be at or below the target (met while squaring, or at the end of a failed hop) is
never looked beyond before it is passed. And at every time a smaller batch has the larger risk, so that the batch sizes
of one setting of the hyperparameters share one table and one walk, the largest first.

For the rule "stays" the walk goes on below the target with the upper bound, up to a time after which the upper bound
over all later updates is at or below the target.
"""

import enum
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nqmjax.checks import check_choice, check_steps, check_target, is_traced
from nqmjax.dynamics.compiled import map_lanes
from nqmjax.dynamics.doubling import FOREVER
from nqmjax.dynamics.intervals import Position, Span, look_ahead, start_position
from nqmjax.dynamics.matrices import quadratic, square
from nqmjax.dynamics.model import Model, build_model, without_idle_directions
from nqmjax.frontdoor import check_run, check_shapes, evaluate
from nqmjax.optimizers import LinearOptimizer
from nqmjax.problem import NoisyQuadratic

MAX_STEPS = 2**31 - 1
"""The largest number of updates that is searched."""


class Status(enum.IntEnum):
    """What became of a run, in `steps_to_target`, `sweep` and `tune`."""

    REACHED = 0
    """The target was reached; the number of steps is exact."""
    NEVER = 1
    """It provably never is: the risk settles above the target and no update on the way dips to it."""
    DIVERGED = 2
    """A direction is unstable, and the risk has grown past the target for good."""
    OUT_OF_STEPS = 3
    """Not within `max_steps`; what comes later is not known."""


class StepsToTarget(NamedTuple):
    """`steps` (a float, inf where not reached) and `status` (see `Status`).

    `crossing` is `steps` made continuous: where the straight line between the logarithms of the risks of the last two
    updates meets the target, after `steps - 1` and not after `steps`, but for rounding.
    """

    steps: Any
    status: Any
    crossing: Any


def steps_to_target(
    problem: NoisyQuadratic,
    optimizer: LinearOptimizer,
    batch_size: Any,
    target: Any,
    max_steps: Any = MAX_STEPS,
    rule: str = "first",
    dtype: Any = "float64",
) -> StepsToTarget:
    r"""Number of updates until the risk is at or below `target`, exactly.

    `T = min { t : R_t <= target }` (rule "first"), or `T = min { t : R_u <= target for all u >= t }` (rule "stays").
    Exact while the target is above some 10^-30 (float32: 10^-12) of the initial risk: below, rounding decides.

    Args:
      problem: the quadratic.
      optimizer: hyperparameters of any shapes that broadcast with the arguments below.
      batch_size: examples per update.
      target: risk to reach, the irreducible loss included.
      max_steps: updates to search, at most 2^31 - 1.
      rule: "first" or "stays".
      dtype: "float64" or "float32"; arguments under a JAX transformation keep their own precision. In float32 numbers above
        2^24 are rounded, the risks are those of that precision, and rule "stays" looks no further than 2^30 updates.

    Returns:
      `StepsToTarget` of arrays of the broadcast shape; gradients of it are zero.

    Raises:
      ValueError: an argument is out of its range.

    >>> from nqmjax import HeavyBall, power_law
    >>> result = steps_to_target(power_law(10_000), HeavyBall([0.01, 0.1, 9.0], 0.9), batch_size=2**14, target=0.01)
    >>> result.steps, [Status(code).name for code in result.status]
    (array([133449.,  13390.,     inf]), ['REACHED', 'REACHED', 'DIVERGED'])

    Source: the question is that of Zhang et al. 2019, section 3.7; the method is nqmjax's own.
    """
    check_run(problem, optimizer, batch_size)
    check_target(target)
    check_steps("max_steps", max_steps, MAX_STEPS)
    check_choice("rule", rule, ["first", "stays"])
    check_shapes(optimizer, batch_size=batch_size, target=target, max_steps=max_steps)
    outermost = not is_traced(problem, optimizer, batch_size, target, max_steps)
    if not is_traced(max_steps):
        max_steps = np.asarray(max_steps, np.uint32)
    kernel = functools.partial(_broadcast_steps, stays=rule == "stays", outermost=outermost)
    return evaluate(kernel, problem, optimizer, batch_size, target, max_steps, dtype=dtype)


@functools.partial(jax.jit, static_argnames=("stays", "outermost"))
def _broadcast_steps(
    problem: Any, optimizer: Any, batch_size: Any, target: Any, max_steps: Any, stays: bool, outermost: bool
) -> StepsToTarget:
    leaves, structure = jax.tree.flatten((optimizer, batch_size, target, max_steps))
    leaves = jnp.broadcast_arrays(*leaves)
    optimizer, batch_size, target, max_steps = jax.tree.unflatten(structure, [leaf.ravel() for leaf in leaves])
    result = search(problem, optimizer, batch_size[:, None], target, max_steps[:, None], stays, outermost)
    return jax.tree.map(lambda values: values.reshape(leaves[0].shape), result)


def search(
    problem: Any,
    optimizer: Any,
    batch_size: Any,
    target: Any,
    max_steps: Any,
    stays: bool = False,
    outermost: bool = False,
) -> StepsToTarget:
    """Steps of many lanes; a lane is one setting of the hyperparameters with all its batch sizes.

    Args:
      problem: the quadratic.
      optimizer: hyperparameters of shape `(lanes,)`.
      batch_size: shape `(lanes, b)`, each row from large to small; one column for the rule "stays".
      target: shape `(lanes,)`.
      max_steps: shape `(lanes, b)`, no row decreasing.
      stays: the rule "stays" instead of "first".
      outermost: see `map_lanes`.

    Returns:
      `StepsToTarget` of arrays of shape `(lanes, b)`.
    """
    integer = jax.dtypes.canonicalize_dtype(jnp.int64)
    walk = _last_passage if stays else _first_passage

    def lane(problem: Any, lane: Any) -> StepsToTarget:
        optimizer, batch_size, target, max_steps = lane
        model = without_idle_directions(build_model(problem, optimizer, 1.0))
        dtype = model.weight.dtype
        batch_size, max_steps = jnp.asarray(batch_size, dtype), jnp.minimum(max_steps, MAX_STEPS).astype(integer)
        # In units of the initial risk, no start is too large for the precision.
        initial = (model.weight * model.initial).sum()
        unit = jnp.where(initial > 0, initial, 1)
        excess = jnp.asarray(target, dtype) - model.irreducible
        close = (excess > 0) & (jnp.abs(excess - initial) <= _rounding(jnp.abs(excess) + jnp.abs(model.irreducible)))
        model = model._replace(initial=model.initial / unit, noise=model.noise / unit)
        excess = jnp.where(close, 1 + _rounding(jnp.ones((), dtype)), excess / unit)
        return walk(model, batch_size, excess, max_steps)

    lanes = (optimizer, batch_size, target, jnp.asarray(max_steps))
    return map_lanes(lane, *jax.lax.stop_gradient((problem, lanes)), outermost)


class _Table(NamedTuple):
    """Spans of `2^l` updates for `l = 0 .. top`, and the two parts of the risk after `2^l` updates from the start."""

    spans: Span
    top: jax.Array
    overflow: jax.Array
    bias: jax.Array
    noise: jax.Array

    def span(self, level: jax.Array) -> Span:
        picked = jax.tree.map(lambda entry: jax.lax.dynamic_index_in_dim(entry, level, keepdims=False), self.spans)
        return jax.lax.optimization_barrier(picked)  # copied once, not read again by each use


def _climb(model: Model, levels: int, enough: Callable[[jax.Array, Position], jax.Array]) -> _Table:
    """Square until `enough(level, position after 2^level updates)`, until an overflow or to the last level."""
    start = start_position(model)

    def going_on(carry: Any) -> jax.Array:
        level, *_, stop, _ = carry
        return ~stop & (level < levels)

    def climb(carry: Any) -> Any:
        level, span, spans, bias, noise, _, _ = carry
        spans = jax.tree.map(lambda table, row: jax.lax.dynamic_update_index_in_dim(table, row, level, 0), spans, span)
        there = look_ahead(model, span, start).end
        overflow = ~((there.bias < _huge(model)) & (there.noise < _huge(model)))
        stop = enough(level, there) | overflow
        return (
            level + 1,
            span.doubled(),
            spans,
            bias.at[level].set(there.bias),
            noise.at[level].set(there.noise),
            stop,
            overflow,
        )

    span = Span.one_update(model)
    spans = jax.tree.map(lambda row: jnp.zeros((levels, *row.shape), row.dtype), span)
    unknown, false = jnp.full(levels, jnp.inf, model.weight.dtype), jnp.zeros((), bool)
    carry = (jnp.zeros((), jnp.int32), span, spans, unknown, unknown, false, false)
    level, _, spans, bias, noise, _, overflow = jax.lax.while_loop(going_on, climb, carry)
    return _Table(spans, jnp.maximum(level - 1 - overflow, 0), overflow, bias, noise)


class _Walk(NamedTuple):
    """The walk of `_first_passage`; next a hop of `2^level` updates."""

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


def _first_passage(model: Model, batch_size: jax.Array, target: jax.Array, max_steps: jax.Array) -> StepsToTarget:
    """Rule "first" for one lane: `batch_size` from large to small, `max_steps` not decreasing, both of shape `(b,)`;
    `target` without the irreducible loss."""
    powers, last = _powers(31, max_steps), len(batch_size) - 1
    info = jnp.finfo(target.dtype)
    floor, near, tiny = target - _rounding(target), target * (1 + info.eps**0.5), info.tiny

    def decided(level: jax.Array, there: Position) -> jax.Array:
        noise = there.noise / batch_size
        return ((there.bias + noise <= target) | (noise > target) | (powers[level] >= max_steps)).all()

    table = _climb(model, 31, decided)
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
        return jnp.minimum(table.top, _floor_log2(room)), _floor_log2(expected)

    def going_on(walk: _Walk) -> jax.Array:
        possible = walk.here.noise / batch_size[jnp.minimum(walk.current, last)] <= target
        return (walk.current <= last) & possible & (walk.here.bias < _huge(model))

    def step(walk: _Walk) -> _Walk:
        ahead, batch = look_ahead(model, table.span(walk.level), walk.here), batch_size[walk.current]
        risk_at_end = ahead.end.bias + ahead.end.noise / batch
        single = walk.level == 0
        clear = (ahead.lower + walk.here.noise / batch > floor) & (risk_at_end > target)
        hop = single | (clear & (risk_at_end < _huge(model)))
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
        level, streak, patience = _next_level(walk, hop)
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
        )

    start, zero = start_position(model), jnp.zeros_like(max_steps[0])
    steps = jnp.where((start.bias <= target) & (target > 0), jnp.zeros_like(batch_size), jnp.inf)
    current = ((steps < jnp.inf) | (max_steps <= 0) | (target <= 0)).sum()
    none, two = jnp.int32(0), jnp.int32(2)
    level, _ = levels(zero, start, limits, ends, current)
    smooth = ends[jnp.minimum(current, last)] < jnp.inf
    walk = _Walk(zero, start, level, none, two, limits, ends, smooth, current, steps, steps, steps)
    walk = jax.lax.while_loop(going_on, step, walk)
    # A batch size that ran out of steps before the walk ended was not followed any further.
    followed = max_steps >= walk.time
    proven = (~(walk.here.noise / batch_size <= target) & followed) | (target <= 0)
    crossing = _crossing(walk.steps, walk.before, walk.after, target)
    return _result(model, walk.steps, crossing, proven, ~(walk.here.bias < _huge(model)) & followed)


class _BothSides(NamedTuple):
    """The walk of `_last_passage`, above and below the target."""

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


def _last_passage(model: Model, batch_size: jax.Array, target: jax.Array, max_steps: jax.Array) -> StepsToTarget:
    """Rule "stays" for one lane: `batch_size` of shape `(1,)`; `target` without the irreducible loss."""
    model, max_steps = model._replace(noise=model.noise / batch_size), max_steps[0]
    forever = jax.lax.fori_loop(0, FOREVER, lambda _, span: span.doubled(), Span.one_update(model))
    floor, ceiling = target - _rounding(target), target + _rounding(target)
    near = target * jnp.finfo(target.dtype).eps ** 0.5
    levels = min(FOREVER, jnp.iinfo(max_steps.dtype).bits - 1)
    powers = _powers(levels, max_steps)

    def settled(there: Position) -> jax.Array:
        rest = look_ahead(model, forever, there)
        return rest.upper + rest.end.noise <= ceiling

    table = _climb(model, levels, lambda _, there: settled(there) | (there.noise > target))
    latest = jnp.iinfo(max_steps.dtype).max
    end = jnp.where(table.top == levels - 1, latest, powers[table.top])
    end = jnp.where(table.overflow, latest // 2, end)

    def going_on(walk: _BothSides) -> jax.Array:
        return (walk.time < end) & (walk.here.noise <= target) & (walk.here.bias < _huge(model))

    def step(walk: _BothSides) -> _BothSides:
        ahead = look_ahead(model, table.span(walk.level), walk.here)
        risk, risk_at_end = walk.here.bias + walk.here.noise, ahead.end.bias + ahead.end.noise
        single = walk.level == 0
        above = (ahead.lower + walk.here.noise > floor) & (risk_at_end > target) & (risk_at_end < _huge(model))
        below = (ahead.upper + ahead.end.noise <= ceiling) & (risk_at_end <= target)
        hop = single | jnp.where(walk.above, above, below)
        far = walk.time + powers[walk.level]
        crossed = (risk_at_end <= target) == walk.above
        passed = single & (far > walk.limit)  # see `_first_passage`
        crosses = single & (crossed | (passed & (jnp.abs(risk_at_end - target) <= near)))
        time = jnp.where(hop, far, walk.time)
        limit = jnp.where(crosses | passed, end, jnp.where(~hop & crossed, far - 1, walk.limit))
        level, streak, patience = _next_level(walk, hop)
        return _BothSides(
            time=time,
            here=jax.tree.map(functools.partial(jnp.where, hop), ahead.end, walk.here),
            level=jnp.clip(level, 0, jnp.minimum(table.top, _floor_log2(limit - time))),
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
    proven, exploded = ~(walk.here.noise <= target) | (target <= 0), ~(walk.here.bias < _huge(model))
    return _result(model, steps, _crossing(steps, walk.before, walk.after, target), proven[None], exploded[None])


def _next_level(walk: Any, hop: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Twice as far after `patience` hops in a row, half as far after none; more patience after each attempt that failed."""
    streak = jnp.where(hop, walk.streak + 1, 0)
    longer = streak >= walk.patience
    failed_at_once = ~hop & (walk.streak == 0)
    level = walk.level + jnp.where(longer, 1, jnp.where(hop, 0, -1))
    patience = jnp.where(hop & (walk.streak == 0), 2, walk.patience)
    patience = jnp.where(failed_at_once, jnp.minimum(2 * walk.patience, 16), patience)
    return level, jnp.where(longer, 0, streak), patience


def _result(model: Model, steps: jax.Array, crossing: jax.Array, proven: jax.Array, exploded: jax.Array) -> StepsToTarget:
    """Give each batch size its status; `proven` where the noise alone exceeds the target, `exploded` where the bias is huge."""
    reached = steps < jnp.inf
    look = (exploded | proven) & ~reached
    unstable = jax.lax.cond(look.any(), lambda: _unstable(model), lambda: jnp.zeros((), bool))
    failed = jnp.where(proven | _still(model), Status.NEVER, Status.OUT_OF_STEPS)
    failed = jnp.where(look & unstable, Status.DIVERGED, failed)
    return StepsToTarget(steps, jnp.where(reached, Status.REACHED, failed).astype(jnp.int8), crossing)


def _still(model: Model) -> jax.Array:
    """Whether the scored iterate never moves: not in as many updates as there are state variables, so not ever."""
    span = Span.one_update(model)
    for _ in range((len(model.read) - 1).bit_length()):
        span = span.doubled()
    kicks = quadratic(span.sums[:, :, 0] + span.sums[:, :, 1], model.kick)
    return ((span.sums[0, 0, 0] == 0) & (kicks == 0)).all()


def _unstable(model: Model) -> jax.Array:
    """Whether the powers of a direction that counts grow without bound."""
    increment = jax.lax.fori_loop(0, FOREVER, lambda _, increment: square(increment), model.increment)
    return (~(jnp.abs(increment) < 1e15) & (model.weight > 0)).any()


def _crossing(steps: jax.Array, before: jax.Array, after: jax.Array, target: jax.Array) -> jax.Array:
    """Where `log R`, a straight line between the updates `steps - 1` and `steps`, meets the target."""
    after = jnp.maximum(after, jnp.finfo(after.dtype).tiny)
    drop = jnp.log(before) - jnp.log(after)
    return steps - jnp.where(drop > 0, jnp.clip((jnp.log(target) - jnp.log(after)) / drop, 0, 1), 0)


def _huge(model: Model) -> Any:
    """A risk from which a run does not come back; its square does not overflow."""
    return jnp.finfo(model.weight.dtype).max ** 0.25


def _rounding(target: jax.Array) -> jax.Array:
    """How far rounding may put a bound off the target: dips of less than that cannot be told in this precision.

    Without it, a run that has settled within rounding of its target is followed update by update.
    """
    return 8 * jnp.finfo(target.dtype).eps * jnp.abs(target)


def _powers(count: int, like: jax.Array) -> jax.Array:
    """`2^l` for `l = 0 .. count - 1`, integers of the type of `like`."""
    return jnp.left_shift(jnp.ones((), like.dtype), jnp.arange(count, dtype=like.dtype))


def _floor_log2(value: jax.Array) -> jax.Array:
    """`floor(log2(value))` of an integer, 0 below 2."""
    bits = jnp.iinfo(value.dtype).bits
    return (bits - 1 - jax.lax.clz(jnp.maximum(value, 1))).astype(jnp.int32)
