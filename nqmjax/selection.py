r"""Which law, and how far to trust it: scores on runs that were left out, an ensemble, and intervals that are checked.

Two kinds of folds, each of runs held back from the fit: one compute budget out of all ("budget"), and all budgets above one
("forward"). The score of a law is the geometric mean of its mean squared errors of the log loss on the two kinds, so that
neither drowns the other. The ensemble is the set of at most `LARGEST_ENSEMBLE` laws whose mean prediction of the log loss has
the least score. Nothing else is looked at.
"""

import dataclasses
import itertools
import math
import os
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from statistics import NormalDist
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr
from tqdm import tqdm

from nqmjax.checks import check_choice, require
from nqmjax.fitting import FittedLaw, Lane, check_fit, check_starts, fitted_law, lane, search
from nqmjax.laws.base import Law, law_inputs, scale_of, starting_points
from nqmjax.laws.baselines import Chinchilla, Kaplan
from nqmjax.laws.quadratic import QuadraticLaw
from nqmjax.least_squares import Minimum
from nqmjax.prediction import Interval, RunModel, law_prediction, model_variance
from nqmjax.runs import Runs

SIZED = {"rate_by_size": True, "delay": True}
CAPACITY = {**SIZED, "size_offset": True, "free_noise": True, "noise_by_size": 0.0}
LAWS: Mapping[str, Law] = MappingProxyType(
    {
        "adam": QuadraticLaw(),
        "adam_constant": QuadraticLaw(follow_schedule=False),
        "sized": QuadraticLaw(noise_by_size=None, **SIZED),
        "sized_constant": QuadraticLaw(noise_by_size=None, follow_schedule=False, **SIZED),
        "capacity": QuadraticLaw(**CAPACITY),
        "capacity_constant": QuadraticLaw(follow_schedule=False, **CAPACITY),
        "discrete": QuadraticLaw(discrete=True),
        "free_noise": QuadraticLaw(free_noise=True),
        "weight_norm": QuadraticLaw(weight_norm=True),
        "published": QuadraticLaw(discrete=True, follow_schedule=False, adaptive=False, free_noise=True, noise_by_size=0.0),
        "chinchilla": Chinchilla(),
        "kaplan": Kaplan(),
    }
)
"""Laws by name. `adam` is the plain form. In the `sized` ones the rate grows with model size, runs begin late and noise falls
as a fitted power of size; in the `capacity` ones noise does not fall, but small models use less of their size. The ones called
`constant` take the rate for constant. `published` is the form of Li & Maddison 2026; the last two are baselines."""

CANDIDATES = ("adam", "adam_constant", "sized", "sized_constant", "capacity", "capacity_constant")
"""Laws from which `fit` makes its ensemble unless told otherwise."""

LARGEST_ENSEMBLE = 4
FRESH = 4
"""Starts of each fold beside the best minima of the fit to all runs."""

REPLICATES = 16
"""Bootstrap replicates."""

LEVEL = 0.9
"""Level at which intervals are inflated,"""

REACH = NormalDist().inv_cdf(0.5 + LEVEL / 2)
"""and the standard deviations that they reach."""


class Fold(NamedTuple):
    """Runs to fit to, the others to be predicted: one budget out of all, or all budgets above one."""

    kind: str
    budget: float
    train: np.ndarray


class Evaluation(NamedTuple):
    """A law fitted to all runs and to each fold: log predictions of all runs, their variances, `(folds, runs)` each."""

    fitted: FittedLaw
    lane: Lane
    folds: tuple[FittedLaw, ...]
    predictions: np.ndarray
    variances: np.ndarray


