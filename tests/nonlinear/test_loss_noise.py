"""Noise that follows the loss, sampled: runs of the model, and linear regression on inputs drawn anew for each batch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import nqmjax as nq

REGRESSION = nq.least_squares([1.0, 0.5, 0.2], label_noise=0.2)


def test_sampled_runs_of_the_model():
    runs = nq.monte_carlo(REGRESSION, optax.sgd(0.3, momentum=0.5), batch_size=16, num_steps=40, num_seeds=4000, key=1)
    expected = nq.risk_curve(REGRESSION, nq.HeavyBall(0.3, 0.5), 16, 40)
    assert (np.abs(runs.risk - expected)[1:] <= 4 * runs.standard_error[1:]).all()


def test_sampled_linear_regression():
    h, batch, seeds = jnp.asarray(REGRESSION.curvature, jnp.float32), 4, 8000
    method = optax.sgd(0.3, momentum=0.5)

    def batch_loss(theta, inputs, noise):
        return 0.5 * ((inputs @ theta - noise) ** 2).mean()

    def run(key):
        def update(carry, key):
            theta, state = carry
            drawn = jax.random.normal(key, (batch, 4))
            inputs, noise = drawn[:, :3] * jnp.sqrt(h), drawn[:, 3] * 0.2**0.5
            updates, state = method.update(jax.grad(batch_loss)(theta, inputs, noise), state)
            theta = optax.apply_updates(theta, updates)
            return (theta, state), 0.1 + 0.5 * (h * theta**2).sum()

        first, *others = jax.random.split(key, 41)
        theta = jax.random.normal(first, (3,))
        return jax.lax.scan(update, (theta, method.init(theta)), jnp.stack(others))[1]

    risks = np.asarray(jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(0), seeds)), np.float64)
    expected = nq.risk_curve(REGRESSION, nq.HeavyBall(0.3, 0.5), batch, 40)[1:]
    assert (np.abs(risks.mean(0) - expected) <= 4 * risks.std(0) / seeds**0.5).all()
