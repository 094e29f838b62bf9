r"""The noisy quadratic model: a spectrum, its gradient noise and its starting point.

The loss is `L(theta) = irreducible + 1/2 sum_i h_i theta_i^2` with its optimum at 0. A gradient from a
mini-batch of `B` examples is `h theta + xi` with `E xi = 0` and `Var xi_i = c_i / B`. Only second moments
matter for the expected loss (the *risk*), so the starting point is given by `s_i = E theta_i(0)^2`, and
directions that share `(h, c, s)` are held once, with the number of directions they stand for.

Noise that follows the loss. Where `loss_noise` or `own_noise` is given, the variance of the gradient noise is

    Var xi_i = (c_i + m_i L + q_i E theta_i^2) / B,

`m` the loss noise, `q` the own noise, and `L` and `theta` those of the iterate whose gradient is taken: the current one,
not the average that may be scored. Since `L` enters linearly, its expectation, the risk, may stand for it.

Source: Zhang et al. 2019, section 3.1.
"""

import dataclasses
from typing import Any

import jax
import numpy as np

from nqmjax._tools import check_values, clear_round_off, is_traced, logarithmic_bins, numeric, require, shown

Array = Any
"""A number, a NumPy array or a JAX array."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class NoisyQuadratic:
    """A noisy quadratic problem of `n` groups of directions; a pytree whose leaves may be traced.

    Build it with `power_law` or `from_spectrum`, which check their arguments; the constructor does not.

    Args:
      curvature: eigenvalues `h` of the Hessian, shape `(n,)`.
      noise: variance `c` of the gradient of one example, shape `(n,)`.
      initial: second moment `E theta_0^2` of the start, shape `(n,)`.
      count: number of directions that each group stands for, shape `(n,)`.
      irreducible: loss at the optimum, a scalar.
      loss_noise: what the variance of the gradient of one example gains per unit of the current loss, shape `(n,)`; None is
        nothing, and the noise does not follow the loss.
      own_noise: what it gains per unit of the direction's own `E theta^2`, shape `(n,)`; None is nothing.

    >>> problem = power_law(10_000)
    >>> float(problem.dim), round(float(problem.initial_risk), 4)
    (10000.0, 4.8938)
    """

    curvature: Array
    noise: Array
    initial: Array
    count: Array
    irreducible: Array = 0.0
    loss_noise: Array = None
    own_noise: Array = None

    @property
    def follows_loss(self) -> bool:
        """Whether the noise depends on where the run is: then directions are no longer independent of each other."""
        return self.loss_noise is not None or self.own_noise is not None

    @property
    def dim(self) -> Array:
        """Number of directions, the sum of `count`."""
        return self.count.sum()

    @property
    def initial_risk(self) -> Array:
        """Risk `R_0` before the first update."""
        return self.irreducible + 0.5 * (self.count * self.curvature * self.initial).sum()

    def quantize(self, bins: int) -> "NoisyQuadratic":
        """Group directions of like curvature, keeping `dim`, `tr H`, `tr C` and the initial risk.

        The bins are about equally wide in `log h`, as narrow as `bins` groups that are not empty allow. A group's
        curvature and noise are the means over its directions, its `initial` the curvature-weighted mean.

        Args:
          bins: the largest number of groups of the result.

        Returns:
          a `NoisyQuadratic` of at most `bins` groups; this problem if it has no more than that.

        Raises:
          ValueError: `bins` is no whole number above 0.

        >>> small = power_law(10_000).quantize(100)
        >>> small.curvature.size, float(small.dim), bool(np.isclose(small.initial_risk, 4.8938, atol=1e-4))
        (100, 10000.0, True)
        """
        require(isinstance(bins, int | np.integer) and bins >= 1, "bins", bins, "give a whole number of groups, at least 1")
        if self.curvature.size <= bins:
            return self
        groups = logarithmic_bins(np.asarray(self.curvature), np.asarray(self.count), int(bins))

        def total(values: Array) -> np.ndarray:
            return np.bincount(groups, weights=np.asarray(values, dtype=np.float64))

        count, trace = total(self.count), total(self.count * self.curvature)
        excess = total(self.count * self.curvature * self.initial)
        plain = total(self.count * self.initial) / count
        return NoisyQuadratic(
            curvature=trace / count,
            noise=total(self.count * self.noise) / count,
            initial=np.divide(excess, trace, out=plain, where=trace > 0),
            count=count,
            irreducible=self.irreducible,
            **{name: total(self.count * values) / count for name, values in noise_of_the_run(self).items()},
        )


def noise_of_the_run(problem: NoisyQuadratic) -> dict[str, Array]:
    """The parts of the noise that depend on where the run is, by name; none of a problem without."""
    parts = {"loss_noise": problem.loss_noise, "own_noise": problem.own_noise}
    return {name: values for name, values in parts.items() if values is not None}


LARGEST = 10**8
"""Directions of a power law at most, held one by one; more can be given as groups, with `from_spectrum` and counts."""


def power_law(
    dim: int,
    exponent: float = 1.0,
    noise: Array = None,
    initial: Array = 1.0,
    irreducible: float = 0.0,
    loss_noise: Array = None,
) -> NoisyQuadratic:
    """The problem with curvature `h_i = i^-exponent`, `i = 1 .. dim`: `power_law(10_000)` is the paper's.

    Args:
      dim: number of directions.
      exponent: decay of the spectrum; 0 gives all ones.
      noise: per-example gradient variance, a scalar or shape `(dim,)`; None sets it to the curvature (`C = H`).
      initial: `E theta_0^2`, a scalar or shape `(dim,)`.
      irreducible: loss at the optimum.
      loss_noise: as in `from_spectrum`.

    Raises:
      ValueError: an argument is not a number, has the wrong sign or the wrong length.

    >>> power_law(3, exponent=2.0).curvature.round(4)
    array([1.    , 0.25  , 0.1111])

    Source: Zhang et al. 2019, section 3.5 (`exponent=1`, `dim=10^4`, `C = H`).
    """
    size, decay = numeric("dim", dim), numeric("exponent", exponent)
    whole = size.ndim == 0 and float(size).is_integer()
    require(whole and 1 <= float(size) <= LARGEST, "dim", dim, f"give a whole number of directions, from 1 to {LARGEST:,}")
    scalar = decay.ndim == 0 and bool(np.isfinite(decay))
    require(scalar, "exponent", exponent, "give a finite number")
    return from_spectrum(
        np.arange(1.0, int(size) + 1.0) ** -float(decay),
        noise=noise,
        initial=initial,
        irreducible=irreducible,
        loss_noise=loss_noise,
    )


SIGNS = "give finite values that are not negative: set them to 0 (clip), or measure the Gauss-Newton matrix, which has none"


def from_spectrum(
    eigenvalues: Array,
    count: Array = None,
    noise: Array = None,
    initial: Array = 1.0,
    irreducible: float = 0.0,
    loss_noise: Array = None,
) -> NoisyQuadratic:
    """A problem from given eigenvalues, sorted so that the largest comes first.

    Args:
      eigenvalues: curvature, shape `(n,)`, not negative, some above 0; zeros count towards `dim` and never change the risk.
        Values below 0 by less than `ROUND_OFF` of the largest are taken for 0.
      count: directions that each eigenvalue stands for, a scalar or shape `(n,)`; None means 1.
      noise: per-example gradient variance, a scalar or shape `(n,)`; None sets it to the curvature (`C = H`).
      initial: `E theta_0^2`, a scalar or shape `(n,)`.
      irreducible: loss at the optimum, not negative.
      loss_noise: what the per-example gradient variance gains per unit of the current loss: a number in units of the
        curvature (`2` is `2 h`, as noise of real losses has it), or the gains themselves, shape `(n,)`. None and 0 are nothing.

    Raises:
      ValueError: a value is negative, NaN or infinite, all eigenvalues are 0, a count is not positive, or lengths differ.

    >>> from_spectrum([0.1, 1.0], count=[90, 10]).curvature
    array([1. , 0.1])
    """
    curvature = np.atleast_1d(numeric("eigenvalues", eigenvalues))
    require(curvature.ndim == 1 and curvature.size > 0, "eigenvalues", curvature, "give at least one, in a 1-D array")
    curvature = clear_round_off(curvature)
    check_values("eigenvalues", curvature, np.isfinite(curvature) & (curvature >= 0), SIGNS)
    require(bool(curvature.any()), "every eigenvalue", 0, "give one above 0; a flat problem has nothing to learn")
    columns = {
        "eigenvalues": curvature,
        "noise": curvature if noise is None else numeric("noise", noise),
        "initial": numeric("initial", initial),
        "count": numeric("count", 1.0 if count is None else count),
    }
    for name, values in columns.items():
        require(
            values.shape in ((), (1,), curvature.shape),
            f"the shape of {name}",
            values.shape,
            f"give a number or {curvature.size} of them, one for each eigenvalue",
        )
    loss = numeric("irreducible", irreducible)
    require(loss.ndim == 0, "the shape of irreducible", loss.shape, "give one number")
    gain = _gain(loss_noise, curvature)
    order = np.argsort(-curvature, kind="stable")
    curvature, noise, initial, count = (np.broadcast_to(v, curvature.shape)[order] for v in columns.values())
    problem = NoisyQuadratic(curvature, noise, initial, count, float(loss), None if gain is None else gain[order])
    check_problem(problem, loss_noise=True)
    return problem


def with_loss_noise(problem: NoisyQuadratic, loss_noise: Array) -> NoisyQuadratic:
    """The problem with this loss noise, given as in `from_spectrum`; None and 0 leave it as it is."""
    gain = _gain(loss_noise, np.asarray(problem.curvature))
    return problem if gain is None else dataclasses.replace(problem, loss_noise=gain)


def _gain(loss_noise: Array, curvature: np.ndarray) -> np.ndarray | None:
    """The loss noise of each direction from what was given for it, None where there is none."""
    if loss_noise is None:
        return None
    gain = numeric("loss_noise", loss_noise)
    remedy = f"give one number, in units of the curvature, or {curvature.size} of them, one for each eigenvalue"
    require(gain.shape in ((), curvature.shape), "the shape of loss_noise", gain.shape, remedy)
    check_values("loss_noise", gain, np.isfinite(gain) & (gain >= 0), "give finite values that are not negative")
    return (gain * curvature if gain.ndim == 0 else gain) if gain.any() else None


def least_squares(eigenvalues: Array, label_noise: float = 0.0, count: Array = None, initial: Array = 1.0) -> NoisyQuadratic:
    r"""Linear regression on Gaussian inputs, `L = 1/2 E (x . theta - y)^2`, exactly as a problem whose noise follows its loss.

    An example's gradient has the covariance `H tr(H S) + H S H + label_noise H`, with `H = E x x^T`, `S = E theta theta^T`:
    along an eigenvector the loss noise is `2 h`, the own noise `h^2`, and the irreducible loss is `label_noise / 2`.

    Args:
      eigenvalues: of the covariance of the inputs, shape `(n,)`.
      label_noise: variance of the labels about their mean, `E (y - x . theta*)^2`.
      count, initial: as in `from_spectrum`.

    Raises:
      ValueError: as in `from_spectrum`; the label noise is negative or not a number.

    >>> problem = least_squares([1.0, 0.5], label_noise=0.1)
    >>> problem.loss_noise, problem.own_noise, float(problem.irreducible)
    (array([2., 1.]), array([1.  , 0.25]), 0.05)

    Source: Wick's theorem, `E x x^T S x x^T = 2 H S H + H tr(H S)`; Bach & Moulines 2013 for general inputs.
    """
    variance = numeric("label_noise", label_noise)
    valid = variance.ndim == 0 and bool(0 <= variance < np.inf)
    require(valid, "label_noise", label_noise, "give a finite variance, 0 or more")
    problem = from_spectrum(eigenvalues, count, 0.0, initial, float(variance) / 2, loss_noise=2.0)
    return dataclasses.replace(problem, own_noise=problem.curvature**2)


FOLLOWED = "risk, risk_curve, stationary_risk, noise_edge, steps_to_target (rule 'first'), sweep, tune, run and monte_carlo"


def check_problem(problem: NoisyQuadratic, asked: str = "this question", loss_noise: bool = False) -> None:
    """Raise `ValueError` for the first value of `problem` that no quadratic can have.

    Noise that follows the loss is refused unless `loss_noise`: what rests on independent directions, or on noise that only
    adds up, would silently compute another model.
    """
    if not isinstance(problem, NoisyQuadratic):  # told only then: the text of a large problem takes long
        raise ValueError(f"problem is {shown(problem)}: give one, for example power_law(10_000)")
    refuse_loss_noise(problem, asked, loss_noise)
    if is_traced(problem):
        return
    names = ("curvature", "noise", "initial", *noise_of_the_run(problem), "count")
    for name in names:
        value = getattr(problem, name)
        remedy = "give a 1-D array; power_law and from_spectrum make them of anything"
        require(isinstance(value, np.ndarray | jax.Array), name, value, remedy)
    shapes = {np.shape(getattr(problem, name)) for name in names}
    require(len(shapes) == 1 and len(next(iter(shapes))) == 1, "the shapes of the problem", shapes, "give equal 1-D arrays")
    for name in names[:-1]:
        values = numeric(name, getattr(problem, name))
        check_values(name, values, np.isfinite(values) & (values >= 0), "give finite values that are not negative")
    count = numeric("count", problem.count)
    check_values("count", count, np.isfinite(count) & (count > 0), "give positive numbers of directions")
    least = numeric("irreducible", problem.irreducible)
    require(least.ndim == 0 and bool(0 <= least < np.inf), "irreducible", problem.irreducible, "give a finite loss, 0 or more")


def refuse_loss_noise(problem: NoisyQuadratic, asked: str, allowed: bool = False) -> None:
    """Raise `ValueError` for noise that follows the loss where a question knows only noise that does not."""
    for name, values in noise_of_the_run(problem).items():
        text = "traced" if is_traced(values) else values
        require(allowed, name, text, f"{asked} takes noise that does not follow the loss. {FOLLOWED} do; or set it to None")
