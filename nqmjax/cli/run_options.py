"""Options of the commands about real training runs."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter

from nqmjax.cli.options import QUESTION, number, whole

LIMITS, SPACE, METHOD = (Group(name, sort_key=key) for key, name in ((0.2, "Limits"), (0.4, "Search"), (2, "Method")))


Real = Annotated[float | None, Parameter(group=QUESTION, converter=number)]


Family = Annotated[str | None, Parameter(group=QUESTION)]


ModelSize = Annotated[float | None, Parameter(name=("--N", "--model-size"), group=QUESTION, converter=number)]


BatchSize = Annotated[float | None, Parameter(name=("--B", "--batch-size"), group=QUESTION, converter=number)]


Steps = Annotated[float | None, Parameter(name=("--K", "--steps"), group=QUESTION, converter=number)]


Kind = Annotated[Literal["laplace", "bootstrap"] | None, Parameter(group=METHOD)]


Level = Annotated[float, Parameter(group=METHOD, converter=number)]


def _limit(help: str, group: Group = LIMITS, default: str = "") -> Any:
    return Parameter(group=group, converter=number, help=f"{help} [default: {default}]" if default else help)


@Parameter(name="*")
@dataclasses.dataclass
class RunOptions:
    """How a file of runs is read."""

    schedule: Annotated[str, Parameter(group=QUESTION, help="Schedule of runs whose file names none.")] = "cosine"
    warmup: Annotated[float, Parameter(group=QUESTION, converter=number, help="Warm-up of such runs, a share of the run.")] = (
        0.01
    )
    max_loss: Annotated[float | None, _limit("Largest loss that is taken for one, in nats per token.", QUESTION, "13.8")] = None


@Parameter(name="*")
@dataclasses.dataclass
class FitOptions:
    """How laws are fitted."""

    starts: Annotated[int, Parameter(group=METHOD, converter=whole, help="Searches for each law.")] = 32
    robust: Annotated[
        float | None, _limit("Error of the log loss beyond which a run pulls less, 0.05 say.", METHOD, "plain least squares")
    ] = None
    seed: Annotated[int, Parameter(group=METHOD, converter=whole, help="Of the starts and the bootstrap.")] = 0


@Parameter(name="*")
@dataclasses.dataclass
class LimitOptions:
    """What a run may cost, and where the best one is looked for."""

    seconds: Annotated[float | None, _limit("Wall-clock time of the run, with the times of a step.")] = None
    step_seconds: Annotated[float | None, _limit("Seconds of a step whatever its size.")] = None
    work_seconds: Annotated[float | None, _limit("Seconds that each parameter times example adds, on one device.")] = None
    step_table: Annotated[Path | None, Parameter(group=LIMITS, help="CSV file of measured steps instead: N,B,seconds.")] = None
    devices: Annotated[float | None, _limit("Devices that share a batch.", default="1")] = None
    memory: Annotated[float | None, _limit("Bytes of a device.")] = None
    parameter_bytes: Annotated[float | None, _limit("Bytes for each parameter.", default="16, with Adam's moments")] = None
    example_bytes: Annotated[float | None, _limit("Bytes for each example on a device.", default="0")] = None
    compute: Annotated[float | None, _limit("Compute, in the unit of the runs.")] = None
    examples: Annotated[float | None, _limit("Examples that there are.")] = None
    steps: Annotated[float | None, _limit("Updates.")] = None
    smallest_model: Annotated[float | None, _limit("Fewest parameters.", SPACE, "as seen")] = None
    largest_model: Annotated[float | None, _limit("Most parameters.", SPACE, "10^4 times what was seen")] = None
    smallest_batch: Annotated[float | None, _limit("Smallest batch.", SPACE, "as seen")] = None
    largest_batch: Annotated[float | None, _limit("Largest batch.", SPACE, "as seen")] = None


Reading = RunOptions | None


Fitting = FitOptions | None


Allowed = LimitOptions | None
