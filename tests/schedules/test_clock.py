import numpy as np
import pytest

import nqmjax as nq

PROBLEM, OPTIMIZER = nq.power_law(50), nq.SGD(0.1)


def test_batch_schedules_in_time_are_no_worse_than_one_batch_size():
    time = nq.schedules.TimeModel(fixed=0.02, per_example=1e-4)
    joint = nq.schedules.best_plan_in_time(PROBLEM, OPTIMIZER, 20, time, pieces=4)
    constant = nq.schedules.best_plan_in_time(PROBLEM, OPTIMIZER, 20, time, pieces=4, constant_batch=True)
    for found in (joint, constant):
        assert found.converged
        assert found.seconds <= 20 * (1 + 1e-9)
        assert time.seconds(found.plan) == pytest.approx(found.seconds)
        assert nq.run(PROBLEM, OPTIMIZER, found.plan)[-1] == pytest.approx(found.risk, rel=1e-9)
    assert joint.risk < constant.risk
    steps = int(constant.plan.total_steps)
    for other in (int(0.9 * steps), int(1.1 * steps)):
        batch = (20 / other - time.fixed) / time.per_example
        assert nq.optimize_schedule(PROBLEM, OPTIMIZER, batch, other, 4).risk >= constant.risk


def test_memory_caps_the_batch():
    time = nq.schedules.TimeModel(fixed=0.02, per_example=0.0, max_batch_size=16)
    found = nq.schedules.best_plan_in_time(PROBLEM, OPTIMIZER, 2, time, pieces=4)
    np.testing.assert_allclose(found.plan.batch_size, 16)
    assert found.plan.total_steps == 100
    assert nq.schedules.best_plan_in_time(PROBLEM, OPTIMIZER, 2, time, pieces=4, max_learning_rate=0.01).at_cap


def test_the_fastest_plan_reaches_the_target_and_less_time_does_not():
    time = nq.schedules.TimeModel(fixed=0.05, per_example=1e-4)
    fast = nq.schedules.fastest_plan(PROBLEM, OPTIMIZER, 0.05, time, pieces=2, constant_batch=True)
    assert fast.risk <= 0.05
    assert (
        nq.schedules.best_plan_in_time(PROBLEM, OPTIMIZER, 0.98 * fast.seconds, time, pieces=2, constant_batch=True).risk > 0.05
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seconds": 0.001}, "seconds is 0.001: one step of one example takes 0.0201"),
        ({"seconds": "a"}, "seconds is 'a'"),
        ({"pieces": None}, "pieces is None"),
        ({"time": 3}, "time is 3: give a TimeModel"),
        ({"max_learning_rate": "a"}, "max_learning_rate is 'a'"),
        ({"time": nq.schedules.TimeModel(-1, 1)}, "fixed is -1"),
        ({"time": nq.schedules.TimeModel(0, 0)}, "a step must take some time"),
        ({"time": nq.schedules.TimeModel(1, 0)}, "max_batch_size is inf"),
        ({"time": nq.schedules.TimeModel(1, 1, 0)}, "max_batch_size is 0"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        nq.schedules.best_plan_in_time(
            PROBLEM, OPTIMIZER, **{"seconds": 10, "time": nq.schedules.TimeModel(0.02, 1e-4), **arguments}
        )
    with pytest.raises(ValueError, match="target is 99: give a risk above 0"):
        nq.schedules.fastest_plan(PROBLEM, OPTIMIZER, 99, nq.schedules.TimeModel(1, 1))
