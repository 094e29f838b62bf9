r"""Optimal plans by autodiff: the least final risk of a number of updates, and the fewest updates to a target.

The pieces' hyperparameters `x` are the unknowns, each in a coordinate in which equal distances matter alike (`log a`,
`log(1 - beta)`), and `log(R_T - irreducible)` is minimised by L-BFGS-B with exact gradients and bounds. It starts from the
closed form of `nqmjax.schedules.closed_forms`, clipped to the bounds, which is close to the optimum already. Batch sizes under
a budget of examples need no unknowns: for any rates the best are closed form, and by the envelope theorem the gradient of the
risk with them put in is that with them held.

Momentum over few updates oscillates, and such plans have several local optima a few per cent apart: ask for several starts.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from nqmjax._tools import check_loss, check_steps, require, whole
from nqmjax.bounds import bayes_examples
from nqmjax.optimizers import LinearOptimizer
from nqmjax.problem import NoisyQuadratic
from nqmjax.schedules.plan import Plan, piece_lengths
from nqmjax.schedules.problem import EXPLODED, Search
from nqmjax.target import MAX_STEPS

TOLERANCE = 1e-5
"""A plan has converged where no allowed change of a coordinate by 1 changes `log R` by more, to first order."""

ROUGH = 0.1
"""How near `log R` comes to the target's before optimal plans are looked for."""

RESTARTS = 5
"""How often L-BFGS-B is started again from where it stopped short of that."""


class OptimizedPlan(NamedTuple):
    """A plan that was optimised, its final risk, and how far the optimisation came.

    `converged` tells whether the plan is a local optimum to first order: `gradient` is the largest slope of `log R` in any
    coordinate that a bound does not hold, and `at_bound` names the hyperparameters with the pieces that a bound holds.
    """

    plan: Plan
    risk: float
    converged: bool
    gradient: float
    at_bound: dict[str, np.ndarray]
    evaluations: int


class PlanToTarget(NamedTuple):
    """The fewest updates with which the optimal plan reaches a target (inf where none does), and that plan."""

    steps: float
    plan: Plan | None
    risk: float
    converged: bool


def optimize_schedule(
    problem: NoisyQuadratic,
    optimizer: LinearOptimizer,
    batch_size: float,
    steps: int,
    pieces: int = 10,
    *,
    max_learning_rate: float | None = None,
    over: Sequence[str] = ("learning_rate",),
    examples: float | None = None,
    batch_sizes: tuple[float, float] = (1.0, np.inf),
    starts: int = 1,
    key: int = 0,
) -> OptimizedPlan:
    r"""The plan of equal pieces with the least risk after `steps` updates.

    Args:
      problem: the quadratic.
      optimizer: scalar hyperparameters; those not named in `over` keep their values.
      batch_size: examples per update, a number; with `examples`, only where the search starts.
      steps: number of updates.
      pieces: pieces, as nearly equal as whole numbers can be.
      max_learning_rate: cap of the rate; by default `learning_rate_cap`, inf for none.
      over: hyperparameters that change from piece to piece: learning_rate, momentum, decay, nu.
      examples: budget of examples of the whole plan; if given, the batch sizes of the pieces are optimised too.
      batch_sizes: smallest and largest batch size, with `examples`.
      starts: starting points: the closed form first, then random ones around it; the best result counts.
      key: a whole number, the seed of the random starts.

    Returns:
      `OptimizedPlan`; one that did not converge is the best that was found, and says so.

    Raises:
      ValueError: an argument is out of its range.

    >>> from nqmjax import SGD, power_law
    >>> best = optimize_schedule(power_law(100), SGD(0.1), batch_size=16, steps=1000, pieces=5)
    >>> best.plan.learning_rate.round(3), round(best.risk, 4), best.converged
    (array([1.01 , 0.293, 0.131, 0.061, 0.02 ]), 0.0053, True)

    Source: Zhang et al. 2019, section 3.7.2.
    """
    search = Search(problem, optimizer, batch_size, pieces, max_learning_rate, over, examples, batch_sizes)
    starts, lengths = whole("starts", starts), piece_lengths(steps, pieces)
    first = search.closed_form(lengths)
    rng = np.random.default_rng(key)
    others = [search.clip(first + rng.normal(size=first.shape)) for _ in range(starts - 1)]
    return min((minimise(search, lengths, start) for start in [first, *others]), key=lambda found: found.risk)


