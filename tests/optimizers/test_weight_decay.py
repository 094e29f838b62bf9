"""Weight decay towards the start: against recursions, closed forms and updates of optax, and by every verb.

All cells of a wrapper are alike, averaged heavy ball, so that each verb is compiled once.
"""

import dataclasses

import helpers
import jax
import numpy as np
import optax
import pytest

import nqmjax as nq
from nqmjax.nonlinear import precondition
from nqmjax.optimizers import is_anchored, linear_system
from nqmjax.schedules import closed_form_rates
from nqmjax.target import MAX_STEPS, Status

PROBLEM = nq.from_spectrum([1.0, 0.1, 0.01], noise=[1.0, 0.1, 0.5], initial=[1.0, 2.0, 0.5])
BATCH, UPDATES, CELLS, RATE, STRENGTH = 64.0, 2000, 40, 0.2, 0.05
WRAPPERS = [nq.L2, nq.DecoupledWeightDecay]


def cells(wrapper):
    """The first two settle soon, one with momentum and an average; no decay, no rate, too large a rate; then random ones."""
    rng = np.random.default_rng(0)
    rates, momenta, decays = 10 ** rng.uniform(-2, 0.5, CELLS), 1 - 10 ** rng.uniform(-2, 0, CELLS), rng.uniform(0, 0.9, CELLS)
    strengths = 10 ** rng.uniform(-4, -0.5, CELLS)
    rates[:5], momenta[:5], strengths[:5] = (RATE, RATE, RATE, 0.0, 5.0), (0.0, 0.9, 0.5, 0.5, 0.5), STRENGTH
    strengths[2] = 0.0
    decays[:20] = 0.5 * (np.arange(20) == 1)
    return wrapper(nq.Averaged(nq.HeavyBall(rates, momenta), decays), strengths)


def of_all(value):
    """The same for all cells."""
    return jax.tree.map(lambda leaf: np.full(CELLS, leaf, float), value)


def recursion(optimizer):
    """Risks `(cells, UPDATES + 1)`, from what the start and the noise of one update turn into."""
    decoupled = isinstance(optimizer, nq.DecoupledWeightDecay)
    decay, strength = (value[:, None, None] for value in (optimizer.optimizer.decay, optimizer.strength))
    rate, momentum = (value[:, None, None] for value in vars(optimizer.optimizer.optimizer).values())
    h, start, xi = PROBLEM.curvature, np.array([[1.0], [0.0]]), np.array([[0.0], [1.0]])
    theta = start + np.zeros((CELLS, 2, len(h)))
    m, mean, squares, risks = 0 * theta, theta, 0 * theta[:, 1], []
    with np.errstate(all="ignore"):
        for _ in range(UPDATES + 1):
            risks.append((0.5 * h * (PROBLEM.initial * mean[:, 0] ** 2 + PROBLEM.noise / BATCH * squares)).sum(-1))
            pull = strength * (theta - start)
            m = momentum * m + h * theta + xi + (0 if decoupled else pull)
            theta = theta - rate * m - (rate * pull if decoupled else 0)
            mean = decay * mean + (1 - decay) * theta
            squares, xi = squares + mean[:, 1] ** 2, 0.0
    risks = np.array(risks).T
    return np.where(np.isnan(risks), np.inf, risks)


@pytest.fixture(scope="module")
def l2():
    return cells(nq.L2), recursion(cells(nq.L2))


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_curves_and_where_they_rest(wrapper):
    """At `theta_0 lambda / (h + lambda)`; momentum amplifies the gradient and not the decoupled pull."""
    optimizer = cells(wrapper)
    found, curves = nq.risk_curve(PROBLEM, optimizer, BATCH, UPDATES), recursion(optimizer)
    tame = curves < 1e6
    np.testing.assert_allclose(found[tame], curves[tame], rtol=1e-9)
    noiseless = dataclasses.replace(PROBLEM, noise=np.zeros(3))
    rests = nq.risk_curve(noiseless, optimizer, BATCH, UPDATES)[:2, -1]
    for rest, amplified in zip(rests, (1.0, 0.1 if wrapper is nq.DecoupledWeightDecay else 1.0), strict=True):
        pull, h = STRENGTH * amplified, PROBLEM.curvature
        assert rest == pytest.approx((0.5 * h * PROBLEM.initial * (pull / (h + pull)) ** 2).sum(), rel=1e-7)


