"""The best learning rate, for each batch size, of an optimizer that is not linear: a race of rates, then of finer ones.

All rates of a race are followed side by side until the first arrives, so that none runs on that cannot win.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr
from tqdm import tqdm

from nqmjax._tools import evaluate
from nqmjax.optimizers import MeanFieldOptimizer, hyperparameters
from nqmjax.problem import NoisyQuadratic
from nqmjax.scaling.tuned import tuned_table
from nqmjax.target import StepsToTarget, first_of_many

RATES = 2.0 ** np.arange(-21, 3)
"""Rates of the first race, in units of the optimizer's `rate_scale`."""

BOX = np.linspace(-1.0, 1.0, 5)
ROUNDS = 4  # of races around the winner, each in half the width of the one before
FEW_NODES, MOST_NODES = 16, 400  # over the start, in the first race and at most
AGREE = 0.01  # share of the steps, or one update if that is more, by which twice the nodes may change them


class Winner(NamedTuple):
    """A rate, and what it does with so many nodes."""

    rate: float
    nodes: int
    found: StepsToTarget


def race(
    problem: NoisyQuadratic,
    template: MeanFieldOptimizer,
    batches: np.ndarray,
    target: float,
    max_steps: int,
    dtype: Any,
    progress: bool,
) -> xr.Dataset:
    """The table of `tune`, with the `nodes` that each answer took; arguments as there, all of them checked."""
    scale = template.rate_scale(problem)
    track = functools.partial(_finish, problem, target=target, dtype=dtype)
    winners: dict[float, Winner] = {}
    limit = max_steps
    sizes = sorted(set(batches.tolist()), reverse=True)
    with tqdm(total=len(sizes), desc="tune", unit=" batch sizes", delay=2, disable=not progress, leave=False) as bar:
        for batch in sizes:
            winners[batch] = _winner(functools.partial(track, batch=batch), template, scale * RATES, limit)
            limit = limit if np.isfinite(winners[batch].found.steps) else 0  # smaller batches take no fewer steps
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
    """What an answer rests on: the nodes over the start, the directions that carry a norm."""
    fewest = template.participation(problem, batches)
    found = {} if fewest is None else {"participation": fewest}
    return found if template.nodes == 1 else {"nodes": np.array([winner.nodes for winner in best]), **found}


def _winner(track: Any, template: MeanFieldOptimizer, rates: np.ndarray, limit: int) -> Winner:
    """The best rate, refined with as many nodes as it takes."""
    nodes = template.nodes
    winner = _first(track, template, rates, min(FEW_NODES, nodes), limit)
    widths = np.log(2) * 0.5 ** np.arange(ROUNDS)
    while True:
        for width in widths:
            if not np.isfinite(winner.found.steps):  # none arrives within the limit
                return winner
            around = np.clip(winner.rate * np.exp(width * BOX), rates[0], rates[-1])
            winner = _first(track, template, around, nodes, limit)
        if nodes == 1:
            return winner
        finer = _first(track, template, np.full(len(BOX), winner.rate), 2 * nodes, limit)
        crossings = np.array([winner.found.crossing, finer.found.crossing])
        if not np.isfinite(crossings).all() or np.ptp(crossings) <= max(1.0, AGREE * crossings[1]) or 2 * nodes > MOST_NODES:
            return finer
        winner, nodes, widths = finer, 2 * nodes, widths[-3:]


def _first(track: Any, template: MeanFieldOptimizer, rates: np.ndarray, nodes: int, limit: int) -> Winner:
    """The first of these rates to arrive."""
    settings = {"learning_rate": rates} | ({} if nodes == 1 else {"nodes": nodes})
    found = track(dataclasses.replace(template, **settings), limit=limit)  # pyright: ignore[reportArgumentType]
    first = int(np.argmin(found.crossing))
    return Winner(float(rates[first]), nodes, StepsToTarget(*(values[first] for values in found)))


def _finish(
    problem: NoisyQuadratic, optimizer: MeanFieldOptimizer, *, batch: float, target: float, limit: int, dtype: Any
) -> StepsToTarget:
    """Race of the rates of one optimizer."""
    rates = np.shape(hyperparameters(optimizer)["learning_rate"])
    optimizer = jax.tree.map(lambda leaf: np.broadcast_to(leaf, rates), optimizer)
    return evaluate(_race, problem, optimizer, batch, target, np.uint32(limit), dtype=dtype)


_race = jax.jit(first_of_many)
