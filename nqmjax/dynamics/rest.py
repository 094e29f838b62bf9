r"""Where a run rests whose start is never forgotten, and bounds of its risk from some time on, for ever.

Let one more variable, `theta_0`, drive the others without ever changing: along a direction `y' = A y + f theta_0`. They
rest at `x theta_0` with `(A - I) x = -f`, and in the coordinates `z = y - x theta_0` the drive is gone:

    z' = A z + (f + (A - I) x) theta_0,      theta = r . z + (r . x) theta_0.

That is so for any `x`. What its rounding leaves of the drive is kept, and the whole of it where there is no solution: a
direction that nothing moves.

From a state `z` on, with `z_inf` where it ends, the iterate strays from its end by `psi_j = r A^j (z - z_inf)`, and never
by more than `U = sqrt(sum_j psi_j^2)`, which the sums of a span of `2^62` updates give (see `intervals`):

    (|phi_inf| - U)^2  <=  phi_j^2  <=  (|phi_inf| + U)^2      for all j >= 0.

`U` shrinks like the iterate itself. A direction that such a span does not bring to its end, because it is slow, has a `U`
of more than `2^31` times the way to go. At the very edge of stability there is no end, but a swing that never dies: that is
seen by what is left of the sum of squared differences there, and nothing is known of such a direction.
"""

import jax
import jax.numpy as jnp

from nqmjax.dynamics.intervals import Interval, Position, Span, look_ahead, sums_of_squares
from nqmjax.dynamics.matrices import act, dot, quadratic, solve
from nqmjax.dynamics.model import Model

ACCURATE = 1e-6
"""The share of the drive that a solution may leave."""

SWING = 1e-6
"""The sum of squared differences, relative to the square of what is read, above which a direction has not come to rest."""


def centred(model: Model) -> Model:
    """The model with its variables counted from where they rest."""
    if not model.anchored:
        return model
    moving, drive = model.moving, model.increment[: model.moving, -1]
    rest = solve(model.inner, -drive)
    left = drive + act(model.inner, rest)
    good = jnp.isfinite(rest).all(0) & (jnp.abs(left).max(0) <= ACCURATE * jnp.abs(drive).max(0))
    rest, left = jnp.where(good, rest, 0), jnp.where(good, left, drive)
    return model.replace(
        increment=model.increment.at[:moving, -1].set(left),
        read=model.read.at[-1].add(dot(model.read[:moving], rest)),
        start=model.start.at[:moving].add(-rest),
    )


def for_ever(model: Model, doublings: int) -> Span:
    """The span of `2^doublings` updates, so many that a run has come to its end."""
    return jax.lax.fori_loop(0, doublings, lambda _, span: span.doubled(), Span.one_update(model))


def settle(model: Model, ever: Span, here: Position) -> Interval:
    """Bounds over all updates from `here` on, `ever` being a span for ever; NaN where a run that is anchored diverges."""
    rest = look_ahead(model, ever, here)
    if not model.anchored:
        return rest
    end = rest.end.state[:, 0]
    away = here.state[:, 0] - end
    squares = sums_of_squares(ever, away[:, None]).sum(0) + 2 * dot(model.read, away) ** 2
    farthest, at_end = jnp.sqrt(squares) / 2, jnp.abs(dot(model.read, end))
    weight = model.weight * model.initial
    size = dot(jnp.abs(model.read), jnp.abs(end)) ** 2
    swings = ~(quadratic(ever.sums[:, :, 0], end) <= SWING * size)
    farthest = jnp.where(swings, jnp.inf, farthest)
    lower, upper = jnp.maximum(at_end - farthest, 0) ** 2, (at_end + farthest) ** 2
    lower, upper = jnp.where(weight > 0, lower, 0), jnp.where(weight > 0, upper, 0)
    return Interval(rest.end, (weight * lower).sum(), (weight * upper).sum())
