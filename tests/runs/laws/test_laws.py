"""Laws of the loss against loops over directions and updates, the exact engine, closed forms and finite differences."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import gamma, zeta

import nqmjax as nq
from nqmjax.runs.laws.base import Inputs, Law, Scale, law_inputs, scale_of, starting_points
from nqmjax.runs.laws.baselines import Chinchilla, Kaplan
from nqmjax.runs.laws.kernel import Pieces, expm1, piece_sums
from nqmjax.runs.laws.quadratic import QuadraticLaw
from nqmjax.runs.laws.sums import FINE
from nqmjax.runs.settings import RunSchedule, run_settings
from nqmjax.runs.table import make as make_runs

EVERYTHING = {"free_noise": True, "noise_by_size": None, "rate_by_size": True, "delay": True, "weight_norm": True}
QUADRATIC = {
    "default": QuadraticLaw(),
    "discrete": QuadraticLaw(discrete=True),
    "constant rate": QuadraticLaw(follow_schedule=False),
    "SGD": QuadraticLaw(adaptive=False),
    "free noise": QuadraticLaw(free_noise=True),
    "noise of a fitted power of size": QuadraticLaw(noise_by_size=None),
    "noise of size to the half": QuadraticLaw(noise_by_size=0.5),
    "rate by size": QuadraticLaw(rate_by_size=True),
    "delay": QuadraticLaw(delay=True),
    "weight norm": QuadraticLaw(weight_norm=True),
    "everything": QuadraticLaw(**EVERYTHING),
    "everything, discrete SGD": QuadraticLaw(discrete=True, adaptive=False, **EVERYTHING),
    "everything, constant rate": QuadraticLaw(follow_schedule=False, **EVERYTHING),
    "Li & Maddison": QuadraticLaw(discrete=True, follow_schedule=False, adaptive=False, free_noise=True, noise_by_size=0.0),
}
BASELINES = {"Chinchilla": Chinchilla(), "Kaplan": Kaplan()}
LAWS = {**QUADRATIC, **BASELINES}

RUNS, PIECES, POINTS = 6, 25, 64
"""Shapes of every table here, so that a law compiles once."""

SMALL = Scale(250.0, 16.0, 60.0, 1e-3, 4.0, 64.0, 60.0, 2.5, 5.0)


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64():
        yield


QUICKLY = {"xla_backend_optimization_level": 0}
"""Compiled in half the time, and run rarely."""


@functools.cache
def compiled(law: Law):
    def every_part(points, inputs, scale):
        return jax.vmap(lambda x: law.parts(x, inputs, scale, FINE))(points)

    return jax.jit(every_part, compiler_options=QUICKLY)


def parts(law, points, inputs, scale):
    """Parts of the loss `(points, runs)` by name; points are filled up to the number that is compiled."""
    padded = np.concatenate([points, np.repeat(points[-1:], POINTS - len(points), axis=0)])
    return {name: np.asarray(part)[: len(points)] for name, part in compiled(law)(padded, inputs, scale).items()}


def log_loss(law, points, inputs, scale):
    return np.log(sum(parts(law, points, inputs, scale).values()))


def small_table(seed):
    """Runs of 150 to 400 directions and 60 updates in pieces of whole length with ramps of the batch size; half are empty."""
    rng = np.random.default_rng(seed)
    steps = np.zeros((RUNS, PIECES))
    steps[:, ::5] = rng.multinomial(55, np.ones(5) / 5, RUNS) + 1
    numbers = rng.integers(150, 400, RUNS).astype(float)
    batches, rates = 2.0 ** rng.integers(2, 7, RUNS), 1e-3 * 2.0 ** rng.uniform(-1, 1, RUNS)
    multiplier = rng.uniform(0, 1, (RUNS, PIECES)) * (rng.random((RUNS, PIECES)) < 0.9)
    ramp = np.sort(2.0 ** rng.uniform(0, 3, (RUNS, PIECES)), axis=1)
    return Inputs(numbers, batches, np.full(RUNS, 60.0), rates, steps / 60, multiplier, ramp)


def small_points(law, count, seed):
    """Starting points with rates of which some are unstable and none explodes beyond what the kernel caps."""
    points = starting_points(law.parameters(SMALL), count, seed)
    rng = np.random.default_rng([seed, 1])
    for name, (low, high) in {"progress": (-3, 0), "q": (np.log(0.3), np.log(0.9))}.items():
        if name in law.names:
            points[:, law.names.index(name)] = rng.uniform(low, high, count)
    return points


def large_runs():
    """Runs like those of a study of language models, of four schedules."""
    rng = np.random.default_rng(5)
    sizes, batches = np.geomspace(2.5e5, 2.56e8, RUNS), rng.permutation(np.geomspace(24, 24576, RUNS))
    steps, rates = rng.permutation(np.geomspace(39, 40000, RUNS)), rng.permutation(np.geomspace(1e-4, 1e-2, RUNS))
    schedules = [
        RunSchedule(),
        RunSchedule("constant", 0.0),
        RunSchedule("wsd"),
        RunSchedule("linear", options=(("final", 0.1),)),
    ] * 2
    return make_runs(sizes, batches, steps, np.geomspace(5.0, 2.5, RUNS), rates, schedules[:RUNS])


def large_table():
    inputs = law_inputs(large_runs().settings)
    assert inputs.share.shape == (RUNS, PIECES)
    return inputs._replace(batch=np.ones((RUNS, PIECES)))


def written_out(law, coordinates, inputs, scale):
    """Parts of the loss of each run as the docstring of the law has them, by a loop over updates."""
    x = dict(zip(law.names, coordinates, strict=True))
    p, q = 1 + np.exp(x["p"]), np.exp(x["q"])
    v = np.exp(x["v"]) if law.free_noise else 2 * q
    # The last direction of the typical model has rate times curvature times updates exp(progress).
    c = np.exp(x["progress"]) / scale.steps * scale.model_size**q
    excess = 2 * np.exp(x["initial"]) / zeta(p, 1)
    # At a constant small rate the variance is 1/2 V/B sum n^-v / (2 c n^-q): exp(noise) in the typical run.
    typical = np.arange(1, scale.model_size + 1)
    noise = 4 * c * scale.batch_size * np.exp(x["noise"]) / (typical ** (q - v)).sum()
    found = {"irreducible": [], "approximation": [], "bias": [], "variance": []}
    for i, number in enumerate(inputs.model_size):
        n, size = np.arange(1, number + 1), number / scale.model_size
        share, multiplier, batch = inputs.share[i], inputs.multiplier[i], inputs.batch_size[i] * inputs.batch[i]
        if not law.follow_schedule:
            share, multiplier, batch = np.ones(1), np.array([share @ multiplier]), inputs.batch_size[i : i + 1]
        peaks = inputs.learning_rate[i] / scale.learning_rate * multiplier
        rates = peaks * size ** x.get("rho", 0.0)
        if law.adaptive:
            rates = rates * (1 + np.exp(x["B0"]) / batch) ** -0.5
        variance_of_size = noise * size ** -(x["nu"] if law.noise_by_size is None else law.noise_by_size)
        bias, variance, norm = np.ones(len(n)), np.zeros(len(n)), 1.0
        lengths = np.round(share * inputs.steps[i]).astype(int)
        for updates, peak, rate, examples in zip(lengths, peaks, rates, batch, strict=True):
            growth = np.exp(x["growth"]) * updates * peak**2 / scale.steps if law.weight_norm else 0.0
            rate = rate * (norm + growth / 2) ** (-0.5 if law.adaptive else -1.0)
            norm = norm + growth
            rate_times_curvature = c * rate * n**-q
            factor = 1 - rate_times_curvature if law.discrete else np.exp(-rate_times_curvature)
            for _ in range(updates):
                bias = factor**2 * bias
                variance = factor**2 * variance + rate**2 / examples
        if law.delay:
            bias = bias ** (inputs.steps[i] / (inputs.steps[i] + np.exp(x["k0"]) * size ** x["delta"]))
        found["irreducible"].append(np.exp(x["irreducible"]))
        found["approximation"].append(0.5 * excess * zeta(p, number + 1))
        found["bias"].append(0.5 * excess * (n**-p * bias).sum())
        found["variance"].append(0.5 * variance_of_size * (n**-v * variance).sum())
    return found


@pytest.mark.parametrize("name", QUADRATIC)
def test_a_loop_over_directions_and_updates(name):
    law = QUADRATIC[name]
    for seed in range(3):
        points, inputs = small_points(law, 3, seed), small_table(seed)
        found = parts(law, points, inputs, SMALL)
        for k, point in enumerate(points):
            expected = written_out(law, point, inputs, SMALL)
            assert set(found) == set(expected)
            for part, values in expected.items():
                np.testing.assert_allclose(found[part][k], values, rtol=1e-9, err_msg=f"{part}, seed {seed}, point {k}")


def test_size_offset_is_a_smaller_model():
    law = QuadraticLaw(noise_by_size=0.0, size_offset=True)
    inputs = small_table(3)
    for point in small_points(law, 3, seed=3):
        offset = np.exp(point[law.names.index("n0")]) * SMALL.model_size
        smaller = inputs._replace(model_size=np.maximum(inputs.model_size**2 / (inputs.model_size + offset), 100))
        point_without = np.delete(point, law.names.index("n0"))
        found = law.parts(point, inputs, SMALL)
        expected = QuadraticLaw(noise_by_size=0.0).parts(point_without, smaller, SMALL)
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, rtol=1e-12, err_msg=f"{name}, {point}")


@pytest.mark.parametrize("name", LAWS)
def test_every_starting_point_has_a_finite_loss(name):
    """And parts that are not negative."""
    law, scale, inputs = LAWS[name], scale_of(large_runs()), large_table()
    points = starting_points(law.parameters(scale), POINTS, seed=1)
    found = parts(law, points, inputs, scale)
    assert all((part >= 0).all() for part in found.values())
    assert np.isfinite(log_loss(law, points, inputs, scale)).all()


@pytest.mark.parametrize("name", ["default", "free noise", "everything", "everything, constant rate", *BASELINES])
def test_single_precision(name):
    """Of the flow: every starting point has a finite loss, within 1e-5 of the one in double precision."""
    law, scale, inputs = LAWS[name], scale_of(large_runs()), large_table()
    points = starting_points(law.parameters(scale), POINTS, seed=1)
    double = np.exp(log_loss(law, points, inputs, scale))
    with jax.enable_x64(False):
        many = jax.jit(jax.vmap(lambda x: law.log_loss(x, inputs, scale, FINE)), compiler_options=QUICKLY)
        single = np.asarray(many(points))
    assert single.dtype == np.float32
    np.testing.assert_allclose(np.exp(np.float64(single)), double, rtol=1e-5)


@pytest.mark.parametrize("name", ["default", "everything, discrete SGD", "Kaplan"])
def test_log_loss_is_the_logarithm_of_the_sum_of_the_parts(name):
    law, inputs = LAWS[name], small_table(0)
    point = small_points(law, 1, 0)[0]
    found = jax.jit(lambda x: law.log_loss(x, inputs, SMALL, FINE), compiler_options=QUICKLY)(point)
    assert found.shape == (RUNS,)
    np.testing.assert_allclose(found, log_loss(law, point[None], inputs, SMALL)[0], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found, law.log_loss(point, inputs, SMALL, FINE), rtol=1e-10, atol=1e-12)


DIFFERENTIATED = ["default", "everything", "everything, discrete SGD", "everything, constant rate", "Li & Maddison", *BASELINES]


@pytest.mark.parametrize("name", DIFFERENTIATED)
def test_jacobians_equal_central_finite_differences(name):
    law, inputs, step = LAWS[name], small_table(3), 1e-3
    points = small_points(law, 3, 3)
    jacobian = jax.vmap(jax.jacfwd(law.log_loss), (0, None, None, None))
    found = np.asarray(jax.jit(jacobian, static_argnums=3, compiler_options=QUICKLY)(points, inputs, SMALL, FINE))
    count = points.shape[1]
    moves = step * np.concatenate([k * np.eye(count) for k in (1, -1, 2, -2)])
    for k, point in enumerate(points):
        up, down, far_up, far_down = log_loss(law, point + moves, inputs, SMALL).reshape(4, count, RUNS)
        expected = (8 * (up - down) - (far_up - far_down)) / (12 * step)
        np.testing.assert_allclose(found[k], expected.T, rtol=1e-6, atol=1e-6, err_msg=f"point {k}")
        nudged = [law.log_loss(point + 1e-20j * unit, inputs, SMALL, FINE) for unit in np.eye(count)]
        np.testing.assert_allclose(found[k], np.imag(nudged).T / 1e-20, rtol=1e-9, atol=1e-10, err_msg=f"point {k}, NumPy")


@pytest.mark.parametrize("size", [150, 400])
@pytest.mark.parametrize("seed", range(2))
def test_small_spectra_are_problems_of_the_exact_engine(size, seed):
    """With `h_n = n^-q` the plan's rates are `c` times the schedule; an update adds `1/2 rate^2 h_n c_n / B`."""
    rng = np.random.default_rng(seed)
    law = QuadraticLaw(discrete=True, adaptive=False, noise_by_size=0.0, free_noise=True)
    scale = Scale(float(size), 16.0, 1000.0, 1e-3, 4.0, 64.0, 1000.0, 2.5, 5.0)
    steps, multiplier = np.array([50.0, 200.0, 250.0, 400.0, 100.0]), rng.uniform(0.05, 1, 5)
    ramp, rate, batch = np.array([1.0, 1.0, 2.0, 4.0, 8.0]), 1e-3 * rng.uniform(0.5, 2), 8.0
    inputs = Inputs(*(np.array([value]) for value in (float(size), batch, 1000.0, rate, steps / 1000, multiplier, ramp)))
    point = starting_points(law.parameters(scale), 1, seed)[0]
    point[law.names.index("q")], point[law.names.index("progress")] = np.log(rng.uniform(0.3, 0.9)), rng.uniform(-2, 0)
    x = dict(zip(law.names, point, strict=True))
    p, q, v, n = 1 + np.exp(x["p"]), np.exp(x["q"]), np.exp(x["v"]), np.arange(1.0, size + 1)
    c = np.exp(x["progress"]) / 1000 * size**q
    excess = 2 * np.exp(x["initial"]) / zeta(p, 1)
    noise = 4 * c * 16 * np.exp(x["noise"]) / (n ** (q - v)).sum()
    problem = nq.NoisyQuadratic(
        curvature=n**-q,
        noise=noise * n ** (q - v) / c**2,
        initial=excess * n ** (q - p),
        count=np.ones(size),
        irreducible=np.exp(x["irreducible"]) + 0.5 * excess * zeta(p, size + 1),
    )
    plan = nq.Plan(c * rate / 1e-3 * multiplier, steps, batch * ramp)
    expected = nq.run(problem, nq.SGD(0.1), plan)[-1]
    found = jax.jit(functools.partial(law.log_loss, rule=FINE), compiler_options=QUICKLY)(point, inputs, scale)
    assert float(np.exp(found[0])) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", [name for name in QUADRATIC if not QUADRATIC[name].discrete and not QUADRATIC[name].delay])
