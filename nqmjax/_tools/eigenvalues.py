"""What is done to eigenvalues before they are a problem: round-off is cleared, like ones are grouped."""

import numpy as np

ROUND_OFF = 1e-6
"""Eigenvalues below 0 by less than this share of the largest are what round-off leaves of a 0."""


def clear_round_off(eigenvalues: np.ndarray) -> np.ndarray:
    """The eigenvalues with 0 for those that round-off has moved below it.

    >>> clear_round_off(np.array([2.0, -1e-9, -1.0]))
    array([ 2.,  0., -1.])
    """
    largest = np.max(np.abs(eigenvalues), where=np.isfinite(eigenvalues), initial=0.0)
    return np.where((eigenvalues < 0) & (eigenvalues >= -ROUND_OFF * largest), 0.0, eigenvalues)


CROWD = 0.2
"""Weight of the share of directions against `log h` in the width of a bin."""


def logarithmic_bins(curvature: np.ndarray, count: np.ndarray, bins: int, layer: np.ndarray) -> np.ndarray:
    """Number of the group of each direction, none empty; directions without curvature have one of their own in each layer.

    The groups are equally wide in `log h / range of log h + CROWD * share of the directions above h`: the slow
    directions, of which there are many, decide the end of a run and want narrower bins than the few fast ones.
    """
    flat = curvature == 0
    layers, flats = np.unique(layer).size, np.unique(layer[flat]).size
    if bins < layers + flats or flat.all():
        return layer
    order = np.argsort(-curvature, kind="stable")
    share = np.empty(curvature.size)
    share[order] = np.cumsum(count[order]) / count.sum()
    depth = np.log(curvature.max()) - np.log(np.where(flat, curvature.max(), curvature))
    place = depth / (depth.max() or 1.0) + CROWD * share
    low, high = place[~flat].min(), place[~flat].max()
    place = (place - low) / ((high - low) or 1.0)

    def groups(divisions: int) -> np.ndarray:
        return layer + layers * np.where(flat, divisions, np.minimum(place * divisions, divisions - 1).astype(np.int64))

    def filled(divisions: int) -> int:
        return np.unique(groups(divisions)).size

    few = (bins - flats) // layers
    many = 2 * few
    while filled(many) <= bins and many < 2**40:
        few, many = many, 2 * many
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (middle, many) if filled(middle) <= bins else (few, middle)
    return np.unique(groups(few), return_inverse=True)[1]
