"""Where the commands write: names of figures and tables, checked before anything is computed."""

import itertools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nqmjax import _tools, figures
from nqmjax._tools import COUNTED, check_choice, check_output, require, write_atomically

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

IMAGES = (".png", ".pdf", ".svg")
"""Formats of figures."""

TEXTS = (".csv", ".tsv", ".txt", ".json", ".toml", ".html", ".log", ".md", ".py")
FORMATS = (*TEXTS, ".nc", ".zarr", ".npz", ".npy", ".xlsx", ".jpg", ".jpeg", ".gif", ".eps")
"""Suffixes that ask for a format, where any other, as in `lr0.1`, belongs to the name."""


def pair(output: Path | None, default: str, force: bool, *sources: Path | None) -> tuple[Path, Path]:
    """The names of a figure and a table, both checked: `OUTPUT.png` and `OUTPUT.nc` unless the suffix says another format.

    Where no output is named they have that of `default`, or with a number.
    """
    image, data = beside(output or unused(default, force, ".png", ".nc"), ".nc")
    check_outputs((image, data), force, *sources)
    return image, data


def beside(output: Path, suffix: str, *others: str) -> tuple[Path, Path]:
    """The names of a figure and of what stands beside it, whichever of them, or of `others` beside it, `output` names.

    >>> [name.name for name in beside(Path("x.pdf"), ".csv")], [name.name for name in beside(Path("lr0.1"), ".nc")]
    (['x.pdf', 'x.csv'], ['lr0.1.png', 'lr0.1.nc'])
    """
    kind = output.suffix.lower()
    require(bool(output.name), "the output", repr(str(output)), "give the name of a file")
    known = (suffix, *others, *IMAGES)
    if kind in FORMATS:
        check_choice("the suffix of output", kind, known)
    stem = output.name.removesuffix(output.suffix) if kind in known else output.name
    return output.with_name(stem + (output.suffix if kind in IMAGES else ".png")), output.with_name(stem + suffix)


def unused(name: str, force: bool, *suffixes: str) -> Path:
    """The name, or with `-2`, `-3` and so on at its end, such that no file of these suffixes exists; with `force`, as it is."""
    for count in itertools.count(1):
        found = name if count == 1 else f"{name}-{count}"
        if force or not any(Path(found + suffix).exists() for suffix in suffixes):
            break
    return Path(found)


def check_outputs(outputs: Sequence[Path], force: bool, *sources: Path | None) -> None:
    """Raise for an output that cannot be written, or that is one of the files that are read."""
    for path in outputs:
        for source in sources:
            same = source is not None and source.exists() and path.exists() and source.samefile(path)
            require(not same, "output", path, "this file is an input; give another name")
        check_output(path, force)


def write_pair(figure: "Figure", table: "xr.Dataset", image: Path, data: Path, force: bool, report: str) -> None:
    """Write a figure and its table, both or neither, then print the report."""

    def both(path: Path) -> None:
        """Save the table when the figure is drawn but not yet in its place, so that an interrupt leaves both or neither."""
        figures.write_figure(figure, path)
        _tools.save_dataset(table, data, force)

    write_first(lambda: write_atomically(image, both, force), report, image, data)


def write_table(table: "xr.Dataset", path: Path | None, force: bool, report: str) -> None:
    """Write a table, if it has a name, then print the report."""
    if path is None:
        print(report)
    else:
        write_first(lambda: _tools.save_dataset(table, path, force), report, path)


def check_table(path: Path | None, force: bool, *sources: Path | None) -> None:
    """Raise for the name of a table that cannot be written; None is no name."""
    if path is not None:
        check_choice("the suffix of output", path.suffix.lower(), [".nc"])
        check_outputs([path], force, *sources)


def write_first(write: Callable[[], None], report: str, *paths: Path) -> None:
    """Write the files before anything is printed, to a reader who may have gone; print even if they cannot be written."""
    try:
        write()
    finally:
        print(report)
    print(f"\nWritten: {' and '.join(map(str, paths))}")


def watched() -> bool:
    """Whether progress is told: on a terminal, or in lines."""
    return sys.stderr.isatty() or COUNTED.get()
