r"""Many updates at once under noise that follows the loss: the z-transform of the moments, inverted on a hyperbola.

At `z = e^s` let `G = (expm1(s) - E)^-1` of a direction (`moments`), `k = p_cur G f` and `y = p_cur G z M_0`, and let the
transform of the constant 1 be `u = z / (z - 1)`. The noise of a direction is `n = c u + m L + q p_cur M`, so that

    n = (c u + m L + q y) / (1 - q k),      M = G (z M_0 + f n),
    L = (e u + sum v (y + k (c u + q y) / (1 - q k))) / (1 - K),

with `K = sum v m k / (1 - q k)`: closed, whatever the number of directions. The values at time `t` are the integral of
`M e^(s t)` along a contour around the singularities. These are real and at most some `s*`, but for the *swings*, eigenvalues
that are negative or complex, which the contour leaves out: it is right once they have died away. On the hyperbola
`s = s* + (mu / t1) (1 + sin(iu - alpha))` some thirty midpoints give twelve digits of all `t` in `[t1 / LAMBDA, t1]`.

`s*` is where `K = 1`, or the largest positive eigenvalue of a direction. If it is negative the run settles, at moments `S`, and
`M - S` obeys the same law without `c` and `e`: what is left of it is found relative to itself, however little it is.

Source: Weideman & Trefethen 2007, "Parabolic and hyperbolic contours for computing the Bromwich integral".
"""

import functools
from functools import reduce
from operator import add
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nqmjax.dynamics.moments import Moments

TINY = 1e-290
"""What stands for `s = 0`: a direction that never moves has a zero there."""

FEWEST = 48
"""Updates below which no contour is tried: the transform repeats itself along the imaginary axis."""

DIED_AWAY = 1e-14
"""What is left of swings when a contour is tried first."""

SURE = 100.0
"""Sum of the sizes of a contour's terms, relative to the risk, up to which their sum is that precise."""

UNROLLED = 3
"""Moments of a direction up to which their equations are solved entry by entry."""

HALVINGS = 32
"""Of the logarithm of the distance of `s*` from the largest eigenvalue of a direction."""

NEAREST, FARTHEST = 1e-24, 60.0
"""Ends of that search."""


class Transform(NamedTuple):
    """What the values at any time up to `longest`, and not far below it, are made of: terms at `N` nodes and constants.

    A value at `t` is `constant + Re sum(terms e^(s t))`, of the moments, shape `(d, n)`, and of the two losses.
    """

    s: jax.Array
    moments: jax.Array
    parameter: jax.Array
    scored: jax.Array
    constants: tuple[jax.Array, jax.Array, jax.Array]


