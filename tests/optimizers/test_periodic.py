"""Lookahead and local SGD: against plain recursions, sampled runs of optax and of single workers, and by every verb."""

import helpers
import jax
import numpy as np
import optax
import pytest

import nqmjax as nq
from nqmjax._tools import precision
from nqmjax.dynamics import build_model
from nqmjax.nonlinear import monte_carlo
from nqmjax.target import Status
from nqmjax.target.periodic import periodic_passage, periodic_passage_by_steps

PROBLEM = nq.from_spectrum([1.0, 0.1, 1e-3], noise=[1.0, 0.1, 0.5], initial=[1.0, 2.0, 0.5])
LOOKAHEAD = nq.Lookahead(nq.HeavyBall(0.2, 0.5), 5, 0.5)
LOCAL = nq.LocalSGD(nq.HeavyBall(0.2, 0.5), nq.Nesterov(0.7, 0.9), 5, 3)


@pytest.mark.parametrize("kind", ["Lookahead", "LocalSGD"])
def test_random_cells_against_brute_force(kind):
    tally = helpers.compare_periodic(kind, seed=1000, cells=25, groups=8, horizon=1000)
    assert not tally.mismatches
    assert tally.reached > 10


def test_optax_lookahead():
    """Its slow weights are the fast ones right after each synchronisation."""
    transformation = optax.lookahead(optax.sgd(0.2, momentum=0.5), 5, 0.5)
    runs = monte_carlo(PROBLEM, transformation, 2, num_steps=100, num_seeds=4000, key=2)
    errors = ((runs.risk - nq.risk_curve(PROBLEM, LOOKAHEAD, 2, 100)) / runs.standard_error).values
    assert np.abs(errors[::5]).max() < 4
    assert np.abs(errors).max() > 10  # in between it scores the weights of the last synchronisation


def test_sampled_workers():
    rng, seeds, workers, rate = np.random.default_rng(0), 4000, 3, 0.2
    h = PROBLEM.curvature
    slow = rng.normal(size=(seeds, 1, 3)) * np.sqrt(PROBLEM.initial)
    theta, m, v = slow + np.zeros((seeds, workers, 3)), np.zeros((seeds, workers, 3)), np.zeros_like(slow)
    curve = nq.risk_curve(PROBLEM, LOCAL, 2, 60)
    for time in range(1, 61):
        m = 0.5 * m + h * theta + rng.normal(size=m.shape) * np.sqrt(PROBLEM.noise / 2)
        theta = theta - rate * m
        if time % 5 == 0:
            gradient = slow - theta.mean(1, keepdims=True)
            v = 0.9 * v + gradient
            slow = slow - 0.7 * (gradient + 0.9 * v)
            theta = slow + np.zeros_like(theta)
        losses = 0.5 * theta.mean(1) ** 2 @ h
        assert abs(losses.mean() - curve[time]) < 4 * losses.std() / np.sqrt(seeds)


def test_special_cases_are_known():
    for same, batch_size, plain in (
        (nq.LocalSGD(nq.HeavyBall(0.2, 0.5), nq.SGD(1.0), 7, 3), 4, nq.HeavyBall(0.2, 0.5)),
        (nq.LocalSGD(nq.HeavyBall(0.2, 0.0), nq.SGD(0.5), 1, 1), 12, nq.HeavyBall(0.1, 0.0)),
        (nq.Lookahead(nq.HeavyBall(0.2, 0.5), 7, 1.0), 12, nq.HeavyBall(0.2, 0.5)),
    ):
        expected = nq.risk_curve(PROBLEM, plain, 12, 40)
        np.testing.assert_allclose(nq.risk_curve(PROBLEM, same, batch_size, 40), expected, rtol=1e-12)


def test_the_limit_and_the_spectral_radius():
    optimizer = LOCAL
    limit = nq.stationary_risk(PROBLEM, optimizer, 8)
    assert nq.risk(PROBLEM, optimizer, 8, 5 * 10**7) == pytest.approx(limit, rel=1e-10)
    rates, curvature = np.array([0.2, 2.0, 3.5]), np.array([1.0, 1e-3])
    values = (np.full(3, value) for value in (0.5, 0.7, 0.9))
    matrix, synchronise, _ = helpers.periodic_maps(curvature, ("HeavyBall", "Nesterov", rates, *values))
    radii = np.abs(np.linalg.eigvals(synchronise @ np.linalg.matrix_power(matrix, 5))).max(-1) ** 0.2
    np.testing.assert_allclose(nq.spectral_radius(optimizer.replace(learning_rate=rates), curvature), radii, rtol=1e-7)
    edge = nq.stability_edge(optimizer, 1.0)
    assert nq.stationary_risk(PROBLEM, optimizer.replace(learning_rate=edge * 1.01), 8) == np.inf
    assert nq.stationary_risk(PROBLEM, optimizer.replace(learning_rate=edge * 0.99), 8) < np.inf


def test_statuses():
    limit = nq.stationary_risk(PROBLEM, LOOKAHEAD, 8)
    found = nq.steps_to_target(PROBLEM, LOOKAHEAD, 8, [1.1 * limit, 0.5 * limit])
    assert found.status.tolist() == [Status.REACHED, Status.NEVER]
    short = nq.steps_to_target(PROBLEM, LOOKAHEAD, 8, 1.1 * limit, max_steps=found.steps[0] - 1)
    assert short.status == Status.OUT_OF_STEPS
    assert nq.steps_to_target(PROBLEM, LOOKAHEAD.replace(learning_rate=5.0), 8, 0.01).status == Status.DIVERGED
    decayed = nq.Lookahead(nq.L2(nq.SGD(0.2), 0.05), 5, 0.5)
    limit = nq.stationary_risk(PROBLEM, decayed, 1e12)
    found = nq.steps_to_target(PROBLEM, decayed, 1e12, limit * np.array([0.9, 1.1]))
    assert found.status.tolist() == [Status.NEVER, Status.REACHED]


