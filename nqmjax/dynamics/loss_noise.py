"""Risks under noise that follows the loss: update by update, and many updates at once by the contour."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nqmjax._tools import evaluate, is_traced
from nqmjax.dynamics.checks import check_run, check_shapes
from nqmjax.dynamics.contour import (
    FEWEST,
    TINY,
    abscissa,
    first_contour,
    moments_at,
    read,
    scored_at,
    settled_moments,
    solve,
    sure_at,
    transform,
)
from nqmjax.dynamics.mean_field import map_runs
from nqmjax.dynamics.model import in_one_precision
from nqmjax.dynamics.moments import Moments, loss, second_moments, update_moments
from nqmjax.optimizers import LinearOptimizer
from nqmjax.problem import NoisyQuadratic

SEAM = 1e-10
"""Largest relative difference between a contour and the updates one by one where the first takes over from the second."""

HALVES = 24
"""How often the way to go is halved at most for a contour that is."""

BLOCK = 512
"""Updates between two that are kept for gradients."""

LONGEST = 2**17
"""Updates that are followed one by one at most where gradients are taken."""


def noise_edge(problem: NoisyQuadratic, optimizer: LinearOptimizer) -> Any:
    r"""The smallest stable batch size under noise that follows the loss: below it the risk grows without bound.

    A loss `L` makes noise of variance `m L / B`, and that noise more loss. At the edge it makes as much as there was: where
    the risk that noise `m` alone settles at, of batches of one example, is `B`. SGD: `a / 2 sum_k w_k m_k / (2 - a h_k)`.

    Args:
      problem: the quadratic; only its curvature, `loss_noise` and `own_noise` matter, of directions that start away from the
        optimum or have noise.
      optimizer: hyperparameters of any shapes that broadcast to `S`.

    Returns:
      array of shape `S`, a real number of examples: 0 without loss noise, inf where a direction is unstable whatever the
      batch. At the edge itself the risk grows in proportion to the updates.

    Raises:
      ValueError: an argument is out of its range.

    >>> from nqmjax import SGD, least_squares
    >>> noise_edge(least_squares([1.0, 0.5]), SGD([0.1, 1.0])).round(6)
    array([0.123858, 2.21525 ])

    Source: the renewal equation of the loss, see `nqmjax.dynamics.contour`.
    """
    check_run(problem, optimizer, 1.0, loss_noise=True)
    check_shapes(optimizer)
    return evaluate(_noise_edge, problem, optimizer)


@jax.jit
def _noise_edge(problem: NoisyQuadratic, optimizer: LinearOptimizer) -> jax.Array:
    problem, optimizer = in_one_precision((problem, optimizer))

    def edge(optimizer: Any) -> jax.Array:
        system, _ = second_moments(problem, optimizer, jnp.ones(()))
        squares = unit_squares(system)
        alone, share = system.own * squares, system.weight * system.gain * squares
        finite = jnp.isfinite(share + alone).all()
        alone, share = jnp.where(finite, alone, 0), jnp.where(finite, share, 0)

        def excess(batch_size: jax.Array) -> jax.Array:
            return (share / (batch_size - alone)).sum() - 1

        def halve(_: Any, bracket: Any) -> Any:
            middle = (bracket[0] + bracket[1]) / 2
            right = excess(middle) < 0
            return jnp.where(right, bracket[0], middle), jnp.where(right, middle, bracket[1])

        most = alone.max()
        bracket = jax.lax.stop_gradient((most, most + share.sum()))
        found = jax.lax.stop_gradient(jax.lax.fori_loop(0, 64, halve, bracket)[1])
        coupled = share.sum() > 0
        at = jnp.where(coupled, found, most + 1)
        slope = -(share / (at - alone) ** 2).sum()
        found = jnp.where(coupled, jnp.maximum(at - excess(at) / jnp.where(coupled, slope, 1), most), most)
        return jnp.where(finite, found, jnp.inf)

    return map_runs(edge, optimizer) if jax.tree.leaves(optimizer) else edge(optimizer)


def unit_squares(system: Moments) -> jax.Array:
    """The mean square of the current iterate that noise of variance 1 settles at, of each direction; inf where it does not."""
    (kicked,) = solve(system.increment, TINY, [[f] for f in system.kick])
    squares = read(system.parameter, kicked)
    still = (system.growth == 0) & (squares == 0)
    return jnp.where(((system.growth < 0) | still) & (system.swing < 0), squares, jnp.where(system.weight > 0, jnp.inf, 0))


@jax.jit
def stationary_risk_under_loss_noise(problem: NoisyQuadratic, optimizer: LinearOptimizer, batch_size: Any) -> jax.Array:
    """The risk in the limit of many updates: that of `c + m L`, with the `L` that it makes itself."""
    problem, optimizer, batch_size = in_one_precision((problem, optimizer, batch_size))

    def settled(optimizer: Any, batch_size: Any) -> jax.Array:
        system, start = second_moments(problem, optimizer, batch_size)
        squares = unit_squares(system)
        free = 1 - system.own * squares
        stable = jnp.isfinite(squares).all() & (free > 0).all()
        squares, free = (jnp.where(stable, values, 1.0) for values in (squares, free))
        stable &= (system.weight * system.gain * squares / free).sum() < 1
        # Directions that never move keep their start.
        kept = jnp.where((system.growth == 0) & (squares == 0), start, 0)
        moments = jax.lax.cond(stable, settled_moments, lambda _, kept: kept, system, kept)
        return jnp.where(stable, loss(system, moments, system.scored), jnp.inf)

    return map_runs(settled, optimizer, batch_size)


@functools.partial(jax.jit, static_argnames="num_steps")
def risk_curve_under_loss_noise(problem: Any, optimizer: Any, batch_size: Any, num_steps: int) -> jax.Array:
    """Risks after every update, shape `S + (num_steps + 1,)`."""
    problem, optimizer, batch_size = in_one_precision((problem, optimizer, batch_size))

    def curve(optimizer: Any, batch_size: Any) -> jax.Array:
        system, start = second_moments(problem, optimizer, batch_size)
        follow = lambda moments, _: (update_moments(system, moments), loss(system, moments, system.scored))  # noqa: E731
        last, risks = jax.lax.scan(follow, start, length=num_steps)
        return jnp.append(risks, loss(system, last, system.scored))

    return map_runs(curve, optimizer, batch_size)


@functools.partial(jax.jit, static_argnames="length")
def risk_under_loss_noise(problem: Any, optimizer: Any, batch_size: Any, steps: Any, length: int | None) -> jax.Array:
    """Risk after `steps` updates; with a static `length`, the most that there are, in a form that has gradients."""
    problem, optimizer, batch_size = in_one_precision((problem, optimizer, batch_size))

    def end(optimizer: Any, batch_size: Any, steps: Any) -> jax.Array:
        system, start = second_moments(problem, optimizer, batch_size)
        return loss(system, advance(system, start, steps, length), system.scored)

    return map_runs(end, optimizer, batch_size, jnp.asarray(steps).astype(jnp.uint32))


def risks_of_pieces_under_loss_noise(problem: Any, optimizer: Any, inverse_batch: Any, steps: Any, length: int | None) -> Any:
    """Risks `(pieces + 1,)`, of hyperparameters, `1 / B` and unsigned `steps` of shape `(pieces,)`."""
    problem, optimizer, inverse_batch = in_one_precision((problem, optimizer, inverse_batch))
    optimizer = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, steps.shape), optimizer)

    def piece(moments: jax.Array, piece: Any) -> tuple[jax.Array, jax.Array]:
        optimizer, inverse_batch, steps = piece
        system, _ = second_moments(problem, optimizer, 1 / inverse_batch)
        moments = advance(system, moments, steps, length)
        return moments, loss(system, moments, system.scored)

    first = jax.tree.map(lambda leaf: leaf[0], optimizer)
    system, start = second_moments(problem, first, 1 / inverse_batch[0])
    _, risks = jax.lax.scan(piece, start, (optimizer, inverse_batch, steps))
    return jnp.concatenate([loss(system, start, system.scored)[None], risks])


def most_updates(steps: Any) -> int:
    """How many updates a differentiable walk has at most: in powers of two, so that few lengths compile anew."""
    return LONGEST if is_traced(steps) else min(LONGEST, 2 ** int(np.max(steps, initial=1)).bit_length())


class Way(NamedTuple):
    """How far the updates have come one by one, and, once the contour agrees with them, what it has left to go."""

    time: jax.Array
    moments: jax.Array
    agrees: jax.Array
    origin: jax.Array
    left: jax.Array


def advance(system: Moments, start: jax.Array, steps: jax.Array, length: int | None = None) -> jax.Array:
    """The moments `steps` updates after `start`: one by one until swings have died away, by the contour beyond.

    Where they have is found by coming from both sides. The contour then goes all the way at once, or half of it where the
    risk has fallen so far that its terms are not as precise as their sum. With a static `length` it is tried once, and what
    cannot be found in as many updates is NaN.
    """
    first = first_contour(system).astype(steps.dtype)
    edge = jax.lax.cond(steps > FEWEST, abscissa, lambda system: jnp.zeros_like(system.irreducible), system)
    alone = jnp.full((), len(start) == 1) & (steps >= FEWEST)  # one state variable: no swings
    way = Way(jnp.zeros_like(steps), start, alone, start, steps)

    def going_on(way: Way) -> jax.Array:
        return jnp.where(way.agrees, way.left > 0, way.time < steps)

    def go(way: Way) -> Way:
        then = jnp.where(way.agrees, way.time, jnp.minimum(steps, jnp.maximum(first, 2 * way.time)))
        way = way._replace(moments=walk(system, way.moments, then - way.time, length), time=then)
        return jax.lax.cond(way.agrees | (then < steps), functools.partial(leap, system, edge), lambda way: way, way)

    if length is None:
        way = jax.lax.while_loop(going_on, go, way)
        return jnp.where(way.agrees, way.origin, way.moments)

    def once(way: Way, number: jax.Array) -> tuple[Way, None]:
        return jax.lax.cond(going_on(way) & (way.agrees | (number == 0)), go, lambda way: way, way), None

    way, _ = jax.lax.scan(once, way, jnp.arange(HALVES))
    found = way.agrees | (way.time == steps) & (steps <= length)
    return jnp.where(found, jnp.where(way.agrees, way.origin, way.moments), jnp.nan)


def leap(system: Moments, edge: jax.Array, way: Way) -> Way:
    """By the contour around `edge`, if it agrees with the moments at `time` and at the two updates after it."""
    dtype = way.origin.dtype
    time, left = way.time.astype(dtype), way.left.astype(dtype)
    found = transform(system, way.origin, jnp.where(way.agrees, 2 * left, 3 * time), edge)
    moments, agrees = way.moments, jnp.ones((), bool)
    for later in range(3):
        expected = loss(system, moments, system.scored)
        agrees &= jnp.abs(scored_at(found, time + later) - expected) <= SEAM * expected
        moments = update_moments(system, moments)
    sure, near = sure_at(found, left), way.left < 2 * FEWEST
    far = jnp.where(sure | near, way.left, way.left // 2)
    one_by_one = lambda: walk(system, way.origin, far, 2 * FEWEST)  # noqa: E731
    there = jax.lax.cond(near & ~sure, one_by_one, lambda: moments_at(found, far.astype(dtype)))
    origin = jnp.where(way.agrees, there, way.origin)
    return way._replace(agrees=way.agrees | agrees, origin=origin, left=jnp.where(way.agrees, way.left - far, way.left))


def walk(system: Moments, moments: jax.Array, steps: jax.Array, length: int | None = None) -> jax.Array:
    """The moments after `steps` updates, one by one; with a static `length`, the most there are, differentiable."""
    if length is None:
        return jax.lax.fori_loop(jnp.zeros_like(steps), steps, lambda _, moments: update_moments(system, moments), moments)

    def some(moments: jax.Array, first: jax.Array) -> tuple[jax.Array, None]:
        numbers = first + jnp.arange(min(length, BLOCK), dtype=steps.dtype)
        follow = lambda moments, number: (jnp.where(number < steps, update_moments(system, moments), moments), None)  # noqa: E731
        return jax.lax.scan(follow, moments, numbers)

    firsts = jnp.arange(0, length, BLOCK, dtype=steps.dtype)
    return jax.lax.scan(jax.checkpoint(some), moments, firsts)[0]
