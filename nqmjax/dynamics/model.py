"""Everything a kernel needs of a problem, an optimizer and a batch size: per-direction arrays, in one place."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nqmjax.dynamics.matrices import outer, quadratic
from nqmjax.optimizers import LinearOptimizer, linear_system
from nqmjax.problem import NoisyQuadratic


class Model(NamedTuple):
    """`x' = (I + increment) x + kick xi` per direction, of `m` state variables; `S` is the hyperparameters' shape.

    `increment` has shape `(m, m) + S + (n,)`, `kick` and `read` have `(m,) + S + (n,)`. `initial` is `E theta_0^2`,
    `noise` is `c / B`, `weight` is `w h / 2`: the risk is `irreducible + sum(weight * E (read . x)^2)`.
    """

    increment: jax.Array
    kick: jax.Array
    read: jax.Array
    initial: jax.Array
    noise: jax.Array
    weight: jax.Array
    irreducible: jax.Array

    @property
    def start(self) -> jax.Array:
        """Second moments `E x_0 x_0^T`: those of the parameter, nothing else."""
        return jnp.zeros_like(self.increment).at[0, 0].set(self.initial)

    @property
    def kicks(self) -> jax.Array:
        """Second moments `(c / B) b b^T` of the noise of one update."""
        return self.noise * outer(self.kick)


def build_model(problem: NoisyQuadratic, optimizer: LinearOptimizer, batch_size: Any, shape: tuple[int, ...] = ()) -> Model:
    """Collect the arrays; `S` is the shape to which `optimizer`, `batch_size` and `shape` broadcast."""
    leaves, structure = jax.tree.flatten((optimizer, batch_size))
    shape = jnp.broadcast_shapes(shape, *(jnp.shape(leaf) for leaf in leaves))
    optimizer, batch_size = jax.tree.unflatten(structure, [jnp.broadcast_to(leaf, shape) for leaf in leaves])
    curvature, count = jnp.asarray(problem.curvature), jnp.asarray(problem.count)
    system, weight, initial = linear_system(optimizer, curvature), 0.5 * count * curvature, jnp.asarray(problem.initial)
    # Where nothing ever happens, nothing may overflow either.
    busy = weight * (initial + jnp.asarray(problem.noise)) > 0
    return Model(
        increment=jnp.where(busy, system.increment, 0),
        kick=jnp.where(busy, system.kick, 0),
        read=system.read,
        initial=initial,
        noise=jnp.asarray(problem.noise) / batch_size[..., None],
        weight=weight,
        irreducible=jnp.asarray(problem.irreducible),
    )


def moment_risk(model: Model, moments: jax.Array) -> jax.Array:
    """Risk of the second moments `E x x^T`; what has overflowed counts as infinite, never as NaN."""
    # Rounding can make the square of a small part of a huge state negative.
    terms = jnp.where(model.weight > 0, model.weight * jnp.abs(quadratic(moments, model.read)), 0.0)
    risk = model.irreducible + terms.sum(-1)
    return jnp.where(jnp.isnan(risk), jnp.inf, risk)
