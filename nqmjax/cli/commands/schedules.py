"""The commands about schedules, batch ramps, budgets and transfer, and their help."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from nqmjax.cli.options import (
    OUTPUT,
    OUTPUT_NAMES,
    QUESTION,
    Count,
    Force,
    Loss,
    Method,
    Number,
    Output,
    Problem,
    Words,
    number,
    whole,
)

schedule = App(
    name="schedule", help="Learning-rate schedules: compare families, or find the best plan.", help_format="plaintext"
)

COMPARE_HELP = """\
Families: constant, step_decay (constant for half of the run, then ten drops),
cosine, linear, exponential, inverse_sqrt, wsd_linear, wsd_cosine, wsd_sqrt and
wsd_exponential (warm-up, stable, decay with that cooldown). Each is tuned: peak
rate, warm-up, final rate, length of the cooldown.

Examples:

  nqmjax schedule compare --batch-size 64 --steps 17000
  nqmjax schedule compare --batch-size 2^10 --steps 2000 \\
                          --optimizer heavy_ball --families cosine wsd_sqrt
"""


@schedule.command(help_epilogue=COMPARE_HELP)
def compare(
    *,
    batch_size: Annotated[str, Parameter(group=QUESTION)],
    steps: Annotated[int, Parameter(group=QUESTION, converter=whole)],
    families: Words = ("all",),
    max_learning_rate: Number = None,
    tune_warmup: Annotated[bool, Parameter(group=QUESTION)] = True,
    method: Method = None,
    problem: Problem = None,
    output: Output = None,
    force: Force = False,
) -> None:
    """Cosine, linear or WSD? Final loss of schedule families, each at its best.

    Args:
      batch_size: Examples per update, as in 64 or 2^6.
      steps: Updates of the run.
      families: Which ones; see below.
      max_learning_rate: Cap of all rates, inf for none. [default: just inside the stability edge]
      tune_warmup: Tune the length of a warm-up too.
      output: The figure is OUTPUT.png (or x.pdf, x.svg) and the table OUTPUT.nc. [default: nqmjax-schedules, or with a number]
    """
    from nqmjax.cli.commands import schedule_jobs as plan_jobs
    from nqmjax.cli.outputs import unused

    path = output or unused("nqmjax-schedules", force, ".png", ".nc")
    plan_jobs.compare(problem, method, batch_size, steps, families, max_learning_rate, tune_warmup, path, force)


OPTIMIZE_HELP = """\
Give --steps for the least loss after so many updates, --target for the fewest
updates to a loss, or the seconds of a step (--step-seconds fixed, plus
--example-seconds for each example of the batch) with --seconds for the least
loss in that time or --target for the least time. The files hold, for each
piece, its start and length in updates, its whole batch size and its
hyperparameters. Learning rates are in units where the largest curvature is 1.

Examples:

  nqmjax schedule optimize --batch-size 64 --steps 17000
  nqmjax schedule optimize --batch-size 64 --target 0.01 -o plan.json
  nqmjax schedule optimize --batch-size 64 --steps 17000 --ramp
  nqmjax schedule optimize --seconds 3600 --step-seconds 0.02 \\
                           --example-seconds 1e-4
