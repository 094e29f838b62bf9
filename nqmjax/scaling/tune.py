r"""The best hyperparameters for each batch size: a grid over everything, then boxes that shrink around the best points.

Heavy ball's steps are jagged at large batch sizes, where the risk oscillates: hence boxes around several starts rather than
a descent. With few directions all oscillations can meet at zero, and the best points lie in valleys much narrower than
the grid: there many points spread evenly are tried too, which costs little, as every run is cheap and short.
"""

import dataclasses
import itertools
from collections.abc import Callable, Collection, Sequence
from typing import Any, Self

import jax
import numpy as np
import xarray as xr

from nqmjax._tools import check_loss, local_devices, numeric, progress_bar, require
from nqmjax.dynamics import check_run
from nqmjax.optimizers import LinearOptimizer, MeanFieldOptimizer, Optimizer, PeriodicOptimizer, hyperparameters
from nqmjax.problem import NoisyQuadratic
from nqmjax.scaling.race import race
from nqmjax.scaling.search_space import Space, names_to_tune
from nqmjax.scaling.tuned import tuned_table
from nqmjax.sweeps import check_search, search_lanes
from nqmjax.target import MAX_STEPS, Status, StepsToTarget

SLACK = 2.0  # grid points with more than this many times the fewest steps known are not followed to the end
STARTS = 4  # local minima of the grid that are refined, for each batch size
SAMPLES = 2**14  # points tried beside the grid where up to `FEW` curvatures matter for the target;
FEW, MANY = 5, 20  # where `n` do, `(FEW / n)^2` times as many, and none beyond `MANY`
SLOWED, FEW_STEPS = 4, 8  # every fourth sample is also tried slowed down, from 8 updates to as many as the grid takes
SLOW, QUICK = ("momentum", "decay"), 0.97  # where oscillations are followed one by one, those above are tried later
SAMPLE_STARTS = 12  # samples that are refined, for each batch size
ROUNDS = 4, 9  # of boxes, before and after batch sizes exchange what they found; each halves the box
BOX = np.linspace(-1.0, 1.0, 5)


def tune(
    problem: NoisyQuadratic,
    template: Optimizer,
    batch_size: Any,
    target: float,
    fixed: Collection[str] = (),
    max_steps: int = MAX_STEPS,
    dtype: Any = "float64",
    progress: bool = True,
    *,
    devices: Any = None,
) -> xr.Dataset:
    """Hyperparameters with the fewest steps to target, for each batch size.

    Args:
      problem: the quadratic.
      template: an optimizer with scalar hyperparameters. Its learning_rate, momentum, decay and nu are tuned, whatever
        their values; all others keep theirs: a preconditioner's power, the strength of weight decay (without what decay does
        for generalization 0 is best), periods, pulls, outer hyperparameters, betas (of optimizers that are not linear only
        the learning rate is tuned).
      batch_size: examples per update, a number or a 1-D array.
      target: risk to reach.
      fixed: names of hyperparameters to leave at the template's values.
      max_steps: updates to search, at most 2^31 - 1.
      dtype: "float64" or "float32".
      progress: show a bar when the run takes longer than two seconds.
      devices: where to compute, see `sweep`; of optimizers that are not linear on the first of them only.

    Returns:
      `xarray.Dataset` over batch_size: `steps` (inf where no setting reaches the target), `status`, `examples`
      (batch size times steps), the hyperparameters, `effective_learning_rate`, `efficiency` (the fewest examples with
      which any algorithm can reach the target, by the Bayes bound, over `examples`), and for each tuned hyperparameter
      `<name>_at_edge`, whether the optimum lies at the edge of what was searched. Of Adam and its kin also the `nodes` of each
      answer, which tuning chooses itself, and `nodes_disagree`, whether a third of them has other steps, by more than 1%
      and one update; where updates rest on norms `participation`.

    Raises:
      ValueError: an argument is out of its range, a name in `fixed` is unknown, or nothing is left to tune.

    >>> from nqmjax import HeavyBall, power_law
    >>> best = tune(power_law(10_000).quantize(100), HeavyBall(0.1, 0.9), [2**10, 2**20], target=0.01)
    >>> best.steps.values
    array([5039.,  150.])

    Source: Zhang et al. 2019, section 3.7.1 (there a grid of 100 rates and 20 momenta).
    """
    check_run(problem, template, batch_size, closures=True, periodic=True, loss_noise=True, asked="tune")
    check_loss(target)
    check_search(problem, template, max_steps, "first", dtype)
    places = local_devices(devices)
    batches = np.atleast_1d(numeric("batch_size", batch_size))
    require(batches.ndim == 1 and batches.size > 0, "the shape of batch_size", batches.shape, "give a number or a 1-D array")
    for name, value in {**hyperparameters(template), "target": target}.items():
        require(np.ndim(value) == 0, f"the shape of {name}", np.shape(value), "give a number; call tune once for each value")
    names = names_to_tune(template, fixed)
    if isinstance(template, MeanFieldOptimizer):
        with jax.default_device(places[0]):
            return race(problem, template, batches, float(target), max_steps, dtype, progress)
    assert isinstance(template, LinearOptimizer | PeriodicOptimizer)  # there is no other kind
    space = Space(problem, template, names)
    with progress_bar(desc="tune", unit=" cells", progress=progress) as bar:
        bar.total = len(space.grid(1)) * len(batches)

        def steps(points: np.ndarray, batch: np.ndarray, limit: Any) -> StepsToTarget:
            bar.total = max(bar.total, bar.n + batch.size)
            # Single batch sizes are repeated to as many as the grid has, so that the search is compiled once for both.
            shape, targets = (len(points), len(batches)), np.full(len(points), float(target))
            repeated, limits = (np.broadcast_to(values, shape) for values in (batch, np.minimum(limit, max_steps)))
            if problem.follows_loss:  # each cell is a run of its own: repetitions end where they begin
                limits = np.where(np.arange(len(batches)) < batch.shape[1], limits, 0)
            found = search_lanes(problem, space.optimizer(points), repeated, targets, limits, "first", dtype, bar, places)
            return StepsToTarget(*(values[:, : batch.shape[1]] for values in found))

        best, grid = _search(space, steps, batches, _samples(problem, target), problem.follows_loss)
    return _table(problem, space, target, best, grid)


