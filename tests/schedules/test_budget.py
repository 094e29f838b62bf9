import numpy as np
import pytest

import nqmjax as nq
from nqmjax import schedules
from nqmjax.schedules.budget import budget_curve, budget_regimes
from nqmjax.schedules.caps import caps_of_pieces, learning_rate_cap
from nqmjax.schedules.compare import COMPARED, tune_family
from nqmjax.schedules.compare import compare as compare_schedules
from nqmjax.schedules.transfers import stretched, transfer

PAPER = nq.power_law(10_000).quantize(100)


def test_constant_epochs_show_two_regimes():
    """Smith et al. 2020, figure 1: linear rule and no gain from momentum in one, a flat rate and a gain in the other."""
    batches = 2.0 ** np.arange(0, 14)
    sgd, momentum = (
        budget_curve(PAPER, optimizer, batches, examples=2e6, progress=False)
        for optimizer in (nq.SGD(0.1), nq.HeavyBall(0.1, 0.9))
    )
    plain, heavy = budget_regimes(sgd), budget_regimes(momentum)
    assert plain.exponent == pytest.approx(1, abs=0.05)
    assert heavy.exponent == pytest.approx(1, abs=0.05)
    assert plain.boundary < heavy.boundary
    gain = sgd.risk / momentum.risk
    assert (abs(gain[batches <= plain.linear_up_to] - 1) < 0.01).all()
    assert (gain[batches > plain.boundary] > 1.2).all()
    flat = sgd.risk[batches <= plain.linear_up_to]
    assert float(flat.max() / flat.min()) < 1.01
    assert sgd.risk[-1] > 10 * sgd.risk[0]


def test_constant_steps_reward_larger_batches():
    """Smith et al. 2020, tables 1, 2, 4 and 5, training loss."""
    table = budget_curve(PAPER, nq.HeavyBall(0.1, 0.9), 4.0 ** np.arange(2, 8), steps=5000, progress=False)
    assert (np.diff(table.risk) < 0).all()
    assert (np.diff(table.effective_learning_rate) > 0).all()


def test_longer_training_wants_smaller_rates():
    """Smith et al. 2020, figure 2: the rate that minimises the training loss falls with the epoch budget."""
    rates = [float(budget_curve(PAPER, nq.SGD(0.1), 64, examples=e).learning_rate[0]) for e in (4e5, 1.6e6, 6.4e6)]
    assert rates[0] > rates[1] > rates[2]


def test_a_tuned_rate_is_no_worse_than_its_neighbours():
    table = budget_curve(nq.power_law(50), nq.SGD(0.1), [4, 64], examples=1e4, family="cosine", progress=False)
    for batch in (4, 64):
        row = table.sel(batch_size=batch)
        for factor in (0.97, 1.03):
            plan = schedules.cosine(float(row.learning_rate) * factor, int(row.steps), batch)
            assert nq.run(nq.power_law(50), nq.SGD(0.1), plan)[-1] >= float(row.risk)


def test_transfer_follows_the_linear_rule_while_noise_dominates():
    plan = schedules.cosine(0.02, 20_000, 2)
    table = transfer(PAPER, nq.SGD(0.1), plan, 8)
    linear, tuned = table.sel(rule="linear"), table.sel(rule="tuned")
    assert float(linear.risk_same_examples) == pytest.approx(table.attrs["risk"], rel=0.01)
    assert float(linear.examples_to_same_risk) == pytest.approx(40_000, rel=0.02)
    for name in ("risk_same_examples", "risk_same_steps", "steps_to_same_risk"):
        assert float(tuned[name]) <= float(table[name].min()) * (1 + 1e-9)
    steps = int(linear.steps_to_same_risk)
    moved = plan.replace(learning_rate=plan.learning_rate * 4, batch_size=8)
    assert nq.run(PAPER, nq.SGD(0.1), stretched(moved, steps))[-1] <= table.attrs["risk"]
    assert nq.run(PAPER, nq.SGD(0.1), stretched(moved, steps - 1))[-1] > table.attrs["risk"]


def test_transfer_to_the_same_batch_size_changes_nothing():
    plan = schedules.linear(0.1, 500, 16)
    table = transfer(nq.power_law(20), nq.SGD(0.1), plan, 16, rules=["none", "linear", "sqrt"])
    for name in ("risk_same_examples", "risk_same_steps"):
        np.testing.assert_allclose(table[name], table.attrs["risk"], rtol=1e-12)


def test_families_are_compared_at_their_best():
    problem, optimizer = nq.power_law(100), nq.SGD(0.1)
    table = compare_schedules(problem, optimizer, 16, 2000, pieces=100, progress=False)
    assert set(table.schedule.values) == {"optimal", *COMPARED}
    assert (table.excess_over_optimal >= -0.002).all()
    assert (table.efficiency < 1).all()
    assert (table.risk > table.attrs["bayes_bound"]).all()
    for name in ("cosine", "constant"):
        plan, settings = tune_family(problem, optimizer, 16, 2000, name)
        risk = nq.run(problem, optimizer, plan)[-1]
        assert risk == pytest.approx(float(table.risk.sel(schedule=name)), rel=1e-6)
        for factor in (0.9, 1.1):
            moved = plan.replace(learning_rate=plan.learning_rate * factor)
            assert nq.run(problem, optimizer, moved)[-1] > risk or factor * settings["learning_rate"] > 1.98


