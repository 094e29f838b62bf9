"""Recipes at other batch sizes: the curve's own numbers, the rules that go with them, and what they cost on devices."""

import numpy as np
import pytest

from nqmjax.scaling.anchored import anchored_curve
from nqmjax.scaling.observed import Observed
from nqmjax.scaling.recipes import Devices, fastest, recipes

BATCHES = 2.0 ** np.arange(4, 12)
ADAM = anchored_curve(Observed(BATCHES, 500 * (1 + 1000 / BATCHES), 1e-3 * np.sqrt(BATCHES / 64)), "adamw")
SGD = anchored_curve((BATCHES, 500 * (1 + 1000 / BATCHES)), "momentum")
ASKED = np.array([100.0, 1000.0, 8000.0])


def test_the_table_holds_the_curve():
    table = recipes(ADAM, ASKED)
    for name, found in {"steps": ADAM.steps(ASKED), "learning_rate": ADAM.learning_rate(ASKED)}.items():
        np.testing.assert_array_equal([table[name + end] for end in ("", "_lower", "_upper")], found)
    np.testing.assert_array_equal(table.examples_upper, ASKED * table.steps_upper)
    np.testing.assert_allclose(table.overhead, 1 + ASKED / 1000, rtol=0.05)
    np.testing.assert_array_equal(table.warmup_steps, np.ceil(0.05 * table.steps))
    assert table.attrs["reference"] == BATCHES[-1]
    assert "momentum" not in table


def test_beta2_spans_the_same_share_of_the_run():
    table = recipes(ADAM, ASKED, reference=1000, beta2=0.99)
    np.testing.assert_allclose((1 - table.beta2) * table.steps, 0.01 * table.steps[1], rtol=1e-9)
    assert recipes(ADAM, [1e5], reference=1, beta2=0.95).beta2 == 0.9  # no shorter


def test_momentum_stays_and_unknown_rates_are_left_out():
    table = recipes(SGD, ASKED, momentum=0.8)
    assert (table.momentum == 0.8).all()
    assert "learning_rate" not in table
    assert "beta2" not in table
    assert "momentum" not in recipes(anchored_curve((BATCHES, 1e6 / BATCHES), "sgd"), ASKED)


def test_the_limits_are_where_they_say():
    """With a sharpness that is known the medians of functions of the draws are the functions of their medians."""
    curve = anchored_curve((BATCHES, 500 * (1 + 1000 / BATCHES)), "adamw", sharpness=1.0)
    limits = recipes(curve, ASKED).attrs
    assert curve.overhead(limits["overhead_20"][0]).value == pytest.approx(1.2, rel=1e-9)
    assert limits["knee"][0] == pytest.approx(1000, rel=0.01)
    assert curve.steps(2 * limits["wasted"][0]).value / curve.steps(limits["wasted"][0]).value == pytest.approx(0.9, rel=1e-3)


def test_a_pass_of_all_devices_is_the_shortest_run():
    devices = Devices(2000, 8, 32)
    table = recipes(ADAM, [64, 256, 300, 512], reference=512, devices=devices)
    np.testing.assert_array_equal(table.passes, [1, 1, 2, 2])
    np.testing.assert_allclose(table.minutes, table.steps * table.passes * 256 / 2000 / 60)
    np.testing.assert_allclose(table.minutes_saved, table.minutes[3] - table.minutes)
    size, minutes = fastest(ADAM, devices)
    assert size == 256
    assert minutes.value == pytest.approx(table.minutes[1].item())
    every = recipes(ADAM, 2.0 ** np.arange(12), devices=devices).minutes
    assert minutes.value <= every.min() * (1 + 1e-12)


def test_one_speed_for_all_batch_sizes_goes_with_the_examples():
    table = recipes(ADAM, ASKED, devices=Devices(100))
    np.testing.assert_allclose(table.minutes, table.examples / 100 / 60)
    assert fastest(ADAM, Devices(100)) is None


def test_bounds_are_left_bounds():
    table = recipes(anchored_curve(([64], [900]), "adamw"), [128])
    assert np.isnan(table.steps).all()
    assert (table.steps_lower, table.steps_upper) == (pytest.approx(450), pytest.approx(900))
    assert "knee" not in table.attrs
