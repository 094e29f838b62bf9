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

from nqmjax._tools import logarithmic_bins, require

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
      layer: name of the layer of each group, a tuple of `n` texts, or None where there is a single one. It is part of the
        problem's type, not a leaf: JAX compiles for each layout.

    >>> from nqmjax import power_law
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
    layer: tuple[str, ...] | None = dataclasses.field(default=None, kw_only=True, metadata={"static": True})

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

        >>> from nqmjax import power_law
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
            **{name: total(self.count * values) / count for name, values in noise_of_the_run(self).items()},
            layer=None if self.layer is None else tuple(self.layer[i] for i in first),
        )


def noise_of_the_run(problem: NoisyQuadratic) -> dict[str, Array]:
    """The parts of the noise that depend on where the run is, by name; none of a problem without."""
    parts = {"loss_noise": problem.loss_noise, "own_noise": problem.own_noise}
    return {name: values for name, values in parts.items() if values is not None}
