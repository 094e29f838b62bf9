"""Plans under limits against fine grids and closed forms, on models that are made by hand."""

import dataclasses
import functools
import math

import numpy as np
import pytest
from made_models import made_model

import nqmjax as nq
from nqmjax.runs import Limits, StepTable, StepTime, critical_batch_sizes, plan
from nqmjax.runs.laws.base import law_inputs
from nqmjax.runs.plan import _Space
from nqmjax.runs.predict import mean_log_losses
from nqmjax.runs.settings import RunSchedule, run_settings

CLOCK = StepTime(fixed=0.05, per_work=2e-13, devices=8)
LIMITS = {
    "compute": Limits(compute=1e18),
    "compute and seconds": Limits(compute=1e18, seconds=1e5, step_seconds=CLOCK),
    "seconds": Limits(seconds=3e5, step_seconds=CLOCK),
    "memory": Limits(compute=1e19, memory=4e9, parameter_bytes=16.0, example_bytes=2e6, devices=8),
    "examples": Limits(compute=1e19, examples=2e9),
    "examples alone": Limits(examples=2e9, largest_model=2e9),
    "steps": Limits(compute=1e18, steps=20_000),
    "everything": Limits(1e5, CLOCK, 1e19, 4e9, 16.0, 2e6, 8, 1e9, 5e4, 2e6, 2e9, 64, 2048),
}
MODELS = {name: made_model(name) for name in ("chinchilla", "adam")}
CASES = [(name, limits) for name in MODELS for limits in LIMITS]


@functools.cache
def planned(name, limits):
    return plan(MODELS[name], LIMITS[limits], progress=False)


def allowed(limits, size, batch):
    """Updates under the limits as their documentation has them; 0 where the model does not fit."""
    steps = np.full(np.broadcast_shapes(np.shape(size), np.shape(batch)), 1e12)
    if limits.seconds is not None:
        steps = np.minimum(steps, limits.seconds / (0.05 + 2e-13 * size * batch / 8))
    if limits.compute is not None:
        steps = np.minimum(steps, limits.compute / (size * batch))
    if limits.examples is not None:
        steps = np.minimum(steps, limits.examples / batch)
    if limits.steps is not None:
        steps = np.minimum(steps, limits.steps)
    if limits.memory is not None:
        fits = limits.parameter_bytes * size + limits.example_bytes * batch / limits.devices <= limits.memory
        steps = np.where(fits, steps, 0.0)
    return steps


def losses(model, size, batch, steps):
    """In calls of 625 runs, the shape that `plan` compiles."""
    count = len(size)
    columns = [np.concatenate([column, np.full(-count % 625, column[-1])]).reshape(-1, 625) for column in (size, batch, steps)]
    found = [mean_log_losses(model, law_inputs(run_settings(*row, model.learning_rate))) for row in zip(*columns, strict=True)]
    return np.exp(np.concatenate(found)[:count])


def scanned(model, limits, points=200):
    """The least loss on a grid whose models reach up to what memory holds at each batch size."""
    low, high = limits.smallest_model or 1e6, limits.largest_model or 3e12
    batches = np.geomspace(limits.smallest_batch or 32, limits.largest_batch or 4096, points)
    top = np.full(points, high)
    if limits.memory is not None:
        top = np.minimum(top, (limits.memory - limits.example_bytes * batches / limits.devices) / limits.parameter_bytes)
    top = np.maximum(top, low)
    size = (low * (top / low) ** np.linspace(0, 1, points)[:, None] * (1 - 1e-12)).ravel()
    batch = np.tile(batches, points)
    steps = allowed(limits, size, batch)
    found = np.where(steps >= 1, losses(model, size, batch, np.maximum(steps, 1)), np.inf)
    at = int(found.argmin())
    return size[at], batch[at], found[at]


