"""Figures: they show the numbers of their tables, can be read without colour, and survive tables without numbers."""

import functools

import matplotlib.image
import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_rgb

import nqmjax as nq
from nqmjax import figures
from nqmjax.figures import gao, paper
from nqmjax.figures.curves import powers_figure, rates_figure, scaling_figure, targets_figure
from nqmjax.figures.paper import PAPER_FIGURES, find_figure
from nqmjax.figures.style import optimizer_title, write_figure
from nqmjax.nonlinear.catalogue import TEMPLATES
from nqmjax.scaling import Observed
from nqmjax.schedules import budget_curve

BATCHES = 2.0 ** np.arange(2, 21, 2)


def made_up_table(optimizers=("sgd", "heavy_ball"), powers=(0.0, 0.5), reached=True) -> xr.Dataset:
    """A table like that of `scaling_curves`, with easily recognized numbers."""
    shape = (len(optimizers), len(powers), BATCHES.size)
    level = 1.0 + np.arange(np.prod(shape[:2])).reshape(*shape[:2], 1)
    steps = level * (100 + 1e6 / BATCHES) if reached else np.full(shape, np.inf)
    dims = ("optimizer", "power", "batch_size")
    bound = {"bayes_steps": 1e5 / BATCHES, "flat_prior_steps": 1.1e5 / BATCHES}
    return xr.Dataset(
        {
            "steps": (dims, steps),
            "effective_learning_rate": (dims, 1 / steps),
            "momentum": (dims, np.where(np.arange(shape[0])[:, None, None] > 0, 0.9, np.nan) * np.ones(shape)),
            "critical_batch_size": ((*dims[:2], "definition"), np.full((*shape[:2], 1), 3000.0)),
            "critical_batch_size_bound": ((*dims[:2], "definition"), np.full((*shape[:2], 1), "")),
            **{
                name: ("batch_size", values, {"long_name": {"bayes_steps": "ideal bound"}.get(name, name)})
                for name, values in bound.items()
            },
        },
        coords={
            "optimizer": list(optimizers),
            "power": list(powers),
            "batch_size": BATCHES,
            "target": 0.01,
            "definition": ["overhead"],
        },
        attrs={"fixed": "", "problem": "made up", "optimizer": "any", "rate_units": "none", "command": "nqmjax made up"},
    )


def shown(axes) -> list[np.ndarray]:
    """The values of every line with as many points as there are batch sizes."""
    return [line.get_ydata() for line in axes.lines if len(line.get_xdata()) == BATCHES.size]


