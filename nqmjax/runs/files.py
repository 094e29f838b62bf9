r"""Tables of training runs in CSV files, one row for each run.

| column | meaning | if absent, or empty where this is allowed (*) |
|---|---|---|
| `N`, `B`, `K` | parameters, examples per update, updates | required |
| `loss` | nats per token at the end | required of runs, not of settings |
| `learning_rate` | peak rate | 1 |
| `schedule` (*) | a name in `nqmjax.schedules.FAMILIES` | that of the schedule passed in |
| `warmup`, `final`, `cooldown` (*) | shares of the run, of the peak and of the run | those of the schedule passed in |
| `group` or `type` (*) | a label | "" |
| `exclude`, `filtered` (*) | true, yes, 1, or false, no, 0: leave the run out | false |
| `weight` | how much the run counts | 1 |
| `C` | compute in any one unit | parameters times examples |

Other common names of these are known too, whatever their capitals: `parameters`, `batch_size`, `steps`, `val_loss`, `lr` and
the like, see `ALIASES`. A run that is excluded may hold anything in its other columns. Others are ignored with a warning.
"""

import math
import os
from pathlib import Path

import numpy as np

from nqmjax._tools import (
    TEXT,
    Columns,
    Rows,
    Table,
    cell_name,
    check_choice,
    header_and_rows,
    input_file,
    parse_columns,
    read_table,
    require,
)
from nqmjax.runs.settings import COLUMNS, COSINE, RunSchedule, RunSettings, check_schedule, run_settings
from nqmjax.runs.table import Excluded, Runs, assemble
from nqmjax.schedules import FAMILIES, options

MAX_LOSS = math.log(1e6)
"""Nats per token that guessing among a million tokens costs."""

REQUIRED = ("N", "B", "K")
SHARES = ("warmup", "final", "cooldown")
FLAGS = ("exclude", "filtered")
KNOWN = (*REQUIRED, "learning_rate", "schedule", *SHARES, "loss", "weight", "C", "group", *FLAGS)
TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False, "": False}
ALIASES = {
    "N": ("parameters", "params", "numparams", "nparams", "numparameters", "modelsize", "size"),
    "B": ("batch", "batchsize", "bs", "globalbatchsize", "examplesperupdate", "sequencesperupdate"),
    "K": ("steps", "step", "numsteps", "trainsteps", "updates", "iterations", "iters"),
    "loss": ("testloss", "valloss", "validationloss", "evalloss", "finalloss"),
    "learning_rate": ("lr", "peaklr", "maxlr", "peaklearningrate", "maxlearningrate", "peakrate"),
    "schedule": ("lrschedule", "scheduler", "lrscheduler", "schedulefamily"),
    "C": ("compute", "flops", "flop", "gflop", "gflops"),
    "group": ("type", "label", "series"),
    "weight": ("weights",),
    "exclude": ("excluded",),
}
SHARE = "a warm-up and a cooldown are shares of the run here; divide the updates by K"
REFUSED = {
    **dict.fromkeys(("warmupsteps", "warmupupdates", "warmupiters", "cooldownsteps", "cooldownupdates"), SHARE),
    **dict.fromkeys(("perplexity", "ppl", "valppl", "testppl"), "give its logarithm, in nats per token, as 'loss'"),
    **dict.fromkeys(("loglr", "loglearningrate", "logn", "logloss10"), "give the number itself"),
}
RUNS = Columns((*REQUIRED, "loss"), KNOWN, ALIASES, text=("schedule", "group", *FLAGS), empty=SHARES, refused=REFUSED)
OTHERS = ("loss", "weight", "C", "group", "type", *FLAGS)
SETTINGS = Columns(REQUIRED, (*KNOWN, "type"), ALIASES, text=("schedule", *OTHERS), empty=SHARES, refused=REFUSED)


def read(path: str | os.PathLike, schedule: RunSchedule = COSINE, max_loss: float = MAX_LOSS) -> Runs:
    """Training runs from a CSV file.

    Args:
      path: a file with the columns `N`, `B`, `K`, `loss` and those that this module's docstring lists.
      schedule: what holds where the file names no schedule, warm-up, `final` or `cooldown`.
      max_loss: largest loss, in nats per token, that is taken for one.

    Raises:
      ValueError: the file is missing, is no CSV or lacks a column, an entry is out of its range, a run is there twice with
        the same loss, or none is left.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "runs.csv")
    ...     _ = path.write_text("N,B,K,loss,exclude\\n1e6,64,2000,3.1,no\\n1e6,64,9000,nan,yes\\n4e6,64,1000,3.2,\\n")
    ...     read(path)
    2 runs, N 1e6 to 4e6, B 64, K 1e3 to 2e3, 2 compute budgets; 1 excluded
    """
    path = input_file(path, *TEXT)
    require(max_loss > 0, "max_loss", max_loss, "give nats per token, above 0")
    header, rows = header_and_rows(path, RUNS)
    rows, excluded = _without_excluded(path, header, rows)
    table = parse_columns(path, header, rows, RUNS)
    settings = _settings(table, schedule)
    found = {name: _numbers(table, name) for name in ("loss", "weight", "compute") if COLUMNS[name].name in table.columns}
    _check_loss(table, max_loss)
    group = np.asarray(table.columns.get("group", [""] * len(rows)), dtype=np.str_)
    columns = {"weight": np.ones(len(rows)), "group": group} | found
    return assemble(settings, **columns, row=np.array([row for row, _ in rows]), excluded=excluded, source=str(path))


