"""Methods that rest on norms: against a plain loop, against replicas driven by optax, and what every question makes of them."""

import dataclasses
import functools

import jax
import numpy as np
import optax
import pytest

import nqmjax as nq
from nqmjax.optimizers import rate_units
from nqmjax.schedules.caps import rate_unit

SPREAD = nq.from_spectrum(
    [1.0, 0.3, 0.05], count=[300, 400, 600], noise=[1.0, 0.5, 0.1], initial=[1.0, 2.0, 0.5], layer=["a", "a", "b"]
)
STEPS = 60
METHODS = {
    "NormalizedSGD": (
        nq.NormalizedSGD(1.5, 0.5),
        optax.chain(optax.normalize_by_update_norm(), optax.sgd(1.5, momentum=0.5)),
    ),
    "ClippedSGD": (nq.ClippedSGD(0.3, 10.0), optax.chain(optax.clip_by_global_norm(10.0), optax.sgd(0.3))),
    "LARS": (nq.LARS(50.0), optax.lars(50.0)),
    "LAMB": (nq.LAMB(0.03, 0.9, 0.99, nodes=24), optax.lamb(0.03, 0.9, 0.99)),
}


@functools.cache
def method(name):
    """What optax does with the trees of all replicas at once."""
    transformation = METHODS[name][1]
    return jax.jit(jax.vmap(transformation.init)), jax.jit(jax.vmap(transformation.update))


def replicas(name, batch_size, seeds=32):
    """Losses of replicas whose parameters are a tree of layers, shape `(seeds, STEPS + 1)`."""
    rng, count = np.random.default_rng(5), SPREAD.count.astype(int)
    h, c, s = (np.repeat(values, count) for values in (SPREAD.curvature, SPREAD.noise, SPREAD.initial))
    ends = [0, 700, 1300]

    def tree(values):
        return {name: values[..., first:last] for name, first, last in zip("ab", ends, ends[1:], strict=False)}

    theta = np.sqrt(s) * rng.normal(size=(seeds, h.size))
    losses = [0.5 * theta**2 @ h]
    with jax.enable_x64(), jax.numpy_dtype_promotion("standard"):
        init, update = method(name)
        state = init(tree(theta))
        for _ in range(STEPS):
            gradient = h * theta + np.sqrt(c / batch_size) * rng.normal(size=theta.shape)
            updates, state = update(tree(gradient), state, tree(theta))
            theta = theta + np.concatenate([updates["a"], updates["b"]], axis=1)
            losses.append(0.5 * theta**2 @ h)
    return np.stack(losses, axis=1)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("batch_size", [4.0, 1024.0])
def test_sampled_risks_of_many_directions_agree(name, batch_size):
    losses = replicas(name, batch_size)
    mean, error = losses.mean(0), losses.std(0) / np.sqrt(32)
    curve = nq.risk_curve(SPREAD, METHODS[name][0], batch_size, STEPS)
    assert (abs(curve - mean) <= 4 * error + 0.01 * mean).all(), float(abs(curve / mean - 1).max())
    assert curve[-1] < 0.5 * curve[0]


def plain_loop(problem, batch_size, steps, beta, factors):
    """Second moments of (theta, m) of each group under `m' = beta m + gain g`, `theta' = theta - rate m'`."""
    h, c, w = problem.curvature, problem.noise / batch_size, problem.count
    moments, risks = np.zeros((h.size, 2, 2)), []
    moments[:, 0, 0] = problem.initial
    for _ in range(steps + 1):
        theta = moments[:, 0, 0].copy()
        risks.append(0.5 * (w * h * theta).sum())
        gain, rate = factors(w * theta, w * (h**2 * theta + c))
        for i in range(h.size):
            gather = np.array([[1.0, 0.0], [gain[i] * h[i], beta]])
            moments[i] = gather @ moments[i] @ gather.T + np.diag([0.0, gain[i] ** 2 * c[i]])
            move = np.array([[1.0, -rate], [0.0, 1.0]])
            moments[i] = move @ moments[i] @ move.T
    return np.array(risks)


