"""The command that writes files to try the others with, and its help."""

from cyclopts import App

from nqmjax.cli.options import Force

EXAMPLE_HELP = """\
Files: spectrum.csv, observed.csv, grid.toml, plan.csv, runs.csv, ask.csv and
times.csv. They are made up, small, and the same every time.

Examples:

  nqmjax example
  nqmjax example runs
  nqmjax example all
"""


def example(name: str | None = None, /, *, force: Force = False) -> None:
    """Files to try the commands with: list them, or write one into this directory.

    Args:
      name: Which one, or all. [default: list them]
      force: Replace files that exist.
    """
    from nqmjax.cli import examples

    examples.example(name, force)


def register(app: App) -> None:
    """Add this command to the application."""
    app.command(example, help_epilogue=EXAMPLE_HELP)
