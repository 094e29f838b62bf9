r"""The box of hyperparameters that a search for the best ones covers, in coordinates in which the steps are well rounded.

These are the logarithm of the *effective* learning rate (which is what matters while noise dominates, whatever the
momentum), `log(1 - x)` for a momentum or a decay `x`, and the value itself for anything else.
"""

import dataclasses
import itertools
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np

from nqmjax._tools import require, shown
from nqmjax.dynamics import stability_edge, steepest_curvature
from nqmjax.optimizers import LinearOptimizer, MeanFieldOptimizer, Optimizer, PeriodicOptimizer, hyperparameters
from nqmjax.problem import NoisyQuadratic

TUNABLE = ("learning_rate", "momentum", "decay", "nu")
"""Hyperparameters that `tune` tunes; a preconditioner's power is part of the question, not of the answer."""

RATE_SPAN = 1e-10  # the smallest rate of the grid, relative to the smallest of the largest stable ones
SLOWEST = 1e-6  # the smallest `1 - momentum` and `1 - decay` of the grid


def names_to_tune(template: Optimizer, fixed: Collection[str]) -> list[str]:
    """Names of the hyperparameters to tune."""
    known = hyperparameters(template)
    require(isinstance(fixed, Collection), "fixed", fixed, "give a list of names of hyperparameters")
    fixed = [fixed] if isinstance(fixed, str) else list(fixed)
    for name in fixed:
        require(isinstance(name, str) and name in known, "fixed", shown(name), f"the template has {', '.join(known)}")
    tunable = TUNABLE[:1] if isinstance(template, MeanFieldOptimizer) else TUNABLE
    names = [name for name in known if name.split(".")[-1] in tunable and name not in fixed]
    left = f"nothing is left to tune of {type(template).__name__}; leave at least one of {', '.join(tunable)}"
    require(bool(names), "fixed", sorted(fixed), left)
    return names


class StableRates(NamedTuple):
    """Stability edges of the rate at settings of the other hyperparameters, with a margin of a tenth."""

    lowest: float = 1.0
    highest: float = 1.0
    first_step: float = 1.0  # the longest first update at one of them, relative to the gradient

    @classmethod
    def of(cls, problem: NoisyQuadratic, template: LinearOptimizer | PeriodicOptimizer, names: list[str]) -> "StableRates":
        steepest = steepest_curvature(template, problem.curvature)
        if "learning_rate" not in names or steepest == 0:
            return cls()
        others = [name for name in names if name != "learning_rate"]
        corners = {name: (0.0, 0.5, 1.0 if name.split(".")[-1] == "nu" else 1 - SLOWEST) for name in others}
        settings = [dict(zip(corners, corner, strict=True)) for corner in itertools.product(*corners.values())]
        optimizers = [template.replace(**setting, learning_rate=1.0) for setting in settings]
        edges = 1.1 * np.array([stability_edge(optimizer, steepest) for optimizer in optimizers])
        return cls(edges.min(), edges.max(), max(edges * [_first_step(optimizer) for optimizer in optimizers]))


@dataclasses.dataclass(frozen=True)
class Axis:
    """The coordinate of one hyperparameter: equally spaced grid points, what they stand for, which ends are artificial."""

    name: str
    points: np.ndarray
    value: Callable[[np.ndarray], np.ndarray]
    rescales: bool  # whether it is the logarithm of something that scales as a rate per update
    edges: tuple[bool, bool]

    @classmethod
    def of(cls, name: str, stable: StableRates) -> "Axis":
        kind = name.split(".")[-1]
        if kind == "learning_rate":
            ends = np.log(stable.lowest * RATE_SPAN), np.log(stable.highest)
            count = 1 + round(40 * (ends[1] - ends[0]) / -np.log(RATE_SPAN))
            return cls(name, np.linspace(*ends, count), np.exp, True, (True, True))
        if kind in ("momentum", "decay"):
            return cls(name, np.linspace(np.log(SLOWEST), 0.0, 13), lambda u: 0.0 - np.expm1(u), True, (True, False))
        return cls(name, np.linspace(0.0, 1.0, 7), lambda u: u, False, (False, False))


class Space:
    """The box that is searched. Points have shape `(points, names)`; the rate's coordinate is that of the plain rate."""

    def __init__(self, problem: NoisyQuadratic, template: LinearOptimizer | PeriodicOptimizer, names: list[str]) -> None:
        self.template = template
        self.rate = names.index("learning_rate") if "learning_rate" in names else None
        self.stable = StableRates.of(problem, template, names)
        self.axes = [Axis.of(name, self.stable) for name in names]
        self.low = np.array([axis.points[0] for axis in self.axes])
        self.high = np.array([axis.points[-1] for axis in self.axes])
        self.spacing = np.array([axis.points[1] - axis.points[0] for axis in self.axes])

    def grid(self, stride: int) -> np.ndarray:
        """All points of the grid, or every `stride`-th along each axis."""
        axes = np.meshgrid(*(axis.points[::stride] for axis in self.axes), indexing="ij")
        return np.stack([values.ravel() for values in axes], axis=-1)

    def sample(self, count: int) -> np.ndarray:
        """Points spread over the box, most of them at large first steps and small momenta, where few updates are enough.

        The rate is drawn by the length of the first update, whose stable values are of one size whatever the momentum.
        Evenly spread is the square root of each value, by the additive recurrence of Roberts (2018): its irrational
        numbers are powers of the root of `x^(d+1) = x + 1`.
        """
        root = 1.0
        for _ in range(60):
            root = (1 + root) ** (1 / (len(self.axes) + 1))
        order = np.arange(1, count + 1)[:, None]
        share = (0.5 + order * root ** -np.arange(1.0, len(self.axes) + 1)) % 1
        logarithmic = np.array([axis.rescales for axis in self.axes])
        with np.errstate(divide="ignore"):
            points = np.maximum(np.where(logarithmic, self.high + 2 * np.log(share), 1 - share**2), self.low)
        if self.rate is not None:
            shift = np.log(self.stable.first_step / _first_step(self.optimizer(points)))
            points[:, self.rate] += shift - self.high[self.rate]
        return np.clip(points, self.low, self.high)

    def optimizer(self, points: np.ndarray) -> LinearOptimizer | PeriodicOptimizer:
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


def _first_step(optimizer: LinearOptimizer | PeriodicOptimizer) -> Any:
    """Length of the first update relative to rate and gradient; 1 where it does not move the parameter."""
    ratio = -optimizer.change(optimizer.initial(0.0), 1.0)[0] / hyperparameters(optimizer)["learning_rate"]
    return np.where(np.isfinite(ratio) & (ratio > 0), ratio, 1.0)
