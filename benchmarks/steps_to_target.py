"""Time per cell of exact steps to target on the paper's grids, against two ways of doing without nqmjax.

The baselines know heavy ball only and follow its second moments `(E theta^2, E theta m, E m^2)` along each direction.
`notebook_steps` is the published notebook's method: the risk at `t` from an eigen-decomposition of the 3x3 map of every
direction, doubling and bisection over `t`, one cell after the other; as a favour it may be spared the search where all
directions are stable and the stationary risk is above the target. `scanned_steps` is a `lax.scan` over the updates
under `vmap`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from common import BATCHES, POWERS, TARGET, momenta, quick, rates, report, spent, timed

import nqmjax as nq

HORIZON = 20_000
REPEATS = 3


def moment_map(xp, h, c, rate, momentum, power, batch):
    """The map of the three moments along every direction, `(n, 3, 3)`, and what the noise adds, `(n, 3)`."""
    a, b, g, s = rate, momentum, h ** (1 - power), c * h ** (-2 * power) / batch
    keep, zero = 1 - a * g, 0 * h
    rows = [
        [keep**2, -2 * keep * a * b, zero + (a * b) ** 2],
        [keep * g, keep * b - a * b * g, zero - a * b**2],
        [g**2, 2 * b * g, zero + b**2],
    ]
    return xp.moveaxis(xp.array(rows), -1, 0), xp.stack([a**2 * s, -a * s, s], axis=-1)


def notebook_steps(problem, favour, rate, momentum, power, batch):
    h, start = problem.curvature, np.stack([problem.initial, 0 * problem.initial, 0 * problem.initial], axis=-1)
    weight = problem.count * h / 2

    def risk(t):
        matrix, kick = moment_map(np, h, problem.noise, rate, momentum, power, batch)
        values, vectors = np.linalg.eig(matrix)
        settled = np.linalg.solve(np.eye(3) - matrix, kick[..., None])[..., 0]
        distance = np.linalg.solve(vectors, (start - settled)[..., None] + 0j)[..., 0]
        moment = ((vectors[:, 0] * values**t * distance).sum(-1)).real + settled[:, 0]
        return weight @ moment, weight @ settled[:, 0] if abs(values).max() < 1 else 0.0

    low, high = 0, 1
    value, stationary = risk(high)
    if favour and stationary > TARGET:
        return np.inf
    while not value <= TARGET:
        if high >= 2**31 or not np.isfinite(value):
            return np.inf
        low, high = high, 2 * high
        value, _ = risk(high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if risk(middle)[0] <= TARGET else (middle, high)
    return float(high)


@jax.jit
def scanned_steps(problem, rate, momentum, power, batch):
    h, weight = problem.curvature, problem.count * problem.curvature / 2

    def one_cell(rate, momentum, power, batch):
        matrix, kick = moment_map(jnp, h, problem.noise, rate, momentum, power, batch)

        def update(carry, t):
            moments, steps = carry
            moments = jnp.einsum("nij,nj->ni", matrix, moments) + kick
            return (moments, jnp.where((weight @ moments[:, 0] <= TARGET) & (steps == jnp.inf), t, steps)), None

        start = jnp.zeros_like(kick).at[:, 0].set(problem.initial)
        return jax.lax.scan(update, (start, jnp.inf), jnp.arange(1.0, HORIZON + 1))[0][1]

    return jax.vmap(one_cell)(rate, momentum, power, batch)


def main() -> None:
    small = quick(__doc__.splitlines()[0])
    problem = nq.power_law(10_000).quantize(100)
    grid, sample = ((rates(10), momenta(5)), 20) if small else ((rates(), momenta()), 300)
    optimizers = {
        "SGD": nq.Preconditioned(nq.SGD(grid[0]), POWERS),
        "EMA of SGD": nq.Averaged(nq.Preconditioned(nq.SGD(grid[0]), POWERS), grid[1]),
        "heavy ball": nq.Preconditioned(nq.HeavyBall(*grid), POWERS),
    }
    rows, seconds, tables = [], {}, {}
    for name, optimizer in optimizers.items():

        def run(optimizer=optimizer):
            return nq.sweep(problem, optimizer, BATCHES, TARGET, progress=False)

        first, tables[name] = timed(run)  # with compilation
        seconds[name] = np.median([clocks(run)[:2] for _ in range(REPEATS)], axis=0)
        row("nqmjax", name, tables[name].steps.size, seconds[name], rows)
        rows[-1]["compilation s"] = first - seconds[name][0]

    table = tables["heavy ball"].transpose("learning_rate", "momentum", "power", "batch_size")
    axes = np.meshgrid(*grid, POWERS, BATCHES, indexing="ij")
    cells, exact = np.stack([axis.ravel() for axis in axes]), table.steps.values.ravel()
    ours = seconds["heavy ball"] / exact.size
    rng = np.random.default_rng(0)

    chosen = rng.choice(exact.size, sample, replace=False)
    for favour in (False, True):
        with np.errstate(all="ignore"):
            each = [
                clocks(lambda cell=cell, favour=favour: notebook_steps(problem, favour, *cell)) for cell in cells[:, chosen].T
            ]
        times, found = np.array(each)[:, :2], np.array(each)[:, 2]
        both = np.isfinite(found) & np.isfinite(exact[chosen])
        method = "notebook's method" + favour * ", spared hopeless cells"
        for part, kind in [(both | True, ""), (both, ", cells it finds reached")]:
            row(method + kind, "heavy ball", int(part.sum()), times[part].sum(0), rows, ours)
            rows[-1]["wrong"] = int((found != exact[chosen])[part].sum())

    chosen = rng.choice(np.flatnonzero(exact <= HORIZON), sample, replace=False)
    with jax.enable_x64(True):
        taken = jax.tree.map(jnp.asarray, (problem, *cells[:, chosen]))
        scan = scanned_steps.lower(*taken).compile()
        *time, found = clocks(lambda: np.asarray(scan(*taken)))
    row(f"lax.scan of {HORIZON:,} updates, cells reached in them", "heavy ball", sample, np.array(time), rows, ours)
    rows[-1]["wrong"] = int((found != exact[chosen]).sum())
    mean = exact[np.isfinite(exact)].mean()
    row(f"lax.scan of {mean:,.0f} updates, extrapolated", "heavy ball", sample, np.array(time) * mean / HORIZON, rows, ours)
    report("steps_to_target", "NumPy, one cell at a time (notebook); jax.vmap of lax.scan", rows, keep=not small)


def clocks(function):
    """Seconds of wall time and of processor time of a call, and its result."""
    wall, (core, result) = timed(lambda: spent(function))
    return wall, core, result


def row(method, grid, cells, seconds, rows, ours=None) -> None:
    each = seconds / cells
    ratios = ("", "") if ours is None else (each / ours).tolist()
    values = {"method": method, "grid": grid, "cells": cells, "seconds": float(seconds[0])}
    values |= {"microseconds per cell": float(each[0] * 1e6), "of a core": float(each[1] * 1e6)}
    values |= {"times nqmjax": ratios[0], "in time of a core": ratios[1]}
    rows.append(values | {"wrong": "", "compilation s": ""})


if __name__ == "__main__":
    main()
