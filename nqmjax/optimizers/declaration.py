r"""What an optimizer must satisfy: hyperparameters in their ranges, and a declaration that is linear and does not vary in time.

`linear_system` reads the matrices off `initial`, `change` and `read` by applying them to basis states, which says nothing
unless each of them, as a function `f` of all state variables and of the gradient of one direction, obeys

    f(0) = 0,      f(2^k x) = 2^k f(x),      f(-x) = -f(x),      f(x + y) = f(x) + f(y).

They are tried on numbers. Scaling by `2^k` is exact in floating point, so that the second law finds clipping, thresholds
and normalization over 24 decimal orders, however small the learning rate; the last one finds what only compares signs.
A counter, a bias correction or a time-varying average breaks the first, in `initial` or in `change`.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nqmjax._tools import check_choice, check_values, is_traced, numeric, precision, require, shown
from nqmjax.optimizers.base import LinearOptimizer, Optimizer, hyperparameters, linear_system
from nqmjax.optimizers.mean_field import MeanFieldOptimizer
from nqmjax.optimizers.periodic import PeriodicOptimizer, check_periods
from nqmjax.optimizers.weight_decay import L2, DecoupledWeightDecay

RANGES = {
    "learning_rate": (0.0, np.inf, "give a finite rate that is not negative"),
    "momentum": (0.0, 1.0, "give a value in [0, 1)"),
    "decay": (0.0, 1.0, "give a value in [0, 1)"),
    "beta1": (0.0, 1.0, "give a value in [0, 1)"),
    "beta2": (0.0, 1.0, "give a value in [0, 1)"),
    "eps": (0.0, np.inf, "give a finite number that is not negative"),
    "max_norm": (np.nextafter(0.0, 1.0), np.inf, "give a finite norm above 0"),
    "trust_coefficient": (np.nextafter(0.0, 1.0), np.inf, "give a finite number above 0, such as 0.001"),
    "weight_decay": (0.0, np.inf, "give a finite strength that is not negative"),
    "power": (0.0, np.nextafter(1.0, 2.0), "give a value in [0, 1]"),
    "nu": (0.0, np.nextafter(1.0, 2.0), "give a value in [0, 1]"),
    "strength": (0.0, np.inf, "give a finite strength that is not negative"),
}
"""Valid ranges `low <= value < high` of the hyperparameters whose meaning is fixed, with the remedy."""

ELSEWHERE = "schedules are Plans, and what is not linear can be sampled by nqmjax.monte_carlo"

SCALES = (2.0**-40, 2.0**-10, 2.0**10, 2.0**40)
"""Factors of the law of scaling."""

EACH, TOGETHER = 2, 12
"""Pairs of points at which each variable is tried alone, and all of them together."""


def check_optimizer(optimizer: Optimizer) -> None:
    """Raise `ValueError` for a hyperparameter that is not a number or outside its range, or a law that does not hold."""
    remedy = "give one, for example SGD(0.1) or Adam(0.01); any of optax can be sampled, by nqmjax.monte_carlo"
    require(isinstance(optimizer, Optimizer), "optimizer", optimizer, remedy)
    if isinstance(optimizer, PeriodicOptimizer):
        for part, name in ((optimizer.inner, "inner"), (optimizer.slow, "outer")):
            require(isinstance(part, LinearOptimizer), name, shown(part), "give a linear optimizer, for example SGD(0.1)")
            check_optimizer(part)
        return check_periods(optimizer)
    ours = _check_fields(optimizer)
    for name, value in hyperparameters(optimizer).items():
        if not is_traced(value):
            values = numeric(name, value)
            low, high, remedy = RANGES.get(name.split(".")[-1], (-np.inf, np.inf, "give finite numbers"))
            check_values(name, values, np.isfinite(values) & (values >= low) & (values < high), remedy)
    if isinstance(optimizer, LinearOptimizer) and not ours:
        _check_declaration(optimizer)


OTHERS = {
    MeanFieldOptimizer: "others have risk, risk_curve, steps_to_target (rule 'first'), sweep, tune, run, strides, and "
    "schedules.compare, schedules.budget_curve and schedules.transfer",
    PeriodicOptimizer: "periodic ones have risk, risk_curve, stationary_risk, spectral_radius, stability_edge, "
    "steps_to_target (rule 'first'), sweep and tune",
}
"""What can be asked of optimizers that are not the same linear map at every update."""


def check_linear(question: str, optimizer: Optimizer, closures: bool = False, periodic: bool = False) -> None:
    """Raise `ValueError` for an optimizer of which a question about linear ones cannot be asked.

    `closures` where optimizers need not be linear, `periodic` where they may synchronise with a period.
    """
    for kind, known in ((MeanFieldOptimizer, closures), (PeriodicOptimizer, periodic)):
        if isinstance(optimizer, kind) and not known:
            remedy = f"{question} is for linear optimizers, such as SGD and HeavyBall; {OTHERS[kind]}"
            raise ValueError(f"optimizer is {shown(optimizer)}: {remedy}")


def _check_static(field: dataclasses.Field, value: Any) -> None:
    """Raise unless a setting that is part of an optimizer's type is what its class declares."""
    choices, least = field.metadata["choices"], field.metadata["least"]
    if choices:
        check_choice(field.name, value, choices)
    else:
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= least
        require(bool(whole), field.name, value, f"give a whole number, at least {least}")