def limit():
    """What the first cell settles at: its bias, and the noise of directions that the pull makes stiffer."""
    sharp = PROBLEM.curvature + STRENGTH
    bias = PROBLEM.initial * (STRENGTH / sharp) ** 2
    noise = RATE * PROBLEM.noise / BATCH / (sharp * (2 - RATE * sharp))
    return (0.5 * PROBLEM.curvature * (bias + noise)).sum()


def test_risks_and_limits(l2):
    optimizer, curves = l2
    steps = np.random.default_rng(1).integers(0, UPDATES, CELLS)
    known = curves[np.arange(CELLS), steps]
    tame = known < 1e6
    np.testing.assert_allclose(nq.risk(PROBLEM, optimizer, BATCH, steps)[tame], known[tame], rtol=1e-9)
    stationary = nq.stationary_risk(PROBLEM, optimizer, BATCH)
    assert stationary[0] == pytest.approx(limit(), rel=1e-13)
    assert stationary[3] == pytest.approx(PROBLEM.initial_risk)  # no rate
    np.testing.assert_allclose(nq.risk(PROBLEM, optimizer, BATCH, np.full(CELLS, 2**31))[:4], stationary[:4], rtol=1e-12)
    radius = nq.spectral_radius(optimizer, PROBLEM.curvature)
    np.testing.assert_allclose(radius[0], 1 - RATE * (PROBLEM.curvature + STRENGTH), rtol=1e-13)
    np.testing.assert_array_equal(stationary == np.inf, radius.max(1) > 1)
    assert nq.stability_edge(nq.DecoupledWeightDecay(nq.SGD(0.1), 0.3), 2.0) == pytest.approx(2 / 2.3, rel=1e-9)


def test_noise_that_overflows_is_infinite():
    """Without a start to overflow too, the accumulated noise of a diverging run vanished."""
    problem = dataclasses.replace(PROBLEM, initial=np.zeros(3))
    optimizer = of_all(nq.L2(nq.Averaged(nq.HeavyBall(5.0, 0.9), 0.0), 0.0))
    assert (nq.stationary_risk(problem, optimizer, BATCH) == np.inf).all()
    assert (nq.risk(problem, optimizer, BATCH, np.geomspace(1000, 10**6, CELLS).astype(int)) > 1e100).all()


def passages(problem, optimizer, target, rule, max_steps=MAX_STEPS):
    """Always with arguments of the same shapes."""
    return nq.steps_to_target(problem, optimizer, BATCH, target, max_steps=np.full(CELLS, max_steps), rule=rule)


@pytest.mark.parametrize("rule", ["first", "stays"])
def test_passages(l2, rule):
    optimizer, curves = l2
    target = curves.min(1) * 10 ** np.random.default_rng(2).uniform(-0.1, 1, CELLS)
    target[:4] = limit() * (1 - 1e-6), limit() * (1 + 1e-6), 0.02, 0.1
    target = np.minimum(target, 0.99 * PROBLEM.initial_risk)
    found = passages(PROBLEM, optimizer, target, rule)
    assert found.status[[0, 3, 4]].tolist() == [Status.NEVER, Status.NEVER, Status.DIVERGED]
    plain = dataclasses.replace(optimizer, strength=of_all(STRENGTH))
    assert passages(PROBLEM, plain, limit() * of_all(1 + 1e-6), rule).status[0] == Status.REACHED
    below = curves <= target[:, None]
    known = below.argmax(1) if rule == "first" else UPDATES + 1 - below[:, ::-1].argmin(1)
    known = np.where(below.any(1) if rule == "first" else below[:, -1], known, np.inf)
    within = found.steps <= UPDATES
    assert within[known < np.inf].all()
    np.testing.assert_array_equal(found.steps[within], known[within])
    stationary = nq.stationary_risk(PROBLEM, optimizer, BATCH)
    assert (stationary > target)[found.status == Status.NEVER].all()
    assert (stationary == np.inf)[found.status == Status.DIVERGED].all()
    short = passages(PROBLEM, optimizer, target, rule, max_steps=1)
    assert short.status[2] == Status.OUT_OF_STEPS


