"""Fits against known truths, SciPy's least squares, and each other with weights, outliers and losses that were held back."""

import dataclasses
import functools
import math

import jax
import numpy as np
import pytest
from scipy.optimize import least_squares

from nqmjax.runs.law_predictions import sum_error
from nqmjax.runs.laws.base import law_inputs, scale_of, starting_points
from nqmjax.runs.laws.baselines import Chinchilla, Kaplan
from nqmjax.runs.laws.quadratic import QuadraticLaw
from nqmjax.runs.laws.sums import COARSE, FINE
from nqmjax.runs.one_law import PRIOR_NOISE, _basins, fit_law, identification, lane, search
from nqmjax.runs.predict import Interval, RunModel, predict
from nqmjax.runs.settings import COSINE, run_settings
from nqmjax.runs.study import Study
from nqmjax.runs.table import Runs
from nqmjax.runs.table import make as make_runs

LAWS = {"adam": QuadraticLaw(), "chinchilla": Chinchilla()}
TRUTH = {
    "adam": np.array([math.log(1.7), math.log(5.0), math.log(0.2), math.log(0.5), -1.0, -3.5, math.log(300.0)]),
    "chinchilla": np.log([1.7, 0.6, 0.34, 0.6, 0.28]),
}
"""Coordinates in units of the grid's sizes; losses from 1.8 to 2.7 and from 2.1 to 5.8 nats."""

STARTS = 8
"""One call of the search."""


def grid():
    """A grid of 48 runs, the shape of every table here, so that a law compiles once."""
    axes = np.meshgrid(np.geomspace(1e6, 3e8, 4), [32, 360, 4096], np.geomspace(100, 2e4, 4))
    return run_settings(*(axis.ravel() for axis in axes))


def drawn(lows, highs, count, seed):
    rng = np.random.default_rng(seed)
    return run_settings(*(np.exp(rng.uniform(np.log(low), np.log(high), count)) for low, high in zip(lows, highs, strict=True)))


GRID = grid()
INSIDE = drawn((1e6, 32, 100), (3e8, 4096, 2e4), len(GRID), seed=3)
"""Other runs between those of the grid."""


def beyond():
    """Runs of exactly 100 times the compute of the grid's largest run."""
    some = drawn((5e8, 512, 1), (2e10, 8192, 2), len(GRID), seed=2)
    compute = 100 * (GRID.model_size * GRID.batch_size * GRID.steps).max()
    return run_settings(some.model_size, some.batch_size, compute / some.model_size / some.batch_size)


BEYOND = beyond()


@functools.partial(jax.jit, static_argnames=("law", "rule"), compiler_options={"xla_backend_optimization_level": 0})
def _log_loss(law, coordinates, inputs, scale, rule):
    return law.log_loss(coordinates, inputs, scale, rule)


def log_loss(law, coordinates, settings, scale, rule=COARSE):
    with jax.enable_x64():
        return np.asarray(_log_loss(law, coordinates, law_inputs(settings), scale, rule))


def true_log_loss(name, settings):
    scale = scale_of(make_runs(GRID.model_size, GRID.batch_size, GRID.steps, 3.0))
    return log_loss(LAWS[name], TRUTH[name], settings, scale)


def table(name, noise=0.0, seed=0, **columns):
    error = noise * np.random.default_rng(seed).standard_normal(len(GRID))
    return make_runs(GRID.model_size, GRID.batch_size, GRID.steps, np.exp(true_log_loss(name, GRID) + error), **columns)


def fit(runs, law, **options):
    return fit_law(runs, law, starts=STARTS, progress=False, **options)


def error_of(fitted, name, settings):
    return log_loss(fitted.law, fitted.coordinates, settings, fitted.scale) - true_log_loss(name, settings)


@pytest.fixture(scope="module", params=LAWS)
def named(request):
    return request.param


@pytest.fixture(scope="module")
def noiseless(named):
    return fit(table(named), LAWS[named], name=named)


@pytest.fixture(scope="module")
def noisy(named):
    """Fits to three tables of 1% noise, by the seed of the noise."""
    return {seed: fit(table(named, 0.01, seed), LAWS[named]) for seed in range(3)}


def test_a_known_optimum_is_found(named, noiseless):
    assert noiseless.mean_squared_error < 1e-6
    assert abs(error_of(noiseless, named, INSIDE)).max() < 0.004
    assert abs(error_of(noiseless, named, BEYOND)).max() < 0.005


