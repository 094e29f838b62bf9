r"""Fitting a law to training runs: least squares on the logarithm of the loss, from many starts.

With residuals `r_i = log L(x; run i) - log loss_i`, the coordinates `x` minimise

    sum_i w_i s^2 rho(r_i / s)  +  sum_k (PRIOR_NOISE (x_k - m_k) / d_k)^2,

with `rho(t) = t^2`, or `2 (sqrt(1 + t^2) - 1)` if outliers are to pull less, and a weak normal prior (`m_k`, `d_k`) of each
coordinate, without which the irreducible loss runs to zero. Searches are lanes: a lane is a start with its own weights, scale
and prior, so that starts, folds and bootstrap replicates all run in one compilation.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from tqdm import tqdm

from nqmjax._tools import check_choice, numeric, on_all_cores, precision, progress_bar, require
from nqmjax.runs.laws import LAWS, Inputs, Law, Scale, scale_of, starting_points
from nqmjax.runs.least_squares import Minimum, minimize
from nqmjax.runs.study import Study, check_starts
from nqmjax.runs.table import Runs, check_runs

PRIOR_NOISE = 0.01
"""Relative error of the loss against which the priors are weighed."""

LANES = 2
"""Searches that run side by side in one call; calls are shared out among the processor's cores."""

STEPS = 100
"""Steps of a search at most."""

LEAST_NOISE = 1e-9
"""Standard deviation of the log loss at least, for runs that a law fits to the last digit."""

SAME = 1e-4
"""Searches whose sums of squares differ by less than this share ended in the same basin."""


class Lane(NamedTuple):
    """One search: where it starts, the weights of the runs, and what the coordinates are measured in and believed to be."""

    start: Any
    weight: Any
    scale: Scale
    mean: Any
    deviation: Any


class Basin(NamedTuple):
    """A minimum, and the share of the starts that ended there."""

    mean_squared_error: float
    share: float


@dataclasses.dataclass(frozen=True, eq=False)
class FittedLaw:
    """A law and the coordinates of its parameters that fit the runs best.

    Args:
      name: what it is called in tables.
      law: the formula.
      scale: what its coordinates are measured in.
      coordinates: at the minimum, shape `(parameters,)`.
      covariance: of the coordinates (Laplace), `(J^T J / noise^2 + prior^-2)^-1`, shape `(parameters, parameters)`.
      noise: standard deviation of the log loss about the law.
      mean_squared_error: of the log loss over the runs.
      jacobian: of the weighted residuals of the runs at the minimum, shape `(runs, parameters)`.
      prior: standard deviations of the coordinates before the fit.
      basins: minima that the starts found, the best first.
    """

    name: str
    law: Law
    scale: Scale
    coordinates: np.ndarray
    covariance: np.ndarray
    noise: float
    mean_squared_error: float
    jacobian: np.ndarray
    prior: np.ndarray
    basins: tuple[Basin, ...]


def lane(law: Law, runs: Runs, weight: np.ndarray, start: np.ndarray) -> Lane:
    """A search over the runs with these weights, whose mean is made 1; runs of weight 0 tell nothing, not even the scale."""
    weight = weight / weight[weight > 0].mean()
    scale = scale_of(dataclasses.replace(runs, weight=weight))
    parameters = law.parameters(scale)
    mean, deviation = (np.array([getattr(one, name) for one in parameters]) for name in ("mean", "deviation"))
    return Lane(start, weight, scale, mean, deviation)


def search(law: Law, study: Study, lanes: Sequence[Lane], progress: tqdm | None = None) -> Minimum:
    """Minima of all lanes, stacked."""

    def run(some: Sequence[Lane]) -> Minimum:
        padded = [*some, *[some[-1]] * (LANES - len(some))]
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *padded)
        with precision():
            found = jax.tree.map(np.asarray, _search(law, study.inputs, study.target, stacked, study.robust))
        if progress is not None:
            progress.update(len(some))
        return found

    batches = [lanes[first : first + LANES] for first in range(0, len(lanes), LANES)]
    found = [run(batches[0])]  # compiles
    found += on_all_cores(run, batches[1:])
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[: len(lanes)], *found)


@functools.partial(jax.jit, static_argnames=("law", "robust"))
def _search(law: Law, inputs: Inputs, target: Any, lanes: Lane, robust: float) -> Minimum:
    def one(lane: Lane) -> Minimum:
        return minimize(functools.partial(residuals, law, inputs, target, lane, robust), lane.start, STEPS)

    return jax.vmap(one)(lanes)


