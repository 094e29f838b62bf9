"""Closures of Adam and its kin against replicas that optax drives: errors of the risk, and what either costs."""

import functools
import itertools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import TARGET, quick, report, spent

import nqmjax as nq

PROBLEM = nq.power_law(10_000).quantize(100)
UPDATES, REPLICAS = 300, 2048
METHODS = {
    "Adam (0.9, 0.999)": (nq.Adam, lambda rate: optax.adam(rate), {}),
    "Adam (0.9, 0.95)": (nq.Adam, lambda rate: optax.adam(rate, 0.9, 0.95), {"beta2": 0.95}),
    "Adam (0, 0.99)": (nq.Adam, lambda rate: optax.adam(rate, 0.0, 0.99), {"beta1": 0.0, "beta2": 0.99}),
    "AdamW (0.9, 0.999), decay 0.1": (nq.AdamW, lambda rate: optax.adamw(rate, weight_decay=0.1), {"weight_decay": 0.1}),
    "Adam (0.9, 0.999), L2 0.1": (
        nq.AdamL2,
        lambda rate: optax.chain(optax.add_decayed_weights(0.1), optax.adam(rate)),
        {"strength": 0.1},
    ),
    "RMSprop 0.9": (nq.RMSprop, lambda rate: optax.rmsprop(rate, 0.9, eps=1e-8), {}),
    "sign descent": (nq.SignSGD, optax.sign_sgd, {}),
    "Lion (0.9, 0.99)": (nq.Lion, lambda rate: optax.lion(rate, weight_decay=0.0), {}),
}
"""Of each method its closure, the transformation of optax and the hyperparameters of the closure that are not its defaults."""

CURVE = f"""
import time
start = time.perf_counter(), time.process_time()
import nqmjax as nq
table = nq.tune(nq.power_law(10_000).quantize(100), nq.Adam(0.1), [4.0**k for k in range(11)], {TARGET}, progress=False)
print(time.perf_counter() - start[0], time.process_time() - start[1], *table.steps.values[[0, 5, 10]])
"""


def main() -> None:
    small = quick(__doc__ or "")
    batches, rates = ([64.0], [0.03]) if small else (4.0 ** np.array([0, 3, 6, 8, 10]), [0.003, 0.03])
    names = list(METHODS)[:2] if small else list(METHODS)
    rows = []
    for name, rate in itertools.product(names, rates):
        row = {"method": name, "rate": str(rate)}
        for batch in batches:
            row[f"B = {batch:.0f}"] = f"{100 * error(name, rate, batch):.1f}%"
        rows.append(row)
        print(row, flush=True)
    report("mean_field", f"{REPLICAS} replicas of each group driven by optax, starts at quantiles", rows, keep=not small)
    report("mean_field_speed", "the same replicas; the tuned curve from a cold process", speed(), keep=not small)


@functools.partial(jax.jit, static_argnames=("method", "rate"))
def sampled(key: jax.Array, method: str, rate: float, batch: float) -> jax.Array:
    """Risks of replicas that start at quantiles of their group's law; decay acts on what they have moved since."""
    h, c, s, w = (jnp.asarray(values)[:, None] for values in (PROBLEM.curvature, PROBLEM.noise, PROBLEM.initial, PROBLEM.count))
    shift = jax.random.uniform(jax.random.fold_in(key, UPDATES), (h.size, REPLICAS))
    start = jnp.sqrt(s) * jax.scipy.special.ndtri((jnp.arange(REPLICAS) + shift) / REPLICAS)
    transformation = METHODS[method][1](rate)

    def risk(moved: jax.Array) -> jax.Array:
        return 0.5 * (w[:, 0] * h[:, 0] * ((start + moved) ** 2).mean(1)).sum()

    def update(carry: tuple, step: jax.Array) -> tuple:
        moved, state = carry
        noise = jax.random.normal(jax.random.fold_in(key, step), moved.shape)
        change, state = transformation.update(h * (start + moved) + jnp.sqrt(c / batch) * noise, state, moved)
        moved = moved + change
        return (moved, state), risk(moved)

    moved = jnp.zeros_like(start)
    return jax.lax.scan(update, (moved, transformation.init(moved)), jnp.arange(UPDATES))[1]


def closure(method: str, rate: float, batch: float) -> np.ndarray:
    kind, _, others = METHODS[method]
    return nq.risk_curve(PROBLEM, kind(rate, **others), batch, UPDATES)[1:]


def error(method: str, rate: float, batch: float) -> float:
    """The largest relative error of the closure's risk along the run."""
    with jax.enable_x64():
        runs = np.asarray(sampled(jax.random.key(0), method, rate, batch))
    return float(np.abs(closure(method, rate, batch) / runs - 1).max())


def speed() -> list[dict]:
    """Processor time of one curve of risks, once compiled, and of the tuned curve, all included."""
    name, rate, batch = next(iter(METHODS)), 0.03, 4096.0
    with jax.enable_x64():
        seconds, _ = spent(lambda: jax.block_until_ready(sampled(jax.random.key(1), name, rate, batch)))
    closure(name, rate, batch)
    ours, _ = spent(lambda: closure(name, rate, batch))
    _, cpu, *steps = map(float, subprocess.check_output([sys.executable, "-c", CURVE], text=True).split())
    return [
        {"what": f"{UPDATES} updates of Adam, replicas", "processor s": seconds, "times the closure": seconds / ours},
        {"what": f"{UPDATES} updates of Adam, closure, 96 nodes", "processor s": ours, "times the closure": 1.0},
        {
            "what": f"tuned curve of Adam, batch sizes 1, 4 .. 2^20 ({steps[0]:.0f} .. {steps[2]:.0f} updates), cold",
            "processor s": cpu,
            "times the closure": "",
        },
    ]


if __name__ == "__main__":
    main()
