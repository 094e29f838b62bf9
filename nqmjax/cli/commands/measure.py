"""`nqmjax measure`: a network's curvature, gradient noise and noise scales."""

from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from nqmjax import _tools, figures
from nqmjax import measure as measuring
from nqmjax._tools import write_atomically
from nqmjax.cli import reports
from nqmjax.cli.modules import network_of, source_of
from nqmjax.cli.options import QUESTION, Count, Force, Output
from nqmjax.cli.outputs import beside, check_outputs, unused, watched, write_first
from nqmjax.cli.reports import with_command

if TYPE_CHECKING:
    import xarray as xr

HELP = """\
A module my_module.py in this directory:

  def make():
      params, (inputs, labels) = ...      # trees of arrays

      def apply(params, inputs): ...      # logits of a batch
      return apply, params, (inputs, labels), "cross_entropy"

The last may also be "squared_error", half the squared distance. Where a network
has a loss of its own, make returns three things, and the Hessian is measured:

      def loss(params, batch): ...        # mean loss of a batch, a number
      return loss, params, data

The first axis of all arrays in data counts examples; a batch is a part of it.
A loss of single examples only: put batch normalisation into evaluation mode.
The network is measured at the parameters that make returns: at its start, or
those of a checkpoint.

Examples:

  nqmjax measure                            a small network that is built in
  nqmjax measure --model my_module:make
  nqmjax measure --model nets/mine.py:late -o late --probes 8
"""

command = App(name="measure", help_epilogue=HELP)


@command.default
def run(
    *,
    model: Annotated[str | None, Parameter(group=QUESTION)] = None,
    matrix: Annotated[Literal["hessian", "gauss_newton"] | None, Parameter(group=QUESTION)] = None,
    probes: Count = None,
    lanczos_steps: Count = None,
    batch_size: Count = None,
    chunk: Count = None,
    seed: Count = None,
    output: Output = None,
    force: Force = False,
) -> None:
    """Curvature, gradient noise and noise scales of a network of your own.

    Prints the largest curvature, the noise along the curvature and the noise
    scales, and what to do with them. Writes a table of everything, a spectrum for
    the option --spectrum of the other commands, and a figure.

    Args:
      model: MODULE:FUNCTION or FILE.py:FUNCTION, which returns the network; see below. [default: a small network]
      matrix: Whose spectrum. [default: gauss_newton if make returns the name of a loss, or else hessian]
      probes: Random vectors for the bulk of the directions. [default: 4]
      lanczos_steps: Products of the matrix with vectors for each. [default: 30]
      batch_size: The smaller batch of the noise scales by two batch sizes. [default: a 32nd of the examples]
      chunk: Examples that are worked on together; fewer need less memory. [default: 512]
      seed: The same one gives the same numbers. [default: 0]
      output: The table is OUTPUT.nc, the spectrum OUTPUT.csv, the figure OUTPUT.png. [default: nqmjax-measure]
    """
    image, data = beside(output or unused("nqmjax-measure", force, ".png", ".nc", ".csv"), ".nc", ".csv")
    spectrum = data.with_suffix(".csv")
    check_outputs((image, data, spectrum), force, source_of(model))
    function, params, examples, loss = network_of(model)
    options = {"lanczos_steps": lanczos_steps, "probes": probes, "batch_size": batch_size, "chunk": chunk, "seed": seed}
    given = {name: value for name, value in options.items() if value is not None}
    found = measuring.measure(function, params, examples, loss=loss, matrix=matrix, progress=watched(), **given)
    table = with_command(found.table).assign_attrs(problem=_about(found.table, model))
    problem = found.problem(clip=True)
    drawn = figures.spectrum_figure(table)

    def write() -> None:
        _tools.save_dataset(table, data, force)
        found.write_spectrum(spectrum, force, clip=True)
        write_atomically(image, lambda path: figures.write_figure(drawn, path), force)

    write_first(write, reports.measure_report(table, problem, spectrum), data, spectrum, image)


def _about(table: "xr.Dataset", model: str | None) -> str:
    network = "a small network that is built in" if model is None else model
    kind = {"hessian": "Hessian", "gauss_newton": "Gauss-Newton matrix"}[table.attrs["matrix"]]
    return f"{network}, {table.parameters:,} parameters, {table.examples:,} examples; {kind} of {table.attrs['loss']}"
