"""Optimizers by the names of the catalogue, as transformations of optax at learning rate 1, and averages of the iterates.

An update is `theta' = theta + a u`, with `a` the learning rate of a run and `u` what the transformation makes of the gradient
at rate 1: for all methods here a constant rate is a factor of the update. The average is that of `Averaged`,
`avg' = decay avg + (1 - decay) theta'` with `avg = theta` at the start, and is what is scored.
"""

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import eval_context

from nqmjax._tools import check_choice, precision, require, scalar

AVERAGED = "ema"
DECAY = 0.99
"""Name of the average, alone that of SGD, and its decay unless another is given."""


class Method(NamedTuple):
    """A transformation of optax at learning rate 1, and the decay of the average that is scored, 0 for the iterate."""

    transformation: optax.GradientTransformation
    decay: float = 0.0


def _sgd() -> optax.GradientTransformation:
    return optax.sgd(1.0)


def _heavy_ball(momentum: float = 0.9) -> optax.GradientTransformation:
    return optax.sgd(1.0, momentum)


def _nesterov(momentum: float = 0.9) -> optax.GradientTransformation:
    return optax.sgd(1.0, momentum, nesterov=True)


def _qhm(momentum: float = 0.9, nu: float = 0.7) -> optax.GradientTransformation:
    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        state = jax.tree.map(lambda m, g: momentum * m + (1 - momentum) * g, state, updates)
        return jax.tree.map(lambda m, g: -(nu * m + (1 - nu) * g), state, updates), state

    return optax.GradientTransformation(lambda params: jax.tree.map(jnp.zeros_like, params), update)


