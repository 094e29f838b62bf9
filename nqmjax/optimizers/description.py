"""What a result says of itself, in words: its problem, its optimizer, and the units of its learning rates."""

import importlib.metadata
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from nqmjax.optimizers.base import Optimizer, hyperparameters
from nqmjax.optimizers.mean_field import MeanFieldOptimizer
from nqmjax.optimizers.methods import QHM, SGD, HeavyBall, Nesterov
from nqmjax.optimizers.weight_decay import L2, DecoupledWeightDecay
from nqmjax.optimizers.wrappers import Averaged, Preconditioned
from nqmjax.problem import NoisyQuadratic

NAMES = {SGD: "SGD", HeavyBall: "heavy ball", Nesterov: "Nesterov", QHM: "QHM"}
"""Optimizers as one writes them; those of users go by the name of their class."""

ADDED = {Averaged: "EMA", L2: "L2", DecoupledWeightDecay: "decoupled weight decay"}
"""What wrappers add to an optimizer."""


def provenance(problem: NoisyQuadratic, optimizer: Optimizer | str, tuned: Collection[str] = ()) -> dict[str, str]:
    """Attributes of a table or a file: what was computed, by which version.

    Args:
      problem: the quadratic.
      optimizer: the optimizer, or its text where there are several.
      tuned: its hyperparameters that have no value of their own.

    >>> from nqmjax import power_law
    >>> found = provenance(power_law(100), HeavyBall(0.1, 0.9), tuned=["learning_rate"])
    >>> found["optimizer"], found["rate_units"].split(";")[0]
    ('heavy ball, momentum 0.9', '1 is the inverse of the largest curvature')
    """
    return {
        "problem": describe_problem(problem),
        "optimizer": optimizer if isinstance(optimizer, str) else describe(optimizer, tuned),
        "rate_units": rate_units(problem, [] if isinstance(optimizer, str) else [optimizer]),
        "nqmjax_version": importlib.metadata.version("nqmjax"),
    }


def describe(optimizer: Optimizer, tuned: Collection[str] = ()) -> str:
    """The optimizer in words, with those of its hyperparameters that are numbers and not `tuned`.

    >>> describe(Preconditioned(Averaged(HeavyBall([0.1, 0.2], 0.9), decay=0.99), power=0.5))
    'heavy ball + EMA, momentum 0.9, decay 0.99, preconditioned by H^0.5'
    """
    values = {name: value for name, value in hyperparameters(optimizer).items() if np.ndim(value) == 0 and name not in tuned}
    texts = [f"{name.replace('_', ' ')} {float(value):.6g}" for name, value in values.items() if name != "power"]
    if values.get("power"):
        texts.append(f"preconditioned by H^{float(values['power']):.6g}")
    return ", ".join([optimizer_name(optimizer), *texts])


def optimizer_name(optimizer: Any) -> str:
    """The names of an optimizer's classes as one writes them, without values: `heavy ball + EMA`."""
    if isinstance(optimizer, Preconditioned):
        return optimizer_name(optimizer.optimizer)
    if type(optimizer) in ADDED:
        return f"{optimizer_name(optimizer.optimizer)} + {ADDED[type(optimizer)]}"
    inner = [optimizer_name(value) for value in vars(optimizer).values() if isinstance(value, Optimizer)]
    return NAMES.get(type(optimizer), type(optimizer).__name__) + (f"({', '.join(inner)})" if inner else "")


def rate_units(problem: NoisyQuadratic, optimizers: Iterable[Optimizer] = ()) -> str:
    """What a learning rate of 1 is on this problem, and what it is of a real network; by default for linear optimizers.

    >>> from nqmjax import Adam, power_law
    >>> rate_units(power_law(10), [SGD(0.1), Adam(0.1)]).split("; ")[-1]
    'of Adam those of the parameters, each of which an update moves by about the rate'
    """
    names: dict[str, list[str]] = {}
    for optimizer in optimizers:
        units = optimizer.rate_units if isinstance(optimizer, MeanFieldOptimizer) else _curvature_units(problem)
        names.setdefault(units, []).append(optimizer_name(optimizer))
    if len(names) <= 1:
        return next(iter(names), _curvature_units(problem))
    linear = names.pop(_curvature_units(problem), None)
    own = [f"of {', '.join(dict.fromkeys(those))} {units}" for units, those in names.items()]
    return "; ".join([*([_curvature_units(problem)] if linear else []), *own])


