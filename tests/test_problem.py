"""The problem's factories and its grouping."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nqmjax as nq


def test_the_papers_problem():
    problem = nq.power_law(10_000)
    assert problem.dim == 10_000
    assert problem.initial_risk == pytest.approx(0.5 * (1 / np.arange(1, 10_001)).sum())
    np.testing.assert_array_equal(problem.noise, problem.curvature)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 60), st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_grouping_keeps_the_sums(bins, size, seed):
    rng = np.random.default_rng(seed)
    problem = nq.from_spectrum(
        10 ** rng.uniform(-6, 1, size) * (rng.random(size) < [0.9] * (size - 1) + [1]),
        count=rng.integers(1, 9, size),
        noise=rng.random(size),
        initial=rng.random(size),
        irreducible=0.5,
    )
    small = problem.quantize(bins)
    assert small.curvature.size <= bins or small is problem
    assert small.dim == problem.dim
    for name in ("curvature", "noise"):
        total = (problem.count * getattr(problem, name)).sum()
        assert (small.count * getattr(small, name)).sum() == pytest.approx(total, rel=1e-12)
    assert small.initial_risk == pytest.approx(problem.initial_risk, rel=1e-12)


def test_eigenvalues_just_below_zero_are_round_off():
    np.testing.assert_array_equal(nq.from_spectrum([-1e-7, 2.0, -0.0]).curvature, [2.0, 0.0, 0.0])
    with pytest.raises(ValueError, match=r"eigenvalues\[0\] is -1e-05"):
        nq.from_spectrum([-1e-5, 2.0])


def test_grouping_uses_every_bin():
    small = nq.power_law(10_000).quantize(100)
    assert small.curvature.size == 100
    assert np.all(np.diff(small.curvature) < 0)
    np.testing.assert_allclose(small.noise, small.curvature)
    np.testing.assert_array_equal(nq.power_law(50).quantize(100).curvature, nq.power_law(50).curvature)


@settings(deadline=None, max_examples=25)
@given(st.integers(4, 60), st.integers(1, 200), st.integers(0, 2**32 - 1))
def test_groups_never_mix_layers(bins, size, seed):
    rng = np.random.default_rng(seed)
    names = rng.choice(["first", "second", "head"], size)
    curvature = 10 ** rng.uniform(-6, 1, size) * (rng.random(size) < [0.9] * (size - 1) + [1])
    problem = nq.from_spectrum(curvature, count=rng.integers(1, 9, size), layer=names)
    small = problem.quantize(bins)
    assert small.curvature.size <= bins or small is problem
    assert set(small.layers[0]) == set(names)
    for name in set(names):
        for part in (problem, small):
            assert len(part.layer) == part.curvature.size
        mine, its = np.array(problem.layer) == name, np.array(small.layer) == name
        assert small.count[its].sum() == problem.count[mine].sum()
        assert (small.count * small.curvature)[its].sum() == pytest.approx((problem.count * problem.curvature)[mine].sum())


def test_one_layer_groups_as_none_does():
    plain, named = nq.power_law(500).quantize(20), nq.power_law(500, layer="all").quantize(20)
    np.testing.assert_array_equal(plain.curvature, named.curvature)
    assert named.layer == ("all",) * 20


def test_layers_follow_their_directions_and_pass_through_transformations():
    problem = nq.from_spectrum([0.1, 2.0, 0.5], layer=["a", "b", "a"])
    assert problem.layer == ("b", "a", "a")
    names, numbers = problem.layers
    assert (names, numbers.tolist()) == (["b", "a"], [0, 1, 1])
    assert nq.power_law(2, layer=[7, 8]).layer == ("7", "8")
    assert nq.power_law(2).layer is None
    doubled = jax.jit(lambda problem: jax.tree.map(lambda leaf: 2 * leaf, problem))(problem)
    assert doubled.layer == problem.layer
    plain = nq.from_spectrum([0.1, 2.0, 0.5])
    curve = nq.risk_curve(plain, nq.SGD(0.1), 4, 9)
    np.testing.assert_array_equal(nq.risk_curve(problem, nq.SGD(0.1), 4, 9), curve)
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), problem, problem)
    curves = jax.vmap(lambda problem: nq.risk_curve(problem, nq.SGD(0.1), 4, 9))(stacked)
    np.testing.assert_allclose(curves, [curve, curve], rtol=1e-6)


@pytest.mark.parametrize("power", [0.0, 0.25, 0.5, 0.75])
def test_a_hundred_groups_stand_for_ten_thousand_directions(power):
    full, batches = nq.power_law(10_000), 2.0 ** np.arange(2, 21, 2)
    best = nq.tune(full.quantize(100), nq.Preconditioned(nq.SGD(0.1), power), batches, 0.01, progress=False)
    optimizer = nq.Preconditioned(nq.SGD(best.learning_rate.values), power)
    exact = nq.steps_to_target(full, optimizer, batches, 0.01).steps
    assert np.all(np.abs(exact - best.steps.values) <= np.maximum(0.001 * exact, 1))


@pytest.mark.parametrize("batch_size", [2**4, 2**20])
def test_a_hundred_groups_are_enough_for_momentum(batch_size):
    """Heavy ball's steps jump where an oscillation just misses the target: compare optima, not single settings."""
    full = nq.power_law(10_000)
    best = nq.tune(full.quantize(100), nq.HeavyBall(0.1, 0.9), batch_size, 0.01, progress=False)
    rates = best.learning_rate.item() * np.geomspace(0.98, 1.02, 9)[:, None]
    momenta = 1 - (1 - best.momentum.item()) * np.geomspace(0.98, 1.02, 5)
    exact = nq.steps_to_target(full, nq.HeavyBall(rates, momenta), batch_size, 0.01).steps.min()
    assert abs(exact - best.steps.item()) <= max(0.005 * exact, 1)


