"""CSV in its dialects as rows of cells: UTF-8 or UTF-16; commas, semicolons, tabs, bars or spaces; Excel's line `sep=;`."""

import codecs
import csv
import re
from collections.abc import Callable
from pathlib import Path

from nqmjax._tools.checks import require

DELIMITERS = (",", ";", "\t", "|", " ")
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""How files of spreadsheets begin."""

Rows = list[tuple[int, list[str]]]
"""The cells of each row, with the row's number as a text editor counts lines."""


def csv_rows(path: Path, score: Callable[[list[str]], int]) -> Rows:
    """The cells of each row of a file, the header first; empty rows and lines that start with `#` are left out.

    Args:
      path: the file.
      score: how much a list of cells looks like the header; of the delimiters the one with the largest is taken.

    Raises:
      ValueError: the file is no text, is empty, has an open quote, or a row has more or fewer cells than the first.
    """
    lines = list(enumerate(_text(path).split("\n"), start=1))
    lines = [(row, line) for row, line in lines if line.strip() and not line.lstrip().startswith("#")]
    given = re.fullmatch(r'\s*"?sep=(.?)"?\s*', lines[0][1], re.IGNORECASE) if lines else None
    if given:
        lines.pop(0)
    require(bool(lines), str(path), "empty", "give a first row with the names of the columns, and rows of numbers below it")
    delimiter = (given[1] or "\t") if given else _delimiter(lines[0][1], score)
    (first, header), *rows = [(row, _cells(path, row, line, delimiter)) for row, line in lines]
    while header and not header[-1]:
        header.pop()
    return [(first, header), *((row, _fit(path, first, row, cells, len(header))) for row, cells in rows if any(cells))]


def _text(path: Path) -> str:
    """The text of a file, its lines ended by a line feed."""
    try:
        data = path.read_bytes()
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        what = "a workbook; save the sheet as CSV" if data.startswith(WORKBOOKS) else f"{error.reason} at byte {error.start}"
        raise ValueError(f"{path} cannot be read as text in UTF-8 or UTF-16: {what}") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _delimiter(line: str, score: Callable[[list[str]], int]) -> str:
    """What separates the cells of the header; a space only where no other splits it."""

    def rank(delimiter: str) -> tuple[int, bool, int]:
        try:
            cells = _split(line, delimiter)
        except csv.Error:
            return -1, False, 0
        return score(cells), delimiter != " ", len(cells)

    return max(DELIMITERS, key=rank)


def _split(line: str, delimiter: str) -> list[str]:
    line = " ".join(line.split()) if delimiter == " " else line
    [cells] = csv.reader([line], delimiter=delimiter, strict=True, skipinitialspace=delimiter != "\t")
    return [cell.strip() for cell in cells]


def _cells(path: Path, row: int, line: str, delimiter: str) -> list[str]:
    """The cells of one line; a cell never goes on in the next one, so that an open quote spoils one row only."""
    try:
        return _split(line, delimiter)
    except csv.Error as error:
        raise ValueError(f"{path}, row {row} is {line.strip()[:80]!r}: {error}") from None


def _fit(path: Path, first: int, row: int, cells: list[str], count: int) -> list[str]:
    """The cells without empty ones beyond the header, as many as it has."""
    spare = cells[count:]
    if any(spare) or len(cells) < count:
        remedy = f"give as many as row {first} has names, {count}; where commas separate, decimals are written with a point"
        require(False, f"the number of cells in {path}, row {row}", len(cells), remedy)
    return cells[:count]
