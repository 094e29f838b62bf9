import numpy as np
import optax
import pytest

from nqmjax import schedules

FAMILIES = {
    "constant": {},
    "linear": {"final": 0.1},
    "cosine": {"final": 0.05},
    "exponential": {"final": 0.02},
    "inverse_sqrt": {"timescale": 30},
    "wsd": {"cooldown": 0.3, "shape": "sqrt"},
    "step_decay": {"factor": 3.0, "drops": 4},
}


@pytest.mark.parametrize("name", FAMILIES)
def test_one_piece_per_update_is_exact_and_coarser_plans_converge_to_it(name):
    family, warmup = schedules.FAMILIES[name], 20
    every = family(0.3, 400, 8, warmup=warmup, pieces=400, **FAMILIES[name])
    exact = np.repeat(every.learning_rate, every.steps.astype(int))
    np.testing.assert_allclose(exact[:warmup], 0.3 * np.arange(1, warmup + 1) / (warmup + 1))
    assert exact[warmup] == pytest.approx(0.3)
    assert exact.max() <= 0.3 * (1 + 1e-12)
    errors = []
    for pieces in (25, 50, 100):
        plan = family(0.3, 400, 8, warmup=warmup, pieces=pieces, **FAMILIES[name])
        assert plan.total_steps == 400
        errors.append(abs(np.repeat(plan.learning_rate, plan.steps.astype(int)) - exact).sum())
    assert errors[2] <= 0.6 * errors[1] + 1e-12
    assert errors[1] <= 0.6 * errors[0] + 1e-12


def test_families_are_those_of_optax():
    steps = np.arange(100)
    expected = {
        "linear": optax.linear_schedule(0.3, 0.03, 100),
        "cosine": optax.cosine_decay_schedule(0.3, 100, alpha=0.1),
        "exponential": optax.exponential_decay(0.3, 100, 0.1),
    }
    for name, schedule in expected.items():
        plan = schedules.FAMILIES[name](0.3, 100, 8, final=0.1)
        np.testing.assert_allclose(plan.learning_rate, [schedule(t) for t in steps], rtol=1e-5)


def test_step_decay_is_that_of_smith_2020():
    plan = schedules.step_decay(1.0, 1000, 64)
    np.testing.assert_allclose(plan.learning_rate, 2.0 ** -np.arange(11))
    np.testing.assert_array_equal(plan.steps, [500] + [50] * 10)
    assert schedules.step_decay(1.0, 1000, 64, final=0.01).learning_rate[-1] == pytest.approx(0.01)


def test_cooldown_starts_where_it_should():
    plan = schedules.wsd(1.0, 1000, 64, cooldown=0.25, pieces=7)
    rates = np.repeat(plan.learning_rate, plan.steps.astype(int))
    assert (rates[:750] == 1).all()
    assert (rates[750:] < 1).all()


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("cosine", {"steps": 10, "warmup": 10}, "warmup is 10: give fewer updates than the run has, 10"),
        ("cosine", {"steps": 0}, "steps is 0"),
        ("cosine", {"steps": 10, "final": 2}, "final is 2"),
        ("exponential", {"steps": 10, "final": 0.0}, "final is 0.0"),
        ("wsd", {"steps": 10, "shape": "sqr"}, "did you mean 'sqrt'"),
        ("wsd", {"steps": 10, "cooldown": -1}, "cooldown is -1"),
        ("step_decay", {"steps": 10, "drops": 1.5}, "drops is 1.5"),
        ("step_decay", {"steps": 10, "factor": 0.0}, "factor is 0.0"),
        ("inverse_sqrt", {"steps": 10, "timescale": 0}, "timescale is 0"),
        ("linear", {"steps": 10, "pieces": 0}, "pieces is 0"),
    ],
)
def test_bad_input(name, arguments, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        schedules.FAMILIES[name](0.1, batch_size=8, **arguments)
