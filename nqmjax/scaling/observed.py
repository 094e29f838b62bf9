"""Updates to a target that somebody measured at several batch sizes: the record, and tables of it."""

import csv
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from nqmjax._tools import (
    TEXT,
    Columns,
    as_path,
    check_batch_size,
    check_suffix,
    check_values,
    input_file,
    numeric,
    read_table,
    require,
    write_atomically,
)

RUNS = "a curve is updates to one target, of one model: give those columns alone; runs of all kinds are for nqmjax fit"
COLUMNS = Columns(
    required=("batch_size", "steps"),
    known=("batch_size", "steps", "learning_rate", "standard_error", "label"),
    aliases={
        "batch_size": ("batch", "batchsizes", "b", "bs", "globalbatchsize", "examplesperupdate"),
        "steps": ("step", "numsteps", "k", "updates", "iterations", "stepstotarget"),
        "learning_rate": ("lr", "rate", "eta", "stepsize", "peaklr", "maxlr", "peakrate", "peaklearningrate"),
        "standard_error": ("se", "stderr", "sem", "standarderrorofsteps", "stepsstandarderror", "stepsse", "stepsstderr"),
        "label": ("labels", "name", "run", "group", "series", "optimizer"),
    },
    text=("label",),
    empty=("learning_rate", "standard_error"),
    refused=dict.fromkeys(("n", "params", "parameters", "numparams", "nparams", "modelsize", "loss", "valloss"), RUNS),
)
POSITIVE = {"steps": "number of updates", "learning_rate": "rate", "standard_error": "standard error, in updates"}
"""What is above 0."""


@dataclasses.dataclass(frozen=True, eq=False)
class Observed:
    """One measured curve: tuned training runs at several batch sizes, all to the same target.

    Args:
      batch_size: examples per update, shape `(n,)`; one may occur several times.
      steps: updates to the target, shape `(n,)`.
      learning_rate: the rate that each run was tuned to, NaN where it is not known; None if none is.
      standard_error: of the steps, in updates, NaN where it is not known; None if none is.
      label: what the curve is called.

    Raises:
      ValueError: the arrays differ in length, or an entry is not a positive number (batch sizes: at least 1).

    >>> Observed([64, 256], [9000, 2600], learning_rate=[3e-4, 6e-4], label="adamw")
    adamw: 2 runs, batch size 64 to 256, 9000 to 2600 updates
    """

    batch_size: Any
    steps: Any
    learning_rate: Any = None
    standard_error: Any = None
    label: str = "measured"

    def __post_init__(self) -> None:
        """Arrays of float64, checked."""
        check_batch_size(self.batch_size)
        batch_size = numeric("batch_size", self.batch_size)
        good = batch_size.ndim == 1 and batch_size.size > 0
        require(good, "the shape of batch_size", batch_size.shape, "give a 1-D array, not empty")
        object.__setattr__(self, "batch_size", batch_size)
        for name, what in POSITIVE.items():
            given = getattr(self, name)
            values = np.full(batch_size.shape, np.nan) if given is None and name != "steps" else numeric(name, given)
            remedy = f"give {batch_size.size}, one for each batch size"
            require(values.shape == batch_size.shape, f"the shape of {name}", values.shape, remedy)
            unknown = np.isnan(values) & (name != "steps")
            check_values(name, values, unknown | (np.isfinite(values) & (values > 0)), f"give a positive {what}")
            object.__setattr__(self, name, values)
        require(isinstance(self.label, str), "label", self.label, "give a text")

    def __len__(self) -> int:
        return self.batch_size.size

    def __repr__(self) -> str:
        ends = self.batch_size.argmin(), self.batch_size.argmax()
        (low, high), (first, last) = (values[list(ends)] for values in (self.batch_size, self.steps))
        runs = f"{len(self)} run{'s' * (len(self) > 1)}"
        if low == high:
            return f"{self.label}: {runs}, batch size {low:.10g}, {np.median(self.steps):.10g} updates"
        return f"{self.label}: {runs}, batch size {low:.10g} to {high:.10g}, {first:.10g} to {last:.10g} updates"


