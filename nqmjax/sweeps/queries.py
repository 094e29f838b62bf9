"""Questions to a table that may be larger than memory: it is read chunk by chunk."""

import itertools
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr

from nqmjax._tools import check_choice, require
from nqmjax.sweeps.cells import VARIABLES
from nqmjax.sweeps.labels import UNFINISHED, with_units
from nqmjax.sweeps.store import open_store
from nqmjax.target import Status


def best_cells(table: xr.Dataset | str | os.PathLike, keep: str | Sequence[str] = ("batch_size", "target")) -> xr.Dataset:
    """The cells with the fewest updates, over all axes but those that are kept.

    Of cells with equally many updates it is the first in the order of the axes. A store is read chunk by chunk, and may still
    be growing.

    Args:
      table: a table of `sweep`, or the path of a store.
      keep: names of axes; of "batch_size" and "target" those that are axes, by default.

    Returns:
      `xarray.Dataset` over the kept axes: `steps`, `status`, `effective_learning_rate` and the value of each other axis at the
      best cell, without a value where no finished cell reaches the target; and `unfinished`, the number of cells of each
      point that are still to come.

    Raises:
      ValueError: `table` is no table of a sweep, or has no axis of a name in `keep`.

    >>> from nqmjax import HeavyBall, power_law, sweep
    >>> grid = sweep(power_law(100), HeavyBall([0.1, 0.2, 0.4], [0.0, 0.9]), [64, 4096], target=0.02)
    >>> best = best_cells(grid)
    >>> best.steps.values, best.momentum.values
    (array([323.,  43.]), array([0. , 0.9]))
    """
    table = _table(table)
    dims = table.steps.dims
    require(isinstance(keep, str | Sequence), "keep", keep, "give names of axes")
    names = [keep] if isinstance(keep, str) else list(keep)
    for name in names:
        check_choice("keep", name, dict.fromkeys([*map(str, dims), "batch_size", "target"]))
    kept, others = [name for name in dims if name in names], [name for name in dims if name not in names]
    steps, place, unfinished = _lowest(table, kept, others)
    index = np.unravel_index(place, [table.sizes[name] for name in others]) if others else []
    where = {name: xr.DataArray(found, dims=kept) for name, found in zip(others, index, strict=True)}
    here = table.isel(where)
    best = xr.Dataset({"steps": (kept, steps), "status": here.status.reset_coords(drop=True)})
    reached = best.steps < np.inf
    best["effective_learning_rate"] = here.effective_learning_rate.reset_coords(drop=True).where(reached)
    for name in others:
        best[name] = (kept, np.where(reached, table[name].values[where[name].values], np.nan))
    best["unfinished"] = (kept, unfinished)
    scalars = {name: value for name, value in table.coords.items() if value.ndim == 0}
    best = best.assign_coords({name: table[name] for name in kept} | scalars)
    best.attrs = table.attrs
    return with_units(best)


def count_statuses(table: xr.Dataset) -> dict[int, int]:
    """How many cells have each status, that of cells still to come included."""
    codes = [UNFINISHED, *map(int, Status)]
    counts = dict.fromkeys(codes, 0)
    for block in _blocks(table):
        status = table.status.isel(block).values
        for code in codes:
            counts[code] += int((status == code).sum())
    return counts


def _table(table: Any) -> xr.Dataset:
    table = open_store(table) if isinstance(table, str | os.PathLike) else table
    named = isinstance(table, xr.Dataset) and set(VARIABLES) <= set(table.variables)
    require(named, "table", f"of type {type(table).__name__}", "give a table of sweep, or the path of a store")
    return table


def _lowest(table: xr.Dataset, kept: list[Any], others: list[Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each point of the kept axes the fewest steps, the flat index over the others, and how many cells are missing."""
    shape = [table.sizes[name] for name in kept]
    lowest, unfinished = np.full(shape, np.inf), np.zeros(shape, np.int64)
    place = np.zeros(shape, np.int64)
    sizes = [table.sizes[name] for name in others]
    for block in _blocks(table):
        steps = table.steps.isel(block).transpose(*kept, *others).values
        part = steps.shape[len(kept) :]
        steps = steps.reshape(*steps.shape[: len(kept)], -1)
        target = tuple(block[name] for name in kept)
        unfinished[target] += np.isnan(steps).sum(-1)
        steps = np.where(np.isnan(steps), np.inf, steps)
        first = steps.argmin(-1)
        found = np.take_along_axis(steps, first[..., None], -1)[..., 0]
        inner = np.unravel_index(first, part) if others else ()
        index = [block[name].start + at for name, at in zip(others, inner, strict=True)]
        flat = np.ravel_multi_index(index, sizes) if others else np.zeros_like(first)
        better = (found < lowest[target]) | ((found == lowest[target]) & (found < np.inf) & (flat < place[target]))
        lowest[target] = np.where(better, found, lowest[target])
        place[target] = np.where(better, flat, place[target])
    return lowest, place, unfinished


def _blocks(table: xr.Dataset) -> Iterator[dict[Any, slice]]:
    """The blocks of a table as they lie on the disk, or all of it."""
    sizes = dict(table.steps.sizes)
    parts = {name: table.steps.encoding.get("preferred_chunks", {}).get(name, size) for name, size in sizes.items()}
    starts = [range(0, size, parts[name]) for name, size in sizes.items()]
    for corner in itertools.product(*starts):
        yield {name: slice(start, min(start + parts[name], sizes[name])) for name, start in zip(sizes, corner, strict=True)}
