"""Strides: against sampling by optax, a plain loop over second moments, and closed forms."""

import dataclasses
import functools

import jax
import numpy as np
import optax
import pytest

import nqmjax as nq
from nqmjax.scaling.strides import CHUNK

PROBLEM = nq.from_spectrum(
    [1.0, 0.4, 0.1], count=[4, 8, 20], noise=[1.0, 2.0, 0.1], initial=[1.0, 2.0, 0.5], layer=["a", "a", "b"]
)
STEPS, SEEDS, BATCH = 6, 4000, 4.0
SMALL = {"nodes": 24}
METHODS = {
    "HeavyBall": (nq.HeavyBall(0.2, 0.9), optax.sgd(0.2, momentum=0.9), 0.0),
    "Averaged": (
        nq.Averaged(nq.Preconditioned(nq.HeavyBall(0.2, 0.5), 0.5), 0.7),
        optax.chain(nq.precondition(PROBLEM, 0.5), optax.sgd(0.2, momentum=0.5)),
        0.7,
    ),
    "SignSGD": (nq.SignSGD(0.05, **SMALL), optax.sign_sgd(0.05), 0.0),
}


BATCHES = BATCH * np.exp([-1e-4, 0.0, 1e-4])


@functools.cache
def strides_of(optimizer):
    """At all of `BATCHES`, so that every kind of optimizer is compiled once."""
    return nq.strides(PROBLEM, optimizer, BATCHES, STEPS)


def sampled(transformation, average, seeds, steps):
    """What `NAMES` names, by layer, and standard errors; each of shape `(4, 3, steps)`."""
    rng, count = np.random.default_rng(3), PROBLEM.count.astype(int)
    h, c, s = (np.repeat(values, count) for values in (PROBLEM.curvature, PROBLEM.noise, PROBLEM.initial))
    first = np.repeat(np.array(PROBLEM.layer) == "a", count)
    members = np.stack([np.ones_like(first), first, ~first]).astype(float)
    theta = scored = np.sqrt(s) * rng.normal(size=(seeds, h.size))
    found = []
    with jax.enable_x64(), jax.numpy_dtype_promotion("standard"):
        state = transformation.init(theta)
        for _ in range(steps):
            xi = np.sqrt(c / BATCH) * rng.normal(size=theta.shape)
            g = h * theta + xi
            u, state = transformation.update(g, state, theta)
            u = np.asarray(u)
            theta, before = theta + u, scored
            scored = average * before + (1 - average) * theta
            change = 0.5 * h * (scored**2 - before**2)
            sums = np.stack([np.abs(g), np.abs(u), change, change + xi * (scored - before)]) @ members.T
            sums[:2] /= members.sum(1)
            found.append(sums)
    found = np.stack(found, axis=-1)
    return found.mean(1), found.std(1) / np.sqrt(seeds)


NAMES = ["mean_gradient", "mean_update", "loss_change", "batch_loss_change"]


@pytest.mark.parametrize("name", METHODS)
def test_sampled_strides_agree_within_four_standard_errors(name):
    optimizer, transformation, average = METHODS[name]
    found = strides_of(optimizer).isel(batch_size=1)
    mean, error = sampled(transformation, average, SEEDS, STEPS)
    exact = np.stack([found[variable].values for variable in NAMES])
    away = np.abs(exact - mean) / np.maximum(error, 1e-9)  # the length of a sign's update does not vary
    assert away.max() < 4, (name, away.max((1, 2)))


def test_adam_agrees_once_its_mean_squares_have_settled():
    found = nq.strides(PROBLEM, nq.Adam(0.05, 0.9, 0.99, **SMALL), BATCH, 40).isel(step=slice(20, None))
    mean, error = sampled(optax.adam(0.05, 0.9, 0.99), 0.0, 1000, 40)
    for variable, values, errors in zip(NAMES, mean, error, strict=True):
        room = 4 * errors[:, 20:] + 0.03 * np.abs(values[:, 20:])
        assert (np.abs(found[variable].values - values[:, 20:]) < room).all(), variable


def test_strides_are_a_plain_loop_over_second_moments():
    a, beta, batch = 0.3, 0.8, 8.0
    batches = [1.0, batch, 1e6]
    found = nq.strides(PROBLEM, nq.HeavyBall(a, beta), batches, STEPS).sel(layer="all", batch_size=batch)
    h, c, w = PROBLEM.curvature, PROBLEM.noise / batch, PROBLEM.count
    moments = np.zeros((3, 2, 2))
    moments[:, 0, 0] = PROBLEM.initial
    mean = np.sqrt(2 / np.pi)
    for t in range(STEPS):
        s = moments[:, 0, 0].copy()
        x, squares = h**2 * s + c, np.zeros(3)
        for i in range(3):
            move = np.array([[-a * h[i], -a * beta], [h[i], beta - 1]])
            kick = np.array([-a, 1.0])
            squares[i] = move[0] @ moments[i] @ move[0] + a**2 * c[i]
            moments[i] = (np.eye(2) + move) @ moments[i] @ (np.eye(2) + move).T + c[i] * np.outer(kick, kick)
        change = 0.5 * (w * h * (moments[:, 0, 0] - s)).sum()
        expected = {
            "mean_gradient": mean * (w * np.sqrt(x)).sum() / w.sum(),
            "mean_update": mean * (w * np.sqrt(squares)).sum() / w.sum(),
            "mean_update_over_rate": mean * (w * np.sqrt(squares)).sum() / w.sum() / a,
            "loss_change": change,
            "batch_loss_change": change - a * (w * c).sum(),
            "exponent": -0.5 * (w * c / np.sqrt(x)).sum() / (w * np.sqrt(x)).sum(),
            "B_L1": ((w * np.sqrt(PROBLEM.noise)).sum() / (w * h * np.sqrt(s)).sum()) ** 2,
            "B_simple": (w * PROBLEM.noise).sum() / (w * h**2 * s).sum(),
            "participation": (w * x).sum() ** 2 / (w * x**2).sum(),
        }
        for name, value in expected.items():
            assert float(found[name][t]) == pytest.approx(value, rel=1e-9), (name, t)


