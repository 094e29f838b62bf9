r"""How large a batch pays: critical batch sizes by their definitions, regimes of a curve.

A *curve* is the number of updates `S` that it takes to reach a target at each batch size `B`, at the best
hyperparameters of each. Small batches scale perfectly (`S B`, the examples, constant), large ones not at all (`S` constant);
the critical batch size says where the one turns into the other. Its definitions differ by factors: every result names its own.
"""

import math
import textwrap
from typing import Any, NamedTuple

import numpy as np
import xarray
from scipy.optimize import isotonic_regression, least_squares

from nqmjax._tools import check_batch_size, check_choice, check_values, numeric, require
from nqmjax.scaling.anchored import AnchoredCurve, anchored_curve
from nqmjax.scaling.observed import Observed

FAR = np.log(1e6)  # how far beyond the ends of a curve its bend is looked for, a logarithm
SHARPEST = 8.0  # the largest `p` of the fit, the sharpest bend
ROUNDING = 1e-9  # what the logarithm of the examples may be above a level without exceeding it
CHEAPER = 0.01  # a batch size is cheaper than the smallest if it saves more than this share of the examples


class CriticalBatchSize(NamedTuple):
    """What `critical_batch_size` finds; `print` says it in words.

    `bound` is None, or "at least" or "at most" where the curve ends before it shows the critical batch size:
    `batch_size` is then that bound, an end of the curve, and no estimate. `steps_min` and `examples_min` are the fit's, None
    where the curve does not determine them (knee), or the fewest steps on the curve and the examples of perfect scaling
    (overhead). `residual` is the fit's largest relative deviation (knee only), `overhead` the one asked for (overhead only).
    `cheapest` and `saved`: the batch size with the fewest examples and the share that it saves, None if that is the smallest.
    `interval`: ends of the interval, of measured curves only.
    """

    batch_size: float
    bound: str | None
    definition: str
    steps_min: float | None
    examples_min: float | None
    residual: float | None
    overhead: float | None
    cheapest: float | None
    saved: float | None
    interval: tuple[float, float] | None = None

    def __str__(self) -> str:
        text = f"critical batch size {self.bound + ' ' if self.bound else ''}{self.batch_size:.4g}"
        if self.interval is not None:
            text += f", {self.interval[0]:.3g} to {self.interval[1]:.3g}"
        if self.definition == "knee" and self.residual is None:
            text += " (knee, where the fewest updates meet the fewest examples)"
        if self.overhead is not None:
            text += f" ({100 * self.overhead:.3g}% more examples than perfect scaling)"
        if self.residual is not None:
            text += f" (knee of S = S_min + E_min/B, fitted to {100 * self.residual:.1f}%)"
        if self.cheapest is not None and self.saved is not None:
            fewer = f"{self.cheapest:.4g} takes {100 * self.saved:.2g}% fewer examples"
            text += f"; the smallest batch size is not the cheapest: {fewer}"
        return textwrap.fill(text, 80)

    __repr__ = __str__


class Regimes(NamedTuple):
    """What `regimes` finds: the largest batch size of perfect scaling and the smallest of the flat part, None where the
    curve has no such part; the `examples` of the first and the `steps` of the second, at the ends of the curve."""

    perfect_until: float | None
    flat_from: float | None
    examples: float
    steps: float
    tolerance: float


def critical_batch_size(curve: Any, definition: str = "knee", overhead: float = 0.2) -> CriticalBatchSize:
    r"""The critical batch size of a curve of steps to target, by a definition of your choice.

    - "knee": `E_min / S_min` of `S = S_min + E_min / B`, fitted by least squares of `log S`. There a run takes twice
      the fewest steps and twice the fewest examples. Real curves bend otherwise: see `residual`.
    - "overhead": where the examples `E = S B` first are `overhead` above those of perfect scaling, `E_min`, interpolated
      in logarithms. `E_min` is that of the fit `E = E_min (1 + (B / K)^p)^(1/p)` to all batch sizes (`p = 1` is the knee;
      with fewer than four batch sizes it stays so), and the examples are made nondecreasing first by isotonic regression,
      so that no single point decides. Of `S_min + E_min/B` it is `overhead` times the knee.

    A measured curve is asked as `anchored_curve` has it, with an interval: where its two ends meet (knee), where it needs
    `overhead` more examples than its smallest batches.

    Args:
      curve: what `anchored_curve` returns, or `Observed`, of which it is made for an optimizer of any kind; or a Dataset with
        the coordinate `batch_size` and the 1-D variable `steps` (as `tune` returns it), or a pair of 1-D arrays
        `(batch_size, steps)`, for exact curves. The order is free; batch sizes that do not reach the target (steps inf or
        NaN) are left out; of several values at one batch size the smallest counts.
      definition: "knee" (at least three batch sizes) or "overhead" (at least two).
      overhead: share of examples above perfect scaling, for "overhead".

    Returns:
      `CriticalBatchSize`; a lower bound where the curve never leaves perfect scaling, an upper one where it shows none.

    Raises:
      ValueError: the curve is malformed or too short, or another argument is out of its range.

    >>> batch_size = 2.0 ** np.arange(14)
    >>> result = critical_batch_size((batch_size, 50 + 6000 / batch_size))
    >>> print(result)
    critical batch size 120 (knee of S = S_min + E_min/B, fitted to 0.0%)
    >>> round(result.steps_min), round(result.examples_min)
    (50, 6000)
    >>> print(critical_batch_size((batch_size[:5], 6000 / batch_size[:5]), "overhead"))
    critical batch size at least 16 (20% more examples than perfect scaling)

    Source: McCandlish et al. 2018, "An empirical model of large-batch training", section 2.3 (knee); Zhang et al. 2024,
    "How does critical batch size scale in pre-training?" (overhead).
    """
    check_choice("definition", definition, ["knee", "overhead"])
    positive = numeric("overhead", overhead).ndim == 0 and 0 < overhead < np.inf
    require(positive, "overhead", overhead, "give a positive share, 0.2 for 20%")
    if isinstance(curve, Observed):
        curve = anchored_curve(curve)
    if isinstance(curve, AnchoredCurve):
        return _measured(curve, definition, float(overhead))
    if definition == "knee":
        return _knee(*_read_curve(curve, 3))
    return _overhead(*_read_curve(curve, 2), float(overhead))


