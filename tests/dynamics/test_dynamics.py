"""Risk by squaring against risk step by step, closed forms, transformations, and the corners of the parameter space."""

import jax
import numpy as np
import pytest
from helpers import OPTIMIZERS, random_cell

import nqmjax as nq


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_squaring_agrees_with_the_recursion(name, seed):
    rng = np.random.default_rng([seed, *map(ord, name)])
    problem, optimizer, batch_size, _ = random_cell(rng, name, groups=9)
    curve = nq.risk_curve(problem, optimizer, batch_size, 700)
    risks = nq.risk(problem, optimizer, batch_size, np.arange(701))
    assert not np.isnan(risks).any()
    settled = curve < 1e30
    np.testing.assert_allclose(risks[settled], curve[settled], rtol=1e-8)
    assert np.all(risks[~settled] > 1e29)


def test_closed_form_of_sgd():
    problem = nq.from_spectrum([1.0, 0.1, 1e-8], noise=[1.0, 3.0, 2.0], initial=[1.0, 0.0, 5.0])
    a, batch_size, h = 0.3, 7, problem.curvature
    for t in (0, 1, 10, 10**6, 2**31):
        decayed = np.exp(2 * t * np.log1p(-a * h))
        noise = a**2 * problem.noise / batch_size * -np.expm1(2 * t * np.log1p(-a * h)) / (a * h * (2 - a * h))
        expected = 0.5 * (h * (decayed * problem.initial + noise)).sum()
        assert nq.risk(problem, nq.SGD(a), batch_size, t) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 1 - 1e-6])
def test_critical_damping_against_high_precision(beta):
    """At `a h = (1 - sqrt(beta))^2` the roots of heavy ball coincide; the bias part in 60 digits."""
    from fractions import Fraction

    h, t = 0.25, 200
    a = (1 - np.sqrt(beta)) ** 2 / h
    theta, m = Fraction(1), Fraction(0)
    for _ in range(t):
        m = Fraction(beta) * m + Fraction(h) * theta
        theta -= Fraction(a) * m
        theta, m = theta.limit_denominator(10**60), m.limit_denominator(10**60)
    problem = nq.from_spectrum([h], noise=[0.0])
    expected = h / 2 * float(theta) ** 2
    assert nq.risk(problem, nq.HeavyBall(a, beta), 1, t) == pytest.approx(expected, rel=1e-9, abs=1e-31)
    assert nq.risk_curve(problem, nq.HeavyBall(a, beta), 1, t)[-1] == pytest.approx(expected, rel=1e-9, abs=1e-31)


@pytest.mark.parametrize("optimizer", [nq.SGD(0.0), nq.HeavyBall(0.0, 0.9), nq.Averaged(nq.SGD(0.0), 0.9)])
def test_rate_zero_leaves_the_risk_alone(optimizer):
    problem = nq.power_law(5)
    risks = nq.risk(problem, optimizer, 1, [0, 1, 1000, 2**31])
    np.testing.assert_allclose(risks, np.full(4, problem.initial_risk), rtol=1e-12)


def test_slow_momentum_and_decay():
    problem = nq.from_spectrum([1.0, 1e-4, 1e-8])
    slow = nq.Averaged(nq.HeavyBall(1e-6, 1 - 1e-6), 1 - 1e-6)
    curve = nq.risk_curve(problem, slow, 4, 20_000)
    np.testing.assert_allclose(nq.risk(problem, slow, 4, np.arange(0, 20_001, 500)), curve[::500], rtol=1e-10)


def test_divergence_is_huge_or_infinite_never_nan():
    problem = nq.power_law(4)
    for optimizer in (nq.SGD(2.5), nq.HeavyBall(4.0, 0.9), nq.Averaged(nq.Nesterov(3.0, 0.9), 0.5)):
        risks = nq.risk(problem, optimizer, 8, [50, 10**4, 2**31])
        assert not np.isnan(risks).any()
        assert np.all(risks > 10)
        assert not np.isnan(nq.risk_curve(problem, optimizer, 8, 3000)).any()


def test_arrays_broadcast_like_numpy():
    problem, rates, batches = nq.power_law(5), np.array([[0.1], [0.2]]), np.array([4, 8, 16])
    table = nq.risk(problem, nq.HeavyBall(rates, 0.5), batches, 100)
    assert table.shape == (2, 3)
    assert table[1, 2] == pytest.approx(nq.risk(problem, nq.HeavyBall(0.2, 0.5), 16, 100), rel=1e-12)
    assert nq.risk_curve(problem, nq.SGD(rates), batches, 10).shape == (2, 3, 11)
    assert nq.risk(problem, nq.SGD([0.1, 0.2]), [4, 8], [10, 20]).shape == (2,)


