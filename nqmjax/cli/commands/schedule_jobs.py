"""What the commands about plans do: check everything, compute, write the files whole, print a summary."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from nqmjax import schedules
from nqmjax._tools import check_choice, require, save_dataset, write_atomically
from nqmjax.cli.commands.jobs import Problem
from nqmjax.cli.numbers import parse_assignments, parse_numbers
from nqmjax.cli.options import OptimizerOptions, ProblemOptions
from nqmjax.cli.outputs import IMAGES, beside, check_outputs, pair, watched, write_first, write_pair
from nqmjax.cli.plan_questions import PLAN_PIECES, Clock, Question, Recipe, names, one_number
from nqmjax.cli.reports import COMMAND, budget_report, comparison_report, transfer_report, with_command, wrap
from nqmjax.cli.reports import schedule_report as plan_report
from nqmjax.figures import budget_figure, comparison_figure, plan_figure, write_figure
from nqmjax.optimizers import TEMPLATES, LinearOptimizer, Preconditioned, hyperparameters, provenance
from nqmjax.problem import NoisyQuadratic
from nqmjax.schedules import (
    AT_CAP,
    COMPARED,
    OptimizedPlan,
    Plan,
    PlanToTarget,
    TimedPlan,
    best_plan_in_time,
    chosen_cap,
    fastest_plan,
    optimal_batch_sizes,
    optimize_schedule,
    run,
    steps_to_target_with_schedule,
)
from nqmjax.schedules import compare as compare_schedules


def build_problem(options: ProblemOptions | None) -> NoisyQuadratic:
    """The problem of the options."""
    options = options or ProblemOptions()
    return Problem(options.dim, options.exponent, options.spectrum, options.irreducible, options.bins).build()


def spectrum_of(options: ProblemOptions | None) -> Path | None:
    """The spectrum's file, if there is one."""
    return None if options is None else options.spectrum


def build_optimizer(options: OptimizerOptions | None) -> LinearOptimizer:
    """The optimizer of the options; its learning rate is only a placeholder."""
    options = options or OptimizerOptions()
    [name] = names([options.optimizer]) or [""]
    check_choice("optimizer", name, TEMPLATES)
    template, values = TEMPLATES[name], parse_assignments("fixed", options.fixed)
    for key in values:
        check_choice("fixed", key, hyperparameters(template))
    return Preconditioned(template.replace(**values), options.power)


def compare(
    problem: ProblemOptions | None,
    method: OptimizerOptions | None,
    batch_size: str,
    steps: int,
    families: Sequence[str],
    max_learning_rate: float | None,
    tune_warmup: bool,
    output: Path,
    force: bool,
) -> None:
    """`nqmjax schedule compare`."""
    image, data = pair(output, force, spectrum_of(problem))
    chosen = list(COMPARED) if names(families) == ["all"] else names(families)
    require(bool(chosen), "families", "empty", f"give all, or some of {', '.join(COMPARED)}")
    found = compare_schedules(
        build_problem(problem),
        build_optimizer(method),
        one_number("batch_size", batch_size),
        steps,
        chosen,
        max_learning_rate=max_learning_rate,
        tune_warmup=tune_warmup,
        progress=watched(),
    )
    table = with_command(found)
    write_pair(comparison_figure(table), table, image, data, force, comparison_report(table))


def optimize(
    problem: ProblemOptions | None,
    method: OptimizerOptions | None,
    question: Question,
    clock: Clock,
    output: Path,
    force: bool,
) -> None:
    """`nqmjax schedule optimize`."""
    output, image = plan_outputs(output, force, spectrum_of(problem))
    setting, optimizer = build_problem(problem), build_optimizer(method)
    found = find_plan(setting, optimizer, question, clock)
    if found.plan is None:
        word = "it is met before the first update" if found.steps == 0 else "no plan reaches it in 2^31 updates"
        print(f"Target {question.target:g}: {word}. Nothing is written.")
        return
    plan, time, notes = found.plan.whole_batches(), clock.model(), []
    if question.target is not None:  # rounded down, the plan might miss it
        plan = found.plan.replace(batch_size=np.ceil(found.plan.batch_size * (1 - 1e-12)))
    if time is not None:
        notes.append(f"Time: {time.seconds(plan):,.6g} seconds.")
    if not found.converged:
        notes.append("The optimisation did not converge: this is the best plan found, and a better one may exist.")
    if plan.learning_rate.max() >= chosen_cap(setting, optimizer, question.max_learning_rate) * (1 - AT_CAP):
        notes.append("The largest rate is the cap, --max-learning-rate: a higher one might do better.")
    if any(found.plan.batch_size != plan.batch_size):
        notes.append(f"With batch sizes that need not be whole the final loss is {found.risk:.6g}.")
    save_plan(plan, setting, optimizer, notes, output, image, force)


