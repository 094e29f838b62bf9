"""The commands about real training runs, fit, predict, plan and compare-models, and their help."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from nqmjax.cli.options import OUTPUT, OUTPUT_NAMES, QUESTION, Force, Output, Words, number
from nqmjax.cli.run_options import (
    METHOD,
    SPACE,
    Allowed,
    BatchSize,
    Family,
    FitOptions,
    Fitting,
    Kind,
    Level,
    LimitOptions,
    ModelSize,
    Reading,
    Real,
    RunOptions,
    Steps,
)

LAWS_HELP = """\
Laws: adam (the noisy quadratic system under an adaptive method), sized (rate,
noise and a delay at the start change with model size), capacity (small models
use less of their size); with _constant, the same at a constant rate; chinchilla
and kaplan (laws of others, without schedules); these eight are the group auto.
Also discrete, free_noise and weight_norm (options of adam) and published (Li &
Maddison 2026). See LAWS of nqmjax.runs.fit."""


RUNS_HELP = """\
Files of runs: CSV with the columns N (parameters), B (examples per update), K
(updates), loss (nats per token) and, as far as known, learning_rate (peak),
schedule, warmup, final, cooldown, group or type, weight, exclude or filtered,
and C (compute, in any one unit; by default parameters times examples)."""


FIT_HELP = f"""\
Left to itself it fits the laws of the group auto to all runs, to all but each
budget of compute, and to the runs up to each budget, and averages all but those
that predict what was left out far worse than the best.

{RUNS_HELP}

{LAWS_HELP}

Examples:

  nqmjax fit runs.csv
  nqmjax fit runs.csv -o small.json --laws chinchilla kaplan
  nqmjax fit runs.csv --schedule wsd --warmup 0.05 --robust 0.05 --force
"""


def fit(
    runs: Path,
    /,
    *,
    laws: Words = ("auto",),
    reading: Reading = None,
    fitting: Fitting = None,
    output: Annotated[Path, Parameter(name=OUTPUT_NAMES, group=OUTPUT)] = Path("model.json"),
    force: Force = False,
) -> None:
    """Fit a model of the loss to training runs, with intervals that are checked.

    Prints which laws predict best and what the runs tell of their parameters;
    writes the model, for predict and plan, and two figures of how well it fits.

    Args:
      runs: File of runs; see below.
      laws: Which ones to choose from; auto, all, or names below.
      output: Model to write, MODEL.json; the figures are MODEL.png and MODEL-curves.png, or as in MODEL.pdf, MODEL.svg.
    """
    from nqmjax.cli.commands import run_jobs as fit_jobs

    fit_jobs.fit(runs, laws, reading or RunOptions(), fitting or FitOptions(), output, force)


COMPARE_HELP = f"""\
{RUNS_HELP}

{LAWS_HELP}

Examples:

  nqmjax compare-models runs.csv
  nqmjax compare-models runs.csv --laws sized published chinchilla -o errors.nc
"""


def compare_models(
    runs: Path,
    /,
    *,
    laws: Words = ("all",),
    reading: Reading = None,
    fitting: Fitting = None,
    output: Output = None,
    force: Force = False,
) -> None:
    """Which law predicts runs that were left out best?

    Args:
      runs: File of runs; see below.
      laws: Which ones; all, auto, or names below.
      output: NetCDF file to write. [default: none]
    """
    from nqmjax.cli.commands import run_jobs as fit_jobs

    fit_jobs.compare_models(runs, laws, reading or RunOptions(), fitting or FitOptions(), output, force)


PREDICT_HELP = """\
Give the settings of one run, or a file of many: CSV with the columns N, B and K
and, as far as known, learning_rate, schedule, warmup, final and cooldown. The
answers have the columns N, B, K, loss, lower and upper, in the same order.

Examples:

  nqmjax predict model.json --N 1e9 --B 512 --K 2e4
  nqmjax predict model.json --runs ask.csv -o answer.csv
  nqmjax predict model.json --N 1e9 --plan plan.csv --level 0.5
"""


def predict(
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
    from nqmjax.cli.commands import predict_jobs

    one = predict_jobs.Run(model_size, batch_size, steps, learning_rate, plan)
    accuracy = predict_jobs.Accuracy(level, interval)
    predict_jobs.predict(model, runs, one, (schedule, warmup), accuracy, details, output, force)


PLAN_HELP = """\
Give at least one of --seconds, --compute, --examples and --steps. A step takes
--step-seconds plus --work-seconds times N times B over the devices; or give a
table of measured ones, CSV with the columns N, B and seconds.

Examples:

  nqmjax plan model.json --compute 1e9
  nqmjax plan model.json --seconds 86400 --step-seconds 0.02 \\
                         --work-seconds 1e-11 --devices 8 --memory 80e9
  nqmjax plan model.json --seconds 3600 --step-table times.csv --model-size 1e9
  nqmjax plan model.json --examples 1e7 --largest-model 1e9 -o results/small
"""


def plan(
    model: Path,
    /,
    *,
    limits: Allowed = None,
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
    from nqmjax.cli.commands import run_jobs as fit_jobs
    from nqmjax.cli.outputs import unused

    path = output or unused("nqmjax-run-plan", force, ".png", ".nc")
    fit_jobs.plan(model, limits or LimitOptions(), (model_size, batch_size), (schedule, warmup), level, path, force)


def register(app: App) -> None:
    """Add these commands to the application."""
    app.command(fit, help_epilogue=FIT_HELP)
    app.command(predict, help_epilogue=PREDICT_HELP)
    app.command(plan, help_epilogue=PLAN_HELP)
    app.command(compare_models, name="compare-models", help_epilogue=COMPARE_HELP)
