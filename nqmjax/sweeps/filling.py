"""Filling a store: whatever is missing is computed on the devices of this process, beside whoever else does the same.

Each process goes through the chunks in an order of its own, and looks again before each whether it has come meanwhile: of `n`
chunks, `w` processes make some `w log(n)` twice, with the same bytes. Processes of `jax.distributed` know of each other, and
each begins with its share.
"""

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr
from tqdm import tqdm

from nqmjax._tools import Workers, progress_bar, require, whole
from nqmjax.optimizers import MeanFieldOptimizer
from nqmjax.sweeps.cells import Grid
from nqmjax.sweeps.cluster import cluster_for, on_cluster
from nqmjax.sweeps.lanes import CHUNK as LANES
from nqmjax.sweeps.store import Store, Writer, open_store, store_path, zarr_for
from nqmjax.sweeps.store_spec import check_same

CELLS, CELLS_BY_CLOSURE = 2**16, 2**10
"""Cells of a chunk at most, unless it is said: seconds of work, of an optimizer that is linear and of others."""

MOST_CHUNKS = 10**7


def fill_store(grid: Grid, path: Any, chunk: Any, devices: Any, client: Any, progress: bool) -> xr.Dataset:
    """The table of a grid in a store, which is made, or gone on with, until nothing is missing."""
    path = store_path(path)
    store = _existing(path, grid, chunk) if _is_there(path) else _new(path, grid, chunk)
    if store.missing():
        with _failing_disk(path), contextlib.nullcontext() if client is None else cluster_for(client, grid) as workers:
            _check_writable(path if _is_there(path) else path.parent)
            if not _is_there(path):
                Writer(grid, store).create()
            store = _existing(path, grid, chunk)  # another process may have made it, or more of it
            _fill(grid, Writer(grid, store), devices, workers, progress)
    return open_store(path)


def _fill(grid: Grid, writer: Writer, devices: Any, workers: Any, progress: bool) -> None:
    """Compute what is missing, with a bar."""
    missing = writer.store.missing()
    done = grid.size - sum(writer.store.cells(number) for number in missing)
    with progress_bar(total=grid.size, initial=done, desc="sweep", unit=" cells", progress=progress) as bar:
        if workers is None:
            _on_devices(devices, grid, writer, _order(missing), bar)
        else:
            on_cluster(workers, grid, writer, _order(missing), bar)


def _on_devices(devices: Any, grid: Grid, writer: Writer, numbers: list[int], bar: tqdm) -> None:
    """Compute chunks on devices of this process, and write each as soon as it is there."""
    store, workers = writer.store, Workers(devices)

    def make(number: int) -> int:
        if not store.has(number):
            found = grid.search(store.block(number), spread=workers.within)
            writer.write(number, found)
        return number

    for number in workers.map(make, numbers):
        bar.update(store.cells(number))


@contextlib.contextmanager
def _failing_disk(path: Path) -> Iterator[None]:
    """Say which store it is that cannot be written, and what becomes of it."""
    try:
        yield
    except OSError as error:
        remedy = "what is finished stays in the store: mend this, and run the same again"
        raise OSError(error.errno, f"{error.strerror or error}; {remedy}", str(path)) from error


def _order(numbers: list[int]) -> list[int]:
    """An order that other processes do not have, the share of this process of `jax.distributed` first."""
    mixed = np.random.default_rng().permutation(numbers)
    others = mixed % jax.process_count() != jax.process_index()
    return mixed[np.argsort(others, kind="stable")].tolist()


def _is_there(path: Path) -> bool:
    """Whether something is at the path, which should be a store; an empty directory is nothing."""
    return path.exists() and (not path.is_dir() or any(path.iterdir()))


def _existing(path: Path, grid: Grid, chunk: Any) -> Store:
    """The store at the path, which must hold this grid."""
    zarr_for(path)
    check_same(path, grid)
    store = Store.at(path)
    asked = store.chunk if chunk is None else _chunk_shape(grid, whole("chunk", chunk))
    told = " x ".join(map(str, store.chunk))
    require(asked == store.chunk, "chunk", chunk, f"the store's chunks have {told} cells; leave it out")
    return store


def _new(path: Path, grid: Grid, chunk: Any) -> Store:
    """The store to be made."""
    zarr_for(path)
    shape = _chunk_shape(grid, _usual_cells(grid) if chunk is None else whole("chunk", chunk))
    store = Store(path, grid.dims, grid.shape, shape)
    remedy = (
        f"the store {path.name} would have {len(store):,} of them; give at least {2 * -(-grid.size // MOST_CHUNKS):,} cells"
    )
    require(len(store) <= MOST_CHUNKS, "chunk", math.prod(shape), remedy)
    _check_writable(path.parent)
    return store


def _usual_cells(grid: Grid) -> int:
    """Cells of a chunk unless it is said: a few dozen chunks at least, if each can fill a call of the search."""
    full = min(LANES * grid.axes["batch_size"].size, CELLS)
    return max(full, min(CELLS_BY_CLOSURE if isinstance(grid.optimizer, MeanFieldOptimizer) else CELLS, grid.size // 50))


def _chunk_shape(grid: Grid, cells: int) -> tuple[int, ...]:
    """Cells along each axis so that a chunk has about so many: first all batch sizes, which are searched together.

    >>> from nqmjax import HeavyBall, power_law
    >>> from nqmjax.sweeps.cells import grid_of
    >>> rates, momenta = np.geomspace(0.01, 1, 30), np.linspace(0, 0.9, 40)
    >>> _chunk_shape(grid_of(power_law(3), HeavyBall(rates, momenta), [4, 64], 0.1, 100, "first", "float64"), 200)
    (2, 2, 40)
    """
    chunk, room = dict.fromkeys(grid.dims, 1), cells
    for axis in ["batch_size", *(name for name in reversed(grid.dims) if name != "batch_size")]:
        size = grid.axes[axis].size
        parts = math.ceil(size / max(1, room))
        chunk[axis] = math.ceil(size / parts)
        room //= chunk[axis]
    return tuple(chunk.values())


def _check_writable(folder: Path) -> None:
    require(folder.is_dir(), "store", folder, "there is no such directory; make it first")
    require(os.access(folder, os.W_OK | os.X_OK), "store", folder, "this directory is not writable")
