r"""Named families of schedules, as plans.

A family is a multiplier `f` of the peak rate as a function of the update `t = 0 .. T - 1`, joined of phases. A warm-up of `w`
updates, `f = (t + 1) / (w + 1)`, is followed by the family's own course, with `u = (t - w) / (T - w)`:

| family | multiplier after the warm-up |
|---|---|
| constant | 1 |
| linear | `1 - (1 - final) u` |
| cosine | `final + (1 - final) (1 + cos(pi u)) / 2` |
| exponential | `final^u` |
| inverse_sqrt | `1 / sqrt(1 + (t - w) / timescale)` |
| wsd | 1, then over the last `c` updates one of these decays: linear, cosine, exponential, or sqrt, `1 - (1 - final) sqrt(v)` |
| step_decay | 1 for `hold` of the run, then divided by `factor` at the start of each of `drops` equal parts of the rest |

**Shares.** `warmup`, `cooldown`, `hold` and `timescale` are shares of the whole run in every family; `final` is a share of the
peak rate. `warmup_steps`, `cooldown_steps` and `timescale_steps` are numbers of updates instead; give one of the two. A share
above 0 is at least one update.

**Pieces.** Each piece of a plan has the mean of its updates' rates. Warm-up, course and cooldown have pieces of their own, at
most `pieces` each: one for each update where these are no more, so that the plan is exact; one for a plateau; else as
`nqmjax.schedules.phases` says, so that within a piece the rates differ by at most `3 / pieces` of the phase's change.

**Other libraries.** A decay reaches `final` at update `T`, one after the last, as `optax.cosine_decay_schedule(peak, T)` and
PyTorch's `CosineAnnealingLR(optimizer, T)` do. The first update of a warm-up is not lost to a rate of 0: `f(t)` is what the
schedulers of `transformers` (and `optax.warmup_cosine_decay_schedule` from 0) give at step `t + 1` with `w + 1` warm-up steps
and `T + 1` training steps. It is also `optax.warmup_cosine_decay_schedule(peak / (w + 1), peak, w, T)` at step `t`, and
PyTorch's `LinearLR(optimizer, 1 / (w + 1), 1, w)` before another scheduler.
"""

from typing import Any

from nqmjax.schedules.family import FAMILIES, options
from nqmjax.schedules.plan import Plan

__all__ = ["FAMILIES", "constant", "cosine", "exponential", "inverse_sqrt", "linear", "options", "step_decay", "wsd"]

PIECES = 100
"""Pieces of each phase of a plan unless asked otherwise; never more than it has updates."""


def constant(
    learning_rate: float,
    steps: int,
    batch_size: float,
    *,
    warmup: float | None = None,
    warmup_steps: int | None = None,
    pieces: int = PIECES,
    **others: Any,
) -> Plan:
    """One rate throughout, after a linear warm-up over the share `warmup` of the run or `warmup_steps` updates.

    >>> constant(0.1, steps=100, batch_size=64)
    1 pieces, 100 steps, 6,400 examples
    """
    given = {"steps": steps, "warmup": warmup, "warmup_steps": warmup_steps}
    return FAMILIES["constant"].plan(learning_rate, batch_size, pieces, others, **given)


def linear(
    learning_rate: float,
    steps: int,
    batch_size: float,
    *,
    final: float = 0.0,
    warmup: float | None = None,
    warmup_steps: int | None = None,
    pieces: int = PIECES,
    **others: Any,
) -> Plan:
    """A straight line from the peak rate to `final` of it, after a warm-up.

    >>> linear(1.0, steps=4, batch_size=64).learning_rate
    array([1.  , 0.75, 0.5 , 0.25])
    """
    given = {"steps": steps, "warmup": warmup, "warmup_steps": warmup_steps, "final": final}
    return FAMILIES["linear"].plan(learning_rate, batch_size, pieces, others, **given)


def cosine(
    learning_rate: float,
    steps: int,
    batch_size: float,
    *,
    final: float = 0.0,
    warmup: float | None = None,
    warmup_steps: int | None = None,
    pieces: int = PIECES,
    **others: Any,
) -> Plan:
    """Half a cosine from the peak rate to `final` of it (Loshchilov & Hutter 2017, without restarts), after a warm-up.

    >>> cosine(1.0, steps=4, batch_size=64).learning_rate.round(3)
    array([1.   , 0.854, 0.5  , 0.146])
    >>> cosine(501, steps=50_000, batch_size=1024, warmup_steps=500).learning_rate[:3].round(6)
    array([1., 2., 3.])
    """
    given = {"steps": steps, "warmup": warmup, "warmup_steps": warmup_steps, "final": final}
    return FAMILIES["cosine"].plan(learning_rate, batch_size, pieces, others, **given)


