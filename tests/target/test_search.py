"""Exact steps to target: against brute force, and at the corners where a search could go wrong."""

import functools
import time

import jax
import numpy as np
import pytest
from helpers import OPTIMIZERS, compare, compare_adversarial

import nqmjax as nq
from nqmjax._tools import precision
from nqmjax.dynamics import build_model
from nqmjax.target.first import first_passage, first_passage_by_steps
from nqmjax.target.table import MAX_STEPS, Status, StepsToTarget

PAPER = nq.power_law(10_000).quantize(100)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_agrees_with_brute_force_on_random_cells(name):
    tally = compare(name, seed=0, cells=25, horizon=2000)
    assert tally.mismatches == ()
    assert tally.reached > 0


def test_oscillating_runs_are_among_the_random_cells():
    tally = compare("HeavyBall", seed=1, cells=25, horizon=2000) + compare("HeavyBall", seed=2, cells=25, horizon=2000)
    assert tally.mismatches == ()
    assert tally.oscillating > 10


@pytest.mark.parametrize("rule", ["first", "stays"])
def test_statuses(rule):
    def status(optimizer, batch_size=64, target=0.01, **options):
        return Status(nq.steps_to_target(PAPER, optimizer, batch_size, target, rule=rule, **options).status)

    assert status(nq.SGD(0.01)) == Status.REACHED
    assert status(nq.SGD(1.5)) == Status.NEVER  # settles above the target
    assert status(nq.SGD(2.1)) == Status.DIVERGED
    assert status(nq.HeavyBall(3.9, 0.9)) == Status.DIVERGED
    assert status(nq.SGD(0.01), max_steps=100) == Status.OUT_OF_STEPS
    assert status(nq.SGD(1e-12)) == Status.OUT_OF_STEPS
    assert status(nq.SGD(0.0)) == Status.NEVER
    assert status(nq.Averaged(nq.HeavyBall(0.0, 0.9), 0.9)) == Status.NEVER
    assert status(nq.SGD(0.01), target=0.0) == Status.NEVER
    assert status(nq.SGD(0.01), target=-1.0) == Status.NEVER
    assert status(nq.SGD(1e200)) == Status.DIVERGED
    quiet = nq.power_law(100, noise=0.0)
    assert nq.steps_to_target(quiet, nq.SGD(2.5), 1, 0.01, rule=rule).status == Status.DIVERGED
    assert nq.steps_to_target(quiet, nq.HeavyBall(3.9, 0.99), 1, 1e-8, rule=rule).status == Status.REACHED


def test_target_at_or_above_the_start_takes_no_steps():
    result = nq.steps_to_target(PAPER, nq.SGD(0.1), 64, [4.9, float(PAPER.initial_risk)])
    np.testing.assert_array_equal(result.steps, [0, 0])
    np.testing.assert_array_equal(result.crossing, [0, 0])


def test_status_counts_the_irreducible_loss():
    raised = nq.power_law(100, irreducible=3.0)
    plain = nq.power_law(100)
    optimizer = nq.HeavyBall(0.1, 0.9)
    assert nq.steps_to_target(raised, optimizer, 64, 3.05).steps == nq.steps_to_target(plain, optimizer, 64, 0.05).steps
    assert nq.steps_to_target(raised, optimizer, 64, 3.0).status == Status.NEVER


class Delayed(nq.LinearOptimizer):
    """SGD on the gradient of the update before."""

    learning_rate: float

    def initial(self, theta):
        return theta, 0.0

    def change(self, state, gradient):
        return -self.learning_rate * state[1], gradient - state[1]


@pytest.mark.parametrize(
    ("problem", "optimizer", "batch_size", "target", "horizon"),
    [
        (nq.from_spectrum([1.0], initial=1e80, noise=0.0), nq.SGD(0.5), 1, 1.0, 300),
        (nq.from_spectrum([1.0, 1e-3], initial=[0.0, 1.0], noise=0.0), nq.SGD(3.0), 1, 1e-7, 3000),
        (nq.power_law(1), Delayed(0.1), 1e6, 0.4, 100),
        (nq.from_spectrum([1.0, 0.1, 0.03], noise=0.1), nq.HeavyBall(0.1, 0.5), 1, 0.1, 3000),
        (nq.from_spectrum([1.0], noise=0.0), nq.SGD(1.0), 1, 0.1, 10),
    ],
)
def test_corners_agree_with_brute_force(problem, optimizer, batch_size, target, horizon):
    below = nq.risk_curve(problem, optimizer, batch_size, horizon) <= target
    result = nq.steps_to_target(problem, optimizer, batch_size, target)
    assert result.steps == (below.argmax() if below.any() else np.inf)
    assert not np.isnan(result.crossing)


