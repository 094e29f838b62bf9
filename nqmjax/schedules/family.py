"""Families of schedules as records: the phases of which each is made, its settings, and how these are tuned.

See `nqmjax.schedules` for the formulas and for the functions that one calls.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from nqmjax._tools import check_choice, check_steps, is_traced, require, scalar, whole
from nqmjax.schedules.phases import SHAPES, Phase, borders, cut, decay, inverse_root, means, plateau, warm_up
from nqmjax.schedules.plan import Plan


class Setting(NamedTuple):
    """How a setting of a family is tuned: from where, in which range, on which axis, by which first step on it.

    A logarithmic axis ends at `least`, which stands for `low`.
    """

    start: float
    low: float
    high: float
    step: float
    logarithmic: bool = False
    least: float = 0.0


WARMUP = Setting(0.0, 0.0, 0.5, 0.1)
FINAL = Setting(0.05, 0.0, 1.0, 1.0, logarithmic=True, least=1e-6)
POSITIVE_FINAL = Setting(0.05, 1e-6, 1.0, 1.0, logarithmic=True, least=1e-6)
COOLDOWN = Setting(0.5, 0.01, 1.0, -0.1)
TIMESCALE = Setting(0.1, 1e-9, 1e9, 1.0, logarithmic=True, least=1e-9)


class Family(NamedTuple):
    """A family of schedules: the phases after a warm-up, its own settings with their defaults, and which of them are tuned.

    `course(steps, warm, **settings)` are the phases that follow a warm-up of `warm` updates in a run of `steps`.
    """

    course: Callable[..., list[Phase]]
    settings: Mapping[str, Any]
    tuned: Mapping[str, Setting]

    def phases(
        self,
        steps: int,
        warmup: float | None = None,
        warmup_steps: int | None = None,
        warmup_shape: str = "linear",
        **settings: Any,
    ) -> list[Phase]:
        """The phases of a run."""
        steps = whole("steps", steps)
        check_steps("steps", steps)
        warm = _updates("warmup", warmup, warmup_steps, steps, 0.0)
        require(warmup_steps is None or warm < steps, "warmup_steps", warm, f"give fewer updates than the run has, {steps}")
        require(warmup is None or warmup < 1, "warmup", warmup, "give a share of the run below 1")
        check_choice("warmup_shape", warmup_shape, SHAPES)
        require(warmup_shape != "exponential", "warmup_shape", warmup_shape, "an exponential cannot climb from 0")
        warm = min(warm, steps - 1)
        return [warm_up(warm, warmup_shape), *self.course(steps, warm, **{**self.settings, **settings})]

    def plan(self, learning_rate: Any, batch_size: Any, pieces: int, others: Mapping[str, Any], **settings: Any) -> Plan:
        """The plan of a peak rate, `settings` as `phases` takes them and `others`, hyperparameters that the plan names too."""
        if not is_traced(learning_rate):
            rate = scalar("learning_rate", learning_rate)
            require(0 <= rate < np.inf, "learning_rate", rate, "give a finite rate that is not negative")
        most = whole("pieces", pieces)
        phases = self.phases(**settings)
        limits = borders(phases)
        edges = np.concatenate([cut(phase, most) + low for phase, low in zip(phases, limits, strict=False)])
        edges = np.unique(edges)
        values = means(phases, edges)
        rates = learning_rate * values if is_traced(learning_rate) else float(learning_rate) * values
        return Plan(rates, steps=np.diff(edges), batch_size=batch_size, **others)


def _flat(steps: int, warm: int) -> list[Phase]:
    return [plateau(steps - warm)]


def _decay(shape: str) -> Callable[..., list[Phase]]:
    def course(steps: int, warm: int, final: float) -> list[Phase]:
        return [decay(steps - warm, shape, _final(final, shape))]

    return course


def _root(steps: int, warm: int, timescale: float | None, timescale_steps: float | None = None) -> list[Phase]:
    require(
        timescale is None or timescale_steps is None,
        "timescale and timescale_steps",
        (timescale, timescale_steps),
        "give one of the two",
    )
    name, unit = ("timescale_steps", 1) if timescale is None else ("timescale", steps)
    given = timescale_steps if timescale is None else timescale
    length = warm + 1.0 if given is None else unit * scalar(name, given)
    require(0 < length < np.inf, name, given, "give a time above 0")
    return [inverse_root(steps - warm, length)]


def _stable_then_decay(
    steps: int, warm: int, cooldown: float | None, shape: str, final: float | None, cooldown_steps: int | None = None
) -> list[Phase]:
    check_choice("shape", shape, SHAPES)
    final = _final((0.01 if shape == "exponential" else 0.0) if final is None else final, shape)
    last = _updates("cooldown", cooldown, cooldown_steps, steps, 0.2)
    # Shares that fill the run may add up to an update more.
    room = steps - warm + (cooldown_steps is None)
    require(last <= room, "the cooldown", f"{last} updates", f"the run has {steps - warm} after its warm-up of {warm}")
    last = min(last, steps - warm)
    return [plateau(steps - warm - last), decay(last, shape, final)]


def _stairs(steps: int, warm: int, factor: float, drops: int, hold: float, final: float | None) -> list[Phase]:
    drops, hold, factor = whole("drops", drops, 0), scalar("hold", hold), scalar("factor", factor)
    require(0 <= hold <= 1, "hold", hold, "give a share of the run from 0 to 1")
    if final is not None:
        factor = _final(final, "exponential") ** (-1 / max(drops, 1))
    require(0 < factor < np.inf, "factor", factor, "give a factor above 0")
    starts = np.ceil(steps * (hold + (1 - hold) * np.arange(drops) / max(drops, 1)) - 1e-9).astype(int)
    limits = np.maximum([warm, *starts, steps], warm)
    return [plateau(length, factor**-level) for level, length in enumerate(np.diff(limits).tolist())]


def _final(value: float, shape: str) -> float:
    value = scalar("final", value)
    if shape == "exponential":
        require(0 < value <= 1, "final", value, "give a share of the peak rate above 0 and at most 1")
    require(0 <= value <= 1, "final", value, "give a share of the peak rate from 0 to 1")
    return value


def _updates(name: str, share: float | None, count: int | None, steps: int, default: float) -> int:
    """A number of updates, given as a share of the run or as that number."""
    if count is not None:
        require(share is None, f"{name} and {name}_steps", (share, count), "give one of the two")
        return whole(f"{name}_steps", count, 0)
    part = scalar(name, default if share is None else share)
    hint = f"; for {part:g} updates give {name}_steps={part:g}" if part > 1 else ""
    require(0 <= part <= 1, name, f"{part:g}", f"give a share of the run from 0 to 1{hint}")
    return int(np.clip(round(part * steps), part > 0, steps))


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "constant": Family(_flat, {}, {}),
        "step_decay": Family(_stairs, {"factor": 2.0, "drops": 10, "hold": 0.5, "final": None}, {"final": POSITIVE_FINAL}),
        "cosine": Family(_decay("cosine"), {"final": 0.0}, {"final": FINAL}),
        "linear": Family(_decay("linear"), {"final": 0.0}, {"final": FINAL}),
        "exponential": Family(_decay("exponential"), {"final": 0.01}, {"final": POSITIVE_FINAL}),
        "inverse_sqrt": Family(_root, {"timescale": None}, {"timescale": TIMESCALE}),
        "wsd": Family(
            _stable_then_decay, {"cooldown": None, "shape": "linear", "final": None}, {"cooldown": COOLDOWN, "final": FINAL}
        ),
    }
)
"""Families by name."""


def options(family: str) -> list[str]:
    """Names of a family's own settings, those that are numbers of updates left out.

    >>> options("wsd")
    ['cooldown', 'shape', 'final', 'warmup']
    """
    check_choice("family", family, FAMILIES)
    return [*FAMILIES[family].settings, "warmup"]
