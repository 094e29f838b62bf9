"""Closures of Adam and its kin: against a plain loop, against sampling, and what every question makes of them."""

import dataclasses

import jax
import numpy as np
import optax
import pytest

import nqmjax as nq

PROBLEM = nq.from_spectrum([1.0, 0.3, 0.05], count=[200, 400, 1000], noise=[1.0, 0.5, 0.1], initial=[1.0, 2.0, 0.5])
LAYERED = dataclasses.replace(PROBLEM, layer=("a", "b", "a"))
SMALL = {"nodes": 24}


def of_weights(transformation):
    """The transformation given weights `theta - theta_0` for parameters."""

    def update(updates, state, params):
        updates, inner = transformation.update(updates, state[1], params - state[0])
        return updates, (state[0], inner)

    return optax.GradientTransformation(lambda params: (params, transformation.init(params)), update)


METHODS = {
    "Adam": (nq.Adam(0.05, **SMALL), optax.adam(0.05)),
    "Adam (0.8, 0.95)": (nq.Adam(0.05, 0.8, 0.95, **SMALL), optax.adam(0.05, 0.8, 0.95)),
    "Adam without momentum": (nq.Adam(0.05, 0.0, 0.99, **SMALL), optax.adam(0.05, 0.0, 0.99)),
    "AdamL2": (
        nq.AdamL2(0.05, 0.9, 0.95, strength=0.3, **SMALL),
        optax.chain(of_weights(optax.add_decayed_weights(0.3)), optax.adam(0.05, 0.9, 0.95)),
    ),
    "RMSprop": (nq.RMSprop(0.02, 0.99, **SMALL), optax.rmsprop(0.02, 0.99)),
    "SignSGD": (nq.SignSGD(0.05, **SMALL), optax.sign_sgd(0.05)),
    "Lion": (nq.Lion(0.02, **SMALL), optax.lion(0.02, weight_decay=0.0)),
}


def adam_by_a_plain_loop(problem, rate, beta1, beta2, eps, decay, batch_size, steps, nodes):
    """Means and covariances given the start, node by node and group by group, in plain NumPy numbers."""
    x, weight = np.polynomial.legendre.leggauss(nodes)
    z = 3 * (x + 1)
    weight = weight * np.exp(-z * z / 2) / np.sum(weight * np.exp(-z * z / 2))
    risks = np.zeros(steps + 1)
    for h, c, s, w in zip(problem.curvature, problem.noise, problem.initial, problem.count, strict=True):
        for node, share in zip(np.sqrt(s) * z, weight, strict=True):
            mean, cov, v = np.array([node, 0.0]), np.zeros((2, 2)), 0.0
            risks[0] += 0.5 * w * h * share * node**2
            for t in range(1, steps + 1):
                v = beta2 * v + (1 - beta2) * (h * h * (mean[0] ** 2 + cov[0, 0]) + c / batch_size)
                k = rate / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps)
                momentum = np.array([[1.0, 0.0], [(1 - beta1) * h, beta1]])
                mean, cov = momentum @ mean, momentum @ cov @ momentum.T
                cov[1, 1] += (1 - beta1) ** 2 * c / batch_size
                move = np.array([[1 - rate * decay, -k], [0.0, 1.0]])
                mean, cov = move @ mean, move @ cov @ move.T
                mean[0] += rate * decay * node
                risks[t] += 0.5 * w * h * share * (mean[0] ** 2 + cov[0, 0])
    return risks


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_adam_is_its_plain_loop(decay):
    optimizer = nq.AdamW(0.07, 0.8, 0.97, 1e-3, weight_decay=decay, nodes=8)
    expected = adam_by_a_plain_loop(PROBLEM, 0.07, 0.8, 0.97, 1e-3, decay, 64.0, 60, 8)
    np.testing.assert_allclose(nq.risk_curve(PROBLEM, optimizer, 64, 60), expected, rtol=1e-11)
    if decay == 0:
        adam = nq.Adam(0.07, 0.8, 0.97, 1e-3, nodes=8)
        np.testing.assert_allclose(nq.risk_curve(PROBLEM, adam, 64, 60), expected, rtol=1e-11)