def residuals(law: Law, inputs: Inputs, target: Any, lane: Lane, robust: float, coordinates: Any) -> jax.Array:
    """What is squared and summed: one entry for each run, then one for each parameter."""
    error = law.log_loss(coordinates, inputs, lane.scale) - target
    if math.isfinite(robust):
        # sign(r) s sqrt(rho), written so that it is smooth at 0: sqrt(1 + t^2) - 1 = t^2 / (sqrt(1 + t^2) + 1).
        error = error * jnp.sqrt(2 / (1 + jnp.sqrt(1 + (error / robust) ** 2)))
    prior = PRIOR_NOISE * (coordinates - lane.mean) / lane.deviation
    return jnp.concatenate([jnp.sqrt(lane.weight) * error, prior])


def fit_law(
    runs: Runs, law: Law | str, name: str = "", starts: int = 32, robust: float = math.inf, seed: int = 0, progress: bool = True
) -> FittedLaw:
    """Fit one law to training runs.

    Args:
      runs: see `runs.make` and `runs.read`.
      law: a law of `nqmjax.runs.laws`, or a name in its catalogue `LAWS`.
      name: what the law is called in tables; by default its name in the catalogue.
      starts: searches, from points of a Latin hypercube.
      robust: error of the log loss beyond which a run pulls less; inf for plain least squares.
      seed: of the starts.
      progress: show a bar when the run takes longer than two seconds.

    Raises:
      ValueError: there is no such law, there are fewer runs than parameters, or an argument is out of its range.

    >>> from nqmjax.runs import make
    >>> size, batch = np.meshgrid([1e6, 3e6, 1e7], [32, 64, 128])
    >>> loss = 1.7 + 400 * size**-0.34 + 2 * (batch * 1000 / 1e5) ** -0.3
    >>> fitted = fit_law(make(size, batch, 1000, loss), "chinchilla")
    >>> bool(fitted.mean_squared_error < 1e-5)
    True
    """
    if isinstance(law, str):
        check_choice("law", law, LAWS)
        law, name = LAWS[law], name or law
    check_fit(runs, law, robust, name)
    check_starts(starts, seed)
    study = Study(runs, starts, robust, seed)
    with progress_bar(desc=f"fitting {name or law}", total=starts, unit=" starts", progress=progress) as bar:
        return fit_whole(name, law, study, bar)[0]


def fit_whole(name: str, law: Law, study: Study, progress: tqdm) -> tuple[FittedLaw, Minimum]:
    """A law fitted to all runs of a study, and the minima that its starts found."""
    runs = study.runs
    points = starting_points(law.parameters(scale_of(runs)), study.starts, study.seed)
    lanes = [lane(law, runs, runs.weight, start) for start in points]
    found = search(law, study, lanes, progress)
    return fitted_law(name, law, lanes[0], found, study.robust), found


def check_fit(runs: Runs, law: Law, robust: float, name: str = "") -> None:
    """Raise `ValueError` for what are no runs or no law, and unless there are more runs than the law has parameters."""
    check_runs(runs)
    require(isinstance(law, Law), "law", repr(law), f"give a law of nqmjax.runs.laws, or a name: {', '.join(LAWS)}")
    require(float(numeric("robust", robust)) > 0, "robust", robust, "give an error of the log loss above 0, or inf")
    known, needed = int((runs.weight > 0).sum()), len(law.names)
    simpler = "choose a law of fewer parameters (chinchilla has 5), or give more runs"
    require(known > needed, "the number of runs", known, f"the law {name or law} has {needed} parameters: {simpler}")


def fitted_law(name: str, law: Law, lane: Lane, found: Minimum, robust: float) -> FittedLaw:
    """The best of the minima, with what its Jacobian and the other minima tell."""
    order = np.argsort(found.cost)
    require(bool(np.isfinite(found.cost[order[0]])), "the fit", "not finite from any start", "check the units of the runs")
    best: Minimum = jax.tree.map(lambda leaf: leaf[order[0]], found)
    count, known = len(lane.weight), int((lane.weight > 0).sum())
    weight = float(lane.weight.sum())
    squares = (_plain(found.residuals[order][:, :count], robust) ** 2).sum(axis=1)
    noise = max(math.sqrt(squares[0] / weight * known / max(known - len(law.names), 1)), LEAST_NOISE)
    jacobian = best.jacobian[:count]
    return FittedLaw(
        name=name,
        law=law,
        scale=lane.scale,
        coordinates=best.coordinates,
        covariance=np.linalg.inv(jacobian.T @ jacobian / noise**2 + np.diag(lane.deviation**-2.0)),
        noise=noise,
        mean_squared_error=float(squares[0]) / weight,
        jacobian=jacobian,
        prior=lane.deviation,
        basins=_basins(found.cost[order], squares / weight),
    )