@pytest.mark.parametrize(("name", "limits"), CASES)
def test_a_fine_grid(name, limits):
    found = planned(name, limits).best
    size, batch, least = scanned(MODELS[name], LIMITS[limits])
    assert found.loss.item() <= least * (1 + 1e-4), (size, batch, found.model_size.item(), found.batch_size.item())
    columns = [found[name].values.reshape(1) for name in ("model_size", "batch_size", "steps")]
    assert found.loss.item() == pytest.approx(losses(MODELS[name], *columns).item(), rel=1e-12)


def test_the_closed_form_of_chinchilla():
    """`alpha A n^-alpha = beta C d^-beta` with `n d` given, in units of the scale; the batch size does not matter."""
    a, alpha, c, beta = 0.6, 0.34, 0.6, 0.28
    for compute in (1e16, 1e18, 1e20):
        product = compute / 2e7 / (256 * 2000)
        size = (alpha * a / (beta * c) * product**beta) ** (1 / (alpha + beta))
        least = 1.7 + a * size**-alpha + c * (product / size) ** -beta
        found = plan(MODELS["chinchilla"], Limits(compute=compute), progress=False).best
        assert found.model_size.item() == pytest.approx(2e7 * size, rel=0.02)
        assert found.loss.item() == pytest.approx(least, rel=1e-5)
        assert found.examples.item() == pytest.approx(compute / found.model_size.item(), rel=1e-3)


def check_costs(limits, table):
    """Whole numbers that cost what the table says and no more than the limits allow."""
    size, batch, steps = (table[name].values for name in ("model_size", "batch_size", "steps"))
    for numbers in (size, batch, steps):
        np.testing.assert_array_equal(numbers, np.floor(numbers))
    assert (steps >= 1).all()
    costs = {"compute": size * batch * steps, "examples": batch * steps}
    if limits.seconds is not None:
        costs["seconds"] = steps * CLOCK(size, batch)
    if limits.memory is not None:
        costs["memory"] = limits.parameter_bytes * size + limits.example_bytes * batch / limits.devices
    for name, cost in costs.items():
        np.testing.assert_allclose(table[name].values, cost, rtol=1e-12, err_msg=name)
    multiples = table.limits.values if "limits" in table.coords else 1.0
    for name in ("seconds", "compute", "examples", "steps"):
        if getattr(limits, name) is not None:
            assert (table[name].values <= multiples * getattr(limits, name) * (1 + 1e-12)).all(), name
    if limits.memory is not None:
        assert (table["memory"].values <= limits.memory).all()
    for low, high, values in (
        (limits.smallest_model, limits.largest_model, size),
        (limits.smallest_batch, limits.largest_batch, batch),
    ):
        assert (values >= (low or 0)).all()
        assert (values <= (high or math.inf)).all()


@pytest.mark.parametrize(("name", "limits"), CASES)
def test_limits_are_respected(name, limits):
    found = planned(name, limits)
    check_costs(LIMITS[limits], found.best)
    check_costs(LIMITS[limits], found.frontier)


@pytest.mark.parametrize(("name", "limits"), CASES)
def test_more_is_never_worse(name, limits):
    found = planned(name, limits)
    assert (found.prices.gain >= -1e-6).all()
    np.testing.assert_allclose(found.prices.gain, found.best.loss - found.prices.loss_if_doubled, atol=2e-4)
    assert ((found.prices.used > 0) & (found.prices.used <= 1 + 1e-9)).all()
    assert found.prices.used.max() == pytest.approx(1)
    given = [
        name for name in ("seconds", "compute", "examples", "steps", "memory") if getattr(LIMITS[limits], name) is not None
    ]
    assert found.prices.limit.values.tolist() == given
    assert found.prices.allowed.values.tolist() == [getattr(LIMITS[limits], name) for name in given]
    assert found.frontier.limits.values.tolist() == [2.0**k for k in range(-4, 5)]
    assert (np.diff(found.frontier.loss) <= 1e-6).all()
    assert found.frontier.loss.sel(limits=1).item() == found.best.loss.item()


