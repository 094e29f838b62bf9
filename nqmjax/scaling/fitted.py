r"""A noisy quadratic in the units of real runs: the power law whose tuned curve is the measured one.

Exponent and noise scale are found as the anchored law's sharpness and knee are, by draws of all curves that the runs allow,
with the tuned curves of power laws in the place of the bend; the share of the initial loss that is the target makes the
fewest updates right. The curvature is scaled such that tuned rates are those of the runs. What the steps do not determine is
set: the start is the same in all directions, the initial loss is 1, and the number of directions a million.
"""

import dataclasses
from typing import Any

import numpy as np
import xarray as xr

from nqmjax._tools import check_batch_size, numeric, require, scalar
from nqmjax.optimizers import LinearOptimizer
from nqmjax.problem import NoisyQuadratic
from nqmjax.scaling.anchored import AnchoredCurve, Estimate, anchored_curve, steps_draws
from nqmjax.scaling.families import CLOSEST, family, member, template_of, tuned
from nqmjax.scaling.habits import optimizer_name, rate_power
from nqmjax.scaling.observed import Observed, as_observed
from nqmjax.scaling.posterior import Prior

EXPECTED, SPREAD = 1.2, 0.3
"""Exponent before any curve is seen, and the standard deviation of its logarithm."""

FEWEST = 3
"""Batch sizes from which on a problem is fitted."""

AT_BOUND = 1.03
"""Factor within which an exponent is at the end of those looked at."""

POOR = 0.15
"""Root mean square deviation of the logarithms from which the problem does not describe the runs."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class FittedProblem:
    """What `fit_problem` finds; `print` says it in words.

    `problem` is in the units of the runs: examples, updates and, where `rates_known`, learning rates of `optimizer`; its
    initial loss is 1, and `target` the share of it that the runs' target is. `exponent` and `knee` (the batch size where
    perfect scaling would take the fewest updates) are an `Estimate` each. `law` is the anchored curve through the same runs,
    `remarks` what is to be said.
    """

    problem: NoisyQuadratic
    target: float
    optimizer: LinearOptimizer
    exponent: Estimate
    knee: Estimate
    rates_known: bool
    law: AnchoredCurve
    remarks: tuple[str, ...]

    def curve(self, batch_size: Any) -> xr.Dataset:
        """The problem's tuned curve, as `tune` returns it."""
        check_batch_size(batch_size)
        return tuned(self.problem, self.optimizer, np.atleast_1d(numeric("batch_size", batch_size)), self.target)

    def compare(self, batch_size: Any) -> xr.Dataset:
        """Updates by the problem and by the anchored law, and the first over the second, over `batch_size`."""
        steps = self.curve(batch_size).steps
        law = np.asarray(self.law.steps(steps.batch_size.values).value)
        columns = {"problem": steps.values, "law": law, "ratio": steps.values / law}
        return xr.Dataset({name: ("batch_size", one) for name, one in columns.items()}, {"batch_size": steps.batch_size.values})

    def __repr__(self) -> str:
        words = [f"{one.value:.3g} ({one.lower:.3g} to {one.upper:.3g})" for one in (self.exponent, self.knee)]
        return "power law of exponent {}, knee at batch size {}, target {:.3g} of the initial loss".format(*words, self.target)

    def __str__(self) -> str:
        return "\n".join([repr(self), *self.remarks])