def test_tuned_rates_stay_below_the_edge_of_every_piece_unless_asked_otherwise():
    problem, sgd, heavy = nq.power_law(100), nq.SGD(0.1), nq.HeavyBall(0.1, 0.9)
    cap = learning_rate_cap(problem, sgd)
    assert cap == pytest.approx(2 / 1.01)
    table = budget_curve(problem, sgd, [4, 1024], examples=20_000, progress=False)
    assert table.at_cap.values.tolist() == [False, True]
    assert float(table.learning_rate.max()) <= cap
    free = budget_curve(problem, sgd, [1024], examples=20_000, max_learning_rate=np.inf, progress=False)
    assert float(free.learning_rate[0]) > cap, "beyond the edge some pieces explode and come back"
    asked = budget_curve(problem, sgd, [1024], examples=20_000, max_learning_rate=0.5, progress=False)
    assert float(asked.learning_rate[0]) == pytest.approx(0.5, rel=1e-6)
    assert bool(asked.at_cap[0])
    plan = nq.Plan([1.0, 0.2], [15, 15], 4096, momentum=[0.9, 0.0])
    np.testing.assert_allclose(caps_of_pieces(problem, heavy, plan), [3.8 / 1.01, 2 / 1.01], rtol=1e-9)
    slow_last = plan.replace(learning_rate=[0.1, 0.1])
    for recipe in (plan, slow_last):
        moved = transfer(problem, heavy, recipe, 2**13, rules=["tuned"])
        factor = float(moved[["rate_factor_same_examples", "rate_factor_same_steps"]].to_array().max())
        assert (recipe.learning_rate * factor <= caps_of_pieces(problem, heavy, recipe) * (1 + 1e-12)).all()
        assert bool(moved.at_cap[0]) == (factor >= moved.attrs["largest_rate_factor"] * 0.999)


def test_rates_in_the_units_of_a_network_are_refused_with_the_remedy():
    recipe = schedules.cosine(3e-4, 20_000, 32)
    with pytest.raises(ValueError, match=r"learning_rate is 0.0003: this is 1/.* of the best one; rates are in units where"):
        transfer(PAPER, nq.SGD(0.1), recipe, 256)
    steep = nq.from_spectrum(1500 * PAPER.curvature, count=PAPER.count)
    table = transfer(steep, nq.SGD(0.1), recipe, 256, rules=["none"])
    assert 0.01 < table.attrs["own_rate_factor"] < 100


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, o: budget_curve(p, o, [4, 64], examples=10), r"batch_size\[1\] is 64.0: the budget of 10 examples is less"),
        (lambda p, o: budget_curve(p, o, 4), "give one of the two"),
        (lambda p, o: budget_curve(p, o, 4, examples=10, family="cosin"), "did you mean 'cosine'"),
        (lambda p, o: budget_curve(p, o, 4, steps=0), "steps is 0"),
        (lambda p, o: budget_curve(p, o, 4, steps=10, warmup=1.0), "warmup is 1.0"),
        (lambda p, o: transfer(p, o, schedules.cosine(0.1, 10, 4), 0.5), "batch_size is 0.5"),
        (lambda p, o: transfer(p, o, schedules.cosine(0.1, 10, 4), 8, rules=["lin"]), "rule is 'lin'"),
        (lambda p, o: budget_curve(p, o, 4, examples="a"), "examples is 'a'"),
        (lambda p, o: budget_curve(p, o, [[4]], examples=10), "the shape of batch_size"),
        (lambda p, o: budget_curve(p, o, 4, steps=10, max_learning_rate=0), "max_learning_rate is 0"),
        (lambda p, o: transfer(p, o, "plan", 8), "plan is 'plan': give a Plan"),
        (lambda p, o: transfer(p, o, schedules.cosine(0.1, 10, 4), [8, 16]), "the shape of batch_size"),
        (lambda p, o: compare_schedules(p, o, 4, 10, "wsd"), "families is 'wsd': give some of constant"),
        (lambda p, o: compare_schedules(p, o, 4, 10, ["cosine"], pieces=11), "pieces is 11: give from 1 to 10"),
        (lambda p, o: tune_family(p, o, 4, 10, "cosine", pieces=None), "pieces is None"),
        (lambda p, o: tune_family(p, o, "a", 10, "cosine"), "batch_size is 'a'"),
        (lambda p, o: compare_schedules(p, o, 4, 10, ["wsd"]), "family is 'wsd'"),
        (lambda p, o: tune_family(p, o, 4, 0, "cosine"), "steps is 0"),
        (lambda p, o: tune_family(p, o, 4, 10, "cosine", max_learning_rate=0), "max_learning_rate is 0"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(nq.power_law(5), nq.SGD(0.1))


def test_a_recipe_that_has_settled_needs_the_fewest_updates_to_its_risk():
    """A plateau: from 354 updates on the risk is the same to the last digit, which is not where the search may end."""
    plan = schedules.constant(0.5, steps=100_000, batch_size=4)
    found = schedules.transfer(nq.power_law(10), nq.SGD(0.5), plan, batch_size=4, progress=False).steps_to_same_risk
    assert found.values.tolist() == [354, 354, 354, 25]
