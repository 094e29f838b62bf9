import pickle

import jax
import numpy as np
import pytest
from helpers import OPTIMIZERS, random_problem

import nqmjax as nq
from nqmjax._tools import precision
from nqmjax.dynamics.pieces import doublings, quick_risks_of_pieces
from nqmjax.optimizers.base import hyperparameters, linear_system
from nqmjax.schedules.plan import Plan, run

BUILT_IN = [name for name in OPTIMIZERS if name != "AggMo"]


def risks_step_by_step(problem, optimizer, plan):
    """The risk after every update, by the recursion of second moments in plain NumPy."""
    weight = 0.5 * problem.count * problem.curvature
    moments, risks = None, []
    for piece in range(plan.pieces):
        values = {name: column[piece] for name, column in plan.hyperparameters.items()}
        with jax.enable_x64(True):
            system = jax.tree.map(np.asarray, linear_system(optimizer.replace(**values), problem.curvature))
        matrix = np.moveaxis(system.increment, -1, 0) + np.eye(len(system.kick))
        kick, read = system.kick.T, system.read.T
        if moments is None:
            start = system.start.T
            moments = problem.initial[:, None, None] * start[:, :, None] * start[:, None]
            risks.append(problem.irreducible + weight @ np.einsum("ni,nij,nj->n", read, moments, read))
        added = (problem.noise / plan.batch_size[piece])[:, None, None] * kick[:, :, None] * kick[:, None]
        for _ in range(int(plan.steps[piece])):
            moments = matrix @ moments @ matrix.swapaxes(1, 2) + added
            risks.append(problem.irreducible + weight @ np.einsum("ni,nij,nj->n", read, moments, read))
    return np.array(risks)


def random_plan(rng, optimizer, problem, pieces=5):
    """Pieces of 1 to 60 updates at stable rates, everything that may change changing."""
    columns = {name: np.full(pieces, value) for name, value in hyperparameters(optimizer).items()}
    for name in columns:
        if name.split(".")[-1] in ("momentum", "decay"):
            columns[name] = rng.uniform(0, 1, pieces)
    columns["learning_rate"] = rng.uniform(0, 0.6, pieces) / problem.curvature[0]
    return Plan(**columns, steps=rng.integers(1, 60, pieces), batch_size=2.0 ** rng.integers(0, 10, pieces))


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("seed", range(3))
def test_pieces_agree_with_a_recursion_over_steps(name, seed):
    rng = np.random.default_rng(seed)
    problem = random_problem(rng, 6)
    optimizer = OPTIMIZERS[name](rng, 0.1)
    plan = random_plan(rng, optimizer, problem)
    every = risks_step_by_step(problem, optimizer, plan)
    at = np.concatenate([[0], np.cumsum(plan.steps).astype(int)])
    np.testing.assert_allclose(run(problem, optimizer, plan), every[at], rtol=1e-9, err_msg=f"seed {seed}")


@pytest.mark.parametrize("name", ["SGD", "Averaged SGD"])
def test_one_piece_is_a_constant_run(name):
    problem = nq.power_law(20)
    optimizer = OPTIMIZERS[name](np.random.default_rng(0), 0.1)
    values = hyperparameters(optimizer)
    for steps in (1, 1000, 2**31):
        found = run(problem, optimizer, Plan(values["learning_rate"], steps, 32))
        assert found[-1] == pytest.approx(nq.risk(problem, optimizer, 32, steps), rel=1e-12)


