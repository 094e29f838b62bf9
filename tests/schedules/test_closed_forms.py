import numpy as np
import pytest
from scipy.optimize import minimize

import nqmjax as nq
from nqmjax.schedules.closed_forms import noise_weights


@pytest.mark.parametrize(("exponent", "batch_size", "steps"), [(1.0, 1, 400), (0.5, 2, 300), (1.5, 1, 600)])
def test_rates_are_optimal_where_they_are_small(exponent, batch_size, steps):
    """One piece per update against the numerical optimum, where no rate times curvature exceeds 0.1."""
    problem = nq.power_law(30, exponent=exponent, initial=0.02)
    closed = nq.schedules.closed_form_rates(problem, nq.SGD(0.1), batch_size, steps)
    assert closed.learning_rate.max() * problem.curvature[0] <= 0.1
    best = nq.optimize_schedule(problem, nq.SGD(0.1), batch_size, steps, pieces=steps)
    assert best.converged
    risk = nq.run(problem, nq.SGD(0.1), closed)[-1]
    assert best.risk <= risk <= best.risk * (1 + 1e-4)


@pytest.mark.parametrize("optimizer", [nq.SGD(0.2), nq.HeavyBall(0.05, 0.9), nq.Averaged(nq.SGD(0.2), 0.95)])
def test_batch_sizes_are_optimal(optimizer):
    problem = nq.power_law(10)
    plan = nq.Plan([0.3, 0.2, 0.1, 0.05], steps=[50, 20, 40, 30], batch_size=16)
    found = nq.schedules.optimal_batch_sizes(problem, optimizer, plan, examples=1400, smallest=2, largest=25)
    assert found.total_examples == pytest.approx(1400, rel=1e-9)
    assert found.batch_size.min() >= 2
    assert found.batch_size.max() <= 25

    def risk(batch_size):
        return nq.run(problem, optimizer, plan.replace(batch_size=batch_size))[-1]

    numerical = minimize(
        lambda b: np.log(risk(b)),
        np.full(4, 10.0),
        method="SLSQP",
        bounds=[(2, 25)] * 4,
        constraints={"type": "eq", "fun": lambda b: b @ plan.steps - 1400},
        options={"ftol": 1e-13, "maxiter": 500},
    )
    assert risk(found.batch_size) <= np.exp(numerical.fun) * (1 + 1e-6)
    assert risk(found.batch_size) == pytest.approx(np.exp(numerical.fun), rel=1e-6)


def test_risk_is_affine_in_the_inverse_batch_sizes():
    problem, optimizer = nq.power_law(10), nq.HeavyBall(0.1, 0.9)
    plan = nq.Plan([0.3, 0.1], steps=[50, 20], batch_size=[4, 8])
    weights = noise_weights(problem, optimizer, plan)
    without = nq.run(problem, optimizer, plan.replace(batch_size=1e15))[-1]
    assert nq.run(problem, optimizer, plan)[-1] == pytest.approx(without + weights @ [1 / 4, 1 / 8], rel=1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"examples": 10}, "examples is 10: give at least 140"),
        ({"examples": 1e6, "largest": 50}, "examples is 1e.06: give at most 7000"),
        ({"examples": 1400, "smallest": 0}, "smallest is 0"),
        ({"examples": 1400, "smallest": 8, "largest": 4}, "smallest is 8"),
    ],
)
def test_bad_budgets(arguments, message):
    plan = nq.Plan([0.3, 0.2], steps=[100, 40], batch_size=16)
    with pytest.raises(ValueError, match=message):
        nq.schedules.optimal_batch_sizes(nq.power_law(10), nq.SGD(0.1), plan, **arguments)


def test_plans_that_diverge_are_named():
    plan = nq.Plan([3.0, 3.0], steps=1000, batch_size=16)
    with pytest.raises(ValueError, match="it diverges: lower its learning rates"):
        nq.schedules.optimal_batch_sizes(nq.power_law(10), nq.SGD(0.1), plan, examples=32_000)
    # 50 updates at a rate of 5 come to a risk of 1e58, which is a number but no plan.
    with pytest.raises(ValueError, match=r"final risk of the plan is .*e.5.: it diverges: keep rates below the stability edge"):
        nq.schedules.optimal_batch_sizes(nq.power_law(10), nq.SGD(0.1), plan.replace(learning_rate=5.0, steps=25), examples=800)
    near = nq.power_law(10, initial=1e-6)  # where noise takes a stable plan above its start, it is kept
    nq.schedules.optimal_batch_sizes(near, nq.SGD(0.1), plan.replace(learning_rate=0.5), examples=32_000)
    with pytest.raises(ValueError, match="examples is inf"):
        nq.schedules.optimal_batch_sizes(nq.power_law(10), nq.SGD(0.1), plan.replace(learning_rate=0.1), examples=np.inf)