def test_without_noise_more_directions_and_more_updates_are_better(name):
    """Without a delay, which may grow with the model, and a rate that may fall with it."""
    law, scale = QUADRATIC[name], scale_of(large_runs())
    points = starting_points(law.parameters(scale), 16, seed=2)
    points[:, law.names.index("noise")] = -50.0
    if law.rate_by_size:
        points[:, law.names.index("rho")] = abs(points[:, law.names.index("rho")])
    row = jax.tree.map(lambda column: np.repeat(column[:1], RUNS, axis=0), large_table())
    longer = parts(law, points, row._replace(steps=np.geomspace(39, 40000, RUNS)), scale)
    last = {**row._asdict(), "model_size": np.geomspace(2.5e5, 2.56e8, RUNS), "steps": np.full(RUNS, 1e6)}
    larger = log_loss(law, points, Inputs(**last), scale)
    alive = longer["bias"][:, 1:] > 1e-12 * longer["bias"][:, :1]
    assert (np.diff(longer["bias"], axis=1)[alive] < 0).all()
    assert (np.diff(larger, axis=1) < 0).all()


def plain_point(law, scale, p, q, log_c, **others):
    """Coordinates by name, of a rate `exp(log_c)` whatever the scale."""
    progress = log_c + np.log(scale.steps) - q * np.log(scale.model_size)
    given = {"p": np.log(p - 1), "q": np.log(q), "progress": progress, "irreducible": 0.0, "initial": 0.0, "noise": -50.0}
    return np.array([{**given, **others}[name] for name in law.names])