def _samples(problem: NoisyQuadratic, target: float) -> int:
    """Points to try beside the grid, by the number of curvatures that matter: the others hold less than half the target."""
    excess = np.asarray(problem.count) * np.asarray(problem.curvature) * np.asarray(problem.initial) / 2
    shares = np.bincount(np.unique(problem.curvature, return_inverse=True)[1], weights=excess)
    directions = np.count_nonzero(np.cumsum(np.sort(shares)) > (target - float(problem.irreducible)) / 2)
    return int(SAMPLES * min(1.0, FEW / max(1, directions)) ** 2) if directions <= MANY else 0


Steps = Callable[[np.ndarray, np.ndarray, Any], StepsToTarget]
"""Of points `(n, names)`, batch sizes `(n, b)` and numbers of updates to search."""


@dataclasses.dataclass(frozen=True)
class _Candidates:
    """Points `(n, names)`, the batch size that each is for, and what it does there."""

    points: np.ndarray
    batch: np.ndarray
    found: StepsToTarget

    @classmethod
    def of(cls, points: np.ndarray, batch: np.ndarray, found: StepsToTarget) -> Self:
        """Of results of shape `(n,)` or `(n, 1)`."""
        return cls(points, batch, StepsToTarget(*(values.reshape(len(points)) for values in found)))

    def keep(self, which: np.ndarray) -> Self:
        """Those picked by a mask or by indices."""
        return type(self)(self.points[which], self.batch[which], StepsToTarget(*(values[which] for values in self.found)))

    def best(self, batches: np.ndarray) -> Self:
        """The best one of each batch size."""
        crossing = np.where(self.batch == batches[:, None], self.found.crossing, np.inf)
        # Where nothing reaches the target, any one of the same batch size.
        tied = (crossing == crossing.min(1)[:, None]) & (self.batch == batches[:, None])
        return self.keep(tied.argmax(1))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """All of several."""
        found = StepsToTarget(*map(np.concatenate, zip(*(part.found for part in parts), strict=True)))
        return cls(np.concatenate([part.points for part in parts]), np.concatenate([part.batch for part in parts]), found)


