r"""Predicting the loss of runs that nobody has made yet, with intervals.

A `RunModel` is one fitted law or several, whose predictions of the log loss are averaged. The variance of a prediction is

    noise^2 + (DRIFT d)^2 + inflation^2 ( mean_m v_m + spread / M ),

`v_m` the variance that the uncertain coordinates of law `m` cause, `spread` that between the `M` laws, and `d` how far the
run lies beyond those fitted to, see `nqmjax.runs.extrapolation.distance`: all laws are wrong together out there, and the more
so the farther, by what was seen on tables of runs that others published. "laplace" takes `v_m = g^T Sigma g`, with the gradient
`g` and the covariance `Sigma` at the minimum; "bootstrap" the mean squared deviation of the predictions of fits to resampled
runs. The inflation is measured, not derived: it is what made intervals of that kind cover runs of more compute than those
fitted to. `noise` is that of the law which fits best: what others miss is no noise.
"""

import dataclasses
import functools
import importlib.metadata
import math
from collections.abc import Iterable, Mapping
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from nqmjax._tools import check_choice, check_values, numeric, on_all_cores, require
from nqmjax.runs.extrapolation import SIZES, distance, nearest, outside
from nqmjax.runs.law_predictions import law_log_loss, law_prediction
from nqmjax.runs.laws import Inputs, law_inputs
from nqmjax.runs.one_law import FittedLaw
from nqmjax.runs.settings import COLUMNS, RunSchedule, RunSettings, run_settings
from nqmjax.schedules import Plan, check_columns

DRIFT = 0.035
"""Standard deviation of the log loss for each time that the range of the log compute of the runs is left behind."""


class Interval(NamedTuple):
    """How intervals are made: what is known of the coordinates, the factor on all widths, and what they were seen to cover.

    `coordinates` holds for each law the covariance `(parameters, parameters)` for "laplace", or replicates
    `(replicates, parameters)` for "bootstrap". `coverage` is the share of later runs, of more compute than those fitted to,
    that lay in their 90% intervals, each inflated by what the other folds asked for; `bare_coverage` that without inflation.
    Both are NaN where there were too few budgets to tell.
    """

    coordinates: tuple[np.ndarray, ...]
    inflation: float
    coverage: float
    bare_coverage: float


@dataclasses.dataclass(frozen=True, eq=False)
class RunModel:
    """What runs taught: the laws that are averaged, how far to trust them, and what was seen. Made by `fit`.

    Args:
      laws: the fitted laws; the logarithms of their losses are averaged.
      intervals: by name, "laplace" (curvature at the minimum) and "bootstrap" (budgets and groups of runs drawn anew).
      settings: model size, batch size, number of updates and peak rate of the runs, shape `(runs, 4)`.
      schedules: of the runs, the commonest first.
      learning_rate: likewise, the geometric mean.
      compute_factor: compute of a run over N B K, in `compute_unit`.
      compute_unit: see `Runs`.
      scores: table over `law` of errors in training and on runs left out, None where nothing was compared.
      summary: the runs in words; what was left out, and why.
    """

    laws: tuple[FittedLaw, ...]
    intervals: Mapping[str, Interval]
    settings: np.ndarray
    schedules: tuple[RunSchedule, ...]
    learning_rate: float
    compute_factor: float
    compute_unit: str
    scores: xr.Dataset | None
    summary: tuple[str, ...]

    @property
    def schedule(self) -> RunSchedule:
        """Of runs of which nothing else is said: the commonest of those seen."""
        return self.schedules[0]

    @property
    def seen(self) -> dict[str, tuple[float, float]]:
        """Smallest and largest `model_size`, `batch_size`, `steps`, `learning_rate` and `compute` (N B K) of the runs."""
        compute = self.settings[:, :3].prod(axis=1)
        columns = dict(zip((*SIZES, "learning_rate", "compute"), (*self.settings.T, compute), strict=True))
        return {name: (float(values.min()), float(values.max())) for name, values in columns.items()}

    @property
    def best_interval(self) -> str:
        """The kind of interval whose coverage came nearest to what was asked for, "laplace" where that is not known."""
        known = {name: abs(one.coverage - 0.9) for name, one in self.intervals.items() if not math.isnan(one.coverage)}
        return min(known, key=lambda name: known[name]) if known else "laplace"

    @property
    def provenance(self) -> dict[str, str]:
        """Attributes of a table of predictions: what they rest on, and the units of its rates."""
        return {
            "problem": f"training runs fitted to: {'; '.join(self.summary)}",
            "laws": ", ".join(fitted.name for fitted in self.laws),
            "optimizer": "that of the runs",
            "rate_units": "those of the runs",
            "nqmjax_version": importlib.metadata.version("nqmjax"),
        }

    def __repr__(self) -> str:
        names = ", ".join(fitted.name for fitted in self.laws)
        return f"RunModel of {self.summary[0]}; {'law' if len(self.laws) == 1 else 'mean of'} {names}"


