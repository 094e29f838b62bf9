"""Optimizers by the names that the command line knows."""

from collections.abc import Mapping
from types import MappingProxyType

from nqmjax.optimizers.base import LinearOptimizer
from nqmjax.optimizers.methods import QHM, SGD, HeavyBall, Nesterov
from nqmjax.optimizers.wrappers import Averaged

TEMPLATES: Mapping[str, LinearOptimizer] = MappingProxyType(
    {
        "sgd": SGD(0.1),
        "heavy_ball": HeavyBall(0.1, 0.9),
        "nesterov": Nesterov(0.1, 0.9),
        "qhm": QHM(0.1, 0.9, 0.7),
        "ema": Averaged(SGD(0.1), 0.99),
        "ema_heavy_ball": Averaged(HeavyBall(0.1, 0.9), 0.99),
        "ema_nesterov": Averaged(Nesterov(0.1, 0.9), 0.99),
        "ema_qhm": Averaged(QHM(0.1, 0.9, 0.7), 0.99),
    }
)
"""Optimizers by name; "ema" is the exponential moving average of the iterates. Their values are only to be replaced."""
