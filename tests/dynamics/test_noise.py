"""Noise scales of quadratics, against dense matrices and the best rate of a single update."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nqmjax import SGD, from_spectrum, noise_scale, risk

SEEDS = range(4)


def random_problem(seed, size=15):
    rng = np.random.default_rng(seed)
    h, c, s = 10.0 ** rng.uniform(-3, 1, (3, size))
    return from_spectrum(h, count=rng.integers(1, 50, size), noise=c, initial=s)


@pytest.mark.parametrize("seed", SEEDS)
def test_noise_scales_are_the_ratios_of_dense_matrices(seed):
    problem = random_problem(seed)
    theta = np.random.default_rng(seed + 100).standard_normal(problem.curvature.size)
    counts = problem.count.astype(int)
    hessian, noise = (np.diag(np.repeat(values, counts)) for values in (problem.curvature, problem.noise))
    gradient = hessian @ np.repeat(theta, counts)
    expected = np.trace(hessian @ noise) / (gradient @ hessian @ gradient), np.trace(noise) / (gradient @ gradient)
    for definition, value in zip(["B_noise", "B_simple"], expected, strict=True):
        assert noise_scale(problem, theta**2, definition) == pytest.approx(value, rel=1e-12)
        assert noise_scale(problem, [problem.initial, theta**2], definition)[1] == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("batch_size", [1.0, 100.0, 1e6])
@pytest.mark.parametrize("seed", SEEDS)
def test_noise_scale_gives_the_best_rate_of_one_step(seed, batch_size):
    problem = random_problem(seed)
    h, w, s = problem.curvature, problem.count, problem.initial
    largest = np.sum(w * h**2 * s) / np.sum(w * h**3 * s)
    predicted = largest / (1 + noise_scale(problem) / batch_size)
    rates = predicted * np.array([0.5, 1.0, 1.5])
    left, middle, right = risk(problem, SGD(rates), batch_size, 1)  # a parabola in the rate, lowest at the best one
    assert middle < min(left, right)
    vertex = predicted * (1 + 0.25 * (left - right) / (left - 2 * middle + right))
    assert vertex == pytest.approx(predicted, rel=1e-6)


def test_noise_scales_of_isotropic_and_degenerate_problems():
    even = from_spectrum(np.full(7, 0.3), noise=2.0, initial=0.5)
    assert noise_scale(even) == pytest.approx(noise_scale(even, definition="B_simple"))
    for definition in ("B_noise", "B_simple"):
        assert noise_scale(even, np.zeros(7), definition) == np.inf
        assert noise_scale(from_spectrum([1.0], noise=0.0), None, definition) == 0
        assert noise_scale(from_spectrum([1.0], noise=0.0, initial=0.0), None, definition) == 0
    with pytest.raises(ValueError, match="shape of second_moments"):
        noise_scale(even, np.ones(3))
    with pytest.raises(ValueError, match=r"second_moments\[2\] is -1.0"):
        noise_scale(even, [1, 1, -1, 1, 1, 1, 1])
    with pytest.raises(ValueError, match="definition is 'noise'"):
        noise_scale(even, definition="noise")


def test_noise_scale_under_transformations():
    problem = random_problem(0)
    with jax.enable_x64(True):
        moments = jnp.asarray(np.random.default_rng(1).uniform(0.1, 1, (3, problem.curvature.size)))
        expected = noise_scale(problem, np.asarray(moments))
        np.testing.assert_allclose(jax.jit(noise_scale)(problem, moments), expected, rtol=1e-13)
        np.testing.assert_allclose(jax.vmap(lambda s: noise_scale(problem, s))(moments), expected, rtol=1e-13)
        slope = jax.grad(lambda s: noise_scale(problem, s))(moments[0])
        assert (slope * moments[0]).sum() == pytest.approx(-expected[0], rel=1e-12)  # homogeneous of degree -1
