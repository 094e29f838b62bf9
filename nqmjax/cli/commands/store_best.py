"""`nqmjax store best`: the best settings in a store."""

from pathlib import Path

from cyclopts import App

from nqmjax import sweeps
from nqmjax.cli import reports
from nqmjax.cli.numbers import parse_names
from nqmjax.cli.options import Force, Output, Words
from nqmjax.cli.outputs import check_table, write_table
from nqmjax.cli.reports import with_command

HELP = """\
Examples:

  nqmjax store best grid.zarr
  nqmjax store best grid.zarr --keep batch_size momentum -o best.nc
"""


command = App(name="best", help_epilogue=HELP)


@command.default
def run(
    store: Path,
    /,
    *,
    keep: Words = ("batch_size", "target"),
    output: Output = None,
    force: Force = False,
) -> None:
    """The best settings in a store of a sweep, which may still be growing.

    Reads it chunk by chunk, whatever its size.

    Args:
      store: Directory NAME.zarr of a sweep.
      keep: Axes; over all others the setting with the fewest updates is found.
      output: NetCDF file for the best settings.
      force: Replace the file if it exists.
    """
    check_table(output, force)
    table = with_command(sweeps.open_store(store))
    names = parse_names(keep)
    report = reports.sweep_report(table, names)
    write_table(sweeps.best_cells(table, names), output, force, report)
