"""Steps to target over grids of hyperparameters, batch sizes and targets, as one labelled table."""

import math
from typing import Any

import numpy as np
import xarray as xr
from tqdm import tqdm

from nqmjax._tools import check_target, numeric, require
from nqmjax.dynamics import check_run
from nqmjax.optimizers import MeanFieldOptimizer, Optimizer, hyperparameters, provenance
from nqmjax.problem import NoisyQuadratic
from nqmjax.sweeps.labels import with_units
from nqmjax.sweeps.lanes import check_search, search_lanes
from nqmjax.target import MAX_STEPS

MOST_CELLS = 10**9
"""Cells of one table at most: some 20 GB."""


def sweep(
    problem: NoisyQuadratic,
    optimizer: Optimizer,
    batch_size: Any,
    target: Any,
    max_steps: int = MAX_STEPS,
    rule: str = "first",
    dtype: Any = "float64",
    progress: bool = True,
) -> xr.Dataset:
    """Exact steps to target over the outer product of batch sizes and of all hyperparameters that are 1-D arrays.

    The search is compiled once whatever the values, and runs in chunks on all cores: memory does not grow with the
    size of the grid beyond the table itself.

    Args:
      problem: the quadratic.
      optimizer: each hyperparameter a number, or a 1-D array, which becomes an axis.
      batch_size: examples per update, a number or a 1-D array.
      target: risk to reach, a number or a 1-D array, which becomes an axis.
      max_steps: updates to search, at most 2^31 - 1.
      rule: "first" or "stays", see `steps_to_target`.
      dtype: "float64" or "float32".
      progress: show a bar when the run takes longer than two seconds.

    Returns:
      `xarray.Dataset` with the dimensions batch_size, target if it is an array, then the hyperparameters in the order
      of the optimizer's arguments; variables `steps` (inf where not reached), `status` (see `Status`) and
      `effective_learning_rate`, and where updates rest on norms `participation`. Hyperparameters that are numbers are
      coordinates too.

    Raises:
      ValueError: an argument is out of its range or has more than one dimension.

    >>> from nqmjax import HeavyBall, power_law
    >>> grid = sweep(power_law(100), HeavyBall([0.1, 0.2, 0.4], [0.0, 0.9]), [64, 256, 1024, 4096], target=0.01)
    >>> dict(grid.steps.sizes)
    {'batch_size': 4, 'learning_rate': 3, 'momentum': 2}
    >>> grid.steps.sel(batch_size=4096, momentum=0.9).values
    array([127.,  64.,  49.])

    Source: Zhang et al. 2019, section 3.7.1.
    """
    check_run(problem, optimizer, batch_size, closures=True, periodic=True, loss_noise=True, asked="sweep")
    check_target(target)
    check_search(problem, optimizer, max_steps, rule, dtype)
    names = hyperparameters(optimizer)
    axes = {"batch_size": numeric("batch_size", batch_size), "target": numeric("target", target)}
    axes |= {name: numeric(name, value) for name, value in names.items()}
    for name, values in axes.items():
        require(values.ndim <= 1 and values.size > 0, f"the shape of {name}", values.shape, "give a number or a 1-D array")
    axes["batch_size"] = np.atleast_1d(axes["batch_size"])

    swept = {name: values for name, values in axes.items() if values.ndim == 1}
    lanes = {name: values for name, values in swept.items() if name != "batch_size"}
    size = math.prod(len(values) for values in lanes.values())
    cells = size * axes["batch_size"].size
    require(cells <= MOST_CELLS, "the number of cells", f"{cells:,}", f"give at most {MOST_CELLS:,}, or sweep in parts")
    grid = np.meshgrid(*lanes.values(), indexing="ij")
    column = {name: np.broadcast_to(values, size) for name, values in axes.items() if values.ndim == 0}
    column |= {name: values.ravel() for name, values in zip(lanes, grid, strict=True)}
    settings = optimizer.replace(**{name: column[name] for name in names})
    batches = np.broadcast_to(axes["batch_size"], (size, axes["batch_size"].size))
    with tqdm(total=batches.size, desc="sweep", unit=" cells", delay=2, disable=not progress, leave=False) as bar:
        found = search_lanes(problem, settings, batches, column["target"], max_steps, rule, dtype, bar)

    shape = [len(values) for values in lanes.values()]
    effective = np.broadcast_to(np.asarray(settings.effective_learning_rate, dtype=float), size).reshape(shape)
    table = xr.Dataset(
        {
            "steps": (tuple(swept), found.steps.T.reshape(-1, *shape)),
            "status": (tuple(swept), found.status.T.reshape(-1, *shape)),
            "effective_learning_rate": (tuple(lanes), effective),
        },
        coords=axes_to_coordinates(axes),
        attrs={"title": "updates to a target loss", **provenance(problem, optimizer), "rule": rule, "max_steps": max_steps},
    )
    fewest = optimizer.participation(problem, axes["batch_size"]) if isinstance(optimizer, MeanFieldOptimizer) else None
    return with_units(table if fewest is None else table.assign(participation=("batch_size", fewest)))


def axes_to_coordinates(axes: dict[str, np.ndarray]) -> dict[str, Any]:
    """Arrays as dimensions of their own name, numbers as scalar coordinates."""
    return {name: (name, values) if values.ndim else float(values) for name, values in axes.items()}
