"""Plans of Adam and its kin: rules for another batch size, budgets and families."""

import numpy as np
import pytest

import nqmjax as nq
from nqmjax import schedules

NOISY = nq.from_spectrum([1.0, 0.5, 0.2], noise=[1e4, 5e3, 2e3], initial=[1.0, 1.0, 1.0])
"""Noise dominates up to batches of some thousands."""

ADAM = nq.Adam(0.01, 0.9, 0.99, nodes=16)


@pytest.fixture(scope="module")
def moved():
    """A recipe of 2,000 updates at batch size 16, at four times that."""
    return schedules.transfer(NOISY, ADAM, schedules.Plan(0.015, steps=2000, batch_size=16), 64)


def test_the_square_root_rule_with_betas_holds_while_noise_dominates(moved):
    """Malladi et al. 2022; linear scaling does not."""
    error = moved.error_same_examples
    assert abs(float(error.sel(rule="sqrt_betas"))) < 0.01
    assert float(error.sel(rule="linear")) > 0.3
    holds = {str(rule): float(value) for rule, value in zip(moved.rule.values, moved.holds_up_to.values, strict=True)}
    assert holds["linear"] <= 32 < holds["sqrt"] < holds["sqrt_betas"]
    assert 1e3 < moved.attrs["noise_scale"] < 1e5
    assert "of the parameters" in moved.attrs["rate_units"]


def test_a_rule_is_the_plan_that_it_says(moved):
    plan = schedules.Plan(0.015 * 2, steps=500, batch_size=64, beta1=1 - 4 * 0.1, beta2=1 - 4 * 0.01)
    assert nq.run(NOISY, ADAM, plan)[-1] == pytest.approx(float(moved.risk_same_examples.sel(rule="sqrt_betas")), rel=1e-9)
    tuned = moved.sel(rule="tuned")
    assert float(tuned.risk_same_examples) <= float(moved.risk_same_examples.min()) * 1.001
    factor = float(tuned.rate_factor_same_examples)
    risks = [nq.run(NOISY, ADAM, schedules.Plan(0.015 * factor * x, steps=500, batch_size=64))[-1] for x in (0.9, 1.0, 1.1)]
    assert min(risks) == risks[1]


def test_families_are_compared_without_a_best_possible_plan():
    table = schedules.compare(NOISY, ADAM, 64, 60, ["constant", "linear"], tune_warmup=False, progress=False)
    assert set(table.schedule.values) == {"linear", "constant"}
    assert "excess_over_optimal" not in table
    assert not table.at_cap.any()
    rate = float(table.learning_rate.sel(schedule="constant"))
    rates = rate * np.array([0.8, 1.0, 1.25])
    risks = [nq.run(NOISY, ADAM, schedules.Plan(each, steps=60, batch_size=64))[-1] for each in rates]
    assert min(risks) == pytest.approx(risks[1], rel=1e-3)
    with pytest.raises(ValueError, match="families is empty"):
        schedules.compare(NOISY, ADAM, 64, 60, [], progress=False)


def test_budgets_and_what_has_no_betas():
    table = schedules.budget_curve(NOISY, nq.SignSGD(0.1, nodes=16), [16, 64], steps=100, family="constant", progress=False)
    assert table.risk[1] < table.risk[0]
    plan = schedules.Plan(0.01, steps=100, batch_size=16)
    with pytest.raises(ValueError, match="rule is 'sqrt_betas'"):
        schedules.transfer(NOISY, nq.SignSGD(0.1, nodes=16), plan, 64, rules=["sqrt_betas"])
    with pytest.raises(ValueError, match=r"learning_rate is 1e-06: .*units of the parameters"):
        schedules.transfer(NOISY, nq.SignSGD(0.1, nodes=16), plan.replace(learning_rate=1e-6), 64)
