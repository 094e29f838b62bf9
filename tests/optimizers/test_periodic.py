"""Lookahead and local SGD: against plain recursions, updates of optax and runs of single workers, and by every verb.

All cells of a kind are alike, heavy ball within Nesterov or Lookahead, so that each verb is compiled once.
"""

import dataclasses

import helpers
import jax
import numpy as np
import optax
import pytest

import nqmjax as nq
from nqmjax.optimizers import linear_system
from nqmjax.target import Status

PROBLEM = nq.from_spectrum([1.0, 0.1, 1e-3], noise=[1.0, 0.1, 0.5], initial=[1.0, 2.0, 0.5])
LOOKAHEAD = nq.Lookahead(nq.HeavyBall(0.2, 0.5), 5, 0.5)
LOCAL = nq.LocalSGD(nq.HeavyBall(0.2, 0.5), nq.Nesterov(0.7, 0.9), 5, 3)
CELLS, UPDATES = 25, 100


def of_all(value):
    """The same for all cells, or one for each."""
    return jax.tree.map(lambda leaf: np.broadcast_to(np.asarray(leaf, float), CELLS), value)


def curves(optimizer, batch_size):
    return nq.risk_curve(PROBLEM, of_all(optimizer), of_all(batch_size), UPDATES)


def risks(optimizer, batch_size, steps):
    return nq.risk(PROBLEM, of_all(optimizer), of_all(batch_size), np.broadcast_to(steps, CELLS))


def passages(optimizer, batch_size, target, **options):
    return nq.steps_to_target(PROBLEM, of_all(optimizer), of_all(batch_size), of_all(target), **options)


@pytest.mark.parametrize("seed", [0, 1])
def test_random_cells_against_brute_force(seed):
    tally = helpers.compare_periodic("Lookahead", seed, cells=CELLS, groups=3, horizon=1000, inner="HeavyBall")
    assert not tally.mismatches
    assert tally.reached > 10


def test_local_sgd_against_the_recursion():
    rng = np.random.default_rng(4)
    problem, optimizer, batch, settings = helpers.periodic_cells(rng, "LocalSGD", 3, CELLS, "HeavyBall", "Nesterov")
    expected = helpers.periodic_curves(problem, batch, settings, UPDATES)
    tame = expected < 1e6 * problem.initial_risk
    np.testing.assert_allclose(nq.risk_curve(problem, optimizer, batch, UPDATES)[tame], expected[tame], rtol=1e-9)


@pytest.mark.parametrize("inner", ["HeavyBall", "Nesterov"])
@pytest.mark.parametrize("outer", [*helpers.OUTER])
def test_the_maps_of_every_pair(inner, outer):
    """The iterate of three periods, by the linear system and by the maps of brute force."""
    values = [np.array([value]) for value in (0.2, 0.5, 0.7, 0.9)]
    matrix, synchronise, kick = (entry[0, 0] for entry in helpers.periodic_maps(np.array([0.7]), (inner, outer, *values)))
    with jax.enable_x64(True):
        pair = helpers.OUTER[inner](0.2, 0.5), helpers.OUTER[outer](0.7, 0.9)
        system = linear_system(nq.LocalSGD(*pair, 3, 4), np.array([0.7]))
        system = jax.tree.map(lambda part: np.asarray(part)[..., 0], system)
    x, y = system.start, np.array([1.0, 0.0, 1.0, 0.0])
    for time in range(1, 10):
        x, y = x + system.increment @ x + system.kick, matrix @ y + 0.5 * kick  # of the mean of four
        if time % 3 == 0:
            x, y = x + system.synchronise @ x, synchronise @ y
        assert system.read @ x == pytest.approx(y[0], rel=1e-12)


def test_updates_of_optax():
    """Its fast weights are scored here; right after each synchronisation they are its slow ones."""
    transformation = optax.lookahead(optax.sgd(0.2, momentum=0.5), 5, 0.5)
    params = optax.LookaheadParams.init_synced(np.array([2.0], np.float32))
    memory, state = transformation.init(params), LOOKAHEAD.initial(2.0)
    for time, xi in enumerate(np.random.default_rng(2).normal(size=20).astype(np.float32), start=1):
        with jax.numpy_dtype_promotion("standard"):
            updates, memory = transformation.update(0.7 * params.fast + xi, memory, params)
        params = optax.apply_updates(params, updates)
        state = [old + more for old, more in zip(state, LOOKAHEAD.change(state, 0.7 * state[0] + float(xi)), strict=True)]
        if time % 5 == 0:
            state = [old + more for old, more in zip(state, LOOKAHEAD.synchronise(state), strict=True)]
        assert state[0] == pytest.approx(float(params.fast[0]), rel=1e-5, abs=1e-6)
        if time % 5 == 0:
            assert state[0] == pytest.approx(float(params.slow[0]), rel=1e-5, abs=1e-6)


def test_sampled_workers():
    rng, seeds, workers, rate = np.random.default_rng(0), 4000, 3, 0.2
    h = PROBLEM.curvature
    slow = rng.normal(size=(seeds, 1, 3)) * np.sqrt(PROBLEM.initial)
    theta, m, v = slow + np.zeros((seeds, workers, 3)), np.zeros((seeds, workers, 3)), np.zeros_like(slow)
    curve = curves(LOCAL, 2)[0]
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


