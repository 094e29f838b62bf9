r"""Steps to a target, read off loss curves: of every run, and at the best learning rate of every batch size.

Between two records, `(t_0, L_0)` above the target `L` and `(t_1, L_1)` at or below it, a loss is taken for a power of the
updates,

    t = t_0 (t_1 / t_0)^f,      f = log(L_0 / L) / log(L_0 / L_1),

and from the start on, where `t_0 = 0`, for an exponential, `t = f t_1`. Accuracies are interpolated linearly. The best rate is
the vertex of the parabola through the logarithms of the steps, means over seeds, at the best rate and its two neighbours.
"""

from typing import Any

import numpy as np
import xarray as xr

from nqmjax._tools import check_choice, require, scalar
from nqmjax.scaling import Observed
from nqmjax.sweeps import with_units
from nqmjax.target import Status
from nqmjax.training.race import End
from nqmjax.training.task import MEASURES

CELL = ("optimizer", "batch_size", "rate", "seed")


def steps(curves: xr.Dataset, target: float, measure: str = "training_loss") -> xr.Dataset:
    """Updates after which each run first reached a target, interpolated between records.

    Args:
      curves: what `experiment` returns, or a part of it.
      target: value of the measure to reach; with a target of the experiment not a harder one, for there runs ended.
      measure: "training_loss", "held_out_loss" or "held_out_accuracy".

    Returns:
      `xarray.Dataset` over optimizer, batch_size, rate and seed of `steps` (inf where the target was not reached), `status`
      (reached, diverged, out of steps) and `learning_rate`.

    Raises:
      ValueError: the curves lack the measure, or another argument is out of its range.

    >>> from nqmjax.training import Task, experiment
    >>> x = np.random.default_rng(0).normal(size=(64, 3))
    >>> plane = Task(lambda w, x: x @ w, np.zeros(3), (x, x.sum(1)), loss="squared_error")
    >>> curves = experiment(plane, ["sgd"], [64], [0.05, 0.1], max_steps=20, seeds=1, sampling="all")
    >>> steps(curves, 0.1).steps.values.ravel().round(1)
    array([ inf, 12.5])
    """
    curves, rises = _checked(curves, measure), measure == MEASURES[2]
    _check_target(curves, target, measure)
    values, updates = curves[measure].values.astype(np.float64), curves["update"].values
    found = np.array([_first(run, updates, target, rises) for run in values.reshape(-1, updates.size)])
    found = found.reshape(values.shape[:-1])
    ended = np.where(curves["end"].values == End.DIVERGED, Status.DIVERGED, Status.OUT_OF_STEPS)
    status = np.where(np.isfinite(found), Status.REACHED, ended).astype(np.int8)
    table = xr.Dataset({"steps": (CELL, found), "status": (CELL, status)}, coords=curves.drop_dims("update").coords)
    table["learning_rate"] = curves["learning_rate"]
    about = {"title": f"updates to a {measure.replace('_', ' ')} of {target:g}", "task": curves.attrs.get("task", "")}
    return with_units(table.assign_attrs(about, measure=measure, target=float(target)))


def tuned(curves: xr.Dataset, target: float, measure: str = "training_loss") -> xr.Dataset:
    """The fewest updates to a target at each batch size, and the learning rate that takes them.

    A rate counts where every seed reached the target. What the table holds of one optimizer, `.sel(optimizer=name)`, is what
    `anchored_curve` and `critical_batch_size` take; `tuned_runs` makes records of it all.

    Args:
      curves: what `experiment` returns.
      target: value of the measure to reach.
      measure: "training_loss", "held_out_loss" or "held_out_accuracy".

    Returns:
      `xarray.Dataset` over optimizer and batch_size: `steps` (inf where no rate reaches the target), `standard_error` (of the
      steps over seeds, NaN for one seed), `learning_rate`, `learning_rate_at_edge` (the best one is the smallest or largest
      tried), `nearest` (the value of the measure nearest to the target that a mean over seeds had) and `nearest_learning_rate`.

    Raises:
      ValueError: see `steps`.

    >>> from nqmjax.training import Task, experiment
    >>> x = np.random.default_rng(0).normal(size=(64, 3))
    >>> plane = Task(lambda w, x: x @ w, np.zeros(3), (x, x.sum(1)), loss="squared_error")
    >>> curves = experiment(plane, ["sgd"], [64], [0.05, 0.1, 0.2], max_steps=40, seeds=1, sampling="all")
    >>> tuned(curves, 0.1).learning_rate_at_edge.values
    array([[ True]])
    """
    table = steps(curves, target, measure)
    rows = {name: np.full(table.steps.shape[:2], np.nan) for name in ("steps", "standard_error", "learning_rate")}
    edge = np.zeros(table.steps.shape[:2], bool)
    for place in np.ndindex(edge.shape):
        best = best_rate(table.steps.values[place], table.learning_rate.values[place])
        for name, value in zip(rows, best, strict=False):
            rows[name][place] = value
        edge[place] = best[3]
    dims = CELL[:2]
    found = xr.Dataset({name: (dims, value) for name, value in rows.items()}, coords=table[["optimizer", "batch_size"]].coords)
    found["learning_rate_at_edge"] = dims, edge
    for name, value in zip(("nearest", "nearest_learning_rate"), _nearest(curves, measure), strict=True):
        found[name] = dims, value
    return with_units(found.assign_attrs(table.attrs))