@pytest.mark.parametrize(("name", "limits"), CASES)
def test_flat_ranges(name, limits):
    """They contain the best, and their ends cost about 1%."""
    found, model = planned(name, limits), MODELS[name]
    for key, (low, high) in found.flat.items():
        best = found.best[key].item()
        assert low <= best * 1.001, key  # which is rounded
        assert best <= high * 1.001 + 0.5, key
        assert high / low <= 1024 * (1 + 1e-9)
        for end in (low, high):
            other = "batch_size" if key == "model_size" else "model_size"
            free = found.best[other].item() * np.geomspace(0.25, 4, 625)
            fixed = np.full(625, end)
            size, batch = (fixed, free) if key == "model_size" else (free, fixed)
            steps = allowed(LIMITS[limits], size, batch)
            least = np.where(steps >= 1, losses(model, size, batch, np.maximum(steps, 1)), np.inf).min()
            assert least <= found.best.loss.item() * 1.0105


@pytest.mark.parametrize("name", MODELS)
def test_flat_ranges_end_where_the_loss_is_one_percent_more(name):
    """Of the model size, unless it is the factor of 32 or the range of the search that ends them."""
    found, model, limits = planned(name, "compute"), MODELS[name], LIMITS["compute"]
    best = found.best.model_size.item()
    sizes = best * np.geomspace(1 / 32, 32, 501)
    batches = np.geomspace(32, 4096, 25)
    size, batch = np.repeat(sizes, 25), np.tile(batches, 501)
    least = losses(model, size, batch, allowed(limits, size, batch)).reshape(501, 25).min(axis=1)
    near = sizes[least <= 1.01 * found.best.loss.item()]
    np.testing.assert_allclose(found.flat["model_size"], [near.min(), near.max()], rtol=0.1)


def test_whole_numbers_at_the_edge_of_memory():
    """A model size of more digits than are written still fits."""
    model = MODELS["chinchilla"]
    edge = 2.34567e7
    for limits in (
        Limits(compute=1e20, memory=16 * edge, largest_model=edge),
        Limits(compute=1e20, largest_model=edge),
        Limits(compute=1e20, smallest_model=3.45643e12, largest_model=4e12),
        Limits(compute=1e20, memory=16 * 1.23456e6, smallest_model=1.23456e6),
        Limits(compute=1.3945229e19, memory=383675385.6, example_bytes=3579266.72, devices=8),
        Limits(compute=1e18, smallest_batch=100.4, largest_batch=101),
        Limits(compute=1e18, smallest_batch=100, largest_batch=100.6),
        Limits(steps=1e4, compute=1e18, memory=1e9, example_bytes=1e9 / 200.7 * 8, devices=8, parameter_bytes=1e-3),
    ):
        found = plan(model, limits, progress=False)
        check_costs(limits, found.best)
        check_costs(limits, found.frontier)
        assert found.best["steps"].item() > 100, limits


def test_the_edge_of_memory_is_used():
    found = plan(MODELS["chinchilla"], Limits(compute=1e20, memory=16 * 2.34567e7), progress=False)
    assert found.best.model_size.item() == pytest.approx(2.34567e7, rel=2e-3)
    low, high = found.flat["model_size"]
    assert low <= found.best.model_size.item() <= high * 1.001


def test_hardly_an_update():
    """Limits of a few updates, that no rounding exceeds."""
    limits = Limits(steps=3.7, examples=1010.0)
    found = plan(MODELS["chinchilla"], limits, model_size=1e6, progress=False)
    check_costs(limits, found.best)
    check_costs(limits, found.frontier)


def test_a_fixed_model_size_of_many_digits():
    found = plan(MODELS["adam"], Limits(compute=1e18), model_size=123_456_789, progress=False)
    assert set(found.frontier.model_size.values) == {123_456_789.0}


