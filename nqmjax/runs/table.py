r"""Real training runs: their settings, see `nqmjax.runs.settings`, and the loss that each reached.

The compute of a run is `C` where it is given, else `N B K`, parameters times examples. Runs of like compute belong to one
budget: sort the computes and cut where neighbours differ by more than a factor of 1.25 (1.05 where `C` is given, which should
agree but for rounding), and divide what is then wider than a factor of `WIDEST` into parts of equal ratio that are not; the
geometric mean of its runs stands for a budget. No run is ever dropped silently: what is left out
is in `excluded`, with the reason.
"""

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr

from nqmjax._tools import require
from nqmjax.runs.settings import COLUMNS, COSINE, RunSchedule, RunSettings, aligned, check_mask, run_settings

WIDEST = 2.0
"""Factor in compute between the ends of a budget at most: in a dense table every run is near to its neighbours."""


@dataclasses.dataclass(frozen=True)
class Excluded:
    """A run that is left out: its line in the file, or its place in the arrays of Python, and why."""

    row: int
    reason: str


@dataclasses.dataclass(frozen=True, eq=False)
class Runs:
    """Training runs and their losses; build them with `runs.make` or `runs.read`, which check their arguments.

    Args:
      settings: what was known before.
      loss: nats per example or token, shape `(runs,)` as all columns.
      weight: how much each run counts.
      compute: in the unit that `compute_unit` names.
      budget: the compute that stands for the budget which the run belongs to.
      group: labels, "" without one.
      row: line in the file as a text editor counts, or 0, 1 ... for runs made in Python.
      excluded: the runs that were left out.
      source: name of the file, "" for runs made in Python.
      compute_unit: "as in column C", "as given", or "parameters x examples" where nothing was given.
    """

    settings: RunSettings
    loss: np.ndarray
    weight: np.ndarray
    compute: np.ndarray
    budget: np.ndarray
    group: np.ndarray
    row: np.ndarray
    excluded: tuple[Excluded, ...] = ()
    source: str = ""
    compute_unit: str = "parameters x examples"

    def __len__(self) -> int:
        return len(self.loss)

    @property
    def model_size(self) -> np.ndarray:
        """Parameters of each model."""
        return self.settings.model_size

    @property
    def batch_size(self) -> np.ndarray:
        """Examples per update of each run."""
        return self.settings.batch_size

    @property
    def steps(self) -> np.ndarray:
        """Updates of each run."""
        return self.settings.steps

    @property
    def budgets(self) -> np.ndarray:
        """The budgets that there are, the smallest first."""
        return np.unique(self.budget)

    def where(self, mask: Any, reason: str) -> "Runs":
        """The runs at which the boolean array `mask` is True, in the same budgets; the others go to `excluded` with the reason.

        Raises:
          ValueError: `mask` is no boolean array with one entry for each run or is False throughout, or there is no reason.

        >>> runs = make(1e6, 64, [1000, 2000], [3.1, 2.9])
        >>> runs.where(runs.steps < 1500, "held back").excluded
        (Excluded(row=1, reason='held back'),)
        """
        keep = check_mask(mask, len(self))
        require(isinstance(reason, str) and bool(reason), "reason", repr(reason), "say why the other runs are left out")
        require(bool(keep.any()), f"the number of runs that stay ({reason})", 0, "keep at least one")
        left_out = tuple(Excluded(row, reason) for row in self.row[~keep].tolist())
        names = ("loss", "weight", "compute", "budget", "group", "row")
        columns: dict[str, Any] = {name: getattr(self, name)[keep] for name in names}
        return dataclasses.replace(self, settings=self.settings.select(keep), excluded=self.excluded + left_out, **columns)

    def to_dataset(self) -> xr.Dataset:
        """The runs as a table over `run`, with units; `source` and `excluded` are attributes."""
        units = {name: column.units for name, column in COLUMNS.items()}
        units |= {"compute": self.compute_unit, "budget": self.compute_unit}
        values = vars(self.settings) | vars(self)
        columns = {name: ("run", values[name], {"units": unit}) for name, unit in units.items()}
        texts = {"group": ("run", self.group), "schedule": ("run", [str(schedule) for schedule in self.settings.schedule])}
        row = ("run", self.row, {"long_name": "line in the file" if self.source else "place in the arrays"})
        excluded = [f"row {run.row}: {run.reason}" for run in self.excluded]
        return xr.Dataset(columns | texts, coords={"row": row}, attrs={"source": self.source, "excluded": excluded})

    def __repr__(self) -> str:
        count = len(self.budgets)
        excluded = f"; {len(self.excluded)} excluded" if self.excluded else ""
        return f"{self.settings}, {count} compute budget{'s' * (count != 1)}{excluded}"


