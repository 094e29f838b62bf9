"""Noise that follows the loss, against a plain recursion of all moment matrices and against squaring of their joint map."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from helpers import OPTIMIZERS, random_problem

import nqmjax as nq
from nqmjax.optimizers.base import linear_system


def matrices(optimizer, curvature):
    """`A`, `b` and both readers of each direction, in front the directions."""
    with jax.enable_x64(True):
        system = linear_system(optimizer, curvature)
    fields = (system.increment, system.kick, system.read, system.current)
    increment, *vectors = (np.moveaxis(np.asarray(field), -1, 0) for field in fields)
    return increment + np.eye(increment.shape[-1]), *vectors


def noises(problem, batch):
    none = np.zeros(problem.curvature.size)
    return tuple((none if part is None else part) / batch for part in (problem.noise, problem.loss_noise, problem.own_noise))


def plain_curve(problem, pieces):
    """Risks after every update of runs of (optimizer, batch size, updates): one matrix of moments for each direction."""
    weight, risks, moments = 0.5 * problem.count * problem.curvature, [], None
    for optimizer, batch, steps in pieces:
        a, b, read, current = matrices(optimizer, problem.curvature)
        c, m, q = noises(problem, batch)
        if moments is None:
            moments = np.zeros_like(a)
            moments[:, 0, 0] = problem.initial
        mean_square = lambda r, x: np.einsum("ni,nij,nj->n", r, x, r)  # noqa: E731
        risks = risks or [problem.irreducible + weight @ mean_square(read, moments)]
        for _ in range(steps):
            now = mean_square(current, moments)
            noise = c + m * (problem.irreducible + weight @ now) + q * now
            moments = a @ moments @ a.swapaxes(1, 2) + noise[:, None, None] * b[:, :, None] * b[:, None]
            risks.append(problem.irreducible + weight @ mean_square(read, moments))
    return np.array(risks)


def squared_risk(problem, optimizer, batch, steps):
    """The risk after `steps` updates by repeated squaring of the joint map of all moments, less the identity."""
    a, b, read, current = matrices(optimizer, problem.curvature)
    c, m, q = noises(problem, batch)
    n, k = b.shape
    weight, d = 0.5 * problem.count * problem.curvature, k * k
    joint = np.zeros((n * d + 1, n * d + 1))
    gains = (np.einsum("ni,nj->nij", current, current) * weight[:, None, None]).ravel()
    delta = a - np.eye(k)
    for i in range(n):
        rows, kick = slice(i * d, (i + 1) * d), np.outer(b[i], b[i]).ravel()
        own = np.kron(delta[i], np.eye(k)) + np.kron(np.eye(k), delta[i]) + np.kron(delta[i], delta[i])
        joint[rows, rows] = own + q[i] * np.outer(kick, np.outer(current[i], current[i]).ravel())
        joint[rows, :-1] += m[i] * np.outer(kick, gains)
        joint[rows, -1] = kick * (c[i] + m[i] * problem.irreducible)
    state = np.zeros(n * d + 1)
    state[: n * d : d], state[-1] = problem.initial, 1
    while steps:
        if steps & 1:
            state = state + joint @ state
        joint, steps = 2 * joint + joint @ joint, steps >> 1
    reader = (np.einsum("ni,nj->nij", read, read) * weight[:, None, None]).ravel()
    return problem.irreducible + reader @ state[:-1]


def with_noise(rng, problem, edge_of, share):
    """The problem with random loss noise, at a batch size of `share` times the smallest stable one."""
    gain = problem.curvature * 10 ** rng.uniform(-1, 1, problem.curvature.size)
    own = problem.curvature**2 if rng.random() < 0.3 else None
    problem = dataclasses.replace(problem, loss_noise=gain, own_noise=own, irreducible=float(problem.irreducible))
    return problem, max(1.0, float(nq.noise_edge(problem, edge_of)) * share)


METHODS = {
    "SGD": nq.SGD(0.5),
    "HeavyBall": nq.HeavyBall(0.3, 0.8),
    "Nesterov": nq.Nesterov(0.2, 0.7),
    "Averaged HeavyBall": nq.Averaged(nq.HeavyBall(0.3, 0.8), 0.97),
}
PROBLEM = nq.power_law(12, exponent=1.5, noise=0.1, loss_noise=1.5, irreducible=0.05)
PURE = nq.power_law(12, exponent=1.5, noise=0.0, loss_noise=1.5)
LEAST_SQUARES = nq.least_squares(nq.power_law(12, exponent=1.5).curvature, label_noise=0.1)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_curves_and_risks_are_those_of_the_recursion(name):
    rng = np.random.default_rng([5, *map(ord, name)])
    for _ in range(3):
        problem = random_problem(rng, 6)
        optimizer = OPTIMIZERS[name](rng, 10 ** rng.uniform(-2, 0) / problem.curvature[0])
        problem, batch = with_noise(rng, problem, optimizer, rng.choice([0.8, 1.2, 10.0]))
        batch = min(batch, 1e6)
        expected = plain_curve(problem, [(optimizer, batch, 600)])
        np.testing.assert_allclose(nq.risk_curve(problem, optimizer, batch, 600), expected, rtol=1e-9)
        steps = np.array([0, 1, 47, 48, 49, 100, 317, 600])
        np.testing.assert_allclose(nq.risk(problem, optimizer, batch, steps), expected[steps], rtol=1e-9)


@pytest.mark.parametrize("problem", [PROBLEM, PURE, LEAST_SQUARES], ids=["noisy", "pure", "least squares"])
@pytest.mark.parametrize("name", METHODS)
def test_risks_of_very_many_updates(problem, name):
    edge = nq.noise_edge(problem, METHODS[name])
    steps = np.array([1000, 100_000, 10**6, 10**8])
    for share in (0.9999, 1.0001, 1.2, 5.0):
        expected = np.array([squared_risk(problem, METHODS[name], edge * share, int(step)) for step in steps])
        found = nq.risk(problem, METHODS[name], max(edge * share, 1.0), steps)
        if edge * share < 1:
            continue
        usual = np.abs(expected) < 1e250
        np.testing.assert_allclose(found[usual], expected[usual], rtol=1e-9, atol=1e-280)


@pytest.mark.parametrize("name", METHODS)
def test_the_noise_edge_is_where_the_risk_stops_to_settle(name):
    for problem in (PROBLEM, LEAST_SQUARES):
        edge = nq.noise_edge(problem, METHODS[name])
        if edge * 0.999 > 1:
            assert nq.stationary_risk(problem, METHODS[name], edge * 0.999) == np.inf
        settled = nq.stationary_risk(problem, METHODS[name], edge * 1.5 + 1)
        assert settled == pytest.approx(squared_risk(problem, METHODS[name], edge * 1.5 + 1, 2**40), rel=1e-10)


def test_noise_edges_in_closed_form():
    h, w, m, a, beta = PROBLEM.curvature, PROBLEM.count, PROBLEM.loss_noise, 0.7, 0.6
    assert nq.noise_edge(PROBLEM, nq.SGD(a)) == pytest.approx(a / 2 * (w * m / (2 - a * h)).sum(), rel=1e-13)
    expected = a * (1 + beta) / (2 * (1 - beta)) * (w * m / (2 * (1 + beta) - a * h)).sum()
    assert nq.noise_edge(PROBLEM, nq.HeavyBall(a, beta)) == pytest.approx(expected, rel=1e-13)
    assert nq.noise_edge(nq.power_law(5), nq.SGD(0.5)) == 0
    assert nq.noise_edge(PROBLEM, nq.SGD(2.1)) == np.inf
    np.testing.assert_allclose(nq.noise_edge(PROBLEM, nq.SGD([0.1, 0.7]))[1], nq.noise_edge(PROBLEM, nq.SGD(0.7)), rtol=1e-14)


def test_least_squares_in_closed_form():
    h, a, sigma2, batch = LEAST_SQUARES.curvature, 0.5, 0.1, 7.0
    share = (a * h / (2 - (1 + 1 / batch) * a * h)).sum() / batch
    expected = 0.5 * sigma2 * share / (1 - share) + LEAST_SQUARES.irreducible
    assert nq.stationary_risk(LEAST_SQUARES, nq.SGD(a), batch) == pytest.approx(expected, rel=1e-12)


def test_a_rate_of_zero_changes_nothing():
    for optimizer in (nq.SGD(0.0), nq.HeavyBall(0.0, 0.9)):
        for ask in (nq.stationary_risk, functools.partial(nq.risk, steps=10**5)):
            assert ask(PROBLEM, optimizer, 4.0) == pytest.approx(PROBLEM.initial_risk, rel=1e-12)


def test_plans():
    plan = nq.Plan([0.5, 0.2, 0.02], steps=[30, 200, 400], batch_size=[4.0, 8.0, 8.0])
    for template in METHODS.values():
        pieces = [(template.replace(learning_rate=r), b, int(t)) for r, b, t in zip(plan.learning_rate, plan.batch_size, plan.steps)]
        expected = plain_curve(PROBLEM, pieces)[[0, 30, 230, 630]]
        np.testing.assert_allclose(nq.run(PROBLEM, template, plan), expected, rtol=1e-9)


@pytest.mark.parametrize("steps", [30, 3000])
@pytest.mark.parametrize("name", ["SGD", "HeavyBall"])
def test_gradients(name, steps):
    names = list(nq.optimizers.hyperparameters(METHODS[name]))

    def logarithm(values, batch, gain):
        problem = dataclasses.replace(PROBLEM, loss_noise=gain * PROBLEM.curvature)
        return np.log(nq.risk(problem, METHODS[name].replace(**dict(zip(names, values, strict=True))), batch, steps))

    def traced(values, batch, gain):
        problem = dataclasses.replace(PROBLEM, loss_noise=gain * PROBLEM.curvature)
        optimizer = METHODS[name].replace(**dict(zip(names, values, strict=True)))
        return jax.numpy.log(nq.risk(problem, optimizer, batch, steps))

    at = (np.array([float(v) for v in nq.optimizers.hyperparameters(METHODS[name]).values()]), 6.0, 1.5)
    with jax.enable_x64(True):
        found = np.concatenate([np.ravel(part) for part in jax.grad(traced, argnums=(0, 1, 2))(*at)])
    flat = np.concatenate([np.ravel(part) for part in at])
    for i, value in enumerate(flat):
        def moved(delta):
            point = flat.copy()
            point[i] += delta
            return logarithm(point[: len(names)], point[-2], point[-1])

        step = 1e-3 * value
        slope = (8 * (moved(step) - moved(-step)) - (moved(2 * step) - moved(-2 * step))) / (12 * step)
        assert found[i] == pytest.approx(slope, rel=1e-6, abs=1e-9)
