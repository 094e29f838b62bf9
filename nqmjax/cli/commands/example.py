"""`nqmjax example`: files to try the other commands with."""

from cyclopts import App

from nqmjax.cli import examples
from nqmjax.cli.options import Force

HELP = """\
Files: spectrum.csv, observed.csv, tuned-runs.csv, noise-log.csv,
grid.toml, plan.csv, runs.csv, ask.csv and times.csv. They are made up, small,
and the same every time.

Examples:

  nqmjax example
  nqmjax example runs
  nqmjax example all
"""


command = App(name="example", help_epilogue=HELP)


@command.default
def run(name: str | None = None, /, *, force: Force = False) -> None:
    """Files to try the commands with: list them, or write one into this directory.

    Args:
      name: Which one, or all. [default: list them]
      force: Replace files that exist.
    """
    examples.example(name, force)