def read_settings(path: str | os.PathLike, schedule: RunSchedule = COSINE, learning_rate: float = 1.0) -> RunSettings:
    """Settings of runs that are to be predicted from a CSV file; all rows, whether they are excluded or not.

    Args:
      path: a file with the columns `N`, `B`, `K` and, if need be, `learning_rate`, `schedule`, `warmup`, `final` and
        `cooldown`. The other columns of `runs.read` may be there, and are not looked at.
      schedule: what holds where the file names no schedule, warm-up, `final` or `cooldown`.
      learning_rate: peak rate where the file has no such column.

    Raises:
      ValueError: the file is missing, is no CSV or lacks a column, or an entry is out of its range.
    """
    path = input_file(path, *TEXT)
    return _settings(read_table(path, SETTINGS), schedule, learning_rate)


def _without_excluded(path: Path, header: list[str], rows: Rows) -> tuple[Rows, tuple[Excluded, ...]]:
    """The rows that no flag excludes, and the others with the column that does."""
    titles = {name: title for name, title in RUNS.named(path, header).items() if name in FLAGS}
    kept, excluded = [], []
    for row, cells in rows:
        marks = [title for title in titles.values() if _flag(path, row, title, cells[header.index(title)])]
        if marks:
            excluded.append(Excluded(row, f"marked in column {marks[0]!r}"))
        else:
            kept.append((row, cells))
    require(bool(kept), f"the number of runs in {path} that are not excluded", 0, "keep at least one")
    return kept, tuple(excluded)


def _flag(path: Path, row: int, name: str, cell: str) -> bool:
    remedy = "give true or false (yes, no, 1, 0; an empty cell is false)"
    require(cell.lower() in TRUTH, cell_name(path, row, name), repr(cell), remedy)
    return TRUTH[cell.lower()]


def _settings(table: Table, default: RunSchedule, learning_rate: float = 1.0) -> RunSettings:
    check_schedule(default)
    default.pieces(1)
    names = [name for name in ("model_size", "batch_size", "steps", "learning_rate") if COLUMNS[name].name in table.columns]
    columns = {name: _numbers(table, name) for name in names}
    schedules = [_schedule(table, index, default) for index in range(len(columns["steps"]))]
    return run_settings(**{"learning_rate": learning_rate} | columns, schedule=schedules)


def _numbers(table: Table, name: str) -> np.ndarray:
    """A checked column of the table by its name in Python."""
    column = COLUMNS[name]
    table.check(column.name, column.valid, column.remedy)
    return table.columns[column.name]


def _check_loss(table: Table, most: float) -> None:
    guess = ", what guessing among a million tokens costs" if most == MAX_LOSS else ""
    remedy = f"above {most:.3g}{guess}; give nats per token, or raise max_loss"
    table.check("loss", lambda values: values <= most, remedy)


def _schedule(table: Table, index: int, default: RunSchedule) -> RunSchedule:
    """The schedule of a row: its own cells, and the default where they are empty and the family has such an option."""
    family = table.columns["schedule"][index] if "schedule" in table.columns else ""
    family = family or default.family
    check_choice(table.place("schedule", index), family, FAMILIES)
    known = options(family)
    found = {name: value for name, value in (("warmup", default.warmup), *default.options) if name in known}
    cells = {name: float(table.columns[name][index]) for name in SHARES if name in table.columns}
    for name, value in cells.items():
        if not math.isnan(value):
            require(name in known, table.place(name, index), value, f"{family} has no option {name!r}; leave the cell empty")
            require(0 <= value <= 1, table.place(name, index), value, "give a share from 0 to 1")
            found[name] = value
    schedule = RunSchedule(family, found.pop("warmup"), tuple(found.items()))
    try:
        schedule.pieces(1)
    except ValueError as error:
        row = table.rows[index] if table.rows else index
        raise ValueError(f"{table.path}, row {row}: {error}") from None
    return schedule
