"""Tables about plans as text."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from nqmjax.bounds import bayes_examples
from nqmjax.cli.report import Block, batch_text, count_text, side_by_side
from nqmjax.plans import Plan
from nqmjax.problem import NoisyQuadratic


def columns_text(first: str, labels: Sequence[str], columns: Mapping[str, Sequence[str]]) -> str:
    """A plain table: a column of labels and others, each under its heading."""
    blocks = [Block("", [[name, *cells]]) for name, cells in columns.items()]
    return "\n".join(side_by_side([first, *labels], blocks).splitlines()[1:])


def comparison_report(table: xr.Dataset) -> str:
    """Final risks of schedule families, best first, and their settings."""

    def cells(name: str, form: str) -> list[str]:
        return ["-" if np.isnan(value) else form.format(value) for value in table[name].values]

    columns = {"final risk": cells("risk", "{:.5g}"), "over the best plan": cells("excess_over_optimal", "{:+.1%}")}
    columns |= {"efficiency": cells("efficiency", "{:.1%}"), "peak rate": cells("learning_rate", "{:.4g}")}
    for name, form in {"warmup": "{:.1%}", "cooldown": "{:.1%}", "final": "{:.2g}", "timescale": "{:.3%}"}.items():
        if name in table:
            columns[name] = cells(name, form)
    attrs = table.attrs
    return "\n".join(
        [
            f"Schedules at their best, {attrs['steps']:,} updates of {attrs['batch_size']:g} examples; "
            f"Bayes bound {attrs['bayes_bound']:.4g}",
            "",
            columns_text("schedule", [str(name) for name in table.schedule.values], columns),
            "",
            "efficiency: the examples with which the best algorithm reaches that risk, over those used. warmup, cooldown and",
            "timescale as shares of the run, final as a share of the peak rate.",
            *cap_note(table, table.schedule.values),
            *([] if attrs["converged"] else ["The best plan's optimisation did not converge: it may be better still."]),
        ]
    )


def cap_note(table: xr.Dataset, names: Sequence[str]) -> list[str]:
    """A line about the entries whose best rate is the cap."""
    at = [str(name) for name, capped in zip(names, table.at_cap.values, strict=True) if np.any(capped)]
    return [f"At the cap of the rate, where a higher one might do better: {', '.join(at)}."] if at else []


def plan_report(plan: Plan, risk: float, problem: NoisyQuadratic) -> str:
    """The pieces of a plan, and what it comes to."""
    starts = np.concatenate([[0], np.cumsum(plan.steps)[:-1]])
    columns = {"steps": [f"{value:.0f}" for value in plan.steps], "batch size": [f"{value:.6g}" for value in plan.batch_size]}
    columns |= {name.replace("_", " "): [f"{value:.5g}" for value in values] for name, values in plan.hyperparameters.items()}
    efficiency = float(bayes_examples(problem, risk)) / float(plan.total_examples)
    return "\n".join(
        [
            columns_text("from step", [f"{start:.0f}" for start in starts], columns),
            "",
            f"Final risk {risk:.6g} after {plan.total_steps:,.0f} steps and {plan.total_examples:,.0f} examples; "
            f"efficiency {efficiency:.1%} of the Bayes bound.",
            f"Batch ramp, start:batch: {plan.batch_ramp()}",
        ]
    )


def budget_report(table: xr.Dataset) -> str:
    """Tuned risks and effective rates by batch size, and where the regimes meet."""
    columns = {}
    for name in table.optimizer.values:
        curve = table.sel(optimizer=name)
        columns[f"{name}: risk"] = [f"{value:.4g}" for value in curve.risk.values]
        columns[f"{name}: rate"] = [f"{value:.4g}" for value in curve.effective_learning_rate.values]
    lines = [
        f"Best final risk and effective learning rate by batch size; budget of {table.attrs['budget']}, "
        f"schedule {table.attrs['family']}",
        "",
        columns_text("batch size", [batch_text(batch) for batch in table.batch_size.values], columns),
    ]
    for name in table.optimizer.values:
        curve = table.sel(optimizer=name)
        if curve.at_cap.any():
            first = batch_text(float(curve.batch_size[curve.at_cap.values][0]))
            lines.append(
                f"{name}: from batch size {first} on best rates lie at the cap, just inside the stability edge or as given."
            )
    if "boundary" in table:
        lines.append("")
        for name in table.optimizer.values:
            regime = table.sel(optimizer=name)
            if not np.isfinite(regime.exponent):
                lines.append(f"{name}: these batch sizes do not show where noise dominates.")
                continue
            lines.append(
                f"{name}: rate ~ B^{float(regime.exponent):.2f} while noise dominates; the linear rule holds up to "
                f"{batch_text(float(regime.linear_up_to))}; "
                + (
                    f"curvature dominates from about {float(regime.boundary):.0f}."
                    if np.isfinite(regime.boundary)
                    else "these batch sizes do not reach where curvature dominates."
                )
            )
    return "\n".join(lines)


def transfer_report(table: xr.Dataset) -> str:
    """A recipe at another batch size under each rule."""

    def risks(name: str) -> list[str]:
        return [f"{value:.5g}" if value < 1e3 * table.attrs["initial_risk"] else "diverges" for value in table[name].values]

    steps = [count_text(value) if np.isfinite(value) else "never" for value in table.steps_to_same_risk.values]
    examples = [count_text(value) if np.isfinite(value) else "never" for value in table.examples_to_same_risk.values]
    columns = {
        "rate times": [f"{value:.4g}" for value in table.rate_factor_same_examples.values],
        "risk, same examples": risks("risk_same_examples"),
        "risk, same steps": risks("risk_same_steps"),
        "steps to same risk": steps,
        "examples to same risk": examples,
    }
    attrs = table.attrs
    return "\n".join(
        [
            f"From batch size {attrs['from_batch_size']:g} (risk {attrs['risk']:.5g} after {attrs['steps']:,} steps, "
            f"{attrs['examples']:,.0f} examples) to {attrs['batch_size']:g}",
            "",
            columns_text("rule", [str(name) for name in table.rule.values], columns),
            "",
            "rate times: the factor on the recipe's rates, for tuned that of the same examples.",
            f"At its own batch size the recipe's best factor is {attrs['own_rate_factor']:.4g}; a tuned recipe has 1.",
            *cap_note(table, table.rule.values),
        ]
    )