def _adam(beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> optax.GradientTransformation:
    return optax.adam(1.0, beta1, beta2, eps)


def _adamw(
    beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8, weight_decay: float = 0.01
) -> optax.GradientTransformation:
    return optax.adamw(1.0, beta1, beta2, eps, weight_decay=weight_decay)


def _rmsprop(beta2: float = 0.9, eps: float = 1e-8) -> optax.GradientTransformation:
    return optax.rmsprop(1.0, beta2, eps)


def _sign(weight_decay: float = 0.0) -> optax.GradientTransformation:
    return optax.chain(optax.scale_by_sign(), optax.add_decayed_weights(weight_decay), optax.scale(-1.0))


def _lion(beta1: float = 0.9, beta2: float = 0.99, weight_decay: float = 0.0) -> optax.GradientTransformation:
    return optax.lion(1.0, beta1, beta2, weight_decay=weight_decay)


def _lamb(
    beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-6, weight_decay: float = 0.0
) -> optax.GradientTransformation:
    return optax.lamb(1.0, beta1, beta2, eps, weight_decay=weight_decay)


def _lars(momentum: float = 0.9, weight_decay: float = 0.0, trust_coefficient: float = 0.001) -> optax.GradientTransformation:
    return optax.lars(1.0, weight_decay, trust_coefficient=trust_coefficient, momentum=momentum)


METHODS: Mapping[str, Callable[..., optax.GradientTransformation]] = MappingProxyType(
    {
        "sgd": _sgd,
        "heavy_ball": _heavy_ball,
        "nesterov": _nesterov,
        "qhm": _qhm,
        "adam": _adam,
        "adamw": _adamw,
        "rmsprop": _rmsprop,
        "sign": _sign,
        "lion": _lion,
        "lamb": _lamb,
        "lars": _lars,
    }
)
NAMES = (*METHODS, AVERAGED, *(f"{AVERAGED}_{name}" for name in METHODS if name != "sgd"))
"""All names: those of the catalogue of the quadratic, LAMB and LARS, and the average of any as `ema_NAME`."""


def settings_of(name: str) -> dict[str, float]:
    """The hyperparameters of a named optimizer, but for the learning rate, and their usual values."""
    check_choice("optimizer", name, NAMES)
    inner = _inner(name)
    found = {key: one.default for key, one in inspect.signature(METHODS[inner]).parameters.items()}
    return found if inner == name else found | {"decay": DECAY}


def _inner(name: str) -> str:
    return "sgd" if name == AVERAGED else name.removeprefix(f"{AVERAGED}_")


SIZES = (1e-8, 1e-4, 1.0, 1e4)
"""Sizes of the gradients by which methods are told apart."""


def method(name: str, **hyperparameters: float) -> Method:
    """An optimizer by its name, with values of its hyperparameters; the learning rate is that of each run.

    Args:
      name: sgd, heavy_ball, nesterov, qhm, adam, adamw, rmsprop, sign, lion, lamb, lars; `ema` (of SGD) and `ema_NAME` score
        the exponential moving average of the iterates.
      hyperparameters: momentum, nu, beta1, beta2, eps, weight_decay, trust_coefficient, decay (of the average), as far as it
        has them.

    Raises:
      ValueError: there is no such optimizer, or it has no such hyperparameter.

    >>> method("ema_heavy_ball", momentum=0.95).decay
    0.99
    """
    known = settings_of(name)
    for key, value in hyperparameters.items():
        check_choice(f"a hyperparameter of {name}", key, known)
        remedy = "give a number, 0 or more" if key in ("weight_decay", "eps", "trust_coefficient") else "give a share below 1"
        limit = float("inf") if remedy.startswith("give a number") else 1.0
        require(0 <= scalar(key, value) < limit or (key == "nu" and value == 1), key, value, remedy)
    return _named(name, **known | {key: float(value) for key, value in hyperparameters.items()})


@functools.lru_cache(maxsize=256)
def _named(name: str, decay: float = 0.0, **values: float) -> Method:
    """The same one for the same values, so that what is known of it need not be found out again."""
    with precision("float32"):
        return Method(METHODS[_inner(name)](**values), decay)


def chosen(optimizers: Any, fixed: Mapping[str, float]) -> dict[str, Method]:
    """Optimizers by label, from names or from a mapping of labels to names, `Method`s or transformations at rate 1."""
    require(isinstance(fixed, Mapping), "fixed", repr(fixed), "give a dict of hyperparameters and their values")
    named = {optimizers: optimizers} if isinstance(optimizers, str) else optimizers
    require(isinstance(named, Collection) and len(named) > 0, "optimizers", repr(optimizers), "give a list of names, or a dict")
    if not isinstance(named, Mapping):
        require(all(isinstance(name, str) for name in named), "optimizers", repr(optimizers), "give names, or a dict")
        require(len(set(named)) == len(named), "optimizers", list(named), "give each one once")
        named = {name: name for name in named}
    known = {key: None for one in named.values() if isinstance(one, str) for key in settings_of(one)}
    for name in fixed:
        check_choice("fixed", name, known)
    return {str(label): _made(label, one, fixed) for label, one in named.items()}


def _made(label: Any, one: Any, fixed: Mapping[str, float]) -> Method:
    require(isinstance(label, str) and bool(label), "a label of optimizers", label, "give a text")
    if isinstance(one, str):
        return method(one, **{key: value for key, value in fixed.items() if key in settings_of(one)})
    if isinstance(one, Method):
        return one
    is_optax = hasattr(one, "init") and hasattr(one, "update")
    require(is_optax, f"the optimizer {label!r}", one, "give a name, what method returns, or a transformation of optax")
    return Method(one)


@functools.lru_cache(maxsize=256)
def fingerprint(one: Method) -> tuple[float, ...]:
    """By what one tells whether runs were made with this method: squared lengths of its first updates, and its decay.

    Gradients are of several sizes, so that clipping and what is added to denominators show.
    """

    @jax.jit
    def lengths(params: Any, size: Any) -> list[jax.Array]:
        state, found = one.transformation.init(params), []
        for time in (1.0, 2.0, 3.0):
            gradient = jax.tree.map(lambda leaf, time=time: size * (jnp.sin(5 * time * leaf) + 0.1), params)
            update, state = one.transformation.update(gradient, state, params)
            params = jax.tree.map(lambda leaf, change: leaf + 0.1 * change, params, update)
            found.append(sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(update)))
        return found

    with precision("float32"), jax.default_matmul_precision("highest"), eval_context():
        numbers = np.linspace(-1.0, 1.3, 9, dtype=np.float32)
        params = {"kernel": numbers[:6].reshape(2, 3), "bias": numbers[6:]}
        return (*(float(length) for size in SIZES for length in lengths(params, np.float32(size))), one.decay)
