r"""What a run may cost: time, compute, memory, data; and the time of an update, as a formula or measured.

For a model size `N` and a batch size `B` the limits leave at most

    K = min( seconds / step_seconds(N, B),  compute / (f N B),  examples / B,  steps )

updates, `f` the compute of a run over `N B K`, and none where a device's memory does not hold
`parameter_bytes N + example_bytes B / devices`.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.interpolate import RBFInterpolator
from scipy.optimize import nnls

from nqmjax._tools import check_values, numeric, require, scalar

MOST_STEPS = 1e12
"""Updates of any run at most."""


class StepTime(NamedTuple):
    """Seconds of an update, `fixed + per_work N B / devices`.

    >>> StepTime(fixed=0.05, per_work=1e-12, devices=8)(1e9, 512)
    0.114
    """

    fixed: float
    per_work: float
    devices: float = 1.0

    def __call__(self, model_size: Any, batch_size: Any) -> Any:
        """Seconds of one update."""
        return self.fixed + self.per_work * model_size * batch_size / self.devices


class StepTable:
    """Seconds of an update as measured: `fixed + per_work N B` fitted to them, times what they differ from it by.

    That factor is interpolated in the logarithms of `N` and `B` between the measurements, and beyond them is that of the
    nearest end. Several measurements of one size count as their geometric mean.

    Args:
      model_size: parameters, shape `(measurements,)`.
      batch_size: examples per update, likewise.
      seconds: of one update, likewise.

    Raises:
      ValueError: an entry is not positive, or all sizes lie on one line.

    >>> table = StepTable([1e8, 1e8, 1e9, 1e9], [64, 256, 64, 256], [0.1, 0.3, 0.7, 2.6])
    >>> round(float(table(1e9, 64)), 6), round(float(table(1e9, 128)), 2), round(float(table(1e10, 256)))
    (0.7, 1.34, 26)
    """

    def __init__(self, model_size: Any, batch_size: Any, seconds: Any) -> None:
        columns = {"model_size": model_size, "batch_size": batch_size, "seconds": seconds}
        arrays = [np.atleast_1d(numeric(name, values)) for name, values in columns.items()]
        for name, values in zip(columns, arrays, strict=True):
            check_values(name, values, np.isfinite(values) & (values > 0), "give positive numbers, one for each measurement")
            require(
                values.shape == arrays[0].shape and values.ndim == 1,
                f"the shape of {name}",
                values.shape,
                "give as many of each",
            )
        points, place = np.unique(np.log(np.stack(arrays[:2], axis=-1)), axis=0, return_inverse=True)
        measured = np.bincount(place.ravel(), np.log(arrays[2])) / np.bincount(place.ravel())
        spread = np.linalg.matrix_rank(points - points[0]) == 2
        require(spread, "the table of seconds", f"{len(points)} sizes on one line", "measure at two model and two batch sizes")
        terms = np.stack([np.ones(len(points)), np.exp(points.sum(axis=1))], axis=-1) / np.exp(measured)[:, None]
        self._scale = np.abs(terms).max(axis=0)
        self._formula = nnls(terms / self._scale, np.ones(len(points)))[0] / self._scale
        self._ends = points.min(axis=0), points.max(axis=0)
        self._factor = RBFInterpolator(points, measured - self._log_formula(points), kernel="linear", degree=1)

    def _log_formula(self, points: np.ndarray) -> np.ndarray:
        fixed, per_work = self._formula
        return np.log(fixed + per_work * np.exp(points.sum(axis=-1)))

    def __call__(self, model_size: Any, batch_size: Any) -> Any:
        """Seconds of one update."""
        sizes, batches = np.broadcast_arrays(np.asarray(model_size, float), np.asarray(batch_size, float))
        points = np.log(np.stack([sizes.ravel(), batches.ravel()], axis=-1))
        found = self._log_formula(points) + self._factor(np.clip(points, *self._ends))
        return np.exp(found).reshape(sizes.shape)


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a run may cost; None where there is no limit.

    Args:
      seconds: wall-clock time of the run, with `step_seconds`.
      step_seconds: seconds of one update as a function of model size and batch size: `StepTime`, `StepTable`, or any other.
      compute: in the unit of the runs, see `RunModel.compute_unit`.
      memory: bytes of a device.
      parameter_bytes: bytes for each parameter: 16 for weights, gradients and Adam's moments in mixed precision.
      example_bytes: bytes for each example of a device's share of the batch.
      devices: number of devices that share the batch, for memory.
      examples: number of examples there are.
      steps: number of updates.
      smallest_model, largest_model, smallest_batch, largest_batch: range of the search.

    >>> limits = Limits(compute=1e15, examples=1e6)
    >>> limits.most_steps(np.array([1e7]), np.array([100.0]), factor=1.0)
    {'compute': array([1000000.]), 'examples': array([10000.])}
    """

    seconds: float | None = None
    step_seconds: Callable[[Any, Any], Any] | None = None
    compute: float | None = None
    memory: float | None = None
    parameter_bytes: float = 16.0
    example_bytes: float = 0.0
    devices: float = 1.0
    examples: float | None = None
    steps: float | None = None
    smallest_model: float | None = None
    largest_model: float | None = None
    smallest_batch: float | None = None
    largest_batch: float | None = None

    def most_steps(self, model_size: np.ndarray, batch_size: np.ndarray, factor: float) -> dict[str, np.ndarray]:
        """Updates that each limit leaves, by its name; 0 where the model does not fit into memory."""
        found = {}
        if self.seconds is not None and self.step_seconds is not None:
            times = np.broadcast_to(np.asarray(self.step_seconds(model_size, batch_size), float), np.shape(batch_size))
            check_values("step_seconds(N, B)", times, np.isfinite(times) & (times > 0), "an update must take some time")
            found["seconds"] = self.seconds / times
        if self.compute is not None:
            found["compute"] = self.compute / (factor * model_size * batch_size)
        if self.examples is not None:
            found["examples"] = self.examples / batch_size
        if self.steps is not None:
            found["steps"] = np.full(np.shape(batch_size), self.steps)
        if self.memory is not None:
            found["memory"] = np.where(self.bytes(model_size, batch_size) <= self.memory, MOST_STEPS, 0.0)
        return found

    def largest_fitting(self, batch_size: np.ndarray) -> np.ndarray:
        """The largest model that memory holds with each batch size; inf without a limit."""
        if self.memory is None:
            return np.full(np.shape(batch_size), np.inf)
        left = self.memory - self.bytes(0.0, batch_size)
        return np.maximum(left, 0.0) / self.parameter_bytes * (1 - 1e-12)

    def bytes(self, model_size: Any, batch_size: Any) -> Any:
        """Memory that a device needs."""
        return self.parameter_bytes * model_size + self.example_bytes * batch_size / self.devices


