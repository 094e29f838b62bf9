r"""Parts of a run of which schedules are joined: warm-ups, plateaus, decays; and how they are cut into pieces of one rate.

A phase has a number of updates `n` and the multiplier `m(i)` of the peak rate at its update `i = 0 .. n - 1`. In a plan each
piece has the mean of its updates' multipliers. A phase that is no longer than the pieces it may have gets one for each
update, and a phase of one rate gets one. Otherwise update `i` lies at

    mu(i) = 1/3 (i / n + V(i) / V(n) + L(i) / L(n)),      V(i) = sum |m(j) - m(j-1)|,     L(i) = sum |log m(j) / m(j-1)|,

and piece `k` has the updates with `k <= pieces mu(i) < k + 1`. So the rates within one piece differ by at most `3 / pieces`
of the phase's change, and by at most the factor `(largest / smallest)^(3 / pieces)`: the first update of a long warm-up and
the last ones of a decay to 0 have the rates of their own.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

SAMPLES = 128
"""Multipliers of which the mean of a piece is made, if it has more updates."""

GRID = 1024
"""Updates at which a long phase is looked at, equally spaced, and as many that crowd at either end."""

FAINTEST = 1e-12
"""Multipliers are told apart down to so much of the phase's largest."""


class Phase(NamedTuple):
    """So many updates, and the multiplier as a function of their index, which need not be whole."""

    steps: int
    multiplier: Callable[[np.ndarray], np.ndarray]


SHAPES: Mapping[str, Callable[[Any, float], Any]] = MappingProxyType(
    {
        "linear": lambda v, final: 1 - (1 - final) * v,
        "cosine": lambda v, final: final + (1 - final) * (1 + np.cos(np.pi * v)) / 2,
        "sqrt": lambda v, final: 1 - (1 - final) * np.sqrt(v),
        "exponential": lambda v, final: final**v,
    }
)
"""Shapes of a decay from 1 to `final` over `v = 0 .. 1`; "sqrt" is `1 - sqrt(v)`."""


def warm_up(steps: int, shape: str = "linear") -> Phase:
    """From `1 / (steps + 1)` of the peak at the first update to the peak at the update after the last: a decay backwards."""
    return Phase(steps, lambda i: SHAPES[shape](1 - (i + 1) / (steps + 1), 0.0))


def plateau(steps: int, level: float = 1.0) -> Phase:
    """One rate."""
    return Phase(steps, lambda i: np.full(np.shape(i), float(level)))


def decay(steps: int, shape: str, final: float) -> Phase:
    """From the peak at the first update to `final` of it at the update after the last."""
    return Phase(steps, lambda i: SHAPES[shape](i / steps, final))


def inverse_root(steps: int, timescale: float) -> Phase:
    """`1 / sqrt(1 + i / timescale)`."""
    return Phase(steps, lambda i: 1 / np.sqrt(1 + i / timescale))


def borders(phases: Sequence[Phase]) -> np.ndarray:
    """The updates at which phases begin, and the end."""
    return np.concatenate([[0], np.cumsum([phase.steps for phase in phases])]).astype(np.int64)


def cut(phase: Phase, pieces: int) -> np.ndarray:
    """Where pieces of a phase begin, and its end: at most so many, see above.

    >>> cut(decay(1000, "linear", final=0.5), 4), cut(plateau(1000), 4), cut(warm_up(3), 4)
    (array([   0,  271,  529,  773, 1000]), array([   0, 1000]), array([0, 1, 2, 3]))
    """
    count = phase.steps
    if count == 0:
        return np.array([0])
    ends = np.geomspace(1, count, GRID) - 1
    at = np.unique(np.round(np.concatenate([np.linspace(0, count - 1, GRID), ends, count - 1 - ends]).clip(0, count - 1)))
    values = phase.multiplier(at)
    if values.max() == values.min():
        return np.array([0, count])
    if count <= pieces:
        return np.arange(count + 1)
    changes = [at / count]
    for level in (values, np.log(np.maximum(values, FAINTEST * values.max()))):
        change = np.concatenate([[0], np.cumsum(np.abs(np.diff(level)))])
        changes.append(change / change[-1])
    starts = np.ceil(np.interp(np.arange(1, pieces) / pieces, np.mean(changes, axis=0), at) - 1e-9)
    return np.unique(np.concatenate([[0], starts, [count]])).astype(np.int64)


def means(phases: Sequence[Phase], edges: np.ndarray) -> np.ndarray:
    """Mean multiplier of the updates between neighbouring edges, which may lie anywhere in the run.

    >>> means([warm_up(3), plateau(5)], np.array([0, 1, 3, 8]))
    array([0.25 , 0.625, 1.   ])
    """
    limits = borders(phases)
    fine = np.union1d(edges, limits)
    values = np.concatenate(
        [
            _sampled(phase, fine[(fine >= low) & (fine <= low + phase.steps)] - low)
            for phase, low in zip(phases, limits, strict=False)
            if phase.steps > 0
        ]
    )
    sums = np.add.reduceat(values * np.diff(fine), np.searchsorted(fine, edges[:-1]))
    return sums / np.diff(edges)


def _sampled(phase: Phase, edges: np.ndarray) -> np.ndarray:
    """Mean multipliers of pieces of one phase: of all updates of a short piece, by the midpoint rule in a long one."""
    lengths = np.diff(edges)[:, None]
    count = np.minimum(lengths, SAMPLES)
    index = np.arange(count.max())
    at = edges[:-1, None] + (np.minimum(index, count - 1) + 0.5) * lengths / count - 0.5
    return np.where(index < count, phase.multiplier(at), 0.0).sum(axis=1) / count[:, 0]
