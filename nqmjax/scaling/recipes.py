r"""What to run at other batch sizes: a measured curve as a table of recipes, and what they cost on given devices.

With `T(B)` the tuned updates, the examples are `B T(B)`. A doubling of the batch saves less than the share `q` of the updates
from where `T(2B) / T(B) > 1 - q`, that is with `r = (1 - q)^p` from `B = K ((r - 2^-p) / (1 - r))^(1/p)`.

A device takes `per_device_batch` examples at a time, all devices together `examples_per_second`; a batch of more examples than
one pass of all devices takes several (gradient accumulation), one of fewer takes as long as a whole pass.
"""

import dataclasses
from typing import Any

import numpy as np
import xarray as xr

from nqmjax._tools import check_batch_size, numeric, require, scalar, whole
from nqmjax.scaling.anchored import AnchoredCurve, Estimate
from nqmjax.scaling.habits import rate_power

SAVED = 0.1
"""Share of the updates that a doubling of the batch should save."""

WARMUP = 0.05
"""Share of the run that rates rise in, unless another is given."""

LONGEST_MEMORY = 1 - 1e-6
SHORTEST_MEMORY = 0.9
"""Ends of what `beta2` is set to."""


@dataclasses.dataclass(frozen=True)
class Devices:
    """How fast examples are trained on.

    Args:
      examples_per_second: of all devices together, when each takes `per_device_batch` at a time.
      devices: how many there are.
      per_device_batch: examples that one device takes at a time; None if any batch runs at that speed.

    Raises:
      ValueError: a number is out of its range.

    >>> eight = Devices(examples_per_second=2000, devices=8, per_device_batch=32)
    >>> eight.passes(np.array([64, 256, 1024])), eight.seconds(np.array([64, 256, 1024]))
    (array([1., 1., 4.]), array([0.128, 0.128, 0.512]))
    """

    examples_per_second: float
    devices: int = 1
    per_device_batch: float | None = None

    def __post_init__(self) -> None:
        """Numbers, checked."""
        speed, size = scalar("examples_per_second", self.examples_per_second), self.per_device_batch
        require(0 < speed < np.inf, "examples_per_second", speed, "give those of all devices together, a number above 0")
        whole("devices", self.devices)
        remedy = "give the examples that one device takes at a time, at least 1"
        require(size is not None or self.devices == 1, "per_device_batch", "missing", remedy)
        require(size is None or 1 <= scalar("per_device_batch", size) < np.inf, "per_device_batch", size, remedy)

    @property
    def pass_size(self) -> float | None:
        """Examples of one pass of all devices, None if any batch runs at the same speed."""
        return None if self.per_device_batch is None else self.devices * self.per_device_batch

    def passes(self, batch_size: np.ndarray) -> np.ndarray:
        """Passes of an update."""
        return np.ones(batch_size.shape) if self.pass_size is None else np.ceil(batch_size / self.pass_size * (1 - 1e-12))

    def seconds(self, batch_size: np.ndarray) -> np.ndarray:
        """Seconds of an update."""
        each = batch_size if self.pass_size is None else self.passes(batch_size) * self.pass_size
        return each / self.examples_per_second


