"""Rates of layers against plain formulas of NumPy, at the edges, and inside everything that optax wraps around them."""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nqmjax import monte_carlo, power_law
from nqmjax.nonlinear import scale_by_curvature_radius, scale_by_median_curvature, scale_by_percent_delta

RNG = np.random.default_rng(0)
SHAPES = {"in": {"kernel": (4, 3), "bias": (3,)}, "out": {"kernel": (3, 2), "bias": (2,), "gain": ()}}


def tree(scale=1.0):
    return jax.tree.map(
        lambda shape: np.asarray(scale * RNG.normal(size=shape), np.float32), SHAPES, is_leaf=lambda x: isinstance(x, tuple)
    )


WEIGHTS, GRADIENTS, CURVATURES = tree(), tree(0.1), tree()


def percent_delta(w, g, beta):
    w, g = w[w != 0], g[w != 0]
    return w.size / (np.abs(g / w).sum() + beta * w.size)


def absolute(w, g, beta):
    return np.median(np.abs(w)) / (np.median(np.abs(g)) + beta * np.median(np.abs(w)))


def printed(w, g, beta):
    return abs(np.median(w) / (np.median(g) + beta * np.median(w)))


METHODS = {
    "percent delta": (scale_by_percent_delta, percent_delta),
    "absolute": (scale_by_median_curvature, absolute),
    "printed": (functools.partial(scale_by_median_curvature, form="printed"), printed),
}
RADIUS = functools.partial(scale_by_curvature_radius, lambda _: CURVATURES)
EVERY = {name: method for name, (method, _) in METHODS.items()} | {"radius": RADIUS}


def updated(method, gradients=GRADIENTS, weights=WEIGHTS, **given):
    method = optax.with_extra_args_support(method)
    return method.update(gradients, method.init(weights), weights, **given)[0]


def assert_equal(found, wanted, rtol=2e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(np.asarray(a, float), np.asarray(b, float), rtol=rtol), found, wanted)


def assert_finite(found):
    assert all(np.isfinite(np.asarray(leaf, float)).all() for leaf in jax.tree.leaves(found))


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("name", METHODS)
def test_each_leaf_is_a_layer(name, decay):
    method, ratio = METHODS[name]
    wanted = jax.tree.map(lambda w, g: (g + decay * w) * ratio(np.ravel(w), np.ravel(g), decay), WEIGHTS, GRADIENTS)
    assert_equal(updated(method(decay)), wanted)


@pytest.mark.parametrize("layers", [1, lambda path: path.split("/")[0]], ids=["keys", "function"])
@pytest.mark.parametrize("name", METHODS)
def test_leaves_are_grouped_into_layers(name, layers):
    method, ratio = METHODS[name]
    found = updated(method(0.3, layers=layers))
    for block, gradients in GRADIENTS.items():
        w, g = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(part[block])]) for part in (WEIGHTS, GRADIENTS))
        plain = jax.tree.map(lambda w, g: g + 0.3 * w, WEIGHTS[block], gradients)
        assert_equal(found[block], jax.tree.map(functools.partial(np.multiply, ratio(w, g, 0.3)), plain))


def test_paths_and_keys_name_layers():
    seen = []
    updated(scale_by_percent_delta(layers=lambda path: seen.append(path)))
    assert seen == ["in/bias", "in/kernel", "out/bias", "out/gain", "out/kernel"]
    assert_equal(updated(scale_by_percent_delta(layers=0)), updated(scale_by_percent_delta(layers=lambda _: "all")))
    assert_equal(updated(scale_by_percent_delta(layers=2)), updated(scale_by_percent_delta()))


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_curvature_radius(decay):
    def wanted(w, g, h):
        g = g + decay * w
        return g * (1 + g**2) ** 1.5 / (np.abs(h + decay) + 0.05)

    wanted = jax.tree.map(wanted, WEIGHTS, GRADIENTS, CURVATURES)
    method = functools.partial(scale_by_curvature_radius, damping=0.05, weight_decay=decay)
    assert_equal(updated(method(lambda _: CURVATURES)), wanted)
    assert_equal(updated(method(), hessian_diagonal=CURVATURES), wanted)
    assert_equal(updated(method(lambda _: WEIGHTS), hessian_diagonal=CURVATURES), wanted)


ZERO = jax.tree.map(np.zeros_like, WEIGHTS)
TINY = jax.tree.map(lambda w: np.float32(1e-30) * w, WEIGHTS)
HUGE = jax.tree.map(lambda w: np.float32(1e30) * w, WEIGHTS)


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("name", EVERY)
def test_no_nan_is_made(name, decay):
    for weights in (WEIGHTS, ZERO, TINY, HUGE):
        for gradients in (GRADIENTS, ZERO, TINY):
            with jax.debug_nans(True):
                found = updated(EVERY[name](weight_decay=decay), gradients, weights)
            assert not any(np.isnan(leaf).any() for leaf in jax.tree.leaves(found))