def fit(
    runs: Runs,
    laws: Any = CANDIDATES,
    starts: int = 32,
    robust: float = math.inf,
    seed: int = 0,
    progress: bool = True,
) -> RunModel:
    """A model of training runs: laws fitted, scored on runs left out, averaged where that predicts better, with intervals.

    Args:
      runs: see `read_runs` and `make_runs`.
      laws: names in `LAWS`, or laws by name; those with as many parameters as there are runs, or more, are passed over.
      starts: searches for each law.
      robust: error of the log loss beyond which a run pulls less; inf for plain least squares.
      seed: of the starts and of the bootstrap.
      progress: show a bar when the run takes longer than two seconds.

    Returns:
      a `RunModel` for `predict`, `plan` and `write_model`.

    Raises:
      ValueError: all runs have one model size or one batch size, there are too few of them, or an argument is out of range.
    """
    check_spread(runs)
    chosen = _laws(laws)
    enough = _fitting(runs, chosen, robust)
    tests = folds(runs, max(len(law.names) for law in enough.values()))
    with tqdm(
        desc="fitting", total=len(enough) * (starts + len(tests)), unit=" fits", delay=2, disable=not progress, leave=False
    ) as bar:
        found = _evaluate_all(enough, runs, tests, starts, robust, seed, bar)
        names, scores = choose(runs, tests, found)
        members = [found[name] for name in names]
        bar.set_description("bootstrap")
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            replicates = list(pool.map(lambda one: bootstrap(runs, one, tests, robust, seed), members))
    intervals = _intervals(runs, tests, members, replicates)
    return RunModel(
        tuple(one.fitted for one in members),
        intervals,
        np.stack([runs.model_size, runs.batch_size, runs.steps], axis=-1)[runs.weight > 0],
        Counter(runs.settings.schedule).most_common(1)[0][0],
        scale_of(runs).learning_rate,
        float(np.exp(np.log(runs.compute / (runs.model_size * runs.batch_size * runs.steps)).mean())),
        runs.compute_unit,
        scores,
        _summary(runs, set(chosen) - set(enough)),
    )


def compare_models(
    runs: Runs, laws: Any = tuple(LAWS), starts: int = 32, robust: float = math.inf, seed: int = 0, progress: bool = True
) -> xr.Dataset:
    """Errors of laws in training and on runs left out, and of the best ensemble of them.

    Args:
      runs, laws, starts, robust, seed, progress: see `fit`; laws with too many parameters are passed over here too.

    Returns:
      `xarray.Dataset` over `law`, the last row the ensemble: `parameters`, mean squared errors of the log loss `training`,
      `budget_out` and `forward`, `bias` (mean error forward), `score`, and `members` as text.
    """
    check_spread(runs)
    chosen = _fitting(runs, _laws(laws), robust)
    tests = folds(runs, max(len(law.names) for law in chosen.values()))
    with tqdm(
        desc="fitting", total=len(chosen) * (starts + len(tests)), unit=" fits", delay=2, disable=not progress, leave=False
    ) as bar:
        found = _evaluate_all(chosen, runs, tests, starts, robust, seed, bar)
    return choose(runs, tests, found)[1]


def check_spread(runs: Runs) -> None:
    """Raise `ValueError` for runs that all have one model size or one batch size."""
    require(isinstance(runs, Runs), "runs", repr(runs), "give what read_runs or make_runs returns")
    known = runs.weight > 0
    for name, what in {"model_size": "model size", "batch_size": "batch size"}.items():
        values = np.unique(getattr(runs, name)[known])
        remedy = f"how the loss depends on {what} cannot be told from them; give runs of at least two"
        require(len(values) > 1, f"the {what} of all runs", f"{values[0]:g}", remedy)


def folds(runs: Runs, parameters: int) -> tuple[Fold, ...]:
    """Folds that leave more runs to fit to than a law of so many parameters has."""
    every = [Fold("budget", float(budget), runs.budget != budget) for budget in runs.budgets]
    every += [Fold("forward", float(budget), runs.budget <= budget) for budget in runs.budgets[:-1]]
    known = runs.weight > 0
    return tuple(fold for fold in every if (fold.train & known).sum() > parameters and (~fold.train & known).any())


def _evaluate_all(
    laws: Mapping[str, Law], runs: Runs, tests: tuple[Fold, ...], starts: int, robust: float, seed: int, bar: tqdm
) -> dict[str, Evaluation]:
    """Evaluate laws on all cores: one compiles while another is searched."""
    check_starts(starts, seed)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda name: evaluate(name, laws[name], runs, tests, starts, robust, seed, bar), laws)
        return dict(zip(laws, found, strict=True))


