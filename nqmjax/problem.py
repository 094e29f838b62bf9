r"""The noisy quadratic model: a spectrum, its gradient noise and its starting point.

The loss is `L(theta) = irreducible + 1/2 sum_i h_i theta_i^2` with its optimum at 0. A gradient from a
mini-batch of `B` examples is `h theta + xi` with `E xi = 0` and `Var xi_i = c_i / B`. Only second moments
matter for the expected loss (the *risk*), so the starting point is given by `s_i = E theta_i(0)^2`, and
directions that share `(h, c, s)` are held once, with the number of directions they stand for.

Source: Zhang et al. 2019, section 3.1.
"""

import dataclasses
from typing import Any

import jax
import numpy as np

from nqmjax._tools import check_values, clear_round_off, is_traced, labels, logarithmic_bins, numeric, require, shown

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
      layer: name of the layer of each group, a tuple of `n` texts, or None where there is a single one. It is part of the
        problem's type, not a leaf: JAX compiles for each layout.

    >>> problem = power_law(10_000)
    >>> float(problem.dim), round(float(problem.initial_risk), 4)
    (10000.0, 4.8938)
    """

    curvature: Array
    noise: Array
    initial: Array
    count: Array
    irreducible: Array = 0.0
    layer: tuple[str, ...] | None = dataclasses.field(default=None, kw_only=True, metadata={"static": True})

    @property
    def dim(self) -> Array:
        """Number of directions, the sum of `count`."""
        return self.count.sum()

    @property
    def initial_risk(self) -> Array:
        """Risk `R_0` before the first update."""
        return self.irreducible + 0.5 * (self.count * self.curvature * self.initial).sum()

    @property
    def layers(self) -> tuple[list[str], np.ndarray]:
        """Names of the layers, "" for a single one without a name, and the number among them of each group's."""
        if self.layer is None:
            return [""], np.zeros(self.curvature.size, dtype=np.int64)
        number = {name: i for i, name in enumerate(dict.fromkeys(self.layer))}
        return list(number), np.array([number[name] for name in self.layer])

    def quantize(self, bins: int) -> "NoisyQuadratic":
        """Group directions of like curvature and of one layer, keeping `dim`, `tr H`, `tr C` and the initial risk.

        The bins are about equally wide in `log h`, as narrow as `bins` groups that are not empty allow. A group's
        curvature and noise are the means over its directions, its `initial` the curvature-weighted mean.

        Args:
          bins: the largest number of groups of the result, at least the number of layers.

        Returns:
          a `NoisyQuadratic` of at most `bins` groups; this problem if it has no more than that.

        Raises:
          ValueError: `bins` is no whole number above 0, or less than the number of layers.

        >>> small = power_law(10_000).quantize(100)
        >>> small.curvature.size, float(small.dim), bool(np.isclose(small.initial_risk, 4.8938, atol=1e-4))
        (100, 10000.0, True)
        """
        require(isinstance(bins, int | np.integer) and bins >= 1, "bins", bins, "give a whole number of groups, at least 1")
        if self.curvature.size <= bins:
            return self
        names, place = self.layers
        require(bins >= len(names), "bins", bins, f"give at least one for each of the {len(names)} layers")
        groups = logarithmic_bins(np.asarray(self.curvature), np.asarray(self.count), int(bins), place)

        def total(values: Array) -> np.ndarray:
            return np.bincount(groups, weights=np.asarray(values, dtype=np.float64))

        count, trace = total(self.count), total(self.count * self.curvature)
        excess = total(self.count * self.curvature * self.initial)
        plain = total(self.count * self.initial) / count
        first = np.unique(groups, return_index=True)[1]
        return NoisyQuadratic(
            curvature=trace / count,
            noise=total(self.count * self.noise) / count,
            initial=np.divide(excess, trace, out=plain, where=trace > 0),
            count=count,
            irreducible=self.irreducible,
            layer=None if self.layer is None else tuple(self.layer[i] for i in first),
        )


LARGEST = 10**8
"""Directions of a power law at most, held one by one; more can be given as groups, with `from_spectrum` and counts."""


def power_law(
    dim: int,
    exponent: float = 1.0,
    noise: Array = None,
    initial: Array = 1.0,
    irreducible: float = 0.0,
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
        np.arange(1.0, int(size) + 1.0) ** -float(decay), noise=noise, initial=initial, irreducible=irreducible, layer=layer
    )


SIGNS = "give finite values that are not negative: set them to 0 (clip), or measure the Gauss-Newton matrix, which has none"


def from_spectrum(
    eigenvalues: Array,
    count: Array = None,
    noise: Array = None,
    initial: Array = 1.0,
    irreducible: float = 0.0,
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
    order = np.argsort(-curvature, kind="stable")
    names = None if layer is None else labels("layer", layer, curvature.size)
    curvature, noise, initial, count = (np.broadcast_to(v, curvature.shape)[order] for v in columns.values())
    ordered = None if names is None else tuple(names[i] for i in order)
    problem = NoisyQuadratic(curvature, noise, initial, count, float(loss), layer=ordered)
    check_problem(problem)
    return problem


def check_problem(problem: NoisyQuadratic) -> None:
    """Raise `ValueError` for the first value of `problem` that no quadratic can have."""
    if not isinstance(problem, NoisyQuadratic):  # told only then: the text of a large problem takes long
        raise ValueError(f"problem is {shown(problem)}: give one, for example power_law(10_000)")
    if is_traced(problem):
        return
    names = ("curvature", "noise", "initial", "count")
    for name in names:
        value = getattr(problem, name)
        remedy = "give a 1-D array; power_law and from_spectrum make them of anything"
        require(isinstance(value, np.ndarray | jax.Array), name, value, remedy)
    shapes = {np.shape(getattr(problem, name)) for name in names}
    require(len(shapes) == 1 and len(next(iter(shapes))) == 1, "the shapes of the problem", shapes, "give equal 1-D arrays")
    if problem.layer is not None:
        given = isinstance(problem.layer, tuple) and len(problem.layer) == np.size(problem.curvature)
        remedy = "give a tuple of names, one for each group; power_law and from_spectrum make it of anything"
        require(given and all(isinstance(name, str) for name in problem.layer), "layer", problem.layer, remedy)
    for name in names[:3]:
        values = numeric(name, getattr(problem, name))
        check_values(name, values, np.isfinite(values) & (values >= 0), "give finite values that are not negative")
    count = numeric("count", problem.count)
    check_values("count", count, np.isfinite(count) & (count > 0), "give positive numbers of directions")
    least = numeric("irreducible", problem.irreducible)
    require(least.ndim == 0 and bool(0 <= least < np.inf), "irreducible", problem.irreducible, "give a finite loss, 0 or more")
