"""Tasks that are ready to train: perceptrons, convolutional networks, an autoencoder, a transformer, linear regression."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nqmjax._tools import check_choice, require, scalar, whole
from nqmjax.measure import checked_data
from nqmjax.training import networks
from nqmjax.training.data import Split, digits, text
from nqmjax.training.task import Task


def mlp(
    hidden: Sequence[int] = (96,), activation: str = "tanh", loss: str = "cross_entropy", split: Split | None = None
) -> Task:
    """A perceptron that tells classes apart, digits unless told otherwise.

    Args:
      hidden: units of the hidden layers.
      activation: "tanh", "relu" or "gelu".
      loss: "cross_entropy" or "squared_error" (against 1 for the right class and 0 for the others).
      split: pairs of inputs, shape `(n, d)`, and labels, shape `(n,)`: those to train on and those held out; None for the
        digits.

    Raises:
      ValueError: an argument is out of its range.

    >>> x = np.random.default_rng(0).normal(size=(60, 4))
    >>> mlp((8,), split=Split((x[:40], (x[:40, 0] > 0) * 1), (x[40:], (x[40:, 0] > 0) * 1)))
    mlp 4-8-2 tanh: 58 parameters, 40 examples, loss at the start 0.758
    """
    check_choice("activation", activation, networks.ACTIVATIONS)
    check_choice("loss", loss, ("cross_entropy", "squared_error"))
    units = (
        [whole("hidden", number) for number in hidden]
        if isinstance(hidden, Sequence | np.ndarray)
        else [whole("hidden", hidden)]
    )
    split, classes = _classes(split)
    sizes = [split.data[0].shape[1], *units, classes]
    apply, name = networks.perceptron(activation), f"mlp {'-'.join(map(str, sizes))} {activation}"
    if loss == "cross_entropy":
        return Task(apply, networks.layers(sizes, activation), split.data, loss=loss, held_out=split.held_out, name=name)
    (data, held_out), name = [(x, np.float32(np.eye(classes)[y])) for x, y in split], f"{name}, squared error"

    def right(params: Any, examples: Any) -> Any:
        return (apply(params, examples[0]).argmax(-1) == examples[1].argmax(-1)).mean(dtype=jnp.float32)

    start = networks.layers(sizes, activation)
    return Task(apply, start, data, loss=loss, held_out=held_out, accuracy=right, name=name)


def cnn(
    channels: Sequence[int] = (8, 16), activation: str = "relu", batch_norm: bool = False, split: Split | None = None
) -> Task:
    """A convolutional network that tells images apart, digits unless told otherwise.

    Args:
      channels: of the convolutions, each followed by activation and pooling, which halves the sides of the image.
      activation: "tanh", "relu" or "gelu".
      batch_norm: whether convolutions are normalised over the batch; evaluation then takes the statistics of what is evaluated.
      split: pairs of square images, shape `(n, side^2)`, and labels; None for the digits.

    Raises:
      ValueError: an argument is out of its range.
    """
    check_choice("activation", activation, networks.ACTIVATIONS)
    many = [whole("channels", number) for number in channels]
    require(bool(many), "channels", channels, "give those of at least one convolution")
    split, classes = _classes(split)
    side = round(split.data[0].shape[1] ** 0.5)
    require(side**2 == split.data[0].shape[1], "the pixels of an image", split.data[0].shape[1], "give square images")
    require(side >> len(many) > 0, "channels", channels, f"an image of {side} pixels cannot be halved {len(many)} times")
    name = f"cnn {'-'.join(map(str, many))} {activation}{', batch norm' if batch_norm else ''}"
    start = networks.convolution_layers(side, many, classes, activation, batch_norm)
    apply = networks.convolutional(side, activation, batch_norm)
    return Task(apply, start, split.data, loss="cross_entropy", held_out=split.held_out, name=name)


def autoencoder(hidden: Sequence[int] = (64, 16, 64), activation: str = "tanh", split: Split | None = None) -> Task:
    """A perceptron that returns its inputs through a narrow layer, by squared error; digits unless told otherwise.

    Args:
      hidden: units of the hidden layers.
      activation: "tanh", "relu" or "gelu".
      split: pairs of inputs and labels, which are not looked at; None for the digits.

    Raises:
      ValueError: an argument is out of its range.
    """
    check_choice("activation", activation, networks.ACTIVATIONS)
    units = [whole("hidden", number) for number in hidden]
    (data, held_out), _ = _classes(split)
    sizes = [data[0].shape[1], *units, data[0].shape[1]]
    pairs = [(inputs, inputs) for inputs, _ in (data, held_out)]
    apply, name = networks.perceptron(activation), f"autoencoder {'-'.join(map(str, sizes))} {activation}"
    return Task(apply, networks.layers(sizes, activation), pairs[0], loss="squared_error", held_out=pairs[1], name=name)


def transformer(width: int = 32, depth: int = 2, heads: int = 2, split: Split | None = None) -> Task:
    """A small transformer that predicts the next letter of a text.

    Args:
      width: numbers that stand for a letter, a multiple of `heads`.
      depth: blocks of attention and a perceptron.
      heads: of the attention.
      split: pairs of letters and next letters, whole numbers of the shape `(n, length)`; None for `text()`.

    Raises:
      ValueError: an argument is out of its range.
    """
    width, depth, heads = whole("width", width), whole("depth", depth), whole("heads", heads)
    require(width % heads == 0, "width", width, f"give a multiple of heads, {heads}")
    split = text() if split is None else split
    letters = 1 + max(int(np.max(pair)) for part in split for pair in part)
    start = networks.transformer_layers(letters, split.data[0].shape[1], width, depth)
    name = f"transformer, {depth} layers of {width}"
    apply = networks.transformer_outputs(heads)
    return Task(apply, start, split.data, loss="cross_entropy", held_out=split.held_out, name=name)


def linear_regression(dim: int = 100, examples: int = 2000, exponent: float = 1.0, noise: float = 1.0, seed: int = 0) -> Task:
    r"""Linear regression on inputs whose variances fall as a power law, from 0: the noisy quadratic is exact for it.

    Inputs are `x_i ~ N(0, i^-exponent)`, targets `y = sum w_i x_i + noise z` with `w_i` and `z` standard normal.

    Args:
      dim: number of inputs.
      examples: to train on.
      exponent: of the variances.
      noise: standard deviation of what the inputs do not explain.
      seed: of the data.

    Raises:
      ValueError: an argument is out of its range.

    >>> linear_regression(10, 100)
    linear regression of 10: 10 parameters, 100 examples, loss at the start 1.594
    """
    dim, examples = whole("dim", dim), whole("examples", examples, 2)
    require(0 <= scalar("noise", noise) < np.inf, "noise", noise, "give a number, 0 or more")
    require(bool(np.isfinite(scalar("exponent", exponent))), "exponent", exponent, "give a number")
    rng = np.random.default_rng(whole("seed", seed, 0))
    x = rng.normal(size=(examples, dim)) * np.arange(1, dim + 1) ** (-exponent / 2)
    data = np.float32(x), np.float32(x @ rng.normal(size=dim) + noise * rng.normal(size=examples))
    return Task(_dot, np.zeros(dim, np.float32), data, loss="squared_error", name=f"linear regression of {dim}")


def _dot(weights: Any, inputs: Any) -> Any:
    return inputs @ weights


def linearized(task: Task) -> Task:
    """The same task with the outputs of the network to first order around its start, that of seed 0.

    Args:
      task: one whose `function` is `apply(params, inputs)`.

    Raises:
      ValueError: the task has a loss without outputs.
    """
    require(isinstance(task, Task), "task", type(task).__name__, "give a Task")
    require(task.loss is not None, "task", task.name, "give one of apply(params, inputs) and a loss of its outputs")
    start = task.start(0)

    def apply(params: Any, inputs: Any) -> Any:
        move = jax.tree.map(lambda new, old: new - old, params, start)
        outputs, change = jax.jvp(lambda point: task.function(point, inputs), (jax.tree.map(jnp.asarray, start),), (move,))
        return outputs + change

    return Task(apply, start, task.data, loss=task.loss, held_out=task.held_out, name=f"{task.name}, linearized")


def _classes(split: Split | None) -> tuple[Split, int]:
    """Pairs of inputs and labels, checked, and the number of classes."""
    if split is None:
        return digits(), 10
    remedy = "give (data, held_out), each a pair of inputs and labels"
    require(isinstance(split, tuple | list) and len(split) == 2, "split", type(split).__name__, remedy)
    (inputs, labels), _ = checked_data(split[0], pair=True)
    require(inputs.ndim == 2, "the shape of the inputs", inputs.shape, "give (examples, numbers of each)")
    require(
        labels.ndim == 1 and labels.dtype.kind in "iu", "the labels", labels.dtype, "give whole numbers, one for each example"
    )
    held_out, _ = checked_data(split[1], pair=True)
    return Split((inputs, labels), held_out), int(max(labels.max(), held_out[1].max())) + 1
