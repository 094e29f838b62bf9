"""`nqmjax fit`: a model of real training runs."""

import dataclasses
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from nqmjax import figures
from nqmjax import runs as training
from nqmjax._tools import check_choice, write_atomically
from nqmjax.cli import reports
from nqmjax.cli.options import OUTPUT, OUTPUT_NAMES, Force, Words
from nqmjax.cli.outputs import IMAGES, beside, check_outputs, watched, write_first
from nqmjax.cli.reports import COMMAND, with_command
from nqmjax.cli.run_options import LAWS_HELP, RUNS_HELP, THE_FIT, THE_READING, FitOptions, RunOptions, parse_laws

HELP = f"""\
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


command = App(name="fit", help_epilogue=HELP)


@command.default
def run(
    runs: Path,
    /,
    *,
    laws: Words = ("auto",),
    reading: RunOptions = THE_READING,
    fitting: FitOptions = THE_FIT,
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
    check_choice("the suffix of output", output.suffix.lower(), [".json", *IMAGES])
    image, output = beside(output, ".json")
    curves = image.with_name(f"{image.stem}-curves{image.suffix}")
    found, chosen, how = reading.read(runs), parse_laws(laws), fitting.arguments()
    check_outputs((output, image, curves), force, runs)
    fitted = training.fit(found, chosen, **how, progress=watched())
    model = dataclasses.replace(fitted, summary=(*fitted.summary, f"fitted by: {COMMAND.get()}"))
    training.write_model(model, output, force)  # before anything that might fail
    table = with_command(training.predict(fitted, found.settings))
    about = {"command": COMMAND.get()}
    pictures = {image: figures.fit_figure(found, table), curves: figures.iso_figure(found, fitted, about)}

    def write_pictures() -> None:
        for path, picture in pictures.items():
            write_atomically(path, lambda temporary, picture=picture: figures.write_figure(picture, temporary), force)

    write_first(write_pictures, reports.fit_report(found, fitted, table), output, image, curves)
