r"""Files: measured spectra and runs are read from tables, results are written in one piece or not at all.

A table is CSV (names in the first row, commas, points in decimals, lines that start with `#` are comments), NPZ or NetCDF
(one array for each column). What cannot be used is a `ValueError` that names the file, the row and the column.
"""

import contextlib
import csv
import dataclasses
import datetime
import difflib
import importlib.metadata
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

from nqmjax.checks import require
from nqmjax.problem import NoisyQuadratic, from_spectrum

ENGINE = "h5netcdf"
"""What reads and writes NetCDF."""


def read_spectrum(path: str | os.PathLike, irreducible: float = 0.0) -> NoisyQuadratic:
    """The problem given by a table of measured eigenvalues.

    Args:
      path: a file in CSV (`.csv`), NPZ (`.npz`) or NetCDF-4 (`.nc`) with the column `eigenvalue` (curvature `h`) and, as far as
        known, `count` (directions that the row stands for; 1 if absent), `noise` (per-example gradient variance `c`; if absent
        `C = H`) and `initial` (`E theta_0^2`; 1 if absent). Arrays are 1-D; all but `eigenvalue` may be single numbers. Other
        columns are ignored with a warning.
      irreducible: loss at the optimum.

    Returns:
      a `NoisyQuadratic`, the largest eigenvalue first.

    Raises:
      ValueError: the file is missing, damaged, of another kind or lacks `eigenvalue`, or an entry is no number that a
        spectrum can have.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "spectrum.csv")
    ...     _ = path.write_text("eigenvalue,count\\n0.1,90\\n1.0,10\\n")
    ...     read_spectrum(path).curvature
    array([1. , 0.1])
    """
    path = input_file(path, ".csv", ".npz", ".nc")
    required, known = ("eigenvalue",), ("eigenvalue", "count", "noise", "initial")
    if path.suffix.lower() == ".csv":
        table = parse_columns(path, *csv_rows(path, "eigenvalue"), required, known)
    else:
        table = _read_arrays(path, required, known)
    for name in table.columns:
        if name == "count":
            table.check(name, lambda values: values > 0, "give a positive number of directions")
        else:
            table.check(name, lambda values: values >= 0, "give a finite number that is not negative")
    return from_spectrum(table.columns.pop("eigenvalue"), irreducible=irreducible, **table.columns)


