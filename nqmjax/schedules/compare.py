r"""Which schedule family is best, each at its own best settings, and how far from the best possible plan."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from scipy.optimize import minimize

from nqmjax._tools import check_choice, check_steps, progress_bar, require, scalar, whole
from nqmjax.bounds import bayes_bound, bayes_examples
from nqmjax.dynamics import check_run
from nqmjax.optimizers import LinearOptimizer, Optimizer, provenance
from nqmjax.problem import NoisyQuadratic
from nqmjax.schedules.caps import AT_CAP, chosen_cap, rate_unit
from nqmjax.schedules.family import FAMILIES, POSITIVE_FINAL, WARMUP, Family, Setting
from nqmjax.schedules.phases import SHAPES
from nqmjax.schedules.plan import Plan, check_plan
from nqmjax.schedules.problem import final_risk, for_searches
from nqmjax.schedules.search import optimize_schedule


class _Effort(NamedTuple):
    """How a family is tuned: peak rates that are tried first, relative to the unit of rates; pieces of each phase of the plans
    that are compared; then the widths of simplices (two, as one may collapse against a bound), and where they stop."""

    peaks: np.ndarray
    pieces: int
    widths: tuple[float, ...]
    xatol: float
    fatol: float
    evaluations: int


THOROUGH = _Effort(np.geomspace(1e-4, 1.0, 13), 50, (0.5, 0.1), 1e-4, 1e-9, 400)
QUICK = _Effort(np.geomspace(4.0**-8, 0.5, 9), 20, (0.5,), 0.02, 1e-3, 60)
"""Of linear optimizers, and of those whose plans take a tenth of a second each."""


def _with_cooldown(shape: str) -> Family:
    """`wsd` with a cooldown of this shape."""
    family = FAMILIES["wsd"]
    tuned = {**family.tuned, **({"final": POSITIVE_FINAL} if shape == "exponential" else {})}
    return family._replace(settings={**family.settings, "shape": shape}, tuned=tuned)


CANDIDATES: Mapping[str, Family] = MappingProxyType(
    {name: family for name, family in FAMILIES.items() if name != "wsd"}
    | {f"wsd_{shape}": _with_cooldown(shape) for shape in SHAPES}
)
"""Families that can be compared by name; `wsd_sqrt` is `wsd` with the cooldown of that shape."""

COMPARED = tuple(CANDIDATES)
"""Their names."""


class _Point:
    """Settings of a family as coordinates, of which those of logarithmic settings are logarithms; the peak's is the first."""

    def __init__(self, settings: Mapping[str, Setting], steps: int) -> None:
        self.settings, self.steps = settings, steps
        self.start = np.array([self._coordinate(each, each.start) for each in settings.values()])
        self.bounds = [(self._coordinate(each, each.low), self._coordinate(each, each.high)) for each in settings.values()]
        self.first_steps = np.array([each.step for each in settings.values()])

    @staticmethod
    def _coordinate(setting: Setting, value: float) -> float:
        return float(np.log(max(value, setting.least))) if setting.logarithmic else value

    def values(self, point: np.ndarray) -> dict[str, float]:
        """The settings at a point; a warm-up is a whole number of updates, and a cooldown leaves it its share."""
        found = {}
        for (name, setting), at in zip(self.settings.items(), point, strict=True):
            value = float(np.exp(at)) if setting.logarithmic else float(at)
            found[name] = setting.low if value <= setting.least * (1 + 1e-9) else value
        if "warmup" in found:
            found["warmup"] = min(round(found["warmup"] * self.steps), self.steps - 1) / self.steps
        if "cooldown" in found:
            found["cooldown"] = min(found["cooldown"], 1 - found.get("warmup", 0.0))
        return found