def test_each_is_a_plain_loop():
    first = np.array([True, True, False])

    def normalized(theta, gradient):
        return np.full(3, 1 / (np.sqrt(gradient.sum()) + 1e-6)), 1.5

    def clipped(theta, gradient):
        return np.full(3, min(1.0, 10.0 / np.sqrt(gradient.sum()))), 0.3

    def layered(theta, gradient):
        ratio = [np.sqrt(theta[those].sum() / gradient[those].sum()) for those in (first, ~first)]
        return 50.0 * 0.001 * np.where(first, *ratio), 1.0

    for name, beta, factors in (("NormalizedSGD", 0.5, normalized), ("ClippedSGD", 0.0, clipped), ("LARS", 0.9, layered)):
        curve = nq.risk_curve(SPREAD, METHODS[name][0], 4.0, STEPS)
        np.testing.assert_allclose(curve, plain_loop(SPREAD, 4.0, STEPS, beta, factors), rtol=1e-11)


def test_lamb_on_one_layer_of_equal_directions_moves_it_by_its_rate():
    """Without noise all moves together: `theta' = theta (1 - a)` as long as the momentum points back."""
    problem = nq.from_spectrum([0.3], count=100, noise=0.0)
    curve = nq.risk_curve(problem, nq.LAMB(0.05, beta1=0.0, nodes=24), 1, 20)
    first = 1 - 2 * 0.05 * np.sqrt(2 / np.pi) + 0.05**2  # theta and its sign have the overlap E|theta|
    assert curve[1] / curve[0] == pytest.approx(first, rel=1e-6)
    assert (np.diff(curve) < 0).all()


def test_a_norm_that_never_reaches_the_bound_clips_nothing():
    plain = nq.risk_curve(SPREAD, nq.HeavyBall(0.2, 0.7), 4.0, STEPS)
    free = nq.risk_curve(SPREAD, nq.ClippedSGD(0.2, 1e9, 0.7), 4.0, STEPS)
    np.testing.assert_allclose(free, plain, rtol=1e-12)


def test_all_questions_agree_with_the_curve():
    optimizer = nq.LARS([20.0, 50.0])
    curve = nq.risk_curve(SPREAD, optimizer, 64, STEPS)
    np.testing.assert_allclose(nq.risk(SPREAD, optimizer, 64, [STEPS, 17]), [curve[0, STEPS], curve[1, 17]], rtol=1e-12)
    first = [int(np.argmax(risks <= 150.0)) for risks in curve]
    assert nq.steps_to_target(SPREAD, optimizer, 64, 150.0).steps.tolist() == first
    table = nq.sweep(SPREAD, optimizer, [64, 16], target=150.0, progress=False)
    assert table.steps.sel(batch_size=64).values.tolist() == first
    assert (table.participation > 100).all()
    plan = nq.Plan(20.0, steps=[40, 20], batch_size=64, momentum=[0.9, 0.9])
    np.testing.assert_allclose(nq.run(SPREAD, nq.LARS(20.0), plan), curve[0, [0, 40, 60]], rtol=1e-12)


def test_rates_are_searched_in_units_of_updates_as_long_as_the_start():
    norm = np.sqrt((SPREAD.count * SPREAD.initial).sum())
    assert nq.NormalizedSGD(0.1).rate_scale(SPREAD) == pytest.approx(norm)
    assert nq.ClippedSGD(0.1, 5.0).rate_scale(SPREAD) == pytest.approx(norm / 5)
    assert nq.ClippedSGD(0.1, 1e9).rate_scale(SPREAD) == 1.0
    assert nq.LARS(0.1).rate_scale(SPREAD) == 1000.0
    assert nq.LAMB(0.1).rate_scale(SPREAD) == 1.0
    assert rate_unit(SPREAD, nq.NormalizedSGD(0.1)) == pytest.approx(norm)
    methods = [nq.SGD(0.1), nq.Adam(0.1), nq.LAMB(0.1), nq.Lion(0.1)]
    linear, adam, lamb = rate_units(SPREAD, methods).split("; of ")
    assert linear == rate_units(SPREAD)
    assert adam.startswith("Adam, Lion those of the parameters")
    assert lamb.startswith("LAMB shares of the norm")
    assert rate_units(SPREAD, methods[2:3]) == nq.LAMB.rate_units


def test_tuned_rates_lie_inside_what_is_searched_and_are_the_best():
    optimizer = METHODS["ClippedSGD"][0]
    best = nq.tune(SPREAD, optimizer, [256, 4], target=20.0, progress=False)
    assert not best.learning_rate_at_edge.any()
    assert not {"nodes", "nodes_disagree"} & set(best)
    assert (best.participation > 100).all()
    best = best.isel(batch_size=0)
    rates = float(best.learning_rate) * np.array([0.7, 1.0, 1.4])
    steps = nq.steps_to_target(SPREAD, optimizer.replace(learning_rate=rates), 256, 20.0).crossing
    assert steps[1] <= steps.min() + 0.5


