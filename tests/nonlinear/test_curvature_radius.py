"""Diagonals of Hessians against dense ones, and errors of estimates against their formula."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from nqmjax import monte_carlo, power_law
from nqmjax.nonlinear import HessianDiagonal, hessian_diagonal, scale_by_curvature_radius

KEYS = jax.random.split(jax.random.key(1), 5)
PARAMS = {
    "in": {"kernel": jax.random.normal(KEYS[0], (4, 16)) / 2, "bias": jnp.zeros(16)},
    "out": {"kernel": jax.random.normal(KEYS[1], (16,)) / 4, "bias": jnp.float32(0.1)},
}
INPUTS, LABELS = jax.random.normal(KEYS[2], (20, 4)), jax.random.normal(KEYS[3], (20,))


def loss(params):
    hidden = jnp.tanh(INPUTS @ params["in"]["kernel"] + params["in"]["bias"])
    return ((hidden @ params["out"]["kernel"] + params["out"]["bias"] - LABELS) ** 2).mean()


@functools.cache
def dense():
    flat, unravel = ravel_pytree(PARAMS)
    return np.asarray(jax.jit(jax.hessian(lambda vector: loss(unravel(vector))))(flat), float)


def flat(tree):
    return np.asarray(ravel_pytree(tree)[0], float)


def test_exact_diagonal():
    found = jax.jit(functools.partial(hessian_diagonal, loss))(PARAMS)  # 97 parameters: a chunk and a part of one
    assert jax.tree.structure(found.diagonal) == jax.tree.structure(PARAMS)
    assert jax.tree.map(jnp.shape, found.diagonal) == jax.tree.map(jnp.shape, PARAMS)
    np.testing.assert_allclose(flat(found.diagonal), np.diag(dense()), rtol=1e-4, atol=1e-6)
    assert not flat(found.standard_error).any()


def test_estimates_and_their_errors():
    probes, hessian = 1000, dense()
    found = jax.jit(lambda key: hessian_diagonal(loss, PARAMS, probes=probes, key=key))(jax.random.key(0))
    error = np.sqrt(((hessian**2).sum(1) - np.diag(hessian) ** 2) / probes)
    np.testing.assert_allclose(flat(found.standard_error), error, rtol=0.2)
    deviations = (flat(found.diagonal) - np.diag(hessian)) / error
    assert np.abs(deviations).max() < 4
    assert 0.7 < deviations.std() < 1.3
    number = hessian_diagonal(loss, PARAMS, probes=2, key=3)
    key = hessian_diagonal(loss, PARAMS, probes=2, key=jax.random.key(3))
    np.testing.assert_array_equal(flat(number.diagonal), flat(key.diagonal))


def test_half_precision_and_strict_arithmetic():
    half = {"a": jnp.array([1.0, 2.0], jnp.bfloat16), "b": jnp.float32(3.0)}

    def cubic(w):
        return (w["a"].astype(jnp.float32) ** 3).sum() + w["b"] ** 2

    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        for options in ({}, {"probes": 4, "key": 0}):
            found = hessian_diagonal(cubic, half, **options).diagonal
            np.testing.assert_allclose(found["a"], [6.0, 12.0], rtol=1e-2)
            np.testing.assert_allclose(found["b"], 2.0, rtol=1e-2)
            assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype("float32")}


def test_a_network_is_trained_by_its_radii():
    method = optax.chain(
        scale_by_curvature_radius(functools.partial(hessian_diagonal, loss), damping=0.1), optax.scale_by_learning_rate(0.05)
    )

    def step(carry, _):
        params, state = carry
        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = method.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), value

    _, losses = jax.jit(lambda: jax.lax.scan(step, (PARAMS, method.init(PARAMS)), length=30))()
    assert losses[-1] < 0.7 * losses[0]
    assert isinstance(hessian_diagonal(lambda w: w**2, 1.0), HessianDiagonal)


def test_newton_on_the_quadratic():
    """Gradients far below 1 and no damping: the radius is one over the curvature."""
    problem = power_law(5, noise=0.0, initial=1e-6)
    method = optax.chain(
        scale_by_curvature_radius(lambda _: jnp.asarray(problem.curvature), damping=0.0), optax.scale_by_learning_rate(1.0)
    )
    runs = monte_carlo(problem, method, batch_size=1, num_steps=1, num_seeds=4, key=0)
    assert runs.risk[1] < 1e-9 * runs.risk[0]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: hessian_diagonal(loss, {}), "a tree without parameters"),
        (lambda: hessian_diagonal(None, PARAMS), "loss is None"),
        (lambda: hessian_diagonal(lambda w: w["out"]["kernel"], PARAMS), "one number"),
        (lambda: hessian_diagonal(loss, PARAMS, probes=1, key=0), "probes is 1"),
        (lambda: hessian_diagonal(loss, PARAMS, probes=4), "key is None"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()
