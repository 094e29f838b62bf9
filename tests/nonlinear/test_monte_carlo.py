"""The sampled quadratic against the exact recursion, closed forms of nonlinear first steps, and its own promises."""

import importlib
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
import xarray as xr

from nqmjax import (
    QHM,
    SGD,
    Averaged,
    HeavyBall,
    Nesterov,
    NoisyQuadratic,
    Preconditioned,
    from_spectrum,
    power_law,
    risk_curve,
)
from nqmjax.nonlinear.monte_carlo import monte_carlo, precondition

montecarlo = importlib.import_module("nqmjax.nonlinear.monte_carlo")

BATCH_SIZE = 4
STEPS = 30
SEEDS = 2500
PLAIN = optax.sgd(0.1)


def uneven_problem() -> NoisyQuadratic:
    """22 directions in 12 groups, one of them flat; noise and start follow no power of the curvature."""
    rng = np.random.default_rng(3)
    curvature = np.append(np.geomspace(2.0, 0.02, 11), 0.0)
    noise, initial = rng.uniform(0.1, 4.0, 12), rng.uniform(0.0, 3.0, 12)
    count = [1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 5, 2]
    return from_spectrum(curvature, count=count, noise=noise, initial=initial, irreducible=0.25)


def small_run(**changes: Any) -> xr.Dataset:
    arguments = {
        "problem": power_law(5),
        "optax_transformation": PLAIN,
        "batch_size": 8,
        "num_steps": 10,
        "num_seeds": 6,
        "key": 0,
    }
    return monte_carlo(**arguments | changes)


