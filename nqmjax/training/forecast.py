"""Updates and rates of several optimizers at any batch size, from a few tuned runs of each, and what to make of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from nqmjax._tools import check_batch_size, numeric, plain_exponent, require
from nqmjax.scaling import AnchoredCurve, Observed, anchored_curve, critical_batch_size, optimizer_name, recipes
from nqmjax.training.methods import AVERAGED

ENDS = ("", "_lower", "_upper")
DEFINITIONS = ("overhead", "knee")
"""Definitions of the critical batch size, see `nqmjax.critical_batch_size`."""

ALIKE = {"lars": "heavy_ball"}
"""Optimizers that scale with the batch size as others do, by what is known of them."""

FASTER = 1.05
"""Updates of one optimizer over those of another from which it is called slower."""


def habits_of(label: str) -> str:
    """The optimizer whose habits a label's are: an average has those of what it averages.

    Raises:
      ValueError: there is no such optimizer.
    """
    inner = "sgd" if label == AVERAGED else label.removeprefix(f"{AVERAGED}_")
    try:
        optimizer_name(ALIKE.get(inner, inner))
    except ValueError:
        remedy = "how its rates grow with the batch size is not known: label it by the name of an optimizer that it is like"
        require(False, "the optimizer", repr(label), remedy)
    return ALIKE.get(inner, inner)


def forecast(runs: Sequence[Observed], batch_sizes: Any, *, level: float = 0.9) -> xr.Dataset:
    """Updates and rates at any batch size by the anchored law, critical batch sizes, and a paragraph of advice.

    Args:
      runs: tuned runs of each optimizer, as `nqmjax.read_observed` lists them; the label of each is the optimizer's name.
      batch_sizes: examples per update, shape `(b,)`.
      level: of the intervals.

    Returns:
      `xarray.Dataset` over optimizer and batch_size of `steps` and `learning_rate`, each with `_lower` and `_upper`; over
      optimizer and definition of `critical_batch_size` with `_lower` and `_upper` and its `critical_batch_size_bound`; the
      attribute `advice` says in words what follows.

    Raises:
      ValueError: a label is no optimizer's name, or another argument is out of its range.

    >>> runs = [Observed([16, 1024], [3000, 120], [0.02, 0.3], label="sgd")]
    >>> runs.append(Observed([16, 1024], [3100, 60], [2e-3, 0.1], label="heavy_ball"))
    >>> table = forecast(runs, [64, 256])
    >>> table.steps.sel(optimizer="heavy_ball").values.round(-1)
    array([790., 210.])
    """
    listed = isinstance(runs, Sequence) and len(runs) > 0 and all(isinstance(one, Observed) for one in runs)
    require(listed, "runs", type(runs).__name__, "give a list of Observed, as read_observed returns it")
    labels = [one.label for one in runs]
    require(len(set(labels)) == len(labels), "the labels of runs", ", ".join(labels), "give each optimizer once")
    batches = np.atleast_1d(numeric("batch_sizes", batch_sizes))
    require(batches.ndim == 1 and batches.size > 0, "the shape of batch_sizes", batches.shape, "give a 1-D array, not empty")
    check_batch_size(batches)
    curves = {one.label: anchored_curve(one, habits_of(one.label), level=level) for one in runs}
    parts = [_of_one(curve, batches).expand_dims(optimizer=[label]) for label, curve in curves.items()]
    table = xr.concat(parts, "optimizer", data_vars="all", join="exact", coords="minimal", compat="equals")
    remarks = [f"{label}: {remark}" for label, curve in curves.items() for remark in curve.remarks]
    table.attrs = {"title": "updates and rates by the anchored law", "level": level, "advice": advice(table)}
    return table.assign_attrs(remarks="\n".join(remarks))


def _of_one(curve: AnchoredCurve, batches: np.ndarray) -> xr.Dataset:
    names = [name + end for name in ("steps", "learning_rate") for end in ENDS]
    table = recipes(curve, batches)
    nothing = xr.full_like(table.steps, np.nan)
    found = xr.Dataset({name: table.get(name, nothing) for name in names})
    found["learning_rate"].attrs["units"] = "1"
    critical = [None if curve.bounds_only else critical_batch_size(curve, name) for name in DEFINITIONS]
    values = [(np.nan, np.nan, np.nan, "") if one is None else _ends(one) for one in critical]
    places = ("critical_batch_size", "critical_batch_size_lower", "critical_batch_size_upper", "critical_batch_size_bound")
    for place, column in zip(places, zip(*values, strict=True), strict=True):
        found[place] = "definition", np.array(column), {} if place.endswith("bound") else {"units": "examples"}
    return found.assign_coords(definition=list(DEFINITIONS))


def _ends(one: Any) -> tuple[float, float, float, str]:
    """Value and interval; a bound is open on its other side."""
    if one.interval is not None:
        return (one.batch_size, *one.interval, "")
    ends = {"at least": (one.batch_size, np.inf), "at most": (1.0, one.batch_size)}[one.bound]
    return (one.batch_size, *ends, one.bound)


def advice(table: xr.Dataset) -> str:
    """What a table of `forecast` says, in a paragraph."""
    labels, batches = table.optimizer.values.tolist(), table.batch_size.values
    words = [_limit(label, table.sel(optimizer=label, definition="overhead")) for label in labels]
    steps = table.steps.transpose("optimizer", "batch_size").values
    known = np.isfinite(steps).all(0)
    if len(labels) > 1 and known.any():
        words += [_best(labels, steps[:, place], batches[place]) for place in np.flatnonzero(known)[[0, -1]]]
    return " ".join(dict.fromkeys(words))


def _limit(label: str, one: xr.Dataset) -> str:
    value, bound = float(one.critical_batch_size), str(one.critical_batch_size_bound.values)
    if np.isnan(value):
        return f"For {label} one batch size tells no more than bounds: tune at a second one."
    if bound:
        side = "pays far beyond" if bound == "at least" else "pays little already at"
        return f"With {label} a larger batch {side} the batch sizes that were run."
    lower, upper = (_text(float(one[f"critical_batch_size_{end}"])) for end in ("lower", "upper"))
    return f"With {label}, batches up to {_text(value)} ({lower} to {upper}) cost at most 20% more examples than small ones."


def _best(labels: list[str], steps: np.ndarray, batch: float) -> str:
    order = np.argsort(steps)
    first, fewest = labels[order[0]], float(steps[order[0]])
    others = [f"{labels[place]} {steps[place] / fewest:.3g}" for place in order[1:]]
    if steps[order[-1]] < FASTER * fewest:
        return f"At batch size {batch:g} all take about {_text(fewest)} updates."
    return f"At batch size {batch:g} {first} takes the fewest updates, {_text(fewest)} ({', '.join(others)} times as many)."


def _text(value: float) -> str:
    return plain_exponent(f"{value:.3g}")


def with_pilots(table: xr.Dataset, pilots: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """A forecast with the tuned runs on which it rests: over optimizer and pilot their batch size, updates, rate and cost."""
    parts = [one.expand_dims(optimizer=[label]) for label, one in pilots.items()]
    return xr.merge([table, xr.concat(parts, "optimizer")], combine_attrs="override")
