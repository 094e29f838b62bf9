"""Whether a store holds what it says: every file is read and compared with its checksum, every chunk looked through."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nqmjax._tools import TEMPORARY
from nqmjax.sweeps.cells import VARIABLES
from nqmjax.sweeps.store import Store, store_path, zarr_for
from nqmjax.sweeps.store_spec import read_attributes
from nqmjax.target import Status


class StoreCheck(NamedTuple):
    """What `check_store` found: numbers of chunks, files that are `damaged`, and `leftovers` of writers that were killed."""

    chunks: int
    finished: int
    damaged: tuple[Path, ...]
    leftovers: tuple[Path, ...]


def check_store(path: str | os.PathLike, repair: bool = False) -> StoreCheck:
    """Read all of a store and say which of its files are damaged.

    Args:
      path: the store's directory.
      repair: remove damaged chunks, which the next call of the same `sweep` makes again, and leftovers; for a time when
        nobody writes into the store.

    Returns:
      `StoreCheck`: of `chunks`, how many are `finished` (complete and undamaged), and the paths of `damaged` files and of
      `leftovers`, both within the store. A damaged file that is not of a chunk cannot be repaired.

    Raises:
      ValueError: `path` is no store of a sweep, or a newer nqmjax made it.

    >>> import tempfile
    >>> from nqmjax import SGD, power_law, sweep
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = sweep(power_law(20), SGD([0.1, 0.2]), [4, 64], 0.1, store=f"{folder}/grid.zarr", progress=False)
    ...     check_store(f"{folder}/grid.zarr")
    StoreCheck(chunks=1, finished=1, damaged=(), leftovers=())
    """
    path = store_path(path)
    read_attributes(path)
    store, group = Store.at(path), zarr_for(path).open_group(path, mode="r", use_consolidated=False)
    damaged: list[Path] = []
    finished = 0
    for number in range(len(store)):
        wrong = _damaged_files(store, group, number)
        finished += not wrong and store.has(number)
        damaged += wrong
    damaged = list(dict.fromkeys(damaged))  # a file may be of several chunks
    chunks = list(damaged)
    damaged += [path / name for name in _damaged_axes(group)]
    leftovers = [found for found in path.rglob(f"{TEMPORARY}*") if found.is_file()]
    if repair:
        for found in (*chunks, *leftovers):
            found.unlink()
    return StoreCheck(
        len(store), finished, *(tuple(each.relative_to(path) for each in found) for found in (damaged, leftovers))
    )


def _damaged_files(store: Store, group: Any, number: int) -> list[Path]:
    """The files of a chunk that cannot be read, or all of them where what they say does not fit together."""
    files = {name: path for name, path in store.files(number).items() if path.exists()}
    values = {name: _read(group[name], store.region(number, name)) for name in files}
    steps, status = values.get("steps"), values.get("status")
    if steps is None or status is None or any(found is None for found in values.values()):
        return [files[name] for name, found in values.items() if found is None]
    known = np.isin(status, [int(code) for code in Status]).all() and not np.isnan(steps).any()
    fits = known and np.array_equal(status == Status.REACHED, np.isfinite(steps))
    return [] if fits else list(files.values())


def _damaged_axes(group: Any) -> list[str]:
    """The arrays beside the chunks, of axes and problem, that cannot be read or have lost values."""
    arrays = [*group.arrays(), *((f"problem/{name}", array) for name, array in group["problem"].arrays())]
    beside = [(name, array) for name, array in arrays if name not in VARIABLES]
    found = {name: _read(array, ...) for name, array in beside}
    return [name for name, values in found.items() if values is None or np.isnan(values).any()]


def _read(array: Any, region: Any) -> np.ndarray | None:
    """Values of an array, None if they cannot be decoded, whatever the codec complains of."""
    try:
        return np.asarray(array[region])
    except Exception:
        return None