def qhm(learning_rate: float, momentum: float, nu: float) -> optax.GradientTransformation:
    ema = optax.ema(momentum, debias=False)

    def update(gradient: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        buffer, state = ema.update(gradient, state)
        return -learning_rate * ((1 - nu) * gradient + nu * buffer), state

    return optax.GradientTransformation(ema.init, update)


LINEAR = {
    "sgd": (SGD(0.8), optax.sgd(0.8), 0.0),
    "heavy ball": (HeavyBall(0.2, 0.8), optax.sgd(0.2, momentum=0.8), 0.0),
    "nesterov": (Nesterov(0.2, 0.8), optax.sgd(0.2, momentum=0.8, nesterov=True), 0.0),
    "qhm": (QHM(0.6, 0.9, 0.7), qhm(0.6, 0.9, 0.7), 0.0),
    "preconditioned": (
        Preconditioned(HeavyBall(0.05, 0.7), 0.75),
        optax.chain(precondition(uneven_problem(), 0.75), optax.sgd(0.05, momentum=0.7)),
        0.0,
    ),
    "averaged": (Averaged(HeavyBall(0.2, 0.9), 0.6), optax.sgd(0.2, momentum=0.9), 0.6),
}


@pytest.mark.parametrize("seed", [11])
@pytest.mark.parametrize("name", LINEAR)
def test_linear_optimizers_agree_with_the_exact_recursion(name, seed):
    linear, transformation, average = LINEAR[name]
    problem = uneven_problem()
    runs = monte_carlo(problem, transformation, BATCH_SIZE, STEPS, num_seeds=SEEDS, key=seed, average=average)
    deviation = (runs.risk - risk_curve(problem, linear, BATCH_SIZE, STEPS)) / runs.standard_error
    assert np.abs(deviation).max() < 4
    assert runs.standard_error.max() < 0.02 * runs.risk.max()  # so that 4 of them could show a mistake


def test_deviations_from_the_exact_risk_are_neither_too_large_nor_too_small():
    linear, transformation, _ = LINEAR["sgd"]
    problem = uneven_problem()
    exact = risk_curve(problem, linear, BATCH_SIZE, STEPS)
    runs = [monte_carlo(problem, transformation, BATCH_SIZE, STEPS, num_seeds=SEEDS, key=seed) for seed in range(12)]
    deviations = np.array([(run.risk - exact) / run.standard_error for run in runs])
    assert 0.7 < np.sqrt((deviations**2).mean()) < 1.3


def test_single_precision_agrees_with_the_exact_recursion():
    linear, transformation, _ = LINEAR["sgd"]
    problem = uneven_problem()
    runs = monte_carlo(problem, transformation, BATCH_SIZE, STEPS, num_seeds=SEEDS, key=21, dtype="float32")
    deviation = (runs.risk - risk_curve(problem, linear, BATCH_SIZE, STEPS)) / runs.standard_error
    assert np.abs(deviation).max() < 4
    assert small_run().risk[0] != np.float32(small_run().risk[0])  # double unless asked otherwise
    assert not jax.config.jax_enable_x64


@pytest.mark.parametrize("seed", [1])
@pytest.mark.parametrize("transformation", [optax.sign_sgd(0.1), optax.adam(0.1, eps=1e-14)], ids=["sign_sgd", "adam"])
def test_sign_methods_train_and_start_by_the_arcsine_law(transformation, seed):
    """`E theta sign(g) = sqrt(2/pi) h s / sqrt(h^2 s + c/B)`; Adam's first step, too, is the sign of the gradient."""
    rate, problem = 0.1, uneven_problem()
    h, s = problem.curvature, problem.initial
    aligned = np.sqrt(2 / np.pi) * h * s / np.sqrt(h**2 * s + problem.noise / BATCH_SIZE)
    expected = problem.irreducible + 0.5 * (problem.count * h * (s - 2 * rate * aligned + rate**2)).sum()
    runs = monte_carlo(problem, transformation, BATCH_SIZE, 8, num_seeds=20_000, key=seed)
    assert abs(runs.risk[1] - expected) < 4 * runs.standard_error[1]
    assert (np.diff(runs.risk) < -4 * runs.standard_error[1:]).all()
    assert runs.risk[-1] - problem.irreducible < 0.6 * (problem.initial_risk - problem.irreducible)


@pytest.mark.parametrize("seed", [4])
def test_norm_based_methods_see_every_direction_of_a_group(seed):
    """A step of length `a` along `theta` leaves `(|theta| - a)^2 / 2`; `E |theta| = sqrt 2 Gamma((d+1)/2) / Gamma(d/2)`."""
    dim, rate = 20, 2.0
    problem = from_spectrum([1.0], count=dim, noise=0.0)
    step = optax.stateless(lambda gradient, _: -rate * gradient / jnp.linalg.norm(gradient))
    runs = monte_carlo(problem, step, 1, 1, num_seeds=4000, key=seed)
    length = math.sqrt(2) * math.exp(math.lgamma((dim + 1) / 2) - math.lgamma(dim / 2))
    assert abs(runs.risk[1] - (dim - 2 * rate * length + rate**2) / 2) < 4 * runs.standard_error[1]


def test_counts_stand_for_explicit_directions():
    grouped = from_spectrum([1.0, 0.1], count=[2, 3], noise=[0.5, 2.0], initial=[1.0, 4.0])
    explicit = from_spectrum([1.0, 1.0, 0.1, 0.1, 0.1], noise=[0.5, 0.5, 2.0, 2.0, 2.0], initial=[1.0, 1.0, 4.0, 4.0, 4.0])
    lars = optax.lars(1.0, trust_coefficient=0.1)
    one, other = (small_run(problem=problem, optax_transformation=lars) for problem in (grouped, explicit))
    xr.testing.assert_equal(one, other)
    assert one.risk[-1] < 0.5 * one.risk[0]


def test_same_key_same_runs():
    first = small_run(key=7)
    for key in (7, np.int64(7), jax.random.key(7), jax.random.PRNGKey(7), first.attrs["key"]):
        xr.testing.assert_identical(small_run(key=key), first)
    for key in (8, 7 + 2**32):
        assert (small_run(key=key).risk != first.risk).all()


def test_runs_are_the_same_however_many_and_however_long():
    start = small_run(num_steps=0)
    assert dict(start.sizes) == {"step": 1}
    np.testing.assert_allclose(start.risk, small_run().risk[:1], rtol=1e-13)


@pytest.mark.parametrize(("limit", "value"), [("CHUNK_ENTRIES", 20), ("CHUNK_RECORDS", 45)])
def test_chunks_do_not_change_the_result(monkeypatch, limit, value):
    whole = small_run()
    monkeypatch.setattr(montecarlo, limit, value)  # 4 seeds, then the other 2
    four, five, six = (small_run(num_seeds=n) for n in (4, 5, 6))
    xr.testing.assert_allclose(six, whole, rtol=1e-12)
    distance = 5 * (five.risk - four.risk)  # of the fifth run from the mean of the first four
    np.testing.assert_allclose(five.standard_error**2 * 20, four.standard_error**2 * 12 + distance**2 * 4 / 5, rtol=1e-10)


def test_one_compilation_serves_all_chunks_problems_and_keys(monkeypatch):
    traces = []

    def update(gradient: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        traces.append(gradient)
        return -0.1 * gradient, state

    transformation = optax.GradientTransformation(lambda params: optax.EmptyState(), update)
    monkeypatch.setattr(montecarlo, "CHUNK_ENTRIES", 20)
    small_run(optax_transformation=transformation)
    first = len(traces)
    other = power_law(5, exponent=0.5)
    small_run(optax_transformation=transformation, problem=other, batch_size=16, num_seeds=10, key=1, average=0.5)
    assert first >= 1
    assert len(traces) == first


def test_divergence_is_inf_never_nan_and_only_where_there_is_curvature():
    rates = optax.stateless_with_tree_map(lambda gradient, _: gradient * np.array([-0.5, 1e200]))
    flat = small_run(problem=from_spectrum([1.0, 0.0], noise=[0.0, 1.0]), optax_transformation=rates)
    np.testing.assert_allclose(flat.risk, flat.risk[0] * 0.25**flat.step)
    steep = small_run(problem=from_spectrum([1.0, 0.5], noise=[0.0, 1.0]), optax_transformation=rates)
    assert np.isfinite(steep.risk[0])
    assert np.isposinf(steep.risk[1:]).all()
    assert np.isposinf(steep.standard_error[1:]).all()


def test_result_is_labelled():
    runs = small_run(problem=from_spectrum([1.0, 0.5], count=[1, 4], irreducible=0.1), key=9, average=0.5)
    assert dict(runs.sizes) == {"step": 11}
    assert runs.step.values.tolist() == list(range(11))
    assert runs.risk.attrs["units"] == runs.standard_error.attrs["units"] == "loss"
    assert runs.attrs["problem"].startswith("spectrum of 5 directions in 2 groups")
    plain = {name: runs.attrs[name] for name in ("batch_size", "num_seeds", "average", "dim", "irreducible")}
    assert plain == {"batch_size": 8.0, "num_seeds": 6, "average": 0.5, "dim": 5, "irreducible": 0.1}


def test_result_survives_a_file(tmp_path):
    runs = small_run()
    runs.to_netcdf(tmp_path / "runs.nc", engine="h5netcdf")
    xr.testing.assert_identical(xr.load_dataset(tmp_path / "runs.nc", engine="h5netcdf"), runs)


def test_interruption_passes_through(monkeypatch):
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(montecarlo, "evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        small_run()


BAD = {
    "problem": ({"problem": 3}, "problem is 3: give"),
    "fractional count": (
        {"problem": from_spectrum([1.0, 0.5], count=[1, 2.5])},
        r"count\[1\] is 2.5: every direction is sampled by itself, so give whole numbers",
    ),
    "no transformation": (
        {"optax_transformation": SGD(0.1)},
        "optax_transformation is SGD.*: give an optax.GradientTransformation",
    ),
    "batch size": ({"batch_size": 0}, "batch_size is 0.*: give examples per update, at least 1"),
    "batch sizes": ({"batch_size": [1, 2]}, r"the shape of batch_size is \(2,\): give one number"),
    "steps": ({"num_steps": -1}, "num_steps is -1.*: give whole numbers of updates"),
    "text": ({"num_steps": "many"}, "num_steps is 'many': give a number"),
    "one seed": ({"num_seeds": 1}, "num_seeds is 1: give a whole number of runs, from 2"),
    "nan seeds": ({"num_seeds": math.nan}, "num_seeds is nan: give a whole number of runs"),
    "negative key": ({"key": -1}, "key is -1: give a whole number from 0"),
    "huge key": ({"key": 2**70}, "key is 1180591620717411303424: give a whole number from 0"),
    "fraction as key": ({"key": 0.5}, "key is 0.5: give a whole number"),
    "many keys": ({"key": jax.random.split(jax.random.key(0), 2)}, r"key is (.|\n)*: give a whole number .* or one key"),
    "average": ({"average": 1.0}, r"average is 1.0: give a decay in \[0, 1\)"),
    "no function": ({"eval_params": 3}, "eval_params is 3: give a function of state and parameters"),
    "dtype": ({"dtype": "float16"}, "dtype is 'float16'.*choose from float64, float32"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_names_the_argument_the_value_and_the_remedy(name):
    changes, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        small_run(**changes)


def test_traced_arguments_are_refused():
    def final_risk(problem: NoisyQuadratic, key: Any) -> Any:
        return small_run(problem=problem, key=key).risk.values[-1]

    with pytest.raises(ValueError, match="problem is traced: call this outside jit"):
        jax.jit(lambda problem: final_risk(problem, 0))(power_law(5))
    with pytest.raises(ValueError, match="key is traced: call this outside jit"):
        jax.jit(lambda key: final_risk(power_law(5), key))(jax.random.key(0))


@pytest.mark.parametrize(
    ("power", "message"), [(1.5, r"power is 1.5: give a value in \[0, 1\]"), ([0.5], "the shape of power is")]
)
def test_precondition_checks_its_power(power, message):
    with pytest.raises(ValueError, match=message):
        precondition(power_law(5), power)


def test_precondition_leaves_flat_directions_alone():
    transformation = precondition(from_spectrum([4.0, 0.0], count=[2, 1]), 0.5)
    scaled, _ = transformation.update(np.ones(3), transformation.init(np.ones(3)))
    np.testing.assert_array_equal(scaled, [0.5, 0.5, 1.0])


def one_direction(transformation: optax.GradientTransformation, **changes: Any) -> np.ndarray:
    """Squares of the scored point over the steps, in units of the start, without noise."""
    problem = from_spectrum([1.0], noise=0.0)
    runs = small_run(problem=problem, optax_transformation=transformation, num_steps=8, num_seeds=2, **changes)
    return runs.risk.values / runs.risk.values[0]


ASKING = {
    "polyak_sgd": (optax.polyak_sgd(), 0.25 ** np.arange(9)),  # the loss over the square of the gradient is 1/2
    "reduce_on_plateau": (optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau()), 0.81 ** np.arange(9)),
    "line search": (optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(5)), np.eye(9)[0]),
    "momo": (optax.contrib.momo(1.0, beta=0.0), 0.25 ** np.arange(9)),
    "lookahead": (optax.lookahead(optax.sgd(0.1), 1, 0.5), 0.95 ** (2 * np.arange(9))),
    "lookahead's slow steps": (optax.lookahead(optax.sgd(0.1), 4, 0.5), (0.5 + 0.5 * 0.9**4) ** (2 * (np.arange(9) // 4))),
}


@pytest.mark.parametrize("name", ASKING)
def test_methods_are_given_what_they_ask_for(name):
    transformation, expected = ASKING[name]
    np.testing.assert_allclose(one_direction(transformation), expected, rtol=1e-12, atol=1e-20)


def test_the_loss_that_a_method_is_given_is_that_of_its_batch():
    """Its mean over batches is the risk; its slope along the parameter is the gradient."""
    seen = []

    def update(gradient: Any, state: Any, params: Any = None, *, value: Any, value_fn: Any, **_: Any) -> tuple[Any, Any]:
        error = jnp.abs(jax.grad(value_fn)(params) - gradient).max() + jnp.abs(value_fn(params) - value)
        seen.append(error)
        return jnp.full_like(gradient, value) + 0 * error, state + error

    asking = optax.GradientTransformationExtraArgs(lambda params: jnp.zeros(()), update)
    problem = from_spectrum([1.0, 0.5], noise=[2.0, 0.0], irreducible=0.25)
    arguments = {"problem": problem, "optax_transformation": asking, "batch_size": 1, "num_steps": 1, "num_seeds": 2000}
    # The step is the value itself, so that the mean of the new parameter less the start is its mean; one run's start is 0.
    still = small_run(**arguments | {"problem": from_spectrum([1.0], noise=0.0, initial=0.0, irreducible=0.25)})
    np.testing.assert_allclose(still.risk, [0.25, 0.25 + 0.25**2 / 2], rtol=1e-12)
    errors = small_run(**arguments, eval_params=lambda state, params: 0 * params + state)
    np.testing.assert_allclose(errors.risk[1:], 0.25, rtol=1e-9)
    assert seen


def test_schedule_free_is_scored_at_its_average():
    rate, b1 = 0.3, 0.9
    x = z = 1.0
    averages, gradients_at = [1.0], [1.0]
    for t in range(1, 9):
        z -= rate * gradients_at[-1]
        x += (z - x) / t
        averages.append(x)
        gradients_at.append((1 - b1) * z + b1 * x)
    method = optax.contrib.schedule_free_sgd(rate, b1=b1)
    np.testing.assert_allclose(one_direction(method), np.square(averages), rtol=1e-6)  # its rate is kept in float32
    training = one_direction(method, eval_params=lambda state, params: params)
    np.testing.assert_allclose(training, np.square(gradients_at), rtol=1e-6)


@pytest.mark.parametrize("opaque", [False, True])
def test_sam_is_scored_at_the_unperturbed_parameters(opaque):
    method = optax.contrib.sam(optax.sgd(0.1), optax.sgd(0.2), sync_period=2, opaque_mode=opaque)
    outer = (1 - 0.1 * 1.2) ** 2  # the gradient is that at theta + 0.2 g
    expected = outer ** (np.arange(9) if opaque else np.arange(9) // 2)
    np.testing.assert_allclose(one_direction(method), expected, rtol=1e-12)


ARGUMENTS = {
    "adadelta": {"learning_rate": 0.1},
    "adafactor": {"learning_rate": 0.1},
    "lbfgs": {},
    "noisy_sgd": {"learning_rate": 0.1, "key": 1},
    "polyak_sgd": {},
    "cocob": {},
    "dadapt_adamw": {},
    "dog": {},
    "dowg": {},
    "momo": {},
    "momo_adam": {},
    "prodigy": {},
    "galore": {"learning_rate": 0.1, "rank": 1},
    "mechanize": {"base_optimizer": optax.sgd(0.1)},
    "reduce_on_plateau": {},
    "sam": {"optimizer": optax.sgd(0.1), "adv_optimizer": optax.sgd(0.1)},
    "schedule_free": {"base_optimizer": optax.sgd(0.1), "learning_rate": 0.1},
    "lookahead": {"fast_optimizer": optax.adam(0.1), "sync_period": 5, "slow_step_size": 0.5},
    "differentially_private_aggregate": {"l2_norm_clip": 1.0, "noise_multiplier": 0.1, "key": 0},
    "scale_by_muon": {},
}
REASONS = {
    "differentially_private_aggregate": r"ValueError: its updates have the shape \(\) where the parameters have \(5,\)",
    "scale_by_muon": "ValueError: Input must have shape",
}
ALIASES = """
adabelief adadelta adafactor adagrad adam adamax adamaxw adamw adan amsgrad fromage lamb lars lbfgs lion lookahead noisy_sgd
novograd optimistic_adam_v2 optimistic_gradient_descent polyak_sgd radam rmsprop rprop sgd sign_sgd signum sm3 yogi acprop
ademamix adopt cocob dadapt_adamw differentially_private_aggregate dog dowg galore madgrad mechanize momo momo_adam muon
prodigy reduce_on_plateau sam scale_by_muon schedule_free schedule_free_adamw schedule_free_sgd simplified_ademamix sophia
"""


@pytest.mark.parametrize("name", ALIASES.split())
def test_every_optimizer_of_optax_fits_or_is_refused_with_its_reason(name, monkeypatch):
    """Traced, not run: shapes and precisions of all that is handed over must agree in both precisions."""
    make = getattr(optax.contrib, name, None) or getattr(optax, name, None)
    if make is None:
        pytest.skip(f"this optax has no {name}")

    def traced(kernel: Any, *arguments: Any, dtype: str) -> np.ndarray:
        with jax.enable_x64(dtype == "float64"):
            cast = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), dtype), arguments[:-1])
            risks = jax.eval_shape(kernel, *cast, arguments[-1])
        assert risks.dtype == dtype
        return np.zeros(risks.shape)

    monkeypatch.setattr(montecarlo, "evaluate", traced)
    transformation = make(**ARGUMENTS.get(name, {"learning_rate": 0.1}))
    for dtype in ("float64", "float32"):
        if name in REASONS:
            with pytest.raises(ValueError, match=f"^optax_transformation is .*{REASONS[name]}"):
                small_run(optax_transformation=transformation, dtype=dtype)
        else:
            small_run(optax_transformation=transformation, dtype=dtype)
