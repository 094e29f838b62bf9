"""Checks of arguments at the front door: each failure is a `ValueError` that names the argument, the value and the remedy."""

import difflib
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


def is_traced(*trees: Any) -> bool:
    """Whether any leaf is being traced by `jit`, `vmap` or `grad`, so that its value cannot be looked at."""
    if "jax" not in sys.modules:  # messages about bad input need not wait for it
        return False
    import jax
    from jax.core import Tracer

    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(trees))


SHOWN = 60
"""Characters of a value that a message shows."""


def shown(value: Any) -> str:
    """The text of a value in a message, on one line and short however large it is: long arrays show shape and ends.

    >>> import numpy as np
    >>> shown(0.5), shown("half"), shown(np.arange(1e6))
    ('0.5', "'half'", '[0.0, 1.0, .. 999999.0] (shape (1000000,))')
    """
    numbers = isinstance(getattr(value, "dtype", None), np.dtype) and hasattr(value, "__array__") and not is_traced(value)
    if numbers and np.size(value) > 6:
        first, second, last = (_clipped(str(entry), 12) for entry in np.asarray(value).ravel()[[0, 1, -1]].tolist())
        return f"[{first}, {second}, .. {last}] (shape {value.shape})"
    if isinstance(value, str):
        return _clipped(repr(value), SHOWN)
    return _clipped(" ".join(f"{value}".split()), SHOWN)


def _clipped(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."


def require(condition: bool, argument: str, value: Any, remedy: str) -> None:
    """Raise `ValueError("argument is value: remedy")` unless `condition` holds; text, and paths, stand as they are."""
    if not condition:
        text = _clipped(f"{value}", 200) if isinstance(value, str | os.PathLike) else shown(value)
        raise ValueError(f"{argument} is {text}: {remedy}")


def numeric(argument: str, value: Any) -> np.ndarray:
    """Return `value` as a float64 array, or say which argument is not numeric."""
    try:
        array = np.asarray(value)
        huge = array.dtype == object and all(type(entry) is int for entry in array.flat)  # beyond 64 bits
        if array.dtype.kind in "iuf" or array.size == 0 or huge:
            return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        pass  # lists of unequal lengths, objects: not numbers either
    raise ValueError(f"{argument} is {shown(value)}: give a number or an array of numbers")


def check_values(argument: str, value: Any, valid: Any, remedy: str) -> None:
    """Raise for the first entry of `value` whose entry in the boolean array `valid` is False."""
    value, valid = np.broadcast_arrays(np.asarray(value), np.asarray(valid))
    if not valid.all():
        where = tuple(int(i) for i in np.argwhere(~valid)[0])
        place = f"[{', '.join(map(str, where))}]" if where else ""
        raise ValueError(f"{argument}{place} is {shown(value[where])}: {remedy}")


def check_choice(argument: str, value: str, choices: Iterable[str]) -> None:
    """Raise unless `value` is one of `choices`; the message names the nearest one."""
    choices = list(choices)
    if not isinstance(value, str) or value not in choices:
        raise ValueError(no_choice(argument, value, choices))


def no_choice(argument: str, value: Any, choices: Sequence[str], plain: str | None = None) -> str:
    """The message about a value that is none of `choices`; the nearest one is that of its `plain` spelling, if that is given.

    >>> no_choice("optimizer", "sdg", ["sgd", "adam"])
    "optimizer is 'sdg': did you mean 'sgd'? choose from sgd, adam"
    """
    near = difflib.get_close_matches(str(value) if plain is None else plain, choices, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{argument} is {shown(value)}: {hint}choose from {', '.join(choices)}"


def check_batch_size(batch_size: Any) -> None:
    """Batch sizes are examples per update: finite and at least 1 (they need not be whole)."""
    if not is_traced(batch_size):
        values = numeric("batch_size", batch_size)
        check_values("batch_size", values, np.isfinite(values) & (values >= 1), "give examples per update, at least 1")


def check_steps(argument: str, steps: Any, maximum: int = 2**31) -> None:
    """Numbers of updates are whole and lie in 0 .. maximum."""
    if not is_traced(steps):
        values = numeric(argument, steps)
        valid = np.isfinite(values) & (values >= 0) & (values <= maximum) & (values == np.floor(values))
        check_values(argument, values, valid, f"give whole numbers of updates from 0 to {maximum}")


def check_dtype(dtype: Any) -> None:
    """Precisions are "float64" and "float32"."""
    check_choice("dtype", getattr(dtype, "__name__", str(dtype)), ["float64", "float32"])


def check_target(target: Any) -> None:
    """A target is a finite risk. One at or below the irreducible loss is allowed: its status is "never"."""
    if not is_traced(target):
        values = numeric("target", target)
        check_values("target", values, np.isfinite(values), "give a finite risk")


def check_loss(target: Any) -> None:
    """A target that is a loss is finite, and 0 or more: for questions whose answers have no status "never"."""
    if not is_traced(target):
        values = numeric("target", target)
        check_values("target", values, np.isfinite(values) & (values >= 0), "give a finite loss, 0 or more")


def scalar(argument: str, value: Any) -> float:
    """Return `value` as a float, or say which argument is not a single number."""
    if is_traced(value):
        raise ValueError(f"{argument} is being traced: give a number, and call this outside of jit, vmap and grad")
    array = numeric(argument, value)
    require(array.ndim == 0, f"the shape of {argument}", array.shape, "give a single number")
    return float(array)


def labels(argument: str, value: Any, size: int) -> tuple[str, ...]:
    """Return `size` names as text, of as many texts or whole numbers or of a single one for all, or say what is wrong.

    >>> labels("layer", ["first", "second"], 2), labels("layer", 0, 3)
    (('first', 'second'), ('0', '0', '0'))
    """
    remedy = f"give {size} names, one for each direction, or a single one"
    try:
        array = np.asarray(value)
    except ValueError:  # lists of unequal lengths
        array = np.asarray(None)
    texts = array.dtype == object and all(isinstance(name, str) for name in array.flat)  # of pandas and xarray
    require((array.dtype.kind in "iuU" or texts) and array.size > 0, argument, value, remedy)
    require(array.shape in ((), (size,)), f"the shape of {argument}", array.shape, remedy)
    names = tuple(np.broadcast_to(array, size).astype(str).tolist())
    check_values(argument, np.array(names, object), [bool(name.strip()) for name in names], "give a name that is not empty")
    return names


def whole(argument: str, value: Any, least: int = 1) -> int:
    """Return `value` as an int, or say which argument is not a single whole number of at least `least`."""
    number = scalar(argument, value)
    require(number == np.floor(number) and least <= number < np.inf, argument, value, f"give a whole number, at least {least}")
    return int(number)
