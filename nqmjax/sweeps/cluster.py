"""Chunks of a store computed by the workers of a Dask cluster, and written by this process, which alone needs the directory.

Dask gives the chunks of a worker that dies to others. Each task looks whether its worker is fit for it, as workers may join
at any time.
"""

import contextlib
import importlib.metadata
import importlib.util
import itertools
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from nqmjax._tools import precision, require
from nqmjax.optimizers import Optimizer
from nqmjax.sweeps.cells import Block, Grid
from nqmjax.sweeps.store import Writer

TIMEOUT = 30
"""Seconds within which a scheduler must answer, and have a worker."""

AHEAD = 3
"""Chunks under way for each thread of the workers, so that none is idle."""


@contextlib.contextmanager
def cluster_for(client: Any, grid: Grid) -> Iterator[Any]:
    """The Dask client whose workers are to compute a grid; for the address of a scheduler, one that is closed afterwards.

    Raises:
      ValueError: no scheduler answers, it has no workers, or they are not fit for the sweep.
    """
    _check_importable(grid.optimizer)
    with _connected(client) as found:
        _check_workers(found, grid.dtype)
        yield found


def on_cluster(client: Any, grid: Grid, writer: Writer, numbers: Iterable[int], bar: tqdm) -> None:
    """Compute chunks on the workers of a Dask client and write each as soon as it is there.

    Args:
      client: see `cluster_for`.
      grid: the sweep.
      writer: of its store.
      numbers: of the chunks that are missing.
      bar: a bar to advance by the number of cells.
    """
    from distributed import as_completed

    store, needed = writer.store, _needed(grid.dtype)
    there = client.scatter(grid, broadcast=True)
    left = (number for number in numbers if not store.has(number))
    chunk_of: dict[Any, int] = {}

    def submit(count: int) -> list[Any]:
        futures = []
        for number in itertools.islice(left, count):
            futures.append(client.submit(_search, there, store.block(number), needed, pure=False))
            chunk_of[futures[-1].key] = number
        return futures

    running = as_completed(submit(AHEAD * max(1, sum(client.nthreads().values()))), with_results=True)
    try:
        for future, found in running:
            number = chunk_of.pop(future.key)
            running.update(submit(1))
            writer.write(number, found)
            bar.update(store.cells(number))
    finally:
        client.cancel(list(running.futures))


def _search(grid: Grid, block: Block, needed: dict[str, str]) -> dict[str, np.ndarray]:
    """What a worker does."""
    _compare("this worker", _state(needed["dtype"]), needed)
    return grid.search(block, spread=map)


def _state(dtype: str) -> dict[str, str]:
    """What matters of a process: versions, and the precision in which it computes when asked for another."""
    with precision(dtype):
        computed = str((jnp.ones((), dtype) / 3).dtype)
    return {**_versions(), "dtype": computed}


def _needed(dtype: str) -> dict[str, str]:
    return {**_versions(), "dtype": dtype}


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in ("nqmjax", "jax")}


def _compare(worker: str, state: dict[str, str], needed: dict[str, str]) -> None:
    told = "; ".join(f"{name} {state[name]}, needed {needed[name]}" for name in needed if state[name] != needed[name])
    require(not told, "client", worker, f"this worker has {told}; let all workers have what this process has")


def _check_workers(client: Any, dtype: str) -> None:
    """Raise unless there are workers within the time limit, and all of them are fit."""
    name = _name(client)
    try:
        client.wait_for_workers(1, timeout=TIMEOUT)
    except TimeoutError:
        raise ValueError(f"client is {name}: it has no worker within {TIMEOUT} seconds; start one") from None
    try:
        states = client.run(_state, dtype)
    except Exception as error:  # whatever fails there
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ValueError(f"client is {name}: a worker cannot run nqmjax ({reason}); install it there") from error
    for worker, state in states.items():
        _compare(worker, state, _needed(dtype))


@contextlib.contextmanager
def _connected(client: Any) -> Iterator[Any]:
    """The client, or for an address one that is closed afterwards."""
    installed = importlib.util.find_spec("distributed") is not None
    require(installed, "client", client, "clusters need Dask: pip install 'nqmjax[cluster]'")
    from distributed import Client

    if isinstance(client, Client):
        require(client.status == "running", "client", _name(client), f"it is {client.status}; give one that is running")
        yield client
        return
    require(isinstance(client, str) and bool(client), "client", client, "give a Dask client, or the address of a scheduler")
    try:
        own = Client(client, timeout=TIMEOUT, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        late = isinstance(error, OSError)
        remedy = f"no scheduler answers there within {TIMEOUT} seconds" if late else "this is no address"
        raise ValueError(f"client is {client}: {remedy}; give one such as tcp://host:8786") from None
    with own:
        yield own


def _name(client: Any) -> str:
    return str(getattr(client.scheduler, "address", client))


def _check_importable(optimizer: Optimizer) -> None:
    """Raise for an optimizer that workers could not load by its name."""
    kind = type(optimizer)
    found = kind.__module__ != "__main__" and getattr(sys.modules.get(kind.__module__), kind.__qualname__, None) is kind
    require(found, "optimizer", kind.__qualname__, "workers must import it: define it at the top of a module of theirs")
    for value in vars(optimizer).values():
        if isinstance(value, Optimizer):
            _check_importable(value)