def test_fixed_sizes_are_kept():
    model, limits = MODELS["adam"], Limits(compute=1e18)
    found = plan(model, limits, model_size=123_400_000, progress=False)
    assert found.best.model_size.item() == 123_400_000
    assert set(found.frontier.model_size.values) == {123_400_000.0}
    found = plan(model, limits, batch_size=100, progress=False)
    assert found.best.batch_size.item() == 100
    assert set(found.frontier.batch_size.values) == {100.0}
    both = plan(model, limits, model_size=1e8, batch_size=5000, progress=False)
    assert (both.best.model_size.item(), both.best.batch_size.item(), both.best["steps"].item()) == (1e8, 5000, 2e6)
    assert both.best.outside.item() == "batch_size above, steps above, compute above"
    np.testing.assert_allclose([both.flat["model_size"], both.flat["batch_size"]], [[1e8, 1e8], [5000, 5000]], rtol=1e-12)


@pytest.mark.parametrize("batch", [64.0, 100.0, 3.7, 1000.0])
def test_rounding_leads_no_grid_out_of_its_range(batch):
    """`np.geomspace(64, 64, 25)` has 63.999999999999986 in it: a batch that is not the one asked for, with no update left."""
    sizes, batches = _Space((1e7, 1e7), (batch, batch)).grid(Limits(compute=1e18))
    assert set(sizes) == {1e7}
    assert set(batches) == {batch}


def test_the_only_size_that_was_seen_is_kept():
    """Runs of one model size do not tell what another one does."""
    model = made_model("chinchilla", settings=np.array([[1e7, 64.0, 100.0, 0.002], [1e7, 256.0, 1000.0, 0.002]]))
    assert plan(model, Limits(compute=1e16), progress=False).best.model_size.item() == 1e7
    assert plan(model, Limits(compute=1e16, largest_model=1e9), progress=False).best.model_size.item() > 1e7


def test_the_schedule_of_the_plan():
    constant = RunSchedule("constant", 0.0)
    model, limits = MODELS["adam"], Limits(compute=1e16)
    found = plan(model, limits, schedule=constant, level=0.5, progress=False).best
    columns = [found[name].item() for name in ("model_size", "batch_size", "steps")]
    expected = nq.runs.predict(model, *columns, schedule=constant, level=0.5)
    for name in ("loss", "lower", "upper", "deviation"):
        assert found[name].item() == pytest.approx(expected[name].item(), rel=1e-12)


def test_the_compute_of_the_runs():
    """`compute_factor` is the compute of a run over N B K."""
    model, six = MODELS["chinchilla"], made_model("chinchilla", compute_factor=6.0, compute_unit="as in column C")
    one, other = (plan(some, Limits(compute=c), progress=False).best for some, c in ((model, 1e18), (six, 6e18)))
    assert other.loss.item() == pytest.approx(one.loss.item(), rel=1e-12)
    assert other["compute"].item() == pytest.approx(6 * one["compute"].item(), rel=1e-9)
    assert other["compute"].attrs["units"] == "as in column C"


