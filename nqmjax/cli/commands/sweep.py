"""`nqmjax sweep`: a grid that a file describes."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from nqmjax import sweeps
from nqmjax._tools import check_choice, require
from nqmjax.cli import reports
from nqmjax.cli.options import MACHINE, OUTPUT, Devices, Force, Output, whole
from nqmjax.cli.outputs import check_outputs, unused, watched, write_first, write_table
from nqmjax.cli.reports import with_command

HELP = """\
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

A store, --store NAME.zarr, gets the table chunk by chunk: it may be larger than
memory and outlasts the process. The same command again goes on where another
ended, and several at once, on any machines that see the directory, share the
work. See store check --help and store best --help.

Examples:

  nqmjax sweep grid.toml
  nqmjax sweep grid.toml -o results/grid.nc --force
  nqmjax sweep grid.toml --store grid.zarr
"""


command = App(name="sweep", help_epilogue=HELP)


@command.default
def run(
    spec: Path,
    /,
    *,
    output: Output = None,
    force: Force = False,
    store: Annotated[Path | None, Parameter(group=OUTPUT)] = None,
    chunk: Annotated[int | None, Parameter(group=OUTPUT, converter=whole)] = None,
    devices: Devices = (),
    scheduler: Annotated[str | None, Parameter(group=MACHINE)] = None,
) -> None:
    """Exact updates to a target loss over a grid of hyperparameters and batch sizes.

    Prints how many cells reach the target and the best ones; writes them all.

    Args:
      spec: TOML file that says what to compute; see below.
      output: NetCDF file to write. [default: SPEC with the suffix .nc, in this directory, or with a number]
      force: Replace the file if it exists.
      store: Directory NAME.zarr for the table, in place of a file; it is made, or gone on with.
      chunk: Cells of a chunk of a new store, about. [default: seconds of work]
      scheduler: Address of a Dask scheduler, tcp://host:8786, whose workers compute the store.
    """
    from nqmjax.cli.spec import read_spec

    check_choice("the suffix of output", ".nc" if output is None else output.suffix.lower(), [".nc"])
    require(store is None or output is None, "output", output, "a store holds the table itself; give one of the two")
    require(store is None or not force, "force", "given", "a store is gone on with, never replaced; leave it out")
    problem, optimizer, question = read_spec(spec)
    require(scheduler is None or store is not None, "scheduler", scheduler, "what workers compute goes to --store; give it too")
    options: dict[str, Any] = {"progress": watched(), "devices": devices or None}
    if store is not None:
        table = sweeps.sweep(problem, optimizer, **question, **options, store=store, chunk=chunk, client=scheduler)
        write_first(lambda: None, reports.sweep_report(with_command(table)), store)
        return
    require(chunk is None, "chunk", chunk, "only a store has chunks; give --store too")
    path = output or Path(f"{unused(spec.stem, force, '.nc')}.nc")
    check_outputs([path], force, spec)
    table = with_command(sweeps.sweep(problem, optimizer, **question, **options))
    write_table(table, path, force, reports.sweep_report(table))
