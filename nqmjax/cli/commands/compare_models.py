"""`nqmjax compare-models`: which law predicts runs that were left out best."""

from pathlib import Path

from cyclopts import App

from nqmjax import runs as training
from nqmjax.cli import reports
from nqmjax.cli.options import Force, Output, Words
from nqmjax.cli.outputs import check_table, watched, write_table
from nqmjax.cli.reports import with_command
from nqmjax.cli.run_options import LAWS_HELP, RUNS_HELP, THE_FIT, THE_READING, FitOptions, RunOptions, parse_laws

HELP = f"""\
{RUNS_HELP}

{LAWS_HELP}

Examples:

  nqmjax compare-models runs.csv
  nqmjax compare-models runs.csv --laws sized published chinchilla -o errors.nc
"""


command = App(name="compare-models", help_epilogue=HELP)


@command.default
def run(
    runs: Path,
    /,
    *,
    laws: Words = ("all",),
    reading: RunOptions = THE_READING,
    fitting: FitOptions = THE_FIT,
    output: Output = None,
    force: Force = False,
) -> None:
    """Which law predicts runs that were left out best?

    Args:
      runs: File of runs; see below.
      laws: Which ones; all, auto, or names below.
      output: NetCDF file to write. [default: none]
    """
    found, chosen, how = reading.read(runs), parse_laws(laws), fitting.arguments()
    check_table(output, force, runs)
    scores = training.compare_models(found, chosen, **how, progress=watched())
    table = with_command(scores.assign_attrs(problem=f"training runs of {runs}: {found!r}"))
    write_table(table, output, force, reports.scores_report(table))
