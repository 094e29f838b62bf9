"""`nqmjax predict`: the loss of runs that nobody has made yet. It imports little, so that answers come quickly."""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from cyclopts import App, Parameter

from nqmjax import runs as training
from nqmjax import schedules
from nqmjax._tools import require, write_atomically
from nqmjax.cli import reports
from nqmjax.cli.options import OUTPUT, QUESTION, Force, Output
from nqmjax.cli.outputs import check_outputs
from nqmjax.cli.reports import with_command
from nqmjax.cli.run_options import BatchSize, Family, Kind, Level, ModelSize, Real, Steps, run_schedule

if TYPE_CHECKING:
    import xarray as xr

    from nqmjax.runs import RunModel

HELP = """\
Give the settings of one run, or a file of many: CSV with the columns N, B and K
and, as far as known, learning_rate, schedule, warmup, final and cooldown. The
answers have the columns N, B, K, loss, lower and upper, in the same order.

Examples:

  nqmjax predict model.json --N 1e9 --B 512 --K 2e4
  nqmjax predict model.json --runs ask.csv -o answer.csv
  nqmjax predict model.json --N 1e9 --plan plan.csv --level 0.5
"""

OPTIONS = {"model_size": "--N", "batch_size": "--B", "steps": "--K", "learning_rate": "--learning-rate", "plan": "--plan"}


class Run(NamedTuple):
    """The options that say which single run; None where one is not given."""

    model_size: float | None
    batch_size: float | None
    steps: float | None
    learning_rate: float | None
    plan: Path | None


command = App(name="predict", help_epilogue=HELP)


@command.default
def run(
    model: Path,
    /,
    *,
    runs: Annotated[Path | None, Parameter(group=QUESTION)] = None,
    model_size: ModelSize = None,
    batch_size: BatchSize = None,
    steps: Steps = None,
    learning_rate: Real = None,
    plan: Annotated[Path | None, Parameter(group=QUESTION)] = None,
    schedule: Family = None,
    warmup: Real = None,
    level: Level = 0.9,
    interval: Kind = None,
    details: Annotated[bool, Parameter(group=OUTPUT, negative=(), show_default=False)] = False,
    output: Output = None,
    force: Force = False,
) -> None:
    """The loss of training runs that nobody has made yet, with intervals.

    Args:
      model: File that nqmjax fit wrote.
      runs: CSV file of runs to predict; see below.
      model_size: Parameters of one run.
      batch_size: Its examples per update.
      steps: Its updates.
      learning_rate: Its peak rate. [default: as of the runs fitted to]
      plan: File of a plan in place of --B and --K, as nqmjax schedule optimize writes it.
      schedule: Schedule where nothing else is said. [default: as of the runs fitted to]
      warmup: Share of the run that is warm-up. [default: as of the runs fitted to]
      level: Share of later runs that the intervals are to cover.
      interval: From the curvature at the minimum, or from runs drawn anew. [default: the one that covered better]
      details: Say for each run which settings are outside what was seen.
      output: CSV file to write the answers to. [default: print them]
    """
    one, accuracy = Run(model_size, batch_size, steps, learning_rate, plan), {"level": level, "interval": interval}
    given = [OPTIONS[name] for name, value in one._asdict().items() if value is not None]
    if runs is None:
        require(output is None, "output", output, "only the answers to a file of runs, --runs, are written to one")
        require(bool(given), "the run", "missing", "give --N, --B and --K, or a file of runs with --runs")
        print(_one(training.read_model(model), one, (schedule, warmup), accuracy))
        return
    require(not given, "runs", runs, f"the file says all; leave out {' and '.join(given)}")
    if output is not None:
        require(output.suffix.lower() == ".csv", "output", output, "give a file whose name ends in .csv")
        check_outputs([output], force, model, runs)
    found = training.read_model(model)
    settings = training.read_settings(runs, run_schedule(found, schedule, warmup), found.learning_rate)
    table = with_command(training.predict(found, settings, **accuracy))
    if output is None:
        print(reports.answers_report(table, found, details))
        return
    text = answers_text(table, details)
    write_atomically(output, lambda temporary: temporary.write_text(text, encoding="utf-8"), force)
    print(f"Written: {output}, {table.sizes['run']} runs")


def _one(model: "RunModel", run: Run, schedule: tuple[str | None, float | None], accuracy: dict[str, Any]) -> str:
    """What is predicted of a single run, in words."""
    needed = ("model_size",) if run.plan is not None else ("model_size", "batch_size", "steps")
    for name in needed:
        require(getattr(run, name) is not None, OPTIONS[name].removeprefix("--"), "missing", f"give {OPTIONS[name]}")
    if run.plan is None:
        chosen = run_schedule(model, *schedule)
        settings = (run.model_size, run.batch_size, run.steps, run.learning_rate)
        table = training.predict(model, *settings, schedule=chosen, **accuracy)
        return reports.run_report(with_command(table).isel(run=0), model, chosen)
    for name in ("batch_size", "steps", "learning_rate"):
        require(
            getattr(run, name) is None,
            OPTIONS[name].removeprefix("--"),
            getattr(run, name),
            f"the plan has its own; leave out {OPTIONS[name]}",
        )
    for name, value in zip(("schedule", "warmup"), schedule, strict=True):
        require(value is None, name, value, f"the plan has its own; leave out --{name}")
    plan = schedules.read_plan(run.plan)
    table = training.predict(model, run.model_size, plan=plan, **accuracy)
    return reports.run_report(
        with_command(table).isel(run=0), model, f"{run.plan}, {plan.pieces} piece{'s' * (plan.pieces != 1)}"
    )


def answers_text(table: "xr.Dataset", details: bool) -> str:
    """Predictions as CSV: a row for each run in the order of the table."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    columns = {letter: [_whole(value) for value in table[name].values.tolist()] for name, letter in reports.LETTERS.items()}
    columns |= {name: [f"{value:#.8g}" for value in table[name].values] for name in ("loss", "lower", "upper")}
    columns |= {"outside": table.outside.values.tolist()} if details else {}
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return stream.getvalue()


def _whole(value: float) -> str:
    """A setting with all its digits, a whole number without a point."""
    return f"{value:.0f}" if value.is_integer() else repr(value)