def tune_family(
    problem: NoisyQuadratic,
    optimizer: Optimizer,
    batch_size: float,
    steps: int,
    family: str,
    *,
    max_learning_rate: float | None = None,
    tune_warmup: bool = True,
    pieces: int = 100,
) -> tuple[Plan, dict[str, float]]:
    """The plan of a family with the least risk after `steps` updates, and its settings.

    Args:
      problem: the quadratic.
      optimizer: scalar hyperparameters; its learning rate is replaced. Adam and its kin are tuned roughly, to some per cent of
        the rate, with 32 nodes over the start at most.
      batch_size: examples per update, a number.
      steps: number of updates.
      family: one of `COMPARED`.
      max_learning_rate: cap of the peak rate; by default `learning_rate_cap`, inf for none.
      tune_warmup: whether the length of a warm-up is tuned too.
      pieces: pieces of each phase of the plan, at most, see `nqmjax.schedules`.

    Returns:
      the plan, and `learning_rate` (the peak) and what else the family has: `final` (share of the peak), `warmup`, `cooldown`
      and `timescale` (shares of the run).

    Raises:
      ValueError: an argument is out of its range, or the family is unknown.

    >>> from nqmjax import SGD, power_law
    >>> plan, settings = tune_family(power_law(100), SGD(0.1), 16, steps=1000, family="linear")
    >>> plan, round(settings["learning_rate"], 2)
    (100 pieces, 1,000 steps, 16,000 examples, 0.51)
    """
    check_run(problem, optimizer, batch_size, closures=True, asked="a search over schedules")
    check_choice("family", family, COMPARED)
    steps, pieces = whole("steps", steps), whole("pieces", pieces)
    check_steps("steps", steps)
    batch_size = scalar("batch_size", batch_size)
    linear, cap = isinstance(optimizer, LinearOptimizer), chosen_cap(problem, optimizer, max_learning_rate)
    effort, unit = THOROUGH if linear else QUICK, cap if linear and np.isfinite(cap) else rate_unit(problem, optimizer)
    candidate = CANDIDATES[family]
    peak = Setting(1.0, 0.0, cap / unit, -0.5, logarithmic=True, least=1e-12)
    tuned = {"learning_rate": peak, **candidate.tuned, **({"warmup": WARMUP} if tune_warmup and steps > 1 else {})}
    space = _Point(tuned, steps)

    def settings(point: np.ndarray) -> dict[str, float]:
        found = space.values(point)
        return {**found, "learning_rate": found["learning_rate"] * unit}

    def plan(point: np.ndarray, count: int) -> Plan:
        return candidate.plan(batch_size=batch_size, pieces=count, others={}, steps=steps, **settings(point))

    coarse = min(pieces, effort.pieces)
    risk = final_risk(problem, for_searches(optimizer), 2 * coarse + 12)

    def objective(point: np.ndarray) -> float:
        value = risk(plan(point, coarse))
        return float(np.log(value)) if np.isfinite(value) else 1e3

    check_plan(problem, optimizer, plan(space.start, coarse), closures=True)
    beyond = effort.peaks[-1] * 2.0 ** np.arange(1, 4) if not np.isfinite(cap) else []
    peaks = np.log([peak for peak in [*effort.peaks, *beyond] if peak <= cap / unit])
    best = min((np.array([peak, *space.start[1:]]) for peak in peaks), key=objective)
    for width in effort.widths:
        corners = np.vstack([best, best + 2 * width * np.diag(space.first_steps)])
        options = {"initial_simplex": corners, "xatol": effort.xatol, "fatol": effort.fatol, "maxfev": effort.evaluations}
        best = minimize(objective, best, method="Nelder-Mead", bounds=space.bounds, options=options).x
    return plan(best, pieces), settings(best)


