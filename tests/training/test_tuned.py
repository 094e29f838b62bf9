"""Steps to a target, read off curves that are known; the best rate; tables of tuned runs."""

import numpy as np
import pytest
import xarray as xr

import nqmjax as nq
from nqmjax.target import Status
from nqmjax.training import steps, tuned, tuned_runs
from nqmjax.training.race import End
from nqmjax.training.tuned import best_rate

GRID = np.array([0, 1, 2, 4, 8, 16])


def curves(losses, rates=None, **more):
    """Curves of one optimizer and batch size from an array over rate, seed and update."""
    losses = np.asarray(losses, np.float32)[None, None]
    cell = ("optimizer", "batch_size", "rate", "seed")
    rates = np.arange(1.0, losses.shape[2] + 1) if rates is None else rates
    ended = np.where(np.isinf(losses).any(-1), End.DIVERGED, End.OUT_OF_STEPS)
    return xr.Dataset(
        {
            "training_loss": ((*cell, "update"), losses),
            **{name: ((*cell, "update"), np.asarray(values, np.float32)[None, None]) for name, values in more.items()},
            "learning_rate": (cell[:3], np.asarray(rates, float)[None, None]),
            "end": (cell, ended),
        },
        {"optimizer": ["sgd"], "batch_size": [4], "seed": np.arange(losses.shape[3]), "update": GRID},
    )


def test_powers_and_exponentials_are_interpolated_exactly():
    power = np.concatenate([[1.0], GRID[1:] ** -0.5])
    flat = np.full(6, 0.9)
    fast = 2.0 ** -GRID.astype(float)
    gap = np.where(GRID > 8, np.nan, power)
    apart = np.where(GRID > 4, np.inf, flat)
    found = steps(curves([[power], [flat], [fast], [gap], [apart]]), 0.3)
    late = steps(curves([[fast]]), 2.0**-0.25)
    np.testing.assert_allclose(found.steps.values.ravel()[0], 0.3**-2, rtol=1e-6)
    np.testing.assert_allclose(late.steps.values.ravel(), [0.25], rtol=1e-6)
    assert np.isinf(found.steps.values.ravel()[[1, 3, 4]]).all()
    codes = [Status.REACHED, Status.OUT_OF_STEPS, Status.REACHED, Status.OUT_OF_STEPS, Status.DIVERGED]
    assert found.status.values.ravel().tolist() == codes
    assert found.steps.attrs["units"] == "updates"


def test_accuracies_rise():
    accuracy = np.array([0.1, 0.2, 0.4, 0.8, 0.7, 0.9])
    held_out = np.array([1.0, 0.8, 0.6, 0.5, 0.7, 0.9])
    table = curves([[np.linspace(1, 0, 6)]], held_out_accuracy=[[accuracy]], held_out_loss=[[held_out]])
    # between 2 and 4 updates half of the way
    np.testing.assert_allclose(steps(table, 0.6, "held_out_accuracy").steps.values.ravel(), [2 * 2**0.5], rtol=1e-6)
    best = tuned(table, 0.95, "held_out_accuracy")
    assert np.isinf(best.steps.values).all()
    np.testing.assert_allclose(best.nearest.values, 0.9, rtol=1e-6)
    np.testing.assert_allclose(tuned(table, 0.4, "held_out_loss").nearest.values, 0.5, rtol=1e-6)


def test_the_best_rate_is_the_vertex_of_a_parabola():
    rates, seeds = np.geomspace(0.01, 0.64, 7), np.array([-0.1, 0.0, 0.1])
    logs = np.log(100) + 0.3 * np.log(rates / 0.1)[:, None] ** 2 + seeds
    fewest, error, rate, at_edge = best_rate(np.exp(logs), rates)
    np.testing.assert_allclose([fewest, error, rate], [100, 100 * 0.1 / 3**0.5, 0.1], rtol=1e-9)
    assert not at_edge
    logs[4:, 1] = np.inf  # a seed that does not arrive: its rate is none
    assert best_rate(np.exp(logs), rates)[2] == pytest.approx(0.08)
    assert best_rate(np.exp(logs[4:]), rates[4:])[0] == np.inf
    assert best_rate(np.exp(logs[:2]), rates[:2])[2:] == (0.02, True)
    assert np.isnan(best_rate(np.exp(logs[:4, :1]), rates[:4])[1])


def test_a_rate_that_not_all_seeds_arrive_at_does_not_count():
    assert best_rate(np.array([[0, np.inf], [0, 5], [3, 4.0]]), np.array([0.1, 0.2, 0.4]))[::2] == (0.0, 0.2)


def test_tuned_runs_become_a_curve(tmp_path):
    batches, rates = [4, 16, 64], [0.1, 0.2, 0.4]
    parts = []
    for batch, speed in zip(batches, [0.05, 0.15, 0.3], strict=True):
        losses = [[np.exp(-speed * factor * (1 + 0.02 * seed) * GRID) for seed in range(2)] for factor in (0.7, 1, 0.7)]
        parts.append(curves(losses, rates).assign_coords(batch_size=[batch]))
    table = tuned(xr.concat(parts, "batch_size"), 0.5)
    np.testing.assert_allclose(table.learning_rate, 0.2, rtol=1e-6)
    nq.scaling.write_observed(tuned_runs(table), tmp_path / "tuned.csv")
    [read] = nq.read_observed(tmp_path / "tuned.csv")
    assert read.label == "sgd"
    one = table.sel(optimizer="sgd")
    for name in ("steps", "learning_rate", "standard_error"):
        np.testing.assert_allclose(getattr(read, name), one[name], rtol=1e-5)
    curve = nq.anchored_curve(one, "sgd")
    np.testing.assert_allclose(curve.observed.standard_error, one.standard_error)
    assert curve.steps(256).value < float(one.steps[-1])


def test_targets_that_runs_did_not_go_for():
    table = curves([[np.linspace(1, 0.2, 6)]]).assign_attrs(target=0.5, goal="training_loss")
    assert np.isfinite(steps(table, 0.5).steps).all()
    with pytest.raises(ValueError, match=r"target is 0.4: these runs ended at 0.5: give one that is no harder"):
        steps(table, 0.4)
    with pytest.raises(ValueError, match="below the loss at the start, 1"):
        steps(table, 1.0)
    with pytest.raises(ValueError, match="measure is held_out_loss: the curves lack it"):
        steps(table, 0.5, "held_out_loss")