def test_hops_miss_nothing():
    rng = np.random.default_rng(3)
    batches, limits = np.array([1e9, 100.0, 1.0]), np.full(3, 3000)

    def both(batches, limits, optimizer, target):
        model = build_model(PROBLEM, optimizer, 1.0)
        return [walk(model, batches, target, limits).steps for walk in (periodic_passage, periodic_passage_by_steps)]

    with precision():
        both = jax.jit(both)
        for _ in range(40):
            inner = nq.HeavyBall(10 ** rng.uniform(-3, 0.4), 1 - 10 ** rng.uniform(-2, 0))
            optimizer = nq.Lookahead(inner, float(rng.integers(1, 60)), rng.uniform(0.1, 1))
            walk, steps = both(batches, limits, optimizer, 10 ** rng.uniform(-3, 0.1))
            np.testing.assert_array_equal(walk, steps)


def test_long_runs_are_passed_over_in_periods():
    optimizer = nq.Lookahead(nq.SGD(1e-5), [1, 7, 1000, 10**5], 0.5)
    found = nq.steps_to_target(PROBLEM, optimizer, 1e9, 0.1)
    assert (found.steps > 10**5).all()
    after, before = (nq.risk(PROBLEM, optimizer, 1e9, found.steps.astype(int) - shift) for shift in (0, 1))
    assert (after <= 0.1).all()
    assert (before > 0.1).all()


def test_sweeps_tunings_and_gradients():
    table = nq.sweep(PROBLEM, LOOKAHEAD.replace(period=[1, 5, 20], learning_rate=[0.1, 0.4]), [16, 256], 0.02, progress=False)
    assert dict(table.steps.sizes) == {"batch_size": 2, "learning_rate": 2, "period": 3}
    best = nq.tune(PROBLEM, LOOKAHEAD, [256], 0.02, progress=False)
    assert (best.period == 5).all()
    assert (best.steps <= table.steps.sel(period=5, batch_size=[256]).min("learning_rate")).all()

    def value(pull, rate):
        return nq.risk(PROBLEM, nq.Lookahead(nq.HeavyBall(rate, 0.5), 5.0, pull), 8.0, 33)

    with jax.enable_x64(True):
        found = jax.grad(value, argnums=(0, 1))(0.5, 0.2)
    for slope, (high, low) in zip(found, [((0.5001, 0.2), (0.4999, 0.2)), ((0.5, 0.2001), (0.5, 0.1999))], strict=True):
        assert float(slope) == pytest.approx((value(*high) - value(*low)) / 2e-4, rel=1e-5)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: nq.risk(PROBLEM, LOOKAHEAD.replace(period=0), 1, 1), "period is 0.0: give whole numbers of at least 1"),
        (lambda: nq.risk(PROBLEM, LOOKAHEAD.replace(period=[5, 2.5]), 1, 1), r"period\[1\] is 2.5"),
        (lambda: nq.risk(PROBLEM, LOOKAHEAD.replace(pull=0.0), 1, 1), "pull is 0.0: give a value above 0, at most 1"),
        (lambda: nq.risk(PROBLEM, LOOKAHEAD.replace(pull=1.5), 1, 1), "pull is 1.5"),
        (lambda: nq.risk(PROBLEM, LOCAL.replace(workers=0), 1, 1), "workers is 0.0: give whole numbers"),
        (lambda: nq.risk(PROBLEM, LOCAL.replace(learning_rate=-1.0), 1, 1), "learning_rate is -1.0"),
        (lambda: nq.risk(PROBLEM, LOCAL.replace(outer_momentum=1.0), 1, 1), "momentum is 1.0"),
        (lambda: nq.risk(PROBLEM, nq.Lookahead(0.1, 5, 0.5), 1, 1), "inner is 0.1: give a linear optimizer"),
        (lambda: nq.risk(PROBLEM, nq.Lookahead(LOOKAHEAD, 5, 0.5), 1, 1), "inner is Lookahead"),
        (lambda: nq.risk(PROBLEM, nq.LocalSGD(nq.SGD(0.1), nq.L2(nq.SGD(1.0), 0.1), 5, 2), 1, 1), "outer is L2"),
        (lambda: nq.risk(PROBLEM, nq.Averaged(LOOKAHEAD, 0.9), 1, 1), "it cannot be wrapped: wrap its inner optimizer"),
        (lambda: nq.run(PROBLEM, LOOKAHEAD, nq.Plan(0.1, 10, 1)), "this question is for linear optimizers"),
        (lambda: nq.optimize_schedule(PROBLEM, LOOKAHEAD, 1, 10, 2), "this question is for linear optimizers"),
        (
            lambda: nq.steps_to_target(PROBLEM, LOOKAHEAD, 1, 0.1, rule="stays"),
            "for linear optimizers, .*; periodic ones have",
        ),
        (
            lambda: nq.sweep(PROBLEM, LOOKAHEAD, 1, 0.1, rule="stays"),
            "for linear optimizers, .*; periodic ones have",
        ),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
