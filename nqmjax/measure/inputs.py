"""From what a user has, a loss or a model, parameters and data, to a `Network`; what cannot be measured is told here."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from nqmjax._tools import check_choice, is_traced, require, whole
from nqmjax.measure.losses import LOSSES, check_targets
from nqmjax.measure.network import Examples, Network

CHUNK = 512
"""Examples that are worked on together."""

FEW = 8
"""Examples on which it is tried whether the loss of a batch is the mean of the losses of its examples."""

MATRICES = ("hessian", "gauss_newton")


def build(
    function: Callable, params: Any, data: Any, rng: np.random.Generator, *, loss: Any, matrix: str | None, chunk: int
) -> Network:
    """Check everything and put the examples into random order.

    Args:
      function: `loss(params, batch)`, or with `loss` given `apply(params, inputs)`.
      params: tree of floating-point arrays.
      data: tree of arrays whose first axis counts examples; with `loss` given a pair of inputs and targets.
      rng: for the order of the examples.
      loss: name of a loss, function of outputs and targets, or None.
      matrix: "hessian", "gauss_newton", or None for the latter where it is possible.
      chunk: examples that are worked on together, at most.
    """
    require(not is_traced(params, data), "params or data", "traced", "call this outside of jit, vmap and grad")
    of_batch, losses_of = mean_loss(function, loss)
    kind = matrix or (MATRICES[0] if loss is None else MATRICES[1])
    check_choice("matrix", kind, MATRICES)
    remedy = "the Gauss-Newton matrix needs outputs: give apply(params, inputs) and loss, the name of a loss"
    require(kind == MATRICES[0] or loss is not None, "matrix", kind, remedy)
    chunk = whole("chunk", chunk)
    check_params(params)
    leaves = jax.tree.map(lambda leaf: jnp.asarray(leaf, _dtype(leaf)), params)
    arrays, number = checked_data(data, pair=loss is not None)
    if loss is not None:
        check_targets(loss, shape_of("apply(params, inputs)", function, leaves, arrays[0]), arrays[1])
    _check_loss(of_batch, leaves, arrays)
    vector, unravel = ravel_pytree(jax.tree.map(lambda leaf: jnp.asarray(leaf, _wide(leaf)), params))
    order = rng.permutation(number)
    chunk = -(-number // -(-number // chunk))  # as equal as can be
    return Network(
        vector=vector,
        unravel_wide=unravel,
        unravel=lambda point: jax.tree.map(lambda new, old: new.astype(_dtype(old)), unravel(point), params),
        examples=_filled(jax.tree.map(lambda array: array[order], arrays), number, chunk),
        numbers=order,
        chunk=chunk,
        loss=of_batch,
        outputs=None if kind == MATRICES[0] else lambda values, batch: function(values, batch[0]),
        losses_of=losses_of,
    )


def mean_loss(function: Callable, loss: Any) -> tuple[Callable, Callable | None]:
    """Mean loss from parameters and a batch, and with `loss` given from outputs and a batch."""
    require(callable(function), "the function", function, "give loss(params, batch) or apply(params, inputs)")
    if isinstance(loss, str):
        check_choice("loss", loss, LOSSES)
    require(loss is None or isinstance(loss, str) or callable(loss), "loss", loss, f"give {', '.join(LOSSES)} or a function")
    if loss is None:
        return function, None
    of_outputs = LOSSES[loss] if isinstance(loss, str) else loss
    return (
        lambda params, batch: of_outputs(function(params, batch[0]), batch[1]),
        lambda outputs, batch: of_outputs(outputs, batch[1]),
    )


def _dtype(leaf: Any) -> Any:
    """The precision in which JAX holds a leaf."""
    return jax.dtypes.canonicalize_dtype(jnp.result_type(leaf))


def _wide(leaf: Any) -> Any:
    """The same, but float32 at least."""
    return jnp.promote_types(_dtype(leaf), jnp.float32)


def check_params(params: Any) -> None:
    """Raise `ValueError` for parameters that are no tree of finite floating-point arrays."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    for path, leaf in leaves:
        name = f"params{jax.tree_util.keystr(path)}"
        kind = getattr(leaf, "dtype", type(leaf).__name__)
        floating = isinstance(leaf, float) or (hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating))
        require(floating, f"the type of {name}", kind, "give floating-point arrays; keep what is not trained out of params")
        finite = bool(np.isfinite(np.asarray(leaf, np.float64)).all())
        require(finite, name, "not finite", "give parameters without NaN and infinity")
    require(any(np.size(leaf) for _, leaf in leaves), "params", params, "give a tree with at least one parameter")