@pytest.mark.parametrize("name", METHODS)
def test_what_vanishes_keeps_its_gradient(name):
    method, _ = METHODS[name]
    assert_equal(updated(method(0.3), weights=ZERO), GRADIENTS)
    assert_equal(updated(method(), gradients=ZERO), ZERO)
    sparse = {"kernel": np.array([0.0, 0.0, 0.0, 1.0], np.float32)}
    full = {"kernel": np.array([1.0, -2.0, 3.0, 4.0], np.float32)}
    if name != "percent delta":
        assert_equal(updated(method(), sparse, full), sparse)
        assert_equal(updated(method(), full, sparse), full)
    with jax.debug_nans(False):
        broken = updated(method(), {"kernel": np.array([np.nan, 1.0, 2.0, 3.0], np.float32)}, full)["kernel"]
    assert np.isnan(broken[0])


def test_percent_delta_counts_weights_above_a_size():
    w, g = np.array([1e-9, 0.0, 2.0], np.float32), np.array([1.0, 1.0, 0.4], np.float32)
    assert_equal(updated(scale_by_percent_delta(), g, w), g * 2 / 1e9, rtol=1e-4)
    assert_equal(updated(scale_by_percent_delta(smallest=1e-6), g, w), g * 5)


def test_no_curvature_and_no_damping():
    w, g = np.ones(3, np.float32), np.array([0.5, 1e20, 0.0], np.float32)
    found = updated(scale_by_curvature_radius(lambda w: 0 * w, damping=0.0), g, w)
    np.testing.assert_array_equal(found, g)
    broken = updated(scale_by_curvature_radius(), g, w, hessian_diagonal=np.array([np.nan, 1.0, 1.0], np.float32))
    np.testing.assert_array_equal(np.isnan(broken), [True, False, False])


@pytest.mark.parametrize("name", EVERY)
def test_under_jit_and_vmap_in_chains_with_injected_hyperparameters(name):
    options, static = ({}, ()) if name == "radius" else ({"layers": 1}, "layers")
    plain = updated(EVERY[name](weight_decay=0.3, **options))
    injected = optax.inject_hyperparams(EVERY[name], static_args=static)(weight_decay=0.3, **options)
    chain = optax.chain(optax.clip(10.0), injected, optax.scale_by_learning_rate(0.5))
    state = chain.init(WEIGHTS)
    found = jax.jit(chain.update)(GRADIENTS, state, WEIGHTS)[0]
    assert_equal(found, jax.tree.map(lambda u: -0.5 * u, plain))
    stacked = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), GRADIENTS)
    both = jax.vmap(lambda g: chain.update(g, state, WEIGHTS)[0])(stacked)
    assert_equal(jax.tree.map(operator.itemgetter(1), both), found)


def test_arguments_and_masks_pass_through_chains():
    radius = optax.chain(scale_by_curvature_radius(damping=0.05), optax.scale_by_learning_rate(1.0))
    wanted = updated(scale_by_curvature_radius(lambda _: CURVATURES, damping=0.05))
    assert_equal(updated(radius, hessian_diagonal=CURVATURES), jax.tree.map(np.negative, wanted))
    first = updated(optax.masked(scale_by_percent_delta(), {"in": True, "out": False}))
    assert_equal(first, {"in": updated(scale_by_percent_delta())["in"], "out": GRADIENTS["out"]})


@pytest.mark.parametrize("name", EVERY)
def test_half_precision_and_mixed_trees(name):
    dtypes = {"kernel": jnp.bfloat16, "bias": jnp.float32, "gain": jnp.bfloat16}

    def cast(values):
        return {block: {key: jnp.asarray(leaf, dtypes[key]) for key, leaf in part.items()} for block, part in values.items()}

    options = {} if name == "radius" else {"layers": 1}
    weights, gradients = cast(WEIGHTS), cast(GRADIENTS)
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        found = updated(EVERY[name](weight_decay=0.3, **options), gradients, weights)
    exact = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), (gradients, weights))
    assert_equal(found, updated(EVERY[name](weight_decay=0.3, **options), *exact), rtol=5e-3)
    assert jax.tree.map(lambda leaf: leaf.dtype, found) == jax.tree.map(lambda leaf: leaf.dtype, gradients)


