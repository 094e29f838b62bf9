"""What `nqmjax predict` does; it imports little, so that answers come quickly."""

import csv
import io
from pathlib import Path
from typing import NamedTuple

import xarray as xr

from nqmjax import runs as nq_runs
from nqmjax._tools import check_output, require, write_atomically
from nqmjax.cli.reports import LETTERS, answers_report, run_report, with_command
from nqmjax.runs import RunModel, RunSchedule, read_model, read_settings
from nqmjax.schedules import read_plan


class Run(NamedTuple):
    """The options that say which single run; None where one is not given."""

    model_size: float | None
    batch_size: float | None
    steps: float | None
    learning_rate: float | None
    plan: Path | None


class Accuracy(NamedTuple):
    """The options about intervals."""

    level: float
    interval: str | None


OPTIONS = {"model_size": "--N", "batch_size": "--B", "steps": "--K", "learning_rate": "--learning-rate", "plan": "--plan"}


def predict(
    model: Path,
    runs: Path | None,
    one: Run,
    schedule: tuple[str | None, float | None],
    accuracy: Accuracy,
    details: bool,
    output: Path | None,
    force: bool,
) -> None:
    """`nqmjax predict`."""
    given = [OPTIONS[name] for name, value in one._asdict().items() if value is not None]
    if runs is None:
        require(output is None, "output", output, "only the answers to a file of runs, --runs, are written to one")
        require(bool(given), "the run", "missing", "give --N, --B and --K, or a file of runs with --runs")
        print(_one(read_model(model), one, schedule, accuracy))
        return
    require(not given, "runs", runs, f"the file says all; leave out {' and '.join(given)}")
    if output is not None:
        _check_answers(output, force, model, runs)
    found = read_model(model)
    settings = read_settings(runs, model_schedule(found, *schedule), found.learning_rate)
    table = with_command(nq_runs.predict(found, settings, **accuracy._asdict()))
    if output is None:
        print(answers_report(table, found, details))
        return
    text = answers_text(table, details)
    write_atomically(output, lambda temporary: temporary.write_text(text, encoding="utf-8"), force)
    print(f"Written: {output}, {table.sizes['run']} runs")


def _one(model: RunModel, run: Run, schedule: tuple[str | None, float | None], accuracy: Accuracy) -> str:
    """What is predicted of a single run, in words."""
    needed = ("model_size",) if run.plan is not None else ("model_size", "batch_size", "steps")
    for name in needed:
        require(getattr(run, name) is not None, OPTIONS[name].removeprefix("--"), "missing", f"give {OPTIONS[name]}")
    if run.plan is None:
        chosen = model_schedule(model, *schedule)
        settings = (run.model_size, run.batch_size, run.steps, run.learning_rate)
        table = nq_runs.predict(model, *settings, schedule=chosen, **accuracy._asdict())
        return run_report(with_command(table).isel(run=0), model, chosen)
    for name in ("batch_size", "steps", "learning_rate"):
        require(
            getattr(run, name) is None,
            OPTIONS[name].removeprefix("--"),
            getattr(run, name),
            f"the plan has its own; leave out {OPTIONS[name]}",
        )
    for name, value in zip(("schedule", "warmup"), schedule, strict=True):
        require(value is None, name, value, f"the plan has its own; leave out --{name}")
    plan = read_plan(run.plan)
    table = nq_runs.predict(model, run.model_size, plan=plan, **accuracy._asdict())
    return run_report(with_command(table).isel(run=0), model, f"{run.plan}, {plan.pieces} piece{'s' * (plan.pieces != 1)}")


def model_schedule(model: RunModel, family: str | None, warmup: float | None) -> RunSchedule:
    """The schedule of the options, that of the runs fitted to where they say nothing."""
    schedule = model.schedule
    if family is not None and family != schedule.family:
        schedule = RunSchedule(family, schedule.warmup)
    return schedule if warmup is None else schedule._replace(warmup=warmup)


def _check_answers(output: Path, force: bool, *sources: Path) -> None:
    require(output.suffix.lower() == ".csv", "output", output, "give a file whose name ends in .csv")
    check_output(output, force)
    same = [source for source in sources if source.exists() and output.exists() and source.samefile(output)]
    require(not same, "output", output, "this file is an input; give another name")


def answers_text(table: xr.Dataset, details: bool) -> str:
    """Predictions as CSV: a row for each run in the order of the table."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    columns = {letter: [_whole(value) for value in table[name].values.tolist()] for name, letter in LETTERS.items()}
    columns |= {name: [f"{value:#.8g}" for value in table[name].values] for name in ("loss", "lower", "upper")}
    columns |= {"outside": table.outside.values.tolist()} if details else {}
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return stream.getvalue()


def _whole(value: float) -> str:
    """A setting with all its digits, a whole number without a point."""
    return f"{value:.0f}" if value.is_integer() else repr(value)
