"""Plans as others use them: optax schedules, PyTorch multipliers, batch ramps, and files in CSV and JSON."""

import bisect
import csv
import io
import json
import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from nqmjax.checks import check_choice, check_values, numeric, require
from nqmjax.files import input_file, write_atomically
from nqmjax.plans import Plan, check_columns
from nqmjax.tables import TEXT, Columns, header_and_rows, parse_columns

FORMAT, VERSION = "nqmjax plan", 1
UNITS = {"start": "updates", "steps": "updates", "batch_size": "examples per update"}
"""Units of the columns of a file; hyperparameters are pure numbers. `start` is the update at which a piece begins."""

COLUMNS = Columns(
    required=("steps", "learning_rate", "batch_size"),
    known=("start", "steps", "learning_rate", "batch_size"),
    aliases={
        "steps": ("updates", "iterations"),
        "learning_rate": ("lr", "rate"),
        "batch_size": ("batch", "bs", "examplesperupdate"),
    },
)
"""The columns of a plan as a table; all others are hyperparameters of their own names."""


def to_optax(plan: Plan, name: str = "learning_rate") -> Callable[[Any], Any]:
    """A hyperparameter of the plan as an optax schedule: a function of the number of updates made so far.

    After the plan's end it keeps the last piece's value.

    >>> import optax
    >>> schedule = to_optax(Plan([0.1, 0.01], steps=[900, 100], batch_size=64))
    >>> [round(float(schedule(step)), 3) for step in (0, 899, 900, 5000)]
    [0.1, 0.1, 0.01, 0.01]
    >>> _ = optax.sgd(schedule, momentum=0.9)
    """
    values, ends = _column(plan, name), np.cumsum(plan.steps).astype(np.uint32)[:-1]
    return lambda count: jnp.asarray(values)[jnp.searchsorted(jnp.asarray(ends), count, side="right")]


def to_torch_lambda(plan: Plan, base: float | None = None) -> Callable[[int], float]:
    """The multiplier that `torch.optim.lr_scheduler.LambdaLR` takes, stepped once per update.

    `base` is the learning rate given to the PyTorch optimizer; by default the plan's largest.

    >>> multiplier = to_torch_lambda(Plan([0.1, 0.01], steps=[900, 100], batch_size=64), base=0.1)
    >>> [round(multiplier(step), 3) for step in (0, 899, 900)]
    [1.0, 1.0, 0.1]
    """
    rates, ends = _column(plan, "learning_rate").tolist(), np.cumsum(plan.steps)[:-1].tolist()
    unit = max(rates) if base is None else float(base)
    require(unit > 0, "base", base, "give the learning rate of the PyTorch optimizer, above 0")
    return lambda step: rates[bisect.bisect_right(ends, step)] / unit


def batch_ramp(plan: Plan, whole: bool = True) -> str:
    """The batch sizes as `start:batch` pairs, `start` counted in updates; to whole examples unless asked otherwise.

    >>> batch_ramp(Plan(0.1, steps=[500, 500, 200], batch_size=[64, 64, 128.2]))
    '0:64,1000:128'
    """
    sizes = np.round(plan.batch_size) if whole else plan.batch_size
    starts = _starts(plan)
    new = np.concatenate([[True], np.diff(sizes) != 0])
    return ",".join(f"{start:.0f}:{size:.10g}" for start, size in zip(starts[new], sizes[new], strict=True))