def predict(
    model: RunModel,
    model_size: Any,
    batch_size: Any = None,
    steps: Any = None,
    learning_rate: Any = None,
    schedule: RunSchedule | Iterable[RunSchedule] | None = None,
    plan: Plan | None = None,
    level: float = 0.9,
    interval: str | None = None,
) -> xr.Dataset:
    """The loss of training runs, with intervals.

    Args:
      model: see `fit` and `read_model`.
      model_size: parameters `N`; or `RunSettings`, in which case the next four are not given.
      batch_size: examples per update `B`.
      steps: updates `K`. Arrays are broadcast against each other and flattened.
      learning_rate: peak rate, in the unit of the runs; by default their geometric mean.
      schedule: a `RunSchedule`, or one for each run; by default the commonest of the runs.
      plan: pieces of rate, batch size and updates in place of the last four; rates are in the unit of the runs, relative to
        their peak where none was known.
      level: share of later runs that an interval is to cover.
      interval: "laplace" or "bootstrap"; by default the one that covered better.

    Returns:
      `xarray.Dataset` over `run`: the settings, `loss`, `lower`, `upper`, `deviation` (of the log loss), `beyond` (compute
      over the largest seen; at most 1 is within the data), `outside` (names of the settings outside their ranges, "schedule
      unseen"), `nearest` (factor by which N, B or K, whichever differs most, is off in the run nearest), and each law's loss.

    Raises:
      ValueError: an argument is out of its range.

    >>> from nqmjax.runs import make
    >>> from nqmjax.runs import fit
    >>> size, steps = np.meshgrid([1e6, 3e6, 1e7], [500, 1000, 4000])
    >>> model = fit(make(size, [64, 128, 256], steps, 1.7 + 400 * size**-0.34 + (steps / 1e3) ** -0.3), "chinchilla")
    >>> found = predict(model, 3e7, 256, [2000, 8000])
    >>> bool((found.lower < found.loss).all()), str(found.outside.values[0])
    (True, 'model_size above, compute above')
    """
    interval = check_model(model, interval, level)
    columns = (batch_size, steps, learning_rate, schedule)
    if plan is None:
        settings = _settings(model, model_size, *columns)
        inputs = law_inputs(settings)
    else:
        settings, inputs = _plan_inputs(model, model_size, plan, columns)
    _check_rates(model, settings)
    return _answers(model, settings, inputs, level, interval)


def _answers(model: RunModel, settings: RunSettings, inputs: Inputs, level: float, interval: str) -> xr.Dataset:
    """What `predict` returns."""
    compute = settings.model_size * np.asarray(inputs.batch_size) * settings.steps
    each, variance = log_predictions(model, inputs, interval, distance(model.seen["compute"], compute))
    mean, deviation = each.mean(axis=0), np.sqrt(variance)
    reach = NormalDist().inv_cdf(0.5 + level / 2) * deviation
    nats = {"units": "nats"}
    columns = {name: ("run", getattr(settings, name), {"units": COLUMNS[name].units}) for name in SIZES}
    columns |= {
        "loss": ("run", np.exp(mean), nats),
        "lower": ("run", np.exp(mean - reach), nats),
        "upper": ("run", np.exp(mean + reach), nats),
        "deviation": ("run", deviation, {"units": "1", "long_name": "standard deviation of the log loss"}),
        "beyond": ("run", compute / model.seen["compute"][1], {"units": "1", "long_name": "compute over the largest seen"}),
        "outside": ("run", outside(model.seen, model.schedules, settings, inputs)),
        "nearest": ("run", nearest(model.settings, settings), {"units": "1", "long_name": "factor in N, B or K to a run"}),
        "law_loss": (("law", "run"), np.exp(each), nats),
    }
    found = model.intervals[interval]
    attrs = model.provenance | {"level": level, "interval": interval, "inflation": found.inflation, "coverage": found.coverage}
    return xr.Dataset(columns, coords={"law": [fitted.name for fitted in model.laws]}, attrs=attrs)


