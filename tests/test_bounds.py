"""The Bayes bound against a filter run step by step, its limits and inverse, and every optimizer against it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nqmjax import (
    QHM,
    SGD,
    Averaged,
    HeavyBall,
    Nesterov,
    NoisyQuadratic,
    Preconditioned,
    from_spectrum,
    power_law,
    risk,
    steps_to_target,
)
from nqmjax.bounds import bayes_bound, bayes_examples, flat_prior_bound

SEEDS = range(4)


def random_problem(seed: int, size: int = 12) -> NoisyQuadratic:
    """All values over several decades, with `C` unrelated to `H`."""
    rng = np.random.default_rng(seed)
    h, c, s = 10.0 ** rng.uniform(-4, 0.5, (3, size))
    return from_spectrum(h, count=rng.integers(1, 100, size), noise=c, initial=s, irreducible=0.1)


def filtered_risks(problem: NoisyQuadratic, batch_size: float, num_steps: int) -> np.ndarray:
    """Risk of the best linear estimate of every direction, one measurement of variance `c / B` after the other."""
    h, variance = problem.curvature, problem.initial
    risks = []
    for _ in range(num_steps + 1):
        risks.append(problem.irreducible + 0.5 * np.sum(problem.count * h * variance))
        gain = variance * h / (h**2 * variance + problem.noise / batch_size)
        variance = (1 - gain * h) ** 2 * variance + gain**2 * problem.noise / batch_size
    return np.array(risks)


def greedy_risks(problem: NoisyQuadratic, batch_size: float, num_steps: int) -> np.ndarray:
    """Risk of SGD at the one rate that is best for each next step."""
    h, w, s = problem.curvature, problem.count, problem.initial
    noise = problem.noise / batch_size
    risks = []
    for _ in range(num_steps + 1):
        risks.append(problem.irreducible + 0.5 * np.sum(w * h * s))
        rate = np.sum(w * h**2 * s) / np.sum(w * h * (h**2 * s + noise))
        s = (1 - rate * h) ** 2 * s + rate**2 * noise
    return np.array(risks)


@pytest.mark.parametrize("batch_size", [1.0, 64.0])
@pytest.mark.parametrize("seed", SEEDS)
def test_bayes_bound_is_the_risk_of_the_filter_run_step_by_step(seed, batch_size):
    problem = random_problem(seed)
    bound = bayes_bound(problem, batch_size * np.arange(201))
    np.testing.assert_allclose(bound, filtered_risks(problem, batch_size, 200), rtol=1e-10)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_optimizer_beats_the_bayes_bound(seed):
    rng = np.random.default_rng(seed)
    problem = random_problem(seed)
    rate = 10.0 ** rng.uniform(-3, 0.5, 300) / problem.curvature[0]
    beta, decay, power, nu = rng.uniform(0, 1, (4, 300))
    batch_size, steps = 2.0 ** rng.integers(0, 14, 300), 2 ** rng.integers(0, 14, 300)
    bound = bayes_bound(problem, batch_size * steps)
    ball = HeavyBall(rate, beta)
    for optimizer in [
        SGD(rate),
        ball,
        Nesterov(rate, beta),
        QHM(rate, beta, nu),
        Averaged(ball, decay),
        Preconditioned(ball, power),
    ]:
        assert (risk(problem, optimizer, batch_size, steps) >= bound * (1 - 1e-12)).all(), type(optimizer).__name__


@pytest.mark.parametrize("seed", SEEDS)
def test_one_direction_attains_it_at_the_greedy_rate(seed):
    problem, batch_size = random_problem(seed, size=1), 8.0
    h, c, s = (v[0] for v in (problem.curvature, problem.noise, problem.initial))
    best = SGD(h * s / (h**2 * s + c / batch_size))
    np.testing.assert_allclose(risk(problem, best, batch_size, 1), bayes_bound(problem, batch_size), rtol=1e-12)


def test_a_good_schedule_beats_the_flat_prior_line_but_not_the_bayes_bound():
    problem, batch_size = power_law(1000), 64.0
    risks, examples = greedy_risks(problem, batch_size, 200), batch_size * np.arange(201)
    assert (risks >= bayes_bound(problem, examples) * (1 - 1e-12)).all()
    assert (risks[1:] < flat_prior_bound(problem, examples[1:])).any()


@pytest.mark.parametrize("seed", SEEDS)
def test_limits(seed):
    problem = random_problem(seed)
    assert bayes_bound(problem, 0) == pytest.approx(problem.initial_risk, rel=1e-14)
    assert bayes_bound(problem, 1e300) == problem.irreducible
    assert flat_prior_bound(problem, 0) == np.inf
    many = np.array([1e14, 1e16])
    plain = from_spectrum(problem.curvature, problem.count, problem.noise, problem.initial)  # no irreducible loss
    np.testing.assert_allclose(bayes_bound(plain, many), flat_prior_bound(plain, many), rtol=1e-3)
    np.testing.assert_allclose(bayes_bound(plain, [1e20, 1e300]), flat_prior_bound(plain, [1e20, 1e300]), rtol=1e-8)


def test_flat_prior_is_half_the_dimension_over_examples():
    problem = from_spectrum([2.0, 0.3, 0.0], count=[5, 20, 100], irreducible=0.5)
    np.testing.assert_allclose(flat_prior_bound(problem, [1, 1000]) - 0.5, [12.5, 0.0125], rtol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_decreasing_convex_and_below_the_flat_prior_line(seed):
    problem, examples = random_problem(seed), np.linspace(0, 1e4, 500)
    bound = bayes_bound(problem, examples)
    assert (np.diff(bound) < 0).all()
    assert (np.diff(bound, 2) > -1e-13).all()
    assert (bound < flat_prior_bound(problem, examples)).all()


def test_directions_without_noise_curvature_or_start():
    problem = from_spectrum(
        [1.0, 1.0, 1.0, 1.0, 0.0, 0.0], noise=[2.0, 0.0, 2.0, 0.0, 2.0, 0.0], initial=[3.0, 5.0, 0.0, 0.0, 1.0, 1.0]
    )
    expected = [1.5 + 2.5, 0.5 / (1 / 3 + 1e-9 / 2), 0.5 / (1 / 3 + 10 / 2), 0.0]
    np.testing.assert_allclose(bayes_bound(problem, [0, 1e-9, 10, 1e308]), expected, rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(flat_prior_bound(problem, 10), 2 * 0.5 * 2 / 10)
    assert bayes_examples(problem, 4.0) == 0
    assert bayes_examples(problem, 1.5) == 0  # the direction without noise is known at any N > 0
    np.testing.assert_allclose(bayes_examples(problem, 0.75), 2 / 3, rtol=1e-12)
    assert bayes_examples(problem, 0.0) == np.inf

    def both(examples):
        return bayes_bound(problem, examples) + flat_prior_bound(problem, examples)

    with jax.enable_x64(True):
        for examples in (0.0, 1.0, 1e30):
            assert np.isfinite(jax.grad(both)(jnp.asarray(examples)))
        slopes = jax.grad(lambda p: bayes_bound(p, 10.0))(jax.tree.map(jnp.asarray, problem))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))


def test_bayes_examples_without_risk_or_noise():
    still = from_spectrum([1.0, 0.5], initial=0.0, irreducible=0.2)
    assert bayes_examples(still, [0.1, 0.2, 0.3]).tolist() == [np.inf, 0.0, 0.0]
    exact = from_spectrum([1.0, 0.5], noise=0.0, irreducible=0.2)
    assert bayes_examples(exact, [0.1, 0.2, 0.3]).tolist() == [np.inf, 0.0, 0.0]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), share=st.floats(-12, -1e-6))
def test_bayes_examples_inverts_bayes_bound(seed, share):
    problem = random_problem(seed)
    plain = NoisyQuadratic(problem.curvature, problem.noise, problem.initial, problem.count, 0.0)
    target = plain.initial_risk * 10**share
    examples = bayes_examples(plain, target)
    np.testing.assert_allclose(bayes_bound(plain, examples), target, rtol=1e-12)
    shifted = bayes_examples(problem, target + problem.irreducible)
    if share > -3:
        np.testing.assert_allclose(shifted, examples, rtol=1e-8)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(-300, 18), st.floats(1e-6, 10))
def test_more_examples_are_never_worse(seed, log_examples, more):
    problem, examples = random_problem(seed), 10**log_examples
    assert bayes_bound(problem, examples * (1 + more)) <= bayes_bound(problem, examples) * (1 + 1e-14)


def test_bayes_examples_of_one_direction_and_of_a_wide_spectrum():
    one = from_spectrum([0.5], noise=3.0, initial=2.0)  # 0.25 / (1/2 + N / 12)
    np.testing.assert_allclose(
        bayes_examples(one, [0.4, 0.1, 1e-8]), 12 * (0.25 / np.array([0.4, 0.1, 1e-8]) - 0.5), rtol=1e-12
    )
    wide = power_law(1000, exponent=5.0)
    targets = wide.initial_risk * np.array([0.999999, 0.5, 1e-4, 1e-9])
    np.testing.assert_allclose(bayes_bound(wide, bayes_examples(wide, targets)), targets, rtol=1e-12)


def test_targets_out_of_reach_or_met_at_the_start():
    problem = power_law(10, irreducible=0.3)
    examples = bayes_examples(problem, [[0.2, 0.3], [problem.initial_risk * (1 + 1e-12), 100.0]])
    assert examples.tolist() == [[np.inf, np.inf], [0.0, 0.0]]


@pytest.mark.parametrize("seed", SEEDS)
def test_steps_are_never_fewer_than_bayes_examples_over_the_batch_size(seed):
    problem, batch_size = power_law(100), 32.0
    rate = 10.0 ** np.random.default_rng(seed).uniform(-2, 0, 50)
    steps = steps_to_target(problem, HeavyBall(rate, 0.5), batch_size, 0.2).steps
    assert np.isfinite(steps).any()
    assert (steps >= bayes_examples(problem, 0.2) / batch_size).all()


def test_transformations():
    problem = random_problem(0)
    with jax.enable_x64(True):
        examples = jnp.asarray([1.0, 100.0, 1e5])
        for question in (bayes_bound, flat_prior_bound):
            expected = question(problem, np.asarray(examples))
            np.testing.assert_allclose(jax.jit(question)(problem, examples), expected, rtol=1e-13)
            np.testing.assert_allclose(jax.vmap(lambda n, q=question: q(problem, n))(examples), expected, rtol=1e-13)
            slope = jax.vmap(jax.grad(lambda n, q=question: q(problem, n)))(examples)
            numeric = [
                (question(problem, n * 1.0001) - question(problem, n * 0.9999)) / (n * 0.0002) for n in np.asarray(examples)
            ]
            np.testing.assert_allclose(slope, numeric, rtol=1e-6)
        targets = jnp.asarray([0.2, 1.0])
        counts = bayes_examples(problem, np.asarray(targets))
        np.testing.assert_allclose(jax.jit(bayes_examples)(problem, targets), counts, rtol=1e-12)
        slope = jax.vmap(jax.grad(lambda t: bayes_examples(problem, t)))(targets)
        through = jax.vmap(jax.grad(lambda n: bayes_bound(problem, n)))(jnp.asarray(counts))
        np.testing.assert_allclose(slope, 1 / through, rtol=1e-9)
        # Four times the noise takes four times the examples: d ln N / d ln c = 1.
        leaves = jax.tree.map(jnp.asarray, problem)
        by_noise = jax.grad(lambda p: bayes_examples(p, 0.2))(leaves).noise
        np.testing.assert_allclose((by_noise * problem.noise).sum(), counts[0], rtol=1e-9)


def test_results_are_numpy_in_double_precision():
    problem = power_law(10)
    assert isinstance(bayes_bound(problem, 5), np.float64)
    assert isinstance(flat_prior_bound(problem, [5, 6]), np.ndarray)
    assert bayes_examples(problem, [0.1, 0.2]).dtype == np.float64


@pytest.mark.parametrize("question", [bayes_bound, flat_prior_bound])
@pytest.mark.parametrize(
    ("examples", "message"),
    [
        (-1, "examples is -1.0"),
        ([1, np.nan], r"examples\[1\] is nan"),
        (np.inf, "examples is inf"),
        ("ten", "examples is 'ten'"),
    ],
)
def test_bad_examples(question, examples, message):
    with pytest.raises(ValueError, match=message):
        question(power_law(3), examples)


def test_other_bad_arguments():
    with pytest.raises(ValueError, match="problem is"):
        bayes_bound(1.0, 3)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="target is nan"):
        bayes_examples(power_law(3), np.nan)
