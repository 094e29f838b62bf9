"""A plan as the commands write it: with whole batch sizes, its figure beside it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nqmjax import figures, optimizers, schedules
from nqmjax._tools import check_choice, write_atomically
from nqmjax.cli import reports
from nqmjax.cli.outputs import IMAGES, beside, check_outputs, unused, write_first
from nqmjax.cli.reports import COMMAND, wrap

if TYPE_CHECKING:
    from nqmjax.optimizers import LinearOptimizer
    from nqmjax.problem import NoisyQuadratic
    from nqmjax.schedules import Plan


def plan_outputs(output: Path | None, default: str, force: bool, *sources: Path | None) -> tuple[Path, Path]:
    """The names of a plan and of its figure, whichever of them `output` names, or `default`; both checked."""
    output = output or Path(f"{unused(default, force, '.csv', '.png')}.csv")
    kind = output.suffix.lower()
    check_choice("the suffix of output", kind, [".csv", ".json", *IMAGES])
    image, plan = beside(output, ".csv" if kind in IMAGES else kind)
    check_outputs((plan, image), force, *sources)
    return plan, image


def save_plan(
    plan: "Plan",
    problem: "NoisyQuadratic",
    optimizer: "LinearOptimizer",
    notes: Sequence[str],
    outputs: tuple[Path, Path],
    force: bool,
) -> None:
    """Write a plan with whole batch sizes and its figure, both or neither, then print the report with `notes` below."""
    output, image = outputs
    plan = plan.whole_batches()
    about = optimizers.provenance(problem, optimizer, plan.hyperparameters) | {"command": COMMAND.get()}
    text = reports.schedule_report(plan, float(schedules.run(problem, optimizer, plan)[-1]), problem, about)

    def both(path: Path) -> None:
        figures.write_figure(figures.plan_figure(plan, about), path)
        plan.write(output, force, about)

    write_first(lambda: write_atomically(image, both, force), "\n".join([text, *map(wrap, notes)]), output, image)