def test_l2_through_adam_is_decay_of_the_gradient():
    """A loop over means alone where there is no noise, leaps included; without strength it is Adam."""
    a, b1, b2, pull, still = 0.002, 0.8, 0.97, 0.2, dataclasses.replace(PROBLEM, noise=np.zeros(3))
    h, start, risks = PROBLEM.curvature, np.sqrt(PROBLEM.initial), []
    theta, m, v = start, np.zeros(3), np.zeros(3)
    for t in range(1, 3002):
        risks.append(0.5 * (PROBLEM.count * h * theta**2).sum())
        gradient = h * theta + pull * (theta - start)
        m, v = b1 * m + (1 - b1) * gradient, b2 * v + (1 - b2) * gradient**2
        theta = theta - a * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + 1e-3)
    optimizer = nq.AdamL2(a, b1, b2, 1e-3, strength=pull, basis="rotated")
    each = [jax.tree.map(lambda leaf, i=i: leaf[[i]] if np.ndim(leaf) else leaf, still) for i in range(3)]
    curve = sum(nq.risk_curve(part, optimizer, 1, 3000) for part in each)  # one coordinate is its own mean square
    np.testing.assert_allclose(curve, risks, rtol=1e-9)
    leapt = sum(nq.risk(part, optimizer, 1, [1000, 3000]) for part in each)
    np.testing.assert_allclose(leapt, [risks[1000], risks[3000]], rtol=1e-3)
    none = nq.risk_curve(PROBLEM, nq.AdamL2(0.05, strength=0.0, **SMALL), 64, 120)
    np.testing.assert_allclose(none, nq.risk_curve(PROBLEM, nq.Adam(0.05, **SMALL), 64, 120), rtol=1e-13)


def test_lion_with_equal_betas_zero_is_sign_descent():
    sign, lion = (method.replace(weight_decay=0.3) for method in (nq.SignSGD(0.05), nq.Lion(0.05, 0.0, 0.0)))
    np.testing.assert_allclose(nq.risk_curve(PROBLEM, lion, 16, 80), nq.risk_curve(PROBLEM, sign, 16, 80), rtol=1e-12)


def test_one_sign_update_is_exact():
    """From the normal distribution of the start: E sign(g) theta has a closed form."""
    a, h, c, s = 0.3, PROBLEM.curvature, PROBLEM.noise / 8, PROBLEM.initial
    squares = s - 2 * a * np.sqrt(2 / np.pi) * h * s / np.sqrt(h * h * s + c) + a * a
    expected = 0.5 * (PROBLEM.count * h * squares).sum()
    np.testing.assert_allclose(nq.risk(PROBLEM, nq.SignSGD(a), 8, 1), expected, rtol=1e-6)
    certain = nq.risk(PROBLEM, nq.SignSGD(a), 1e30, 1)
    squares = s - 2 * a * np.sqrt(2 * s / np.pi) + a * a
    np.testing.assert_allclose(certain, 0.5 * (PROBLEM.count * h * squares).sum(), rtol=1e-6)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("batch_size", [4, 1024])
def test_sampled_risks_agree(name, batch_size):
    optimizer, transformation = METHODS[name]
    runs = nq.monte_carlo(PROBLEM, transformation, batch_size, num_steps=120, num_seeds=16, key=5)
    curve = nq.risk_curve(PROBLEM, optimizer, batch_size, 120)
    room = 5 * runs.standard_error + (0.05 if name == "RMSprop" else 0.025) * runs.risk
    assert (abs(curve - runs.risk) <= room).all(), f"key 5: {float(abs(curve / runs.risk - 1).max()):.3f} off"


def test_rotated_adam_is_normalized_momentum():
    """Every coordinate has the root mean square of all gradients for its own: a loop over second moments."""
    a, b1, b2, batch = 0.05, 0.9, 0.99, 32.0
    h, c, w = PROBLEM.curvature, PROBLEM.noise / batch, PROBLEM.count
    moments, v, risks = np.zeros((3, 2, 2)), 0.0, []
    moments[:, 0, 0] = PROBLEM.initial
    for t in range(1, 51):
        risks.append(0.5 * (w * h * moments[:, 0, 0]).sum())
        v = b2 * v + (1 - b2) * (w * (h**2 * moments[:, 0, 0] + c)).sum() / w.sum()
        k = a / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + 1e-8)
        for i in range(3):
            gather = np.array([[1.0, 0.0], [(1 - b1) * h[i], b1]])
            moments[i] = gather @ moments[i] @ gather.T + np.diag([0.0, (1 - b1) ** 2 * c[i]])
            move = np.array([[1.0, -k], [0.0, 1.0]])
            moments[i] = move @ moments[i] @ move.T
    curve = nq.risk_curve(PROBLEM, nq.Adam(a, b1, b2, basis="rotated"), batch, 49)
    np.testing.assert_allclose(curve, risks, rtol=1e-11)
    layered = nq.risk_curve(LAYERED, nq.Adam(a, b1, b2, basis="rotated"), batch, 49)
    parts = [jax.tree.map(lambda leaf, those=those: leaf[those] if np.ndim(leaf) else leaf, PROBLEM) for those in ([0, 2], [1])]
    alone = sum(nq.risk_curve(part, nq.Adam(a, b1, b2, basis="rotated"), batch, 49) for part in parts)
    np.testing.assert_allclose(layered, alone, rtol=1e-11)


