"""How large a learning rate may be: the cap of tuned rates, and which pieces of a plan are beyond the stability edge."""

import numpy as np

from nqmjax._tools import require, scalar
from nqmjax.dynamics import spectral_radius, stability_edge, steepest_curvature
from nqmjax.optimizers import LinearOptimizer, MeanFieldOptimizer, Optimizer
from nqmjax.problem import NoisyQuadratic
from nqmjax.schedules.plan import Plan

AT_CAP = 1e-3
"""A tuned rate lies at the cap if it is within so much of it."""


def learning_rate_cap(problem: NoisyQuadratic, optimizer: LinearOptimizer) -> float:
    """The default cap: the stability edge of the steepest direction, times `h_max / (h_max + h_min)`.

    For SGD that is `2 / (h_max + h_min)`, at which the steepest and the flattest direction shrink alike; curvatures are
    the preconditioned ones. Source: Zhang et al. 2019 (their code adds 10^-4 to the sum).
    """
    curvature = np.asarray(problem.curvature)
    steep = curvature * np.asarray(optimizer.gradient_scale(curvature))
    edge = float(stability_edge(optimizer, steepest_curvature(optimizer, curvature)))
    return float(edge * steep.max() / (steep.max() + steep[steep > 0].min()))


def rate_unit(problem: NoisyQuadratic, optimizer: Optimizer) -> float:
    """What rates are searched in units of: the default cap, or if there is none a rate whose update is as long as the start."""
    if isinstance(optimizer, LinearOptimizer):
        return learning_rate_cap(problem, optimizer)
    assert isinstance(optimizer, MeanFieldOptimizer)  # there is no other kind
    return optimizer.rate_scale(problem)


def chosen_cap(problem: NoisyQuadratic, optimizer: Optimizer, max_learning_rate: float | None) -> float:
    """The cap that was asked for, inf for none, or else the default one, which only linear optimizers have."""
    if max_learning_rate is None:
        return learning_rate_cap(problem, optimizer) if isinstance(optimizer, LinearOptimizer) else np.inf
    cap = scalar("max_learning_rate", max_learning_rate)
    require(cap > 0, "max_learning_rate", cap, "give a rate above 0, or inf for no cap")
    return cap


def caps_of_pieces(problem: NoisyQuadratic, optimizer: LinearOptimizer, plan: Plan) -> np.ndarray:
    """The default cap at each piece's hyperparameters, shape `(pieces,)`."""
    names = [name for name in plan.hyperparameters if name != "learning_rate"]
    others = np.array([plan.hyperparameters[name] for name in names]).reshape(len(names), plan.pieces)
    kinds, place = np.unique(others, axis=1, return_inverse=True)
    settings = [optimizer.replace(**dict(zip(names, kind, strict=True))) for kind in kinds.T] if names else [optimizer]
    caps = np.array([learning_rate_cap(problem, each) for each in settings])
    return caps[place.reshape(-1)] if names else np.full(plan.pieces, caps[0])


def unstable_pieces(problem: NoisyQuadratic, optimizer: LinearOptimizer, plan: Plan) -> np.ndarray:
    """Which pieces have a rate at which the steepest direction diverges."""
    steepest = steepest_curvature(optimizer, problem.curvature)
    return np.asarray(spectral_radius(optimizer.replace(**plan.hyperparameters), steepest)) > 1 + 1e-9
