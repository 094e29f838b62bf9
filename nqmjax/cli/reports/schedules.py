"""Reports about schedules, batch ramps, budgets and transfer as text."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from nqmjax.bounds import bayes_examples
from nqmjax.cli.reports.text import Block, batch_text, columns_text, count_text, lines_of, report, side_by_side
from nqmjax.problem import NoisyQuadratic
from nqmjax.schedules import Plan

DOUBTED = 30.0
"""Factor on a recipe's rates from which they are likely to be in other units."""

DOUBT = (
    "So far below the best, the recipe's rate hardly learns here: is it a network's? Give it in the units above, or a recipe "
    "that is near its best on this problem."
)
EFFICIENCY = "efficiency: examples with which the best conceivable algorithm reaches that loss, over those used."


def comparison_report(table: xr.Dataset) -> str:
    """Final losses of schedule families, best first, and their settings."""

    def cells(name: str, form: str) -> list[str]:
        return ["-" if np.isnan(value) else form.format(value) for value in table[name].values]

    columns = {"final\nloss": cells("risk", "{:.5g}")}
    known = "excess_over_optimal" in table
    if known:
        columns["above\nbest plan"] = cells("excess_over_optimal", "{:+.1%}")
    columns |= {"effi-\nciency": cells("efficiency", "{:.1%}"), "peak\nrate": cells("learning_rate", "{:.4g}")}
    forms = {"warmup": "{:.1%}", "cooldown": "{:.1%}", "final": "{:.2g}"}
    titles = {"warmup": "warm-\nup", "cooldown": "cool-\ndown", "final": "final\nrate"}
    columns |= {titles[name]: cells(name, form) for name, form in forms.items() if name in table}
    attrs = table.attrs
    notes = [
        EFFICIENCY,
        ("above best plan: of the loss above the irreducible one. " if known else "The best possible plan is not known. ")
        + "warm-up, cooldown: shares of the run. final rate: share of the peak rate.",
        *_timescales(table),
        *cap_note(table, table.schedule.values),
        *([] if attrs["converged"] else ["The best plan's optimisation did not converge: it may be better still."]),
    ]
    heading = f"Schedules at their best, {attrs['steps']:,} updates of {attrs['batch_size']:g} examples"
    bound = f"Ideal bound, the loss of the best conceivable algorithm after as many examples: {attrs['bayes_bound']:.4g}"
    body = columns_text("schedule", [str(name) for name in table.schedule.values], columns)
    return report(heading, attrs, lines_of([bound]), body, lines_of(notes))


def _timescales(table: xr.Dataset) -> list[str]:
    """The setting that only rates of inverse roots have."""
    if "timescale" not in table:
        return []
    found = zip(table.schedule.values, table.timescale.values, strict=True)
    return [f"timescale of {name}: {value:.3%} of the run." for name, value in found if not np.isnan(value)]


def cap_note(table: xr.Dataset, names: Sequence[str]) -> list[str]:
    """A line about the entries whose best rate is the cap."""
    at = [str(name) for name, capped in zip(names, table.at_cap.values, strict=True) if np.any(capped)]
    return [f"At the cap of the rate (--max-learning-rate), where a higher one might do better: {', '.join(at)}."] if at else []


def schedule_report(plan: Plan, risk: float, problem: NoisyQuadratic, attributes: Mapping[str, str]) -> str:
    """The pieces of a plan, and what it comes to."""
    starts = np.concatenate([[0], np.cumsum(plan.steps)[:-1]])
    columns = {
        "updates": [f"{value:.0f}" for value in plan.steps],
        "batch size": [f"{value:.10g}" for value in plan.batch_size],
    }
    columns |= {name.replace("_", " "): [f"{value:.5g}" for value in values] for name, values in plan.hyperparameters.items()}
    efficiency = float(bayes_examples(problem, risk)) / float(plan.total_examples)
    notes = [
        f"Final loss {risk:.6g} after {plan.total_steps:,.0f} updates and {plan.total_examples:,.0f} examples; "
        f"efficiency {efficiency:.1%}.",
        EFFICIENCY,
        f"Batch ramp, update:batch size: {plan.batch_ramp().replace(',', ', ')}",
    ]
    body = columns_text("from update", [f"{start:.0f}" for start in starts], columns)
    return report("A plan, piece by piece", attributes, body, lines_of(notes))


