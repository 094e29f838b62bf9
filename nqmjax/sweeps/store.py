"""A sweep on disk: a Zarr store whose chunks are units of work, each there as a whole or not at all.

A chunk holds a block of the grid, as one file for each array of the table. What a chunk holds follows from the sweep alone, and
a file comes into its place by a rename, complete and on the disk. From these two facts the rest follows, without locks, claims
or clocks. Whoever finds a chunk missing may compute it; if two processes do so at once they write the same bytes, and which of
them stays makes no difference. A process that dies leaves nothing that must be released.

The statuses are written last, so that a chunk with statuses is complete. A cell that is still to come reads as status -1
("unfinished") and as NaN steps, which no cell has that is done.
"""

import dataclasses
import importlib.util
import json
import math
import os
import shutil
import threading
import uuid
from pathlib import Path
from typing import Any, Self

import numpy as np
import xarray as xr

from nqmjax._tools import TEMPORARY, require, shown, write_durably
from nqmjax.sweeps.cells import VARIABLES, Block, Grid, dims_of
from nqmjax.sweeps.labels import UNFINISHED, units_of
from nqmjax.sweeps.store_spec import METADATA, attributes, problem_arrays, problem_words, read_attributes

ARRAYS = {"effective_learning_rate": np.float64, "steps": np.float64, "status": np.int8}
"""Arrays of the table, in the order in which those of a chunk are written."""


