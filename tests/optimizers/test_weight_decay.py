"""Weight decay towards the start: against recursions, closed forms and sampled runs of optax, and by every verb."""

import helpers
import jax
import numpy as np
import optax
import pytest

import nqmjax as nq
from nqmjax.nonlinear import monte_carlo, precondition
from nqmjax.optimizers import linear_system
from nqmjax.schedules import closed_form_rates
from nqmjax.target import Status

PROBLEM = nq.from_spectrum([1.0, 0.1, 1e-3], noise=[1.0, 0.1, 0.5], initial=[1.0, 2.0, 0.5])
RATE, STRENGTH = 0.1, 0.05
WRAPPERS = [nq.L2, nq.DecoupledWeightDecay]


def pull_to_start(strength):
    """`optax.add_decayed_weights` of the distance from the start."""
    return optax.GradientTransformation(
        lambda params: params, lambda g, start, params: (g + strength * (params - start), start)
    )


def sgd_curve(problem, rate, strength, batch_size, steps):
    """The risk of SGD with either decay, update by update."""
    h, share, spread, risks = problem.curvature, np.ones(problem.curvature.size), 0.0, []
    for _ in range(steps + 1):
        risks.append((0.5 * h * (share**2 * problem.initial + spread)).sum())
        share = share - rate * (h * share + strength * (share - 1))
        spread = (1 - rate * (h + strength)) ** 2 * spread + rate**2 * problem.noise / batch_size
    return np.array(risks)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_every_verb_against_the_recursion(wrapper):
    optimizer, curve = wrapper(nq.SGD(RATE), STRENGTH), sgd_curve(PROBLEM, RATE, STRENGTH, 8, 600)
    np.testing.assert_allclose(nq.risk_curve(PROBLEM, optimizer, 8, 600), curve, rtol=1e-13)
    np.testing.assert_allclose(nq.risk(PROBLEM, optimizer, 8, np.arange(601)), curve, rtol=1e-13)
    plan = nq.Plan(RATE, steps=[1, 99, 500], batch_size=8, strength=STRENGTH)
    np.testing.assert_allclose(nq.run(PROBLEM, optimizer.replace(strength=0.7), plan), curve[[0, 1, 100, 600]], rtol=1e-12)
    target = np.sqrt(curve[1:60] * curve[:59])
    np.testing.assert_array_equal(nq.steps_to_target(PROBLEM, optimizer, 8, target).steps, np.arange(1, 60))


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_what_a_run_settles_at(wrapper):
    """`theta_0 lambda / (h + lambda)` and the noise of the stiffer direction."""
    h, sharp = PROBLEM.curvature, PROBLEM.curvature + STRENGTH
    bias = PROBLEM.initial * (STRENGTH / sharp) ** 2
    noise = RATE * PROBLEM.noise / 8 / (sharp * (2 - RATE * sharp))
    optimizer = wrapper(nq.SGD(RATE), STRENGTH)
    limit = nq.stationary_risk(PROBLEM, optimizer, 8)
    assert limit == pytest.approx((0.5 * h * (bias + noise)).sum(), rel=1e-13)
    assert nq.risk(PROBLEM, optimizer, 8, 2**31) == pytest.approx(limit, rel=1e-12)
    np.testing.assert_allclose(nq.spectral_radius(optimizer, h), 1 - RATE * sharp, rtol=1e-13)
    assert nq.stability_edge(optimizer, 2.0) == pytest.approx(2 / (2 + STRENGTH), rel=1e-9)
    targets = limit * (1 + np.array([-0.1, -1e-6, 1e-6, 0.1]))
    for rule in ("first", "stays"):
        found = nq.steps_to_target(PROBLEM, optimizer, 8, targets, rule=rule)
        assert found.status.tolist() == [Status.NEVER, Status.NEVER, Status.REACHED, Status.REACHED]
    assert nq.steps_to_target(PROBLEM, optimizer, 8, limit / 2, max_steps=10).status == Status.OUT_OF_STEPS
    assert nq.steps_to_target(PROBLEM, optimizer.replace(learning_rate=3.0), 8, limit).status == Status.DIVERGED


def test_steps_to_target_against_brute_force():
    rng = np.random.default_rng(0)
    rates, momenta = 10 ** rng.uniform(-2, 0.5, 40), 1 - 10 ** rng.uniform(-2, 0, 40)
    optimizer = nq.L2(nq.HeavyBall(rates, momenta), 10 ** rng.uniform(-4, -0.5, 40))
    curves = nq.risk_curve(PROBLEM, optimizer, 64, 1000)
    target = np.minimum(curves.min(1) * 10 ** rng.uniform(-0.1, 1, 40), 0.99 * PROBLEM.initial_risk)
    below = curves <= target[:, None]
    for rule, expected in (("first", below.argmax(1)), ("stays", 1001 - below[:, ::-1].argmin(1))):
        found = nq.steps_to_target(PROBLEM, optimizer, 64, target, rule=rule)
        known = np.where(below.any(1), expected, np.inf) if rule == "first" else np.where(below[:, -1], expected, np.inf)
        within = found.steps <= 1000
        np.testing.assert_array_equal(within[known < np.inf], True)
        np.testing.assert_array_equal(found.steps[within], known[within])
        settled = np.where(found.status == Status.NEVER, nq.stationary_risk(PROBLEM, optimizer, 64) > target, True)
        assert settled.all()


