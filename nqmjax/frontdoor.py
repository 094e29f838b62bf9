"""What every public function does first: check its arguments, choose the precision, and hand back NumPy arrays."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from nqmjax.checks import check_batch_size, check_choice, is_traced
from nqmjax.optimizers import LinearOptimizer, check_optimizer
from nqmjax.problem import NoisyQuadratic, check_problem


def check_run(problem: NoisyQuadratic, optimizer: LinearOptimizer, batch_size: Any) -> None:
    """Check what every question about a run is asked with."""
    check_problem(problem)
    check_optimizer(optimizer)
    check_batch_size(batch_size)


def evaluate(kernel: Callable, *arguments: Any, dtype: Any = "float64") -> Any:
    """Call a kernel in the precision asked for, without touching JAX's global configuration.

    Inside `jit`, `vmap` and `grad` the arguments keep their precision and the result stays a JAX array; otherwise all
    floating-point arguments are cast to `dtype`, and the result is NumPy's, which no later setting can truncate.
    """
    if is_traced(arguments):
        return kernel(*arguments)
    dtype = np.dtype(dtype)
    check_choice("dtype", dtype.name, ["float64", "float32"])

    def cast(leaf: Any) -> np.ndarray:
        leaf = np.asarray(leaf)
        return leaf if np.issubdtype(leaf.dtype, np.unsignedinteger) else leaf.astype(dtype)

    arguments = jax.tree.map(cast, arguments, is_leaf=lambda node: isinstance(node, list))
    with jax.enable_x64(dtype == np.float64):
        return jax.tree.map(lambda leaf: np.asarray(leaf)[()], kernel(*arguments))
