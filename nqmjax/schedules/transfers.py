"""Rules that move a recipe to another batch size: what becomes of its risk, its updates and its examples.

The rates of a recipe are in units of one over the problem's curvatures. For a network whose curvatures are not known they
can be anything, so that only factors on a recipe's rates can be carried over, and only if it was tuned.
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from tqdm import tqdm

from nqmjax._tools import check_batch_size, check_choice, progress_bar, require, scalar, whole
from nqmjax.dynamics import noise_scale
from nqmjax.optimizers import LinearOptimizer, Optimizer, hyperparameters, provenance
from nqmjax.problem import NoisyQuadratic
from nqmjax.schedules.budget import tuned_rate
from nqmjax.schedules.caps import AT_CAP, caps_of_pieces, chosen_cap, rate_unit
from nqmjax.schedules.plan import Plan, check_plan, run
from nqmjax.schedules.problem import final_risk, for_searches
from nqmjax.schedules.search import smallest
from nqmjax.target import MAX_STEPS

FAINT = 1e-3
"""A recipe whose rates the best factor multiplies by more than one over this is in other units, or does not learn at all."""

LARGEST = 4.0
"""Largest rate that is tried where there is no cap, in units of rates."""

RULES = ("none", "linear", "sqrt", "tuned")
"""Rules for the learning rate when the batch size changes by a factor `k`: keep it, times `k`, times `sqrt(k)`, tune it."""

BETAS_RULE = "sqrt_betas"
"""Of optimizers with betas: the rate times `sqrt(k)`, and each `1 - beta` times `k`, at most 1."""

WITHIN = 0.1
"""A rule holds while the loss above the irreducible one exceeds the recipe's by no larger share of it."""

HUGE = 1e6
"""Ratio of a risk to the recipe's that stands for all larger ones."""

MOST_DOUBLINGS = 16
"""Doublings of the batch size at which it is asked whether a rule still holds."""


def transfer(
    problem: NoisyQuadratic,
    optimizer: Optimizer,
    plan: Plan,
    batch_size: float,
    *,
    rules: Sequence[str] | None = None,
    max_learning_rate: float | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """What becomes of a recipe at another batch size, under each rule for the learning rate.

    The plan is stretched or shrunk in time, its shape kept; batch sizes and rates of all pieces are multiplied alike. Steps to
    the same risk come from secants over the length: where the risk oscillates with it, a crossing, not always the first.

    Args:
      problem: the quadratic.
      optimizer: scalar hyperparameters, used where the plan does not name them. Adam and its kin are followed with 32 nodes
        over the start at most, at both batch sizes.
      plan: the recipe; its rates are in units of one over the problem's curvatures (of Adam and its kin, of the parameters).
      batch_size: the new batch size, of the plan's first piece.
      rules: "none" keeps the rates, "linear" multiplies them by the factor `k` of the batch size, "sqrt" by its root, and
        "sqrt_betas" (of optimizers with betas) besides makes `1 - beta` into `k (1 - beta)`, at most 1; "tuned" tunes the
        factor on the rates anew for each of the three questions. By default all.
      max_learning_rate: cap of tuned rates; by default `learning_rate_cap` of each piece, inf for none.
      progress: count the runs that are computed when that takes longer than two seconds.

    Returns:
      `xarray.Dataset` over rule: `risk_same_examples` after as many examples (epochs), `risk_same_steps` after as many
      updates, `steps_to_same_risk`, the updates to the risk that the recipe reaches (inf if never), `examples_to_same_risk`,
      and for each the factor `rate_factor_..` on the recipe's rates. `error_same_examples` is the loss after as many examples
      over the recipe's, both above the irreducible one, less 1, and `holds_up_to` the largest batch size, in doublings from
      the recipe's, up to which a rule loses no more than 10% (without a value for "tuned" and for smaller batches). `at_cap`
      tells whether a tuned factor is the largest that is allowed. Attributes hold the recipe's own `risk`, `steps` and
      `examples`, `own_rate_factor`, the best factor on its rates at its own batch size (far from 1, the recipe was not tuned
      to this problem), and `noise_scale`, the batch size at which noise and gradient are alike at the start: square-root rules
      rest on batches far below it.

    Raises:
      ValueError: an argument is out of its range, a rule is unknown, or the recipe's rates are less than a thousandth of the
        best ones: they are in other units.

    >>> from nqmjax import SGD, power_law
    >>> from nqmjax.schedules import cosine
    >>> table = transfer(power_law(100), SGD(0.1), cosine(0.1, steps=4000, batch_size=4), batch_size=16)
    >>> table.risk_same_examples.values.round(4)
    array([0.1128, 0.0071, 0.0284, 0.0062])

    Source: the rules are those of Krizhevsky 2014 (square root), Goyal et al. 2017 (linear) and Malladi et al. 2022,
    definition 4.2 (with betas).
    """
    check_plan(problem, optimizer, plan, closures=True)
    betas = [name for name in ("beta1", "beta2") if name in hyperparameters(optimizer)]
    known = [*RULES, BETAS_RULE] if betas else list(RULES)
    rules = known if rules is None else rules
    for rule in rules:
        check_choice("rule", rule, known)
    check_batch_size(batch_size)
    scalar("batch_size", batch_size)
    factor = float(batch_size) / float(plan.batch_size[0])
    with progress_bar(desc="transfer", unit=" runs", progress=progress) as bar:
        moving = _Moving(problem, optimizer, plan, factor, max_learning_rate, bar)
        rows = [moving.answers(rule) for rule in rules]
    units = {"steps_to_same_risk": "updates", "examples_to_same_risk": "examples", "holds_up_to": "examples"}
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
            "noise_scale": float(noise_scale(problem, definition="B_simple")),
        },
    )


