r"""Learning rates of layers for optax: PercentDelta and the median curvature radius.

With the weights `w` of a layer, their gradients `g` and the decay `beta`, a layer's update is `(g + beta w) ratio(w, g)`:

    LARS              |w|_2 / (|g|_2 + beta |w|_2)                    optax.scale_by_trust_ratio, for beta = 0
    PercentDelta      size(w) / (|g / w|_1 + beta size(w))            scale_by_percent_delta
    median, printed   |median(w) / (median(g) + beta median(w))|      scale_by_median_curvature(form="printed")
    median, absolute  median|w| / (median|g| + beta median|w|)        scale_by_median_curvature()

All estimate the radius of curvature `|w / g|` of a parabola whose minimum is at 0 (Gao & Zhong 2020, eqs. 17 to 24); weight
decay stands where their eq. 22 has it. The rate and its sign are left to `optax.scale_by_learning_rate`, momentum to
`optax.trace`.

**Where a ratio is 0, infinite or undefined it is 1**, as in optax: no NaN arises from finite weights and gradients, and
weights that begin at 0 leave it. Ratios are computed in float32 at least; updates have the precision of the gradients.
"""

from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nqmjax._tools import check_choice, is_traced, own_arithmetic, require, scalar, whole

Layers = Callable[[str], Hashable] | int | None
"""How leaves are grouped into layers: by a function of the path, by this many leading keys of the path, or not at all."""


def scale_by_percent_delta(
    weight_decay: Any = 0.0, *, smallest: Any = 0.0, layers: Layers = None
) -> optax.GradientTransformation:
    r"""Scale the gradient of each layer by one over the mean of `|g / w|`, the relative change of its weights.

    The update is `(g + beta w) / (mean|g / w| + beta)`, the mean over weights above `smallest` in size: one weight at 0 would
    freeze its layer. A layer without any such weight, or whose mean is 0, keeps its gradient.

    There is no mean-field limit for many weights: where `g` and `w` are Gaussian, `g / w` is Cauchy, whose mean does not
    exist. The level of `mean|g / w|` grows with the number of weights `n` as `(2 / pi) ln n` and is set by the few weights
    closest to 0, so that this method can only be sampled (`monte_carlo`).

    Args:
      weight_decay: `beta`, per unit of rate, 0 or more.
      smallest: weights of at most this size do not count.
      layers: each leaf is a layer by default; a function of a leaf's path, such as "block/0/bias", that returns the name of
        its layer; or the number of leading keys of the path that name it, 0 for one layer of everything.

    Returns:
      optax transformation without state, to be followed by `optax.scale_by_learning_rate`; `update` needs the parameters.

    Raises:
      ValueError: an argument is out of its range, or the transformation is applied to a tree without parameters.

    >>> method = scale_by_percent_delta()
    >>> w, g = np.array([1.0, 2.0, 0.0]), np.array([0.1, 0.6, 5.0])
    >>> method.update(g, method.init(w), w)[0].round(2)  # mean|g / w| is 0.2
    Array([ 0.5,  3. , 25. ], dtype=float32)

    Source: Abu-El-Haija 2017; Gao & Zhong 2020, eq. 24.
    """
    check_not_negative("smallest", smallest)

    def ratio(w: jax.Array, g: jax.Array, beta: jax.Array) -> jax.Array:
        counted = jnp.abs(w) > jnp.asarray(smallest, w.dtype)
        changes = jnp.where(counted, jnp.abs(g / jnp.where(counted, w, 1)), 0)
        size = counted.sum(dtype=w.dtype)
        return _quotient(size, changes.sum() + beta * size)

    return _scale_layers(ratio, weight_decay, layers)


def scale_by_median_curvature(
    weight_decay: Any = 0.0, *, form: str = "absolute", layers: Layers = None
) -> optax.GradientTransformation:
    r"""Scale the gradient of each layer by a radius of curvature, the ratio of a median weight to a median gradient.

    The form "absolute" takes medians of sizes, `median|w| / (median|g| + beta median|w|)`, and is the default, because it
    works. The form "printed" is the paper's, `|median(w) / (median(g) + beta median(w))|`, and fails: weights and gradients
    of a layer lie around 0, both medians are what sampling leaves of 0, and their ratio is Cauchy, however many weights a
    layer has. Hence there is no mean-field limit of this form, and it can only be sampled (`monte_carlo`).

    A layer keeps its gradient where a median is 0: where half of the weights are 0, or half of the gradients without decay
    (dead units, rare tokens). Where most gradients of a layer are small but not 0, its largest ones become huge.

    Args:
      weight_decay: `beta`, per unit of rate, 0 or more.
      form: "absolute" or "printed".
      layers: each leaf is a layer by default; a function of a leaf's path, such as "block/0/bias", that returns the name of
        its layer; or the number of leading keys of the path that name it, 0 for one layer of everything.

    Returns:
      optax transformation without state, to be followed by `optax.scale_by_learning_rate`; `update` needs the parameters.

    Raises:
      ValueError: an argument is out of its range, or the transformation is applied to a tree without parameters.

    >>> method = optax.chain(scale_by_median_curvature(layers=1), optax.scale_by_learning_rate(0.1))
    >>> w = {"dense": {"kernel": np.array([1.0, -3.0]), "bias": np.array(2.0)}}
    >>> g = {"dense": {"kernel": np.array([0.5, -0.2]), "bias": np.array(0.4)}}
    >>> updates, _ = method.update(g, method.init(w), w)
    >>> updates["dense"]["kernel"].round(3)  # median|w| / median|g| is 5
    Array([-0.25,  0.1 ], dtype=float32)

    Source: Gao & Zhong 2020, eqs. 20 and 22 (the printed form). For an even number of weights a median is the mean of the two
    in the middle; PyTorch, which the paper used, takes the lower one.
    """
    check_choice("form", form, ("absolute", "printed"))
    size = jnp.abs if form == "absolute" else jnp.asarray

    def ratio(w: jax.Array, g: jax.Array, beta: jax.Array) -> jax.Array:
        weight, gradient = jnp.median(size(w)), jnp.median(size(g))
        return _quotient(jnp.abs(weight), jnp.abs(gradient + beta * weight))

    return _scale_layers(ratio, weight_decay, layers)