def test_nothing_is_claimed_beyond_what_was_searched():
    assert nq.steps_to_target(nq.power_law(1), Delayed(0.1), 1e6, 0.4, max_steps=1).status == Status.OUT_OF_STEPS
    large = nq.from_spectrum([1.0], initial=1e10, noise=0.0)
    assert nq.steps_to_target(large, nq.SGD(0.5), 1, 1.0, dtype="float32").status == Status.REACHED


@pytest.mark.parametrize("problem", [nq.power_law(10_000), nq.power_law(100), nq.power_law(3, irreducible=0.3)])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_initial_risk_takes_no_steps(problem, dtype):
    for target in (problem.initial_risk, nq.risk(problem, nq.SGD(0.1), 1, 0)):
        assert nq.steps_to_target(problem, nq.SGD(0.1), 1, target, dtype=dtype).steps == 0


def test_last_update_searched_is_max_steps():
    steps = int(nq.steps_to_target(PAPER, nq.SGD(0.01), 64, 0.01).steps)
    assert nq.steps_to_target(PAPER, nq.SGD(0.01), 64, 0.01, max_steps=steps).steps == steps
    assert nq.steps_to_target(PAPER, nq.SGD(0.01), 64, 0.01, max_steps=steps - 1).status == Status.OUT_OF_STEPS


@pytest.mark.parametrize("optimizer", [nq.SGD(4e-6), nq.HeavyBall(4e-8, 0.99), nq.Averaged(nq.SGD(4e-6), 0.999)])
def test_a_billion_steps_are_counted_exactly(optimizer):
    result = nq.steps_to_target(PAPER, optimizer, 2**10, 0.3)
    steps = int(result.steps)
    assert 10**8 < steps < MAX_STEPS
    assert nq.risk(PAPER, optimizer, 2**10, steps) <= 0.3 < nq.risk(PAPER, optimizer, 2**10, steps - 1)
    assert steps - 1 <= result.crossing <= steps


def test_steps_are_the_crossing_rounded_up():
    rates = np.geomspace(1e-4, 1, 50)
    result = nq.steps_to_target(PAPER, nq.HeavyBall(rates, 0.9), 2**14, 0.01)
    reached = np.isfinite(result.steps)
    assert reached.sum() > 10
    assert np.all(result.crossing[reached] <= result.steps[reached])
    assert np.all(result.crossing[reached] > result.steps[reached] - 1 - 1e-9)


def test_a_larger_batch_is_never_slower():
    grid = nq.sweep(PAPER, nq.HeavyBall(np.geomspace(1e-4, 3, 20), [0.0, 0.9, 0.99]), 2.0 ** np.arange(0, 22), 0.01)
    assert np.all(grid.steps.values[1:] <= grid.steps.values[:-1])


def test_transformations_give_the_same_answers():
    rates, batches = np.array([0.003, 0.03, 0.3]), np.array([64.0, 2.0**12, 2.0**20])
    expected = nq.steps_to_target(PAPER, nq.HeavyBall(rates, 0.9), batches, 0.01)

    def one(rate, batch_size):
        return nq.steps_to_target(PAPER, nq.HeavyBall(rate, 0.9), batch_size, 0.01)

    with jax.enable_x64(True):
        for found in (jax.vmap(one)(rates, batches), jax.jit(jax.vmap(one))(rates, batches)):
            np.testing.assert_array_equal([found.steps, found.status], [expected.steps, expected.status])
            # Within a larger program sums are trees, alone they are loops.
            jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-14), found, expected)
        np.testing.assert_array_equal(jax.jit(one)(rates[0], batches[0]).steps, expected.steps[0])
        assert jax.grad(lambda rate: one(rate, 64.0).crossing)(0.03) == 0.0


