"""Tuned steps to target against the best cells of the paper's grids, the Bayes bound and the exact spectrum."""

import numpy as np
from common import BATCHES, POWERS, TARGET, momenta, quick, rates, report, timed

import nqmjax as nq


def main() -> None:
    small = quick(__doc__.splitlines()[0])
    exact = nq.power_law(10_000)
    problem = exact.quantize(100)
    powers, grid = (POWERS[:1], (rates(20), momenta(5))) if small else (POWERS, (rates(), momenta()))
    optimizers = {
        "SGD": lambda rate, momentum: nq.SGD(rate),
        "heavy ball": nq.HeavyBall,
        "EMA of SGD": lambda rate, decay: nq.Averaged(nq.SGD(rate), decay),
    }
    rows = []
    for name, make in optimizers.items():
        for power in powers:
            template = nq.Preconditioned(make(0.1, 0.5), power)
            time, best = timed(lambda template=template: nq.tune(problem, template, BATCHES, TARGET, progress=False))
            found = nq.sweep(problem, nq.Preconditioned(make(*grid), power), BATCHES, TARGET, progress=False).steps
            cells = found.min([axis for axis in found.dims if axis != "batch_size"]).values
            gain, steps = cells / best.steps.values, best.steps.values
            row = {
                "optimizer": name,
                "power": float(power),
                "cells": len(steps),
                "worse than the grid": int((steps > cells).sum()),
                "median gain": float(np.median(gain)),
                "largest gain": float(gain.max()),
                "largest efficiency": float(best.efficiency.max()),
                "tune s": time,
                "quantize(100) off by": "",
                "tuned again on all directions": "",
            }
            if name != "EMA of SGD" and not small:
                tuned = template.replace(**{key: best[key].values for key in ("learning_rate", "momentum") if key in best})
                row["quantize(100) off by"] = off(steps, nq.steps_to_target(exact, tuned, BATCHES, TARGET).steps)
            if name == "SGD" and not small:
                few = [1, 5, 9]
                again = nq.tune(exact, template, BATCHES[few], TARGET, progress=False).steps.values
                row["tuned again on all directions"] = off(steps[few], again)
            rows.append(row)
            print(row, flush=True)
    report("tuning", "the best cell of 100 rates x 20 momenta or decays", rows, keep=not small)


def off(steps, exact) -> float:
    """The largest relative difference; a difference of one step counts as none."""
    return float(np.where(abs(steps - exact) <= 1, 0, abs(steps / exact - 1)).max())


if __name__ == "__main__":
    main()