def stateless(update: Callable[..., Any]) -> optax.GradientTransformationExtraArgs:
    """The transformation without state whose updates are `update(gradients, params, **others)`, with parameters that exist."""

    def init(params: Any) -> optax.EmptyState:
        check_parameters(params)
        return optax.EmptyState()

    def checked(updates: Any, state: Any, params: Any = None, **others: Any) -> tuple[Any, Any]:
        check_parameters(params)
        with own_arithmetic():
            return update(updates, params, **others), state

    return optax.GradientTransformationExtraArgs(init, checked)


def check_not_negative(name: str, value: Any) -> None:
    """Raise `ValueError` for what is no finite number of 0 or more."""
    if not is_traced(value):
        require(0 <= scalar(name, value) < np.inf, name, value, "give a finite number, 0 or more")


def wide(*arrays: Any) -> list[jax.Array]:
    """The arrays in one precision, at least float32."""
    return [jnp.asarray(array, jnp.result_type(*arrays, jnp.float32)) for array in arrays]


def aligned(**arrays: Any) -> list[jax.Array]:
    """The same for arrays of one parameter, which must have one shape."""
    shapes = {name: np.shape(array) for name, array in arrays.items()}
    require(len(set(shapes.values())) == 1, "shapes of one parameter", shapes, "give arrays of one shape")
    return wide(*arrays.values())


def _scale_layers(
    ratio: Callable[[jax.Array, jax.Array, jax.Array], jax.Array], weight_decay: Any, layers: Layers
) -> optax.GradientTransformation:
    """The transformation whose update of each layer is `(g + beta w) ratio(w, g, beta)`."""
    check_not_negative("weight_decay", weight_decay)
    if layers is not None and not callable(layers):
        whole("layers", layers, least=0)

    def update(updates: Any, params: Any, **_: Any) -> Any:
        leaves, structure = jax.tree.flatten(params)
        gradients = [jnp.asarray(leaf) for leaf in structure.flatten_up_to(updates)]
        pairs = [aligned(weight=w, gradient=g) for w, g in zip(leaves, gradients, strict=True)]
        scaled = list(gradients)
        for members in _members(params, layers):
            w, g = wide(*(jnp.concatenate([pairs[i][side].ravel() for i in members]) for side in (0, 1)))
            beta = jnp.asarray(weight_decay, w.dtype)
            factor = ratio(w, g, beta) if w.size else 1
            for i in members:
                scaled[i] = ((pairs[i][1] + beta * pairs[i][0]) * factor).astype(gradients[i].dtype)
        return structure.unflatten(scaled)

    return stateless(update)


def _members(params: Any, layers: Layers) -> list[list[int]]:
    """The numbers of the leaves in each layer."""
    found: dict[Any, list[int]] = {}
    for number, (path, _) in enumerate(jax.tree_util.tree_leaves_with_path(params)):
        if callable(layers):
            text = jax.tree_util.keystr(path, simple=True, separator="/")
            name = layers(text)
            require(isinstance(name, Hashable), f"layers({text!r})", name, "give the name of a layer, such as a string")
        else:
            name = path[: None if layers is None else int(layers)]
        found.setdefault(name, []).append(number)
    return list(found.values())


def _quotient(above: jax.Array, below: jax.Array) -> jax.Array:
    """The quotient of two numbers that are 0 or more, and 1 where it is 0, infinite or undefined."""
    defined = (above > 0) & (below > 0)
    quotient = jnp.where(defined, above, 1) / jnp.where(defined, below, 1)
    return jnp.where((quotient > 0) & jnp.isfinite(quotient), quotient, 1)


def check_parameters(params: Any) -> None:
    """Raise `ValueError` for a tree without parameters."""
    remedy = "a transformation applied to a tree without parameters; give the parameters to `init` and to `update`"
    require(any(np.size(leaf) for leaf in jax.tree.leaves(params)), "params", params, remedy)
