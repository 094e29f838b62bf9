"""Steps to target of random cells against brute force over every update, for every kind of optimizer."""

import sys

from common import HERE, quick, report

sys.path.insert(0, str(HERE.parent / "tests"))
import random_cells

SEEDS = 12
CELLS = 25
GROUPS = 12
HORIZON = 20_000


def main() -> None:
    small = quick(__doc__.splitlines()[0])
    total, rows = random_cells.Tally(), []
    for name in random_cells.OPTIMIZERS:
        tally = random_cells.Tally()
        for seed in range(1 if small else SEEDS):
            tally += random_cells.compare(name, seed, cells=CELLS, groups=GROUPS, horizon=HORIZON)
        rows.append(row(name, tally))
        print(rows[-1], *tally.mismatches, flush=True)
        total += tally
    report("exactness", f"nqmjax.risk_curve, {HORIZON:,} updates", [*rows, row("all", total)], keep=not small)
    sys.exit(bool(total.mismatches))


def row(name, tally):
    """One line of the table; a cell is compared under both rules, "first" and "stays"."""
    counts = {"cells": tally.cells, "reached": tally.reached, "oscillating": tally.oscillating}
    return {"optimizer": name, **counts, "mismatches": len(tally.mismatches)}


if __name__ == "__main__":
    main()
