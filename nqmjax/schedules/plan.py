r"""Training plans: a schedule of pieces, each with constant hyperparameters, a batch size and a number of updates.

`run` follows the second moments of every direction from piece to piece in closed form (`nqmjax.dynamics.pieces`): the cost of a
piece grows with the logarithm of its length, and gradients go through every hyperparameter and batch size.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nqmjax._tools import (
    check_batch_size,
    check_choice,
    check_steps,
    check_values,
    evaluate,
    is_traced,
    numeric,
    require,
    whole,
    write_atomically,
)
from nqmjax.dynamics import check_precision, check_run, doublings, risks_of_pieces
from nqmjax.optimizers import Optimizer, check_optimizer, hyperparameters
from nqmjax.problem import NoisyQuadratic
from nqmjax.schedules.exports import file_text, optax_schedule, ramp_text, torch_multiplier, whole_sizes


@jax.tree_util.register_pytree_with_keys_class
@dataclasses.dataclass(frozen=True, init=False, repr=False, eq=False)
class Plan:
    """Pieces of training: hyperparameters, batch size and number of updates of each; it never changes.

    Every argument is a number, the same for all pieces, or a sequence with one entry for each piece. What a plan does not
    name keeps the optimizer's own value. The state of the optimizer (momentum, average) is carried from piece to piece.

    Args:
      learning_rate: of each piece.
      steps: updates in each piece, whole.
      batch_size: examples per update, at least 1; they need not be whole, see `whole_batches`.
      hyperparameters: others by name, for example `momentum=[0.9, 0.95]`.

    Raises:
      ValueError: the arguments are no numbers, differ in length or are out of their ranges.

    >>> plan = Plan([0.1, 0.01], steps=[900, 100], batch_size=[64, 128], momentum=0.9)
    >>> plan
    2 pieces, 1,000 steps, 70,400 examples
    >>> plan.hyperparameters["momentum"]
    array([0.9, 0.9])
    """

    steps: Any
    """Updates in each piece."""
    batch_size: Any
    """Examples per update in each piece."""
    _hyperparameters: dict[str, Any]

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
        check_steps("steps", columns["steps"])
        check_batch_size(columns["batch_size"])
        xp = jnp if is_traced(list(columns.values())) else np
        columns = {name: xp.broadcast_to(value, count) for name, value in columns.items()}
        self._set(columns.pop("steps"), columns.pop("batch_size"), columns)

    def _set(self, *values: Any) -> None:
        for field, value in zip(dataclasses.fields(self), values, strict=True):
            object.__setattr__(self, field.name, value)

    @property
    def hyperparameters(self) -> Mapping[str, Any]:
        """Values by name, each of shape `(pieces,)`."""
        return MappingProxyType(self._hyperparameters)

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

    def whole_batches(self) -> "Plan":
        """The plan with whole batch sizes and no more examples: rounded down, then up by one, largest remainders first.

        >>> Plan(0.1, steps=[10, 10], batch_size=[8.5, 40.9]).whole_batches().batch_size
        array([ 8., 41.])
        """
        return self.replace(batch_size=whole_sizes(np.asarray(self.batch_size), np.asarray(self.steps)))

    def to_optax(self, name: str = "learning_rate") -> Callable[[Any], Any]:
        """A hyperparameter of the plan as an optax schedule: a function of the number of updates made so far.

        Before the first update it has the first piece's value, after the plan's end the last one's.

        >>> import optax
        >>> schedule = Plan([0.1, 0.01], steps=[900, 100], batch_size=64).to_optax()
        >>> [round(float(schedule(step)), 3) for step in (0, 899, 900, 5000)]
        [0.1, 0.1, 0.01, 0.01]
        >>> _ = optax.sgd(schedule, momentum=0.9)
        """
        return optax_schedule(self._exported(name), self.steps)

    def to_torch_lambda(self, base: float | None = None) -> Callable[[int], float]:
        """The multiplier that `torch.optim.lr_scheduler.LambdaLR` takes, stepped once per update.

        `base` is the learning rate given to the PyTorch optimizer; by default the plan's largest.

        >>> multiplier = Plan([0.1, 0.01], steps=[900, 100], batch_size=64).to_torch_lambda(base=0.1)
        >>> [round(multiplier(step), 3) for step in (0, 899, 900)]
        [1.0, 1.0, 0.1]
        """
        return torch_multiplier(self._exported("learning_rate"), self.steps, base)

    def batch_ramp(self, unit: str = "updates") -> str:
        """The batch sizes, whole as by `whole_batches`, as `start:batch` pairs, `start` in "updates" or in "samples".

        >>> plan = Plan(0.1, steps=[500, 500, 200], batch_size=[64, 64, 128.2])
        >>> plan.batch_ramp(), plan.batch_ramp("samples")
        ('0:64,1000:128', '0:64 64000:128')
        """
        check_columns(self)
        return ramp_text(self.whole_batches().batch_size, np.asarray(self.steps), unit)

    def write(self, path: str | os.PathLike, force: bool = False, about: Mapping[str, str] = MappingProxyType({})) -> None:
        """Write the plan to `.csv` or `.json`, its batch sizes whole as by `whole_batches`; `read_plan` reads it.

        A file holds of each piece its start and length in updates, its batch size and its hyperparameters. `about` are
        names and texts, such as the problem that the plan is for; in a CSV file they stand in lines that begin with `#`.

        Raises:
          ValueError: the suffix is another one, the directory does not exist, or the file exists and `force` is False.
        """
        for name in self.hyperparameters:
            self._exported(name)
        text = file_text(self.whole_batches()._columns(), Path(path).suffix, about)
        write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"), force)

    def _exported(self, name: str) -> np.ndarray:
        """Values of a hyperparameter of a plan that may be exported."""
        require(not is_traced(self), "the plan", "being traced", "export it outside of jit, vmap and grad")
        check_columns(self)
        check_choice("name", name, self.hyperparameters)
        values = np.asarray(self.hyperparameters[name])
        least, remedy = (0.0, "give finite rates, 0 or more") if name == "learning_rate" else (-np.inf, "give finite numbers")
        check_values(name, values, np.isfinite(values) & (values >= least), remedy)
        return values

    def _columns(self) -> dict[str, Any]:
        return {"steps": self.steps, "batch_size": self.batch_size, **self._hyperparameters}

    def __repr__(self) -> str:
        if is_traced(self):
            return f"Plan({self._columns()})"
        return f"{self.pieces} pieces, {self.total_steps:,.0f} steps, {self.total_examples:,.0f} examples"

    def tree_flatten_with_keys(self) -> tuple[Any, None]:
        """Leaves of the pytree, for JAX."""
        children = {"hyperparameters": self._hyperparameters, "steps": self.steps, "batch_size": self.batch_size}
        return tuple((jax.tree_util.GetAttrKey(name), child) for name, child in children.items()), None

    @classmethod
    def tree_unflatten(cls, _: None, children: Any) -> "Plan":
        """A plan of these leaves, which may be anything, for JAX."""
        hyperparameters, steps, batch_size = children
        plan = object.__new__(cls)
        plan._set(steps, batch_size, hyperparameters)
        return plan


def require_plan(plan: Plan) -> None:
    """Raise `ValueError` for what is no plan."""
    require(isinstance(plan, Plan), "plan", repr(plan), "give a Plan, for example Plan(0.1, steps=100, batch_size=64)")


def check_plan(problem: NoisyQuadratic, optimizer: Optimizer, plan: Plan, **allowed: Any) -> None:
    """Raise `ValueError` for a plan that cannot be run; `allowed` is what `check_run` takes besides."""
    require_plan(plan)
    check_optimizer(optimizer)
    for name, value in hyperparameters(optimizer).items():
        require(np.ndim(value) == 0, f"the shape of {name}", np.shape(value), "give a number; what changes goes into the plan")
    check_run(problem, optimizer.replace(**plan.hyperparameters), plan.batch_size, **allowed)
    check_columns(plan)


def check_columns(plan: Plan) -> None:
    """Raise `ValueError` for what is no plan, or a piece without steps or without a batch."""
    require_plan(plan)
    check_batch_size(plan.batch_size)
    check_steps("steps", plan.steps)
    if not is_traced(plan.steps):
        check_values("steps", plan.steps, np.asarray(plan.steps) > 0, "each piece needs at least one step")


def run(problem: NoisyQuadratic, optimizer: Optimizer, plan: Plan, dtype: Any = "float64") -> Any:
    r"""Risk at the start and after each piece of a plan, exactly, whatever the lengths of the pieces.

    A plan may explode and come back; where the second moments leave the range of numbers on the way, the risk is inf from then
    on. Optimizers that are not linear are followed one update at a time, or in leaps as by `risk`.

    Args:
      problem: the quadratic.
      optimizer: scalar hyperparameters, used where the plan does not name them.
      plan: the pieces.
      dtype: "float64" or "float32"; arguments under a JAX transformation keep their own precision.

    Returns:
      array of shape `(pieces + 1,)`; the last entry is the final risk. Differentiable in hyperparameters and batch sizes
      (of optimizers that are not linear forwards only).

    Raises:
      ValueError: an argument is out of its range, or a piece has no steps.

    >>> from nqmjax import HeavyBall, power_law
    >>> run(power_law(100), HeavyBall(0.1, 0.9), Plan([0.1, 0.01], steps=[900, 100], batch_size=64)).round(4)
    array([2.5937, 0.0204, 0.0065])

    Source: Zhang et al. 2019, section 3.7.2, footnote 3 ("dynamic programming").
    """
    check_plan(problem, optimizer, plan, closures=True, loss_noise=True, asked="run")
    check_precision(problem, dtype)
    settings = optimizer.replace(**plan.hyperparameters)
    steps = plan.steps if is_traced(plan.steps) else np.asarray(plan.steps, np.uint32)
    if is_traced(problem, settings, plan.batch_size, steps):
        levels = 32 if is_traced(steps) else doublings(int(np.max(steps)))
        return evaluate(functools.partial(_differentiable, levels=levels), problem, settings, 1 / plan.batch_size, steps)
    levels = np.uint32(int(np.max(steps)).bit_length())
    spare = -plan.pieces % min(2 ** (plan.pieces - 1).bit_length(), 64)  # empty pieces, so that few counts compile anew
    columns = dict(plan.hyperparameters), 1 / plan.batch_size
    columns, inverse = jax.tree.map(lambda values: np.pad(values, (0, spare), mode="edge"), columns)
    arguments = problem, optimizer.replace(**columns), inverse, np.pad(steps, (0, spare)), levels
    return evaluate(_of_any_length, *arguments, dtype=dtype)[: plan.pieces + 1]


_differentiable = jax.jit(risks_of_pieces, static_argnames="levels")
_of_any_length = jax.jit(risks_of_pieces)


def piece_lengths(steps: int, pieces: int) -> np.ndarray:
    """Lengths of pieces as nearly equal as whole numbers can be, whose sum is `steps`.

    >>> piece_lengths(10, 4)
    array([2, 3, 3, 2])
    """
    steps, pieces = whole("steps", steps), whole("pieces", pieces)
    check_steps("steps", steps)
    require(pieces <= steps, "pieces", pieces, f"give from 1 to {steps}, the number of steps")
    return np.diff(np.round(np.linspace(0, steps, pieces + 1)).astype(int))
