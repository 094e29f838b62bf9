import math

import numpy as np
import optax
import pytest

from nqmjax import schedules
from nqmjax.schedules.phases import borders, cut, decay, means, plateau, warm_up

FAMILIES = {
    "constant": {},
    "linear": {"final": 0.1},
    "cosine": {"final": 0.05},
    "exponential": {"final": 0.02},
    "inverse_sqrt": {"timescale_steps": 30},
    "wsd": {"cooldown": 0.3, "shape": "sqrt"},
    "step_decay": {"factor": 3.0, "drops": 4},
}


def rates(name, steps, **arguments):
    """The rate of every update."""
    plan = getattr(schedules, name)(0.3, steps, 8, **arguments)
    assert plan.total_steps == steps
    return np.repeat(plan.learning_rate, plan.steps.astype(int))


@pytest.mark.parametrize("name", FAMILIES)
def test_coarser_plans_have_the_means_of_the_exact_one_and_stay_near_it(name):
    exact = rates(name, 4000, warmup=0.1, pieces=4000, **FAMILIES[name])
    np.testing.assert_allclose(exact[:400], 0.3 * np.arange(1, 401) / 401)
    assert exact[400] == pytest.approx(0.3)
    for pieces in (10, 100):
        plan = getattr(schedules, name)(0.3, 4000, 8, warmup=0.1, pieces=pieces, **FAMILIES[name])
        starts = np.concatenate([[0], np.cumsum(plan.steps)]).astype(int)
        assert plan.pieces <= 3 * pieces
        np.testing.assert_allclose(plan.learning_rate, np.add.reduceat(exact, starts[:-1]) / plan.steps, rtol=2e-3)
        coarse = np.repeat(plan.learning_rate, plan.steps.astype(int))
        assert abs(coarse - exact).max() <= 3 / pieces * 0.3
        assert coarse.sum() == pytest.approx(exact.sum(), rel=1e-5)


def test_a_warm_up_starts_as_low_as_it_should():
    """A warm-up of a hundredth of the run was one piece at half the peak, 250 times too high at first."""
    for arguments in ({"warmup_steps": 500}, {"warmup": 0.01}):
        plan = schedules.cosine(3e-4, 50_000, 1024, **arguments)
        assert plan.learning_rate[0] == pytest.approx(3e-4 / 501, rel=1e-12)
        assert plan.steps[0] == 1
    last = schedules.wsd(3e-4, 10**7, 1024, cooldown_steps=10**5, warmup_steps=10**6)
    assert last.learning_rate[-1] == pytest.approx(3e-4 / 10**5, rel=1e-9)
    assert last.learning_rate[0] == pytest.approx(3e-4 / (10**6 + 1), rel=1e-9)
    assert last.pieces <= 201
    assert schedules.inverse_sqrt(1.0, 10**9, 8).learning_rate[0] == 1.0
    assert schedules.cosine(1.0, 2**31, 8, warmup=0.3).pieces <= 200


@pytest.mark.parametrize("count", [1, 2, 7, 100, 101, 5000])
def test_pieces_of_a_phase_cover_it(count):
    for phase in (warm_up(count), decay(count, "cosine", 0.0), decay(count, "exponential", 1e-8), plateau(count)):
        for pieces in (1, 3, 100, count):
            edges = cut(phase, pieces)
            assert edges[0] == 0
            assert edges[-1] == count
            assert (np.diff(edges) > 0).all()
            assert len(edges) - 1 <= pieces
    phases = [warm_up(count), decay(count, "sqrt", 0.1), plateau(count, 0.5)]
    np.testing.assert_array_equal(borders(phases), count * np.arange(4))
    every = np.concatenate([phase.multiplier(np.arange(count)) for phase in phases])
    rng = np.random.default_rng(count)
    edges = np.unique(np.concatenate([[0, 3 * count], rng.integers(1, 3 * count, 5)]))
    np.testing.assert_allclose(means(phases, edges), np.add.reduceat(every, edges[:-1]) / np.diff(edges), rtol=1e-4)


# Other libraries at every update. Step `t` here is step `t + 1` with one warm-up step and one step more there.

STEPS, WARM = 60, 7


