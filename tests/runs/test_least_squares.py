"""Levenberg-Marquardt against closed forms and against SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import least_squares

from nqmjax.runs.least_squares import minimize


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64():
        yield


def rosenbrock(x):
    return jnp.array([1 - x[0], 10 * (x[1] - x[0] ** 2)])


TIMES = np.linspace(0.0, 3.0, 25)


def exponentials(x, data, exp=jnp.exp):
    """Two exponentials with logarithms of amplitudes and rates for coordinates."""
    return exp(x[0] - exp(x[1]) * TIMES) + exp(x[2] - exp(x[3]) * TIMES) - data


def random_data(seed):
    rng = np.random.default_rng(seed)
    truth = np.array([rng.uniform(-0.5, 0.5), rng.uniform(-1.5, -0.5), rng.uniform(-0.5, 0.5), rng.uniform(0.5, 1.5)])
    return truth, exponentials(truth, 0.0, np.exp) + 0.02 * rng.standard_normal(len(TIMES))


@jax.jit
def fits(starts, data, steps, scale=1.0):
    return jax.vmap(lambda start: minimize(lambda x: scale * exponentials(x, data), start, steps))(starts)


def assert_consistent(residuals, found):
    """What a minimum says of itself is so."""
    there = residuals(found.coordinates)
    np.testing.assert_allclose(found.residuals, there, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found.cost, there @ there, rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(found.jacobian, jax.jacfwd(residuals)(found.coordinates), rtol=1e-10, atol=1e-12)


search_rosenbrock = jax.jit(lambda start: minimize(rosenbrock, start, 200))


@pytest.mark.parametrize("start", [(-1.2, 1.0), (2.0, -3.0), (-2.0, 4.0), (0.0, 0.0), (5.0, 5.0)])
def test_rosenbrock(start):
    found = search_rosenbrock(jnp.array(start))
    assert found.converged
    np.testing.assert_allclose(found.coordinates, [1.0, 1.0], rtol=1e-9)
    assert_consistent(rosenbrock, found)


@pytest.mark.parametrize("seed", range(4))
def test_linear_problems(seed):
    rng = np.random.default_rng(seed)
    matrix, right = rng.standard_normal((30, 5)) * 10 ** rng.uniform(-2, 2, 5), rng.standard_normal(30)
    expected, (cost,) = np.linalg.lstsq(matrix, right)[:2]
    found = minimize(lambda x: matrix @ x - right, jnp.zeros(5), 300)
    assert found.converged
    np.testing.assert_allclose(found.cost, cost, rtol=1e-9)
    np.testing.assert_allclose(found.coordinates, expected, atol=1e-4 * np.sqrt(cost) / np.linalg.norm(matrix, axis=0).min())
    assert_consistent(lambda x: matrix @ x - right, found)


@pytest.mark.parametrize("seed", range(4))
def test_exponential_sums_end_where_scipy_ends(seed):
    """The same minimum from the truth, and the best of many starts is no worse than the best of SciPy's."""
    truth, data = random_data(seed)
    starts = truth + np.random.default_rng([seed, 1]).uniform(-1, 1, (12, 4)) * np.arange(12)[:, None] / 12
    found = fits(starts, data, 300)
    theirs = [least_squares(exponentials, start, args=(data, np.exp), xtol=1e-14, ftol=1e-14, gtol=1e-14) for start in starts]
    assert float(found.cost[0]) == pytest.approx(2 * theirs[0].cost, rel=1e-8)
    assert float(found.cost.min()) == pytest.approx(2 * min(one.cost for one in theirs), rel=1e-8)
    assert found.converged[0]
    assert_consistent(lambda x: exponentials(x, data), jax.tree.map(lambda leaf: leaf[0], found))


def test_more_steps_never_raise_the_sum():
    _, data = random_data(0)
    starts = np.random.default_rng(0).uniform(-3, 3, (16, 4))
    costs = np.array([fits(starts, data, steps).cost for steps in range(1, 61)])
    first = np.sum(np.square([exponentials(start, data, np.exp) for start in starts]), axis=1)
    np.testing.assert_allclose(costs[0], first, rtol=1e-12)
    assert (np.diff(costs, axis=0) <= 0).all()
    assert (costs[-1] < 0.5 * costs[0]).all()


