r"""Noise scales from gradients of single examples and of batches, with intervals from a bootstrap over the batches.

With `K` batches of `b` examples, gradients `g_k` and their mean `g`, all over examples drawn independently,

    |G|^2    mean over j != k of g_j . g_k            G^T H G    mean over j != k of g_j^T H g_k
    tr C     b (mean_k |g_k|^2 - |G|^2)               tr(H C)    b (mean_k g_k^T H g_k - G^T H G)      two batch sizes
             mean_n |g_n|^2 - |G|^2                              sum_i h_i c_i over the modes          single examples

are without bias: `|g|^2` itself is `tr C / N` too large, which matters where the gradient has almost vanished. For examples
that are all there is, as those on which a network has been trained, `|g|^2` itself is right.

Source: McCandlish et al. 2018, appendix A.1 (two batch sizes).
"""

from typing import NamedTuple

import numpy as np

LEVEL = 0.9
"""Share of the bootstrap's values inside the intervals."""

DRAWS = 2000
"""Draws of the bootstrap."""

DEFINITIONS = ("B_simple", "B_noise")
ESTIMATORS = ("examples", "batches", "all_data")


class Batches(NamedTuple):
    """What is known of each of `K` batches of `size` examples."""

    size: int
    gram: np.ndarray
    """`g_j . g_k`, shape `(K, K)`."""
    curved_gram: np.ndarray
    """`g_j^T H g_k`, shape `(K, K)`."""
    square_norm: np.ndarray
    """Mean of `|g_n|^2` over the batch, shape `(K,)`."""
    curved_noise: np.ndarray
    """Mean over the batch of the examples' parts of `tr(H C)`, shape `(K,)`."""


class NoiseScales(NamedTuple):
    """Values by definition and estimator, shape `(2, 3)`, and the ends of their intervals."""

    value: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


def noise_scales(batches: Batches, noise: np.ndarray, signal: np.ndarray, rng: np.random.Generator) -> NoiseScales:
    """Noise scales with intervals; infinite where the examples do not tell the gradient, or its curvature, from 0.

    Args:
      batches: batches of examples as a sample.
      noise: `tr C` and `tr(H C)` of the examples as all there is.
      signal: `|g|^2` and `g^T H g` of these, whose ratio has no error.
      rng: for the bootstrap.
    """
    count = len(batches.gram)
    draws = rng.multinomial(count, np.full(count, 1 / count), size=DRAWS).astype(np.float64)
    draws = draws[(draws > 0).sum(1) > 1]  # two batches at least, or there is no pair
    tail = 50 * (1 - LEVEL)
    lower, upper = np.percentile(_scales(batches, draws), [tail, 100 - tail], axis=0, method="inverted_cdf")
    exact = _ratio(noise, signal)
    return NoiseScales(*(np.column_stack([each, exact]) for each in (_scales(batches, np.ones((1, count)))[0], lower, upper)))


def _scales(batches: Batches, counts: np.ndarray) -> np.ndarray:
    """The scales if each batch were there so many times, counts of shape `(draws, K)`: shape `(draws, 2, 2)`."""
    shares = counts / counts.sum(1, keepdims=True)
    pairs = []
    for gram, alone in ((batches.gram, batches.square_norm), (batches.curved_gram, batches.curved_noise)):
        itself = np.diag(gram)
        different = (counts @ (gram - np.diag(itself)) * counts).sum(1)
        signal = different / (counts.sum(1) ** 2 - (counts**2).sum(1))
        of_batches = batches.size * (shares @ itself - signal)
        of_examples = shares @ alone - (signal if gram is batches.gram else 0.0)
        pairs.append([_ratio(noise, signal) for noise in (of_examples, of_batches)])
    return np.moveaxis(np.array(pairs), -1, 0)


def _ratio(noise: np.ndarray, signal: np.ndarray) -> np.ndarray:
    noise = np.maximum(noise, 0.0)
    return np.divide(noise, signal, out=np.where(noise > 0, np.inf, 0.0), where=signal > 0)
