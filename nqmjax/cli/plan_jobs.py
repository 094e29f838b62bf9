"""What the commands about plans do: check everything, compute, write the files whole, print a summary."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr

from nqmjax import budgets
from nqmjax.checks import check_choice, require
from nqmjax.cli.jobs import Problem, check_outputs, pair, watched, write_first, write_pair
from nqmjax.cli.options import OptimizerOptions, ProblemOptions
from nqmjax.cli.outputs import IMAGES, beside
from nqmjax.cli.plan_report import budget_report, comparison_report, plan_report, transfer_report
from nqmjax.cli.values import parse_assignments, parse_numbers
from nqmjax.closed_forms import optimal_batch_sizes
from nqmjax.comparison import COMPARED, compare_schedules
from nqmjax.figures import budget_figure, comparison_figure, plan_figure, write_figure
from nqmjax.files import save_dataset, write_atomically
from nqmjax.optimizers import LinearOptimizer, Preconditioned, hyperparameters
from nqmjax.plan_files import read_plan, write_plan
from nqmjax.plans import Plan, run
from nqmjax.problem import NoisyQuadratic
from nqmjax.scaling import TEMPLATES
from nqmjax.schedule_search import optimize_schedule, steps_to_target_with_schedule
from nqmjax.schedules import FAMILIES
from nqmjax.wall_clock import TimeModel, best_plan_in_time, fastest_plan


class Recipe(NamedTuple):
    """The options that say which plan: a file, or a family and its settings."""

    plan: Path | None
    schedule: str
    learning_rate: float | None
    steps: int | None
    batch_size: str | None
    pieces: int

    def build(self) -> Plan:
        """The plan itself."""
        given = {name: getattr(self, name) for name in ("learning_rate", "steps", "batch_size")}
        if self.plan is not None:
            for name, value in given.items():
                require(value is None, name, value, "the plan has its own; leave it or --plan out")
            return read_plan(self.plan)
        for name, value in given.items():
            require(value is not None, name, "missing", f"give --{name.replace('_', '-')}, or a plan's file with --plan")
        check_choice("schedule", self.schedule, FAMILIES)
        assert self.learning_rate is not None
        assert self.steps is not None
        batch_size = one_number("batch_size", self.batch_size)
        plan = FAMILIES[self.schedule](self.learning_rate, self.steps, batch_size, pieces=self.pieces)
        if plan.pieces >= self.pieces:
            return plan
        lengths = np.diff(np.round(np.linspace(0, self.steps, min(self.pieces, self.steps) + 1)))
        return Plan(plan.learning_rate[0], steps=lengths, batch_size=batch_size) if plan.pieces == 1 else plan


class Question(NamedTuple):
    """What `nqmjax schedule optimize` is to find."""

    batch_size: str | None
    steps: int | None
    target: float | None
    pieces: int
    over: Sequence[str]
    ramp: bool
    max_learning_rate: float | None


class Clock(NamedTuple):
    """The options that say how long a step takes; None where one is not given."""

    seconds: float | None
    step_seconds: float | None
    example_seconds: float | None
    max_batch_size: float | None

    def model(self) -> TimeModel | None:
        """Seconds per step, or None if time is not asked for."""
        if all(value is None for value in self):
            return None
        for name in ("step_seconds", "example_seconds"):
            require(
                getattr(self, name) is not None, name, "missing", "give the seconds of a step and of an example, or neither"
            )
        assert self.step_seconds is not None
        assert self.example_seconds is not None
        return TimeModel(
            self.step_seconds, self.example_seconds, math.inf if self.max_batch_size is None else self.max_batch_size
        )


def names(words: Sequence[str]) -> list[str]:
    """Names with commas or spaces between them."""
    return [name.replace("-", "_") for word in words for name in word.lower().split(",") if name]


def one_number(argument: str, text: str | None) -> float:
    """A single number, as in 64 or 2^6."""
    numbers = parse_numbers(argument, [text or ""])
    require(numbers.size == 1, argument, text, "give one number")
    return float(numbers[0])


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
    warmup: bool,
    output: Path,
    force: bool,
) -> None:
    """`nqmjax schedule compare`."""
    image, data = pair(output, force, spectrum_of(problem))
    chosen = list(COMPARED) if names(families) == ["all"] else names(families)
    require(bool(chosen), "families", "empty", f"give all, or some of {', '.join(COMPARED)}")
    table = compare_schedules(
        build_problem(problem),
        build_optimizer(method),
        one_number("batch_size", batch_size),
        steps,
        chosen,
        max_learning_rate,
        warmup,
        progress=watched(),
    )
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
    setting, optimizer, time = build_problem(problem), build_optimizer(method), clock.model()
    over, pieces, cap = names(question.over), question.pieces, question.max_learning_rate
    asked = {"steps": question.steps, "target": question.target, "seconds": clock.seconds}
    given = [name for name, value in asked.items() if value is not None]
    require(len(given) == 1, "what to find", " and ".join(given) or "missing", "give one of --steps, --target and --seconds")
    constant = not question.ramp
    notes = []
    if time is not None:
        require(question.steps is None, "steps", question.steps, "against the clock the number of steps is found; leave it out")
        remedy = "against the clock the batch size is found; leave it out"
        require(question.batch_size is None, "batch_size", question.batch_size, remedy)
        if clock.seconds is not None:
            found = best_plan_in_time(setting, optimizer, clock.seconds, time, pieces, over, cap, constant, watched())
        else:
            assert question.target is not None
            found = fastest_plan(setting, optimizer, question.target, time, pieces, over, cap, constant, watched())
        notes.append(f"Time: {found.seconds:,.6g} seconds.")
    else:
        require(question.batch_size is not None, "batch_size", "missing", "give --batch-size, or the seconds of a step")
        batch_size = one_number("batch_size", question.batch_size)
        if question.steps is not None:
            examples = batch_size * question.steps if question.ramp else None
            count = min(pieces, max(question.steps, 1))
            found = optimize_schedule(setting, optimizer, batch_size, question.steps, count, cap, over, examples)
        else:
            assert question.target is not None
            require(not question.ramp, "ramp", "set", "with a target give the seconds of a step, or ask for --steps")
            found = steps_to_target_with_schedule(setting, optimizer, batch_size, question.target, pieces, cap, over)
    if found.plan is None:
        word = "it is met before the first update" if found.steps == 0 else "no plan reaches it in 2^31 updates"
        print(f"Target {question.target:g}: {word}. Nothing is written.")
        return
    if not found.converged:
        notes.append("The optimisation did not converge: this is the best plan found, and a better one may exist.")
    report = "\n".join([plan_report(found.plan, found.risk, setting), *notes])
    save_plan(found.plan, output, image, force, report)


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
    found = optimal_batch_sizes(setting, optimizer, plan, budget, smallest, math.inf if largest is None else largest)
    even = plan.replace(batch_size=budget / plan.total_steps)
    before, after = (float(run(setting, optimizer, each)[-1]) for each in (even, found))
    note = f"With the same batch size throughout, {budget / plan.total_steps:,.6g}, the final risk is {before:.6g}."
    save_plan(found, output, image, force, f"{plan_report(found, after, setting)}\n{note}")


def budget(
    problem: ProblemOptions | None,
    question: tuple[float | None, float | None, int | None],
    batch_sizes: Sequence[str],
    optimizers: Sequence[str],
    fixed: Sequence[str],
    power: float,
    schedule: str,
    warmup: float,
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
    batches = parse_numbers("batch_sizes", batch_sizes)
    for optimizer in methods.values():
        curve = budgets.budget_curve(setting, optimizer, batches, examples, steps, schedule, warmup, watched())
        regimes = budgets.budget_regimes(curve)._asdict() if examples is not None else {}
        curves.append(curve.assign(regimes))
    index = xr.DataArray(list(methods), dims="optimizer", name="optimizer")
    table = xr.concat(curves, index, combine_attrs="drop_conflicts")
    assert isinstance(table, xr.Dataset)
    write_pair(budget_figure(table), table, image, data, force, budget_report(table))


def transfer(
    problem: ProblemOptions | None,
    method: OptimizerOptions | None,
    recipe: Recipe,
    to: str,
    output: Path | None,
    force: bool,
) -> None:
    """`nqmjax transfer`."""
    if output is not None:
        check_choice("the suffix of output", output.suffix, [".nc"])
        check_outputs([output], force, spectrum_of(problem))
    table = budgets.transfer(build_problem(problem), build_optimizer(method), recipe.build(), one_number("to", to))
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


def save_plan(plan: Plan, output: Path, image: Path, force: bool, report: str) -> None:
    """Write a plan and its figure, both or neither, then print the report."""

    def both(path: Path) -> None:
        write_figure(plan_figure(plan), path)
        write_plan(plan, output, force)

    write_first(lambda: write_atomically(image, both, force), report, output, image)