def _search(
    space: Space, steps: Steps, batches: np.ndarray, samples: int, one_by_one: bool
) -> tuple[_Candidates, StepsToTarget]:
    """The best candidate of each batch size, and what the coarse grid found."""
    coarse = _quick_ones_first(space, steps, batches) if one_by_one else _everywhere(steps, space.grid(2), batches, MAX_STEPS)
    candidates = _starts(space, steps, batches, coarse, samples)
    first, second = ROUNDS
    width = space.spacing
    for stage in range(first + second):
        if stage == first:
            candidates = _exchange(space, steps, candidates, batches)
        candidates = _best_of_box(space, steps, candidates, width)
        width = width / 2
        # The first rounds compare regions; after them, follow only what is about as good as the best.
        best = candidates.best(candidates.batch).found.crossing
        candidates = candidates.keep(~(candidates.found.crossing > best * (SLACK if stage < first - 1 else 1.02)))
    # More examples per update never harm: the best point of a batch size is one for all larger ones.
    points = candidates.best(batches).points
    found = _everywhere(steps, points, batches, _limits(candidates.best(batches).found.steps, batches))
    return _Candidates.joined([candidates, *_by_batch(points, batches, found)]).best(batches), coarse


def _quick_ones_first(space: Space, steps: Steps, batches: np.ndarray) -> StepsToTarget:
    """What the coarse grid does where oscillations are followed one by one: none longer than runs without long ones take."""
    points = space.grid(2)
    slow = [axis.value(column) for axis, column in zip(space.axes, points.T, strict=True) if axis.name.split(".")[-1] in SLOW]
    quick = points[np.all([values <= QUICK for values in slow], axis=0)] if slow else points
    known = _everywhere(steps, quick, batches, MAX_STEPS).crossing.min(0)
    return _everywhere(steps, points, batches, _limits(SLACK * known + 1, batches))


def _everywhere(steps: Steps, points: np.ndarray, batches: np.ndarray, limit: Any) -> StepsToTarget:
    """Steps of each point at each batch size, shape `(n, b)`."""
    return steps(points, np.broadcast_to(batches, (len(points), len(batches))), limit)


def _by_batch(points: np.ndarray, batches: np.ndarray, found: StepsToTarget) -> list[_Candidates]:
    """Candidates from what `_everywhere` found, one set for each batch size."""
    columns = zip(batches, *(values.T for values in found), strict=True)
    return [_Candidates(points, np.full(len(points), batch), StepsToTarget(*column)) for batch, *column in columns]


def _limits(steps: np.ndarray, batches: np.ndarray) -> np.ndarray:
    """Updates to search at each batch size, never fewer at a smaller one."""
    order, limits = np.argsort(-batches), np.empty(len(batches))
    limits[order] = np.maximum.accumulate(np.minimum(steps, MAX_STEPS)[order])
    return limits


def _starts(space: Space, steps: Steps, batches: np.ndarray, coarse: StepsToTarget, samples: int) -> _Candidates:
    """The best few points of the whole grid, and of so many samples, for each batch size."""
    grid, shape = space.grid(1), [len(axis.points) for axis in space.axes]
    fine = _everywhere(steps, grid, batches, _limits(SLACK * coarse.crossing.min(0) + 1, batches))
    starts = [found.keep(_local_minima(found.found.crossing.reshape(shape))) for found in _by_batch(grid, batches, fine)]
    if samples:
        starts += _sampled_starts(space, steps, batches, fine.crossing.min(0), space.sample(samples))
    return _Candidates.joined(starts)


def _sampled_starts(
    space: Space, steps: Steps, batches: np.ndarray, known: np.ndarray, points: np.ndarray
) -> list[_Candidates]:
    """The best few of many points for each batch size, as they are and slowed down; `known` is how many steps are enough."""
    limits = _limits(1.2 * known + 1, batches)
    starts: list[_Candidates] = []
    everywhere = _by_batch(points, batches, _everywhere(steps, points, batches, limits))
    for found, factor, limit in zip(everywhere, FEW_STEPS / np.clip(known, FEW_STEPS, MAX_STEPS), limits, strict=True):
        some, batch = points[::SLOWED], found.batch[::SLOWED]
        slow = space.rescaled(some, np.full(len(some), factor))
        both = _Candidates.joined([found, _Candidates.of(slow, batch, steps(slow, batch[:, None], limit))])
        starts.append(both.keep(_apart(both.points / space.spacing, both.found.crossing)))
    return starts


