"""Tables of training runs that come with the package: what they say at the best rates is what their runs say."""

import numpy as np
import pytest
import xarray as xr

from nqmjax._tools import ENGINE
from nqmjax.figures import training
from nqmjax.figures.paper import TRAINED
from nqmjax.training.tuned import best_rate

FILES = sorted(training.FOLDER.glob("*.nc"))
BUDGETS = [path for path in FILES if path.stem != "to_target"]
MEASURED = ("training_loss", "held_out_loss", "held_out_accuracy")


def load(path):
    return xr.load_dataset(path, engine=ENGINE)


def test_they_are_small():
    assert FILES
    assert sum(path.stat().st_size for path in FILES) < 500_000


def test_tuned_updates_are_those_of_the_runs():
    table = load(training.FOLDER / "to_target.nc").transpose("goal", "optimizer", "batch_size", "rate", "seed")
    for place in np.ndindex(table.tuned_steps.shape):
        found = best_rate(np.float64(table.run_steps.values[place]), np.float64(table.run_learning_rate.values[place[1:]]))
        names = ("steps", "standard_error", "learning_rate", "learning_rate_at_edge")
        for name, value in zip(names, found, strict=True):
            np.testing.assert_allclose(table[f"tuned_{name}"].values[place], value, rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("path", BUDGETS, ids=lambda path: path.stem)
def test_the_best_rates_are_those_of_the_runs(path):
    table = load(path)
    rate = "effective_rate" if "effective_rate" in table else "learning_rate"
    for goal, sign in (("held_out_accuracy", -1), ("training_loss", 1)):
        mean = {name: table[f"run_{name}"].mean("seed", skipna=False) for name in MEASURED}
        best = (sign * mean[goal]).fillna(np.inf).argmin("rate")
        told = table.sel(best_for=goal)
        for name in MEASURED:
            np.testing.assert_allclose(told[name], mean[name].isel(rate=best).transpose(*told[name].dims), rtol=1e-5)
        np.testing.assert_allclose(told[rate], table[f"run_{rate}"].isel(rate=best), rtol=1e-6)
        assert (told[f"{rate}_lower"] <= told[rate]).all()
        assert (told[rate] <= told[f"{rate}_upper"]).all()


@pytest.mark.parametrize("name", ["5", "7", "smith-1", "smith-2"])
def test_figures_of_training_runs_have_labels_and_lines(name):
    figure = TRAINED[name].draw(TRAINED[name].table(False))
    assert figure.legends[0].get_texts()
    for axes in figure.axes:
        spec = axes.get_subplotspec()
        assert axes.get_xlabel() or not spec.is_last_row()
        assert axes.get_ylabel() or not spec.is_first_col()
        looks = {(line.get_color(), line.get_marker(), str(line.get_linestyle())) for line in axes.lines}
        assert len(looks) == len(axes.lines) > 0
