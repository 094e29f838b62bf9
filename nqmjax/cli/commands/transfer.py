"""`nqmjax transfer`: a measured recipe at other batch sizes, in its own units."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from cyclopts import App, Group, Parameter

from nqmjax import figures, scaling
from nqmjax._tools import check_choice, check_values, require, write_atomically
from nqmjax.cli import reports
from nqmjax.cli.numbers import parse_numbers
from nqmjax.cli.options import METHOD, OUTPUT, QUESTION, Count, Force, Number, Output
from nqmjax.cli.outputs import IMAGES, beside, check_outputs, write_first

if TYPE_CHECKING:
    from nqmjax.scaling import AnchoredCurve, Devices, Observed

HELP = """\
TUNED.csv: the columns batch_size, steps (updates to one target, at the best
rate of each batch size) and, as far as known, learning_rate, standard_error (of
the steps) and label, if there are several curves. Two batch sizes suffice, the
further apart the better. Without a file, one run and a noise scale do, roughly.

Rates, updates and examples are those of your network. Intervals hold 90% of
tuned runs, if the law holds: the more batch sizes were measured, the narrower.

Optimizers: sgd, heavy_ball, nesterov, qhm, adam, adamw, nadam, adafactor, lamb,
rmsprop, sign, lion. Rates grow as the batch size for the first four and as its
square root for the others, until curvature limits them.

Examples:

  nqmjax example tuned-runs
  nqmjax transfer tuned-runs.csv --optimizer adamw --to 1024 4096 -o moved.csv
  nqmjax transfer --batch-size 256 --learning-rate 3e-4 --steps 50000 \\
                  --optimizer adamw --noise-scale 1.2e3 --to 2048
  How large a batch on 8 devices that take 32 examples each at a time, together
  2000 a second?
  nqmjax transfer tuned-runs.csv --optimizer adamw --to 256 1024 \\
                  --examples-per-second 2000 --devices 8 --per-device-batch 32

A recipe on a noisy quadratic, schedule included: nqmjax schedule transfer.
"""

DEVICES = Group("Devices", sort_key=2)


@Parameter(name="*")
@dataclasses.dataclass
class MeasuredRun:
    """What was measured, without a file or besides it."""

    batch_size: Annotated[Number, Parameter(help="Without a file: examples per update.")] = None
    learning_rate: Annotated[Number, Parameter(help="Without a file: the rate, if rates are wanted.")] = None
    steps: Annotated[Count, Parameter(help="Without a file: updates of the run.")] = None
    noise_scale: Annotated[
        Number, Parameter(help="Gradient noise scale in examples, as nqmjax noise-scale finds it; taken to a factor of 3.")
    ] = None
    critical_batch_size: Annotated[
        Number, Parameter(help="Critical batch size where it is known: fewest examples over fewest updates.")
    ] = None

    def build(self, tuned: Path | None) -> "list[Observed]":
        """The measured curves."""
        run = {name: getattr(self, name) for name in ("batch_size", "steps", "learning_rate")}
        if tuned is not None:
            for name, value in run.items():
                require(value is None, name, value, f"{tuned} has its own; leave one of them out")
            return scaling.read_observed(tuned)
        for name in ("batch_size", "steps"):
            require(run[name] is not None, name, "missing", "give that of the run, or a file of tuned runs")
        rate = None if self.learning_rate is None else [self.learning_rate]
        return [scaling.Observed([self.batch_size], [self.steps], rate, label="the run")]


@Parameter(name="*")
@dataclasses.dataclass
class MeasuredMethod:
    """With which optimizer, and what else goes with it."""

    optimizer: Annotated[str | None, Parameter(group=METHOD, help="See below. [default: what the labels say]")] = None
    momentum: Annotated[Number, Parameter(group=METHOD, help="Momentum of the runs. [default: 0.9]")] = None
    beta2: Annotated[Number, Parameter(group=METHOD, help="Of Adam and its kin, at the reference. [default: 0.999]")] = None
    warmup: Annotated[Number, Parameter(group=METHOD, help="Share of the run. [default: 0.05]")] = None
    reference: Annotated[
        Number, Parameter(group=METHOD, help="Batch size to compare with. [default: the largest that was measured]")
    ] = None

    def name(self, label: str) -> str:
        """The optimizer of a curve: the one that is given, or the one that the curve's label names."""
        if self.optimizer is not None:
            scaling.optimizer_name(self.optimizer)
            return self.optimizer
        try:
            scaling.optimizer_name(label)
        except ValueError:
            remedy = "give --optimizer: how rates grow with the batch size depends on it"
            require(False, "optimizer", "missing", remedy)
        return label

    def settings(self) -> dict[str, float]:
        """What `recipes` takes, as far as it is given."""
        given = {name: getattr(self, name) for name in ("momentum", "beta2", "warmup", "reference")}
        return {name: value for name, value in given.items() if value is not None}


