"""`nqmjax scaling`: tuned updates to a target loss against batch size."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from cyclopts import App, Parameter

from nqmjax import figures
from nqmjax import scaling as curves
from nqmjax._tools import require
from nqmjax.cli import reports
from nqmjax.cli.numbers import parse_assignments, parse_names, parse_numbers
from nqmjax.cli.options import (
    OUTPUT,
    PROBLEM,
    QUESTION,
    SPECTRUM,
    Devices,
    Force,
    Output,
    ProblemOptions,
    Whole,
    Words,
    loss,
    number,
)
from nqmjax.cli.outputs import pair, watched, write_first, write_pair
from nqmjax.cli.reports import with_command
from nqmjax.problem import NoisyQuadratic

HELP = """\
Examples:

  The paper's problem, three optimizers, four preconditioner powers:
    nqmjax scaling

  Your own measured spectrum, next to steps that training really took:
    nqmjax scaling --spectrum spectrum.csv --target 0.15 \\
                   --observed observed.csv --optimizers sgd heavy_ball \\
                   --powers 0 --fixed momentum=0.9

  Adam beside SGD with the preconditioner that it is like:
    nqmjax scaling --optimizers sgd adam sign --powers 0 0.5

  Every spectrum of a folder; run again, it goes on where it was interrupted:
    nqmjax scaling --spectra spectra --store curves --powers 0

  A few batch sizes, other optimizers, other files:
    nqmjax scaling --optimizers nesterov qhm --powers 0,0.5 \\
                   --batch-sizes 32 2^8..2^12 --output results/mine

The loss is a noisy quadratic: directions of given curvature, each with gradient
noise. Learning rates are in units where the largest curvature is 1 (with a
spectrum, in its units): a network's rate, times the largest eigenvalue of its
Hessian.

Optimizers: sgd, heavy_ball, nesterov, qhm; with the exponential moving average
of the iterates ema (that of sgd), ema_heavy_ball, ema_nesterov, ema_qhm. Their
hyperparameters: learning_rate, momentum, nu, decay (of the average). Without
preconditioner, and of their hyperparameters only the learning rate tuned: adam,
adamw, rmsprop, sign, lion (--fixed beta2=0.95 weight_decay=1e-3), followed by a
closure; adam_rotated is Adam whose coordinates mix all directions. Their rates
are in units of the parameters. So are normalized_sgd, clipped_sgd (--fixed
max_norm=1), lars and lamb, whose rates follow norms, of the layers that a
spectrum file names in a column layer.

Numbers: 2^10 is 1024, 4k is 4000, 1.5M is 1,500,000; 1e6 too. Batch sizes:
1..64 doubles from 1 to 64, and 4..1024:4 multiplies by 4. Commas and spaces
both separate, so that thousands have no separator.

Spectrum files: CSV with a header, NPZ, NPY, NetCDF or JSON, of the columns
eigenvalue, count (default 1), noise (variance of the gradient of one example,
default: the eigenvalue) and initial (second moment of the start, default 1), or
of a list of eigenvalues alone; instead of count there may be weight, shares of
the directions, of which --dim says how many there are.

