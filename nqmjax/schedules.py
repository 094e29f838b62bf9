r"""Named families of schedules, as plans.

A family is a multiplier `f` of the peak rate as a function of the update `t = 0 .. T - 1`. After a warm-up of `w` updates,
`f = (t + 1) / (w + 1)`, the rest is a function of the progress `u = (t - w) / (T - w)`. A piece of several updates has the
multiplier of its middle, so that plans of one piece per update are exact and coarser ones converge to them.

| family | multiplier after the warm-up |
|---|---|
| constant | 1 |
| linear | `1 - (1 - final) u` |
| cosine | `final + (1 - final) (1 + cos(pi u)) / 2` |
| exponential | `final^u` |
| inverse_sqrt | `1 / sqrt(1 + (t - w) / timescale)` |
| wsd | 1, then over the last `cooldown` of the run, `v = 0 .. 1`: `1 - (1 - final) v`, `1 - (1 - final) sqrt(v)` or `final^v` |
| step_decay | 1 for `hold` of the run, then divided by `factor` at the start of each of `drops` equal parts of the rest |
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from nqmjax.checks import check_choice, check_steps, require
from nqmjax.plans import Plan

PIECES = 100
"""Pieces of a plan unless asked otherwise; never more than it has steps."""


def constant(learning_rate: float, steps: int, batch_size: float, warmup: int = 0, pieces: int = PIECES, **others: Any) -> Plan:
    """One rate throughout, after a linear warm-up of `warmup` updates.

    >>> constant(0.1, steps=100, batch_size=64)
    1 pieces, 100 steps, 6,400 examples
    """
    return _plan(learning_rate, steps, batch_size, warmup, pieces if warmup else 1, lambda u, t: 1.0 + 0 * u, others)


def linear(
    learning_rate: float,
    steps: int,
    batch_size: float,
    final: float = 0.0,
    warmup: int = 0,
    pieces: int = PIECES,
    **others: Any,
) -> Plan:
    """A straight line from the peak rate to `final` of it.

    >>> linear(1.0, steps=4, batch_size=64).learning_rate
    array([1.  , 0.75, 0.5 , 0.25])
    """
    final = _share("final", final)
    return _plan(learning_rate, steps, batch_size, warmup, pieces, lambda u, t: 1 - (1 - final) * u, others)


def cosine(
    learning_rate: float,
    steps: int,
    batch_size: float,
    final: float = 0.0,
    warmup: int = 0,
    pieces: int = PIECES,
    **others: Any,
) -> Plan:
    """Half a cosine from the peak rate to `final` of it (Loshchilov & Hutter 2017, without restarts).

    >>> cosine(1.0, steps=4, batch_size=64).learning_rate.round(3)
    array([1.   , 0.854, 0.5  , 0.146])
    """
    final = _share("final", final)

    def multiplier(u: Any, t: Any) -> Any:
        return final + (1 - final) * (1 + np.cos(np.pi * u)) / 2

    return _plan(learning_rate, steps, batch_size, warmup, pieces, multiplier, others)


def exponential(
    learning_rate: float,
    steps: int,
    batch_size: float,
    final: float = 0.01,
    warmup: int = 0,
    pieces: int = PIECES,
    **others: Any,
) -> Plan:
    """A constant factor per update, down to `final` of the peak rate, above 0.

    >>> exponential(1.0, steps=4, batch_size=64, final=0.0625).learning_rate
    array([1.   , 0.5  , 0.25 , 0.125])
    """
    require(0 < final <= 1, "final", final, "give a share of the peak rate above 0 and at most 1")
    return _plan(learning_rate, steps, batch_size, warmup, pieces, lambda u, t: final**u, others)


def inverse_sqrt(
    learning_rate: float,
    steps: int,
    batch_size: float,
    timescale: float | None = None,
    warmup: int = 0,
    pieces: int = PIECES,
    **others: Any,
) -> Plan:
    """The rate falls as one over the square root of time (Vaswani et al. 2017), from `timescale` updates on.

    `timescale` is the warm-up's length by default, or 1 without one.

    >>> inverse_sqrt(1.0, steps=4, batch_size=64).learning_rate.round(3)
    array([1.   , 0.707, 0.577, 0.5  ])
    """
    scale = float(max(warmup, 1) if timescale is None else timescale)
    require(scale > 0, "timescale", timescale, "give a number of updates above 0")
    return _plan(learning_rate, steps, batch_size, warmup, pieces, lambda u, t: 1 / np.sqrt(1 + t / scale), others)


COOLDOWNS: Mapping[str, Callable[[Any, float], Any]] = MappingProxyType(
    {
        "linear": lambda v, final: 1 - (1 - final) * v,
        "sqrt": lambda v, final: 1 - (1 - final) * np.sqrt(v),
        "exponential": lambda v, final: final**v,
    }
)
"""Shapes of the cooldown of `wsd` over `v = 0 .. 1`; "sqrt" is `1 - sqrt(v)`."""


def wsd(
    learning_rate: float,
    steps: int,
    batch_size: float,
    cooldown: float = 0.2,
    shape: str = "linear",
    final: float | None = None,
    warmup: int = 0,
    pieces: int = PIECES,
    **others: Any,
) -> Plan:
    """Warm-up, stable, decay: the peak rate, then a cooldown over the last share `cooldown` of the run.

    Shapes are "linear", "sqrt" (`1 - sqrt`, Hägele et al. 2024) and "exponential"; the rate ends at `final` of the peak, by
    default 0, or 0.01 for the exponential one.

    >>> wsd(1.0, steps=10, batch_size=64, cooldown=0.4).learning_rate
    array([1.  , 1.  , 1.  , 1.  , 1.  , 1.  , 1.  , 0.75, 0.5 , 0.25])
    """
    check_choice("shape", shape, COOLDOWNS)
    final = _share("final", (0.01 if shape == "exponential" else 0.0) if final is None else final)
    require(final > 0 or shape != "exponential", "final", final, "an exponential cooldown needs a share above 0")
    cooldown = _share("cooldown", cooldown)
    stable = 1 - cooldown
    check_steps("steps", steps)

    def multiplier(u: Any, t: Any) -> Any:
        v = np.clip((u - stable) / cooldown, 0, 1) if cooldown > 0 else 0.0 * u
        return COOLDOWNS[shape](v, final)

    start = warmup + round((steps - warmup) * stable)
    return _plan(learning_rate, steps, batch_size, warmup, pieces, multiplier, others, [start])


def step_decay(
    learning_rate: float,
    steps: int,
    batch_size: float,
    factor: float = 2.0,
    drops: int = 10,
    hold: float = 0.5,
    final: float | None = None,
    warmup: int = 0,
    pieces: int = PIECES,
    **others: Any,
) -> Plan:
    """The peak rate for a share `hold` of the run, then divided by `factor` in each of `drops` equal parts of the rest.

    With `final`, the factor is such that the last part has that share of the peak: `factor = final^(-1/drops)`. `pieces`
    only divides the warm-up; the plateaus are exact.

    >>> step_decay(1.0, steps=8, batch_size=64, drops=2)
    3 pieces, 8 steps, 512 examples

    Source: Smith et al. 2020, appendices A (the defaults) and G (`final`).
    """
    require(int(drops) == drops and drops >= 0, "drops", drops, "give a whole number of drops")
    hold = _share("hold", hold)
    if final is not None:
        require(0 < final <= 1, "final", final, "give a share of the peak rate above 0 and at most 1")
        factor = final ** (-1 / max(int(drops), 1))
    require(factor > 0, "factor", factor, "give a factor above 0")
    check_steps("steps", steps)
    starts = [int(np.ceil(steps * (hold + (1 - hold) * k / max(drops, 1)) - 1e-9)) for k in range(int(drops))]

    def multiplier(u: Any, t: Any) -> Any:
        return factor ** -np.searchsorted(starts, warmup + t, side="right").astype(float)

    return _plan(learning_rate, steps, batch_size, warmup, pieces if warmup else 1, multiplier, others, starts)


FAMILIES: Mapping[str, Callable[..., Plan]] = MappingProxyType(
    {family.__name__: family for family in (constant, step_decay, cosine, linear, exponential, inverse_sqrt, wsd)}
)
"""Families by name."""


def options(family: str) -> list[str]:
    """Names of a family's own arguments.

    >>> options("wsd")
    ['cooldown', 'shape', 'final', 'warmup']
    """
    check_choice("family", family, FAMILIES)
    common = ("learning_rate", "steps", "batch_size", "pieces", "others")
    return [name for name in inspect.signature(FAMILIES[family]).parameters if name not in common]


def _plan(
    peak: float,
    steps: int,
    batch_size: float,
    warmup: int,
    pieces: int,
    multiplier: Callable[[Any, Any], Any],
    others: dict[str, Any],
    knots: Iterable[int] = (),
) -> Plan:
    """Equal pieces, cut at the knots too, each with the multiplier of its middle."""
    check_steps("steps", steps)
    check_steps("warmup", warmup)
    require(steps >= 1, "steps", steps, "give at least one")
    require(warmup < steps, "warmup", warmup, f"give fewer updates than the run has, {steps}")
    require(
        np.isfinite(pieces) and int(pieces) == pieces and pieces >= 1,
        "pieces",
        pieces,
        "give a whole number of pieces, at least 1",
    )
    cuts = np.round(np.linspace(0, steps, int(min(pieces, steps)) + 1)).astype(int)
    edges = np.unique(np.concatenate([cuts, np.clip([warmup, *knots], 0, steps)]).astype(int))
    middle = (edges[:-1] + edges[1:] - 1) / 2
    after = np.maximum(middle - warmup, 0)
    rest = multiplier(after / (steps - warmup), after)
    values = np.where(middle < warmup, (middle + 1) / (warmup + 1), rest)
    return Plan(peak * values, steps=np.diff(edges), batch_size=batch_size, **others)


def _share(name: str, value: float) -> float:
    require(0 <= value <= 1, name, value, "give a share from 0 to 1")
    return float(value)