def _check_fields(optimizer: Optimizer) -> bool:
    """Every field holds an optimizer where one belongs, and numbers where they belong; whether the classes are all ours."""
    ours = type(optimizer).__module__.startswith("nqmjax.")
    for field in dataclasses.fields(optimizer):  # pyright: ignore[reportArgumentType]
        value = getattr(optimizer, field.name)
        wraps = field.type == "LinearOptimizer" or (isinstance(field.type, type) and issubclass(field.type, LinearOptimizer))
        if field.metadata.get("static"):
            _check_static(field, value)
        elif isinstance(value, LinearOptimizer):
            require(field.name not in RANGES, field.name, value, "give a number or an array of numbers")
            ours &= _check_fields(value)
        elif wraps:
            raise ValueError(f"{field.name} is {shown(value)}: {_remedy(optimizer, value)}")
        else:
            require(not isinstance(value, dict | None), field.name, value, "give a number or an array of numbers")
    if isinstance(optimizer, DecoupledWeightDecay):
        known = "learning_rate" in hyperparameters(optimizer.optimizer)
        require(known, "optimizer", shown(optimizer.optimizer), "it has no learning_rate, at which weights decay: use L2")
    return ours


def _remedy(wrapper: Optimizer, value: Any) -> str:
    """What to do about a wrapper around something that is not linear."""
    if isinstance(value, PeriodicOptimizer):
        return "it cannot be wrapped: wrap its inner optimizer"
    text = f"{type(wrapper).__name__} wraps a linear optimizer"
    if isinstance(value, MeanFieldOptimizer) and isinstance(wrapper, L2 | DecoupledWeightDecay):
        own = "AdamL2 has a strength, and AdamW, SignSGD and Lion a weight_decay, of their own"
        return f"{text}; {own}, as in AdamL2(0.01, strength=0.1) or AdamW(0.01, weight_decay=0.1)"
    return f"{text}, give one for it, for example SGD(0.1)"


class Fault(NamedTuple):
    """What is wrong with a declaration; `of_values` where all may be well with other hyperparameters."""

    text: str
    of_values: bool = False
    cause: Exception | None = None


def _check_declaration(optimizer: LinearOptimizer) -> None:
    """Try the laws with the optimizer's own values, and with typical ones: others may come by tuning or by a plan."""
    leaves, structure = jax.tree.flatten(optimizer)
    own, typical = (), tuple(0.25 + 0.5 * (0.618 * (i + 1) % 1) for i in range(len(leaves)))
    if not is_traced(leaves) and all(np.size(leaf) for leaf in leaves):
        own = {tuple(float(pick(np.asarray(leaf))) for leaf in leaves) for pick in (np.min, np.max)}
    faults = [find_fault(structure, values) for values in own]
    typical_fault = find_fault(structure, typical)
    if typical_fault and not typical_fault.of_values:
        faults.append(typical_fault)
    for fault in [*faults, find_fault_in_tracing(structure)]:
        if fault:
            raise ValueError(f"optimizer is {shown(optimizer)}: {fault.text}") from fault.cause


@functools.lru_cache(maxsize=4096)
def find_fault(structure: Any, values: tuple[float, ...]) -> Fault | None:
    """The first law that an optimizer of this tree structure and these hyperparameters breaks."""
    optimizer, fault = jax.tree.unflatten(structure, [np.float64(value) for value in values]), None
    with precision(), jax.ensure_compile_time_eval(), np.errstate(all="ignore"):
        for array in (np.asarray, jnp.asarray):  # a declaration may need the methods of JAX's arrays
            try:
                return _fault_of(optimizer, array)
            except Exception as error:
                fault = Fault(f"its declaration raises {type(error).__name__}: {error}", True, error)
    return fault


@functools.lru_cache(maxsize=4096)
def find_fault_in_tracing(structure: Any) -> Fault | None:
    """Whether the declaration can be compiled: it may not look at the values of hyperparameters and gradients."""
    number, curvature = jax.ShapeDtypeStruct((), np.float64), jax.ShapeDtypeStruct((2,), np.float64)
    try:
        with precision():
            jax.eval_shape(linear_system, jax.tree.unflatten(structure, [number] * structure.num_leaves), curvature)
    except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError) as error:
        return Fault("its declaration branches on a value, or hands it to NumPy: use jax.numpy, such as jnp.where", cause=error)
    except Exception as error:
        return Fault(f"its declaration raises {type(error).__name__} when it is compiled: {error}", cause=error)
    return None


