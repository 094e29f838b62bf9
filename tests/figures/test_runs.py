"""Figures of real training runs: they show the runs and the model, apart without colour, and survive runs without curves."""

import matplotlib.image
import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_rgb

from nqmjax.figures.runs import MOST, fit_figure, frontier_figure, iso_figure, loss_axis
from nqmjax.figures.style import panels, write_figure
from nqmjax.runs.fit import fit
from nqmjax.runs.plan import RunPlan
from nqmjax.runs.predict import predict
from nqmjax.runs.table import make as make_runs

BUDGETS = (1e12, 8e12, 64e12)
SIZES, BATCHES = 1e6 * 4.0 ** np.arange(4), 2.0 ** np.arange(5, 10)


def made_up_runs(sizes=SIZES, batches=BATCHES, budgets=BUDGETS):
    """At each compute, one run of each model size at batch size 128, and one of each batch size at 3e6 parameters."""
    rows = [(size, 128.0, budget, "sizes") for budget in budgets for size in sizes]
    rows += [(3e6, batch, budget, "") for budget in budgets for batch in batches]
    size, batch, budget = (np.array(column) for column in list(zip(*rows, strict=True))[:3])
    steps = np.round(budget / size / batch)
    loss = 1.5 + 300 * size**-0.4 + 40 * (steps * batch) ** -0.3 + batch / 2e3
    return make_runs(size, batch, steps, loss, group=[row[3] for row in rows])


RUNS = made_up_runs()


@pytest.fixture(scope="module")
def model():
    return fit(RUNS, "chinchilla", starts=2, progress=False)


def labels(figure) -> list[str]:
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes)]
    return [text.get_text() for legend in legends if legend for text in legend.get_texts()]


def assert_apart_without_colour(lines):
    looks = [(line.get_marker(), to_rgb(line.get_markerfacecolor()) == (1, 1, 1), str(line.get_linestyle())) for line in lines]
    assert len(set(looks)) == len(looks), looks


def assert_written(figure, path):
    write_figure(figure, path)
    pixels = matplotlib.image.imread(path)
    assert 800 < pixels.shape[1] < 2000
    assert 500 < pixels.shape[0] < 2000
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes)


def drawn(axes):
    """The lines that hold values, the reference lines of two points apart."""
    return [line for line in axes.lines if len(line.get_xdata()) > 2]


def test_fit_figure_shows_losses_residuals_and_groups(model, tmp_path):
    table = predict(model, RUNS.settings, level=0.8)
    figure = fit_figure(RUNS, table)
    fitted, rest = figure.axes
    points = np.concatenate([np.stack([line.get_xdata(), line.get_ydata()]) for line in drawn(fitted)], axis=1)
    np.testing.assert_array_equal(np.sort(points[0]), np.sort(table.loss))
    np.testing.assert_array_equal(np.sort(points[1]), np.sort(RUNS.loss))
    bars = np.concatenate([np.stack(one.get_segments())[:, :, 0] for one in fitted.collections])
    np.testing.assert_allclose(np.sort(bars[:, 0]), np.sort(table.lower))
    residuals = np.concatenate([line.get_ydata() for line in drawn(rest)])
    np.testing.assert_allclose(np.sort(residuals), np.sort(100 * (RUNS.loss / table.loss.values - 1)))
    assert set(labels(figure)) == {"runs", "sizes", "observed = predicted"}
    assert fitted.get_title(loc="left") == "(a) fit, 80% intervals"
    assert rest.get_xlabel() == "compute (parameters \N{MULTIPLICATION SIGN} examples)"
    assert_apart_without_colour(drawn(rest))
    assert_written(figure, tmp_path / "fit.png")


def test_iso_figure_shows_curves_of_both_kinds(model, tmp_path):
    figure = iso_figure(RUNS, model)
    for axes, values, group in zip(figure.axes, (SIZES, BATCHES), ("sizes", ""), strict=True):
        markers = [line for line in axes.lines if len(line.get_xdata()) == len(values)]
        assert len(markers) == len(BUDGETS)
        for line, budget in zip(markers, RUNS.budgets, strict=True):
            here = (RUNS.budget == budget) & (RUNS.group == group)
            np.testing.assert_array_equal(line.get_xdata(), values)
            np.testing.assert_array_equal(line.get_ydata(), RUNS.loss[here])
        curves = [line for line in axes.lines if len(line.get_xdata()) > len(values)]
        for line, budget in zip(curves, RUNS.budgets, strict=True):
            here = (RUNS.budget == budget) & (RUNS.group == group)
            expected = predict(model, RUNS.settings.select(here)).loss
            at = np.searchsorted(line.get_xdata(), values * (1 - 1e-9))
            np.testing.assert_allclose(line.get_ydata()[at], expected, rtol=1e-9)
        assert_apart_without_colour(markers)
    assert {"C = 1e12", "C = 1e12, N = 3e6"} <= set(labels(figure))
    assert_written(figure, tmp_path / "iso.png")


