"""Sums over directions against direct summation and against zeta functions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import zeta

from nqmjax.runs.laws.sums import COARSE, FINE, Rule, directions, tail_sum

EXPONENTS = np.linspace(0.4, 2.5, 22)
NODES = {COARSE: 50, FINE: 170}


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64():
        yield


@functools.cache
def direct(number, *exponents):
    """The sums by adding every term, the smallest first."""
    logs = np.log(np.arange(number, 0, -1.0))
    return np.array([np.exp(-exponent * logs).sum() for exponent in exponents])


@pytest.mark.parametrize(("rule", "tolerance"), [(COARSE, 1e-9), (FINE, 1e-12)])
@pytest.mark.parametrize("number", [100.0, 130.0, 317.0, 1e3, 1e4, 1e5, 1e6, 1e7])
def test_sums_of_powers(number, rule, tolerance):
    exponents = EXPONENTS if number < 1e7 else EXPONENTS[[0, 5]]  # the rest at 10^7 are zeta functions, below
    nodes = directions(jnp.asarray(number), rule)
    assert nodes.log_number.shape == nodes.weight.shape == (NODES[rule],)
    found = nodes.sum(jnp.exp(-exponents[:, None] * nodes.log_number))
    np.testing.assert_allclose(found, direct(number, *exponents), rtol=tolerance, atol=0)


@pytest.mark.parametrize(("rule", "tolerance"), [(COARSE, 1e-9), (FINE, 1e-12)])
@pytest.mark.parametrize("number", [1e7, 1e8, 1e10])
def test_sums_of_powers_of_very_many_directions(number, rule, tolerance):
    exponents = EXPONENTS[EXPONENTS > 1.05]
    nodes = directions(number, rule)
    found = nodes.sum(jnp.exp(-exponents[:, None] * nodes.log_number))
    np.testing.assert_allclose(found, zeta(exponents, 1) - zeta(exponents, number + 1), rtol=tolerance, atol=0)


@pytest.mark.parametrize("p", [0.4, 1.05, 1.5, 2.5])
@pytest.mark.parametrize("q", [0.2, 0.5, 1.0, 1.5, 2.0])
def test_sums_that_decay_exponentially(p, q):
    """Errors relative to the same sum without decay, at times from no decay to all of it."""
    logs = np.log(np.arange(1.0, 1e6 + 1))
    powers, curvature = np.exp(-p * logs), np.exp(-q * logs)
    times = np.geomspace(1e-2, 1e8, 6)
    expected = np.array([powers @ np.exp(-2 * time * curvature) for time in times])
    for rule, tolerance in ((COARSE, 5e-5), (FINE, 1e-10)):
        nodes = directions(1e6, rule)
        terms = -p * nodes.log_number - 2 * times[:, None] * jnp.exp(-q * nodes.log_number)
        np.testing.assert_allclose(
            nodes.sum(jnp.exp(terms)), expected, rtol=0, atol=tolerance * powers.sum(), err_msg=f"{rule}"
        )


@pytest.mark.parametrize("rule", [COARSE, FINE])
def test_many_numbers_at_once_are_each_alone(rule):
    numbers = np.array([[150.0, 1e4], [3.5e5, 1e9]])
    nodes = directions(numbers, rule)
    assert nodes.weight.shape == (2, 2, NODES[rule])
    for place, number in np.ndenumerate(numbers):
        alone = directions(number, rule)
        np.testing.assert_allclose(nodes.weight[place], alone.weight, rtol=1e-12, atol=0)
        np.testing.assert_allclose(nodes.log_number[place], alone.log_number, rtol=1e-12, atol=0)


def test_between_whole_numbers_sums_interpolate():
    """A number that is not whole lies between its neighbours, and the slope by the number is the next term."""
    nodes = directions(np.array([1000.0, 1000.5, 1001.0]), FINE)
    low, middle, high = np.asarray(nodes.sum(jnp.exp(-1.3 * nodes.log_number)))
    assert low < middle < high
    assert middle - low == pytest.approx((high - low) / 2, rel=1e-3)

    def total(number):
        nodes = directions(number, FINE)
        return nodes.sum(jnp.exp(-1.3 * nodes.log_number))

    assert float(jax.grad(total)(1000.0)) == pytest.approx(1000.5**-1.3, rel=1e-6)


def test_whole_numbers_may_be_integers():
    np.testing.assert_allclose(directions(1000, COARSE).weight, directions(1000.0, COARSE).weight, rtol=1e-12)


def test_either_precision_may_come_first():
    def total(number):
        nodes = directions(number, Rule(16, 20))
        return nodes.sum(jnp.exp(-1.3 * nodes.log_number))

    double = jax.jit(total)(1e5)
    with jax.enable_x64(False):
        single = jax.jit(total)(1e5)
    assert (double.dtype, single.dtype) == (np.float64, np.float32)
    assert float(single) == pytest.approx(float(double), rel=1e-5)


@pytest.mark.parametrize("p", [1.01, 1.05, 1.1, 1.3, 1.5, 1.8, 2.0, 2.2, 2.5])
def test_tails_are_zeta_functions(p):
    few, many = np.arange(16.0, 100.0), np.concatenate([np.arange(100.0, 400.0, 7.0), np.geomspace(1e3, 1e10, 15)])
    np.testing.assert_allclose(tail_sum(few, p), zeta(p, few + 1), rtol=1e-8, atol=0)
    np.testing.assert_allclose(tail_sum(many, p), zeta(p, many + 1), rtol=1e-12, atol=0)


@pytest.mark.parametrize("p", [1.05, 1.4, 2.5])
@pytest.mark.parametrize("number", [16.0, 1e3, 1e8])
def test_tails_have_derivatives_by_the_exponent(p, number):
    def log_tail(p):
        return jnp.log(tail_sum(number, p))

    step = 1e-3 * (p - 1)
    near, far = (float(log_tail(p + s) - log_tail(p - s)) for s in (step, 2 * step))
    assert float(jax.grad(log_tail)(p)) == pytest.approx((8 * near - far) / (12 * step), rel=1e-8)


@pytest.mark.parametrize("p", [1.05, 1.5, 2.5])
@pytest.mark.parametrize("number", [150.0, 1e4, 1e9])
def test_directions_and_tail_make_the_whole(p, number):
    nodes = directions(number, FINE)
    assert float(nodes.sum(jnp.exp(-p * nodes.log_number)) + tail_sum(number, p)) == pytest.approx(zeta(p, 1), rel=1e-12)