def read_observed(path: str | os.PathLike) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Training runs that somebody measured: steps to a target at several batch sizes, to be laid over a figure.

    Args:
      path: a CSV file with the columns `batch_size` or `batch` (examples per update), `steps` (updates) and, if there is more
        than one curve, `label`. Other columns are ignored with a warning.

    Returns:
      a list of `(label, batch_sizes, steps)`, one for each label in the order of their first rows. Rows without a label take
      the file's name without its suffix.

    Raises:
      ValueError: the file is missing or no CSV, lacks a column, or an entry is not a positive number (batch sizes: at least 1).

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "runs.csv")
    ...     _ = path.write_text("label,batch_size,steps\\nAdam,64,900\\nSGD,64,2000\\nAdam,128,500\\n")
    ...     read_observed(path)
    [('Adam', array([ 64., 128.]), array([900., 500.])), ('SGD', array([64.]), array([2000.]))]
    """
    path = input_file(path, ".csv")
    header, rows = csv_rows(path, "steps")
    batch = "batch" if "batch" in header else "batch_size"
    table = parse_columns(path, header, rows, (batch, "steps"), (batch, "steps", "label"), text=("label",))
    table.check(batch, lambda values: values >= 1, "give examples per update, at least 1")
    table.check("steps", lambda values: values > 0, "give a positive number of updates")
    labels = np.array([label or path.stem for label in table.columns.get("label", [""] * len(rows))])
    chosen = {label: labels == label for label in dict.fromkeys(labels.tolist())}
    return [(label, table.columns[batch][here], table.columns["steps"][here]) for label, here in chosen.items()]


def check_output(path: str | os.PathLike, force: bool = False) -> None:
    """Raise `ValueError` unless a file can be written at `path`: for use before a long computation.

    Args:
      path: name of the file to be written.
      force: whether a file that exists may be replaced.

    Raises:
      ValueError: the directory is missing or not writable, `path` is no ordinary file, or it exists and `force` is False.

    >>> check_output("no such directory/result.nc")
    Traceback (most recent call last):
    ValueError: path is no such directory/result.nc: there is no directory 'no such directory'; make it first
    """
    path = _as_path(path)
    # A symbolic link stays, and the file that it points to is replaced.
    folder = os.path.dirname(os.path.realpath(path))
    require(os.path.isdir(folder), "path", path, f"there is no directory {str(path.parent)!r}; make it first")
    require(not os.path.isdir(path), "path", path, "this is a directory; give the name of a file")
    require(os.access(folder, os.W_OK | os.X_OK), "path", path, f"the directory {str(path.parent)!r} is not writable")
    if os.path.exists(path):
        require(os.path.isfile(path), "path", path, "this is not an ordinary file; choose another name")
        require(force, "path", path, "the file exists; pass force=True (--force on the command line) or choose another name")


def write_atomically(path: str | os.PathLike, writer: Callable[[Path], Any], force: bool = False) -> None:
    """Write a file whole or not at all: a failure or an interrupt leaves what was there before and nothing else.

    Args:
      path: name of the file.
      writer: called once with the name to write to: another one, next to `path` in a directory of its own, with the same last
        part, so that writers which go by the suffix know the format.
      force: whether a file that exists may be replaced.

    Raises:
      ValueError: see `check_output`; or `writer` wrote nothing under the name it was given.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "result.txt")
    ...     write_atomically(path, lambda temporary: temporary.write_text("42"))
    ...     path.read_text(), os.listdir(folder)
    ('42', ['result.txt'])
    """
    check_output(path, force)
    target = os.path.realpath(path)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(target), prefix=".nqmjax-") as folder:
        temporary = Path(folder, Path(path).name)
        writer(temporary)
        require(temporary.exists(), "path", path, "nothing was written under this name; give it the suffix of its format")
        os.replace(temporary, target)


def save_dataset(dataset: xr.Dataset, path: str | os.PathLike, force: bool = False, title: str | None = None) -> None:
    """Save a table of results as NetCDF, with the versions that made it and the time.

    An attribute that is no text, number or 1-D array of numbers (None, a truth value, a dictionary) is saved as JSON text.

    Args:
      dataset: the table; it is not changed.
      path: name of the file, ending in `.nc`.
      force: whether a file that exists may be replaced.
      title: one line for the attribute `title`; None leaves the dataset's own.

    Raises:
      ValueError: `dataset` is not an `xarray.Dataset`, or see `check_output`.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "sweep.nc")
    ...     save_dataset(xr.Dataset({"steps": ("batch_size", [900.0, 500.0])}), path, title="A sweep")
    ...     loaded = load_dataset(path)
    >>> loaded.steps.values, loaded.title
    (array([900., 500.]), 'A sweep')
    """
    require(isinstance(dataset, xr.Dataset), "dataset", type(dataset).__name__, "give an xarray.Dataset")
    path = _as_path(path)
    check_suffix(path, ".nc")
    dataset = dataset.copy()
    dataset.attrs |= {
        "nqmjax_version": importlib.metadata.version("nqmjax"),
        "jax_version": jax.__version__,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    } | ({} if title is None else {"title": title})
    for item in (dataset, *dataset.variables.values()):
        item.attrs = {str(name): _attribute(value) for name, value in item.attrs.items()}
    write_atomically(path, lambda temporary: dataset.to_netcdf(temporary, engine=ENGINE), force)


def load_dataset(path: str | os.PathLike) -> xr.Dataset:
    """Load what `save_dataset` saved; all of it is in memory and the file is closed.

    Args:
      path: name of the file, ending in `.nc`.

    Raises:
      ValueError: the file is missing, damaged or not made by nqmjax.
    """
    path = input_file(path, ".nc")
    with _reading(path):
        # Left to itself xarray turns numbers with the attribute units="seconds" into time intervals.
        dataset = xr.load_dataset(path, engine=ENGINE, decode_timedelta=False)
    made_here = "nqmjax_version" in dataset.attrs
    require(
        made_here, str(path), "not a file made by nqmjax", "it lacks the attribute 'nqmjax_version'; save it with save_dataset"
    )
    return dataset


@dataclasses.dataclass(frozen=True)
class Table:
    """The columns of a file by name, and for CSV the row of each entry as a text editor counts lines."""

    path: Path
    columns: dict[str, Any]
    rows: list[int] | None = None

    def check(self, name: str, valid: Callable[[np.ndarray], np.ndarray], remedy: str) -> None:
        """Raise for the first entry of the column `name` that is not finite or not `valid`."""
        values = np.atleast_1d(self.columns[name])
        wrong = np.flatnonzero(~(np.isfinite(values) & valid(values)))
        if wrong.size:
            require(False, self.place(name, wrong[0]), values[wrong[0]], remedy)

    def place(self, name: str, index: int) -> str:
        """Where an entry stands in the file, for a message."""
        return f"{self.path}, {name}[{index}]" if self.rows is None else cell_name(self.path, self.rows[index], name)


def cell_name(path: Path, row: int, name: str) -> str:
    """Where a cell stands in a CSV file, for a message."""
    return f"{path}, row {row}, column {name!r}"


def csv_rows(path: Path, required: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The names in the header, and the cells of each row below it with the row's number."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as text in UTF-8: {error}") from None
    lines = [(row, line.strip()) for row, line in enumerate(text.split("\n"), start=1)]
    lines = [(row, line) for row, line in lines if line and not line.startswith("#")]
    require(bool(lines), str(path), "empty", "give a first row with the names of the columns, and rows of numbers below it")
    _check_delimiter(path, *lines[0], required)
    (first, header), *rows = [(row, _split(path, row, line)) for row, line in lines]
    require(bool(rows), f"the number of rows in {path}", 0, f"give rows of numbers below row {first}, the header")
    for row, cells in rows:
        if len(cells) != len(header):
            remedy = f"give as many as row {first} has names, {len(header)}; decimals are written with a point"
            require(False, f"the number of cells in {path}, row {row}", len(cells), remedy)
    return header, rows


def _split(path: Path, row: int, line: str) -> list[str]:
    """The cells of one line; a cell never goes on in the next one, so that an open quote spoils one row only."""
    try:
        return [cell.strip() for cell in next(csv.reader([line], strict=True, skipinitialspace=True))]
    except csv.Error as error:
        raise ValueError(f"{path}, row {row} is {line!r}: {error}") from None


def _check_delimiter(path: Path, row: int, line: str, required: str) -> None:
    """Raise if the header's `line` holds the name `required` when it is split at something else than commas."""
    if "," in line:
        return
    for delimiter, word in {";": "a semicolon", "\t": "a tab", "|": "a vertical bar", None: "a space"}.items():
        names = [name.strip(" \"'") for name in line.split(delimiter)]
        if len(names) > 1 and required in names:
            require(False, f"the delimiter in {path}, row {row}", word, "use commas, and points in decimals")


