r"""Many runs of one network in lock step: all rates, and seeds, of a batch size advance together in one compiled program.

A lane is one run: its parameters, the state of its optimizer, its average, its seed and its rate. Lanes that live are worked
on in blocks of one width, vectorised within a block; how many blocks there are, which lanes are in them, and from which update
to which they go are arguments of the program, so that lanes drop out without a new compilation. A narrower program is made
when more than half of a block would be idle. From batch sizes of `WIDE` on the products of one run fill a processor, and
lanes go one by one.

Batches of a seed are the same for all rates and optimizers: `B` examples drawn with replacement, by 32 random bits each modulo
their number, of the key `fold_in(key(seed), t)` at update `t`; or by epochs the next `B` of a permutation that is drawn anew
for each, what does not fill a batch left out; or all.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nqmjax.training.methods import Method
from nqmjax.training.task import Examples, Task

SAMPLING = ("replacement", "epochs", "all")
"""Ways to choose a batch."""

WIDE = 64
WIDTHS = (4, 8, 12, 16)
"""Batch size from which lanes go one by one, and lanes of a block below it."""


class Lane(NamedTuple):
    """One run, or on the first axis of every array many: what an update changes."""

    params: Any
    state: Any
    average: Any
    order: Any


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a program is compiled for.

    Args:
      method: the optimizer.
      batch_size: examples per update.
      sampling: one of `SAMPLING`.
    """

    method: Method
    batch_size: int
    sampling: str

    def start(self, task: Task, seed: int) -> Lane:
        """A run before its first update."""
        params = task.start(seed)
        order = np.zeros(task.count, np.int32) if self.sampling == "epochs" else ()
        average = params if self.method.decay else ()
        return Lane(params, self._kept(task, "state", self.method.transformation.init)(params), average, order)

    def batch(self, key: jax.Array, order: Any, time: jax.Array, data: Examples) -> tuple[Examples, Any]:
        """The examples of an update, and the order in which an epoch takes them."""
        if self.sampling == "all":
            return data, order
        count = len(jax.tree.leaves(data)[0])
        if self.sampling == "replacement":
            chosen = jax.random.bits(jax.random.fold_in(key, time), (self.batch_size,), jnp.uint32) % count
        else:
            epoch, place = jnp.divmod(time, count // self.batch_size)
            order = jax.lax.cond(place == 0, lambda: _permutation(jax.random.fold_in(key, epoch), count), lambda: order)
            chosen = jax.lax.dynamic_slice(order, (place * self.batch_size,), (self.batch_size,))
        return jax.tree.map(lambda array: array[chosen], data), order

    def update(self, task: Task, lane: Lane, rate: jax.Array, key: jax.Array, time: jax.Array, data: Examples) -> Lane:
        """A run after one more update."""
        examples, order = self.batch(key, lane.order, time, data)
        gradient = jax.grad(task.mean_loss)(lane.params, examples)
        change, state = self.method.transformation.update(gradient, lane.state, lane.params)
        params = jax.tree.map(lambda old, move: old + rate * move.astype(old.dtype), lane.params, change)
        decay = self.method.decay
        average = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, lane.average, params) if decay else ()
        return Lane(params, state, average, order)

    def program(self, task: Task, width: int) -> Callable:
        """The compiled program for blocks of this width, kept by the task."""
        return self._kept(task, width, self._advance(task, width), donate_argnums=0)

    def _kept(self, task: Task, name: Any, function: Callable, **options: Any) -> Callable:
        """A compiled function, for this task and kind compiled once."""
        return task.programs.setdefault((self, name), jax.jit(function, **options))

    def _advance(self, task: Task, width: int) -> Callable:
        def run(lane: Lane, rate: Any, seed: Any, first: Any, last: Any, data: Examples) -> Lane:
            key = jax.random.key(seed)
            return jax.lax.fori_loop(first, last, lambda time, one: self.update(task, one, rate, key, time, data), lane)

        def block(lanes: Lane, rates: Any, seeds: Any, *others: Any) -> Lane:
            if width > 1:
                return jax.vmap(run, (0, 0, 0, None, None, None))(lanes, rates, seeds, *others)
            alone = run(jax.tree.map(lambda leaf: leaf[0], lanes), rates[0], seeds[0], *others)
            return jax.tree.map(lambda leaf: leaf[None], alone)

        def advance(lanes: Lane, rates: Any, seeds: Any, order: Any, blocks: Any, span: Any, data: Any) -> tuple[Lane, Any]:
            training, check, held_out = data

            def one(place: Any, so_far: tuple[Lane, Any]) -> tuple[Lane, Any]:
                lanes, found = so_far
                chosen = jax.lax.dynamic_slice(order, (place * width,), (width,))
                some = jax.tree.map(lambda leaf: leaf[chosen], lanes)
                some = block(some, rates[chosen], seeds[chosen], *span, training)
                scored = some.average if self.method.decay else some.params
                values = jax.lax.map(lambda params: task.measured(params, check, held_out), scored)
                return jax.tree.map(lambda leaf, new: leaf.at[chosen].set(new), lanes, some), found.at[chosen].set(values)

            found = jnp.full((rates.size, len(task.measures)), jnp.nan, jnp.float32)
            return jax.lax.fori_loop(0, blocks, one, (lanes, found))

        return advance


def _permutation(key: jax.Array, count: int) -> jax.Array:
    """Numbers in the order of random ones; this compiles in half the time of `jax.random.permutation`."""
    return jnp.argsort(jax.random.bits(key, (count,), jnp.uint32)).astype(jnp.int32)


class Lanes:
    """Runs under way; `advance` takes those that are asked for to another update and returns what they measure there.

    Args:
      task, kind: what is trained, and how.
      rates, seeds: of each run, shape `(l,)`.
      data: examples to train on, those on which the training loss is measured, and those held out, on the device.
    """

    def __init__(self, task: Task, kind: Kind, rates: np.ndarray, seeds: np.ndarray, data: Any) -> None:
        self.task, self.kind, self.data = task, kind, data
        idle = -rates.size % WIDTHS[-1]  # lanes that are never run, so that arrays have few shapes, and there are few programs
        self.rates = jnp.asarray(np.pad(rates, (0, idle)), jnp.float32)
        self.seeds = jnp.asarray(np.pad(seeds, (0, idle)), jnp.int32)
        each, which = np.unique(seeds, return_inverse=True)
        starts = [kind.start(task, int(seed)) for seed in each]
        place = np.pad(which, (0, idle))
        self.lanes = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)[place]), *starts)
        self.width = self._fitting(rates.size)

    def _fitting(self, number: int) -> int:
        """The width for so many lanes."""
        if self.kind.batch_size >= WIDE:
            return 1
        blocks = -(-number // WIDTHS[-1])
        return next(width for width in WIDTHS if width * blocks >= number)

    def advance(self, live: np.ndarray, first: int, last: int) -> np.ndarray:
        """What the runs of these numbers measure after update `last`, shape `(live, measures)`; they stand at `first`."""
        fitting = self._fitting(live.size)
        self.width = fitting if 2 * fitting <= self.width else self.width
        blocks = -(-live.size // self.width)
        order = np.full(self.rates.size + WIDTHS[-1], live[-1], np.int32)  # what fills a block is in it already
        order[: live.size] = live
        program = self.kind.program(self.task, self.width)
        span = np.int32(first), np.int32(last)
        self.lanes, found = program(self.lanes, self.rates, self.seeds, order, np.int32(blocks), span, self.data)
        return np.asarray(found)[live]
