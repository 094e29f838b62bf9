"""What the options of the commands about plans ask for: a recipe, a question, the seconds of a step."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nqmjax._tools import check_choice, require
from nqmjax.cli.numbers import parse_numbers
from nqmjax.schedules import FAMILIES, PIECES, Plan, TimeModel, means, piece_lengths, read_plan

PLAN_PIECES = 10
"""Pieces of an optimal plan unless asked otherwise; fewer where the run has fewer updates."""


class Recipe(NamedTuple):
    """The options that say which plan: a file, or a family and its settings."""

    plan: Path | None
    schedule: str
    learning_rate: float | None
    steps: int | None
    batch_size: str | None
    equal_pieces: int | None
    """Pieces of equal length; None for those of the family."""

    def build(self) -> Plan:
        """The plan itself."""
        given = {name: getattr(self, name) for name in ("learning_rate", "steps", "batch_size")}
        if self.plan is not None:
            for name, value in given.items():
                require(value is None, name, value, "the plan has its own; leave it or --plan out")
            return read_plan(self.plan)
        for name, value in given.items():
            require(value is not None, name, "missing", f"give --{name.replace('_', '-')}, or a plan's file with --plan")
        check_choice("schedule", self.schedule, FAMILIES)
        assert self.learning_rate is not None
        assert self.steps is not None
        batch_size, family = one_number("batch_size", self.batch_size), FAMILIES[self.schedule]
        if self.equal_pieces is None:
            return family.plan(self.learning_rate, batch_size, PIECES, {}, steps=self.steps)
        lengths = piece_lengths(self.steps, self.equal_pieces)
        rates = means(family.phases(self.steps), np.concatenate([[0], np.cumsum(lengths)]))
        return Plan(self.learning_rate * rates, steps=lengths, batch_size=batch_size)


class Question(NamedTuple):
    """What `nqmjax schedule optimize` is to find."""

    batch_size: str | None
    steps: int | None
    target: float | None
    pieces: int | None
    over: Sequence[str]
    ramp: bool
    max_learning_rate: float | None


class Clock(NamedTuple):
    """The options that say how long a step takes; None where one is not given."""

    seconds: float | None
    step_seconds: float | None
    example_seconds: float | None
    max_batch_size: float | None

    def model(self) -> TimeModel | None:
        """Seconds per step, or None if time is not asked for."""
        if all(value is None for value in self):
            return None
        for name in ("step_seconds", "example_seconds"):
            require(
                getattr(self, name) is not None, name, "missing", "give the seconds of a step and of an example, or neither"
            )
        assert self.step_seconds is not None
        assert self.example_seconds is not None
        return TimeModel(
            self.step_seconds, self.example_seconds, math.inf if self.max_batch_size is None else self.max_batch_size
        )


def names(words: Sequence[str]) -> list[str]:
    """Names with commas or spaces between them."""
    return [name.replace("-", "_") for word in words for name in word.lower().split(",") if name]


def one_number(argument: str, text: str | None) -> float:
    """A single number, as in 64 or 2^6."""
    numbers = parse_numbers(argument, [text or ""])
    require(numbers.size == 1, argument, text, "give one number")
    return float(numbers[0])
