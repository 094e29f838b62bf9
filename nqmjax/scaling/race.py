"""The best learning rate, for each batch size, of an optimizer that is not linear: a race of rates, then of finer ones.

No rate is followed beyond the fewest steps so far. The race of the largest batch size is between all rates; that of a smaller
one begins with the rates around the best one of the batch size before, which falls as the root of the batch size.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr

from nqmjax._tools import evaluate, progress_bar
from nqmjax.optimizers import MeanFieldOptimizer, hyperparameters
from nqmjax.problem import NoisyQuadratic
from nqmjax.scaling.tuned import tuned_table
from nqmjax.target import Status, StepsToTarget, first_of_many

RATES = 2.0 ** np.arange(-21, 3)
"""Rates of the first race, in units of the optimizer's `rate_scale`."""

LANES = 8
"""Rates of a race at most; all are compiled for so many."""

AROUND = 2.0 ** np.array([0, -1, 1, -2, 2, -3, 3])
"""Rates of the first race of a smaller batch size, relative to the best one of the batch size before."""

FINER = tuple(2.0 ** (width * np.array([-1, 1, -2, 2, -3, 3])) for width in (1 / 4, 1 / 16))
"""Rates of the races that follow, around the winner so far."""

FIRST_LIMIT, LONGER = 256, 4
"""Updates after which a first race that nobody has won is called off, and how many times as many the next one may take."""

NODES = (16, 48, 144, 432)
"""Nodes over the start: so many until the best rate's steps agree with those of three times as many."""

AGREE = 0.01  # share of the steps, or one update if that is more, by which they may differ


class Winner(NamedTuple):
    """A rate, and what it does with so many nodes; whether fewer nodes agree."""

    rate: float
    nodes: int
    found: StepsToTarget
    agree: bool = True


def race(
    problem: NoisyQuadratic,
    template: MeanFieldOptimizer,
    batches: np.ndarray,
    target: float,
    max_steps: int,
    dtype: Any,
    progress: bool,
) -> xr.Dataset:
    """The table of `tune`, with what `_about` says of each answer; all arguments are checked."""
    scale = template.rate_scale(problem)
    nodes = NODES if template.nodes > 1 else NODES[:1]
    track = functools.partial(_finish, problem, template, target=target, dtype=dtype)
    winners: dict[float, Winner] = {}
    before: tuple[float, Winner] | None = None
    sizes = sorted(set(batches.tolist()), reverse=True)
    with progress_bar(total=len(sizes), desc="tune", unit=" batch sizes", progress=progress) as bar:
        for batch in sizes:
            runs = functools.partial(track, batch=batch)
            found = _first_race(runs, scale * RATES, max_steps, batch, before)
            winners[batch] = _refined(runs, found, nodes, scale * RATES[[0, -1]], max_steps)
            before = batch, winners[batch]
            bar.update()
    best = [winners[batch] for batch in batches.tolist()]
    rates, steps = np.array([winner.rate for winner in best]), np.array([float(winner.found.steps) for winner in best])
    values = {name: np.full(len(batches), value) for name, value in hyperparameters(template).items()}
    return tuned_table(
        problem,
        template,
        template.replace(**{**values, "learning_rate": rates}),
        target,
        batches,
        steps,
        np.array([winner.found.status for winner in best], np.int8),
        {"learning_rate": (rates < 1.01 * scale * RATES[0]) | (rates > 0.99 * scale * RATES[-1])},
        **_about(problem, template, batches, best),
    )


def _about(problem: NoisyQuadratic, template: MeanFieldOptimizer, batches: np.ndarray, best: list[Winner]) -> dict[str, Any]:
    """What an answer rests on: `nodes` over the start and whether fewer disagree, and directions that carry a norm."""
    fewest = template.participation(problem, batches)
    found = {} if fewest is None else {"participation": fewest}
    if template.nodes > 1:
        found["nodes"] = np.array([winner.nodes for winner in best])
        found["nodes_disagree"] = np.array([not winner.agree for winner in best])
    return found


