r"""Steps and rates of a real network at any batch size, from a few tuned runs: the anchored law.

Tuned updates to a target and tuned rates are anchored at both ends, where noise does not matter and where nothing else does:

    T^p = T_inf^p + (E / B)^p,        a^(-p/k) = a_inf^(-p/k) + (c / B)^p,

`T_inf` the fewest updates, `E` the fewest examples, `E / T_inf` the batch size where the two ends meet (the knee). The rate
grows as `B^k` where noise dominates: `k` is 1 for SGD with or without momentum and 1/2 for Adam and its kin. The sharpness
`p` has a prior by optimizer, which the points overrule as far as they can. Everything is asked of draws of all curves that
the points allow, see `nqmjax.scaling.posterior`: a value is the median, an interval holds the share `level` of the draws.
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from nqmjax._tools import check_batch_size, numeric, require, scalar, whole
from nqmjax.scaling.habits import expected_sharpness, optimizer_name, rate_power
from nqmjax.scaling.norms import MeasuredNoise
from nqmjax.scaling.observed import Observed, as_observed
from nqmjax.scaling.posterior import Draws, Prior, Shape, bend_of, draw
from nqmjax.scaling.remarks import remarks, rising, unseen

FAR = np.log(100.0)
"""How far beyond the measured batch sizes the knee may lie, a logarithm."""

TUNED, FOUND = 0.04, 0.2
"""Relative scatter to expect of tuned updates and of tuned rates, until the points tell: minima are flat, and grids coarse."""

ROUGH = np.log(3.0)
"""Standard deviation of the logarithm of the knee over the noise scale,"""

GIVEN = 0.1
"""and over a critical batch size that is given."""

EARLIER, APART = -0.3, 0.7
"""Mean and standard deviation of the logarithm of the batch size at which rates bend over that at which updates bend."""

ENOUGH = 5
"""Points from which on those far off the curve count for less."""


class Estimate(NamedTuple):
    """A value and the ends of its interval, numbers or arrays."""

    value: Any
    lower: Any
    upper: Any


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class AnchoredCurve:
    """What `anchored_curve` finds; `print` says it in words, remarks included.

    `remarks` says what is odd about the points and what they do not tell. `bounds_only` is True where a single batch size was
    measured and nothing else is known: values are then NaN, and intervals go from perfect scaling to none. `level` is the share
    of the intervals; `unseen` says whether the knee may lie far below, and far beyond, the batch sizes measured.
    """

    observed: Observed
    optimizer: str | None
    remarks: tuple[str, ...]
    bounds_only: bool
    unseen: tuple[bool, bool]
    level: float
    steps_draws: Draws
    rate_draws: Draws | None
    luck: np.ndarray

    def steps(self, batch_size: Any) -> Estimate:
        """Updates to the target at these batch sizes; the interval is that of a tuned run, scatter included."""
        log_batch = self._logs(batch_size)
        if self.bounds_only:
            return self._bounds(self.observed.steps, log_batch, -1.0)
        return self._predicted(self.steps_draws, log_batch, 1.0)

    def learning_rate(self, batch_size: Any) -> Estimate:
        """The tuned rate at these batch sizes, in the units of those measured; the interval is that of a tuned run."""
        require(self.optimizer is not None, "optimizer", self.optimizer, "rates grow by a rule of the optimizer: name it")
        remedy = "no rate was measured: give the learning_rate that at least one run was tuned to"
        require(self.rate_draws is not None, "learning_rate", "unknown", remedy)
        assert self.optimizer is not None
        assert self.rate_draws is not None
        log_batch = self._logs(batch_size)
        if self.bounds_only:
            return self._bounds(self.observed.learning_rate, log_batch, rate_power(self.optimizer))
        return self._predicted(self.rate_draws, log_batch, -rate_power(self.optimizer))

    def overhead(self, batch_size: Any) -> Estimate:
        """Examples over those of perfect scaling at these batch sizes, 1.2 for 20% more."""
        log_batch, draws = self._logs(batch_size), self.steps_draws
        excess = bend_of(log_batch, draws.bend, draws.sharpness) - (draws.bend - log_batch)
        found = self.estimate(np.exp(excess))
        return found._replace(value=found.value * np.nan) if self.bounds_only else found

    @property
    def steps_min(self) -> Estimate:
        """`T_inf`, the updates that the largest batches need."""
        return self.estimate(np.exp(self.steps_draws.level))

    @property
    def examples_min(self) -> Estimate:
        """`E`, the examples that the smallest batches need."""
        return self.estimate(np.exp(self.steps_draws.level + self.steps_draws.bend))

    @property
    def sharpness(self) -> Estimate:
        """`p`, the sharpness of the bend."""
        return self.estimate(self.steps_draws.sharpness)

    @property
    def residuals(self) -> np.ndarray:
        """Measured updates over those of the curve, minus 1, shape `(n,)`."""
        return self.observed.steps / self.steps(self.observed.batch_size).value - 1

    def estimate(self, draws: Any) -> Estimate:
        """Median and interval of a function of the draws, which stand on the last axis."""
        tail = 0.5 - self.level / 2
        return Estimate(*np.moveaxis(np.quantile(draws, [0.5, tail, 1 - tail], axis=-1), 0, 0))

    def _logs(self, batch_size: Any) -> np.ndarray:
        check_batch_size(batch_size)
        return np.log(numeric("batch_size", batch_size))[..., None]

    def _predicted(self, draws: Draws, log_batch: np.ndarray, factor: float) -> Estimate:
        curve = draws.level + factor * bend_of(log_batch, draws.bend, draws.sharpness)
        return self.estimate(np.exp(curve + draws.scatter * self.luck))._replace(value=np.exp(np.median(curve, axis=-1)))

    def _bounds(self, values: np.ndarray, log_batch: np.ndarray, power: float) -> Estimate:
        """From no change to perfect scaling, `B^power`."""
        known = ~np.isnan(values)
        here, place = np.log(values[known]).mean(), np.log(self.observed.batch_size[known]).mean()
        ends = np.sort([here + 0 * log_batch[..., 0], here + power * (log_batch[..., 0] - place)], axis=0)
        return Estimate(ends[0] * np.nan, *np.exp(ends))

    def __repr__(self) -> str:
        knee = self.estimate(np.exp(self.steps_draws.bend))
        text = f"{self.observed!r}; "
        if self.bounds_only:
            return text + "one batch size: only bounds are known"
        words = [f"{one.value:.4g} ({one.lower:.3g} to {one.upper:.3g})" for one in (self.steps_min, self.examples_min, knee)]
        return text + "fewest updates {}, fewest examples {}, knee at batch size {}".format(*words)

    def __str__(self) -> str:
        return "\n".join([repr(self), *self.remarks])


def anchored_curve(
    observed: Any,
    optimizer: Any = None,
    *,
    noise_scale: Any = None,
    critical_batch_size: float | None = None,
    sharpness: float | None = None,
    level: float = 0.9,
    seed: int = 0,
) -> AnchoredCurve:
    r"""Updates and rates at any batch size from tuned runs at a few, by the anchored law, with intervals.

    Two tuned runs suffice, better at batch sizes apart by a factor of 16 than of 2; or one with a noise scale or a known
    critical batch size. From five runs on, those far off the curve count for less.

    Args:
      observed: `Observed`, what `tune` returns, or a pair `(batch_size, steps)`; repeated runs count each.
      optimizer: a name such as "sgd", "heavy_ball" or "adamw", or an optimizer of nqmjax; None for any, without rates.
      noise_scale: examples, a number or what `noise_scale_from_norms` returns; taken for the knee within a factor of 3.
      critical_batch_size: examples, the knee `E / T_inf` where it is known, taken to 10%.
      sharpness: `p`, where it is known.
      level: of the intervals.
      seed: of the draws.

    Returns:
      `AnchoredCurve`, with `.steps(batch_size)`, `.learning_rate(batch_size)` and `.overhead(batch_size)`.

    Raises:
      ValueError: the steps rise with the batch size, or an argument is out of its range.

    >>> curve = anchored_curve(Observed([64, 1024], [46000, 3840], [3e-4, 1e-3]), "adamw")
    >>> at = curve.steps(4096)
    >>> print(*(f"{steps:.2g}" for steps in at))
    1.9e+03 1.4e+03 2.4e+03
    >>> print(f"{curve.learning_rate(4096).value:.2g}")
    0.0014

    Source: the two ends of McCandlish et al. 2018 and Shallue et al. 2018, joined by a power mean.
    """
    points, name = as_observed(observed), optimizer_name(optimizer)
    level = scalar("level", level)
    require(0 < level < 1, "level", level, "give a share between 0 and 1")
    for argument, value in {"critical_batch_size": critical_batch_size, "sharpness": sharpness}.items():
        positive = value is None or 0 < scalar(argument, value) < np.inf
        require(positive, argument, value, "give a number above 0")
    rising(points)
    generator = np.random.default_rng(whole("seed", seed, 0))
    prior = _prior(points, name, sharpness)
    scale = _noise(noise_scale)
    for known, spread in ((scale, ROUGH), (critical_batch_size, GIVEN)):
        if known is not None:
            prior = _with_bend(prior, np.log(known), spread)
    lonely = np.unique(points.batch_size).size == 1 and not np.isfinite(prior.bend_spread)
    steps = steps_draws(points, prior, generator)
    rate_draws = _rate_draws(points, steps, name, generator)
    luck = generator.normal(size=steps.level.size)
    hidden = (False, False) if np.isfinite(prior.bend_spread) else unseen(points, steps.bend)
    curve = AnchoredCurve(points, name, (), lonely, hidden, level, steps, rate_draws, luck)
    said = remarks(points, np.zeros(len(points)) if lonely else curve.residuals, lonely, hidden, scale)
    return dataclasses.replace(curve, remarks=tuple(said))


def _noise(noise_scale: Any) -> float | None:
    """The noise scale as a number."""
    if noise_scale is None:
        return None
    value = noise_scale.noise_scale if isinstance(noise_scale, MeasuredNoise) else scalar("noise_scale", noise_scale)
    require(0 < value < np.inf, "noise_scale", value, "give examples, a number above 0 and below infinity")
    return value


def _prior(points: Observed, optimizer: str | None, sharpness: float | None) -> Prior:
    ends = np.log([points.batch_size.min(), points.batch_size.max()])
    center, spread = expected_sharpness(optimizer)
    return Prior(np.log(sharpness or center), 0.0 if sharpness else spread, ends[0] - FAR, ends[1] + FAR)


def _with_bend(prior: Prior, bend: float, spread: float) -> Prior:
    """The prior times another normal one of the bend; the grid then reaches as far as the two do."""
    old = 0.0 if not np.isfinite(prior.bend_spread) else prior.bend_spread**-2
    total = old + spread**-2
    middle = (old * prior.bend + bend * spread**-2) / total
    low, high = min(prior.low, bend - 4 * spread), max(prior.high, bend + 4 * spread)
    return prior._replace(bend=middle, bend_spread=total**-0.5, low=low, high=high)


def steps_draws(points: Observed, prior: Prior, generator: np.random.Generator, shape: Shape = bend_of) -> Draws:
    """Draws of the steps' curve; points far off the median curve get a larger variance, three times over."""
    log_batch, values = np.log(points.batch_size), np.log(points.steps)
    relative = points.standard_error / points.steps
    variance = np.where(np.isnan(relative), TUNED**2, relative**2 + (TUNED / 2) ** 2)
    draws = draw(log_batch, values, variance, prior, generator, shape=shape)
    for _ in range(3 if np.unique(points.batch_size).size >= ENOUGH else 0):
        curve = np.median(draws.level + shape(log_batch[:, None], draws.bend, draws.sharpness), axis=-1)
        deviation = np.abs(values - curve) / np.sqrt(variance)
        usual = max(1.4826 * np.median(deviation), 0.3)
        draws = draw(log_batch, values, variance * np.maximum(deviation / (2 * usual), 1.0), prior, generator, shape=shape)
    return draws


def _rate_draws(points: Observed, steps: Draws, optimizer: str | None, generator: np.random.Generator) -> Draws | None:
    """Draws of the rates' curve, whose bend lies near that of the steps and is as sharp; None where no rate is known."""
    known = ~np.isnan(points.learning_rate)
    if optimizer is None or not known.any():
        return None
    log_sharpness, bend = np.log(steps.sharpness), np.median(steps.bend) + EARLIER
    spread = np.hypot(APART, steps.bend.std())
    prior = Prior(np.median(log_sharpness), log_sharpness.std(), bend - 4 * spread, bend + 4 * spread, bend, spread)
    variance = np.full(int(known.sum()), FOUND**2)
    log_rate = np.log(points.learning_rate[known])
    return draw(np.log(points.batch_size[known]), log_rate, variance, prior, generator, -rate_power(optimizer))
