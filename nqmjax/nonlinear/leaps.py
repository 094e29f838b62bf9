r"""Many updates of a closure at once, while what it takes for constant hardly changes.

With its rates frozen an update maps means and covariances linearly,

    x' = A x,      C' = D C D^T + N,      v' = beta2 v + (1 - beta2) (h^2 E theta^2 + c / B),

and `2^l` of them follow by squaring, as those of linear optimizers do; `v` needs the discounted sum of `h^2 E theta^2`, or of
the square of the whole mean gradient where a share of the weight is added to it,
`sum_i beta2^(n-1-i) h^2 E theta_i^2 = <Q_n, x x^T + C> + r_n`. Rates are those in the middle of the leap, to where half a
leap at the rates of its start leads: the error is of the second order in how much they change.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nqmjax.dynamics import apply, sandwich, square, transpose
from nqmjax.nonlinear.law import Law, mean_over_starts


class Frozen(NamedTuple):
    """One update, or a number of them, at frozen rates; matrices of shape `(d, d, nodes, n)` over `theta, m, start`.

    `mean` and `spread` are `A - I` and `D - I` (no mean where they are the same), `pull` what the mean takes of the start
    besides, `noise` is `N`; `past` and `before` are `Q` and `r`, None without `v`, and `keep` is what is left of `v`. `pace`
    holds what was frozen.
    """

    pace: Any
    spread: Any
    noise: Any
    mean: Any = None
    pull: Any = None
    past: Any = None
    before: Any = None
    keep: Any = None

    def doubled(self) -> "Frozen":
        """Twice as many updates."""
        found = self._replace(spread=square(self.spread), noise=self.noise + sandwich(self.spread, self.noise))
        if self.mean is not None:
            found = found._replace(mean=square(self.mean), pull=self.pull + apply(self.mean, self.pull))
        if self.past is not None:
            past = self.keep * self.past + sandwich(transpose(self.spread), self.past)
            before = (1 + self.keep) * self.before + inner(self.past, self.noise)
            found = found._replace(past=past, before=before, keep=self.keep**2)
        return found

    def over(self, level: Any) -> "Frozen":
        """`2^level` updates."""
        return jax.lax.fori_loop(jnp.zeros_like(level), level, lambda _, frozen: frozen.doubled(), self)

    def applied(self, law: Law) -> tuple[Law, jax.Array | None]:
        """The law after these updates, `v` as it was, and the discounted sum of the signal's squares."""
        size = len(self.spread)
        variables = [law.theta, *([] if law.m is None else [law.m]), law.start][:size]
        x = jnp.stack(variables)
        zero = jnp.zeros_like(law.theta)
        rows = [[law.theta_theta, law.theta_m, zero], [law.theta_m, law.m_m, zero], [zero, zero, zero]]
        if law.m is None:
            rows = [[law.theta_theta, zero], [zero, zero]]
        spread = jnp.stack([jnp.stack(row[:size]) for row in rows[:size]])
        total = None if self.past is None else inner(self.past, x[:, None] * x[None] + spread) + self.before
        x = apply(self.spread, x) if self.mean is None else apply(self.mean, x) + self.pull * law.start
        spread = sandwich(self.spread, spread) + self.noise
        found = law._replace(theta=x[0], theta_theta=jnp.maximum(spread[0, 0], 0))
        return (found if law.m is None else found._replace(m=x[1], theta_m=spread[0, 1], m_m=spread[1, 1])), total


def inner(a: jax.Array, b: jax.Array) -> jax.Array:
    """`sum_ij a_ij b_ij`."""
    return sum(a[i, j] * b[i, j] for i in range(len(a)) for j in range(len(a)))  # pyright: ignore[reportReturnType]


def matrix(rows: Any, like: jax.Array) -> jax.Array:
    """Entries that broadcast to the shape of `like`, as one array."""
    entries = [[jnp.broadcast_to(jnp.asarray(entry, like.dtype), like.shape) for entry in row] for row in rows]
    return jnp.stack([jnp.stack(row) for row in entries])


def doubt(first: Frozen, middle: Frozen, start: Law, end: Law) -> jax.Array:
    """An estimate of the error of `E theta^2`, shape `(n,)`: how far it went, times the square of what rates changed."""
    change = jnp.abs(jnp.log(jnp.abs(middle.pace / first.pace)))
    change = jnp.where(jnp.isfinite(change), change, 1.0).max(0)
    went = jnp.abs(end.theta**2 + end.theta_theta - start.theta**2 - start.theta_theta)
    return mean_over_starts(jnp.broadcast_to(went * change**2, start.theta.shape))
