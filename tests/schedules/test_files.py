import jax
import numpy as np
import optax
import pytest

import nqmjax as nq

PLAN = nq.Plan([0.5, 0.2, 0.05], steps=[30, 20, 10], batch_size=8, momentum=[0.9, 0.5, 0.0])


def test_optax_schedules_give_the_computed_risk():
    problem = nq.power_law(8)
    transformation = optax.inject_hyperparams(optax.sgd)(learning_rate=PLAN.to_optax(), momentum=PLAN.to_optax("momentum"))
    sampled = nq.monte_carlo(problem, transformation, 8, 60, num_seeds=4000, key=1)
    computed = nq.run(problem, nq.HeavyBall(0.1, 0.9), PLAN)
    at = sampled.sel(step=[0, 30, 50, 60])
    assert (abs(at.risk.values - computed) <= 4 * at.standard_error.values).all(), "key 1"


def test_exports_agree_with_each_other_and_with_run_at_every_update():
    optax_schedule, multiplier = jax.jit(PLAN.to_optax()), PLAN.to_torch_lambda(base=0.5)
    inside = np.repeat(PLAN.learning_rate, PLAN.steps.astype(int))
    rates = {-3: 0.5, -1: 0.5, **dict(enumerate(inside)), 60: 0.05, 61: 0.05, 10**6: 0.05, 2**31 - 1: 0.05}
    counts = np.array([*rates], np.int32)
    np.testing.assert_allclose([0.5 * multiplier(step) for step in rates], [*rates.values()], rtol=1e-15)
    np.testing.assert_allclose([optax_schedule(count) for count in counts], [*rates.values()], rtol=1e-6)
    assert float(PLAN.to_optax()(59)) == pytest.approx(0.05)
    one_by_one = nq.Plan(inside, 1, 8, momentum=np.repeat(PLAN.hyperparameters["momentum"], PLAN.steps.astype(int)))
    every = nq.run(nq.power_law(8), nq.HeavyBall(0.1, 0.9), one_by_one)
    np.testing.assert_allclose(every[[0, 30, 50, 60]], nq.run(nq.power_law(8), nq.HeavyBall(0.1, 0.9), PLAN), rtol=1e-12)


def test_optax_schedules_of_runs_longer_than_32_bits():
    schedule = nq.Plan([0.3, 0.2, 0.1], steps=[2**30, 2**31, 5], batch_size=8).to_optax()
    at = np.array([0, 2**30 - 1, 2**30, 2**31 - 2], np.int32)
    np.testing.assert_allclose([schedule(count) for count in at], [0.3, 0.3, 0.2, 0.2], rtol=1e-6)


def test_ramps_count_updates_or_samples():
    plan = PLAN.replace(batch_size=[8, 8.4, 16])
    assert plan.batch_ramp() == "0:8,50:16"
    assert plan.batch_ramp("samples") == "0:8 400:16"
    assert nq.Plan(0.1, [1000, 10], [32, 64]).batch_ramp("samples") == "0:32 32000:64"
    assert nq.Plan(0.1, 10, [1.4, 1.2]).batch_ramp() == "0:1"


def test_whole_batches_stay_within_the_examples():
    rng = np.random.default_rng(0)
    for seed in range(200):
        plan = nq.Plan(0.1, rng.integers(1, 50, 6), np.maximum(rng.exponential(5, 6), 1))
        found = plan.whole_batches()
        sizes, remainder = found.batch_size, plan.batch_size % 1
        assert (sizes == np.floor(sizes)).all()
        assert (abs(sizes - plan.batch_size) < 1).all()
        assert sizes.min() >= 1, seed
        spare = plan.total_examples - found.total_examples
        assert spare >= 0
        down = (sizes < plan.batch_size) & (remainder > 0)
        assert (spare < plan.steps[down]).all(), "none that was rounded down could have been rounded up"
    same = nq.Plan(0.1, [10, 20, 30], 8.5).whole_batches().batch_size
    np.testing.assert_array_equal(same, 8)
    np.testing.assert_array_equal(nq.Plan(0.1, [10, 20], [64, 1]).whole_batches().batch_size, [64, 1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda plan: plan.to_optax("rate"), "name is 'rate'"),
        (lambda plan: plan.to_torch_lambda(base=0), "base is 0"),
        (lambda plan: plan.to_torch_lambda(base="a"), "base is 'a'"),
        (lambda plan: plan.replace(learning_rate=-0.1).to_optax(), r"learning_rate\[0\] is -0.1: give finite rates"),
        (lambda plan: plan.replace(learning_rate=np.nan).to_torch_lambda(), r"learning_rate\[0\] is nan"),
        (lambda plan: plan.replace(momentum=np.inf).write("plan.csv"), r"momentum\[0\] is inf"),
        (lambda plan: plan.replace(steps=[30, 20, 0]).to_optax(), r"steps\[2\] is 0.0: each piece needs"),
        (lambda plan: plan.replace(steps=[30, 20, 0]).batch_ramp(), r"steps\[2\] is 0.0: each piece needs"),
        (lambda plan: plan.batch_ramp("tokens"), "unit is 'tokens'"),
        (lambda plan: plan.write("plan.txt"), "the suffix of output is '.txt'"),
        (lambda plan: jax.jit(lambda p: p.to_optax()(3))(plan), "the plan is being traced"),
    ],
)
def test_exports_check_their_plan(call, message):
    with pytest.raises(ValueError, match=message):
        call(PLAN)


@pytest.mark.parametrize("name", ["plan.csv", "plan.json"])
def test_files_come_back_as_they_were_with_whole_batch_sizes(tmp_path, name):
    plan = PLAN.replace(batch_size=[8, 1 / 3 + 8, 16], learning_rate=[1 / 3, 1e-9, 0.1])
    plan.write(tmp_path / name)
    back = nq.schedules.read_plan(tmp_path / name)
    np.testing.assert_array_equal(back.steps, plan.steps)
    np.testing.assert_array_equal(back.batch_size, [8, 8, 16])
    for column in plan.hyperparameters:
        np.testing.assert_array_equal(back.hyperparameters[column], plan.hyperparameters[column])
    with pytest.raises(ValueError, match="exists"):
        plan.write(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "start,steps,learning_rate,batch_size\n0,10,1,8\n12,10,1,8\n",
            "start in .*, row 3 is 12: the piece before ends at 10: there is a gap",
        ),
        ("start,steps,learning_rate,batch_size\n0,10,1,8\n9,10,1,8\n", "there is an overlap"),
        ("steps,batch_size\n10,8\n", "'learning_rate' is missing"),
        ("steps,learning_rate,batch_size\n10,fast,8\n", "row 2, column 'learning_rate' is 'fast': give a number"),
        ("steps,learning_rate,batch_size\n10,1\n", "the number of cells in .*, row 2 is 2: give as many as row 1 has names, 3"),
        ("steps,learning_rate,batch_size\n0,1,8\n", r"steps\[0\] is 0.0: each piece"),
        ("steps,learning_rate,batch_size\n", "the number of rows in .* is 0"),
    ],
)
def test_bad_csv(tmp_path, text, message):
    path = tmp_path / "plan.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        nq.schedules.read_plan(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is damaged"),
        ("[]", "no file of the format"),
        ('{"format": "nqmjax plan", "version": "1", "pieces": {}}', "version of .* is '1'"),
        ('{"format": "nqmjax plan", "version": 99, "pieces": {}}', "version of .* is 99"),
    ],
)
def test_bad_json(tmp_path, text, message):
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        nq.schedules.read_plan(path)
