r"""Budgets: the best rate at each batch size for so many epochs or steps, the two regimes, and rules that move a recipe.

Under a budget of examples a larger batch means fewer updates. While noise dominates, the best rate is proportional to the
batch size and the final risk does not depend on it (the run depends on the temperature `a / ((1 - beta) B)` alone); once
curvature dominates, the best rate is flat and the risk grows. Under a budget of updates a larger batch only helps.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from scipy.optimize import minimize_scalar
from tqdm import tqdm

from nqmjax.checks import check_batch_size, check_choice, check_steps, check_values, numeric, require
from nqmjax.comparison import final_risk
from nqmjax.frontdoor import check_run
from nqmjax.optimizers import LinearOptimizer
from nqmjax.plans import Plan, check_plan, run
from nqmjax.problem import NoisyQuadratic
from nqmjax.schedule_search import learning_rate_cap
from nqmjax.schedules import FAMILIES
from nqmjax.sweeping import describe

LINEAR_WITHIN = 0.1
"""A batch size obeys the linear rule while its best rate is within so much of it."""

RATES = np.geomspace(1e-7, 1.0, 57)
"""Rates that are tried first, relative to the largest stable one."""

RULES = ("none", "linear", "sqrt", "tuned")
"""Rules for the learning rate when the batch size changes by a factor `k`: keep it, times `k`, times `sqrt(k)`, tune it."""


class Regimes(NamedTuple):
    """Where noise ends to dominate and curvature begins.

    `boundary` is the batch size at which the linear rule of small batches meets the rate, flat by then (their median), of
    those that do not obey it; `exponent` is the slope of `log rate` against `log B` over the batch sizes from the smallest
    to `linear_up_to`, which obey the linear rule within 10%. Without a value (NaN) where the table does not show a regime.
    """

    boundary: float
    exponent: float
    linear_up_to: float


def budget_curve(
    problem: NoisyQuadratic,
    optimizer: LinearOptimizer,
    batch_size: Any,
    examples: float | None = None,
    steps: int | None = None,
    family: str = "step_decay",
    warmup: float = 0.0,
    progress: bool = True,
    **settings: Any,
) -> xr.Dataset:
    """Tuned final risk and tuned rate against batch size, for a budget of examples (epochs) or of updates.

    Args:
      problem: the quadratic.
      optimizer: scalar hyperparameters; its learning rate is tuned.
      batch_size: examples per update, shape `(b,)`.
      examples: budget of examples: epochs times the size of the data set; each batch size makes `examples / B` updates.
      steps: budget of updates instead.
      family: schedule, see `nqmjax.schedules`; the default is that of Smith et al. 2020.
      warmup: share of the run that is warm-up.
      progress: show a bar when the run takes longer than two seconds.
      settings: of the family, for example `final=0.01`.

    Returns:
      `xarray.Dataset` over batch_size: `risk`, `learning_rate` (the peak), `effective_learning_rate`, `temperature`
      (effective rate over batch size), `steps`, `examples`.

    Raises:
      ValueError: an argument is out of its range, or a batch is larger than the budget.

    >>> from nqmjax import SGD, power_law
    >>> table = budget_curve(power_law(100), SGD(0.1), [1, 4, 1024], examples=20_000)
    >>> table.risk.values.round(4), table.learning_rate.values.round(3)
    (array([0.0073, 0.0073, 0.2928]), array([0.024, 0.097, 2.169]))

    Source: Smith et al. 2020, sections 3 and 4, figures 1, 5, 6 and 7, tables 1, 2, 4 and 5 (the training loss).
    """
    require((examples is None) != (steps is None), "examples and steps", (examples, steps), "give one of the two")
    check_choice("family", family, FAMILIES)
    check_run(problem, optimizer, batch_size)
    batches = np.atleast_1d(numeric("batch_size", batch_size))
    require(0 <= warmup < 1, "warmup", warmup, "give a share of the run from 0 up to 1")
    if examples is not None:
        require(np.isfinite(examples), "examples", examples, "give a finite number")
        check_values("batch_size", batches, batches <= examples, f"the budget of {examples:g} examples is less than one batch")
        counts = np.maximum(np.round(examples / batches), 1).astype(int)
    else:
        check_steps("steps", steps)
        require(bool(steps), "steps", steps, "give at least one")
        counts = np.full(len(batches), int(steps or 0))
    rows = []
    with tqdm(
        zip(batches, counts, strict=True), total=len(batches), desc="budget", delay=2, disable=not progress, leave=False
    ) as bar:
        for batch, count in bar:
            start = min(round(warmup * count), count - 1)
            make = functools.partial(FAMILIES[family], steps=int(count), batch_size=batch, warmup=start, **settings)
            rows.append(tuned_rate(problem, optimizer, make))
    risk, rate = np.array(rows).T
    effective = optimizer.replace(learning_rate=rate).effective_learning_rate
    columns = {
        "risk": (risk, "loss"),
        "learning_rate": (rate, "1"),
        "effective_learning_rate": (effective, "1"),
        "temperature": (effective / batches, "1"),
        "steps": (counts, "updates"),
        "examples": (counts * batches, "examples"),
    }
    table = xr.Dataset(
        {name: ("batch_size", values, {"units": unit}) for name, (values, unit) in columns.items()},
        coords={"batch_size": ("batch_size", batches, {"units": "examples"})},
        attrs={
            "title": "tuned final risk under a budget",
            "optimizer": describe(optimizer),
            "budget": f"{examples:g} examples" if examples is not None else f"{steps} updates",
            "family": family,
            "warmup": warmup,
            "irreducible": float(problem.irreducible),
        },
    )
    return table


def budget_regimes(table: xr.Dataset) -> Regimes:
    """The two regimes in a table of `budget_curve` under a budget of examples.

    >>> from nqmjax import SGD, power_law
    >>> regimes = budget_regimes(budget_curve(power_law(100), SGD(0.1), 2.0 ** np.arange(0, 11), examples=20_000))
    >>> round(regimes.exponent, 2), regimes.linear_up_to
    (1.0, 64.0)

    Source: Smith et al. 2020, section 2.
    """
    require(isinstance(table, xr.Dataset), "table", repr(table)[:80], "give what budget_curve returns")
    order = np.argsort(table.batch_size.values)
    batch, rate = table.batch_size.values[order], table.effective_learning_rate.values[order]
    linear = rate[0] / batch[0]
    obeys = np.abs(rate / (linear * batch) - 1) <= LINEAR_WITHIN
    count = len(batch) if obeys.all() else int(np.argmin(obeys))
    if count < 2:
        return Regimes(np.nan, np.nan, np.nan)
    exponent = float(np.polyfit(np.log(batch[:count]), np.log(rate[:count]), 1)[0])
    flat = len(batch) >= 2 and not obeys[-1]
    plateau = float(np.median(rate[count:])) if flat else np.nan
    return Regimes(plateau / linear, exponent, float(batch[count - 1]))


def transfer(
    problem: NoisyQuadratic,
    optimizer: LinearOptimizer,
    plan: Plan,
    batch_size: float,
    rules: Sequence[str] = RULES,
) -> xr.Dataset:
    """What becomes of a recipe at another batch size, under each rule for the learning rate.

    The plan is stretched or shrunk in time, its shape kept; batch sizes and rates of all pieces are multiplied alike. Steps to
    the same risk come from a bisection over the length: where the risk oscillates with it, a crossing, not always the first.

    Args:
      problem: the quadratic.
      optimizer: scalar hyperparameters, used where the plan does not name them.
      plan: the recipe.
      batch_size: the new batch size, of the plan's first piece.
      rules: names, see `RULES`. "tuned" tunes the factor on the rates anew for each of the three questions.

    Returns:
      `xarray.Dataset` over rule: `risk_same_examples` after as many examples (epochs), `risk_same_steps` after as many
      updates, `steps_to_same_risk`, the updates to the risk that the recipe reaches (inf if never), `examples_to_same_risk`,
      and for each the factor `rate_factor_..` on the rates. Attributes hold the recipe's own `risk`, `steps` and `examples`.

    Raises:
      ValueError: an argument is out of its range, or a rule is unknown.

    >>> from nqmjax import SGD, power_law
    >>> from nqmjax.schedules import cosine
    >>> table = transfer(power_law(100), SGD(0.1), cosine(0.1, steps=4000, batch_size=4), batch_size=16)
    >>> table.risk_same_examples.values.round(4)
    array([0.1127, 0.0071, 0.0284, 0.0062])

    Source: the rules are those of Krizhevsky 2014 (square root) and Goyal et al. 2017 (linear).
    """
    for rule in rules:
        check_choice("rule", rule, RULES)
    check_plan(problem, optimizer, plan)
    check_batch_size(batch_size)
    require(np.ndim(batch_size) == 0, "the shape of batch_size", np.shape(batch_size), "give a number")
    factor = float(batch_size) / float(plan.batch_size[0])
    check_batch_size(np.asarray(plan.batch_size) * factor)
    goal = float(run(problem, optimizer, plan)[-1])
    floor = float(problem.irreducible)
    total = int(plan.total_steps)
    same_examples = max(round(total / factor), 1)
    remedy = "the run has more than 2^31 updates there: give a larger batch size"
    require(same_examples <= 2**31, "batch_size", batch_size, remedy)
    remedy = "give a recipe that learns and does not diverge"
    require(np.max(plan.learning_rate) > 0 and np.isfinite(goal), "the recipe's final risk", f"{goal:g}", remedy)
    evaluate = final_risk(problem, optimizer, 2**32 - 1, plan.pieces)

    def moved(steps: int, multiplier: float) -> Plan:
        rates = plan.learning_rate * multiplier
        return stretched(plan.replace(learning_rate=rates, batch_size=plan.batch_size * factor), steps)

    def risk(steps: int, multiplier: float) -> float:
        return evaluate(moved(steps, multiplier)) + floor

    def best_multiplier(steps: int) -> tuple[float, float]:
        found, multiplier = tuned_rate(
            problem, optimizer, lambda learning_rate: moved(steps, learning_rate / plan.learning_rate.max())
        )
        return found, multiplier / plan.learning_rate.max()

    fixed = {"none": 1.0, "linear": factor, "sqrt": factor**0.5}
    rows = []
    for rule in rules:
        if rule == "tuned":
            by_examples, by_steps = best_multiplier(same_examples), best_multiplier(total)
            steps = _fewest(lambda steps: best_multiplier(steps)[0] <= goal, same_examples)
            to_risk = best_multiplier(int(steps))[1] if np.isfinite(steps) else np.nan
        else:
            multiplier = fixed[rule]
            by_examples, by_steps = (risk(same_examples, multiplier), multiplier), (risk(total, multiplier), multiplier)
            steps, to_risk = _fewest(lambda steps, m=multiplier: risk(steps, m) <= goal, same_examples), multiplier
        rows.append([*by_examples, *by_steps, steps, to_risk, steps * batch_size])
    names = ["risk_same_examples", "rate_factor_same_examples", "risk_same_steps", "rate_factor_same_steps"]
    names += ["steps_to_same_risk", "rate_factor_same_risk", "examples_to_same_risk"]
    units = {"steps_to_same_risk": "updates", "examples_to_same_risk": "examples"}
    return xr.Dataset(
        {
            name: ("rule", values, {"units": units.get(name, "loss" if name.startswith("risk") else "1")})
            for name, values in zip(names, np.array(rows).T, strict=True)
        },
        coords={"rule": list(rules)},
        attrs={
            "title": "a recipe at another batch size",
            "batch_size": float(batch_size),
            "from_batch_size": float(plan.batch_size[0]),
            "risk": goal,
            "initial_risk": float(problem.initial_risk),
            "steps": total,
            "examples": float(plan.total_examples),
        },
    )


def stretched(plan: Plan, steps: int) -> Plan:
    """The plan in another number of updates, its shape kept; pieces that would have none are left out.

    >>> stretched(Plan([1.0, 0.1], steps=[75, 25], batch_size=4), 8)
    2 pieces, 8 steps, 32 examples
    """
    ends = np.round(np.cumsum(plan.steps) / plan.total_steps * steps)
    return plan.replace(steps=np.diff(ends, prepend=0.0)).without_empty_pieces()


def tuned_rate(
    problem: NoisyQuadratic, optimizer: LinearOptimizer, make: Callable[..., Plan], widest: float = 4.0
) -> tuple[float, float]:
    """The least final risk of `make(learning_rate=...)` over the rate, and that rate: a grid, then Brent's method."""
    cap = learning_rate_cap(problem, optimizer) * widest
    first = make(learning_rate=cap)
    check_plan(problem, optimizer, first)
    evaluate = final_risk(problem, optimizer, int(first.total_steps), first.pieces)

    def objective(logarithm: float) -> float:
        value = evaluate(make(learning_rate=float(np.exp(logarithm))))
        return float(np.log(value)) if 0 < value < np.inf else (np.inf if value > 0 else -np.inf)

    grid = np.log(cap * RATES)
    values = np.array([objective(point) for point in grid])
    at = int(values.argmin())
    ends = grid[max(at - 1, 0)], grid[min(at + 1, len(grid) - 1)]
    finite = minimize_scalar(lambda x: min(objective(x), 1e3), bounds=ends, method="bounded", options={"xatol": 1e-7})
    value, point = min((finite.fun, finite.x), (values[at], grid[at]))
    return float(np.exp(value)) + float(problem.irreducible), float(np.exp(point))


def _fewest(reached: Callable[[int], bool], guess: int, limit: int = 2**31 - 1) -> float:
    """The smallest number for which `reached`, taken as monotone, by doubling and bisection; inf beyond the limit."""
    low, high = 0, max(int(guess), 1)
    while not reached(high):
        if high >= limit:
            return np.inf
        low, high = high, min(2 * high, limit)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return float(high)
