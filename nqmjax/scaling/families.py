r"""Tuned curves of power laws as a family of bends, one for each exponent, made for a given number of fewest updates.

A power law `h_i = i^-q` with noise `C = v H` has a tuned curve of updates to the share `r` of its initial loss. The noise
scale `v` only shifts it along the batch sizes, and `r` sets its fewest updates; what is left is its shape, which depends on
the exponent `q`. The fewest updates are taken from the runs, so that curves are those of runs of the right length, in updates
as they are counted.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from scipy.interpolate import CubicSpline

from nqmjax.optimizers import QHM, SGD, HeavyBall, LinearOptimizer, Nesterov, hyperparameters
from nqmjax.problem import NoisyQuadratic, power_law
from nqmjax.scaling.search_space import TUNABLE
from nqmjax.scaling.tune import tune

DIM, BINS = 1_000_000, 40
EXPONENTS = (0.6, 0.7, 0.8, 1.0, 1.25, 1.6, 2.1)
"""Exponents whose bends are computed; between them bends are interpolated."""

NOISE = 16.0
GRID = 4.0 ** np.arange(14)
"""Noise scale and batch sizes of the curves: from deep in noise to where it does not matter."""

SHARES = (1e-5, 0.9)
"""Ends of the share of the initial loss that is the target."""

CLOSE, CLOSEST = 0.02, 0.003
"""Relative deviation of the fewest updates that is left, for a bend and for a problem."""

FINE = 0.05
"""Step of the tables of bends, a logarithm."""


class Member(NamedTuple):
    """A power law, its target and its tuned curve: fewest updates, fewest examples by the noise scale, and bend."""

    problem: NoisyQuadratic
    target: float
    fewest: float
    knee: float
    bend: CubicSpline


@dataclasses.dataclass(frozen=True)
class Family:
    """Bends by exponent, on a grid of `log(B / knee)`; called as `nqmjax.scaling.posterior.Shape`."""

    exponents: np.ndarray
    places: np.ndarray
    table: np.ndarray

    def __call__(self, log_batch: np.ndarray, bend: np.ndarray, exponent: np.ndarray) -> np.ndarray:
        """Linear between the nodes; beyond them perfect scaling, and none."""
        place = np.interp(np.log(exponent), np.log(self.exponents), np.arange(self.exponents.size))
        row = np.minimum(place.astype(int), self.exponents.size - 2)
        distance = log_batch - bend
        position = np.clip((distance - self.places[0]) / FINE, 0, self.places.size - 1 - 1e-9)
        column, share = position.astype(int), position % 1
        rows = [(1 - share) * self.table[which, column] + share * self.table[which, column + 1] for which in (row, row + 1)]
        inside = rows[0] + (place - row) * (rows[1] - rows[0])
        return inside + np.maximum(self.places[0] - distance, 0.0)


def template_of(optimizer: str, momentum: float) -> LinearOptimizer:
    """The linear optimizer that stands for one of these habits; for Adam and its kin SGD in the coordinates that they make."""
    known = {"heavy_ball": HeavyBall(0.1, momentum), "nesterov": Nesterov(0.1, momentum), "qhm": QHM(0.1, momentum, 0.7)}
    return known.get(optimizer, SGD(0.1))


def tuned(problem: NoisyQuadratic, template: LinearOptimizer, batch_size: Any, target: float) -> xr.Dataset:
    """The tuned curve, momentum as it is; filled up to as many batch sizes as a grid has, for which there is a program
    already."""
    fixed = [name for name in hyperparameters(template) if name in TUNABLE and name != "learning_rate"]
    batches = np.asarray(batch_size, dtype=np.float64)
    more = max(GRID.size - batches.size, 0) if batches.size > 1 else 0
    table = tune(problem, template, np.append(batches, np.full(more, batches[-1])), target, fixed, progress=False)
    return table.isel(batch_size=slice(0, batches.size))


def member(template: LinearOptimizer, exponent: float, fewest: float, close: float = CLOSE) -> Member | None:
    """The power law of this exponent whose tuned curve has these fewest updates, if there is one; its initial loss is 1."""
    problem = _law(exponent)
    target = _target(problem, template, fewest, close)
    if target is None:
        return None
    steps = tuned(problem, template, GRID, target).steps.values
    known = np.isfinite(steps)
    log_batch, log_steps = np.log(GRID[known]), np.log(steps[known])
    knee = np.exp(log_batch[0] + log_steps[0] - log_steps[-1])
    return Member(problem, target, steps[-1], knee, CubicSpline(log_batch - np.log(knee), log_steps - log_steps[-1]))


@functools.lru_cache(maxsize=64)
def _law(exponent: float) -> NoisyQuadratic:
    """The power law of this exponent, with an initial loss of 1."""
    law = power_law(DIM, exponent).quantize(BINS)
    risk = float(law.initial_risk)
    return dataclasses.replace(law, noise=NOISE * law.noise / risk, initial=law.initial / risk)


def _target(problem: NoisyQuadratic, template: LinearOptimizer, fewest: float, close: float) -> float | None:
    """The share of the initial loss that takes this many updates without noise, by secants of logarithms."""

    def miss(share: float) -> float:
        steps = tuned(problem, template, [GRID[-1] * 1e6], share).steps.values[0]
        return float(np.log(min(steps, 2.0**31) / fewest))

    shares = [0.1, 0.03]
    misses = [miss(share) for share in shares]
    for _ in range(8):
        if abs(misses[-1]) <= max(close, 0.5 / fewest) or shares[-1] == shares[-2]:
            break
        slope = (misses[-1] - misses[-2]) / np.log(shares[-1] / shares[-2])
        move = np.clip(-misses[-1] / min(slope, -0.05), -2.5, 2.5)
        shares.append(float(np.clip(shares[-1] * np.exp(move), *SHARES)))
        misses.append(miss(shares[-1]))
    return shares[-1] if abs(misses[-1]) <= 5 * CLOSE else None


def family(template: LinearOptimizer, fewest: float) -> Family | None:
    """The bends of all exponents that can take these fewest updates; None if fewer than two can."""
    found = {exponent: member(template, exponent, fewest) for exponent in EXPONENTS}
    members = {exponent: one for exponent, one in found.items() if one is not None}
    if len(members) < 2:
        return None
    low = max(one.bend.x[0] for one in members.values())
    places = np.arange(low, max(one.bend.x[-1] for one in members.values()), FINE)
    table = [np.where(places > one.bend.x[-1], 0.0, one.bend(places)) for one in members.values()]
    return Family(np.array(list(members)), places, np.array(table))
