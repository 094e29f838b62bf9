"""The plan with a small first epoch."""

import jax
import numpy as np
import pytest

from nqmjax.schedules import small_first_epoch


def test_epochs_are_as_many_full_batches_as_there_are():
    plan = small_first_epoch(0.5, epochs=40, batch_size=4096, dataset_size=4100, momentum=0.9)
    np.testing.assert_array_equal(plan.batch_size, [256, 4096])
    np.testing.assert_array_equal(plan.steps, [16, 39])
    np.testing.assert_allclose(plan.learning_rate, [0.05, 0.5])
    np.testing.assert_array_equal(plan.hyperparameters["momentum"], [0.9, 0.9])
    same = small_first_epoch(0.5, 3, 30, 90, batch_divisor=7, rate_factor=1)
    np.testing.assert_array_equal(same.steps, [21, 6])
    assert same.total_examples == pytest.approx(270)
    np.testing.assert_array_equal(same.learning_rate, [0.5, 0.5])


def test_one_epoch_has_one_piece():
    assert small_first_epoch(0.5, epochs=1, batch_size=64, dataset_size=640).pieces == 1


def test_the_rate_may_be_traced():
    plan = jax.jit(lambda rate: small_first_epoch(rate, epochs=3, batch_size=32, dataset_size=64))(0.2)
    np.testing.assert_allclose(plan.learning_rate, [0.02, 0.2], rtol=1e-6)
    np.testing.assert_array_equal(plan.steps, [32, 4])