@pytest.mark.parametrize(
    ("limits", "options", "message"),
    [
        (Limits(), {}, "limits is empty: without a limit training never ends; give one of seconds, compute, examples, steps"),
        (Limits(memory=1e9), {}, "limits is empty"),
        (Limits(compute=0), {}, "compute is 0: give a number above 0"),
        (Limits(compute=-1.0), {}, "compute is -1.0"),
        (Limits(compute=math.nan), {}, "compute is nan"),
        (Limits(compute=math.inf), {}, "compute is inf"),
        (Limits(seconds=10), {}, "seconds is 10: give the seconds of a step too, step_seconds"),
        (Limits(step_seconds=CLOCK), {}, "limits is empty"),
        (Limits(compute=1e18, devices=0), {}, "devices is 0: give a number above 0"),
        (Limits(compute=1e18, parameter_bytes=0), {}, "parameter_bytes is 0"),
        (Limits(compute=1e18, example_bytes=-1), {}, "example_bytes is -1"),
        (Limits(compute=1e18, smallest_model=1e8, largest_model=1e7), {}, r"model_size is 1e\+08 to 1e\+07: give a range"),
        (Limits(compute=1e18, smallest_batch=128, largest_batch=64), {}, "batch_size is 128 to 64: give a range"),
        (Limits(compute=1e18, largest_model=10), {}, "model_size is 10 to 10: give a range"),
        (Limits(compute=1e18, smallest_model=0), {}, "model_size is 0"),
        (Limits(compute=1e18), {"model_size": 50}, "model_size is 50 to 50: give a range that goes up, from 100 on"),
        (Limits(compute=1e18), {"batch_size": 0}, "batch_size is 0 to 0"),
        (Limits(compute=1e18), {"level": 2}, "level is 2"),
        (
            Limits(compute=1.6e7),
            {},
            r"compute is 16000000.0: one update of 1e\+06 parameters with a batch of 32 takes 3.2e\+07",
        ),
        (Limits(examples=16), {}, "examples is 16: one update of .* with a batch of 32 takes 32; give more"),
        (Limits(steps=0.5), {}, "steps is 0.5: one update of .* takes 1; give more"),
        (Limits(seconds=0.01, step_seconds=CLOCK), {}, "seconds is 0.01: one update of .* takes 0.05"),
        (
            Limits(compute=1e18, memory=1e6),
            {},
            r"memory is 1000000.0: 1e\+06 parameters with a batch of 32 need 1.6e\+07 bytes",
        ),
        (
            Limits(compute=1e18, memory=1.6e7, example_bytes=1e5),
            {},
            r"memory is 16000000.0: .* need 1.92e\+07 bytes; give that much or allow smaller models",
        ),
        (
            Limits(seconds=1.0, step_seconds=lambda size, batch: 1e7 / size + 0 * batch, compute=1e8),
            {},
            "the limits of seconds and compute is together: none of",
        ),
        (Limits(seconds=1.0, step_seconds=lambda size, batch: 0.0 * size * batch), {}, "step_seconds"),
        (Limits(seconds=1.0, compute=1e18, step_seconds=lambda size, batch: size * batch * math.nan), {}, "step_seconds"),
    ],
)
def test_limits_that_nothing_satisfies(limits, options, message):
    with pytest.raises(ValueError, match=message):
        plan(MODELS["chinchilla"], limits, progress=False, **options)


def test_seconds_that_do_not_depend_on_the_sizes():
    """Any function will do, one that gives a number for all sizes too."""
    limits = Limits(compute=1e18, seconds=1e4, step_seconds=lambda size, batch: 0.1)
    found = plan(MODELS["chinchilla"], limits, progress=False)
    assert found.best["steps"].item() <= 1e5
    expected = plan(MODELS["chinchilla"], Limits(compute=1e18, steps=1e5), progress=False)
    assert found.best.loss.item() == expected.best.loss.item()


def test_step_time():
    assert StepTime(0.05, 1e-12, 8)(1e9, 512) == pytest.approx(0.05 + 1e-12 * 1e9 * 512 / 8)
    np.testing.assert_allclose(StepTime(0.1, 1e-9)(np.array([1e6, 1e7]), 10), [0.11, 0.2])


def measured(seed):
    rng = np.random.default_rng(seed)
    size, batch = 10 ** rng.uniform(6, 9, 9), 2 ** rng.uniform(4, 12, 9)
    return size, batch, 0.05 + 2e-12 * size * batch


@pytest.mark.parametrize("seed", range(3))
def test_measured_seconds_are_kept(seed):
    size, batch, seconds = measured(seed)
    np.testing.assert_allclose(StepTable(size, batch, seconds)(size, batch), seconds, rtol=1e-9, err_msg=f"seed {seed}")


def test_the_formula_of_seconds_is_kept_everywhere():
    size, batch, seconds = measured(3)
    far = np.array([[1e3], [1e7], [1e12]]), np.array([1.0, 100.0, 1e6])
    for count in (3, 9):
        found = StepTable(size[:count], batch[:count], seconds[:count])(*far)
        np.testing.assert_allclose(found, 0.05 + 2e-12 * far[0] * far[1], rtol=1e-6)
        assert found.shape == (3, 3)
        assert np.shape(StepTable(size[:count], batch[:count], seconds[:count])(1e9, 64)) == ()


