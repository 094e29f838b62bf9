"""Runs that are predicted or planned, as text."""

from typing import Any

import numpy as np
import xarray as xr

from nqmjax._tools import plain_exponent
from nqmjax.cli.reports.cautions import run_cautions, table_cautions
from nqmjax.cli.reports.text import columns_text, lines_of, report, wrap
from nqmjax.runs import RunModel, RunPlan

LETTERS = {"model_size": "N", "batch_size": "B", "steps": "K"}
"""Settings by their names in files."""

MARKED = LETTERS | {"learning_rate": "learning_rate"}
"""Settings that may lie outside the runs."""

FAR = 2.0
"""Factor in a setting from which the nearest run is worth a word."""


def short(value: float) -> str:
    """A number as people write it: all digits of a whole one that is not long, else four.

    >>> short(20312), short(1.23456e9), short(0.00012345)
    ('20,312', '1.235e9', '0.0001234')
    """
    value = float(value) if float(value).is_integer() else float(f"{value:.4g}")
    if value.is_integer() and abs(value) < 1e6:
        return f"{value:,.0f}"
    return plain_exponent(f"{value:.4g}")


def digits(value: float) -> str:
    """A number of three digits, see `short`."""
    return short(float(f"{value:.3g}"))


def run_report(table: xr.Dataset, model: RunModel, schedule: Any) -> str:
    """One predicted run, a table without the dimension `run`."""
    return report("The loss of a training run", table.attrs, run_text(table, model, schedule))


def run_text(table: xr.Dataset, model: RunModel, schedule: Any) -> str:
    """One predicted run in words."""
    size, batch, steps = (short(float(table[name])) for name in LETTERS)
    loss, lower, upper, beyond = (float(table[name]) for name in ("loss", "lower", "upper", "beyond"))
    beyond_text = f"{digits(beyond)} times that of the largest run fitted to"
    lines = [
        f"N {size} parameters, B {batch} examples per update, K {steps} updates; {schedule}",
        f"Loss {loss:.4f} nats, {level_text(table)} {lower:.4f} to {upper:.4f} ({_coverage(table)})",
        f"Compute: {beyond_text}{': this is extrapolation' if beyond > 1 else ''}",
    ]
    outside = outside_text(str(table.outside.item()), model)
    lines += [f"Outside the runs fitted to: {outside}"] if outside else []
    lines += run_cautions(table, model)
    near = float(table.nearest)
    lines += [f"The nearest run fitted to differs by a factor of {digits(near)} in N, B or K"] if near > FAR else []
    each = zip(table.law.values.tolist(), table.law_loss.values.tolist(), strict=True)
    lines += ["Laws: " + ", ".join(f"{name} {value:.4f}" for name, value in each)] if table.sizes["law"] > 1 else []
    return lines_of(lines)


def _coverage(table: xr.Dataset) -> str:
    """The kind of interval, and what such intervals were seen to cover."""
    kind, coverage = table.attrs["interval"], table.attrs["coverage"]
    known = "never checked" if np.isnan(coverage) else f"90% ones covered {coverage:.0%} of larger runs"
    return f"{kind}; {known}"


def level_text(table: xr.Dataset) -> str:
    """What the intervals of a table are."""
    return f"{100 * table.attrs['level']:g}% interval"


def outside_text(marks: str, model: RunModel) -> str:
    """Which settings lie outside what was seen, and where that ends.

    Args:
      marks: an entry of `outside` as `predict` returns it, as in "model_size above, steps below".
    """
    pairs = [mark.rsplit(" ", 1) for mark in marks.split(", ") if mark]
    seen = model.seen
    words = [f"{MARKED[name]} {side} {short(seen[name][side == 'above'])}" for name, side in pairs if name in MARKED]
    return ", ".join([*words, *(["a schedule that no run had"] if "schedule unseen" in marks else [])])


def answers_report(table: xr.Dataset, model: RunModel, details: bool) -> str:
    """Many predicted runs as a table."""
    rows = [str(number) for number in range(1, table.sizes["run"] + 1)]
    body = columns_text("run", rows, _settings(table) | _losses(table))
    notes = [f"N parameters, B examples per update, K updates. {_losses_note(table)}"]
    if details:
        texts = zip(rows, [outside_text(str(marks), model) for marks in table.outside.values], strict=True)
        outside = [wrap(text, f"run {row}: ") for row, text in texts if text]
        notes.append("Outside the runs fitted to: " + ("these." if outside else "none."))
    else:
        outside = []
    words = "\n".join([lines_of(notes), *outside])
    return report("Losses of training runs", table.attrs, body, words, lines_of(table_cautions(table)))


