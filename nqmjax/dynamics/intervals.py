r"""Certified bounds of the risk over an interval of `n` updates, for any linear system, from its two ends and two sums.

Along a direction let `phi_j = r A^j x` be the noise-free iterate from state `x`, `0 <= j <= n`, and

    d_j = phi_{j+1} - phi_j,     e_j = phi_{j+1} + phi_j,     so that     phi_{j+1}^2 - phi_j^2 = d_j e_j.

By Cauchy and Schwarz the total variation of `phi^2` over the interval is at most `V = sqrt(sum d_j^2 sum e_j^2)`, and no
value strays from the two ends by more than the variation that is left over after joining them:

    (phi_0^2 + phi_n^2 - V) / 2  <=  phi_j^2  <=  (phi_0^2 + phi_n^2 + V) / 2.

A single exponential has `d_j` proportional to `e_j`: the lower bound is then its smaller end, exactly, however long the
interval. Both sums are quadratic forms of the state, `x^T D_n x` and `x^T S_n x`, whose matrices obey

    D_2n = D_n + A_n^T D_n A_n,      D_1 = d d^T,  d = (A - I)^T r,      (S_n with d = (A + I)^T r).

The noise accumulated in `n` updates is `(c / B) sum_j psi_j^2` with `psi_j = r A^j y`, `y = A^s b`; it never decreases, and
`4 sum psi_j^2 = y^T (S_n + D_n) y - 2 (psi_n^2 - psi_0^2)`. No property of `A` is used: not stability, not real roots. In
floating point `V` carries a margin for its rounding, without which a growing direction, where `V` is nearly the larger end,
would hide an early dip.
"""

from typing import NamedTuple, Self

import jax
import jax.numpy as jnp

from nqmjax.dynamics.matrices import apply, dot, outer, quadratic, sandwich, square, transpose
from nqmjax.dynamics.model import Model, start_state

MARGIN = 2**14
"""Margin of the variation, in units of its rounding; what a few dozen squarings of a small matrix lose."""


class Span(NamedTuple):
    """What `n` updates do: `increment` is `A_n - I`, shape `(m, m, n)`; `sums` is `D_n` and `S_n`, shape `(m, m, 2, n)`."""

    increment: jax.Array
    sums: jax.Array

    @classmethod
    def one_update(cls, model: Model) -> Self:
        """The span of a single update."""
        moved = jnp.stack([dot(model.read, column) for column in transpose(model.increment)])
        return cls(model.increment, outer(jnp.stack([moved, moved + 2 * model.read], axis=1)))

    def doubled(self) -> Self:
        """The span of twice as many updates."""
        return type(self)(square(self.increment), self.sums + sandwich(transpose(self.increment)[:, :, None], self.sums))


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
    change, total = quadratic(span.sums, here.state[:, :1])
    both = quadratic(span.sums[:, :, 0] + span.sums[:, :, 1], here.state[:, 1])
    read = model.read[:, None]
    (first, kick), (last, kick_at_end) = dot(read, here.state) ** 2, dot(read, state) ** 2
    variation = jnp.sqrt(change * total)
    weight = model.weight * model.initial
    slack = MARGIN * jnp.finfo(variation.dtype).eps * variation
    lower = (weight * jnp.maximum(first + last - variation - slack, 0)).sum() / 2
    upper = (weight * (first + last + variation + slack)).sum() / 2
    kicks = jnp.maximum(both - 2 * (kick_at_end - kick), 0)
    noise = here.noise + (model.weight * model.noise * kicks).sum() / 4
    return Interval(Position(state, (weight * last).sum(), noise), lower, upper)
