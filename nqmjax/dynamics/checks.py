"""What every public function does first: check its arguments, choose the precision, and hand back NumPy arrays."""

from typing import Any

import numpy as np

from nqmjax._tools import check_batch_size, check_dtype, require, shown
from nqmjax.optimizers import LinearOptimizer, Optimizer, check_linear, check_optimizer, hyperparameters
from nqmjax.problem import NoisyQuadratic, check_problem


def check_run(
    problem: NoisyQuadratic,
    optimizer: Optimizer,
    batch_size: Any,
    closures: bool = False,
    periodic: bool = False,
    loss_noise: bool = False,
    asked: str = "this question",
) -> None:
    """Check what every question about a run is asked with.

    For `closures` and `periodic` see `check_linear`; `loss_noise` where the noise of linear ones may follow the loss; `asked`
    names the question where it may not.
    """
    linear = isinstance(optimizer, LinearOptimizer)
    check_problem(problem, asked if linear or not loss_noise else f"{asked} of {shown(optimizer)}", loss_noise and linear)
    check_optimizer(optimizer)
    check_linear("this question", optimizer, closures, periodic)
    check_batch_size(batch_size)


def check_precision(problem: NoisyQuadratic, dtype: Any) -> None:
    """Check the precision in which a question is answered; contours need the double one."""
    check_dtype(dtype)
    double = not problem.follows_loss or np.dtype(dtype) == np.float64
    require(double, "dtype", dtype, "with noise that follows the loss this is computed in float64 only; leave dtype out")


def check_shapes(optimizer: Optimizer, **arguments: Any) -> None:
    """Raise unless the hyperparameters and the named arguments broadcast."""
    shapes = {name: np.shape(value) for name, value in {**hyperparameters(optimizer), **arguments}.items()}
    try:
        np.broadcast_shapes(*shapes.values())
    except ValueError:
        given = ", ".join(f"{name} {shape}" for name, shape in shapes.items() if shape)
        raise ValueError(f"the shapes are {given}: give shapes that broadcast") from None
