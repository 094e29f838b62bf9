"""`nqmjax plan`: the best training run under limits."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from cyclopts import App, Parameter

from nqmjax import figures
from nqmjax import runs as training
from nqmjax.cli import reports
from nqmjax.cli.options import Force, Output, number
from nqmjax.cli.outputs import pair, watched, write_pair
from nqmjax.cli.reports import with_command
from nqmjax.cli.run_options import METHOD, NO_LIMITS, SPACE, Level, LimitOptions, run_schedule

if TYPE_CHECKING:
    import xarray as xr

    from nqmjax.runs import RunModel, RunPlan, RunSchedule

HELP = """\
Give at least one of --seconds, --compute, --examples and --steps. A step takes
--step-seconds plus --work-seconds times N times B over the devices; or give a
table of measured ones, CSV with the columns N, B and seconds.

Examples:

  nqmjax plan model.json --compute 1e14
  nqmjax plan model.json --seconds 86400 --step-seconds 0.02 \\
                         --work-seconds 1e-11 --devices 8 --memory 80e9
  nqmjax plan model.json --seconds 3600 --step-table times.csv --model-size 1e9
  nqmjax plan model.json --examples 1e7 --largest-model 1e9 -o results/small
"""


command = App(name="plan", help_epilogue=HELP)


@command.default
def run(
    model: Path,
    /,
    *,
    limits: LimitOptions = NO_LIMITS,
    model_size: Annotated[float | None, Parameter(name=("--model-size", "--N"), group=SPACE, converter=number)] = None,
    batch_size: Annotated[float | None, Parameter(name=("--batch-size", "--B"), group=SPACE, converter=number)] = None,
    schedule: Annotated[str | None, Parameter(group=METHOD)] = None,
    warmup: Annotated[float | None, Parameter(group=METHOD, converter=number)] = None,
    level: Level = 0.9,
    output: Output = None,
    force: Force = False,
) -> None:
    """Which model size, batch size and number of updates, under these limits?

    Prints the best run, what each limit costs, how flat the optimum is, the best
    runs under multiples of the limits, and critical batch sizes along the loss.

    Args:
      model: File that nqmjax fit wrote.
      model_size: Parameters, if they are not to be chosen.
      batch_size: Examples per update, likewise.
      schedule: Schedule of the run. [default: as of the runs fitted to]
      warmup: Share of the run that is warm-up. [default: as of the runs fitted to]
      level: Share of later runs that the intervals are to cover.
      output: The figure is OUTPUT.png (or x.pdf, x.svg) and the table OUTPUT.nc. [default: nqmjax-run-plan, or with a number]
    """
    allowed, fitted = limits.build(), training.read_model(model)
    chosen = run_schedule(fitted, schedule, warmup)
    image, data = pair(output, "nqmjax-run-plan", force, model, limits.step_table)
    how = {"schedule": chosen, "level": level, "progress": watched()}
    found = training.plan(fitted, allowed, model_size, batch_size, **how)
    found = found._replace(frontier=with_command(found.frontier))
    report = reports.plan_report(found, fitted, chosen, _critical(fitted, found, chosen))
    write_pair(figures.frontier_figure(found), plan_table(found), image, data, force, report)


def plan_table(plan: "RunPlan") -> "xr.Dataset":
    """All that a plan holds in one table: the frontier over `limits`, the prices over `limit`, and the best run."""
    best = {f"best_{name}": values for name, values in plan.best.data_vars.items()}
    flat = {f"flat_{name}": np.array(ends) for name, ends in plan.flat.items()}
    return plan.frontier.merge(plan.prices, combine_attrs="override").assign(best).assign_attrs(flat)


def _critical(model: "RunModel", plan: "RunPlan", schedule: "RunSchedule") -> "xr.Dataset | str":
    """Critical batch sizes at the best model size, or why there are none."""
    try:
        return training.critical_batch_sizes(model, float(plan.best.model_size), schedule=schedule)
    except ValueError as error:
        return f"No critical batch sizes: {error}"
