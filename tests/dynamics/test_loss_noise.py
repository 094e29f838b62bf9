"""Noise that follows the loss, against a plain recursion of all moment matrices and against squaring of their joint map."""

import dataclasses

import jax
import numpy as np
import pytest

import nqmjax as nq
from nqmjax.optimizers.base import linear_system


def matrices(optimizer, curvature):
    """`A`, `b` and both readers of each direction, in front the directions."""
    with jax.enable_x64(True):
        system = linear_system(optimizer, curvature)
    fields = (system.increment, system.kick, system.read, system.parameter)
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
    reader = (np.einsum("ni,nj->nij", read, read) * weight[:, None, None]).ravel()
    with np.errstate(all="ignore"):  # growing runs overflow
        while steps:
            state = state + joint @ state if steps & 1 else state
            joint, steps = 2 * joint + joint @ joint, steps >> 1
        return problem.irreducible + reader @ state[:-1]


def problem_of(rng, groups=8):
    """A random problem with loss noise; own noise and what stays of noise and loss may be nothing."""
    curvature = np.sort(10 ** rng.uniform(-3, 0, groups))[::-1]
    gain, noise = (curvature * 10 ** rng.uniform(-1, 1, groups) for _ in range(2))
    own = curvature**2 * (rng.random() < 0.5)
    start, count = 10 ** rng.uniform(-1, 1, groups), rng.integers(1, 9, groups).astype(float)
    stays = rng.random() < 0.6
    return nq.NoisyQuadratic(curvature, noise * stays, start, count, 0.1 * stays, gain, own)


METHODS = {
    "SGD": nq.SGD(0.5),
    "HeavyBall": nq.HeavyBall(0.3, 0.8),
    "Averaged HeavyBall": nq.Averaged(nq.HeavyBall(0.3, 0.8), 0.97),
}
PROBLEM = problem_of(np.random.default_rng(0))
STEPS = np.array([0, 1, 47, 48, 49, 100, 317, 600])
LATE = np.array([600, 1000, 10**4, 10**5, 10**6, 10**7, 10**8, 2**31])


@pytest.mark.parametrize("name", METHODS)
def test_curves_and_risks_are_those_of_the_recursion(name):
    rng = np.random.default_rng([5, *map(ord, name)])
    for share in (0.8, 1.2, 10.0):
        problem = problem_of(rng)
        optimizer = METHODS[name].replace(learning_rate=10 ** rng.uniform(-1.5, 0))
        batch = np.clip(nq.noise_edge(problem, optimizer) * share, 1.0, 1e6)
        expected = plain_curve(problem, [(optimizer, batch, 600)])
        np.testing.assert_allclose(nq.risk_curve(problem, optimizer, batch, 600), expected, rtol=1e-9)
        np.testing.assert_allclose(nq.risk(problem, optimizer, batch, STEPS), expected[STEPS], rtol=1e-9)


@pytest.mark.parametrize("name", METHODS)
def test_risks_of_very_many_updates(name):
    for seed, share in enumerate((0.9999, 1.0001, 1.2, 5.0)):
        problem = problem_of(np.random.default_rng([6, seed]))
        batch = max(float(nq.noise_edge(problem, METHODS[name])) * share, 1.0)
        expected = np.array([squared_risk(problem, METHODS[name], batch, int(step)) for step in LATE])
        usual = (np.abs(expected) < 1e6) & (expected > 1e-250)  # a growth to the power of 10^8 has fewer digits
        found = nq.risk(problem, METHODS[name], batch, LATE)
        np.testing.assert_allclose(found[usual], expected[usual], rtol=1e-9)
        assert usual.sum() > 3
        assert not np.isnan(found).any()
        settled = nq.stationary_risk(problem, METHODS[name], batch)
        assert settled == np.inf if share < 1 else settled == pytest.approx(max(expected[-1], 0), rel=1e-9, abs=1e-280)


def test_starts_far_above_what_is_left():
    zero, steps = np.zeros(2), np.array([47, 48, 60, 95, 96, 130])
    problem = nq.NoisyQuadratic(np.array([1.0, 0.02]), zero, np.array([1e8, 0.01]), zero + 1, 0.0, np.array([1.0, 0.02]), zero)
    curve = nq.risk_curve(problem, nq.SGD(0.6), 1e6, 130)
    np.testing.assert_allclose(nq.risk(problem, nq.SGD(0.6), 1e6, steps), curve[steps], rtol=1e-12)