def regimes(curve: Any, tolerance: float = 0.1) -> Regimes:
    r"""Where a curve scales perfectly and where it is flat.

    Perfect scaling holds up to the largest measured batch size such that `S B` stays within `tolerance` of its value at
    the smallest; the curve is flat from the smallest one such that `S` stays within `tolerance` of its value at the
    largest. A part of less than a doubling of the batch size is none.

    Args:
      curve: as in `critical_batch_size`.
      tolerance: relative deviation, between 0 and 1.

    Returns:
      `Regimes`.

    Raises:
      ValueError: the curve is malformed or has fewer than two batch sizes, or the tolerance is out of its range.

    >>> batch_size = 2.0 ** np.arange(14)
    >>> found = regimes((batch_size, 50 + 6000 / batch_size))
    >>> found.perfect_until, found.flat_from
    (8.0, 2048.0)

    Source: the regimes of Shallue et al. 2018, "Measuring the effects of data parallelism", section 4.1.
    """
    require(
        numeric("tolerance", tolerance).ndim == 0 and 0 < tolerance < 1, "tolerance", tolerance, "give a number from 0 to 1"
    )
    batch_size, steps = _read_curve(curve, 2)
    examples = batch_size * steps
    first = batch_size[_leading(np.abs(examples / examples[0] - 1) <= tolerance) - 1]
    last = batch_size[-_leading((np.abs(steps / steps[-1] - 1) <= tolerance)[::-1])]
    return Regimes(
        perfect_until=float(first) if first >= 2 * batch_size[0] else None,
        flat_from=float(last) if last <= batch_size[-1] / 2 else None,
        examples=float(examples[0]),
        steps=float(steps[-1]),
        tolerance=float(tolerance),
    )


def _measured(curve: AnchoredCurve, definition: str, overhead: float) -> CriticalBatchSize:
    """From the draws of a measured curve; a bound where the knee lies so far off that it is not seen."""
    draws = curve.steps_draws
    remedy = "measure a second one, or give anchored_curve a noise scale"
    require(not curve.bounds_only, "the number of batch sizes", 1, remedy)
    share = (1 + overhead) ** draws.sharpness - 1 if definition == "overhead" else 1.0
    value, lower, upper = map(float, curve.estimate(np.exp(draws.bend) * share ** (1 / draws.sharpness)))
    below, beyond = curve.unseen
    return CriticalBatchSize(
        batch_size=lower if beyond else upper if below else value,
        bound="at least" if beyond else "at most" if below else None,
        definition=definition,
        steps_min=None if beyond else float(curve.steps_min.value),
        examples_min=None if below else float(curve.examples_min.value),
        residual=None,
        overhead=overhead if definition == "overhead" else None,
        cheapest=None,
        saved=None,
        interval=None if beyond or below else (lower, upper),
    )


def _knee(batch_size: np.ndarray, steps: np.ndarray) -> CriticalBatchSize:
    knee, examples_min, residual = _fit(batch_size, steps, sharpness=[])
    below, beyond = knee < batch_size[0], knee > batch_size[-1]
    return CriticalBatchSize(
        batch_size=float(np.clip(knee, batch_size[0], batch_size[-1])),
        bound="at most" if below else "at least" if beyond else None,
        definition="knee",
        steps_min=None if beyond else examples_min / knee,
        examples_min=None if below else examples_min,
        residual=residual,
        overhead=None,
        **_cheapest(batch_size, steps),
    )


