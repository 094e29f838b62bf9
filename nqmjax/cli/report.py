"""Tables of results as text, for a terminal of 120 columns."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr

from nqmjax.scaling import DEFINITIONS
from nqmjax.target import Status

WIDTH = 120
GAP = "   "
WORDS = {Status.NEVER: "never", Status.DIVERGED: "diverges", Status.OUT_OF_STEPS: "too long"}
NEITHER = "> and <: the curve ends before it shows the critical batch size, which lies above or below"
NOTES = {
    "*": "* the best value found lies at the edge of what was searched; the steps may not be the fewest",
    "never": "never: no setting reaches the target",
    "diverges": "diverges: every setting that was tried is unstable",
    "too long": "too long: no setting reaches the target in 2^31 updates",
    ">": NEITHER,
    "<": NEITHER,
}


class Block(NamedTuple):
    """Columns under one heading; all blocks of a table have the same number of rows."""

    heading: str
    columns: list[list[str]]

    def lines(self) -> list[str]:
        """The block's lines, the heading first."""
        widths = [max(map(len, column)) for column in self.columns]
        rows = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in self.rows()]
        width = max(len(self.heading), len(rows[0]))
        return [self.heading.center(width).rstrip().ljust(width), *(row.rjust(width) for row in rows)]

    def rows(self) -> list[tuple[str, ...]]:
        """The cells by rows."""
        return list(zip(*self.columns, strict=True))


def side_by_side(labels: Sequence[str], blocks: Sequence[Block], width: int = WIDTH) -> str:
    """Blocks beside each other under one column of labels, and below each other where the width ends."""
    label_width = max(map(len, labels))
    left = ["".ljust(label_width), *(label.ljust(label_width) for label in labels)]
    lines, chunks = left, []
    for block in blocks:
        wider = [a + GAP + b for a, b in zip(lines, block.lines(), strict=True)]
        if len(wider[0]) > width and lines is not left:
            chunks.append(lines)
            wider = [a + GAP + b for a, b in zip(left, block.lines(), strict=True)]
        lines = wider
    return "\n\n".join("\n".join(line.rstrip() for line in chunk) for chunk in [*chunks, lines])


def batch_text(batch_size: float) -> str:
    """A batch size, as a power of two where it is one and that is shorter."""
    exponent = np.log2(batch_size)
    return f"2^{exponent:.0f}" if exponent == round(exponent) and exponent >= 1 else f"{batch_size:.10g}"


def count_text(steps: float) -> str:
    """A number of steps: all its digits if there are not too many."""
    return f"{steps:.0f}" if steps < 1e8 else f"{steps:.4e}".replace("e+0", "e").replace("e+", "e")


def scaling_report(table: xr.Dataset, observed: Sequence[tuple[str, np.ndarray, np.ndarray]] = ()) -> str:
    """Steps by batch size for every optimizer and power, critical batch sizes below, and what the signs in it mean."""
    batches = table.batch_size.values
    labels = ["power", *(batch_text(batch) for batch in batches), "", "overhead", "knee", "fit to"]
    blocks = []
    for name in table.optimizer.values:
        curves = [table.sel(optimizer=name, power=power) for power in table.power.values]
        blocks.append(Block(str(name), [_curve_column(curve) for curve in curves]))
    blocks += [Block("observed", [_observed_column(batches, *curve) for curve in observed])] if observed else []
    bayes = table.bayes_steps.values
    if np.isfinite(bayes).all() and bayes.any():
        blocks.append(Block("Bayes", [["bound", *(count_text(np.ceil(steps)) for steps in bayes), *[""] * 4]]))
    fixed = f", {table.attrs['fixed']} fixed" if table.attrs["fixed"] else ""
    text = [
        f"Tuned steps to risk {float(table.target):g} by batch size{fixed}; problem of {table.attrs['problem']}, "
        f"initial risk {table.attrs['initial_risk']:.4g}",
        "",
        body := side_by_side(labels, blocks),
        "",
        "Critical batch sizes: overhead, where the examples are 20% above perfect scaling; knee, E_min/S_min of the fit",
        "S = S_min + E_min/B to the steps S at the batch sizes B, and the largest relative deviation of that fit.",
        *dict.fromkeys(note for sign, note in NOTES.items() if sign in body),
        *_target_notes(table),
    ]
    return "\n".join(text)


