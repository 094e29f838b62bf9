"""Optimizers as small linear systems: the base class, the methods, the wrappers, and what a declaration must satisfy."""

from nqmjax.optimizers.base import LinearOptimizer, LinearSystem, hyperparameters, linear_system
from nqmjax.optimizers.declaration import check_optimizer
from nqmjax.optimizers.description import describe, describe_problem, provenance
from nqmjax.optimizers.methods import QHM, SGD, HeavyBall, Nesterov
from nqmjax.optimizers.wrappers import Averaged, Preconditioned

__all__ = [
    "LinearOptimizer",
    "SGD",
    "HeavyBall",
    "Nesterov",
    "QHM",
    "Preconditioned",
    "Averaged",
    "LinearSystem",
    "linear_system",
    "hyperparameters",
    "check_optimizer",
    "describe",
    "describe_problem",
    "provenance",
]
