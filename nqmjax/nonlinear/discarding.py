"""Discarding the examples of a batch whose losses are smallest."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nqmjax._tools import is_traced, own_arithmetic, require, scalar

NEARLY = 1e-6
"""A share that falls short of a whole number of examples by this share of the batch is rounding."""


def discard_small_losses(loss_per_example: Any, share: Any) -> jax.Array:
    r"""Mean loss of a batch without its `floor(share n)` smallest losses, to be differentiated in place of the plain mean.

    Of equal losses the first are dropped. A loss that is NaN counts as the largest and is kept.

    Late in training the examples dropped have gradients near 0, so that the mean gradient grows by `1 / (1 - share)`: a larger
    rate in disguise. At tuned rates it did not help a small network of ours.

    Args:
      loss_per_example: losses of the `n` examples of a batch, shape `(n,)`.
      share: of the batch to drop, in [0, 1); it may be traced, for a share that changes while training.

    Returns:
      mean of the losses kept, in float32 at least, differentiable; at least one is kept.

    Raises:
      ValueError: the share is not in [0, 1), or the losses are not one array of shape `(n,)`.

    >>> float(discard_small_losses(jnp.array([4.0, 1.0, 2.0, 3.0]), share=0.5))
    3.5
    >>> jax.grad(discard_small_losses)(jnp.array([4.0, 1.0, 2.0, 3.0]), 0.5).tolist()
    [0.5, 0.0, 0.0, 0.5]

    Source: Gao & Zhong 2020, section 3.1.
    """
    shape = np.shape(loss_per_example)
    require(len(shape) == 1 and shape[0] > 0, "the shape of loss_per_example", shape, "give one loss for each example")
    if not is_traced(share):
        require(0 <= scalar("share", share) < 1, "share", share, "give a share of the batch in [0, 1)")
    with own_arithmetic():
        losses, count = jnp.asarray(loss_per_example), shape[0]
        dropped = jnp.minimum(jnp.floor(count * (share + NEARLY)), count - 1).astype(int)
        kept = jnp.where(jnp.arange(count) >= dropped, jnp.sort(losses), 0)
        return kept.sum(dtype=jnp.result_type(losses, jnp.float32)) / (count - dropped)
