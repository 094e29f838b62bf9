"""First passages of random cells under noise that follows the loss against brute force, and what a cell costs."""

import sys

import numpy as np
from common import HERE, quick, report, spent

import nqmjax as nq

sys.path.insert(0, str(HERE.parent / "tests"))
import helpers

SEEDS = 20
HORIZON = 5000
TARGET = 0.05
BATCHES = 4.0 ** np.arange(1, 9)


def main() -> None:
    small = quick(__doc__.splitlines()[0])
    rows, total = [], helpers.Tally()
    for name in helpers.LOSS_NOISE:
        tally = helpers.Tally()
        for seed in range(1 if small else SEEDS):
            tally += helpers.compare_loss_noise(name, seed, horizon=HORIZON)
        print(name, tally, flush=True)
        rows.append(row(name, tally) | {"ms a cell of 100 groups": cost(name, 4 if small else 16)})
        total += tally
    report("loss_noise", f"the recursion of second moments in NumPy, {HORIZON:,} updates", rows, keep=not small)
    sys.exit(bool(total.mismatches))


def row(name, tally):
    """One line of the table."""
    counts = {"cells": tally.cells, "reached": tally.reached, "oscillating": tally.oscillating}
    return {"optimizer": name} | counts | {"ties": int(tally.ties), "mismatches": len(tally.mismatches)}


def cost(name, rates):
    """Processor time of one cell in milliseconds, over rates and batch sizes; compiled before."""
    problem = nq.power_law(10_000, noise=0.0, loss_noise=1.0).quantize(100)
    settings = {
        "HeavyBall": {"momentum": 0.9},
        "Nesterov": {"momentum": 0.9},
        "Averaged HeavyBall": {"momentum": 0.9, "decay": 0.99},
    }
    optimizer = helpers.ALL[name](np.random.default_rng(0), np.logspace(-2, 0, rates)).replace(**settings.get(name, {}))
    optimizer = optimizer.replace(learning_rate=np.logspace(-2, 0, rates) * (1 - getattr(optimizer, "momentum", 0.0)))

    def cells():
        return nq.sweep(problem, optimizer, BATCHES, TARGET, progress=False)

    cells()
    return 1000 * spent(cells)[0] / (rates * len(BATCHES))


if __name__ == "__main__":
    main()
