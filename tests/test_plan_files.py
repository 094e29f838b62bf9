import numpy as np
import optax
import pytest

import nqmjax as nq

PLAN = nq.Plan([0.5, 0.2, 0.05], steps=[30, 20, 10], batch_size=8, momentum=[0.9, 0.5, 0.0])


def test_optax_schedules_give_the_computed_risk():
    problem = nq.power_law(8)
    transformation = optax.inject_hyperparams(optax.sgd)(
        learning_rate=nq.to_optax(PLAN), momentum=nq.to_optax(PLAN, "momentum")
    )
    sampled = nq.monte_carlo(problem, transformation, 8, 60, num_seeds=4000, key=1)
    computed = nq.run(problem, nq.HeavyBall(0.1, 0.9), PLAN)
    at = sampled.sel(step=[0, 30, 50, 60])
    assert (abs(at.risk.values - computed) <= 4 * at.standard_error.values).all(), "key 1"


def test_torch_multipliers_and_ramps():
    multiplier = nq.to_torch_lambda(PLAN, base=0.5)
    rates = [0.5 * multiplier(step) for step in range(60)]
    np.testing.assert_allclose(rates, np.repeat(PLAN.learning_rate, [30, 20, 10]))
    assert [float(nq.to_optax(PLAN)(step)) for step in range(60)] == pytest.approx(rates)
    assert nq.batch_ramp(PLAN.replace(batch_size=[8, 8.4, 16])) == "0:8,50:16"
    assert nq.batch_ramp(PLAN.replace(batch_size=[8, 8.4, 16]), whole=False) == "0:8,30:8.4,50:16"


@pytest.mark.parametrize("name", ["plan.csv", "plan.json"])
def test_files_come_back_as_they_were(tmp_path, name):
    plan = PLAN.replace(batch_size=[8, 1 / 3 + 8, 16])
    nq.write_plan(plan, tmp_path / name)
    back = nq.read_plan(tmp_path / name)
    for column in ("steps", "batch_size"):
        np.testing.assert_array_equal(getattr(back, column), getattr(plan, column))
    for column in plan.hyperparameters:
        np.testing.assert_array_equal(back.hyperparameters[column], plan.hyperparameters[column])
    with pytest.raises(ValueError, match="exists"):
        nq.write_plan(plan, tmp_path / name)


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
        nq.read_plan(path)


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
        nq.read_plan(path)