@pytest.mark.parametrize(
    ("runs", "empty"),
    [
        (made_up_runs(sizes=SIZES[:1], batches=BATCHES[:2]), [True, True]),
        (made_up_runs(sizes=SIZES, batches=BATCHES[:0]), [False, True]),
        (made_up_runs(budgets=4.0 ** np.arange(20, 30)), [False, False]),
    ],
    ids=["no curves", "no batch sizes", "many budgets"],
)
def test_iso_figure_of_few_and_of_many_runs(model, runs, empty, tmp_path):
    figure = iso_figure(runs, model)
    for axes, nothing in zip(figure.axes, empty, strict=True):
        texts = [text.get_text() for text in axes.texts]
        assert texts == (["no budget has 3 or more"] if nothing else [])
        legend = axes.get_legend()
        assert legend is None or len(legend.get_texts()) <= MOST
    assert_written(figure, tmp_path / "iso.png")


def test_curves_without_single_runs_take_the_best_of_each_model_size(model):
    size, batch = (part.ravel() for part in np.meshgrid(SIZES, BATCHES))
    loss = 2 + abs(np.log(batch / 128)) + size / 1e9
    figure = iso_figure(make_runs(size, batch, 1e13 / size / batch, loss), model)
    [points] = [line for line in figure.axes[0].lines if len(line.get_xdata()) == len(SIZES)]
    np.testing.assert_allclose(points.get_ydata(), 2 + SIZES / 1e9)
    markers = [line for line in figure.axes[1].lines if len(line.get_xdata()) == len(BATCHES)]
    assert len(markers) == len(SIZES)
    assert_apart_without_colour(markers)


def made_up_plan(beyond) -> RunPlan:
    limits = 2.0 ** np.arange(-4, 5)
    columns = {"model_size": 1e8 * limits, "batch_size": 64 * limits**0.5, "steps": 1000 + 0 * limits}
    columns |= {"loss": 3 - np.log2(limits) / 10, "beyond": beyond * limits}
    columns |= {"lower": columns["loss"] - 0.2, "upper": columns["loss"] + 0.3}
    frontier = xr.Dataset({name: ("limits", values) for name, values in columns.items()}, {"limits": limits}, {"level": 0.9})
    return RunPlan(frontier.sel(limits=1.0), frontier, xr.Dataset(), {})


@pytest.mark.parametrize("beyond", [1e-3, 1.0, 1e3])
def test_frontier_figure_shows_losses_settings_and_where_it_extrapolates(beyond, tmp_path):
    plan = made_up_plan(beyond)
    figure = frontier_figure(plan)
    losses, settings = figure.axes
    np.testing.assert_array_equal(losses.lines[0].get_ydata(), plan.frontier.loss)
    filled = {True: "within the compute seen", False: "beyond the compute seen"}
    for inside, label in filled.items():
        shown = [line for line in losses.lines if line.get_label() == label]
        count = int(((plan.frontier.beyond <= 1) == inside).sum())
        assert [len(line.get_xdata()) for line in shown] == ([count] if count else [])
    low, high = losses.get_ylim()
    assert low < plan.frontier.lower.min() < plan.frontier.upper.max() < high
    np.testing.assert_allclose(settings.lines[1].get_ydata(), plan.frontier.batch_size / 64)
    assert "parameters (1e8 at $2^0$)" in labels(figure)
    assert_apart_without_colour(settings.lines)
    assert_written(figure, tmp_path / "frontier.png")


@pytest.mark.parametrize(("values", "scale"), [([2.7, 5.8], "linear"), ([0.01, 5.8], "log"), ([3.0, 3.0], "linear")])
def test_losses_far_apart_are_drawn_on_a_logarithmic_axis(values, scale):
    figure, (axes,) = panels(1, "x", "loss")
    loss_axis(axes, "y", values)
    low, high = axes.get_ylim()
    assert axes.get_yscale() == scale
    assert low < min(values) <= max(values) < high
    assert sum(low <= tick <= high for tick in axes.get_yticks()) >= 3
    figure.draw_without_rendering()