def test_dense_rotated_quadratics_agree_with_the_rotated_limit():
    """Plain Adam on coordinates that mix 300 eigenvectors, 16 runs, where noise fills all coordinates."""
    rng, batch, rate = np.random.default_rng(0), 4.0, 0.01
    problem = nq.power_law(300)
    h = problem.curvature
    axes = np.linalg.qr(rng.normal(size=(300, 300)))[0]
    x = rng.choice([-1.0, 1.0], (16, 300)) @ axes.T
    m, v, risks = np.zeros_like(x), np.zeros_like(x), []
    for t in range(1, 152):
        along = x @ axes
        risks.append(0.5 * (h * along**2).sum(1).mean())
        gradient = (h * along + np.sqrt(problem.noise / batch) * rng.normal(size=x.shape)) @ axes.T
        m, v = 0.9 * m + 0.1 * gradient, 0.99 * v + 0.01 * gradient**2
        x = x - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.99**t)) + 1e-8)
    curve = nq.risk_curve(problem, nq.Adam(rate, 0.9, 0.99, basis="rotated"), batch, 150)
    np.testing.assert_allclose(curve, risks, rtol=0.1)
    aligned = nq.risk_curve(problem, nq.Adam(rate, 0.9, 0.99, **SMALL), batch, 150)
    assert abs(np.log(aligned / risks)).max() > 2 * abs(np.log(curve / risks)).max()


def test_all_questions_agree_with_the_curve():
    optimizer = nq.Adam([0.02, 0.1], 0.9, 0.95, **SMALL)
    curve = nq.risk_curve(PROBLEM, optimizer, 64, 400)
    np.testing.assert_allclose(nq.risk(PROBLEM, optimizer, 64, [400, 37]), [curve[0, 400], curve[1, 37]], rtol=1e-12)
    found = nq.steps_to_target(PROBLEM, optimizer, 64, target=50.0)
    first = [int(np.argmax(risks <= 50.0)) for risks in curve]
    assert found.steps.tolist() == first
    table = nq.sweep(PROBLEM, optimizer, [64, 16], target=50.0, progress=False)
    assert table.steps.sel(batch_size=64).values.tolist() == first
    plan = nq.Plan(0.02, steps=[100, 300], batch_size=64)
    np.testing.assert_allclose(
        nq.run(PROBLEM, optimizer.replace(learning_rate=0.02), plan), curve[0, [0, 100, 400]], rtol=1e-12
    )


def test_a_plan_changes_rate_betas_and_batch_size_on_the_way():
    plan = nq.Plan([0.1, 0.01], steps=[30, 20], batch_size=[8, 64], beta1=[0.9, 0.5])
    risks = nq.run(PROBLEM, nq.Adam(0.1, **SMALL), plan)
    one = nq.run(PROBLEM, nq.Adam(0.1, **SMALL), plan.replace(beta1=0.9))
    assert risks[1] == one[1]
    assert risks[2] != one[2]
    assert risks[2] < risks[1]


@pytest.mark.parametrize(
    ("optimizer", "target", "status"),
    [
        (nq.SignSGD(0.5, **SMALL), 1.0, nq.Status.NEVER),
        (nq.SignSGD(0.0, **SMALL), 1.0, nq.Status.NEVER),
        (nq.Adam(1e-7, **SMALL), 1.0, nq.Status.OUT_OF_STEPS),
        (nq.Adam(0.1, **SMALL), 1e9, nq.Status.REACHED),
        (nq.Adam(0.1, **SMALL), 0.0, nq.Status.NEVER),
    ],
)
def test_statuses(optimizer, target, status):
    found = nq.steps_to_target(PROBLEM, optimizer, 16, target, max_steps=20_000)
    assert found.status == status
    assert np.isfinite(found.steps) == (status == nq.Status.REACHED)


