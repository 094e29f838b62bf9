"""Options of the commands about real training runs."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from nqmjax import _tools
from nqmjax import runs as training
from nqmjax._tools import check_choice, require
from nqmjax.cli.numbers import parse_names
from nqmjax.cli.options import QUESTION, number, whole

if TYPE_CHECKING:
    from nqmjax.runs import Limits, RunModel, Runs, RunSchedule, StepTable, StepTime

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

STEP_NAMES = ("N", "B", "seconds")
SECONDS = {"seconds": ("stepseconds", "time", "steptime", "secondsperstep")}
"""Other names of the column."""

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

    def read(self, path: Path) -> "Runs":
        """The runs of a file."""
        most = training.MAX_LOSS if self.max_loss is None else self.max_loss
        return training.read(path, training.RunSchedule(self.schedule, self.warmup), most)


@Parameter(name="*")
@dataclasses.dataclass
class FitOptions:
    """How laws are fitted."""

    starts: Annotated[int, Parameter(group=METHOD, converter=whole, help="Searches for each law.")] = 32
    robust: Annotated[
        float | None, _limit("Error of the log loss beyond which a run pulls less, 0.05 say.", METHOD, "plain least squares")
    ] = None
    seed: Annotated[int, Parameter(group=METHOD, converter=whole, help="Of the starts and the bootstrap.")] = 0

    def arguments(self) -> dict[str, Any]:
        """Arguments of `fit` and `compare_models`; what is not given keeps its default."""
        training.check_starts(self.starts, self.seed)
        good = self.robust is None or self.robust > 0
        require(good, "robust", self.robust, "give an error of the log loss above 0, or inf")
        given = {} if self.robust is None else {"robust": self.robust}
        return {"starts": self.starts, "seed": self.seed, **given}


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

    def build(self) -> "Limits":
        """The limits; what is not given keeps its default."""
        for name in ("parameter_bytes", "example_bytes"):
            value = getattr(self, name)
            require(value is None or self.memory is not None, name, value, "give --memory with it, or leave it out")
        times = ("step_seconds", "work_seconds", "step_table")
        given = {name: value for name, value in vars(self).items() if value is not None and name not in times}
        limits = training.Limits(**given, step_seconds=self._step_seconds())
        training.check_limits(limits)
        return limits

    def _step_seconds(self) -> "StepTime | StepTable | None":
        """How long a step takes, None if time is not limited."""
        fixed, work = self.step_seconds, self.work_seconds
        if self.step_table is not None:
            for name, value in {"step_seconds": fixed, "work_seconds": work}.items():
                require(value is None, name, value, "the table of measured steps says it; leave it or --step-table out")
            return step_table(self.step_table)
        if fixed is None and work is None:
            return None
        for name, value in {"step_seconds": fixed, "work_seconds": work}.items():
            require(value is not None, name, "missing", "give both --step-seconds and --work-seconds, or --step-table")
        assert fixed is not None
        assert work is not None
        for name, value in {"step_seconds": fixed, "work_seconds": work}.items():
            good = 0 <= value < math.inf and fixed + work > 0
            require(good, name, value, "give seconds, 0 or more, and one of the two above 0")
        return training.StepTime(fixed, work, 1.0 if self.devices is None else self.devices)


THE_READING, THE_FIT, NO_LIMITS = RunOptions(), FitOptions(), LimitOptions()
"""What is meant where no option is given."""


def step_table(path: Path) -> "StepTable":
    """Measured seconds of steps from a CSV file."""
    columns = _tools.Columns(STEP_NAMES, STEP_NAMES, training.ALIASES | SECONDS)
    table = _tools.read_table(_tools.input_file(path, *_tools.TEXT), columns)
    for name in STEP_NAMES:
        table.check(name, lambda values: values > 0, "give a number above 0")
    return training.StepTable(*(table.columns[name] for name in STEP_NAMES))


def parse_laws(words: Sequence[str]) -> list[str]:
    """Names of laws, those of a group in its place."""
    groups = {"auto": training.CANDIDATES, "all": tuple(training.LAWS)}
    chosen = parse_names(words)
    for name in chosen:
        check_choice("laws", name, [*groups, *training.LAWS])
    return list(dict.fromkeys(law for name in chosen for law in groups.get(name, [name])))


def run_schedule(model: "RunModel", family: str | None, warmup: float | None) -> "RunSchedule":
    """The schedule of the options, that of the runs fitted to where they say nothing."""
    schedule = model.schedule
    if family is not None and family != schedule.family:
        schedule = training.RunSchedule(family, schedule.warmup)
    return schedule if warmup is None else schedule._replace(warmup=warmup)