"""


@schedule.command(help_epilogue=OPTIMIZE_HELP)
def optimize(
    *,
    batch_size: Annotated[str | None, Parameter(group=QUESTION)] = None,
    steps: Count = None,
    target: Loss = None,
    seconds: Number = None,
    step_seconds: Number = None,
    example_seconds: Number = None,
    max_batch_size: Number = None,
    pieces: Count = None,
    over: Words = ("learning_rate",),
    ramp: Annotated[bool, Parameter(group=QUESTION, negative=(), show_default=False)] = False,
    max_learning_rate: Number = None,
    method: Method = None,
    problem: Problem = None,
    output: Annotated[Path, Parameter(name=OUTPUT_NAMES, group=OUTPUT)] = Path("nqmjax-plan.csv"),
    force: Force = False,
) -> None:
    """The best possible plan, piece by piece.

    Args:
      batch_size: Examples per update, as in 64 or 2^6.
      steps: Updates of the run.
      target: Loss to reach instead, the irreducible loss included.
      seconds: Time of the run instead.
      step_seconds: Seconds that a step takes whatever its batch.
      example_seconds: Seconds that each example of a batch adds.
      max_batch_size: Largest batch that fits into memory.
      pieces: Pieces of the plan, of equal length. [default: 10, or one for each update]
      over: What changes from piece to piece: learning_rate, momentum, decay, nu.
      ramp: Let the batch size change too, with as many examples in all.
      max_learning_rate: Cap of the rate, inf for none. [default: just inside the stability edge]
      output: Plan to write, .csv or .json, or its figure, .png, .pdf or .svg; the other stands beside it.
    """
    from nqmjax.cli.commands import schedule_jobs as plan_jobs

    clock = plan_jobs.Clock(seconds, step_seconds, example_seconds, max_batch_size)
    question = plan_jobs.Question(batch_size, steps, target, pieces, over, ramp, max_learning_rate)
    plan_jobs.optimize(problem, method, question, clock, output, force)


RAMP_HELP = """\
Examples:

  nqmjax batch-schedule --learning-rate 0.5 --steps 5000 --batch-size 64
  nqmjax batch-schedule --schedule cosine --learning-rate 0.5 --steps 5000 \\
                        --batch-size 64 --largest 512
  nqmjax batch-schedule --plan plan.csv --examples 1e6 -o ramp.json
"""


def batch_schedule(
    *,
    plan: Annotated[Path | None, Parameter(group=QUESTION)] = None,
    schedule: Annotated[str, Parameter(group=QUESTION)] = "constant",
    learning_rate: Number = None,
    steps: Count = None,
    batch_size: Annotated[str | None, Parameter(group=QUESTION)] = None,
    pieces: Count = None,
    examples: Number = None,
    smallest: Annotated[float, Parameter(group=QUESTION, converter=number)] = 1.0,
    largest: Number = None,
    method: Method = None,
    problem: Problem = None,
    output: Annotated[Path, Parameter(name=OUTPUT_NAMES, group=OUTPUT)] = Path("nqmjax-batch-schedule.csv"),
    force: Force = False,
) -> None:
    """When to raise the batch, and by how much: the best batch sizes for given rates.

    Args:
      plan: File of the plan whose batch sizes are to be replaced.
      schedule: Without a plan: a family, see schedule compare --help.
      learning_rate: Without a plan: the peak rate.
      steps: Without a plan: updates of the run.
      batch_size: Without a plan: mean examples per update.
      pieces: Without a plan: its pieces, of equal length. [default: 10, or one for each update]
      examples: Budget of examples. [default: as many as the plan]
      smallest: Least batch size.
      largest: Greatest batch size. [default: no limit]
      output: Plan to write, .csv or .json, or its figure, .png, .pdf or .svg; the other stands beside it.
    """
    from nqmjax.cli.commands import schedule_jobs as plan_jobs

    pieces = min(plan_jobs.PLAN_PIECES, steps or 1) if pieces is None else pieces
    recipe = plan_jobs.Recipe(plan, schedule, learning_rate, steps, batch_size, pieces)
    plan_jobs.batch_schedule(problem, method, recipe, examples, smallest, largest, output, force)


BUDGET_HELP = """\
Examples:

  nqmjax budget --epochs 40 --dataset-size 50000
  nqmjax budget --steps 10000 --optimizers sgd ema --batch-sizes 2^2..2^14