def test_a_swing_that_never_dies_is_no_rest():
    """At the very edge of stability the average is below the target for good, or not, but not above it for ever."""
    problem = dataclasses.replace(PROBLEM, noise=np.zeros(3), initial=np.array([1.0, 0.0, 0.0]))
    optimizer = of_all(nq.L2(nq.Averaged(nq.HeavyBall(2 / (1 + STRENGTH), 0.0), 0.99), STRENGTH))
    curve = nq.risk_curve(problem, optimizer, BATCH, UPDATES)[0]
    targets = curve[-2:].mean() * np.linspace(1.0, 1.1, CELLS)
    assert (passages(problem, optimizer, targets, "stays").status != Status.NEVER).all()


def test_plans(l2):
    plan = nq.Plan(RATE, steps=[1, 99, 500], batch_size=BATCH, strength=STRENGTH)
    found = nq.run(PROBLEM, nq.L2(nq.SGD(0.1), 0.7), plan)
    np.testing.assert_allclose(found, l2[1][0, [0, 1, 100, 600]], rtol=1e-12)


def test_sweeps_and_tunings_take_the_strength_as_given():
    table = nq.sweep(PROBLEM, nq.L2(nq.SGD([0.1, 0.2]), [0.0, 0.01, 1.0]), [16, 256], 0.03, progress=False)
    assert dict(table.steps.sizes) == {"batch_size": 2, "learning_rate": 2, "strength": 3}
    assert (table.status.sel(strength=1.0) == Status.NEVER).all()
    assert np.isfinite(table.steps.sel(strength=[0.0, 0.01], batch_size=256)).all()
    best = nq.tune(PROBLEM, nq.L2(nq.SGD(0.1), 0.01), [16, 256], 0.03, progress=False)
    assert "strength_at_edge" not in best
    assert (best.steps <= table.steps.sel(strength=0.01).min("learning_rate")).all()


def test_gradients_equal_finite_differences():
    def value(strength, rate):
        return nq.risk(PROBLEM, nq.L2(nq.SGD(rate), strength), BATCH, 50)

    def known(strength, rate):
        return recursion(of_all(nq.L2(nq.Averaged(nq.HeavyBall(rate, 0.0), 0.0), strength)))[0, 50]

    with jax.enable_x64(True):
        _, found = jax.jvp(value, (0.3, 0.2), (1.0, 1.0))
    high, low = (known(0.3 + shift, 0.2 + shift) for shift in (1e-4, -1e-4))
    assert float(found) == pytest.approx((high - low) / 2e-4, rel=1e-6)


def system_of(optimizer, curvature):
    """The linear system along one direction."""
    with jax.enable_x64(True):
        return jax.tree.map(lambda part: np.asarray(part)[..., 0], linear_system(optimizer, np.array([curvature])))


def updated(optimizer, state, curvature, xi=0.0):
    """The state after one more update, as declared, of the optimizer along a direction."""
    with jax.enable_x64(True):
        gradient = float(optimizer.gradient_scale(np.asarray(curvature))) * (curvature * state[0] + xi)
        bound = optimizer.along(np.asarray(curvature))
        return tuple(float(old + change) for old, change in zip(state, bound.change(state, gradient), strict=True))


def test_a_system_linear_in_its_state():
    """The reading of the declaration, for each of the wrappers."""
    rng = np.random.default_rng(3)
    for make in helpers.DECAYED.values():
        optimizer = make(rng, 0.3)
        system = system_of(optimizer, 0.7)
        state, x = optimizer.initial(2.0), 2.0 * system.start
        for xi in rng.normal(size=20):
            state = updated(optimizer, state, 0.7, xi)
            x = x + system.increment @ x + system.kick * xi
            assert system.read @ x == pytest.approx(optimizer.read(state), rel=1e-11, abs=1e-13)


def pull_to_start(strength):
    """`optax.add_decayed_weights` of the distance from the start."""
    return optax.GradientTransformation(
        lambda params: params, lambda g, start, params: (g + strength * (params - start), start)
    )


HALF = nq.from_spectrum([0.5])


