r"""How far to trust predictions: the bootstrap, and intervals that are checked against runs left out.

An interval reaches `z sqrt(noise^2 + (DRIFT d)^2 + f^2 v)`, see `nqmjax.runs.predict`. The factor `f` is the least, not below
1, with which 90% of the runs that the forward folds leave out are covered. What is reported as coverage is that of the runs of
each budget with the factor that the other budgets ask for. It does not count that the laws were chosen by the same folds.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from nqmjax._tools import on_all_cores
from nqmjax.runs.extrapolation import distance
from nqmjax.runs.folds import Evaluation
from nqmjax.runs.law_predictions import law_prediction
from nqmjax.runs.one_law import lane, search
from nqmjax.runs.predict import Interval, variance_parts
from nqmjax.runs.study import Study
from nqmjax.runs.table import Runs

REPLICATES = 16
"""Bootstrap replicates."""

LEVEL = 0.9
"""Level at which intervals are inflated,"""

REACH = NormalDist().inv_cdf(0.5 + LEVEL / 2)
"""and the standard deviations that they reach."""


def intervals(study: Study, members: Sequence[Evaluation]) -> dict[str, Interval]:
    """Intervals by name, "laplace" and "bootstrap", of the mean of the laws `members`."""
    replicates = on_all_cores(lambda one: bootstrap(study, one), members)
    return measured_intervals(study, members, replicates)


def bootstrap(study: Study, one: Evaluation) -> list[np.ndarray]:
    """Coordinates fitted to resampled runs, `(replicates, parameters)`: of all, then of each forward fold."""
    runs, generator = study.runs, np.random.default_rng(study.seed)
    forward = [(one.folds[place], study.tests[place]) for place in study.forward]
    pairs = [(one.fitted, runs.weight), *((fitted, runs.weight * test.train) for fitted, test in forward)]
    lanes = []
    for fitted, weight in pairs:
        first = lane(fitted.law, runs, weight, fitted.coordinates)
        for counts in _resampled(runs, weight > 0, generator):
            mean = first.mean + first.deviation * generator.normal(size=first.mean.shape)
            lanes.append(first._replace(weight=first.weight * counts, mean=mean))
    found = search(one.fitted.law, study, lanes)
    return list(found.coordinates.reshape(len(pairs), REPLICATES, -1))


def _resampled(runs: Runs, known: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """How often each run is drawn, `(replicates, runs)`: with all of its budget and group, singly if these are below four."""
    labels = [f"{budget} {group}" for budget, group in zip(runs.budget, runs.group, strict=True)]
    _, block = np.unique(labels, return_inverse=True)
    if len(np.unique(block[known])) < 4:
        block = np.arange(len(runs))
    present = np.unique(block[known])
    counts = generator.multinomial(len(present), np.full(len(present), 1 / len(present)), size=REPLICATES)
    table = np.zeros((REPLICATES, block.max() + 1))
    table[:, present] = counts
    return table[:, block]


def measured_intervals(study: Study, members: Sequence[Evaluation], replicates: list[list[np.ndarray]]) -> dict[str, Interval]:
    """Both kinds of intervals, inflated so that they cover the runs that the forward folds leave out."""
    known = {
        "laplace": (tuple(one.fitted.covariance for one in members), [one.variances[study.forward] for one in members]),
        "bootstrap": (
            tuple(replicate[0] for replicate in replicates),
            [_variances(study, one, replicate[1:]) for one, replicate in zip(members, replicates, strict=True)],
        ),
    }
    found = {}
    for kind, (full, variances) in known.items():
        needed = [_needed(study, members, place, np.stack(one)) for place, *one in zip(study.forward, *variances, strict=True)]
        budgets = [study.runs.budget[study.held_back(study.tests[place])] for place in study.forward]
        found[kind] = Interval(full, *_inflation(needed, budgets))
    return found


def _needed(study: Study, members: Sequence[Evaluation], place: int, variances: np.ndarray) -> np.ndarray:
    """The factors with which the intervals of the runs that a fold leaves out would just cover them."""
    test, runs = study.tests[place], study.runs
    compute = runs.model_size * runs.batch_size * runs.steps
    trained = compute[test.train & (runs.weight > 0)]
    each = np.stack([one.predictions[place] for one in members])
    noise = min(one.folds[place].noise ** 2 for one in members)
    sure, model = variance_parts(each, variances, noise, distance((trained.min(), trained.max()), compute))
    excess = np.maximum(((each.mean(axis=0) - study.target) / REACH) ** 2 - sure, 0.0)
    return np.sqrt(excess / model)[study.held_back(test)]


def _variances(study: Study, one: Evaluation, replicates: list[np.ndarray]) -> np.ndarray:
    """Variances of predictions of all runs that the replicates of each forward fold tell."""
    pairs = zip(study.forward, replicates, strict=True)
    found = [law_prediction(one.folds[place], part, study.inputs, "bootstrap")[1] for place, part in pairs]
    return np.array(found).reshape(len(replicates), len(study.runs))


def _inflation(needed: list[np.ndarray], budgets: list[np.ndarray]) -> tuple[float, float, float]:
    """The factor on the model's part, the coverage of each budget's runs with the factor of the others, and that without one.

    `needed` are the factors with which the intervals of the runs that each fold leaves out would just cover them, `budgets` the
    budgets of these runs.
    """
    if not needed:
        return 1.0, math.nan, math.nan
    factors, budget = np.concatenate(needed), np.concatenate(budgets)

    def factor(which: np.ndarray) -> float:
        return max(1.0, float(np.quantile(factors[which], LEVEL))) if which.any() else 1.0

    inside = [factors[budget == one] <= factor(budget != one) for one in np.unique(budget)]
    return factor(budget == budget), float(np.concatenate(inside).mean()), float((factors <= 1).mean())
