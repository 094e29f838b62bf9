"""Many searches for a target: in chunks that bound memory, on all devices, with a progress bar and clean interruption."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from nqmjax._tools import FirstAlone, Workers, check_steps, precision, require
from nqmjax.dynamics import check_precision
from nqmjax.optimizers import Optimizer
from nqmjax.problem import NoisyQuadratic
from nqmjax.target import MAX_STEPS, StepsToTarget, check_rule, jit_searches, search

CHUNK = 64
"""Lanes of one call of the compiled search; all calls have this many, so that it is compiled once."""


def check_search(problem: NoisyQuadratic, optimizer: Optimizer, max_steps: Any, rule: str, dtype: Any) -> None:
    """Check the options of `search_lanes`."""
    check_steps("max_steps", max_steps, MAX_STEPS)
    check_rule(problem, optimizer, rule)
    check_precision(problem, dtype)
    require(np.ndim(max_steps) == 0, "the shape of max_steps", np.shape(max_steps), "give a number")


def search_lanes(
    problem: NoisyQuadratic,
    optimizer: Optimizer,
    batch_size: np.ndarray,
    target: np.ndarray,
    max_steps: Any = MAX_STEPS,
    rule: str = "first",
    dtype: Any = "float64",
    progress: tqdm | None = None,
    devices: Any = None,
    spread: Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]] | None = None,
) -> StepsToTarget:
    """Steps to target of many lanes, a lane being one setting of the hyperparameters with all its batch sizes.

    Args:
      problem: the quadratic.
      optimizer: hyperparameters of shape `(lanes,)` each.
      batch_size: shape `(lanes, b)`, in any order.
      target: shape `(lanes,)`.
      max_steps: updates to search, a number or shape `(lanes, b)`, the smaller batch size never the smaller number.
      rule: "first" or "stays".
      dtype: "float64" or "float32".
      progress: a bar to advance by the number of cells as they are done.
      devices: see `local_devices`.
      spread: a `map` that says where the chunks are computed, instead of `devices`.

    Returns:
      `StepsToTarget` of NumPy arrays of shape `(lanes, b)`.
    """
    stays = rule == "stays"
    lanes, batches = batch_size.shape
    max_steps = np.broadcast_to(np.asarray(max_steps, np.uint32), batch_size.shape)
    if stays:  # one batch size to a lane
        repeated = jax.tree.map(lambda leaf: np.repeat(leaf, batches), (optimizer, target))
        optimizer, target, batch_size, max_steps = *repeated, batch_size.reshape(-1, 1), max_steps.reshape(-1, 1)
    order = np.argsort(-batch_size, axis=1)
    batch_size, max_steps = (np.take_along_axis(values, order, axis=1) for values in (batch_size, max_steps))

    missing = -len(target) % CHUNK
    cells = jax.tree.map(
        lambda leaf: np.pad(leaf, [(0, missing)] + [(0, 0)] * (leaf.ndim - 1), mode="edge"),
        (jax.tree.map(lambda leaf: leaf.astype(dtype), (optimizer, batch_size, target)), max_steps),
    )
    cells[0][2][len(target) :] = np.inf  # met at once: the padding costs next to nothing
    problem = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), problem)

    def chunk(start: int) -> StepsToTarget:
        with precision(dtype):
            settings, limits = jax.tree.map(lambda leaf: leaf[start : start + CHUNK], cells)
            with _first_alone(_program(problem, settings, limits, stays)):
                found = jax.tree.map(np.asarray, _search(problem, *settings, limits, stays))
        if progress is not None:
            progress.update(min(found.steps.size, progress.total - progress.n))
        return found

    spread = spread or Workers(devices).map
    parts = list(spread(chunk, range(0, len(target), CHUNK)))
    found = jax.tree.map(lambda *values: np.concatenate(values)[: len(target)], *parts)
    back = np.argsort(order, axis=1)
    return jax.tree.map(lambda values: np.take_along_axis(values, back, axis=1).reshape(lanes, batches), found)


_search = jit_searches(functools.partial(search, outermost=True), static_argnames="stays")
_first_alone = FirstAlone()


def _program(*arguments: Any) -> Any:
    """What JAX compiles a program of its own for: a device, a structure, shapes and precisions."""
    leaves, structure = jax.tree.flatten(arguments)
    device = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
    return device, structure, *((np.shape(leaf), np.result_type(leaf)) for leaf in leaves)
