"""What `nqmjax measure` prints: curvature, noise along it, noise scales, and what to do with them."""

from pathlib import Path

import numpy as np
import xarray as xr

from nqmjax._tools import plain_exponent
from nqmjax.cli.reports.text import columns_text, left, lines_of, report, wrap
from nqmjax.problem import NoisyQuadratic

DECADES = 6
"""Decades of curvature below the largest that are listed."""

NEXT = 0.1
"""Share of the loss that can go, left at the target that is proposed."""

MEANING = {"B_simple": "tr C / |G|^2", "B_noise": "tr(H C) / G^T H G"}


def measure_report(table: xr.Dataset, problem: NoisyQuadratic, spectrum: Path) -> str:
    """The report of a measurement whose quadratic is in a file."""
    parts = [_curvature(table), _noise(table), _scales(table), _next(table, problem, spectrum)]
    return report(f"A network, measured where its loss is {_text(float(table.loss), 4)}", table.attrs, *parts)


def _text(value: float, digits: int = 3) -> str:
    return "inf" if np.isinf(value) else plain_exponent(f"{value:.{digits}g}")


def _curvature(table: xr.Dataset) -> str:
    largest = float(table.largest_curvature)
    lines = [
        f"Largest curvature: {_text(largest)}. Gradient descent is unstable above a learning rate of {_text(2 / largest)}."
        if largest > 0
        else "There is no curvature above 0.",
        f"Effective rank (trace of the curvature over the largest): {_text(float(table.effective_rank))} of "
        f"{table.parameters:,} directions.",
    ]
    negative = table.curvature < -1e-3 * abs(largest)
    if table.attrs["matrix"] == "hessian" and bool(negative.any()):
        many = float(table["count"].where(negative, 0).sum())
        lines.append(
            f"Negative curvature: {_text(many)} directions, down to {_text(float(table.curvature.min()))}. A quadratic "
            "has none: they are flat in the spectrum. Nor has the Gauss-Newton matrix: let make return apply and the name of a "
            "loss."
        )
    return lines_of(lines)


def _noise(table: xr.Dataset) -> str:
    """Noise over curvature by decades."""
    curvature, count, noise = (table[name].values for name in ("curvature", "count", "noise"))
    largest, total = curvature.max(), count @ noise
    rows, columns = [], {"directions": [], "noise /\ncurvature": [], "share of\nall noise": []}
    for decade in range(DECADES):
        upper, lower = largest * 10.0**-decade * (1 + 1e-9), largest * 10.0 ** -(decade + 1)
        inside = (curvature <= upper) & (curvature > lower)
        if inside.any() and total > 0:
            some = count[inside] @ noise[inside]
            rows.append(f"{_text(lower, 2)} to {_text(upper, 2)}")
            columns["directions"].append(_text(float(count[inside].sum())))
            columns["noise /\ncurvature"].append(_text(float(some / (count[inside] @ curvature[inside]))))
            columns["share of\nall noise"].append(f"{100 * some / total:.1f}%")
    if not rows:
        return "The gradients of all examples are the same: there is no noise."
    return f"{wrap('Noise along the curvature (variance of the gradient of one example):')}\n\n" + columns_text(
        "curvature", rows, columns
    )


def _scales(table: xr.Dataset) -> str:
    titles = {
        "examples": "from single\nexamples",
        "batches": f"from batches\nof {table.attrs['batch_size']}",
        "all_data": "if these\nare all",
    }
    columns = left("definition", list(MEANING.values()))
    for estimator, heading in titles.items():
        cells = []
        for name in MEANING:
            one = table.sel(definition=name, estimator=estimator)
            ends = [_text(float(one[f"noise_scale_{end}"])) for end in ("lower", "upper")]
            interval = f" ({ends[0]} to {ends[1]})" if estimator != "all_data" else ""
            cells.append(f"{_text(float(one.noise_scale))}{interval}")
        columns[heading] = cells
    note = (
        "Noise scales, in examples, with 90% intervals: below it an update is mostly noise, above it mostly gradient. It grows "
        "during training, and is no critical batch size. The last column takes these examples for all that training draws "
        "from, the others for a sample; inf: the sample does not tell the gradient from 0."
    )
    return f"{wrap(note)}\n\n" + columns_text("", list(MEANING), columns)


def _next(table: xr.Dataset, problem: NoisyQuadratic, spectrum: Path) -> str:
    start, least = float(problem.initial_risk), float(problem.irreducible)
    if start - least <= 1e-6 * start:
        return wrap("There is no gradient here that a quadratic could follow: measure before the end of training.")
    digits = 3 - int(np.floor(np.log10((start - least) / start)))  # enough to tell the target from the loss at the start
    target = least + NEXT * (start - least)
    command = f"nqmjax scaling --spectrum {spectrum} --irreducible {_text(least, digits)} --target {_text(target, digits)}"
    words = (
        f"As a quadratic the network starts at a loss of {_text(start, digits)} and can reach {_text(least, digits)}. Which "
        "optimizer, and up to which batch size? Learning rates are those of the network:"
    )
    caution = (
        "The quadratic is that of one point. A network's curvature and noise change as it trains: trust comparisons of "
        "optimizers and batch sizes more than numbers of updates."
    )
    return f"{wrap(words)}\n\n  {command}\n\n{wrap(caution)}"
