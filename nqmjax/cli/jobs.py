"""What the commands do: check everything, compute, write the files whole, print a summary."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from nqmjax.checks import check_choice, require
from nqmjax.cli.report import scaling_report, sweep_report
from nqmjax.cli.spec import read_spec
from nqmjax.cli.text import with_command
from nqmjax.cli.values import parse_assignments, parse_numbers
from nqmjax.figures import PAPER_FIGURES, find_figure, scaling_figure, write_figure
from nqmjax.files import check_output, read_observed, read_spectrum, save_dataset, write_atomically
from nqmjax.problem import NoisyQuadratic, power_law
from nqmjax.scaling import scaling_curves
from nqmjax.sweeping import sweep as sweep_grid


class Problem(NamedTuple):
    """The options that say which problem; None where one is not given."""

    dim: int | None
    exponent: float | None
    spectrum: Path | None
    irreducible: float
    bins: int | None

    def build(self) -> NoisyQuadratic:
        """The problem itself, from a file or as a power law in groups."""
        if self.spectrum is None:
            dim, exponent = 10_000 if self.dim is None else self.dim, 1.0 if self.exponent is None else self.exponent
            return power_law(dim, exponent, irreducible=self.irreducible).quantize(100 if self.bins is None else self.bins)
        for name in ("dim", "exponent"):
            value = getattr(self, name)
            require(value is None, name, value, "a spectrum from a file has its own; leave it or --spectrum out")
        problem = read_spectrum(self.spectrum, self.irreducible)
        return problem if self.bins is None else problem.quantize(self.bins)


def scaling(
    problem: Problem,
    target: float,
    batch_sizes: Sequence[str],
    optimizers: Sequence[str],
    powers: Sequence[str],
    fixed: Sequence[str],
    dtype: str,
    observed: Path | None,
    output: Path,
    force: bool,
) -> None:
    """`nqmjax scaling`."""
    image, data = pair(output, force, problem.spectrum, observed)
    measured = [] if observed is None else read_observed(observed)
    batches = np.unique(np.concatenate([parse_numbers("batch_sizes", batch_sizes), *(sizes for _, sizes, _ in measured)]))
    found = scaling_curves(
        problem.build(),
        batches,
        target,
        [name.replace("-", "_") for word in optimizers for name in word.lower().split(",") if name],
        parse_numbers("powers", powers).tolist(),
        parse_assignments("fixed", fixed),
        dtype=dtype,
        progress=watched(),
    )
    table = with_command(found)
    write_pair(scaling_figure(table, measured), table, image, data, force, scaling_report(table, measured))


def figure(name: str, output: Path | None, force: bool) -> None:
    """`nqmjax figure`."""
    name = find_figure(name)
    path = output or Path(f"figure-{name}.png")
    check_choice("the suffix of output", path.suffix, [".png", ".pdf", ".svg"])
    check_output(path, force)
    chosen = PAPER_FIGURES[name]
    drawn = chosen.draw(with_command(chosen.table(watched())))
    write_atomically(path, lambda temporary: write_figure(drawn, temporary), force)
    print(f"Written: {path}, {chosen.description}")


def sweep(spec: Path, output: Path | None, force: bool) -> None:
    """`nqmjax sweep`."""
    path = output or Path(spec.with_suffix(".nc").name)
    check_choice("the suffix of output", path.suffix, [".nc"])
    check_output(path, force)
    problem, optimizer, question = read_spec(spec)
    table = with_command(sweep_grid(problem, optimizer, **question, progress=watched()))
    write_first(lambda: save_dataset(table, path, force), sweep_report(table), path)


def pair(output: Path, force: bool, *sources: Path | None) -> tuple[Path, Path]:
    """The names of a figure and a table, checked; none of them may be one of the files that are read."""
    prefix = output.with_suffix("") if output.suffix in (".png", ".nc") else output
    image, data = (prefix.with_name(prefix.name + suffix) for suffix in (".png", ".nc"))
    check_outputs((image, data), force, *sources)
    return image, data


def check_outputs(outputs: Sequence[Path], force: bool, *sources: Path | None) -> None:
    """Raise for an output that cannot be written, or that is one of the files that are read."""
    for path in outputs:
        check_output(path, force)
        for source in sources:
            same = source is not None and source.exists() and path.exists() and source.samefile(path)
            require(not same, "output", path, "this file is an input; give another name")


def write_pair(figure: Figure, table: xr.Dataset, image: Path, data: Path, force: bool, report: str) -> None:
    """Write a figure and its table, both or neither, then print the report."""

    def both(path: Path) -> None:
        """Save the table when the figure is drawn but not yet in its place, so that an interrupt leaves both or neither."""
        write_figure(figure, path)
        save_dataset(table, data, force)

    write_first(lambda: write_atomically(image, both, force), report, image, data)


def write_first(write: Callable[[], None], report: str, *paths: Path) -> None:
    """Write the files before anything is printed, to a reader who may have gone; print even if they cannot be written."""
    try:
        write()
    finally:
        print(report)
    print(f"\nWritten: {' and '.join(map(str, paths))}")


def watched() -> bool:
    """Whether somebody looks at a terminal, so that a progress bar makes sense."""
    return sys.stderr.isatty()