"""


def budget(
    *,
    epochs: Number = None,
    dataset_size: Number = None,
    steps: Count = None,
    batch_sizes: Words = (),
    optimizers: Words = ("sgd", "heavy_ball"),
    fixed: Words = (),
    power: Annotated[float, Parameter(group=QUESTION, converter=number)] = 0.0,
    schedule: Annotated[str, Parameter(group=QUESTION)] = "step_decay",
    warmup: Annotated[float, Parameter(group=QUESTION, converter=number)] = 0.0,
    max_learning_rate: Number = None,
    problem: Problem = None,
    output: Output = None,
    force: Force = False,
) -> None:
    """Best loss and best rate against batch size, for so many epochs or so many steps.

    Args:
      epochs: Budget of passes over the data, with --dataset-size.
      dataset_size: Examples in one epoch.
      steps: Budget of updates instead.
      batch_sizes: Examples per update. [default: 2^0..2^16, as far as a budget of examples pays for ten updates]
      optimizers: sgd, heavy_ball, nesterov, qhm; with ema_ in front, averaged.
      fixed: Values of their hyperparameters, momentum=0.95.
      power: Preconditioner power p of H^p.
      schedule: Family of the rate: step_decay (Smith et al. 2020), constant, cosine, linear, exponential, inverse_sqrt, wsd.
      warmup: Share of the run that is warm-up.
      max_learning_rate: Cap of the peak rate, inf for none. [default: just inside the stability edge]
      output: The figure is OUTPUT.png (or x.pdf, x.svg) and the table OUTPUT.nc. [default: nqmjax-budget, or with a number]
    """
    from nqmjax.cli.commands import schedule_jobs as plan_jobs
    from nqmjax.cli.outputs import unused

    names = plan_jobs.names(optimizers)
    path = output or unused("nqmjax-budget", force, ".png", ".nc")
    question = (epochs, dataset_size, steps)
    family = (schedule, warmup, max_learning_rate)
    plan_jobs.budget(problem, question, batch_sizes, names, fixed, power, *family, path, force)


TRANSFER_HELP = """\
Rules for the rate when the batch grows by k: none (keep it), linear (times k),
sqrt (times the root of k), tuned (the best factor). Rates are in units of one
over the problem's curvatures, 1 the largest by default, and not those of a
network: what carries over are the factors on the rates of a tuned recipe.

Learning rates are in units where the largest curvature is 1: a network's rate
of 3e-4 is not one here. Multiply it by the largest eigenvalue of the network's
Hessian, or give the network's own spectrum with --spectrum.

Examples:

  nqmjax transfer --schedule cosine --learning-rate 0.1 --steps 20000 \\
                  --batch-size 32 --to 256
  nqmjax transfer --plan plan.csv --to 2^10
"""


def transfer(
    *,
    to: Annotated[str, Parameter(group=QUESTION)],
    plan: Annotated[Path | None, Parameter(group=QUESTION)] = None,
    schedule: Annotated[str, Parameter(group=QUESTION)] = "constant",
    learning_rate: Number = None,
    steps: Count = None,
    batch_size: Annotated[str | None, Parameter(group=QUESTION)] = None,
    max_learning_rate: Number = None,
    method: Method = None,
    problem: Problem = None,
    output: Output = None,
    force: Force = False,
) -> None:
    """Batch times k: what rate, and how many steps? A recipe under each rule.

    Args:
      to: New batch size, as in 256 or 2^8.
      plan: File of the plan that works.
      schedule: Without a plan: a family, see schedule compare --help.
      learning_rate: Without a plan: the peak rate.
      steps: Without a plan: updates of the run.
      batch_size: Without a plan: examples per update.
      max_learning_rate: Cap of tuned rates, inf for none. [default: just inside the stability edge]
      output: NetCDF file to write. [default: none]
    """
    from nqmjax.cli.commands import schedule_jobs as plan_jobs

    recipe = plan_jobs.Recipe(plan, schedule, learning_rate, steps, batch_size, None)
    plan_jobs.transfer(problem, method, recipe, to, max_learning_rate, output, force)


def register(app: App) -> None:
    """Add these commands to the application."""
    app.command(schedule)
    app.command(batch_schedule, name="batch-schedule", help_epilogue=RAMP_HELP)
    app.command(budget, help_epilogue=BUDGET_HELP)
    app.command(transfer, help_epilogue=TRANSFER_HELP)
