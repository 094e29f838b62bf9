r"""A linear optimizer, declared by its update, and the small linear system that follows from it.

Along a direction of curvature `h` every optimizer here maps a small state `x` linearly,

    x' = A x + b xi,      theta = r . x,      x_0 = theta_0 e_1,

where `xi` is the gradient noise and `theta` the scored iterate. The *declaration* is the update as one would write
it in a training loop (`change`); `linear_system` reads `A - I`, `b` and `r` off it by applying it to basis states.

Two choices keep slow directions exact. The increment `A - I` stands for `A`, in whose rounding a direction that shrinks
by `1e-10` per step would be lost. And the basis is the start state `v = initial(1)` with the unit states of all variables
but the scored one: other copies of the parameter are kept as their distance from it, so that no increment is the
difference of two nearly equal numbers. The scored iterate is the first coordinate because an average may be far smaller
than the parameter that it follows.

A state variable that never changes, as the start to which weight decay pulls, is `theta_0` times a number. All of them
together are one last coordinate, `theta_0` itself, with an increment of exactly 0: an eigenvalue 1 that is known, and that
no rounding moves.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Self, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np

from nqmjax._tools import is_traced, numeric, precision, require

State = tuple[Any, ...]
"""The optimizer's state along one direction: the parameter first."""


def static(*, default: Any, choices: Sequence[str] = (), least: int = 0, kw_only: bool = True) -> Any:
    """A field by keyword that is part of the optimizer's type rather than a hyperparameter: JAX compiles for each value.

    It is one of the words `choices`, or without them a whole number, `least` or more.
    """
    metadata = {"static": True, "choices": tuple(choices), "least": least}
    return dataclasses.field(default=default, kw_only=kw_only, metadata=metadata)


