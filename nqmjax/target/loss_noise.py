r"""First passages under noise that follows the loss: update by update until swings have died away, then in windows of time.

Once the eigenvalues that swing are gone, the risk is a sum of real exponentials, smooth in the logarithm of time. A window
`[T, 8 T]` has one transform (`nqmjax.dynamics.contour`), from the moments at the start of the window before: so far
back that what has decayed since is no longer in its rounding. The risk is taken at 48 times in each, and where it is first
seen at or below the target, bisection finds the update; a least value between two that are higher is searched for too.

Until the target is reached the loss is above it, and the noise at least `c + m target`: a run with that noise, of independent
directions, arrives no later and is searched first (`frozen`). What it never reaches is never reached, and what takes it too
long is not followed. Where an average is scored, the current loss is only known to be above the irreducible one.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nqmjax.dynamics import (
    DIED_AWAY,
    FEWEST,
    UNROLLED,
    Moments,
    abscissa,
    first_contour,
    in_one_precision,
    loss,
    moments_at,
    scored_at,
    second_moments,
    sure_at,
    transform,
    update_moments,
)
from nqmjax.target.compiled import map_lanes
from nqmjax.target.table import Status, StepsToTarget, crossing_time, rounding

SEAM = 1e-9
"""Largest relative difference between the first window and the updates before it."""

WIDTH, SAMPLES = 8, 48
"""Ratio of the ends of a window, and times at which it is looked at."""

FORGOTTEN = 45.0
"""Decay times after which what is left of the start is nothing beside a target as large."""

HUGE = 2.0**100
"""Growth of the risk, from the start or the target, from which a run that is not stable does not come back."""


class Passage(NamedTuple):
    """A search under way."""

    time: jax.Array
    moments: jax.Array  # at `time`
    origin: jax.Array  # of the next window's transform
    at_origin: jax.Array  # moments there
    reach: jax.Array  # updates that the next window spans at most
    risks: jax.Array  # the last three, at `time` the last
    head: jax.Array  # end of the updates made one by one
    steps: jax.Array  # the answer once found, inf until then
    before: jax.Array  # risk one update before that
    after: jax.Array  # and at it
    settled: jax.Array  # whether nothing changes any more


def loss_noise_search(
    problem: Any,
    optimizer: Any,
    batch_size: Any,
    target: Any,
    max_steps: Any,
    plain: Callable[..., StepsToTarget],
    outermost: bool,
) -> StepsToTarget:
    """Steps of many lanes, see `search`; each batch size is a run of its own. `plain` is `search` itself."""
    problem, optimizer, batch_size, target = in_one_precision((problem, optimizer, batch_size, target))
    integer, shape = jax.dtypes.canonicalize_dtype(jnp.int64), batch_size.shape
    cells = jax.tree.map(lambda leaf: jnp.repeat(leaf, shape[1]), (optimizer, target))
    cells = (*cells, batch_size.ravel(), jnp.broadcast_to(max_steps, shape).astype(integer).ravel())

    def steps_of(problem: Any, cell: Any) -> StepsToTarget:
        optimizer, target, batch_size, max_steps = cell
        system, start = second_moments(problem, optimizer, batch_size)
        same = (system.parameter == system.scored).all()
        lane = jax.tree.map(lambda leaf: leaf[None], (optimizer, batch_size[None], target, max_steps[None]))
        bound = plain(frozen(problem, jnp.where(same, target, problem.irreducible)), *lane)
        bound = jax.tree.map(lambda values: values[0, 0], bound)
        found = first_passage(system, start, target, jnp.where(bound.status == Status.REACHED, max_steps, 0))
        hopeless = (bound.status != Status.REACHED) & (found.status != Status.REACHED)
        return jax.tree.map(lambda yes, no: jnp.where(hopeless, yes, no), bound, found)

    # Eigenvalues of larger systems are found by a library, which no kernel of nested loops can call.
    _, start = jax.eval_shape(second_moments, problem, jax.tree.map(lambda leaf: leaf[0], optimizer), batch_size[0, 0])
    found = map_lanes(steps_of, problem, cells, outermost and len(start) <= UNROLLED)
    return jax.tree.map(lambda values: values.reshape(shape), found)


def frozen(problem: Any, level: jax.Array) -> Any:
    """The problem with the noise that it has at this loss."""
    gain = 0.0 if problem.loss_noise is None else problem.loss_noise
    return dataclasses.replace(problem, noise=problem.noise + gain * level, loss_noise=None, own_noise=None)


def first_passage(system: Moments, start: jax.Array, target: jax.Array, max_steps: jax.Array) -> StepsToTarget:
    """The first update after which the risk is at or below `target`, of one run."""
    most = HUGE * jnp.maximum(target, loss(system, start, system.scored))
    question = _Question(system, target, max_steps, most, jnp.zeros_like(target))
    begun = question.start(start)
    far = question.going_on(begun) & (begun.head < max_steps)
    question = question._replace(edge=jax.lax.cond(far, abscissa, lambda _: question.edge, system))
    last = jax.lax.while_loop(question.going_on, question.step, begun)
    reached = last.steps < jnp.inf
    never = last.settled | (target <= system.irreducible)
    failed = jnp.where(never, Status.NEVER, Status.OUT_OF_STEPS)
    failed = jnp.where(last.risks[2] < question.most, failed, Status.DIVERGED)
    least = system.irreducible
    crossing = crossing_time(last.steps, last.before - least, last.after - least, target - least)
    crossing = jnp.where(last.steps > 0, crossing, 0)
    status = jnp.where(reached, Status.REACHED, failed).astype(jnp.int8)
    return StepsToTarget(last.steps, status, jnp.where(reached, crossing, jnp.inf))


class _Question(NamedTuple):
    """What is searched."""

    system: Moments
    target: jax.Array
    max_steps: jax.Array
    most: jax.Array  # a risk from which the run does not come back
    edge: jax.Array  # of the transform, see `abscissa`

    def start(self, moments: jax.Array) -> Passage:
        """Before the first update."""
        risk, zero = loss(self.system, moments, self.system.scored), jnp.zeros_like(self.max_steps)
        left = DIED_AWAY * jnp.minimum(1, self.target / jnp.where(risk < jnp.inf, risk, 1))
        updates = first_contour(self.system, jnp.maximum(left, jnp.finfo(risk.dtype).tiny))
        met = (risk <= self.target + rounding(self.target)) & (self.target > self.system.irreducible)
        steps = jnp.where(met, jnp.zeros_like(risk), jnp.inf)
        head = updates.astype(zero.dtype)
        farthest = jnp.full_like(zero, jnp.iinfo(zero.dtype).max)
        settled = jnp.zeros((), bool)
        return Passage(zero, moments, zero, moments, farthest, jnp.full(3, risk), head, steps, risk, risk, settled)

    def going_on(self, passage: Passage) -> jax.Array:
        """Whether the target may still be met within the updates that are searched."""
        possible = (passage.risks[2] < self.most) & (self.target > self.system.irreducible) & ~passage.settled
        return (passage.steps == jnp.inf) & (passage.time < self.max_steps) & possible

    def step(self, passage: Passage) -> Passage:
        """Update by update to the end of the head, and beyond it through one window."""
        passage = jax.lax.while_loop(self.in_head, self.update, passage)
        look = self.going_on(passage)
        return jax.lax.cond(look, self.window, lambda passage: passage, passage)

    def in_head(self, passage: Passage) -> jax.Array:
        return self.going_on(passage) & (passage.time < passage.head)

    def update(self, passage: Passage) -> Passage:
        moments, time = update_moments(self.system, passage.moments), passage.time + 1
        risk = loss(self.system, moments, self.system.scored)
        here = time == passage.head // WIDTH
        return passage._replace(
            time=time,
            moments=moments,
            origin=jnp.where(here, time, passage.origin),
            at_origin=jnp.where(here, moments, passage.at_origin),
            risks=jnp.append(passage.risks[1:], risk),
            steps=jnp.where(risk <= self.target, time.astype(risk.dtype), passage.steps),
            before=passage.risks[2],
            after=risk,
        )

    def window(self, passage: Passage) -> Passage:
        """Through the window from `time` on; or a longer head, where the window does not begin as the head ends.

        Of a risk that falls far, too little may be left of the transform's terms: then half the window is tried, and where even
        a short one is too long the next origin is `time`, with updates one by one up to it.
        """
        system, dtype = self.system, self.target.dtype
        largest = jnp.iinfo(passage.time.dtype).max // (2 * WIDTH)
        room = jnp.minimum(jnp.minimum(passage.time, largest) * (WIDTH - 1), WIDTH * (passage.time - passage.origin))
        end = passage.time + jnp.minimum(room, passage.reach)
        found = transform(system, passage.at_origin, (end - passage.origin).astype(dtype), self.edge)

        def risk_at(time: jax.Array) -> jax.Array:
            return scored_at(found, (time - passage.origin).astype(dtype))

        seam = jnp.stack([risk_at(passage.time - back) for back in (2, 1, 0)])
        meets = (passage.time > passage.head) | (jnp.abs(seam - passage.risks) <= SEAM * passage.risks).all()
        steps = self.passage_in(risk_at, passage.time, jnp.minimum(end, self.max_steps))
        at = jnp.where(steps < jnp.inf, steps, end).astype(end.dtype)
        sure = jnp.stack([sure_at(found, (time - passage.origin).astype(dtype)) for time in (at, end)])
        scale = jnp.maximum(jnp.maximum(self.most / HUGE, risk_at(end)) / self.target, 1)
        further = Passage(
            time=end,
            moments=moments_at(found, (end - passage.origin).astype(dtype)),
            origin=passage.time,
            at_origin=passage.moments,
            reach=jnp.full_like(end, jnp.iinfo(end.dtype).max),
            risks=jnp.full(3, risk_at(end)),
            head=passage.head,
            steps=steps,
            before=risk_at(at - 1),
            after=risk_at(at),
            settled=self.edge * end.astype(dtype) < -FORGOTTEN - jnp.log(scale),
        )
        longer = passage._replace(head=passage.time + jnp.maximum(passage.time - passage.origin, FEWEST))
        shorter = passage._replace(reach=(end - passage.time) // 2)
        later = passage._replace(
            origin=passage.time,
            at_origin=passage.moments,
            reach=further.reach,
            head=passage.time + jnp.maximum(passage.time // WIDTH, FEWEST),
        )
        case = jnp.where(meets, jnp.where(sure.all(), 0, jnp.where(shorter.reach >= FEWEST, 1, 2)), 3)
        return jax.tree.map(lambda *values: jnp.stack(values)[case], further, shorter, later, longer)

    def passage_in(self, risk_at: Any, first: jax.Array, last: jax.Array) -> jax.Array:
        """The first update after `first`, up to `last`, with a risk at or below the target; inf where there is none."""
        shares = jnp.asarray(WIDTH ** (np.arange(SAMPLES + 1) / SAMPLES), self.target.dtype)
        times = jnp.minimum(jnp.round(first * shares).astype(first.dtype), last)
        risks = jax.vmap(risk_at)(times)
        # The least of the times that are lower than both neighbours, and where the valley around it is lowest.
        inner = jnp.where((risks[1:-1] < risks[:-2]) & (risks[1:-1] <= risks[2:]), risks[1:-1], jnp.inf)
        valley = jnp.argmin(inner) + 1
        bottom = _lowest(risk_at, times[valley - 1], times[valley + 1])
        dips = (inner.min() < jnp.inf) & (risk_at(bottom) <= self.target)
        times = jnp.where(dips & (jnp.arange(len(times)) == valley), bottom, times)
        risks = jnp.where(dips & (jnp.arange(len(times)) == valley), risk_at(bottom), risks)
        below = (risks <= self.target) & (times > first)
        place = jnp.argmax(below)

        def halve(bracket: Any) -> Any:
            low, high = bracket
            middle = low + (high - low) // 2
            met = risk_at(middle) <= self.target
            return jnp.where(met, low, middle), jnp.where(met, middle, high)

        bracket = times[jnp.maximum(place - 1, 0)], times[place]
        _, steps = jax.lax.while_loop(lambda bracket: bracket[1] - bracket[0] > 1, halve, bracket)
        return jnp.where(below.any(), steps.astype(self.target.dtype), jnp.inf)


def _lowest(risk_at: Any, low: jax.Array, high: jax.Array) -> jax.Array:
    """Where between two times the risk, of one valley, is lowest."""

    def halve(bracket: Any) -> Any:
        low, high = bracket
        middle = low + (high - low) // 2
        falls = risk_at(middle + 1) < risk_at(middle)
        return jnp.where(falls, middle + 1, low), jnp.where(falls, high, middle)

    return jax.lax.while_loop(lambda bracket: bracket[0] < bracket[1], halve, (low, high))[0]
