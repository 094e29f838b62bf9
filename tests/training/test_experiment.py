"""Runs in lock step against one run at a time, how they end, and what is kept of them."""

import contextlib
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import xarray as xr

import nqmjax as nq
from nqmjax._tools import own_arithmetic
from nqmjax.training import Split, Task, experiment, lockstep, method, mlp
from nqmjax.training.lockstep import Kind
from nqmjax.training.methods import fingerprint
from nqmjax.training.race import End
from nqmjax.training.units import Rules

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4)).astype(np.float32)
Y = (np.tanh(X @ RNG.normal(size=4)) > 0.1 * X[:, 0]).astype(int)
RATES = [0.05, 0.2, 0.8]
SETTINGS = {"max_steps": 12, "seeds": 2, "progress": False, "evaluation": None}


@pytest.fixture(scope="module")
def task():
    return mlp((8,), split=Split((X[:40], Y[:40]), (X[40:], Y[40:])))


def one_run(task, transformation, rate, seed, batches, decay=0.0):
    """Training losses of one run, the slow and obvious way."""

    @jax.jit
    def update(params, state, average, chosen):
        gradient = jax.grad(task.mean_loss)(params, jax.tree.map(lambda leaf: jnp.asarray(leaf)[chosen], task.data))
        change, state = transformation.update(gradient, state, params)
        params = jax.tree.map(lambda old, move: old + rate * move, params, change)
        average = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, average, params)
        return params, state, average, task.mean_loss(average, task.data)

    params = average = task.start(seed)
    state, losses = jax.jit(transformation.init)(params), []
    for chosen in batches:
        params, state, average, loss = update(params, state, average, chosen)
        losses.append(loss)
    return np.array(losses)


def drawn(seed, batch, steps, count):
    key = jax.random.key(seed)
    bits = jax.jit(lambda time: jax.random.bits(jax.random.fold_in(key, time), (batch,)))
    return [np.asarray(bits(time)) % count for time in range(steps)]


