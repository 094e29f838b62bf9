r"""Which schedule family is best, each at its own best settings, and how far from the best possible plan."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import xarray as xr
from scipy.optimize import minimize
from tqdm import tqdm

from nqmjax.bounds import bayes_bound, bayes_examples
from nqmjax.checks import check_choice, check_steps, require
from nqmjax.frontdoor import check_run
from nqmjax.optimizers import LinearOptimizer
from nqmjax.plans import Plan, check_plan, doublings, risks_of_pieces
from nqmjax.problem import NoisyQuadratic
from nqmjax.schedule_search import learning_rate_cap, optimize_schedule
from nqmjax.schedules import COOLDOWNS, FAMILIES

PEAKS = np.geomspace(1e-4, 1.0, 13)
"""Peak rates that are tried first, relative to the cap."""

SHARES = {"final": (0.0, 1.0), "cooldown": (0.01, 1.0), "warmup": (0.0, 0.5)}
"""Ranges of the settings that are shares, of the peak rate or of the run."""

COMPARED = (
    "constant",
    "step_decay",
    "cosine",
    "linear",
    "exponential",
    "inverse_sqrt",
    *(f"wsd_{shape}" for shape in COOLDOWNS),
)
"""Families that are compared by default; `wsd_sqrt` is `wsd` with the cooldown of that shape."""

SETTINGS: dict[str, dict[str, float]] = {
    "constant": {},
    "step_decay": {"final": 0.05},
    "cosine": {"final": 0.05},
    "linear": {"final": 0.05},
    "exponential": {"final": 0.05},
    "inverse_sqrt": {"timescale": 0.1},
    **{f"wsd_{shape}": {"cooldown": 0.5, "final": 0.05} for shape in COOLDOWNS},
}
"""What is tuned of each family besides the peak rate and the warm-up, and where the search starts."""


def tune_family(
    problem: NoisyQuadratic,
    optimizer: LinearOptimizer,
    batch_size: float,
    steps: int,
    family: str,
    max_learning_rate: float | None = None,
    warmup: bool = True,
    pieces: int = 100,
) -> tuple[Plan, dict[str, float]]:
    """The plan of a family with the least risk after `steps` updates, and its settings.

    Args:
      problem: the quadratic.
      optimizer: scalar hyperparameters; its learning rate is replaced.
      batch_size: examples per update, a number.
      steps: number of updates.
      family: one of `COMPARED`.
      max_learning_rate: cap of the peak rate; by default `learning_rate_cap`, inf for none.
      warmup: whether the length of a warm-up is tuned too.
      pieces: pieces of the plan.

    Returns:
      the plan, and `learning_rate` (the peak), `warmup` (updates) and what else the family has: `final` (share of the
      peak), `cooldown` (share of the run), `timescale` (updates).

    Raises:
      ValueError: an argument is out of its range, or the family is unknown.

    >>> from nqmjax import SGD, power_law
    >>> plan, settings = tune_family(power_law(100), SGD(0.1), 16, steps=1000, family="linear")
    >>> plan, round(settings["learning_rate"], 2)
    (100 pieces, 1,000 steps, 16,000 examples, 0.51)
    """
    check_run(problem, optimizer, batch_size)
    check_choice("family", family, COMPARED)
    check_steps("steps", steps)
    require(steps >= 1, "steps", steps, "give at least one")
    cap = learning_rate_cap(problem, optimizer) if max_learning_rate is None else float(max_learning_rate)
    require(cap > 0, "max_learning_rate", cap, "give a rate above 0, or inf for no cap")
    unit = cap if np.isfinite(cap) else learning_rate_cap(problem, optimizer)
    name, _, shape = family.partition("wsd_")
    make = functools.partial(FAMILIES["wsd"], shape=shape) if shape else FAMILIES[name]
    names = [*SETTINGS[family], *(["warmup"] if warmup and steps > 1 else [])]

    def settings(point: np.ndarray) -> dict[str, float]:
        """From coordinates: `log` of the peak over the cap, then shares, of which `final` and `timescale` as logarithms."""
        found = {"learning_rate": unit * float(np.exp(point[0])), "warmup": 0}
        for key, value in zip(names, point[1:], strict=True):
            value = float(np.exp(value)) if key in ("final", "timescale") else float(value)
            value = float(np.clip(value, *SHARES[key])) if key in SHARES else value
            found[key] = min(round(value * steps), steps - 1) if key == "warmup" else value
        if "timescale" in found:
            found["timescale"] = max(found["timescale"] * steps, 1e-3)
        if "final" in found and found["final"] < 1e-6 and family in ("cosine", "linear", "wsd_linear", "wsd_sqrt"):
            found["final"] = 0.0
        return found

    def plan(point: np.ndarray) -> Plan:
        return make(steps=steps, batch_size=batch_size, pieces=pieces, **settings(point))

    risk = final_risk(problem, optimizer, steps, 2 * pieces + 4)

    def objective(point: np.ndarray) -> float:
        if point[0] > np.log(cap / unit) + 1e-12 or not np.isfinite(point).all():
            return 1e3 + abs(float(point[0]))
        value = risk(plan(point))
        return float(np.log(value)) if np.isfinite(value) else 1e3

    first = {"final": np.log(0.05), "timescale": np.log(0.1), "cooldown": 0.5, "warmup": 0.0}
    rest = [np.log(SETTINGS[family][key]) if key in ("final", "timescale") else first[key] for key in names]
    check_plan(problem, optimizer, plan(np.array([0.0, *rest])))
    peaks = np.log(PEAKS if np.isfinite(cap) else np.concatenate([PEAKS, 2.0 ** np.arange(1, 4)]))
    best = min((np.array([peak, *rest]) for peak in peaks), key=objective)
    for width in (0.5, 0.1):  # twice: the simplex may collapse against a bound
        corners = np.tile(best, (len(best) + 1, 1))
        scale = [0.1 if key in ("cooldown", "warmup") else 1.0 for key in names]
        # Away from bounds: a lower peak, a shorter cooldown, a longer warm-up.
        signs = [-1.0 if key == "cooldown" else 1.0 for key in names]
        for i, offset in enumerate([-width, *(width * 2 * a * b for a, b in zip(scale, signs, strict=True))]):
            corners[i + 1, i] += offset
        options = {"initial_simplex": corners, "xatol": 1e-4, "fatol": 1e-9, "maxfev": 400}
        best = minimize(objective, best, method="Nelder-Mead", options=options).x
    return plan(best), settings(best)


def compare_schedules(
    problem: NoisyQuadratic,
    optimizer: LinearOptimizer,
    batch_size: float,
    steps: int,
    families: Sequence[str] = COMPARED,
    max_learning_rate: float | None = None,
    warmup: bool = True,
    pieces: int = 100,
    progress: bool = True,
) -> xr.Dataset:
    r"""Final risk of schedule families, each tuned, next to the best possible plan and the Bayes bound.

    Args:
      problem: the quadratic.
      optimizer: scalar hyperparameters; its learning rate is replaced.
      batch_size: examples per update, a number.
      steps: number of updates.
      families: names, see `COMPARED`.
      max_learning_rate: cap of all rates; by default `learning_rate_cap`, inf for none.
      warmup: whether the length of a warm-up is tuned too.
      pieces: pieces of the best possible plan, equal in length; a family that changes faster may be ahead by a trifle.
      progress: show which family is under way.

    Returns:
      `xarray.Dataset` over schedule, best first, "optimal" (the best possible plan) included: `risk`,
      `excess_over_optimal` (risk above the irreducible loss, relative to that of the best possible plan, less 1),
      `efficiency` (examples with which the Bayes bound is at that risk, over those used), the settings, and
      `learning_rates` over `progress`, the share of the run. Attributes hold `bayes_bound` after as many examples.

    Raises:
      ValueError: an argument is out of its range, or a family is unknown.

    >>> from nqmjax import SGD, power_law
    >>> table = compare_schedules(power_law(100), SGD(0.1), 16, 1000, ["constant", "linear"], warmup=False, progress=False)
    >>> table.schedule.values.tolist(), table.risk.values.round(4)
    (['optimal', 'linear', 'constant'], array([0.0046, 0.0063, 0.0181]))

    Source: the families as in `nqmjax.schedules`; the best possible plan as in Zhang et al. 2019, section 3.7.2.
    """
    require(isinstance(families, Sequence), "families", repr(families), f"give some of {', '.join(COMPARED)}")
    for family in families:
        check_choice("family", family, COMPARED)
    best = optimize_schedule(problem, optimizer, batch_size, steps, min(pieces, steps), max_learning_rate)
    plans, settings = {"optimal": best.plan}, {"optimal": {"learning_rate": float(best.plan.learning_rate.max())}}
    with tqdm(families, desc="compare", unit=" families", delay=2, disable=not progress, leave=False) as bar:
        for family in bar:
            found = tune_family(problem, optimizer, batch_size, steps, family, max_learning_rate, warmup)
            plans[family], settings[family] = found
    risk = {name: final_risk(problem, optimizer, steps, plan.pieces)(plan) for name, plan in plans.items()}
    risk = {name: value + float(problem.irreducible) for name, value in risk.items()}
    names = sorted(plans, key=lambda name: risk[name])
    share = np.linspace(0, 1, 401)
    floor = float(problem.irreducible)
    columns = list(dict.fromkeys(key for found in settings.values() for key in found))
    table = xr.Dataset(
        {
            "risk": ("schedule", [risk[name] for name in names], {"units": "loss"}),
            "excess_over_optimal": (
                "schedule",
                [(risk[name] - floor) / (risk["optimal"] - floor) - 1 for name in names],
                {"units": "1", "long_name": "risk over that of the best possible plan, less 1"},
            ),
            "efficiency": (
                "schedule",
                [float(bayes_examples(problem, risk[name])) / (batch_size * steps) for name in names],
                {"units": "1", "long_name": "examples that the Bayes bound asks for, over those used"},
            ),
            **{
                key: ("schedule", [float(settings[name].get(key, np.nan)) for name in names], {"units": _unit(key)})
                for key in columns
            },
            "learning_rates": (("schedule", "progress"), [_rates_at(plans[name], share) for name in names], {"units": "1"}),
        },
        coords={"schedule": names, "progress": ("progress", share, {"units": "share of the run"})},
        attrs={
            "title": "schedules compared",
            "batch_size": float(batch_size),
            "steps": int(steps),
            "bayes_bound": float(bayes_bound(problem, batch_size * steps)),
            "irreducible": floor,
            "converged": int(best.converged),
        },
    )
    return table


def _unit(name: str) -> str:
    return {"warmup": "updates", "timescale": "updates", "final": "share of the peak", "cooldown": "share of the run"}.get(
        name, "1"
    )


def _rates_at(plan: Plan, share: np.ndarray) -> np.ndarray:
    """The plan's rates at shares of its run."""
    ends = np.cumsum(plan.steps) / plan.total_steps
    return plan.learning_rate[np.minimum(np.searchsorted(ends, share, side="right"), plan.pieces - 1)]


def final_risk(problem: NoisyQuadratic, optimizer: LinearOptimizer, steps: int, pieces: int) -> Callable[[Plan], float]:
    """The final risk, less the irreducible loss, of plans of up to so many pieces; compiled once for all of them."""
    problem = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), problem)

    def risk(plan: Plan) -> float:
        spare = pieces - plan.pieces
        columns = {name: np.pad(values, (0, spare), mode="edge") for name, values in plan.hyperparameters.items()}
        inverse, lengths = np.pad(1 / plan.batch_size, (0, spare)), np.pad(plan.steps.astype(np.uint32), (0, spare))
        with jax.enable_x64(True):
            return float(_last(problem, optimizer, columns, inverse, lengths, doublings(int(steps))))

    return risk


@functools.partial(jax.jit, static_argnames="levels")
def _last(problem: Any, optimizer: Any, columns: Any, inverse: Any, steps: Any, levels: int) -> jax.Array:
    return risks_of_pieces(problem, optimizer.replace(**columns), inverse, steps, levels)[-1] - problem.irreducible