def test_what_differs_from_the_formula_is_that_of_the_nearest_end():
    sizes, batches = (axis.ravel() for axis in np.meshgrid([1e7, 1e9], [64, 1024]))
    table = StepTable(sizes, batches, 1e-9 * sizes**0.8 * batches**0.6)
    ratio = table(np.array([1e9, 1e11, 1e13]), 1024) / table(np.array([1e7, 1e9, 1e11]), 1024)
    assert ratio[0] == pytest.approx(100**0.8)
    np.testing.assert_allclose(ratio[1:], 100, rtol=0.2)  # work per update counts as N B there


def test_measurements_of_one_size_count_as_their_geometric_mean():
    table = StepTable([1e8, 1e8, 1e8, 1e9], [64, 64, 256, 64], [0.1, 0.4, 0.3, 0.7])
    assert float(table(1e8, 64)) == pytest.approx(0.2, rel=1e-9)
    assert float(table(1e9, 64)) == pytest.approx(0.7, rel=1e-9)


def test_seconds_beyond_the_table_go_on():
    sizes, batches = (axis.ravel() for axis in np.meshgrid([1e7, 1e8, 1e9], [64, 256, 1024]))
    found = StepTable(sizes, batches, 0.05 + 2e-12 * sizes * batches)
    assert (np.diff(found(np.geomspace(1e9, 1e13, 50), 1024)) > 0).all()
    assert (np.diff(found(1e9, np.geomspace(1024, 1e7, 50))) > 0).all()
    assert (np.diff(found(np.geomspace(1e9, 1e13, 50), np.geomspace(1024, 1e7, 50))) > 0).all()
    assert (found(np.geomspace(1e2, 1e7, 50), np.geomspace(1, 64, 50)) > 0).all()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([1e8, 1e9], [64, 128], [0.1, 0.2]), "the table of seconds is 2 sizes on one line: measure at two model"),
        (([1e8, 1e8, 1e8], [64, 128, 256], [0.1, 0.2, 0.3]), "3 sizes on one line"),
        (([1e7, 1e8, 1e9], [10, 100, 1000], [0.1, 0.2, 0.3]), "3 sizes on one line"),
        (([1e8, 1e8, 1e9], [64, 128, 64], [0.1, 0.2, 0.0]), r"seconds\[2\] is 0.0: give positive numbers"),
        (([1e8, 1e8, 1e9], [64, -128, 64], [0.1, 0.2, 0.3]), r"batch_size\[1\] is -128.0: give positive numbers"),
        (([1e8, math.nan, 1e9], [64, 128, 64], [0.1, 0.2, 0.3]), r"model_size\[1\] is nan: give positive numbers"),
        ((1e8, 64, 0.1), "the table of seconds is 1 sizes on one line"),
        (([1e8, 1e8, 1e9], [64, 256, 64], [0.1, math.inf, 0.7]), r"seconds\[1\] is inf"),
        (([1e8, 1e8, 1e9], [64, 128], [0.1, 0.2, 0.3]), "batch_size"),
    ],
)
def test_bad_tables(columns, message):
    with pytest.raises(ValueError, match=message):
        StepTable(*columns)


KNEE = 300.0


def kaplan_steps(loss, size, batch):
    """Updates at which the law of Kaplan is at a loss: `loss - A n^-alpha = C (k / (1 + B_crit / B))^-beta`."""
    part = loss - 1.5 * (size / 2e7) ** -0.1
    return 2000 * part ** (-1 / 0.3) * (1 + KNEE / batch)