def test_spectra_are_sorted_and_counted():
    problem = nq.from_spectrum([0.1, 2.0, 0.0], count=[5, 1, 3], noise=[1, 2, 3], initial=[7, 8, 9])
    np.testing.assert_array_equal(problem.curvature, [2.0, 0.1, 0.0])
    np.testing.assert_array_equal(problem.noise, [2, 1, 3])
    np.testing.assert_array_equal(problem.count, [1, 5, 3])
    assert problem.dim == 9


def test_directions_without_curvature_never_count():
    plain, padded = nq.from_spectrum([1.0, 0.1]), nq.from_spectrum([1.0, 0.1, 0.0], noise=[1.0, 0.1, 5.0])
    for optimizer in (nq.HeavyBall(0.1, 0.9), nq.Preconditioned(nq.SGD(0.1), 1.0)):
        for steps in (10, 10**6):
            assert nq.risk(padded, optimizer, 16, steps) == pytest.approx(nq.risk(plain, optimizer, 16, steps), rel=1e-12)
        found = [nq.steps_to_target(problem, optimizer, 16, 0.2) for problem in (plain, padded)]
        assert found[0].steps == found[1].steps < np.inf
        assert nq.stationary_risk(padded, optimizer, 16) == pytest.approx(nq.stationary_risk(plain, optimizer, 16))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: nq.power_law(0), "dim is 0"),
        (lambda: nq.power_law(2.5), "dim is 2.5"),
        (lambda: nq.power_law(5, exponent=np.nan), "exponent is nan"),
        (lambda: nq.power_law(5, noise=[1, 2]), "the shape of noise"),
        (lambda: nq.power_law(5, initial=-1), r"initial\[0\] is -1"),
        (lambda: nq.from_spectrum([]), "eigenvalues is"),
        (lambda: nq.from_spectrum([1.0, -0.1]), r"eigenvalues\[1\] is -0.1: .*clip.*Gauss-Newton"),
        (lambda: nq.from_spectrum([0.0, 0.0]), "every eigenvalue is 0"),
        (lambda: nq.power_law(5, irreducible=-1.0), "irreducible is -1.0"),
        (lambda: nq.from_spectrum([1.0, np.nan]), "is nan"),
        (lambda: nq.from_spectrum([1.0], count=[0]), r"count\[0\] is 0"),
        (lambda: nq.from_spectrum(["a"]), "eigenvalues is"),
        (lambda: nq.from_spectrum([1.0], irreducible=np.inf), "irreducible is inf"),
        (lambda: nq.power_law("many"), "dim is 'many': give a number"),
        (lambda: nq.power_law([5]), r"dim is \[5\]: give a whole number"),
        (lambda: nq.power_law(5, exponent=[[1], [2, 3]]), r"exponent is \[\[1\], \[2, 3\]\]: give a number"),
        (lambda: nq.from_spectrum([[1.0], [1.0, 2.0]]), r"eigenvalues is \[\[1.0\], \[1.0, 2.0\]\]: give a number"),
        (
            lambda: nq.from_spectrum(np.ones((1000, 1000))),
            r"eigenvalues is \[1.0, 1.0, .. 1.0\] \(shape \(1000, 1000\)\): give",
        ),
        (lambda: nq.from_spectrum([1.0], irreducible=[[1], [2, 3]]), "irreducible is .*: give a number"),
        (lambda: nq.from_spectrum([1.0], irreducible=[1.0]), r"the shape of irreducible is \(1,\): give one number"),
        (lambda: nq.risk([1.0] * 999, nq.SGD(0.1), 1, 1), r"problem is \[1.0, .*\.\.\.: give one, for example power_law"),
        (lambda: nq.risk(nq.NoisyQuadratic(*[[1.0]] * 4), nq.SGD(0.1), 1, 1), r"curvature is \[1.0\]: give a 1-D array"),
        (lambda: nq.risk(nq.NoisyQuadratic(*[np.ones(2)] * 4, None), nq.SGD(0.1), 1, 1), "irreducible is None: give a number"),
        (lambda: nq.power_law(5).quantize(0), "bins is 0"),
        (lambda: nq.power_law(5, layer=list("abcab")).quantize(2), "bins is 2: give at least one for each of the 3 layers"),
        (lambda: nq.power_law(3, layer=["a", "b"]), r"the shape of layer is \(2,\): give 3 names"),
        (lambda: nq.power_law(3, layer=["a", "", "b"]), r"layer\[1\] is '': give a name that is not empty"),
        (lambda: nq.power_law(3, layer=1.5), "layer is 1.5: give 3 names"),
        (lambda: nq.risk(nq.NoisyQuadratic(*np.ones((4, 2)), layer=("a",)), nq.SGD(0.1), 1, 1), "layer is .*: give a tuple"),
        (lambda: nq.power_law(5).quantize(2.5), "bins is 2.5"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
