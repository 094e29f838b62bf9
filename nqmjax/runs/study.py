r"""What all fits to one table of runs share: the runs as arrays, how laws are searched, and the folds that test them.

Two kinds of folds, each of runs held back from the fit: some budgets of compute out of all ("budget"), and all budgets above
one ("forward").
"""

import dataclasses
import functools
import math
from typing import NamedTuple

import numpy as np

from nqmjax._tools import require
from nqmjax.runs.laws import Inputs, law_inputs
from nqmjax.runs.table import Runs

OUT, FORWARD = 4, 4
"""Folds of each kind at most: of more budgets, neighbours are left out together, and forward folds are those of the largest."""


class Fold(NamedTuple):
    """Runs to fit to, the others to be predicted: one budget or neighbours out of all, or all budgets above one."""

    kind: str
    budget: float
    train: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Study:
    """Runs, and how laws are fitted to them and to folds of them.

    Args:
      runs: see `nqmjax.runs.make`.
      starts: searches for each law.
      robust: error of the log loss beyond which a run pulls less; inf for plain least squares.
      seed: of the starts and of the bootstrap.
      tests: folds, see `folds`.
    """

    runs: Runs
    starts: int = 32
    robust: float = math.inf
    seed: int = 0
    tests: tuple[Fold, ...] = ()

    @functools.cached_property
    def inputs(self) -> Inputs:
        """Settings of the runs as laws take them."""
        return law_inputs(self.runs.settings)

    @functools.cached_property
    def target(self) -> np.ndarray:
        """Logarithms of the losses."""
        return np.log(self.runs.loss)

    @functools.cached_property
    def forward(self) -> np.ndarray:
        """Places of the forward folds among the tests, from the smallest budget up."""
        return np.array([place for place, test in enumerate(self.tests) if test.kind == "forward"], dtype=int)

    def held_back(self, test: Fold) -> np.ndarray:
        """Which runs a fold leaves out, those of weight 0 apart."""
        return ~test.train & (self.runs.weight > 0)


def check_starts(starts: int, seed: int) -> None:
    """Raise `ValueError` for what is no number of searches or no seed."""
    for name, value, least in (("starts", starts, 1), ("seed", seed, 0)):
        valid = isinstance(value, int | np.integer) and value >= least
        require(valid, name, repr(value), f"give a whole number, at least {least}")


def folds(runs: Runs, parameters: int) -> tuple[Fold, ...]:
    """Folds that leave more runs to fit to than a law of so many parameters has."""
    known = runs.weight > 0
    budgets = np.unique(runs.budget[known])
    every = [
        Fold("budget", float(group[0]), ~np.isin(runs.budget, group))
        for group in np.array_split(budgets, min(OUT, len(budgets)))
    ]
    every += [Fold("forward", float(budget), runs.budget <= budget) for budget in budgets[:-1][-FORWARD:]]
    return tuple(fold for fold in every if (fold.train & known).sum() > parameters and (~fold.train & known).any())
