r"""Which model size, batch size and number of updates, under limits of time, memory, compute and data.

All updates that the limits leave (`nqmjax.runs.limits`) are made, with the schedule over the whole run. The loss is searched
over `log N` and `log B` on a grid that closes in on its best cell. Batch sizes are searched only where runs were seen, unless
asked otherwise: what goes wrong with smaller ones is not in the laws.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr

from nqmjax._tools import progress_bar, require, scalar
from nqmjax.runs.laws import law_inputs
from nqmjax.runs.limits import MOST_STEPS, SPENT, Limits, check_limits
from nqmjax.runs.predict import RunModel, check_model, mean_log_losses, predict
from nqmjax.runs.settings import RunSchedule, run_settings

POINTS = 25
"""Grid points for each of model size and batch size."""

ROUNDS = 4
"""Grids one inside the other, each a sixth as wide as the one before."""

FLAT = 0.01
"""How much more loss, relative to the least, counts as nearly optimal."""

AROUND = 32.0
"""Factor around the optimum within which it is looked at how flat it is."""

FRONTIER = 2.0 ** np.arange(-4, 5)
"""Multiples of the limits at which the frontier is drawn."""


class RunPlan(NamedTuple):
    """What `plan` finds.

    `best` is the best run as `predict` returns it, with its compute, examples, and seconds and memory where they are limited;
    `frontier`, over `limits`, the best runs under multiples of all limits but memory; `prices`, over `limit`, the share of each
    limit that is used, and the loss if it were twice as large; `flat` the ranges of model and batch size, within a factor of 32
    of the best, that cost at most 1% of loss more, the other one at its best.
    """

    best: xr.Dataset
    frontier: xr.Dataset
    prices: xr.Dataset
    flat: dict[str, tuple[float, float]]


class _Best(NamedTuple):
    model_size: float
    batch_size: float
    loss: float


def plan(
    model: RunModel,
    limits: Limits,
    model_size: float | None = None,
    batch_size: float | None = None,
    schedule: RunSchedule | None = None,
    level: float = 0.9,
    progress: bool = True,
) -> RunPlan:
    """The best model size, batch size and number of updates under limits; what each limit costs; how flat the optimum is.

    Args:
      model: see `fit` and `read_model`.
      limits: what a run may cost; at least one of seconds, compute, examples and steps.
      model_size: fixed, if it is not to be chosen.
      batch_size: likewise.
      schedule: of the run; by default the commonest of the runs fitted to.
      level: of the intervals.
      progress: show a bar when the run takes longer than two seconds.

    Returns:
      `RunPlan`.

    Raises:
      ValueError: an argument is out of its range, or nothing satisfies the limits: which one, and by how much.

    >>> from nqmjax.runs import make
    >>> from nqmjax.runs import fit
    >>> size, steps = np.meshgrid([1e6, 3e6, 1e7], [500, 1000, 4000])
    >>> model = fit(make(size, [64, 128, 256], steps, 1.7 + 400 * size**-0.34 + (steps / 1e3) ** -0.3), "chinchilla")
    >>> found = plan(model, Limits(compute=1e14))
    >>> bool(found.best["compute"] <= 1e14), list(found.prices.limit.values)
    (True, [np.str_('compute')])
    """
    check_model(model, None, level)
    check_limits(limits)
    space = _space(model, limits, model_size, batch_size)
    schedule = model.schedule if schedule is None else schedule
    used = [name for name in SPENT if getattr(limits, name) is not None]
    jobs = [limits, *(_relaxed(limits, [name], 2.0) for name in used)]
    multiples = [_relaxed(limits, [name for name in used if name != "memory"], factor) for factor in FRONTIER]
    feasible = [one for one in [*jobs, *multiples] if _most_steps(model, one, *space.grid(one)).max() >= 1]
    bar = progress_bar(feasible, desc="planning", unit=" plans", progress=progress)
    found = {id(one): _search(model, one, space, schedule) for one in bar}
    best, *relaxed = (found[id(one)] for one in jobs)
    drawn = {factor: (one, found[id(one)]) for factor, one in zip(FRONTIER, multiples, strict=True) if id(one) in found}
    frontier = _table(model, space, list(drawn.values()), schedule, level).rename(run="limits")
    first = _table(model, space, [(limits, best)], schedule, level).isel(run=0)
    prices = _prices(model, limits, best, used, [one.loss for one in relaxed])
    return RunPlan(first, frontier.assign_coords(limits=list(drawn)), prices, _flat(model, limits, space, best, schedule))


class _Space(NamedTuple):
    """Ranges of the search in model and batch size."""

    model_size: tuple[float, float]
    batch_size: tuple[float, float]

    def grid(self, limits: Limits, shape: tuple[int, int] = (POINTS, POINTS)) -> tuple[np.ndarray, np.ndarray]:
        """Model and batch sizes of the cells of a grid, equally spaced in their logarithms; sizes end where memory does."""
        batches = np.clip(np.geomspace(*self.batch_size, shape[1]), *self.batch_size)  # rounding may lead out of a range
        low, high = self.model_size
        most = np.clip(limits.largest_fitting(batches), low, high)
        return np.clip(np.geomspace(low, most, shape[0]), low, most).ravel(), np.tile(batches, shape[0])


def _space(model: RunModel, limits: Limits, model_size: float | None, batch_size: float | None) -> _Space:
    """The ranges: as asked for, else models from the smallest of several seen to far beyond, and batches between those seen."""
    seen = model.seen

    def ends(what: str, low: float, high: float) -> tuple[float, float]:
        """The range that was asked for; an end of which nothing was said gives way to the other."""
        first, last = getattr(limits, f"smallest_{what}"), getattr(limits, f"largest_{what}")
        first = min(low, high if last is None else last) if first is None else first
        return float(first), float(max(high, first) if last is None else last)

    least, largest = seen["model_size"]
    sizes = ends("model", least, 1e4 * largest if largest > least else largest)
    batches = ends("batch", *seen["batch_size"])
    if model_size is not None:
        sizes = (fixed := scalar("model_size", model_size), fixed)
    if batch_size is not None:
        batches = (fixed := scalar("batch_size", batch_size), fixed)
    for name, (low, high) in {"model_size": sizes, "batch_size": batches}.items():
        least = 100 if name == "model_size" else 1
        require(least <= low <= high < math.inf, name, f"{low:g} to {high:g}", f"give a range that goes up, from {least} on")
    space = _Space(sizes, batches)
    _check_feasible(model, limits, space)
    return space


def _most_steps(model: RunModel, limits: Limits, model_size: np.ndarray, batch_size: np.ndarray) -> np.ndarray:
    """Updates that all limits together leave, `(cells,)`."""
    each = limits.most_steps(model_size, batch_size, model.compute_factor)
    return np.minimum.reduce([np.full(model_size.shape, MOST_STEPS), *each.values()])


def _losses(model: RunModel, limits: Limits, cells: tuple[np.ndarray, np.ndarray], schedule: RunSchedule) -> np.ndarray:
    """Log losses of cells, model and batch sizes, inf where the limits leave no update."""
    sizes, batches = cells
    steps = _most_steps(model, limits, sizes, batches)
    settings = run_settings(sizes, batches, np.maximum(steps, 1.0), model.learning_rate, schedule)
    return np.where(steps >= 1, mean_log_losses(model, law_inputs(settings)), np.inf)


def _search(model: RunModel, limits: Limits, space: _Space, schedule: RunSchedule) -> _Best:
    """The best cell of grids that close in on it."""
    found, narrower = [], space
    factor = max(high / low for low, high in space)
    for number in range(ROUNDS):
        cells = narrower.grid(limits)
        losses = _losses(model, limits, cells, schedule)
        at = int(losses.argmin())
        found.append(_Best(float(cells[0][at]), float(cells[1][at]), math.exp(losses[at])))
        narrower = _around(space, min(found, key=lambda one: one.loss), factor ** (0.5 / 6 ** (number + 1)))
    return min(found, key=lambda one: one.loss)


def _around(space: _Space, best: _Best, factor: float) -> _Space:
    """The part of the space within a factor of the best run."""
    middles = (best.model_size, best.batch_size)
    ranges = zip(space, middles, strict=True)
    return _Space(*((max(low, middle / factor), min(high, middle * factor)) for (low, high), middle in ranges))


def _flat(model: RunModel, limits: Limits, space: _Space, best: _Best, schedule: RunSchedule) -> dict[str, tuple[float, float]]:
    """Ranges of model and batch size, within a factor of the best, that cost at most 1% of loss more, the other at its best."""
    wide, near = _around(space, best, AROUND), _around(space, best, AROUND**0.4)
    shapes = {"model_size": (POINTS * 5, POINTS // 5), "batch_size": (POINTS // 5, POINTS * 5)}
    spaces = {"model_size": _Space(wide.model_size, near.batch_size), "batch_size": _Space(near.model_size, wide.batch_size)}
    found = {}
    for place, name in enumerate(shapes):
        cells = spaces[name].grid(limits, shapes[name])
        flat = _losses(model, limits, cells, schedule) <= math.log(best.loss * (1 + FLAT))
        values = np.append(cells[place][flat], best[place])
        found[name] = (float(values.min()), float(values.max()))
    return found


def _table(
    model: RunModel, space: _Space, found: Sequence[tuple[Limits, _Best]], schedule: RunSchedule, level: float
) -> xr.Dataset:
    """The best runs under their limits in whole numbers, their predictions, and what they cost."""
    limits = found[0][0]
    rows = [_whole(model, own, space, one) for own, one in found]
    sizes, batches, most = (np.array(column) for column in zip(*rows, strict=True))
    table = predict(model, sizes, batches, np.floor(most), schedule=schedule, level=level)
    steps = table.steps.values
    costs = {"compute": (model.compute_factor * sizes * batches * steps, model.compute_unit)}
    costs["examples"] = (batches * steps, "examples")
    if limits.step_seconds is not None:
        costs["seconds"] = (steps * limits.step_seconds(sizes, batches), "s")
    if limits.memory is not None:
        costs["memory"] = (limits.bytes(sizes, batches), "bytes")
    return table.assign({name: ("run", values, {"units": units}) for name, (values, units) in costs.items()})


def _whole(model: RunModel, limits: Limits, space: _Space, best: _Best) -> tuple[float, float, float]:
    """The best run with four digits of its size and a whole batch, as far as space and limits allow these, and its updates."""
    digit = 10.0 ** (math.floor(math.log10(best.model_size)) - 3)
    sizes = math.floor(best.model_size / digit + 1e-6) * digit, best.model_size
    batches = float(math.floor(best.batch_size + 1e-9)), float(math.ceil(best.batch_size)), best.batch_size
    low, high = zip(*space, strict=True)

    def updates(size: float, batch: float) -> float:
        inside = low[0] <= size <= high[0] and low[1] <= batch <= high[1]
        return float(_most_steps(model, limits, np.array([size]), np.array([batch]))[0]) if inside else 0.0

    fixed = low[0] == high[0], low[1] == high[1]
    pairs = itertools.product(sizes[1:] if fixed[0] else sizes, batches[2:] if fixed[1] else batches)
    size, batch = next((pair for pair in pairs if updates(*pair) >= 1), (best.model_size, best.batch_size))
    return size, batch, updates(size, batch)


def _relaxed(limits: Limits, names: Sequence[str], factor: float) -> Limits:
    """The limits with some of them so many times as large."""
    return dataclasses.replace(limits, **{name: factor * getattr(limits, name) for name in names})


def _prices(model: RunModel, limits: Limits, best: _Best, used: Sequence[str], relaxed: Sequence[float]) -> xr.Dataset:
    """Use of each limit by the best run, and the loss if it were twice as large."""
    sizes, batches = np.array([best.model_size]), np.array([best.batch_size])
    steps = float(_most_steps(model, limits, sizes, batches)[0])
    left = limits.most_steps(sizes, batches, model.compute_factor)
    shares = {name: steps / float(left[name][0]) for name in used}
    if limits.memory is not None:
        shares["memory"] = float(limits.bytes(sizes, batches)[0]) / limits.memory
    table = {
        "allowed": ("limit", [float(getattr(limits, name)) for name in used]),
        "used": ("limit", [shares[name] for name in used], {"units": "share of what is allowed"}),
        "loss_if_doubled": ("limit", list(relaxed), {"units": "nats"}),
        "gain": ("limit", [max(best.loss - loss, 0.0) for loss in relaxed], {"units": "nats"}),
    }
    return xr.Dataset(table, coords={"limit": list(used)})


def _check_feasible(model: RunModel, limits: Limits, space: _Space) -> None:
    """Raise `ValueError` if no cell of the space leaves an update: which limit stands in the way, and by how much."""
    sizes, batches = space.grid(limits)
    together = _most_steps(model, limits, sizes, batches)
    if together.max() >= 1:
        return
    cheapest = f"{space.model_size[0]:.3g} parameters with a batch of {space.batch_size[0]:g}"
    each = limits.most_steps(sizes, batches, model.compute_factor)
    for name, most in each.items():
        if np.max(most) < 1 and name == "memory":
            need = float(np.min(limits.bytes(sizes, batches)))
            require(False, name, limits.memory, f"{cheapest} need {need:.3g} bytes; give that much or allow smaller models")
        if np.max(most) < 1:
            need = getattr(limits, name) / float(np.max(most))
            require(False, name, getattr(limits, name), f"one update of {cheapest} takes {need:.3g}; give more")
    names = " and ".join(each)
    require(False, f"the limits of {names}", "together", f"none of {cheapest} and larger satisfies all; relax one of them")