def test_gradients_and_transformations():
    def end(rate, steps):
        return nq.risk(PROBLEM, nq.Adam(rate, **SMALL), 64.0, steps)

    with jax.enable_x64():
        slope = jax.grad(end)(0.05, 30)
        slopes = jax.vmap(lambda rate: end(rate, 30))(np.array([0.05, 0.06]))
    low, high = end(0.05 - 1e-6, 30), end(0.05 + 1e-6, 30)
    np.testing.assert_allclose(slope, (high - low) / 2e-6, rtol=1e-5)
    np.testing.assert_allclose(slopes, [end(0.05, 30), end(0.06, 30)], rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nq.risk(PROBLEM, nq.Adam(0.1, beta1=1.0), 1, 1), r"beta1 is 1.0: give a value in \[0, 1\)"),
        (lambda: nq.risk(PROBLEM, nq.RMSprop(0.1, eps=-1.0), 1, 1), "eps is -1.0: give a finite number that is not negative"),
        (lambda: nq.risk(PROBLEM, nq.AdamW(0.1, weight_decay=-1.0), 1, 1), "weight_decay is -1.0: give a finite strength"),
        (lambda: nq.risk(PROBLEM, nq.Adam(0.1, basis="turned"), 1, 1), "basis is 'turned': choose from aligned, rotated"),
        (lambda: nq.risk(PROBLEM, nq.Adam(0.1, nodes=1), 1, 1), "nodes is 1: give a whole number, at least 2"),
        (lambda: nq.stationary_risk(PROBLEM, nq.Adam(0.1), 1), "stationary_risk is for linear optimizers"),
        (lambda: nq.tune(PROBLEM, nq.Adam(0.1), 1, 1.0, fixed=["learning_rate"]), "leave at least one of learning_rate"),
        (lambda: nq.optimize_schedule(PROBLEM, nq.Adam(0.1), 1, 10, 2), "this question is for linear optimizers"),
        (lambda: nq.stability_edge(nq.Adam(0.1), 1.0), "stability_edge is for linear optimizers"),
        (lambda: nq.steps_to_target(PROBLEM, nq.Adam(0.1), 1, 1.0, rule="stays"), 'rule "stays" is for linear optimizers'),
        (lambda: nq.sweep(PROBLEM, nq.Adam(0.1), 1, 1.0, rule="stays"), 'rule "stays" is for linear optimizers'),
        (lambda: nq.risk(PROBLEM, optax.adam(0.1), 1, 1), "any of optax can be sampled, by nqmjax.monte_carlo"),
        (lambda: nq.risk(PROBLEM, nq.Averaged(nq.Adam(0.1), 0.9), 1, 1), "Averaged wraps a linear optimizer"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


LEAPING = {
    "Adam": nq.Adam(0.05, **SMALL),
    "AdamW": nq.AdamW(0.01, 0.8, 0.97, weight_decay=0.1, **SMALL),
    "AdamL2": nq.AdamL2(0.01, 0.8, 0.97, strength=0.1, **SMALL),
    "rotated": nq.Adam(0.01, basis="rotated"),
    "SignSGD": nq.SignSGD(0.002, weight_decay=0.1, **SMALL),
    "Lion": nq.Lion(0.0003, weight_decay=0.1, **SMALL),
}


@pytest.mark.parametrize("name", LEAPING)
def test_leaps_end_where_updates_one_by_one_do(name):
    optimizer, problem = LEAPING[name], LAYERED if name == "rotated" else PROBLEM
    curve = nq.risk_curve(problem, optimizer, 16, 5000)
    leapt = nq.risk(problem, optimizer, 16, [500, 600, 1000, 2500, 5000])
    np.testing.assert_allclose(leapt, curve[[500, 600, 1000, 2500, 5000]], rtol=1e-3)
    assert leapt[0] == pytest.approx(curve[500], rel=1e-13)
    assert (leapt[1:] != curve[[600, 1000, 2500, 5000]]).any()


def test_the_first_update_below_a_target_is_found_among_those_leapt_over():
    optimizer = nq.Adam(0.001, 0.9, 0.95, **SMALL)
    curve = nq.risk_curve(PROBLEM, optimizer, 64, 3000)
    targets = curve[[700, 1900]]
    found = nq.steps_to_target(PROBLEM, optimizer, 64, targets)
    first = [int(np.argmax(curve <= target)) for target in targets]
    assert (abs(found.steps - first) <= np.maximum(1, 1e-3 * np.array(first))).all()
    plan = nq.Plan([0.001, 0.002], steps=[700, 1300], batch_size=64)
    assert nq.run(PROBLEM, optimizer, plan)[1] == pytest.approx(curve[700], rel=1e-3)
