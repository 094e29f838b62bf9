"""Losses of a model's outputs: the two that have a name, each the mean over the examples of a batch."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nqmjax._tools import check_values, require

Loss = Callable[[Any, Any], jax.Array]
"""Mean loss of a batch from its outputs and its targets."""


def cross_entropy(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Mean cross-entropy of logits against labels (integers) or probabilities (floating point), over all but the last axis."""
    if jnp.issubdtype(targets.dtype, jnp.integer):
        return optax.softmax_cross_entropy_with_integer_labels(outputs, targets).mean()
    return optax.softmax_cross_entropy(outputs, targets).mean()


def squared_error(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Half the squared distance of outputs and targets, summed over the outputs of an example, the mean over examples."""
    return 0.5 * jnp.square(outputs - targets).sum() / outputs.shape[0]


LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy, "squared_error": squared_error}


def check_targets(loss: Any, outputs: jax.ShapeDtypeStruct, targets: Any) -> None:
    """Raise `ValueError` for targets that a named loss would silently misread.

    Args:
      loss: name of the loss; others are not checked.
      outputs: shape of the outputs of all examples.
      targets: those of all examples.
    """
    if loss not in LOSSES:
        return
    single = hasattr(outputs, "shape") and hasattr(targets, "dtype")
    require(single, "the outputs or the targets", "a tree", f"give one array of each for {loss}, or a loss of your own")
    labels = loss == "cross_entropy" and np.issubdtype(targets.dtype, np.integer)
    wanted = outputs.shape[:-1] if labels else outputs.shape
    remedy = f"give {wanted} for outputs of the shape {outputs.shape}"
    require(outputs.ndim > labels and targets.shape == wanted, "the shape of the targets", targets.shape, remedy)
    if labels:
        classes = outputs.shape[-1]
        check_values("targets", targets, (targets >= 0) & (targets < classes), f"give labels from 0 to {classes - 1}")
    elif loss == "cross_entropy":
        sums = targets.sum(-1)
        check_values("the sum of the targets", sums, abs(sums - 1) < 1e-3, "give probabilities that sum to 1, or labels")