def _local_minima(crossing: np.ndarray) -> np.ndarray:
    """Flat indices of the best few points of a grid that are no worse than their neighbours along each axis."""
    lowest = np.isfinite(crossing)
    for axis in range(crossing.ndim):
        padding = [(1, 1) if axis == other else (0, 0) for other in range(crossing.ndim)]
        padded = np.moveaxis(np.pad(crossing, padding, constant_values=np.inf), axis, 0)
        lowest &= np.moveaxis((padded[1:-1] <= padded[:-2]) & (padded[1:-1] <= padded[2:]), 0, axis)
    ranked = np.argsort(np.where(lowest, crossing, np.inf), axis=None, kind="stable")
    return ranked[: max(1, min(STARTS, int(lowest.sum())))]


def _apart(places: np.ndarray, crossing: np.ndarray) -> np.ndarray:
    """Indices of the best few points, none within a quarter of a better one in every coordinate."""
    chosen: list[int] = []
    free = np.isfinite(crossing)
    while free.any() and len(chosen) < SAMPLE_STARTS:
        chosen.append(int(np.where(free, crossing, np.inf).argmin()))
        free &= (abs(places - places[chosen[-1]]) > 0.25).any(1)
    return np.array(chosen, int)


def _exchange(space: Space, steps: Steps, candidates: _Candidates, batches: np.ndarray) -> _Candidates:
    """Offer each batch size what the next smaller and larger found, as it is and rescaled to its own noise."""
    order = np.unique(batches)
    parts = [candidates]
    for source, target in [*itertools.pairwise(order), *itertools.pairwise(order[::-1])]:
        points = candidates.points[candidates.batch == source]
        points = np.concatenate([points, space.rescaled(points, np.full(len(points), target / source))])
        batch = np.full(len(points), target)
        limit = SLACK * candidates.best(batch).found.crossing[:, None] + 1
        parts.append(_Candidates.of(points, batch, steps(points, batch[:, None], limit)))
    return _Candidates.joined(parts)


def _best_of_box(space: Space, steps: Steps, centres: _Candidates, width: np.ndarray) -> _Candidates:
    """The best point of a box around each centre, the centre itself where nothing is better."""
    offsets = np.array(list(itertools.product(BOX, repeat=len(space.axes)))) * width
    count, size = len(centres.points), len(offsets)
    points = space.moved(np.repeat(centres.points, size, axis=0), np.tile(offsets, (count, 1)))
    batch = np.repeat(centres.batch, size)
    limit = np.repeat(np.minimum(centres.found.steps, MAX_STEPS), size)
    found = _Candidates.of(points, batch, steps(points, batch[:, None], limit[:, None]))
    picked = np.arange(count) * size + found.found.crossing.reshape(count, size).argmin(1)
    better = found.found.crossing[picked] < centres.found.crossing
    return _Candidates.joined([centres, found.keep(picked)]).keep(np.arange(count) + count * better)


def _table(problem: NoisyQuadratic, space: Space, target: float, candidates: _Candidates, grid: StepsToTarget) -> xr.Dataset:
    """The result of `tune`, labelled; without a value where nothing reaches the target."""
    points, best = candidates.points, candidates.found
    # Of settings that fail, one that ran out of steps says more than one that never arrives, and that than a diverged one.
    order = [Status.OUT_OF_STEPS, Status.NEVER, Status.DIVERGED]
    failed = [next((code for code in order if (column == code).any()), Status.NEVER) for column in grid.status.T]
    status = np.where(np.isfinite(best.steps), np.int8(Status.REACHED), np.array(failed, np.int8))
    edges = {}
    for axis, column in zip(space.axes, points.T, strict=True):
        slack = 1e-3 * (axis.points[1] - axis.points[0])
        at_end = column <= axis.points[0] + slack, column >= axis.points[-1] - slack
        edges[axis.name] = (at_end[0] & axis.edges[0]) | (at_end[1] & axis.edges[1])
    return tuned_table(problem, space.template, space.optimizer(points), target, candidates.batch, best.steps, status, edges)
