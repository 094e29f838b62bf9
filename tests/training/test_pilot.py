"""Pilots on problems whose answer is known, and what a forecast says of tuned runs."""

import numpy as np
import pytest

from nqmjax.scaling import Observed
from nqmjax.training import forecast, linear_regression, pilot, tuned_runs
from nqmjax.training.race import End, Race

RATES = 2.0 ** np.arange(-5, 3)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    task = linear_regression(3, 200)
    arguments = {"optimizers": ["sgd"], "batch_sizes": [8, 150], "target": 0.65, "small": 4, "rates": RATES, "progress": False}
    arguments["folder"] = tmp_path_factory.mktemp("pilot")
    return task, pilot(task, **arguments), lambda **more: pilot(task, **arguments | more)


def test_the_large_pilot_is_the_fewest_updates_of_gradient_descent(found):
    """Without noise updates and rate are those of the best constant rate, from the spectrum."""
    task, table, _ = found
    x, y = (np.float64(values) for values in task.data)
    values, vectors = np.linalg.eigh(x.T @ x / len(y))
    best = np.linalg.lstsq(x, y)[0]
    energy, least = 0.5 * values * (vectors.T @ best) ** 2, 0.5 * ((x @ best - y) ** 2).mean()
    rates, times = np.linspace(0.5, 2, 300)[:, None] / values.max(), np.arange(100)[None, :]
    losses = least + (energy * (1 - rates[..., None] * values) ** (2 * times[..., None])).sum(-1)
    fewest = (losses > 0.65).sum(1).min()
    large = table.sel(optimizer="sgd", pilot="large")
    assert int(large.pilot_batch_size) == 200
    assert fewest - 1.2 <= float(large.pilot_steps) <= 1.05 * fewest
    assert np.isnan(large.pilot_standard_error)
    assert not bool(table.pilot_learning_rate_at_edge.any())
    assert (table.steps_lower < table.steps).all()
    assert (table.steps < table.steps_upper).all()
    assert float(table.steps.sel(batch_size=8)[0]) < float(table.sel(pilot="small").pilot_steps[0])
    one = tuned_runs(table)[0]
    assert (one.label, one.batch_size.tolist()) == ("sgd", [4, 200])


def test_pilots_go_on_where_they_stopped(found, monkeypatch):
    _, table, again = found
    monkeypatch.setattr("nqmjax.training.units._run", None)  # nothing is trained
    assert again().identical(table)


def test_targets_that_are_not_reached(found):
    with pytest.raises(ValueError, match=r"target is 0.4: sgd did not reach it in 30 .* \(the nearest was 0\.\d+, at rate 0.5"):
        found[2](target=0.4, max_steps=30, folder=None, rates=[0.25, 0.5])


def test_what_lags_ends():
    grid = np.array([0, 1, 4, 16, 32])
    race = Race(grid, np.zeros(3, int), 1, 0.1, lag=4.0)
    speed = np.array([0.05, 0.04, 0.001])
    for place, time in enumerate(grid):
        live = np.flatnonzero(race.running)
        race.record(place, live, np.exp(-speed * time)[live, None])
    assert race.end.tolist() == [End.OUT_OF_STEPS, End.OUT_OF_STEPS, End.OVERTAKEN]
    assert np.isnan(race.values[2, -1]).all()


def test_a_forecast_says_what_follows():
    runs = [
        Observed([16, 1024], [3000, 120], [0.02, 0.3], label="sgd"),
        Observed([16, 1024], [2900, 60], [0.02, 0.3], label="ema_heavy_ball"),
        Observed([16], [2900], label="lars"),
    ]
    table = forecast(runs, [16, 1024])
    np.testing.assert_allclose(table.steps.values[:2], [[3000, 120], [2900, 60]], rtol=0.05)
    assert np.isnan(table.steps.values[2]).all()
    assert np.isnan(table.learning_rate.values[2]).all()
    assert "At batch size" not in table.attrs["advice"]
    words = forecast(runs[:2], [16, 1024]).attrs["advice"]
    assert "With sgd, batches up to" in words
    assert "At batch size 1024 ema_heavy_ball takes the fewest updates" in words
    assert "lars: One batch size does not tell" in table.attrs["remarks"]
    with pytest.raises(ValueError, match="the optimizer is 'mine'"):
        forecast([Observed([16], [2900], label="mine")], [16])