def transformers(name, step, warm=WARM + 1, steps=STEPS + 1, final=0.1, last=20, shape="linear", warmup_shape="linear"):
    """The multipliers of `transformers.optimization`, as their schedulers' lambdas compute them."""
    if step < warm:
        progress = step / max(1, warm)
        return {"linear": progress, "cosine": 0.5 * (1 - math.cos(math.pi * progress)), "sqrt": 1 - math.sqrt(1 - progress)}[
            warmup_shape
        ]
    if name == "wsd":
        progress = (step - (steps - last)) / max(1, last)
        if progress < 0:
            return 1.0
        shapes = {"linear": 1 - progress, "cosine": 0.5 * (1 + math.cos(math.pi * progress)), "sqrt": 1 - math.sqrt(progress)}
        return shapes[shape] * (1 - final) + final
    progress = (step - warm) / max(1, steps - warm)
    if name == "cosine":
        return max(0.0, 0.5 * (1 + math.cos(math.pi * progress))) * (1 - final) + final
    if name == "linear":
        return max(0.0, (steps - step) / max(1, steps - warm))
    timescale = warm
    return {"inverse_sqrt": 1 / math.sqrt((step + timescale - warm) / timescale), "constant": 1.0}[name]


@pytest.mark.parametrize("warm", [0, WARM])
@pytest.mark.parametrize(
    ("name", "arguments", "theirs"),
    [
        ("constant", {}, {}),
        ("linear", {}, {}),
        ("cosine", {"final": 0.1}, {}),
        ("inverse_sqrt", {}, {}),
        *(
            (
                "wsd",
                {"cooldown_steps": 20, "shape": shape, "final": 0.1, "warmup_shape": climb},
                {"shape": shape, "warmup_shape": climb},
            )
            for shape, climb in [("linear", "linear"), ("cosine", "cosine"), ("sqrt", "sqrt"), ("cosine", "linear")]
        ),
        ("wsd", {"cooldown": 1 / 3}, {"final": 0.0}),
    ],
)
def test_families_are_those_of_transformers(name, arguments, theirs, warm):
    found = rates(name, STEPS, warmup_steps=warm, **arguments)
    expected = [transformers(name, step + 1, warm + 1, **theirs) for step in range(STEPS)]
    np.testing.assert_allclose(found, 0.3 * np.array(expected), rtol=1e-12, atol=1e-15)


def test_families_are_those_of_optax():
    first = 0.3 / (WARM + 1)
    after = STEPS - WARM
    decays = {
        "linear": optax.linear_schedule(0.3, 0.03, after),
        "cosine": optax.cosine_decay_schedule(0.3, after, alpha=0.1),
        "exponential": optax.exponential_decay(0.3, after, 0.1),
    }
    for name, schedule in decays.items():
        joined = optax.join_schedules([optax.linear_schedule(first, 0.3, WARM), schedule], [WARM])
        found = rates(name, STEPS, final=0.1, warmup_steps=WARM)
        np.testing.assert_allclose(found, [joined(t) for t in range(STEPS)], rtol=1e-5)
    whole = optax.warmup_cosine_decay_schedule(first, 0.3, WARM, STEPS, end_value=0.03)
    zero = optax.warmup_cosine_decay_schedule(0.0, 0.3, WARM + 1, STEPS + 1, end_value=0.03)
    found = rates("cosine", STEPS, final=0.1, warmup_steps=WARM)
    np.testing.assert_allclose(found, [whole(t) for t in range(STEPS)], rtol=1e-5)
    np.testing.assert_allclose(found, [zero(t + 1) for t in range(STEPS)], rtol=1e-5)
    warm = optax.warmup_exponential_decay_schedule(first, 0.3, WARM, after, 0.1)
    found = rates("exponential", STEPS, final=0.1, warmup_steps=WARM)
    np.testing.assert_allclose(found, [warm(t) for t in range(STEPS)], rtol=1e-5)


def test_families_are_those_of_pytorch():
    """The closed forms in the documentation of `LinearLR`, `CosineAnnealingLR` and `ExponentialLR`."""
    t = np.arange(STEPS)
    np.testing.assert_allclose(rates("cosine", STEPS, final=0.1), 0.03 + (0.3 - 0.03) * (1 + np.cos(np.pi * t / STEPS)) / 2)
    np.testing.assert_allclose(rates("exponential", STEPS, final=0.1), 0.3 * (0.1 ** (1 / STEPS)) ** t)
    np.testing.assert_allclose(rates("linear", STEPS, final=0.1), 0.3 * (1 + (0.1 - 1) * t / STEPS))
    start = 1 / (WARM + 1)
    climb = 0.3 * (start + (1 - start) * np.minimum(t, WARM) / WARM)
    np.testing.assert_allclose(rates("constant", STEPS, warmup_steps=WARM), climb)