def test_noise_of_one_percent(named, noisy):
    for seed, fitted in noisy.items():
        assert fitted.noise == pytest.approx(0.01, rel=0.35), f"seed {seed}"
        for settings in (INSIDE, BEYOND):
            assert abs(error_of(fitted, named, settings)).max() < 0.02, f"seed {seed}"


def model_of(fitted, runs):
    sizes = np.stack([runs.model_size, runs.batch_size, runs.steps, runs.settings.learning_rate], axis=-1)
    known = {"laplace": Interval((fitted.covariance,), 1.0, math.nan, math.nan)}
    return RunModel((fitted,), known, sizes, (COSINE,), 1.0, 1.0, runs.compute_unit, None, (repr(runs),))


def test_intervals_cover(named, noisy):
    """Runs of the same noise inside the data, with intervals that nothing inflates. Over 20 seeds: 88%."""
    inside = []
    for seed, fitted in noisy.items():
        log_losses = true_log_loss(named, INSIDE) + 0.01 * np.random.default_rng([seed, 1]).standard_normal(len(INSIDE))
        found = predict(model_of(fitted, table(named)), INSIDE)
        inside.append((np.log(found.lower.values) <= log_losses) & (log_losses <= np.log(found.upper.values)))
    assert np.mean(inside) >= 0.8, f"seeds {list(noisy)}: {np.mean(inside, axis=1)}"


def plain_residuals(runs, scale, robust):
    """Chinchilla's residuals and priors in NumPy."""
    parameters = Chinchilla().parameters(scale)
    size = np.log(runs.model_size / scale.model_size)
    examples = np.log(runs.batch_size * runs.steps / (scale.batch_size * scale.steps))

    def residuals(x):
        loss = np.exp(x[0]) + np.exp(x[1] - np.exp(x[2]) * size) + np.exp(x[3] - np.exp(x[4]) * examples)
        error = np.log(loss / runs.loss)
        if math.isfinite(robust):
            error = np.sign(error) * np.sqrt(2 * robust**2 * (np.sqrt(1 + (error / robust) ** 2) - 1))
        prior = [PRIOR_NOISE * (value - one.mean) / one.deviation for value, one in zip(x, parameters, strict=True)]
        return np.concatenate([np.sqrt(runs.weight / runs.weight.mean()) * error, prior])

    return residuals


@pytest.mark.parametrize("robust", [math.inf, 0.01])
def test_scipy_ends_at_the_same_cost(robust):
    weight = np.random.default_rng(4).uniform(0.1, 3, len(GRID))
    runs = table("chinchilla", 0.02, seed=4, weight=weight)
    law, scale = Chinchilla(), scale_of(runs)
    residuals = plain_residuals(runs, scale, robust)
    lanes = [lane(law, runs, runs.weight, start) for start in starting_points(law.parameters(scale), STARTS)]
    found = search(law, Study(runs, robust=robust), lanes)
    best = int(found.cost.argmin())
    expected = least_squares(residuals, TRUTH["chinchilla"], jac="3-point", xtol=1e-15, ftol=1e-15, gtol=1e-12)
    assert found.cost[best] == pytest.approx(2 * expected.cost, rel=1e-8)
    assert found.cost[best] == pytest.approx(float((residuals(found.coordinates[best]) ** 2).sum()), rel=1e-10)
    np.testing.assert_allclose(fit(runs, law, robust=robust).coordinates, expected.x, atol=1e-5)


def test_scipy_ends_at_the_same_cost_of_the_quadratic_law():
    law, runs = QuadraticLaw(), table("adam", 0.01, seed=0)
    fitted = fit(runs, law)
    parameters = law.parameters(fitted.scale)
    mean, deviation = (np.array([getattr(one, name) for one in parameters]) for name in ("mean", "deviation"))

    def residuals(x):
        error = log_loss(law, x, GRID, fitted.scale) - np.log(runs.loss)
        return np.concatenate([error, PRIOR_NOISE * (x - mean) / deviation])

    expected = least_squares(residuals, TRUTH["adam"], x_scale=deviation, jac="3-point", xtol=1e-12, ftol=1e-13, gtol=1e-12)
    assert float((residuals(fitted.coordinates) ** 2).sum()) == pytest.approx(2 * expected.cost, rel=1e-8)
    assert fitted.mean_squared_error == pytest.approx(float((residuals(fitted.coordinates)[: len(runs)] ** 2).mean()), rel=1e-9)


