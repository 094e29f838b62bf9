"""Runs in lock step against a plain loop over runs, and the time of a sweep of 10 batch sizes, 12 rates and 3 seeds."""

import argparse
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from common import report

from nqmjax.training import Task, experiment, mlp, tuned

BATCHES = 2 ** np.arange(1, 11)
RATES = 2.0 ** np.arange(-10, 2)
TARGET = 0.1
STEPS = {2: 4000, 16: 2000, 128: 500, 1024: 100}
SPACING = 1.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few updates, no sweep; leaves no record")
    parser.add_argument("--folder", type=Path, help="where the runs of the sweep are kept")
    options = parser.parse_args()
    task = mlp()
    rows = [against_a_loop(task, batch, 40 if options.quick else steps) for batch, steps in STEPS.items()]
    if not options.quick:
        rows.append(dict.fromkeys(rows[0], "") | sweep(task, options.folder))
    report("training", "a loop over runs, each update a call of one compiled function", rows, keep=not options.quick)


def against_a_loop(task: Task, batch: int, steps: int) -> dict[str, Any]:
    """Times of 12 rates together, and of one run by itself, both with losses on the same grid, per update of a run."""
    settings: dict[str, Any] = {"seeds": 2, "progress": False}
    rates = np.geomspace(RATES[0], 0.1, RATES.size)  # none of these diverges
    run, row = one_run(task, batch), {"what": f"batch size {batch}", "updates": steps}
    first, _ = both_clocks(lambda: experiment(task, ["sgd"], [batch], rates, max_steps=1, **settings))
    run(2, SPACING)
    for words, spacing in (("", steps), (" with losses", SPACING)):
        each = 2 * rates.size * steps
        wall, processor = both_clocks(
            lambda spacing=spacing: experiment(task, ["sgd"], [batch], rates, max_steps=steps, spacing=spacing, **settings)
        )
        plain_wall, plain_processor = both_clocks(lambda spacing=spacing: run(steps, spacing))
        row |= {
            f"microseconds of a core{words}": processor / each * 1e6,
            f"of the loop{words}": plain_processor / steps * 1e6,
            f"ratio{words}": plain_processor / steps * each / processor,
            f"ratio of wall times{words}": plain_wall / steps * each / wall,
        }
    return row | {"first call s": first, "minutes": "", "minutes of a core": ""}


def one_run(task: Task, batch: int):
    """A run as one writes it down: a compiled update, called again and again, and losses now and then."""
    data, held_out = jax.tree.map(jnp.asarray, (task.data, task.held_out))
    check = jax.tree.map(lambda leaf: leaf[:2000], data)

    @jax.jit
    def update(params: Any, rate: Any, key: Any, step: Any) -> Any:
        chosen = jax.random.randint(jax.random.fold_in(key, step), (batch,), 0, task.count)
        gradient = jax.grad(task.mean_loss)(params, jax.tree.map(lambda leaf: leaf[chosen], data))
        return jax.tree.map(lambda old, slope: old - rate * slope, params, gradient)

    measured = jax.jit(lambda params: task.measured(params, check, held_out))

    def run(steps: int, spacing: float) -> None:
        updates = np.unique(np.round(spacing ** np.arange(60)))
        params, key = jax.tree.map(jnp.asarray, task.start(0)), jax.random.key(0)
        for step in range(steps):
            params = update(params, 0.01, key, step)
            if step + 1 in updates:
                np.asarray(measured(params))

    return run


def sweep(task: Task, folder: Path | None) -> dict[str, Any]:
    """The time of a whole sweep, those that arrive late left out."""

    def run() -> None:
        most = 400_000 // BATCHES + 2000
        curves = experiment(
            task, ["sgd"], BATCHES, RATES, max_steps=most, target=TARGET, slack=2.0, spacing=SPACING, folder=folder
        )
        print(tuned(curves, TARGET).to_dataframe().to_string())

    wall, processor = both_clocks(run)
    return {"what": "sweep", "minutes": wall / 60, "minutes of a core": processor / 60}


def both_clocks(call) -> tuple[float, float]:
    """Seconds of wall time and of processor time of a call."""
    wall, processor = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - processor


if __name__ == "__main__":
    main()