def test_strides_of_norms_are_those_of_their_definition():
    first = nq.strides(SPREAD, nq.NormalizedSGD(1.5), 4.0, 3).sel(layer="all", step=1)
    x = SPREAD.curvature**2 * SPREAD.initial + SPREAD.noise / 4
    norm, share = np.sqrt((SPREAD.count * x).sum()), SPREAD.count / SPREAD.count.sum()
    mean = np.sqrt(2 / np.pi) * (share * np.sqrt(x)).sum()
    assert float(first.mean_gradient) == pytest.approx(mean, rel=1e-12)
    assert float(first.mean_update) == pytest.approx(1.5 * mean / (norm + 1e-6), rel=1e-12)
    overlap = -1.5 / (norm + 1e-6) * (SPREAD.count * SPREAD.noise / 4).sum()
    assert float(first.batch_loss_change - first.loss_change) == pytest.approx(overlap, rel=1e-9)


def test_participation_counts_the_directions_of_the_smallest_layer():
    assert nq.participation(nq.from_spectrum([0.5], count=7), [1, 100]).tolist() == [7.0, 7.0]
    problem = nq.from_spectrum([0.5, 0.1], count=[7, 3], layer=["a", "b"])
    assert float(nq.participation(problem, 4)) == pytest.approx(3.0)
    assert float(nq.participation(problem, 4, [1.0, 0.0])) == pytest.approx(3.0)
    assert nq.participation(nq.from_spectrum([0.5], noise=0.0, initial=0.0), 1) == np.inf
    x = (np.arange(1, 101.0) ** -2) + np.arange(1, 101.0) ** -1 / 8
    assert float(nq.participation(nq.power_law(100), 8)) == pytest.approx(x.sum() ** 2 / (x**2).sum())


@pytest.mark.filterwarnings("error")
def test_few_directions_are_warned_of_at_the_callers_line():
    few = dataclasses.replace(SPREAD, count=np.array([2.0, 3.0, 600.0]))
    plan = nq.Plan(20.0, steps=[40, 20], batch_size=64, momentum=[0.9, 0.9])
    for call in (
        lambda: nq.risk_curve(few, nq.LARS(50.0), 4.0, STEPS),
        lambda: nq.risk_curve(few, METHODS["LAMB"][0], 4.0, STEPS),
        lambda: nq.run(few, nq.LARS(20.0), plan),
    ):
        with pytest.warns(UserWarning, match="carried by .* directions: below 30 .*monte_carlo") as caught:
            call()
        assert [each.filename for each in caught] == [__file__]
    nq.risk_curve(SPREAD, nq.LARS(50.0), 4.0, STEPS)  # no warning
    curvature, initial = np.array([10.0, 0.3, 0.05]), SPREAD.initial * [1e-4, 1.0, 1.0]
    steep = dataclasses.replace(SPREAD, curvature=curvature, initial=initial, count=np.array([10.0, 400.0, 600.0]))
    with pytest.warns(UserWarning, match="later in the run .* carried by .* directions"):
        nq.risk_curve(steep, nq.NormalizedSGD(1.5, 0.5), 1024.0, STEPS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nq.risk(SPREAD, nq.LARS(1.0, trust_coefficient=0.0), 1, 1), "trust_coefficient is 0.0: give a finite number"),
        (lambda: nq.risk(SPREAD, nq.LARS(1.0, trust_coefficient=np.inf), 1, 1), "trust_coefficient is inf"),
        (lambda: nq.risk(SPREAD, nq.ClippedSGD(1.0, 0.0), 1, 1), "max_norm is 0.0: give a finite norm above 0"),
        (lambda: nq.risk(SPREAD, nq.ClippedSGD(1.0, -1.0), 1, 1), "max_norm is -1.0"),
        (lambda: nq.risk(SPREAD, nq.NormalizedSGD(1.0, 1.0), 1, 1), r"momentum is 1.0: give a value in \[0, 1\)"),
        (lambda: nq.risk(SPREAD, nq.LAMB(1.0, eps=-1.0), 1, 1), "eps is -1.0"),
        (lambda: nq.stationary_risk(SPREAD, nq.LARS(1.0), 1), "stationary_risk is for linear optimizers"),
        (lambda: nq.tune(SPREAD, nq.LARS(1.0), 1, 1.0, fixed=["learning_rate"]), "leave at least one of learning_rate"),
        (lambda: nq.participation(SPREAD, 1, [1.0]), r"the shape of second_moments is \(1,\): give 3"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