def test_the_edge_of_a_direction_whose_noise_follows_only_itself():
    zero = np.zeros(2)
    problem = nq.NoisyQuadratic(np.array([1.0, 0.1]), zero, zero + 1, zero + 1, 0.0, np.array([0.0, 0.1]), np.array([4.0, 0.0]))
    assert nq.noise_edge(problem, nq.SGD(0.5)) == pytest.approx(4 / 3, rel=1e-12)


def test_noise_edges_in_closed_form():
    problem = nq.power_law(8, exponent=1.5, loss_noise=1.5)
    h, w, m, a, beta = problem.curvature, problem.count, problem.loss_noise, 0.7, 0.6
    assert nq.noise_edge(problem, nq.SGD(a)) == pytest.approx(a / 2 * (w * m / (2 - a * h)).sum(), rel=1e-13)
    expected = a * (1 + beta) / (2 * (1 - beta)) * (w * m / (2 * (1 + beta) - a * h)).sum()
    assert nq.noise_edge(problem, nq.HeavyBall(a, beta)) == pytest.approx(expected, rel=1e-13)
    assert nq.noise_edge(problem, nq.SGD(2.1)) == np.inf
    assert nq.noise_edge(nq.power_law(8, loss_noise=[0.0] * 8), nq.SGD(0.5)) == 0


def test_least_squares_in_closed_form():
    problem = nq.least_squares(nq.power_law(8, exponent=1.5).curvature, label_noise=0.1)
    h, a, batch = problem.curvature, 0.5, 7.0
    share = (a * h / (2 - (1 + 1 / batch) * a * h)).sum() / batch
    expected = 0.5 * 0.1 * share / (1 - share) + problem.irreducible
    assert nq.stationary_risk(problem, nq.SGD(a), batch) == pytest.approx(expected, rel=1e-12)


def test_a_rate_of_zero_changes_nothing():
    np.testing.assert_allclose(nq.risk(PROBLEM, nq.SGD(0.0), 4.0, LATE), PROBLEM.initial_risk, rtol=1e-9)
    assert nq.stationary_risk(PROBLEM, nq.SGD(0.0), 4.0) == pytest.approx(PROBLEM.initial_risk, rel=1e-12)


def test_plans():
    plan = nq.Plan([0.5, 0.2, 0.02], steps=[30, 200, 400], batch_size=[4.0, 8.0, 8.0])
    rows = zip(plan.learning_rate, plan.batch_size, plan.steps, strict=True)
    pieces = [(METHODS["HeavyBall"].replace(learning_rate=rate), batch, int(steps)) for rate, batch, steps in rows]
    expected = plain_curve(PROBLEM, pieces)[[0, 30, 230, 630]]
    np.testing.assert_allclose(nq.run(PROBLEM, METHODS["HeavyBall"], plan), expected, rtol=1e-9)


def test_gradients():
    at, steps = np.array([0.3, 60.0, 1.5]), np.array([30, 3000] * 4)

    def logarithm(values):
        gain = values[2] * PROBLEM.curvature
        problem = dataclasses.replace(PROBLEM, loss_noise=gain, own_noise=0 * gain)
        risks = nq.risk(problem, nq.SGD(values[0]), values[1], steps)
        return jax.numpy.log(risks[0]) + jax.numpy.log(risks[1])

    with jax.enable_x64(True):
        found = jax.grad(logarithm)(at)
        for i, step in enumerate(1e-3 * at):
            moved = [float(logarithm(at + times * step * np.eye(3)[i])) for times in (-2, -1, 1, 2)]
            slope = np.dot([1, -8, 8, -1], moved) / (12 * step)
            assert found[i] == pytest.approx(slope, rel=1e-6, abs=1e-8)


def test_single_precision_is_refused():
    for ask in (nq.risk, nq.steps_to_target):
        with pytest.raises(ValueError, match="dtype is float32: with noise that follows the loss"):
            ask(PROBLEM, nq.SGD(0.1), 4.0, 3, dtype="float32")
