"""What every public function does first: check its arguments, choose the precision, and hand back NumPy arrays."""

from typing import Any

import numpy as np

from nqmjax._tools import check_batch_size
from nqmjax.optimizers import Optimizer, check_linear, check_optimizer, hyperparameters
from nqmjax.problem import NoisyQuadratic, check_problem


def check_run(
    problem: NoisyQuadratic, optimizer: Optimizer, batch_size: Any, closures: bool = False, periodic: bool = False
) -> None:
    """Check what every question about a run is asked with; see `check_linear` for what it may be asked of."""
    check_problem(problem)
    check_optimizer(optimizer)
    check_linear("this question", optimizer, closures, periodic)
    check_batch_size(batch_size)


def check_shapes(optimizer: Optimizer, **arguments: Any) -> None:
    """Raise unless the hyperparameters and the named arguments broadcast."""
    shapes = {name: np.shape(value) for name, value in {**hyperparameters(optimizer), **arguments}.items()}
    try:
        np.broadcast_shapes(*shapes.values())
    except ValueError:
        given = ", ".join(f"{name} {shape}" for name, shape in shapes.items() if shape)
        raise ValueError(f"the shapes are {given}: give shapes that broadcast") from None