def wild_runs(seed):
    rng = np.random.default_rng(seed)
    ends = {"size": (2, 10), "batch": (0, 6), "steps": (0, 6), "loss": (-1, 1.5), "rate": (-6, 1)}
    columns = [10 ** rng.uniform(*end, len(GRID)) for end in ends.values()]
    return make_runs(*columns[:4], columns[4])


@pytest.mark.parametrize("law", [QuadraticLaw(), QuadraticLaw(discrete=True, adaptive=False), Chinchilla(), Kaplan()], ids=repr)
def test_wild_tables_end_somewhere(law):
    for seed in range(2):
        runs = wild_runs(seed)
        starts = starting_points(law.parameters(scale_of(runs)), STARTS, seed)
        found = search(law, Study(runs), [lane(law, runs, runs.weight, start) for start in starts])
        for name, values in found._asdict().items():
            assert np.isfinite(values).all(), f"{name}, seed {seed}"


def with_outlier(runs, place):
    loss = runs.loss.copy()
    loss[place] *= 1.5
    return dataclasses.replace(runs, loss=loss)


def test_an_outlier_pulls_a_robust_fit_less():
    runs = table("chinchilla", 0.01, seed=5)
    distance = {}
    for robust in (math.inf, 0.01):
        clean, pulled = (fit(some, Chinchilla(), robust=robust) for some in (runs, with_outlier(runs, 17)))
        moved = [log_loss(one.law, one.coordinates, INSIDE, one.scale) for one in (clean, pulled)]
        distance[robust] = abs(moved[1] - moved[0]).max()
    assert distance[0.01] < 0.25 * distance[math.inf], distance


def test_errors_of_a_robust_fit_are_those_of_the_log_loss():
    """Not of what is minimised: with one outlier of 40% these differ by much."""
    runs = with_outlier(table("chinchilla", 0.01, seed=5), 17)
    fitted = fit(runs, Chinchilla(), robust=0.01)
    error = log_loss(fitted.law, fitted.coordinates, GRID, fitted.scale) - np.log(runs.loss)
    assert fitted.mean_squared_error == pytest.approx((error**2).mean(), rel=1e-9)


def joined(runs, other):
    """Two tables as one, copies allowed."""
    columns = {name: np.concatenate([getattr(runs, name), getattr(other, name)]) for name in ("loss", "weight", "compute")}
    texts = {name: np.concatenate([getattr(runs, name), getattr(other, name)]) for name in ("budget", "group", "row")}
    numbers = ("model_size", "batch_size", "steps", "learning_rate")
    settings = run_settings(
        *(np.concatenate([getattr(runs.settings, name), getattr(other.settings, name)]) for name in numbers)
    )
    return Runs(settings, **columns, **texts)


def first_runs(runs, count):
    return runs.where(np.arange(len(runs)) < count, "left out")


def test_weight_zero_is_left_out():
    weight = np.where(np.arange(len(GRID)) < 40, 1.0, 0.0)
    runs = table("chinchilla", 0.02, seed=6, weight=weight)
    zero, gone = fit(runs, Chinchilla()), fit(first_runs(runs, 40), Chinchilla())
    assert zero.scale == gone.scale
    np.testing.assert_allclose(zero.coordinates, gone.coordinates, atol=1e-6)
    np.testing.assert_allclose(zero.covariance, gone.covariance, rtol=1e-4)
    assert (zero.noise, zero.mean_squared_error) == pytest.approx((gone.noise, gone.mean_squared_error), rel=1e-6)
    with pytest.raises(ValueError, match="the number of runs is 5: "):
        fit(dataclasses.replace(runs, weight=np.where(np.arange(len(GRID)) < 5, 1.0, 0.0)), Chinchilla())


def test_losses_of_weight_zero_are_not_seen():
    weight = np.where(np.arange(len(GRID)) % 3 > 0, 1.0, 0.0)
    runs = table("chinchilla", 0.02, seed=7, weight=weight)
    found = [
        fit(dataclasses.replace(runs, loss=np.where(weight > 0, runs.loss, factor * runs.loss)), Chinchilla())
        for factor in (1.0, 0.01, 1e3)
    ]
    for one in found[1:]:
        assert one.scale == found[0].scale
        np.testing.assert_array_equal(one.coordinates, found[0].coordinates)
        np.testing.assert_array_equal(one.covariance, found[0].covariance)
        assert (one.noise, one.mean_squared_error, one.basins) == (found[0].noise, found[0].mean_squared_error, found[0].basins)


