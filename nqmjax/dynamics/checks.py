"""What every public function does first: check its arguments, choose the precision, and hand back NumPy arrays."""

from typing import Any

import numpy as np

from nqmjax._tools import check_batch_size, is_traced, warn_caller
from nqmjax.optimizers import MeanFieldOptimizer, Optimizer, check_linear, check_optimizer, hyperparameters
from nqmjax.problem import NoisyQuadratic, check_problem

CROWD = 30
"""Directions below which a norm is not certain enough."""


def check_run(problem: NoisyQuadratic, optimizer: Optimizer, batch_size: Any, closures: bool = False) -> None:
    """Check what every question about a run is asked with; `closures` where optimizers need not be linear."""
    check_problem(problem)
    check_optimizer(optimizer)
    if not closures:
        check_linear("this question", optimizer)
    check_batch_size(batch_size)
    _warn_of_few_directions(problem, optimizer, batch_size)


def _warn_of_few_directions(problem: NoisyQuadratic, optimizer: Optimizer, batch_size: Any) -> None:
    """Say so where updates rest on a norm that few directions carry."""
    if isinstance(optimizer, MeanFieldOptimizer) and not is_traced(problem, optimizer, batch_size):
        carriers = optimizer.participation(problem, batch_size)
        fewest = np.inf if carriers is None else np.min(carriers, initial=np.inf)
        if fewest < CROWD:
            off = (
                f"below {CROWD} it differs from run to run, and answers are some per cent off; compare with nqmjax.monte_carlo"
            )
            warn_caller(f"a norm on which updates rest is carried by {fewest:.3g} directions: {off}")


def check_shapes(optimizer: Optimizer, **arguments: Any) -> None:
    """Raise unless the hyperparameters and the named arguments broadcast."""
    shapes = {name: np.shape(value) for name, value in {**hyperparameters(optimizer), **arguments}.items()}
    try:
        np.broadcast_shapes(*shapes.values())
    except ValueError:
        given = ", ".join(f"{name} {shape}" for name, shape in shapes.items() if shape)
        raise ValueError(f"the shapes are {given}: give shapes that broadcast") from None
