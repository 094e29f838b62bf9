"""What every public function does first: check its arguments, choose the precision, and hand back NumPy arrays."""

from typing import Any

import numpy as np

from nqmjax._tools import check_batch_size, check_dtype, is_traced, require, shown, warn_caller
from nqmjax.optimizers import (
    LinearOptimizer,
    MeanFieldOptimizer,
    Optimizer,
    check_linear,
    check_optimizer,
    hyperparameters,
)
from nqmjax.problem import NoisyQuadratic, check_problem

CROWD = 30
"""Directions below which a norm is not certain enough."""


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
    _warn_of_few_directions(problem, optimizer, batch_size)


def _warn_of_few_directions(problem: NoisyQuadratic, optimizer: Optimizer, batch_size: Any) -> None:
    """Say so where updates rest on a norm that few directions carry at the start."""
    if isinstance(optimizer, MeanFieldOptimizer) and not is_traced(problem, optimizer, batch_size):
        _warn_below_a_crowd(optimizer.participation(problem, batch_size), "a norm on which updates rest is")


def warn_of_few_later(problem: NoisyQuadratic, optimizer: MeanFieldOptimizer, batch_size: Any, fewest: Any) -> None:
    """Say so where that happens later on, with the `fewest` of the run."""
    if not is_traced(problem, optimizer, batch_size) and fewest is not None:
        start = optimizer.participation(problem, batch_size)
        if start is None or np.min(start, initial=np.inf) >= CROWD:
            _warn_below_a_crowd(fewest, "later in the run a norm on which updates rest is")


def _warn_below_a_crowd(carriers: Any, subject: str) -> None:
    fewest = np.inf if carriers is None else np.min(carriers, initial=np.inf)
    if fewest < CROWD:
        why = f"below {CROWD} it differs from run to run, and answers may be some per cent off; see nqmjax.monte_carlo"
        warn_caller(f"{subject} carried by {fewest:.3g} directions: {why}")


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
