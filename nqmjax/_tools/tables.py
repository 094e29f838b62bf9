"""Tables that people and programs write, with columns found by any of their common names and every fault named with its place.

What cannot be used is a `ValueError` that names the file, the row and the column.
"""

import contextlib
import dataclasses
import difflib
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from nqmjax._tools.checks import require
from nqmjax._tools.csv_text import Rows, csv_rows
from nqmjax._tools.numerals import parse_number
from nqmjax._tools.writing import as_path, check_suffix

TEXT = (".csv", ".tsv", ".txt")
"""Suffixes of tables in text."""

THOUSANDS = re.compile(r"[1-9]\d{0,2}(,\d{3})+")
NONE: Mapping[str, Any] = MappingProxyType({})
PACKAGE = Path(__file__).parents[1]


class Columns(NamedTuple):
    """What a table may hold.

    Args:
      required: names of columns that must be there.
      known: names of all columns that are read.
      aliases: other spellings of the known names, as `plain_name` leaves them.
      text: known columns that are not numbers.
      empty: columns of numbers in which an empty cell is NaN.
      refused: names that would be ignored or misread to somebody's harm, as `plain_name` leaves them, and what to do instead.
    """

    required: Sequence[str]
    known: Sequence[str]
    aliases: Mapping[str, Sequence[str]] = NONE
    text: Sequence[str] = ()
    empty: Sequence[str] = ()
    refused: Mapping[str, str] = NONE

    def named(self, path: Path, header: Sequence[str]) -> dict[str, str]:
        """The known columns of a header and what it calls them, or `ValueError` for one that is missing, twice or refused."""
        listed = ", ".join(map(repr, header)) or "none"
        titles = {name: name for name in self.known if name in header}
        for name in self.known:
            meant = [title for title in header if title not in self.known and plain_name(title) in self._spellings(name)]
            if meant and name not in titles:
                remedy = f"{' and '.join(map(repr, meant))} may both mean {name!r}; rename the one that does"
                require(len(meant) == 1, f"the list of columns in {path}", listed, remedy)
                titles[name] = meant[0]
        for title in titles.values():
            remedy = f"{title!r} is there more than once"
            require(header.count(title) == 1, f"the list of columns in {path}", listed, remedy)
        for title in header:
            if title not in titles.values() and plain_name(title) in self.refused:
                require(False, f"a column in {path}", repr(title), self.refused[plain_name(title)])
        for name in self.required:
            near = _near(name, header)
            hint = f" (if {near!r} is meant, rename it)" if near else ""
            require(name in titles, f"the list of columns in {path}", listed, f"{name!r} is missing{hint}")
        return titles

    def score(self, cells: Sequence[str]) -> int:
        """How many of the cells are names that are known."""
        spellings = set().union(self.refused, *map(self._spellings, self.known))
        return sum(plain_name(cell) in spellings for cell in cells)

    def _spellings(self, name: str) -> set[str]:
        return {plain_name(name), *self.aliases.get(name, ())}


@dataclasses.dataclass(frozen=True)
class Table:
    """The columns of a file by name, what the file calls them, and for text the row of each entry."""

    path: Path
    columns: dict[str, Any]
    titles: Mapping[str, str]
    rows: list[int] | None = None

    def check(self, name: str, valid: Callable[[np.ndarray], np.ndarray], remedy: str) -> None:
        """Raise for the first entry of the column `name` that is not finite or not `valid`."""
        values = np.atleast_1d(self.columns[name])
        wrong = np.flatnonzero(~(np.isfinite(values) & valid(values)))
        if wrong.size:
            require(False, self.place(name, wrong[0]), values[wrong[0]], remedy)

    def place(self, name: str, index: int) -> str:
        """Where an entry stands in the file, for a message."""
        title = self.titles.get(name, name)
        return f"{self.path}, {title}[{index}]" if self.rows is None else cell_name(self.path, self.rows[index], title)


def plain_name(title: str) -> str:
    """A column's name without capitals, units in brackets, spaces, points, dashes and underscores.

    >>> plain_name("Batch-size (examples)")
    'batchsize'
    """
    return re.sub(r"[\W_]", "", re.sub(r"[(\[].*[)\]]\s*$", "", title).lower())


def cell_name(path: Path, row: int, title: str) -> str:
    """Where a cell stands in a file, for a message."""
    return f"{path}, row {row}, column {title!r}"


def read_table(path: Path, columns: Columns) -> Table:
    """The known columns of a table in text."""
    return parse_columns(path, *header_and_rows(path, columns), columns)