@pytest.mark.parametrize(("name", "steps"), [("SGD", 10**9), ("HeavyBall", 50), ("Averaged SGD", 10**5)])
def test_gradients_of_fifty_pieces_equal_finite_differences(name, steps):
    problem = nq.power_law(10, exponent=0.5)
    optimizer = OPTIMIZERS[name](np.random.default_rng(1), 0.1)
    rates = np.geomspace(1.0, 0.01, 50) * min(0.5, 30 / steps)
    plan = Plan(rates, steps // 50, np.geomspace(8, 64, 50))
    logarithms = {"learning_rate": np.log(rates), "batch_size": np.log(plan.batch_size)}

    def final_risk(logarithms, xp=np):
        return run(problem, optimizer, plan.replace(**{name: xp.exp(value) for name, value in logarithms.items()}))[-1]

    with jax.enable_x64(True):
        gradients = jax.tree.map(np.asarray, jax.grad(lambda u: final_risk(u, jax.numpy))(logarithms))
    for name, gradient in gradients.items():
        for direction in (np.random.default_rng(2).standard_normal(50), np.eye(50)[30]):
            at = [final_risk(logarithms | {name: logarithms[name] + t * direction}) for t in (-2e-3, -1e-3, 1e-3, 2e-3)]
            assert gradient @ direction == pytest.approx((8 * (at[2] - at[1]) - (at[3] - at[0])) / 12e-3, rel=1e-6)


@pytest.mark.parametrize("name", ["SGD", "HeavyBall", "Averaged SGD"])
def test_the_quick_form_agrees_below_the_edge(name):
    problem = nq.power_law(10, exponent=0.5)
    optimizer = OPTIMIZERS[name](np.random.default_rng(1), 0.1)
    plan = Plan(np.geomspace(0.5, 0.01, 50), np.arange(50) * 40 + 1, np.geomspace(8, 64, 50))
    settings, steps = optimizer.replace(**plan.hyperparameters), plan.steps.astype(np.uint32)
    with precision():
        quick = quick_risks_of_pieces(problem, settings, 1 / plan.batch_size, steps, doublings(2000))
    np.testing.assert_allclose(quick, run(problem, optimizer, plan), rtol=1e-10)


def test_transformations():
    problem = nq.power_law(5)
    plan = Plan([0.3, 0.1], [10, 20], [4, 8])
    expected = run(problem, nq.SGD(0.1), plan)
    with jax.enable_x64(True):
        jitted = jax.jit(lambda plan: run(problem, nq.SGD(0.1), plan))(plan)
        mapped = jax.vmap(lambda batch: run(problem, nq.SGD(0.1), plan.replace(batch_size=batch)))(
            np.array([plan.batch_size] * 3)
        )
    np.testing.assert_allclose(jitted, expected, rtol=1e-12)
    np.testing.assert_allclose(mapped, [expected] * 3, rtol=1e-12)


def test_units_are_never_mixed():
    plan = Plan(0.1, steps=[100, 50], batch_size=[64, 128])
    assert (plan.pieces, plan.total_steps, plan.total_examples) == (2, 150, 12_800)
    assert plan.epochs(dataset_size=6400) == 2
    with pytest.raises(ValueError, match="dataset_size is 0"):
        plan.epochs(0)


def test_a_plan_never_changes_and_travels_as_a_pytree():
    plan = Plan([0.3, 0.1], [10, 20], [4, 8], momentum=0.9)
    for change in (
        lambda: setattr(plan, "steps", 3),
        lambda: plan.hyperparameters.__setitem__("momentum", 0.5),
        lambda: plan.learning_rate.__setitem__(0, 0.5),
        lambda: plan.batch_size.__setitem__(0, 1.0),
    ):
        with pytest.raises((AttributeError, TypeError, ValueError)):
            change()
    assert len(jax.tree.leaves(plan)) == 4
    for copy in (pickle.loads(pickle.dumps(plan)), jax.tree.map(np.asarray, plan), plan.replace()):
        np.testing.assert_array_equal(copy.hyperparameters["momentum"], [0.9, 0.9])
        np.testing.assert_array_equal(copy.batch_size, [4, 8])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Plan([0.1, 0.2], [10, 10, 10], 4), "learning_rate 2, steps 3, batch_size 1: give columns of one length"),
        (lambda: Plan([[0.1]], 10, 4), "give 1-D sequences"),
        (lambda: Plan([], 10, 4), "the number of pieces is 0"),
        (lambda: Plan("fast", 10, 4), "learning_rate is 'fast'"),
        (lambda: Plan([0.1, 0.2], [10, 0], 4), r"steps\[1\] is 0.0: each piece needs at least one step"),
        (lambda: Plan([0.1, 0.2], "a", 4), "steps is 'a'"),
        (lambda: Plan([[0.1], [0.1, 0.2]], 10, 4), "learning_rate is "),
        (lambda: Plan(None, 10, 4), "learning_rate is None"),
        (lambda: Plan([0.1, 0.2], [10, 2.5], 4), r"steps\[1\] is 2.5: give whole numbers"),
        (lambda: Plan([0.1, -0.2], 10, 4), r"learning_rate\[1\] is -0.2"),
        (lambda: Plan(0.1, 10, [4, 0.5]), r"batch_size\[1\] is 0.5"),
        (lambda: Plan(0.1, 10, 4, momentum=0.9), "hyperparameter is 'momentum': this optimizer has learning_rate"),
        (lambda: "plan", "plan is 'plan': give a Plan"),
    ],
)
def test_bad_plans(make, message):
    with pytest.raises(ValueError, match=message):
        run(nq.power_law(3), nq.SGD(0.1), make())
