"""The precision and the JAX settings under which our own kernels run, without touching the global configuration."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np


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
