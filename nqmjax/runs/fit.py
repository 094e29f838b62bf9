r"""Which laws, and how far to trust them: scores on runs that were left out, a mean of laws, and intervals that are checked.

Two kinds of folds, each of runs held back from the fit: some compute budgets out of all ("budget"), and all budgets above one
("forward"). The score of a law is its mean squared error of the log loss in the forward folds; the nearer a fold is to the runs
that nobody has made yet, the more it counts: the last fold twice as much as the one before, and so on. The model is the mean of
all laws but those whose score is above `FAR_BEHIND` times the least, or times the least error in training, below which a score
is luck. Each is scored by itself, because errors of two bad laws that cancel in the folds do not go on to cancel beyond them;
and all but the hopeless are taken, because on tables that others published scores hardly told which law forecast best, and
where one failed badly it was seldom one of a bad score.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from nqmjax._tools import check_choice, plain_exponent, precision, require
from nqmjax.runs.folds import Evaluation, evaluate_all
from nqmjax.runs.intervals import intervals
from nqmjax.runs.laws import CANDIDATES, LAWS, Law, scale_of
from nqmjax.runs.one_law import check_fit
from nqmjax.runs.predict import RunModel
from nqmjax.runs.study import Study, check_starts, folds
from nqmjax.runs.table import Runs, check_runs

FAR_BEHIND = 16.0
"""Times the least score from which a law is left out: its errors are four times as large."""

NEAR = 0.5
"""How much a forward fold counts, relative to the next one above it."""


def fit(
    runs: Runs,
    laws: Any = CANDIDATES,
    starts: int = 32,
    robust: float = math.inf,
    seed: int = 0,
    progress: bool = True,
) -> RunModel:
    """A model of training runs: laws fitted, scored on runs left out, all but the worst of them averaged, with intervals.

    Where all runs have one model size or one batch size, laws are fitted without what these do not tell, as the summary says.

    Args:
      runs: see `runs.read` and `runs.make`.
      laws: names in `LAWS`, or laws by name; those with as many parameters as there are runs, or more, are passed over.
      starts: searches for each law.
      robust: error of the log loss beyond which a run pulls less; inf for plain least squares.
      seed: of the starts and of the bootstrap.
      progress: show a bar when the run takes longer than two seconds.

    Returns:
      a `RunModel` for `predict`, `plan` and `write_model`.

    Raises:
      ValueError: there are too few runs, or an argument is out of range.

    >>> from nqmjax.runs import make
    >>> size, steps = np.meshgrid([1e6, 3e6, 1e7], [500, 1000, 4000])
    >>> runs = make(size, [64, 128, 256], steps, 1.7 + 400 * size**-0.34 + (steps / 1e3) ** -0.3)
    >>> fit(runs, "chinchilla", starts=8)
    RunModel of 9 runs, N 1e6 to 1e7, B 64 to 256, K 500 to 4e3, 8 compute budgets; law chinchilla
    """
    study, found, passed_over = _evaluations(runs, laws, starts, robust, seed, progress)
    names, scores = choose(study, found)
    members = [found[name] for name in names]
    known = runs.weight > 0
    settings = np.stack([runs.model_size, runs.batch_size, runs.steps, runs.settings.learning_rate], axis=-1)[known]
    schedules = Counter(schedule for schedule, one in zip(runs.settings.schedule, known, strict=True) if one)
    return RunModel(
        laws=tuple(one.fitted for one in members),
        intervals=intervals(study, members),
        settings=settings,
        schedules=tuple(schedule for schedule, _ in schedules.most_common()),
        learning_rate=scale_of(runs).learning_rate,
        compute_factor=float(np.exp(np.log(runs.compute[known] / settings[:, :3].prod(axis=1)).mean())),
        compute_unit=runs.compute_unit,
        scores=scores,
        summary=_summary(runs, passed_over),
    )


def compare_models(
    runs: Runs, laws: Any = tuple(LAWS), starts: int = 32, robust: float = math.inf, seed: int = 0, progress: bool = True
) -> xr.Dataset:
    """Errors of laws in training and on runs left out, and of the mean of those that are not far behind.

    Args:
      runs, laws, starts, robust, seed, progress: see `fit`.

    Returns:
      `xarray.Dataset` over `law`, the last row the ensemble: `parameters`, mean squared errors of the log loss `training`,
      `budget_out` and `forward`, `bias` (mean error forward), `score` (forward, the nearest folds counting most), and `members`
      as text; the attribute `passed_over` names the laws with too many parameters for so few runs.

    Raises:
      ValueError: as `fit`.
    """
    study, found, passed_over = _evaluations(runs, laws, starts, robust, seed, progress)
    return choose(study, found)[1].assign_attrs(passed_over=passed_over)


def _evaluations(
    runs: Runs, laws: Any, starts: int, robust: float, seed: int, progress: bool
) -> tuple[Study, dict[str, Evaluation], list[str]]:
    """The study, every law that has fewer parameters than there are runs, evaluated, and the laws that have more."""
    check_runs(runs)
    check_starts(starts, seed)
    chosen = _laws(laws, frozenset(_same(runs)))
    fewest = min(chosen, key=lambda name: len(chosen[name].names))
    check_fit(runs, chosen[fewest], robust, fewest)
    enough = {name: law for name, law in chosen.items() if len(law.names) < int((runs.weight > 0).sum())}
    tests = folds(runs, max(len(law.names) for law in enough.values()))
    study = Study(runs, starts, robust, seed, tests)
    return study, evaluate_all(enough, study, progress), sorted(set(chosen) - set(enough))


def _same(runs: Runs) -> dict[str, float]:
    """Those of model size and batch size in which all runs agree, with what they agree on."""
    values = {name: np.unique(getattr(runs, name)[runs.weight > 0]) for name in ("model_size", "batch_size")}
    return {name: float(found[0]) for name, found in values.items() if len(found) == 1}


def choose(study: Study, found: Mapping[str, Evaluation]) -> tuple[tuple[str, ...], xr.Dataset]:
    """The laws that are not far behind, the best first, and the table of scores; without forward folds, the first law."""
    names = list(found)
    rows = {name: _scores(study, found[name].predictions - study.target) for name in names}
    ranked = sorted((name for name in names if math.isfinite(rows[name]["score"])), key=lambda name: rows[name]["score"])
    training = [found[name].fitted.mean_squared_error for name in names]
    least = max(rows[ranked[0]]["score"], min(training)) if ranked else 0.0
    best = tuple(name for name in ranked if rows[name]["score"] <= FAR_BEHIND * least) or (names[0],)
    mean = np.mean([found[name].predictions for name in best], axis=0)
    ensemble = _scores(study, mean - study.target)
    table: dict[str, Any] = {key: ("law", [*(row[key] for row in rows.values()), ensemble[key]]) for key in ensemble}
    table["training"] = ("law", [*training, _training(study, [found[name] for name in best])])
    counts = [len(found[name].fitted.law.names) for name in names]
    table["parameters"] = ("law", [*counts, sum(counts[names.index(name)] for name in best)])
    table["members"] = ("law", [*names, ", ".join(best)])
    data = xr.Dataset(table, coords={"law": [*names, "ensemble"]})
    data.attrs = {"units": "mean squared errors of the log loss", "runs": len(study.runs), "folds": len(study.tests)}
    return best, data


def _training(study: Study, members: list[Evaluation]) -> float:
    """Mean squared error of the mean of laws in training."""
    with precision():
        fits = [one.fitted for one in members]
        logs = [np.asarray(fit.law.log_loss(fit.coordinates, study.inputs, fit.scale)) for fit in fits]
    return float(np.average((np.mean(logs, axis=0) - study.target) ** 2, weights=study.runs.weight))


def _scores(study: Study, errors: np.ndarray) -> dict[str, float]:
    """Mean squared errors over the runs left out by each kind of folds, and the score."""
    left_out = [study.held_back(test) for test in study.tests]

    def mean(places: Any, power: int) -> float:
        if not len(places):
            return math.nan
        values = np.concatenate([errors[place, left_out[place]] for place in places])
        return float(
            np.average(values**power, weights=np.concatenate([study.runs.weight[left_out[place]] for place in places]))
        )

    forward = study.forward
    budget = [place for place, test in enumerate(study.tests) if test.kind == "budget"]
    near = NEAR ** np.arange(len(forward))[::-1]
    score = float(near @ [mean([place], 2) for place in forward] / near.sum()) if len(forward) else math.nan
    return {"budget_out": mean(budget, 2), "forward": mean(forward, 2), "bias": mean(forward, 1), "score": score}


def _laws(laws: Any, same: frozenset[str]) -> dict[str, Law]:
    """Laws by name, without what runs of one model or batch size do not tell, and without those that are then the same."""
    if isinstance(laws, Mapping):
        for name, law in laws.items():
            require(isinstance(law, Law), f"laws[{name!r}]", repr(law), "give a law of nqmjax.runs.laws")
        require(len(laws) > 0, "laws", "empty", f"give a law, or choose from {', '.join(LAWS)}")
        found = dict(laws)
    else:
        require(isinstance(laws, Iterable), "laws", repr(laws), f"choose from {', '.join(LAWS)}")
        names = [laws] if isinstance(laws, str) else list(laws)
        require(len(names) > 0, "laws", "empty", f"choose from {', '.join(LAWS)}")
        for name in names:
            check_choice("laws", name, LAWS)
        found = {name: LAWS[name] for name in names}
    if not same:
        return found
    first: dict[Law, str] = {}
    for name, law in found.items():
        first.setdefault(law.reduced(same), name)
    return {name: law for law, name in first.items()}


def _summary(runs: Runs, passed_over: list[str]) -> tuple[str, ...]:
    lines = [repr(runs)]
    reasons = Counter(run.reason for run in runs.excluded)
    lines += [f"{count} excluded: {reason}" for reason, count in reasons.items()]
    for name, value in _same(runs).items():
        what = name.replace("_", " ")
        lines.append(f"All runs have {what} {plain_exponent(f'{value:g}')}: what another one does they cannot tell")
    lines += [f"{name} not tried: it has as many parameters as there are runs" for name in passed_over]
    return tuple(lines)