class _Moving:
    """A recipe that is moved to batches `factor` times as large."""

    def __init__(
        self,
        problem: NoisyQuadratic,
        optimizer: Optimizer,
        plan: Plan,
        factor: float,
        max_learning_rate: float | None,
        bar: tqdm,
    ) -> None:
        self.problem, self.plan, self.factor, self.optimizer = problem, plan, factor, for_searches(optimizer)
        self.bar = bar
        check_batch_size(np.asarray(plan.batch_size) * factor)
        self.goal, self.total = float(run(problem, self.optimizer, plan)[-1]), int(plan.total_steps)
        self.same_examples = max(round(self.total / factor), 1)
        remedy = "the run has more than 2^31 updates there: give a larger batch size"
        require(self.same_examples <= 2**31, "batch_size", f"{factor * plan.batch_size[0]:g}", remedy)
        remedy = "give a recipe that learns and does not diverge"
        require(np.max(plan.learning_rate) > 0 and np.isfinite(self.goal), "the recipe's final risk", f"{self.goal:g}", remedy)
        self.largest = self._largest_factor(max_learning_rate)
        self.evaluate = final_risk(problem, self.optimizer, plan.pieces)
        self.near: float | None = None
        _, self.own_factor = self.best(self.total, batch_factor=1.0)
        self._check_units()

    def _largest_factor(self, max_learning_rate: float | None) -> float:
        """The largest factor on the rates that is allowed."""
        rates = np.asarray(self.plan.learning_rate)
        if max_learning_rate is None and isinstance(self.optimizer, LinearOptimizer):
            used = rates > 0
            caps = caps_of_pieces(self.problem, self.optimizer, self.plan)
            return float((caps / np.where(used, rates, 1))[used].min())
        cap = chosen_cap(self.problem, self.optimizer, max_learning_rate)
        return float(min(cap, LARGEST * rate_unit(self.problem, self.optimizer)) / rates.max())

    def _check_units(self) -> None:
        peak, unit = float(np.max(self.plan.learning_rate)), rate_unit(self.problem, self.optimizer)
        worse = f"this is 1/{self.own_factor:.3g} of the best one"
        remedy = f"{worse}; rates are in units of the parameters, whose start is {unit:.3g}"
        if isinstance(self.optimizer, LinearOptimizer):
            steepest = float(np.max(self.problem.curvature))
            over = "" if steepest == 1 else f" over {steepest:g}"
            remedy = (
                f"{worse}; rates are in units where the largest curvature is "
                f"{steepest:g}, stable up to about {unit:.3g}: multiply your network's rate by its largest curvature{over}"
            )
        require(self.own_factor * FAINT <= 1, "learning_rate", f"{peak:.3g}", remedy)

    def moved(self, steps: int, multiplier: float, batch_factor: float, betas: bool = False) -> Plan:
        """The plan in so many updates, at rates and batch sizes times these factors; each `1 - beta` too if asked for."""
        self.bar.update()
        rates, batches = self.plan.learning_rate * multiplier, self.plan.batch_size * batch_factor
        columns = {"learning_rate": rates, "batch_size": batches}
        if betas:
            given = {**hyperparameters(self.optimizer), **self.plan.hyperparameters}
            names = [name for name in ("beta1", "beta2") if name in given]
            columns |= {name: np.maximum(1 - batch_factor * (1 - np.asarray(given[name])), 0.0) for name in names}
        return stretched(self.plan.replace(**columns), steps)

    def risk(self, steps: int, rule: str, factor: float) -> float:
        """The final risk under a fixed rule, batches being `factor` times as large."""
        plan = self.moved(steps, _rate_factor(rule, factor), factor, rule == BETAS_RULE)
        return self.evaluate(plan) + float(self.problem.irreducible)

    def best(self, steps: int, batch_factor: float) -> tuple[float, float]:
        """The least final risk over the factor on the rates, and that factor."""

        def make(learning_rate: float) -> Plan:
            return self.moved(steps, learning_rate, batch_factor)

        found = tuned_rate(self.problem, self.optimizer, make, self.largest, self.near, self.evaluate)
        self.near = found[1]
        return found

    def answers(self, rule: str) -> dict[str, Any]:
        """What a rule comes to."""
        tuned, factor = rule == "tuned", self.factor

        @functools.cache
        def best(steps: int) -> tuple[float, float]:
            return self.best(steps, factor) if tuned else (self.risk(steps, rule, factor), _rate_factor(rule, factor))

        by_examples, by_steps = best(self.same_examples), best(self.total)
        fewest = smallest(lambda steps: self._excess(best(steps)[0]), self.same_examples, MAX_STEPS)
        steps, to_risk = (np.inf, np.nan) if fewest is None else (float(fewest), best(fewest)[1])
        factors = np.array([by_examples[1], by_steps[1], to_risk])
        return {
            "risk_same_examples": by_examples[0],
            "error_same_examples": self._error(by_examples[0]),
            "rate_factor_same_examples": by_examples[1],
            "risk_same_steps": by_steps[0],
            "rate_factor_same_steps": by_steps[1],
            "steps_to_same_risk": steps,
            "rate_factor_same_risk": to_risk,
            "examples_to_same_risk": steps * factor * float(self.plan.batch_size[0]),
            "holds_up_to": np.nan if tuned or factor < 1 else self._holds_up_to(rule),
            "at_cap": tuned and bool(np.nanmax(factors) >= self.largest * (1 - AT_CAP)),
        }

    def _excess(self, risk: float) -> float:
        """Logarithm of a risk over the recipe's, both less the irreducible one."""
        floor = float(self.problem.irreducible)
        if min(risk, self.goal) <= floor:
            return 1.0 if risk > self.goal else -1.0
        return float(np.log(np.fmin((risk - floor) / (self.goal - floor), HUGE)))

    def _error(self, risk: float) -> float:
        """Share by which a risk is above the recipe's, both less the irreducible one."""
        floor = float(self.problem.irreducible)
        return (risk - floor) / (self.goal - floor) - 1 if self.goal > floor else np.nan

    def _holds_up_to(self, rule: str) -> float:
        """The largest batch size, in doublings from the recipe's, up to which a rule holds."""
        doublings = min(MOST_DOUBLINGS, int(np.log2(self.total)))
        for power in range(1, doublings + 1):
            error = self._error(self.risk(max(round(self.total / 2**power), 1), rule, 2.0**power))
            if not error <= WITHIN:
                return float(self.plan.batch_size[0]) * 2 ** (power - 1)
        return float(self.plan.batch_size[0]) * 2**doublings


def _rate_factor(rule: str, factor: float) -> float:
    """The factor on the rates under a fixed rule."""
    return {"none": 1.0, "linear": factor, "sqrt": factor**0.5, BETAS_RULE: factor**0.5}[rule]


def stretched(plan: Plan, steps: int) -> Plan:
    """The plan in another number of updates, its shape kept; pieces that would have none are left out.

    >>> stretched(Plan([1.0, 0.1], steps=[75, 25], batch_size=4), 8)
    2 pieces, 8 steps, 32 examples
    """
    ends = np.round(np.cumsum(plan.steps) / plan.total_steps * whole("steps", steps))
    return plan.replace(steps=np.diff(ends, prepend=0.0)).without_empty_pieces()