SPENT = ("seconds", "compute", "examples", "steps", "memory")
"""Limits that can be relaxed."""


def check_limits(limits: Limits) -> None:
    """Raise `ValueError` for what is no set of limits, or none that ends a run."""
    require(isinstance(limits, Limits), "limits", repr(limits), "give Limits, for example Limits(compute=1e20)")
    for name in SPENT:
        value = getattr(limits, name)
        if value is not None:
            require(0 < scalar(name, value) < math.inf, name, value, "give a number above 0, or leave it out")
    given = [name for name in SPENT[:4] if getattr(limits, name) is not None]
    require(bool(given), "limits", "empty", f"without a limit training never ends; give one of {', '.join(SPENT[:4])}")
    clock = limits.seconds is None or limits.step_seconds is not None
    require(clock, "seconds", limits.seconds, "give the seconds of a step too, step_seconds")
    for name in ("parameter_bytes", "devices"):
        _check_positive(name, getattr(limits, name))
    require(0 <= scalar("example_bytes", limits.example_bytes) < math.inf, "example_bytes", limits.example_bytes, NOT_NEGATIVE)
    _check_step_seconds(limits.step_seconds)


NOT_NEGATIVE = "give a number, 0 or more"


def _check_positive(name: str, value: Any) -> None:
    require(0 < scalar(name, value) < math.inf, name, value, "give a number above 0")


def _check_step_seconds(time: Any) -> None:
    """Raise `ValueError` for what says no time of a step."""
    require(time is None or callable(time), "step_seconds", time, "give a StepTime, a StepTable or another function of N and B")
    if isinstance(time, StepTime):
        for name in ("fixed", "per_work"):
            value = getattr(time, name)
            require(0 <= scalar(name, value) < math.inf, name, value, NOT_NEGATIVE)
        _check_positive("devices", time.devices)
