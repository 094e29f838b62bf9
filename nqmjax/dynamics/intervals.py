r"""Certified bounds of the risk over an interval of `n` updates, for any linear system, from its two ends and two sums.

Along a direction let `phi_j = r A^j x` be the noise-free iterate from state `x`, `0 <= j <= n`, and

    d_j = phi_{j+1} - phi_j,     e_j = phi_{j+1} + phi_j,     so that     phi_{j+1}^2 - phi_j^2 = d_j e_j.

By Cauchy and Schwarz the total variation of `phi^2` over the interval is at most `V = sqrt(sum d_j^2 sum e_j^2)`, and no
value strays from the two ends by more than the variation that is left over after joining them:

    (phi_0^2 + phi_n^2 - V) / 2  <=  phi_j^2  <=  (phi_0^2 + phi_n^2 + V) / 2.

Nor does any value that an end has stand outside: the lower bound is at most the smaller end, the upper one at least the
larger. A single exponential (one state variable) is monotone in `phi^2`, so that its bounds are its ends.

Both sums are quadratic forms of the state, `x^T D_n x` and `x^T S_n x`, whose matrices obey

    D_2n = D_n + A_n^T D_n A_n,      D_1 = d d^T,  d = (A - I)^T r,      (S_n with d = (A + I)^T r).

The noise accumulated in `n` updates is `(c / B) sum_j psi_j^2` with `psi_j = r A^j y`, `y = A^s b`; it never decreases, and
`4 sum psi_j^2 = y^T (S_n + D_n) y - 2 (psi_n^2 - psi_0^2)`. No property of `A` is used: not stability, not real roots.

Rounding. At the edge of stability the iterate changes its sign at each update, or nearly: `e_j` is then far smaller than
its terms, and `x^T S_n x` cancels (`x^T D_n x` where the iterate hardly moves). A sum that comes out too small, below zero
even, would be a bound that does not hold. Both matrices are sums of squares, `|P_ij| <= sqrt(P_ii P_jj)`, so that the terms
of `x^T P x` add up to at most `(sum_i sqrt(P_ii) |x_i|)^2 <= m sum_i P_ii x_i^2`, and no sum of them errs by more than some
multiple of `eps` times that: the share `margin` of `P_ii x_i^2` is added, and a bound is never better than its rounding.
A power, and with it these matrices, loses digits with each change of the order of itself, `n |A - I|` of them in `n`
updates, so that the margin grows as that does.
"""

from functools import reduce
from operator import add
from typing import NamedTuple, Self

import jax
import jax.numpy as jnp

from nqmjax.dynamics.matrices import apply, dot, outer, quadratic, sandwich, square, squared_size, transpose
from nqmjax.dynamics.model import Model, start_state

MARGIN = 2**12
"""Margin of a sum of squares, in units of its rounding: what a few dozen squarings of a small matrix lose."""

TURN = 2**8
"""The same for each change of a direction of the order of itself."""

GROWN = 2**20
"""Growth of what is read of a direction, squared, beyond which bounds from below are not trusted."""


class Span(NamedTuple):
    """What `n` updates do: `increment` is `A_n - I`, shape `(m, m, n)`; `sums` is `D_n` and `S_n`, shape `(m, m, 2, n)`.

    `margin` is the part that grows with `n` of the share of itself by which a sum of squares may be off.
    """

    increment: jax.Array
    sums: jax.Array
    margin: jax.Array

    @classmethod
    def one_update(cls, model: Model) -> Self:
        """The span of a single update."""
        moved = jnp.stack([dot(model.read, column) for column in transpose(model.increment)])
        return cls(model.increment, both_sums(moved, model.read), margin_of(model.increment))

    def doubled(self) -> Self:
        """The span of twice as many updates."""
        sums = self.sums + sandwich(transpose(self.increment)[:, :, None], self.sums)
        return type(self)(square(self.increment), sums, 2 * self.margin)


class Position(NamedTuple):
    """Where a run stands after `s` updates: `state` holds `A^s e_1` and `A^s b`, shape `(m, 2, n)`.

    `bias` and `noise` are the two parts of the risk, apart from the irreducible loss, at batch size 1.
    """

    state: jax.Array
    bias: jax.Array
    noise: jax.Array


class Interval(NamedTuple):
    """The end of an interval, and bounds of the bias part from here to there, both ends included."""

    end: Position
    lower: jax.Array
    upper: jax.Array


def start_position(model: Model) -> Position:
    """Before the first update."""
    bias = (model.weight * model.initial).sum()
    return Position(start_state(model), bias, jnp.zeros_like(bias))


def look_ahead(model: Model, span: Span, here: Position) -> Interval:
    """Bounds over the `n` updates of `span` from `here`, and where they lead; the model's batch size is 1."""
    state = apply(span.increment[:, :, None], here.state)
    both = quadratic(span.sums[:, :, 0] + span.sums[:, :, 1], here.state[:, 1])
    read = model.read[:, None]
    (first, kick), (last, kick_at_end) = dot(read, here.state) ** 2, dot(read, state) ** 2
    lower, upper = jnp.minimum(first, last), jnp.maximum(first, last)
    if len(model.read) > 1:
        change, total = sums_of_squares(span, here.state[:, :1])
        variation = jnp.sqrt(change * total)
        lower = jnp.clip((first + last - variation) / 2, 0, lower)
        # Of a direction that has grown so far the variation is known to some digits fewer than the difference needs.
        lower = jnp.where(last > GROWN * first, 0, lower)
        upper = jnp.maximum((first + last + variation) / 2, upper)
    weight = model.weight * model.initial
    kicks = jnp.maximum(both - 2 * (kick_at_end - kick), 0)
    noise = here.noise + (model.weight * model.noise * kicks).sum() / 4
    end = Position(state, (weight * last).sum(), noise)
    return Interval(end, (weight * lower).sum(), (weight * upper).sum())


def sums_of_squares(span: Span, x: jax.Array) -> jax.Array:
    """`x^T D_n x` and `x^T S_n x`, from above: with what rounding may have taken."""
    diagonal = reduce(add, (span.sums[i, i] * (x[i] * x[i]) for i in range(len(x))))
    return quadratic(span.sums, x) + (MARGIN * jnp.finfo(x.dtype).eps + span.margin) * diagonal


def both_sums(moved: jax.Array, read: jax.Array) -> jax.Array:
    """`d d^T` and `e e^T` of one update that changes what is read by `d = moved`; shape `(m, m, 2, n)`."""
    return outer(jnp.stack([moved, moved + 2 * read], axis=1))


def margin_of(increment: jax.Array) -> jax.Array:
    """The margin of a map in each direction, by its size."""
    return TURN * jnp.finfo(increment.dtype).eps * jnp.sqrt(squared_size(increment))


def floor_log2(value: jax.Array) -> jax.Array:
    """`floor(log2(value))` of an integer, 0 below 2."""
    bits = jnp.iinfo(value.dtype).bits
    return (bits - 1 - jax.lax.clz(jnp.maximum(value, 1))).astype(jnp.int32)
