"""Risks where digits are easily lost: next to the edge of stability, and in runs that explode and come back."""

import itertools

import numpy as np
import pytest
from extended import risks

import nqmjax as nq

ONE = nq.from_spectrum([1.0])
EPS = np.finfo(float).eps

METHODS = {
    "heavy ball": lambda a, m: nq.HeavyBall(a, m),
    "nesterov": lambda a, m: nq.Nesterov(a, m),
    "qhm": lambda a, m: nq.QHM(a, m, 0.5),
    "averaged": lambda a, m: nq.Averaged(nq.HeavyBall(a, m), 0.9),
    "averaged slowly": lambda a, m: nq.Averaged(nq.SGD(a), m),
}
SLOW = np.array([1e-3, 1e-6, 1e-9, 1e-12])
MARGINS = np.array([1e-3, 1e-6, 1e-9, 1e-12])


def just_inside(name, slow, margin):
    """A method at the given `1 - momentum`, so far below its edge relative to it."""
    return METHODS[name](nq.stability_edge(METHODS[name](1.0, 1 - slow), 1.0) * (1 - margin), 1 - slow)


@pytest.mark.parametrize("name", METHODS)
def test_risk_just_inside_the_edge(name):
    steps = np.array([1, 1000, 10**5, 2**31])
    for slow, margin in itertools.product(SLOW, MARGINS):
        optimizer = just_inside(name, slow, margin)
        found = nq.risk(ONE, optimizer, 1000, steps)
        expected = np.array([float(risk) for risk in risks(ONE, [optimizer] * 4, [1000] * 4, np.diff(steps, prepend=0))[1:]])
        # As sharp as the hyperparameters are: their rounding moves the edge, and how fast noise is forgotten.
        np.testing.assert_allclose(found, expected, rtol=8 * EPS / min(slow, margin), err_msg=f"{optimizer}")
        assert (found > 0).all()


def test_stationary_risk_just_inside_the_edge():
    for slow in SLOW:
        for margin in MARGINS:
            m, optimizer = 1 - slow, just_inside("heavy ball", slow, margin)
            a = optimizer.learning_rate
            expected = a * 1e-3 * (1 + m) / (2 * (1 - m) * (2 * (1 + m) - a))
            assert nq.stationary_risk(ONE, optimizer, 1000) == pytest.approx(expected, rel=8 * EPS / min(slow, margin))


def test_a_strong_contraction_of_a_huge_start():
    huge = nq.from_spectrum([1.0], initial=1e40)
    assert nq.risk(huge, nq.SGD(1.1375), 64, 16) == pytest.approx(
        float(risks(huge, [nq.SGD(1.1375)], [64], [16])[-1]), rel=1e-12
    )


@pytest.mark.parametrize("optimizer", [nq.SGD(3.0), nq.HeavyBall(5.0, 0.5), nq.Averaged(nq.SGD(3.0), 0.5)])
def test_noise_that_overflows_is_not_forgotten(optimizer):
    """In a direction that starts at its optimum there is nothing but noise, and no overflow of the start to tell."""
    problem = nq.from_spectrum([1.0, 0.1], initial=[0.0, 1.0], noise=[1.0, 0.0])
    steps = np.array([50, 700, 5000, 2**31])
    assert np.isfinite(nq.risk(problem, optimizer, 1, steps)).tolist() == [True, False, False, False]
    assert nq.stationary_risk(problem, optimizer, 1) == np.inf
    assert nq.run(problem, optimizer, nq.Plan(learning_rate=[6.0, 6.0], batch_size=1, steps=[3000, 3000]))[-1] == np.inf


def test_a_plan_that_explodes_and_comes_back():
    plan = nq.Plan(learning_rate=[3.0, 1.1375], batch_size=[4096, 4096], steps=[60, 20])
    assert nq.run(ONE, nq.SGD(0.1), plan)[-1] == pytest.approx(22.64636320978156, rel=1e-12)


@pytest.mark.parametrize("name", ["sgd", "heavy ball", "averaged"])
def test_random_plans_agree_with_sixty_digits_or_are_inf(name):
    rng = np.random.default_rng(3)
    make = {"sgd": lambda a, m: nq.SGD(a)}.get(name, METHODS.get(name))
    flagged = 0
    for _ in range(12):
        pieces = 6
        rates, momenta = 10 ** rng.uniform(-3, 0.7, pieces), 1 - 10 ** rng.uniform(-2, 0, pieces)
        steps, batches = rng.integers(1, 80, pieces), 2.0 ** rng.integers(0, 20, pieces)
        problem = nq.from_spectrum(10 ** rng.uniform(-3, 0, 3), initial=10 ** rng.uniform(-3, 3, 3))
        columns = {"learning_rate": rates} if name == "sgd" else {"learning_rate": rates, "momentum": momenta}
        found = nq.run(problem, make(0.1, 0.5), nq.Plan(**columns, steps=steps, batch_size=batches))
        settings = [make(a, m) for a, m in zip(rates, momenta, strict=True)]
        for got, expected in zip(found, risks(problem, settings, batches, steps), strict=True):
            flagged += np.isinf(got)
            assert np.isinf(got) or abs(got / expected - 1) < 1e-9
    assert flagged < 10
