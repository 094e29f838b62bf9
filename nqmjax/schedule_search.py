r"""Optimal plans by autodiff: the least final risk of a number of updates, and the fewest updates to a target.

The pieces' hyperparameters `x` are the unknowns, each in a coordinate in which equal distances matter alike (`log a`,
`log(1 - beta)`), and `log(R_T - irreducible)` is minimised by L-BFGS-B with exact gradients and bounds. It starts from the
closed form of `nqmjax.closed_forms`, clipped to the bounds, which is close to the optimum already. Batch sizes under a
budget of examples need no unknowns: for any rates the best are closed form, and by the envelope theorem the gradient of the
risk with them put in is that with them held.

Momentum over few updates oscillates, and such plans have several local optima a few per cent apart: ask for several starts.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize

from nqmjax.bounds import bayes_examples
from nqmjax.checks import check_steps, check_target, require
from nqmjax.closed_forms import ForgettingKernel, water_filling
from nqmjax.dynamics import stability_edge
from nqmjax.dynamics.pieces import doublings, quick_risks_of_pieces
from nqmjax.frontdoor import check_run
from nqmjax.optimizers import LinearOptimizer, hyperparameters
from nqmjax.plans import Plan, piece_lengths
from nqmjax.precision import precision
from nqmjax.problem import NoisyQuadratic
from nqmjax.target import MAX_STEPS

SLOWEST = 1e-6
"""The smallest `1 - momentum` and `1 - decay` that is searched."""

LOWEST = 1e-12
"""The smallest learning rate that is searched, relative to the cap."""

TOLERANCE = 1e-5
"""A plan has converged where no allowed change of a coordinate by 1 changes `log R` by more, to first order."""

ROUGH = 0.1
"""How near `log R` comes to the target's before optimal plans are looked for."""

EXPLODED = 700.0
"""What stands for `log R` of a plan that explodes: above every risk of interest."""

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
    require(
        np.isfinite(starts) and int(starts) == starts and starts >= 1,
        "starts",
        starts,
        "give a whole number of starting points, at least 1",
    )
    lengths = piece_lengths(steps, pieces)
    first = search.closed_form(lengths)
    rng = np.random.default_rng(key)
    others = [search.clip(first + rng.normal(size=first.shape)) for _ in range(starts - 1)]
    return min((search.minimise(lengths, start) for start in [first, *others]), key=lambda found: found.risk)