@pytest.mark.parametrize("steps", [1, 10, 10**5, 10**9])
@pytest.mark.parametrize("name", ["SGD", "HeavyBall", "Averaged SGD"])
def test_gradients_equal_finite_differences(name, steps):
    rate = min(0.05, 30 / steps)
    problem = nq.power_law(6, exponent=0.5)
    optimizer = OPTIMIZERS[name](np.random.default_rng(1), rate)

    def value(rate, batch_size):
        return nq.risk(problem, optimizer.replace(learning_rate=rate), batch_size, steps)

    with jax.enable_x64(True):
        gradient = jax.grad(value, argnums=(0, 1))(rate, 16.0)
    # The risk may be steep in the rate, and hardly depends on the batch size: steps that truncation and rounding allow.
    for i, (x, other, step) in enumerate([(rate, 16.0, 1e-5 * rate), (16.0, rate, 0.1)]):

        def along(x, i=i, other=other):
            return value(x, other) if i == 0 else value(other, x)

        slope = (8 * (along(x + step) - along(x - step)) - (along(x + 2 * step) - along(x - 2 * step))) / (12 * step)
        assert float(gradient[i]) == pytest.approx(slope, rel=1e-6)


def test_transformations():
    problem = nq.power_law(5)
    rates = np.array([0.1, 0.2])
    expected = nq.risk(problem, nq.SGD(rates), 8, 50)
    with jax.enable_x64(True):
        found = jax.jit(jax.vmap(lambda rate: nq.risk(problem, nq.SGD(rate), 8, 50)))(rates)
        curve = jax.vmap(lambda rate: nq.risk_curve(problem, nq.SGD(rate), 8, 50))(rates)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(curve[:, -1], expected, rtol=1e-12)


def test_sequences_are_arrays_and_constants_are_computed_while_tracing():
    problem = nq.power_law(5)
    expected = nq.risk(problem, nq.SGD(np.array([0.1, 0.2])), np.array([4, 8]), 10)
    np.testing.assert_array_equal(nq.risk(problem, nq.SGD((0.1, 0.2)), (4, 8), [10, 10]), expected)
    traced = jax.jit(lambda rate: nq.risk(problem, nq.SGD(rate), [4, 8], 10))(0.1)
    np.testing.assert_allclose(traced, nq.risk(problem, nq.SGD(0.1), [4, 8], 10), rtol=1e-5)
    assert jax.jit(lambda x: x * nq.spectral_radius(nq.SGD(0.1), 1.0))(1.0) == pytest.approx(0.9)


def test_float32_keeps_slow_directions():
    problem = nq.from_spectrum([1.0, 1e-3])
    double, single = (nq.risk(problem, nq.SGD(1e-7), 64, 10**9, dtype=dtype) for dtype in ("float64", "float32"))
    assert single.dtype == np.float32
    assert single == pytest.approx(double, rel=1e-4)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: nq.risk(p, nq.SGD(0.1), 64, -1), "steps is -1"),
        (lambda p: nq.risk(p, nq.SGD(0.1), 64, 2**31 + 1), "steps is 2147483649"),
        (lambda p: nq.risk(p, nq.SGD(0.1), 64, 0.5), "steps is 0.5"),
        (lambda p: nq.risk(p, nq.SGD(0.1), 0, 5), "batch_size is 0"),
        (lambda p: nq.risk_curve(p, nq.HeavyBall(0.1, [0.5, 1.0]), 1, 5), r"momentum\[1\] is 1.0"),
        (lambda p: nq.stationary_risk(p, nq.SGD(np.nan), 1), "learning_rate is nan"),
        (lambda p: nq.stability_edge(nq.SGD(0.1), 0.0), "curvature is 0.0"),
        (lambda p: nq.spectral_radius(nq.SGD(0.1), -1.0), "curvature is -1.0"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call(nq.power_law(3))


def test_gradients_reach_directions_that_are_still():
    """Derivatives in noise, start and curvature where these are zero, against finite differences."""
    values = [np.array([1.0, 0.5, 0.0]), np.array([1.0, 0.0, 1.0]), np.array([1.0, 0.0, 1.0])]

    def value(curvature, noise, initial):
        problem = nq.NoisyQuadratic(curvature, noise, initial, np.ones(3), 0.0)
        return nq.risk(problem, nq.SGD(0.1), 4.0, 10)

    with jax.enable_x64(True):
        found = jax.grad(value, argnums=(0, 1, 2))(*values)
    for argument, index in [(0, 2), (1, 1), (2, 1)]:
        moved = [array.copy() for array in values]
        moved[argument][index] += 1e-7
        slope = (value(*moved) - value(*values)) / 1e-7
        assert found[argument][index] == pytest.approx(slope, rel=1e-5)


def test_runs_that_explode_keep_their_risk():
    """The average stays behind the parameter by many digits."""
    problem, optimizer = nq.power_law(3), nq.Averaged(nq.Averaged(nq.Nesterov(4.0, 0.9), 0.9999), 0.9999)
    curve = nq.risk_curve(problem, optimizer, 1e9, 60)
    np.testing.assert_allclose(nq.risk(problem, optimizer, 1e9, np.arange(61)), curve, rtol=1e-6)
    assert (np.diff(curve[40:]) > 0).all()
