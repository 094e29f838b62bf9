"""What no quadratic can have, and what some questions cannot take, told before any work."""

import jax
import numpy as np

from nqmjax._tools import check_values, is_traced, numeric, require, shown
from nqmjax.problem.quadratic import NoisyQuadratic, noise_of_the_run

FOLLOWED = "risk, risk_curve, stationary_risk, noise_edge, steps_to_target (rule 'first'), sweep, tune, run and monte_carlo"


def check_problem(problem: NoisyQuadratic, asked: str = "this question", loss_noise: bool = False) -> None:
    """Raise `ValueError` for the first value of `problem` that no quadratic can have.

    Noise that follows the loss is refused unless `loss_noise`: what rests on independent directions, or on noise that only
    adds up, would silently compute another model.
    """
    if not isinstance(problem, NoisyQuadratic):  # told only then: the text of a large problem takes long
        raise ValueError(f"problem is {shown(problem)}: give one, for example power_law(10_000)")
    refuse_loss_noise(problem, asked, loss_noise)
    if is_traced(problem):
        return
    names = ("curvature", "noise", "initial", *noise_of_the_run(problem), "count")
    for name in names:
        value = getattr(problem, name)
        remedy = "give a 1-D array; power_law and from_spectrum make them of anything"
        require(isinstance(value, np.ndarray | jax.Array), name, value, remedy)
    shapes = {np.shape(getattr(problem, name)) for name in names}
    require(len(shapes) == 1 and len(next(iter(shapes))) == 1, "the shapes of the problem", shapes, "give equal 1-D arrays")
    if problem.layer is not None:
        given = isinstance(problem.layer, tuple) and len(problem.layer) == np.size(problem.curvature)
        remedy = "give a tuple of names, one for each group; power_law and from_spectrum make it of anything"
        require(given and all(isinstance(name, str) for name in problem.layer), "layer", problem.layer, remedy)
    for name in names[:-1]:
        values = numeric(name, getattr(problem, name))
        check_values(name, values, np.isfinite(values) & (values >= 0), "give finite values that are not negative")
    count = numeric("count", problem.count)
    check_values("count", count, np.isfinite(count) & (count > 0), "give positive numbers of directions")
    least = numeric("irreducible", problem.irreducible)
    require(least.ndim == 0 and bool(0 <= least < np.inf), "irreducible", problem.irreducible, "give a finite loss, 0 or more")


def refuse_loss_noise(problem: NoisyQuadratic, asked: str, allowed: bool = False) -> None:
    """Raise `ValueError` for noise that follows the loss where a question knows only noise that does not."""
    for name, values in noise_of_the_run(problem).items():
        text = "traced" if is_traced(values) else values
        require(allowed, name, text, f"{asked} takes noise that does not follow the loss. {FOLLOWED} do; or set it to None")