def recipes(
    curve: AnchoredCurve,
    batch_size: Any,
    *,
    reference: float | None = None,
    momentum: float = 0.9,
    beta2: float = 0.999,
    warmup: float = WARMUP,
    devices: Devices | None = None,
) -> xr.Dataset:
    r"""Rate, updates, momentum or `beta2`, warm-up and cost at other batch sizes, with intervals.

    Momentum and `beta1` stay what they were in the measured runs. `beta2` is set such that its average spans the same share of
    the run as at the reference, `1 - beta2` in proportion to `1/T`: where noise dominates this is the square-root rule's.

    Args:
      curve: what `anchored_curve` returns, for an optimizer that is named if rates are wanted.
      batch_size: examples per update, shape `(b,)`.
      reference: the batch size that `beta2` belongs to and that times are compared with; by default the largest one measured.
      momentum: of SGD with momentum.
      beta2: of Adam and its kin, at the reference.
      warmup: share of the run.
      devices: for times.

    Returns:
      `xarray.Dataset` over `batch_size`: `steps`, `examples` and, if any is known, `learning_rate`, each with `_lower` and
      `_upper`; `overhead` (examples over those of perfect scaling), `warmup_steps`; `momentum` or `beta2` where the optimizer
      has it; with devices `passes`, `minutes` with `_lower` and `_upper`, and `minutes_saved` against the reference.

    Raises:
      ValueError: an argument is out of its range.

    >>> from nqmjax.scaling import Observed, anchored_curve
    >>> curve = anchored_curve(Observed([64, 1024], [46000, 3840], [3e-4, 1e-3]), "adamw")
    >>> recipes(curve, [1024, 4096])["steps"].values.round(-2)
    array([3800., 1900.])

    Source: Malladi et al. 2022, "On the SDEs and scaling rules for adaptive gradient algorithms" (square-root rule).
    """
    require(isinstance(curve, AnchoredCurve), "curve", type(curve).__name__, "give what anchored_curve returns")
    batches = np.atleast_1d(numeric("batch_size", batch_size))
    require(batches.ndim == 1 and batches.size > 0, "the shape of batch_size", batches.shape, "give a 1-D array, not empty")
    check_batch_size(batches)
    for name, value in {"momentum": momentum, "beta2": beta2, "warmup": warmup}.items():
        require(0 <= scalar(name, value) < 1, name, value, "give a share, at least 0 and below 1")
    home = float(curve.observed.batch_size.max()) if reference is None else scalar("reference", reference)
    check_batch_size(home)
    columns = _columns(curve, batches)
    steps, before = columns["steps"], float(curve.steps(home).value)
    columns["warmup_steps"] = np.ceil(warmup * steps)
    columns["overhead"] = curve.overhead(batches).value
    if curve.optimizer in ("heavy_ball", "nesterov", "qhm"):
        columns["momentum"] = np.full(batches.size, momentum)
    elif curve.optimizer is not None and rate_power(curve.optimizer) < 1 and curve.optimizer != "sign":
        columns["beta2"] = np.clip(1 - (1 - beta2) * before / steps, min(SHORTEST_MEMORY, beta2), max(LONGEST_MEMORY, beta2))
    attrs = {"title": "recipes at other batch sizes", "reference": home, "level": curve.level, **_limits(curve)}
    if devices is not None:
        columns |= _times(curve, batches, home, devices)
    return xr.Dataset(
        {name: ("batch_size", values, {"units": _unit(name)}) for name, values in columns.items()},
        coords={"batch_size": batches},
        attrs={key: value for key, value in attrs.items() if value is not None},
    )


def fastest(curve: AnchoredCurve, devices: Devices) -> tuple[float, Estimate] | None:
    """The batch size of the shortest run on these devices, one whole pass, and its minutes; None if any runs at that speed.

    Up to a whole pass a larger batch costs nothing and saves updates, and beyond it a batch of twice as many examples takes
    twice as long and saves less than half of the updates.
    """
    size = devices.pass_size
    if size is None:
        return None
    return size, Estimate(*(float(end) * float(devices.seconds(np.array(size))) / 60 for end in curve.steps(size)))


def _columns(curve: AnchoredCurve, batches: np.ndarray) -> dict[str, np.ndarray]:
    """Rates, steps and examples with their intervals."""
    steps = curve.steps(batches)
    found = {} if curve.rate_draws is None else {"learning_rate": curve.learning_rate(batches)}
    found |= {"steps": steps, "examples": Estimate(*(part * batches for part in steps))}
    ends = {"": 0, "_lower": 1, "_upper": 2}
    return {name + end: np.asarray(one[place]) for name, one in found.items() for end, place in ends.items()}


def _limits(curve: AnchoredCurve) -> dict[str, Any]:
    """Batch sizes beyond which more is wasted, `(value, lower, upper)` each; none where only bounds are known."""
    if curve.bounds_only:
        return {}
    knee, sharpness = np.exp(curve.steps_draws.bend), curve.steps_draws.sharpness
    rest = (1 - SAVED) ** sharpness
    limits = {
        "overhead_20": knee * (1.2**sharpness - 1) ** (1 / sharpness),
        "knee": knee,
        "wasted": knee * ((rest - 2**-sharpness) / (1 - rest)) ** (1 / sharpness),
    }
    return {name: [float(end) for end in curve.estimate(draws)] for name, draws in limits.items()}


def _times(curve: AnchoredCurve, batches: np.ndarray, home: float, devices: Devices) -> dict[str, np.ndarray]:
    """Minutes of a run, and those that it saves against the reference."""
    minutes = [np.asarray(part) * devices.seconds(batches) / 60 for part in curve.steps(batches)]
    before = float(curve.steps(home).value) * float(devices.seconds(np.array(home))) / 60
    names = ("minutes", "minutes_lower", "minutes_upper")
    return {"passes": devices.passes(batches), **dict(zip(names, minutes, strict=True)), "minutes_saved": before - minutes[0]}


def _unit(name: str) -> str:
    if name.startswith(("steps", "warmup_steps")):
        return "updates"
    return {"exam": "examples", "minu": "minutes"}.get(name[:4], "1")
