"""`nqmjax schedule compare`: families of schedules, each at its best."""

from typing import Annotated

from cyclopts import App, Parameter

from nqmjax import figures, schedules
from nqmjax._tools import require
from nqmjax.cli import reports
from nqmjax.cli.numbers import one_number, parse_names
from nqmjax.cli.options import (
    ANY_OPTIMIZER,
    QUESTION,
    THE_PROBLEM,
    AnyOptimizerOptions,
    Force,
    Number,
    Output,
    ProblemOptions,
    Words,
    whole,
)
from nqmjax.cli.outputs import pair, watched, write_pair
from nqmjax.cli.reports import with_command

HELP = """\
Families: constant, step_decay (constant for half of the run, then ten drops),
cosine, linear, exponential, inverse_sqrt, wsd_linear, wsd_cosine, wsd_sqrt and
wsd_exponential (warm-up, stable, decay with that cooldown). Each is tuned: peak
rate, warm-up, final rate, length of the cooldown.

Examples:

  nqmjax schedule compare --batch-size 64 --steps 17000
  nqmjax schedule compare --batch-size 2^10 --steps 2000 \\
                          --optimizer heavy_ball --families cosine wsd_sqrt
  nqmjax schedule compare --batch-size 2^10 --steps 2000 --optimizer adam
"""


command = App(name="compare", help_epilogue=HELP)


@command.default
def run(
    *,
    batch_size: Annotated[str, Parameter(group=QUESTION)],
    steps: Annotated[int, Parameter(group=QUESTION, converter=whole)],
    families: Words = ("all",),
    max_learning_rate: Number = None,
    tune_warmup: Annotated[bool, Parameter(group=QUESTION)] = True,
    method: AnyOptimizerOptions = ANY_OPTIMIZER,
    problem: ProblemOptions = THE_PROBLEM,
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
    chosen = list(schedules.COMPARED) if parse_names(families) == ["all"] else parse_names(families)
    require(bool(chosen), "families", "empty", f"give all, or some of {', '.join(schedules.COMPARED)}")
    setting, optimizer, batch = problem.build(), method.build(), one_number("batch_size", batch_size)
    image, data = pair(output, "nqmjax-schedules", force, problem.spectrum)
    how = {"max_learning_rate": max_learning_rate, "tune_warmup": tune_warmup, "progress": watched()}
    table = with_command(schedules.compare(setting, optimizer, batch, steps, chosen, **how))
    write_pair(figures.comparison_figure(table), table, image, data, force, reports.comparison_report(table))
