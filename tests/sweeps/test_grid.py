"""Grids and tuning: labels, exactness cell by cell, one compilation, and optima no worse than fine grids."""

import jax
import numpy as np
import pytest
from helpers import AggMo

import nqmjax as nq
from nqmjax import noise_scale
from nqmjax.scaling.critical import critical_batch_size, regimes
from nqmjax.scaling.curves import scaling_curves
from nqmjax.scaling.tune import SAMPLES, _samples
from nqmjax.sweeps import lanes
from nqmjax.target.table import Status

PAPER = nq.power_law(10_000).quantize(100)
SMALL = nq.power_law(30)


@pytest.mark.parametrize("rule", ["first", "stays"])
def test_every_cell_is_that_of_steps_to_target(rule):
    rates, momenta, batches, targets = [0.01, 0.1, 1.0], [0.0, 0.95], [16, 1024, 4, 2**18], [0.5, 0.02]
    grid = nq.sweep(SMALL, nq.HeavyBall(rates, momenta), batches, targets, rule=rule)
    assert grid.steps.dims == ("batch_size", "target", "learning_rate", "momentum")
    for index in np.ndindex(grid.steps.shape):
        b, t, a, m = index
        one = nq.steps_to_target(SMALL, nq.HeavyBall(rates[a], momenta[m]), batches[b], targets[t], rule=rule)
        assert grid.steps.values[index] == one.steps
        assert grid.status.values[index] == one.status
    assert set(np.unique(grid.status)) >= {Status.REACHED, Status.NEVER}
    np.testing.assert_allclose(grid.effective_learning_rate.sel(target=0.5, momentum=0.95), np.array(rates) / 0.05)


def test_labels_and_units():
    grid = nq.sweep(SMALL, nq.Averaged(nq.Preconditioned(nq.SGD(0.1), [0.0, 0.5]), 0.9), 64, 0.05)
    assert grid.steps.dims == ("batch_size", "power")
    assert float(grid.learning_rate) == 0.1
    assert grid.steps.attrs["units"] == "updates"
    assert grid.attrs["optimizer"] == "SGD + EMA, learning rate 0.1, decay 0.9"
    assert grid.status.attrs["flag_meanings"] == "reached never diverged out_of_steps"


def test_limit_of_steps_and_float32():
    grid = nq.sweep(SMALL, nq.SGD(0.01), 1024, 0.05, max_steps=10)
    assert grid.status.values.item() == Status.OUT_OF_STEPS
    single = nq.sweep(SMALL, nq.SGD([0.01, 0.1]), 1024, 0.05, dtype="float32")
    double = nq.sweep(SMALL, nq.SGD([0.01, 0.1]), 1024, 0.05)
    np.testing.assert_allclose(single.steps, double.steps, rtol=1e-3, atol=1)


def test_one_compilation_whatever_the_values():
    problem = nq.power_law(17)  # a size that no other test uses
    compiled = lanes._search.__wrapped__
    before = compiled._cache_size()
    for scale in (1.0, 0.5, 0.25):
        nq.sweep(problem, nq.SGD(scale * np.geomspace(1e-3, 1, 150)), [8, 64], 0.1 * scale)
    assert compiled._cache_size() == before + 1


def test_an_interrupted_sweep_ends_cleanly(monkeypatch):
    calls = []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return search(*arguments)

    search = lanes._search
    monkeypatch.setattr(lanes, "_search", interrupted)
    with pytest.raises(KeyboardInterrupt):
        nq.sweep(SMALL, nq.SGD(np.geomspace(1e-3, 1, 400 * lanes.CHUNK)), 64, 0.1)
    assert len(calls) < 300


def published_grid(kind, power):
    rates, others = np.logspace(-8, 1, 100), 1 - np.logspace(-5, 0, 20)
    if kind == "sgd":
        return nq.Preconditioned(nq.SGD(rates), power), nq.Preconditioned(nq.SGD(0.1), power)
    if kind == "heavy ball":
        return nq.Preconditioned(nq.HeavyBall(rates, others), power), nq.Preconditioned(nq.HeavyBall(0.1, 0.9), power)
    return nq.Averaged(nq.Preconditioned(nq.SGD(rates), power), others), nq.Averaged(nq.Preconditioned(nq.SGD(0.1), power), 0.9)


@pytest.mark.parametrize("power", [0.0, 0.75])
@pytest.mark.parametrize("kind", ["sgd", "heavy ball", "ema"])
def test_tuning_is_no_worse_than_the_published_grids(kind, power):
    grid, template = published_grid(kind, power)
    batches = 2.0 ** np.arange(2, 21, 6)
    best = nq.tune(PAPER, template, batches, 0.01, progress=False)
    table = nq.sweep(PAPER, grid, batches, 0.01, progress=False)
    lowest = table.steps.min([name for name in table.steps.dims if name != "batch_size"])
    assert np.all(best.steps.values <= lowest.values)
    assert np.all(best.efficiency.values <= 1)
    at_edge = [name for name in best if name.endswith("_at_edge")]
    assert not any(best[name].any() for name in at_edge)


