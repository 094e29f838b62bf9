r"""Second moments of every direction in one vector each, for noise that follows the loss.

With `M = E x x^T` of a direction, `L` the loss of the iterate whose gradient is taken and `p . M` short for the mean square
that a reader sees, an update is

    M' = M + E M + f (c + m L + q p_cur . M) / B,      f = b b^T,      L = e + sum_k v_k p_cur . M_k,      v = w h / 2,

`E` the map `M -> A M A^T` less the identity: on the `k (k + 1) / 2` different entries of `M`, and made of `A - I`, so that
slow directions are not lost against 1. The directions are coupled by nothing but the number `L`.
"""

from functools import reduce
from operator import add
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nqmjax.dynamics.model import in_one_precision, times
from nqmjax.optimizers import LinearOptimizer, linear_system
from nqmjax.problem import NoisyQuadratic


class Moments(NamedTuple):
    """One setting of the hyperparameters; `d` moments of a direction, `n` directions. Noises are divided by `B`."""

    increment: jax.Array
    """`E`, shape `(d, d, n)`."""
    kick: jax.Array
    """`f`, shape `(d, n)`."""
    parameter: jax.Array
    """`p` of the iterate whose gradient is taken, shape `(d, n)`."""
    scored: jax.Array
    """`p` of the iterate whose loss is scored, shape `(d, n)`."""
    noise: jax.Array
    gain: jax.Array
    own: jax.Array
    weight: jax.Array
    irreducible: jax.Array
    growth: jax.Array
    """Logarithm of the largest eigenvalue of `I + E` that is positive, shape `(n,)`."""
    swing: jax.Array
    """Logarithm of the largest modulus of all others."""
    floor: jax.Array
    """0 where a start that is kept for ever adds an eigenvalue 1 of its own, as weight decay has it; else -inf."""


def second_moments(problem: NoisyQuadratic, optimizer: LinearOptimizer, batch_size: Any) -> tuple[Moments, jax.Array]:
    """The system of one setting, all hyperparameters numbers, and the moments at its start, shape `(d, n)`."""
    problem, optimizer, batch_size = in_one_precision((problem, optimizer, batch_size))
    system, zero = linear_system(optimizer, problem.curvature), jnp.zeros_like(problem.noise)
    weight = 0.5 * problem.count * problem.curvature
    gain = zero if problem.loss_noise is None else problem.loss_noise
    counts = (weight > 0) & (problem.initial + problem.noise + gain > 0)
    start = jnp.where(counts, problem.initial, 0) * _products(system.start)
    inner, whole = modes(system.increment[: system.moving, : system.moving]), modes(system.increment)
    growth, swing = (jnp.where(counts, logs, -jnp.inf) for logs in (inner[0], whole[1]))
    increment, kick = _congruence(system.increment), _products(system.kick)
    decay = -jnp.eye(len(kick), dtype=kick.dtype)[:, :, None]
    moments = Moments(
        increment=jnp.where(counts, increment, decay),
        kick=jnp.where(counts, kick, 0),
        parameter=_reader(system.parameter),
        scored=_reader(system.read),
        noise=problem.noise / batch_size,
        gain=gain / batch_size,
        own=zero if problem.own_noise is None else problem.own_noise / batch_size,
        weight=jnp.where(counts, weight, 0),
        irreducible=problem.irreducible,
        growth=growth,
        swing=swing.max(),
        floor=jnp.full_like(growth[0], 0.0 if system.moving < len(system.increment) else -jnp.inf),
    )
    return moments, start


def pairs(size: int) -> list[tuple[int, int]]:
    """Places of the different entries of a symmetric matrix."""
    return [(i, j) for i in range(size) for j in range(i, size)]


def matrices(moments: jax.Array) -> jax.Array:
    """The vectors `(d, n)` as symmetric matrices `(k, k, n)`."""
    size = round(((1 + 8 * len(moments)) ** 0.5 - 1) / 2)
    place = {pair: number for number, pair in enumerate(pairs(size))}
    return jnp.stack([jnp.stack([moments[place[min(i, j), max(i, j)]] for j in range(size)]) for i in range(size)])


def seen(reader: jax.Array, moments: jax.Array) -> jax.Array:
    """`p . M`, never negative."""
    return jnp.maximum(reduce(add, (p * m for p, m in zip(reader, moments, strict=True))), 0)


