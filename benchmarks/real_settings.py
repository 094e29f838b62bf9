"""What the pieces of `real_training.py` share: settings, tasks, and what runs measure at their end."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from nqmjax.training import Split, Task, digits, mlp

MEASURED = ("training_loss", "held_out_loss", "held_out_accuracy")


class Settings(NamedTuple):
    """Where runs are kept, how many seeds there are, whether it is only a trial, and whether it is everything."""

    folder: Path
    seeds: int
    quick: bool
    full: bool

    def place(self, *names: Any) -> Path:
        """The folder of some runs."""
        return self.folder.joinpath(*map(str, names))


def tiny() -> Task:
    """A perceptron on 256 small digits."""
    return mlp((8,), split=digits(7, 256))


def few_digits(trained: int) -> Split:
    """So many digits of 7 by 7 pixels to train on, all others of the 5,000 held out."""
    pairs = zip(*digits(7, 4000), strict=True)
    inputs, labels = (np.concatenate(both) for both in pairs)
    return Split((inputs[:trained], labels[:trained]), (inputs[trained:], labels[trained:]))


def small_batches(settings: Settings, lowest: int, highest: int) -> np.ndarray:
    """Powers of 2 in full, of 4 otherwise; two of them for a trial."""
    found = 2 ** np.arange(lowest, highest + 1, 1 if settings.full else 2)
    return found[[0, 2]] if settings.quick else found


def at_best(runs: xr.Dataset, rate: str) -> xr.Dataset:
    """Means over seeds at the rates that are best for accuracy, and for the training loss, and rates that are no worse.

    No worse are rates whose mean is within one standard deviation of the best mean, as in Smith et al. A rate counts where no
    seed diverged.

    Args:
      runs: the variables `MEASURED` over rate, seed and others; `rate`, the name of the variable of the rates.
    """
    mean, spread = runs[list(MEASURED)].mean("seed", skipna=False), runs[list(MEASURED)].std("seed", ddof=1)
    costs = {"held_out_accuracy": -mean.held_out_accuracy, "training_loss": mean.training_loss}
    found = []
    for goal, cost in costs.items():
        cost = cost.fillna(np.inf)
        best = cost.argmin("rate")
        near = runs[rate].where(cost <= cost.isel(rate=best) + spread[goal].isel(rate=best))
        table = mean.isel(rate=best)
        table = table.assign({f"{name}_error": spread[name].isel(rate=best) / runs.sizes["seed"] ** 0.5 for name in MEASURED})
        table[rate] = runs[rate].isel(rate=best)
        table[f"{rate}_lower"], table[f"{rate}_upper"] = near.min("rate"), near.max("rate")
        table["at_edge"] = (best == 0) | (best == runs.sizes["rate"] - 1)
        found.append(table)
    chosen = xr.concat(found, xr.DataArray(list(costs), dims="best_for", name="best_for"), join="exact")
    every = {f"run_{name}": runs[name] for name in (*MEASURED, rate)}
    return chosen.assign(every)
