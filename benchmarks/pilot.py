"""Pilots at two batch sizes against full sweeps: updates, rates, critical batch sizes, and what the pilots cost."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from common import report

from nqmjax import critical_batch_size
from nqmjax.training import Task, experiment, linear_regression, mlp, pilot, steps, tuned

BATCHES = 2 ** np.arange(1, 11)
AROUND = 2.0 ** np.arange(-2, 2.1, 0.5)
"""Rates of a sweep over those that the pilots foretell."""

LATE, SPACING = 1.5, 1.1


def regression() -> tuple[Task, float]:
    """A linear regression, and 5% of its excess loss."""
    task = linear_regression(100, 4000)
    x, y = (np.float64(values) for values in task.data)
    least = 0.5 * ((x @ np.linalg.lstsq(x, y)[0] - y) ** 2).mean()
    return task, least + 0.05 * (task.first_loss - least)


CASES: dict[str, tuple[Callable[[], tuple[Task, float]], int, int | None]] = {
    "regression": (regression, 6, None),
    "mlp": (lambda: (mlp(), 0.1), 3, 2000),
    "sq": (lambda: (mlp(activation="relu", loss="squared_error"), 0.1), 3, 2000),
    "gelu": (lambda: (mlp((64, 64), "gelu"), 0.1), 3, 2000),
}
"""Tasks and targets, seeds of the sweep, examples on which losses are measured."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small regression; leaves no record")
    parser.add_argument("--folder", type=Path, help="where runs are kept")
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    options = parser.parse_args()
    if options.quick:
        task = linear_regression(5, 500)
        rows = judged("quick", task, 0.6 * task.first_loss, ["sgd"], 1, None, None, 2 ** np.arange(1, 6))
    else:
        rows = []
        for name in options.cases:
            make, seeds, evaluation = CASES[name]
            rows += judged(name, *make(), ["sgd", "heavy_ball"], seeds, evaluation, options.folder, BATCHES)
    report("pilot", "full sweeps over batch sizes and rates, steps and rates at the best of each", rows, keep=not options.quick)


def judged(
    name: str,
    task: Task,
    target: float,
    optimizers: list[str],
    seeds: int,
    evaluation: int | None,
    folder: Path | None,
    batches: np.ndarray,
) -> list[dict[str, Any]]:
    """A row for each optimizer."""
    place = None if folder is None else folder / f"{name}-pilot"
    small = {"small": 2} if batches.max() < 64 else {}
    table = pilot(task, optimizers, batches, target, evaluation=evaluation, folder=place, **small)
    rows = []
    for label in optimizers:
        told = table.sel(optimizer=label)
        curves = experiment(
            task,
            [label],
            batches,
            lambda batch, told=told: float(told.learning_rate.sel(batch_size=batch)) * AROUND,
            max_steps=np.ceil(6 * told.steps.values) + 50,
            seeds=seeds,
            target=target,
            slack=LATE,
            spacing=SPACING,
            evaluation=evaluation,
            folder=None if folder is None else folder / f"{name}-{label}-sweep",
        )
        rows.append({"task": task.name, "optimizer": label} | against(told, curves, target))
    return rows


def against(told: xr.Dataset, curves: xr.Dataset, target: float) -> dict[str, Any]:
    """Errors of what was foretold."""
    best = tuned(curves, target).isel(optimizer=0)
    taken = np.exp(np.log(steps(curves, target).steps.values[0]).mean(-1))
    regret = taken[:, AROUND.size // 2] / np.minimum(taken.min(1), best.steps.values)
    ratios = {name: told[name].values / best[name].values for name in ("steps", "learning_rate")}
    inside = (told.steps_lower <= best.steps.values) & (best.steps.values <= told.steps_upper)
    trained = (curves["update"].where(curves.training_loss.notnull()).max("update") * curves.batch_size).sum()
    row: dict[str, Any] = {}
    for name, ratio in ratios.items():
        sizes = np.abs(np.log(ratio))
        row |= {f"{name}: root mean square": float(np.exp(np.sqrt((sizes**2).mean()))), "largest": float(np.exp(sizes.max()))}
        row[f"{name}: largest"] = row.pop("largest")
    return row | {
        "steps inside the intervals": float(inside.mean()),
        "regret: median": float(np.median(regret)),
        "regret: largest": float(regret.max()),
        "knee": float(told.critical_batch_size.sel(definition="knee")),
        "knee of the sweep": critical_batch_size((curves.batch_size.values, best.steps.values)).batch_size,
        "examples over the sweep's": float(told.pilot_examples.sum() / trained),
    }


if __name__ == "__main__":
    main()