def parse_columns(
    path: Path,
    header: list[str],
    rows: list[tuple[int, list[str]]],
    required: Sequence[str],
    known: Sequence[str],
    text: Sequence[str] = (),
    optional: Sequence[str] = (),
) -> Table:
    """The known columns of a CSV file: numbers, but those in `text` as they stand; an empty cell in `optional` is NaN."""
    _check_names(path, header, required, known)

    def number(row: int, name: str, cell: str) -> float:
        try:
            return float(cell or "nan") if name in optional else float(cell)
        except ValueError:
            raise ValueError(f"{cell_name(path, row, name)} is {cell!r}: give a number") from None

    columns: dict[str, Any] = {}
    for position, name in enumerate(header):
        if name in text:
            columns[name] = [cells[position] for _, cells in rows]
        elif name in known:
            columns[name] = np.array([number(row, name, cells[position]) for row, cells in rows])
    return Table(path, columns, [row for row, _ in rows])


def _read_arrays(path: Path, required: Sequence[str], known: Sequence[str]) -> Table:
    """The known columns of an NPZ or NetCDF file as float64 arrays: one shape, or single numbers."""
    load = _load_npz if path.suffix.lower() == ".npz" else _load_netcdf
    with _reading(path):
        found, columns = load(path, known)
    _check_names(path, found, required, known)
    for name, values in columns.items():
        require(values.dtype.kind in "iuf", f"the type of {path}, {name}", values.dtype, "give an array of real numbers")
    shape = columns[required[0]].shape
    require(len(shape) == 1 and shape != (0,), f"the shape of {path}, {required[0]}", shape, "give a 1-D array, not empty")
    for name, values in columns.items():
        remedy = f"give a number or {shape[0]} of them, one for each {required[0]}"
        require(values.shape in ((), shape), f"the shape of {path}, {name}", values.shape, remedy)
    return Table(path, {name: values.astype(np.float64) for name, values in columns.items()})


