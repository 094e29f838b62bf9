"""`nqmjax schedule transfer`: a recipe on a noisy quadratic at another batch size."""

from typing import Annotated

from cyclopts import App, Parameter

from nqmjax import schedules
from nqmjax.cli import reports
from nqmjax.cli.numbers import one_number
from nqmjax.cli.options import (
    ANY_OPTIMIZER,
    QUESTION,
    THE_PROBLEM,
    AnyOptimizerOptions,
    Force,
    Number,
    Output,
    ProblemOptions,
)
from nqmjax.cli.outputs import check_table, watched, write_table
from nqmjax.cli.plan_options import RecipeOptions
from nqmjax.cli.reports import with_command

HELP = """\
Rules for the rate when the batch grows by k: none (keep it), linear (times k),
sqrt (times the root of k), tuned (the best factor); of adam and its kin also
sqrt_betas (besides, each 1 - beta times k). Rates are in units of one over the
problem's curvatures, 1 the largest by default (of adam, of the parameters), and
not those of a network: what carries over are the factors on the rates of a
tuned recipe.

Learning rates are in units where the largest curvature is 1: a network's rate
of 3e-4 is not one here. Multiply it by the largest eigenvalue of the network's
Hessian, or give the network's own spectrum with --spectrum.

Examples:

  nqmjax schedule transfer --schedule cosine --learning-rate 1.5 \\
                           --steps 20000 --batch-size 32 --to 256
  nqmjax schedule transfer --plan plan.csv --to 2^10
  nqmjax schedule transfer --optimizer adamw --fixed weight_decay=0.1 \\
          --learning-rate 3e-3 --steps 4000 --batch-size 256 --to 1024

In the units of your own runs, from a table of them: nqmjax transfer.
"""

THE_RECIPE = RecipeOptions()


command = App(name="transfer", help_epilogue=HELP)


@command.default
def run(
    *,
    to: Annotated[str, Parameter(group=QUESTION)],
    recipe: RecipeOptions = THE_RECIPE,
    max_learning_rate: Number = None,
    method: AnyOptimizerOptions = ANY_OPTIMIZER,
    problem: ProblemOptions = THE_PROBLEM,
    output: Output = None,
    force: Force = False,
) -> None:
    """Batch times k: what rate, and how many steps? A recipe under each rule.

    Args:
      to: New batch size, as in 256 or 2^8.
      max_learning_rate: Cap of tuned rates, inf for none. [default: just inside the stability edge]
      output: NetCDF file to write. [default: none]
    """
    setting, optimizer, plan, batch = problem.build(), method.build(), recipe.build(), one_number("to", to)
    check_table(output, force, problem.spectrum, recipe.plan)
    how = {"max_learning_rate": max_learning_rate, "progress": watched()}
    table = with_command(schedules.transfer(setting, optimizer, plan, batch, **how))
    write_table(table, output, force, reports.transfer_report(table))
