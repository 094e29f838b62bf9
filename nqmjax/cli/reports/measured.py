"""Reports about what was measured on real networks: `nqmjax noise-scale` and `nqmjax transfer`."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from nqmjax.cli.reports.text import COMMAND, batch_text, columns_text, count_text, lines_of, report, wrap
from nqmjax.scaling import AnchoredCurve, Devices, FittedProblem, MeasuredNoise, fastest

NOISE_NOTES = [
    "noise scale: tr C / |G|^2, the batch size at which the noise of a mean gradient is as large as the gradient. |G|^2: "
    "square of the gradient without noise. tr C: variance of the gradient of one example, summed over all parameters.",
    "What it does not tell: the noise scale is about the next update. It moves by orders of magnitude along a run, as the "
    "gradient shrinks, and is not the batch size beyond which examples are wasted; that is within a factor of a few of it at "
    "best. Two runs at different batch sizes tell more: nqmjax transfer TUNED.csv.",
]


def quantity_text(value: float) -> str:
    """A measured number in three digits, thousands and millions in full.

    >>> quantity_text(1234.5), quantity_text(0.00123456), quantity_text(np.inf)
    ('1230', '0.00123', 'no end')
    """
    if not np.isfinite(value):
        return "no end"
    return count_text(float(f"{value:.3g}")) if 100 <= abs(value) < 1e8 else f"{value:.3g}"


def interval_text(lower: float, upper: float) -> str:
    """An interval of measured numbers, "-" for none."""
    return "-" if np.isnan(lower) else f"{quantity_text(lower)} to {quantity_text(upper)}"


def noise_report(found: Mapping[str, MeasuredNoise]) -> str:
    """The noise scale of a whole log and of its parts."""
    rows = list(found.values())
    columns = {
        "noise\nscale": ["hidden" if one.square_gradient <= 0 else quantity_text(one.noise_scale) for one in rows],
        f"{100 * rows[0].level:.3g}%\ninterval": [interval_text(one.lower, one.upper) for one in rows],
        "|G|^2": [f"{one.square_gradient:.3g}" for one in rows],
        "tr C": [f"{one.noise:.3g}" for one in rows],
        "steps": [f"{one.steps}" for one in rows],
    }
    notes = []
    if any(one.square_gradient <= 0 for one in rows):
        notes.append(
            "hidden: the estimate of |G|^2 is not positive. Noise hides the gradient, and the noise scale is only bounded from "
            "below; log more steps, or a larger largest batch size."
        )
    if any(one.noise <= 0 for one in rows):
        notes.append(
            "tr C is not positive: these batch sizes show no noise, and the noise scale is only bounded from above; log a "
            "smaller smallest batch size."
        )
    first = rows[0]
    if len(rows) > 1 and np.isfinite(first.noise_scale):
        ends = [one.noise_scale for one in rows[1:] if 0 < one.noise_scale < np.inf]
        if ends and max(ends) > 2 * min(ends):
            moved = f"Along this log it moves by a factor of {max(ends) / min(ends):.2g}"
            notes.append(f"{moved}: the value of the whole log is that of no step. Take the stretch that you ask about.")
    body = columns_text("", list(found), columns)
    heading = "Noise scale from norms of gradients, in examples"
    return report(heading, {"command": COMMAND.get()}, body, lines_of([*notes, *NOISE_NOTES]))


NO_VALUE = "-"
LIMITS = ("overhead_20", "knee", "wasted")
READ = [
    "interval: of a tuned run, scatter included, if the law T^p = T_inf^p + (E/B)^p holds, and likewise for the rate. of "
    "perfect: examples over those of perfect scaling, in which updates halve as the batch doubles. warm-up: updates, the "
    "share of the run that --warmup gives, 0.05 unless it is said.",
    "The target is that of the measured runs. Generalisation, and rates that something other than noise and curvature limits, "
    "are not in the law: check the first run at a new batch size at half and at twice its rate.",
]
BETAS = (
    "beta2: its average spans the same share of the run as at batch size {reference:.6g}; beta1 stays. Where noise dominates, "
    "keeping beta2 as well costs up to 25% of the updates."
)


def recipes_report(
    curves: Sequence[AnchoredCurve], names: Sequence[str], tables: Sequence[xr.Dataset], devices: Devices | None
) -> str:
    """What to run at other batch sizes, one table for each measured curve."""
    parts, notes = [], list(READ)
    for curve, name, table in zip(curves, names, tables, strict=True):
        parts.append(wrap(f"{curve.observed!r}, {name}:" if name != curve.observed.label else f"{curve.observed!r}:"))
        parts.append(_recipe_table(table))
        parts.append(lines_of([*_limit_lines(curve, table), *_device_lines(curve, table, devices), *curve.remarks]))
    if any("beta2" in table for table in tables):
        notes.insert(1, BETAS.format(reference=tables[0].attrs["reference"]))
    heading = f"Recipes at other batch sizes, with {100 * curves[0].level:.3g}% intervals"
    return report(heading, {"command": COMMAND.get()}, *parts, lines_of(notes))


def _recipe_table(table: xr.Dataset) -> str:
    """A row for each batch size."""

    def values(name: str, show: Callable[[float], str] = quantity_text) -> list[str]:
        return [NO_VALUE if np.isnan(value) else show(value) for value in table[name].values]

    def ends(name: str) -> list[str]:
        return [interval_text(*pair) for pair in zip(table[f"{name}_lower"].values, table[f"{name}_upper"].values, strict=True)]

    columns = {}
    if "learning_rate" in table:
        columns |= {"learning\nrate": values("learning_rate"), "rate's\ninterval": ends("learning_rate")}
    columns |= {"updates": values("steps"), "updates'\ninterval": ends("steps"), "examples": values("examples", _large_text)}
    columns["of\nperfect"] = values("overhead", "{:.2f}".format)
    columns |= {name: values(name, "{:.5g}".format) for name in ("momentum", "beta2") if name in table}
    columns["warm-up"] = values("warmup_steps")
    if "minutes" in table:
        columns |= {"minutes": values("minutes"), "minutes'\ninterval": ends("minutes")}
        columns |= {"minutes\nsaved": values("minutes_saved"), "passes an\nupdate": values("passes", "{:.0f}".format)}
    return columns_text("batch\nsize", [batch_text(batch) for batch in table.batch_size.values], columns)


def _large_text(value: float) -> str:
    """Examples, in millions or billions."""
    for unit, name in ((1e9, "B"), (1e6, "M")):
        if value >= unit:
            return f"{value / unit:.3g}{name}"
    return quantity_text(value)


def _limit_lines(curve: AnchoredCurve, table: xr.Dataset) -> list[str]:
    """Beyond which batch sizes more is wasted, and which of those asked for were not measured."""
    lines, attrs = [], table.attrs
    below, beyond = curve.unseen
    if "wasted" in attrs and not below and not beyond:
        words = [f"{quantity_text(attrs[name][0])} ({interval_text(*attrs[name][1:])})" for name in LIMITS]
        lines.append(
            "Beyond batch size {} a run needs more than 20% more examples than perfect scaling; the knee, where the fewest "
            "updates and the fewest examples meet, is at {}; beyond {} more is wasted: a doubling saves less than 10% of the "
            "updates.".format(*words)
        )
    largest, asked = curve.observed.batch_size.max(), table.batch_size.values.max()
    if asked > largest and not curve.bounds_only:
        times = f"{asked / largest:.3g} times the largest measured"
        lines.append(f"Batch size {batch_text(asked)} is {times}: this is the law alone.")
    return lines


def _device_lines(curve: AnchoredCurve, table: xr.Dataset, devices: Devices | None) -> list[str]:
    """How large a batch on these devices."""
    if devices is None or curve.bounds_only:
        return []
    best = fastest(curve, devices)
    if best is None:
        return [
            "At one speed for all batch sizes the time goes with the examples: on these devices larger batches only cost "
            "time. How many examples they take at a time, --devices and --per-device-batch, says more."
        ]
    size, minutes = best
    saved = float(curve.steps(table.attrs["reference"]).value) * float(devices.seconds(np.array(table.attrs["reference"]))) / 60
    words = f"{quantity_text(minutes.value)} minutes ({interval_text(minutes.lower, minutes.upper)})"
    return [
        f"Shortest on these devices: batch size {size:.6g}, all of them in one pass, {words}, "
        f"{quantity_text(saved - minutes.value)} less than at {table.attrs['reference']:.6g}. A smaller batch leaves devices "
        "idle; a larger one takes several passes an update (gradient accumulation), and longer.",
    ]


def problem_report(fitted: FittedProblem, batch_size: np.ndarray, path: Path) -> str:
    """A fitted problem beside the anchored law, where they were measured and where they are asked about."""
    points = fitted.law.observed
    batches = np.unique(np.concatenate([points.batch_size, batch_size]))
    table = fitted.compare(batches)
    measured = [
        np.exp(np.log(points.steps[points.batch_size == batch]).mean()) for batch in batches if batch in points.batch_size
    ]
    shown = iter(measured)
    columns = {
        "measured": [quantity_text(next(shown)) if batch in points.batch_size else NO_VALUE for batch in batches],
        "anchored\nlaw": [quantity_text(value) for value in table["law"].values],
        "fitted\nproblem": [quantity_text(value) for value in table["problem"].values],
        "problem\nover law": [f"{value:.2f}" for value in table["ratio"].values],
    }
    body = columns_text("batch\nsize", [batch_text(batch) for batch in batches], columns)
    use = f"Ask it with --problem {path} --target {fitted.target:.4g} of nqmjax scaling, schedule optimize and others."
    return "\n\n".join([wrap(f"A noisy quadratic for these updates: {fitted!r}."), body, lines_of([*fitted.remarks, use])])
