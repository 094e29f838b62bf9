"""Reports about constant settings as text: `nqmjax scaling` and `nqmjax sweep`."""

import itertools
from collections.abc import Sequence

import numpy as np
import xarray as xr

from nqmjax import sweeps
from nqmjax.cli.reports.text import Block, batch_text, columns_text, count_text, left, lines_of, report, side_by_side
from nqmjax.scaling import DEFINITIONS, Observed
from nqmjax.target import Status

WORDS = {Status.NEVER: "never", Status.DIVERGED: "diverges", Status.OUT_OF_STEPS: "too long"}
OUTCOMES: dict[int, str] = {
    Status.REACHED: "reach the target",
    Status.NEVER: "never do",
    Status.DIVERGED: "diverge",
    Status.OUT_OF_STEPS: "take too long",
    sweeps.UNFINISHED: "are still to come",
}
NEITHER = "> and <: the curve ends before it shows the critical batch size, which lies above or below."
NOTES = {
    "*": "* the best value found lies at the edge of what was searched: fewer updates may be possible.",
    "never": "never: no setting reaches the target.",
    "diverges": "diverges: every setting that was tried is unstable.",
    "too long": "too long: no setting reaches the target in 2^31 updates.",
    "~": "~ within more than 1%: the closure's nodes over the start do not agree yet.",
    ">": NEITHER,
    "<": NEITHER,
}
CRITICAL = [
    "Critical batch sizes, up to which larger batches pay in full:",
    "overhead: there a run sees 20% more examples than if the updates halved whenever the batch doubles.",
    "knee: there it takes twice the fewest updates and twice the fewest examples, by the fit S + E/B to the updates at the "
    "batch sizes B; fit to: the largest error of that fit.",
]
POWER = "power: p of a preconditioner H^p; 0 is none, 1 is Newton's method."
IDEAL = "ideal bound: updates that even the best algorithm needs, which knows the curvature and the noise."


def scaling_report(table: xr.Dataset, observed: Sequence[Observed] = ()) -> str:
    """Updates by batch size for every optimizer and power, critical batch sizes below, and what the signs in it mean."""
    batches = table.batch_size.values
    labels = ["power", *(batch_text(batch) for batch in batches), "", "overhead", "knee", "fit to"]
    blocks = []
    for name in table.optimizer.values:
        curves = [table.sel(optimizer=name, power=power) for power in table.power.values]
        blocks.append(Block(str(name), [_curve_column(curve) for curve in curves if not curve.steps.isnull().all()]))
    blocks += [Block("observed", [_observed_column(batches, curve) for curve in observed])] if observed else []
    bayes = table.bayes_steps.values
    bound = bool(np.isfinite(bayes).all() and bayes.any())
    if bound:
        blocks.append(Block("ideal", [["bound", *(count_text(np.ceil(steps)) for steps in bayes), *[""] * 4]]))
    fixed = f", with {table.attrs['fixed']} fixed" if table.attrs["fixed"] else ""
    body = side_by_side(labels, blocks)
    notes = [POWER, *([IDEAL] if bound else []), *CRITICAL]
    notes += dict.fromkeys(note for sign, note in NOTES.items() if sign in body)
    heading = f"Tuned updates to the loss {float(table.target):g} by batch size{fixed}"
    return report(heading, table.attrs, body, lines_of([*notes, *_target_notes(table)]))


def several_report(table: xr.Dataset) -> str:
    """A row for each problem, optimizer and power: updates at the smallest and largest batch size, critical batch sizes."""
    ends, rows = table.batch_size.values[[0, -1]], []
    for name, optimizer, power in itertools.product(table.problem.values, table.optimizer.values, table.power.values):
        curve = table.sel(problem=name, optimizer=optimizer, power=power)
        if not curve.steps.isnull().all():
            column = _curve_column(curve)
            rows.append([str(name), str(optimizer), column[0], column[1], column[len(table.batch_size)], *column[-3:]])
    first, *others = zip(*rows, strict=True)
    titles = ["optimizer", "power", *(f"updates\nat {batch_text(size)}" for size in ends), "overhead", "knee", "fit to"]
    body = columns_text("spectrum", first, {**left(titles[0], others[0]), **dict(zip(titles[1:], others[1:], strict=True))})
    notes = [POWER, *CRITICAL, *dict.fromkeys(note for sign, note in NOTES.items() if sign in body)]
    attributes = {**table.attrs, "problem": f"{table.sizes['problem']} spectra"}
    return report(f"Tuned updates to the loss {float(table.target):g}", attributes, body, lines_of(notes))


