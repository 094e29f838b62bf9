"""Arithmetic rate of the search for steps to target, against the processor's peak rate of float64 multiply-adds.

Everything runs on one core, in whose time it is measured. Operations per look-ahead and per squaring are counted from
what JAX traces of them, and how many a search takes by a version of its loops that counts.
"""

import collections
import functools
import os
import subprocess
import sys
from unittest import mock

os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # before jax starts its threads

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from common import BATCHES, POWERS, TARGET, momenta, quick, rates, report, spent  # noqa: E402

import nqmjax as nq  # noqa: E402
from nqmjax.dynamics.intervals import Span, look_ahead, start_position  # noqa: E402
from nqmjax.dynamics.matrices import square  # noqa: E402
from nqmjax.dynamics.model import build_model  # noqa: E402
from nqmjax.sweeps.lanes import search_lanes  # noqa: E402
from nqmjax.target.compiled import map_lanes  # noqa: E402
from nqmjax.target.search import search  # noqa: E402
from nqmjax.target.table import Status  # noqa: E402

MATRIX = """
import time, numpy
a = numpy.random.default_rng(0).normal(size=({n}, {n}))
def run():
    start = time.process_time()
    a @ a
    return time.process_time() - start
print(2 * {n}**3 / min(run() for _ in range(8)))
"""
ARITHMETIC = {"mul", "add", "sub", "sqrt", "max", "integer_pow", "square", "neg"}
LANES = 8  # in which one look ahead is timed
DOUBLINGS = 62  # of the map of a run that fails, to tell whether it is stable


def blas_rate(size: int) -> float:
    """Operations per second of a matrix product, on one thread, with the kernel that BLAS picks for the processor."""
    names = ("OPENBLAS_CORETYPE", "OMP_NUM_THREADS")
    environment = {name: value for name, value in os.environ.items() if name not in names} | {"OPENBLAS_NUM_THREADS": "1"}
    found = subprocess.run(
        [sys.executable, "-c", MATRIX.format(n=size)], env=environment, capture_output=True, text=True, check=True
    )
    return float(found.stdout)


def xla_rate(rounds: int) -> float:
    """Operations per second of independent chains of multiply-adds, compiled by XLA."""

    @jax.jit
    def chains(x, scale):
        def round(_, x):
            for _ in range(64):
                x = x * scale + 0.25
            return x

        return jax.lax.fori_loop(0, rounds, round, x)

    with jax.enable_x64(True):
        x = jnp.linspace(0.0, 1.0, 512)
        chains(x, 0.5).block_until_ready()
        return 2 * 64 * rounds * x.size / min(spent(lambda: chains(x, 0.5).block_until_ready())[0] for _ in range(8))


def operations(function, *arguments) -> int:
    """Additions, multiplications, roots and maxima of floating-point numbers in what JAX traces of a function."""

    def count(jaxpr) -> int:
        total = 0
        for equation in jaxpr.eqns:
            inner = [value for value in equation.params.values() if hasattr(value, "jaxpr")]
            total += sum(count(value.jaxpr) for value in inner)
            if equation.primitive.name in ARITHMETIC:
                total += equation.outvars[0].aval.size
            elif equation.primitive.name == "reduce_sum":
                total += equation.invars[0].aval.size - equation.outvars[0].aval.size
        return total

    return count(jax.make_jaxpr(function)(*arguments).jaxpr)


def rounds_of_loops(problem, settings, batches, targets) -> tuple[int, int]:
    """Rounds of the two loops of the search over all lanes: squaring with a look ahead, and looking ahead."""
    counts, plain = collections.Counter(), jax.lax.while_loop

    def counting(going_on, body, start):
        rounds, end = plain(
            lambda carry: going_on(carry[1]), lambda carry: (carry[0] + 1, body(carry[1])), (jnp.zeros((), jnp.int32), start)
        )
        name = going_on.__qualname__.split(".")[0].removeprefix("_")
        jax.debug.callback(lambda number: counts.update({name: int(number)}), rounds)
        return end

    limit = np.full(batches.shape, nq.target.MAX_STEPS, np.uint32)
    with jax.enable_x64(True), mock.patch.object(jax.lax, "while_loop", counting):
        jax.block_until_ready(jax.jit(search)(problem, settings, batches, targets, limit))
        jax.effects_barrier()
    return counts["climb"], counts["Question"]


