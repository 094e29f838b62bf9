import numpy as np
import pytest

import nqmjax as nq
from nqmjax.schedules import problem as schedule_problem
from nqmjax.schedules.caps import learning_rate_cap

PAPER = nq.power_law(10_000).quantize(100)


def paper_cap(power):
    return 2 / (1 + 10 ** (-4 * (1 - power)) + 1e-4)


@pytest.mark.parametrize(
    ("power", "batch_size", "pieces"), [(0.0, 2**10, 10), (0.5, 2**12, 10), (0.75, 2**20, 10), (0.0, 2**8, 50)]
)
def test_fewest_steps_are_reached_and_minimal(power, batch_size, pieces):
    optimizer = nq.Preconditioned(nq.SGD(0.1), power)
    found = nq.steps_to_target_with_schedule(PAPER, optimizer, batch_size, 0.01, pieces, max_learning_rate=paper_cap(power))
    assert found.converged
    assert found.plan.total_steps == found.steps
    assert found.plan.learning_rate.max() <= paper_cap(power) * (1 + 1e-12)
    assert nq.run(PAPER, optimizer, found.plan)[-1] <= 0.01
    fewer = min(int(0.995 * found.steps), int(found.steps) - 1)
    best = nq.optimize_schedule(
        PAPER, optimizer, batch_size, fewer, min(pieces, fewer), max_learning_rate=paper_cap(power), starts=5
    )
    assert best.risk > 0.01


def test_published_totals():
    """The authors' notebook, whose search stops early, has 17,380 and 16,500 (10 and 50 pieces, power 0, batch size 64)."""
    for pieces, published in [(10, 17_380), (50, 16_500)]:
        found = nq.steps_to_target_with_schedule(PAPER, nq.SGD(0.1), 64, 0.01, pieces, max_learning_rate=paper_cap(0))
        assert 0.98 * published <= found.steps <= published


@pytest.mark.parametrize(
    ("optimizer", "over"),
    [
        (nq.HeavyBall(0.1, 0.9), ("learning_rate",)),
        (nq.HeavyBall(0.1, 0.9), ("learning_rate", "momentum")),
        (nq.Averaged(nq.SGD(0.1), 0.99), ("learning_rate", "decay")),
        (nq.QHM(0.1, 0.9, 0.5), ("learning_rate", "nu")),
    ],
)
def test_an_optimum_is_no_worse_than_its_neighbours(optimizer, over):
    problem = nq.power_law(100)
    best = nq.optimize_schedule(problem, optimizer, 64, 300, pieces=4, over=over)
    assert best.converged
    rng = np.random.default_rng(0)
    cap = learning_rate_cap(problem, optimizer)
    for _ in range(20):
        moved = {name: best.plan.hyperparameters[name] * rng.uniform(0.98, 1.02, 4) for name in over}
        moved["learning_rate"] = np.minimum(moved["learning_rate"], cap)
        for name in set(over) - {"learning_rate"}:
            moved[name] = np.clip(moved[name], 0, 1 if name == "nu" else 0.999_999)
        assert nq.run(problem, optimizer, best.plan.replace(**moved))[-1] >= best.risk * (1 - 1e-7)


def test_rates_and_batch_sizes_together_beat_either_alone():
    problem, optimizer, steps, batch = nq.power_law(100), nq.SGD(0.1), 500, 32
    rates = nq.optimize_schedule(problem, optimizer, batch, steps, pieces=8)
    constant = nq.Plan(np.full(8, 0.05), rates.plan.steps, batch)
    batches = nq.schedules.optimal_batch_sizes(problem, optimizer, constant, examples=steps * batch)
    joint = nq.optimize_schedule(problem, optimizer, batch, steps, pieces=8, examples=steps * batch)
    assert joint.converged
    assert joint.plan.total_examples == pytest.approx(steps * batch, rel=1e-9)
    assert joint.risk < rates.risk < nq.run(problem, optimizer, constant)[-1]
    assert joint.risk < nq.run(problem, optimizer, batches)[-1]


