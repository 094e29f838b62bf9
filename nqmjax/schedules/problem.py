"""The unknowns of an optimal plan: their coordinates and bounds, and the final risk as a function of them.

Each hyperparameter of each piece has a coordinate in which equal distances matter alike: `log a`, `log(1 - beta)`, `nu`.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from nqmjax._tools import precision, require, whole
from nqmjax.dynamics import check_run, doublings, quick_risks_of_pieces, risks_of_pieces
from nqmjax.optimizers import LinearOptimizer, MeanFieldOptimizer, Optimizer, hyperparameters
from nqmjax.problem import NoisyQuadratic
from nqmjax.schedules.caps import chosen_cap, learning_rate_cap
from nqmjax.schedules.closed_forms import ForgettingKernel, check_budget, water_filling
from nqmjax.schedules.plan import Plan

AnOptimizer = TypeVar("AnOptimizer", bound=Optimizer)

SLOWEST = 1e-6
"""The smallest `1 - momentum` and `1 - decay` that is searched."""

LOWEST = 1e-12
"""The smallest learning rate that is searched, relative to the cap."""

EXPLODED = 700.0
"""What stands for `log R` of a plan that explodes: above every risk of interest."""


class Search:
    """The unknowns of one kind of plan, their bounds, and the risk as a function of them."""

    def __init__(
        self,
        problem: NoisyQuadratic,
        optimizer: LinearOptimizer,
        batch_size: float,
        pieces: int,
        max_learning_rate: float | None,
        over: Sequence[str],
        examples: float | None,
        batch_sizes: tuple[float, float],
    ) -> None:
        check_run(problem, optimizer, batch_size, asked="a search over schedules")
        values = hyperparameters(optimizer)
        require(isinstance(over, Sequence), "over", over, "name what changes from piece to piece, for example learning_rate")
        over = [over] if isinstance(over, str) else list(over)
        for name, value in {**values, "batch_size": batch_size}.items():
            require(np.ndim(value) == 0, f"the shape of {name}", np.shape(value), "give a number")
        require(bool(over), "over", over, "name what changes from piece to piece, for example learning_rate")
        for name in over:
            possible = [each for each in values if _kind(each) not in ("power", "strength")]
            require(name in possible, "over", repr(name), f"the optimizer has {', '.join(possible)}")
        whole("pieces", pieces)
        self.given, self.kernel = problem, ForgettingKernel(problem, optimizer)
        with precision():  # on the device once, for all evaluations
            self.problem = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), problem)
        self.optimizer, self.batch_size, self.names = optimizer, float(batch_size), over
        self.examples, self.batch_sizes = examples, batch_sizes
        self.cap = cap = chosen_cap(problem, optimizer, max_learning_rate)
        widest = cap if np.isfinite(cap) else 1e6 * learning_rate_cap(problem, optimizer)
        bounds = {"learning_rate": (np.log(widest * LOWEST), np.log(widest)), "nu": (0.0, 1.0)}
        self.bounds = np.array([bounds.get(_kind(name), (np.log(SLOWEST), 0.0)) for name in over])[:, :, None]

    def clip(self, point: np.ndarray) -> np.ndarray:
        """The nearest allowed point; points have shape `(names, pieces)`."""
        return np.clip(point, self.bounds[:, 0], self.bounds[:, 1])

    def coordinates(self, plan: Plan) -> np.ndarray:
        """The point of a plan."""
        return self.clip(np.array([_coordinate(name, plan.hyperparameters[name]) for name in self.names]))

    def closed_form(self, lengths: np.ndarray) -> np.ndarray:
        """The point to start from: the closed form's rates, the optimizer's own values of the rest."""
        rates = self.kernel.plan(self.batch_size, lengths, self.cap).learning_rate
        given = {**hyperparameters(self.optimizer), "learning_rate": rates}
        return self.clip(np.array([_coordinate(name, given[name]) * np.ones(len(lengths)) for name in self.names]))

    def plan(self, point: np.ndarray, lengths: np.ndarray, batch_size: Any) -> Plan:
        """The plan of a point."""
        values = {name: _value(name, row, np) for name, row in zip(self.names, point, strict=True)}
        columns = {"learning_rate": hyperparameters(self.optimizer).get("learning_rate", np.nan), **values}
        return Plan(**columns, steps=lengths, batch_size=batch_size)

    def log_risk(self, lengths: np.ndarray, point: np.ndarray) -> float:
        """`log(R - irreducible)` at a point."""
        return self.value_and_slope(lengths, point)[0]

    def check_lengths(self, lengths: np.ndarray) -> None:
        """Raise `ValueError` unless pieces of these lengths can spend the budget of examples."""
        if self.examples is not None:
            check_budget(lengths, self.examples, *self.batch_sizes)

    def batches(self, lengths: np.ndarray, point: np.ndarray) -> np.ndarray:
        """The best batch sizes at a point; the slopes that they follow from do not depend on batch sizes themselves."""
        if self.examples is None:
            return np.full(len(lengths), self.batch_size)
        even = np.full(len(lengths), self.examples / lengths.sum())
        levels, steps = doublings(int(lengths.max())), lengths.astype(np.uint32)
        with precision():
            weights = _weights(self.problem, self.optimizer, point, 1 / even, steps, tuple(self.names), levels)
        weights = np.asarray(weights)
        if not np.isfinite(weights).all():
            return even
        return water_filling(np.maximum(weights, 0), lengths, self.examples, *self.batch_sizes)

    def value_and_slope(self, lengths: np.ndarray, point: np.ndarray) -> tuple[float, np.ndarray]:
        """`log(R - irreducible)` with the best batch sizes, and its gradient, by the envelope theorem that with them held."""
        inverse, steps = 1 / self.batches(lengths, point), lengths.astype(np.uint32)
        levels = doublings(int(lengths.max()))
        with precision():
            value, slope = _risk_and_slope(self.problem, self.optimizer, point, inverse, steps, tuple(self.names), levels)
        value, slope = float(value), np.asarray(slope)
        # Where a plan explodes, anything above every risk of interest turns the line search back.
        return (value, slope) if np.isfinite(value) and np.isfinite(slope).all() else (EXPLODED, np.zeros_like(slope))


def _kind(name: str) -> str:
    return name.split(".")[-1]


def _coordinate(name: str, value: Any) -> Any:
    """Where a hyperparameter stands on its axis: `log a`, `log(1 - beta)`, itself."""
    value = np.asarray(value, np.float64)
    if _kind(name) == "nu":
        return value
    with np.errstate(divide="ignore"):
        return np.log(value if _kind(name) == "learning_rate" else 1 - value)


def _value(name: str, coordinate: Any, xp: Any = jnp) -> Any:
    """The hyperparameter at a coordinate."""
    if _kind(name) == "nu":
        return coordinate
    return xp.exp(coordinate) if _kind(name) == "learning_rate" else -xp.expm1(coordinate)


def final_excess(
    problem: Any, optimizer: Any, point: Any, inverse: Any, steps: Any, names: tuple[str, ...], levels: int
) -> Any:
    """Final risk less the irreducible loss."""
    settings = optimizer.replace(**{name: _value(name, row) for name, row in zip(names, point, strict=True)})
    return quick_risks_of_pieces(problem, settings, inverse, steps, levels)[-1] - problem.irreducible


@functools.partial(jax.jit, static_argnames=("names", "levels"))
def _risk_and_slope(problem: Any, optimizer: Any, point: Any, inverse: Any, steps: Any, names: Any, levels: int) -> Any:
    return jax.value_and_grad(lambda at: jnp.log(final_excess(problem, optimizer, at, inverse, steps, names, levels)))(point)


@functools.partial(jax.jit, static_argnames=("names", "levels"))
def _weights(problem: Any, optimizer: Any, point: Any, inverse: Any, steps: Any, names: Any, levels: int) -> Any:
    return jax.grad(lambda at: final_excess(problem, optimizer, point, at, steps, names, levels))(inverse)


SEARCH_NODES = 32
"""Nodes over the start, at most, with which searches follow optimizers that are not linear."""


def for_searches(optimizer: AnOptimizer) -> AnOptimizer:
    """The optimizer as searches over plans follow it; one that is not linear with few nodes."""
    nodes = getattr(optimizer, "nodes", 0)
    return dataclasses.replace(optimizer, nodes=SEARCH_NODES) if nodes > SEARCH_NODES else optimizer  # pyright: ignore


def final_risk(problem: NoisyQuadratic, optimizer: Optimizer, pieces: int) -> Callable[[Plan], float]:
    """The final risk, less the irreducible loss, of plans of up to so many pieces, of any length; compiled once for all."""
    problem = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), problem)

    def risk(plan: Plan) -> float:
        spare = pieces - plan.pieces
        columns = {name: np.pad(values, (0, spare), mode="edge") for name, values in plan.hyperparameters.items()}
        inverse, lengths = np.pad(1 / plan.batch_size, (0, spare)), np.pad(plan.steps.astype(np.uint32), (0, spare))
        levels = np.uint32(int(lengths.max()).bit_length())
        with precision():
            return float(_last(problem, optimizer, columns, inverse, lengths, levels))

    return risk


@jax.jit
def _last(problem: Any, optimizer: Any, columns: Any, inverse: Any, steps: Any, levels: Any) -> jax.Array:
    risks = risks_of_pieces if isinstance(optimizer, MeanFieldOptimizer) else quick_risks_of_pieces
    return risks(problem, optimizer.replace(**columns), inverse, steps, levels)[-1] - problem.irreducible