def test_float32_agrees_to_a_thousandth():
    rates, batches = np.geomspace(1e-7, 1, 15), 2.0 ** np.array([[4], [12], [20]])
    for power in (0.0, 0.5, 0.75):
        optimizer = nq.Preconditioned(nq.SGD(rates), power)
        double = nq.steps_to_target(PAPER, optimizer, batches, 0.01)
        single = nq.steps_to_target(PAPER, optimizer, batches, 0.01, dtype="float32")
        both = np.isfinite(double.steps) & np.isfinite(single.steps)
        assert both.sum() >= 20
        np.testing.assert_allclose(single.steps[both], double.steps[both], rtol=1e-3, atol=1)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"batch_size": 0.5}, "batch_size is 0.5"),
        ({"batch_size": [64, np.nan]}, r"batch_size\[1\] is nan"),
        ({"target": np.inf}, "target is inf"),
        ({"max_steps": 2**31}, "max_steps is 2147483648"),
        ({"max_steps": 1.5}, "max_steps is 1.5"),
        ({"rule": "frist"}, "did you mean 'first'"),
        ({"dtype": "float16"}, "dtype is 'float16'"),
        ({"dtype": "foo"}, "dtype is 'foo'"),
        ({"batch_size": "64"}, "batch_size is '64'"),
        ({"batch_size": [1, 2, 3], "target": [0.1, 0.2]}, r"batch_size \(3,\), target \(2,\)"),
        ({"optimizer": nq.HeavyBall(0.1, 1.0)}, "momentum is 1.0"),
        ({"optimizer": nq.Averaged(nq.SGD(0.1), -0.1)}, "decay is -0.1"),
        ({"optimizer": nq.Preconditioned(nq.SGD(0.1), 1.5)}, "power is 1.5"),
        ({"optimizer": nq.SGD(-0.1)}, "learning_rate is -0.1"),
        ({"optimizer": nq.SGD("fast")}, "learning_rate is 'fast'"),
        ({"optimizer": "sgd"}, "optimizer is sgd: give one"),
        ({"problem": nq.NoisyQuadratic(*np.ones((4, 2)) * [[-1], [1], [1], [1]])}, r"curvature\[0\] is -1"),
    ],
)
def test_bad_arguments_are_named(changed, words):
    arguments = {"problem": PAPER, "optimizer": nq.SGD(0.1), "batch_size": 64, "target": 0.01} | changed
    with pytest.raises(ValueError, match=words):
        nq.steps_to_target(**arguments)


def test_early_dips_of_unstable_runs_are_found():
    problem = nq.from_spectrum([1.0, 0.1, 0.03], noise=0.0, initial=[1e-6, 1.0, 1.0])
    optimizer = nq.SGD(np.linspace(2.05, 3, 20))
    curves = nq.risk_curve(problem, optimizer, 1, 500)
    targets = 1.1 * curves.min(1)
    found = nq.steps_to_target(problem, optimizer, 1, targets)
    np.testing.assert_array_equal(found.steps, (curves <= targets[:, None]).argmax(1))
    averaged = nq.Averaged(nq.SGD(3.223639954016403), 0.9)
    assert nq.steps_to_target(nq.from_spectrum([1.0], noise=0.0), averaged, 1, 0.007248).steps == 3


def test_a_target_at_the_irreducible_loss_is_never_reached():
    for dtype, initial in (("float32", 1e-6), ("float64", 1e-16)):
        problem = nq.from_spectrum([1.0], initial=initial, irreducible=1.0)
        assert nq.steps_to_target(problem, nq.SGD(0.1), 1, 1.0, dtype=dtype).status == Status.NEVER


@pytest.mark.parametrize("name", ["SGD", "HeavyBall", "Averaged Preconditioned HeavyBall"])
def test_agrees_with_brute_force_on_adversarial_cells(name):
    tally = compare_adversarial(name, seed=0, problems=4, horizon=500)
    assert tally.mismatches == ()
    assert 20 < tally.reached < tally.cells


def test_early_dips_closely_above_the_edge_are_found():
    problem = nq.from_spectrum([3.214444885270382, 0.02261309108252721], noise=0.0, initial=[1.0, 485.7692474236333])
    result = nq.steps_to_target(problem, nq.SGD(0.6221920335808683), 1, 1.6103224738099549)
    assert result.steps == 298
    assert result.status == Status.REACHED


