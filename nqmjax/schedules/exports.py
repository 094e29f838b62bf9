"""What other programs take of a plan: optax schedules, PyTorch multipliers, batch ramps, and the text of a plan's file.

Of every export the value at update `t` is that of the piece in which `t` lies; before the first update it is the first
piece's, from the plan's end on the last one's.
"""

import bisect
import csv
import io
import json
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import jax.numpy as jnp
import numpy as np

from nqmjax._tools import check_choice, require, scalar

FORMAT, VERSION = "nqmjax plan", 1
UNITS = {"start": "updates", "steps": "updates", "batch_size": "examples per update"}
"""Units of the columns of a file; hyperparameters are pure numbers. `start` is the update at which a piece begins."""

RAMP_SEPARATORS = {"updates": ",", "samples": " "}
"""What stands between the pairs of a batch ramp, by the unit of its thresholds."""


def optax_schedule(values: np.ndarray, steps: np.ndarray) -> Callable[[Any], Any]:
    """The value of each piece as a function of the number of updates made so far, traceable."""
    # optax counts in 32 bits and stops at the largest of these numbers.
    ends = np.minimum(np.cumsum(np.asarray(steps))[:-1], np.iinfo(np.int32).max).astype(np.int32)

    def schedule(count: Any) -> Any:
        count = jnp.asarray(count)
        return jnp.asarray(values)[jnp.searchsorted(jnp.asarray(ends, count.dtype), count, side="right")]

    return schedule


def torch_multiplier(rates: np.ndarray, steps: np.ndarray, base: float | None) -> Callable[[int], float]:
    """The rate of each piece over `base`, by default the largest, as a function of the number of updates made so far."""
    unit = float(np.max(rates)) if base is None else scalar("base", base)
    require(0 < unit < np.inf, "base", unit, "give the learning rate of the PyTorch optimizer, above 0")
    listed, ends = rates.tolist(), np.cumsum(np.asarray(steps))[:-1].tolist()
    return lambda step: listed[bisect.bisect_right(ends, step)] / unit


def ramp_text(sizes: np.ndarray, steps: np.ndarray, unit: str) -> str:
    """`start:batch` wherever the batch size changes, `start` in updates or in samples."""
    check_choice("unit", unit, RAMP_SEPARATORS)
    lengths = steps if unit == "updates" else steps * sizes
    begins = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    new = np.concatenate([[True], np.diff(sizes) != 0])
    pairs = [f"{start:.0f}:{size:.10g}" for start, size in zip(begins[new], sizes[new], strict=True)]
    return RAMP_SEPARATORS[unit].join(pairs)


def whole_sizes(sizes: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Whole batch sizes with at most as many examples: rounded down, then up by one, largest remainders first.

    What has one batch size keeps one batch size.

    >>> whole_sizes(np.array([8.5, 16.2, 40.9]), np.array([10, 10, 10]))
    array([ 8., 16., 41.])
    """
    values, place = np.unique(sizes, return_inverse=True)
    cost = np.bincount(place, weights=steps)
    found = np.floor(values * (1 + 1e-12))
    spare = float(cost @ (values - found)) * (1 + 1e-9)
    for index in np.argsort(found - values, kind="stable"):
        if found[index] < values[index] and cost[index] <= spare:
            found[index] += 1
            spare -= cost[index]
    return found[place]


def file_text(columns: Mapping[str, Any], suffix: str, about: Mapping[str, str]) -> str:
    """A plan's file, `.csv` or `.json`: what it is about, and of each piece start, length, whole batch size and rest."""
    check_choice("the suffix of output", suffix, [".csv", ".json"])
    steps = np.asarray(columns["steps"]).astype(int)
    starts = np.concatenate([[0], np.cumsum(steps)[:-1]])
    entries = {"start": starts, **columns, "steps": steps, "batch_size": np.asarray(columns["batch_size"]).astype(int)}
    listed = {name: np.asarray(values).tolist() for name, values in entries.items()}
    if suffix == ".json":
        head = {"format": FORMAT, "version": VERSION, "nqmjax": version("nqmjax"), "units": UNITS, "about": dict(about)}
        return json.dumps({**head, "pieces": listed}, indent=1) + "\n"
    stream = io.StringIO()
    units = ", ".join(f"{name} in {unit}" for name, unit in UNITS.items())
    stream.write(f"# {FORMAT} {VERSION}, nqmjax {version('nqmjax')}; {units}\n")
    stream.writelines(f"# {name}: {' '.join(str(text).split())}\n" for name, text in about.items())
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(listed)
    writer.writerows(zip(*listed.values(), strict=True))
    return stream.getvalue()
