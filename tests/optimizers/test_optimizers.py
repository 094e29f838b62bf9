"""The linear systems: their laws, stability and stationary risk, against closed forms and a plain simulation."""

import dataclasses
import subprocess
import sys

import jax
import numpy as np
import pytest
from helpers import OPTIMIZERS, AggMo
from hypothesis import given, settings
from hypothesis import strategies as st

import nqmjax as nq
from nqmjax.optimizers.base import hyperparameters, linear_system

RATES, MOMENTA = st.floats(1e-6, 1.9), st.floats(0, 0.999)


def simulate(optimizer, curvature, theta, noises):
    """Scored iterates and parameters of one direction, shape `(updates, 2)`, by calling the declared update step by step."""
    scale = float(optimizer.gradient_scale(np.asarray(curvature)))
    state, reads = optimizer.initial(theta), []
    for xi in noises:
        gradient = scale * (curvature * state[0] + xi)
        state = tuple(x + dx for x, dx in zip(state, optimizer.change(state, gradient), strict=True))
        reads.append((optimizer.read(state), state[0]))
    return np.array(reads)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_linear_system_is_the_declared_update(name):
    rng = np.random.default_rng(3)
    optimizer = OPTIMIZERS[name](rng, 0.3)
    noises = rng.normal(size=40)
    with jax.enable_x64(True):
        system = jax.tree.map(lambda part: np.asarray(part)[..., 0], linear_system(optimizer, np.array([0.7])))
        expected = simulate(optimizer.along(np.asarray(0.7)), 0.7, 2.0, noises)
    x = 2.0 * system.start
    for t, xi in enumerate(noises):
        x = x + system.increment @ x + system.kick * xi
        assert [system.read @ x, system.parameter @ x] == pytest.approx(expected[t], rel=1e-11, abs=1e-13)


@settings(deadline=None, max_examples=30)
@given(RATES, st.integers(1, 300))
def test_special_cases_agree(rate, steps):
    problem = nq.power_law(7, noise=0.3)

    def risk(optimizer):
        return nq.risk(problem, optimizer, 5, steps)

    plain = risk(nq.SGD(rate))
    for same in (
        nq.HeavyBall(rate, 0.0),
        nq.Nesterov(rate, 0.0),
        nq.QHM(rate, 0.9, 0.0),
        nq.QHM(rate, 0.0, 1.0),
        nq.Preconditioned(nq.SGD(rate), 0.0),
        nq.Averaged(nq.SGD(rate), 0.0),
    ):
        assert risk(same) == pytest.approx(plain, rel=1e-9)
    assert risk(nq.QHM(rate, 0.9, 1.0)) == pytest.approx(risk(nq.HeavyBall(rate * 0.1, 0.9)), rel=1e-8)
    newton = nq.Preconditioned(nq.SGD(rate), 1.0)
    assert risk(newton) == pytest.approx(_newton_risk(problem, rate, steps), rel=1e-9)


def _newton_risk(problem, rate, steps):
    h, c = problem.curvature, problem.noise / 5
    q = (1 - rate) ** 2
    geometric = (1 - q**steps) / (1 - q)
    return 0.5 * (h * (q**steps + rate**2 * c / h**2 * geometric)).sum()


@settings(deadline=None, max_examples=40)
@given(st.floats(0.01, 100), MOMENTA, st.floats(0, 1))
def test_stability_edges(curvature, beta, nu):
    h = curvature
    assert nq.stability_edge(nq.SGD(1.0), h) == pytest.approx(2 / h, rel=1e-8)
    assert nq.stability_edge(nq.HeavyBall(1.0, beta), h) == pytest.approx(2 * (1 + beta) / h, rel=1e-6)
    assert nq.stability_edge(nq.Nesterov(1.0, beta), h) == pytest.approx(2 * (1 + beta) / (1 + 2 * beta) / h, rel=1e-6)
    edge = 2 * (1 + beta) / (1 + beta * (1 - 2 * nu)) / h
    assert nq.stability_edge(nq.QHM(1.0, beta, nu), h) == pytest.approx(edge, rel=1e-6)
    assert nq.stability_edge(nq.Averaged(nq.SGD(1.0), beta), h) == pytest.approx(2 / h, rel=1e-8)
    assert nq.stability_edge(nq.Preconditioned(nq.SGD(1.0), nu), h) == pytest.approx(2 / h ** (1 - nu), rel=1e-8)


