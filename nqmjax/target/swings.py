r"""Strides through a run that swings: one bound of the risk between its points for all directions together.

`nqmjax.dynamics.intervals` bounds each direction by itself, and then the sum is as small as if all of them met at zero. They
do not; here is what a direction with two state variables allows, of roots `z` of `z^2 - T z + P`.

**Swinging directions** (`apart = T^2 / 4 - P < 0`, `P <= 1`). The noise-free iterate is `phi_j = C rho^j cos(w j + v)` with
`rho^2 = P` and `sin w = sqrt(-apart / P)`; as a function of real `j`,

    (phi^2)'' = 2 C^2 rho^2j (g^2 (1 + cos u) - 2 g w sin u - w^2 cos u)  <=  C^2 rho^2j (4 g^2 + 2 w^2),

    u = 2 (w j + v),      g = log rho,      because (g^2 - w^2) cos u - 2 g w sin u  <=  g^2 + w^2.

Nothing changes at whole `j` if `w` becomes `pi - w`, so that `w <= pi / 2` may be taken. `bend` is that factor from above:
`2 |g| = -log P <= (1 - P) / sqrt(P)`, and `w <= s + 0.571 s^3` for `s = sin w`, since `(arcsin s - s) / s^3` grows up to
`pi / 2 - 1`. Half a slope makes `C^2` an invariant, `C^2 = phi^2 + (phi_1 - T phi / 2)^2 / -apart` at any time. Let `F` be the
sum of `w phi^2` over swinging directions. Between two points `n` updates apart it lies above the straight line through them by
no less than `-n^2 / 8` times its largest second derivative, and that falls with time:

    F_j  >=  min(F_s, F_{s+n}) - n^2 / 8 sum_k w_k C_k^2 bend_k      for s <= j <= s + n, C of s or before.

**Falling directions** (two real roots `0 <= z_2 < z_1 <= 1`), if `z_2 phi_s <= phi_{s+1} <= phi_s` for positive `phi_s`, or all
signs changed. In `phi_j = x z_1^j + y z_2^j` then `x >= 0`, and `phi_{j+1} - phi_j`, over `z_2^j`, falls from what is not
positive: `phi` falls for ever, to a limit that is not negative. So `phi^2` is never less than at the end of a stride.

Any other direction counts for nothing: one that swings too fast for the stride, is close to critical damping, or grows.

The points themselves come from `phi_{(k+1) n} = T_n phi_{k n} - P_n phi_{(k-1) n}`, which costs a dozen operations where a look
ahead costs eighty, by blocks: `phi_{k n}` as a combination of two points whose coefficients are the same in every block.

Rounding. An error of one point grows at most like the number of points, 64. With the errors of `T_n` and of coefficients that
is no more than `2^20 eps C` of any of them, and `64^2 / 2` times what the power `A_n` has lost, of which `Span.margin` is a
bound with much to spare: `ROUNDING eps + TURNS margin` is more than twice both. Points only bound: a run gets on by the powers.
"""

from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp

from nqmjax.dynamics import Model, Position, act, dot

BLOCK = 8
"""Points that are computed at once."""

POINTS = 64
"""Points of one scan at most."""

CLEAR = 1e-3
"""How far from critical damping a direction has to be, relative to the terms of its discriminant."""

SHORT = 2.0
"""`n^2 bend` from which on strides are too long for a direction: it would lose more than it is worth."""

ROUNDING, TURNS = 2.0**22, 2.0**6


