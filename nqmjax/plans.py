r"""Training plans: a schedule of pieces, each with constant hyperparameters, a batch size and a number of updates.

`run` follows the second moments `M` of every direction from piece to piece in closed form. A piece of `n` updates maps

    M  ->  A_n M A_n^T + (1/B) N_n,      A_2n = A_n^2,      N_2n = N_n + A_n N_n A_n^T,      N_1 = c b b^T,

so that its cost grows with the logarithm of its length, and gradients go through every hyperparameter and batch size.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nqmjax.checks import check_batch_size, check_steps, check_values, is_traced, numeric, require
from nqmjax.dynamics.matrices import outer, product, quadratic, sandwich, square
from nqmjax.dynamics.model import build_model, risk_of_squares
from nqmjax.frontdoor import check_run, evaluate
from nqmjax.optimizers import LinearOptimizer, check_optimizer, hyperparameters
from nqmjax.problem import NoisyQuadratic


@jax.tree_util.register_pytree_with_keys_class
class Plan:
    """Pieces of training: hyperparameters, batch size and number of updates of each.

    Every argument is a number, the same for all pieces, or a sequence with one entry for each piece. What a plan does not
    name keeps the optimizer's own value. The state of the optimizer (momentum, average) is carried from piece to piece.

    Args:
      learning_rate: of each piece.
      steps: updates in each piece.
      batch_size: examples per update.
      hyperparameters: others by name, for example `momentum=[0.9, 0.95]`.

    Raises:
      ValueError: the arguments are no numbers or differ in length.

    >>> plan = Plan([0.1, 0.01], steps=[900, 100], batch_size=[64, 128], momentum=0.9)
    >>> plan
    2 pieces, 1,000 steps, 70,400 examples
    >>> plan.hyperparameters["momentum"]
    array([0.9, 0.9])
    """

    hyperparameters: dict[str, Any]
    """Values by name, each of shape `(pieces,)`."""
    steps: Any
    """Updates in each piece."""
    batch_size: Any
    """Examples per update in each piece."""

    def __init__(self, learning_rate: Any, steps: Any, batch_size: Any, **hyperparameters: Any) -> None:
        columns = {"learning_rate": learning_rate, "steps": steps, "batch_size": batch_size, **hyperparameters}
        columns = {name: value if is_traced(value) else numeric(name, value) for name, value in columns.items()}
        lengths = {name: np.shape(value) for name, value in columns.items()}
        given = ", ".join(f"{name} {shape[0]}" if shape else f"{name} 1" for name, shape in lengths.items())
        require(all(len(shape) <= 1 for shape in lengths.values()), "the shape of a column", lengths, "give 1-D sequences")
        pieces = {shape[0] for shape in lengths.values() if shape}
        require(len(pieces) <= 1, "the plan's pieces by column", given, "give columns of one length, or single numbers")
        count = pieces.pop() if pieces else 1
        require(count > 0, "the number of pieces", 0, "give at least one")
        xp = jnp if is_traced(list(columns.values())) else np
        self.hyperparameters = {name: xp.broadcast_to(value, count) for name, value in columns.items()}
        self.steps = self.hyperparameters.pop("steps")
        self.batch_size = self.hyperparameters.pop("batch_size")

    @property
    def learning_rate(self) -> Any:
        """Learning rate of each piece."""
        return self.hyperparameters["learning_rate"]

    @property
    def pieces(self) -> int:
        """Number of pieces."""
        return np.shape(self.steps)[0]

    @property
    def total_steps(self) -> Any:
        """Updates of the whole plan."""
        return self.steps.sum()

    @property
    def total_examples(self) -> Any:
        """Examples of the whole plan, batch size times updates summed over pieces."""
        return (self.steps * self.batch_size).sum()

    def epochs(self, dataset_size: float) -> Any:
        """Passes over `dataset_size` examples that the plan makes."""
        require(dataset_size > 0, "dataset_size", dataset_size, "give a number of examples above 0")
        return self.total_examples / dataset_size

    def replace(self, **columns: Any) -> "Plan":
        """A copy with other columns: `learning_rate`, `steps`, `batch_size` or any hyperparameter.

        >>> Plan(0.1, steps=1000, batch_size=64).replace(batch_size=[64, 128], steps=[500, 250])
        2 pieces, 750 steps, 64,000 examples
        """
        single = {name: value[0] if self.pieces == 1 else value for name, value in self._columns().items()}
        return Plan(**{**single, **columns})

    def without_empty_pieces(self) -> "Plan":
        """The same plan without the pieces that have no steps.

        >>> Plan([0.1, 0.05, 0.01], steps=[10, 0, 5], batch_size=1).without_empty_pieces()
        2 pieces, 15 steps, 15 examples
        """
        keep = np.asarray(self.steps) > 0
        return Plan(**{name: value[keep] for name, value in self._columns().items()})

    def _columns(self) -> dict[str, Any]:
        return {**self.hyperparameters, "steps": self.steps, "batch_size": self.batch_size}

    def __repr__(self) -> str:
        if is_traced(self):
            return f"Plan({self._columns()})"
        return f"{self.pieces} pieces, {self.total_steps:,.0f} steps, {self.total_examples:,.0f} examples"

    def tree_flatten_with_keys(self) -> tuple[Any, None]:
        """Leaves of the pytree, for JAX."""
        children = (self.hyperparameters, self.steps, self.batch_size)
        names = ("hyperparameters", "steps", "batch_size")
        return tuple((jax.tree_util.GetAttrKey(name), child) for name, child in zip(names, children, strict=True)), None

    @classmethod
    def tree_unflatten(cls, _: None, children: Any) -> "Plan":
        """A plan of these leaves, which may be anything, for JAX."""
        plan = object.__new__(cls)
        plan.hyperparameters, plan.steps, plan.batch_size = children
        return plan


def check_plan(problem: NoisyQuadratic, optimizer: LinearOptimizer, plan: Plan) -> None:
    """Raise `ValueError` for a plan that cannot be run."""
    require(isinstance(plan, Plan), "plan", repr(plan), "give a Plan, for example Plan(0.1, steps=100, batch_size=64)")
    check_optimizer(optimizer)
    for name, value in hyperparameters(optimizer).items():
        require(np.ndim(value) == 0, f"the shape of {name}", np.shape(value), "give a number; what changes goes into the plan")
    check_run(problem, optimizer.replace(**plan.hyperparameters), plan.batch_size)
    check_columns(plan)


def check_columns(plan: Plan) -> None:
    """Raise `ValueError` for a piece without steps or without a batch."""
    check_batch_size(plan.batch_size)
    check_steps("steps", plan.steps)
    if not is_traced(plan.steps):
        check_values("steps", plan.steps, np.asarray(plan.steps) > 0, "each piece needs at least one step")


def run(problem: NoisyQuadratic, optimizer: LinearOptimizer, plan: Plan, dtype: Any = "float64") -> Any:
    r"""Risk at the start and after each piece of a plan, exactly, whatever the lengths of the pieces.

    Args:
      problem: the quadratic.
      optimizer: scalar hyperparameters, used where the plan does not name them.
      plan: the pieces.
      dtype: "float64" or "float32"; arguments under a JAX transformation keep their own precision.

    Returns:
      array of shape `(pieces + 1,)`; the last entry is the final risk. Differentiable in hyperparameters and batch sizes.

    Raises:
      ValueError: an argument is out of its range, or a piece has no steps.

    >>> from nqmjax import HeavyBall, power_law
    >>> run(power_law(100), HeavyBall(0.1, 0.9), Plan([0.1, 0.01], steps=[900, 100], batch_size=64)).round(4)
    array([2.5937, 0.0204, 0.0065])

    Source: Zhang et al. 2019, section 3.7.2, footnote 3 ("dynamic programming").
    """
    check_plan(problem, optimizer, plan)
    settings = optimizer.replace(**plan.hyperparameters)
    steps = plan.steps if is_traced(plan.steps) else np.asarray(plan.steps, np.uint32)
    levels = 32 if is_traced(steps) else doublings(int(np.max(steps)))
    kernel = functools.partial(_run, levels=levels)
    return evaluate(kernel, problem, settings, 1 / plan.batch_size, steps, dtype=dtype)


def piece_lengths(steps: int, pieces: int) -> np.ndarray:
    """Lengths of pieces as nearly equal as whole numbers can be, whose sum is `steps`.

    >>> piece_lengths(10, 4)
    array([2, 3, 3, 2])
    """
    check_steps("steps", steps)
    require(1 <= pieces <= steps, "pieces", pieces, f"give from 1 to {steps}, the number of steps")
    return np.diff(np.round(np.linspace(0, int(steps), int(pieces) + 1)).astype(int))


def doublings(steps: int) -> int:
    """Doublings that pieces of up to so many updates need, in steps of four, so that few lengths compile anew."""
    return min(32, -(-steps.bit_length() // 4) * 4)


@functools.partial(jax.jit, static_argnames="levels")
def _run(problem: Any, optimizer: Any, inverse_batch: Any, steps: Any, levels: int) -> jax.Array:
    return risks_of_pieces(problem, optimizer, inverse_batch, steps, levels)


def risks_of_pieces(problem: Any, optimizer: Any, inverse_batch: Any, steps: Any, levels: int) -> jax.Array:
    """Risks `(pieces + 1,)`: traceable, of hyperparameters, `1 / B` and unsigned `steps` of shape `(pieces,)`.

    `levels` is static, at least the bits of the longest piece.
    """
    steps = jnp.asarray(steps).astype(jnp.uint32)
    model = build_model(problem, optimizer, jnp.ones(()), steps.shape)

    def bit(carry: Any, _: None) -> tuple[Any, None]:
        moved, added, increment, noise, left = carry
        odd = left & 1 == 1
        added = jnp.where(odd, noise + sandwich(increment, added), added)
        moved = jnp.where(odd, moved + increment + product(increment, moved), moved)
        # Where nothing is left to do, double zeros: an overflow there would spoil gradients.
        increment, noise = (jnp.where(left > 1, entry, 0) for entry in (increment, noise))
        return (moved, added, square(increment), noise + sandwich(increment, noise), left >> 1), None

    zero = jnp.zeros_like(model.increment)
    carry = (zero, zero, model.increment, model.noise * outer(model.kick), steps[:, None])
    moved, added = jax.lax.scan(jax.checkpoint(bit), carry, length=levels)[0][:2]

    def piece(moments: jax.Array, maps: Any) -> tuple[jax.Array, jax.Array]:
        increment, noise, read = maps
        moments = sandwich(increment, moments) + noise
        return moments, risk_of_squares(model, quadratic(moments, read))

    start = jnp.zeros_like(zero[:, :, 0]).at[0, 0].set(model.initial)
    maps = jnp.moveaxis(moved, 2, 0), jnp.moveaxis(added * inverse_batch[:, None], 2, 0), jnp.moveaxis(model.read, 1, 0)
    _, risks = jax.lax.scan(piece, start, maps)
    return jnp.concatenate([risk_of_squares(model, quadratic(start, maps[2][0]))[None], risks])