@pytest.mark.parametrize("discrete", [False, True])
def test_the_bias_of_small_rates_is_a_power_law(discrete):
    """`P Gamma((p-1)/q) / 2q (2 tau)^(-(p-1)/q)`, `tau` the sum of the rates."""
    p, q, rate = 1.3, 1.2, 0.25
    law = QuadraticLaw(discrete=discrete, adaptive=False, noise_by_size=0.0)
    times = 2.0 ** (np.arange(1, 5) if not discrete else np.arange(8, 16))
    settings = run_settings(1e13, 1.0, times / rate, schedule=RunSchedule("constant", 0.0))
    loss_parts = jax.jit(lambda point: law.parts(point, law_inputs(settings), Scale(), FINE), compiler_options=QUICKLY)
    found = loss_parts(plain_point(law, Scale(), p, q, np.log(rate)))
    excess = 2 / zeta(p, 1)
    expected = excess * gamma((p - 1) / q) / (2 * q) * (2 * times) ** (-(p - 1) / q)
    np.testing.assert_allclose(found["bias"][-1], expected[-1], rtol=1e-2)
    error = abs((found["bias"] + found["approximation"]) / expected - 1)
    assert (error[1:] <= 0.52 * error[:-1]).all(), error
    assert error[-1] < 1e-4
    if discrete:  # the error of updates of a finite size is in inverse proportion to their number
        np.testing.assert_allclose(error[1:] / error[:-1], 0.5, rtol=0.03)