def simple(x):
    """NaN for a negative first coordinate, overflow for a large second one."""
    return jnp.array([jnp.sqrt(x[0]) - 1.5, jnp.exp(x[1]) - 2.0])


search_simple = jax.jit(jax.vmap(lambda start: minimize(simple, start, 100)))


@pytest.mark.parametrize("bad", [(-1.0, 0.0), (1.0, 800.0), (np.nan, 0.0), (np.inf, 0.0), (0.0, 0.0), (1.0, 500.0)])
def test_starts_that_are_not_finite_stay_where_they_are(bad):
    """(0, 0) has an infinite slope and (1, 500) a sum of squares that overflows."""
    starts = np.array([(1.0, 0.0), bad, (4.0, 1.0)])
    found = search_simple(starts)
    assert found.converged.tolist() == [True, False, True]
    assert np.isposinf(found.cost[1])
    np.testing.assert_array_equal(found.coordinates[1], bad)
    np.testing.assert_allclose(found.coordinates[::2], [[2.25, np.log(2)]] * 2, rtol=1e-7)


def test_steps_into_what_is_not_finite_are_taken_back():
    """Newton's step for sqrt(x) - 0.1 from 4 leads below 0; the search shortens it and ends at 0.01 all the same."""
    found = minimize(lambda x: jnp.sqrt(x) - 0.1, jnp.array([4.0]), 200)
    assert found.converged
    assert float(found.coordinates[0]) == pytest.approx(0.01, rel=1e-4)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_converged_means_that_the_slope_is_gone(scale):
    """Converged searches have gradients of next to nothing, relative to Jacobian and residuals; more steps change nothing."""
    _, data = random_data(1)
    starts = np.random.default_rng(2).uniform(-2, 2, (16, 4))

    short, long = (fits(starts, data, steps, scale) for steps in (12, 400))
    assert not short.converged.all()
    assert long.converged.all()
    done = np.asarray(short.converged)
    np.testing.assert_allclose(short.cost[done], long.cost[done], rtol=1e-8)
    assert (np.asarray(long.cost) <= np.asarray(short.cost)).all()
    slope = np.einsum("lrc,lr->lc", long.jacobian, long.residuals)
    size = np.linalg.norm(long.jacobian, axis=1) * np.linalg.norm(long.residuals, axis=1)[:, None]
    assert (abs(slope) <= 1e-4 * size + 1e-12).all()


@pytest.mark.parametrize("residuals", [rosenbrock, lambda x: jnp.array([x[0], x[1] - 1, x[0] + 1])], ids=["zero", "not zero"])
def test_a_start_at_the_minimum_has_converged(residuals):
    at = minimize(residuals, jnp.array([0.3, 0.3]), 300).coordinates.round(9)
    found = minimize(residuals, at, 100)
    assert found.converged
    np.testing.assert_allclose(found.coordinates, at, atol=1e-8)


def test_too_few_steps_have_not_converged():
    found = minimize(rosenbrock, jnp.array([-1.2, 1.0]), 3)
    assert not found.converged
    assert found.cost < 24.2
    assert minimize(rosenbrock, jnp.array([-1.2, 1.0]), 1).cost == pytest.approx(24.2, rel=1e-12)


def test_coordinates_that_change_nothing_do_no_harm():
    found = minimize(lambda x: jnp.array([x[0] - 1, 2 * x[0] - 2, 0 * x[1]]), jnp.array([5.0, 7.0]), 100)
    assert found.converged
    np.testing.assert_allclose(found.coordinates, [1.0, 7.0], rtol=1e-8)


def test_single_precision():
    with jax.enable_x64(False):
        found = minimize(rosenbrock, jnp.array([-1.2, 1.0]), 200)
    assert found.coordinates.dtype == np.float32
    np.testing.assert_allclose(found.coordinates, [1.0, 1.0], atol=1e-4)
    assert found.converged