def steps_to_target_with_schedule(
    problem: NoisyQuadratic,
    optimizer: LinearOptimizer,
    batch_size: float,
    target: float,
    pieces: int = 10,
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
    check_target(target)
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
            cache[steps] = search.minimise(lengths, start)
        return cache[steps]

    def excess(steps: int) -> float:
        return np.log((best(steps).risk - problem.irreducible) / (target - problem.irreducible))

    def rough(steps: int) -> float:
        """The same of the closed form's plan, an upper bound at the price of one evaluation."""
        lengths = piece_lengths(steps, min(pieces, steps))
        return search.log_risk(lengths, search.closed_form(lengths)) - np.log(target - problem.irreducible)

    guess = _smallest(rough, bayes_examples(problem, target) / batch_size, max_steps, ROUGH)
    steps = _smallest(excess, guess or max_steps, max_steps)
    if steps is None:
        return none
    return PlanToTarget(float(steps), best(steps).plan, best(steps).risk, best(steps).converged)


def learning_rate_cap(problem: NoisyQuadratic, optimizer: LinearOptimizer) -> float:
    """The default cap: the stability edge of the steepest direction, times `h_max / (h_max + h_min)`.

    For SGD that is `2 / (h_max + h_min)`, at which the steepest and the flattest direction shrink alike; curvatures are
    the preconditioned ones. Source: Zhang et al. 2019 (their code adds 10^-4 to the sum).
    """
    curvature = np.asarray(problem.curvature)
    steep = curvature * np.asarray(optimizer.gradient_scale(curvature))
    edge = float(stability_edge(optimizer, float(curvature[steep.argmax()])))
    return float(edge * steep.max() / (steep.max() + steep[steep > 0].min()))


def _smallest(excess: Callable[[int], float], guess: float, max_steps: int, enough: float = 0.0) -> int | None:
    """The smallest whole number with `excess <= 0`, for a function that falls about as a power; None beyond `max_steps`.

    With `enough`, any number whose excess is no further from 0 than that.
    """
    steps = int(np.clip(guess, 1, max_steps))
    low = high = None
    slope = -1.5
    while low is None or high is None or high - low > 1:
        value = excess(steps)
        if abs(value) <= enough:
            return steps
        if value <= 0:
            high = steps if high is None else min(high, steps)
        else:
            if steps >= max_steps:
                return None
            low = steps if low is None else max(low, steps)
        if high == 1:
            return 1
        known = [n for n in (low, high) if n is not None]
        if len(known) == 2:
            values = [excess(n) for n in known]
            slope = (values[1] - values[0]) / np.log(known[1] / known[0])
        # A secant step, a little beyond the root in turn, so that the interval shrinks from both sides.
        at = steps * np.exp(np.clip(-value / min(slope, -1e-3), -2.0, 2.0))
        if low is not None and high is not None:
            margin = max(0.02 * (high - low), 0.5)
            at = np.clip(at + (margin if value > 0 else -margin), low + 1, high - 1) if high - low > 1 else at
            steps = round(float(at))
        elif high is None:
            steps = min(max(int(np.ceil(1.02 * at)), steps + 1), max_steps)
        else:
            steps = max(min(int(at / 1.02), steps - 1), 1)
    return high


class Search:
    """The unknowns of one kind of plan, their bounds, and the risk as a function of them."""

    def __init__(
        self,
        problem: NoisyQuadratic,
        optimizer: LinearOptimizer,
        batch_size: float,
        pieces: int,
        max_learning_rate: float | None,
        over: Sequence[str],
        examples: float | None,
        batch_sizes: tuple[float, float],
    ) -> None:
        check_run(problem, optimizer, batch_size)
        values = hyperparameters(optimizer)
        over = [over] if isinstance(over, str) else list(over)
        for name, value in {**values, "batch_size": batch_size}.items():
            require(np.ndim(value) == 0, f"the shape of {name}", np.shape(value), "give a number")
        require(bool(over), "over", over, "name what changes from piece to piece, for example learning_rate")
        for name in over:
            require(name in values and name != "power", "over", repr(name), f"the optimizer has {', '.join(values)}")
        require(int(pieces) == pieces and pieces >= 1, "pieces", pieces, "give a whole number of pieces, at least 1")
        self.given, self.kernel = problem, ForgettingKernel(problem, optimizer)
        with precision():  # on the device once, for all evaluations
            self.problem = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), problem)
        self.optimizer, self.batch_size, self.names = optimizer, float(batch_size), over
        self.examples, self.batch_sizes = examples, batch_sizes
        cap = learning_rate_cap(problem, optimizer) if max_learning_rate is None else float(max_learning_rate)
        require(cap > 0, "max_learning_rate", cap, "give a rate above 0, or inf for no cap")
        self.cap = cap
        widest = cap if np.isfinite(cap) else 1e6 * learning_rate_cap(problem, optimizer)
        bounds = {"learning_rate": (np.log(widest * LOWEST), np.log(widest)), "nu": (0.0, 1.0)}
        self.bounds = np.array([bounds.get(_kind(name), (np.log(SLOWEST), 0.0)) for name in over])[:, :, None]

    def clip(self, point: np.ndarray) -> np.ndarray:
        """The nearest allowed point; points have shape `(names, pieces)`."""
        return np.clip(point, self.bounds[:, 0], self.bounds[:, 1])

    def coordinates(self, plan: Plan) -> np.ndarray:
        """The point of a plan."""
        return self.clip(np.array([_coordinate(name, plan.hyperparameters[name]) for name in self.names]))

    def closed_form(self, lengths: np.ndarray) -> np.ndarray:
        """The point to start from: the closed form's rates, the optimizer's own values of the rest."""
        rates = self.kernel.plan(self.batch_size, lengths, self.cap).learning_rate
        given = {**hyperparameters(self.optimizer), "learning_rate": rates}
        return self.clip(np.array([_coordinate(name, given[name]) * np.ones(len(lengths)) for name in self.names]))

    def plan(self, point: np.ndarray, lengths: np.ndarray, batch_size: Any) -> Plan:
        """The plan of a point."""
        values = {name: _value(name, row, np) for name, row in zip(self.names, point, strict=True)}
        columns = {"learning_rate": hyperparameters(self.optimizer).get("learning_rate", np.nan), **values}
        return Plan(**columns, steps=lengths, batch_size=batch_size)

    def log_risk(self, lengths: np.ndarray, point: np.ndarray) -> float:
        """`log(R - irreducible)` at a point."""
        inverse, steps = np.full(len(lengths), 1 / self.batch_size), lengths.astype(np.uint32)
        levels = doublings(int(lengths.max()))
        with precision():
            value = _risk_and_slope(self.problem, self.optimizer, point, inverse, steps, tuple(self.names), levels)[0]
        return float(value) if np.isfinite(value) else EXPLODED

    def minimise(self, lengths: np.ndarray, start: np.ndarray) -> OptimizedPlan:
        """The local optimum from `start`."""
        shape, steps = start.shape, lengths.astype(np.uint32)
        levels, names = doublings(int(lengths.max())), tuple(self.names)
        batch = np.full(len(lengths), self.batch_size)
        if self.examples is not None:  # checked here, before any work
            batch = water_filling(np.ones(len(lengths)), lengths, self.examples, *self.batch_sizes)
        evaluations, value, held = 0, np.inf, np.zeros(start.size, bool)

        def value_and_slope(flat: np.ndarray) -> tuple[float, np.ndarray]:
            nonlocal evaluations, batch
            evaluations += 1
            point = flat.reshape(shape)
            with precision():
                if self.examples is not None:
                    weights = np.asarray(_weights(self.problem, self.optimizer, point, 1 / batch, steps, names, levels))
                    if np.isfinite(weights).all():
                        batch = water_filling(np.maximum(weights, 0), lengths, self.examples, *self.batch_sizes)
                risk, slope = _risk_and_slope(self.problem, self.optimizer, point, 1 / batch, steps, names, levels)
            risk, slope = float(risk), np.asarray(slope).ravel()
            # Where a plan explodes, anything above every risk of interest turns the line search back.
            return (risk, slope) if np.isfinite(risk) and np.isfinite(slope).all() else (EXPLODED, np.zeros_like(slope))

        bounds = np.broadcast_to(self.bounds.transpose(0, 2, 1), (*shape, 2)).reshape(-1, 2)
        options = {"maxiter": 2000, "maxfun": 4000, "maxcor": 30, "ftol": 1e-14, "gtol": TOLERANCE / 10}
        at, gradient = start.ravel(), np.inf
        for _ in range(RESTARTS):  # its memory of curvature goes stale in narrow valleys
            at = minimize(value_and_slope, at, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
            value, slope = value_and_slope(at)
            held = np.where(slope > 0, at <= bounds[:, 0], at >= bounds[:, 1])
            gradient = float(np.abs(np.where(held, 0.0, slope)).max())
            if gradient <= TOLERANCE:
                break
        at_bound = dict(zip(self.names, held.reshape(shape), strict=True))
        return OptimizedPlan(
            plan=self.plan(at.reshape(shape), lengths, batch),
            risk=float(np.exp(value) + self.given.irreducible),
            converged=gradient <= TOLERANCE and value < EXPLODED,
            gradient=gradient,
            at_bound=at_bound,
            evaluations=evaluations,
        )


def _kind(name: str) -> str:
    return name.split(".")[-1]


def _coordinate(name: str, value: Any) -> Any:
    """Where a hyperparameter stands on its axis: `log a`, `log(1 - beta)`, itself."""
    value = np.asarray(value, np.float64)
    if _kind(name) == "nu":
        return value
    with np.errstate(divide="ignore"):
        return np.log(value if _kind(name) == "learning_rate" else 1 - value)


def _value(name: str, coordinate: Any, xp: Any = jnp) -> Any:
    """The hyperparameter at a coordinate."""
    if _kind(name) == "nu":
        return coordinate
    return xp.exp(coordinate) if _kind(name) == "learning_rate" else -xp.expm1(coordinate)


def final_excess(
    problem: Any, optimizer: Any, point: Any, inverse: Any, steps: Any, names: tuple[str, ...], levels: int
) -> Any:
    """Final risk less the irreducible loss."""
    settings = optimizer.replace(**{name: _value(name, row) for name, row in zip(names, point, strict=True)})
    return quick_risks_of_pieces(problem, settings, inverse, steps, levels)[-1] - problem.irreducible


@functools.partial(jax.jit, static_argnames=("names", "levels"))
def _risk_and_slope(problem: Any, optimizer: Any, point: Any, inverse: Any, steps: Any, names: Any, levels: int) -> Any:
    return jax.value_and_grad(lambda at: jnp.log(final_excess(problem, optimizer, at, inverse, steps, names, levels)))(point)


@functools.partial(jax.jit, static_argnames=("names", "levels"))
def _weights(problem: Any, optimizer: Any, point: Any, inverse: Any, steps: Any, names: Any, levels: int) -> Any:
    return jax.grad(lambda at: final_excess(problem, optimizer, point, at, steps, names, levels))(inverse)
