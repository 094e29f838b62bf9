"""Options that say which plan, or how long a step takes."""

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from cyclopts import Parameter

from nqmjax import schedules
from nqmjax._tools import check_choice, require
from nqmjax.cli.numbers import one_number
from nqmjax.cli.options import QUESTION, Count, Number

if TYPE_CHECKING:
    from nqmjax.schedules import Plan, TimeModel

PLAN_PIECES = 10
"""Pieces of an optimal plan unless asked otherwise; fewer where the run has fewer updates."""


@Parameter(name="*")
@dataclasses.dataclass
class RecipeOptions:
    """Which plan: a file, or a family and its settings."""

    plan: Annotated[Path | None, Parameter(group=QUESTION, help="File of the plan that works.")] = None
    schedule: Annotated[str, Parameter(group=QUESTION, help="Without a plan: a family, see schedule compare --help.")] = (
        "constant"
    )
    learning_rate: Annotated[Number, Parameter(help="Without a plan: the peak rate.")] = None
    steps: Annotated[Count, Parameter(help="Without a plan: updates of the run.")] = None
    batch_size: Annotated[str | None, Parameter(group=QUESTION, help="Without a plan: examples per update.")] = None

    def build(self, pieces: int | None = None) -> "Plan":
        """The plan itself: in `pieces` of equal length, None for those of the family."""
        given = {name: getattr(self, name) for name in ("learning_rate", "steps", "batch_size")}
        if self.plan is not None:
            for name, value in given.items():
                require(value is None, name, value, "the plan has its own; leave it or --plan out")
            return schedules.read_plan(self.plan)
        for name, value in given.items():
            require(value is not None, name, "missing", f"give --{name.replace('_', '-')}, or a plan's file with --plan")
        check_choice("schedule", self.schedule, schedules.FAMILIES)
        assert self.learning_rate is not None
        assert self.steps is not None
        batch_size, family = one_number("batch_size", self.batch_size), schedules.FAMILIES[self.schedule]
        if pieces is None:
            return family.plan(self.learning_rate, batch_size, schedules.PIECES, {}, steps=self.steps)
        lengths = schedules.piece_lengths(self.steps, pieces)
        rates = schedules.means(family.phases(self.steps), np.concatenate([[0], np.cumsum(lengths)]))
        return schedules.Plan(self.learning_rate * rates, steps=lengths, batch_size=batch_size)


@Parameter(name="*")
@dataclasses.dataclass
class ClockOptions:
    """How long a run may take, and how long a step takes; None where one is not given."""

    seconds: Annotated[Number, Parameter(help="Time of the run instead.")] = None
    step_seconds: Annotated[Number, Parameter(help="Seconds that a step takes whatever its batch.")] = None
    example_seconds: Annotated[Number, Parameter(help="Seconds that each example of a batch adds.")] = None
    max_batch_size: Annotated[Number, Parameter(help="Largest batch that fits into memory.")] = None

    def build(self) -> "TimeModel | None":
        """Seconds per step, or None if time is not asked for."""
        if all(value is None for value in vars(self).values()):
            return None
        remedy = "give the seconds of a step and of an example, or neither"
        for name in ("step_seconds", "example_seconds"):
            require(getattr(self, name) is not None, name, "missing", remedy)
        assert self.step_seconds is not None
        assert self.example_seconds is not None
        largest = math.inf if self.max_batch_size is None else self.max_batch_size
        return schedules.TimeModel(self.step_seconds, self.example_seconds, largest)


THE_CLOCK = ClockOptions()
"""What is meant where no option is given."""