@Parameter(name="*")
@dataclasses.dataclass
class DeviceOptions:
    """How fast it trains."""

    examples_per_second: Annotated[
        Number, Parameter(group=DEVICES, help="Of all devices together: examples of an epoch over its seconds.")
    ] = None
    devices: Annotated[Count, Parameter(group=DEVICES, help="How many there are. [default: 1]")] = None
    per_device_batch: Annotated[Number, Parameter(group=DEVICES, help="Examples that one takes at a time.")] = None

    def build(self) -> "Devices | None":
        """The devices, None if they are not asked about."""
        if all(value is None for value in vars(self).values()):
            return None
        remedy = "give the examples of an epoch over its seconds"
        require(self.examples_per_second is not None, "examples_per_second", "missing", remedy)
        assert self.examples_per_second is not None
        return scaling.Devices(self.examples_per_second, 1 if self.devices is None else self.devices, self.per_device_batch)


THE_RUN, THE_METHOD, THE_DEVICES = MeasuredRun(), MeasuredMethod(), DeviceOptions()

command = App(name="transfer", help_epilogue=HELP)


@command.default
def run(
    tuned: Path | None = None,
    /,
    *,
    to: Annotated[tuple[str, ...], Parameter(group=QUESTION, consume_multiple=True, negative=())],
    measured: MeasuredRun = THE_RUN,
    method: MeasuredMethod = THE_METHOD,
    devices: DeviceOptions = THE_DEVICES,
    fit: Annotated[Path | None, Parameter(group=OUTPUT)] = None,
    output: Output = None,
    force: Force = False,
) -> None:
    """Batch times k in your own units: rate, updates and cost, from a few tuned runs.

    Args:
      tuned: CSV file of tuned runs at several batch sizes.
      to: New batch sizes, as in 512 2^11 or 1024..8192.
      fit: Fit a noisy quadratic too (some seconds), show it beside, and write it: a .json for --problem. [default: none]
      output: The table is OUTPUT.csv and its figure OUTPUT.png (or x.pdf, x.svg). [default: none]
      force: Replace files that exist.
    """
    curves, batches, speed = measured.build(tuned), parse_numbers("to", to), devices.build()
    check_values("to", batches, np.isfinite(batches) & (batches >= 1), "give examples per update, at least 1")
    names = [method.name(one.label) for one in curves]
    outputs = None if output is None else _outputs(output, force, tuned)
    if fit is not None:
        check_choice("the suffix of fit", fit.suffix.lower(), [".json"])
        check_outputs([fit], force, tuned)
        require(len(curves) == 1, "the number of curves", len(curves), "a problem is fitted to one: give a file with one label")
    scale, knee = measured.noise_scale, measured.critical_batch_size
    found = [
        scaling.anchored_curve(one, name, noise_scale=scale, critical_batch_size=knee)
        for one, name in zip(curves, names, strict=True)
    ]
    tables = [scaling.recipes(one, batches, devices=speed, **method.settings()) for one in found]
    text = reports.recipes_report(found, names, tables, speed)
    if fit is not None:
        problem = scaling.fit_problem(curves[0], names[0])
        scaling.write_problem(problem, fit, force)
        text = f"{text}\n\n{reports.problem_report(problem, batches, fit)}"
    if outputs is None:
        print(text)
        return
    image, data = outputs

    def both(path: Path) -> None:
        figures.write_figure(figures.measured_figure(found, names, batches, {"command": reports.COMMAND.get()}), path)
        write_atomically(data, lambda place: place.write_text(csv_text(found, tables), encoding="utf-8"), force)

    write_first(lambda: write_atomically(image, both, force), text, data, image)


COLUMNS = ("batch_size", "learning_rate", "steps", "examples")


def csv_text(curves: "list[AnchoredCurve]", tables: list) -> str:
    """The recipes as CSV, a row for each batch size: rate, steps and examples with the ends of their intervals."""
    ends = [name + end for name in COLUMNS[1:] for end in ("", "_lower", "_upper")]
    rows = []
    for curve, table in zip(curves, tables, strict=True):
        for place, batch in enumerate(table.batch_size.values):
            values = [float(table[name].values[place]) if name in table else np.nan for name in ends]
            cells = [f"{batch:.10g}", *("" if np.isnan(value) else f"{value:.6g}" for value in values)]
            rows.append(",".join([_quoted(curve.observed.label), *cells] if len(curves) > 1 else cells))
    header = [*(["label"] if len(curves) > 1 else []), "batch_size", *ends]
    return "\n".join([",".join(header), *rows]) + "\n"


def _quoted(label: str) -> str:
    return '"' + label.replace('"', '""') + '"' if any(sign in label for sign in ',"\n') else label


def _outputs(output: Path, force: bool, source: Path | None) -> tuple[Path, Path]:
    """The names of the figure and of the table, whichever of them is named; both checked."""
    check_choice("the suffix of output", output.suffix.lower() or ".csv", [".csv", *IMAGES])
    image, data = beside(output, ".csv")
    check_outputs((image, data), force, source)
    return image, data
