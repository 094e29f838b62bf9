"""The table that tuning makes: the fewest steps at each batch size, and the hyperparameters that take them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from nqmjax.bounds import bayes_examples
from nqmjax.optimizers import Optimizer, hyperparameters, provenance
from nqmjax.problem import NoisyQuadratic
from nqmjax.sweeps import with_units


def tuned_table(
    problem: NoisyQuadratic,
    template: Optimizer,
    optimizer: Optimizer,
    target: float,
    batches: np.ndarray,
    steps: np.ndarray,
    status: np.ndarray,
    edges: Mapping[str, np.ndarray],
    **others: Any,
) -> xr.Dataset:
    """The result of `tune`, labelled; without a value where nothing reaches the target.

    Args:
      problem: the quadratic.
      template: the optimizer that was tuned.
      optimizer: the best hyperparameters, each of shape `(b,)`.
      target: risk to reach.
      batches, steps, status: shape `(b,)`.
      edges: by tuned hyperparameter, where the best value lies at the edge of what was searched.
      others: more columns.
    """
    reached = np.isfinite(steps)
    examples = steps * batches
    with np.errstate(divide="ignore", invalid="ignore"):
        efficiency = bayes_examples(problem, target) / examples
    columns = {
        "steps": steps,
        "status": status,
        "examples": examples,
        **{name: np.where(reached, value, np.nan) for name, value in hyperparameters(optimizer).items()},
        "effective_learning_rate": np.where(reached, optimizer.effective_learning_rate, np.nan),
        "efficiency": np.where(examples == 0, 1.0, np.where(reached, efficiency, np.nan)),
        **others,
        **{f"{name}_at_edge": reached & at_edge for name, at_edge in edges.items()},
    }
    table = xr.Dataset(
        {name: ("batch_size", values) for name, values in columns.items()},
        coords={"batch_size": batches, "target": float(target)},
        attrs={
            "title": "tuned updates to a target loss",
            **provenance(problem, template, list(edges)),
            "tuned": " ".join(edges),
        },
    )
    return with_units(table)
