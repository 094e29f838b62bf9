"""The cells of a sweep, an outer product that is never made whole: any block of it, and what the search finds there."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from tqdm import tqdm

from nqmjax._tools import numeric, require
from nqmjax.optimizers import MeanFieldOptimizer, Optimizer, hyperparameters, provenance
from nqmjax.problem import NoisyQuadratic
from nqmjax.sweeps.lanes import search_lanes

VARIABLES = ["steps", "status", "effective_learning_rate"]
"""The arrays of the table."""

Block = Mapping[str, slice]
"""A part of the grid: slices by axis; an axis that is not named is whole."""


@dataclasses.dataclass(frozen=True, eq=False)
class Grid:
    """A sweep: the problem, the optimizer as it was given, and the values of all axes, those that are numbers included.

    `axes` has `batch_size` first, 1-D, then `target` and the hyperparameters, 1-D or numbers.
    """

    problem: NoisyQuadratic
    optimizer: Optimizer
    axes: dict[str, np.ndarray]
    max_steps: int
    rule: str
    dtype: str

    @property
    def dims(self) -> tuple[str, ...]:
        """The axes that are swept, in their order."""
        return tuple(name for name, values in self.axes.items() if values.ndim == 1)

    @property
    def shape(self) -> tuple[int, ...]:
        """Cells along each of the axes that are swept."""
        return tuple(self.axes[name].size for name in self.dims)

    @property
    def size(self) -> int:
        """Number of cells."""
        return math.prod(self.shape)

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes of the table."""
        about = provenance(self.problem, self.optimizer)
        return {"title": "updates to a target loss", **about, "rule": self.rule, "max_steps": self.max_steps}

    @property
    def beside(self) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        """What the table has beside its arrays of cells, with dimensions."""
        fewest = None
        if isinstance(self.optimizer, MeanFieldOptimizer):
            fewest = self.optimizer.participation(self.problem, self.axes["batch_size"])
        return {} if fewest is None else {"participation": (("batch_size",), np.asarray(fewest, np.float64))}

    def search(
        self, block: Block | None = None, progress: tqdm | None = None, devices: Any = None, spread: Callable | None = None
    ) -> dict[str, np.ndarray]:
        """The arrays of the table in a block: `effective_learning_rate`, which is without batch sizes, `steps` and `status`.

        Args:
          block: which cells; None is all of them.
          progress: a bar to advance by the number of cells.
          devices: see `local_devices`.
          spread: see `search_lanes`.
        """
        block = block or {}
        axes = {name: values[block[name]] if name in block else values for name, values in self.axes.items()}
        lanes = [name for name in self.dims if name != "batch_size"]
        shape = [axes[name].size for name in lanes]
        size = math.prod(shape)
        grid = np.meshgrid(*(axes[name] for name in lanes), indexing="ij")
        column = {name: np.broadcast_to(values, size) for name, values in axes.items() if values.ndim == 0}
        column |= {name: values.ravel() for name, values in zip(lanes, grid, strict=True)}
        settings = self.optimizer.replace(**{name: column[name] for name in hyperparameters(self.optimizer)})
        batches = np.broadcast_to(axes["batch_size"], (size, axes["batch_size"].size))
        question = self.max_steps, self.rule, self.dtype
        found = search_lanes(self.problem, settings, batches, column["target"], *question, progress, devices, spread)
        effective = np.broadcast_to(np.asarray(settings.effective_learning_rate, dtype=float), size)
        return {
            "effective_learning_rate": effective.reshape(shape),
            "steps": found.steps.T.reshape(-1, *shape),
            "status": found.status.T.reshape(-1, *shape),
        }


def dims_of(array: str, dims: tuple[str, ...]) -> tuple[str, ...]:
    """The dimensions of an array of the table, of which `steps` has `dims`."""
    return tuple(axis for axis in dims if array != "effective_learning_rate" or axis != "batch_size")


def grid_of(
    problem: NoisyQuadratic, optimizer: Optimizer, batch_size: Any, target: Any, max_steps: int, rule: str, dtype: Any
) -> Grid:
    """The grid of arguments that are checked but for their shapes."""
    axes = {"batch_size": numeric("batch_size", batch_size), "target": numeric("target", target)}
    axes |= {name: numeric(name, value) for name, value in hyperparameters(optimizer).items()}
    for name, values in axes.items():
        require(values.ndim <= 1 and values.size > 0, f"the shape of {name}", values.shape, "give a number or a 1-D array")
    axes["batch_size"] = np.atleast_1d(axes["batch_size"])
    return Grid(problem, optimizer, axes, int(max_steps), rule, str(np.dtype(dtype)))
