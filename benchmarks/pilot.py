"""Pilots at two batch sizes against full sweeps: updates, rates, critical batch sizes, and what the pilots cost.

`--foretell` runs the pilots alone and writes what they foretell to `records/pilot_foretold.json`: to be committed before the
sweeps are trained. Runs are kept in `--folder`; what is there is not trained again.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from common import HERE, report

from nqmjax import critical_batch_size
from nqmjax.training import (
    Task,
    autoencoder,
    cnn,
    digits,
    experiment,
    linear_regression,
    mlp,
    pilot,
    steps,
    text,
    transformer,
    tuned,
)

AROUND = 2.0 ** np.arange(-2, 2, 0.5)
"""Rates of a sweep over those that the pilots foretell."""

LATE, SPACING = 1.5, 1.1


class Case(NamedTuple):
    """What is trained to which loss.

    Args:
      make: returns the task and the target.
      seeds: of the sweep.
      evaluation: examples on which losses are measured.
      batches: batch sizes of the sweep.
      optimizers: names.
      small: batch size of the small pilot.
    """

    make: Callable[[], tuple[Task, float]]
    seeds: int = 2
    evaluation: int | None = 2000
    batches: tuple[int, ...] = (4, 16, 64, 256, 1024)
    optimizers: tuple[str, ...] = ("sgd", "heavy_ball", "adam")
    small: int = 16


def regression() -> tuple[Task, float]:
    """A linear regression, and 5% of its excess loss."""
    return with_excess(linear_regression(100, 4000), 0.05)


def with_excess(task: Task, share: float) -> tuple[Task, float]:
    """A linear regression, and the loss at a share of its excess."""
    x, y = (np.float64(values) for values in task.data)
    least = 0.5 * ((x @ np.linalg.lstsq(x, y)[0] - y) ** 2).mean()
    return task, least + share * (task.first_loss - least)


TEN, LINEAR = tuple((2 ** np.arange(1, 11)).tolist()), ("sgd", "heavy_ball")
CASES = {
    "regression": Case(regression, 6, None, TEN, LINEAR),
    "mlp": Case(lambda: (mlp(), 0.1), 3, 2000, TEN, LINEAR),
    "tanh": Case(lambda: (mlp((32,), split=digits(7)), 0.2), 4),
    "relu": Case(lambda: (mlp((32, 32), "relu", split=digits(7)), 0.2)),
    "gelu": Case(lambda: (mlp((24, 24, 24), "gelu", split=digits(7)), 0.2)),
    "square": Case(lambda: (mlp((32,), "relu", "squared_error", split=digits(7)), 0.2)),
    "cnn": Case(lambda: (cnn((8,), split=digits(7)), 0.4)),
    "batch_norm": Case(lambda: (cnn((8, 16), batch_norm=True, split=digits(7)), 0.3)),
    "autoencoder": Case(lambda: (autoencoder((24, 8, 24), split=digits(7)), 4.5)),
    "transformer": Case(lambda: (transformer(16, split=text(16, 2000)), 2.6), batches=(4, 16, 64, 256)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small regression; leaves no record")
    parser.add_argument("--foretell", action="store_true", help="pilots alone")
    parser.add_argument("--folder", type=Path, help="where runs are kept")
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    options = parser.parse_args()
    if options.quick:
        cases = {"quick": Case(lambda: with_excess(linear_regression(5, 500), 0.3), 1, None, (2, 4, 8, 16, 32), ("sgd",), 2)}
    else:
        cases = {name: CASES[name] for name in options.cases}
    what = foretold if options.foretell else judged
    for name, case in cases.items():
        rows = what(name, case, options.folder)
        kept_beside("pilot_foretold" if options.foretell else "pilot", name, rows, keep=not options.quick)


BASELINES = {
    "pilot": "full sweeps over batch sizes and rates, steps and rates at the best of each",
    "pilot_foretold": "none: what pilots foretell, before sweeps are trained",
}


def kept_beside(record: str, name: str, rows: list[dict[str, Any]], keep: bool) -> None:
    """Write the rows of a case into a record, in the place of those of the same case."""
    path = HERE / "records" / f"{record}.json"
    others = [row for row in json.loads(path.read_text())["rows"] if row.get("case") != name] if path.exists() and keep else []
    report(record, BASELINES[record], others + rows, keep=keep)


def piloted(name: str, case: Case, folder: Path | None) -> xr.Dataset:
    """What pilots foretell, from runs in the folder if they are there."""
    task, target = case.make()
    place = None if folder is None else folder / f"{name}-pilot"
    how = {"evaluation": case.evaluation, "folder": place, "small": case.small}
    return pilot(task, case.optimizers, case.batches, target, **how)


def foretold(name: str, case: Case, folder: Path | None) -> list[dict[str, Any]]:
    """A row for each optimizer and batch size."""
    table, rows = piloted(name, case, folder), []
    for label in case.optimizers:
        for batch in case.batches:
            told = table.sel(optimizer=label, batch_size=batch)
            names = [f"{what}{end}" for what in ("steps", "learning_rate") for end in ("", "_lower", "_upper")]
            about = {"case": name, "target": float(table.attrs["target"]), "optimizer": label, "batch size": batch}
            rows.append(about | {each.replace("_", " "): float(told[each]) for each in names})
    return rows


def judged(name: str, case: Case, folder: Path | None) -> list[dict[str, Any]]:
    """A row for each optimizer."""
    (task, target), table = case.make(), piloted(name, case, folder)
    rows = []
    for label in case.optimizers:
        told = table.sel(optimizer=label)
        curves = experiment(
            task,
            [label],
            case.batches,
            lambda batch, told=told: float(told.learning_rate.sel(batch_size=batch)) * AROUND,
            max_steps=np.ceil(6 * told.steps.values) + 50,
            seeds=case.seeds,
            target=target,
            slack=LATE,
            spacing=SPACING,
            evaluation=case.evaluation,
            folder=None if folder is None else folder / f"{name}-{label}-sweep",
        )
        rows.append({"case": name, "task": task.name, "optimizer": label} | against(told, curves, target))
        print(rows[-1], flush=True)
    return rows


def against(told: xr.Dataset, curves: xr.Dataset, target: float) -> dict[str, Any]:
    """Errors of what was foretold."""
    best = tuned(curves, target).isel(optimizer=0)
    taken = np.exp(np.log(steps(curves, target).steps.values[0]).mean(-1))
    regret = taken[:, np.flatnonzero(AROUND == 1)[0]] / np.minimum(taken.min(1), best.steps.values)
    ratios = {name: told[name].values / best[name].values for name in ("steps", "learning_rate")}
    inside = (told.steps_lower <= best.steps.values) & (best.steps.values <= told.steps_upper)
    trained = (curves["update"].where(curves.training_loss.notnull()).max("update") * curves.batch_size).sum()
    row: dict[str, Any] = {}
    for name, ratio in ratios.items():
        sizes = np.abs(np.log(ratio))
        row[f"{name}: root mean square"] = float(np.exp(np.sqrt((sizes**2).mean())))
        row[f"{name}: largest"] = float(np.exp(sizes.max()))
    return row | {
        "steps inside the intervals": float(inside.mean()),
        "regret: median": float(np.median(regret)),
        "regret: largest": float(regret.max()),
        "knee": float(told.critical_batch_size.sel(definition="knee")),
        "knee of the sweep": critical_batch_size((curves.batch_size.values, best.steps.values)).batch_size,
        "best rates at an edge": int(best.learning_rate_at_edge.sum()),
        "batch sizes not reached": int(np.isinf(best.steps).sum()),
        "examples over the sweep's": float(told.pilot_examples.sum() / trained),
    }


if __name__ == "__main__":
    main()