def test_a_swing_that_never_dies_is_no_rest():
    """At the very edge of stability the average is below the target for good, or not, but not above it for ever."""
    problem, edge = nq.from_spectrum([1.0], noise=0.0), 2 / (1 + STRENGTH)
    optimizer = nq.DecoupledWeightDecay(nq.Averaged(nq.SGD(edge), 0.99), STRENGTH)
    curve = nq.risk_curve(problem, optimizer, 1, 2000)
    targets = curve[-2:].mean() * np.array([1.0, 1.1])
    found = nq.steps_to_target(problem, optimizer, 1, targets, rule="stays")
    assert (found.status != Status.NEVER).all()


def test_a_system_linear_in_its_state():
    """The reading of the declaration, for each of the wrappers."""
    rng = np.random.default_rng(3)
    for make in helpers.DECAYED.values():
        optimizer, noises = make(rng, 0.3), rng.normal(size=30)
        with jax.enable_x64(True):
            system = jax.tree.map(lambda part: np.asarray(part)[..., 0], linear_system(optimizer, np.array([0.7])))
            bound = optimizer.along(np.asarray(0.7))
            scale = float(optimizer.gradient_scale(np.asarray(0.7)))
        state, x = bound.initial(2.0), 2.0 * system.start
        for xi in noises:
            gradient = scale * (0.7 * state[0] + xi)
            state = tuple(old + change for old, change in zip(state, bound.change(state, gradient), strict=True))
            x = x + system.increment @ x + system.kick * xi
            assert system.read @ x == pytest.approx(bound.read(state), rel=1e-11, abs=1e-13)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_momentum_amplifies_the_gradient_and_not_the_decoupled_pull(wrapper):
    problem = nq.from_spectrum([1.0, 0.1, 1e-3], noise=0.0)
    optimizer = wrapper(nq.Averaged(nq.HeavyBall(0.1, 0.9), 0.99), STRENGTH)
    pull = STRENGTH * (0.1 if wrapper is nq.DecoupledWeightDecay else 1)
    expected = (0.5 * problem.curvature * (pull / (problem.curvature + pull)) ** 2).sum()
    assert nq.stationary_risk(problem, optimizer, 1) == pytest.approx(expected, rel=1e-10)


def test_no_strength_and_no_rate():
    plain = nq.SGD(0.1)
    steps = np.array([0, 1, 100, 100_000])
    for wrapper in WRAPPERS:
        np.testing.assert_allclose(
            nq.risk(PROBLEM, wrapper(plain, 0.0), 1e9, steps), nq.risk(PROBLEM, plain, 1e9, steps), rtol=1e-12
        )
        still = wrapper(nq.SGD(0.0), STRENGTH)
        assert nq.stationary_risk(PROBLEM, still, 1) == pytest.approx(PROBLEM.initial_risk)
        assert nq.steps_to_target(PROBLEM, still, 1, 0.1).status == Status.NEVER


def test_a_preconditioner_within_l2_preconditions_the_pull():
    problem = nq.from_spectrum([0.25], noise=0.0)
    within, around = nq.L2(nq.Preconditioned(nq.SGD(0.1), 0.5), 0.3), nq.Preconditioned(nq.L2(nq.SGD(0.1), 0.3), 0.5)
    for optimizer, pull in ((within, 0.6), (around, 0.3)):
        share = 1 - 0.1 * 0.5
        share -= 0.1 * (0.5 * share + pull * (share - 1))
        assert nq.risk(problem, optimizer, 1, 2) == pytest.approx(0.125 * share**2, rel=1e-13)
    # The flattest direction diverges first: 2 = a (h + lambda) / sqrt(h).
    wide = nq.from_spectrum([1.0, 1e-4], noise=0.0)
    assert nq.schedules.chosen_cap(wide, within, None) <= 2 / 30.01
    np.testing.assert_allclose(nq.tune(wide, within, 1, 0.01, progress=False).steps, np.inf)