def _losses_note(table: xr.Dataset) -> str:
    """What the columns of losses are."""
    interval = f" ({table.attrs['interval']})" if "interval" in table.attrs else ""
    return (
        f"lower, upper: the {level_text(table)}{interval}. beyond: compute over the largest that was fitted to; above 1 is "
        "extrapolation."
    )


def plan_report(plan: RunPlan, model: RunModel, schedule: Any, critical: xr.Dataset | str) -> str:
    """The best run, what the limits cost, how flat the optimum is, the frontier, and critical batch sizes.

    Args:
      critical: as `critical_batch_sizes` returns it, or why there are none.
    """
    best = plan.best
    ranges = [f"{LETTERS[name]} {' to '.join(dict.fromkeys(map(digits, ends)))}" for name, ends in plan.flat.items()]
    flat = f"At most 1% more loss, the other setting at its best: {', '.join(ranges)}"
    return report(
        "The best training run under these limits",
        plan.frontier.attrs,
        f"{run_text(best, model, schedule)}\n{wrap(_costs(best, model), 'Costs: ')}",
        _prices(plan.prices, model),
        lines_of([flat, *_edge(best, model)]),
        _frontier(plan.frontier),
        wrap(critical) if isinstance(critical, str) else _critical(critical),
    )


def _costs(best: xr.Dataset, model: RunModel) -> str:
    units = {"compute": f"({model.compute_unit})", "examples": "examples", "seconds": "seconds", "memory": "bytes of memory"}
    texts = [f"{short(float(best[name]))} {unit}" for name, unit in units.items() if name in best]
    return ", ".join(["compute " + texts[0], *texts[1:]])


def _edge(best: xr.Dataset, model: RunModel) -> list[str]:
    """A line that says so where the best batch size is the smallest or the largest of those seen, or none."""
    for name, end in zip(("smallest", "largest"), model.seen["batch_size"], strict=True):
        if abs(float(best.batch_size) - end) <= 0.5:
            return [f"B is the {name} of the runs fitted to; what lies beyond is searched only with --{name}-batch"]
    return []


def _prices(prices: xr.Dataset, model: RunModel) -> str:
    """What each limit allows, how much of it is used, and what more of it would bring."""
    names = [str(name) for name in prices.limit.values]
    columns = {"allowed": [short(value) for value in prices.allowed.values]}
    columns |= {"used": [f"{value:.1%}" for value in prices.used.values]}
    columns |= {"loss if\ndoubled": [f"{value:.4f}" for value in prices.loss_if_doubled.values]}
    columns |= {"gain": [f"{value:.4f}" for value in prices.gain.values]}
    return columns_text("limit", names, columns)


def _frontier(table: xr.Dataset) -> str:
    """The best runs under multiples of the limits."""
    rows = [f"{value:g}" if value >= 1 else f"1/{1 / value:g}" for value in table.limits.values]
    body = columns_text("limits\ntimes", rows, _settings(table) | _losses(table))
    return f"The best runs under multiples of all limits but memory:\n\n{body}\n\n{wrap(_losses_note(table))}"


def _critical(table: xr.Dataset) -> str:
    """Critical batch sizes along the loss."""
    bounds = [{"at least": "> ", "at most": "< "}.get(str(bound), "") for bound in table.bound.values]
    pairs = zip(bounds, table.critical_batch_size.values, strict=True)
    cells = ["-" if np.isnan(value) else bound + digits(value) for bound, value in pairs]
    columns = {"critical batch size": cells}
    head = f"Critical batch sizes of N {short(table.attrs['model_size'])}, at 20% more examples than perfect scaling:"
    return f"{wrap(head)}\n\n{columns_text('loss', [f'{loss:.3f}' for loss in table.loss.values], columns)}"


def _settings(table: xr.Dataset) -> dict[str, list[str]]:
    return {letter: [short(value) for value in table[name].values] for name, letter in LETTERS.items()}


def _losses(table: xr.Dataset) -> dict[str, list[str]]:
    columns = {name: [f"{value:.4f}" for value in table[name].values] for name in ("loss", "lower", "upper")}
    return columns | {"beyond": [digits(value) for value in table.beyond.values]}
