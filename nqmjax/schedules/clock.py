r"""Plans against the clock: a step takes `fixed + per_example * B` seconds; which batch size, rates and number of steps?

For a number of steps `T`, seconds `S` buy `D = (S - fixed T) / per_example` examples, so that the best plan in time is the
best plan for `T` steps and `D` examples (`optimize_schedule`), minimised over the one number `T`.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nqmjax._tools import check_loss, progress_bar, require, scalar, whole
from nqmjax.dynamics import check_run
from nqmjax.optimizers import LinearOptimizer
from nqmjax.problem import NoisyQuadratic
from nqmjax.schedules.caps import AT_CAP, chosen_cap
from nqmjax.schedules.plan import Plan
from nqmjax.schedules.search import optimize_schedule

MOST_STEPS = 2**31 - 1
SCAN = 9
"""Numbers of steps, equally spaced in their logarithm, that are tried at a time around the best."""

FINE = 3e-3
"""How finely, relative to itself, the number of steps is searched in the end."""


class TimeModel(NamedTuple):
    """Seconds per step, `fixed + per_example * batch_size`, and the largest batch that fits into memory.

    >>> TimeModel(fixed=0.01, per_example=1e-4).seconds(Plan(0.1, steps=100, batch_size=50))
    1.5
    """

    fixed: float
    per_example: float
    max_batch_size: float = math.inf

    def seconds(self, plan: Plan) -> float:
        """Time that a plan takes."""
        return float(self.fixed * plan.total_steps + self.per_example * plan.total_examples)


class TimedPlan(NamedTuple):
    """A plan, its final risk, the seconds it takes, whether its optimisation converged, and whether a rate lies at the cap."""

    plan: Plan
    risk: float
    seconds: float
    converged: bool
    at_cap: bool


def best_plan_in_time(
    problem: NoisyQuadratic,
    optimizer: LinearOptimizer,
    seconds: float,
    time: TimeModel,
    pieces: int = 10,
    *,
    over: Sequence[str] = ("learning_rate",),
    max_learning_rate: float | None = None,
    constant_batch: bool = False,
    progress: bool = True,
) -> TimedPlan:
    """The plan with the least risk after so many seconds: number of steps, batch sizes and rates together.

    Args:
      problem: the quadratic.
      optimizer: scalar hyperparameters; those not named in `over` keep their values.
      seconds: time budget.
      time: seconds per step, and the cap of the batch size.
      pieces: pieces of the plan, equal in steps; fewer where it has fewer steps.
      over: hyperparameters that change from piece to piece, see `optimize_schedule`.
      max_learning_rate: cap of the rate; by default `learning_rate_cap`, inf for none.
      constant_batch: keep the batch size the same throughout.
      progress: show a bar when the run takes longer than two seconds.

    Returns:
      `TimedPlan`; batch sizes are real numbers, see `Plan.whole_batches`.

    Raises:
      ValueError: an argument is out of its range, or the budget does not pay for one step.

    >>> from nqmjax import SGD, power_law
    >>> best = best_plan_in_time(power_law(50), SGD(0.1), seconds=20, time=TimeModel(0.02, 1e-4), pieces=4)
    >>> best.plan.batch_size.round(), round(best.seconds, 6)
    (array([  93.,  839., 1642., 1238.]), 20.0)
    """
    check_run(problem, optimizer, 1.0, asked="best_plan_in_time")
    _check_time(time)
    pieces, cap = whole("pieces", pieces), chosen_cap(problem, optimizer, max_learning_rate)
    step = time.fixed + time.per_example
    require(scalar("seconds", seconds) >= step, "seconds", seconds, f"one step of one example takes {step:g}: give more")
    require(seconds < math.inf, "seconds", seconds, "give a finite time")
    most = min(seconds / step, MOST_STEPS)
    # With a cap of the batch size, fewer steps cannot spend the time: then more of it does not help.
    tried: dict[int, TimedPlan] = {}
    how: dict[str, Any] = {"max_learning_rate": cap, "over": over, "batch_sizes": (1.0, time.max_batch_size)}

    def best(steps: int) -> TimedPlan:
        if steps not in tried:
            batch = (seconds / steps - time.fixed) / time.per_example if time.per_example > 0 else time.max_batch_size
            batch = float(np.clip(batch, 1.0, time.max_batch_size))
            examples = None if constant_batch else batch * steps
            found = optimize_schedule(problem, optimizer, batch, steps, min(pieces, steps), examples=examples, **how)
            at_cap = found.plan.learning_rate.max() >= cap * (1 - AT_CAP)
            tried[steps] = TimedPlan(found.plan, found.risk, time.seconds(found.plan), found.converged, bool(at_cap))
            bar.update()
        return tried[steps]

    low, high = 1, max(int(seconds / step * (1 + 1e-12)), 1)
    with progress_bar(desc=f"plans of {seconds:.4g} seconds", unit=" plans", progress=progress) as bar:
        while True:
            grid = np.unique(np.round(np.geomspace(low, min(high, most), SCAN)).astype(int)).tolist()
            at = int(np.argmin([best(steps).risk for steps in grid]))
            if len(grid) < SCAN or grid[-1] < (1 + FINE) * grid[0]:
                break
            low, high = grid[max(at - 1, 0)], grid[min(at + 1, len(grid) - 1)]
    return min(tried.values(), key=lambda found: found.risk)


def fastest_plan(
    problem: NoisyQuadratic,
    optimizer: LinearOptimizer,
    target: float,
    time: TimeModel,
    pieces: int = 10,
    *,
    over: Sequence[str] = ("learning_rate",),
    max_learning_rate: float | None = None,
    constant_batch: bool = False,
    progress: bool = True,
) -> TimedPlan:
    """The plan that reaches the target in the least time, to a thousandth of it: steps, batch sizes and rates together.

    Args:
      problem: the quadratic.
      optimizer: scalar hyperparameters; those not named in `over` keep their values.
      target: risk to reach, the irreducible loss included.
      time: seconds per step, and the cap of the batch size.
      pieces: pieces of the plan, equal in steps; fewer where it has fewer steps.
      over: hyperparameters that change from piece to piece, see `optimize_schedule`.
      max_learning_rate: cap of the rate; by default `learning_rate_cap`, inf for none.
      constant_batch: keep the batch size the same throughout.
      progress: show a bar when the run takes longer than two seconds.

    Returns:
      `TimedPlan` at or below the target.

    Raises:
      ValueError: an argument is out of its range, or the target is not between the irreducible loss and the initial risk.

    >>> from nqmjax import SGD, power_law
    >>> fast = fastest_plan(power_law(50), SGD(0.1), target=0.05, time=TimeModel(0.02, 1e-4), pieces=2, constant_batch=True)
    >>> fast.risk <= 0.05, round(fast.seconds, 2)
    (True, 0.85)
    """
    check_run(problem, optimizer, 1.0, asked="fastest_plan")
    check_loss(target)
    scalar("target", target)
    low_risk, high_risk = float(problem.irreducible), float(problem.initial_risk)
    require(low_risk < target < high_risk, "target", target, f"give a risk above {low_risk:g} and below {high_risk:g}")
    _check_time(time)

    cap = chosen_cap(problem, optimizer, max_learning_rate)
    how: dict[str, Any] = {"over": over, "max_learning_rate": cap, "constant_batch": constant_batch, "progress": progress}

    def best(seconds: float) -> TimedPlan:
        return best_plan_in_time(problem, optimizer, seconds, time, pieces, **how)

    low = time.fixed + time.per_example
    found, high = best(low), low
    while found.risk > target:
        low, high = high, 4 * high
        require(high < 1e12 * (time.fixed + time.per_example), "target", target, "no plan reaches it in 10^12 steps' time")
        found = best(high)
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        attempt = best(middle)
        if attempt.risk <= target:
            found, high = attempt, middle
        else:
            low = middle
    return found


def _check_time(time: TimeModel) -> None:
    require(isinstance(time, TimeModel), "time", repr(time), "give a TimeModel of the seconds of a step and of an example")
    for name in ("fixed", "per_example"):
        value = scalar(name, getattr(time, name))
        require(0 <= value < math.inf, name, value, "give seconds, 0 or more")
    require(time.fixed + time.per_example > 0, "fixed and per_example", 0, "a step must take some time")
    require(time.per_example > 0 or time.max_batch_size < math.inf, "max_batch_size", "inf", "give it: examples cost nothing")
    require(
        scalar("max_batch_size", time.max_batch_size) >= 1,
        "max_batch_size",
        time.max_batch_size,
        "give a batch size of at least 1",
    )
