"""How the risk evolves: step by step (`scan`), many steps at once (`doubling`), and whether it settles (`stability`)."""

from nqmjax.dynamics.doubling import risk, stationary_risk
from nqmjax.dynamics.scan import risk_curve
from nqmjax.dynamics.stability import spectral_radius, stability_edge

__all__ = ["risk", "risk_curve", "stationary_risk", "spectral_radius", "stability_edge"]