Files of observed steps: CSV with the columns batch, steps and label.
nqmjax example writes such files.
"""


@Parameter(name="*")
@dataclasses.dataclass
class ScalingProblem(ProblemOptions):
    """Which problem, in more words than elsewhere."""

    exponent: Annotated[
        float | None,
        Parameter(group=PROBLEM, converter=number, help="Decay of the power law, curvature h_i = i^-exponent. [default: 1]"),
    ] = None
    spectrum: Annotated[
        Path | None,
        Parameter(
            name=SPECTRUM,
            group=PROBLEM,
            help="File with a measured spectrum in place of the power law, or with a problem that transfer --fit fitted.",
        ),
    ] = None
    bins: Annotated[
        Whole,
        Parameter(
            help="Groups of directions at most; 100 make a long spectrum fast. "
            "[default: 100 for the power law, none for a spectrum]"
        ),
    ] = None


THE_PROBLEM = ScalingProblem()


command = App(name="scaling", help_epilogue=HELP)


@command.default
def run(
    *,
    target: Annotated[float, Parameter(group=QUESTION, converter=loss)] = 0.01,
    batch_sizes: Words = ("2^2..2^20:4",),
    optimizers: Words = ("sgd", "heavy_ball", "ema"),
    powers: Words = ("0", "0.25", "0.5", "0.75"),
    fixed: Words = (),
    dtype: Annotated[Literal["float64", "float32"], Parameter(group=QUESTION)] = "float64",
    problem: ScalingProblem = THE_PROBLEM,
    spectra: Annotated[Path | None, Parameter(group=PROBLEM)] = None,
    observed: Annotated[Path | None, Parameter(group=OUTPUT)] = None,
    store: Annotated[Path | None, Parameter(group=OUTPUT)] = None,
    output: Output = None,
    force: Force = False,
    devices: Devices = (),
) -> None:
    """Tuned updates to a target loss against batch size, for several optimizers.

    For each optimizer, preconditioner power and batch size, the hyperparameters
    are tuned for the fewest updates to the target, counted exactly. Prints the
    updates and the critical batch sizes; writes a figure and a table of everything
    (updates, hyperparameters, efficiency, bounds).

    Args:
      target: Loss to reach, the irreducible loss included.
      batch_sizes: Examples per update; see below for ranges.
      optimizers: One or more names; see below.
      powers: Powers p of the preconditioner H^p, H the Hessian: 0 for none, 1 for Newton's method.
      fixed: Values of hyperparameters that are not tuned, for the optimizers that have them; momentum=0.9, beta2=0.95.
      dtype: Precision of the computation.
      spectra: Folder of files with spectra: a table of curves for each, in the folder --store.
      observed: CSV file of measured steps, laid over the figure; their batch sizes are added.
      store: Folder for the tables of --spectra, NAME.nc for each; what is there is not computed again.
      output: The figure is OUTPUT.png (or x.pdf, x.svg) and the table OUTPUT.nc. [default: nqmjax-scaling, or with a number]
      force: Replace files that exist.
    """
    question = {
        "target": target,
        "optimizers": parse_names(optimizers),
        "powers": parse_numbers("powers", powers).tolist(),
        "fixed": parse_assignments("fixed", fixed),
        "dtype": dtype,
        "progress": watched(),
        "devices": devices or None,
    }
    batches = parse_numbers("batch_sizes", batch_sizes)
    require(spectra is not None or store is None, "store", store, "it is for the tables of --spectra; give --output")
    if spectra is not None:
        for name, value in {"observed": observed, "output": output, "force": force or None}.items():
            require(value is None, name, value, "with --spectra the tables go to --store; leave it out")
        folder = Path("nqmjax-curves") if store is None else store
        require(folder.resolve() != spectra.resolve(), "store", folder, "it is the folder of the spectra; give another one")
        table = with_command(curves.curves_of_several(_problems(spectra, problem), folder, batches, **question))
        write_first(lambda: None, reports.several_report(table), folder)
        return
    measured = [] if observed is None else curves.read_observed(observed)
    setting = problem.build()
    image, data = pair(output, "nqmjax-scaling", force, problem.spectrum, observed)
    batches = np.unique(np.concatenate([batches, *(curve.batch_size for curve in measured)]))
    table = with_command(curves.scaling_curves(setting, batches, **question))
    drawn = figures.scaling_figure(table, measured)
    write_pair(drawn, table, image, data, force, reports.scaling_report(table, measured))


def _problems(folder: Path, options: ScalingProblem) -> dict[str, NoisyQuadratic]:
    """The problems that the files of a folder hold, by their names without suffix."""
    require(folder.is_dir(), "spectra", folder, "give a folder of files with spectra")
    require(options.spectrum is None, "spectrum", options.spectrum, "give a file, or with --spectra a folder, not both")
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    require(bool(files), "spectra", folder, "there is no file in it")
    names = [path.stem for path in files]
    twice = [path.name for path in files if names.count(path.stem) > 1]
    require(not twice, "spectra", ", ".join(twice), "their tables would have one name; rename some")
    return {path.stem: dataclasses.replace(options, spectrum=path).build() for path in files}
