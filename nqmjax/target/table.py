"""What the searches for the first and the last passage share: the table of powers, the length of the next hop, statuses."""

import enum
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp

from nqmjax.dynamics import Model, Position, Span, look_ahead, plus_unit, quadratic, squared_size, start_position, unstable

MAX_STEPS = 2**31 - 1
"""The largest number of updates that is searched."""

MAX_LOOKS = 2**16
"""Looks ahead that a search may take. Each third at least is a hop, so that answers up to 40,000 updates are always found."""

GROWTH = 2**20
"""Growth of the risk over one hop, from where it is or from the target, beyond which bounds are mere rounding."""

LOST = 2.0**32
"""Rounding, in units of a single one, beyond which no answer is told: what the longest search loses where nothing cancels."""

FOREVER = 62
"""Doublings after which a run has forgotten its start: 2^62 updates."""


class Status(enum.IntEnum):
    """What became of a run, in `steps_to_target`, `sweep` and `tune`."""

    REACHED = 0
    """The target was reached; the number of steps is exact."""
    NEVER = 1
    """It provably never is: the risk settles above the target and no update on the way dips to it."""
    DIVERGED = 2
    """A direction is unstable, and the risk has grown past the target for good."""
    OUT_OF_STEPS = 3
    """Not within `max_steps`, or not with the work (some 65,000 looks ahead) or the digits that a search may take; what comes
    later is not known."""


class StepsToTarget(NamedTuple):
    """`steps` (a float, inf where not reached) and `status` (see `Status`).

    `crossing` is `steps` made continuous: where the straight line between the logarithms of the risks of the last two
    updates meets the target, after `steps - 1` and not after `steps`, but for rounding.
    """

    steps: Any
    status: Any
    crossing: Any


class Table(NamedTuple):
    """Spans of `2^l` updates for `l = 0 .. top`, and the two parts of the risk after `2^l` updates from the start.

    `enough` and `overflow` tell why there are no more. `rounding` is what it has taken by then, in units of a single one,
    squared: see `_Powers`.
    """

    spans: Span
    top: jax.Array
    enough: jax.Array
    overflow: jax.Array
    bias: jax.Array
    noise: jax.Array
    rounding: jax.Array

    def span(self, level: jax.Array) -> Span:
        picked = jax.tree.map(lambda entry: jax.lax.dynamic_index_in_dim(entry, level, keepdims=False), self.spans)
        return jax.lax.optimization_barrier(picked)  # copied once, not read again by each use

    def lost(self, steps: jax.Array) -> jax.Array:
        """What rounding has taken by so many updates, inf for all that were looked at; squared."""
        level = jnp.ceil(jnp.log2(jnp.maximum(steps, 1)))
        return self.rounding[jnp.minimum(level, self.top + self.overflow).astype(jnp.int32)]


class _Powers(NamedTuple):
    """The power that comes next, and how much of itself rounding has taken, in units of one rounding.

    `A_n` is off by about `n |A - I|` roundings of itself if nothing cancels where powers are squared, and by `|A_n|^2 / |A_2n|`
    times as much if something does: next to a double eigenvalue of -1, half of all digits go at once. A direction that has
    come to rest does not count any more, nor a variable that never moves. All of these are squares here, of each direction but
    for `lost`.
    """

    span: Span
    size: jax.Array
    rounding: jax.Array
    cancelled: jax.Array
    lost: jax.Array

    @classmethod
    def start(cls, model: Model) -> Self:
        """A single update."""
        span = Span.one_update(model)
        size = _map_size(model, span)
        rounding = jnp.minimum(squared_size(model.inner), 4)  # relative to a larger map it is less
        return cls(span, size, rounding, jnp.ones_like(size), jnp.zeros((), size.dtype))

    def counted(self, model: Model) -> Self:
        """With what this power has lost."""
        alive = (self.size > jnp.finfo(self.size.dtype).eps) & (model.weight > 0)
        return self._replace(lost=jnp.maximum(self.lost, jnp.where(alive, self.rounding * self.cancelled, 0).max()))

    def doubled(self, model: Model) -> Self:
        """Twice as many updates."""
        span = self.span.doubled()
        size = _map_size(model, span)
        cancelled = self.size * (self.size / size)
        cancelled = jnp.where(cancelled > self.cancelled, cancelled, self.cancelled)  # nothing, or too much, is left: NaN
        return type(self)(span, size, 4 * self.rounding, cancelled, self.lost)