def test_critical_batch_sizes_of_a_known_curve():
    model = made_model("kaplan")
    losses = np.array([2.2, 2.0, 1.9])
    found = critical_batch_sizes(model, 2e7, losses, definition="knee")
    sizes = found.batch_size.values
    np.testing.assert_allclose(sizes, 2.0 ** np.arange(5, 12.1, 0.25))
    np.testing.assert_allclose(found.loss, losses)
    np.testing.assert_allclose(found["steps"], kaplan_steps(losses[:, None], 2e7, sizes), rtol=2e-3)
    np.testing.assert_allclose(found.critical_batch_size, KNEE, rtol=0.01)
    assert found.bound.values.tolist() == ["", "", ""]
    assert found.attrs == {"model_size": 2e7, "definition": "knee"}
    for overhead in (0.2, 0.5):
        batch = critical_batch_sizes(model, 2e7, losses, overhead=overhead).critical_batch_size
        np.testing.assert_allclose(batch, overhead * KNEE, rtol=0.02)


def test_losses_that_are_not_reached():
    found = critical_batch_sizes(made_model("kaplan"), 2e7, [1.2, 2.0])
    assert np.isinf(found["steps"].sel(loss=1.2)).all()
    assert np.isnan(found.critical_batch_size.sel(loss=1.2))
    assert np.isfinite(found.critical_batch_size.sel(loss=2.0))


def test_losses_that_are_reached_at_once():
    """Within the ten updates at which the search begins nobody knows which batch size needs how many."""
    found = critical_batch_sizes(made_model("kaplan"), 2e7, [30.0])
    assert np.isnan(found.critical_batch_size.item())


def test_perfect_scaling_is_a_bound():
    """Chinchilla's law knows of examples only: whatever the loss, the critical batch size is at least the largest."""
    found = critical_batch_sizes(MODELS["chinchilla"], 2e7, [2.6, 2.5, 2.45, 2.4])
    assert found.bound.values.tolist() == ["at least"] * 4
    np.testing.assert_allclose(found.critical_batch_size, 4096, rtol=1e-14)


def test_small_losses_by_default():
    """Of a loss of another kind, a ten thousandth of the usual."""
    model = made_model("chinchilla")
    law = dataclasses.replace(model.laws[0], coordinates=model.laws[0].coordinates - math.log(1e4) * np.array([1, 1, 0, 1, 0]))
    found = critical_batch_sizes(dataclasses.replace(model, laws=(law,)), 1e8)
    assert (np.diff(found.loss) > 0).all()


@pytest.mark.parametrize("name", ["kaplan", "adam"])
def test_losses_by_default(name):
    found = critical_batch_sizes(made_model(name), 1e8)
    assert found.sizes == {"loss": 10, "batch_size": 29}
    assert (np.diff(found.loss) > 0).all()
    assert np.isfinite(found["steps"]).any(dim="batch_size").all()
    assert np.isfinite(found.critical_batch_size).sum() >= 5


@pytest.mark.parametrize(
    ("columns", "arguments", "message"),
    [
        (
            {"settings": np.array([[1e6, 64.0, 100.0, 0.002], [1e7, 80.0, 100.0, 0.002]])},
            {},
            "the range of batch sizes seen is .*: it spans less than a factor of 1.4",
        ),
        ({}, {"losses": [2.0, -1.0]}, "losses is"),
        ({}, {"losses": math.nan}, "losses is"),
        ({}, {"losses": 2.0, "definition": "steepest"}, "definition is 'steepest'"),
        pytest.param({}, {"losses": 0.1, "definition": "steepest"}, "definition is 'steepest'"),
        ({}, {"losses": 2.0, "overhead": 0.0}, "overhead is 0.0"),
        ({}, {"losses": 2.0, "schedule": "cosine"}, "schedule is 'cosine'"),
    ],
)
def test_bad_arguments_of_critical_batch_sizes(columns, arguments, message):
    with pytest.raises(ValueError, match=message):
        critical_batch_sizes(made_model("kaplan", **columns), 2e7, **arguments)
    with pytest.raises(ValueError, match="model is None"):
        critical_batch_sizes(None, 2e7)
