"""The commands and their help. What is slow to import is imported by the command that needs it: help comes at once."""

import _thread
import contextlib
import os
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter

from nqmjax import __version__
from nqmjax.cli.commands import example as example_app
from nqmjax.cli.commands import runs as fit_app
from nqmjax.cli.commands import schedules as plan_app
from nqmjax.cli.messages import message_of
from nqmjax.cli.options import OUTPUT, PROBLEM, QUESTION, Force, Output, Whole, Words, loss, number
from nqmjax.cli.reports import set_command

EPILOGUE = """\
Examples:

  nqmjax scaling                           the main job on its built-in problem
  nqmjax scaling --help                    its options, with examples
  nqmjax figure 3a                         a figure of Zhang et al. 2019
  nqmjax sweep grid.toml -o grid.nc        a grid of your own
  nqmjax schedule compare --batch-size 64 --steps 17000
                                           cosine, linear or WSD?
  nqmjax budget --epochs 40 --dataset-size 50000
                                           best rate and loss by batch size
  nqmjax transfer --plan plan.csv --to 256 a recipe at another batch size
  nqmjax example                           files to try the commands with
  nqmjax fit runs.csv                      a model of real training runs
  nqmjax predict model.json --N 1e9 --B 512 --K 2e4
                                           the loss of a run, with an interval
  nqmjax plan model.json --compute 1e9     how large a model, how large a batch?

Exit codes: 0 done, 2 bad input (one line on stderr says what), 130 interrupted.
"""

app = App(
    name="nqmjax",
    help="Which optimizer, at which batch size, with which schedule? Exact answers of the noisy quadratic model.",
    help_format="plaintext",
    help_epilogue=EPILOGUE,
    version=__version__,
    suppress_keyboard_interrupt=False,
)

SCALING_EXAMPLES = """\
Examples:

  The paper's problem, three optimizers, four preconditioner powers:
    nqmjax scaling

  Your own measured spectrum, next to steps that training really took:
    nqmjax scaling --spectrum spectrum.csv --target 0.15 --observed observed.csv \\
                   --optimizers sgd heavy_ball --powers 0 --fixed momentum=0.9

  A few batch sizes, other optimizers, other files:
    nqmjax scaling --optimizers nesterov qhm --powers 0,0.5 \\
                   --batch-sizes 32 2^8..2^12 --output results/mine

The loss is a noisy quadratic: directions of given curvature, each with gradient
noise. Learning rates are in units where the largest curvature is 1 (with a
spectrum, in its units): a network's rate, times the largest eigenvalue of its
Hessian.

Optimizers: sgd, heavy_ball, nesterov, qhm; with the exponential moving average
of the iterates ema (that of sgd), ema_heavy_ball, ema_nesterov, ema_qhm. Their
hyperparameters: learning_rate, momentum, nu, decay (of the average).

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


@app.command(help_epilogue=SCALING_EXAMPLES)
def scaling(
    *,
    target: Annotated[float, Parameter(group=QUESTION, converter=loss)] = 0.01,
    batch_sizes: Words = ("2^2..2^20:4",),
    optimizers: Words = ("sgd", "heavy_ball", "ema"),
    powers: Words = ("0", "0.25", "0.5", "0.75"),
    fixed: Words = (),
    dtype: Annotated[Literal["float64", "float32"], Parameter(group=QUESTION)] = "float64",
    dim: Whole = None,
    exponent: Annotated[float | None, Parameter(group=PROBLEM, converter=number)] = None,
    spectrum: Annotated[Path | None, Parameter(group=PROBLEM)] = None,
    irreducible: Annotated[float, Parameter(group=PROBLEM, converter=loss)] = 0.0,
    bins: Whole = None,
    observed: Annotated[Path | None, Parameter(group=OUTPUT)] = None,
    output: Output = None,
    force: Force = False,
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
      fixed: Values of hyperparameters that are not tuned, for the optimizers that have them; momentum=0.9.
      dtype: Precision of the computation.
      dim: Number of directions of the power law, or those that a spectrum's weights share. [default: 10000]
      exponent: Decay of the power law, curvature h_i = i^-exponent. [default: 1]
      spectrum: File with a measured spectrum in place of the power law.
      irreducible: Loss at the optimum.
      bins: Groups of directions at most; 100 make a long spectrum fast. [default: 100 for the power law, none for a spectrum]
      observed: CSV file of measured steps, laid over the figure; their batch sizes are added.
      output: The figure is OUTPUT.png (or x.pdf, x.svg) and the table OUTPUT.nc. [default: nqmjax-scaling, or with a number]
      force: Replace files that exist.
    """
    from nqmjax.cli.commands import jobs

    jobs.scaling(
        problem=jobs.Problem(dim, exponent, spectrum, irreducible, bins),
        target=target,
        batch_sizes=batch_sizes,
        optimizers=optimizers,
        powers=powers,
        fixed=fixed,
        dtype=dtype,
        observed=observed,
        output=output or jobs.unused("nqmjax-scaling", force, ".png", ".nc"),
        force=force,
    )