def read_observed(path: str | os.PathLike) -> list[Observed]:
    """Training runs that somebody measured: updates to a target at several batch sizes.

    Args:
      path: a CSV file with the columns `batch_size` (examples per update), `steps` (updates) and, as far as known,
        `learning_rate`, `standard_error` (of the steps) and, if there is more than one curve, `label`, or other common names
        of these. In `learning_rate` and `standard_error` a cell may be empty. Other columns are ignored with a warning.

    Returns:
      a list of `Observed`, one for each label in the order of their first rows. Rows without a label take the file's name
      without its suffix.

    Raises:
      ValueError: the file is missing or no CSV, lacks a column, or an entry is not a positive number (batch sizes: at least 1).

    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "runs.csv")
    ...     _ = path.write_text("label,batch_size,steps,lr\\nAdam,64,900,0.001\\nSGD,64,2000,\\nAdam,128,500,0.0014\\n")
    ...     read_observed(path)
    [Adam: 2 runs, batch size 64 to 128, 900 to 500 updates, SGD: 1 run, batch size 64, 2000 updates]
    """
    path = input_file(path, *TEXT)
    table = read_table(path, COLUMNS)
    columns = table.columns
    table.check("batch_size", lambda values: values >= 1, "give examples per update, at least 1")
    table.check("steps", lambda values: values > 0, "give a positive number of updates")
    for name in ("learning_rate", "standard_error"):
        values, remedy = columns.get(name, np.empty(0)), f"give a positive {POSITIVE[name]}, or leave the cell empty"
        for index in np.flatnonzero(~(np.isnan(values) | ((values > 0) & np.isfinite(values)))).tolist():
            require(False, table.place(name, index), values[index], remedy)
    labels = np.array([label or path.stem for label in columns.pop("label", [""] * len(columns["steps"]))])
    chosen = {label: labels == label for label in dict.fromkeys(labels.tolist())}
    return [Observed(**{name: values[here] for name, values in columns.items()}, label=label) for label, here in chosen.items()]


def write_observed(curves: Sequence[Observed], path: str | os.PathLike, force: bool = False) -> None:
    """Write measured curves as a table that `read_observed` and `nqmjax transfer` read.

    Args:
      curves: `Observed`, each under its label.
      path: name of the file, ending in `.csv`.
      force: whether a file that exists may be replaced.

    Raises:
      ValueError: the curves are no list of `Observed`, or the file cannot be written.
    """
    listed = isinstance(curves, Sequence) and len(curves) > 0 and all(isinstance(curve, Observed) for curve in curves)
    require(listed, "curves", type(curves).__name__, "give a list of Observed")
    path = as_path(path)
    check_suffix(path, ".csv")
    rows = [["label", *COLUMNS.known[:4]]]
    for curve in curves:
        columns = (getattr(curve, name) for name in COLUMNS.known[:4])
        for cells in zip(*columns, strict=True):
            rows.append([curve.label, *("" if np.isnan(cell) else f"{cell:.7g}" for cell in cells)])

    def write(temporary: Path) -> None:
        with open(temporary, "w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)

    write_atomically(path, write, force)


def as_observed(curve: Any) -> Observed:
    """A measured curve from what may stand for one: `Observed`, a Dataset as `tune` returns it, or a pair of arrays.

    Of a Dataset the batch sizes that reach the target count, and its `learning_rate` and `standard_error` if it has them.
    """
    if isinstance(curve, Observed):
        return curve
    if isinstance(curve, xr.Dataset):
        missing = [name for name in ("batch_size", "steps") if name not in curve.variables]
        require(not missing, "observed", f"without {' and '.join(missing)}", "give a Dataset with both, as tune returns it")
        dims = curve["steps"].dims
        require(dims == ("batch_size",), "the dimensions of steps", dims, "select one curve over batch_size with .sel or .isel")
        reached = np.isfinite(curve["steps"].values) & (curve["steps"].values > 0)
        rates, errors = (curve[name].values[reached] if name in curve else None for name in ("learning_rate", "standard_error"))
        return Observed(curve["batch_size"].values[reached], curve["steps"].values[reached], rates, errors)
    pair = isinstance(curve, tuple | list) and len(curve) == 2 and not isinstance(curve[0], Observed)
    require(pair, "observed", type(curve).__name__, "give Observed, one of what read_observed lists, or (batch_size, steps)")
    return Observed(curve[0], curve[1])
