"""What the commands about real training runs do: check everything, compute, write the files whole, print a summary."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from nqmjax import runs as nq_runs
from nqmjax._tools import TEXT, Columns, check_choice, input_file, read_table, require, save_dataset, write_atomically
from nqmjax.cli.commands.predict_jobs import model_schedule
from nqmjax.cli.outputs import IMAGES, beside, check_outputs, pair, watched, write_first, write_pair
from nqmjax.cli.plan_questions import names
from nqmjax.cli.reports import COMMAND, fit_report, plan_report, scores_report, with_command
from nqmjax.cli.run_options import FitOptions, LimitOptions, RunOptions
from nqmjax.figures import fit_figure, frontier_figure, iso_figure, write_figure
from nqmjax.runs import (
    ALIASES,
    MAX_LOSS,
    Limits,
    RunModel,
    RunPlan,
    Runs,
    RunSchedule,
    StepTable,
    StepTime,
    critical_batch_sizes,
    predict,
    read_model,
    write_model,
)
from nqmjax.runs import read as read_runs

STEP_NAMES = ("N", "B", "seconds")
STEP_COLUMNS = Columns(STEP_NAMES, STEP_NAMES, ALIASES | {"seconds": ("stepseconds", "time", "steptime", "secondsperstep")})
GROUPS = {"auto": nq_runs.CANDIDATES, "all": tuple(nq_runs.LAWS)}


def fit(runs: Path, laws: Sequence[str], reading: RunOptions, fitting: FitOptions, output: Path, force: bool) -> None:
    """`nqmjax fit`."""
    check_choice("the suffix of output", output.suffix.lower(), [".json", *IMAGES])
    image, output = beside(output, ".json")
    curves = image.with_name(f"{image.stem}-curves{image.suffix}")
    found = _read(runs, reading)
    check_outputs((output, image, curves), force, runs)
    fitted = nq_runs.fit(found, _laws(laws), **_method(fitting), progress=watched())
    model = dataclasses.replace(fitted, summary=(*fitted.summary, f"fitted by: {COMMAND.get()}"))
    write_model(model, output, force)  # before anything that might fail
    table = with_command(predict(model, found.settings))
    pictures = {image: fit_figure(found, table), curves: iso_figure(found, model, {"command": COMMAND.get()})}

    def write_pictures() -> None:
        for path, picture in pictures.items():
            write_atomically(path, lambda temporary, picture=picture: write_figure(picture, temporary), force)

    write_first(write_pictures, fit_report(found, model, table), output, image, curves)


def compare_models(
    runs: Path, laws: Sequence[str], reading: RunOptions, fitting: FitOptions, output: Path | None, force: bool
) -> None:
    """`nqmjax compare-models`."""
    if output is not None:
        check_choice("the suffix of output", output.suffix, [".nc"])
        check_outputs([output], force, runs)
    found = _read(runs, reading)
    scores = nq_runs.compare_models(found, _laws(laws), **_method(fitting), progress=watched())
    table = with_command(scores.assign_attrs(problem=f"training runs of {runs}: {found!r}"))
    if output is None:
        print(scores_report(table))
    else:
        write_first(lambda: save_dataset(table, output, force), scores_report(table), output)


def plan(
    path: Path,
    options: LimitOptions,
    fixed: tuple[float | None, float | None],
    schedule: tuple[str | None, float | None],
    level: float,
    output: Path,
    force: bool,
) -> None:
    """`nqmjax plan`."""
    image, data = pair(output, force, path, options.step_table)
    limits, model = _limits(options), read_model(path)
    chosen = model_schedule(model, *schedule)
    found = nq_runs.plan(model, limits, *fixed, schedule=chosen, level=level, progress=watched())
    found = found._replace(frontier=with_command(found.frontier))
    report = plan_report(found, model, chosen, _critical(model, found, chosen))
    write_pair(frontier_figure(found), plan_table(found), image, data, force, report)


def plan_table(plan: RunPlan) -> xr.Dataset:
    """All that a plan holds in one table: the frontier over `limits`, the prices over `limit`, and the best run."""
    best = {f"best_{name}": values for name, values in plan.best.data_vars.items()}
    flat = {f"flat_{name}": np.array(ends) for name, ends in plan.flat.items()}
    return plan.frontier.merge(plan.prices, combine_attrs="override").assign(best).assign_attrs(flat)


def _read(path: Path, reading: RunOptions) -> Runs:
    most = MAX_LOSS if reading.max_loss is None else reading.max_loss
    return read_runs(path, RunSchedule(reading.schedule, reading.warmup), most)


def _laws(words: Sequence[str]) -> list[str]:
    """Names of laws, those of a group in its place."""
    chosen = names(words)
    for name in chosen:
        check_choice("laws", name, [*GROUPS, *nq_runs.LAWS])
    return list(dict.fromkeys(law for name in chosen for law in GROUPS.get(name, [name])))


def _method(fitting: FitOptions) -> dict[str, Any]:
    """Arguments of `fit` and `compare_models`; what is not given keeps its default."""
    require(fitting.seed >= 0, "seed", fitting.seed, "give a whole number, 0 or more")
    given = {} if fitting.robust is None else {"robust": fitting.robust}
    return {"starts": fitting.starts, "seed": fitting.seed, **given}


def _limits(options: LimitOptions) -> Limits:
    """The limits of the options; what is not given keeps its default."""
    for name in ("parameter_bytes", "example_bytes"):
        value = getattr(options, name)
        require(value is None or options.memory is not None, name, value, "give --memory with it, or leave it out")
    times = ("step_seconds", "work_seconds", "step_table")
    given = {name: value for name, value in vars(options).items() if value is not None and name not in times}
    return Limits(**given, step_seconds=_step_seconds(options))


def _step_seconds(options: LimitOptions) -> StepTime | StepTable | None:
    """How long a step takes, None if time is not limited."""
    fixed, work = options.step_seconds, options.work_seconds
    if options.step_table is not None:
        for name, value in {"step_seconds": fixed, "work_seconds": work}.items():
            require(value is None, name, value, "the table of measured steps says it; leave it or --step-table out")
        return _step_table(options.step_table)
    if fixed is None and work is None:
        return None
    for name, value in {"step_seconds": fixed, "work_seconds": work}.items():
        require(value is not None, name, "missing", "give both --step-seconds and --work-seconds, or --step-table")
    assert fixed is not None
    assert work is not None
    for name, value in {"step_seconds": fixed, "work_seconds": work}.items():
        require(0 <= value < np.inf and fixed + work > 0, name, value, "give seconds, 0 or more, and one of the two above 0")
    return StepTime(fixed, work, 1.0 if options.devices is None else options.devices)


def _step_table(path: Path) -> StepTable:
    """Measured seconds of steps from a CSV file."""
    table = read_table(input_file(path, *TEXT), STEP_COLUMNS)
    for name in STEP_COLUMNS.required:
        table.check(name, lambda values: values > 0, "give a number above 0")
    return StepTable(*(table.columns[name] for name in STEP_COLUMNS.required))


def _critical(model: RunModel, plan: RunPlan, schedule: RunSchedule) -> xr.Dataset | str:
    """Critical batch sizes at the best model size, or why there are none."""
    try:
        return critical_batch_sizes(model, float(plan.best.model_size), schedule=schedule)
    except ValueError as error:
        return f"No critical batch sizes: {error}"