def by_epochs(seed, batch, steps, count):
    key, each = jax.random.key(seed), count // batch
    bits = jax.jit(lambda epoch: jax.random.bits(jax.random.fold_in(key, epoch), (count,)))
    orders = [np.argsort(bits(epoch), stable=True) for epoch in range(steps // each + 1)]
    return [orders[time // each][time % each * batch :][:batch] for time in range(steps)]


@pytest.mark.parametrize(
    ("name", "batch", "sampling"),
    [("ema_heavy_ball", 4, "replacement"), ("adam", 13, "epochs")],
)
def test_lock_step_is_one_run_after_the_other(task, name, batch, sampling):
    curves = experiment(
        task, [name], [batch], RATES, sampling=sampling, fixed={"beta2": 0.9} if name == "adam" else {}, **SETTINGS
    )
    plain = {"ema_heavy_ball": optax.sgd(1.0, 0.9), "adam": optax.adam(1.0, 0.9, 0.9)}[name]
    choose = {"replacement": drawn, "epochs": by_epochs}[sampling]
    decay = 0.99 if name.startswith("ema") else 0.0
    with own_arithmetic():
        expected = one_run(task, plain, RATES[1], 1, choose(1, batch, 12, 40), decay)
    found = curves.training_loss.sel(seed=1).isel(optimizer=0, batch_size=0, rate=1)
    np.testing.assert_allclose(found[1:], expected[curves["update"][1:] - 1], rtol=2e-5)
    assert curves.held_out_accuracy.notnull().all()


def test_lanes_of_several_blocks_are_each_trained_once(task):
    rates = np.geomspace(0.05, 0.8, 17)
    settings = SETTINGS | {"seeds": 1}
    together, alone = (experiment(task, ["sgd"], [4], some, **settings).training_loss for some in (rates, rates[:1]))
    np.testing.assert_allclose(together.values[0, 0, :1], alone.values[0, 0], rtol=1e-6)


def test_methods_that_begin_alike_are_told_apart(task, tmp_path):
    clipped = {name: optax.chain(optax.clip_by_global_norm(norm), optax.sgd(1.0)) for name, norm in (("a", 100.0), ("b", 1e-3))}
    where = {"max_steps": 3, "seeds": 1, "progress": False, "sampling": "all", "evaluation": None}
    found = experiment(task, clipped, [task.count], [0.5], folder=tmp_path, **where).training_loss.values[:, 0, 0, 0, -1]
    assert found[0] < 0.99 * found[1]
    with pytest.raises(ValueError, match="first updates of its optimizer"):
        experiment(task, {"a": clipped["b"]}, [task.count], [0.5], folder=tmp_path, **where)
    assert fingerprint(method("adam", eps=1e-8)) != fingerprint(method("adam", eps=1e-12))


def test_lanes_of_a_wide_batch_go_one_by_one(task, monkeypatch):
    """Which makes no difference to them."""
    together = experiment(task, ["sgd"], [4], RATES, **SETTINGS)
    monkeypatch.setattr(lockstep, "WIDE", 4)
    alone = experiment(task, ["sgd"], [4], RATES, **SETTINGS)
    assert any(width == 1 for _, width in task.programs)
    xr.testing.assert_allclose(together, alone, rtol=1e-5)


@pytest.mark.parametrize("name", ["nesterov", "qhm"])
def test_without_noise_linear_regression_is_the_quadratic(name):
    """And optimizers are those of the catalogue that have their names."""
    x = RNG.normal(size=(30, 3)) * [2, 1, 0.5]
    y = x @ [1, -2, 3] + 0.3 * RNG.normal(size=30)
    task = Task(lambda w, x: x @ w, np.zeros(3), (x, y), loss="squared_error")
    values, vectors = np.linalg.eigh(x.T @ x / 30)
    best = np.linalg.lstsq(x, y)[0]
    problem = nq.from_spectrum(
        values, noise=0 * values, initial=(vectors.T @ best) ** 2, irreducible=0.5 * ((x @ best - y) ** 2).mean()
    )
    curves = experiment(task, [name], [30], [0.05, 0.1], max_steps=15, seeds=1, sampling="all", progress=False)
    expected = nq.risk_curve(problem, nq.nonlinear.TEMPLATES[name].replace(learning_rate=0.1), 1, 15)
    np.testing.assert_allclose(curves.training_loss.values[0, 0, 1, 0], expected[curves["update"]], rtol=1e-5)


def test_runs_end(task):
    """Those that arrive, are late or diverge end, and those that do not have the same curves as without an end."""
    rates = [0.02, 0.6, 1e8]
    whole = experiment(task, ["sgd"], [4], rates, max_steps=60, seeds=2, spacing=1.3, progress=False)
    target = float(whole.training_loss.sel(update=slice(20, 30)).isel(rate=1).min("update").max())
    short = experiment(task, ["sgd"], [4], rates, max_steps=60, seeds=2, spacing=1.3, target=target, slack=1.0, progress=False)
    ends = short.end.values[0, 0]
    assert (ends[0] == End.OVERTAKEN).all()
    assert (ends[1] == End.ARRIVED).all()
    assert (ends[2] == End.DIVERGED).all()
    kept = short.training_loss.notnull()
    xr.testing.assert_allclose(short.training_loss, whole.training_loss.where(kept), rtol=1e-4)
    assert kept.sum() < whole.training_loss.notnull().sum()
    assert not np.isnan(short.training_loss.isel(update=0)).any()


def test_what_is_kept_is_not_trained_again(task, tmp_path, monkeypatch):
    arguments = {"spacing": 1.5, "folder": tmp_path / "runs", **SETTINGS}
    whole = experiment(task, ["sgd"], [4, 13], RATES, **arguments)
    assert len(list((tmp_path / "runs").iterdir())) == 4
    (tmp_path / "runs" / "sgd_4_1.npz").unlink()
    trained = []
    start = Kind.start
    monkeypatch.setattr(
        Kind, "start", lambda kind, task, seed: trained.append((kind.batch_size, seed)) or start(kind, task, seed)
    )
    again = experiment(task, ["sgd"], [4, 13], RATES, **arguments)
    assert trained == [(4, 1)]
    xr.testing.assert_identical(whole, again)
    few = experiment(task, ["sgd"], [13], RATES, **{**arguments, "seeds": [1]})
    xr.testing.assert_identical(few.training_loss, whole.training_loss.sel(batch_size=[13], seed=[1]))
    assert trained == [(4, 1)]
    elsewhere = Task(task.function, task.start(1), task.data, loss="cross_entropy", held_out=task.held_out, name=task.name)
    for change, words in {
        "spacing": ({"spacing": 1.4}, "spacing 1.5, and not 1.4: give another folder"),
        "rates": ({"rates": [0.1, 0.2, 0.8]}, "learning rates"),
        "task": ({"task": elsewhere}, "have loss"),
        "optimizer": ({"optimizers": {"sgd": method("nesterov")}}, "first updates of its optimizer"),
    }.values():
        called = {"task": task, "optimizers": ["sgd"], "batch_sizes": [4], "rates": RATES} | arguments | change
        with pytest.raises(ValueError, match=words):
            experiment(**called)


def test_an_interrupt_leaves_what_is_finished(task, tmp_path, monkeypatch):
    """Threads stop at their next record, and finished runs stay."""
    arguments = {"spacing": 1.5, "folder": tmp_path, **SETTINGS}
    whole = experiment(task, ["sgd"], [4, 13], RATES, **{**arguments, "folder": None})
    first = threading.Event()
    race = Rules.race

    def interrupted(rules, task, unit, seeds):
        if unit.batch_size == 13:
            first.wait(20)
            raise KeyboardInterrupt
        return race(rules, task, unit, seeds)

    save = np.savez_compressed
    with monkeypatch.context() as patch:
        patch.setattr(Rules, "race", interrupted)
        patch.setattr(np, "savez_compressed", lambda *values, **named: (save(*values, **named), first.set()))
        with contextlib.suppress(KeyboardInterrupt):
            experiment(task, ["sgd"], [4, 13], RATES, **arguments)
            pytest.fail("the interrupt was lost")
    names = {path.name for path in tmp_path.iterdir()}
    assert "sgd_4_0.npz" in names
    assert all(name.startswith("sgd_4") for name in names)
    xr.testing.assert_identical(whole, experiment(task, ["sgd"], [4, 13], RATES, **arguments))


def test_whatever_the_callers_settings(task):
    """Learned parameters are float32, and rank and precision are those of our own kernels."""
    plain = experiment(task, ["sgd"], [4], RATES, **SETTINGS)
    with jax.enable_x64(True), jax.debug_nans(True):
        same = experiment(task, ["sgd"], [4], RATES, **SETTINGS)
    xr.testing.assert_identical(plain, same)
    assert plain.training_loss.dtype == np.float32


def test_rates_by_batch_size_and_by_optimizer(task):
    rates = {"mine": lambda batch: [0.01 * batch, 0.02 * batch, 0.05 * batch], "sgd": [0.8, 0.2, 0.05]}
    curves = experiment(task, {"mine": optax.sgd(1.0), "sgd": "sgd"}, [4, 13], rates, **SETTINGS)
    expected = [[[0.04, 0.08, 0.2], [0.13, 0.26, 0.65]], [[0.05, 0.2, 0.8], [0.05, 0.2, 0.8]]]
    np.testing.assert_allclose(curves.learning_rate.values, expected)
    np.testing.assert_array_equal(curves.training_loss.values[0, 0, 2], curves.training_loss.values[1, 0, 1])