def test_weight_two_is_a_repetition():
    """Of 8 runs among 40: the copies have weight 1, or the copies 0 and the originals 2."""
    law, runs = Chinchilla(), first_runs(table("chinchilla", 0.02, seed=8), 40)
    repeated = joined(runs, first_runs(runs, 8))
    once = np.repeat([1.0, 0.0], [40, 8])
    first = lane(law, repeated, once, TRUTH["chinchilla"])
    lanes = [first._replace(weight=once + np.repeat([1.0, 0.0], [8, 40])), first._replace(weight=np.ones(48))]
    found = search(law, Study(repeated), lanes)
    np.testing.assert_allclose(found.coordinates[0], found.coordinates[1], atol=1e-6)
    np.testing.assert_allclose(found.cost[0], found.cost[1], rtol=1e-10)


def test_the_covariance_is_that_of_fits_to_fresh_noise():
    """Standard deviations over 60 tables, which the priors hardly narrow, against the fit's own."""
    law, runs = Chinchilla(), table("chinchilla", 0.01, seed=9)
    fitted = fit(runs, law)
    truth, rng = true_log_loss("chinchilla", GRID), np.random.default_rng(9)
    found = []
    for _ in range(60):
        some = dataclasses.replace(runs, loss=np.exp(truth + 0.01 * rng.standard_normal(len(GRID))))
        one = lane(law, some, some.weight, TRUTH["chinchilla"])
        found.append(search(law, Study(some), [one._replace(scale=fitted.scale)]).coordinates[0])
    expected = np.sqrt(np.diag(fitted.covariance)) * 0.01 / fitted.noise
    np.testing.assert_allclose(np.std(found, axis=0), expected, rtol=0.35, err_msg="seed 9")


@pytest.mark.parametrize("noise", [1e-4, 0.01, 0.3])
def test_runs_never_make_a_parameter_less_certain(noise):
    """Whatever their noise, and they tell the more the less noisy they are."""
    fitted = fit(table("chinchilla", noise, seed=13), Chinchilla())
    assert (np.sqrt(np.diag(fitted.covariance)) <= fitted.prior * (1 + 1e-9)).all()
    parameters = fitted.law.parameters(fitted.scale)
    precision = fitted.jacobian.T @ fitted.jacobian / fitted.noise**2 + np.diag([one.deviation**-2 for one in parameters])
    np.testing.assert_allclose(fitted.covariance @ precision, np.eye(5), atol=1e-6)


def test_the_unit_of_the_weights_does_not_matter():
    weight = np.random.default_rng(14).uniform(0, 2, len(GRID))
    one, other = (fit(table("chinchilla", 0.02, seed=14, weight=k * weight), Chinchilla()) for k in (1.0, 100.0))
    np.testing.assert_allclose(other.coordinates, one.coordinates, atol=1e-8)
    np.testing.assert_allclose(other.covariance, one.covariance, rtol=1e-6)
    assert (other.noise, other.mean_squared_error) == pytest.approx((one.noise, one.mean_squared_error), rel=1e-9)


def test_what_cannot_be_told_is_named():
    """Small models and few data: all losses are far above what no model goes below."""
    size, batch, steps = (
        axis.ravel() for axis in np.meshgrid(np.geomspace(1e6, 3e6, 4), [32, 64, 128], np.geomspace(100, 200, 4))
    )
    error = 0.01 * np.random.default_rng(10).standard_normal(len(size))
    loss = 0.3 + 2 * (size / 1e6) ** -0.2 + 2 * (batch * steps / 3200) ** -0.2
    found = identification(fit(make_runs(size, batch, steps, loss * np.exp(error)), Chinchilla()))
    assert not found.identified.sel(parameter="irreducible")
    assert found.learnt.sel(parameter="irreducible") < 0.5
    assert any("irreducible" in text for text in found.attrs["loose"]), found.attrs["loose"]