def compare(
    problem: NoisyQuadratic,
    optimizer: Optimizer,
    batch_size: float,
    steps: int,
    families: Sequence[str] = COMPARED,
    *,
    max_learning_rate: float | None = None,
    tune_warmup: bool = True,
    pieces: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    r"""Final risk of schedule families, each tuned, next to the best possible plan and the Bayes bound.

    Args:
      problem: the quadratic.
      optimizer: scalar hyperparameters; its learning rate is replaced. Adam and its kin are tuned roughly, to some per cent of
        the rate, with 32 nodes over the start at most.
      batch_size: examples per update, a number.
      steps: number of updates.
      families: names, see `COMPARED`.
      max_learning_rate: cap of all rates; by default `learning_rate_cap`, inf for none.
      tune_warmup: whether the length of a warm-up is tuned too.
      pieces: pieces of the best possible plan, equal in length, by default 100 or one for each update; a family that changes
        faster may be ahead by a trifle.
      progress: show which family is under way.

    Returns:
      `xarray.Dataset` over schedule, best first, "optimal" (the best possible plan) included: `risk`,
      `excess_over_optimal` (risk above the irreducible loss, relative to that of the best possible plan, less 1; the best
      possible plan is known of linear optimizers only, of Adam and its kin there is neither),
      `efficiency` (examples with which the Bayes bound is at that risk, over those used), the settings, `at_cap` (whether
      the largest rate is the cap, so that a higher one might do better), and `learning_rates` over `progress`, the share of
      the run. Attributes hold `bayes_bound` after as many examples.

    Raises:
      ValueError: an argument is out of its range, or a family is unknown.

    >>> from nqmjax import SGD, power_law
    >>> table = compare(power_law(100), SGD(0.1), 16, 1000, ["constant", "linear"], tune_warmup=False, progress=False)
    >>> table.schedule.values.tolist(), table.risk.values.round(4)
    (['optimal', 'linear', 'constant'], array([0.0046, 0.0063, 0.0181]))

    Source: the families as in `nqmjax.schedules`; the best possible plan as in Zhang et al. 2019, section 3.7.2.
    """
    require(
        not isinstance(families, str) and isinstance(families, Sequence),
        "families",
        repr(families),
        f"give some of {', '.join(COMPARED)}",
    )
    for family in families:
        check_choice("family", family, COMPARED)
    plans: dict[str, Plan] = {}
    settings: dict[str, dict[str, float]] = {}
    converged = True
    if isinstance(optimizer, LinearOptimizer):
        pieces = min(100, whole("steps", steps)) if pieces is None else pieces
        best = optimize_schedule(problem, optimizer, batch_size, steps, pieces, max_learning_rate=max_learning_rate)
        plans["optimal"], converged = best.plan, best.converged
        settings["optimal"] = {"learning_rate": float(best.plan.learning_rate.max())}
    else:
        require(len(families) > 0, "families", "empty", f"give some of {', '.join(COMPARED)}")
    with progress_bar(families, desc="compare", unit=" families", progress=progress) as bar:
        for family in bar:
            found = tune_family(
                problem, optimizer, batch_size, steps, family, max_learning_rate=max_learning_rate, tune_warmup=tune_warmup
            )
            plans[family], settings[family] = found
    most = max(plan.pieces for plan in plans.values())
    evaluate = final_risk(problem, optimizer, most)
    excess = {name: evaluate(plan) for name, plan in plans.items()}
    names = sorted(plans, key=lambda name: excess[name])
    table = _comparison(problem, {name: plans[name] for name in names}, settings, excess)
    cap = chosen_cap(problem, optimizer, max_learning_rate)
    at_cap = ("schedule", table.learning_rate.values >= cap * (1 - AT_CAP), {"units": "1"})
    return table.assign(at_cap=at_cap).assign_attrs(
        max_learning_rate=cap, converged=int(converged), **_attributes(problem, optimizer, batch_size, steps)
    )


def _comparison(problem: NoisyQuadratic, plans: Any, settings: Any, excess: Mapping[str, float]) -> xr.Dataset:
    """The table of plans by name, of their settings and of their final risks less the irreducible loss."""
    names, floor, share = list(plans), float(problem.irreducible), np.linspace(0, 1, 401)
    risk = [excess[name] + floor for name in names]
    used = [plan.total_examples for plan in plans.values()]
    over, efficiency = (
        "risk over that of the best possible plan, less 1",
        "examples that the Bayes bound asks for, over those used",
    )
    columns = {
        "risk": (risk, {"units": "loss"}),
        "efficiency": (
            [float(bayes_examples(problem, value)) / count for value, count in zip(risk, used, strict=True)],
            {"units": "1", "long_name": efficiency},
        ),
    }
    if "optimal" in excess:
        values = [excess[name] / excess["optimal"] - 1 for name in names]
        columns["excess_over_optimal"] = values, {"units": "1", "long_name": over}
    for key in dict.fromkeys(key for found in settings.values() for key in found):
        columns[key] = [float(settings[name].get(key, np.nan)) for name in names], {"units": UNITS.get(key, "1")}
    return xr.Dataset(
        {
            **{name: ("schedule", values, attrs) for name, (values, attrs) in columns.items()},
            "learning_rates": (("schedule", "progress"), [_rates_at(plan, share) for plan in plans.values()], {"units": "1"}),
        },
        coords={"schedule": names, "progress": ("progress", share, {"units": "share of the run"})},
    )


def _attributes(problem: NoisyQuadratic, optimizer: Optimizer, batch_size: float, steps: int) -> dict[str, Any]:
    return {
        "title": "schedules compared",
        **provenance(problem, optimizer, ["learning_rate"]),
        "batch_size": float(batch_size),
        "steps": int(steps),
        "bayes_bound": float(bayes_bound(problem, batch_size * steps)),
        "irreducible": float(problem.irreducible),
    }


UNITS = {"final": "share of the peak", **dict.fromkeys(("warmup", "timescale", "cooldown"), "share of the run")}


def _rates_at(plan: Plan, share: np.ndarray) -> np.ndarray:
    """The plan's rates at shares of its run."""
    ends = np.cumsum(plan.steps) / plan.total_steps
    return plan.learning_rate[np.minimum(np.searchsorted(ends, share, side="right"), plan.pieces - 1)]
