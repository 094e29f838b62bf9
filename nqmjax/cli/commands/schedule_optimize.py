"""`nqmjax schedule optimize`: the best possible plan, piece by piece."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np
from cyclopts import App, Parameter

from nqmjax import schedules
from nqmjax._tools import require
from nqmjax.cli.numbers import one_number, parse_names
from nqmjax.cli.options import (
    QUESTION,
    THE_OPTIMIZER,
    THE_PROBLEM,
    Count,
    Force,
    Loss,
    Number,
    OptimizerOptions,
    Output,
    ProblemOptions,
    Words,
)
from nqmjax.cli.outputs import watched
from nqmjax.cli.plan_files import plan_outputs, save_plan
from nqmjax.cli.plan_options import PLAN_PIECES, THE_CLOCK, ClockOptions

if TYPE_CHECKING:
    from nqmjax.optimizers import LinearOptimizer
    from nqmjax.problem import NoisyQuadratic
    from nqmjax.schedules import OptimizedPlan, PlanToTarget, TimedPlan

HELP = """\
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


class Question(NamedTuple):
    """What is to be found, and how."""

    batch_size: str | None
    steps: int | None
    target: float | None
    pieces: int | None
    over: Sequence[str]
    ramp: bool
    max_learning_rate: float | None


command = App(name="optimize", help_epilogue=HELP)


@command.default
def run(
    *,
    batch_size: Annotated[str | None, Parameter(group=QUESTION)] = None,
    steps: Count = None,
    target: Loss = None,
    clock: ClockOptions = THE_CLOCK,
    pieces: Count = None,
    over: Words = ("learning_rate",),
    ramp: Annotated[bool, Parameter(group=QUESTION, negative=(), show_default=False)] = False,
    max_learning_rate: Number = None,
    method: OptimizerOptions = THE_OPTIMIZER,
    problem: ProblemOptions = THE_PROBLEM,
    output: Output = None,
    force: Force = False,
) -> None:
    """The best possible plan, piece by piece.

    Args:
      batch_size: Examples per update, as in 64 or 2^6.
      steps: Updates of the run.
      target: Loss to reach instead, the irreducible loss included.
      pieces: Pieces of the plan, of equal length. [default: 10, or one for each update]
      over: What changes from piece to piece: learning_rate, momentum, decay, nu.
      ramp: Let the batch size change too, with as many examples in all.
      max_learning_rate: Cap of the rate, inf for none. [default: just inside the stability edge]
      output: Plan to write, .csv or .json, or its figure, .png, .pdf or .svg; the other stands beside it. [default:
        nqmjax-plan.csv, or with a number]
    """
    question = Question(batch_size, steps, target, pieces, over, ramp, max_learning_rate)
    setting, optimizer, time = problem.build(), method.build(), clock.build()
    outputs = plan_outputs(output, "nqmjax-plan", force, problem.spectrum)
    found = find_plan(setting, optimizer, question, clock)
    if found.plan is None:
        word = "it is met before the first update" if found.steps == 0 else "no plan reaches it in 2^31 updates"
        print(f"Target {target:g}: {word}. Nothing is written.")
        return
    plan, notes = found.plan.whole_batches(), []
    if target is not None:  # rounded down, the plan might miss it
        plan = found.plan.replace(batch_size=np.ceil(found.plan.batch_size * (1 - 1e-12)))
    if time is not None:
        notes.append(f"Time: {time.seconds(plan):,.6g} seconds.")
    if not found.converged:
        notes.append("The optimisation did not converge: this is the best plan found, and a better one may exist.")
    if plan.learning_rate.max() >= schedules.chosen_cap(setting, optimizer, max_learning_rate) * (1 - schedules.AT_CAP):
        notes.append("The largest rate is the cap, --max-learning-rate: a higher one might do better.")
    if any(found.plan.batch_size != plan.batch_size):
        notes.append(f"With batch sizes that need not be whole the final loss is {found.risk:.6g}.")
    save_plan(plan, setting, optimizer, notes, outputs, force)


def find_plan(
    setting: "NoisyQuadratic", optimizer: "LinearOptimizer", question: Question, clock: ClockOptions
) -> "OptimizedPlan | PlanToTarget | TimedPlan":
    """The best plan for a number of steps, a target or a time, whichever is given."""
    asked = {"steps": question.steps, "target": question.target, "seconds": clock.seconds}
    given = [name for name, value in asked.items() if value is not None]
    require(len(given) == 1, "what to find", " and ".join(given) or "missing", "give one of --steps, --target and --seconds")
    how = {"over": parse_names(question.over), "max_learning_rate": question.max_learning_rate}
    pieces, time = PLAN_PIECES if question.pieces is None else question.pieces, clock.build()
    if time is not None:
        how |= {"constant_batch": not question.ramp, "progress": watched()}
        require(question.steps is None, "steps", question.steps, "against the clock the number of steps is found; leave it out")
        remedy = "against the clock the batch size is found; leave it out"
        require(question.batch_size is None, "batch_size", question.batch_size, remedy)
        if clock.seconds is not None:
            return schedules.best_plan_in_time(setting, optimizer, clock.seconds, time, pieces, **how)
        assert question.target is not None
        return schedules.fastest_plan(setting, optimizer, question.target, time, pieces, **how)
    require(question.batch_size is not None, "batch_size", "missing", "give --batch-size, or the seconds of a step")
    batch_size = one_number("batch_size", question.batch_size)
    if question.target is not None:
        require(not question.ramp, "ramp", "set", "with a target give the seconds of a step, or ask for --steps")
        return schedules.steps_to_target_with_schedule(setting, optimizer, batch_size, question.target, pieces, **how)
    assert question.steps is not None
    pieces = min(pieces, max(question.steps, 1)) if question.pieces is None else pieces
    examples = batch_size * question.steps if question.ramp else None
    return schedules.optimize_schedule(setting, optimizer, batch_size, question.steps, pieces, examples=examples, **how)
