"""Strides through runs that swing: what a scan promises holds at every update, and it gets on where looks do not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import ALL

import nqmjax as nq
from nqmjax._tools import precision
from nqmjax.dynamics import Span, build_model, look_ahead, start_position
from nqmjax.target.swings import POINTS, Stride, Swings, scan

PROBLEM = nq.power_law(20, noise=0.0)
LENGTH = 1200


@jax.jit
def strides(optimizer, start, level, floor):
    """Strides of `2^level` updates that a scan promises after `start` updates; the floor is relative to the risk there."""
    model = build_model(PROBLEM, optimizer, 1.0)
    one = Span.one_update(model)
    here = jax.lax.fori_loop(0, start, lambda _, here: look_ahead(model, one, here).end, start_position(model))
    span = jax.lax.fori_loop(0, level, lambda _, span: span.doubled(), one)
    stride = Stride(level, 2.0**level, span.increment, span.margin)
    return scan(model, Swings.of(model), stride, here, floor * here.bias, jnp.int32(POINTS)).good


def promise(optimizer, start, level, floor):
    """The strides, and the risk at every update that they may reach, relative to where they begin."""
    with precision():
        good = strides(jax.tree.map(np.float64, optimizer), start, level, floor)
    risks = nq.risk_curve(PROBLEM, optimizer, 1, LENGTH)[start:]
    return int(good), risks / risks[0]


@pytest.mark.parametrize("name", ["HeavyBall", "QHM"])
def test_no_update_of_a_stride_is_below_the_floor(name):
    rng = np.random.default_rng(0)
    promised = 0
    for _ in range(15):
        optimizer = ALL[name](rng, 10 ** rng.uniform(-3, 0.6))
        optimizer = optimizer.replace(momentum=1 - 10 ** rng.uniform(-4, -0.5))
        start, level, floor = int(rng.integers(0, 100)), int(rng.integers(0, 5)), 10 ** rng.uniform(-3, 0)
        good, risks = promise(optimizer, start, level, floor)
        assert good == 0 or np.all(risks[: good * 2**level + 1] > floor)
        promised += good * 2**level > 64
    assert promised > 2


def test_strides_get_on_while_directions_swing_through_zero():
    optimizer, start = nq.HeavyBall(0.01, 0.9999), 50
    lowest = nq.risk_curve(PROBLEM, optimizer, 1, LENGTH)[start : start + 2 * POINTS + 1].min()
    floor = 0.8 * lowest / nq.risk(PROBLEM, optimizer, 1, start)
    good, _ = promise(optimizer, start, 1, floor)
    assert good == POINTS


def test_a_direction_that_grows_is_not_counted():
    with precision():
        grows = build_model(nq.power_law(1), nq.HeavyBall(3.9, 0.9), 1.0)
        assert not Swings.of(grows).swings.any()
        assert not Swings.of(grows).falls.any()


def test_what_is_known_of_the_roots():
    """The bound of the second derivative, and the size of a swing, against the formula of a damped cosine."""
    rate, momentum, step = 0.3, 0.99, 1e-3
    with precision():
        model = build_model(nq.power_law(1), nq.HeavyBall(rate, momentum), 1.0)
        swings = Swings.of(model)
    turn, fade = np.arccos((1 + momentum - rate) / 2 / momentum**0.5), np.log(momentum) / 2
    time = np.arange(-0.5, 60, step)
    slope = (np.asarray(model.increment[0, 0, 0]) - (momentum - rate - 1) / 2) / np.sqrt(momentum) / np.sin(turn)
    wave = np.exp(2 * fade * time) * (np.cos(turn * time) + slope * np.sin(turn * time)) ** 2
    curves = np.diff(wave, 2) / step**2 / np.exp(2 * fade * time[1:-1]) / (1 + slope**2)
    assert curves.max() <= float(swings.bend[0])
    assert float(swings.bend[0]) < 1.3 * curves.max()


def test_a_direction_that_starts_from_zero_counts_for_nothing():
    """It rises first, so that its end is no bound from below: the risk after one update is less than after eight."""
    with precision():
        model = build_model(nq.from_spectrum([1.0], noise=0.0), nq.HeavyBall(0.001, 0.9), 1.0)
        stride = Stride(jnp.asarray(0), jnp.asarray(1.0), model.increment, jnp.zeros(1))
        here = start_position(model)._replace(state=jnp.array([0.0, -1.0])[:, None, None] * jnp.ones((1, 2, 1)))
        found = scan(model, Swings.of(model), stride, here, jnp.asarray(1e-5), jnp.asarray(8))
    assert int(found.good) == 0


def test_a_direction_that_grows_from_next_to_nothing_hides_no_dip():
    """A dip before a slow explosion, in which a sum of squares had lost the digits that a bound of another one needed."""
    problem = nq.NoisyQuadratic(
        np.array([1.19772853, 0.01088707]), np.zeros(2), np.array([9.97544142e-13, 291.523297]), np.ones(2), 0.0
    )
    optimizer = nq.Averaged(nq.SGD(1.6698292075621066), 0.906754296928104)
    target = nq.risk_curve(problem, optimizer, 1.0, 2000).min() * 1.0003
    assert nq.steps_to_target(problem, optimizer, 1.0, target).steps == 1157
