"""The devices of this process, and work dealt out to them as they get free."""

import contextlib
import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any

import jax

from nqmjax._tools.checks import require, shown

AHEAD = 64
"""Items under way for each thread, so that none is idle and that a million of them cost no memory."""


def local_devices(devices: Any = None) -> list[Any]:
    """The devices meant: all of this process, or those that are named.

    Args:
      devices: names such as "gpu", "cpu:0" (the first of its kind that this process has) or a list of them, devices of JAX, or
        None for the one that `jax.default_device` names, else for all that this process has of the kind that JAX prefers.

    Raises:
      ValueError: there is no such device.

    >>> [f"{device.platform}:{device.id}" for device in local_devices("cpu:0")]
    ['cpu:0']
    >>> local_devices("cpu:7")
    Traceback (most recent call last):
    ValueError: devices is 'cpu:7': there is no such device; this process has cpu:0
    """
    if devices is None:
        default = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
        return jax.local_devices() if default is None else local_devices(default)
    asked = [devices] if isinstance(devices, str | jax.Device) else devices
    remedy = 'give names such as "gpu" or "cpu:0", or devices of JAX'
    require(isinstance(asked, Iterable) and not isinstance(asked, dict), "devices", devices, remedy)
    chosen = list(asked)
    require(bool(chosen), "devices", devices, f"{remedy}, at least one")
    found = dict.fromkeys(device for each in chosen for device in _named(each))
    return list(found)


def _named(device: Any) -> list[Any]:
    """The devices of this process that a name, or a device, stands for."""
    if isinstance(device, jax.Device):
        here = device.process_index == jax.process_index()
        require(here, "devices", f"{device}", "it belongs to another process; give devices of jax.local_devices()")
        return [device]
    platform, colon, number = device.partition(":") if isinstance(device, str) else ("", "", "")
    known = _of_platform(platform) if platform else []
    found = [each for place, each in enumerate(known) if not colon or str(place) == number]
    names = [f"{each.platform}:{place}" for kind in (known, jax.local_devices()) for place, each in enumerate(kind)]
    told = f"there is no such device; this process has {', '.join(dict.fromkeys(names))}"
    require(bool(found), "devices", shown(device), told)
    return found


def _of_platform(platform: str) -> list[Any]:
    with contextlib.suppress(RuntimeError):  # JAX knows no such platform, or has none here
        return jax.local_devices(backend=platform)
    return []


class Workers:
    """Threads that compute on devices: a thread for each core on CPUs, two for each accelerator, so that it never waits.

    >>> list(Workers().map(lambda number: number**2, range(4)))
    [0, 1, 4, 9]
    """

    def __init__(self, devices: Any = None) -> None:
        self.devices = local_devices(devices)
        each = -(-_cores() // len(self.devices)) if self.devices[0].platform == "cpu" else 2
        self.threads = each * len(self.devices)
        self._stopped = threading.Event()

    def map(self, function: Callable[[Any], Any], items: Iterable[Any], ahead: int = AHEAD) -> Iterator[Any]:
        """What `map` gives, in order; after an error, or when nobody wants the rest, what has begun ends and no more begins.

        Args:
          function: called with each item, in a thread.
          items: any number of them.
          ahead: items under way for each thread, whose results are held.
        """
        self._stopped.clear()
        waiting: deque[Future] = deque()
        turn = itertools.cycle(self.devices)
        local, lock = threading.local(), threading.Lock()

        def take_device() -> None:
            with lock:
                local.device = next(turn)

        def call(item: Any) -> Any:
            with jax.default_device(local.device):
                return function(item)

        pool = ThreadPoolExecutor(self.threads, initializer=take_device)
        try:
            for item in items:
                waiting.append(pool.submit(call, item))
                if len(waiting) >= ahead * self.threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            self._stopped.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def within(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """What `map` gives, in the thread and on the device of the caller, itself one of these threads, until all must stop."""
        for item in items:
            if self._stopped.is_set():
                raise CancelledError
            yield function(item)


class FirstAlone:
    """Lets the first call for each key run alone, so that a program is compiled once and not by every thread.

    >>> alone = FirstAlone()
    >>> with alone("key"):
    ...     pass
    """

    def __init__(self) -> None:
        self._done: set[Any] = set()
        self._locks: dict[Any, threading.Lock] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def __call__(self, key: Any) -> Iterator[None]:
        with self._lock:
            first = None if key in self._done else self._locks.setdefault(key, threading.Lock())
        if first is not None:
            with first:
                if key not in self._done:
                    yield
                    self._done.add(key)
                    return
        yield


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
