"""First passages under noise that follows the loss, against every update; and what refuses such noise."""

import inspect

import numpy as np
import pytest
from malformed_calls import CALLS

import nqmjax as nq

PROBLEM = nq.power_law(20, exponent=1.2, noise=0.05, loss_noise=1.0, irreducible=0.01)
SUPPORTED = {
    *("risk", "risk_curve", "stationary_risk", "noise_edge", "steps_to_target", "sweep", "tune", "run", "monte_carlo"),
    *("bayes_examples", "precondition", "scaling.scaling_curves"),  # a bound that holds, curvature alone, tuned curves
}
"""Functions of a problem that know noise that follows the loss; each has a test of its values."""


def first_passages(curves, target):
    below = curves <= target[..., None]
    return np.where(below.any(-1), below.argmax(-1), np.inf)


def test_sgd_agrees_with_brute_force_on_random_cells():
    rng = np.random.default_rng(0)
    optimizer = nq.SGD(10 ** rng.uniform(-2, 0.2, 100))
    batch = np.maximum(1, nq.noise_edge(PROBLEM, optimizer) * 10 ** rng.uniform(-0.1, 2, 100))
    target = PROBLEM.irreducible + 10 ** rng.uniform(-2, 0.3, 100)
    curves = nq.risk_curve(PROBLEM, optimizer, batch, 4000)
    found, expected = nq.steps_to_target(PROBLEM, optimizer, batch, target), first_passages(curves, target)
    reached = np.isfinite(expected)
    assert 20 < reached.sum() < 90
    np.testing.assert_array_equal(found.steps[reached], expected[reached])
    assert (found.steps[~reached] > 4000).all()
    assert ((expected - 1 <= found.crossing) & (found.crossing <= expected))[reached & (expected > 0)].all()


def two_directions(curvature, initial, gain):
    zero = np.zeros(2)
    return nq.NoisyQuadratic(np.array(curvature), zero, np.array(initial), zero + 1, 0.0, np.array(gain), zero)


def test_risks_that_fall_for_ever_and_far_below_their_start():
    falls = two_directions([1.0, 0.6], [1.0, 1.0], [1.0, 0.6])
    targets = np.array([1e-21, 1e-25, 1e-30, 1e-40, 1e-100, 1e-200])
    curve = nq.risk_curve(falls, nq.SGD(0.1), 64.0, 4000)
    np.testing.assert_array_equal(nq.steps_to_target(falls, nq.SGD(0.1), 64.0, targets).steps, first_passages(curve, targets))
    far = two_directions([1.0, 1e-5], [1e8, 1.0], [0.0, 1e-9])
    curve = nq.risk_curve(far, nq.SGD(0.02), 1e6, 4000)
    asked = np.array([900, 1500, 2000, 3000, 3999])
    targets = (curve[asked - 1] + curve[asked]) / 2
    np.testing.assert_array_equal(nq.steps_to_target(far, nq.SGD(0.02), 1e6, targets).steps, asked)


def test_sweep_and_tune():
    target, rates, momenta = np.array([0.03, 0.1, 0.4, 1.0]), 10 ** np.linspace(-2, 0.3, 6), np.array([0.3, 0.9, 0.98])
    table = nq.sweep(PROBLEM, nq.HeavyBall(rates, momenta), [16.0], target, progress=False)
    curves = nq.risk_curve(PROBLEM, nq.HeavyBall(rates[:, None], momenta), 16.0, 4000)
    found, expected = table.steps.values[0], first_passages(curves, target[:, None, None])
    reached = np.isfinite(expected)
    assert 20 < reached.sum() < 72
    np.testing.assert_array_equal(found[reached], expected[reached])
    assert (found[~reached] > 4000).all()
    assert set(table.status.values.ravel()) == {nq.Status.REACHED, nq.Status.NEVER, nq.Status.DIVERGED}
    assert "noise variance per unit of loss 1 times the curvature" in table.attrs["problem"]
    best = nq.tune(PROBLEM, nq.HeavyBall(0.1, 0.9), [16.0], 0.1, fixed=["momentum"], progress=False)
    assert best.steps.values[0] <= table.steps.sel(momentum=0.9, target=0.1).min()
    assert 0 < best.efficiency.values[0] < 1


def test_the_bound_holds_for_the_noise_of_the_target():
    fixed = nq.power_law(20, exponent=1.2, noise=0.05 + 0.2 * PROBLEM.loss_noise, irreducible=0.01)
    assert nq.bayes_examples(PROBLEM, [0.2, 0.3])[0] == pytest.approx(nq.bayes_examples(fixed, 0.2), rel=1e-12)


@pytest.mark.parametrize("name", CALLS)
def test_every_function_of_a_problem_knows_such_noise_or_refuses_it(name):
    function, known = CALLS[name]
    if "problem" not in known or name in SUPPORTED:
        return
    arguments = {argument: good for argument, (good, _) in known.items()} | {"problem": PROBLEM}
    with pytest.raises(ValueError, match=r"loss_noise is .*: .* takes noise that does not follow the loss\. risk, risk_curve"):
        function(**arguments)


def test_all_functions_that_take_a_problem_are_among_them():
    for folder in (nq, nq.schedules, nq.runs, nq.nonlinear, nq.figures):
        for name in folder.__all__:
            thing = getattr(folder, name)
            if inspect.isfunction(thing) and "problem" in inspect.signature(thing).parameters:
                assert any(label.split(".")[-1] == name for label in CALLS), name


@pytest.mark.parametrize("optimizer", [nq.Adam(0.1), nq.SignSGD(0.1)], ids=["Adam", "SignSGD"])
def test_closures_do_not_know_it(optimizer):
    for ask in (nq.risk, nq.risk_curve, nq.steps_to_target):
        with pytest.raises(ValueError, match=r"loss_noise is .* of (Adam|SignSGD)"):
            ask(PROBLEM, optimizer, 4, 3)


def test_rule_stays_does_not_know_it():
    with pytest.raises(ValueError, match="rule 'stays' takes noise that does not follow the loss"):
        nq.steps_to_target(PROBLEM, nq.SGD(0.1), 4, 0.2, rule="stays")