@pytest.mark.parametrize("name", ["everything"])
def test_two_dozen_pieces_make_a_cosine(name):
    law, scale = QUADRATIC[name], scale_of(large_runs())
    settings = run_settings(np.geomspace(2.5e5, 2.56e8, 4), 512.0, [40000.0, 5000.0, 1000.0, 500.0], scale.learning_rate)
    point = np.array([parameter.mean for parameter in law.parameters(scale)])
    loss = jax.jit(jax.vmap(law.log_loss, (0, None, None)), compiler_options=QUICKLY)
    few, many = (np.exp(loss(point[None], law_inputs(settings, pieces), scale)) for pieces in (24, 2000))
    np.testing.assert_allclose(few, many, rtol=1e-3)


@pytest.mark.parametrize("name", ["everything", "Chinchilla"])
def test_tables_of_several_schedules_are_each_alone(name):
    law, scale = LAWS[name], scale_of(large_runs())
    constant, cosine, wsd = RunSchedule("constant", 0.0), RunSchedule(), RunSchedule("wsd", 0.05)
    schedules = [constant, cosine, wsd, cosine, constant]
    columns = np.geomspace(2.5e5, 2.56e8, 5), np.geomspace(2e4, 2e2, 5), np.geomspace(100, 40000, 5)
    point = np.array([parameter.mean for parameter in law.parameters(scale)])
    mixed = law_inputs(run_settings(*columns, 1e-3, schedules))
    np.testing.assert_allclose(mixed.share.sum(axis=1), 1.0, rtol=1e-12)
    loss = jax.jit(jax.vmap(law.log_loss, (0, None, None)), compiler_options=QUICKLY)
    together = np.asarray(loss(point[None], mixed, scale)[0])
    for schedule in (constant, cosine, wsd):
        where = [place for place, one in enumerate(schedules) if one == schedule]
        inputs = law_inputs(run_settings(*(column[where] for column in columns), 1e-3, schedule))
        np.testing.assert_allclose(loss(point[None], inputs, scale)[0], together[where], rtol=1e-12)
    assert law_inputs(run_settings(*columns, 1e-3, constant)).share.shape == (5, 1)


