"""What the commands do: check everything, compute, write the files whole, print a summary."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nqmjax._tools import check_choice, require, save_dataset
from nqmjax.cli.numbers import parse_assignments, parse_numbers
from nqmjax.cli.outputs import IMAGES, check_outputs, pair, unused, watched, write_first, write_pair
from nqmjax.cli.reports import scaling_report, sweep_report, with_command
from nqmjax.cli.spec import read_spec
from nqmjax.figures import PAPER_FIGURES, find_figure, scaling_figure
from nqmjax.problem import NoisyQuadratic, power_law
from nqmjax.scaling import read_observed, scaling_curves
from nqmjax.spectrum_files import read_spectrum
from nqmjax.sweeps import sweep as sweep_grid


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
        remedy = "a spectrum from a file has its own; leave it or --spectrum out"
        require(self.exponent is None, "exponent", self.exponent, remedy)
        problem = read_spectrum(self.spectrum, self.irreducible, self.dim)
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
    measured = [] if observed is None else read_observed(observed)
    setting = problem.build()
    image, data = pair(output, force, problem.spectrum, observed)
    batches = np.unique(np.concatenate([parse_numbers("batch_sizes", batch_sizes), *(sizes for _, sizes, _ in measured)]))
    found = scaling_curves(
        setting,
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
    check_choice("the suffix of output", ".png" if output is None else output.suffix.lower(), IMAGES)
    image, data = pair(output or unused(f"figure-{name}", force, ".png", ".nc"), force)
    chosen = PAPER_FIGURES[name]
    table = with_command(chosen.table(watched()))
    write_pair(chosen.draw(table), table, image, data, force, chosen.description)


def sweep(spec: Path, output: Path | None, force: bool) -> None:
    """`nqmjax sweep`."""
    check_choice("the suffix of output", ".nc" if output is None else output.suffix.lower(), [".nc"])
    problem, optimizer, question = read_spec(spec)
    path = output or Path(f"{unused(spec.stem, force, '.nc')}.nc")
    check_outputs([path], force, spec)
    table = with_command(sweep_grid(problem, optimizer, **question, progress=watched()))
    write_first(lambda: save_dataset(table, path, force), sweep_report(table), path)
