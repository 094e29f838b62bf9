"""`nqmjax budget`: best loss and best rate against batch size."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import numpy as np
from cyclopts import App, Parameter

from nqmjax import figures, nonlinear, schedules
from nqmjax import optimizers as methods
from nqmjax._tools import check_choice, require
from nqmjax.cli import reports
from nqmjax.cli.numbers import parse_assignments, parse_names, parse_numbers
from nqmjax.cli.options import (
    QUESTION,
    THE_PROBLEM,
    Count,
    Force,
    Number,
    OptimizerOptions,
    Output,
    ProblemOptions,
    Words,
    number,
)
from nqmjax.cli.outputs import pair, watched, write_pair
from nqmjax.cli.reports import with_command

if TYPE_CHECKING:
    import xarray as xr

    from nqmjax.optimizers import LinearOptimizer

HELP = """\
Examples:

  nqmjax budget --epochs 40 --dataset-size 50000
  nqmjax budget --steps 10000 --optimizers sgd ema --batch-sizes 2^2..2^14
"""


command = App(name="budget", help_epilogue=HELP)


@command.default
def run(
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
    problem: ProblemOptions = THE_PROBLEM,
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
    examples = budget_of_examples(epochs, dataset_size)
    require((examples is None) != (steps is None), "the budget", "unclear", "give --epochs with --dataset-size, or --steps")
    chosen, setting = build_optimizers(parse_names(optimizers), fixed, power), problem.build()
    batches = parse_numbers("batch_sizes", batch_sizes) if batch_sizes else default_batch_sizes(examples)
    image, data = pair(output, "nqmjax-budget", force, problem.spectrum)
    how = {"examples": examples, "steps": steps, "family": schedule, "warmup": warmup}
    how |= {"max_learning_rate": max_learning_rate, "progress": watched()}
    curves = {name: schedules.budget_curve(setting, optimizer, batches, **how) for name, optimizer in chosen.items()}
    if examples is not None:
        curves = {name: curve.assign(schedules.budget_regimes(curve)._asdict()) for name, curve in curves.items()}
    table = with_command(joined(curves))
    write_pair(figures.budget_figure(table), table, image, data, force, reports.budget_report(table))


def budget_of_examples(epochs: float | None, dataset_size: float | None) -> float | None:
    """Examples of so many passes over the data; None where no such budget is given."""
    for name, value, other in (("epochs", epochs, dataset_size), ("dataset_size", dataset_size, epochs)):
        require(value is not None or other is None, name, "missing", "a budget of epochs is --epochs and --dataset-size")
    if epochs is None or dataset_size is None:
        return None
    for name, value in {"epochs": epochs, "dataset_size": dataset_size}.items():
        require(value > 0, name, value, "give a number above 0")
    return epochs * dataset_size


def build_optimizers(names: Sequence[str], fixed: Sequence[str], power: float) -> "dict[str, LinearOptimizer]":
    """The optimizers by their names, each with those of the fixed values that it has."""
    require(bool(names), "optimizers", "empty", f"give some of {', '.join(nonlinear.TEMPLATES)}")
    for name in names:
        check_choice("optimizer", name, nonlinear.TEMPLATES)
    known = {name: list(methods.hyperparameters(nonlinear.TEMPLATES[name])) for name in names}
    values = parse_assignments("fixed", fixed)
    for key in values:
        check_choice("fixed", key, list(dict.fromkeys(key for keys in known.values() for key in keys)))
    held = {name: tuple(f"{key}={values[key]}" for key in values if key in known[name]) for name in names}
    return {name: OptimizerOptions(name, held[name], power).build() for name in names}


def joined(curves: "dict[str, xr.Dataset]") -> "xr.Dataset":
    """The curves of all optimizers in one table."""
    import xarray as xr

    index = xr.DataArray(list(curves), dims="optimizer", name="optimizer")
    table = xr.concat(list(curves.values()), index, combine_attrs="drop_conflicts")
    assert isinstance(table, xr.Dataset)
    return table.assign_attrs(optimizer="; ".join(curve.optimizer for curve in curves.values()))


def default_batch_sizes(examples: float | None) -> np.ndarray:
    """Powers of two up to 2^16 of which a budget of examples pays for ten updates, or one if it is so small."""
    largest = min(16, max(0, math.floor(math.log2(max(examples / 10, 1))))) if examples is not None else 16
    return 2.0 ** np.arange(largest + 1)
