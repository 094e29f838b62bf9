"""Zhang et al. 2019, section 4: updates to a target at the best rate of every batch size, and what pilots foretell of it."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from real_settings import Settings, small_batches, tiny

from nqmjax.training import digits, experiment, method, mlp, pilot, steps, tuned

AROUND = 2.0 ** np.arange(-2, 2, 0.5)
"""Rates of a sweep over those that the pilots foretell."""

LATE, SPACING = 1.5, 1.1
OPTIMIZERS = ("sgd", "heavy_ball", "nesterov", "adam", "ema")
SHORTER = {"SGD + EMA, decay 0.9": method("ema", decay=0.9)}
"""What is swept without pilots, at rates between those of SGD and of its average with a decay of 0.99."""

LOSSES, ACCURACY = (0.5, 0.4, 0.3, 0.2), 0.88
"""Training losses, and share of held-out digits, to which runs are timed."""

TUNED = ("steps", "standard_error", "learning_rate", "learning_rate_at_edge")
FORETOLD = [f"{name}{end}" for name in ("steps", "learning_rate") for end in ("", "_lower", "_upper")]


def to_target(settings: Settings) -> xr.Dataset:
    """Updates to losses and an accuracy, of every run and of the tuned ones; and what pilots foretold for the lowest loss."""
    task, batches, losses, small = mlp((32,), split=digits(7)), small_batches(settings, 2, 10), LOSSES, {}
    if settings.quick:
        task, losses, small = tiny(), (2.2, 2.0), {"small": 2}
    told = pilot(task, OPTIMIZERS, batches, losses[-1], folder=settings.place("pilot"), **small)
    goals = [(loss, "training_loss") for loss in losses]
    goals += [] if settings.quick else [(ACCURACY, "held_out_accuracy")]
    parts = []
    for label, one in ({label: label for label in OPTIMIZERS} | SHORTER).items():
        near = told.sel(optimizer=[label] if label in OPTIMIZERS else ["sgd", "ema"])
        rates = np.exp(np.log(near.learning_rate).mean("optimizer"))
        curves = experiment(
            task,
            {label: one},
            batches,
            lambda batch, rates=rates: float(rates.sel(batch_size=batch)) * AROUND,
            max_steps=np.ceil(6 * near.steps.max("optimizer").values) + 50,
            seeds=settings.seeds,
            target=losses[-1],
            slack=LATE,
            spacing=SPACING,
            folder=settings.place(label.replace(" ", "-")),
        )
        print(tuned(curves, losses[-1]).to_dataframe().to_string(), flush=True)
        parts.append(timed(curves, goals))
    table = xr.concat(parts, "optimizer", join="exact")
    foretold = told[FORETOLD].rename({name: f"foretold_{name}" for name in FORETOLD}).reindex(optimizer=table.optimizer)
    found = table.merge(foretold, join="exact").assign_coords(goal_foretold=str(table.goal.values[len(losses) - 1]))
    return found.assign_attrs(task=repr(task), advice=told.attrs["advice"])


def timed(curves: xr.Dataset, goals: Sequence[tuple[float, str]]) -> xr.Dataset:
    """Updates of every run, and of the best rates, to several goals."""
    names = [f"{measure.replace('_', ' ')} {value:g}" for value, measure in goals]
    goal = xr.DataArray(names, dims="goal", name="goal")
    best = [tuned(curves, value, measure)[list(TUNED)] for value, measure in goals]
    runs = [steps(curves, value, measure).steps for value, measure in goals]
    table = xr.concat(best, goal, join="exact", combine_attrs="drop")
    table = table.rename({name: f"tuned_{name}" for name in TUNED})
    return table.assign(run_steps=xr.concat(runs, goal, join="exact"), run_learning_rate=curves.learning_rate)
