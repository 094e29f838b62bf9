"""Problems fitted to tuned curves: of power laws they are these, in the units of the runs; files keep them."""

import json

import numpy as np
import pytest

import nqmjax as nq
from nqmjax.problem import read_spectrum
from nqmjax.scaling import families
from nqmjax.scaling.anchored import Estimate, anchored_curve
from nqmjax.scaling.families import Family, tuned
from nqmjax.scaling.fitted import FittedProblem, _remarks, fit_problem
from nqmjax.scaling.fitted_files import read_problem, write_problem
from nqmjax.scaling.observed import Observed

BATCHES = 4.0 ** np.arange(2, 9)
EXPONENT, TARGET = 1.25, 0.1
RATE_UNIT = 50.0
"""Factor between the rates of the runs and those in units of one over the largest curvature."""


@pytest.fixture(scope="module")
def small():
    """A family of few directions, groups and exponents."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"DIM": 2000, "BINS": 20, "EXPONENTS": (0.9, 1.25, 1.8), "GRID": 4.0 ** np.arange(11)}.items():
            patch.setattr(families, name, value)
        yield


@pytest.fixture(scope="module")
def truth():
    """The quadratic that was trained, its initial loss 1."""
    law = nq.power_law(2000, EXPONENT).quantize(20)
    return nq.from_spectrum(law.curvature, law.count, noise=law.noise * 40, initial=1 / law.initial_risk)


@pytest.fixture(scope="module")
def fitted(small, truth):
    curve = tuned(truth, nq.SGD(0.1), BATCHES, TARGET)
    steps = curve.steps.values * np.exp(0.01 * np.random.default_rng(0).normal(size=BATCHES.size))
    return fit_problem(Observed(BATCHES, steps, curve.learning_rate.values / RATE_UNIT), "sgd")


def test_the_problem_is_the_one_that_was_trained(fitted, truth):
    assert fitted.exponent.lower < EXPONENT < fitted.exponent.upper
    assert fitted.exponent.value == pytest.approx(EXPONENT, abs=0.12)
    assert fitted.problem.initial_risk == pytest.approx(1)
    expected = tuned(truth, nq.SGD(0.1), BATCHES, TARGET)
    found = fitted.curve(BATCHES)
    np.testing.assert_allclose(found.steps, expected.steps, rtol=0.03)
    np.testing.assert_allclose(found.learning_rate * RATE_UNIT, expected.learning_rate, rtol=0.15)
    assert fitted.rates_known
    knee = fitted.law.estimate(np.exp(fitted.law.steps_draws.bend)).value
    assert fitted.knee.value == pytest.approx(knee, rel=0.15)


def test_it_stands_beside_the_law(fitted):
    table = fitted.compare([16, 4096])
    np.testing.assert_allclose(table["law"], fitted.law.steps([16, 4096]).value)
    np.testing.assert_allclose(table["ratio"], table["problem"] / table["law"])
    np.testing.assert_allclose(table["ratio"], 1, atol=0.1)
    words = " ".join(str(fitted).split())
    for part in ["exponent", "knee at batch size", "within", "Not determined", "trust the anchored law"]:
        assert part in words


@pytest.mark.filterwarnings("error")
def test_a_file_keeps_it_and_is_a_spectrum(fitted, tmp_path):
    path = tmp_path / "fitted.json"
    write_problem(fitted, path)
    again = read_problem(path)
    assert (repr(again), again.remarks, again.target) == (repr(fitted), fitted.remarks, fitted.target)
    np.testing.assert_array_equal(again.compare([64]).to_array(), fitted.compare([64]).to_array())
    spectrum = read_spectrum(path)
    for name in ("curvature", "noise", "initial", "count"):
        np.testing.assert_array_equal(getattr(spectrum, name), getattr(fitted.problem, name))
    with pytest.raises(ValueError, match="the file exists"):
        write_problem(fitted, path)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"fitted": 3}, "not a fitted problem"), ({"fitted": {"version": 99}}, "version"), ({"noise": "a"}, "damaged")],
)
def test_other_files_are_refused(fitted, tmp_path, change, words):
    path = tmp_path / "fitted.json"
    write_problem(fitted, path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=words):
        read_problem(path)


def test_bends_are_interpolated_and_end_as_they_must():
    places = np.arange(-4, 4, families.FINE)
    tables = np.array([np.logaddexp(0, -sharpness * places) / sharpness for sharpness in (1.0, 2.0)])
    bends = Family(np.array([1.0, 2.0]), places, tables)
    found = bends(np.array([-9.0, -1.01, 0.0, 9.0]), np.array([0.5]), np.array([1.0]))
    np.testing.assert_allclose(found, [9.5, 1.51 + np.log1p(np.exp(-1.51)), np.log1p(np.exp(0.5)), 0], atol=0.03)
    middle = bends(np.array([0.0]), np.array([0.0]), np.array([np.sqrt(2)]))
    np.testing.assert_allclose(middle, tables[:, 80].mean(), rtol=1e-6)


def test_what_a_fit_cannot_say_is_said(truth):
    points = Observed(BATCHES, 3000 * (1 + 200 / BATCHES))
    law = anchored_curve(points, "adamw")
    poor = FittedProblem(truth, TARGET, nq.SGD(0.1), Estimate(2.08, 1.9, 2.1), Estimate(1, 1, 1), False, law, ())
    words = " ".join(_remarks(poor, points, "adam", np.array([0.6, 2.1])))
    assert "exponent ran to the largest" in words
    assert "no power law describes these runs" in words
    assert "Adam and its kin" in words
    assert "No rate was measured" in " ".join(_remarks(poor, points, "sgd", np.array([0.6, 2.1])))


def test_faults(small):
    with pytest.raises(ValueError, match="number of batch sizes is 2: at least 3"):
        fit_problem(([64, 256], [9000, 2600]), "sgd")
    with pytest.raises(ValueError, match="optimizer is None"):
        fit_problem((BATCHES, 1e6 / BATCHES), None)
    with pytest.raises(ValueError, match=r"fewest updates is .*: no power law takes so many"):
        fit_problem((BATCHES, 1e9 + 1e11 / BATCHES), "sgd")


def test_files_with_the_old_spelling_keep_their_optimizer(fitted, tmp_path):
    path = tmp_path / "fitted.json"
    write_problem(fitted, path)
    document = json.loads(path.read_text())
    document["fitted"]["optimizer"] = "heavyball"
    path.write_text(json.dumps(document))
    assert repr(read_problem(path).optimizer) == repr(nq.HeavyBall(0.1, document["fitted"]["momentum"]))