def log_predictions(model: RunModel, inputs: Inputs, interval: str, far: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log losses `(laws, runs)`, and the variance `(runs,)` of the mean over laws as a prediction of runs so `far` beyond."""
    found = model.intervals[interval]
    predict_one = functools.partial(law_prediction, inputs=inputs, interval=interval)
    pairs = on_all_cores(predict_one, model.laws, found.coordinates)  # the first time, each law may be compiled
    each, variances = (np.stack([pair[k] for pair in pairs]) for k in (0, 1))
    noise = min(fitted.noise**2 for fitted in model.laws)
    sure, uncertain = variance_parts(each, variances, noise, far)
    return each, sure + found.inflation**2 * uncertain


def variance_parts(each: np.ndarray, variances: np.ndarray, noise: float, far: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variances `(runs,)`: of the noise and of drift, and that of the model: of the laws' coordinates and between the laws.

    Args:
      each: log losses of each law, `(laws, runs)`.
      variances: that their uncertain coordinates cause, likewise.
      noise: variance of runs about the laws.
      far: distances of the runs beyond those fitted to, `(runs,)`.
    """
    spread = each.var(axis=0, ddof=1) / len(each) if len(each) > 1 else 0.0
    return noise + (DRIFT * far) ** 2, variances.mean(axis=0) + spread


def mean_log_losses(model: RunModel, inputs: Inputs) -> np.ndarray:
    """Log losses `(runs,)` of the mean over laws, without intervals."""
    one = functools.partial(law_log_loss, inputs=inputs)
    return np.mean(on_all_cores(one, model.laws), axis=0)


def _check_rates(model: RunModel, settings: RunSettings) -> None:
    """Raise `ValueError` for rates that cannot be meant where the runs named none: they are then multiples of the runs' own."""
    if (model.settings[:, 3] == 1.0).all():
        fits = (settings.learning_rate > 0.01) & (settings.learning_rate < 100.0)
        remedy = "the runs named no learning_rate, so that rates are multiples of theirs; give 1 for the same rate"
        check_values("learning_rate", settings.learning_rate, fits, remedy)


def check_model(model: Any, interval: str | None, level: float = 0.9) -> str:
    """The kind of interval; raises `ValueError` for what is no model, no kind of interval or no level."""
    require(isinstance(model, RunModel), "model", repr(model), "give what fit or read_model returns")
    require(0 < float(numeric("level", level)) < 1, "level", level, "give a share between 0 and 1, for example 0.9")
    chosen = model.best_interval if interval is None else interval
    check_choice("interval", chosen, model.intervals)
    return chosen


def _settings(model: RunModel, model_size: Any, batch_size: Any, steps: Any, learning_rate: Any, schedule: Any) -> RunSettings:
    if isinstance(model_size, RunSettings):
        given = [batch_size, steps, learning_rate, schedule]
        require(all(value is None for value in given), "model_size", model_size, "these settings are complete; give no others")
        return model_size
    for name, value in {"batch_size": batch_size, "steps": steps}.items():
        require(value is not None, name, value, "give it, or a plan")
    rate = model.learning_rate if learning_rate is None else learning_rate
    return run_settings(model_size, batch_size, steps, rate, model.schedule if schedule is None else schedule)


def _plan_inputs(model: RunModel, model_size: Any, plan: Plan, others: tuple[Any, ...]) -> tuple[RunSettings, Inputs]:
    """The settings of a plan for each model size, with its mean batch size, and the plan as a law takes it."""
    alone = all(value is None for value in others)
    require(alone, "plan", plan, "it says batch size, steps and rates; leave those out")
    check_columns(plan)
    more = ", ".join(name for name in plan.hyperparameters if name != "learning_rate")
    require(not more, "plan", more, "the laws know of rates and batch sizes only; leave the rest out")
    rate = numeric("plan.learning_rate", plan.learning_rate)
    peak = float(rate.max())
    require(bool((rate >= 0).all()) and 0 < peak < math.inf, "plan.learning_rate", rate, "give rates of 0 or more, one above 0")
    steps = float(plan.total_steps)
    settings = run_settings(model_size, float(plan.total_examples) / steps, steps, peak)
    count = len(settings)
    share, multiplier, batch = (
        np.broadcast_to(np.asarray(row, float), (count, plan.pieces))
        for row in (plan.steps / steps, rate / peak, plan.batch_size / settings.batch_size[0])
    )
    inputs = law_inputs(dataclasses.replace(settings, schedule=(RunSchedule("constant", 0.0),) * count))
    return settings, inputs._replace(share=share, multiplier=multiplier, batch=batch)