def labels(figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def assert_apart_without_colour(axes):
    """No two lines have the same marker, fill and line style, bounds (without markers) apart by style or width."""
    looks = [
        (line.get_marker(), to_rgb(line.get_markerfacecolor()) == (1, 1, 1), str(line.get_linestyle()), line.get_linewidth())
        for line in axes.lines
    ]
    assert len(set(looks)) == len(looks), looks


def test_scaling_figure_shows_the_table_and_what_was_observed():
    table = made_up_table()
    figure = scaling_figure(table, [Observed([4.0, 64.0], [7e5, 3e4], label="trained")])
    count = table.sizes["power"]
    assert len(figure.axes) == 2 * count
    for axes, below, power in zip(figure.axes[:count], figure.axes[count:], table.power.values, strict=True):
        values, shares = shown(axes), shown(below)
        for curve in [*table.steps.sel(power=power).values, table.bayes_steps.values]:
            assert any(np.array_equal(curve, line) for line in values)
        for curve in (table.bayes_steps / table.steps.sel(power=power)).transpose("optimizer", "batch_size").values:
            assert any(np.array_equal(curve, line) for line in shares)
        for panel in (axes, below):  # a critical batch size on each curve
            assert sum(line.get_xdata().tolist() == pytest.approx([3000.0]) for line in panel.lines) == 2
        assert any(np.array_equal(line.get_ydata(), [7e5, 3e4]) for line in axes.lines)
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        low, high = axes.get_ylim()
        assert low < table.steps.min() < table.steps.max() < high
        for ring in [line for line in axes.lines if len(line.get_xdata()) == 1]:
            ring.remove()  # of one look for all curves
        assert_apart_without_colour(axes)
    named = ["ideal bound", "trained (observed)", "critical batch size: 20% more examples"]
    assert labels(figure) == ["SGD", "heavy ball", *named]
    assert [each.get_title().get_text() for each in figure.legends] == ["optimizer, tuned", "for comparison"]
    assert figure.axes[0].get_ylabel() == "updates to target loss"
    assert figure.get_label() == "Problem: made up; Optimizer: any; Rates: none; Command: nqmjax made up"
    boxes = [each.get_window_extent() for each in figure.legends]
    assert not boxes[0].overlaps(boxes[1])
    assert figure.axes[-1].get_xlabel() == "batch size (examples)"


@pytest.mark.parametrize("powers", [[0.0], [0, 0.5], [0, 0.5, 1], np.linspace(0, 1, 5), np.linspace(0, 1, 7)])
def test_a_panel_for_each_power_with_labels_outside(powers):
    figure = scaling_figure(made_up_table(powers=powers))
    drawn = [axes for axes in figure.axes if axes.axison]
    assert len(drawn) == 2 * len(powers)
    assert drawn[0].get_ylabel()
    assert drawn[-1].get_xlabel()
    figure.draw_without_rendering()


def test_batch_sizes_are_labelled_in_powers_of_two():
    axes = scaling_figure(made_up_table(powers=[0.0])).axes[-1]
    axes.figure.draw_without_rendering()
    low, high = axes.get_xlim()
    ticks = {tick.get_text() for tick in axes.get_xticklabels() if low <= tick.get_position()[0] <= high}
    assert ticks == {rf"$\mathdefault{{2^{{{exponent}}}}}$" for exponent in range(2, 21, 2)}


def test_powers_figure_draws_the_last_optimizer_solid():
    table = made_up_table(powers=[0.0, 0.25, 0.5, 0.75])
    figure = powers_figure(table)
    [axes] = figure.axes
    for name, style in {"heavy_ball": "-", "sgd": "--"}.items():
        for curve in table.steps.sel(optimizer=name).values:
            [line] = [line for line in axes.lines if np.array_equal(line.get_ydata(), curve)]
            assert line.get_linestyle() == style
    assert_apart_without_colour(axes)
    assert labels(figure) == ["0", "0.25", "0.5", "0.75", "SGD", "heavy ball", "flat_prior_steps", "ideal bound"]
    assert len(targets_figure(xr.concat([table, table.assign_coords(target=0.1)], "target")).axes) == 2


def test_rates_figure_has_a_panel_for_each_optimizer():
    table = made_up_table()
    figure = rates_figure(table)
    for axes, name, words in zip(
        figure.axes, table.optimizer.values, ["(a) SGD", "(b) heavy ball, effective rate"], strict=True
    ):
        assert axes.get_title(loc="left") == words
        for curve in table.effective_learning_rate.sel(optimizer=name).values:
            assert any(np.array_equal(curve, line) for line in shown(axes))


@pytest.mark.parametrize("draw", [scaling_figure, powers_figure, rates_figure])
def test_nothing_reached_leaves_an_empty_figure(draw, tmp_path):
    table = made_up_table(reached=False)
    table["effective_learning_rate"] = table.steps * np.nan
    table["bayes_steps"] = table.bayes_steps * 0  # a bound that says nothing
    figure = draw(table)
    write_figure(figure, tmp_path / "f.png")
    assert "ideal bound" not in labels(figure)


def test_optimizers_have_names_to_read():
    titles = [optimizer_title(name) for name in TEMPLATES]
    assert len(set(titles)) == len(titles)
    assert optimizer_title("ema_heavy_ball") == "heavy ball + EMA"
    assert optimizer_title("mine") == "mine"


@pytest.mark.parametrize("name", PAPER_FIGURES)
def test_figures_are_found_by_any_spelling(name):
    plain = name.replace(".", "").replace("-", "")
    for spelling in (name, name.upper(), f"fig{name}", f"Figure {name}", f"figure-{plain}", f"fig. {plain.lower()}"):
        assert find_figure(spelling) == name


@pytest.mark.parametrize(("name", "near"), [("3", "did you mean '3"), ("fig13", "did you mean '"), ("E4", "")])
def test_unknown_figures_get_the_near_match(name, near):
    with pytest.raises(
        ValueError, match=rf"figure is .*{near}.*choose from 1, 2, 3a, 3b, 3c, 4, 14, 15, E\.3, E\.5, regimes, gao-3"
    ):
        find_figure(name)


@pytest.mark.parametrize("name", PAPER_FIGURES)
def test_paper_figures_are_computed_drawn_and_written(name, monkeypatch, tmp_path):
    def curves(problem, batch_size, target, optimizers, progress):
        assert (problem.dim, problem.curvature.size, list(batch_size), progress) == (10_000, 100, list(BATCHES), False)
        return made_up_table(optimizers, [0.0, 0.25, 0.5, 0.75]).drop_dims("definition").assign_coords(target=target)

    def some_budgets(problem, optimizer, batch_size, **options):
        return budget_curve(problem, optimizer, batch_size[::4], **options)

    def planned(_, optimizer, *cell, **options):
        return plan_of(optimizer.power)

    @functools.cache
    def plan_of(power):
        return nq.steps_to_target_with_schedule(paper.paper_problem(), nq.Preconditioned(nq.SGD(0.1), power), 64, 0.01)

    if name == "regimes":  # every fourth batch size is enough to draw
        monkeypatch.setattr(paper, "budget_curve", some_budgets)
    if name == "3b":  # and one plan for each power
        monkeypatch.setattr(paper, "steps_to_target_with_schedule", planned)
    monkeypatch.setattr(paper, "scaling_curves", curves)
    monkeypatch.setattr(gao, "LAST_EPOCH", 2)
    chosen = PAPER_FIGURES[name]
    figure = chosen.draw(chosen.table(False))
    path = tmp_path / "figure.png"
    write_figure(figure, path)
    pixels = matplotlib.image.imread(path)
    assert 800 < pixels.shape[1] < 2000
    assert 500 < pixels.shape[0] < 2000
    assert labels(figure)
    for axes in figure.axes:
        spec = axes.get_subplotspec()
        assert axes.get_xlabel() or not spec.is_last_row()
        assert axes.get_ylabel() or not spec.is_first_col()


def test_figure_1_is_equation_4_before_and_after_the_drop():
    table = paper.decay_table()
    drop, factor = table.attrs["drop"], table.attrs["factor"]
    for curvature in table.curvature.values:

        def settle(start, rate, steps, h=curvature):
            decay = (1 - rate * h) ** (2 * steps)
            return decay * start + (1 - decay) * rate * h / (2 * (2 - rate * h))

        constant, dropped = (table.risk.sel(curvature=curvature, schedule=name).values for name in ("constant", "dropped"))
        steps = table.steps.values
        np.testing.assert_allclose(constant, settle(1.0, 1.0, steps), rtol=1e-12)
        np.testing.assert_allclose(dropped[:drop], constant[:drop], rtol=1e-15)
        np.testing.assert_allclose(dropped[drop:], settle(constant[drop], 1 / factor, steps[drop:] - drop), rtol=1e-12)


def test_figure_2_peaks_at_critical_damping():
    table = paper.momentum_table()
    rate = table.convergence_rate.sel(optimizer="momentum")
    peak = table.distance[rate.argmax("distance")].item()
    assert peak == pytest.approx(table.attrs["critical"], rel=0.05)
    under = table.distance < 0.9 * table.attrs["critical"]  # complex roots of modulus sqrt(momentum)
    np.testing.assert_allclose(rate[under], 1 - np.sqrt(1 - table.distance[under]), rtol=1e-9)
    same = table.sel(distance=1.0)  # without momentum all three are the same
    np.testing.assert_allclose(same.stationary_risk, same.stationary_risk[0], rtol=1e-12)


def test_small_effective_rates_make_momentum_and_sgd_alike():
    table = paper.effective_rate_table()
    momentum, sgd = (table.risk.sel(optimizer=name) for name in ("momentum", "SGD"))
    far = np.abs(np.log(momentum / sgd)).sel(steps=slice(1000, None)).max("steps")
    assert far[0] < 0.02 < 0.1 < far[1]


def test_gradients_fall_with_the_root_of_the_batch_size_only_among_noise():
    table = gao.first_gradient_table()
    assert (table.noise_alone < table.mean_gradient).all()
    noisy = table.batch_size < table.B_L1 / 100
    assert noisy.any()
    np.testing.assert_allclose((table.exponent + 0.5).where(noisy, 0), 0, atol=0.02)
    np.testing.assert_allclose(table.exponent.where(table.batch_size > 100 * table.B_L1, 0), 0, atol=0.02)


def test_package_exports_what_it_lists():
    assert all(hasattr(figures, name) for name in figures.__all__)