def checked_data(data: Any, pair: bool) -> tuple[Examples, int]:
    """The data as NumPy's arrays, and how many examples there are; with `pair` inputs and targets."""
    given = isinstance(data, tuple | list) and len(data) == 2
    require(given or not pair, "data", type(data).__name__, "give a pair of inputs and targets with apply(params, inputs)")
    leaves, tree = jax.tree_util.tree_flatten_with_path(data)
    named = {f"data{jax.tree_util.keystr(path)}": leaf for path, leaf in leaves}
    require(bool(named), "data", data, "give a tree of arrays whose first axis counts examples")
    for name, leaf in named.items():
        good = hasattr(leaf, "dtype") and hasattr(leaf, "shape") and np.asarray(leaf).dtype.kind in "iufbV"
        require(good, f"the type of {name}", type(leaf).__name__, "give arrays of numbers whose first axis counts examples")
        require(len(leaf.shape) > 0, f"the shape of {name}", leaf.shape, "its first axis counts examples; it has none")
    counts = {name: leaf.shape[0] for name, leaf in named.items()}
    listed = ", ".join(f"{count} ({name})" for name, count in counts.items())
    require(len(set(counts.values())) == 1, "the number of examples", listed, "give first axes of one length")
    number = next(iter(counts.values()))
    require(number >= 2, "the number of examples", number, "give at least 2")
    return jax.tree.unflatten(tree, [np.asarray(leaf) for leaf in named.values()]), number


def shape_of(what: str, call: Callable, *arguments: Any) -> Any:
    """Shape of a result of the user's function, or a `ValueError` that repeats why it fails."""
    try:
        return jax.eval_shape(call, *arguments)
    except Exception as error:
        raise ValueError(f"{what} fails: {type(error).__name__}: {' '.join(str(error).split())[:300]}") from error


def check_number(loss: Callable, params: Any, batch: Examples) -> None:
    """Raise `ValueError` for a loss of a batch that is not one floating-point number."""
    found = shape_of("loss(params, batch)", loss, params, batch)
    number = getattr(found, "shape", None) == () and jnp.issubdtype(found.dtype, jnp.floating)
    what = f"of shape {found.shape} and type {found.dtype}" if hasattr(found, "shape") else found
    require(number, "loss(params, batch)", what, "give a loss that returns one floating-point number, the mean of a batch")


def _check_loss(loss: Callable, params: Any, data: Examples) -> None:
    """Raise for a loss that is not a differentiable number, or not the mean over the examples of a batch."""
    some = jax.tree.map(lambda array: jnp.asarray(array[:FEW]), data)
    check_number(loss, params, some)
    ones = jax.tree.map(jnp.ones_like, params)

    def twice() -> Any:
        return jax.jvp(jax.grad(lambda point: loss(point, some)), (params,), (ones,))

    shape_of("the second derivative of loss(params, batch)", twice)
    one = jax.vmap(lambda example: loss(params, jax.tree.map(lambda array: array[None], example)))
    together, alone = (np.asarray(found, np.float64) for found in jax.jit(lambda some: (loss(params, some), one(some)))(some))
    mean = alone.mean()
    same = not np.isfinite(mean) or abs(together - mean) <= 1e-3 * np.abs(alone).max()
    found = f"{together:.6g} on {len(alone)} examples whose own losses have the mean {mean:.6g}"
    remedy = "give the mean over examples that do not know of each other: no sum, no batch normalisation in training mode"
    require(same, "loss(params, batch)", found, remedy)


def _filled(examples: Examples, number: int, chunk: int) -> Examples:
    """The examples on the device, the first ones again at the end, so that chunks of one size hold them all."""
    index = np.arange(-(-number // chunk) * chunk) % number
    return jax.tree.map(lambda array: jnp.asarray(array[index]), examples)