def find_plan(
    setting: NoisyQuadratic, optimizer: LinearOptimizer, question: Question, clock: Clock
) -> OptimizedPlan | PlanToTarget | TimedPlan:
    """The best plan for a number of steps, a target or a time, whichever is given."""
    asked = {"steps": question.steps, "target": question.target, "seconds": clock.seconds}
    given = [name for name, value in asked.items() if value is not None]
    require(len(given) == 1, "what to find", " and ".join(given) or "missing", "give one of --steps, --target and --seconds")
    how = {"over": names(question.over), "max_learning_rate": question.max_learning_rate}
    pieces, time = PLAN_PIECES if question.pieces is None else question.pieces, clock.model()
    if time is not None:
        how |= {"constant_batch": not question.ramp, "progress": watched()}
        require(question.steps is None, "steps", question.steps, "against the clock the number of steps is found; leave it out")
        remedy = "against the clock the batch size is found; leave it out"
        require(question.batch_size is None, "batch_size", question.batch_size, remedy)
        if clock.seconds is not None:
            return best_plan_in_time(setting, optimizer, clock.seconds, time, pieces, **how)
        assert question.target is not None
        return fastest_plan(setting, optimizer, question.target, time, pieces, **how)
    require(question.batch_size is not None, "batch_size", "missing", "give --batch-size, or the seconds of a step")
    batch_size = one_number("batch_size", question.batch_size)
    if question.target is not None:
        require(not question.ramp, "ramp", "set", "with a target give the seconds of a step, or ask for --steps")
        return steps_to_target_with_schedule(setting, optimizer, batch_size, question.target, pieces, **how)
    assert question.steps is not None
    pieces = min(pieces, max(question.steps, 1)) if question.pieces is None else pieces
    examples = batch_size * question.steps if question.ramp else None
    return optimize_schedule(setting, optimizer, batch_size, question.steps, pieces, examples=examples, **how)


def batch_schedule(
    problem: ProblemOptions | None,
    method: OptimizerOptions | None,
    recipe: Recipe,
    examples: float | None,
    smallest: float,
    largest: float | None,
    output: Path,
    force: bool,
) -> None:
    """`nqmjax batch-schedule`."""
    output, image = plan_outputs(output, force, spectrum_of(problem), recipe.plan)
    setting, optimizer, plan = build_problem(problem), build_optimizer(method), recipe.build()
    budget = float(plan.total_examples) if examples is None else examples
    limits = {"smallest": smallest, "largest": math.inf if largest is None else largest}
    found = optimal_batch_sizes(setting, optimizer, plan, budget, **limits).whole_batches()
    even = plan.replace(batch_size=budget / plan.total_steps)
    before = float(run(setting, optimizer, even)[-1])
    note = f"With the same batch size throughout, {budget / plan.total_steps:,.6g}, the final loss is {before:.6g}."
    save_plan(found, setting, optimizer, [note], output, image, force)


