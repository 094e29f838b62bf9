"""How many independent searches, each a loop over small arrays, are compiled for the processor at hand."""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.experimental.xla_metadata import set_xla_metadata

from nqmjax._tools import is_traced

LANES = 1024
"""Searches that run side by side on an accelerator."""

SMALL = 512
"""Directions up to which a search is compiled as one kernel."""

SMALL_LANE = 128
"""Numbers in a lane's arrays up to which it is: XLA fails on tables of more than some 4096, 31 powers times batch sizes."""


PLAIN_SUMS = {"xla_disable_hlo_passes": "tree_reduction_rewriter"}
"""Options of XLA that make a sum over directions one loop on a CPU: as a tree it takes longer, and a quarter of compilation."""


def jit_searches(function: Callable, static_argnames: Any) -> Callable:
    """`jax.jit` of a function of a problem and more, on a CPU with sums that are plain loops.

    Not as part of a larger program, nor under noise that follows the loss, where sums over directions and nodes of a contour
    take twice as long as plain loops.
    """
    jitted = functools.partial(jax.jit, function, static_argnames=static_argnames)
    usual, plain = jitted(), jitted(compiler_options=PLAIN_SUMS)

    @functools.wraps(plain)
    def call(problem: Any, *arguments: Any, **options: Any) -> Any:
        alone = jax.default_backend() == "cpu" and not is_traced(problem, arguments)
        return (plain if alone and not problem.follows_loss else usual)(problem, *arguments, **options)

    return call


def map_lanes(function: Callable, shared: Any, lanes: Any, outermost: bool) -> Any:
    """`function(shared, lane)` for each lane, stacked; the leaves of `lanes` have one more axis in front.

    On a CPU lanes follow one another, so that none waits for a slower one, and `vmap` of the result does the same.

    XLA runs the body of a `while_loop` as a list of kernels, one for each fusion; on arrays of some hundred numbers
    starting them costs several times what they compute. Two attributes ask it to make each lane one kernel of plain
    nested loops instead, as it does by itself for the smallest loops. That is done only in compilers where it is known
    to work, and only where nothing surrounds the call (`outermost`): XLA cannot do it for operands that are constants,
    nor for large arrays, which it cuts up in other ways and which do not need it.

    Args:
      function: traceable, of `shared` and one lane.
      shared: the same for all lanes; closed over nothing.
      lanes: a pytree of arrays of shape `(lanes, ...)`.
      outermost: whether the caller is the function that is compiled, called with arrays alone.
    """
    if jax.default_backend() != "cpu":
        return jax.lax.map(lambda lane: function(shared, lane), lanes, batch_size=LANES)
    version = tuple(int(part) for part in jax.__version__.split(".")[:2])
    small = all(leaf.size <= SMALL for leaf in jax.tree.leaves(shared))
    small &= all(leaf[0].size <= SMALL_LANE for leaf in jax.tree.leaves(lanes))
    if not (outermost and small and (0, 8) <= version < (0, 11)):
        return jax.lax.map(lambda lane: jax.custom_batching.sequential_vmap(function)(shared, lane), lanes)
    jitted = jax.jit(function)

    def one_kernel(lane: Any) -> Any:
        with set_xla_metadata(inlineable="false", xla_cpu_small_call="true"):
            return jitted(shared, lane)

    return jax.lax.map(one_kernel, lanes)