class Swings(NamedTuple):
    """What the roots of each direction say, once for all times."""

    weight: jax.Array
    trace: jax.Array  # T - 2
    product: jax.Array  # P - 1
    root: jax.Array  # of the size of `apart`
    bend: jax.Array
    swings: jax.Array
    falls: jax.Array

    @classmethod
    def of(cls, model: Model) -> Self:
        """Of a model with two state variables that depends on nothing else."""
        (p, q), (r, s) = model.increment
        trace, at_one = p + s, p * s - q * r
        product, apart = trace + at_one, trace**2 / 4 - at_one
        terms = trace**2 / 4 + jnp.abs(p * s) + jnp.abs(q * r)
        sure = (jnp.abs(apart) > CLEAR * terms) & (product > -1) & (product <= 0)
        swings = sure & (apart < 0)
        falls = sure & (apart > 0) & (trace <= 0) & (trace >= -2) & (at_one >= 0)
        sine = jnp.where(swings, -apart / (1 + product), 0)  # squared
        bend = jnp.where(swings, product**2 / (1 + product), 0) + 2 * sine * (1 + 0.571 * sine) ** 2
        root = jnp.where(sure, jnp.sqrt(jnp.abs(apart)), 1)
        return cls(model.weight * model.initial, trace, product, root, bend, swings, falls)


class Stride(NamedTuple):
    """A stride of `length = 2^level` updates; `increment` and `margin` are those of its span."""

    level: jax.Array
    length: jax.Array
    increment: jax.Array
    margin: jax.Array


class Scan(NamedTuple):
    """How many strides stay above the floor, and by how much at least: beyond what strides of twice the length lose."""

    good: jax.Array
    slack: jax.Array


def scan(model: Model, swings: Swings, stride: Stride, here: Position, floor: jax.Array, most: jax.Array) -> Scan:
    """Count the strides from here, `most` of them, up to the first that may take the noise-free risk to the floor or below."""
    state, length = here.state[:, 0], stride.length
    first, moved = dot(model.read, state), dot(model.read, act(model.increment, state))
    second = first + dot(model.read, act(stride.increment, state))
    slope = moved - swings.trace / 2 * first
    swing = swings.swings & (swings.bend * length**2 <= SHORT)
    fall = swings.falls & (first != 0) & (moved * first <= 0) & ((slope + swings.root * first) * first >= 0)
    size = first**2 + jnp.where(swing, (slope / swings.root) ** 2, 0)
    swing_weight, fall_weight = jnp.where(swing, swings.weight, 0), jnp.where(fall, swings.weight, 0)
    loss = 0.126 * length**2 * (swing_weight * swings.bend * size).sum()
    rounding = ROUNDING * jnp.finfo(size.dtype).eps + TURNS * stride.margin
    floor += ((swing_weight + fall_weight) * size * rounding).sum()

    known = swing | fall
    trace = jnp.where(known, 2 + stride.increment[0, 0] + stride.increment[1, 1], 0)
    less = jax.lax.fori_loop(0, stride.level, lambda _, less: less * (2 + less), swings.product)
    product = jnp.where(known, 1 + less, 0)

    def coefficients(carry: Any, _: Any) -> Any:
        before, now = carry
        return (now, trace * now - product * before), (now, product * before)

    _, (ahead, behind) = jax.lax.scan(coefficients, (jnp.zeros_like(trace), jnp.ones_like(trace)), length=BLOCK)

    def going_on(carry: Any) -> jax.Array:
        count, good, *_ = carry
        return (good == count) & (count < most)

    def block(carry: Any) -> Any:
        count, good, before, now, risk, slack = carry
        points = ahead * now - behind * before
        risks = jnp.dot(points**2, swing_weight, precision="highest")
        lowest = jnp.minimum(risks, jnp.concatenate([risk[None], risks[:-1]]))
        above = lowest + (fall_weight * points[-1] ** 2).sum() - floor - loss
        good += jnp.where(above > 0, BLOCK, jnp.arange(BLOCK, dtype=most.dtype)).min()
        last = points[-1], trace * points[-1] - product * points[-2]
        return count + BLOCK, good, *last, risks[-1], jnp.minimum(slack, above.min() - 3 * loss)

    none, start = jnp.zeros_like(most), (jnp.where(known, first, 0), jnp.where(known, second, 0))
    carry = (none, none, *start, (swing_weight * first**2).sum(), jnp.full_like(loss, jnp.inf))
    _, good, *_, slack = jax.lax.while_loop(going_on, block, carry)
    return Scan(jnp.minimum(good, most), slack)