def evaluate(
    name: str, law: Law, runs: Runs, tests: tuple[Fold, ...], starts: int, robust: float, seed: int, bar: tqdm
) -> Evaluation:
    """Fit a law to all runs and to each fold; the folds' searches start at the best minima of all runs and at fresh points."""
    parameters = law.parameters(scale_of(runs))
    lanes = [lane(law, runs, runs.weight, start) for start in starting_points(parameters, starts, seed)]
    found = search(law, runs, lanes, robust, bar)
    fitted = fitted_law(name, law, runs, lanes[0], found)
    warm = _distinct(found)
    fold_lanes: list[Lane] = []
    owners: list[int] = []
    for number, test in enumerate(tests):
        first = lane(law, runs, runs.weight * test.train, fitted.coordinates)
        fresh = starting_points(law.parameters(first.scale), FRESH, seed + 1)
        for start in [*warm, *fresh]:
            fold_lanes.append(first._replace(start=start))
            owners.append(number)
    results, predictions, variances = [], [], []
    if tests:
        minima = search(law, runs, fold_lanes, robust)
        inputs = law_inputs(runs.settings)
        for number, test in enumerate(tests):
            mine = np.flatnonzero(np.array(owners) == number)
            part: Minimum = jax.tree.map(lambda leaf, mine=mine: leaf[mine], minima)
            weighted = dataclasses.replace(runs, weight=runs.weight * test.train)
            one = fitted_law(name, law, weighted, fold_lanes[mine[0]], part)
            value, variance = law_prediction(one, one.covariance, inputs, "laplace")
            results.append(one)
            predictions.append(value)
            variances.append(variance)
            bar.update()
    return Evaluation(fitted, lanes[0], tuple(results), np.array(predictions), np.array(variances))


def _distinct(found: Minimum, most: int = 3) -> list[np.ndarray]:
    """Coordinates of the best minima that differ."""
    kept: list[int] = []
    for index in np.argsort(found.cost):
        if np.isfinite(found.cost[index]) and all(found.cost[index] > 1.0001 * found.cost[other] for other in kept):
            kept.append(int(index))
    return [found.coordinates[index] for index in kept[:most]]


def choose(runs: Runs, tests: tuple[Fold, ...], found: Mapping[str, Evaluation]) -> tuple[tuple[str, ...], xr.Dataset]:
    """The ensemble of the least score, and the table of scores; without folds of both kinds, the first law alone."""
    names = list(found)
    target = np.log(runs.loss)
    rows = {name: _scores(runs, tests, found[name].predictions - target) for name in names}
    best: tuple[str, ...] = (names[0],)
    if {test.kind for test in tests} == {"budget", "forward"}:
        sets = [group for size in range(1, LARGEST_ENSEMBLE + 1) for group in itertools.combinations(names, size)]
        errors = {name: found[name].predictions - target for name in names}

        def score(group: tuple[str, ...]) -> float:
            return _scores(runs, tests, np.mean([errors[name] for name in group], axis=0))["score"]

        best = min(sets, key=score)
    mean = np.mean([found[name].predictions for name in best], axis=0)
    ensemble = _scores(runs, tests, mean - target)
    table: dict[str, Any] = {key: ("law", [*(row[key] for row in rows.values()), ensemble[key]]) for key in ensemble}
    training = [found[name].fitted.mean_squared_error for name in names]
    with jax.enable_x64():
        inputs = law_inputs(runs.settings)
        logs = [one.law.log_loss(one.coordinates, inputs, one.scale) for one in (found[name].fitted for name in best)]
    weight = runs.weight / runs.weight.sum()
    training.append(float(weight @ (np.mean(np.asarray(logs), axis=0) - target) ** 2))
    table["training"] = ("law", training)
    counts = [len(found[name].fitted.law.names) for name in names]
    table["parameters"] = ("law", [*counts, sum(counts[names.index(name)] for name in best)])
    table["members"] = ("law", [*names, ", ".join(best)])
    data = xr.Dataset(table, coords={"law": [*names, "ensemble"]})
    data.attrs = {"units": "mean squared errors of the log loss", "runs": len(runs), "folds": len(tests)}
    return best, data


def _scores(runs: Runs, tests: tuple[Fold, ...], errors: np.ndarray) -> dict[str, float]:
    """Mean squared errors over the runs left out by each kind of folds, and the score of both."""
    kinds: dict[str, list[np.ndarray]] = {"budget": [], "forward": []}
    weights: dict[str, list[np.ndarray]] = {"budget": [], "forward": []}
    for test, error in zip(tests, errors, strict=True):
        left_out = ~test.train & (runs.weight > 0)
        kinds[test.kind].append(error[left_out])
        weights[test.kind].append(runs.weight[left_out])

    def mean(kind: str, power: int) -> float:
        if not kinds[kind]:
            return math.nan
        weight = np.concatenate(weights[kind])
        return float(weight @ np.concatenate(kinds[kind]) ** power / weight.sum())

    found = {"budget_out": mean("budget", 2), "forward": mean("forward", 2), "bias": mean("forward", 1)}
    return found | {"score": math.sqrt(found["budget_out"] * found["forward"])}


