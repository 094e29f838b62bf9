"""A small network on data made on the spot, for those who want to see a measurement before they have a network."""

import itertools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

SIZES = (40, 32, 10)
"""Inputs, hidden units and classes."""

EXAMPLES = 2000


def small_network() -> tuple[Callable, Any, Any, str]:
    """A perceptron with one hidden layer at its start, as `measure` wants it: `apply`, parameters, data, name of the loss.

    Its labels are those of another random network; its inputs have a spectrum that falls as a power law.

    >>> apply, params, (inputs, labels), loss = small_network()
    >>> apply(params, inputs).shape, labels.shape, loss
    ((2000, 10), (2000,), 'cross_entropy')
    """
    rng = np.random.default_rng(0)
    inputs = np.float32(rng.normal(size=(EXAMPLES, SIZES[0])) * np.arange(1, SIZES[0] + 1) ** -0.5)
    teacher = rng.normal(size=SIZES[:2]), rng.normal(size=SIZES[1:])
    labels = (np.tanh(inputs @ teacher[0]) @ teacher[1]).argmax(1)
    params = [
        {"kernel": np.float32(rng.normal(size=(fan_in, fan_out)) * fan_in**-0.5), "bias": np.zeros(fan_out, np.float32)}
        for fan_in, fan_out in itertools.pairwise(SIZES)
    ]
    return small_network_outputs, params, (inputs, labels), "cross_entropy"


def small_network_outputs(params: Any, inputs: Any) -> Any:
    """Logits of a batch."""
    hidden, last = params
    return jnp.tanh(inputs @ hidden["kernel"] + hidden["bias"]) @ last["kernel"] + last["bias"]
