"""How far from the runs that were fitted to a question lies."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from nqmjax.runs.laws import Inputs, law_inputs
from nqmjax.runs.settings import RunSchedule, RunSettings, run_settings

SIZES = ("model_size", "batch_size", "steps")

LIKE = 0.05
"""Mean difference of two schedules, in shares of the peak, up to which they are alike: linear and cosine are 0.07 apart."""

TIMES = (np.arange(100) + 0.5) / 100
"""Shares of a run at which schedules are compared."""


def outside(
    seen: Mapping[str, tuple[float, float]], schedules: Sequence[RunSchedule], settings: RunSettings, inputs: Inputs
) -> list[str]:
    """For each run, which settings lie outside what was seen, as text; "" for none.

    Args:
      seen: least and largest of each setting and of the compute, see `RunModel.seen`.
      schedules: those seen.
      settings: of the runs that are asked for.
      inputs: the same as a law takes them, which may be plans of several batch sizes.
    """
    ends = {name: (getattr(settings, name),) * 2 for name in (*SIZES, "learning_rate")}
    if inputs.batch is not None:
        batches = settings.batch_size[:, None] * inputs.batch
        ends["batch_size"] = batches.min(axis=1), batches.max(axis=1)
    ends["compute"] = (settings.model_size * settings.batch_size * settings.steps,) * 2
    marks = []
    for name, (least, most) in ends.items():
        low, high = seen[name]
        above, below = most > high * (1 + 1e-9), least < low * (1 - 1e-9)
        marks.append(np.where(above, f"{name} above", np.where(below, f"{name} below", "")))
    marks.append(np.where(_unseen(schedules, inputs), "schedule unseen", ""))
    return [", ".join(filter(None, row)) for row in zip(*marks, strict=True)]


def distance(seen: tuple[float, float], compute: np.ndarray) -> np.ndarray:
    """How far runs lie beyond the largest compute seen, in units of the range of the log compute, a factor of 4 at least."""
    low, high = seen
    return np.log(np.maximum(np.asarray(compute) / high, 1.0)) / max(math.log(high / low), math.log(4.0))


def nearest(known: np.ndarray, settings: RunSettings) -> np.ndarray:
    """For each run, the least factor within which a run that was fitted to, a row of `known`, has the same N, B and K."""
    asked = np.stack([getattr(settings, name) for name in SIZES], axis=-1)
    distances = abs(np.log(asked)[:, None] - np.log(known[:, :3])).max(axis=-1)
    return np.exp(distances.min(axis=1))


def _unseen(schedules: Sequence[RunSchedule], inputs: Inputs) -> np.ndarray:
    """Whether the schedule of each run differs from all those seen by more than `LIKE`, or its batch size varies."""
    one = np.ones(len(schedules))
    known = law_inputs(run_settings(1e6 * one, one, one, one, schedules))
    curves = _curves(known.share, known.multiplier)
    rows, which = np.unique(np.hstack([inputs.share, inputs.multiplier]), axis=0, return_inverse=True)
    asked = _curves(*np.hsplit(rows, 2))
    distance = np.min([abs(asked - curve).mean(axis=1) for curve in curves], axis=0)
    varies = False if inputs.batch is None else np.ptp(inputs.batch, axis=1) > 1e-9
    return (distance > LIKE)[which.ravel()] | varies


def _curves(share: np.ndarray, multiplier: np.ndarray) -> np.ndarray:
    """Multipliers of the peak rate at `TIMES`, `(schedules, times)`."""
    ends = np.cumsum(share, axis=1)[:, None, :-1]
    piece = (TIMES[:, None] > ends).sum(axis=2)
    return np.take_along_axis(multiplier, piece, axis=1)
