"""Checks of arguments at the front door: each failure is a `ValueError` that names the argument, the value and the remedy."""

import difflib
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from jax.core import Tracer


def is_traced(*trees: Any) -> bool:
    """Whether any leaf is being traced by `jit`, `vmap` or `grad`, so that its value cannot be looked at."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(trees))


def require(condition: bool, argument: str, value: Any, remedy: str) -> None:
    """Raise `ValueError("argument is value: remedy")` unless `condition` holds."""
    if not condition:
        raise ValueError(f"{argument} is {value}: {remedy}")


def numeric(argument: str, value: Any) -> np.ndarray:
    """Return `value` as a float64 array, or say which argument is not numeric."""
    try:
        array = np.asarray(value)
        if array.dtype.kind in "iuf" or array.size == 0:
            return array.astype(np.float64)
    except (TypeError, ValueError):
        pass  # lists of unequal lengths, objects: not numbers either
    raise ValueError(f"{argument} is {value!r}: give a number or an array of numbers")


def check_values(argument: str, value: Any, valid: Any, remedy: str) -> None:
    """Raise for the first entry of `value` whose entry in the boolean array `valid` is False."""
    value, valid = np.broadcast_arrays(np.asarray(value), np.asarray(valid))
    if not valid.all():
        where = tuple(int(i) for i in np.argwhere(~valid)[0])
        place = f"[{', '.join(map(str, where))}]" if where else ""
        raise ValueError(f"{argument}{place} is {value[where]}: {remedy}")


def check_choice(argument: str, value: str, choices: Iterable[str]) -> None:
    """Raise unless `value` is one of `choices`; the message names the nearest one."""
    choices = list(choices)
    if value not in choices:
        near = difflib.get_close_matches(str(value), choices, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"{argument} is {value!r}: {hint}choose from {', '.join(choices)}")


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


def scalar(argument: str, value: Any) -> float:
    """Return `value` as a float, or say which argument is not a single number."""
    if is_traced(value):
        raise ValueError(f"{argument} is being traced: give a number, and call this outside of jit, vmap and grad")
    array = numeric(argument, value)
    require(array.ndim == 0, f"the shape of {argument}", array.shape, "give a single number")
    return float(array)


def whole(argument: str, value: Any, least: int = 1) -> int:
    """Return `value` as an int, or say which argument is not a single whole number of at least `least`."""
    number = scalar(argument, value)
    require(number == np.floor(number) and least <= number < np.inf, argument, value, f"give a whole number, at least {least}")
    return int(number)
