"""Predictions against their formulas, written out in NumPy on models that are made by hand."""

import dataclasses
import functools
import math
from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_models import COORDINATES, RUNS, SCALE, SEEN, SETTINGS, made_law, made_model

import nqmjax as nq
from nqmjax._tools.precision import precision
from nqmjax.runs.extrapolation import distance
from nqmjax.runs.law_predictions import FEW, law_prediction
from nqmjax.runs.laws.base import Inputs, law_inputs
from nqmjax.runs.predict import DRIFT, predict
from nqmjax.runs.settings import COSINE, RunSchedule, run_settings


@functools.partial(jax.jit, static_argnames="law", compiler_options={"xla_backend_optimization_level": 0})
def _log_loss(law, coordinates, inputs):
    return jnp.log(sum(law.parts(coordinates, inputs, SCALE).values()))


def log_loss(name, inputs, coordinates=None):
    law, known = COORDINATES[name]
    with precision():
        return np.asarray(_log_loss(law, known if coordinates is None else coordinates, inputs))


ENSEMBLE = ("chinchilla", "kaplan", "adam")


def test_the_loss_is_the_mean_in_logarithms():
    found = predict(made_model(*ENSEMBLE), SETTINGS)
    each = np.stack([log_loss(name, law_inputs(SETTINGS)) for name in ENSEMBLE])
    np.testing.assert_allclose(found.loss, np.exp(each.mean(axis=0)), rtol=1e-12)
    np.testing.assert_allclose(found.law_loss, np.exp(each), rtol=1e-12)
    assert found.law.values.tolist() == list(ENSEMBLE)
    for name in ("model_size", "batch_size", "steps"):
        np.testing.assert_array_equal(found[name], getattr(SETTINGS, name))


def gradient(name, inputs, step=1e-4):
    """Central differences of fourth order, `(runs, parameters)`."""
    base = COORDINATES[name][1]
    columns = []
    for unit in np.eye(len(base)):
        near, far = (
            log_loss(name, inputs, base + t * unit) - log_loss(name, inputs, base - t * unit) for t in (step, 2 * step)
        )
        columns.append((8 * near - far) / (12 * step))
    return np.stack(columns, axis=1)