def exponential(
    learning_rate: float,
    steps: int,
    batch_size: float,
    *,
    final: float = 0.01,
    warmup: float | None = None,
    warmup_steps: int | None = None,
    pieces: int = PIECES,
    **others: Any,
) -> Plan:
    """A constant factor per update, down to `final` of the peak rate, above 0, after a warm-up.

    >>> exponential(1.0, steps=4, batch_size=64, final=0.0625).learning_rate
    array([1.   , 0.5  , 0.25 , 0.125])
    """
    given = {"steps": steps, "warmup": warmup, "warmup_steps": warmup_steps, "final": final}
    return FAMILIES["exponential"].plan(learning_rate, batch_size, pieces, others, **given)


def inverse_sqrt(
    learning_rate: float,
    steps: int,
    batch_size: float,
    *,
    timescale: float | None = None,
    timescale_steps: float | None = None,
    warmup: float | None = None,
    warmup_steps: int | None = None,
    pieces: int = PIECES,
    **others: Any,
) -> Plan:
    """The rate falls as one over the square root of time (Vaswani et al. 2017), after a warm-up.

    `timescale`, a share of the run, or `timescale_steps`, in updates, is one update more than the warm-up by default, so that
    the rate is `sqrt((w + 1) / (t + 1))` of the peak.

    >>> inverse_sqrt(1.0, steps=4, batch_size=64).learning_rate.round(3)
    array([1.   , 0.707, 0.577, 0.5  ])
    """
    given = {"steps": steps, "warmup": warmup, "warmup_steps": warmup_steps}
    given |= {"timescale": timescale, "timescale_steps": timescale_steps}
    return FAMILIES["inverse_sqrt"].plan(learning_rate, batch_size, pieces, others, **given)


def wsd(
    learning_rate: float,
    steps: int,
    batch_size: float,
    *,
    cooldown: float | None = None,
    cooldown_steps: int | None = None,
    shape: str = "linear",
    final: float | None = None,
    warmup: float | None = None,
    warmup_steps: int | None = None,
    warmup_shape: str = "linear",
    pieces: int = PIECES,
    **others: Any,
) -> Plan:
    """Warm-up, stable, decay: the peak rate, then a cooldown over the last share `cooldown` of the run, 0.2 by default.

    Shapes are "linear", "cosine", "sqrt" (`1 - sqrt`, Hägele et al. 2024; "1-sqrt" in `transformers`) and "exponential"; the
    rate ends at `final` of the peak, by default 0, or 0.01 for the exponential one. `warmup_shape` is one of the first three.
    The warm-up climbs from 0 whatever `final` is; `transformers` lets it begin at its `min_lr_ratio`.

    >>> wsd(1.0, steps=10, batch_size=64, cooldown=0.4).learning_rate
    array([1.  , 1.  , 0.75, 0.5 , 0.25])
    """
    given = {"steps": steps, "warmup": warmup, "warmup_steps": warmup_steps, "warmup_shape": warmup_shape}
    given |= {"cooldown": cooldown, "cooldown_steps": cooldown_steps, "shape": shape, "final": final}
    return FAMILIES["wsd"].plan(learning_rate, batch_size, pieces, others, **given)


def step_decay(
    learning_rate: float,
    steps: int,
    batch_size: float,
    *,
    factor: float = 2.0,
    drops: int = 10,
    hold: float = 0.5,
    final: float | None = None,
    warmup: float | None = None,
    warmup_steps: int | None = None,
    pieces: int = PIECES,
    **others: Any,
) -> Plan:
    """The peak rate for a share `hold` of the run, then divided by `factor` in each of `drops` equal parts of the rest.

    With `final`, the factor is such that the last part has that share of the peak: `factor = final^(-1/drops)`. `hold` counts
    from the start of the run, a warm-up included; `pieces` only divides the warm-up, the plateaus are exact.

    >>> step_decay(1.0, steps=8, batch_size=64, drops=2)
    3 pieces, 8 steps, 512 examples

    Source: Smith et al. 2020, appendices A (the defaults) and G (`final`).
    """
    given = {"steps": steps, "warmup": warmup, "warmup_steps": warmup_steps}
    given |= {"factor": factor, "drops": drops, "hold": hold, "final": final}
    return FAMILIES["step_decay"].plan(learning_rate, batch_size, pieces, others, **given)