def _map_size(model: Model, span: Span) -> jax.Array:
    """Squared size of what moves by itself in each direction, apart from the start that drives it."""
    return squared_size(plus_unit(span.increment[: model.moving, : model.moving]))


def climb(model: Model, levels: int, enough: Callable[[jax.Array, Position], jax.Array]) -> Table:
    """Square until `enough(level, position after 2^level updates)`, until an overflow or to the last level."""
    start = start_position(model)

    def going_on(carry: Any) -> jax.Array:
        level, *_, stop, _ = carry
        return ~stop & (level < levels)

    def square_once(carry: Any) -> Any:
        level, powers, rows, _, _ = carry
        powers = powers.counted(model)
        there = look_ahead(model, powers.span, start).end
        row = powers.span, there.bias, there.noise, powers.lost
        rows = jax.tree.map(lambda rows, row: jax.lax.dynamic_update_index_in_dim(rows, row, level, 0), rows, row)
        overflow = ~((there.bias < huge(model)) & (there.noise < huge(model)))
        return level + 1, powers.doubled(model), rows, enough(level, there) | overflow, overflow

    powers = _Powers.start(model)
    spans = jax.tree.map(lambda row: jnp.zeros((levels, *row.shape), row.dtype), powers.span)
    unknown, false = jnp.full(levels, jnp.inf, model.weight.dtype), jnp.zeros((), bool)
    carry = (jnp.zeros((), jnp.int32), powers, (spans, unknown, unknown, jnp.zeros_like(unknown)), false, false)
    level, _, (spans, bias, noise, lost), stop, overflow = jax.lax.while_loop(going_on, square_once, carry)
    return Table(spans, jnp.maximum(level - 1 - overflow, 0), stop & ~overflow, overflow, bias, noise, lost)


def result(
    model: Model, steps: jax.Array, crossing: jax.Array, proven: jax.Array, exploded: jax.Array, lost: Any = 0.0
) -> StepsToTarget:
    """Give each batch size its status.

    `proven` where the noise alone exceeds the target, `exploded` where the bias is huge; nothing is told where too much is
    `lost` to rounding, squared.
    """
    told = lost <= LOST**2
    reached = (steps < jnp.inf) & told
    look = (exploded | proven) & ~reached & told
    grows = jax.lax.cond(look.any(), lambda: _unstable(model), lambda: jnp.zeros((), bool))
    failed = jnp.where((proven & told) | _still(model), Status.NEVER, Status.OUT_OF_STEPS)
    failed = jnp.where(look & grows, Status.DIVERGED, failed)
    status = jnp.where(reached, Status.REACHED, failed).astype(jnp.int8)
    steps, crossing = (jnp.where(reached, value, jnp.inf) for value in (steps, crossing))
    return StepsToTarget(steps, status, crossing)


def _still(model: Model) -> jax.Array:
    """Whether the scored iterate never moves: not in as many updates as there are state variables, so not ever."""
    span = Span.one_update(model)
    for _ in range((len(model.read) - 1).bit_length()):
        span = span.doubled()
    kicks = quadratic(span.sums[:, :, 0] + span.sums[:, :, 1], model.kick)
    return ((quadratic(span.sums[:, :, 0], model.start) == 0) & (kicks == 0)).all()


def _unstable(model: Model) -> jax.Array:
    """Whether the powers of a direction that counts grow without bound."""
    return (unstable(model.inner) & (model.weight > 0)).any()


def crossing_time(steps: jax.Array, before: jax.Array, after: jax.Array, target: jax.Array) -> jax.Array:
    """Where `log R`, a straight line between the updates `steps - 1` and `steps`, meets the target."""
    after = jnp.maximum(after, jnp.finfo(after.dtype).tiny)
    drop = jnp.log(before) - jnp.log(after)
    return steps - jnp.where(drop > 0, jnp.clip((jnp.log(target) - jnp.log(after)) / drop, 0, 1), 0)


def huge(model: Model) -> Any:
    """A risk from which a run does not come back; its square does not overflow."""
    return jnp.finfo(model.weight.dtype).max ** 0.25


def rounding(target: jax.Array) -> jax.Array:
    """How far rounding may put a bound off the target: dips of less than that cannot be told in this precision.

    Without it, a run that has settled within rounding of its target is followed update by update.
    """
    return 8 * jnp.finfo(target.dtype).eps * jnp.abs(target)


def powers_of_two(count: int, like: jax.Array) -> jax.Array:
    """`2^l` for `l = 0 .. count - 1`, integers of the type of `like`."""
    return jnp.left_shift(jnp.ones((), like.dtype), jnp.arange(count, dtype=like.dtype))
