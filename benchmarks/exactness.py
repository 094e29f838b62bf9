"""Steps to target of random and adversarial cells against brute force over every update, for every kind of optimizer."""

import dataclasses
import json
import sys

from common import HERE, quick, report

sys.path.insert(0, str(HERE.parent / "tests"))
import helpers

SEEDS = 12
CELLS = 25
GROUPS = 12
HORIZON = 20_000
PIECES = 38
"""Pieces of 200 adversarial cells of each optimizer: with the random ones more than 100,000 cells in all."""

DONE = HERE / "records" / "exactness.jsonl"
"""A line for each piece that is done; a run that was cut short goes on from there."""


def main() -> None:
    small = quick(__doc__.splitlines()[0])
    done = {} if small or not DONE.exists() else dict(json.loads(line) for line in DONE.read_text().splitlines())
    totals = {name: helpers.Tally() for name in helpers.ALL}
    for number in range(2 if small else SEEDS + PIECES):
        for name in totals:
            label = f"{name}, {number}"
            if label not in done:
                done[label] = dataclasses.asdict(piece(name, number, 1 if small else SEEDS))
                print(label, *done[label].values(), flush=True)
                if not small:
                    with DONE.open("a") as file:
                        file.write(json.dumps([label, done[label]], default=float) + "\n")
            tally = helpers.Tally(**done[label])
            totals[name] += dataclasses.replace(tally, mismatches=tuple(map(tuple, tally.mismatches)))
    total = sum(totals.values(), helpers.Tally())
    rows = [row(name, tally) for name, tally in totals.items()]
    report(
        "exactness",
        f"nqmjax.risk_curve, {HORIZON:,} updates (adversarial cells: 2,000)",
        [*rows, row("all", total)],
        keep=not small,
    )
    DONE.unlink(missing_ok=True)
    sys.exit(bool(total.mismatches))


def piece(name, number, seeds):
    """The random cells of one seed, or 200 adversarial ones."""
    if number < seeds:
        return helpers.compare(name, number, cells=CELLS, groups=GROUPS, horizon=HORIZON)
    return helpers.compare_adversarial(name, number - seeds)


def row(name, tally):
    """One line of the table; a cell is compared under both rules, "first" and "stays"."""
    counts = {"cells": tally.cells, "reached": tally.reached, "oscillating": tally.oscillating}
    counts |= {"ties": tally.ties, "given up": tally.given_up}
    return {"optimizer": name, **counts, "mismatches": len(tally.mismatches)}


if __name__ == "__main__":
    main()