@settings(deadline=None, max_examples=60)
@given(st.floats(0.01, 1.95), st.floats(0, 0.99), st.floats(0.1, 10), st.floats(0.1, 10))
def test_stationary_risks(ah, beta, h, c):
    a, q, problem = ah / h, 1 - ah, nq.from_spectrum([h], noise=[c])
    sgd = a * c / (h * (2 - ah))

    def stationary(optimizer):
        return nq.stationary_risk(problem, optimizer, 1)

    assert stationary(nq.SGD(a)) == pytest.approx(h / 2 * sgd, rel=1e-9)
    heavy = a * c * (1 + beta) / (h * (1 - beta) * (2 * (1 + beta) - ah))
    assert stationary(nq.HeavyBall(a, beta)) == pytest.approx(h / 2 * heavy, rel=1e-9)
    averaged = sgd * (1 - beta) / (1 + beta) * (1 + beta * q) / (1 - beta * q)
    assert stationary(nq.Averaged(nq.SGD(a), beta)) == pytest.approx(h / 2 * averaged, rel=1e-9)


def test_stationary_risk_of_special_runs():
    problem = nq.power_law(3, irreducible=0.5)
    assert nq.stationary_risk(problem, nq.SGD(2.1), 1) == np.inf
    assert nq.stationary_risk(problem, nq.SGD(0.0), 1) == pytest.approx(problem.initial_risk)
    assert nq.stationary_risk(nq.power_law(3, noise=0.0), nq.HeavyBall(0.1, 0.9), 1) == pytest.approx(0, abs=1e-30)


def test_spectral_radius_of_complex_and_real_roots():
    assert nq.spectral_radius(nq.HeavyBall(0.1, 0.81), 1.0) == pytest.approx(0.9)
    radii = nq.spectral_radius(nq.SGD([0.5, 2.5]), [1.0, 2.0])
    np.testing.assert_allclose(radii, [[0.5, 0.0], [1.5, 4.0]], atol=1e-12)


def test_structures_of_different_optimizers_differ():
    structures = [jax.tree.structure(optimizer) for optimizer in (nq.HeavyBall(0.1, 0.9), nq.Nesterov(0.1, 0.9))]
    assert structures[0] != structures[1]


def test_hyperparameters_of_nested_wrappers():
    nested = nq.Averaged(nq.Averaged(nq.Preconditioned(nq.HeavyBall(0.1, 0.9), 0.5), 0.8), 0.7)
    assert hyperparameters(nested) == {
        "learning_rate": 0.1,
        "momentum": 0.9,
        "power": 0.5,
        "optimizer.decay": 0.8,
        "decay": 0.7,
    }
    assert hyperparameters(nested.replace(momentum=0.5))["momentum"] == 0.5
    with pytest.raises(ValueError, match="this optimizer has learning_rate"):
        nested.replace(rate=0.1)


def test_a_users_optimizer_is_a_frozen_pytree():
    optimizer = AggMo(0.1, 0.9, 0.0)
    assert jax.tree.leaves(optimizer) == [0.1, 0.9, 0.0]
    with pytest.raises(dataclasses.FrozenInstanceError):
        optimizer.learning_rate = 0.2


def test_importing_touches_no_global_state():
    code = (
        "import jax; before = dict(jax.config.values); import nqmjax;"
        "assert dict(jax.config.values) == before; import sys;"
        "assert not {'matplotlib', 'xarray', 'optax', 'scipy.optimize', 'pandas'} & set(sys.modules);"
        "from jax._src import xla_bridge; assert not xla_bridge.backends_are_initialized()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
