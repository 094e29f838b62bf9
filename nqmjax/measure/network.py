r"""A loss on data as a function of one vector of parameters, and its derivatives, summed over chunks of examples.

All is made of `l_n(x)`, the loss of example `n`, with `g_n` its gradient:

    gradient()        mean g_n, over all examples or some
    product(v)        A v, A the Hessian of mean l_n, or its Gauss-Newton part mean J_n^T H_n J_n, where J_n is the
                      derivative of the outputs and H_n that of the loss in them, twice
    slopes(v)         g_n . v for every n, in one forward pass
    single_losses()   l_n and |g_n|^2 for every n

Each is one compiled program that holds a few vectors of parameters and the intermediate values of one chunk.
"""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import eval_context

from nqmjax._tools import is_traced, own_arithmetic, require

Vector = jax.Array
Examples = Any
"""A tree of arrays whose first axis counts examples."""

ENTRIES = 2**24
"""Numbers in the gradients of single examples that are held together."""


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """A loss on data, both checked already; `build` in `inputs.py` makes one.

    Args:
      vector: all parameters, shape `(P,)`.
      unravel_wide: the tree of parameters from such a vector, in float32 at least.
      unravel: the same in the precision of the parameters.
      examples: the data, in random order; the first ones again at the end, to fill the last chunk.
      numbers: number of each example in the user's data, shape `(N,)`.
      chunk: examples that are worked on together; the arrays in `examples` hold a whole number of chunks.
      loss: mean loss of a batch from parameters and examples.
      outputs: for the Gauss-Newton matrix: outputs from parameters and examples; None for the Hessian.
      losses_of: mean loss from outputs and examples.
    """

    vector: Vector
    unravel_wide: Callable[[Vector], Any]
    unravel: Callable[[Vector], Any]
    examples: Examples
    numbers: np.ndarray
    chunk: int
    loss: Callable[[Any, Examples], jax.Array]
    outputs: Callable[[Any, Examples], Any] | None = None
    losses_of: Callable[[Any, Examples], jax.Array] | None = None

    @property
    def size(self) -> int:
        """Number of parameters."""
        return self.vector.size

    @property
    def count(self) -> int:
        """Number of examples."""
        return len(self.numbers)

    def single_losses(self) -> tuple[np.ndarray, np.ndarray]:
        """Loss of every example and the squared length of its gradient, both of shape `(N,)`.

        Raises:
          ValueError: one of them is not finite.
        """
        found = [np.asarray(values, np.float64)[: self.count] for values in self._single_losses(self.vector, self.examples)]
        for name, values in zip(("loss", "gradient"), found, strict=True):
            wrong = self.numbers[~np.isfinite(values)]
            first = f"not finite at {wrong.size} of {self.count} examples, the first of them number {min(wrong, default=0)}"
            require(not wrong.size, f"the {name}", first, "look at these examples, or at parameters that have diverged")
        return found[0], found[1]

    def gradient(self, first: int = 0, number: int | None = None) -> Vector:
        """Mean gradient of the examples, or of so many of them from the first one on."""
        size = self.count if number is None else number
        places = np.arange(len(jax.tree.leaves(self.examples)[0])) - first
        weights = np.where((places >= 0) & (places < size), 1 / size, 0.0)
        return self._gradient(self.vector, self.examples, jnp.asarray(weights, self.vector.dtype))

    def product(self, vector: Vector) -> Vector:
        """The matrix times a vector."""
        weights = np.where(np.arange(len(jax.tree.leaves(self.examples)[0])) < self.count, 1 / self.count, 0.0)
        product = self._product if is_traced(vector) else self._fitting_product
        return product(self.vector, self.examples, jnp.asarray(weights, self.vector.dtype), vector)

    def slopes(self, vector: Vector) -> jax.Array:
        """Slope of every example's loss along a vector, shape `(N,)`."""
        return self._slopes(self.vector, self.examples, vector)[: self.count]

    def loss_of(self, vector: Vector, example: Examples) -> jax.Array:
        """Loss of one example."""
        return self.loss(self.unravel(vector), jax.tree.map(lambda array: array[None], example))

    def _weighted(self, vector: Vector, examples: Examples, weights: jax.Array) -> jax.Array:
        return weights @ jax.vmap(self.loss_of, (None, 0))(vector, examples).astype(weights.dtype)

    @functools.cached_property
    def _gradient(self) -> Callable:
        @jax.jit
        def gradient(vector: Vector, examples: Examples, weights: jax.Array) -> Vector:
            return over_chunks(functools.partial(jax.grad(self._weighted), vector), examples, weights, self.chunk)

        return gradient

    @functools.cached_property
    def _product(self) -> Callable:
        part = self._hessian_part if self.outputs is None else self._gauss_newton_part

        @jax.jit
        def product(vector: Vector, examples: Examples, weights: jax.Array, along: Vector) -> Vector:
            return over_chunks(functools.partial(part, vector, along), examples, weights, self.chunk)

        return product

    @functools.cached_property
    def _fitting_product(self) -> Callable:
        """The program of the product, or `ValueError` if the device has not the memory for it."""
        weights = jnp.zeros(len(jax.tree.leaves(self.examples)[0]), self.vector.dtype)
        compiled = self._product.lower(self.vector, self.examples, weights, self.vector).compile()
        needed, there = getattr(compiled.memory_analysis(), "temp_size_in_bytes", 0), memory()
        fitting = int(self.chunk * there / 2 / max(needed, 1))
        remedy = f"a product needs {needed / 2**30:.3g} GiB, and there are {there / 2**30:.3g}; give "
        remedy += f"chunk={fitting}" if fitting else "a smaller network: one example at a time does not fit"
        require(needed <= there, "chunk", self.chunk, remedy)
        return compiled

    def _hessian_part(self, vector: Vector, along: Vector, examples: Examples, weights: jax.Array) -> Vector:
        gradient = jax.grad(lambda point: self._weighted(point, examples, weights))
        return jax.jvp(gradient, (vector,), (along,))[1]

    def _gauss_newton_part(self, vector: Vector, along: Vector, examples: Examples, weights: jax.Array) -> Vector:
        assert self.outputs is not None
        assert self.losses_of is not None
        one_output, one_loss = self.outputs, self.losses_of

        def outputs(point: Vector) -> Any:
            params = self.unravel(point)
            return jax.vmap(lambda example: one_output(params, jax.tree.map(lambda array: array[None], example)))(examples)

        def loss(values: Any) -> jax.Array:
            losses = jax.vmap(lambda value, example: one_loss(value, jax.tree.map(lambda array: array[None], example)))
            return weights @ losses(values, examples).astype(weights.dtype)

        values, linear = jax.linearize(outputs, vector)
        curved = jax.jvp(jax.grad(loss), (values,), (linear(along),))[1]
        return jax.linear_transpose(linear, vector)(curved)[0]

    @functools.cached_property
    def _slopes(self) -> Callable:
        @jax.jit
        def slopes(vector: Vector, examples: Examples, along: Vector) -> jax.Array:
            def slope(example: Examples) -> jax.Array:
                return jax.jvp(lambda point: self.loss_of(point, example), (vector,), (along,))[1]

            return jax.lax.map(slope, examples, batch_size=self.chunk)

        return slopes

    @functools.cached_property
    def _single_losses(self) -> Callable:
        rows = max(1, min(self.chunk, ENTRIES // self.size))

        @jax.jit
        def losses(vector: Vector, examples: Examples) -> tuple[jax.Array, jax.Array]:
            def one(example: Examples) -> tuple[jax.Array, jax.Array]:
                loss, gradient = jax.value_and_grad(self.loss_of)(vector, example)
                return loss, jnp.square(gradient).sum()

            return jax.lax.map(one, examples, batch_size=rows)

        return losses


@contextlib.contextmanager
def settings() -> Iterator[None]:
    """The settings of JAX for a measurement, whatever the caller's: products in full precision, messages of our own for NaN."""
    with (
        own_arithmetic(),
        jax.default_matmul_precision("highest"),
        jax.debug_infs(False),
        jax.debug_nans(False),
        jax.transfer_guard("allow"),
        eval_context(),
    ):
        yield


def memory() -> float:
    """Bytes of memory of the device that computes."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return float(stats["bytes_limit"])
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def over_chunks(part: Callable, examples: Examples, weights: jax.Array, chunk: int) -> Vector:
    """The sum of `part(examples, weights)` over chunks of equal size, the last one filled up with weights of 0."""
    (number,) = weights.shape
    chunks = -(-number // chunk)
    size = -(-number // chunks)
    fill = chunks * size - number

    def in_chunks(array: jax.Array, more: jax.Array) -> jax.Array:
        whole = jnp.concatenate([array, more]) if fill else array
        return whole.reshape(chunks, size, *array.shape[1:])

    examples = jax.tree.map(lambda array: in_chunks(array, array[:fill]), examples)
    parts = examples, in_chunks(weights, jnp.zeros(fill, weights.dtype))
    total = jax.eval_shape(part, *jax.tree.map(lambda array: array[0], parts))

    def add(carry: Vector, one: tuple[Examples, jax.Array]) -> tuple[Vector, None]:
        return carry + part(*one), None

    return jax.lax.scan(add, jnp.zeros(total.shape, total.dtype), parts)[0]