def _first_race(runs: Any, rates: np.ndarray, limit: int, batch: float, before: tuple[float, Winner] | None) -> Winner:
    """The best of rates a factor of two apart: around the one that is to be expected from a larger batch size, or of all.

    A smaller batch takes at most as many more updates as it is smaller, or a few times that.
    """
    if before is None:
        return _within_limits(runs, rates[::-1], FIRST_LIMIT, limit)
    larger, last = before
    if not np.isfinite(last.found.steps):  # smaller batches take no fewer steps
        return last
    centre, start = last.rate * np.sqrt(batch / larger), LONGER * float(last.found.steps)
    most = int(min(LONGER * start * larger / batch, limit))
    while True:
        around = np.clip(centre * AROUND, rates[0], rates[-1])
        winner = _within_limits(runs, around, start, most)
        if not np.isfinite(winner.found.steps):  # the best rate is not where it was to be expected
            return _within_limits(runs, rates[::-1], FIRST_LIMIT, limit)
        if around.min() < winner.rate < around.max() or winner.rate in (rates[0], rates[-1]):
            return winner
        centre, start = winner.rate, float(winner.found.steps)


def _within_limits(runs: Any, rates: np.ndarray, start: float, limit: int) -> Winner:
    """The best of these rates; called off, until somebody arrives, after more and more updates."""
    while True:
        allowed = int(min(start, limit))
        winner = _first(runs, rates, NODES[0], allowed)
        if np.isfinite(winner.found.steps) or allowed == limit or winner.found.status == Status.NEVER:
            return winner
        start = LONGER * start


def _refined(runs: Any, winner: Winner, nodes: Sequence[int], ends: np.ndarray, limit: int) -> Winner:
    """The best rate close to the winner of a first race, with as many of these `nodes` as it takes."""
    winner = _closest(runs, winner, nodes[0], ends)
    for more in nodes[1:]:
        if not np.isfinite(winner.found.steps):  # none arrives within the limit
            return winner
        closer = _first(runs, np.array([winner.rate]), more, limit)
        crossings = np.array([winner.found.crossing, closer.found.crossing])
        agree = bool(np.isfinite(crossings).all() and np.ptp(crossings) <= max(1.0, AGREE * crossings[1]))
        winner = closer._replace(agree=agree)
        if agree or more == nodes[-1]:
            return winner
        winner = _closest(runs, winner, more, ends)
    return winner


def _closest(runs: Any, winner: Winner, nodes: int, ends: np.ndarray) -> Winner:
    """The best of finer and finer rates around the winner of a race."""
    for finer in FINER:
        if np.isfinite(winner.found.steps):
            winner = _first(runs, np.clip(winner.rate * finer, *ends), nodes, int(winner.found.steps), winner)
    return winner


def _first(runs: Any, rates: np.ndarray, nodes: int, limit: int, best: Winner | None = None) -> Winner:
    """The first of these rates to arrive, and of `best`; where none arrives, the first that might with more updates."""
    for chunk in np.split(rates, range(LANES, len(rates), LANES)):
        found = runs(chunk, nodes, limit)
        entries = [Winner(float(rate), nodes, StepsToTarget(*values)) for rate, *values in zip(chunk, *found, strict=False)]
        for winner in entries:
            if best is None or _order(winner) < _order(best):
                best, limit = winner, int(winner.found.steps) if np.isfinite(winner.found.steps) else limit
    assert best is not None
    return best


def _order(winner: Winner) -> tuple[float, bool]:
    return float(winner.found.crossing), winner.found.status != Status.OUT_OF_STEPS


def _finish(
    problem: NoisyQuadratic,
    template: MeanFieldOptimizer,
    rates: np.ndarray,
    nodes: int,
    limit: int,
    *,
    batch: float,
    target: float,
    dtype: Any,
) -> StepsToTarget:
    """Race of up to `LANES` rates."""
    spare = LANES - len(rates)
    values = {name: np.full(LANES, value) for name, value in hyperparameters(template).items()}
    values["learning_rate"] = np.pad(rates, (0, spare), mode="edge")
    optimizer = template.replace(**values)
    if template.nodes > 1:
        optimizer = dataclasses.replace(optimizer, nodes=nodes)  # pyright: ignore[reportCallIssue]
    limits = np.pad(np.full(len(rates), limit, np.uint32), (0, spare))
    found = evaluate(_race, problem, optimizer, batch, target, limits, dtype=dtype)
    return StepsToTarget(*(entry[: len(rates)] for entry in found))


_race = jax.jit(first_of_many)
