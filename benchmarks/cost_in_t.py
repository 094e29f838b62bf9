"""What a sweep costs whose targets lie near 10^9 updates, against one whose targets lie near 10^3.

With SGD, learning rates and batch sizes `s` times smaller make the same risk curves `1 / s` times slower; with heavy
ball so do rates `s^2`, `1 - momentum` and batch sizes `s` times smaller. (The noise of one example is large here, so that
it matters at batch sizes of millions, and the smallest ones stay above 1.)
"""

import numpy as np
from common import quick, report, spent

import nqmjax as nq

SCALES = [1.0, 1e-3, 1e-6]
REPEATS = 3


def main() -> None:
    small = quick(__doc__.splitlines()[0])
    curvature = 1 / np.arange(1.0, 101.0)
    problem = nq.from_spectrum(curvature, noise=1e6 * curvature)
    batches = 1e6 * 2.0 ** np.arange(1, 11)
    points = 5 if small else 50
    optimizers = {
        "SGD, one batch size": lambda s: nq.SGD(np.geomspace(0.0125, 0.05, 20 * points) * s),
        "SGD": lambda s: nq.SGD(np.geomspace(0.0125, 0.05, 20 * points) * s),
        "heavy ball, its momentum kept": lambda s: nq.HeavyBall(
            np.geomspace(0.0125, 0.05, points) * s, np.linspace(0, 0.5, 10)
        ),
        "heavy ball, oscillating": lambda s: nq.HeavyBall(
            np.geomspace(2e-4, 5e-3, points) * s**2, 1 - np.geomspace(0.005, 0.1, 10) * s
        ),
    }
    rows = []
    for name, make in optimizers.items():

        def run(scale, make=make, sizes=batches[4:5] if "one" in name else batches):
            return nq.sweep(problem, make(scale), sizes * scale, 0.3, progress=False)

        tables = [run(scale) for scale in SCALES]  # the first compiles
        times = [[spent(lambda scale=scale, run=run: run(scale))[0] for scale in SCALES] for _ in range(REPEATS)]
        best = np.min(times, axis=0)
        for scale, table, seconds in zip(SCALES, tables, best, strict=True):
            reached = table.steps.values[table.status.values == nq.Status.REACHED]
            row = {"optimizer": name, "s": scale, "cells": table.steps.size, "reached": reached.size}
            row |= {
                "median steps of these": float(np.median(reached)),
                "microseconds of a core per cell": seconds / table.steps.size * 1e6,
            }
            rows.append(row | {"times s = 1": float(seconds / best[0])})
    report("cost_in_t", "the same sweep at s = 1", rows, keep=not small)


if __name__ == "__main__":
    main()