def _fault_of(optimizer: LinearOptimizer, array: Callable) -> Fault | None:
    """The first law that `initial`, `change` or `read` breaks."""
    start = optimizer.initial(array(1.0))
    if not isinstance(start, tuple | list):
        return Fault(f"its initial returns {shown(start)}: give a tuple, the parameter first, as in (theta,)")
    size = len(start)
    states = [f"state[{i}]" for i in range(size)]

    def read(x: Sequence[Any]) -> tuple[Any]:
        return (optimizer.read(tuple(x)),)

    def change(x: Sequence[Any]) -> Any:
        return optimizer.change(tuple(x[:-1]), x[-1])

    return (
        _broken_law("initial", lambda x: optimizer.initial(x[0]), ["theta"], size, array)
        or _broken_law("change", change, [*states, "the gradient"], size, array)
        or _broken_law("read", read, states, 1, array)
    )


def _broken_law(name: str, function: Callable, variables: list[str], size: int, array: Callable) -> Fault | None:
    """The first law that `function` of so many variables, with `size` results, breaks."""
    x, y = _probes(len(variables))
    points = np.concatenate([np.zeros((len(x), 1)), x, y, x + y, -x, *(scale * x for scale in SCALES)], axis=1)

    def values(points: np.ndarray) -> np.ndarray:
        results = function([array(row) for row in points])
        if not isinstance(results, tuple | list) or len(results) != size:
            found = f"a tuple of length {len(results)}" if isinstance(results, tuple | list) else shown(results)
            raise _Malformed(f"its {name} returns {found}: give a tuple with one entry for each of the {size} in initial")
        return np.stack([_entry(name, i, result, points.shape[1:]) for i, result in enumerate(results)])

    some = slice(1, None, 7)
    try:
        found, apart = values(points), values(points[:, some])
    except _Malformed as error:
        return Fault(str(error))
    zero, at_x, at_y, at_sum, at_minus, *scaled = np.split(found, range(1, found.shape[1], x.shape[1]), axis=1)
    if np.isnan(at_x).all(1).any():
        return Fault(f"its {name} gives NaN", of_values=True)
    slack = 1e-14 * (len(x) + np.abs(np.where(np.isfinite(at_x), at_x, 0)).max())
    if _differ(apart, found[:, some], 1e-9 * np.abs(apart) + slack * np.abs(points[:, some]).max(0)).any():
        repeats = np.array_equal(found, values(points), equal_nan=True)
        cause = "of one direction depends on the others: a norm, a mean" if repeats else "differs from call to call: randomness"
        return Fault(f"its {name} {cause}? {ELSEWHERE}")
    if (zero != 0).any():
        moved = ", ".join(f"{value:g}" for value in zero[:, 0] + 0.0)
        return Fault(
            f"its {name} is ({moved}) where all else is zero: a counter, a bias correction, a constant pull? {ELSEWHERE}"
        )
    differs = _differ(at_sum, at_x + at_y, 1e-9 * (np.abs(at_x) + np.abs(at_y)) + slack)
    for factor, value in zip((-1.0, *SCALES), (at_minus, *scaled), strict=True):
        differs |= _differ(value / factor, at_x, 1e-9 * np.abs(at_x) + 1e-290)  # the least that is not rounded
    if differs.any():
        first = int(differs.any(0).argmax())
        blamed = variables[first // EACH] if first < EACH * len(x) else f"{', '.join(variables)} together"
        return Fault(f"its {name} is not linear in {blamed}: clipping, a sign, a comparison, a normalization? {ELSEWHERE}")
    if name == "initial" and _differ(at_x[0], x[0], 1e-9).any():
        return Fault("the first entry of its initial is not theta: put the parameter first")
    return None


class _Malformed(ValueError):
    """What is returned cannot be a state."""


def _entry(name: str, index: int, result: Any, shape: tuple[int, ...]) -> np.ndarray:
    """One entry of what a declaration returns, for each of the points."""
    values = np.asarray(result)
    if values.dtype.kind not in "iuf":
        raise _Malformed(f"entry {index} of what its {name} returns is {shown(result)}: give numbers")
    if values.shape not in ((), shape):
        raise _Malformed(f"entry {index} of what its {name} returns has the shape {values.shape}: keep that of the gradient")
    return np.broadcast_to(values.astype(np.float64), shape)


def _differ(found: np.ndarray, expected: np.ndarray, tolerance: Any) -> np.ndarray:
    """Where two numbers differ by more than rounding; of what has overflowed nothing can be told."""
    finite = np.isfinite(found) & np.isfinite(expected)
    return finite & (np.abs(found - expected) > tolerance)


@functools.lru_cache
def _probes(variables: int) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of points of so many variables: each variable alone, then all together, of either sign, from 1/4 to 1."""
    alone = np.repeat(np.eye(variables), EACH, axis=1)
    mask = np.concatenate([alone, np.ones((variables, TOGETHER))], axis=1)
    place = np.arange(2 * mask.size).reshape(2, *mask.shape)
    wave = np.sin(12.9898 * (place + 1))
    x, y = mask * np.sign(wave) * (0.25 + 0.75 * (43758.5453 * np.abs(wave) % 1))
    return x, y
