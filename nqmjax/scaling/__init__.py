"""Steps to target against batch size: tuned curves, critical batch sizes, measured steps; strides of gradients and updates."""

from typing import TYPE_CHECKING

from nqmjax._tools import exports

if TYPE_CHECKING:
    from nqmjax.scaling.critical import CriticalBatchSize, critical_batch_size, noise_scale, regimes
    from nqmjax.scaling.curves import DEFINITIONS, scaling_curves
    from nqmjax.scaling.observed import read_observed
    from nqmjax.scaling.strides import strides
    from nqmjax.scaling.tune import TUNABLE, tune

exports(
    __name__,
    public={
        "tune": ["tune"],
        "critical": ["critical_batch_size", "noise_scale", "regimes"],
        "curves": ["scaling_curves"],
        "observed": ["read_observed"],
        "strides": ["strides"],
    },
    internal={
        "critical": ["CriticalBatchSize"],
        "curves": ["DEFINITIONS"],
        "tune": ["TUNABLE"],
    },
)