def write_plan(plan: Plan, path: str | os.PathLike, force: bool = False) -> None:
    """Write a plan to `.csv` or `.json`: for each piece its start and length in updates, batch size and hyperparameters.

    Raises:
      ValueError: the suffix is another one, the directory does not exist, or the file exists and `force` is False.
    """
    path = Path(path)
    check_choice("the suffix of output", path.suffix, [".csv", ".json"])
    columns = {"start": _starts(plan), "steps": plan.steps, "batch_size": plan.batch_size, **plan.hyperparameters}
    columns = {name: np.asarray(values).tolist() for name, values in columns.items()}
    for name in ("start", "steps"):
        columns[name] = [int(value) for value in columns[name]]
    if path.suffix == ".json":
        head = {"format": FORMAT, "version": VERSION, "nqmjax": version("nqmjax"), "units": UNITS}
        text = json.dumps({**head, "pieces": columns}, indent=1) + "\n"
    else:
        stream = io.StringIO()
        units = ", ".join(f"{name} in {unit}" for name, unit in UNITS.items())
        stream.write(f"# {FORMAT} {VERSION}, nqmjax {version('nqmjax')}; {units}\n")
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        text = stream.getvalue()
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"), force)


def read_plan(path: str | os.PathLike) -> Plan:
    """Read a plan that `write_plan` or a person wrote.

    A CSV file has the columns `steps`, `learning_rate`, `batch_size`, others for further hyperparameters, and if it has
    `start`, each piece must begin where the one before ends.

    Raises:
      ValueError: the file is missing, damaged or newer, a column is missing, an entry is no number, or there is a gap.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "plan.csv")
    ...     write_plan(Plan([0.1, 0.01], steps=[900, 100], batch_size=64, momentum=0.9), path)
    ...     read_plan(path)
    2 pieces, 1,000 steps, 64,000 examples
    """
    path = input_file(path, *TEXT, ".json")
    columns, place = (_read_json if path.suffix.lower() == ".json" else _read_csv)(path)
    for name in ("steps", "learning_rate", "batch_size"):
        require(name in columns, f"the list of columns in {path}", ", ".join(columns) or "none", f"{name!r} is missing")
    start = columns.pop("start", None)
    for name in columns:
        require(
            name.replace(".", "_").isidentifier() and name != "self", f"a column in {path}", repr(name), "give a hyperparameter"
        )
    try:
        plan = Plan(**columns)
        check_columns(plan)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if start is not None:
        begins, start = _starts(plan), np.atleast_1d(start)
        require(start.shape == begins.shape, f"the length of start in {path}", start.size, f"give {begins.size} of them")
        for piece, (found, expected) in enumerate(zip(start, begins, strict=True)):
            what = "a gap" if found > expected else "an overlap"
            remedy = f"the piece before ends at {expected:g}: there is {what}"
            require(found == expected, f"start in {path}, {place(piece)}", f"{found:g}", remedy)
    return plan


def _read_csv(path: Path) -> tuple[dict[str, np.ndarray], Callable[[int], str]]:
    header, rows = header_and_rows(path, COLUMNS)
    found = COLUMNS.named(path, header).values()
    others = tuple(title for title in dict.fromkeys(header) if title not in found)
    table = parse_columns(path, header, rows, COLUMNS._replace(known=(*COLUMNS.known, *others)))
    return table.columns, lambda piece: f"row {rows[piece][0]}"


def _read_json(path: Path) -> tuple[dict[str, np.ndarray], Callable[[int], str]]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    known = isinstance(document, dict) and document.get("format") == FORMAT and isinstance(document.get("pieces"), dict)
    require(known, "path", path, f"this is no file of the format {FORMAT!r}")
    newest = f"this nqmjax reads up to version {VERSION}; update it"
    found = document.get("version")
    require(isinstance(found, int) and found <= VERSION, f"the version of {path}", repr(found), newest)
    columns = {name: numeric(f"{name} in {path}", values) for name, values in document["pieces"].items()}
    return columns, lambda piece: f"piece {piece + 1}"


def _column(plan: Plan, name: str) -> np.ndarray:
    check_choice("name", name, plan.hyperparameters)
    values = np.asarray(plan.hyperparameters[name])
    check_values(name, values, np.isfinite(values), "give finite numbers")
    return values


def _starts(plan: Plan) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(plan.steps)[:-1]])
