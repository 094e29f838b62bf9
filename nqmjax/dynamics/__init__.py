"""How the risk evolves: step by step (`scan`), many steps at once (`doubling`), and whether it settles (`stability`)."""

from typing import TYPE_CHECKING

from nqmjax._tools import exports

if TYPE_CHECKING:
    from nqmjax.dynamics.checks import check_precision, check_run, check_shapes
    from nqmjax.dynamics.contour import (
        DIED_AWAY,
        FEWEST,
        UNROLLED,
        abscissa,
        first_contour,
        moments_at,
        scored_at,
        sure_at,
        transform,
    )
    from nqmjax.dynamics.doubling import risk, stationary_risk
    from nqmjax.dynamics.intervals import Position, Span, floor_log2, look_ahead, start_position
    from nqmjax.dynamics.loss_noise import noise_edge
    from nqmjax.dynamics.matrices import act, apply, dot, plus_unit, quadratic, sandwich, square, squared_size, transpose
    from nqmjax.dynamics.mean_field import Walk, advance, begin, excess_of_groups, follow, map_runs
    from nqmjax.dynamics.model import Model, build_model, in_one_precision, start_state, times, without_idle_directions
    from nqmjax.dynamics.moments import Moments, loss, second_moments, update_moments
    from nqmjax.dynamics.noise import noise_scale
    from nqmjax.dynamics.periodic import period_span, update
    from nqmjax.dynamics.pieces import doublings, quick_risks_of_pieces, risks_of_pieces
    from nqmjax.dynamics.rest import centred, for_ever, settle
    from nqmjax.dynamics.roots import unstable
    from nqmjax.dynamics.scan import risk_curve
    from nqmjax.dynamics.stability import spectral_radius, stability_edge, steepest_curvature

exports(
    __name__,
    public={
        "doubling": ["risk", "stationary_risk"],
        "loss_noise": ["noise_edge"],
        "scan": ["risk_curve"],
        "noise": ["noise_scale"],
        "stability": ["spectral_radius", "stability_edge"],
    },
    internal={
        "checks": ["check_precision", "check_run", "check_shapes"],
        "contour": [
            "DIED_AWAY",
            "FEWEST",
            "UNROLLED",
            "abscissa",
            "first_contour",
            "moments_at",
            "scored_at",
            "sure_at",
            "transform",
        ],
        "intervals": ["Position", "Span", "floor_log2", "look_ahead", "start_position"],
        "matrices": ["act", "apply", "dot", "plus_unit", "quadratic", "sandwich", "square", "squared_size", "transpose"],
        "mean_field": ["Walk", "advance", "begin", "excess_of_groups", "follow", "map_runs"],
        "model": ["Model", "build_model", "in_one_precision", "start_state", "times", "without_idle_directions"],
        "moments": ["Moments", "loss", "second_moments", "update_moments"],
        "periodic": ["period_span", "update"],
        "pieces": ["doublings", "quick_risks_of_pieces", "risks_of_pieces"],
        "rest": ["centred", "for_ever", "settle"],
        "roots": ["unstable"],
        "stability": ["steepest_curvature"],
    },
)