@pytest.mark.parametrize(
    ("optimizer", "transformation"),
    [
        (nq.L2(nq.HeavyBall(0.1, 0.8), 0.2), optax.chain(pull_to_start(0.2), optax.sgd(0.1, momentum=0.8))),
        (
            nq.DecoupledWeightDecay(nq.Nesterov(0.1, 0.8), 0.2),
            optax.chain(optax.trace(0.8, nesterov=True), pull_to_start(0.2), optax.scale(-0.1)),
        ),
        (
            nq.DecoupledWeightDecay(nq.Averaged(nq.Preconditioned(nq.SGD(0.1), 0.5), 0.7), 0.2),
            optax.chain(precondition(HALF, 0.5), pull_to_start(0.2), optax.sgd(0.1)),
        ),
        (
            nq.Averaged(nq.L2(nq.Preconditioned(nq.SGD(0.1), 0.5), 0.2), 0.7),
            optax.chain(pull_to_start(0.2), precondition(HALF, 0.5), optax.sgd(0.1)),
        ),
    ],
    ids=["l2", "decoupled", "decoupled of an average", "average of l2"],
)
def test_updates_of_optax(optimizer, transformation):
    """Weights, and their average where there is one, update by update, with the same noise."""
    params = average = np.array([2.0], np.float32)
    memory, state = transformation.init(params), optimizer.initial(2.0)
    for xi in np.random.default_rng(5).normal(size=10).astype(np.float32):
        updates, memory = transformation.update(0.5 * params + xi, memory, params)
        params = optax.apply_updates(params, updates)
        average = 0.7 * average + np.float32(0.3) * params
        state = updated(optimizer, state, 0.5, float(xi))
        assert state[0] == pytest.approx(float(params[0]), rel=1e-5, abs=1e-6)
        if "Averaged" in repr(optimizer):
            assert optimizer.read(state) == pytest.approx(float(average[0]), rel=1e-5, abs=1e-6)


def test_a_preconditioner_within_l2_preconditions_the_pull():
    within, around = nq.L2(nq.Preconditioned(nq.SGD(0.1), 0.5), 0.3), nq.Preconditioned(nq.L2(nq.SGD(0.1), 0.3), 0.5)
    for optimizer, pull in ((within, 0.6), (around, 0.3)):
        system = system_of(optimizer, 0.25)
        assert system.increment[0].tolist() == pytest.approx([-0.1 * (0.5 + pull), 0.1 * pull], rel=1e-13)
    # The flattest direction diverges first: 2 = a (h + lambda) / sqrt(h).
    wide = nq.from_spectrum([1.0, 1e-4], noise=0.0)
    assert nq.schedules.chosen_cap(wide, within, None) <= 2 / 30.01


def test_a_users_constant_state_is_known():
    class Pulled(nq.LinearOptimizer):
        learning_rate: float

        def initial(self, theta):
            return theta, theta

        def change(self, state, gradient):
            return -self.learning_rate * (gradient + STRENGTH * (state[0] - state[1])), 0.0

    assert is_anchored(Pulled(RATE))
    ours, theirs = system_of(nq.L2(nq.SGD(RATE), STRENGTH), 0.7), system_of(Pulled(RATE), 0.7)
    np.testing.assert_allclose(theirs.increment, ours.increment, rtol=1e-14)
    np.testing.assert_array_equal(theirs.start, ours.start)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: nq.risk(PROBLEM, nq.L2(nq.SGD(0.1), -0.1), 1, 1), "strength is -0.1: give a finite strength that is not"),
        (lambda: nq.risk(PROBLEM, nq.DecoupledWeightDecay(nq.SGD(0.1), np.inf), 1, 1), "strength is inf"),
        (lambda: nq.risk(PROBLEM, nq.L2(0.1, 0.1), 1, 1), "optimizer is 0.1: L2 wraps a linear optimizer"),
        (lambda: nq.risk(PROBLEM, nq.L2(nq.Adam(0.1), 0.1), 1, 1), "L2 wraps a linear .* as in AdamL2"),
        (
            lambda: nq.risk(PROBLEM, nq.DecoupledWeightDecay(nq.Lion(0.1), 0.1), 1, 1),
            "Lion a weight_decay, of their own",
        ),
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
