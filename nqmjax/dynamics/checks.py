"""What every public function does first: check its arguments, choose the precision, and hand back NumPy arrays."""

from typing import Any

import numpy as np

from nqmjax._tools import check_batch_size
from nqmjax.optimizers import LinearOptimizer, check_optimizer, hyperparameters
from nqmjax.problem import NoisyQuadratic, check_problem


def check_run(problem: NoisyQuadratic, optimizer: LinearOptimizer, batch_size: Any, periodic: bool = False) -> None:
    """Check what every question about a run is asked with; optimizers with a period are refused unless `periodic`."""
    check_problem(problem)
    check_optimizer(optimizer, periodic)
    check_batch_size(batch_size)


def check_shapes(optimizer: LinearOptimizer, **arguments: Any) -> None:
    """Raise unless the hyperparameters and the named arguments broadcast."""
    shapes = {name: np.shape(value) for name, value in {**hyperparameters(optimizer), **arguments}.items()}
    try:
        np.broadcast_shapes(*shapes.values())
    except ValueError:
        given = ", ".join(f"{name} {shape}" for name, shape in shapes.items() if shape)
        raise ValueError(f"the shapes are {given}: give shapes that broadcast") from None
