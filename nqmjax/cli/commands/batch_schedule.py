"""`nqmjax batch-schedule`: the best batch sizes for given rates."""

import dataclasses
import math
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from nqmjax import schedules
from nqmjax.cli.options import (
    QUESTION,
    THE_OPTIMIZER,
    THE_PROBLEM,
    Count,
    Force,
    Number,
    OptimizerOptions,
    Output,
    ProblemOptions,
    number,
)
from nqmjax.cli.plan_files import plan_outputs, save_plan
from nqmjax.cli.plan_options import PLAN_PIECES, RecipeOptions

HELP = """\
Examples:

  nqmjax batch-schedule --learning-rate 0.5 --steps 5000 --batch-size 64
  nqmjax batch-schedule --schedule cosine --learning-rate 0.5 --steps 5000 \\
                        --batch-size 64 --largest 512
  nqmjax batch-schedule --plan plan.csv --examples 1e6 -o ramp.json
"""


@Parameter(name="*")
@dataclasses.dataclass
class RampOptions(RecipeOptions):
    """Which plan's batch sizes are to be replaced."""

    plan: Annotated[Path | None, Parameter(group=QUESTION, help="File of the plan whose batch sizes are to be replaced.")] = (
        None
    )
    batch_size: Annotated[str | None, Parameter(group=QUESTION, help="Without a plan: mean examples per update.")] = None


THE_RECIPE = RampOptions()


command = App(name="batch-schedule", help_epilogue=HELP)


@command.default
def run(
    *,
    recipe: RampOptions = THE_RECIPE,
    pieces: Count = None,
    examples: Number = None,
    smallest: Annotated[float, Parameter(group=QUESTION, converter=number)] = 1.0,
    largest: Number = None,
    method: OptimizerOptions = THE_OPTIMIZER,
    problem: ProblemOptions = THE_PROBLEM,
    output: Output = None,
    force: Force = False,
) -> None:
    """When to raise the batch, and by how much: the best batch sizes for given rates.

    Args:
      pieces: Without a plan: its pieces, of equal length. [default: 10, or one for each update]
      examples: Budget of examples. [default: as many as the plan]
      smallest: Least batch size.
      largest: Greatest batch size. [default: no limit]
      output: Plan to write, .csv or .json, or its figure, .png, .pdf or .svg; the other stands beside it. [default:
        nqmjax-batch-schedule.csv, or with a number]
    """
    plan = recipe.build(min(PLAN_PIECES, recipe.steps or 1) if pieces is None else pieces)
    setting, optimizer = problem.build(), method.build()
    outputs = plan_outputs(output, "nqmjax-batch-schedule", force, problem.spectrum, recipe.plan)
    budget = float(plan.total_examples) if examples is None else examples
    limits = {"smallest": smallest, "largest": math.inf if largest is None else largest}
    found = schedules.optimal_batch_sizes(setting, optimizer, plan, budget, **limits).whole_batches()
    mean = budget / plan.total_steps
    before = float(schedules.run(setting, optimizer, plan.replace(batch_size=mean))[-1])
    note = f"With the same batch size throughout, {mean:,.6g}, the final loss is {before:.6g}."
    save_plan(found, setting, optimizer, [note], outputs, force)
