r"""Laws on trial: fitted to all runs, and to folds of them, of which the others are predicted.

Two kinds of folds: one compute budget out of all ("budget"), and all budgets above one ("forward").
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from nqmjax.fitting import SAME, FittedLaw, Lane, check_starts, fitted_law, lane, search
from nqmjax.laws.base import Law, law_inputs, scale_of, starting_points
from nqmjax.least_squares import Minimum
from nqmjax.parallel import on_all_cores
from nqmjax.prediction import law_prediction
from nqmjax.runs import Runs

WARM, FRESH = 3, 4
"""Starts of each fold: the best minima of the fit to all runs, and points spread anew."""


class Fold(NamedTuple):
    """Runs to fit to, the others to be predicted: one budget out of all, or all budgets above one."""

    kind: str
    budget: float
    train: np.ndarray


class Evaluation(NamedTuple):
    """A law fitted to all runs and to each fold: log predictions of all runs, their variances, `(folds, runs)` each."""

    fitted: FittedLaw
    folds: tuple[FittedLaw, ...]
    predictions: np.ndarray
    variances: np.ndarray


def folds(runs: Runs, parameters: int) -> tuple[Fold, ...]:
    """Folds that leave more runs to fit to than a law of so many parameters has."""
    known = runs.weight > 0
    budgets = np.unique(runs.budget[known])
    every = [Fold("budget", float(budget), runs.budget != budget) for budget in budgets]
    every += [Fold("forward", float(budget), runs.budget <= budget) for budget in budgets[:-1]]
    return tuple(fold for fold in every if (fold.train & known).sum() > parameters and (~fold.train & known).any())


def evaluate_all(
    laws: Mapping[str, Law], runs: Runs, tests: tuple[Fold, ...], starts: int, robust: float, seed: int, progress: bool
) -> dict[str, Evaluation]:
    """Evaluate laws by name on all cores: one compiles while another is searched."""
    check_starts(starts, seed)
    total = len(laws) * (starts + len(tests))
    with tqdm(desc="fitting", total=total, unit=" fits", delay=2, disable=not progress, leave=False) as bar:
        found = on_all_cores(lambda name: evaluate(name, laws[name], runs, tests, starts, robust, seed, bar), laws)
        return dict(zip(laws, found, strict=True))


def evaluate(
    name: str, law: Law, runs: Runs, tests: tuple[Fold, ...], starts: int, robust: float, seed: int, bar: tqdm
) -> Evaluation:
    """Fit a law to all runs and to each fold."""
    parameters = law.parameters(scale_of(runs))
    lanes = [lane(law, runs, runs.weight, start) for start in starting_points(parameters, starts, seed)]
    found = search(law, runs, lanes, robust, bar)
    fitted = fitted_law(name, law, lanes[0], found, robust)
    parts = _fit_folds(fitted, runs, tests, _distinct(found), robust, seed)
    inputs = law_inputs(runs.settings)
    pairs = [law_prediction(part, part.covariance, inputs, "laplace") for part in parts]
    bar.update(len(tests))
    shape = (len(tests), len(runs))
    predictions, variances = (np.array([pair[k] for pair in pairs]).reshape(shape) for k in (0, 1))
    return Evaluation(fitted, tuple(parts), predictions, variances)


def _fit_folds(
    fitted: FittedLaw, runs: Runs, tests: tuple[Fold, ...], warm: list[np.ndarray], robust: float, seed: int
) -> list[FittedLaw]:
    """The law fitted to each fold, from the starts `warm` and fresh ones."""
    lanes: list[list[Lane]] = []
    for test in tests:
        first = lane(fitted.law, runs, runs.weight * test.train, fitted.coordinates)
        fresh = starting_points(fitted.law.parameters(first.scale), FRESH, seed + 1)
        lanes.append([first._replace(start=start) for start in [*warm, *fresh]])
    if not lanes:
        return []
    minima = search(fitted.law, runs, [one for some in lanes for one in some], robust)
    count = len(lanes[0])
    return [
        fitted_law(fitted.name, fitted.law, some[0], _part(minima, slice(k * count, (k + 1) * count)), robust)
        for k, some in enumerate(lanes)
    ]


def _part(minima: Minimum, where: slice) -> Minimum:
    return jax.tree.map(lambda leaf: leaf[where], minima)


def _distinct(found: Minimum) -> list[np.ndarray]:
    """Coordinates of the best minima that differ."""
    order = np.argsort(found.cost)
    order = order[np.isfinite(found.cost[order])]
    costs = found.cost[order]
    new = np.concatenate([[True], costs[1:] > (1 + SAME) * costs[:-1]])
    return list(found.coordinates[order[new][:WARM]])
