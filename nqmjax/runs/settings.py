r"""What is known before a training run: model size, batch size, number of updates, peak rate and schedule.

Notation of the literature on scaling laws: a model of `N` parameters makes `K` updates on batches of `B` examples.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from nqmjax._tools import check_values, numeric, plain_exponent, require
from nqmjax.schedules import FAMILIES, Phase, borders, means, options

RESOLUTION = 1000
"""Updates for each piece of a schedule at which its multipliers are averaged."""


class Column(NamedTuple):
    """What is known of a column of runs: its name in a file, its units, what it may hold, and what to do otherwise."""

    name: str
    units: str
    valid: Callable[[np.ndarray], np.ndarray]
    remedy: str


COLUMNS: Mapping[str, Column] = MappingProxyType(
    {
        "model_size": Column("N", "parameters", lambda v: v >= 100, "give the number of parameters itself, at least 100"),
        "batch_size": Column("B", "examples", lambda v: v > 0, "give examples per update, above 0"),
        "steps": Column("K", "updates", lambda v: v >= 1, "give the number of updates, at least 1"),
        "learning_rate": Column("learning_rate", "1", lambda v: v > 0, "give the peak rate, above 0"),
        "loss": Column("loss", "nats", lambda v: v > 0, "give nats per token, above 0, or exclude a run that diverged"),
        "weight": Column("weight", "1", lambda v: v >= 0, "give a weight of 0 or more"),
        "compute": Column("C", "", lambda v: v > 0, "give the compute of the run, above 0, in any one unit"),
    }
)
"""The columns of numbers by their names in Python; every entry is finite."""


class RunSchedule(NamedTuple):
    """How the rate changes along a run, relative to its peak, whatever the number of updates.

    Args:
      family: a name in `nqmjax.schedules.FAMILIES`.
      warmup: share of the run that is a linear warm-up, below 1.
      options: the family's own options as pairs of a name and a value, see `nqmjax.schedules.options`: `final` is a share of
        the peak, `cooldown`, `hold` and `timescale` are shares of the run. What is not named has its default.

    >>> print(RunSchedule("wsd", options=(("cooldown", 0.3),)))
    wsd, warmup 0.01, cooldown 0.3
    """

    family: str = "cosine"
    warmup: float = 0.01
    options: tuple[tuple[str, Any], ...] = ()

    def pieces(self, count: int = 24) -> tuple[np.ndarray, np.ndarray]:
        """The run in pieces of constant rate: their shares of the updates, and the mean multiplier of the peak rate in each.

        Neighbours of one multiplier are one piece; the end of the warm-up and the jumps of the family make further cuts.

        Args:
          count: number of equal pieces before that.

        Returns:
          two arrays of one length; the shares sum to 1.

        Raises:
          ValueError: the family, the warm-up or an option is not one that `nqmjax.schedules` knows.

        >>> shares, multipliers = RunSchedule("wsd", warmup=0.1, options=(("cooldown", 0.5),)).pieces(4)
        >>> shares, multipliers.round(3)
        (array([0.1 , 0.4 , 0.25, 0.25]), array([0.5 , 1.  , 0.75, 0.25]))
        """
        check_schedule(self)
        require(int(count) == count and count >= 1, "count", count, "give a whole number of pieces, at least 1")
        steps = RESOLUTION * int(count)
        phases = self._phases(steps)
        edges = np.union1d(np.arange(0, steps + 1, RESOLUTION), borders(phases))
        multipliers = means(phases, edges)
        new = np.flatnonzero(np.concatenate([[True], abs(np.diff(multipliers)) > 1e-12]))
        return np.add.reduceat(np.diff(edges), new) / steps, multipliers[new]

    def _phases(self, steps: int) -> list[Phase]:
        """The phases of a run of so many updates."""
        named = dict(self.options)
        if self.family == "inverse_sqrt" and "timescale" not in named:
            remedy = (
                "give a warm-up, whose length is the timescale of inverse_sqrt, or the option timescale, a share of the run"
            )
            require(self.warmup > 0, "schedule.warmup", self.warmup, remedy)
            named["timescale"] = self.warmup
        return FAMILIES[self.family].phases(steps, self.warmup, **named)

    def __str__(self) -> str:
        return ", ".join([self.family, *(f"{name} {value}" for name, value in (("warmup", self.warmup), *self.options))])


COSINE = RunSchedule()
"""The schedule of runs of which nothing else is said: a cosine to 0 after a warm-up of 1%."""


@dataclasses.dataclass(frozen=True, eq=False)
class RunSettings:
    """What is known before each run; build it with `run_settings`, which checks its arguments.

    Args:
      model_size: parameters `N`, shape `(runs,)` as all columns.
      batch_size: examples (sequences) per update `B`.
      steps: updates `K`.
      learning_rate: peak rate; 1 where it is not known.
      schedule: one for each run.
    """

    model_size: np.ndarray
    batch_size: np.ndarray
    steps: np.ndarray
    learning_rate: np.ndarray
    schedule: tuple[RunSchedule, ...]

    def __len__(self) -> int:
        return len(self.model_size)

    def select(self, mask: Any) -> "RunSettings":
        """The settings at which the boolean array `mask`, one entry for each run, is True."""
        keep = check_mask(mask, len(self))
        schedule = tuple(itertools.compress(self.schedule, keep))
        return RunSettings(self.model_size[keep], self.batch_size[keep], self.steps[keep], self.learning_rate[keep], schedule)

    def __repr__(self) -> str:
        spans = [f"N {_span(self.model_size)}", f"B {_span(self.batch_size)}", f"K {_span(self.steps)}"] if len(self) else []
        return ", ".join([f"{len(self)} run{'s' * (len(self) != 1)}", *spans])


def run_settings(
    model_size: Any,
    batch_size: Any,
    steps: Any,
    learning_rate: Any = 1.0,
    schedule: RunSchedule | Iterable[RunSchedule] = COSINE,
) -> RunSettings:
    """Settings of runs from arrays, which are broadcast against each other and flattened.

    Args:
      model_size: parameters `N`, at least 100.
      batch_size: examples per update `B`, above 0.
      steps: updates `K`, at least 1; not whole where they are a number of tokens over one of tokens per update.
      learning_rate: peak rate, above 0.
      schedule: a `RunSchedule`, or one for each run.

    Raises:
      ValueError: an argument is out of its range, or the shapes do not go together.

    >>> run_settings([[1e6], [1e7]], [32, 64, 128], steps=500)
    6 runs, N 1e6 to 1e7, B 32 to 128, K 500
    """
    columns = {"model_size": model_size, "batch_size": batch_size, "steps": steps, "learning_rate": learning_rate}
    return RunSettings(**aligned(schedule, columns))


def aligned(schedule: Any, columns: dict[str, Any]) -> dict[str, Any]:
    """Columns checked, broadcast against each other and flattened, and a schedule for each entry."""
    schedules = _check_schedules(schedule)
    arrays = {name: _check_column(name, values) for name, values in columns.items()}
    arrays["schedule"] = np.arange(len(schedules))
    try:
        flat = [array.flatten() for array in np.broadcast_arrays(*arrays.values())]
    except ValueError:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise ValueError(f"the list of shapes is {shapes}: give single entries, or one for each run") from None
    require(flat[0].size > 0, "the number of runs", 0, "give at least one")
    found = dict(zip(arrays, flat, strict=True))
    return found | {"schedule": tuple(schedules[place] for place in found["schedule"])}


def _check_column(name: str, values: Any) -> np.ndarray:
    if name == "group":
        return np.asarray(values, dtype=np.str_)
    numbers = numeric(name, values)
    check_values(name, numbers, np.isfinite(numbers) & COLUMNS[name].valid(numbers), COLUMNS[name].remedy)
    return numbers


def _check_schedules(schedule: Any) -> list[RunSchedule]:
    several = isinstance(schedule, Iterable) and not isinstance(schedule, RunSchedule | str)
    schedules: list[Any] = list(schedule) if several else [schedule]
    for entry in schedules:
        check_schedule(entry)
    for entry in set(schedules):
        entry.pieces(1)
    return schedules


def check_schedule(schedule: Any) -> None:
    """Raise `ValueError` for what is no schedule, and for a family, a warm-up or an option's name that does not exist."""
    require(isinstance(schedule, RunSchedule), "schedule", repr(schedule), "give a Schedule, or one for each run")
    known = [name for name in options(schedule.family) if name != "warmup"]
    warmup = numeric("schedule.warmup", schedule.warmup)
    share = "give a share of the run, from 0 to below 1"
    share += "; for a number of updates, divide it by those of the run" if warmup.ndim == 0 and warmup > 1 else ""
    require(warmup.ndim == 0 and bool(0 <= warmup < 1), "schedule.warmup", warmup, share)
    pairs = isinstance(schedule.options, tuple) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in schedule.options)
    require(pairs, "schedule.options", repr(schedule.options), 'give a tuple of pairs, for example (("final", 0.1),)')
    for name, _ in schedule.options:
        remedy = f"the options of {schedule.family} are: {', '.join(known) or 'none'}"
        require(name in known, "an option of the schedule", repr(name), remedy)


def check_mask(mask: Any, count: int) -> np.ndarray:
    """The mask as an array, or `ValueError` unless it has one truth value for each run."""
    mask = np.asarray(mask)
    found = f"an array of {mask.dtype} of shape {mask.shape}"
    require(mask.dtype == bool and mask.shape == (count,), "mask", found, f"give one of bool of shape ({count},)")
    return mask


def _span(values: np.ndarray) -> str:
    """The least and the largest value."""
    ends = [plain_exponent(f"{end:.3g}") for end in (values.min(), values.max())]
    return " to ".join(dict.fromkeys(ends))