def _register(cls: type) -> None:
    """Make every field a child of a pytree node, but for the static ones.

    Not with `jax.tree_util.register_dataclass`: tree structures of two such classes with the same field names compare
    equal (JAX 0.10), so that a jitted function may take heavy ball's compiled code for Nesterov's.
    """
    fields = dataclasses.fields(cls)
    names = [field.name for field in fields if not field.metadata.get("static")]
    fixed = [field.name for field in fields if field.metadata.get("static")]

    def values(self: Any) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in names)

    def settings(self: Any) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in fixed)

    def with_keys(self: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        keys = map(jax.tree_util.GetAttrKey, names)
        return tuple(zip(keys, values(self), strict=True)), settings(self)

    def rebuilt(settings: tuple[Any, ...], values: Iterable[Any]) -> Any:
        return cls(**dict(zip(names, values, strict=True)), **dict(zip(fixed, settings, strict=True)))

    jax.tree_util.register_pytree_with_keys(cls, with_keys, rebuilt, lambda self: (values(self), settings(self)))


@dataclass_transform(frozen_default=True, eq_default=False, field_specifiers=(static,))
class Optimizer:
    """Base class of all optimizers: a subclass annotates its hyperparameters, and becomes a frozen dataclass and a pytree.

    Hyperparameters are the pytree's leaves, numbers or arrays that may be traced. What is `static` is not among them.
    """

    def __init_subclass__(cls) -> None:
        dataclasses.dataclass(frozen=True, eq=False)(cls)
        _register(cls)

    def __post_init__(self) -> None:
        """Make arrays of lists and tuples, which are many hyperparameters rather than one to a pytree."""
        for name, value in vars(self).items():
            if isinstance(value, list | tuple):
                object.__setattr__(self, name, jnp.asarray(value) if is_traced(value) else numeric(name, value))

    @property
    def effective_learning_rate(self) -> Any:
        """Distance moved per unit of a constant gradient and step; the learning rate unless momentum amplifies it."""
        return getattr(self, "learning_rate", np.nan)

    def replace(self, **values: Any) -> Self:
        """A copy with the named hyperparameters set, wherever in a stack of wrappers they stand.

        Raises:
          ValueError: the optimizer has no hyperparameter of that name.

        >>> from nqmjax import Averaged, HeavyBall
        >>> Averaged(HeavyBall(0.1, 0.9), decay=0.99).replace(momentum=0.5)
        Averaged(optimizer=HeavyBall(learning_rate=0.1, momentum=0.5), decay=0.99)
        """
        known = hyperparameters(self)
        for name in values:
            require(name in known, "hyperparameter", repr(name), f"this optimizer has {', '.join(known) or 'none'}")
        return jax.tree.unflatten(jax.tree.structure(self), [values.get(name, value) for name, value in known.items()])


class LinearOptimizer(Optimizer):
    """Base class of optimizers whose update is linear in their state and in the gradient.

    A subclass annotates its hyperparameters and declares `change`; with more state than the parameter it declares
    `initial` too. Risk curves, steps to target, sweeps, tuning, stability and stationary risk then work for it as for the
    built-in ones.

    >>> class Anchored(LinearOptimizer):  # SGD with a pull towards a slow copy
    ...     learning_rate: float
    ...     pull: float
    ...
    ...     def initial(self, theta):
    ...         return theta, theta
    ...
    ...     def change(self, state, gradient):
    ...         theta, anchor = state
    ...         return -self.learning_rate * gradient - self.pull * (theta - anchor), 0.01 * (theta - anchor)
    >>> from nqmjax import power_law, risk
    >>> round(float(risk(power_law(100), Anchored(0.1, 0.01), batch_size=64, steps=1000)), 4)
    0.1114
    """

    def initial(self, theta: Any) -> State:
        """State at the start `theta`: the parameter `theta` first, then what the optimizer keeps besides."""
        return (theta,)

    def change(self, state: State, gradient: Any) -> State:
        """Change of each state variable in one update, given the stochastic gradient at `state[0]`.

        Of a variable that keeps its start for ever it is the number `0.0`.
        """
        raise NotImplementedError(f"{type(self).__name__} must declare change(self, state, gradient)")

    def read(self, state: State) -> Any:
        """The iterate whose loss is scored."""
        return state[0]

    def gradient_scale(self, curvature: Any) -> Any:
        """Factor on the gradient along each direction; only preconditioners change it."""
        return 1.0

    def along(self, curvature: Any) -> Self:
        """The optimizer along directions of this curvature, where a hyperparameter of it differs between them."""
        inner = {name: value.along(curvature) for name, value in vars(self).items() if isinstance(value, LinearOptimizer)}
        return dataclasses.replace(self, **inner) if inner else self  # pyright: ignore[reportArgumentType]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LinearSystem:
    """`x' = (I + increment) x + kick xi`, `theta = read . x`, `x_0 = theta_0 start` for `m` state variables.

    `increment` has shape `(m, m) + S + (n,)`, `kick`, `read` and `start` have `(m,) + S + (n,)`, and so has `parameter`, which
    reads the parameter at which gradients are taken. The first `moving` variables move; if there is one more, it is `theta_0`,
    and its row of the increment and its kick are 0.

    Of an optimizer with a period `x' = (I + synchronise) x` follows after every `period` updates; None else. The shapes are
    those of the increment and `S + (1,)`.
    """

    increment: jax.Array
    kick: jax.Array
    read: jax.Array
    parameter: jax.Array
    start: jax.Array
    moving: int = dataclasses.field(metadata={"static": True})
    synchronise: Any = None
    period: Any = None


def linear_system(optimizer: Any, curvature: Any, shape: tuple[int, ...] = ()) -> LinearSystem:
    """The linear system of `optimizer` along each direction.

    Args:
      optimizer: a linear one, or one with a period; hyperparameters of any shapes that broadcast with `shape` to a shape `S`.
      curvature: `h`, shape `(n,)`.
      shape: more axes than the hyperparameters have.
    """
    shape = jnp.broadcast_shapes(shape, *(jnp.shape(leaf) for leaf in jax.tree.leaves(optimizer)))
    rank = len(shape) + 1
    optimizer = jax.tree.map(lambda leaf: jnp.expand_dims(leaf, (*range(rank - 1 - jnp.ndim(leaf)), -1)), optimizer)
    curvature = jnp.asarray(curvature, jnp.result_type(float, curvature))
    shape = (*shape, *curvature.shape)
    curvature = jnp.expand_dims(curvature, range(rank - 1))
    scale = optimizer.gradient_scale(curvature) * jnp.ones_like(curvature)
    optimizer = optimizer.along(curvature)
    start = optimizer.initial(1.0)
    units = [tuple(unit) for unit in np.eye(len(start)).tolist()]
    pivot = next((i for i, unit in enumerate(units) if _is(1.0, optimizer.read(unit)) and _is(1.0, start[i])), 0)
    generic = tuple((0.618 * (i + 1)) % 1 for i in range(len(start)))
    synchronise = getattr(optimizer, "synchronise", None)
    changes = [optimizer.change(generic, scale), *([synchronise(generic)] if synchronise else [])]
    still = {i for i in range(len(start)) if i != pivot and all(_is(0.0, change[i]) for change in changes)}
    others = [i for i in range(len(start)) if i != pivot and i not in still]
    constant = tuple(value if i in still else 0.0 for i, value in enumerate(start))
    basis = [tuple(0.0 if i in still else value for i, value in enumerate(start)), *(units[i] for i in others)]
    moving = len(basis)
    if not all(_is(0.0, value) for value in constant):
        basis.append(constant)

    def stack(entries: Iterable[Any]) -> jax.Array:
        return jnp.stack([jnp.broadcast_to(jnp.asarray(entry, curvature.dtype), shape) for entry in entries])

    def coordinates(state: State) -> jax.Array:
        known = [state[pivot], *(state[i] - start[i] * state[pivot] for i in others)]
        return stack([*known, *[0.0] * (len(basis) - moving)])

    return LinearSystem(
        increment=jnp.stack([coordinates(optimizer.change(x, scale * curvature * x[0])) for x in basis], axis=1),
        kick=coordinates(optimizer.change(tuple(0.0 for _ in start), scale * getattr(optimizer, "noise_scale", 1.0))),
        read=stack(optimizer.read(x) for x in basis),
        parameter=stack(x[0] for x in basis),
        start=stack(float(i in (0, moving)) for i in range(len(basis))),
        moving=moving,
        synchronise=jnp.stack([coordinates(synchronise(x)) for x in basis], axis=1) if synchronise else None,
        period=jnp.broadcast_to(optimizer.period, (*shape[:-1], 1)) if synchronise else None,
    )


def is_anchored(optimizer: Optimizer) -> bool:
    """Whether a run of the optimizer never forgets its start, by a state variable that never changes: weight decay."""
    with precision(), jax.numpy_dtype_promotion("standard"):
        system = jax.eval_shape(linear_system, optimizer, np.ones(1))
    return system.moving < len(system.increment)


def _is(number: float, value: Any) -> bool:
    return isinstance(value, int | float) and value == number


def hyperparameters(optimizer: Optimizer) -> dict[str, Any]:
    """Names and values of all hyperparameters, those of wrapped optimizers included.

    Where a name stands twice, the outermost keeps it and the others are named by their path, as in "optimizer.decay".

    >>> from nqmjax import Averaged, SGD
    >>> hyperparameters(Averaged(SGD(0.1), decay=0.99))
    {'learning_rate': 0.1, 'decay': 0.99}
    """
    paths: list[list[str]] = []
    for path, _ in jax.tree_util.tree_leaves_with_path(optimizer):
        paths.append([str(getattr(key, "name", getattr(key, "key", getattr(key, "idx", key)))) for key in path])
    short = ["_".join(key for key in keys if key not in ("optimizer", "inner")) for keys in paths]
    outermost = {name: min(len(keys) for keys, other in zip(paths, short, strict=True) if other == name) for name in short}
    names = [name if len(keys) == outermost[name] else ".".join(keys) for keys, name in zip(paths, short, strict=True)]
    return dict(zip(names, jax.tree.leaves(optimizer), strict=True))
