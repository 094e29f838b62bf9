"""Everything a kernel needs of a problem, an optimizer and a batch size: per-direction arrays, in one place."""

import dataclasses
from typing import Any, Self

import jax
import jax.numpy as jnp

from nqmjax.dynamics.matrices import unit_like
from nqmjax.dynamics.twofold import Twofold
from nqmjax.optimizers import LinearOptimizer, linear_system
from nqmjax.problem import NoisyQuadratic


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Model:
    """`x' = (I + increment) x + kick xi` per direction, of `m` state variables; `S` is the hyperparameters' shape.

    `increment` has shape `(m, m) + S + (n,)`, `kick`, `read` and `start` have `(m,) + S + (n,)`; the first `moving` of the
    variables move, see `LinearSystem`. `x_0` is `theta_0 start` and `initial` is `E theta_0^2`, `noise` is `c / B`,
    `weight` is `w h / 2`: the risk is `irreducible + sum(weight * E (read . x)^2)`.
    """

    increment: jax.Array
    kick: jax.Array
    read: jax.Array
    start: jax.Array
    initial: jax.Array
    noise: jax.Array
    weight: jax.Array
    irreducible: jax.Array
    moving: int = dataclasses.field(metadata={"static": True})
    synchronise: Any = None
    period: Any = None

    @property
    def anchored(self) -> bool:
        """Whether a run goes on depending on its start, by a state variable that never changes."""
        return self.moving < len(self.increment)

    @property
    def inner(self) -> jax.Array:
        """The increment of the variables that move."""
        return self.increment[: self.moving, : self.moving]

    def replace(self, **values: Any) -> Self:
        """A copy with these fields set."""
        return dataclasses.replace(self, **values)


FOREVER = 110
"""Doublings after which a run has forgotten its start: 2^110 updates, for any direction that twice the precision sees move."""


def build_model(problem: NoisyQuadratic, optimizer: LinearOptimizer, batch_size: Any, shape: tuple[int, ...] = ()) -> Model:
    """Collect the arrays; `S` is the shape to which `optimizer`, `batch_size` and `shape` broadcast."""
    problem, optimizer, batch_size = in_one_precision((problem, optimizer, batch_size))
    leaves, structure = jax.tree.flatten((optimizer, batch_size))
    shape = jnp.broadcast_shapes(shape, *(jnp.shape(leaf) for leaf in leaves))
    optimizer, batch_size = jax.tree.unflatten(structure, [jnp.broadcast_to(leaf, shape) for leaf in leaves])
    system = linear_system(optimizer, problem.curvature, shape)
    model = Model(
        increment=system.increment,
        kick=system.kick,
        read=system.read,
        start=system.start,
        initial=problem.initial,
        noise=problem.noise / batch_size[..., None],
        weight=0.5 * problem.count * problem.curvature,
        irreducible=problem.irreducible,
        moving=system.moving,
        synchronise=system.synchronise,
        period=system.period,
    )
    return varying_alike(model)


def in_one_precision(trees: Any) -> Any:
    """All leaves in the precision of the most precise one: constants may be mixed with what is traced."""
    with jax.numpy_dtype_promotion("standard"):
        dtype = jnp.result_type(float, *jax.tree.leaves(trees))
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), trees)


def varying_alike(model: Model) -> Model:
    """Inside `shard_map` every field varies over devices where one does, as loops want their carries: by adding zeros."""
    nothing = sum(jnp.zeros_like(leaf).sum() for leaf in jax.tree.leaves(model))
    return jax.tree.map(lambda leaf: leaf + nothing, model)


def start_state(model: Model) -> jax.Array:
    """The states that the start and the noise of one update put a direction into, `v` and `b`; shape `(m, 2) + S + (n,)`."""
    return jnp.stack([model.start, model.kick], axis=1)


def unit_plus(increment: jax.Array) -> Twofold:
    """The map `A = I + increment`, without its rounding."""
    return Twofold.of(jnp.broadcast_to(unit_like(increment), increment.shape)) + Twofold.of(increment)


def without_idle_directions(model: Model) -> Model:
    """The model with directions that never count, or never move, held still: they shall not overflow."""
    busy = model.weight * (model.initial + model.noise) > 0
    still = model.replace(increment=jnp.where(busy, model.increment, 0), kick=jnp.where(busy, model.kick, 0))
    return still if model.synchronise is None else still.replace(synchronise=jnp.where(busy, model.synchronise, 0))


def times(factor: jax.Array, value: jax.Array) -> jax.Array:
    """`factor * value`; nothing of something that has overflowed is nothing."""
    return jnp.where((factor == 0) & ~jnp.isfinite(value), 0.0, factor * value)


def risk_of_squares(model: Model, squares: jax.Array) -> jax.Array:
    """Risk of `E (read . x)^2`; what has overflowed counts as infinite, never as NaN."""
    risk = model.irreducible + times(model.weight, squares).sum(-1)
    return jnp.where(jnp.isnan(risk), jnp.inf, risk)