def _curve_column(curve: xr.Dataset) -> list[str]:
    """One optimizer at one power."""
    flags = [name for name in curve.data_vars if str(name).endswith("_at_edge")]
    edge = np.any([curve[name].values for name in flags], axis=0)
    rough = curve["nodes_disagree"].values if "nodes_disagree" in curve else np.zeros_like(edge)
    signs = np.where(edge & (curve.steps.values > 0), "*", np.where(rough, "~", ""))
    steps = [
        count_text(count) + sign if np.isfinite(count) else WORDS[Status(code)]
        for count, code, sign in zip(curve.steps.values, curve.status.values, signs, strict=True)
    ]
    critical = []
    for definition in DEFINITIONS:
        value = curve.critical_batch_size.sel(definition=definition).item()
        bound = curve.critical_batch_size_bound.sel(definition=definition).item()
        sign = {"at least": ">", "at most": "<"}.get(bound, "")
        critical.append("-" if np.isnan(value) else sign + (batch_text(value) if sign else f"{float(f'{value:.3g}'):.0f}"))
    residual = curve.knee_residual.item()
    return [f"{curve.power.item():g}", *steps, "", *critical, "-" if np.isnan(residual) else f"{100 * residual:.0f}%"]


def _observed_column(batches: np.ndarray, curve: Observed) -> list[str]:
    found = dict(zip(curve.batch_size.tolist(), curve.steps.tolist(), strict=True))
    return [curve.label[:24], *(count_text(found[batch]) if batch in found else "-" for batch in batches.tolist()), *[""] * 4]


def _target_notes(table: xr.Dataset) -> list[str]:
    target, irreducible, initial = float(table.target), table.attrs["irreducible"], table.attrs["initial_risk"]
    if target <= irreducible:
        return [f"The target {target:g} is not above the irreducible loss {irreducible:g}: no optimizer ever reaches it."]
    if target >= initial:
        return [f"The target {target:g} is not below the initial loss {initial:g}: it is met before the first update."]
    if not table.bayes_steps.values.any():
        return ["No ideal bound: directions without noise can be learnt at once, and the rest is below the target already."]
    return []


def sweep_report(table: xr.Dataset, keep: Sequence[str] = ("batch_size", "target")) -> str:
    """What became of the settings, and the best one for each batch size (and target); a store is read chunk by chunk."""
    shape = " x ".join(f"{str(name).replace('_', ' ')} {size}" for name, size in table.steps.sizes.items())
    counts = sweeps.count_statuses(table)
    found = ", ".join(f"{count:,} {OUTCOMES[code]}" for code, count in counts.items() if count)
    so_far = " so far" if counts[sweeps.UNFINISHED] else ""
    best = f"The best settings{so_far}, with the fewest updates:\n\n{_best_cells(sweeps.best_cells(table, keep))}"
    note = "effective rate: the learning rate times what momentum makes of it, 1 / (1 - momentum) for heavy ball."
    settings = f"{sum(counts.values()):,} settings, {shape}: {found}"
    return report("Updates to a target loss over a grid", table.attrs, lines_of([settings]), best, lines_of([note]))


def _best_cells(best: xr.Dataset) -> str:
    """A row for each point of the axes that are kept, with the value of each other axis."""
    asked = [str(name) for name in best.steps.dims]
    swept = [str(name) for name in best if name not in ("steps", "status", "effective_learning_rate", "unfinished")]
    columns: dict[str, list[str]] = {name: [] for name in [*asked, "steps", *swept, "effective_learning_rate"]}
    for point in np.ndindex(best.steps.shape):
        cell = best.isel(dict(zip(asked, point, strict=True)))
        for name, cells in columns.items():
            show = {"batch_size": batch_text, "steps": count_text}.get(name, "{:.6g}".format)
            cells.append(show(cell[name].item()) if name in asked or np.isfinite(cell.steps) else "-")
    titles = {"steps": "updates", "effective_learning_rate": "effective\nrate"}
    first, *others = columns
    return columns_text(
        first.replace("_", " "), columns[first], {titles.get(name, name.replace("_", "\n")): columns[name] for name in others}
    )
