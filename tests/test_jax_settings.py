"""Public functions answer alike whatever the caller's settings of JAX, inside `shard_map` too."""

import jax
import numpy as np
import optax
import pytest

import nqmjax as nq
from nqmjax._tools import precision
from nqmjax.sweeps import lanes

PROBLEM, TARGET = nq.power_law(6), 0.5
RATES = np.array([0.05, 0.1, 9.0])  # the last one diverges: infinity is an answer
SETTINGS = {
    "rank promotion": lambda: jax.numpy_rank_promotion("raise"),
    "dtype promotion": lambda: jax.numpy_dtype_promotion("strict"),
    "debug_infs": lambda: jax.debug_infs(True),
    "debug_nans": lambda: jax.debug_nans(True),
    "transfer guard": lambda: jax.transfer_guard("disallow"),
    "double precision": lambda: jax.enable_x64(True),
}


class Own(nq.LinearOptimizer):
    """A user's optimizer."""

    learning_rate: float

    def initial(self, theta):
        return theta, 0.0

    def change(self, state, gradient):
        return -self.learning_rate * (gradient + 0.5 * state[1]), gradient - 0.5 * state[1]


HEAVY = nq.HeavyBall(RATES, 0.9)
CALLS = {
    "risk": lambda: nq.risk(PROBLEM, HEAVY, 8, [[10], [10_000]]),
    "risk of one's own": lambda: nq.risk(PROBLEM, Own(RATES), np.array([8, 16, 32]), 100),
    "risk_curve": lambda: nq.risk_curve(PROBLEM, HEAVY, np.array([[8], [16]]), 12),
    "stationary_risk": lambda: nq.stationary_risk(PROBLEM, nq.Averaged(nq.Preconditioned(nq.SGD(RATES), 0.5), 0.9), 8),
    "steps_to_target": lambda: nq.steps_to_target(PROBLEM, HEAVY, 64, TARGET),
    "steps that stay": lambda: nq.steps_to_target(PROBLEM, HEAVY, 64, TARGET, rule="stays"),
    "sweep": lambda: nq.sweep(PROBLEM, HEAVY, [8, 64], TARGET).steps.values,
    "run": lambda: nq.run(PROBLEM, nq.SGD(0.1), nq.Plan([0.1, 9.0], steps=[10, 400], batch_size=[8, 16])),
    "optimize_schedule": lambda: nq.optimize_schedule(PROBLEM, nq.SGD(0.1), 8, steps=20, pieces=2).risk,
    "monte_carlo": lambda: nq.monte_carlo(PROBLEM, optax.sgd(9.0), 8, 400, 4, key=0).risk.values,
}


@pytest.fixture(scope="module")
def plain():
    return {}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", CALLS)
def test_answers_do_not_depend_on_settings(name, setting, plain):
    if name not in plain:
        plain[name] = jax.tree.map(np.asarray, CALLS[name]())
    with SETTINGS[setting]():
        found = jax.tree.map(np.asarray, CALLS[name]())
    for value, expected in zip(jax.tree.leaves(found), jax.tree.leaves(plain[name]), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-9)


def test_traced_arguments_of_mixed_precision_under_strict_promotion():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"), jax.transfer_guard("disallow"):
        rates = jax.device_put(np.float32([0.05, 0.1]))
        risks = jax.jit(lambda rates: nq.risk(PROBLEM, nq.HeavyBall(rates, 0.5), 8, [10, 100]))(rates)
    np.testing.assert_allclose(np.asarray(risks), nq.risk(PROBLEM, nq.HeavyBall([0.05, 0.1], 0.5), 8, [10, 100]), rtol=1e-5)


def test_inside_shard_map():
    mesh = jax.make_mesh((1,), ("cells",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("cells")
    rates = np.array([0.05, 0.1, 0.2])
    for question in (
        lambda rate: nq.risk(PROBLEM, nq.HeavyBall(rate, 0.5), 64, 100),
        lambda rate: nq.stationary_risk(PROBLEM, nq.SGD(rate), 64),
        lambda rate: nq.risk_curve(PROBLEM, nq.SGD(rate), 64, 5),
    ):
        with jax.enable_x64(True):
            found = jax.jit(jax.shard_map(question, mesh=mesh, in_specs=spec, out_specs=spec))(rates)
        np.testing.assert_allclose(np.asarray(found), question(rates), rtol=1e-9)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_kernels_lower_for_accelerators(dtype):
    problem = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), PROBLEM)
    half, batch, target = np.array([0.5, 8.0, 1.0], dtype)
    limits = np.full((2, 3), 9, np.uint32)

    def questions(rates):
        optimizer = nq.HeavyBall(rates, half)
        return (
            nq.spectral_radius(optimizer, target),
            nq.risk(problem, optimizer, batch, 100),
            nq.stationary_risk(problem, optimizer, batch),
            nq.steps_to_target(problem, optimizer, batch, target).steps,
            nq.steps_to_target(problem, nq.Adam(rates, half, half), batch, target).steps,
            nq.risk_curve(problem, optimizer, batch, 5),
            nq.bayes_bound(problem, rates),
            nq.flat_prior_bound(problem, rates),
            lanes._search(problem, nq.HeavyBall(rates, rates), np.full((2, 3), batch), rates, limits, False),
            nq.run(problem, nq.SGD(half), nq.Plan(rates, steps=[3, 4], batch_size=[2, 3])),
        )

    with precision(dtype):
        lowered = jax.export.export(jax.jit(questions), platforms=["cuda", "tpu"])(np.array([0.1, 0.2], dtype))
    assert lowered.platforms == ("cuda", "tpu")
