"""All optimizers by the names that the command line knows, and preconditioners of those that take one."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from nqmjax._tools import check_values, numeric
from nqmjax.nonlinear.adaptive import Adam, AdamW, RMSprop
from nqmjax.nonlinear.norms import LAMB, LARS, ClippedSGD, NormalizedSGD
from nqmjax.nonlinear.signs import Lion, SignSGD
from nqmjax.optimizers import QHM, SGD, Averaged, HeavyBall, LinearOptimizer, Nesterov, Optimizer, Preconditioned

TEMPLATES: Mapping[str, Optimizer] = MappingProxyType(
    {
        "sgd": SGD(0.1),
        "heavy_ball": HeavyBall(0.1, 0.9),
        "nesterov": Nesterov(0.1, 0.9),
        "qhm": QHM(0.1, 0.9, 0.7),
        "ema": Averaged(SGD(0.1), 0.99),
        "ema_heavy_ball": Averaged(HeavyBall(0.1, 0.9), 0.99),
        "ema_nesterov": Averaged(Nesterov(0.1, 0.9), 0.99),
        "ema_qhm": Averaged(QHM(0.1, 0.9, 0.7), 0.99),
        "adam": Adam(0.01),
        "adam_rotated": Adam(0.01, basis="rotated"),
        "adamw": AdamW(0.01),
        "rmsprop": RMSprop(0.01),
        "sign": SignSGD(0.01),
        "lion": Lion(0.01),
        "normalized_sgd": NormalizedSGD(0.01),
        "clipped_sgd": ClippedSGD(0.1, max_norm=1.0),
        "lars": LARS(1.0),
        "lamb": LAMB(0.01),
    }
)
"""Optimizers by name; "ema" is the exponential moving average of the iterates. Their values are only to be replaced."""


def preconditioned(optimizer: Optimizer, power: Any) -> Optimizer:
    """The optimizer preconditioned by `H^power`; one that is not linear as it is, for which the power must be 0."""
    if isinstance(optimizer, LinearOptimizer):
        return Preconditioned(optimizer, power)
    powers = numeric("power", power)
    check_values("power", powers, powers == 0, f"{type(optimizer).__name__} takes no preconditioner; leave it at 0")
    return optimizer
