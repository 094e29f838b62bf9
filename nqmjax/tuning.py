r"""The best hyperparameters for each batch size: a grid over everything, then boxes that shrink around the best points.

The search happens in coordinates in which the number of steps is well rounded: the logarithm of the *effective*
learning rate (which is what matters while noise dominates, whatever the momentum), `log(1 - x)` for a momentum or a
decay `x`, and the value itself for anything else. Heavy ball's steps are jagged at large batch sizes, where the risk
oscillates: hence boxes around several starts rather than a descent.
"""

import dataclasses
import itertools
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import xarray as xr
from tqdm import tqdm

from nqmjax.bounds import bayes_examples
from nqmjax.checks import check_target, numeric, require
from nqmjax.dynamics import stability_edge
from nqmjax.frontdoor import check_run
from nqmjax.lanes import check_search, search_lanes
from nqmjax.optimizers import LinearOptimizer, hyperparameters, provenance
from nqmjax.problem import NoisyQuadratic
from nqmjax.sweeping import with_units
from nqmjax.target import MAX_STEPS, Status, StepsToTarget

TUNABLE = ("learning_rate", "momentum", "decay", "nu")
"""Hyperparameters that `tune` tunes; a preconditioner's power is part of the question, not of the answer."""

RATE_SPAN = 1e-10  # the smallest rate of the grid, relative to the smallest of the largest stable ones
SLOWEST = 1e-6  # the smallest `1 - momentum` and `1 - decay` of the grid
SLACK = 2.0  # grid points with more than this many times the fewest steps known are not followed to the end
STARTS = 4  # local minima of the grid that are refined, for each batch size
ROUNDS = 4, 9  # of boxes, before and after batch sizes exchange what they found; each halves the box
BOX = np.linspace(-1.0, 1.0, 5)


def tune(
    problem: NoisyQuadratic,
    template: LinearOptimizer,
    batch_size: Any,
    target: float,
    fixed: Collection[str] = (),
    max_steps: int = MAX_STEPS,
    dtype: Any = "float64",
    progress: bool = True,
) -> xr.Dataset:
    """Hyperparameters with the fewest steps to target, for each batch size.

    Args:
      problem: the quadratic.
      template: an optimizer with scalar hyperparameters. Its learning_rate, momentum, decay and nu are tuned, whatever
        their values; all others keep theirs.
      batch_size: examples per update, a number or a 1-D array.
      target: risk to reach.
      fixed: names of hyperparameters to leave at the template's values.
      max_steps: updates to search, at most 2^31 - 1.
      dtype: "float64" or "float32".
      progress: show a bar when the run takes longer than two seconds.

    Returns:
      `xarray.Dataset` over batch_size: `steps` (inf where no setting reaches the target), `status`, `examples`
      (batch size times steps), the hyperparameters, `effective_learning_rate`, `efficiency` (the fewest examples with
      which any algorithm can reach the target, by the Bayes bound, over `examples`), and for each tuned hyperparameter
      `<name>_at_edge`, whether the optimum lies at the edge of what was searched.

    Raises:
      ValueError: an argument is out of its range, a name in `fixed` is unknown, or nothing is left to tune.

    >>> from nqmjax import HeavyBall, power_law
    >>> best = tune(power_law(10_000).quantize(100), HeavyBall(0.1, 0.9), [2**10, 2**20], target=0.01)
    >>> best.steps.values
    array([5039.,  150.])

    Source: Zhang et al. 2019, section 3.7.1 (there a grid of 100 rates and 20 momenta).
    """
    check_run(problem, template, batch_size)
    check_target(target)
    check_search(max_steps, "first", dtype)
    values = hyperparameters(template)
    batches = np.atleast_1d(numeric("batch_size", batch_size))
    require(batches.ndim == 1 and batches.size > 0, "the shape of batch_size", batches.shape, "give a number or a 1-D array")
    for name, value in {**values, "target": target}.items():
        require(np.ndim(value) == 0, f"the shape of {name}", np.shape(value), "give a number; call tune once for each value")
    fixed = [fixed] if isinstance(fixed, str) else list(fixed)
    for name in fixed:
        require(name in values, "fixed", repr(name), f"the template has {', '.join(values)}")
    names = [name for name in values if name.split(".")[-1] in TUNABLE and name not in fixed]
    require(bool(names), "fixed", sorted(fixed), f"leave at least one of {', '.join(TUNABLE)} to tune")
    space = _Space(problem, template, names)

    with tqdm(desc="tune", unit=" cells", delay=2, disable=not progress, leave=False) as bar:
        bar.total = len(space.grid(1)) * len(batches)

        def steps(points: np.ndarray, batch: np.ndarray, limit: Any) -> StepsToTarget:
            bar.total = max(bar.total, bar.n + batch.size)
            columns = batch.shape[1]
            # Single batch sizes are repeated to as many as the grid has, so that the search is compiled once for both.
            batch, limit = (
                np.broadcast_to(values, (len(points), len(batches))) for values in (batch, np.minimum(limit, max_steps))
            )
            targets = np.full(len(points), float(target))
            found = search_lanes(problem, space.optimizer(points), batch, targets, limit, "first", dtype, bar)
            return StepsToTarget(*(values[:, :columns] for values in found))

        return _table(problem, space, batches, target, *_search(space, steps, batches))