def check_runs(runs: Any) -> None:
    """Raise `ValueError` for what are no runs."""
    require(isinstance(runs, Runs), "runs", repr(runs), "give what nqmjax.runs.read or nqmjax.runs.make returns")


def make(
    model_size: Any,
    batch_size: Any,
    steps: Any,
    loss: Any,
    learning_rate: Any = 1.0,
    schedule: RunSchedule | Iterable[RunSchedule] = COSINE,
    compute: Any = None,
    group: Any = "",
    weight: Any = 1.0,
) -> Runs:
    """Runs from arrays, which are broadcast against each other and flattened.

    Args:
      model_size, batch_size, steps, learning_rate, schedule: see `run_settings`.
      loss: nats per example or token, above 0.
      compute: in any one unit, above 0; by default parameters times examples.
      group: labels.
      weight: how much each run counts, at least 0.

    Raises:
      ValueError: an argument is out of its range, the shapes do not go together, or a run is there twice with the same loss.

    >>> make([1e6, 1e6, 4e6], [64, 128, 128], [2000, 1000, 500], [3.1, 3.2, 3.3])
    3 runs, N 1e6 to 4e6, B 64 to 128, K 500 to 2e3, 2 compute budgets
    """
    known = {"model_size": model_size, "batch_size": batch_size, "steps": steps, "learning_rate": learning_rate}
    found = {"loss": loss, "weight": weight, "group": group} | ({} if compute is None else {"compute": compute})
    columns = aligned(schedule, known | found)
    settings = run_settings(**{name: columns.pop(name) for name in (*known, "schedule")})
    return assemble(settings, **columns)


def assemble(
    settings: RunSettings,
    loss: np.ndarray,
    weight: np.ndarray,
    group: np.ndarray,
    compute: np.ndarray | None = None,
    row: np.ndarray | None = None,
    excluded: tuple[Excluded, ...] = (),
    source: str = "",
) -> Runs:
    """Runs from columns that are checked already, each in its budget; raises `ValueError` for a run that is there twice."""
    require(bool(weight.any()), f"the weight of every run in {source or 'weight'}", 0, "give some of them a weight above 0")
    row = np.arange(len(loss)) if row is None else row
    _check_copies(settings, loss, row, source)
    if compute is None:
        compute = settings.model_size * settings.batch_size * settings.steps
        return Runs(settings, loss, weight, compute, _budgets(compute, 1.25), group, row, excluded, source)
    unit = "as in column C" if source else "as given"
    return Runs(settings, loss, weight, compute, _budgets(compute, 1.05), group, row, excluded, source, unit)


def _budgets(compute: np.ndarray, ratio: float) -> np.ndarray:
    """The geometric mean of each run's budget: neighbours that differ by at most `ratio`, in parts no wider than `WIDEST`."""
    order = np.argsort(compute)
    ranked = compute[order]
    new = np.concatenate([[True], ranked[1:] > ratio * ranked[:-1]])
    first, last = ranked[new], ranked[np.append(new[1:], True)]
    chain = np.cumsum(new) - 1
    parts = np.maximum(np.ceil(np.log(last / first) / math.log(WIDEST) - 1e-9), 1)
    place = np.log(ranked / first[chain]) / np.maximum(np.log(last / first), 1e-300)[chain] * parts[chain]
    part = np.minimum(np.floor(place), parts[chain] - 1)
    new |= np.concatenate([[True], np.diff(part) > 0])
    first, which = ranked[new], np.cumsum(new) - 1
    means = first * np.exp(np.bincount(which, np.log(ranked / first[which])) / np.bincount(which))
    return means[which[np.argsort(order)]]


def _check_copies(settings: RunSettings, loss: np.ndarray, row: np.ndarray, source: str) -> None:
    """Raise for a run that has the settings and the loss of another one."""
    numbers = (settings.model_size, settings.batch_size, settings.steps, settings.learning_rate, loss)
    first: dict[Any, int] = {}
    for place, *key in zip(row.tolist(), settings.schedule, *(values.tolist() for values in numbers), strict=True):
        earlier = first.setdefault(tuple(key), place)
        word, place_name = ("row", f"{source}, row {place}") if source else ("run", f"run {place}")
        remedy = "its settings and loss are the same; leave one out (other seeds have other losses)"
        require(earlier == place, place_name, f"a copy of {word} {earlier}", remedy)