@pytest.mark.parametrize(
    ("optimizer", "transformation", "average"),
    [
        (nq.L2(nq.HeavyBall(0.1, 0.8), 0.2), optax.chain(pull_to_start(0.2), optax.sgd(0.1, momentum=0.8)), 0.0),
        (
            nq.DecoupledWeightDecay(nq.Nesterov(0.1, 0.8), 0.2),
            optax.chain(optax.trace(0.8, nesterov=True), pull_to_start(0.2), optax.scale(-0.1)),
            0.0,
        ),
        (
            nq.DecoupledWeightDecay(nq.Averaged(nq.Preconditioned(nq.SGD(0.1), 0.5), 0.7), 0.2),
            optax.chain(precondition(PROBLEM, 0.5), pull_to_start(0.2), optax.sgd(0.1)),
            0.7,
        ),
        (
            nq.Averaged(nq.L2(nq.Preconditioned(nq.SGD(0.1), 0.5), 0.2), 0.7),
            optax.chain(pull_to_start(0.2), precondition(PROBLEM, 0.5), optax.sgd(0.1)),
            0.7,
        ),
    ],
    ids=["l2", "decoupled", "decoupled of an average", "average of l2"],
)
def test_sampled_runs_agree(optimizer, transformation, average):
    runs = monte_carlo(PROBLEM, transformation, 2, num_steps=100, num_seeds=4000, key=1, average=average)
    errors = (runs.risk - nq.risk_curve(PROBLEM, optimizer, 2, 100)) / runs.standard_error
    assert np.abs(errors).max() < 4


def test_gradients_equal_finite_differences():
    def value(strength, rate):
        optimizer = nq.L2(nq.SGD(rate), strength)
        return nq.risk(PROBLEM, optimizer, 8.0, 50) + nq.stationary_risk(PROBLEM, optimizer, 8.0)

    with jax.enable_x64(True):
        found = jax.grad(value, argnums=(0, 1))(0.3, 0.2)
    for slope, (high, low) in zip(found, [((0.3001, 0.2), (0.2999, 0.2)), ((0.3, 0.2001), (0.3, 0.1999))], strict=True):
        assert float(slope) == pytest.approx((value(*high) - value(*low)) / 2e-4, rel=1e-6)


def test_sweeps_and_tunings_take_the_strength_as_given():
    table = nq.sweep(PROBLEM, nq.L2(nq.HeavyBall([0.1, 0.2], 0.9), [0.0, 0.01, 1.0]), [16, 256], 0.02, progress=False)
    assert dict(table.steps.sizes) == {"batch_size": 2, "learning_rate": 2, "strength": 3}
    assert (table.status.sel(strength=1.0) == Status.NEVER).all()
    assert np.isfinite(table.steps.sel(strength=[0.0, 0.01], batch_size=256)).all()
    best = nq.tune(PROBLEM, nq.L2(nq.HeavyBall(0.1, 0.9), 0.01), [16, 256], 0.02, progress=False)
    assert "strength_at_edge" not in best
    assert (best.steps <= table.steps.sel(strength=0.01).min("learning_rate")).all()


def test_a_users_constant_state_is_known():
    class Pulled(nq.LinearOptimizer):
        learning_rate: float

        def initial(self, theta):
            return theta, theta

        def change(self, state, gradient):
            return -self.learning_rate * (gradient + STRENGTH * (state[0] - state[1])), 0.0

    ours = nq.L2(nq.SGD(RATE), STRENGTH)
    assert nq.stationary_risk(PROBLEM, Pulled(RATE), 8) == pytest.approx(nq.stationary_risk(PROBLEM, ours, 8), rel=1e-14)


def test_noise_that_overflows_is_infinite():
    """Without a start to overflow too, the accumulated noise of a diverging run vanished."""
    problem = nq.from_spectrum([1.0], initial=0.0)
    optimizer = nq.HeavyBall(5.0, 0.9)
    assert nq.stationary_risk(problem, optimizer, 1) == np.inf
    assert (nq.risk(problem, optimizer, 1, [1000, 10**6]) > 1e100).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: nq.risk(PROBLEM, nq.L2(nq.SGD(0.1), -0.1), 1, 1), "strength is -0.1: give a finite strength that is not"),
        (lambda: nq.risk(PROBLEM, nq.DecoupledWeightDecay(nq.SGD(0.1), np.inf), 1, 1), "strength is inf"),
        (lambda: nq.risk(PROBLEM, nq.L2(0.1, 0.1), 1, 1), "optimizer is 0.1: L2 wraps a linear optimizer"),
        (lambda: nq.risk(PROBLEM, nq.L2(nq.Adam(0.1), 0.1), 1, 1), "L2 wraps a linear .* as in AdamW"),
        (lambda: nq.risk(PROBLEM, nq.DecoupledWeightDecay(nq.Lion(0.1), 0.1), 1, 1), "AdamW, SignSGD and Lion decay weights"),
        (lambda: nq.risk(PROBLEM, nq.DecoupledWeightDecay(Fixed(), 0.1), 1, 1), "it has no learning_rate, at which weights"),
        (lambda: closed_form_rates(PROBLEM, nq.L2(nq.SGD(0.1), 0.1), 1, 10), "the closed form knows no weight decay"),
        (
            lambda: nq.optimize_schedule(PROBLEM, nq.L2(nq.SGD(0.1), 0.1), 1, 10, 2, over=["strength"]),
            "over is 'strength': the optimizer has learning_rate",
        ),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


class Fixed(nq.LinearOptimizer):
    step: float = 0.1

    def change(self, state, gradient):
        return (-self.step * gradient,)