@functools.lru_cache
def hyperbola(nodes: int, ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of the upper half, doubled: `f(t) = Re sum(weights F(nodes / t1) e^(nodes t / t1)) / t1`."""
    angle = np.linspace(np.pi / 4 + 1e-3, np.pi / 2 - 1e-3, 4000)
    width = np.arccosh(((np.pi - 2 * angle) * ratio + 4 * angle - np.pi) / ((4 * angle - np.pi) * np.sin(angle)))
    best = ((np.pi**2 - 2 * np.pi * angle) / width).argmax()
    angle, width = angle[best], width[best]
    scale = (4 * np.pi * angle - np.pi**2) / width * nodes
    u = (np.arange(nodes) + 0.5) * width / nodes
    return scale * (1 + np.sin(1j * u - angle)), width / nodes / np.pi * scale * np.cos(1j * u - angle)


def transform(
    system: Moments, start: jax.Array, longest: jax.Array, edge: jax.Array, nodes: int = 32, ratio: float = 9.0
) -> Transform:
    """For times in `[longest / ratio, longest]` after the moments `start`; `edge` is `abscissa(system)`."""
    places, weights = (jnp.asarray(values, jnp.result_type(start, 1j)) for values in hyperbola(nodes, ratio))
    settles = edge * longest < -1
    end: jax.Array = jax.lax.cond(settles, stationary_moments, lambda system: jnp.zeros_like(system.kick), system)
    s = jnp.where(settles, edge, jnp.maximum(edge, 0)) + places / longest
    moments, current, scored = response(system, start - end, s, jnp.where(settles, 0.0, 1.0))
    weights = weights / longest
    level = jnp.where(settles, system.irreducible, 0)
    current_end, scored_end = (level + (system.weight * read(p, list(end))).sum() for p in (system.parameter, system.scored))
    return Transform(s, moments * weights[:, None], current * weights, scored * weights, (end, current_end, scored_end))


def scored_at(found: Transform, t: jax.Array) -> jax.Array:
    """The scored loss at `t`."""
    return found.constants[2] + (found.scored * jnp.exp(found.s * t)).sum().real


def sure_at(found: Transform, t: jax.Array) -> jax.Array:
    """Whether the terms of the scored loss at `t` are not so large that they cancel."""
    return jnp.abs(found.scored * jnp.exp(found.s * t)).sum() <= SURE * scored_at(found, t)


def first_contour(system: Moments, left: Any = DIED_AWAY) -> jax.Array:
    """Updates after which only this much is left of swings, and a contour may be tried."""
    return jnp.clip(jnp.log(left) / jnp.minimum(system.swing, -1e-9), FEWEST, 2.0**30)


def moments_at(found: Transform, t: jax.Array) -> jax.Array:
    """The moments at `t`."""
    return found.constants[0] + (found.moments * jnp.exp(found.s * t)[:, None]).sum(1).real


def response(system: Moments, start: jax.Array, s: jax.Array, sources: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Transforms at the nodes of the moments, shape `(d, N, n)`, and of the losses; `sources` is 1 with `c` and `e`, else 0."""
    s = s[:, None]
    z, w = jnp.exp(s), jnp.expm1(s)
    one = sources * z / w
    moved, kicked = solve(system.increment, w, [[z * m, f + 0 * w] for m, f in zip(start, system.kick, strict=True)])
    y, k = read(system.parameter, moved), read(system.parameter, kicked)
    free = 1 / (1 - system.own * k)
    noise = (system.noise * one + system.own * y) * free
    coupling = (system.weight * system.gain * k * free).sum(-1, keepdims=True)
    current = (system.irreducible * one + (system.weight * (y + k * noise)).sum(-1, keepdims=True)) / (1 - coupling)
    noise = noise + system.gain * current * free
    moments = [x + g * noise for x, g in zip(moved, kicked, strict=True)]
    scored = system.irreducible * one[:, 0] + (system.weight * read(system.scored, moments)).sum(-1)
    return jnp.stack(moments), current[:, 0], scored


def stationary_moments(system: Moments) -> jax.Array:
    """Where the moments settle, of a run that does."""
    return settled_moments(system, jnp.zeros_like(system.kick))


def settled_moments(system: Moments, kept: jax.Array) -> jax.Array:
    """The same where some directions keep the moments `kept` for ever, and have no noise."""
    (kicked,) = solve(system.increment, TINY, [[f] for f in system.kick])
    k = read(system.parameter, kicked)
    free = 1 / (1 - system.own * k)
    noise = system.noise * free
    coupling = (system.weight * system.gain * k * free).sum()
    known = system.irreducible + (system.weight * (k * noise + read(system.parameter, list(kept)))).sum()
    return jnp.stack(kicked) * (noise + system.gain * known / (1 - coupling) * free) + kept


def read(reader: jax.Array, moments: list[jax.Array]) -> jax.Array:
    """`p . M` of moments that need not be positive."""
    return reduce(add, (p * m for p, m in zip(reader, moments, strict=True)))


def solve(increment: jax.Array, w: Any, rows: list[list[jax.Array]]) -> tuple[list[jax.Array], ...]:
    """Solutions `x` of `(w - E) x = right`, for each column of the rows; eliminated from the last row up.

    The last moments decay fast, and the first, of the iterate itself, slowly: what is left of its small entries is sums of
    small terms.
    """
    size = len(increment)
    if size > UNROLLED:
        return _solve_in_a_loop(increment, w, rows)
    matrix = [[(w if i == j else 0) - increment[i, j] for j in range(size)] for i in range(size)]
    rows = [list(row) for row in rows]
    for p in reversed(range(size)):
        inverse = 1 / matrix[p][p]
        for i in range(p):
            factor = matrix[i][p] * inverse
            for j in range(p):
                matrix[i][j] = matrix[i][j] - factor * matrix[p][j]
            rows[i] = [entry - factor * below for entry, below in zip(rows[i], rows[p], strict=True)]
        rows[p] = [entry * inverse for entry in rows[p]]
        matrix[p] = [entry * inverse for entry in matrix[p]]
    for p in range(size):
        for j in range(p):
            rows[p] = [entry - matrix[p][j] * known for entry, known in zip(rows[p], rows[j], strict=True)]
    return tuple([row[column] for row in rows] for column in range(len(rows[0])))


def _solve_in_a_loop(increment: jax.Array, w: Any, rows: list[list[jax.Array]]) -> tuple[list[jax.Array], ...]:
    """The same with all entries in one array: more to compute, far less to compile."""
    size = len(increment)
    right = jnp.stack([jnp.stack(row) for row in rows])
    unit = jnp.eye(size, dtype=right.dtype).reshape(size, size, *[1] * (right.ndim - 2))
    left = jnp.expand_dims(increment, tuple(range(2, 2 + right.ndim - increment.ndim)))
    table = jnp.concatenate([jnp.broadcast_to(w * unit - left, (size, size, *right.shape[2:])), right], axis=1)

    def eliminate(table: jax.Array, p: jax.Array) -> tuple[jax.Array, None]:
        row = table[p] / table[p, p]
        return (table - table[:, p, None] * row[None]).at[p].set(row), None

    table, _ = jax.lax.scan(eliminate, table, jnp.arange(size)[::-1])
    return tuple([table[i, size + column] for i in range(size)] for column in range(right.shape[1]))


def abscissa(system: Moments) -> jax.Array:
    """`s*`, to the left of which all is that the contour must enclose; negative where the run settles."""
    system = jax.lax.stop_gradient(system)
    coupled = (system.weight * system.gain + system.own > 0) & (system.kick != 0).any(0)
    low, alone = jnp.where(coupled, system.growth, -jnp.inf).max(), jnp.maximum(system.growth.max(), system.floor)

    def beyond(s: jax.Array) -> jax.Array:
        (kicked,) = solve(system.increment, jnp.expm1(s), [[f] for f in system.kick])
        k = jnp.where(coupled, read(system.parameter, kicked), 0)
        free = 1 - system.own * k
        return (free > 0).all() & ((system.weight * system.gain * k / free).sum() < 1)

    settles = (low < 0) & beyond(jnp.full_like(low, TINY))
    start = jnp.where(jnp.isfinite(low), low, 0)
    top = jnp.log(jnp.where(settles, -start, FARTHEST))
    bracket = jnp.full_like(low, np.log(NEAREST)), top

    def halve(_: Any, bracket: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        middle = (bracket[0] + bracket[1]) / 2
        right = beyond(start + jnp.exp(middle))
        return jnp.where(right, bracket[0], middle), jnp.where(right, middle, bracket[1])

    high = jax.lax.fori_loop(0, HALVINGS, halve, bracket)[1]
    root = jnp.where(jnp.isfinite(low), start + jnp.exp(high), -jnp.inf)
    return jnp.maximum(jnp.minimum(root, jnp.where(settles, 0, jnp.inf)), alone)