def bootstrap(runs: Runs, one: Evaluation, tests: tuple[Fold, ...], robust: float, seed: int) -> list[np.ndarray]:
    """Coordinates fitted to resampled runs, `(replicates, parameters)`: of all, then of each forward fold."""
    generator = np.random.default_rng(seed)
    forward = [(fitted, test) for fitted, test in zip(one.folds, tests, strict=True) if test.kind == "forward"]
    pairs = [(one.fitted, runs.weight), *((fitted, runs.weight * test.train) for fitted, test in forward)]
    lanes = []
    for fitted, weight in pairs:
        first = lane(fitted.law, runs, weight, fitted.coordinates)
        lanes += [first._replace(weight=weight * counts) for counts in _resampled(runs, weight > 0, generator)]
    found = search(one.fitted.law, runs, lanes, robust)
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


def _intervals(
    runs: Runs, tests: tuple[Fold, ...], members: list[Evaluation], replicates: list[list[np.ndarray]]
) -> dict[str, Interval]:
    """Both kinds of intervals, inflated so that they cover on the forward folds."""
    forward = [number for number, test in enumerate(tests) if test.kind == "forward"]
    known = {
        "laplace": (tuple(one.fitted.covariance for one in members), [one.variances[forward] for one in members]),
        "bootstrap": (
            tuple(replicate[0] for replicate in replicates),
            [_variances(runs, one, forward, replicate[1:]) for one, replicate in zip(members, replicates, strict=True)],
        ),
    }
    target = np.log(runs.loss)
    found = {}
    for kind, (full, variances) in known.items():
        parts = []
        for place, number in enumerate(forward):
            left_out = ~tests[number].train & (runs.weight > 0)
            each = np.stack([one.predictions[number] for one in members])
            noise = float(np.mean([one.folds[number].noise ** 2 for one in members]))
            variance = model_variance(each, np.stack([part[place] for part in variances]))
            excess = np.maximum(((each.mean(axis=0) - target) / REACH) ** 2 - noise, 0.0)
            parts.append(np.sqrt(excess / variance)[left_out])
        found[kind] = Interval(full, *_inflation(parts))
    return found


def _variances(runs: Runs, one: Evaluation, forward: list[int], replicates: list[np.ndarray]) -> list[np.ndarray]:
    """Variances of predictions of all runs that the replicates of each forward fold tell."""
    inputs = law_inputs(runs.settings)
    pairs = zip(forward, replicates, strict=True)
    return [law_prediction(one.folds[number], part, inputs, "bootstrap")[1] for number, part in pairs]


def _inflation(needed: list[np.ndarray]) -> tuple[float, float, float]:
    """The factor on the model's part, the coverage of each fold with the factor of the others, and that without one.

    `needed` are the factors with which the intervals of the runs left out by each fold would just cover them.
    """

    def factor(parts: list[np.ndarray]) -> float:
        return max(1.0, float(np.quantile(np.concatenate(parts), LEVEL))) if parts else 1.0

    if not needed:
        return 1.0, math.nan, math.nan
    inside = [part <= factor(needed[:k] + needed[k + 1 :]) for k, part in enumerate(needed)]
    return factor(needed), float(np.concatenate(inside).mean()), float((np.concatenate(needed) <= 1).mean())


def _bar(total: int, progress: bool) -> tqdm:
    return tqdm(desc="fitting", total=total, unit=" fits", delay=2, disable=not progress, leave=False)


def _laws(laws: Any) -> dict[str, Law]:
    if isinstance(laws, Mapping):
        return dict(laws)
    names = [laws] if isinstance(laws, str) else list(laws)
    require(len(names) > 0, "laws", "empty", f"choose from {', '.join(LAWS)}")
    for name in names:
        check_choice("laws", name, LAWS)
    return {name: LAWS[name] for name in names}


def _fitting(runs: Runs, laws: Mapping[str, Law], robust: float) -> dict[str, Law]:
    """The laws that have fewer parameters than there are runs; raises `ValueError` if none has."""
    fewest = min(laws, key=lambda name: len(laws[name].names))
    check_fit(runs, laws[fewest], robust, fewest)
    return {name: law for name, law in laws.items() if len(law.names) < int((runs.weight > 0).sum())}


def _summary(runs: Runs, passed_over: set[str]) -> tuple[str, ...]:
    lines = [repr(runs)]
    reasons = Counter(run.reason for run in runs.excluded)
    lines += [f"{count} excluded: {reason}" for reason, count in reasons.items()]
    lines += [f"{name} not tried: it has as many parameters as there are runs" for name in sorted(passed_over)]
    return tuple(lines)
