"""Optimizers as small linear systems: the base class, the methods, the wrappers, and what a declaration must satisfy."""

from typing import TYPE_CHECKING

from nqmjax._tools import exports

if TYPE_CHECKING:
    from nqmjax.optimizers.base import (
        LinearOptimizer,
        LinearSystem,
        Optimizer,
        hyperparameters,
        is_anchored,
        linear_system,
        static,
    )
    from nqmjax.optimizers.declaration import check_linear, check_optimizer
    from nqmjax.optimizers.description import describe, describe_problem, provenance, rate_units
    from nqmjax.optimizers.mean_field import MeanFieldOptimizer, Stride
    from nqmjax.optimizers.methods import QHM, SGD, HeavyBall, Nesterov
    from nqmjax.optimizers.periodic import LocalSGD, Lookahead, PeriodicOptimizer
    from nqmjax.optimizers.weight_decay import L2, DecoupledWeightDecay
    from nqmjax.optimizers.wrappers import Averaged, Preconditioned

exports(
    __name__,
    public={
        "base": ["LinearOptimizer"],
        "methods": ["SGD", "HeavyBall", "Nesterov", "QHM"],
        "wrappers": ["Preconditioned", "Averaged"],
        "weight_decay": ["L2", "DecoupledWeightDecay"],
        "periodic": ["Lookahead", "LocalSGD"],
    },
    internal={
        "base": ["LinearSystem", "Optimizer", "hyperparameters", "is_anchored", "linear_system", "static"],
        "declaration": ["check_linear", "check_optimizer"],
        "mean_field": ["MeanFieldOptimizer", "Stride"],
        "periodic": ["PeriodicOptimizer"],
        "description": ["describe", "describe_problem", "provenance", "rate_units"],
    },
)