def _curvature_units(problem: NoisyQuadratic) -> str:
    """Units of the rates of linear optimizers."""
    largest = float(np.max(np.asarray(problem.curvature, dtype=np.float64)))
    if abs(largest - 1) < 1e-9:
        return "1 is the inverse of the largest curvature; for a network divide by its Hessian's largest eigenvalue"
    return f"those of the spectrum, 1 over its curvature, of which the largest is {largest:.4g}"


def describe_problem(problem: NoisyQuadratic) -> str:
    """The problem in words: its spectrum, a power law where it is one, its gradient noise, its start and its losses.

    >>> from nqmjax import from_spectrum, power_law
    >>> print(*describe_problem(power_law(10_000, irreducible=0.1).quantize(100)).split("; "), sep="\\n")
    power law, curvature i^-1 of 10,000 directions in 100 groups
    noise variance equal to the curvature
    start of mean square 1 per direction
    loss 4.994 at the start, 0.1 at the optimum
    >>> describe_problem(from_spectrum([3.0, 0.1], count=[1, 9], noise=[0.5, 0.0])).split("; ")[:2]
    ['spectrum of 10 directions in 2 groups, curvature 0.1 to 3, trace 3.9', 'noise variance of trace 0.5']
    >>> describe_problem(power_law(3, noise=0.0, loss_noise=2.0)).split("; ")[1:3]
    ['no noise at the optimum', 'noise variance per unit of loss 2 times the curvature']
    """
    curvature, count = (np.asarray(values, dtype=np.float64) for values in (problem.curvature, problem.count))
    groups = f" in {curvature.size} groups" if (count != 1).any() else ""
    directions = f"{count.sum():,.10g} direction{'' if count.sum() == 1 else 's'}{groups}"
    exponent = power_law_exponent(curvature, count)
    if exponent is None:
        ends = " to ".join(f"{value:.4g}" for value in np.unique([curvature.min(), curvature.max()]))
        spectrum = f"spectrum of {directions}, curvature {ends}, trace {(count * curvature).sum():.4g}"
    else:
        spectrum = f"power law, curvature i^-{exponent:.6g} of {directions}"
    losses = f"loss {float(problem.initial_risk):.4g} at the start"
    losses += f", {float(problem.irreducible):.4g} at the optimum" if problem.irreducible else ""
    return "; ".join(
        [spectrum, *_layers_text(problem), _noise_text(problem), *_followed_text(problem), _start_text(problem), losses]
    )


def _layers_text(problem: NoisyQuadratic) -> list[str]:
    """The names of the layers, where there are layers, or how many there are."""
    names = problem.layers[0] if problem.layer else []
    return [f"{len(names)} layers" + (f": {', '.join(names)}" if len(names) <= MOST_NAMES else "")] if names else []


def _noise_text(problem: NoisyQuadratic) -> str:
    """The gradient noise: none, in proportion to the curvature, alike in all directions, or its trace."""
    noise, curvature = np.asarray(problem.noise, np.float64), np.asarray(problem.curvature, np.float64)
    if not noise.any():
        return "no noise at the optimum" if problem.follows_loss else "no noise"
    factor = _factor(noise, curvature)
    if factor is not None:
        return f"noise variance {'equal to' if abs(factor - 1) < 1e-9 else f'{factor:.4g} times'} the curvature"
    if np.ptp(noise) <= 1e-9 * noise.max():
        return f"noise variance {noise[0]:.4g} per direction"
    return f"noise variance of trace {(np.asarray(problem.count) * noise).sum():.4g}"