def many(inputs):
    """The same runs over and over, so many that the laws are compiled."""
    return jax.tree.map(lambda leaf: np.concatenate([leaf] * (1 + FEW // inputs.share.size)), inputs)


@pytest.mark.parametrize("name", ENSEMBLE)
def test_laplace_variance_by_finite_differences(name):
    one, inputs = made_law(name), law_inputs(SETTINGS)
    value, variance = law_prediction(one, one.covariance, inputs, "laplace")
    slopes = gradient(name, inputs)
    np.testing.assert_allclose(value, log_loss(name, inputs), rtol=1e-12)
    np.testing.assert_allclose(variance, np.einsum("ri,ij,rj->r", slopes, one.covariance, slopes), rtol=1e-7)
    compiled = law_prediction(one, one.covariance, many(inputs), "laplace")
    np.testing.assert_allclose([part[: len(SETTINGS)] for part in compiled], [value, variance], rtol=1e-12)


@pytest.mark.parametrize("name", ENSEMBLE)
def test_bootstrap_variance_by_a_loop(name):
    model, inputs = made_model(name), law_inputs(SETTINGS)
    replicates = model.intervals["bootstrap"].coordinates[0]
    value, variance = law_prediction(model.laws[0], replicates, inputs, "bootstrap")
    middle = log_loss(name, inputs)
    squares = [(log_loss(name, inputs, other) - middle) ** 2 for other in replicates]
    np.testing.assert_allclose(value, middle, rtol=1e-12)
    np.testing.assert_allclose(variance, np.mean(squares, axis=0), rtol=1e-9)
    compiled = law_prediction(model.laws[0], replicates, many(inputs), "bootstrap")
    np.testing.assert_allclose([part[: len(SETTINGS)] for part in compiled], [value, variance], rtol=1e-12)


@pytest.mark.parametrize("kind", ["laplace", "bootstrap"])
@pytest.mark.parametrize("names", [ENSEMBLE, ("chinchilla",)])
def test_the_parts_of_the_variance(names, kind):
    """Noise, drift, uncertain coordinates and the spread between the laws; the last two inflated."""
    model, inputs = made_model(*names, inflation=1.7), law_inputs(SETTINGS)
    found = predict(model, SETTINGS, interval=kind)
    pairs = zip(model.laws, model.intervals[kind].coordinates, strict=True)
    each, variances = map(np.stack, zip(*(law_prediction(one, known, inputs, kind) for one, known in pairs), strict=True))
    noise = 0.01**2  # of the law that fits best
    spread = each.var(axis=0, ddof=1) / len(names) if len(names) > 1 else 0.0
    factor = {"laplace": 1.7, "bootstrap": 1.5 * 1.7}[kind]
    compute = SETTINGS.model_size * SETTINGS.batch_size * SETTINGS.steps
    least, largest = 3.2e10, 1.92e14
    drift = DRIFT * np.log(np.maximum(compute / largest, 1)) / math.log(largest / least)
    assert drift.max() > 0
    variance = noise + drift**2 + factor**2 * (variances.mean(axis=0) + spread)
    np.testing.assert_allclose(found.deviation, np.sqrt(variance), rtol=1e-12)
    assert (found.attrs["interval"], found.attrs["inflation"], found.attrs["level"]) == (kind, factor, 0.9)
    assert found.attrs["coverage"] == {"laplace": 0.75, "bootstrap": 0.88}[kind]


def test_levels():
    model = made_model(*ENSEMBLE)
    found = {level: predict(model, SETTINGS, level=level) for level in (0.5, 0.9, 0.99)}
    for level, one in found.items():
        reach = NormalDist().inv_cdf(0.5 + level / 2) * one.deviation
        np.testing.assert_allclose(one.lower, one.loss * np.exp(-reach), rtol=1e-12)
        np.testing.assert_allclose(one.upper, one.loss * np.exp(reach), rtol=1e-12)
    assert (found[0.5].upper < found[0.9].upper).all()
    assert (found[0.9].upper < found[0.99].upper).all()


def test_the_interval_that_covered_better():
    model = made_model("chinchilla")
    assert predict(model, 1e7, 64, 1000).attrs["interval"] == "bootstrap"
    both = {name: one._replace(coverage=math.nan) for name, one in model.intervals.items()}
    assert predict(dataclasses.replace(model, intervals=both), 1e7, 64, 1000).attrs["interval"] == "laplace"
    mixed = both | {"bootstrap": model.intervals["bootstrap"]}
    assert predict(dataclasses.replace(model, intervals=mixed), 1e7, 64, 1000).attrs["interval"] == "bootstrap"


def test_arrays_are_broadcast():
    model = made_model("chinchilla")
    found = predict(model, [[1e6], [1e7]], [32, 64, 128], 1000)
    assert dict(found.sizes) == {"run": RUNS, "law": 1}
    np.testing.assert_array_equal(found.model_size, np.repeat([1e6, 1e7], 3))
    np.testing.assert_array_equal(found.batch_size, [32, 64, 128] * 2)
    for place in (0, 4):
        size, batch = found.model_size.values[place], found.batch_size.values[place]
        assert predict(model, size, batch, 1000).loss.item() == pytest.approx(found.loss.values[place], rel=1e-13)


def test_results_are_numpy():
    found = predict(made_model("chinchilla"), 1e7, 64, 1000)
    for name, column in found.data_vars.items():
        assert type(column.values) is np.ndarray, name
        assert column.dtype == np.float64 or name == "outside", name
    assert found.loss.attrs["units"] == "nats"


def test_what_is_not_said_is_the_commonest():
    """Rate and schedule are those of the model."""
    slow = RunSchedule("linear", 0.1)
    model = made_model("adam", schedules=(slow,), learning_rate=0.0007)
    implied = predict(model, SETTINGS.model_size, SETTINGS.batch_size, SETTINGS.steps)
    said = predict(model, run_settings(SETTINGS.model_size, SETTINGS.batch_size, SETTINGS.steps, 0.0007, slow))
    assert implied.equals(said)
    assert not implied.equals(predict(model, SETTINGS))


def test_schedules_matter_to_a_law_that_follows_them():
    columns = [SETTINGS.model_size, SETTINGS.batch_size, SETTINGS.steps]
    schedules = [COSINE, RunSchedule("constant", 0.0)]
    adam, chinchilla = (
        [predict(made_model(name), *columns, schedule=schedule).loss.values for schedule in schedules]
        for name in ("adam", "chinchilla")
    )
    assert (abs(np.log(adam[0] / adam[1])) > 1e-5).all()
    np.testing.assert_array_equal(*chinchilla)
    mixed = predict(made_model("adam"), *columns, schedule=schedules * (RUNS // 2)).loss.values
    np.testing.assert_allclose(mixed, np.where(np.arange(RUNS) % 2 == 0, *adam), rtol=1e-12)


def cosine_plan(steps, batch_size, pieces):
    return nq.schedules.cosine(0.003, steps, batch_size, warmup=0.01, pieces=pieces)


def test_a_plan_of_many_pieces_is_the_schedule():
    sizes = SETTINGS.model_size
    for steps in (2000, 100_000):
        plan = cosine_plan(steps, 512, 200)
        found = predict(made_model("adam"), sizes, plan=plan)
        expected = predict(made_model("adam"), sizes, 512, steps, 0.003)
        np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-3)
        for name in ("model_size", "batch_size", "steps", "beyond", "outside"):
            np.testing.assert_array_equal(found[name], expected[name])


def test_a_plan_with_a_ramp_of_the_batch_size():
    """A plan's mean batch size is examples over updates; what a law takes is relative to it."""
    plan = nq.Plan([0.001, 0.004, 0.0], steps=[500, 1500, 2000], batch_size=[64, 128, 512])
    sizes, mean = SETTINGS.model_size, (500 * 64 + 1500 * 128 + 2000 * 512) / 4000
    rows = {"share": [0.125, 0.375, 0.5], "multiplier": [0.25, 1.0, 0.0], "batch": np.array([64, 128, 512]) / mean}
    columns = [np.full(RUNS, value) for value in (mean, 4000.0, 0.004)]
    inputs = Inputs(sizes, *columns, **{name: np.tile(row, (RUNS, 1)) for name, row in rows.items()})
    expected = np.exp(log_loss("adam", inputs))
    found = predict(made_model("adam"), sizes, plan=plan)
    np.testing.assert_allclose(found.loss, expected, rtol=1e-12)
    np.testing.assert_allclose(found.batch_size, mean)
    np.testing.assert_allclose(found.steps, 4000)
    single = predict(made_model("adam"), sizes, plan=plan.replace(batch_size=mean))
    assert (abs(np.log(single.loss / found.loss)) > 1e-5).all()


def test_beyond_and_outside():
    model = made_model("chinchilla")
    sizes, batches, steps = [1e6, 5e5, 3e8, 4e8, 1e7, 1e7], [32, 32, 32, 5000, 16, 64], [1000, 1000, 100, 20_001, 50, 1000]
    found = predict(model, sizes, batches, steps)
    np.testing.assert_allclose(found.beyond, np.array(sizes) * batches * steps / 1.92e14)
    assert found.outside.values.tolist() == [
        "",
        "model_size below, compute below",
        "",
        "model_size above, batch_size above, steps above, compute above",
        "batch_size below, steps below, compute below",
        "",
    ]
    assert predict(model, 3e8 * (1 + 1e-12), 32, 100).outside.values.tolist() == [""]
    rates = predict(model, 1e7, 64, 1000, learning_rate=[1e-4, 0.002, 0.1]).outside.values.tolist()
    assert rates == ["learning_rate below", "", "learning_rate above"]


@pytest.mark.parametrize(
    ("schedule", "unseen"),
    [
        (COSINE, False),
        (RunSchedule("cosine", 0.03), False),
        (RunSchedule("cosine", 0.01, (("final", 0.05),)), False),
        (RunSchedule("cosine", 0.3), True),
        (RunSchedule("cosine", 0.01, (("final", 0.2),)), True),
        (RunSchedule("linear"), True),
        (RunSchedule("constant"), True),
        (RunSchedule("wsd", 0.01, (("cooldown", 0.2),)), False),
        (RunSchedule("wsd", 0.01, (("cooldown", 0.5),)), True),
    ],
    ids=str,
)
def test_schedules_that_no_run_had_are_outside(schedule, unseen):
    model = made_model("chinchilla", schedules=(COSINE, RunSchedule("wsd", 0.02, (("cooldown", 0.25),))))
    found = predict(model, 1e7, 64, 1000, schedule=schedule).outside.item()
    assert found == ("schedule unseen" if unseen else "")
    mixed = predict(model, 1e7, [64, 64, 5000], 1000, schedule=[COSINE, schedule, COSINE]).outside.values.tolist()
    assert mixed == ["", found, "batch_size above"]


def test_plans_that_no_run_was_like_are_outside():
    """Constant rates, and batch sizes that vary; every batch size counts, not their mean."""
    model = made_model("chinchilla")
    constant = nq.Plan(0.002, 1000, 64)
    assert predict(model, 1e7, plan=constant).outside.item() == "schedule unseen"
    even = cosine_plan(1000, 64, 200)
    ramp = even.replace(batch_size=np.where(np.cumsum(even.steps) <= 500, 64, 8192))
    assert predict(model, 1e7, plan=ramp).outside.item() == "batch_size above, schedule unseen"


def test_distance_is_in_ranges_of_the_log_compute():
    found = distance((1e12, 1e15), np.array([1e10, 1e15, 10**16.5, 1e18]))
    np.testing.assert_allclose(found, [0, 0, 0.5, 1], atol=1e-12)
    np.testing.assert_allclose(distance((1e12, 1e12), np.array([1e12, 4e12, 16e12])), [0, 1, 2])


def test_the_nearest_run():
    """By the setting that is off most, in every run that was seen; 1 for a run that was seen itself."""
    found = predict(made_model("chinchilla"), [1e6, 2e6, 1e9, 1e7], [32, 32, 32, 1024], [1000, 1500, 1e4, 100])
    by_hand = [1.0, 2.0, 1e9 / 3e8, 10.0]
    np.testing.assert_allclose(found.nearest, by_hand, rtol=1e-12)
    rng = np.random.default_rng(0)
    asked = np.exp(rng.uniform(3, 20, (RUNS, 3))) + 100
    expected = [min(max(np.maximum(row / seen, seen / row)) for seen in SEEN[:, :3]) for row in asked]
    np.testing.assert_allclose(predict(made_model("chinchilla"), *asked.T).nearest, expected, rtol=1e-12)


PLAN = nq.Plan([0.001, 0.0], steps=[100, 100], batch_size=64)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((1e7, 64), {}, "steps is None: give it, or a plan"),
        ((1e7,), {"steps": 100}, "batch_size is None: give it, or a plan"),
        ((1e7, 64), {"plan": PLAN}, "plan is .*: it says batch size, steps and rates; leave those out"),
        ((1e7,), {"plan": PLAN, "schedule": COSINE}, "leave those out"),
        ((1e7,), {"plan": PLAN, "learning_rate": 0.1}, "leave those out"),
        ((1e7,), {"plan": "cosine"}, "plan is 'cosine': give a Plan"),
        ((1e7,), {"plan": PLAN.replace(learning_rate=[0.0, 0.0])}, "plan.learning_rate is .*one above 0"),
        ((1e7,), {"plan": PLAN.replace(learning_rate=[0.1, -0.1])}, "plan.learning_rate is"),
        ((1e7,), {"plan": PLAN.replace(learning_rate=[0.1, math.nan])}, "plan.learning_rate is"),
        ((1e7,), {"plan": PLAN.replace(steps=[100, 0])}, r"steps\[1\] is 0.0"),
        ((SETTINGS, 64), {}, "model_size is .*these settings are complete"),
        ((SETTINGS,), {"learning_rate": 0.1}, "these settings are complete"),
        ((SETTINGS,), {"schedule": COSINE}, "these settings are complete"),
        ((1e7, 64, 100), {"level": 1.5}, "level is 1.5: give a share between 0 and 1"),
        ((1e7, 64, 100), {"level": 0}, "level is 0"),
        ((1e7, 64, 100), {"level": math.nan}, "level is nan"),
        ((1e7, 64, 100), {"interval": "normal"}, "interval is 'normal'"),
        ((99, 64, 100), {}, "model_size is 99.0: give the number of parameters itself, at least 100"),
        ((1e7, 0, 100), {}, "batch_size is 0.0"),
        ((1e7, 64, [100, -1]), {}, r"steps\[1\] is -1.0"),
        ((1e7, [64, 32], [1, 2, 3]), {}, "the list of shapes is"),
        ((1e7, 64, 100), {"schedule": "cosine"}, "schedule is 'cosine': give a Schedule"),
        ((99,), {"plan": PLAN}, "model_size is 99.0"),
        ((1e7,), {"plan": nq.Plan(0.1, 100, 64, momentum=0.9)}, "momentum"),
        ((SETTINGS,), {"plan": PLAN}, "model_size is "),
    ],
)
def test_bad_arguments(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        predict(made_model("chinchilla"), *arguments, **options)


@pytest.mark.parametrize("model", [None, "model.json", made_law("chinchilla")], ids=["None", "str", "FittedLaw"])
def test_wrong_models(model):
    with pytest.raises(ValueError, match=r"(?s)^model is .*: give what fit or read_model returns$"):
        predict(model, 1e7, 64, 100)


def test_repr():
    assert repr(made_model("chinchilla")) == "RunModel of 48 runs; law chinchilla"
    assert repr(made_model("chinchilla", "kaplan")) == "RunModel of 48 runs; mean of chinchilla, kaplan"
