"""Tables about fits to real training runs as text."""

import math

import numpy as np
import xarray as xr

from nqmjax.cli.plan_report import columns_text
from nqmjax.cli.run_report import digits, left, level_text, short
from nqmjax.fitting import FittedLaw, identification, sum_error
from nqmjax.prediction import RunModel
from nqmjax.runs import Runs

BASINS = 4
"""Minima that are listed for each law at most."""


def fit_report(runs: Runs, model: RunModel, table: xr.Dataset) -> str:
    """What was fitted, which laws were chosen and why, what the runs tell of their parameters, and how well they fit.

    Args:
      runs: the runs that were fitted to.
      model: as `nqmjax.selection.fit` returns it.
      table: `predict(model, runs.settings)`.
    """
    scores = [] if model.scores is None else [scores_report(model.scores)]
    laws = [f"{law_report(law)}\n{sums_text(law, runs)}" for law in model.laws]
    return "\n\n".join(["\n".join(model.summary), *scores, *laws, residuals_report(runs, table), intervals_report(model)])


def scores_report(scores: xr.Dataset) -> str:
    """Errors of laws in training and on runs left out, and the ensemble."""

    def cells(name: str, form: str) -> list[str]:
        return ["-" if np.isnan(value) else form.format(value) for value in scores[name].values]

    members = str(scores.members.values[-1]).split(", ")
    columns = {"parameters": cells("parameters", "{:.0f}"), "training": cells("training", "{:.3g}")}
    columns |= {"budget out": cells("budget_out", "{:.3g}"), "forward": cells("forward", "{:.3g}")}
    columns |= {"score": cells("score", "{:.3g}"), "bias forward": cells("bias", "{:+.2%}")}
    rows = [f"{name} *" if name in members else str(name) for name in scores.law.values]
    passed = scores.attrs.get("passed_over", [])
    chosen = f"* chosen: {'the mean of ' * (len(members) > 1)}{', '.join(members)}"
    return "\n".join(
        [
            f"Mean squared errors of the log loss ({scores.attrs['runs']} runs, {scores.attrs['folds']} folds):",
            "",
            columns_text("law", rows, columns),
            "",
            "budget out: the runs of each compute budget, by fits to the others; forward: the runs above each budget, by fits",
            "to those up to it; score: forward, the largest budgets counting most; bias: the mean error of the log loss.",
            *([f"Passed over, with too many parameters for so few runs: {', '.join(passed)}"] if passed else []),
            chosen if np.isfinite(scores.score.values[-1]) else f"{chosen}; there are too few budgets to compare laws by",
        ]
    )


def law_report(fitted: FittedLaw) -> str:
    """Parameters of a law with intervals, as far as the runs tell them, and the minima that were found."""
    found = identification(fitted)
    values = []
    for value, lower, upper, known in zip(found.value, found.lower, found.upper, found.identified, strict=True):
        text = short(float(value)) if bool(known) else "not identified"
        values.append(f"{text} ({short(float(lower))} to {short(float(upper))})")
    columns = left("value (90% interval)", values) | {"learnt": [f"{share:.0%}" for share in found.learnt.values]}
    columns |= left("meaning", [str(meaning) for meaning in found.meaning.values])
    names, condition = " and ".join(found.attrs["correlated"]), digits(found.attrs["condition"])
    residual = 100 * math.sqrt(fitted.mean_squared_error)
    lines = [
        f"Law {fitted.name}: residuals {residual:.2f}% rms, noise {100 * fitted.noise:.2f}%",
        "",
        columns_text("parameter", [str(name) for name in found.parameter.values], columns),
        "",
        "learnt: share of the variance believed before that the runs removed",
        f"Condition number {condition}; strongest correlation {found.attrs['strongest_correlation']:+.3f}, of {names}",
        *(f"The runs do not tell {text}, coordinates in units of their priors" for text in found.attrs["loose"]),
        f"Minima, the best under the priors first (mean squared error, share of starts): {basins_text(fitted)}",
    ]
    return "\n".join(lines)


def sums_text(fitted: FittedLaw, runs: Runs) -> str:
    """How well the sums over very many directions were taken."""
    return f"Sums over directions at few nodes are off by at most {sum_error(fitted, runs.settings):.0e} of the loss"


def basins_text(fitted: FittedLaw) -> str:
    """The best minima, and how many others there are."""
    texts = [f"{basin.mean_squared_error:.3g} {basin.share:.0%}" for basin in fitted.basins[:BASINS]]
    rest = len(fitted.basins) - BASINS
    return ", ".join(texts) + (f" and {rest} more" if rest > 0 else "")


def residuals_report(runs: Runs, table: xr.Dataset) -> str:
    """Root mean squares and means of the residuals of the log loss, by budget and by group."""
    known, groups = runs.weight > 0, np.unique(runs.group).tolist()
    parts = {f"compute {short(budget)}": runs.budget == budget for budget in runs.budgets.tolist()}
    parts |= {f"group {group or '(none)'}": runs.group == group for group in groups if len(groups) > 1}
    parts = {name: here & known for name, here in {**parts, "all": known}.items() if (here & known).any()}
    errors = np.log(runs.loss / table.loss.values)
    inside = (runs.loss >= table.lower.values) & (runs.loss <= table.upper.values)
    columns = {"runs": [str(here.sum()) for here in parts.values()]}
    means = [np.average(np.stack([errors**2, errors]), axis=1, weights=runs.weight * here) for here in parts.values()]
    columns |= {"rms": [f"{math.sqrt(square):.2%}" for square, _ in means], "mean": [f"{mean:+.2%}" for _, mean in means]}
    columns[f"in {level_text(table)}"] = [f"{inside[here].mean():.0%}" for here in parts.values()]
    head = f"Residuals, observed above predicted (compute {runs.compute_unit}):"
    return f"{head}\n\n{columns_text('runs of', list(parts), columns)}"


def intervals_report(model: RunModel) -> str:
    """How often each kind of interval covered runs of more compute, and which kind is used."""

    def share(value: float) -> str:
        return "-" if math.isnan(value) else f"{value:.0%}"

    rows = [f"{name} *" if name == model.best_interval else name for name in model.intervals]
    columns = {"covered": [share(one.coverage) for one in model.intervals.values()]}
    columns |= {"as they were": [share(one.bare_coverage) for one in model.intervals.values()]}
    columns |= {"widened": [f"{one.inflation:.2f}" for one in model.intervals.values()]}
    return "\n".join(
        [
            "Runs of the forward folds that 90% intervals covered:",
            "",
            columns_text("intervals", rows, columns),
            "",
            "covered: each budget's intervals widened as the others ask for; widened: the factor on the model's part of their",
            "width, for runs to come; * used by default",
        ]
    )