def _factor(values: np.ndarray, curvature: np.ndarray) -> float | None:
    """What the values are in units of the curvature, None where they are not in proportion to it."""
    factor = values[0] / curvature[0] if curvature[0] > 0 else 0.0
    return float(factor) if np.allclose(values, factor * curvature, rtol=1e-9, atol=0) else None


def _followed_text(problem: NoisyQuadratic) -> list[str]:
    """What the noise gains with the loss and with the direction's own mean square."""
    texts, curvature = [], np.asarray(problem.curvature, np.float64)
    if problem.loss_noise is not None:
        gain = np.asarray(problem.loss_noise, np.float64)
        factor = _factor(gain, curvature)
        trace = f"of trace {(np.asarray(problem.count) * gain).sum():.4g}"
        texts.append(f"noise variance per unit of loss {trace if factor is None else f'{factor:.4g} times the curvature'}")
    if problem.own_noise is not None:
        factor = _factor(np.asarray(problem.own_noise, np.float64), curvature**2)
        size = "as given" if factor is None else f"{factor:.4g} times the squared curvature"
        texts.append(f"noise variance per unit of a direction's own mean square {size}")
    return texts


def _start_text(problem: NoisyQuadratic) -> str:
    """The second moments of the start."""
    initial = np.asarray(problem.initial, dtype=np.float64)
    low, high = float(initial.min()), float(initial.max())
    if high - low <= 1e-9 * high:
        return f"start of mean square {high:.4g} per direction"
    return f"start of mean square {low:.4g} to {high:.4g}"


MOST_NAMES = 6
"""Layers whose names are told."""

MOST_GROUPS = 10_000
"""Groups that are compared with a power law; more are merged with their neighbours."""

EXACT_TERMS = 1000
"""Terms of a sum of powers that are added one by one; the rest is an integral."""


def power_law_exponent(curvature: np.ndarray, count: np.ndarray) -> float | None:
    """The exponent `a` if each group's curvature is the mean of `i^-a` over the directions that it stands for, or None.

    The groups stand for `1 .. count_1`, then the next `count_2`, and so on: what `power_law` and `quantize` make.

    >>> power_law_exponent(np.array([1.0, 5 / 12]), np.array([1, 2])) is None  # two groups follow too many laws
    True
    """
    if curvature.size < 3 or (np.diff(curvature) > 0).any() or curvature[-1] <= 0 or (count != np.round(count)).any():
        return None
    places = np.arange(0, curvature.size, -(-curvature.size // MOST_GROUPS))
    trace, count = np.add.reduceat(count * curvature, places), np.add.reduceat(count, places)
    low, high = -1e-9, 20.0
    for _ in range(60):  # the trace falls with the exponent
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _power_sums(middle, count.sum(keepdims=True))[0] > trace.sum() else (low, middle)
    return abs(round(low, 8)) if np.allclose(_power_sums(low, count), trace, rtol=1e-6, atol=0) else None


def _power_sums(exponent: float, count: np.ndarray) -> np.ndarray:
    """The sums of `i^-exponent` over the first `count[0]` numbers, the next `count[1]` and so on.

    Up to `EXACT_TERMS` they are added one by one, beyond by the midpoint rule with its first correction.
    """
    ends = np.cumsum(count)
    starts = ends - count
    terms = np.arange(1.0, EXACT_TERMS + 1) ** -exponent
    rest = np.append(np.cumsum(terms[::-1])[::-1], 0.0)
    head = rest[np.minimum(starts, EXACT_TERMS).astype(int)] - rest[np.minimum(ends, EXACT_TERMS).astype(int)]
    first, last = (np.maximum(numbers, EXACT_TERMS) + 0.5 for numbers in (starts, ends))
    power, width = 1 - exponent, np.log(last / first)
    integral = width if power == 0 else first**power * np.expm1(power * width) / power
    return head + integral + exponent * (last ** (-exponent - 1) - first ** (-exponent - 1)) / 24
