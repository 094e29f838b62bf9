"""Steps to target of optimizers that are not linear: their closure, one update at a time, to the first below the target."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nqmjax._tools import check_choice
from nqmjax.dynamics import Walk, begin, excess_of_groups, follow, in_one_precision, map_runs
from nqmjax.optimizers import MeanFieldOptimizer, Optimizer, check_linear
from nqmjax.problem import NoisyQuadratic, refuse_loss_noise
from nqmjax.target.table import Status, StepsToTarget, crossing_time

MOST_UPDATES = 2**20
"""Updates that a run is followed at most."""

SETTLED = 1e-6
"""Change of a group's risk, relative to what it was before, that counts as none."""

FIRST_MARK = 1024
"""Updates after which a run is first asked whether it has settled; then after twice as many, and so on."""


class Search(NamedTuple):
    """A run under way: the last two risks above the irreducible one, and what the groups were at the last two marks."""

    walk: Walk
    before: jax.Array
    now: jax.Array
    marks: jax.Array
    settled: jax.Array


def check_rule(problem: NoisyQuadratic, optimizer: Optimizer, rule: str) -> None:
    """Rules of arrival are "first" and "stays"; the second looks ahead in a way that only independent directions allow."""
    check_choice("rule", rule, ["first", "stays"])
    if rule == "stays":
        check_linear('rule "stays"', optimizer)
        refuse_loss_noise(problem, "rule 'stays'")


def mean_field_search(problem: Any, optimizer: Any, batch_size: Any, target: Any, max_steps: Any) -> StepsToTarget:
    """Steps of many lanes, see `search`; each batch size is a run of its own."""
    problem, optimizer, batch_size, target = in_one_precision((problem, optimizer, batch_size, target))
    column = jax.tree.map(lambda leaf: leaf[:, None], (optimizer, target))
    steps = jnp.minimum(max_steps, MOST_UPDATES).astype(jnp.uint32)

    def lane(optimizer: Any, batch_size: Any, target: Any, max_steps: Any) -> StepsToTarget:
        return first_below(problem, optimizer, 1 / batch_size, target - problem.irreducible, max_steps)

    return map_runs(lane, column[0], batch_size, column[1], steps)


def first_below(
    problem: Any, optimizer: MeanFieldOptimizer, inverse_batch: Any, target: jax.Array, max_steps: jax.Array
) -> StepsToTarget:
    """The first update after which the risk, less the irreducible one, is at or below `target`."""

    def going_on(search: Search) -> jax.Array:
        end = (search.now <= target) | search.settled | ~(search.now < jnp.inf)
        return ~end & (search.walk.step < max_steps)

    def update(search: Search) -> Search:
        walk = follow(problem, optimizer, inverse_batch, search.walk)
        groups = excess_of_groups(problem, optimizer, walk)
        mark = (walk.step >= FIRST_MARK) & (walk.step & (walk.step - 1) == 0)
        settled = mark & _settled(jnp.stack([search.marks[0], search.marks[1], groups]), target)
        marks = jnp.where(mark, jnp.stack([search.marks[1], groups]), search.marks)
        return Search(walk, search.now, groups.sum(), marks, settled)

    start = begin(problem, optimizer)
    groups = excess_of_groups(problem, optimizer, start)
    false = jnp.zeros((), bool)
    last = jax.lax.while_loop(going_on, update, Search(start, groups.sum(), groups.sum(), jnp.stack([groups, groups]), false))
    steps = last.walk.step.astype(target.dtype)
    reached, exploded = last.now <= target, ~(last.now < jnp.inf)
    failed = jnp.where(last.settled | (target <= 0), Status.NEVER, Status.OUT_OF_STEPS)
    status = jnp.where(reached, Status.REACHED, jnp.where(exploded, Status.DIVERGED, failed))
    crossing = jnp.where(steps > 0, crossing_time(steps, last.before, last.now, target), 0)
    steps, crossing = (jnp.where(reached, values, jnp.inf) for values in (steps, crossing))
    return StepsToTarget(steps, status.astype(jnp.int8), crossing)


def first_of_many(problem: Any, optimizer: Any, batch_size: Any, target: Any, max_steps: Any) -> StepsToTarget:
    """Steps of whichever settings, of shape `(r,)`, arrive first, followed side by side; others are out of steps."""
    problem, optimizer, batch_size, target = in_one_precision((problem, optimizer, batch_size, target))
    limit = jnp.minimum(max_steps, MOST_UPDATES).astype(jnp.uint32)

    def risks(walks: Walk) -> jax.Array:
        return jax.vmap(lambda optimizer, walk: excess_of_groups(problem, optimizer, walk).sum())(optimizer, walks)

    def going_on(carry: Any) -> jax.Array:
        walks, _, now = carry
        return ~(now <= excess).any() & (walks.step[0] < limit)

    def update(carry: Any) -> Any:
        walks, _, now = carry
        walks = jax.vmap(lambda optimizer, walk: follow(problem, optimizer, 1 / batch_size, walk))(optimizer, walks)
        return walks, now, risks(walks)

    excess = target - problem.irreducible
    walks = jax.vmap(lambda optimizer: begin(problem, optimizer))(optimizer)
    walks, before, now = jax.lax.while_loop(going_on, update, (walks, risks(walks), risks(walks)))
    steps, reached = walks.step.astype(now.dtype), now <= excess
    crossing = jnp.where(steps > 0, crossing_time(steps, before, now, excess), 0)
    status = jnp.where(reached, Status.REACHED, jnp.where(excess > 0, Status.OUT_OF_STEPS, Status.NEVER)).astype(jnp.int8)
    return StepsToTarget(jnp.where(reached, steps, jnp.inf), status, jnp.where(reached, crossing, jnp.inf))


def _settled(groups: jax.Array, target: jax.Array) -> jax.Array:
    """Whether no group that matters has changed in the latter half of the run as much as in the half before it."""
    earlier, later = jnp.abs(groups[1] - groups[0]), jnp.abs(groups[2] - groups[1])
    gap = groups[2].sum() - target
    still = later <= SETTLED * earlier
    little = groups[2] <= SETTLED * gap / groups.shape[1]
    return (gap > 0) & (still | little).all()
