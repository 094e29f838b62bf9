"""Peak memory of a sweep of a million cells with 100 groups of directions."""

import resource

from common import BATCHES, TARGET, momenta, quick, rates, report, timed

import nqmjax as nq


def peak() -> float:
    """The most memory that this process has held, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    small = quick(__doc__.splitlines()[0])
    problem = nq.power_law(10_000).quantize(100)
    rows = []
    for points in [(10, 10), (100, 10)] if small else [(10, 10), (1000, 100)]:
        optimizer = nq.HeavyBall(rates(points[0]), momenta(points[1]))
        time, table = timed(lambda optimizer=optimizer: nq.sweep(problem, optimizer, BATCHES, TARGET, progress=False))
        rows.append({"cells": table.steps.size, "seconds": time, "peak GiB": peak(), "table GiB": table.nbytes / 2**30})
    report("memory", "the first row: imports, compilation and a small sweep", rows, keep=not small)


if __name__ == "__main__":
    main()