def look_ahead_seconds(problem, optimizer, looks: int) -> float:
    """Seconds of one look ahead of a single span, over and over, compiled as the search is."""

    def lane(problem, lane):
        optimizer, looks = lane
        model = build_model(problem, optimizer, 1.0)
        span = Span.one_update(model)
        end = jax.lax.fori_loop(0, looks, lambda _, here: look_ahead(model, span, here).end, start_position(model))
        return end.bias + end.noise + model.irreducible

    with jax.enable_x64(True):
        lanes = jax.tree.map(lambda value: np.full(LANES, value), (optimizer, looks))
        arguments = jax.tree.map(np.asarray, (problem, lanes))
        run = jax.jit(functools.partial(map_lanes, lane, outermost=True))
        run(*arguments).block_until_ready()
        return min(spent(lambda: run(*arguments).block_until_ready())[0] for _ in range(8)) / looks / LANES


def main() -> None:
    small = quick(__doc__.splitlines()[0])
    problem = nq.power_law(10_000).quantize(100)
    lanes = 64 if small else 512
    rng = np.random.default_rng(0)
    rate, momentum, power = (rng.choice(values, lanes) for values in (rates(), momenta(), POWERS))
    settings = nq.Preconditioned(nq.HeavyBall(rate, momentum), power)
    batches, targets = np.tile(BATCHES[::-1], (lanes, 1)), np.full(lanes, TARGET)

    peak, xla = blas_rate(500 if small else 2000), xla_rate(100 if small else 10_000)
    one = nq.Preconditioned(nq.HeavyBall(0.1, 0.9), 0.0)
    with jax.enable_x64(True):
        model = build_model(jax.tree.map(np.asarray, problem), one, 1.0)
        span, start = Span.one_update(model), start_position(model)
        looking = operations(look_ahead, model, span, start) - operations(upper_bound, model)
        doubling, squaring = operations(Span.doubled, span), operations(square, model.increment)
    climbs, hops = rounds_of_loops(problem, settings, batches, targets)

    def run():
        return search_lanes(problem, settings, batches, targets)

    status = run().status
    failed = int(np.isin(status, [Status.NEVER, Status.DIVERGED]).any(1).sum())
    total = (climbs + hops) * looking + climbs * doubling + failed * DOUBLINGS * squaring
    seconds = min(spent(run)[0] for _ in range(5))
    bare = look_ahead_seconds(problem, one, 1_000 if small else 20_000)

    size = len(problem.curvature)
    rows = [
        rate_row("BLAS, product of two matrices", "", "", peak, peak),
        rate_row("XLA, chains of multiply-adds", "", "", xla, peak),
        rate_row("one look ahead, over and over", looking / size, bare, looking / bare, peak),
        rate_row("search of a lane of 10 batch sizes", total / lanes / size, seconds / lanes, total / seconds, peak),
    ]
    print(f"per direction: look ahead {looking / size:.1f}, doubling of a span {doubling / size:.1f} operations")
    print(f"per lane: {climbs / lanes:.1f} doublings, {hops / lanes:.1f} looks ahead after them")
    rows[2]["what"] += f" ({looking / size:.0f} operations per direction)"
    rows[3]["what"] += (
        f" ({climbs / lanes:.1f} doublings of {doubling / size:.0f} operations, {(climbs + hops) / lanes:.1f} looks)"
    )
    report("kernel", "product of two 2000 x 2000 matrices, one thread", rows, keep=not small)


def upper_bound(model):
    """What a look ahead computes for its upper bound alone, which the search for the first passage does not use."""
    return (model.weight * (model.weight + model.weight + model.weight)).sum()


def rate_row(what, operations_per_direction, seconds, rate, peak) -> dict:
    return {
        "what": what,
        "operations per direction": operations_per_direction,
        "microseconds": "" if seconds == "" else seconds * 1e6,
        "10^9 operations per second": rate / 1e9,
        "of the peak": rate / peak,
    }


if __name__ == "__main__":
    main()
