"""What every public function does first: check its arguments, choose the precision, and hand back NumPy arrays."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nqmjax.checks import check_batch_size, check_dtype, is_traced
from nqmjax.optimizers import LinearOptimizer, check_optimizer, hyperparameters
from nqmjax.precision import own_arithmetic, precision
from nqmjax.problem import NoisyQuadratic, check_problem


def check_run(problem: NoisyQuadratic, optimizer: LinearOptimizer, batch_size: Any) -> None:
    """Check what every question about a run is asked with."""
    check_problem(problem)
    check_optimizer(optimizer)
    check_batch_size(batch_size)


def check_shapes(optimizer: LinearOptimizer, **arguments: Any) -> None:
    """Raise unless the hyperparameters and the named arguments broadcast."""
    shapes = {name: np.shape(value) for name, value in {**hyperparameters(optimizer), **arguments}.items()}
    try:
        np.broadcast_shapes(*shapes.values())
    except ValueError:
        given = ", ".join(f"{name} {shape}" for name, shape in shapes.items() if shape)
        raise ValueError(f"the shapes are {given}: give shapes that broadcast") from None


def evaluate(kernel: Callable, *arguments: Any, dtype: Any = "float64") -> Any:
    """Call a kernel in the precision asked for, without touching JAX's global configuration.

    Inside `jit`, `vmap` and `grad` the arguments keep their precision and the result stays a JAX array; otherwise all
    floating-point arguments are cast to `dtype`, and the result is NumPy's, which no later setting can truncate.
    """
    arguments = tuple(_array_of(part) if isinstance(part, list | tuple) else part for part in arguments)
    if is_traced(arguments):
        with own_arithmetic():
            return kernel(*arguments)
    check_dtype(dtype)
    dtype = np.dtype(dtype)

    def cast(leaf: Any) -> np.ndarray:
        leaf = np.asarray(leaf)
        return leaf if np.issubdtype(leaf.dtype, np.unsignedinteger) else leaf.astype(dtype)

    # Called while something else is being traced, arguments without a trace are computed at once all the same.
    with precision(dtype), jax.ensure_compile_time_eval():
        arguments = jax.tree.map(cast, arguments)
        return jax.tree.map(lambda leaf: np.asarray(leaf)[()], kernel(*arguments))


def _array_of(entries: Any) -> Any:
    """An array of a list's entries, some of which may be traced."""
    return (jnp if is_traced(entries) else np).asarray(entries)