def loss(system: Moments, moments: jax.Array, reader: jax.Array) -> jax.Array:
    """The loss of the iterate that `reader` reads; what has overflowed counts as infinite, never as NaN."""
    found = system.irreducible + times(system.weight, seen(reader, moments)).sum()
    return jnp.where(jnp.isnan(found), jnp.inf, found)


def update_moments(system: Moments, moments: jax.Array) -> jax.Array:
    """The moments after one more update."""
    now = loss(system, moments, system.parameter)
    noise = system.noise + times(system.gain, now) + times(system.own, seen(system.parameter, moments))
    moved = reduce(add, (system.increment[:, j] * moments[j] for j in range(len(moments))))
    return moments + moved + system.kick * noise


def _congruence(increment: jax.Array) -> jax.Array:
    """`M -> A M A^T - M` on the different entries of `M`, of `A - I`, shape `(k, k, n)`."""
    size = len(increment)
    place = {pair: number for number, pair in enumerate(pairs(size))}
    rows = []
    for i, j in pairs(size):
        row = [jnp.zeros_like(increment[0, 0])] * len(place)
        for a in range(size):
            for pair, entry in [((a, j), increment[i, a]), ((i, a), increment[j, a])]:
                row[place[min(pair), max(pair)]] += entry
            for b in range(size):
                row[place[min(a, b), max(a, b)]] += increment[i, a] * increment[j, b]
        rows.append(jnp.stack(row))
    return jnp.stack(rows)


def _products(x: jax.Array) -> jax.Array:
    """The different entries of `x x^T`."""
    return jnp.stack([x[i] * x[j] for i, j in pairs(len(x))])


def _reader(read: jax.Array) -> jax.Array:
    """What to multiply the different entries of `M` with for `r^T M r`."""
    return jnp.stack([read[i] * read[j] * (1 if i == j else 2) for i, j in pairs(len(read))])


REAL = 1e-3
"""Phase, relative to the decay, up to which a mode is as good as one without."""

NO_PHASE = 1e-7
"""Phase that rounding gives to modes that coincide."""


def modes(increment: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Logarithms of the largest positive eigenvalue of the moments' map and of the largest modulus of the others, `(n,)`.

    Its eigenvalues are the products of two of `A`. With one state variable they are squares.
    """
    increment = jax.lax.stop_gradient(increment)
    if len(increment) == 1:
        return _log_of_one_plus(2 * increment[0, 0] + increment[0, 0] ** 2), jnp.full_like(increment[0, 0], -jnp.inf)
    if len(increment) == 2:
        return _modes_of_two(increment)
    values = jnp.linalg.eigvals(jnp.moveaxis(increment, -1, 0))
    logs = jnp.log1p(values)
    logs = logs[:, :, None] + logs[:, None, :]
    phase = jnp.abs((logs.imag + jnp.pi) % (2 * jnp.pi) - jnp.pi)
    real = (phase <= REAL * jnp.abs(logs.real)) | (phase <= NO_PHASE) | ~(logs.real > -jnp.inf)
    return jnp.where(real, logs.real, -jnp.inf).max((1, 2)), jnp.where(real, -jnp.inf, logs.real).max((1, 2))


def _modes_of_two(increment: jax.Array) -> tuple[jax.Array, jax.Array]:
    (p, q), (r, s) = increment
    half, distance = (p + s) / 2, ((p - s) / 2) ** 2 + q * r
    root = jnp.sqrt(jnp.maximum(distance, 0))
    mean, product = 2 * half, p * s - q * r
    determinant = mean + product  # less 1
    far = jnp.where(half > -1, half + root, half - root)  # the larger modulus
    growth = jnp.where(distance >= 0, _log_of_one_plus(far * (2 + far)), _log_of_one_plus(determinant))
    swings = (distance < 0) | (determinant < -1)
    size = jnp.log(jnp.abs(1 + determinant))
    return growth, jnp.where(swings, size, -jnp.inf)


def _log_of_one_plus(value: jax.Array) -> jax.Array:
    """`log(1 + value)` of what is -1 or more but for rounding."""
    return jnp.log1p(jnp.maximum(value, -1))