def _curve_column(curve: xr.Dataset) -> list[str]:
    """One optimizer at one power."""
    flags = [name for name in curve.data_vars if str(name).endswith("_at_edge")]
    edge = np.any([curve[name].values for name in flags], axis=0)
    steps = [
        count_text(count) + ("*" if at_edge and count > 0 else "") if np.isfinite(count) else WORDS[Status(code)]
        for count, code, at_edge in zip(curve.steps.values, curve.status.values, edge, strict=True)
    ]
    critical = []
    for definition in DEFINITIONS:
        value = curve.critical_batch_size.sel(definition=definition).item()
        bound = curve.critical_batch_size_bound.sel(definition=definition).item()
        sign = {"at least": ">", "at most": "<"}.get(bound, "")
        critical.append("-" if np.isnan(value) else sign + (batch_text(value) if sign else f"{float(f'{value:.3g}'):.0f}"))
    residual = curve.knee_residual.item()
    return [f"{curve.power.item():g}", *steps, "", *critical, "-" if np.isnan(residual) else f"{100 * residual:.0f}%"]


def _observed_column(batches: np.ndarray, label: str, measured: np.ndarray, steps: np.ndarray) -> list[str]:
    found = dict(zip(measured.tolist(), steps.tolist(), strict=True))
    return [label[:24], *(count_text(found[batch]) if batch in found else "-" for batch in batches.tolist()), *[""] * 4]


def _target_notes(table: xr.Dataset) -> list[str]:
    target, irreducible, initial = float(table.target), table.attrs["irreducible"], table.attrs["initial_risk"]
    if target <= irreducible:
        return [f"The target {target:g} is not above the irreducible loss {irreducible:g}: no optimizer ever reaches it."]
    if target >= initial:
        return [f"The target {target:g} is not below the initial risk {initial:g}: it is met before the first update."]
    if not table.bayes_steps.values.any():
        return ["No Bayes bound: directions without noise can be learnt at once, and the rest is below the target already."]
    return []


def sweep_report(table: xr.Dataset) -> str:
    """What became of the cells, and the best one for each batch size (and target)."""
    codes = table.status.values
    counts = {code.name.lower().replace("_", " "): int((codes == code).sum()) for code in Status}
    shape = " x ".join(f"{size} {name}" for name, size in table.steps.sizes.items())
    found = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    asked = [name for name in ("batch_size", "target") if name in table.steps.dims]
    head = f"{table.attrs['optimizer']}: {shape}\n{codes.size} cells: {found}"
    return f"{head}\n\nThe best cells:\n{_best_cells(table, asked)}"


def _best_cells(table: xr.Dataset, asked: list[str]) -> str:
    """The setting with the fewest steps for each point of the axes `asked`."""
    swept = [str(name) for name in table.steps.dims if name not in asked]
    steps = table.steps.transpose(*asked, *swept)
    columns: dict[str, list[str]] = {name: [] for name in [*asked, "steps", *swept, "effective_learning_rate"]}
    for point in np.ndindex(*(table.sizes[name] for name in asked)):
        part = steps[point].values
        place = dict(zip(swept, np.unravel_index(part.argmin(), part.shape), strict=True))
        best = table.isel(dict(zip(asked, point, strict=True)) | place)
        for name, cells in columns.items():
            value = best[name].item()
            show = {"batch_size": batch_text, "steps": count_text}.get(name, "{:.6g}".format)
            cells.append(show(value) if name in asked or np.isfinite(best.steps) else "-")
    first, *others = columns
    blocks = [Block("", [[name, *columns[name]] for name in others])]
    return "\n".join(side_by_side([first, *columns[first]], blocks).splitlines()[1:])
