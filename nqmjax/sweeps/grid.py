"""Steps to target over grids of hyperparameters, batch sizes and targets, as one labelled table."""

import os
from typing import Any

import numpy as np
import xarray as xr

from nqmjax._tools import check_target, local_devices, progress_bar, require
from nqmjax.dynamics import check_run
from nqmjax.optimizers import Optimizer
from nqmjax.problem import NoisyQuadratic
from nqmjax.sweeps.cells import VARIABLES, dims_of, grid_of
from nqmjax.sweeps.filling import fill_store
from nqmjax.sweeps.labels import with_units
from nqmjax.sweeps.lanes import check_search
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
    *,
    devices: Any = None,
    store: str | os.PathLike | None = None,
    chunk: int | None = None,
    client: Any = None,
) -> xr.Dataset:
    """Exact steps to target over the outer product of batch sizes and of all hyperparameters that are 1-D arrays.

    The search is compiled once whatever the values, and runs in chunks on all devices: memory does not grow with the
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
      devices: where to compute: names such as "gpu" or "cpu:0", or a list of them; None is all devices of this process.
      store: a directory `NAME.zarr` that gets the table chunk by chunk, so that it may be larger than memory, outlasts the
        process, and grows by several processes at once. The same call goes on where another has ended; a store that
        holds another sweep is refused.
      chunk: cells of a chunk of a new store, about; None is what takes seconds. Each costs as much as 64 settings at all batch
        sizes, and some 20 ms.
      client: a Dask client, or the address of a scheduler, whose workers compute the chunks of the store in place of this
        process.

    Returns:
      `xarray.Dataset` with the dimensions batch_size, target if it is an array, then the hyperparameters in the order
      of the optimizer's arguments; variables `steps` (inf where not reached), `status` (see `Status`) and
      `effective_learning_rate`, and where updates rest on norms `participation`. Hyperparameters that are numbers are
      coordinates too. With a store, its table, see `open_store`.

    Raises:
      ValueError: an argument is out of its range or has more than one dimension; or `store` is no store, holds another sweep,
        or cannot be written; or the scheduler does not answer, or its workers have other versions or no float64.
      OSError: the disk is full, or fails; what is finished stays in the store.

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
    places = local_devices(devices)
    grid = grid_of(problem, optimizer, batch_size, target, max_steps, rule, dtype)
    if store is not None:
        require(client is None or devices is None, "devices", devices, "workers have their own; leave it or client out")
        return fill_store(grid, store, chunk, places, client, progress)
    require(chunk is None, "chunk", chunk, "only a store has chunks; give store too")
    require(client is None, "client", client, "what workers compute goes into a store; give store too")
    remedy = f"give at most {MOST_CELLS:,}, a store, or sweep in parts"
    require(grid.size <= MOST_CELLS, "the number of cells", f"{grid.size:,}", remedy)
    with progress_bar(total=grid.size, desc="sweep", unit=" cells", progress=progress) as bar:
        found = grid.search(progress=bar, devices=places)
    table = xr.Dataset(
        {name: (dims_of(name, grid.dims), found[name]) for name in VARIABLES} | grid.beside,
        coords=axes_to_coordinates(grid.axes),
        attrs=grid.attributes,
    )
    return with_units(table)


def axes_to_coordinates(axes: dict[str, np.ndarray]) -> dict[str, Any]:
    """Arrays as dimensions of their own name, numbers as scalar coordinates."""
    return {name: (name, values) if values.ndim else float(values) for name, values in axes.items()}
