r"""What a few measured points tell of a bend: draws of all bends that they allow.

The bend is `f(B) = log(1 + (K / B)^p) / p`, which falls as `log(K / B)` for `B` far below `K` and is 0 far above. A measured
value is `y_i = level + factor f(B_i) + e_i`, `e_i` normal of variance `phi v_i`. With a flat prior on the level and an inverse
gamma prior on `phi` (mean about 1, `FREEDOM` degrees of freedom) both are integrated out in closed form,

    log density(K, p) = prior(K, p) - (FREEDOM + n - 1) / 2 * log(FREEDOM + Q(K, p)),

`Q` the least weighted sum of squares over the level. The two parameters that are left live on a grid, which is laid once over
everything and once over where the density is, and are drawn from it; then `phi` and the level, given these. So an interval is
right with two points as with twenty, and wide where the points do not bend.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

DRAWS = 4000
FREEDOM = 8.0
"""Points that the prior scatter counts for."""

NODES = (25, 161)
"""Nodes of the grid along the sharpness and along the bend."""

REACH = 3.5
"""Standard deviations of the prior that the grid spans."""

FAINT = 1e-6
"""Share of the largest density at which the second grid ends."""


class Prior(NamedTuple):
    """Logarithms: the sharpness `p`, normal and within `ends`; the bend `K`, flat from `low` to `high`, times a normal if its
    `spread` is finite."""

    sharpness: float
    sharpness_spread: float
    low: float
    high: float
    bend: float = 0.0
    bend_spread: float = np.inf
    ends: tuple[float, float] = (-np.inf, np.inf)


class Draws(NamedTuple):
    """Draws of the parameters, each of shape `(DRAWS,)`: level, log of the bend, sharpness, and scatter of one value."""

    level: np.ndarray
    bend: np.ndarray
    sharpness: np.ndarray
    scatter: np.ndarray


Shape = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""`f` of the logarithms of batch size and bend, and the sharpness; arrays broadcast."""


def bend_of(log_batch: np.ndarray, bend: np.ndarray, sharpness: np.ndarray) -> np.ndarray:
    """`f(B)`, arrays broadcast.

    >>> bend_of(np.log(np.array([1.0, 1e9])), np.log(100.0), 1.0).round(4)
    array([4.6151, 0.    ])
    """
    return np.logaddexp(0.0, sharpness * (bend - log_batch)) / sharpness


def draw(
    log_batch: np.ndarray,
    values: np.ndarray,
    variance: np.ndarray,
    prior: Prior,
    generator: np.random.Generator,
    factor: float = 1.0,
    shape: Shape = bend_of,
) -> Draws:
    """Draws of all that the points `(n,)` allow; `variance` is that of each value by the prior, `shape` the bend `f`."""

    def bends(bend: np.ndarray, log_sharpness: np.ndarray) -> np.ndarray:
        return factor * shape(log_batch, bend[..., None], np.exp(log_sharpness)[..., None])

    weight = 1 / variance
    axes = [
        _axis(prior, NODES[0]),
        np.linspace(prior.low, prior.high, NODES[1]),
    ]
    for _ in range(2):
        log_sharpness, bend = np.meshgrid(*axes, indexing="ij")
        _, squares = _least(values, weight, bends(bend, log_sharpness))
        density = (
            -0.5 * (FREEDOM + values.size - 1) * np.log(FREEDOM + squares)
            - 0.5 * ((bend - prior.bend) / prior.bend_spread) ** 2
        )
        if prior.sharpness_spread:
            density -= 0.5 * ((log_sharpness - prior.sharpness) / prior.sharpness_spread) ** 2
        density = np.exp(density - density.max())
        last, axes = axes, [_denser(axis, density.max(1 - place)) for place, axis in enumerate(axes)]
    log_sharpness, bend = _drawn(last, density, generator)
    level, squares = _least(values, weight, bends(bend, log_sharpness))
    scale = (FREEDOM + squares) / generator.chisquare(FREEDOM + values.size - 1, DRAWS)
    level = level + np.sqrt(scale / weight.sum()) * generator.normal(size=DRAWS)
    return Draws(level, bend, np.exp(log_sharpness), np.sqrt(scale * np.median(1 / weight)))


def _axis(prior: Prior, nodes: int) -> np.ndarray:
    """The logarithms of sharpness that matter by the prior."""
    if prior.sharpness_spread == 0:
        return np.array([prior.sharpness])
    reach = REACH * prior.sharpness_spread
    return np.linspace(max(prior.sharpness - reach, prior.ends[0]), min(prior.sharpness + reach, prior.ends[1]), nodes)


def _least(values: np.ndarray, weight: np.ndarray, bends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best level and the weighted sum of squares that it leaves."""
    rest = values - bends
    level = (weight * rest).sum(-1) / weight.sum()
    return level, (weight * (rest - level[..., None]) ** 2).sum(-1)


def _denser(axis: np.ndarray, density: np.ndarray) -> np.ndarray:
    """As many nodes where the density is not faint."""
    some = np.flatnonzero(density > FAINT)
    first, last = max(some[0] - 1, 0), min(some[-1] + 1, axis.size - 1)
    return np.linspace(axis[first], axis[last], axis.size)


def _drawn(axes: list[np.ndarray], density: np.ndarray, generator: np.random.Generator) -> list[np.ndarray]:
    """Nodes by systematic sampling, spread over their cells."""
    total = np.cumsum(density.ravel())
    place = np.searchsorted(total, (np.arange(DRAWS) + generator.uniform()) / DRAWS * total[-1])
    nodes = np.unravel_index(generator.permutation(np.minimum(place, density.size - 1)), density.shape)
    width = [axis[-1] - axis[0] for axis in axes]
    steps = [span / max(axis.size - 1, 1) for span, axis in zip(width, axes, strict=True)]
    spread = [generator.uniform(-0.5, 0.5, DRAWS) * step for step in steps]
    return [np.clip(axis[node] + part, axis[0], axis[-1]) for axis, node, part in zip(axes, nodes, spread, strict=True)]