def few_directions(seed, directions=3):
    curvature = 10 ** np.random.default_rng(seed).uniform(-2, 0, directions)
    return nq.from_spectrum(np.sort(curvature)[::-1] / curvature.max())


def fewest_of_random_points(problem, make, batches, target, limit, seed, count=20_000):
    """Rates and `1 - momentum` log-uniform."""
    rng = np.random.default_rng(seed)
    optimizer = make(10 ** rng.uniform(-3, 0.8, count), 1 - 10 ** rng.uniform(-3, 0, count))
    cells, limits = (np.broadcast_to(values, (count, len(batches))) for values in (batches, limit))
    return lanes.search_lanes(problem, optimizer, cells, np.full(count, target), limits).steps.min(0)


@pytest.mark.parametrize(("make", "seeds"), [(nq.HeavyBall, [1, 8]), (nq.Nesterov, [2])])
def test_random_points_are_not_better_with_few_directions(make, seeds):
    """Where all oscillations can meet at zero, the best points lie in narrow valleys."""
    batches = 2.0 ** np.array([8, 14, 40])
    for seed in seeds:
        problem = few_directions(seed)
        target = 1e-3 * problem.initial_risk
        best = nq.tune(problem, make(0.1, 0.9), batches, target, progress=False).steps.values
        random = fewest_of_random_points(problem, make, batches, target, best, seed)
        assert np.all(best <= np.maximum(random + 1, 1.005 * random))
        assert np.all(np.diff(best) <= 0)  # more examples per update never harm


def test_a_valley_where_two_directions_vanish_at_once():
    problem = nq.from_spectrum([1.0, 0.3, 0.02])
    target = 0.01 * problem.initial_risk
    assert nq.steps_to_target(problem, nq.HeavyBall(3.3193, 0.88102), 65536, target).steps == 4
    best = nq.tune(problem, nq.HeavyBall(0.1, 0.9), [65536.0, 2.0**30, 2.0**40], target, progress=False)
    assert np.all(best.steps <= 4)


def test_qhm_is_tuned_where_it_is_almost_heavy_ball():
    """There its rates are far larger than elsewhere, but its first step is not."""
    problem = nq.from_spectrum([1.0, 0.32, 0.003], initial=[1.0, 1 / 0.32, 1 / 0.003])
    target = 0.033 * problem.initial_risk
    assert nq.steps_to_target(problem, nq.QHM(222.4404, 0.9984713, 0.9976895), 16, target).steps == 47
    best = nq.tune(problem, nq.QHM(0.1, 0.9, 0.7), 16, target, progress=False)
    assert best.steps <= 48
    tuned = nq.QHM(best.learning_rate.item(), best.momentum.item(), best.nu.item())
    assert nq.steps_to_target(problem, tuned, 16, target).steps == best.steps


def test_equal_curvatures_are_one_direction():
    """And those that hold next to nothing are none: what matters is how many can meet at zero."""
    problem = few_directions(1)
    target = 1e-3 * problem.initial_risk
    eight = nq.from_spectrum(np.repeat(problem.curvature, 8))
    tail = nq.from_spectrum(np.append(problem.curvature, 1e-7 * np.arange(1, 22)))
    assert _samples(problem, target) == _samples(eight, 8 * target) == _samples(tail, target) == SAMPLES
    assert _samples(PAPER, 0.01) == 0


def test_tuned_hyperparameters_give_the_steps_that_are_claimed():
    best = nq.tune(SMALL, nq.HeavyBall(0.1, 0.9), [2**4, 2**12], 0.05)
    optimizer = nq.HeavyBall(best.learning_rate.values, best.momentum.values)
    np.testing.assert_array_equal(nq.steps_to_target(SMALL, optimizer, best.batch_size.values, 0.05).steps, best.steps)
    np.testing.assert_allclose(best.examples, best.steps * best.batch_size)


def test_fixed_and_foreign_hyperparameters_keep_their_values():
    best = nq.tune(SMALL, nq.HeavyBall(0.1, 0.9), [2**4, 2**12], 0.05, fixed=["momentum"])
    assert np.all(best.momentum == 0.9)
    assert "momentum_at_edge" not in best
    own = nq.tune(SMALL, AggMo(0.1, -0.9, 0.0), 64, 0.05)
    assert own.slow.item() == -0.9
    assert np.isfinite(own.steps).all()