@pytest.mark.parametrize("name", EVERY)
def test_trees_without_parameters(name):
    for params in ({}, None, [], {"a": None}, {"a": np.zeros((0, 3))}):
        with pytest.raises(ValueError, match="a transformation applied to a tree without parameters"):
            EVERY[name]().init(params)
    with pytest.raises(ValueError, match="a transformation applied to a tree without parameters"):
        EVERY[name]().update(GRADIENTS, optax.EmptyState())
    if name != "radius":
        found = updated(EVERY[name](), {"a": np.zeros((0, 3)), "b": 2.0}, {"a": np.zeros((0, 3)), "b": 4.0})
        assert found["a"].shape == (0, 3)
        assert found["b"] == 4  # a layer of one parameter moves by itself


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: scale_by_percent_delta(-1.0), "weight_decay is -1.0"),
        (lambda: scale_by_percent_delta(smallest=np.nan), "smallest is nan"),
        (lambda: scale_by_percent_delta(layers=1.5), "layers is 1.5"),
        (lambda: scale_by_percent_delta(layers="in"), "layers is 'in'"),
        (lambda: updated(scale_by_percent_delta(layers=lambda _: [])), r"layers\('in/bias'\) is \[\]"),
        (lambda: scale_by_median_curvature(form="absolut"), "did you mean 'absolute'"),
        (lambda: scale_by_median_curvature(weight_decay="a"), "weight_decay is 'a'"),
        (lambda: scale_by_curvature_radius(damping=-0.1), "damping is -0.1"),
        (lambda: scale_by_curvature_radius(WEIGHTS), "give a function of the parameters here"),
        (lambda: updated(scale_by_curvature_radius()), "hessian_diagonal is None"),
        (lambda: updated(scale_by_curvature_radius(lambda _: 1.0), np.ones(3), np.ones(3)), "curvature"),
        (lambda: updated(scale_by_percent_delta(), np.ones(3), np.ones((3, 1))), "shapes of one parameter is"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize("name", METHODS)
def test_sampled_on_the_quadratic(name):
    """Without noise, one parameter by itself moves by the rate's share of its size at each update."""
    chain = optax.chain(METHODS[name][0](), optax.scale_by_learning_rate(0.1))
    runs = monte_carlo(power_law(1, noise=0.0), chain, batch_size=1, num_steps=20, num_seeds=2, key=0)
    np.testing.assert_allclose(runs.risk, runs.risk.values[0] * 0.9 ** (2 * np.arange(21)))


def test_ratios_that_have_no_limit_for_many_weights():
    """With printed medians a ratio is far from 1 as often in large layers; the level of PercentDelta falls as 1 / ln n."""

    def ratios(method, size, layers=500):
        w, g = (jax.random.normal(key, (layers, size)) for key in jax.random.split(jax.random.key(size)))
        return np.abs(np.asarray(jax.vmap(lambda g, w: method.update(g, optax.EmptyState(), w)[0][0] / g[0])(g, w)))

    for size in (11, 101):
        far = ratios(scale_by_median_curvature(form="printed"), size)
        assert np.mean(far > 5) == pytest.approx(2 / np.pi * np.arctan(1 / 5), abs=0.05)  # Cauchy
        assert np.median(far) == pytest.approx(1, abs=0.1)
    assert ratios(scale_by_median_curvature(), 101).std() < 0.3
    levels = [1 / np.median(ratios(scale_by_percent_delta(), size)) for size in (11, 101)]
    assert levels[1] - levels[0] == pytest.approx(2 / np.pi * np.log(101 / 11), rel=0.15)


def test_optax_gives_what_is_zero_the_ratio_one():
    """The first trap: with a trust coefficient of 0.001 biases that begin at 0 have 1,000 times the rate."""
    w, g = {"kernel": jnp.full(4, 2.0), "bias": jnp.zeros(2)}, {"kernel": jnp.full(4, 0.5), "bias": jnp.full(2, 0.5)}

    def update(**options):
        return updated(optax.lars(momentum=0.0, **options), g, w)

    assert_equal(update(learning_rate=1.0), {"kernel": np.full(4, -0.002), "bias": np.full(2, -0.5)})
    within_rate = update(learning_rate=0.001, trust_coefficient=1.0)
    assert_equal(within_rate, {"kernel": np.full(4, -0.002), "bias": np.full(2, -0.0005)})


def test_optax_divides_by_the_norm_of_the_sum():
    """The second trap: where gradient and decay cancel, the step is as long as ever; the paper's becomes short."""
    w = np.array([3.0, 4.0], np.float32)
    g = -np.float32(0.1) * w + np.array([0.004, -0.003], np.float32)
    found = updated(optax.lars(1.0, weight_decay=0.1, trust_coefficient=1.0, momentum=0.0), g, w)
    assert np.linalg.norm(found) == pytest.approx(5.0, rel=1e-5)
    size = np.linalg.norm
    assert size(w) / (size(g) + 0.1 * size(w)) * size(g + 0.1 * w) == pytest.approx(0.025, rel=1e-3)
    assert size(updated(scale_by_median_curvature(0.1), g, w)) == pytest.approx(0.025, rel=0.02)
    decoupled = optax.chain(optax.scale_by_trust_ratio(), optax.add_decayed_weights(0.1))
    assert size(updated(decoupled, g, w) - size(w) / size(g) * g) == pytest.approx(0.5, rel=1e-5)