@pytest.mark.parametrize("size", [1e4, 1e6, 1e9])
def test_coordinates_mean_the_same_at_every_size(size):
    """The excess at the start, the noise of a run without end, and the progress of the last direction in a typical run."""
    scale = Scale(size, 32.0, 1e8, 3e-4, 8.0, 128.0, 10.0, 2.5, 5.0)
    law = QuadraticLaw(follow_schedule=False, adaptive=False, noise_by_size=0.0)
    x = {"irreducible": 0.3, "initial": 1.2, "p": -1.0, "q": np.log(0.5), "progress": -1.0, "noise": -2.5}
    point = np.array([x[name] for name in law.names])
    settings = run_settings([size, size, size, size - 1], 32.0, 1e8, 3e-4, RunSchedule("constant", 0.0))
    settings = dataclasses.replace(settings, steps=np.array([1e-9, 1e10, 1e8, 1e8]))  # the start: less than one update
    loss_parts = jax.jit(functools.partial(law.parts, rule=FINE), compiler_options=QUICKLY)
    found = jax.tree.map(np.asarray, loss_parts(point, law_inputs(settings), scale))
    assert found["bias"][0] + found["approximation"][0] == pytest.approx(np.exp(1.2), rel=1e-6)
    assert found["variance"][1] == pytest.approx(np.exp(-2.5), rel=1e-4)
    if size == 1e4:
        last = found["approximation"][3] - found["approximation"][2]
        assert (found["bias"][2] - found["bias"][3]) / last == pytest.approx(np.exp(-2 * np.exp(-1.0)), rel=1e-6)


@pytest.mark.parametrize("name", LAWS)
def test_units_of_batch_size_and_rate_do_not_matter(name):
    """Rates and batch sizes in other units, with the scale in the same, change only coordinates that are batch sizes.

    The baselines do not ask in which units model sizes and updates are counted either.
    """
    law, inputs = LAWS[name], small_table(4)
    points, moved = small_points(law, 5, 4), small_points(law, 5, 4)
    others = inputs._replace(batch_size=inputs.batch_size * 2048, learning_rate=inputs.learning_rate * 7)
    scale = SMALL._replace(batch_size=SMALL.batch_size * 2048, learning_rate=SMALL.learning_rate * 7)
    for batch in {"B0", "B_crit"} & set(law.names):
        moved[:, law.names.index(batch)] += np.log(2048)
    if name in BASELINES:
        others = others._replace(model_size=inputs.model_size * 1e6, steps=inputs.steps * 33)
        scale = scale._replace(model_size=SMALL.model_size * 1e6, steps=SMALL.steps * 33)
    expected = log_loss(law, points, inputs, SMALL)
    np.testing.assert_allclose(log_loss(law, moved, others, scale), expected, rtol=1e-10, atol=1e-10)


def test_chinchilla_written_out():
    scale = scale_of(large_runs())
    size, batch, steps = np.array([[1e6, 3e7, 2e8], [64, 512, 4096], [200, 5000, 30000]])
    coordinates = np.log([1.7, 0.6, 0.34, 0.5, 0.28])
    typical_data = scale.batch_size * scale.steps
    big_a, big_c = 0.6 * scale.model_size**0.34, 0.5 * typical_data**0.28
    expected = {"irreducible": [1.7] * 3, "approximation": big_a * size**-0.34, "data": big_c * (batch * steps) ** -0.28}
    found = Chinchilla().parts(coordinates, law_inputs(run_settings(size, batch, steps)), scale)
    assert list(found) == list(expected)
    for part, values in expected.items():
        np.testing.assert_allclose(found[part], values, rtol=1e-12)


def test_kaplan_written_out():
    scale = scale_of(large_runs())
    size, batch, steps = np.array([[1e6, 3e7, 2e8], [64, 512, 4096], [200, 5000, 30000]])
    coordinates = np.log([1.3, 0.076, 0.9, 0.76, 300.0])
    size_c, steps_c = scale.model_size * 1.3 ** (1 / 0.076), scale.steps * 0.9 ** (1 / 0.76)
    fewest = steps / (1 + 300.0 / batch)
    expected = {"approximation": (size_c / size) ** 0.076, "updates": (steps_c / fewest) ** 0.76}
    found = Kaplan().parts(coordinates, law_inputs(run_settings(size, batch, steps)), scale)
    assert list(found) == list(expected)
    for part, values in expected.items():
        np.testing.assert_allclose(found[part], values, rtol=1e-12)


