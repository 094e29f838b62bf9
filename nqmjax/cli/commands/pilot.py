"""`nqmjax pilot`: from a network of a user's own to its curve."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from nqmjax import _tools, figures, scaling, training
from nqmjax._tools import require, write_atomically
from nqmjax.cli import reports
from nqmjax.cli.modules import network_of, source_of
from nqmjax.cli.numbers import parse_assignments, parse_names, parse_numbers
from nqmjax.cli.options import QUESTION, Count, Force, Loss, Output, Words
from nqmjax.cli.outputs import beside, check_outputs, unused, watched, write_first
from nqmjax.cli.reports import with_command

if TYPE_CHECKING:
    import xarray as xr

HELP = """\
A module my_module.py in this directory:

  def make():
      params, data = ...                  # trees of arrays

      def loss(params, batch): ...        # mean loss of a batch, a number
      return loss, params, data

or with the outputs of a batch and the name of a loss, cross_entropy or
squared_error:

      return apply, params, (inputs, labels), "cross_entropy"

The first axis of all arrays in data counts examples; a batch is a part of it,
drawn with replacement.

Optimizers: sgd, heavy_ball, nesterov, qhm, adam, adamw, rmsprop, sign, lion,
lamb, lars; with ema_ in front the average of the iterates is scored, ema is
that of sgd. Their hyperparameters but the learning rate have their usual values
or those of --fixed.

Each optimizer is tuned at a large batch size and at a small one, and the law
between them says the rest. Trained elsewhere, in PyTorch say? Tune at two batch
sizes there, and give the runs as a table:

  label,batch_size,steps,learning_rate
  sgd,16,2900,0.02
  sgd,1024,140,0.35

Examples:

  nqmjax pilot                              a small network that is built in
  nqmjax pilot --model my_module:make --target 0.1 \\
               --optimizers sgd heavy_ball --batch-sizes 2..1024
  nqmjax pilot --runs tuned.csv --batch-sizes 2..4096
"""

SHARE = 0.2
"""Target for the network that is built in, of its loss at the start."""


@Parameter(name="*")
@dataclasses.dataclass
class PilotOptions:
    """How the pilots are made."""

    small: Annotated[Count, Parameter(help="Batch size of the small pilot. [default: 16]")] = None
    large: Annotated[Count, Parameter(help="Batch size of the large pilot. [default: the largest that is asked about]")] = None
    rates: Annotated[
        Words, Parameter(help="Learning rates that are tried first. [default: 2^-16..16]", show_default=False)
    ] = ()
    seeds: Annotated[Count, Parameter(help="Runs at each rate near the best one. [default: 2]")] = None
    max_steps: Annotated[Count, Parameter(help="Updates at the large batch size, at most. [default: 4000]")] = None
    evaluation: Annotated[Count, Parameter(help="Examples on which the loss is measured. [default: 2000]")] = None
    folder: Annotated[Path | None, Parameter(group=QUESTION, help="Keep runs there, to go on after an interrupt.")] = None

    def given(self) -> dict[str, Any]:
        """Those that are given."""
        found = {name: value for name, value in vars(self).items() if value is not None and name != "rates"}
        return found | ({"rates": parse_numbers("rates", self.rates)} if self.rates else {})


THE_PILOTS = PilotOptions()

command = App(name="pilot", help_epilogue=HELP)


@command.default
def run(
    *,
    model: Annotated[str | None, Parameter(group=QUESTION)] = None,
    target: Loss = None,
    optimizers: Words = ("sgd", "heavy_ball"),
    fixed: Words = (),
    batch_sizes: Words = ("2..1024",),
    pilots: PilotOptions = THE_PILOTS,
    runs: Annotated[Path | None, Parameter(group=QUESTION)] = None,
    output: Output = None,
    force: Force = False,
) -> None:
    """From a network of your own to its curve: a few runs, and updates and rates at any batch size.

    Trains it at two batch sizes with each optimizer, at rates that are searched for,
    and prints updates, learning rates and critical batch sizes with intervals.
    Writes a table of everything, a figure, and the tuned runs.

    Args:
      model: MODULE:FUNCTION or FILE.py:FUNCTION, which returns the network; see below. [default: a small network]
      target: Training loss to reach. [default: a fifth of that at the start, for the network that is built in]
      optimizers: One or more names; see below.
      fixed: Values of hyperparameters, for the optimizers that have them; momentum=0.95, beta2=0.95.
      batch_sizes: Examples per update to ask about; 2..1024 doubles from 2 to 1024.
      runs: CSV file of tuned runs made elsewhere, instead of training; see below.
      output: The table is OUTPUT.nc, the figure OUTPUT.png, tuned runs OUTPUT.csv. [default: nqmjax-pilot, or with a number]
    """
    batches = parse_numbers("batch_sizes", batch_sizes)
    if runs is not None:
        for name, value in {"model": model, "target": target, **pilots.given()}.items():
            require(value is None, name, value, f"{runs} has runs already; leave one of them out")
        curves = scaling.read_observed(runs)
    image, data = beside(output or unused("nqmjax-pilot", force, ".png", ".nc", ".csv"), ".nc", ".csv")
    tuned = data.with_suffix(".csv") if runs is None else None
    outputs = [image, data, *([] if tuned is None else [tuned])]
    check_outputs(outputs, force, source_of(model), runs)
    if runs is not None:
        table = training.forecast(curves, batches)
    else:
        task = _task(model)
        remedy = f"give a training loss below that at the start, {task.first_loss:.4g}"
        require(target is not None or model is None, "target", "missing", remedy)
        goal = SHARE * task.first_loss if target is None else target
        names, values = parse_names(optimizers), parse_assignments("fixed", fixed)
        table = training.pilot(task, names, batches, goal, fixed=values, progress=watched(), **pilots.given())
        curves = training.tuned_runs(table)
    table = with_command(table)
    drawn = _figure(curves, batches, table)

    def write() -> None:
        if tuned is not None:
            scaling.write_observed(curves, tuned, force)
        _tools.save_dataset(table, data, force)
        write_atomically(image, lambda path: figures.write_figure(drawn, path), force)

    write_first(write, reports.pilot_report(table, tuned), *outputs[1:], image)


def _task(model: str | None) -> "training.Task":
    function, params, data, loss = network_of(model)
    return training.Task(function, params, data, loss=loss, name=model or "a small network that is built in")


def _figure(curves: list, batches: Any, table: "xr.Dataset") -> Any:
    """The curves of all optimizers."""
    laws = [scaling.anchored_curve(one, training.habits_of(one.label)) for one in curves]
    known = {"problem": table.attrs.get("task"), "command": table.attrs["command"]}
    if "target" in table.attrs:
        known["problem"] = f"{known['problem']}; training loss {table.attrs['target']:.4g} to be reached"
    about = {name: text for name, text in known.items() if text}
    return figures.measured_figure(laws, [one.label for one in curves], batches, about)
