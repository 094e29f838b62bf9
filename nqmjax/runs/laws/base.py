"""What a law of the loss is: named parameters, the coordinates in which they are fitted, and the parts of the loss.

A law is bound to the runs that it is fitted to only through their `Scale`, from which the coordinates are measured, so that
starts and priors mean the same for a network of 10^4 parameters and for one of 10^9.
"""

import abc
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from nqmjax.runs.laws.sums import COARSE, Rule, namespace
from nqmjax.runs.settings import RunSchedule, RunSettings
from nqmjax.runs.table import Runs, check_runs

PIECES = 24
"""Equal pieces into which a schedule is cut."""


class Scale(NamedTuple):
    """Sizes typical of the runs: geometric means, and the range of what was seen. A pytree of numbers."""

    model_size: Any = 1.0
    batch_size: Any = 1.0
    steps: Any = 1.0
    learning_rate: Any = 1.0
    smallest_batch: Any = 1.0
    largest_batch: Any = 1.0
    fewest_steps: Any = 1.0
    smallest_loss: Any = 1.0
    largest_loss: Any = 1.0


class Parameter(NamedTuple):
    """A parameter: where its coordinate is looked for, what is believed of it before, and its value from the coordinate.

    The prior is a normal distribution of the coordinate, whose deviation is finite.
    """

    name: str
    low: float
    high: float
    mean: float
    deviation: float
    meaning: str
    value: Callable[[Any], Any] = np.exp


class Inputs(NamedTuple):
    """Settings of runs as arrays, schedules in pieces: a pytree.

    `share` are the pieces' shares of the updates and `multiplier` those of the peak rate, each `(runs, pieces)`; `batch` is the
    batch size of each piece relative to `batch_size`, None where it does not change.
    """

    model_size: Any
    batch_size: Any
    steps: Any
    learning_rate: Any
    share: Any
    multiplier: Any
    batch: Any = None


class Law(abc.ABC):
    """A formula for the loss of a run in terms of its settings."""

    by_numpy: ClassVar[bool] = False
    """Whether `parts` also takes NumPy's arrays, with complex coordinates too, in which it is analytic piece by piece."""

    @abc.abstractmethod
    def parameters(self, scale: Scale) -> tuple[Parameter, ...]:
        """The parameters, in the order of their coordinates; only their ranges and priors depend on the scale."""

    @abc.abstractmethod
    def parts(self, coordinates: Any, inputs: Inputs, scale: Scale, rule: Rule = COARSE) -> dict[str, Any]:
        """Parts of the loss by name, whose sum is the loss, each of shape `(runs,)`; traceable and differentiable."""

    def reduced(self, same: frozenset[str]) -> "Law":
        """The law without the parameters that runs tell nothing of which all have one "model_size" or one "batch_size"."""
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters, in the order of their coordinates."""
        return tuple(parameter.name for parameter in self.parameters(Scale()))

    def log_loss(self, coordinates: Any, inputs: Inputs, scale: Scale, rule: Rule = COARSE) -> Any:
        """Logarithm of the loss, shape `(runs,)`."""
        total = sum(self.parts(coordinates, inputs, scale, rule).values())
        return namespace(total).log(total)


def scale_of(runs: Runs) -> Scale:
    """The scale of runs, those of weight 0 apart.

    >>> from nqmjax.runs import make
    >>> scale_of(make([1e6, 4e6], 64, [1000, 500], [3.1, 3.3])).model_size
    2000000.0
    """
    check_runs(runs)
    known = runs.weight > 0

    def middle(values: np.ndarray) -> float:
        return float(f"{math.exp(np.log(values[known]).mean()):.6g}")

    means = (middle(values) for values in (runs.model_size, runs.batch_size, runs.steps, runs.settings.learning_rate))
    batch, loss = runs.batch_size[known], runs.loss[known]
    ends = (batch.min(), batch.max(), runs.steps[known].min(), loss.min(), loss.max())
    return Scale(*means, *map(float, ends))


def law_inputs(settings: RunSettings, pieces: int = PIECES) -> Inputs:
    """Settings as a law takes them; schedules of fewer pieces than others are filled up with empty ones."""
    distinct: dict[RunSchedule, int] = {}
    which = [distinct.setdefault(schedule, len(distinct)) for schedule in settings.schedule]
    cut = [_pieces(schedule, pieces) for schedule in distinct]
    longest = max(len(shares) for shares, _ in cut)
    share, multiplier = (
        np.stack([np.pad(pair[k], (0, longest - len(pair[k])), constant_values=k) for pair in cut])[which] for k in (0, 1)
    )
    return Inputs(settings.model_size, settings.batch_size, settings.steps, settings.learning_rate, share, multiplier)


@functools.lru_cache(maxsize=256)
def _pieces(schedule: RunSchedule, count: int) -> tuple[np.ndarray, np.ndarray]:
    return schedule.pieces(count)


def starting_points(parameters: Sequence[Parameter], count: int, seed: int = 0) -> np.ndarray:
    """Coordinates `(count, parameters)` spread evenly over the ranges: a scrambled Latin hypercube."""
    from scipy.stats import qmc  # takes a second to import, which predictions do not need

    low, high = (np.array([getattr(parameter, name) for parameter in parameters]) for name in ("low", "high"))
    return low + qmc.LatinHypercube(len(parameters), rng=seed).random(count) * (high - low)
