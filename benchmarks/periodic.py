"""First passages of random cells of Lookahead and local SGD against brute force over every update."""

import sys

from common import HERE, quick, report

sys.path.insert(0, str(HERE.parent / "tests"))
import helpers

SEEDS = 40
HORIZON = 5000


def main() -> None:
    small = quick(__doc__.splitlines()[0])
    rows, total = [], helpers.Tally()
    for kind in ("Lookahead", "LocalSGD"):
        tally = helpers.Tally()
        for seed in range(1 if small else SEEDS):
            tally += helpers.compare_periodic(kind, seed, horizon=HORIZON)
        print(kind, tally, flush=True)
        rows.append(row(kind, tally))
        total += tally
    report("periodic", f"the recursion of second moments in NumPy, {HORIZON:,} updates", rows, keep=not small)
    sys.exit(bool(total.mismatches))


def row(kind, tally):
    """One line of the table."""
    return {
        "optimizer": kind,
        "cells": tally.cells,
        "reached": tally.reached,
        "oscillating": tally.oscillating,
        "ties": int(tally.ties),
        "mismatches": len(tally.mismatches),
    }


if __name__ == "__main__":
    main()
