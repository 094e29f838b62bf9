"""What `nqmjax pilot` prints: updates and rates by batch size, critical batch sizes, the runs they rest on, advice."""

from pathlib import Path

import numpy as np
import xarray as xr

from nqmjax.cli.reports.measured import interval_text, quantity_text
from nqmjax.cli.reports.text import batch_text, columns_text, lines_of, report, wrap

NOTES = [
    "interval: of a tuned run, scatter included, if the law T^p = T_inf^p + (E/B)^p holds, and likewise for the rate. 20% "
    "more examples: than small batches take; knee: where fewest updates meet fewest examples.",
    "The target is a training loss, and a target reached is not a model that generalises.",
]


def pilot_report(table: xr.Dataset, runs: Path | None) -> str:
    """The report of a forecast, with the pilots if there are any, whose runs are in a file."""
    labels = table.optimizer.values.tolist()
    parts = [_curve(label, table.sel(optimizer=label)) for label in labels]
    heading = f"Updates and learning rates by batch size, with {100 * table.attrs['level']:.3g}% intervals"
    if "pilot_steps" in table:
        heading = f"{heading}, to a training loss of {table.attrs['target']:.4g}"
        parts.append(_pilots(table))
    remarks = table.attrs["remarks"].splitlines()
    words = {"problem": table.attrs.get("task", ""), "command": table.attrs["command"]}
    after = [] if runs is None else [_next(labels[0], runs)]
    return report(heading, words, *parts, _critical(table), wrap(table.attrs["advice"]), lines_of([*remarks, *NOTES]), *after)


def _curve(label: str, one: xr.Dataset) -> str:
    columns = {}
    for name, title in (("learning_rate", "learning\nrate"), ("steps", "updates")):
        if np.isfinite(one[f"{name}_lower"]).any():
            value = one[name].values
            columns[title] = ["-" if np.isnan(number) else quantity_text(number) for number in value]
            ends = zip(one[f"{name}_lower"].values, one[f"{name}_upper"].values, strict=True)
            columns[f"{title.split(chr(10))[-1]}'{'' if name == 'steps' else 's'}\ninterval"] = [
                interval_text(*pair) for pair in ends
            ]
    rows = [batch_text(batch) for batch in one.batch_size.values]
    return f"{label}:\n\n" + columns_text("batch\nsize", rows, columns)


def _critical(table: xr.Dataset) -> str:
    titles = {"overhead": "20% more\nexamples", "knee": "knee"}
    labels, columns = table.optimizer.values.tolist(), {}
    for definition, title in titles.items():
        cells = []
        for label in labels:
            one = table.sel(optimizer=label, definition=definition)
            bound, value = str(one.critical_batch_size_bound.values), float(one.critical_batch_size)
            ends = interval_text(float(one.critical_batch_size_lower), float(one.critical_batch_size_upper))
            if np.isnan(value):
                cells.append("-")
            else:
                cells.append(f"{bound} {quantity_text(value)}" if bound else f"{quantity_text(value)} ({ends})")
        columns[title] = cells
    return "Critical batch sizes, in examples:\n\n" + columns_text("", labels, columns)


def _pilots(table: xr.Dataset) -> str:
    rows, columns = [], {"batch\nsize": [], "learning\nrate": [], "updates": [], "examples\nof all runs": []}
    for label in table.optimizer.values.tolist():
        for place in table.pilot.values.tolist():
            one = table.sel(optimizer=label, pilot=place)
            rows.append(label)
            edge = "*" if bool(one.pilot_learning_rate_at_edge) else ""
            columns["batch\nsize"].append(batch_text(float(one.pilot_batch_size)))
            columns["learning\nrate"].append(quantity_text(float(one.pilot_learning_rate)) + edge)
            columns["updates"].append(quantity_text(float(one.pilot_steps)))
            columns["examples\nof all runs"].append(quantity_text(float(one.pilot_examples)))
    note = "The runs that this rests on, each tuned:"
    if bool(table.pilot_learning_rate_at_edge.any()):
        note = f"{note[:-1]} (* the best rate that was tried was the last one):"
    return f"{wrap(note)}\n\n" + columns_text("", rows, columns)


def _next(label: str, runs: Path) -> str:
    command = f"nqmjax transfer {runs} --to 4096 --fit fitted.json"
    words = "Schedules, averaging and optimizers that were not run: fit a noisy quadratic to one optimizer's runs,"
    return f"{wrap(words)}\n\n  {command} --optimizer {label}"
