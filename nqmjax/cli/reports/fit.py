"""Reports about fits to real training runs as text. All errors are in per cent of the loss."""

import math
from collections.abc import Iterable

import numpy as np
import xarray as xr

from nqmjax.cli.reports.runs import digits, level_text, short
from nqmjax.cli.reports.text import columns_text, left, lines_of, report, wrap
from nqmjax.runs import FittedLaw, RunModel, Runs, identification, sum_error

BASINS = 4
"""Fits from other starts that are listed for each law at most."""

LONGEST = 24
"""Letters of a group's name at most."""

SCORES = {
    "training": ("fitted\nruns", "fitted runs: the runs that the law was fitted to."),
    "budget_out": ("compute\nleft out", "compute left out: runs of compute budgets that the fit had not seen."),
    "forward": ("larger\ncompute", "larger compute: runs above each compute budget, by fits to the runs up to it."),
    "score": ("score", "score: that on larger compute, the largest counting most; laws far behind the best are left out."),
}
"""Root mean squared errors in a table of scores: headings, and what they mean."""


def fit_report(runs: Runs, model: RunModel, table: xr.Dataset) -> str:
    """What was fitted, how good it is in one paragraph, and the details: laws, their parameters, errors, intervals.

    Args:
      runs: the runs that were fitted to.
      model: as `nqmjax.runs.fit` returns it.
      table: `predict(model, runs.settings)`, with the command among its attributes.
    """
    tables = {law.name: identification(law) for law in model.laws}
    laws = [part for law in model.laws for part in law_report(law, runs, tables[law.name])]
    return report(
        f"A model of the loss of {len(runs)} training runs",
        table.attrs,
        wrap(summary_text(runs, model, table)),
        "" if model.scores is None else scores_table(model.scores),
        errors_report(runs, table),
        intervals_report(model),
        *laws,
        glossary(tables.values()),
    )


def summary_text(runs: Runs, model: RunModel, table: xr.Dataset) -> str:
    """What the model is, how near it comes to the runs, and how well it foretold larger ones."""
    known = runs.weight > 0
    errors = np.log(runs.loss / table.loss.values)[known]
    own = math.sqrt(np.average(errors**2, weights=runs.weight[known]))
    names = [law.name for law in model.laws]
    mean = f"the mean of {len(names)} laws, {', '.join(names)}" if len(names) > 1 else f"the law {names[0]}"
    text = f"In short: the model is {mean}. Its typical error on the runs that it was fitted to is {own:.1%} of the loss."
    ensemble = None if model.scores is None else model.scores.isel(law=-1)
    if ensemble is None or not np.isfinite(ensemble.forward):
        return f"{text} There are too few compute budgets to check it on runs that were left out."
    bias, forward = float(ensemble.bias), math.sqrt(float(ensemble.forward))
    text += f" On runs of more compute than a fit had seen it was off by {forward:.1%}, on average {abs(bias):.1%} too "
    text += "high." if bias > 0 else "low."
    best = model.intervals[model.best_interval]
    if not math.isnan(best.coverage):
        text += f" {best.coverage:.0%} of such runs lay in its 90% intervals."
    return f"{text} The further a run lies from those fitted to, the less this says of it."


def scores_report(scores: xr.Dataset) -> str:
    """Errors of laws as a report of their own."""
    return report("Which law predicts runs that were left out best?", scores.attrs, scores_table(scores))


def scores_table(scores: xr.Dataset) -> str:
    """Errors of laws in training and on runs left out, and those of the model."""

    def cells(name: str, form: str, power: float = 1.0) -> list[str]:
        return ["-" if np.isnan(value) else form.format(value**power) for value in scores[name].values.astype(float)]

    members = str(scores.members.values[-1]).split(", ")
    columns = {"para-\nmeters": cells("parameters", "{:.0f}")}
    columns |= {heading: cells(name, "{:.2%}", 0.5) for name, (heading, _) in SCORES.items() if name in scores}
    columns |= {"bias": cells("bias", "{:+.2%}")}
    rows = [f"{name} *" if name in members else str(name) for name in scores.law.values]
    passed = scores.attrs.get("passed_over", [])
    chosen = f"* chosen: {'the mean of ' * (len(members) > 1)}{', '.join(members)}"
    notes = [
        *(note for name, (_, note) in SCORES.items() if name in scores),
        "bias: the mean error on larger compute; above 0, losses were predicted too high. ensemble: the mean of those chosen.",
        *([f"Passed over, with too many parameters for so few runs: {', '.join(passed)}"] if len(passed) else []),
        chosen if np.isfinite(scores.score.values[-1]) else f"{chosen}; there are too few budgets to compare laws by",
    ]
    head = f"Typical errors of each law, root mean squares in % of the loss ({scores.attrs['runs']} runs, "
    head += f"{scores.attrs['folds']} parts left out in turn):"
    return "\n\n".join([wrap(head), columns_text("law", rows, columns), lines_of(notes)])