@pytest.mark.parametrize("name", LAWS)
def test_parameters(name):
    """Names are those of the coordinates at any scale, ranges are ranges, and starts fill every range evenly."""
    law, scale = LAWS[name], scale_of(large_runs())
    parameters = law.parameters(scale)
    assert tuple(one.name for one in parameters) == law.names
    assert len(set(law.names)) == len(law.names)
    assert all(one.low < one.high and one.deviation > 0 and one.low - 2 <= one.mean <= one.high + 2 for one in parameters)
    points = starting_points(parameters, 16, seed=3)
    np.testing.assert_array_equal(points, starting_points(parameters, 16, seed=3))
    low, high = (np.array([getattr(one, end) for one in parameters]) for end in ("low", "high"))
    cells = np.floor((points - low) / (high - low) * 16).astype(int)
    np.testing.assert_array_equal(np.sort(cells, axis=0), np.arange(16)[:, None].repeat(len(parameters), axis=1))


# The kernel


def loop(rates, pieces, discrete):
    """Bias factor and variance `(runs, nodes)`, update by update."""
    bias, variance = np.ones_like(rates), np.zeros_like(rates)
    for steps, rate, noise in zip(*(np.asarray(column).T for column in pieces), strict=True):
        factor = abs(1 - rate[:, None] * rates) if discrete else np.exp(-rate[:, None] * rates)
        for k in range(int(steps.max())):
            now = (k < steps)[:, None]
            bias = np.where(now, factor**2 * bias, bias)
            variance = np.where(now, factor**2 * variance + noise[:, None], variance)
    return bias, variance


def random_pieces(rng, runs=4, pieces=7, longest=80):
    """Some without updates, some of the rate 0."""
    steps = rng.integers(0, longest, (runs, pieces)) * (rng.random((runs, pieces)) < 0.8)
    rate = rng.uniform(0, 1, (runs, pieces)) * (rng.random((runs, pieces)) < 0.8)
    return Pieces(steps.astype(float), rate, rng.uniform(0, 1, (runs, pieces)))


