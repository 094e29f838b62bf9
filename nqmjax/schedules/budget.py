r"""Budgets: the best rate at each batch size for so many epochs or steps, and the two regimes.

Under a budget of examples a larger batch means fewer updates. While noise dominates, the best rate is proportional to the
batch size and the final risk does not depend on it (the run depends on the temperature `a / ((1 - beta) B)` alone); once
curvature dominates, the best rate is flat and the risk grows. Under a budget of updates a larger batch only helps.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from scipy.optimize import minimize_scalar

from nqmjax._tools import check_choice, check_steps, check_values, numeric, progress_bar, require, scalar, whole
from nqmjax.dynamics import check_run
from nqmjax.optimizers import LinearOptimizer, Optimizer, provenance
from nqmjax.problem import NoisyQuadratic
from nqmjax.schedules.caps import AT_CAP, chosen_cap, rate_unit
from nqmjax.schedules.families import PIECES
from nqmjax.schedules.family import FAMILIES
from nqmjax.schedules.plan import Plan, check_plan
from nqmjax.schedules.problem import final_risk, for_searches

LINEAR_WITHIN = 0.1
"""A batch size obeys the linear rule while its best rate is within so much of it."""

RATES = np.geomspace(1e-7, 1.0, 57)
"""Rates that are tried first, relative to the cap."""

COARSE = 4.0 ** np.arange(-11, 1)
"""The same where a run is long to follow."""

CLOSE = 0.02
"""The error of the logarithm of a best rate that is allowed there."""


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
    optimizer: Optimizer,
    batch_size: Any,
    *,
    examples: float | None = None,
    steps: int | None = None,
    family: str = "step_decay",
    warmup: float = 0.0,
    max_learning_rate: float | None = None,
    progress: bool = True,
    **settings: Any,
) -> xr.Dataset:
    """Tuned final risk and tuned rate against batch size, for a budget of examples (epochs) or of updates.

    Args:
      problem: the quadratic.
      optimizer: scalar hyperparameters; its learning rate is tuned. Adam and its kin are followed with 32 nodes at most.
      batch_size: examples per update, shape `(b,)`.
      examples: budget of examples: epochs times the size of the data set; each batch size makes `examples / B` updates.
      steps: budget of updates instead.
      family: schedule, see `nqmjax.schedules`; the default is that of Smith et al. 2020.
      warmup: share of the run that is warm-up.
      max_learning_rate: cap of the peak rate; by default `learning_rate_cap`, below the stability edge; inf for none.
      progress: show a bar when the run takes longer than two seconds.
      settings: of the family, for example `final=0.01`.

    Returns:
      `xarray.Dataset` over batch_size: `risk`, `learning_rate` (the peak), `effective_learning_rate`, `temperature`
      (effective rate over batch size), `steps`, `examples`, `at_cap` (whether the best rate is the cap).

    Raises:
      ValueError: an argument is out of its range, or a batch is larger than the budget.

    >>> from nqmjax import SGD, power_law
    >>> table = budget_curve(power_law(100), SGD(0.1), [1, 4, 1024], examples=20_000)
    >>> table.risk.values.round(4), table.learning_rate.values.round(3)
    (array([0.0073, 0.0073, 0.3163]), array([0.024, 0.097, 1.98 ]))

    Source: Smith et al. 2020, sections 3 and 4, figures 1, 5, 6 and 7, tables 1, 2, 4 and 5 (the training loss).
    """
    check_choice("family", family, FAMILIES)
    check_run(problem, optimizer, batch_size, closures=True, asked="a search over schedules")
    batches = np.atleast_1d(numeric("batch_size", batch_size))
    require(batches.ndim == 1, "the shape of batch_size", batches.shape, "give a number or a 1-D array")
    require(0 <= scalar("warmup", warmup) < 1, "warmup", warmup, "give a share of the run from 0 up to 1")
    counts = _updates_of_budget(batches, examples, steps)
    cap = chosen_cap(problem, optimizer, max_learning_rate)
    pieces, others = settings.pop("pieces", PIECES), {}
    rows, search = [], for_searches(optimizer)
    asked = list(zip(batches, counts, strict=True))
    with progress_bar(asked, desc="budget", unit=" batch sizes", progress=progress) as bar:
        for batch, count in bar:
            unit = FAMILIES[family].plan(1.0, batch, pieces, others, steps=int(count), warmup=warmup, **settings)

            def make(learning_rate: float, unit: Plan = unit) -> Plan:
                return unit.replace(learning_rate=learning_rate * unit.learning_rate)

            rows.append(tuned_rate(problem, search, make, cap, rows[-1][1] if rows else None))
    attributes = {
        "title": "tuned final loss under a budget",
        **provenance(problem, optimizer, ["learning_rate"]),
        "budget": f"{examples:,.10g} examples" if examples is not None else f"{steps:,} updates",
        "family": family,
        "warmup": warmup,
        "max_learning_rate": cap,
        "irreducible": float(problem.irreducible),
    }
    return _curve(optimizer, batches, counts, np.array(rows), cap).assign_attrs(attributes)


def _curve(optimizer: Optimizer, batches: np.ndarray, counts: np.ndarray, rows: np.ndarray, cap: float) -> xr.Dataset:
    """The table of least risks and best rates, a row for each batch size."""
    risk, rate = rows.T
    effective = optimizer.replace(learning_rate=rate).effective_learning_rate
    columns = {
        "risk": (risk, "loss"),
        "learning_rate": (rate, "1"),
        "effective_learning_rate": (effective, "1"),
        "temperature": (effective / batches, "1"),
        "steps": (counts, "updates"),
        "examples": (counts * batches, "examples"),
        "at_cap": (rate >= cap * (1 - AT_CAP), "1"),
    }
    return xr.Dataset(
        {name: ("batch_size", values, {"units": unit}) for name, (values, unit) in columns.items()},
        coords={"batch_size": ("batch_size", batches, {"units": "examples"})},
    )


def _updates_of_budget(batches: np.ndarray, examples: float | None, steps: int | None) -> np.ndarray:
    """Updates at each batch size under a budget of examples or of updates."""
    require((examples is None) != (steps is None), "examples and steps", (examples, steps), "give one of the two")
    if examples is None:
        check_steps("steps", whole("steps", steps))
        return np.full(len(batches), whole("steps", steps))
    require(0 < scalar("examples", examples) < np.inf, "examples", examples, "give a finite number above 0")
    check_values("batch_size", batches, batches <= examples, f"the budget of {examples:g} examples is less than one batch")
    return np.maximum(np.floor(examples / batches * (1 + 1e-12)), 1).astype(int)


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


def tuned_rate(
    problem: NoisyQuadratic,
    optimizer: Optimizer,
    make: Callable[..., Plan],
    cap: float,
    near: float | None = None,
    evaluate: Callable[[Plan], float] | None = None,
) -> tuple[float, float]:
    """The least final risk of `make(learning_rate=...)` over rates up to `cap`, and that rate: a grid, then Brent's method.

    Without a cap the grid ends at four times the unit of rates. Where a run is long to follow the grid is coarse, and there is
    none if the best rate is within a factor of four of `near`. `evaluate` is a `final_risk` of as many pieces, where many
    plans share one.
    """
    widest = cap if np.isfinite(cap) else 4 * rate_unit(problem, optimizer)
    first = make(learning_rate=widest)
    check_plan(problem, optimizer, first, closures=True)
    final = evaluate or final_risk(problem, optimizer, first.pieces)

    def objective(logarithm: float) -> float:
        value = final(make(learning_rate=float(np.exp(logarithm))))
        return float(np.log(value)) if 0 < value < np.inf else (np.inf if value > 0 else -np.inf)

    linear = isinstance(optimizer, LinearOptimizer)
    accuracy = 1e-7 if linear else CLOSE
    if near is not None and not linear:
        middle = np.log(min(near, widest / 4))
        value, point = _smallest(objective, middle - np.log(4), middle + np.log(4), accuracy)
        if abs(point - middle) < np.log(4) - 2 * accuracy:
            return float(np.exp(value)) + float(problem.irreducible), float(np.exp(point))
    grid = np.log(widest * (RATES if linear else COARSE))
    values = np.array([objective(point) for point in grid])
    at = int(values.argmin())
    found = _smallest(objective, grid[max(at - 1, 0)], grid[min(at + 1, len(grid) - 1)], accuracy)
    value, point = min(found, (values[at], grid[at]))
    return float(np.exp(value)) + float(problem.irreducible), float(np.exp(point))


def _smallest(objective: Callable[[float], float], low: float, high: float, accuracy: float) -> tuple[float, float]:
    """The least value between two points, and where it is."""
    options = {"xatol": accuracy}
    found = minimize_scalar(lambda x: min(objective(x), 1e3), bounds=(low, high), method="bounded", options=options)
    return found.fun, found.x
