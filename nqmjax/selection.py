r"""Which law, and how far to trust it: scores on runs that were left out, an ensemble, and intervals that are checked.

Two kinds of folds, each of runs held back from the fit: one compute budget out of all ("budget"), and all budgets above one
("forward"). The score of a law is the geometric mean of its mean squared errors of the log loss on the two kinds, so that
neither drowns the other. The ensemble is the set of at most `LARGEST_ENSEMBLE` laws whose mean prediction of the log loss has
the least score. Nothing else is looked at.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from nqmjax.checks import check_choice, require
from nqmjax.evaluation import Evaluation, Fold, evaluate_all, folds
from nqmjax.fitting import check_fit
from nqmjax.laws.base import Law, law_inputs, scale_of
from nqmjax.laws.catalogue import CANDIDATES, LAWS
from nqmjax.precision import precision
from nqmjax.prediction import RunModel
from nqmjax.runs import Runs
from nqmjax.uncertainty import intervals

LARGEST_ENSEMBLE = 4


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

    >>> from nqmjax.runs import make_runs
    >>> size, steps = np.meshgrid([1e6, 3e6, 1e7], [500, 1000, 4000])
    >>> runs = make_runs(size, [64, 128, 256], steps, 1.7 + 400 * size**-0.34 + (steps / 1e3) ** -0.3)
    >>> fit(runs, "chinchilla", starts=8)
    RunModel of 9 runs, N 1e6 to 1e7, B 64 to 256, K 500 to 4e3, 8 compute budgets; law chinchilla
    """
    found, tests, passed_over = _evaluations(runs, laws, starts, robust, seed, progress)
    names, scores = choose(runs, tests, found)
    members = [found[name] for name in names]
    known = runs.weight > 0
    settings = np.stack([runs.model_size, runs.batch_size, runs.steps, runs.settings.learning_rate], axis=-1)[known]
    schedules = Counter(schedule for schedule, one in zip(runs.settings.schedule, known, strict=True) if one)
    return RunModel(
        laws=tuple(one.fitted for one in members),
        intervals=intervals(runs, tests, members, robust, seed),
        settings=settings,
        schedule=schedules.most_common(1)[0][0],
        learning_rate=scale_of(runs).learning_rate,
        compute_factor=float(np.exp(np.log(runs.compute[known] / settings[:, :3].prod(axis=1)).mean())),
        compute_unit=runs.compute_unit,
        scores=scores,
        summary=_summary(runs, passed_over),
    )


def compare_models(
    runs: Runs, laws: Any = tuple(LAWS), starts: int = 32, robust: float = math.inf, seed: int = 0, progress: bool = True
) -> xr.Dataset:
    """Errors of laws in training and on runs left out, and of the best ensemble of them.

    Args:
      runs, laws, starts, robust, seed, progress: see `fit`.

    Returns:
      `xarray.Dataset` over `law`, the last row the ensemble: `parameters`, mean squared errors of the log loss `training`,
      `budget_out` and `forward`, `bias` (mean error forward), `score`, and `members` as text; the attribute `passed_over`
      names the laws with too many parameters for so few runs.

    Raises:
      ValueError: as `fit`.
    """
    found, tests, passed_over = _evaluations(runs, laws, starts, robust, seed, progress)
    return choose(runs, tests, found)[1].assign_attrs(passed_over=passed_over)


def _evaluations(
    runs: Runs, laws: Any, starts: int, robust: float, seed: int, progress: bool
) -> tuple[dict[str, Evaluation], tuple[Fold, ...], list[str]]:
    """Every law that has fewer parameters than there are runs, evaluated; the folds; and the laws that have more."""
    check_spread(runs)
    chosen = _laws(laws)
    fewest = min(chosen, key=lambda name: len(chosen[name].names))
    check_fit(runs, chosen[fewest], robust, fewest)
    enough = {name: law for name, law in chosen.items() if len(law.names) < int((runs.weight > 0).sum())}
    tests = folds(runs, max(len(law.names) for law in enough.values()))
    return evaluate_all(enough, runs, tests, starts, robust, seed, progress), tests, sorted(set(chosen) - set(enough))


def check_spread(runs: Runs) -> None:
    """Raise `ValueError` for runs that all have one model size or one batch size."""
    require(isinstance(runs, Runs), "runs", repr(runs), "give what read_runs or make_runs returns")
    known = runs.weight > 0
    for name, what in {"model_size": "model size", "batch_size": "batch size"}.items():
        values = np.unique(getattr(runs, name)[known])
        remedy = f"how the loss depends on {what} cannot be told from them; give runs of at least two"
        require(len(values) > 1, f"the {what} of all runs", f"{values[0]:g}", remedy)


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
            found = _scores(runs, tests, np.mean([errors[name] for name in group], axis=0))["score"]
            return math.inf if math.isnan(found) else found

        best = min(sets, key=score)
    mean = np.mean([found[name].predictions for name in best], axis=0)
    ensemble = _scores(runs, tests, mean - target)
    table: dict[str, Any] = {key: ("law", [*(row[key] for row in rows.values()), ensemble[key]]) for key in ensemble}
    training = [found[name].fitted.mean_squared_error for name in names]
    with precision():
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


def _laws(laws: Any) -> dict[str, Law]:
    if isinstance(laws, Mapping):
        for name, law in laws.items():
            require(isinstance(law, Law), f"laws[{name!r}]", repr(law), "give a law of nqmjax.laws")
        require(len(laws) > 0, "laws", "empty", f"give a law, or choose from {', '.join(LAWS)}")
        return dict(laws)
    require(isinstance(laws, Iterable), "laws", repr(laws), f"choose from {', '.join(LAWS)}")
    names = [laws] if isinstance(laws, str) else list(laws)
    require(len(names) > 0, "laws", "empty", f"choose from {', '.join(LAWS)}")
    for name in names:
        check_choice("laws", name, LAWS)
    return {name: LAWS[name] for name in names}


def _summary(runs: Runs, passed_over: list[str]) -> tuple[str, ...]:
    lines = [repr(runs)]
    reasons = Counter(run.reason for run in runs.excluded)
    lines += [f"{count} excluded: {reason}" for reason, count in reasons.items()]
    lines += [f"{name} not tried: it has as many parameters as there are runs" for name in passed_over]
    return tuple(lines)