def budget(
    problem: ProblemOptions | None,
    question: tuple[float | None, float | None, int | None],
    batch_sizes: Sequence[str],
    optimizers: Sequence[str],
    fixed: Sequence[str],
    power: float,
    schedule: str,
    warmup: float,
    max_learning_rate: float | None,
    output: Path,
    force: bool,
) -> None:
    """`nqmjax budget`."""
    epochs, dataset_size, steps = question
    image, data = pair(output, force, spectrum_of(problem))
    require(
        (epochs is None) == (dataset_size is None), "epochs and dataset_size", (epochs, dataset_size), "give both or neither"
    )
    require((epochs is None) != (steps is None), "the budget", "unclear", "give --epochs with --dataset-size, or --steps")
    examples = None
    if epochs is not None and dataset_size is not None:
        for name, value in {"epochs": epochs, "dataset_size": dataset_size}.items():
            require(value > 0, name, value, "give a number above 0")
        examples = epochs * dataset_size
    how = {"examples": examples, "steps": steps, "family": schedule, "warmup": warmup, "progress": watched()}
    how["max_learning_rate"] = max_learning_rate
    values, setting, curves = parse_assignments("fixed", fixed), build_problem(problem), []
    methods = {}
    require(bool(optimizers), "optimizers", "empty", f"give some of {', '.join(TEMPLATES)}")
    for name in optimizers:
        check_choice("optimizer", name, TEMPLATES)
    for key in values:
        check_choice("fixed", key, list(dict.fromkeys(key for name in optimizers for key in hyperparameters(TEMPLATES[name]))))
    for name in optimizers:
        held = [f"{key}={value}" for key, value in values.items() if key in hyperparameters(TEMPLATES[name])]
        methods[name] = build_optimizer(OptimizerOptions(name, tuple(held), power))
    batches = parse_numbers("batch_sizes", batch_sizes) if batch_sizes else default_batch_sizes(examples)
    for optimizer in methods.values():
        curve = schedules.budget_curve(setting, optimizer, batches, **how)
        regimes = schedules.budget_regimes(curve)._asdict() if examples is not None else {}
        curves.append(curve.assign(regimes))
    index = xr.DataArray(list(methods), dims="optimizer", name="optimizer")
    joined = xr.concat(curves, index, combine_attrs="drop_conflicts")
    assert isinstance(joined, xr.Dataset)
    table = with_command(joined.assign_attrs(optimizer="; ".join(curve.optimizer for curve in curves)))
    write_pair(budget_figure(table), table, image, data, force, budget_report(table))


def default_batch_sizes(examples: float | None) -> np.ndarray:
    """Powers of two up to 2^16 of which a budget of examples pays for ten updates, or one if it is so small."""
    largest = min(16, max(0, math.floor(math.log2(max(examples / 10, 1))))) if examples is not None else 16
    return 2.0 ** np.arange(largest + 1)


def transfer(
    problem: ProblemOptions | None,
    method: OptimizerOptions | None,
    recipe: Recipe,
    to: str,
    max_learning_rate: float | None,
    output: Path | None,
    force: bool,
) -> None:
    """`nqmjax transfer`."""
    if output is not None:
        check_choice("the suffix of output", output.suffix, [".nc"])
        check_outputs([output], force, spectrum_of(problem))
    setting, optimizer, plan = build_problem(problem), build_optimizer(method), recipe.build()
    to_batch = one_number("to", to)
    table = with_command(schedules.transfer(setting, optimizer, plan, to_batch, max_learning_rate=max_learning_rate))
    if output is None:
        print(transfer_report(table))
    else:
        write_first(lambda: save_dataset(table, output, force), transfer_report(table), output)


def plan_outputs(output: Path, force: bool, *sources: Path | None) -> tuple[Path, Path]:
    """The names of a plan and of its figure, whichever of them `output` names; both checked."""
    kind = output.suffix.lower()
    check_choice("the suffix of output", kind, [".csv", ".json", *IMAGES])
    image, plan = beside(output, ".csv" if kind in IMAGES else kind)
    check_outputs((plan, image), force, *sources)
    return plan, image


def save_plan(
    plan: Plan,
    problem: NoisyQuadratic,
    optimizer: LinearOptimizer,
    notes: Sequence[str],
    output: Path,
    image: Path,
    force: bool,
) -> None:
    """Write a plan with whole batch sizes and its figure, both or neither, then print the report with `notes` below."""
    plan = plan.whole_batches()
    about = provenance(problem, optimizer, plan.hyperparameters) | {"command": COMMAND.get()}
    text = plan_report(plan, float(run(problem, optimizer, plan)[-1]), problem, about)

    def both(path: Path) -> None:
        write_figure(plan_figure(plan, about), path)
        plan.write(output, force, about)

    write_first(lambda: write_atomically(image, both, force), "\n".join([text, *map(wrap, notes)]), output, image)