@pytest.mark.parametrize(
    ("same", "batch_size", "rate", "momentum"),
    [
        (nq.LocalSGD(nq.HeavyBall(0.2, 0.5), nq.Nesterov(1.0, 0.0), 7, 3), 4, 0.2, 0.5),
        (nq.LocalSGD(nq.HeavyBall(0.2, 0.0), nq.Nesterov(0.5, 0.0), 1, 1), 12, 0.1, 0.0),
        (nq.Lookahead(nq.HeavyBall(0.2, 0.5), 7, 1.0), 12, 0.2, 0.5),
    ],
    ids=["plain averaging", "outer rate", "pull of 1"],
)
def test_special_cases_are_known(same, batch_size, rate, momentum):
    expected = nq.risk_curve(PROBLEM, nq.HeavyBall(rate, momentum), 12, UPDATES)
    np.testing.assert_allclose(curves(same, batch_size)[0], expected, rtol=1e-12)


def test_the_limit_and_the_spectral_radius():
    limit = nq.stationary_risk(PROBLEM, of_all(LOOKAHEAD), of_all(8))[0]
    assert risks(LOOKAHEAD, 8, 5 * 10**7)[0] == pytest.approx(limit, rel=1e-10)
    rates = np.geomspace(0.1, 5.0, CELLS)
    values = (np.full(CELLS, value) for value in (0.5, 0.5, 0.0))
    matrix, synchronise, _ = helpers.periodic_maps(PROBLEM.curvature, ("HeavyBall", "SGD", rates, *values))
    radii = np.abs(np.linalg.eigvals(synchronise @ np.linalg.matrix_power(matrix, 5))).max(-1) ** 0.2
    found = nq.spectral_radius(of_all(LOOKAHEAD.replace(learning_rate=rates)), PROBLEM.curvature)
    np.testing.assert_allclose(found, radii, rtol=1e-7)
    limits = nq.stationary_risk(PROBLEM, of_all(LOOKAHEAD.replace(learning_rate=rates)), of_all(8))
    np.testing.assert_array_equal(limits == np.inf, radii.max(1) > 1)


def test_statuses():
    limit = nq.stationary_risk(PROBLEM, of_all(LOOKAHEAD), of_all(8))[0]
    found = passages(LOOKAHEAD, 8, limit * np.repeat([1.1, 0.5], [1, CELLS - 1]))
    assert found.status[:2].tolist() == [Status.REACHED, Status.NEVER]
    short = passages(LOOKAHEAD, 8, 1.1 * limit, max_steps=int(found.steps[0]) - 1)
    assert (short.status == Status.OUT_OF_STEPS).all()
    assert (passages(LOOKAHEAD.replace(learning_rate=5.0), 8, 0.01).status == Status.DIVERGED).all()


def test_where_decay_leaves_the_bias():
    h, decayed = PROBLEM.curvature, nq.Lookahead(nq.L2(nq.SGD(0.2), 0.05), 5, 0.5)
    rest = (0.5 * h * PROBLEM.initial * (0.05 / (h + 0.05)) ** 2).sum()
    found = nq.steps_to_target(dataclasses.replace(PROBLEM, noise=np.zeros(3)), decayed, 1, rest * np.array([0.9, 1.1]))
    assert found.status.tolist() == [Status.NEVER, Status.REACHED]


def test_long_runs_are_passed_over_in_periods():
    optimizer = nq.Lookahead(nq.HeavyBall(1e-5, 0.0), np.resize([1, 7, 1000, 10**5], CELLS), 0.5)
    found = passages(optimizer, 1e9, 0.1)
    assert (found.steps > 10**5).all()
    after, before = (risks(optimizer, 1e9, found.steps.astype(int) - shift) for shift in (0, 1))
    assert (after <= 0.1).all()
    assert (before > 0.1).all()


def test_sweeps_and_tunings():
    table = nq.sweep(PROBLEM, LOOKAHEAD.replace(period=[1, 5, 20], learning_rate=[0.1, 0.4]), [16, 256], 0.02, progress=False)
    assert dict(table.steps.sizes) == {"batch_size": 2, "learning_rate": 2, "period": 3}
    for batch_size in (16, 256):
        expected = passages(LOOKAHEAD.replace(period=20, learning_rate=0.4), batch_size, 0.02).steps[0]
        assert table.steps.sel(period=20, learning_rate=0.4, batch_size=batch_size) == expected
    best = nq.tune(PROBLEM, LOOKAHEAD, [16, 256], 0.02, fixed=["momentum"], progress=False)
    assert (best.period == 5).all()
    assert (best.steps <= table.steps.sel(period=5).min("learning_rate")).all()


def test_gradients_equal_finite_differences():
    def value(pull, rate):
        return nq.risk_curve(PROBLEM, nq.Lookahead(nq.SGD(rate), 5.0, pull), 8.0, 33)[-1]

    with jax.enable_x64(True):
        _, found = jax.jvp(value, (0.5, 0.2), (1.0, 1.0))
    high, low = (curves(nq.Lookahead(nq.HeavyBall(0.2 + shift, 0.0), 5.0, 0.5 + shift), 8.0)[0, 33] for shift in (1e-4, -1e-4))
    assert float(found) == pytest.approx((high - low) / 2e-4, rel=1e-6)


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