def law_report(fitted: FittedLaw, runs: Runs, found: xr.Dataset) -> list[str]:
    """The parameters of a law as far as the runs tell them, and how sure its fit is.

    Args:
      fitted: the law.
      runs: the runs that it was fitted to.
      found: `identification(fitted)`.
    """
    known = found.identified.values.astype(bool)
    value = [short(float(value)) if there else "open" for value, there in zip(found.value, known, strict=True)]
    interval = [f"{short(float(low))} to {short(float(high))}" for low, high in zip(found.lower, found.upper, strict=True)]
    told = [f"{share:.0%}" for share in found.learnt.values]
    columns = left("value", value) | left("90% interval", interval) | {"told by\nthe runs": told}
    names, correlation = " and ".join(found.attrs["correlated"]), found.attrs["strongest_correlation"]
    rounding = sum_error(fitted, runs.settings)
    open_sets = dict.fromkeys(" with ".join(text.split()[1::2]) for text in found.attrs["loose"])
    notes = [
        f"Hardest to tell apart: {names}, correlation {correlation:+.3f}; condition number {digits(found.attrs['condition'])}.",
        *([f"Left open by the runs, alone or in combination: {'; '.join(open_sets)}."] if open_sets else []),
        f"Fits from other starts, typical error and share of the starts: {basins_text(fitted)}.",
        *([f"Rounding of the law's sums: at most {rounding:.0e} of the loss."] if rounding else []),
    ]
    error = 100 * math.sqrt(fitted.mean_squared_error)
    head = f"Law {fitted.name}: typical error {error:.2f}% of the loss; scatter of the runs about it {100 * fitted.noise:.2f}%"
    parameters = columns_text("parameter", [str(name) for name in found.parameter.values], columns)
    return [wrap(head), parameters, lines_of(notes)]


def glossary(tables: Iterable[xr.Dataset]) -> str:
    """What the parameters of all laws mean, each once, and the headings of their tables."""
    pairs = [zip(found.parameter.values, found.meaning.values, strict=True) for found in tables]
    meanings = {str(name): str(text) for pair in pairs for name, text in pair}
    width = max(map(len, meanings)) + 2
    lines = [wrap(text, name.ljust(width)) for name, text in meanings.items()]
    note = (
        "open: the runs leave the value open. told by the runs: share of the earlier uncertainty (variance of what was "
        "believed before) that they removed."
    )
    return "\n".join([wrap(note), "", "Parameters:", "", *lines])


def basins_text(fitted: FittedLaw) -> str:
    """The best fits, and how many others there are."""
    texts = [f"{math.sqrt(basin.mean_squared_error):.2%} ({basin.share:.0%})" for basin in fitted.basins[:BASINS]]
    rest = len(fitted.basins) - BASINS
    return ", ".join(texts) + (f" and {rest} more" if rest > 0 else "")


def errors_report(runs: Runs, table: xr.Dataset) -> str:
    """Root mean squares and means of the errors, by budget and by group."""
    known, groups = runs.weight > 0, np.unique(runs.group).tolist()
    parts = {f"compute {short(budget)}": runs.budget == budget for budget in runs.budgets.tolist()}
    parts |= {f"group {group[:LONGEST] or '(none)'}": runs.group == group for group in groups if len(groups) > 1}
    parts = {name: here & known for name, here in {**parts, "all": known}.items() if (here & known).any()}
    errors = np.log(runs.loss / table.loss.values)
    inside = (runs.loss >= table.lower.values) & (runs.loss <= table.upper.values)
    columns = {"runs": [str(here.sum()) for here in parts.values()]}
    means = [np.average(np.stack([errors**2, errors]), axis=1, weights=runs.weight * here) for here in parts.values()]
    columns |= {"typical\nerror": [f"{math.sqrt(square):.2%}" for square, _ in means]}
    columns |= {"mean\nerror": [f"{mean:+.2%}" for _, mean in means]}
    columns[f"in {level_text(table)}"] = [f"{inside[here].mean():.0%}" for here in parts.values()]
    head = f"The model on the runs fitted to, observed above predicted loss (compute {runs.compute_unit}):"
    return f"{wrap(head)}\n\n{columns_text('runs of', list(parts), columns)}"


def intervals_report(model: RunModel) -> str:
    """How often each kind of interval covered runs of more compute, and which kind is used."""

    def share(value: float) -> str:
        return "-" if math.isnan(value) else f"{value:.0%}"

    rows = [f"{name} *" if name == model.best_interval else name for name in model.intervals]
    columns = {"covered": [share(one.coverage) for one in model.intervals.values()]}
    columns |= {"as they\nwere": [share(one.bare_coverage) for one in model.intervals.values()]}
    columns |= {"widened": [f"{one.inflation:.2f}" for one in model.intervals.values()]}
    notes = [
        "laplace: from how sharply the error rises around the best fit. bootstrap: from fits to runs drawn anew.",
        "covered: with each budget's intervals widened as the others ask for. widened: the factor on the model's part of "
        "their width, for runs to come. * used by default",
    ]
    head = "Runs of larger compute than a fit had seen that lay in its 90% intervals:"
    return "\n\n".join([head, columns_text("intervals", rows, columns), lines_of(notes)])