def test_early_dips_of_exploding_averages_are_found():
    curvature = [1.30839026, 0.108414, 0.0964111, 0.09284013, 0.06234806, 0.04760439]
    initial = [6.492266, 122.33234057, 0.93180908, 0.0, 0.0, 682.92041851]
    inner = nq.Preconditioned(nq.HeavyBall(3.02878054860223, 0.7793446659745903), 0.39973534719948023)
    optimizer = nq.Averaged(inner, 0.7613471310389184)
    problem = nq.from_spectrum(curvature, noise=0.0, initial=initial)
    assert nq.steps_to_target(problem, optimizer, 1, 1.949025408485843).steps == 5


@pytest.mark.parametrize("rule", ["first", "stays"])
@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_runs_at_the_very_edge_end_soon(rule, noise):
    problem = nq.from_spectrum([1.0, 0.5, 0.3, 0.1, 0.03, 0.01], noise=noise)
    start = time.process_time()
    result = nq.steps_to_target(problem, nq.HeavyBall(2 * 1.9, 0.9), 1e12, 0.1, rule=rule)
    assert time.process_time() - start < 20  # compilation included; without a bound it takes minutes
    assert result.status in (Status.OUT_OF_STEPS, Status.DIVERGED, Status.NEVER)


def test_stable_runs_close_to_the_edge_have_not_diverged():
    gap, margin = (grid.ravel() for grid in np.meshgrid(10.0 ** -np.arange(3, 13), 10.0 ** -np.arange(9, 13)))
    optimizer = nq.HeavyBall(2 * (2 - gap) * (1 - margin), 1 - gap)
    result = nq.steps_to_target(nq.from_spectrum([1.0]), optimizer, 1000, 1e-9)
    assert Status.DIVERGED not in result.status


def test_no_answer_is_told_whose_digits_are_lost():
    gap, margin = (grid.ravel() for grid in np.meshgrid(10.0 ** -np.arange(3, 10), 10.0 ** -np.arange(2, 13)))
    optimizer, problem = nq.HeavyBall(2 * (2 - gap) * (1 - margin), 1 - gap), nq.from_spectrum([1.0])
    target = np.maximum(1e-2, 2 * nq.stationary_risk(problem, optimizer, 1e12))
    found = nq.steps_to_target(problem, optimizer, 1e12, target, rule="stays")
    told = np.isfinite(found.steps)
    assert 10 < told.sum() < len(gap)
    assert np.all(found.status[~told] == Status.OUT_OF_STEPS)
    cells = problem, nq.HeavyBall(optimizer.learning_rate[told], optimizer.momentum[told]), 1e12
    after, before = (nq.risk(*cells, found.steps[told].astype(np.int64) - late) for late in (0, 1))
    assert np.all(after <= target[told] * (1 + 1e-3))
    assert np.all(before >= target[told] * (1 - 1e-3))


def test_the_walk_agrees_with_one_update_at_a_time():
    rng = np.random.default_rng(5)
    problem = nq.from_spectrum([1.0, 0.3, 0.1], initial=[1.0, 5.0, 20.0], noise=[1e-3, 1e-2, 1.0])
    batches, limits = np.array([1e9, 100.0, 1.0]), np.full(3, 3000)

    def both(batches, limits, rate, momentum, target):
        model = build_model(problem, nq.HeavyBall(rate, momentum), 1.0)
        return [walk(model, batches, target, limits) for walk in (first_passage, first_passage_by_steps)]

    with precision():
        both = jax.jit(both)
        for _ in range(60):
            cell = 10 ** rng.uniform(-3, 0.65), 1 - 10 ** rng.uniform(-2, 0), 10 ** rng.uniform(-3, 0.3)
            walk, steps = both(batches, limits, *cell)
            for name in StepsToTarget._fields:
                np.testing.assert_allclose(getattr(walk, name), getattr(steps, name), rtol=1e-9, err_msg=f"{name} of {cell}")


def test_many_batch_sizes_share_a_walk():
    batches = np.geomspace(1, 1e6, 300)
    grid = nq.sweep(nq.power_law(4), nq.SGD([0.1]), batches, 0.05)
    few = nq.sweep(nq.power_law(4), nq.SGD([0.1]), batches[::100], 0.05)
    np.testing.assert_array_equal(grid.steps.values[::100], few.steps.values)
