"""The tuned rates of optimizers that are not linear: no grid of rates beats them."""

import numpy as np
import pytest

import nqmjax as nq
from nqmjax.scaling.race import RATES as RACED
from nqmjax.scaling.race import Winner, _first_race

PROBLEM = nq.from_spectrum([1.0, 0.3, 0.05], count=[200, 400, 1000], noise=[1.0, 0.5, 0.1], initial=[1.0, 2.0, 0.5])
RATES = np.geomspace(0.01, 1.0, 41)


@pytest.mark.parametrize(
    ("optimizer", "grid"),
    [(nq.Adam(0.1, 0.9, 0.99, nodes=24), nq.Adam(RATES, 0.9, 0.99, nodes=48)), (nq.SignSGD(0.1), nq.SignSGD(RATES))],
)
def test_no_rate_of_a_dense_grid_is_faster(optimizer, grid):
    batches = [2**12, 2**6]
    best = nq.tune(PROBLEM, optimizer, batches, target=20.0, progress=False)
    fewest = nq.sweep(PROBLEM, grid, batches, target=20.0, max_steps=150, progress=False).steps.min("learning_rate").values
    assert (best.steps <= np.maximum(fewest + 1, 1.01 * fewest)).all(), (best.steps.values, fewest)
    assert not best.learning_rate_at_edge.any()
    assert not best.nodes_disagree.any()
    assert best.attrs["optimizer"].startswith(type(optimizer).__name__)
    assert best.attrs["rate_units"].startswith("those of the parameters")


def test_what_cannot_be_reached_says_so():
    table = nq.tune(PROBLEM, nq.SignSGD(0.1, nodes=16), [1, 64], target=1e-3, max_steps=200, progress=False)
    assert table.status.values.tolist() == [nq.Status.OUT_OF_STEPS] * 2
    assert np.isinf(table.steps).all()
    assert np.isnan(table.learning_rate).all()
    never = nq.tune(PROBLEM, nq.SignSGD(0.1, nodes=16), [64], target=0.0, max_steps=200, progress=False)
    assert never.status.values.tolist() == [nq.Status.NEVER]


def test_curves_stand_beside_those_of_sgd_at_power_0_only():
    table = nq.scaling.scaling_curves(nq.power_law(20), [64, 1024], 0.1, ["sgd", "sign"], [0.5, 0.0], progress=False)
    sign = nq.tune(nq.power_law(20), nq.SignSGD(0.01), [64, 1024], 0.1, progress=False)
    assert table.steps.sel(optimizer="sign", power=0.0).values.tolist() == sign.steps.values.tolist()
    assert table.steps.sel(optimizer="sign", power=0.5).isnull().all()
    assert np.isfinite(table.steps.sel(optimizer="sgd")).all()
    assert "1 is the inverse of the largest curvature" in table.attrs["rate_units"]
    assert "of SignSGD those of the parameters" in table.attrs["rate_units"]
    with pytest.raises(ValueError, match=r"powers is \[0.5\]: adam takes no preconditioner: add 0, or leave adam out"):
        nq.scaling.scaling_curves(PROBLEM, [64], 0.1, ["sgd", "adam"], [0.5], progress=False)


def test_where_the_best_rate_is_not_expected_all_rates_race():
    """A rate that swings across the target at a large batch size tells nothing of a smaller one."""
    asked = []

    def runs(rates, nodes, limit):
        asked.append(limit)
        steps = np.where((rates == 0.125) & (limit >= 63), 63.0, np.inf)
        status = np.where(np.isfinite(steps), nq.Status.REACHED, nq.Status.OUT_OF_STEPS)
        return nq.StepsToTarget(steps, status, steps)

    larger = Winner(4.0, 16, nq.StepsToTarget(14.0, nq.Status.REACHED, 13.5))
    found = _first_race(runs, RACED, 2**31 - 1, 2.0**18, (2.0**20, larger))
    assert (found.rate, float(found.found.steps)) == (0.125, 63)
    assert max(asked) <= 16 * 4 * 14