def header_and_rows(path: Path, columns: Columns) -> tuple[list[str], Rows]:
    """The names in the header and the rows below it.

    Rows of numbers without a header are read where a single column is required and there is only one.
    """
    rows = csv_rows(path, columns.score)
    first, header = rows[0]
    if len(header) == len(columns.required) == 1 and _is_number(header[0]):
        return list(columns.required), rows
    require(len(rows) > 1, f"the number of rows in {path}", 0, f"give rows of numbers below row {first}, the header")
    return header, rows[1:]


def parse_columns(path: Path, header: Sequence[str], rows: Rows, columns: Columns) -> Table:
    """The known columns: numbers, but those of text as they stand. Of others a warning says that they are not used."""
    titles = columns.named(path, header)
    warn_of_unused(path, header, titles, columns)
    cells = {name: [(row, cells[header.index(title)]) for row, cells in rows] for name, title in titles.items()}
    numbers = {name: column for name, column in cells.items() if name not in columns.text}
    point = _check_decimals(path, {titles[name]: column for name, column in numbers.items()})
    found: dict[str, Any] = {name: [cell for _, cell in column] for name, column in cells.items()}
    for name, column in numbers.items():
        missing = "nan" if name in columns.empty else ""
        values = [parse_number(cell_name(path, row, titles[name]), cell.replace(",", point) or missing) for row, cell in column]
        found[name] = np.array(values, dtype=np.float64)
    return Table(path, found, titles, [row for row, _ in rows])


def _check_decimals(path: Path, columns: Mapping[str, list[tuple[int, str]]]) -> str:
    """What a comma in a number stands for: a decimal point, where no number has a point and not all look like thousands."""
    cells = [(cell_name(path, row, title), cell) for title, column in columns.items() for row, cell in column]
    commas = [(place, cell) for place, cell in cells if "," in cell]
    if not commas:
        return ","
    place, cell = commas[0]
    pointed = [other for _, other in cells if "." in other]
    remedy = f"another number is {(pointed or [''])[0]!r}; write decimals in one way, and thousands without separators"
    require(not pointed, place, repr(cell), remedy)
    remedy = "this is a thousand or a decimal; write 1024 or 1.024"
    require(not all(THOUSANDS.fullmatch(other.lstrip("+-")) for _, other in commas), place, repr(cell), remedy)
    return "."


def _is_number(cell: str) -> bool:
    with contextlib.suppress(ValueError):
        return np.isfinite(parse_number("", cell.replace(",", ".")))
    return False


def warn_of_unused(path: Path, found: Sequence[str], titles: Mapping[str, str], columns: Columns) -> None:
    """Warn of columns that are not known; a first one without a name numbers the rows, and is not spoken of."""
    unused = [title for title in found if title not in titles.values()]
    unused = [title for title in unused if not (title == found[0] and title in ("", "Unnamed: 0"))]
    absent = [name for name in columns.known if name not in titles]
    near = {title: _near(title, absent) for title in unused}
    if near:
        listed = ", ".join(f"{title!r} (did you mean {name!r}?)" if name else repr(title) for title, name in near.items())
        warn_caller(f"{path}: columns that are not used: {listed}")


def warn_caller(message: str) -> None:
    """Warn at the line that called nqmjax, however deep below it this is."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and Path(frame.f_code.co_filename).is_relative_to(PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)


def _near(name: str, choices: Sequence[str]) -> str | None:
    """The one of `choices` that looks like `name`, capitals apart, or None."""
    lower = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.7)
    return lower[near[0]] if near else None


def input_file(path: str | os.PathLike, *suffixes: str) -> Path:
    """The path of a file that is there, can be read, is not empty and ends in one of `suffixes`."""
    path = as_path(path)
    require(os.path.exists(path), "path", path, "there is no such file")
    require(not os.path.isdir(path), "path", path, "this is a directory; give the name of a file")
    check_suffix(path, *suffixes)
    require(os.path.isfile(path), "path", path, "this is not an ordinary file")
    require(os.access(path, os.R_OK), "path", path, "this file may not be read")
    require(os.path.getsize(path) > 0, "path", path, "the file is empty")
    return path


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a reader raises on a damaged file into a `ValueError` that names the file."""
    try:
        yield
    except ImportError:  # Not the file's fault: the environment lacks a reader.
        raise
    except Exception as error:
        raise ValueError(f"{path} is damaged or not what its suffix {path.suffix} says: {error}") from error