def fit_problem(observed: Any, optimizer: Any, *, level: float = 0.9, seed: int = 0) -> FittedProblem:
    r"""The noisy quadratic whose tuned curve is the measured one, for questions that the measured curve cannot answer.

    Other optimizers, momentum, averaging, schedules and batch ramps can be asked of it in the units of the runs. For updates
    at other batch sizes trust the anchored law, `anchored_curve`: see `.compare`.

    Args:
      observed: as for `anchored_curve`, at three batch sizes or more.
      optimizer: as for `anchored_curve`; a `HeavyBall` or `Nesterov` says with which momentum (0.9 if it is only named). Adam
        and its kin are taken for SGD in the coordinates that they make, and rates are then not those of the runs.
      level: of the intervals.
      seed: of the draws.

    Returns:
      `FittedProblem`.

    Raises:
      ValueError: there are fewer than three batch sizes, no power law takes so many updates, or an argument is out of its
      range.
    """
    points, name = as_observed(observed), optimizer_name(optimizer)
    require(name is not None, "optimizer", optimizer, "the problem is that of an optimizer: name it")
    assert name is not None
    count = np.unique(points.batch_size).size
    require(count >= FEWEST, "the number of batch sizes", count, f"at least {FEWEST} are needed; anchored_curve needs two")
    law = anchored_curve(points, name, level=level, seed=seed)
    momentum = optimizer.momentum if hasattr(optimizer, "momentum") else 0.9
    template = template_of(name, scalar("momentum", momentum))
    fewest = float(law.steps_min.value)
    bends = family(template, fewest)
    remedy = "no power law takes so many with this optimizer; give updates, not examples or epochs"
    require(bends is not None, "the fewest updates", f"{fewest:.4g}", remedy)
    assert bends is not None
    ends = np.log(bends.exponents[[0, -1]])
    prior = Prior(np.log(EXPECTED), SPREAD, *_range(points), ends=(ends[0], ends[1]))
    draws = steps_draws(points, prior, np.random.default_rng(seed), bends)
    exponent = law.estimate(draws.sharpness)
    best = steps_draws(
        points, prior._replace(sharpness=np.log(exponent.value), sharpness_spread=0.0), np.random.default_rng(seed), bends
    )
    found = member(template, float(exponent.value), float(np.exp(np.median(best.level))), CLOSEST)
    require(found is not None, "the fewest updates", f"{fewest:.4g}", remedy)
    assert found is not None
    knee, shift = law.estimate(np.exp(draws.bend)), np.exp(np.median(best.bend)) / found.knee
    problem = dataclasses.replace(found.problem, noise=found.problem.noise * shift)
    problem, known = _in_units(problem, template, found.target, points, name)
    fitted = FittedProblem(problem, found.target, template, exponent, knee, known, law, ())
    return dataclasses.replace(fitted, remarks=tuple(_remarks(fitted, points, name, bends.exponents)))


def _range(points: Observed) -> tuple[float, float]:
    """Logarithms between which the knee is looked for."""
    return np.log(points.batch_size.min() / 100), np.log(points.batch_size.max() * 100)


def _in_units(
    problem: NoisyQuadratic, template: LinearOptimizer, target: float, points: Observed, optimizer: str
) -> tuple[NoisyQuadratic, bool]:
    """The problem with its curvature scaled such that tuned rates are those measured, and whether any was.

    With `h`, `c` times `k` and `s`, rates over `k` losses and updates stay.
    """
    known = ~np.isnan(points.learning_rate)
    if rate_power(optimizer) < 1 or not known.any():
        return problem, False
    rates = tuned(problem, template, points.batch_size[known], target).learning_rate.values
    factor = float(np.exp(np.nanmedian(np.log(rates / points.learning_rate[known]))))
    scaled = {"curvature": problem.curvature * factor, "noise": problem.noise * factor, "initial": problem.initial / factor}
    return dataclasses.replace(problem, **scaled), True


def _remarks(fitted: FittedProblem, points: Observed, optimizer: str, exponents: np.ndarray) -> list[str]:
    """What is to be said."""
    curve = fitted.curve(np.unique(points.batch_size)).steps
    ratio = curve.sel(batch_size=points.batch_size).values / points.steps
    size = float(np.sqrt(np.mean(np.log(ratio) ** 2)))
    said = [f"It takes the runs' updates within {100 * size:.2g}% root mean square."]
    if size > POOR:
        said.append("That is poor: no power law describes these runs; trust the anchored law alone.")
    value = fitted.exponent.value
    if not exponents[0] * AT_BOUND < value < exponents[-1] / AT_BOUND:
        end = "least" if value < 1 else "largest"
        said.append(
            f"The exponent ran to the {end} that is looked at, {value:.3g}: these runs do not determine it. More batch sizes "
            "around the bend would, or a target that takes another number of updates."
        )
    said.append(
        "Not determined by updates, and set: the start (the same in all directions), the loss (1 at the start, 0 at best)."
    )
    if rate_power(optimizer) < 1:
        said.append(
            "Adam and its kin are taken for SGD in the coordinates that they make: rates of the problem are not the runs'."
        )
    elif not fitted.rates_known:
        said.append("No rate was measured: rates of the problem are in units of one over its largest curvature.")
    said.append(
        "For updates at other batch sizes trust the anchored law; the problem is for what the law cannot say: other "
        "optimizers, schedules, batch ramps."
    )
    return said