def _load_npz(path: Path, known: Sequence[str]) -> tuple[list[str], dict[str, np.ndarray]]:
    with open(path, "rb") as raw, np.lib.npyio.NpzFile(raw) as file:
        return file.files, {name: np.asarray(file[name]) for name in known if name in file.files}


def _load_netcdf(path: Path, known: Sequence[str]) -> tuple[list[str], dict[str, np.ndarray]]:
    with xr.open_dataset(path, engine=ENGINE, decode_times=False) as file:
        columns = {name: file[name].values for name in known if name in file.variables}
        return list(dict.fromkeys([*columns, *map(str, file.data_vars)])), columns


def _check_names(path: Path, found: Sequence[str], required: Sequence[str], known: Sequence[str]) -> None:
    """Raise for a column that is missing or there twice, and warn of those that are not known."""
    listed = ", ".join(map(repr, found)) or "none"
    for name in required:
        near = _near(name, found)
        hint = f" (if {near!r} is meant, rename it)" if near else ""
        require(name in found, f"the list of columns in {path}", listed, f"{name!r} is missing{hint}")
    for name in known:
        require(found.count(name) < 2, f"the list of columns in {path}", listed, f"{name!r} is there more than once")
    unused = {name: _near(name, [other for other in known if other not in found]) for name in found if name not in known}
    if unused:
        ignored = ", ".join(f"{name!r} (did you mean {near!r}?)" if near else repr(name) for name, near in unused.items())
        # The warning points at the line that called read_spectrum or read_observed.
        warnings.warn(f"{path}: columns that are not used: {ignored}", stacklevel=4)


def _near(name: str, choices: Sequence[str]) -> str | None:
    """The one of `choices` that looks like `name`, capitals apart, or None."""
    lower = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.7)
    return lower[near[0]] if near else None


def _as_path(path: str | os.PathLike) -> Path:
    require(isinstance(path, str | os.PathLike), "path", repr(path), "give the name of a file")
    return Path(path)


def input_file(path: str | os.PathLike, *suffixes: str) -> Path:
    """The path of a file that is there, is not empty and ends in one of `suffixes`."""
    path = _as_path(path)
    require(os.path.exists(path), "path", path, "there is no such file")
    require(not os.path.isdir(path), "path", path, "this is a directory; give the name of a file")
    check_suffix(path, *suffixes)
    require(os.path.getsize(path) > 0, "path", path, "the file is empty")
    return path


def check_suffix(path: Path, *suffixes: str) -> None:
    require(path.suffix.lower() in suffixes, "path", path, f"give a file whose name ends in {' or '.join(suffixes)}")


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn whatever a reader raises on a damaged file into a `ValueError` that names the file."""
    try:
        yield
    except ImportError:  # Not the file's fault: the environment lacks a reader.
        raise
    except Exception as error:
        raise ValueError(f"{path} is damaged or not what its suffix {path.suffix} says: {error}") from error


def _attribute(value: Any) -> Any:
    """An attribute as NetCDF can hold it: text, a number, a 1-D array of numbers, or JSON text for anything else."""
    if isinstance(value, str):
        return str(value)
    with contextlib.suppress(ValueError):
        array = np.asarray(value)
        if array.dtype.kind in "iuf" and array.ndim < 2:
            return array[()]
    return json.dumps(value, default=_plain, ensure_ascii=False)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic | jax.Array) else str(value)
