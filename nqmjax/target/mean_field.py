"""Steps to target of optimizers that are not linear: their closure, one update at a time, to the first below the target."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nqmjax._tools import check_choice
from nqmjax.dynamics import Walk, advance, begin, excess_of_groups, floor_log2, in_one_precision, map_runs
from nqmjax.optimizers import MeanFieldOptimizer, Optimizer, check_linear
from nqmjax.problem import NoisyQuadratic, refuse_loss_noise
from nqmjax.target.table import MAX_STEPS, Status, StepsToTarget, crossing_time

MOST_MOVES = 2**20
"""Updates made one by one, and leaps, that a run is followed at most."""

SETTLED = 1e-6
"""Change of a group's risk, relative to what it was before, that counts as none."""

FIRST_MARK = 1024
"""Updates after which a run is first asked whether it has settled; then after twice as many, and so on."""


class Search(NamedTuple):
    """A run under way: the last two risks above the irreducible one, what the groups were at the last two marks and where
    the next one is, the moves made and the longest leap allowed, which shrinks once a leap has passed the target."""

    walk: Walk
    before: jax.Array
    now: jax.Array
    marks: jax.Array
    mark: jax.Array
    settled: jax.Array
    moves: jax.Array
    most: jax.Array


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
    steps = jnp.minimum(max_steps, MAX_STEPS).astype(jnp.uint32)

    def lane(optimizer: Any, batch_size: Any, target: Any, max_steps: Any) -> StepsToTarget:
        return first_below(problem, optimizer, 1 / batch_size, target - problem.irreducible, max_steps)

    return map_runs(lane, column[0], batch_size, column[1], steps)


def first_below(
    problem: Any, optimizer: MeanFieldOptimizer, inverse_batch: Any, target: jax.Array, max_steps: jax.Array
) -> StepsToTarget:
    """The first update after which the risk, less the irreducible one, is at or below `target`."""

    def going_on(search: Search) -> jax.Array:
        end = (search.now <= target) | search.settled | ~(search.now < jnp.inf)
        return ~end & (search.walk.step < max_steps) & (search.moves < MOST_MOVES)

    def move(search: Search) -> Search:
        walk = advance(problem, optimizer, inverse_batch, search.walk, max_steps, search.most)
        groups = excess_of_groups(problem, optimizer, walk)
        made, now = walk.step - search.walk.step, groups.sum()
        passed = (made > 1) & ~(now > target)  # the first update below the target is one of those leapt over
        walk = jax.tree.map(lambda old, new: jnp.where(passed, old, new), search.walk, walk)
        most = jnp.where(passed, floor_log2(made) - 1, search.most)
        marked = ~passed & (walk.step >= search.mark)
        settled = marked & _settled(jnp.stack([search.marks[0], search.marks[1], groups]), target)
        marks = jnp.where(marked, jnp.stack([search.marks[1], groups]), search.marks)
        still = passed | (made == 0)
        now, before = jnp.where(still, search.now, now), jnp.where(still, search.before, search.now)
        mark = jnp.where(marked, 2 * walk.step, search.mark)
        return Search(walk, before, now, marks, mark, settled, search.moves + 1, most)

    start = begin(problem, optimizer)
    groups = excess_of_groups(problem, optimizer, start)
    marks, mark = jnp.stack([groups, groups]), jnp.asarray(FIRST_MARK, start.step.dtype)
    moves, most = jnp.zeros((), jnp.int32), jnp.asarray(31, jnp.int32)
    search = Search(start, groups.sum(), groups.sum(), marks, mark, jnp.zeros((), bool), moves, most)
    last = jax.lax.while_loop(going_on, move, search)
    steps = last.walk.step.astype(target.dtype)
    reached, exploded = last.now <= target, ~(last.now < jnp.inf)
    failed = jnp.where(last.settled | (target <= 0), Status.NEVER, Status.OUT_OF_STEPS)
    status = jnp.where(reached, Status.REACHED, jnp.where(exploded, Status.DIVERGED, failed))
    crossing = jnp.where(steps > 0, crossing_time(steps, last.before, last.now, target), 0)
    steps, crossing = (jnp.where(reached, values, jnp.inf) for values in (steps, crossing))
    return StepsToTarget(steps, status.astype(jnp.int8), crossing)


def first_of_many(problem: Any, optimizer: Any, batch_size: Any, target: Any, max_steps: Any) -> StepsToTarget:
    """Steps of settings of shape `(r,)`, with `max_steps` of each; none is followed beyond the fewest of those before it."""
    problem, optimizer, batch_size, target = in_one_precision((problem, optimizer, batch_size, target))
    max_steps = jnp.minimum(max_steps, MAX_STEPS).astype(jnp.uint32)

    def next_setting(fewest: jax.Array, setting: Any) -> tuple[jax.Array, StepsToTarget]:
        optimizer, limit = setting
        found = first_below(problem, optimizer, 1 / batch_size, target - problem.irreducible, jnp.minimum(fewest, limit))
        reached = found.status == Status.REACHED
        return jnp.where(reached, jnp.where(reached, found.steps, 0).astype(fewest.dtype), fewest), found

    return jax.lax.scan(next_setting, jnp.asarray(MAX_STEPS, jnp.uint32), (optimizer, max_steps))[1]


def _settled(groups: jax.Array, target: jax.Array) -> jax.Array:
    """Whether no group that matters has changed in the latter half of the run as much as in the half before it."""
    earlier, later = jnp.abs(groups[1] - groups[0]), jnp.abs(groups[2] - groups[1])
    gap = groups[2].sum() - target
    still = later <= SETTLED * earlier
    little = groups[2] <= SETTLED * gap / groups.shape[1]
    return (gap > 0) & (still | little).all()