def _overhead(batch_size: np.ndarray, steps: np.ndarray, overhead: float) -> CriticalBatchSize:
    """Where the logarithm of the examples, isotonic and piecewise linear in that of the batch size, exceeds the fit's start."""
    _, examples_min, _ = _fit(batch_size, steps, sharpness=[2.0] if batch_size.size >= 4 else [])
    rise = np.asarray(isotonic_regression(np.log(batch_size * steps)).x) - np.log(examples_min * (1 + overhead))
    return CriticalBatchSize(
        batch_size=float(np.clip(np.exp(np.interp(0.0, rise, np.log(batch_size))), batch_size[0], batch_size[-1])),
        bound="at most" if rise[0] > ROUNDING else "at least" if rise[-1] <= ROUNDING else None,
        definition="overhead",
        steps_min=float(steps.min()),
        examples_min=examples_min,
        residual=None,
        overhead=overhead,
        **_cheapest(batch_size, steps),
    )


def _fit(batch_size: np.ndarray, steps: np.ndarray, sharpness: list[float]) -> tuple[float, float, float]:
    """`K`, `E_min` and the largest relative deviation of the fit `S B = E_min (1 + (B / K)^p)^(1/p)` to the logarithms.

    `sharpness` is empty for `p = 1`, or holds where the search for `p`, from 1 to `SHARPEST`, starts.
    """
    log_batch, log_examples = np.log(batch_size), np.log(batch_size * steps)

    def log_minimum(log_knee: Any, sharpness: Any = 1.0) -> np.ndarray:
        return log_examples - np.logaddexp(0, sharpness * (log_batch - log_knee)) / sharpness

    def deviation(coordinates: Any) -> np.ndarray:
        return log_minimum(*coordinates) - log_minimum(*coordinates).mean()

    low, high = log_batch[0] - FAR, log_batch[-1] + FAR
    places = np.linspace(low + 1e-3, high - 1e-3, 400)  # strictly inside, as least_squares wants it
    start = places[log_minimum(places[:, None], *sharpness).var(axis=1).argmin()]
    bounds = [low, *[1.0 for _ in sharpness]], [high, *[SHARPEST for _ in sharpness]]
    fit = least_squares(deviation, [start, *sharpness], bounds=bounds, xtol=1e-15, ftol=1e-15, gtol=1e-15)
    return math.exp(fit.x[0]), math.exp(log_minimum(*fit.x).mean()), float(np.abs(np.expm1(-fit.fun)).max())


def _cheapest(batch_size: np.ndarray, steps: np.ndarray) -> dict[str, Any]:
    """The batch size with the fewest examples and what it saves, None where that is the smallest but for rounding."""
    place = int((batch_size * steps).argmin())
    saved = float(1 - batch_size[place] * steps[place] / (batch_size[0] * steps[0]))
    beyond = saved > max(CHEAPER, 1 / steps[0])
    return {"cheapest": float(batch_size[place]) if beyond else None, "saved": saved if beyond else None}


def _leading(holds: np.ndarray) -> int:
    """Number of entries before the first that is False."""
    return int(np.argmin(np.append(holds, False)))


def _read_curve(curve: Any, fewest: int) -> tuple[np.ndarray, np.ndarray]:
    """Batch sizes, ascending and distinct, and the steps of those that reach the target."""
    if isinstance(curve, xarray.Dataset):
        missing = [name for name in ("batch_size", "steps") if name not in curve.variables]
        require(not missing, "curve", f"without {' and '.join(missing)}", "give a Dataset with both, as tune returns it")
        dims = curve["steps"].dims
        require(dims == ("batch_size",), "the dimensions of steps", dims, "select one curve over batch_size with .sel or .isel")
        curve = curve["batch_size"].values, curve["steps"].values
    pair = isinstance(curve, tuple | list | np.ndarray) and len(curve) == 2
    require(pair, "curve", type(curve).__name__, "give an xarray.Dataset or a pair of arrays (batch_size, steps)")
    batch_size, steps = numeric("batch_size", curve[0]), numeric("steps", curve[1])
    same = batch_size.ndim == 1 and batch_size.shape == steps.shape
    require(same, "the shape of (batch_size, steps)", (batch_size.shape, steps.shape), "give two 1-D arrays of one length")
    check_batch_size(batch_size)
    check_values("steps", steps, ~(steps <= 0), "give positive numbers of updates, inf or NaN where the target is not reached")
    reached = np.isfinite(steps)
    distinct, place = np.unique(batch_size[reached], return_inverse=True)
    remedy = f"at least {fewest} different ones are needed; add more, or choose an easier target"
    require(distinct.size >= fewest, "the number of batch sizes that reach the target", distinct.size, remedy)
    smallest = np.full(distinct.size, np.inf)
    np.minimum.at(smallest, place, steps[reached])
    return distinct, smallest
