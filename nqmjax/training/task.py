"""What is trained: a loss, parameters to start from, data, and what is held out of them; checked when it is put together."""

import dataclasses
import functools
import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nqmjax._tools import precision, require
from nqmjax.measure import check_number, check_params, check_targets, checked_data, mean_loss, shape_of

Examples = Any
"""A tree of arrays whose first axis counts examples."""

FEW = 8
"""Examples on which a loss is tried."""

MEASURES = ("training_loss", "held_out_loss", "held_out_accuracy")
"""What is recorded of a run."""

CHUNK = 1024
"""Examples whose losses are computed together."""


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    r"""A loss, parameters and data of one's own, in the form in which `nqmjax.measure` takes them.

    Learned parameters, and data that are floating point, are float32.

    Args:
      function: `loss(params, batch)`, the mean loss of a batch as one number; or with `loss` given `apply(params, inputs)`, the
        outputs of a batch.
      params: tree of floating-point arrays to start from; or a function of the seed, a whole number, that returns one.
      data: tree of arrays whose first axis counts examples; with `loss` given a pair of inputs and targets.
      loss: "cross_entropy" (labels or probabilities), "squared_error" (half the squared distance, summed over outputs), or a
        function of outputs and targets that returns the mean loss of a batch; None if `function` is the loss.
      held_out: examples like `data` that are not trained on; None if there are none.
      accuracy: function of parameters and held-out examples, the share that is right; None for that of the largest output, with
        cross-entropy and labels.
      name: what it is called.

    Raises:
      ValueError: the loss is no differentiable number, or not finite at the start; parameters are not floating point; axes of
        the data disagree; the held-out examples are not like the others.

    >>> x = np.random.default_rng(0).normal(size=(50, 3))
    >>> Task(lambda w, x: x @ w, np.zeros(3), (x, x.sum(1)), loss="squared_error", name="plane")
    plane: 3 parameters, 50 examples, loss at the start 1.557
    """

    function: Callable
    params: Any
    data: Examples
    _: dataclasses.KW_ONLY
    loss: Any = None
    held_out: Examples = None
    accuracy: Callable | None = None
    name: str = "task"

    def __post_init__(self) -> None:
        """Everything checked, and the data as arrays."""
        require(isinstance(self.name, str) and bool(self.name), "name", self.name, "give a text")
        require(self.accuracy is None or callable(self.accuracy), "accuracy", self.accuracy, "give a function, or None")
        arrays, _ = checked_data(self.data, pair=self.loss is not None)
        object.__setattr__(self, "data", arrays)
        with precision("float32"):
            start = self.start(0)
            self._check_examples(start, arrays)
            if self.held_out is not None:
                held_out, _ = checked_data(self.held_out, pair=self.loss is not None)
                object.__setattr__(self, "held_out", held_out)
                like = _kinds(held_out) == _kinds(arrays)
                require(like, "held_out", _kinds(held_out), f"give examples like those of data, {_kinds(arrays)}")
                self._check_examples(start, held_out)
            remedy = "look at the data, or give parameters at which the loss is a number"
            require(bool(np.isfinite(self.first_loss)), "the loss at the start", self.first_loss, remedy)

    def _check_examples(self, params: Any, examples: Examples) -> None:
        some = jax.tree.map(lambda array: jnp.asarray(array[:FEW]), examples)
        if self.loss is not None:
            check_targets(self.loss, shape_of("apply(params, inputs)", self.function, params, examples[0]), examples[1])
        check_number(self.mean_loss, params, some)
        shape_of("the derivative of loss(params, batch)", jax.grad(self.mean_loss), params, some)

    def __repr__(self) -> str:
        return f"{self.name}: {self.size:,} parameters, {self.count:,} examples, loss at the start {self.first_loss:.4g}"

    def start(self, seed: int) -> Any:
        """The parameters from which a run starts, in float32."""
        params = self.params(seed) if self.random_start else self.params
        check_params(params)
        return jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), params)

    @property
    def random_start(self) -> bool:
        """Whether the start depends on the seed."""
        return callable(self.params) and jax.tree_util.all_leaves([self.params])

    @functools.cached_property
    def mean_loss(self) -> Callable[[Any, Examples], jax.Array]:
        """Mean loss of a batch, from parameters and examples."""
        return mean_loss(self.function, self.loss)[0]

    @functools.cached_property
    def count(self) -> int:
        """Number of examples."""
        return len(jax.tree.leaves(self.data)[0])

    @functools.cached_property
    def size(self) -> int:
        """Number of parameters."""
        return sum(np.size(leaf) for leaf in jax.tree.leaves(self.start(0)))

    @functools.cached_property
    def first_loss(self) -> float:
        """Mean loss of all examples at the start of seed 0."""
        with precision("float32"):
            total = jax.jit(lambda params, examples: over_examples(self.mean_loss, params, examples))
            return float(total(self.start(0), jax.tree.map(jnp.asarray, self.data)))

    @functools.cached_property
    def fingerprint(self) -> dict[str, Any]:
        """By what one tells whether saved runs are of this task; a function cannot be compared, but what it makes of data."""
        text = zlib.crc32(
            b"".join(np.ascontiguousarray(leaf).tobytes() for leaf in jax.tree.leaves((self.data, self.held_out)))
        )
        return {"task": self.name, "examples": self.count, "data": text, "parameters": self.size, "loss": self.first_loss}

    @functools.cached_property
    def right(self) -> Callable[[Any, Examples], jax.Array] | None:
        """Share of examples that are right, from parameters and examples; None where nothing says what is right."""
        if self.accuracy is not None or self.loss != "cross_entropy" or self.data[1].dtype.kind not in "iu":
            return self.accuracy
        return lambda params, batch: (self.function(params, batch[0]).argmax(-1) == batch[1]).mean(dtype=jnp.float32)

    @functools.cached_property
    def measures(self) -> tuple[str, ...]:
        """Those of `MEASURES` that this task has."""
        return MEASURES[: 1 if self.held_out is None else 2 if self.right is None else 3]

    def measured(self, params: Any, training: Examples, held_out: Examples) -> jax.Array:
        """All measures of one set of parameters, in the order of `measures`."""
        found = [over_examples(self.mean_loss, params, training)]
        if self.held_out is not None:
            found.append(over_examples(self.mean_loss, params, held_out))
            found += [] if self.right is None else [over_examples(self.right, params, held_out)]
        return jnp.stack([value.astype(jnp.float32) for value in found])

    @functools.cached_property
    def programs(self) -> dict[Any, Callable]:
        """Compiled programs that train this task, by what they are for."""
        return {}


def over_examples(mean: Callable, params: Any, examples: Examples) -> jax.Array:
    """The mean over all examples of what is itself a mean over examples, in chunks of one size."""
    count = len(jax.tree.leaves(examples)[0])
    fewest = -(-count // CHUNK)
    chunks = next((number for number in range(fewest, 4 * fewest) if count % number == 0), 1)
    if chunks == 1:
        return mean(params, examples)
    parts = jax.tree.map(lambda array: array.reshape(chunks, -1, *array.shape[1:]), examples)
    return jax.lax.map(lambda part: mean(params, part), parts).mean()


def _kinds(examples: Examples) -> str:
    return ", ".join(f"{leaf.dtype.kind}{leaf.shape[1:]}" for leaf in jax.tree.leaves(examples))
