"""What is not linear in the gradient: sampling with any optax optimizer, rates of layers, discarding of small losses."""

from typing import TYPE_CHECKING

from nqmjax._tools import exports

if TYPE_CHECKING:
    from nqmjax.nonlinear.adaptive import Adam, AdamL2, AdamW, RMSprop
    from nqmjax.nonlinear.catalogue import TEMPLATES, preconditioned
    from nqmjax.nonlinear.curvature_radius import HessianDiagonal, hessian_diagonal, scale_by_curvature_radius
    from nqmjax.nonlinear.discarding import discard_small_losses
    from nqmjax.nonlinear.layer_rates import scale_by_median_curvature, scale_by_percent_delta
    from nqmjax.nonlinear.monte_carlo import monte_carlo, precondition
    from nqmjax.nonlinear.norms import LAMB, LARS, ClippedSGD, NormalizedSGD
    from nqmjax.nonlinear.participation import participation
    from nqmjax.nonlinear.signs import Lion, SignSGD

exports(
    __name__,
    public={
        "adaptive": ["Adam", "AdamW", "AdamL2", "RMSprop"],
        "signs": ["SignSGD", "Lion"],
        "norms": ["NormalizedSGD", "ClippedSGD", "LARS", "LAMB"],
        "participation": ["participation"],
        "monte_carlo": ["monte_carlo", "precondition"],
        "layer_rates": ["scale_by_percent_delta", "scale_by_median_curvature"],
        "curvature_radius": ["scale_by_curvature_radius", "hessian_diagonal", "HessianDiagonal"],
        "discarding": ["discard_small_losses"],
    },
    internal={"catalogue": ["TEMPLATES", "preconditioned"]},
)
