r"""Small networks whose products are all products of matrices, so that runs in lock step cost no more than one by one.

Weights start normal with variance `g^2 / n`, `n` the inputs of a unit, `g^2` 1 for tanh and 2 for relu and gelu; shifts start
at 0. Convolutions are products of the patches of an image, 3 by 3 with zeros around it, with the kernel; pooling averages 2 by
2.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

ACTIVATIONS: dict[str, tuple[Callable, float]] = {
    "tanh": (jnp.tanh, 1.0),
    "relu": (jax.nn.relu, 2.0**0.5),
    "gelu": (jax.nn.gelu, 2.0**0.5),
}
"""Activations by name, and the gain of the weights before them."""

TINY = 1e-5
"""What is added to variances that are divided by."""


def dense(rng: np.random.Generator, inputs: int, outputs: int, gain: float = 1.0) -> dict[str, np.ndarray]:
    """Parameters of a dense layer."""
    kernel = rng.normal(size=(inputs, outputs)) * gain / inputs**0.5
    return {"kernel": kernel.astype(np.float32), "bias": np.zeros(outputs, np.float32)}


def linear(layer: dict[str, Any], inputs: Any) -> Any:
    """A dense layer."""
    return inputs @ layer["kernel"] + layer["bias"]


def layers(sizes: Sequence[int], activation: str) -> Callable[[int], Any]:
    """Parameters of dense layers from a seed."""
    gain = ACTIVATIONS[activation][1]

    def start(seed: int) -> list[dict[str, np.ndarray]]:
        rng = np.random.default_rng(seed)
        gains = [gain] * (len(sizes) - 2) + [1.0]
        return [dense(rng, *pair, gain) for pair, gain in zip(itertools.pairwise(sizes), gains, strict=True)]

    return start


def perceptron(activation: str) -> Callable[[Any, Any], Any]:
    """Dense layers, one after the other, with an activation between two."""
    bend = ACTIVATIONS[activation][0]

    def apply(params: Any, inputs: Any) -> Any:
        for layer in params[:-1]:
            inputs = bend(linear(layer, inputs))
        return linear(params[-1], inputs)

    return apply


def convolution_layers(
    side: int, channels: Sequence[int], classes: int, activation: str, batch_norm: bool
) -> Callable[[int], Any]:
    """Parameters of a convolutional network from a seed."""
    gain = ACTIVATIONS[activation][1]

    def start(seed: int) -> dict[str, Any]:
        rng = np.random.default_rng(seed)
        found = []
        for before, after in itertools.pairwise([1, *channels]):
            layer = dense(rng, 9 * before, after, gain)
            found.append(layer | ({"scale": np.ones(after, np.float32)} if batch_norm else {}))
        return {"convolutions": found, "last": dense(rng, (side >> len(channels)) ** 2 * channels[-1], classes)}

    return start


def convolutional(side: int, activation: str, batch_norm: bool) -> Callable[[Any, Any], Any]:
    """Convolutions, each with activation and pooling, and a dense layer.

    Batch normalisation takes mean and variance of the batch that it is given, in training and in evaluation alike.
    """
    bend = ACTIVATIONS[activation][0]

    def apply(params: Any, inputs: Any) -> Any:
        images = inputs.reshape(-1, side, side, 1)
        for layer in params["convolutions"]:
            images = patches(images) @ layer["kernel"]
            images = bend((normalised(images) * layer["scale"] if batch_norm else images) + layer["bias"])
            images = pooled(images)
        return linear(params["last"], images.reshape(images.shape[0], -1))

    return apply


def patches(images: Any) -> Any:
    """The 3 by 3 neighbourhood of every pixel, shape `(b, s, s, 9 c)` from `(b, s, s, c)`."""
    side = images.shape[1]
    wide = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return jnp.concatenate([wide[:, i : i + side, j : j + side] for i in range(3) for j in range(3)], axis=-1)


def pooled(images: Any) -> Any:
    """Means over squares of 2 by 2; a last row or column that is left over is dropped."""
    count, side, _, channels = images.shape
    half = side // 2
    return images[:, : 2 * half, : 2 * half].reshape(count, half, 2, half, 2, channels).mean((2, 4))


def normalised(values: Any, axes: tuple[int, ...] = (0, 1, 2)) -> Any:
    """Values with mean 0 and variance 1 over some axes."""
    centred = values - values.mean(axes, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(axes, keepdims=True) + TINY)


def transformer_layers(letters: int, length: int, width: int, depth: int) -> Callable[[int], Any]:
    """Parameters of a transformer from a seed."""

    def start(seed: int) -> dict[str, Any]:
        rng = np.random.default_rng(seed)
        blocks = [
            {
                "attention": dense(rng, width, 3 * width),
                "mixed": dense(rng, width, width),
                "wide": dense(rng, width, 4 * width, 2.0**0.5),
                "narrow": dense(rng, 4 * width, width),
            }
            for _ in range(depth)
        ]
        tables = {name: np.float32(rng.normal(size=(rows, width))) for name, rows in (("letters", letters), ("places", length))}
        return {**tables, "blocks": blocks, "last": dense(rng, width, letters)}

    return start


def transformer_outputs(heads: int) -> Callable[[Any, Any], Any]:
    """A transformer with normalisation before each part: logits of every next letter from the letters before it."""

    def apply(params: Any, inputs: Any) -> Any:
        values = params["letters"][inputs] + params["places"]
        for block in params["blocks"]:
            values = values + linear(block["mixed"], attention(linear(block["attention"], normalised(values, (-1,))), heads))
            values = values + linear(block["narrow"], jax.nn.gelu(linear(block["wide"], normalised(values, (-1,)))))
        return linear(params["last"], normalised(values, (-1,)))

    return apply


def attention(values: Any, heads: int) -> Any:
    """Causal attention with queries, keys and values side by side on the last axis, shape `(b, t, 3 w)` to `(b, t, w)`."""
    count, length, wide = values.shape
    queries, keys, found = jnp.moveaxis(values.reshape(count, length, 3, heads, wide // 3 // heads), (2, 3), (0, 2))
    scores = queries @ keys.swapaxes(-1, -2) / queries.shape[-1] ** 0.5
    causal = jnp.tril(jnp.ones((length, length), bool))
    weights = jax.nn.softmax(jnp.where(causal, scores, -jnp.inf), axis=-1)
    return jnp.moveaxis(weights @ found, 1, 2).reshape(count, length, wide // 3)
