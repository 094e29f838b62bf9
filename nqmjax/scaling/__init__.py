"""Steps to target against batch size: tuned curves, critical batch sizes, measured steps."""

from typing import TYPE_CHECKING

from nqmjax._tools import exports

if TYPE_CHECKING:
    from nqmjax.scaling.critical import CriticalBatchSize, critical_batch_size, noise_scale, regimes
    from nqmjax.scaling.curves import DEFINITIONS, scaling_curves
    from nqmjax.scaling.norms import MeasuredNoise, noise_scale_from_norms, read_norms
    from nqmjax.scaling.observed import Observed, read_observed
    from nqmjax.scaling.tune import TUNABLE, tune

exports(
    __name__,
    public={
        "tune": ["tune"],
        "critical": ["critical_batch_size", "noise_scale", "regimes"],
        "curves": ["scaling_curves"],
        "norms": ["noise_scale_from_norms", "read_norms"],
        "observed": ["Observed", "read_observed"],
    },
    internal={
        "critical": ["CriticalBatchSize"],
        "curves": ["DEFINITIONS"],
        "norms": ["MeasuredNoise"],
        "tune": ["TUNABLE"],
    },
)
