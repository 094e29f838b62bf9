"""Rules that move a recipe to another batch size: what becomes of its risk, its updates and its examples.

The rates of a recipe are in units of one over the problem's curvatures. For a network whose curvatures are not known they
can be anything, so that only factors on a recipe's rates can be carried over, and only if it was tuned.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from nqmjax._tools import check_batch_size, check_choice, require, scalar, whole
from nqmjax.optimizers import LinearOptimizer, provenance
from nqmjax.problem import NoisyQuadratic
from nqmjax.schedules.budget import tuned_rate
from nqmjax.schedules.caps import AT_CAP, caps_of_pieces, chosen_cap, learning_rate_cap
from nqmjax.schedules.plan import Plan, check_plan, run
from nqmjax.schedules.problem import final_risk

FAINT = 1e-3
"""A recipe whose rates the best factor multiplies by more than one over this is in other units, or does not learn at all."""

RULES = ("none", "linear", "sqrt", "tuned")
"""Rules for the learning rate when the batch size changes by a factor `k`: keep it, times `k`, times `sqrt(k)`, tune it."""


def transfer(
    problem: NoisyQuadratic,
    optimizer: LinearOptimizer,
    plan: Plan,
    batch_size: float,
    *,
    rules: Sequence[str] = RULES,
    max_learning_rate: float | None = None,
) -> xr.Dataset:
    """What becomes of a recipe at another batch size, under each rule for the learning rate.

    The plan is stretched or shrunk in time, its shape kept; batch sizes and rates of all pieces are multiplied alike. Steps to
    the same risk come from a bisection over the length: where the risk oscillates with it, a crossing, not always the first.

    Args:
      problem: the quadratic.
      optimizer: scalar hyperparameters, used where the plan does not name them.
      plan: the recipe; its rates are in units of one over the problem's curvatures.
      batch_size: the new batch size, of the plan's first piece.
      rules: names, see `RULES`. "tuned" tunes the factor on the rates anew for each of the three questions.
      max_learning_rate: cap of tuned rates; by default `learning_rate_cap` of each piece, inf for none.

    Returns:
      `xarray.Dataset` over rule: `risk_same_examples` after as many examples (epochs), `risk_same_steps` after as many
      updates, `steps_to_same_risk`, the updates to the risk that the recipe reaches (inf if never), `examples_to_same_risk`,
      and for each the factor `rate_factor_..` on the recipe's rates. `at_cap` tells whether a tuned factor is the largest
      that is allowed. Attributes hold the recipe's own `risk`, `steps` and `examples`, and `own_rate_factor`, the best factor
      on its rates at its own batch size: far from 1, the recipe was not tuned to this problem.

    Raises:
      ValueError: an argument is out of its range, a rule is unknown, or the recipe's rates are less than a thousandth of the
        best ones: they are in other units.

    >>> from nqmjax import SGD, power_law
    >>> from nqmjax.schedules import cosine
    >>> table = transfer(power_law(100), SGD(0.1), cosine(0.1, steps=4000, batch_size=4), batch_size=16)
    >>> table.risk_same_examples.values.round(4)
    array([0.1128, 0.0071, 0.0284, 0.0062])

    Source: the rules are those of Krizhevsky 2014 (square root) and Goyal et al. 2017 (linear).
    """
    for rule in rules:
        check_choice("rule", rule, RULES)
    check_plan(problem, optimizer, plan)
    check_batch_size(batch_size)
    scalar("batch_size", batch_size)
    moving = _Moving(problem, optimizer, plan, float(batch_size) / float(plan.batch_size[0]), max_learning_rate)
    rows = [moving.answers(rule) for rule in rules]
    units = {"steps_to_same_risk": "updates", "examples_to_same_risk": "examples"}
    return xr.Dataset(
        {
            name: ("rule", [row[name] for row in rows], {"units": units.get(name, "loss" if name.startswith("risk") else "1")})
            for name in rows[0]
        },
        coords={"rule": list(rules)},
        attrs={
            "title": "a recipe at another batch size",
            **provenance(problem, optimizer, plan.hyperparameters),
            "batch_size": float(batch_size),
            "from_batch_size": float(plan.batch_size[0]),
            "risk": moving.goal,
            "initial_risk": float(problem.initial_risk),
            "steps": int(plan.total_steps),
            "examples": float(plan.total_examples),
            "own_rate_factor": moving.own_factor,
            "largest_rate_factor": moving.largest,
        },
    )


class _Moving:
    """A recipe that is moved to batches `factor` times as large."""

    def __init__(
        self, problem: NoisyQuadratic, optimizer: LinearOptimizer, plan: Plan, factor: float, max_learning_rate: float | None
    ) -> None:
        self.problem, self.optimizer, self.plan, self.factor = problem, optimizer, plan, factor
        check_batch_size(np.asarray(plan.batch_size) * factor)
        self.goal, self.total = float(run(problem, optimizer, plan)[-1]), int(plan.total_steps)
        self.same_examples = max(round(self.total / factor), 1)
        remedy = "the run has more than 2^31 updates there: give a larger batch size"
        require(self.same_examples <= 2**31, "batch_size", f"{factor * plan.batch_size[0]:g}", remedy)
        remedy = "give a recipe that learns and does not diverge"
        require(np.max(plan.learning_rate) > 0 and np.isfinite(self.goal), "the recipe's final risk", f"{self.goal:g}", remedy)
        if max_learning_rate is None:
            used = plan.learning_rate > 0
            self.largest = float((caps_of_pieces(problem, optimizer, plan) / np.where(used, plan.learning_rate, 1))[used].min())
        else:
            self.largest = chosen_cap(problem, optimizer, max_learning_rate) / float(np.max(plan.learning_rate))
        self.evaluate = final_risk(problem, optimizer, plan.pieces)
        _, self.own_factor = self.best(self.total, batch_factor=1.0)
        self._check_units()

    def _check_units(self) -> None:
        peak, cap = float(np.max(self.plan.learning_rate)), learning_rate_cap(self.problem, self.optimizer)
        steepest = float(np.max(self.problem.curvature))
        unit = "" if steepest == 1 else f" over {steepest:g}"
        remedy = (
            f"this is 1/{self.own_factor:.3g} of the best one; rates are in units where the largest curvature is {steepest:g}, "
            f"stable up to about {cap:.3g}: multiply your network's rate by its largest curvature{unit}"
        )
        require(self.own_factor * FAINT <= 1, "learning_rate", f"{peak:.3g}", remedy)

    def moved(self, steps: int, multiplier: float, batch_factor: float) -> Plan:
        """The plan in so many updates, at rates and batch sizes times these factors."""
        rates, batches = self.plan.learning_rate * multiplier, self.plan.batch_size * batch_factor
        return stretched(self.plan.replace(learning_rate=rates, batch_size=batches), steps)

    def risk(self, steps: int, multiplier: float) -> float:
        """The final risk at the new batch size."""
        return self.evaluate(self.moved(steps, multiplier, self.factor)) + float(self.problem.irreducible)

    def best(self, steps: int, batch_factor: float) -> tuple[float, float]:
        """The least final risk over the factor on the rates, and that factor."""
        return tuned_rate(
            self.problem, self.optimizer, lambda learning_rate: self.moved(steps, learning_rate, batch_factor), self.largest
        )

    def answers(self, rule: str) -> dict[str, Any]:
        """What a rule comes to."""
        fixed = {"none": 1.0, "linear": self.factor, "sqrt": self.factor**0.5}.get(rule)

        def best(steps: int) -> tuple[float, float]:
            return self.best(steps, self.factor) if fixed is None else (self.risk(steps, fixed), fixed)

        by_examples, by_steps = best(self.same_examples), best(self.total)
        steps = _fewest(lambda steps: best(steps)[0] <= self.goal, self.same_examples)
        to_risk = best(int(steps))[1] if np.isfinite(steps) else np.nan
        factors = np.array([by_examples[1], by_steps[1], to_risk])
        return {
            "risk_same_examples": by_examples[0],
            "rate_factor_same_examples": by_examples[1],
            "risk_same_steps": by_steps[0],
            "rate_factor_same_steps": by_steps[1],
            "steps_to_same_risk": steps,
            "rate_factor_same_risk": to_risk,
            "examples_to_same_risk": steps * self.factor * float(self.plan.batch_size[0]),
            "at_cap": fixed is None and bool(np.nanmax(factors) >= self.largest * (1 - AT_CAP)),
        }


def stretched(plan: Plan, steps: int) -> Plan:
    """The plan in another number of updates, its shape kept; pieces that would have none are left out.

    >>> stretched(Plan([1.0, 0.1], steps=[75, 25], batch_size=4), 8)
    2 pieces, 8 steps, 32 examples
    """
    ends = np.round(np.cumsum(plan.steps) / plan.total_steps * whole("steps", steps))
    return plan.replace(steps=np.diff(ends, prepend=0.0)).without_empty_pieces()


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