def steps_to_target_with_schedule(
    problem: NoisyQuadratic,
    optimizer: LinearOptimizer,
    batch_size: float,
    target: float,
    pieces: int = 10,
    *,
    max_learning_rate: float | None = None,
    over: Sequence[str] = ("learning_rate",),
    max_steps: int = MAX_STEPS,
) -> PlanToTarget:
    r"""The fewest updates with which an optimal plan of equal pieces reaches the target.

    `T = min { t : min_plan R_t <= target }` over all whole `t`, found by following `log R` against `log t` of optimal
    plans, each started from the last one.

    Args:
      problem: the quadratic.
      optimizer: scalar hyperparameters; those not named in `over` keep their values.
      batch_size: examples per update, a number.
      target: risk to reach, the irreducible loss included.
      pieces: pieces of a plan; fewer where there are not as many steps.
      max_learning_rate: cap of the rate; by default `learning_rate_cap`, inf for none.
      over: hyperparameters that change from piece to piece.
      max_steps: updates to search.

    Returns:
      `PlanToTarget`.

    Raises:
      ValueError: an argument is out of its range.

    >>> from nqmjax import SGD, power_law
    >>> found = steps_to_target_with_schedule(power_law(100), SGD(0.1), batch_size=64, target=0.01, pieces=5)
    >>> found.steps, found.plan.learning_rate.round(3)
    (167.0, array([1.98 , 1.98 , 1.275, 0.52 , 0.148]))

    Source: Zhang et al. 2019, section 3.7.2, figures 3b and 3c.
    """
    check_loss(target)
    check_steps("max_steps", max_steps, MAX_STEPS)
    require(max_steps >= 1, "max_steps", max_steps, "give at least one")
    search = Search(problem, optimizer, batch_size, pieces, max_learning_rate, over, None, (1.0, np.inf))
    none = PlanToTarget(np.inf, None, np.nan, False)
    if target <= problem.irreducible:
        return none
    if target >= problem.initial_risk:
        return PlanToTarget(0.0, None, float(problem.initial_risk), True)

    cache: dict[int, OptimizedPlan] = {}

    def best(steps: int) -> OptimizedPlan:
        """The optimal plan of so many steps, started from the one nearest in length."""
        if steps not in cache:
            lengths = piece_lengths(steps, min(pieces, steps))
            alike = [other for other in cache if cache[other].plan.pieces == len(lengths)]
            near = min(alike, key=lambda other: abs(np.log(other / steps)), default=None)
            start = search.closed_form(lengths) if near is None else search.coordinates(cache[near].plan)
            cache[steps] = minimise(search, lengths, start)
        return cache[steps]

    def excess(steps: int) -> float:
        return np.log((best(steps).risk - problem.irreducible) / (target - problem.irreducible))

    def rough(steps: int) -> float:
        """The same of the closed form's plan, an upper bound at the price of one evaluation."""
        lengths = piece_lengths(steps, min(pieces, steps))
        return search.log_risk(lengths, search.closed_form(lengths)) - np.log(target - problem.irreducible)

    guess = smallest(rough, bayes_examples(problem, target) / batch_size, max_steps, ROUGH)
    steps = smallest(excess, guess or max_steps, max_steps)
    if steps is None:
        return none
    return PlanToTarget(float(steps), best(steps).plan, best(steps).risk, best(steps).converged)


def minimise(search: Search, lengths: np.ndarray, start: np.ndarray) -> OptimizedPlan:
    """The local optimum from `start`."""
    lower, upper = np.broadcast_to(search.bounds.transpose(1, 0, 2), (2, *start.shape))

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = search.value_and_slope(lengths, flat.reshape(start.shape))
        return value, slope.ravel()

    options = {"maxiter": 2000, "maxfun": 4000, "maxcor": 30, "ftol": 1e-14, "gtol": TOLERANCE / 10}
    bounds = np.stack([lower.ravel(), upper.ravel()], axis=1)
    search.check_lengths(lengths)
    at, evaluations = start, 0
    for _ in range(RESTARTS):  # its memory of curvature goes stale in narrow valleys
        found = minimize(objective, at.ravel(), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        at, evaluations = found.x.reshape(start.shape), evaluations + found.nfev + 1
        value, slope = search.value_and_slope(lengths, at)
        held = np.where(slope > 0, at <= lower, at >= upper)
        gradient = float(np.abs(np.where(held, 0.0, slope)).max())
        if gradient <= TOLERANCE:
            break
    return OptimizedPlan(
        plan=search.plan(at, lengths, search.batches(lengths, at)),
        risk=float(np.exp(value) + search.given.irreducible),
        converged=gradient <= TOLERANCE and value < EXPLODED,
        gradient=gradient,
        at_bound=dict(zip(search.names, held, strict=True)),
        evaluations=evaluations,
    )


def smallest(excess: Callable[[int], float], guess: float, max_steps: int, enough: float = 0.0) -> int | None:
    """The smallest whole number with `excess <= 0`, for a function that falls about as a power; None beyond `max_steps`.

    With `enough`, any number whose excess is no further from 0 than that.
    """
    low, high = _bracket(excess, guess, max_steps, enough)
    return None if high is None else _shrink(excess, low, high, enough)


def _bracket(excess: Callable[[int], float], guess: float, max_steps: int, enough: float) -> tuple[int, int | None]:
    """A number with an excess and a larger one without, from steps out as of a power of -1.5; 0 stands for none below."""
    steps, low, high = int(np.clip(guess, 1, max_steps)), 0, None
    while True:
        value = excess(steps)
        if enough > 0 and abs(value) <= enough:
            return steps - 1, steps
        if value <= 0:
            high = steps
        elif steps >= max_steps:
            return steps, None
        else:
            low = steps
        if high is not None and (low > 0 or high == 1):
            return low, high
        at = steps * np.exp(np.clip(value / 1.5, -2.0, 2.0)) if value != 0 else steps / 2  # it has settled: far below
        if high is None:
            steps = min(max(int(np.ceil(1.02 * at)), steps + 1), max_steps)
        else:
            steps = max(min(int(at / 1.02), steps - 1), 1)


def _shrink(excess: Callable[[int], float], low: int, high: int, enough: float) -> int:
    """The smallest number without an excess between the two ends of a bracket, by secants."""
    if high - low == 1:
        return high
    above, below, beyond = excess(low), excess(high), 1.0
    while high - low > 1:
        settled = below == 0
        root = np.sqrt(low * high) if settled else low * np.exp(above * np.log(high / low) / (above - below))
        # A little beyond the root in turn, so that the interval shrinks from both sides.
        margin = 0.0 if settled else beyond * max(0.02 * (high - low), 0.5)
        steps = round(float(np.clip(root + margin, low + 1, high - 1)))
        value = excess(steps)
        if enough > 0 and abs(value) <= enough:
            return steps
        if value <= 0:
            high, below, beyond = steps, value, -1.0
        else:
            low, above, beyond = steps, value, 1.0
    return high