def test_targets_that_cannot_be_reached_have_no_optimum():
    best = nq.tune(nq.power_law(10, irreducible=0.5), nq.SGD(0.1), [4, 64], 0.5)
    assert np.all(np.isinf(best.steps))
    assert np.all(best.status == Status.NEVER)
    assert np.all(np.isnan(best.learning_rate))
    assert not best.learning_rate_at_edge.any()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: nq.sweep(SMALL, nq.SGD(np.ones((2, 2))), 64, 0.1), "the shape of learning_rate"),
        (lambda: nq.sweep(SMALL, nq.SGD([]), 64, 0.1), "the shape of learning_rate"),
        (lambda: nq.sweep(SMALL, nq.SGD(0.1), [[64]], 0.1), "the shape of batch_size"),
        (lambda: nq.sweep(SMALL, nq.SGD(0.1), 64, 0.1, rule="last"), "rule is 'last'"),
        (lambda: nq.tune(SMALL, nq.SGD([0.1, 0.2]), 64, 0.1), "the shape of learning_rate"),
        (lambda: nq.sweep(SMALL, nq.SGD(0.1), 64, 0.1, max_steps=[5, 6]), "the shape of max_steps"),
        (lambda: nq.tune(SMALL, nq.SGD(0.1), 64, 0.1, fixed=["momentum"]), "fixed is 'momentum'"),
        (lambda: nq.tune(SMALL, nq.SGD(0.1), 64, 0.1, fixed="momentum"), "fixed is 'momentum'"),
        (lambda: nq.tune(SMALL, nq.SGD(0.1), 64, 0.1, fixed=["learning_rate"]), "leave at least one"),
        (lambda: nq.tune(SMALL, nq.SGD(0.1), 0, 0.1), "batch_size is 0"),
        (lambda: nq.tune(SMALL, nq.SGD(0.1), [[1, 2], [3]], 0.1), "batch_size is .* give a number or an array"),
        (lambda: nq.tune(SMALL, nq.SGD(0.1), 64, None), "target is None"),
        (lambda: nq.tune(SMALL, nq.SGD(0.1), 64, [0.1, 0.2]), "the shape of target"),
        (lambda: nq.tune(SMALL, nq.SGD(0.1), 64, 0.1, fixed=None), "fixed is None"),
        (lambda: nq.tune(SMALL, nq.SGD(0.1), 64, 0.1, fixed=0.9), "fixed is 0.9"),
        (lambda: nq.tune(SMALL, nq.SGD(0.1), 64, 0.1, max_steps="many"), "max_steps is 'many'"),
        (lambda: nq.tune(None, nq.SGD(0.1), 64, 0.1), "problem is None"),
        (lambda: nq.tune(SMALL, None, 64, 0.1), "optimizer is None"),
        (lambda: scaling_curves(SMALL, [4, 8], 0.1, optimizers=None), "optimizers is None"),
        (lambda: scaling_curves(SMALL, [4, 8], 0.1, optimizers="sgd"), "optimizers is 'sgd'"),
        (lambda: scaling_curves(SMALL, [4, 8], 0.1, powers=None), "powers is None"),
        (lambda: scaling_curves(SMALL, [4, 8], 0.1, powers=0.5), "powers is 0.5"),
        (lambda: scaling_curves(SMALL, [4, 8], 0.1, fixed=None), "fixed is None"),
        (lambda: scaling_curves(SMALL, [[4], [8, 9]], 0.1), "batch_size is"),
        (lambda: scaling_curves(SMALL, [4, 8], "low"), "target is 'low'"),
        (lambda: critical_batch_size(None), "curve is NoneType"),
        (lambda: critical_batch_size(([1, 2, 4], [[1], [2, 3]])), "steps is"),
        (lambda: critical_batch_size(([1, 2, 4], [4, 2, 1]), "overhead", None), "overhead is None"),
        (lambda: critical_batch_size(([1, 2, 4], [4, 2, 1]), "overhead", [0.1, 0.2]), "overhead is"),
        (lambda: critical_batch_size(([1, 2, 4], [4, 2, 1]), None), "definition is None"),
        (lambda: regimes(([1, 2, 4], [4, 2, 1]), [0.1, 0.2]), "tolerance is"),
        (lambda: noise_scale(SMALL, [[1.0], [2.0, 3.0]]), "second_moments is"),
        (lambda: noise_scale(SMALL, "a"), "second_moments"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_results_do_not_depend_on_the_precision_of_the_caller():
    with jax.enable_x64(True):
        inside = nq.sweep(SMALL, nq.SGD([0.01, 0.1]), 64, 0.05)
    assert inside.identical(nq.sweep(SMALL, nq.SGD([0.01, 0.1]), 64, 0.05))


def test_qhm_is_never_worse_than_its_special_cases():
    """`nu = 0` is SGD, `nu = 1` heavy ball: also where the best rates are far below the largest stable one."""

    def steps(nu, fixed):
        template = nq.Preconditioned(nq.QHM(0.1, 0.9, nu), 1.0)
        return nq.tune(PAPER, template, [4, 2**16], 0.01, fixed, progress=False).steps

    assert (steps(0.7, []) <= 1.002 * np.minimum(steps(0.0, ["momentum", "nu"]), steps(1.0, ["nu"]))).all()


def test_a_grid_too_large_for_memory_is_refused_at_once():
    many = np.geomspace(1e-3, 1, 10**5)
    with pytest.raises(ValueError, match="the number of cells is 10,000,000,000: give at most"):
        nq.sweep(SMALL, nq.HeavyBall(many, 1 - many), 64, 0.1)
    with pytest.raises(ValueError, match="dim is 1000000000000: give a whole number of directions, from 1 to 100,000,000"):
        nq.power_law(10**12)
