"""Problems from what is known of them: a power law, eigenvalues, linear regression."""

import dataclasses
from typing import Any

import numpy as np

from nqmjax._tools import check_values, clear_round_off, labels, numeric, require
from nqmjax.problem.checks import check_problem
from nqmjax.problem.quadratic import Array, NoisyQuadratic

LARGEST = 10**8
"""Directions of a power law at most, held one by one; more can be given as groups, with `from_spectrum` and counts."""


def power_law(
    dim: int,
    exponent: float = 1.0,
    noise: Array = None,
    initial: Array = 1.0,
    irreducible: float = 0.0,
    loss_noise: Array = None,
    *,
    layer: Any = None,
) -> NoisyQuadratic:
    """The problem with curvature `h_i = i^-exponent`, `i = 1 .. dim`: `power_law(10_000)` is the paper's.

    Args:
      dim: number of directions.
      exponent: decay of the spectrum; 0 gives all ones.
      noise: per-example gradient variance, a scalar or shape `(dim,)`; None sets it to the curvature (`C = H`).
      initial: `E theta_0^2`, a scalar or shape `(dim,)`.
      irreducible: loss at the optimum.
      loss_noise: as in `from_spectrum`.
      layer: names of the layers that the directions belong to, see `from_spectrum`.

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
        layer=layer,
    )


SIGNS = "give finite values that are not negative: set them to 0 (clip), or measure the Gauss-Newton matrix, which has none"


def from_spectrum(
    eigenvalues: Array,
    count: Array = None,
    noise: Array = None,
    initial: Array = 1.0,
    irreducible: float = 0.0,
    loss_noise: Array = None,
    *,
    layer: Any = None,
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
      layer: name of the layer that each eigenvalue belongs to, a text or a whole number or shape `(n,)`; None is a single one.
        Layers matter to methods whose rate follows a norm, and to `strides`.

    Raises:
      ValueError: a value is negative, NaN or infinite, all eigenvalues are 0, a count is not positive, a layer has no name, or
        lengths differ.

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
    names = None if layer is None else labels("layer", layer, curvature.size)
    curvature, noise, initial, count = (np.broadcast_to(v, curvature.shape)[order] for v in columns.values())
    ordered = None if names is None else tuple(names[i] for i in order)
    gain = None if gain is None else gain[order]
    problem = NoisyQuadratic(curvature, noise, initial, count, float(loss), gain, layer=ordered)
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