def test_step_decay_is_that_of_smith_2020():
    plan = schedules.step_decay(1.0, 1000, 64)
    np.testing.assert_allclose(plan.learning_rate, 2.0 ** -np.arange(11))
    np.testing.assert_array_equal(plan.steps, [500] + [50] * 10)
    assert schedules.step_decay(1.0, 1000, 64, final=0.01).learning_rate[-1] == pytest.approx(0.01)
    late = schedules.step_decay(1.0, 1000, 64, drops=2, hold=0.1, warmup=0.7)
    np.testing.assert_allclose(late.learning_rate[-1], 0.25)


def test_shares_are_of_the_whole_run_in_every_family():
    for name in FAMILIES:
        found = rates(name, 1000, warmup=0.2)
        np.testing.assert_array_equal(found, rates(name, 1000, warmup_steps=200))
        assert found.argmax() == 200
    held = rates("wsd", 1000, warmup=0.2, cooldown=0.25, pieces=7)
    assert (held[200:750] == 0.3).all()
    assert (held[750:] < 0.3).all()
    np.testing.assert_array_equal(held, rates("wsd", 1000, warmup=0.2, cooldown_steps=250, pieces=7))
    found = rates("inverse_sqrt", 1000, timescale=0.1)
    np.testing.assert_array_equal(found, rates("inverse_sqrt", 1000, timescale_steps=100))
    assert rates("wsd", 3, warmup=0.5, cooldown=0.5).size == 3


BAD_NUMBERS = [
    ({name: value}, name)
    for name in ("learning_rate", "steps", "batch_size", "pieces", "warmup_steps")
    for value in ("a", [[1], [1, 2]])
]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (
            "cosine",
            {"warmup": 500},
            "warmup is 500: give a share of the run from 0 to 1; for 500 updates give warmup_steps=500",
        ),
        ("wsd", {"cooldown": 5}, "for 5 updates give cooldown_steps=5"),
        ("inverse_sqrt", {"warmup": 2}, "for 2 updates give warmup_steps=2"),
        ("cosine", {"warmup": 0.1, "warmup_steps": 1}, "warmup and warmup_steps is .*: give one of the two"),
        ("wsd", {"cooldown": 0.1, "cooldown_steps": 1}, "cooldown and cooldown_steps is .*: give one of the two"),
        ("inverse_sqrt", {"timescale": 0.1, "timescale_steps": 1}, "give one of the two"),
        ("cosine", {"warmup_steps": 10}, "warmup_steps is 10: give fewer updates than the run has, 10"),
        ("cosine", {"warmup": 1.0}, "warmup is 1.0: give a share of the run below 1"),
        ("cosine", {"steps": 0}, "steps is 0"),
        ("cosine", {"final": 2}, "final is 2"),
        ("exponential", {"final": 0.0}, "final is 0.0"),
        ("wsd", {"shape": "sqr"}, "did you mean 'sqrt'"),
        ("wsd", {"cooldown": -1}, "cooldown is -1"),
        ("wsd", {"cooldown": 0.8, "warmup": 0.5}, "the cooldown is 8 updates: the run has 5 after its warm-up of 5"),
        ("step_decay", {"drops": 1.5}, "drops is 1.5"),
        ("step_decay", {"factor": 0.0}, "factor is 0.0"),
        ("step_decay", {"hold": 1.5}, "hold is 1.5"),
        ("inverse_sqrt", {"timescale": 0}, "timescale is 0"),
        ("linear", {"pieces": 0}, "pieces is 0"),
        ("linear", {"pieces": None}, "pieces is None"),
        ("cosine", {"learning_rate": -0.1}, "learning_rate is -0.1"),
        ("cosine", {"batch_size": 0.5}, "batch_size is 0.5"),
        *(("cosine", arguments, f"{word} is ") for arguments, word in BAD_NUMBERS),
    ],
)
def test_bad_input(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(schedules, name)(**{"learning_rate": 0.1, "steps": 10, "batch_size": 8, **arguments})