def budget_report(table: xr.Dataset) -> str:
    """Tuned losses and effective rates by batch size, and where the regimes meet."""
    blocks = []
    for name in table.optimizer.values:
        curve = table.sel(optimizer=name)
        columns = {"loss": curve.risk.values, "rate": curve.effective_learning_rate.values}
        blocks.append(Block(str(name), [[title, *(f"{value:.4g}" for value in values)] for title, values in columns.items()]))
    labels = ["batch size", *(batch_text(batch) for batch in table.batch_size.values)]
    regimes = [_regime_text(table.sel(optimizer=name)) for name in table.optimizer.values] if "boundary" in table else []
    notes = [
        *regimes,
        *(_cap_text(table.sel(optimizer=name)) for name in table.optimizer.values if table.at_cap.sel(optimizer=name).any()),
        "loss: the best final loss. rate: the effective learning rate that gives it, the peak rate over (1 - momentum). "
        "Where noise dominates, a larger batch takes a larger rate and loses nothing; where curvature dominates, the rate can "
        "grow no further, and larger batches only make fewer updates.",
    ]
    heading = f"Best final loss and learning rate by batch size, for {table.attrs['budget']}, schedule {table.attrs['family']}"
    return report(heading, table.attrs, side_by_side(labels, blocks), lines_of(notes))


def _cap_text(curve: xr.Dataset) -> str:
    """From which batch size on the best rates are held by their cap."""
    first = batch_text(float(curve.batch_size[curve.at_cap.values][0]))
    name = curve.optimizer.item()
    return f"{name}: from batch size {first} on best rates lie at the cap, just inside the stability edge or as given."


def _regime_text(regime: xr.Dataset) -> str:
    """How the best rate grows with the batch size, and where that ends."""
    name = regime.optimizer.item()
    if not np.isfinite(regime.exponent):
        return f"{name}: these batch sizes do not show where noise dominates."
    end = "these batch sizes do not reach where curvature dominates."
    if np.isfinite(regime.boundary):
        end = f"curvature dominates from about {float(regime.boundary):.0f}."
    up_to = batch_text(float(regime.linear_up_to))
    return f"{name}: rate ~ B^{float(regime.exponent):.2f} while noise dominates, in proportion up to {up_to}; {end}"


def transfer_report(table: xr.Dataset) -> str:
    """A recipe at another batch size under each rule."""
    attrs = table.attrs

    def risks(name: str) -> list[str]:
        return [f"{value:.5g}" if value < 1e3 * attrs["initial_risk"] else "diverges" for value in table[name].values]

    steps = [count_text(value) if np.isfinite(value) else "never" for value in table.steps_to_same_risk.values]
    examples = [count_text(value) if np.isfinite(value) else "never" for value in table.examples_to_same_risk.values]
    columns = {
        "rate\ntimes": [f"{value:.4g}" for value in table.rate_factor_same_examples.values],
        "loss, same\nexamples": risks("risk_same_examples"),
        "loss, same\nupdates": risks("risk_same_steps"),
        "updates to\nsame loss": steps,
        "examples to\nsame loss": examples,
        "holds\nup to": [batch_text(value) if np.isfinite(value) else "-" for value in table.holds_up_to.values],
    }
    heading = (
        f"From batch size {attrs['from_batch_size']:g} (loss {attrs['risk']:.5g} after {attrs['steps']:,} updates, "
        f"{attrs['examples']:,.0f} examples) to {attrs['batch_size']:g}"
    )
    notes = [
        "rate times: the factor on the rates, for tuned the best one with as many examples. same: as in the recipe.",
        "holds up to: the largest batch size, doubling by doubling, up to which the loss after as many examples is at most 10% "
        "above the recipe's (of what is above the irreducible loss).",
        *_noise_notes(attrs, [str(name) for name in table.rule.values]),
        f"At its own batch size the recipe's best factor is {attrs['own_rate_factor']:.4g}; a tuned recipe has 1.",
        *([DOUBT] if attrs["own_rate_factor"] > DOUBTED else []),
        *cap_note(table, table.rule.values),
    ]
    body = columns_text("rule", [str(name) for name in table.rule.values], columns)
    return report(heading, attrs, body, lines_of(notes))


def _noise_notes(attrs: Mapping[str, float], rules: Sequence[str]) -> list[str]:
    """What the square-root rules rest on, where that is gone."""
    if "sqrt_betas" not in rules:
        return []
    scale = f"{attrs['noise_scale']:.3g}"
    weak = f" They rest on noise, which at the start outweighs the gradient up to batch size {scale} only."
    about = (
        "sqrt, sqrt_betas: the rate times the root of the batch; with betas, besides each 1 - beta times the batch, at most 1."
    )
    return [about + (weak if attrs["batch_size"] > attrs["noise_scale"] else "")]
