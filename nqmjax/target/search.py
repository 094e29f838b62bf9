r"""Exact steps to target: the question, and how its cells are laid out for the search (`nqmjax.target`)."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nqmjax._tools import check_steps, check_target, evaluate, is_traced
from nqmjax.dynamics import build_model, centred, check_precision, check_run, check_shapes, without_idle_directions
from nqmjax.optimizers import MeanFieldOptimizer, Optimizer
from nqmjax.problem import NoisyQuadratic
from nqmjax.target.compiled import jit_searches, map_lanes
from nqmjax.target.first import first_passage
from nqmjax.target.last import last_passage
from nqmjax.target.loss_noise import loss_noise_search
from nqmjax.target.mean_field import check_rule, mean_field_search
from nqmjax.target.periodic import periodic_passage
from nqmjax.target.table import MAX_STEPS, Status, StepsToTarget, rounding

__all__ = ["MAX_STEPS", "Status", "StepsToTarget", "steps_to_target"]


def steps_to_target(
    problem: NoisyQuadratic,
    optimizer: Optimizer,
    batch_size: Any,
    target: Any,
    max_steps: Any = MAX_STEPS,
    rule: str = "first",
    dtype: Any = "float64",
) -> StepsToTarget:
    r"""Number of updates until the risk is at or below `target`, exactly.

    `T = min { t : R_t <= target }` (rule "first"), or `T = min { t : R_u <= target for all u >= t }` (rule "stays").
    Exact while the target is above some 10^-30 (float32: 10^-12) of the initial risk; below, and where the risk comes as
    close to the target as rounding takes it (some `T` times 10^-16 of the risk around), rounding decides. Right below the
    edge of stability with momentum near 1 powers lose digits: no answer is told (`OUT_OF_STEPS`) once more than about a
    thousandth of the risk may be lost; `risk` keeps all digits there. At the edge itself, to the last digit of the rate,
    rounding decides whether what swings for ever dies out, stays or grows, and whether the noise that accumulates is finite:
    under rule "stays" the status may then be any, with weight decay or without.

    A search takes at most some 65,000 looks ahead (`OUT_OF_STEPS` if that is not enough): whatever the run does, a first
    passage within 40,000 updates is found, and a later one unless the risk oscillates close above the target all the way.
    Optimizers that are not linear have the risks of their closure, followed one update at a time up to 512, then also in leaps
    with an error of some 1e-4 of the risk, in at most 2^20 of both.

    Under weight decay the bias does not vanish: a target below what remains is `NEVER` reached. Of an optimizer with a period
    (`Lookahead`, `LocalSGD`) inner updates are counted, only rule "first" is known, and at most 2^20 updates are followed one
    by one: periods of 10^5 updates and more may be too long for that, and then the status is `OUT_OF_STEPS`.

    Args:
      problem: the quadratic.
      optimizer: hyperparameters of any shapes that broadcast with the arguments below.
      batch_size: examples per update.
      target: risk to reach, the irreducible loss included.
      max_steps: updates to search, at most 2^31 - 1.
      rule: "first" or "stays".
      dtype: "float64" or "float32"; arguments under a JAX transformation keep their own precision. In float32 numbers above
        2^24 are rounded, the risks are those of that precision, and rule "stays" looks no further than 2^30 updates.

    Returns:
      `StepsToTarget` of arrays of the broadcast shape; gradients of it are zero.

    Raises:
      ValueError: an argument is out of its range.

    >>> from nqmjax import HeavyBall, power_law
    >>> result = steps_to_target(power_law(10_000), HeavyBall([0.01, 0.1, 9.0], 0.9), batch_size=2**14, target=0.01)
    >>> result.steps, [Status(code).name for code in result.status]
    (array([133449.,  13390.,     inf]), ['REACHED', 'REACHED', 'DIVERGED'])

    Source: the question is that of Zhang et al. 2019, section 3.7; the method is nqmjax's own.
    """
    check_run(problem, optimizer, batch_size, closures=True, periodic=True, loss_noise=True, asked="steps_to_target")
    check_precision(problem, dtype)
    check_target(target)
    check_steps("max_steps", max_steps, MAX_STEPS)
    check_rule(problem, optimizer, rule)
    check_shapes(optimizer, batch_size=batch_size, target=target, max_steps=max_steps)
    outermost = not is_traced(problem, optimizer, batch_size, target, max_steps)
    if not is_traced(max_steps):
        max_steps = np.asarray(max_steps, np.uint32)
    kernel = functools.partial(_broadcast_steps, stays=rule == "stays", outermost=outermost)
    return evaluate(kernel, problem, optimizer, batch_size, target, max_steps, dtype=dtype)


@functools.partial(jit_searches, static_argnames=("stays", "outermost"))
def _broadcast_steps(
    problem: Any, optimizer: Any, batch_size: Any, target: Any, max_steps: Any, stays: bool, outermost: bool
) -> StepsToTarget:
    leaves, structure = jax.tree.flatten((optimizer, batch_size, target, max_steps))
    leaves = jnp.broadcast_arrays(*leaves)
    optimizer, batch_size, target, max_steps = jax.tree.unflatten(structure, [leaf.ravel() for leaf in leaves])
    result = search(problem, optimizer, batch_size[:, None], target, max_steps[:, None], stays, outermost)
    return jax.tree.map(lambda values: values.reshape(leaves[0].shape), result)


def search(
    problem: Any,
    optimizer: Any,
    batch_size: Any,
    target: Any,
    max_steps: Any,
    stays: bool = False,
    outermost: bool = False,
) -> StepsToTarget:
    """Steps of many lanes; a lane is one setting of the hyperparameters with all its batch sizes.

    Args:
      problem: the quadratic.
      optimizer: hyperparameters of shape `(lanes,)`.
      batch_size: shape `(lanes, b)`, each row from large to small; one column for the rule "stays".
      target: shape `(lanes,)`.
      max_steps: shape `(lanes, b)`, no row decreasing.
      stays: the rule "stays" instead of "first".
      outermost: see `map_lanes`.

    Returns:
      `StepsToTarget` of arrays of shape `(lanes, b)`.
    """
    if isinstance(optimizer, MeanFieldOptimizer):
        return mean_field_search(problem, optimizer, batch_size, target, max_steps)
    if problem.follows_loss:
        problem, optimizer, batch_size, target = jax.lax.stop_gradient((problem, optimizer, batch_size, target))
        return loss_noise_search(problem, optimizer, batch_size, target, jnp.minimum(max_steps, MAX_STEPS), search, outermost)
    integer = jax.dtypes.canonicalize_dtype(jnp.int64)

    def steps_of(problem: Any, lane: Any) -> StepsToTarget:
        optimizer, batch_size, target, max_steps = lane
        model = without_idle_directions(build_model(problem, optimizer, 1.0))
        walk = periodic_passage if model.period is not None else last_passage if stays else first_passage
        model = model if model.period is not None else centred(model)
        dtype = model.weight.dtype
        batch_size, max_steps = jnp.asarray(batch_size, dtype), jnp.minimum(max_steps, MAX_STEPS).astype(integer)
        # In units of the initial risk or the target, whichever is larger, no start is too large for the precision.
        initial = (model.weight * model.initial).sum()
        excess = jnp.asarray(target, dtype) - model.irreducible
        unit = jnp.maximum(initial, excess)
        unit = jnp.where((unit > 0) & (unit < jnp.inf), unit, 1)
        close = (excess > 0) & (jnp.abs(excess - initial) <= rounding(jnp.abs(excess) + jnp.abs(model.irreducible)))
        model = model.replace(initial=model.initial / unit, noise=model.noise / unit)
        excess = jnp.where(close, 1 + rounding(jnp.ones((), dtype)), excess / unit)
        return walk(model, batch_size, excess, max_steps)

    lanes = (optimizer, batch_size, target, jnp.asarray(max_steps))
    return map_lanes(steps_of, *jax.lax.stop_gradient((problem, lanes)), outermost)
