"""What a transformation of optax is handed besides the gradient, and the point at which its method is evaluated."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib

GIVEN = ("value", "grad", "value_fn", "obj_fn", "grad_fn")
"""What an update may ask for besides the gradient, the state and the parameters."""


def batch(h: jax.Array, noise: jax.Array, loss: Callable, params: Any) -> dict[str, Any]:
    """What a batch tells an optimizer: its loss and gradient at the parameters, and both as functions of them."""

    # A line search insists that its function takes every argument that others in the chain are given.
    def value_fn(params: Any, obj_fn: Any = None, grad_fn: Any = None) -> jax.Array:
        theta = fast(params)
        return loss(theta) + (noise * theta).sum()

    def grad_fn(params: Any, _: Any = None) -> jax.Array:
        return h * fast(params) + noise

    return dict(zip(GIVEN, (value_fn(params), grad_fn(params), value_fn, value_fn, grad_fn), strict=True))


def asked(update: Callable) -> list[str]:
    """Which of these an update takes."""
    parameters = inspect.signature(update).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    return [name for name in GIVEN if takes_all or name in parameters]


def fast(params: Any) -> Any:
    """The parameters at which gradients are taken."""
    return params.fast if isinstance(params, optax.LookaheadParams) else params


def states(state: Any, kind: type) -> list[Any]:
    """All parts of a transformation's state that are of this kind."""
    parts = jax.tree.leaves(state, is_leaf=lambda part: isinstance(part, kind))
    return [part for part in parts if isinstance(part, kind)]


def looks_ahead(method: optax.GradientTransformation, start: jax.Array) -> bool:
    """Whether the parameters are a fast and a slow copy."""
    try:
        state = jax.eval_shape(method.init, optax.LookaheadParams.init_synced(start))
    except Exception:  # not made for pairs
        return False
    return bool(states(state, optax.LookaheadState))


def default_eval_params(state: Any, params: Any) -> jax.Array:
    """Where a method is evaluated: at its parameters, unless it says otherwise."""
    theta: Any = params.slow if isinstance(params, optax.LookaheadParams) else params
    for part in states(state, optax.contrib.ScheduleFreeState):
        theta = optax.contrib.schedule_free_eval_params(part, theta)
    for part in states(state, optax.contrib.SAMState):
        if part.cache is not None:
            theta = jnp.where(part.steps_since_sync == 0, theta, part.cache)
    return theta
