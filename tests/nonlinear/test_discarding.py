"""Discarding of small losses against sorting them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nqmjax.nonlinear import discard_small_losses

LOSSES = np.random.default_rng(0).exponential(size=40).astype(np.float32)
SHARES = (0.0, 0.1, 0.29, 0.3, 0.7, 0.95, 0.999)


@pytest.mark.parametrize("share", SHARES)
def test_the_smallest_are_dropped(share):
    count = min(round(share * 40 - 0.5 + 1e-6), 39)
    kept = np.sort(LOSSES)[count:]
    assert float(discard_small_losses(LOSSES, share)) == pytest.approx(kept.mean(), rel=1e-5)
    gradient = jax.grad(discard_small_losses)(jnp.asarray(LOSSES), share)
    np.testing.assert_allclose(gradient, (kept[0] <= LOSSES) / len(kept), rtol=1e-5)


def test_every_share_of_hundredths_drops_that_many():
    losses = jnp.arange(100.0)
    shares = np.arange(100) / 100
    found = jax.jit(jax.vmap(discard_small_losses, in_axes=(None, 0)))(losses, shares)
    np.testing.assert_allclose(found, [np.arange(count, 100).mean() for count in range(100)], rtol=1e-5)


def test_edges():
    assert discard_small_losses([2.0], 0.99) == 2
    assert discard_small_losses(LOSSES, 1 - 1e-12) == LOSSES.max()
    np.testing.assert_array_equal(jax.grad(discard_small_losses)(jnp.ones(4), 0.5), [0, 0, 0.5, 0.5])
    assert np.isnan(discard_small_losses([np.nan, 1.0, 2.0, 3.0], 0.75))
    assert discard_small_losses([np.inf, 1.0], 0.0) == np.inf
    half = discard_small_losses(jnp.asarray(LOSSES, jnp.bfloat16), 0.3)
    assert half.dtype == jnp.float32
    assert float(half) == pytest.approx(float(discard_small_losses(LOSSES, 0.3)), rel=1e-2)


@pytest.mark.parametrize("share", [-0.1, 1.0, 1.5, np.nan, None, "a", [0.1]])
def test_shares_outside_the_range(share):
    with pytest.raises(ValueError, match="share"):
        discard_small_losses(LOSSES, share)


@pytest.mark.parametrize("losses", [1.0, [], np.ones((2, 2))])
def test_losses_that_are_no_batch(losses):
    with pytest.raises(ValueError, match="loss_per_example"):
        discard_small_losses(losses, 0.1)
