r"""Critical batch sizes along the loss, as the laws fitted to real runs have it."""

import math
from typing import Any

import numpy as np
import xarray as xr

from nqmjax._tools import check_choice, numeric, require
from nqmjax.runs.laws import law_inputs
from nqmjax.runs.predict import RunModel, check_model, mean_log_losses
from nqmjax.runs.settings import RunSchedule, run_settings
from nqmjax.scaling import critical_batch_size

STEPS = np.geomspace(10.0, 1e7, 121)
"""Updates at which the loss is computed."""

EARLY = 20
"""Place in `STEPS` of the loss at which training counts as begun."""


def critical_batch_sizes(
    model: RunModel,
    model_size: float,
    losses: Any = None,
    definition: str = "overhead",
    overhead: float = 0.2,
    schedule: RunSchedule | None = None,
) -> xr.Dataset:
    """Critical batch size along the loss, of one model size, each run with the schedule over its own length.

    For each loss and four batch sizes to every doubling of those seen, the fewest updates are found that are predicted to
    reach it at the peak rate of the runs; see `critical_batch_size` for the definitions. Batch sizes below the one that needs
    the fewest examples are left out: at a given rate it is noise that limits them.

    Args:
      model: see `fit` and `read_model`.
      model_size: parameters.
      losses: nats, which models of this size can reach; by default ten from early in training to near the best they can do.
      definition: "overhead" or "knee".
      overhead: for "overhead": examples above perfect scaling.
      schedule: of the runs; by default the commonest of those fitted to.

    Returns:
      `xarray.Dataset` over `loss` and `batch_size`: `steps` (inf where the loss is not reached) and `critical_batch_size`
      (NaN where too few batch sizes reach it), with `bound`, "" for an estimate.

    Raises:
      ValueError: an argument is out of its range.
    """
    check_model(model, None)
    check_choice("definition", definition, ["knee", "overhead"])
    schedule = model.schedule if schedule is None else schedule
    ends = np.log2(model.seen["batch_size"])
    sizes = 2.0 ** np.arange(ends[0], ends[1] + 1e-9, 0.25)
    require(len(sizes) > 2, "the range of batch sizes seen", model.seen["batch_size"], "it spans less than a factor of 1.4")
    curves = _curves(model, model_size, sizes, schedule)
    losses = _ten_losses(curves) if losses is None else np.atleast_1d(numeric("losses", losses))
    require(bool((losses > 0).all()), "losses", losses, "give nats, above 0")
    reached = np.array([[_first(np.log(STEPS), curve, math.log(loss)) for curve in curves] for loss in losses])
    found = [_critical(sizes, row, definition, overhead) for row in reached]
    return xr.Dataset(
        {
            "steps": (("loss", "batch_size"), reached, {"units": "updates"}),
            "critical_batch_size": ("loss", [value for value, _ in found], {"units": "examples"}),
            "bound": ("loss", [bound for _, bound in found]),
        },
        coords={"loss": ("loss", losses, {"units": "nats"}), "batch_size": ("batch_size", sizes, {"units": "examples"})},
        attrs={"model_size": float(model_size), "definition": definition},
    )


def _curves(model: RunModel, model_size: float, batch_size: np.ndarray, schedule: RunSchedule) -> np.ndarray:
    """Least log losses within `STEPS` updates, `(batch sizes, steps)`."""
    batches, updates = (part.ravel() for part in np.meshgrid(batch_size, STEPS, indexing="ij"))
    inputs = law_inputs(run_settings(model_size, batches, updates, model.learning_rate, schedule))
    return np.minimum.accumulate(mean_log_losses(model, inputs).reshape(len(batch_size), -1), axis=1)


def _ten_losses(curves: np.ndarray) -> np.ndarray:
    """Ten losses from early in training to near the best, of four digits."""
    low, high = curves.min(), curves[:, EARLY].min()
    return np.array([float(f"{loss:.4g}") for loss in np.exp(np.linspace(low + 0.1 * (high - low), high, 10))])


def _first(log_steps: np.ndarray, curve: np.ndarray, level: float) -> float:
    """Where a falling curve first is at a level, interpolated; inf if nowhere."""
    below = np.flatnonzero(curve <= level)
    if not below.size:
        return math.inf
    at = int(below[0])
    if at == 0:
        return float(np.exp(log_steps[0]))
    share = (curve[at - 1] - level) / (curve[at - 1] - curve[at])
    return float(np.exp(log_steps[at - 1] + share * (log_steps[at] - log_steps[at - 1])))


def _critical(sizes: np.ndarray, steps: np.ndarray, definition: str, overhead: float) -> tuple[float, str]:
    examples = sizes * steps
    fewest = int(np.argmax(examples <= 1.01 * examples.min()))
    known = np.isfinite(steps) & (steps > 10.0 * (1 + 1e-9)) & (np.arange(len(sizes)) >= fewest)
    if known.sum() < 3:
        return math.nan, ""
    found = critical_batch_size((sizes[known], steps[known]), definition, overhead)
    return found.batch_size, found.bound or ""
