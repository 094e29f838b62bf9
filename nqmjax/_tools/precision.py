"""The precision and the JAX settings under which our own kernels run, without touching the global configuration."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import eval_context

from nqmjax._tools.checks import check_dtype, is_traced


@contextlib.contextmanager
def own_arithmetic() -> Iterator[None]:
    """Shapes and precisions are combined as our kernels, and the optimizers of others in them, expect."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


@contextlib.contextmanager
def precision(dtype: Any = "float64") -> Iterator[None]:
    """Compute in `dtype`, whatever the caller's JAX settings.

    Infinity is an answer here (a run that diverges), and NaN is made infinity by the kernels, so that the debugging of
    both is off; and NumPy arrays may go to the device, which a transfer guard would take for an oversight.

    >>> import jax.numpy as jnp
    >>> with precision():
    ...     jnp.ones(2).dtype
    dtype('float64')
    """
    with (
        jax.enable_x64(np.dtype(dtype) == np.float64),
        own_arithmetic(),
        jax.debug_infs(False),
        jax.debug_nans(False),
        jax.transfer_guard("allow"),
    ):
        yield


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

    # Called while something else is being traced, arguments without a trace are computed at once all the same. Unlike
    # `ensure_compile_time_eval` this compiles no program of its own for each constant that a kernel writes down.
    with precision(dtype), eval_context():
        arguments = jax.tree.map(cast, arguments)
        return jax.tree.map(lambda leaf: np.asarray(leaf)[()], kernel(*arguments))


def _array_of(entries: Any) -> Any:
    """An array of a list's entries, some of which may be traced."""
    return (jnp if is_traced(entries) else np).asarray(entries)