@dataclasses.dataclass(frozen=True)
class _Axis:
    """The coordinate of one hyperparameter: equally spaced grid points, what they stand for, which ends are artificial."""

    name: str
    points: np.ndarray
    value: Callable[[np.ndarray], np.ndarray]
    rescales: bool  # whether it is the logarithm of something that scales as a rate per update
    edges: tuple[bool, bool]

    @classmethod
    def of(cls, name: str, problem: NoisyQuadratic, template: LinearOptimizer, names: list[str]) -> "_Axis":
        kind = name.split(".")[-1]
        if kind == "learning_rate":
            lowest, highest = _stable_rates(problem, template, names)
            ends = np.log(lowest * RATE_SPAN), np.log(highest)
            count = 1 + round(40 * (ends[1] - ends[0]) / -np.log(RATE_SPAN))
            return cls(name, np.linspace(*ends, count), np.exp, True, (True, True))
        if kind in ("momentum", "decay"):
            return cls(name, np.linspace(np.log(SLOWEST), 0.0, 13), lambda u: 0.0 - np.expm1(u), True, (True, False))
        return cls(name, np.linspace(0.0, 1.0, 7), lambda u: u, False, (False, False))


class _Space:
    """The box that is searched. Points have shape `(points, names)`; the rate's coordinate is that of the plain rate."""

    def __init__(self, problem: NoisyQuadratic, template: LinearOptimizer, names: list[str]) -> None:
        self.template = template
        self.axes = [_Axis.of(name, problem, template, names) for name in names]
        self.low = np.array([axis.points[0] for axis in self.axes])
        self.high = np.array([axis.points[-1] for axis in self.axes])
        self.spacing = np.array([axis.points[1] - axis.points[0] for axis in self.axes])
        self.rate = names.index("learning_rate") if "learning_rate" in names else None

    def grid(self, stride: int) -> np.ndarray:
        """All points of the grid, or every `stride`-th along each axis."""
        axes = np.meshgrid(*(axis.points[::stride] for axis in self.axes), indexing="ij")
        return np.stack([values.ravel() for values in axes], axis=-1)

    def optimizer(self, points: np.ndarray) -> LinearOptimizer:
        """The template at each point."""
        values = {name: np.full(len(points), value) for name, value in hyperparameters(self.template).items()}
        values |= {axis.name: axis.value(column) for axis, column in zip(self.axes, points.T, strict=True)}
        return self.template.replace(**values)

    def moved(self, points: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """Points at `offsets` from others, clipped to the box; the rate's offset is one of the effective learning rate."""
        result = np.clip(points + offsets, self.low, self.high)
        if self.rate is not None:
            shift = self._amplification(points) - self._amplification(result)
            rate = points[:, self.rate] + offsets[:, self.rate] + shift
            result[:, self.rate] = np.clip(rate, self.low[self.rate], self.high[self.rate])
        return result

    def rescaled(self, points: np.ndarray, factor: np.ndarray) -> np.ndarray:
        """Points that do in `1 / factor` updates what the given ones do in one, while noise dominates."""
        return self.moved(points, np.log(factor)[:, None] * np.array([axis.rescales for axis in self.axes]))

    def _amplification(self, points: np.ndarray) -> np.ndarray:
        """Logarithm of the effective over the plain learning rate."""
        optimizer = self.optimizer(points)
        ratio = optimizer.effective_learning_rate / hyperparameters(optimizer)["learning_rate"]
        return np.log(np.where(np.isfinite(ratio), ratio, 1.0))


def _stable_rates(problem: NoisyQuadratic, template: LinearOptimizer, names: list[str]) -> tuple[float, float]:
    """The least and the greatest of the stability edges at settings of the other hyperparameters, with a margin of a tenth."""
    curvature = np.asarray(problem.curvature)
    steepest = float(curvature[np.argmax(template.gradient_scale(curvature) * curvature)])
    if steepest == 0:
        return 1.0, 1.0
    others = [name for name in names if name != "learning_rate"]
    corners = {name: (0.0, 0.5, 1.0 if name.split(".")[-1] == "nu" else 1 - SLOWEST) for name in others}
    settings = [dict(zip(corners, corner, strict=True)) for corner in itertools.product(*corners.values())]
    edges = [stability_edge(template.replace(**{**setting, "learning_rate": 1.0}), steepest) for setting in settings]
    return 1.1 * min(edges), 1.1 * max(edges)


Steps = Callable[[np.ndarray, np.ndarray, Any], StepsToTarget]
"""Of points `(n, names)`, batch sizes `(n, b)` and numbers of updates to search."""


def _search(space: _Space, steps: Steps, batches: np.ndarray) -> tuple[np.ndarray, StepsToTarget, StepsToTarget]:
    """The best point of each batch size, its steps, and what the coarse grid found."""
    coarse = steps(space.grid(2), np.broadcast_to(batches, (len(space.grid(2)), len(batches))), MAX_STEPS)
    order = np.argsort(-batches)
    limit = np.empty(len(batches))
    limit[order] = np.maximum.accumulate(np.minimum(SLACK * coarse.crossing.min(0) + 1, MAX_STEPS)[order])
    grid = space.grid(1)
    fine = steps(grid, np.broadcast_to(batches, (len(grid), len(batches))), limit)
    starts = [grid[_local_minima(column.reshape([len(axis.points) for axis in space.axes]))] for column in fine.crossing.T]
    centres, owner = np.concatenate(starts), np.repeat(np.arange(len(batches)), [len(points) for points in starts])
    first, second = ROUNDS
    width = space.spacing
    for stage in range(first + second):
        if stage == first:
            centres, owner = _exchange(space, centres, owner, batches)
        centres, found = _best_of_box(space, steps, centres, batches[owner], width)
        width = width / 2
        best = np.array([found.crossing[owner == index].min() for index in range(len(batches))])
        # The first rounds compare regions; after them, follow only what is about as good as the best.
        keep = found.crossing <= best[owner] * (SLACK if stage < first - 1 else 1.02)
        keep |= ~np.isfinite(best[owner])
        centres, owner, found = centres[keep], owner[keep], StepsToTarget(*(values[keep] for values in found))
    chosen = [np.flatnonzero(owner == index)[found.crossing[owner == index].argmin()] for index in range(len(batches))]
    return centres[chosen], StepsToTarget(*(values[chosen] for values in found)), coarse


def _local_minima(crossing: np.ndarray) -> np.ndarray:
    """Flat indices of the best few points of a grid that are no worse than their neighbours along each axis."""
    lowest = np.isfinite(crossing)
    for axis in range(crossing.ndim):
        padding = [(1, 1) if axis == other else (0, 0) for other in range(crossing.ndim)]
        padded = np.moveaxis(np.pad(crossing, padding, constant_values=np.inf), axis, 0)
        lowest &= np.moveaxis((padded[1:-1] <= padded[:-2]) & (padded[1:-1] <= padded[2:]), 0, axis)
    ranked = np.argsort(np.where(lowest, crossing, np.inf), axis=None, kind="stable")
    return ranked[: max(1, min(STARTS, int(lowest.sum())))]


def _exchange(space: _Space, centres: np.ndarray, owner: np.ndarray, batches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Offer each batch size what the next smaller and larger found, as it is and rescaled to its own noise."""
    order = np.argsort(batches)
    offered, owners = [centres], [owner]
    for source, target in [*itertools.pairwise(order), *itertools.pairwise(order[::-1])]:
        points = centres[owner == source]
        factor = np.full(len(points), batches[target] / batches[source])
        offered += [points, space.rescaled(points, factor)]
        owners += [np.full(2 * len(points), target)]
    return np.concatenate(offered), np.concatenate(owners)


def _best_of_box(
    space: _Space, steps: Steps, centres: np.ndarray, batch: np.ndarray, width: np.ndarray
) -> tuple[np.ndarray, StepsToTarget]:
    """The best point of a box around each centre, the centre itself where nothing is better."""
    here = steps(centres, batch[:, None], MAX_STEPS)
    box = np.array(list(itertools.product(BOX, repeat=len(space.axes)))) * width
    points = space.moved(np.repeat(centres, len(box), axis=0), np.tile(box, (len(centres), 1)))
    limit = np.where(np.isfinite(here.steps), here.steps, MAX_STEPS)
    found = steps(points, np.repeat(batch, len(box))[:, None], np.repeat(limit, len(box), axis=0))
    joined = StepsToTarget(
        *(np.concatenate([old, new.reshape(len(centres), -1)], axis=1) for old, new in zip(here, found, strict=True))
    )
    points = np.concatenate([centres[:, None], points.reshape(len(centres), len(box), -1)], axis=1)
    rows, picked = np.arange(len(centres)), joined.crossing.argmin(1)
    return points[rows, picked], StepsToTarget(*(values[rows, picked] for values in joined))


def _table(
    problem: NoisyQuadratic,
    space: _Space,
    batches: np.ndarray,
    target: float,
    points: np.ndarray,
    best: StepsToTarget,
    grid: StepsToTarget,
) -> xr.Dataset:
    """The result of `tune`, labelled; without a value where nothing reaches the target."""
    reached = np.isfinite(best.steps)
    # Of settings that fail, one that ran out of steps says more than one that never arrives, and that than a diverged one.
    order = [Status.OUT_OF_STEPS, Status.NEVER, Status.DIVERGED]
    failed = [next((code for code in order if (column == code).any()), Status.NEVER) for column in grid.status.T]
    optimizer = space.optimizer(points)
    examples = best.steps * batches
    with np.errstate(divide="ignore", invalid="ignore"):
        efficiency = bayes_examples(problem, target) / examples
    columns = {
        "steps": best.steps,
        "status": np.where(reached, np.int8(Status.REACHED), np.array(failed, np.int8)),
        "examples": examples,
        **{name: np.where(reached, value, np.nan) for name, value in hyperparameters(optimizer).items()},
        "effective_learning_rate": np.where(reached, optimizer.effective_learning_rate, np.nan),
        "efficiency": np.where(examples == 0, 1.0, np.where(reached, efficiency, np.nan)),
    }
    for axis, column in zip(space.axes, points.T, strict=True):
        slack = 1e-3 * (axis.points[1] - axis.points[0])
        at_end = column <= axis.points[0] + slack, column >= axis.points[-1] - slack
        columns[f"{axis.name}_at_edge"] = reached & ((at_end[0] & axis.edges[0]) | (at_end[1] & axis.edges[1]))
    table = xr.Dataset(
        {name: ("batch_size", values) for name, values in columns.items()},
        coords={"batch_size": batches, "target": float(target)},
        attrs={
            "title": "tuned updates to a target loss",
            **provenance(problem, space.template, [axis.name for axis in space.axes]),
            "tuned": " ".join(axis.name for axis in space.axes),
        },
    )
    return with_units(table)