def test_losses_add_up_to_the_risk_and_layers_to_the_whole():
    for optimizer in (nq.DecoupledWeightDecay(nq.HeavyBall(0.2, 0.9), 0.1), METHODS["SignSGD"][0]):
        found = strides_of(optimizer).isel(batch_size=1)
        curve = nq.risk_curve(PROBLEM, optimizer, BATCH, STEPS)
        np.testing.assert_allclose(found.loss_change_sum.sel(layer="all"), curve[1:] - curve[0], rtol=1e-10)
        np.testing.assert_allclose(found.loss_change.sel(layer=["a", "b"]).sum("layer"), found.loss_change.sel(layer="all"))
        shares = [12 / 32, 20 / 32]
        np.testing.assert_allclose(
            shares @ found.mean_gradient.sel(layer=["a", "b"]).values, found.mean_gradient.sel(layer="all")
        )


def test_long_runs_go_on_where_the_first_updates_end():
    steps = CHUNK + 3
    found = nq.strides(PROBLEM, METHODS["HeavyBall"][0], BATCHES, steps).isel(batch_size=1)
    curve = nq.risk_curve(PROBLEM, METHODS["HeavyBall"][0], BATCH, steps)
    assert found.sizes["step"] == steps
    np.testing.assert_allclose(found.loss_change_sum.sel(layer="all"), curve[1:] - curve[0], rtol=1e-10)


def test_exponents_are_derivatives_and_crossovers_are_those_of_the_noise_scale():
    for name in ("HeavyBall", "SignSGD"):
        found = strides_of(METHODS[name][0])
        slope = np.diff(np.log(found.mean_gradient.values[[0, 2]]), axis=0)[0] / 2e-4
        # At the first update the law of the parameter is that of the start, whatever the batch size.
        np.testing.assert_allclose(found.exponent.values[1, :, 0], slope[:, 0], rtol=1e-5)
        simple = float(found.B_simple.sel(layer="all")[1, 0])
        assert simple == pytest.approx(float(nq.noise_scale(PROBLEM, definition="B_simple")), rel=1e-6)


def test_sums_over_epochs_are_of_complete_epochs():
    found = nq.strides(PROBLEM, METHODS["HeavyBall"][0], [2, 4, 10], STEPS, dataset_size=10)
    assert found.updates_per_epoch.values.tolist() == [5, 2, 1]
    assert found.sizes["epoch"] == STEPS
    for name in ("mean_gradient", "mean_update_over_rate", "batch_loss_change"):
        values, sums = found[name].values, found[f"{name}_per_epoch"].values
        np.testing.assert_allclose(sums[0, :, 0], values[0, :, :5].sum(-1))
        np.testing.assert_allclose(sums[1, :, :3], values[1].reshape(3, 3, 2).sum(-1))
        np.testing.assert_allclose(sums[2], values[2])
        assert np.isnan(sums[0, :, 1:]).all()
        assert np.isnan(sums[1, :, 3:]).all()


def test_runs_without_noise_or_signal_or_end():
    def run(rate=0.5, **changes):
        return nq.strides(dataclasses.replace(PROBLEM, **changes), nq.HeavyBall(rate, 0.9), BATCHES, STEPS).sel(layer="all")

    nothing = np.zeros(3)
    still = run(noise=nothing, initial=nothing)
    assert not any(still[name].any() for name in ("mean_gradient", "exponent"))
    assert np.isinf(still.participation).all()
    quiet = run(noise=nothing)
    assert not any(quiet[name].any() for name in ("B_L1", "B_simple", "exponent"))
    noise = run(initial=nothing).isel(step=0)
    assert np.isinf(noise.B_simple).all()
    np.testing.assert_allclose(noise.exponent, -0.5)
    wild = run(rate=1e200)
    assert not any(np.isnan(wild[name]).any() for name in NAMES)
    assert np.isinf(wild.mean_update[:, -1]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "steps is 0: give a whole number, at least 1"),
        ({"batch_size": [[1.0]]}, r"the shape of batch_size is \(1, 1\)"),
        ({"optimizer": nq.SGD([0.1, 0.2])}, r"the shape of learning_rate is \(2,\)"),
        ({"dataset_size": 3.0}, "dataset_size is 3.0: give at least one batch of examples, 4"),
        ({"problem": nq.power_law(2, layer="all")}, "a layer is 'all': rename it"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        nq.strides(**{"problem": PROBLEM, "optimizer": nq.SGD(0.1), "batch_size": BATCH, "steps": 2} | arguments)