def test_no_cap_is_no_worse():
    capped = nq.optimize_schedule(nq.power_law(20), nq.SGD(0.1), 1024, 20, pieces=20)
    free = nq.optimize_schedule(nq.power_law(20), nq.SGD(0.1), 1024, 20, pieces=20, max_learning_rate=np.inf)
    assert free.risk < capped.risk
    assert free.plan.learning_rate.max() > capped.plan.learning_rate.max()


def test_targets_at_the_ends():
    problem = nq.power_law(10, irreducible=0.5)
    assert nq.steps_to_target_with_schedule(problem, nq.SGD(0.1), 4, 0.5).steps == np.inf
    assert nq.steps_to_target_with_schedule(problem, nq.SGD(0.1), 4, 99.0).steps == 0
    assert nq.steps_to_target_with_schedule(problem, nq.SGD(0.1), 4, 0.51, max_steps=10).steps == np.inf
    assert nq.steps_to_target_with_schedule(nq.from_spectrum([1.0]), nq.SGD(0.1), 1e6, 0.01).steps == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 5, "pieces": 6}, "pieces is 6: give from 1 to 5"),
        ({"max_learning_rate": 0.0}, "max_learning_rate is 0.0: give a rate above 0"),
        ({"over": ("momentum",)}, "over is 'momentum': the optimizer has learning_rate"),
        ({"over": ()}, "over is"),
        ({"batch_size": [1, 2]}, "the shape of batch_size"),
        ({"examples": 5.0}, "examples is 5: give at least 100"),
        ({"starts": 0}, "starts is 0"),
        ({"starts": None}, "starts is None"),
        ({"steps": "a"}, "steps is 'a'"),
        ({"pieces": None}, "pieces is None"),
        ({"over": None}, "over is None"),
        ({"examples": "a"}, "examples is 'a'"),
        ({"max_learning_rate": "a"}, "max_learning_rate is 'a'"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        nq.optimize_schedule(nq.power_law(3), nq.SGD(0.1), **{"batch_size": 4, "steps": 100, **arguments})


def test_searches_of_like_lengths_compile_once():
    problem = nq.power_law(7)
    nq.optimize_schedule(problem, nq.SGD(0.1), 4, 900, pieces=5)
    compiled = schedule_problem._risk_and_slope._cache_size()
    nq.optimize_schedule(problem, nq.SGD(0.3), 7, 1000, pieces=5)
    assert schedule_problem._risk_and_slope._cache_size() == compiled


@pytest.mark.parametrize("optimizer", [nq.SGD(0.1), nq.Averaged(nq.SGD(0.1), 0.9)])
def test_many_runs_at_once_are_as_good_as_one_by_one(optimizer):
    problem, batches, steps = nq.power_law(50), [2, 64, 4096], [3000, 2000, 1000]
    many = nq.schedules.optimize_rates(problem, optimizer, batches, steps, pieces=5)
    assert many.converged.all()
    for i, (batch, count) in enumerate(zip(batches, steps, strict=True)):
        one = nq.optimize_schedule(problem, optimizer, batch, count, pieces=5)
        assert many.risk[i] == pytest.approx(one.risk, rel=1e-3)
        plan = nq.Plan(many.learning_rate[i], many.steps[i], batch)
        assert nq.run(problem, optimizer, plan)[-1] == pytest.approx(many.risk[i], rel=1e-9)
    with pytest.raises(ValueError, match="max_learning_rate is inf"):
        nq.schedules.optimize_rates(problem, optimizer, batches, 100, max_learning_rate=np.inf)


def test_without_noise_the_largest_rates_are_best():
    problem = nq.NoisyQuadratic(np.array([1.0, 0.5, 0.1]), np.zeros(3), np.ones(3), np.ones(3), 0.0)
    best = nq.optimize_schedule(problem, nq.SGD(0.1), 8, 20, 5)
    constant = nq.risk(problem, nq.SGD(best.plan.learning_rate.max()), 8, 20)
    assert best.converged
    assert best.risk <= constant * (1 + 1e-6)


def test_a_plan_that_explodes_has_not_converged():
    found = nq.optimize_schedule(nq.power_law(30), nq.HeavyBall(50.0, 0.9), 64, 500, 2, over=["momentum"])
    assert not found.converged