def _plain(residuals: np.ndarray, robust: float) -> np.ndarray:
    """Residuals as they would be without the robust loss, signs apart: the inverse of what `residuals` does to errors."""
    if math.isinf(robust):
        return residuals
    return robust * np.sqrt((residuals**2 / (2 * robust**2) + 1) ** 2 - 1)


def _basins(costs: np.ndarray, errors: np.ndarray) -> tuple[Basin, ...]:
    """Minima and their mean squared errors; both arrays are in ascending order of the costs."""
    finite = np.isfinite(costs)
    new = np.concatenate([[True], costs[1:] > (1 + SAME) * costs[:-1]]) & finite
    first = np.flatnonzero(new)
    counts = np.diff(np.append(first, finite.sum()))
    return tuple(Basin(float(errors[at]), float(count) / len(costs)) for at, count in zip(first, counts, strict=True))


def identification(fitted: FittedLaw) -> xr.Dataset:
    """What the runs tell of each parameter, and of which combinations they tell nothing.

    A parameter is identified if its standard deviation is below half of that before the fit. A combination of coordinates, each
    in units of its prior, that the runs tell less of than the prior does is loose.

    Args:
      fitted: see `fit_law`.

    Returns:
      `xarray.Dataset` over `parameter`: `value`, `lower` and `upper` (90%), `learnt` (share of the prior's variance that is
      gone), `identified` and `meaning`; attributes `condition` (number of the Jacobian in units of the prior),
      `strongest_correlation` of the pair `correlated`, and `loose` (texts).

    >>> from nqmjax.runs import Chinchilla
    >>> from nqmjax.runs import make
    >>> size, steps = np.meshgrid([1e6, 3e6, 1e7], [500, 1000, 4000])
    >>> runs = make(size, 64, steps, 1.7 + 400 * size**-0.34 + 2 * (steps / 1e3) ** -0.3)
    >>> found = identification(fit_law(runs, Chinchilla()))
    >>> bool(found.identified.sel(parameter="alpha"))
    True
    """
    require(isinstance(fitted, FittedLaw), "fitted", repr(fitted)[:80], "give what fit_law returns")
    parameters = fitted.law.parameters(fitted.scale)
    deviation = np.sqrt(np.diag(fitted.covariance))
    ends = {"value": 0.0, "lower": -1.645, "upper": 1.645}
    columns: dict[str, Any] = {
        name: [float(one.value(x + k * d)) for one, x, d in zip(parameters, fitted.coordinates, deviation, strict=True)]
        for name, k in ends.items()
    }
    columns["learnt"] = np.clip(1 - (deviation / fitted.prior) ** 2, 0, 1)
    columns["identified"] = deviation < 0.5 * fitted.prior
    columns["meaning"] = [one.meaning for one in parameters]
    correlation = fitted.covariance / np.outer(deviation, deviation) - np.eye(len(parameters))
    first, second = np.unravel_index(abs(correlation).argmax(), correlation.shape)
    _, singular, directions = np.linalg.svd(fitted.jacobian * fitted.prior / fitted.noise, full_matrices=False)
    loose = [_combination(fitted.law.names, vector) for told, vector in zip(singular, directions, strict=True) if told < 1]
    attrs = {
        "condition": float(singular[0] / max(singular[-1], 1e-300)),
        "strongest_correlation": float(correlation[first, second]),
        "correlated": [fitted.law.names[first], fitted.law.names[second]],
        "loose": loose,
    }
    table = {name: ("parameter", values) for name, values in columns.items()}
    return xr.Dataset(table, coords={"parameter": list(fitted.law.names)}, attrs=attrs)


def _combination(names: Sequence[str], vector: np.ndarray) -> str:
    """A combination of coordinates as text, its larger entries only, the largest positive."""
    vector = vector * np.sign(vector[abs(vector).argmax()])
    order = [k for k in np.argsort(-abs(vector)) if abs(vector[k]) > 0.3]
    return " ".join(f"{vector[k]:+.2f} {names[k]}" for k in order).lstrip("+")
