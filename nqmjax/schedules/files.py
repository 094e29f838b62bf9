"""Plans from files, in CSV or JSON, as `Plan.write` or a person writes them."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from nqmjax._tools import TEXT, Columns, header_and_rows, input_file, numeric, parse_columns, require
from nqmjax.schedules.exports import FORMAT, VERSION
from nqmjax.schedules.plan import Plan, check_columns

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


def read_plan(path: str | os.PathLike) -> Plan:
    """Read a plan that `Plan.write` or a person wrote.

    A CSV file has the columns `steps`, `learning_rate`, `batch_size`, others for further hyperparameters, and if it has
    `start`, each piece must begin where the one before ends.

    Raises:
      ValueError: the file is missing, damaged or newer, a column is missing, an entry is no number, or there is a gap.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "plan.csv")
    ...     Plan([0.1, 0.01], steps=[900, 100], batch_size=64, momentum=0.9).write(path)
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


def _starts(plan: Plan) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(plan.steps)[:-1]])
