"""Laws on trial: fitted to all runs, and to folds of them, of which the others are predicted."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from nqmjax._tools import on_all_cores, progress_bar
from nqmjax.runs.law_predictions import law_prediction
from nqmjax.runs.laws import Law, starting_points
from nqmjax.runs.least_squares import Minimum
from nqmjax.runs.one_law import SAME, FittedLaw, Lane, fit_whole, fitted_law, lane, search
from nqmjax.runs.study import Study

WARM, FRESH = 3, 4
"""Starts of each fold: the best minima of the fit to all runs, and points spread anew."""


class Evaluation(NamedTuple):
    """A law fitted to all runs and to each fold: log predictions of all runs, their variances, `(folds, runs)` each."""

    fitted: FittedLaw
    folds: tuple[FittedLaw, ...]
    predictions: np.ndarray
    variances: np.ndarray


def evaluate_all(laws: Mapping[str, Law], study: Study, progress: bool) -> dict[str, Evaluation]:
    """Evaluate laws by name on all cores: one compiles while another is searched."""
    total = len(laws) * (study.starts + len(study.tests))
    with progress_bar(desc="fitting", total=total, unit=" fits", progress=progress) as bar:
        found = on_all_cores(lambda name: evaluate(name, laws[name], study, bar), laws)
        return dict(zip(laws, found, strict=True))


def evaluate(name: str, law: Law, study: Study, bar: tqdm) -> Evaluation:
    """Fit a law to all runs and to each fold."""
    fitted, found = fit_whole(name, law, study, bar)
    parts = _fit_folds(fitted, study, _distinct(found))
    pairs = [law_prediction(part, part.covariance, study.inputs, "laplace") for part in parts]
    bar.update(len(parts))
    shape = (len(parts), len(study.runs))
    predictions, variances = (np.array([pair[k] for pair in pairs]).reshape(shape) for k in (0, 1))
    return Evaluation(fitted, tuple(parts), predictions, variances)


def _fit_folds(fitted: FittedLaw, study: Study, warm: list[np.ndarray]) -> list[FittedLaw]:
    """The law fitted to each fold, from the starts `warm` and fresh ones."""
    lanes: list[list[Lane]] = []
    for test in study.tests:
        first = lane(fitted.law, study.runs, study.runs.weight * test.train, fitted.coordinates)
        fresh = starting_points(fitted.law.parameters(first.scale), FRESH, study.seed + 1)
        lanes.append([first._replace(start=start) for start in [*warm, *fresh]])
    if not lanes:
        return []
    minima = search(fitted.law, study, [one for some in lanes for one in some])
    count = len(lanes[0])
    return [
        fitted_law(fitted.name, fitted.law, some[0], _part(minima, slice(k * count, (k + 1) * count)), study.robust)
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