def best_rate(steps: np.ndarray, rates: np.ndarray) -> tuple[float, float, float, bool]:
    """The fewest steps, their standard error over seeds, the rate, and whether it is the first or last one.

    Args:
      steps: shape `(rates, seeds)`, inf where a run did not arrive.
      rates: shape `(rates,)`, in ascending order.
    """
    arrived = np.isfinite(steps).all(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        logs = np.log(np.where(arrived, steps, np.inf))
    mean = logs.mean(1)
    best = int(np.argmin(mean))
    if not np.isfinite(mean[best]):
        return (0.0, np.nan, rates[best], False) if mean[best] < 0 else (np.inf, np.nan, np.nan, False)
    seeds = steps.shape[1]
    error = logs[best].std(ddof=1) / seeds**0.5 if np.ptp(logs[best]) > 0 else np.nan
    at_edge = best in (0, rates.size - 1)
    fewest, rate = mean[best], np.log(rates[best])
    around = slice(best - 1, best + 2)
    if not at_edge and np.isfinite(mean[around]).all():
        x, y = np.log(rates[around]) - rate, mean[around] - fewest
        curvature, slope, _ = np.polyfit(x, y, 2)
        if curvature > 0:
            move = np.clip(-slope / (2 * curvature), x[0] / 2, x[2] / 2)
            fewest, rate = fewest + curvature * move**2 + slope * move, rate + move
    return float(np.exp(fewest)), float(np.exp(fewest) * error), float(np.exp(rate)), at_edge


def tuned_runs(table: xr.Dataset) -> list[Observed]:
    """Tuned runs as one record for each optimizer, for `nqmjax.scaling.write_observed`, `forecast` and `nqmjax.anchored_curve`.

    Args:
      table: what `tuned` or `pilot` returns; batch sizes at which no rate reached the target are left out.

    Raises:
      ValueError: the table is neither.
    """
    names = ("batch_size", "steps", "learning_rate", "standard_error")
    pilot = isinstance(table, xr.Dataset) and "pilot_steps" in table
    names = tuple(f"pilot_{name}" for name in names) if pilot else names
    good = isinstance(table, xr.Dataset) and set(names) <= set(table.variables) and "optimizer" in table.dims
    require(good, "table", type(table).__name__, "give what tuned or pilot returns")
    runs = []
    for label in table.optimizer.values.tolist():
        columns = np.array([table.sel(optimizer=label)[name].values for name in names], np.float64)
        reached = np.isfinite(columns[1]) & (columns[1] > 0)
        if reached.any():
            runs.append(Observed(*columns[:, reached], label=label))
    return runs


def _checked(curves: Any, measure: str) -> xr.Dataset:
    good = isinstance(curves, xr.Dataset) and {"end", "learning_rate", "training_loss"} <= set(curves.data_vars)
    require(good, "curves", type(curves).__name__, "give what experiment returns")
    check_choice("measure", measure, MEASURES)
    require(measure in curves, "measure", measure, "the curves lack it: the task had no held-out examples, or no labels")
    missing = [name for name in (*CELL, "update") if name not in curves.dims]
    remedy = "select with lists, as in .sel(seed=[0]), so that every dimension stays"
    require(not missing, "the dimensions of curves", f"without {', '.join(missing)}", remedy)
    return curves.transpose(*CELL, "update")


def _check_target(curves: xr.Dataset, target: float, measure: str) -> None:
    require(bool(np.isfinite(scalar("target", target))), "target", target, "give a finite number")
    first = float(curves[measure].isel(update=0).max())
    if measure == MEASURES[0]:
        require(target < first, "target", target, f"give one below the loss at the start, {first:.4g}")
    ended = curves.attrs.get("target")
    if ended is not None and curves.attrs.get("goal") == measure:
        harder = target > ended if measure == MEASURES[2] else target < ended
        require(not harder, "target", target, f"these runs ended at {ended:g}: give one that is no harder, or train further")


def _first(values: np.ndarray, updates: np.ndarray, target: float, rises: bool) -> float:
    """Updates after which one run first reached the target, inf if it did not."""
    known = ~np.isnan(values)
    values, updates = values[known], updates[known]
    there = np.flatnonzero(values >= target if rises else values <= target)
    if not there.size:
        return np.inf
    after = int(there[0])
    if after == 0:
        return 0.0
    (low, high), (before, now) = updates[after - 1 : after + 1], values[after - 1 : after + 1]
    if not np.isfinite(before):
        share = 1.0
    elif rises or min(now, target) <= 0:
        share = (before - target) / (before - now)
    else:
        share = np.log(before / target) / np.log(before / now)
    return float(share * high if low == 0 else low ** (1 - share) * high**share)


def _nearest(curves: xr.Dataset, measure: str) -> tuple[np.ndarray, np.ndarray]:
    """The best value that a mean over seeds had at any update, and the rate."""
    mean = curves[measure].mean("seed", skipna=False).transpose(*CELL[:3], "update").values.astype(np.float64)
    worst = -np.inf if measure == MEASURES[2] else np.inf
    mean = np.where(np.isnan(mean), worst, mean)
    by_rate = mean.max(-1) if measure == MEASURES[2] else mean.min(-1)
    best = by_rate.argmax(-1) if measure == MEASURES[2] else by_rate.argmin(-1)
    take = best[..., None]
    return np.take_along_axis(by_rate, take, -1)[..., 0], np.take_along_axis(curves["learning_rate"].values, take, -1)[..., 0]
