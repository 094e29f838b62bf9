"""Steps to target against batch size: tuned curves, critical batch sizes, measured steps; strides of gradients and updates."""

from typing import TYPE_CHECKING

from nqmjax._tools import exports

if TYPE_CHECKING:
    from nqmjax.scaling.anchored import AnchoredCurve, Estimate, anchored_curve
    from nqmjax.scaling.critical import CriticalBatchSize, critical_batch_size, regimes
    from nqmjax.scaling.curves import DEFINITIONS, scaling_curves
    from nqmjax.scaling.fitted import FittedProblem, fit_problem
    from nqmjax.scaling.fitted_files import read_problem, write_problem
    from nqmjax.scaling.habits import optimizer_name
    from nqmjax.scaling.norms import MeasuredNoise, noise_scale_from_norms, read_norms
    from nqmjax.scaling.observed import Observed, read_observed, write_observed
    from nqmjax.scaling.recipes import Devices, fastest, recipes
    from nqmjax.scaling.search_space import TUNABLE
    from nqmjax.scaling.several import curves_of_several
    from nqmjax.scaling.strides import strides
    from nqmjax.scaling.tune import tune

exports(
    __name__,
    public={
        "tune": ["tune"],
        "anchored": ["anchored_curve"],
        "critical": ["critical_batch_size", "regimes"],
        "fitted": ["fit_problem"],
        "fitted_files": ["read_problem", "write_problem"],
        "curves": ["scaling_curves"],
        "norms": ["noise_scale_from_norms", "read_norms"],
        "recipes": ["Devices", "recipes"],
        "observed": ["Observed", "read_observed", "write_observed"],
        "several": ["curves_of_several"],
        "strides": ["strides"],
    },
    internal={
        "anchored": ["AnchoredCurve", "Estimate"],
        "critical": ["CriticalBatchSize"],
        "curves": ["DEFINITIONS"],
        "fitted": ["FittedProblem"],
        "habits": ["optimizer_name"],
        "norms": ["MeasuredNoise"],
        "recipes": ["fastest"],
        "search_space": ["TUNABLE"],
    },
)