@dataclasses.dataclass(frozen=True, eq=False)
class Store:
    """Where the chunks of a store are; `dims`, `shape` and `chunk` (cells along each dimension) are those of `steps`."""

    path: Path
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    chunk: tuple[int, ...]

    @classmethod
    def at(cls, path: Path) -> Self:
        """The store at a path, as its metadata describe it."""
        steps = zarr_for(path).open_group(path, mode="r", use_consolidated=False)["steps"]
        return cls(path, steps.metadata.dimension_names, steps.shape, steps.chunks)

    @property
    def counts(self) -> tuple[int, ...]:
        """Chunks along each dimension."""
        return tuple(-(-size // part) for size, part in zip(self.shape, self.chunk, strict=True))

    def __len__(self) -> int:
        return math.prod(self.counts)

    def block(self, number: int) -> Block:
        """The cells of a chunk."""
        places = zip(self.dims, self._place(number), self.chunk, self.shape, strict=True)
        return {name: slice(place * part, min((place + 1) * part, size)) for name, place, part, size in places}

    def region(self, number: int, array: str) -> tuple[slice, ...]:
        """The cells of a chunk in an array."""
        block = self.block(number)
        return tuple(block[axis] for axis in dims_of(array, self.dims))

    def cells(self, number: int) -> int:
        """How many cells a chunk has."""
        return math.prod(part.stop - part.start for part in self.region(number, "steps"))

    def files(self, number: int) -> dict[str, Path]:
        """The files of a chunk, by array."""
        place = dict(zip(self.dims, self._place(number), strict=True))
        return {name: Path(self.path, name, "c", *(str(place[axis]) for axis in dims_of(name, self.dims))) for name in ARRAYS}

    def has(self, number: int) -> bool:
        """Whether a chunk is complete."""
        return all(_size(path) for path in self.files(number).values())

    def missing(self) -> list[int]:
        """The numbers of the chunks that are still to come."""
        return [number for number in range(len(self)) if not self.has(number)]

    def _place(self, number: int) -> tuple[int, ...]:
        return tuple(int(index) for index in np.unravel_index(number, self.counts)) if self.counts else ()


class Writer:
    """Makes the files of a store, from any thread: Zarr makes their bytes in memory, and we bring them to the disk."""

    def __init__(self, grid: Grid, store: Store) -> None:
        self.store = store
        self._zarr = zarr_for(store.path)
        self._lock = threading.Lock()
        self._files: dict[str, Any] = {}
        memory = self._zarr.storage.MemoryStore(self._files)
        self._group = self._zarr.create_group(memory, zarr_format=3, attributes=attributes(grid))
        self._declare(grid)

    def create(self) -> None:
        """Make the store without chunks, whole or not at all; it may be there already, by another process."""
        path = self.store.path
        temporary = path.parent / f"{TEMPORARY}{uuid.uuid4().hex}"
        files = {name: data.to_bytes() for name, data in self._files.items()}
        files[METADATA] = _consolidated(files)
        try:
            for name, data in files.items():
                write_durably(temporary / name, data)
            os.rename(temporary, path)
        except OSError:
            if not (path / METADATA).exists():
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def write(self, number: int, found: dict[str, np.ndarray]) -> None:
        """Write a chunk."""
        for name, path in self.store.files(number).items():
            with self._lock:
                self._group[name][self.store.region(number, name)] = found[name]
                data = self._files.pop(path.relative_to(self.store.path).as_posix())
            write_durably(path, data.to_bytes())

    def _declare(self, grid: Grid) -> None:
        """The arrays, those of the axes and of the problem with their values."""
        numbers = " ".join(name for name, values in grid.axes.items() if values.ndim == 0)
        sizes = dict(zip(self.store.dims, zip(self.store.shape, self.store.chunk, strict=True), strict=True))
        for name, dtype in ARRAYS.items():
            dims = dims_of(name, self.store.dims)
            shape, chunk = [sizes[axis][0] for axis in dims], [sizes[axis][1] for axis in dims]
            extra = {"coordinates": numbers} if numbers and name == "steps" else {}
            self._array(self._group, name, dims, shape, chunk, dtype, extra)
        for name, values in grid.axes.items():
            self._array(self._group, name, (name,) * values.ndim, values.shape, values.shape)[...] = values
        for name, (dims, values) in grid.beside.items():
            self._array(self._group, name, dims, values.shape, values.shape)[...] = values
        problem = self._group.create_group("problem", attributes=problem_words(grid.problem))
        for name, values in problem_arrays(grid.problem).items():
            self._array(problem, name, ("direction",) * values.ndim, values.shape, values.shape)[...] = values

    def _array(
        self, group: Any, name: str, dims: Any, shape: Any, chunk: Any, dtype: Any = np.float64, extra: dict | None = None
    ) -> Any:
        return group.create_array(
            name,
            shape=tuple(shape),
            dtype=np.dtype(dtype),
            chunks=tuple(chunk),
            fill_value=UNFINISHED if name == "status" else np.nan,
            compressors=[self._zarr.codecs.ZstdCodec(level=3), self._zarr.codecs.Crc32cCodec()],
            dimension_names=dims,
            attributes=units_of(name, unfinished=True) | (extra or {}),
            config={"write_empty_chunks": True},
        )


def open_store(path: str | os.PathLike) -> xr.Dataset:
    """The table of a store, finished or still growing; values are read when they are used.

    Args:
      path: the store's directory.

    Returns:
      the `xarray.Dataset` of `sweep`; a cell that is still to come has NaN steps and status -1 ("unfinished").

    Raises:
      ValueError: `path` is no store of a sweep, or a newer nqmjax made it.

    >>> import tempfile
    >>> from nqmjax import SGD, power_law, sweep
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = sweep(power_law(20), SGD([0.1, 0.2]), [4, 64], 0.1, store=f"{folder}/grid.zarr", progress=False)
    ...     open_store(f"{folder}/grid.zarr").steps.values
    array([[124.,  74.],
           [109.,  55.]])
    """
    path = store_path(path)
    read_attributes(path)
    zarr_for(path)
    table = xr.open_zarr(path, chunks=None, consolidated=True, decode_timedelta=False)
    return table[[*VARIABLES, *(name for name in table if name not in VARIABLES)]]


def store_path(path: str | os.PathLike) -> Path:
    """The argument as the path of a store, or `ValueError`."""
    text = isinstance(path, str | os.PathLike) and isinstance(os.fspath(path), str) and "\0" not in os.fspath(path)
    require(text and Path(path).suffix == ".zarr", "store", shown(path), "give a directory whose name ends in .zarr")
    return Path(path)


def zarr_for(path: Path) -> Any:
    """The package zarr, or `ValueError` with what to do."""
    installed = importlib.util.find_spec("zarr") is not None
    require(installed, "store", path, "stores need the package zarr: pip install 'nqmjax[store]'")
    import zarr.codecs
    import zarr.storage

    return zarr


def _consolidated(files: dict[str, bytes]) -> bytes:
    """The root's metadata with those of all arrays in them, which others may ignore, and with which xarray opens at once."""
    root = json.loads(files[METADATA])
    end = f"/{METADATA}"
    inner = {name.removesuffix(end): json.loads(data) for name, data in sorted(files.items()) if name.endswith(end)}
    root["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": inner}
    return json.dumps(root, indent=2).encode()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