FIGURE_HELP = """\
Names, as in the paper (3a, fig3a and figure-3a are the same):

  1    loss of single directions with and without learning-rate decay
  2    convergence rate and final loss against momentum
  3a   updates to target against batch size, SGD and momentum
  3b   updates to target against batch size, constant rates and schedules
  3c   optimised learning-rate schedules by batch size
  4    updates to target against batch size, SGD with and without EMA
  14   tuned learning rates against batch size, SGD and momentum
  15   last rates of optimised schedules against batch size
  E.3  momentum against SGD at its effective learning rate
  E.5  updates to target against batch size, several targets
  regimes  two regimes under a budget of epochs (Smith et al. 2020)

Examples:

  nqmjax figure 3a
  nqmjax figure E.3 -o momentum.pdf --force
"""


@app.command(help_epilogue=FIGURE_HELP)
def figure(
    name: str,
    /,
    *,
    output: Output = None,
    force: Force = False,
) -> None:
    """A figure of Zhang et al. 2019, computed exactly.

    Args:
      name: Which one; see below.
      output: File to write: .png, .pdf or .svg; its numbers stand beside it as .nc. [default: figure-NAME.png]
      force: Replace the file if it exists.
    """
    from nqmjax.cli.commands import jobs

    jobs.figure(name, output, force)


SWEEP_HELP = """\
A specification:

  batch_size = "2^2..2^20:4"            # a number, a list or a range: 4, 16 ..
  target = 0.01                         # a number or a list
  max_steps = 100_000_000               # optional, as are
  rule = "first"                        # or "stays" (the target is kept)
  dtype = "float64"                     # or "float32"

  [problem]
  dim = 10_000                          # or: spectrum = "measured.csv"
  exponent = 1.0                        # optional, as are
  noise = 1.0                           # by default the curvature itself
  initial = 1.0
  irreducible = 0.0
  bins = 100

  [optimizer]
  name = "heavy_ball"                   # sgd, nesterov, qhm, ema, ...
  learning_rate = { logspace = [-8, 1, 100] }
  momentum = { one_minus_logspace = [-5, 0, 20] }    # 1 - 10^-5 .. 0
  power = [0, 0.5]                      # optional preconditioner power
  # average = 0.99                      # optional decay of an EMA

Every hyperparameter is a number, a list, { linspace = [first, last, count] },
{ logspace = [...] } (exponents of ten) or { one_minus_logspace = [...] }; what
is not a number becomes an axis of the table.

Examples:

  nqmjax sweep grid.toml
  nqmjax sweep grid.toml -o results/grid.nc --force
"""


@app.command(help_epilogue=SWEEP_HELP)
def sweep(
    spec: Path,
    /,
    *,
    output: Output = None,
    force: Force = False,
) -> None:
    """Exact updates to a target loss over a grid of hyperparameters and batch sizes.

    Prints how many cells reach the target and the best ones; writes them all.

    Args:
      spec: TOML file that says what to compute; see below.
      output: NetCDF file to write. [default: SPEC with the suffix .nc, in this directory, or with a number]
      force: Replace the file if it exists.
    """
    from nqmjax.cli.commands import jobs

    jobs.sweep(spec, output, force)


example_app.register(app)
plan_app.register(app)
fit_app.register(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    try:
        set_command(sys.argv[1:] if arguments is None else arguments)
        with _messages_for_people():
            app(arguments, exit_on_error=False, print_error=False, help_on_error=False, result_action="return_value")
            sys.stdout.flush()
    except (CycloptsError, ValueError) as error:
        return _fail(2, message_of(error, app, sys.argv[1:] if arguments is None else arguments))
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _fail(2, f"{error.filename or 'a file'}: {error.strerror or error}")
    except KeyboardInterrupt:
        _fail(130, "interrupted; nothing was written")
        if arguments is None:  # XLA's threads may still be at work, and crash if the interpreter is taken apart under them
            os._exit(130)
        return 130
    return 0


def _fail(code: int, message: str) -> int:
    print("nqmjax:", " ".join(message.split()), file=sys.stderr, flush=True)
    return code


@contextlib.contextmanager
def _messages_for_people() -> Iterator[None]:
    """Show warnings as messages, not as places in the code; deliver an interrupt again that a callback has swallowed."""
    usual = sys.unraisablehook

    def unraisable(event: Any) -> None:
        if issubclass(event.exc_type, KeyboardInterrupt):
            threading.Timer(0.05, _thread.interrupt_main).start()
        else:
            usual(event)

    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = lambda message, *_, **__: print("nqmjax: note:", message, file=sys.stderr)
        sys.unraisablehook = unraisable
        try:
            yield
        finally:
            sys.unraisablehook = usual