@pytest.mark.parametrize("discrete", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_pieces_are_loops_over_updates(seed, discrete):
    rng = np.random.default_rng(seed)
    pieces, rates = random_pieces(rng), 10 ** rng.uniform(-9, 0.4, (4, 30))
    log_bias, variance = piece_sums(jnp.log(rates), pieces, discrete)
    for found, same in zip(piece_sums(np.log(rates), pieces, discrete), (log_bias, variance), strict=True):
        np.testing.assert_allclose(found, same, rtol=1e-12, atol=1e-12, err_msg="NumPy")
    expected_bias, expected = loop(rates, pieces, discrete)
    np.testing.assert_allclose(np.exp(log_bias), expected_bias, rtol=1e-11, atol=1e-250)
    np.testing.assert_allclose(variance, expected, rtol=1e-11, atol=0)


@pytest.mark.parametrize("discrete", [False, True])
def test_pieces_without_updates_or_without_a_rate(discrete):
    log_rate = np.log([[1e-3, 0.5, 1.5]])
    plain = Pieces(np.array([[7.0, 5.0]]), np.array([[1.0, 0.3]]), np.array([[1.0, 0.09]]))
    empty = Pieces(
        np.array([[0.0, 7.0, 0.0, 5.0, 0.0]]), np.array([[0.0, 1.0, 1.0, 0.3, 9.0]]), np.array([[5, 1.0, 5, 0.09, 5]])
    )
    for found, expected in zip(piece_sums(log_rate, empty, discrete), piece_sums(log_rate, plain, discrete), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-14)
    still = Pieces(np.array([[7.0, 40.0]]), np.array([[1.0, 0.0]]), np.array([[1.0, 0.25]]))
    first = Pieces(*(column[:, :1] for column in plain))
    (bias, variance), (expected_bias, expected) = (piece_sums(jnp.asarray(log_rate), some, discrete) for some in (still, first))
    np.testing.assert_allclose(bias, expected_bias, rtol=1e-14)
    np.testing.assert_allclose(variance, expected + 40 * 0.25, rtol=1e-14)


def test_an_update_that_ends_in_the_optimum():
    """Rate times curvature is exactly 1: no bias remains, and the variance is the noise of the last update."""
    pieces = Pieces(np.array([[3.0, 4.0]]), np.array([[0.5, 1.0]]), np.array([[0.3, 0.7]]))
    log_bias, variance = piece_sums(jnp.zeros((1, 1)), pieces, True)
    assert np.exp(log_bias[0, 0]) < 1e-200
    assert variance[0, 0] == pytest.approx(0.7, rel=1e-15)
    for slope in jax.jvp(lambda log_rate: piece_sums(log_rate, pieces, True), (np.zeros((1, 1)),), (np.ones((1, 1)),))[1]:
        assert np.isfinite(slope).all()


def values_and_slopes(log_rate, pieces, discrete):
    """Everything that comes out of the kernel, forwards and backwards."""

    def both(log_rate):
        return piece_sums(log_rate, pieces, discrete)

    def everything(log_rate):
        values, slopes = jax.jvp(both, (log_rate,), (jnp.ones_like(log_rate),))
        return [*values, *slopes, jax.grad(lambda log_rate: sum(part.sum() for part in both(log_rate)))(log_rate)]

    return jax.tree.map(np.asarray, jax.jit(everything, compiler_options=QUICKLY)(log_rate))


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("discrete", [False, True])
def test_runs_that_explode_stay_finite(discrete, single):
    rates = np.array([[2.0, 2.001, 2.5, 3.0, 10.0, 1e3, 1e6, 1e9]])
    pieces = Pieces(
        *(np.broadcast_to(column, (1, 24)) for column in (1e4, np.linspace(1, 0.01, 24), np.linspace(1, 0.01, 24) ** 2))
    )
    with jax.enable_x64(not single):
        found = values_and_slopes(jnp.log(rates), jax.tree.map(jnp.asarray, pieces), discrete)
    assert all(np.isfinite(part).all() for part in found)
    assert (found[1] > 0).all()


@pytest.mark.parametrize("discrete", [False, True])
def test_rates_of_almost_nothing(discrete):
    _check_small_rates(np.logspace(-300, 0, 61), discrete)


@pytest.mark.parametrize("discrete", [False, True])
def test_small_rates(discrete):
    _check_small_rates(np.logspace(-150, 0, 61), discrete)


def _check_small_rates(rates, discrete):
    pieces = Pieces(np.array([[30.0, 100.0, 50.0]]), np.array([[0.2, 1.0, 0.1]]), np.array([[0.1, 1.0, 0.01]]))
    found = values_and_slopes(np.log(rates)[None], pieces, discrete)
    assert all(np.isfinite(part).all() for part in found)
    log_bias, variance, bias_slope, variance_slope, _ = found
    slow = rates < 1e-8
    total = 30 * 0.1 + 100 * 1.0 + 50 * 0.01
    np.testing.assert_allclose(log_bias[0, slow], -2 * 111 * rates[slow], rtol=1e-7, atol=4e-14)
    np.testing.assert_allclose(bias_slope[0, slow], -2 * 111 * rates[slow], rtol=1e-5, atol=1e-300)
    np.testing.assert_allclose(variance[0, slow], total, rtol=1e-5)
    assert (abs(variance_slope[0, slow]) < 3e4 * rates[slow] + 1e-10).all()


@pytest.mark.parametrize("discrete", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_derivatives_of_the_kernel(seed, discrete):
    """By rates and by pieces, forwards, backwards and under `vmap`, against central differences."""
    rng = np.random.default_rng(seed)
    pieces = random_pieces(rng, runs=3, pieces=4, longest=20)
    pieces = pieces._replace(steps=pieces.steps + 1.5, rate=pieces.rate + 0.05, noise=pieces.noise + 0.1)
    log_rate = np.log(10 ** rng.uniform(-4, -0.3, (3, 8)))
    weight = rng.standard_normal((2, 3, 8))

    def total(log_rate, pieces):
        log_bias, variance = piece_sums(log_rate, pieces, discrete)
        return (weight[0] * jnp.exp(log_bias) + weight[1] * variance).sum()

    at = (log_rate, pieces)
    slopes = jax.jit(lambda *at: (jax.grad(total, (0, 1))(*at), jax.jacfwd(total, (0, 1))(*at)), compiler_options=QUICKLY)
    backwards, forwards = slopes(*at)
    for one, other in zip(jax.tree.leaves(backwards), jax.tree.leaves(forwards), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-11)
    value, step = jax.jit(total, compiler_options=QUICKLY), 1e-4
    leaves, shape = jax.tree.flatten(at)
    for k in range(len(leaves) + 1):  # by each argument alone, then by all together
        move = [rng.standard_normal(leaf.shape) * (k in (place, len(leaves))) for place, leaf in enumerate(leaves)]
        up, down, far_up, far_down = (
            float(value(*shape.unflatten([leaf + times * step * part for leaf, part in zip(leaves, move, strict=True)])))
            for times in (1, -1, 2, -2)
        )
        expected = (8 * (up - down) - (far_up - far_down)) / (12 * step)
        found = sum(float((slope * part).sum()) for slope, part in zip(jax.tree.leaves(backwards), move, strict=True))
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-8), f"argument {k}"
    shifts = np.array([0.0, 0.1, -0.2])
    mapped = jax.vmap(jax.grad(lambda shift: total(log_rate + shift, pieces)))
    differences = [
        float(value(log_rate + (shift + step), pieces) - value(log_rate + (shift - step), pieces)) for shift in shifts
    ]
    found = jax.jit(mapped, compiler_options=QUICKLY)(shifts)
    np.testing.assert_allclose(found, np.array(differences) / (2 * step), rtol=1e-6)
    assert float(found[0]) == pytest.approx(float(backwards[0].sum()), rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_the_flow_in_single_precision(seed):
    """From the same numbers, whole in float32: to 1e-5 in every direction that has not died out."""
    rng = np.random.default_rng(seed)
    pieces = jax.tree.map(np.float32, random_pieces(rng, longest=3000))
    log_rate = np.float32(rng.uniform(-16, 1, (4, 40)))
    double = piece_sums(jnp.asarray(log_rate, float), jax.tree.map(np.float64, pieces), False)
    with jax.enable_x64(False):
        single = piece_sums(jnp.asarray(log_rate), pieces, False)
    assert all(part.dtype == np.float32 for part in single)
    np.testing.assert_allclose(single[0], double[0], rtol=1e-5)
    np.testing.assert_allclose(single[1], double[1], rtol=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance", "largest"), [(np.float64, 2e-15, 700), (np.float32, 8e-7, 88)])
def test_expm1(dtype, tolerance, largest):
    """Measured: 1.4e-15 and 6.1e-7, both just above 0.1, where the series ends."""
    size = np.concatenate([np.geomspace(1e-30, largest, 20001), np.linspace(0.05, 0.2, 20001)]).astype(dtype)
    x = np.concatenate([size, -size, [0]]).astype(dtype)
    with jax.enable_x64(dtype == np.float64):
        found = np.asarray(expm1(jnp.asarray(x)))
    assert found.dtype == dtype
    np.testing.assert_allclose(found, np.expm1(x.astype(np.float64)), rtol=tolerance, atol=0)


SAME = run_settings(4e6, 128.0, np.geomspace(100, 1e5, RUNS))
"""Runs of one model size and one batch size."""


def at(law, settings=SAME, **coordinates):
    """Log losses at coordinates by name."""
    scale = Scale(2e6, 256.0, 1000.0, 1.0, 64.0, 1024.0, 100.0, 2.0, 5.0)
    return np.asarray(law.log_loss(jnp.array([coordinates[name] for name in law.names]), law_inputs(settings), scale))


def test_reduced_laws_of_others_are_the_laws_at_one_size():
    both = frozenset({"model_size", "batch_size"})
    chinchilla = {"irreducible": 0.5, "A": -0.4, "alpha": -1.0, "C": -0.3, "beta": -1.2}
    floor = np.log(np.exp(0.5) + np.exp(-0.4) * 2.0 ** -np.exp(-1.0))
    for same in (both, {"model_size"}):
        law = Chinchilla().reduced(frozenset(same))
        np.testing.assert_allclose(at(law, **chinchilla | {"irreducible": floor}), at(Chinchilla(), **chinchilla), rtol=1e-12)
    assert Chinchilla().reduced(frozenset({"batch_size"})) == Chinchilla()
    kaplan = {"A": 0.3, "alpha_N": -2.0, "S": -0.2, "alpha_S": -1.0, "B_crit": 5.0}
    part = 0.3 - np.exp(-2.0) * np.log(2.0)
    late = -0.2 + np.exp(-1.0) * np.log1p(np.exp(5.0) / 128)
    np.testing.assert_allclose(
        at(Kaplan().reduced(both), **kaplan | {"A": part, "S": late}), at(Kaplan(), **kaplan), rtol=1e-12
    )
    assert Kaplan().reduced(frozenset({"batch_size"})) == Kaplan(by_batch=False)


def test_a_reduced_quadratic_law_is_the_law_at_one_batch_size():
    law, x = (
        QuadraticLaw(),
        {"irreducible": 0.5, "initial": 1.5, "p": -1.5, "q": -0.5, "progress": -1.0, "noise": -3.0, "B0": 5.0},
    )
    gain = -0.5 * np.log1p(np.exp(5.0) / 128)
    plain = law.reduced(frozenset({"batch_size"}))
    assert plain == QuadraticLaw(adaptive=False)
    shifted = x | {"progress": -1.0 + gain, "noise": -3.0 + gain}
    np.testing.assert_allclose(at(plain, **shifted), at(law, **x), rtol=1e-10)


def test_reduced_laws_lose_only_what_cannot_be_told():
    law = QuadraticLaw(**EVERYTHING, size_offset=True)
    one_size = law.reduced(frozenset({"model_size"}))
    assert set(law.names) - set(one_size.names) == {"nu", "rho", "n0", "k0", "delta"}
    assert (
        set(one_size.names) - set(one_size.reduced(frozenset({"batch_size"})).names) == set()
    )  # the norm's feedback is Adam's
    assert all(one.reduced(frozenset()) == one for one in LAWS.values())