def test_what_is_told_is_identified(named, noiseless, noisy):
    for fitted in [noiseless, *noisy.values()]:
        found = identification(fitted)
        assert set(found.parameter.values[~found.identified.values]) <= {"initial"}, (
            "the grid has no run that is hardly trained"
        )
        assert found.attrs["loose"] == []
        assert (found.lower < found.value).all()
        assert (found.value < found.upper).all()
        assert ((found.learnt > 0.4) & (found.learnt <= 1)).all()
        assert found.attrs["condition"] > 1
        assert 0 < abs(found.attrs["strongest_correlation"]) < 1
    value = identification(noiseless).value
    if named == "adam":
        assert value.sel(parameter="p") == pytest.approx(1.2, abs=0.03)
        assert value.sel(parameter="q") == pytest.approx(0.5, rel=0.05)
        assert value.sel(parameter="B0") == pytest.approx(300, rel=0.05)
    else:
        np.testing.assert_allclose(value, np.exp(TRUTH[named]), rtol=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"robust": 0.0}, "robust is 0.0: give an error"),
        ({"robust": -1.0}, "robust is -1.0"),
        ({"robust": math.nan}, "robust is nan"),
        ({"starts": 0}, "starts is 0: give a whole number"),
        ({"starts": 2.5}, "starts is 2.5"),
        ({"starts": -3}, "starts is -3"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        fit_law(table("chinchilla"), Chinchilla(), progress=False, **options)


def test_too_few_runs():
    with pytest.raises(
        ValueError, match=r"the number of runs is 7: the law QuadraticLaw\(.* has 7 parameters: .*chinchilla has 5"
    ):
        fit(first_runs(table("chinchilla"), 7), QuadraticLaw())


def test_a_law_by_its_name():
    runs = table("chinchilla", 0.01)
    named = fit_law(runs, "chinchilla", starts=2, progress=False)
    given = fit_law(runs, Chinchilla(), "chinchilla", starts=2, progress=False)
    assert named.name == given.name
    np.testing.assert_array_equal(named.coordinates, given.coordinates)
    assert fit_law(runs, "chinchilla", "mine", starts=2, progress=False).name == "mine"


@pytest.mark.parametrize(
    ("runs", "law", "message"),
    [
        (table("chinchilla"), "chinchila", "law is 'chinchila': .*did you mean 'chinchilla'"),
        (table("chinchilla"), None, "law is None: give a law of nqmjax.runs.laws, or a name: adam, .*kaplan"),
        (table("chinchilla"), Chinchilla, "law is <class .*give a law"),
        ([3.0, 2.9], "chinchilla", "runs is .*give what nqmjax.runs.read or"),
    ],
)
def test_what_is_no_law_and_no_table(runs, law, message):
    with pytest.raises(ValueError, match=message):
        fit_law(runs, law, progress=False)


def test_error_of_the_sums(named, noiseless):
    coarse, fine = (log_loss(noiseless.law, noiseless.coordinates, BEYOND, noiseless.scale, rule) for rule in (COARSE, FINE))
    found = sum_error(noiseless, BEYOND)
    assert found == pytest.approx(abs(np.expm1(coarse - fine)).max(), rel=1e-6, abs=1e-15)
    assert found < 1e-5
    assert (found == 0) == (named == "chinchilla")


def test_basins_of_fits(noiseless, noisy):
    for fitted in [noiseless, *noisy.values()]:
        shares = [basin.share for basin in fitted.basins]
        assert 0 < sum(shares) <= 1 + 1e-12
        assert min(shares) >= 1 / STARTS
        assert fitted.basins[0].mean_squared_error == pytest.approx(fitted.mean_squared_error, rel=1e-12)


def test_basins_by_cost():
    costs = np.array([1.0, 1.00005, 1.0001, 2.0, 2.5, 2.5, math.inf, math.inf])
    errors = np.array([1.0, 1.1, 1.2, 1.8, 2.4, 2.3, 0.0, 0.0])
    found = _basins(costs, errors)
    assert [basin.mean_squared_error for basin in found] == [1.0, 1.8, 2.4]
    assert [basin.share for basin in found] == [3 / 8, 1 / 8, 2 / 8]


def test_the_same_seed_is_the_same_fit():
    runs = table("chinchilla", 0.02, seed=11)
    one, same = (fit(runs, Chinchilla(), seed=3) for _ in range(2))
    np.testing.assert_array_equal(one.coordinates, same.coordinates)
    assert one.basins == same.basins
    np.testing.assert_allclose(fit(runs, Chinchilla(), seed=4).coordinates, one.coordinates, atol=1e-5)


def test_more_starts_than_lanes():
    """Calls of several lanes give what one call gives, the padding of the last left out."""
    law, runs = Chinchilla(), table("chinchilla", 0.02, seed=12)
    lanes = [lane(law, runs, runs.weight, start) for start in starting_points(law.parameters(scale_of(runs)), 19, 5)]
    found = search(law, Study(runs), lanes)
    assert len(found.cost) == 19
    for place in (0, 7, 8, 16, 18):
        alone = search(law, Study(runs), [lanes[place]])
        np.testing.assert_allclose(found.coordinates[place], alone.coordinates[0], atol=1e-6)
