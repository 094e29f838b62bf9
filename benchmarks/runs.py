"""Fits to real training runs: errors of each law in training and on runs left out, and the times of fits and predictions."""

import argparse
import time

import jax
import numpy as np
from common import report, timed

import nqmjax as nq
from nqmjax.runs.law_predictions import sum_error
from nqmjax.runs.laws.base import law_inputs, scale_of
from nqmjax.runs.laws.catalogue import CANDIDATES, LAWS
from nqmjax.runs.one_law import fit_law
from nqmjax.runs.predict import mean_log_losses

MADE = 48
"""Runs that are made where no file is given."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="?", help="CSV file of runs, see nqmjax.runs.files; without it runs are made")
    parser.add_argument("--quick", action="store_true", help="a small version, to see that it works; leaves no record")
    options = parser.parse_args()
    runs = nq.runs.read(options.runs) if options.runs else made_runs()
    names = ["adam_constant", "chinchilla"] if options.quick else list(LAWS)
    rows = []
    table = nq.runs.compare_models(runs, names, progress=False)
    for name in [*names, "ensemble"]:
        row = {"law": name, "parameters": int(table.parameters.sel(law=name))}
        for score in ("training", "budget_out", "forward", "score"):
            row[score] = float(table[score].sel(law=name))
        row |= fit_times(runs, name) if name in names else {"cold s": "", "warm s": "", "best basin": "", "sum error": ""}
        rows.append(row)
        print(row, flush=True)
    report("runs", "the published form, law `published`", rows, keep=bool(options.runs) and not options.quick)
    rows = predictions(runs, ["adam_constant"] if options.quick else list(CANDIDATES))
    report("predictions", "one law without intervals", rows, keep=bool(options.runs) and not options.quick)


def fit_times(runs: nq.runs.Runs, name: str) -> dict[str, float | str]:
    """Seconds of a fit from 32 starts, with and without compilation, and how often the starts find the best minimum."""
    jax.clear_caches()
    cold, fitted = timed(lambda: fit_law(runs, LAWS[name], name, progress=False))
    warm = float(np.median([timed(lambda: fit_law(runs, LAWS[name], name, progress=False))[0] for _ in range(5)]))
    error = sum_error(fitted, runs.settings)
    return {"cold s": cold, "warm s": warm, "best basin": fitted.basins[0].share, "sum error": f"{error:.1e}"}


def predictions(runs: nq.runs.Runs, names: list[str]) -> list[dict[str, float | str]]:
    """Milliseconds of predicting 128 runs under cosines, compilation apart, with a coverage that was measured."""
    model, seconds = None, 0.0
    start = time.perf_counter()
    model = nq.runs.fit(runs, names, progress=False)
    seconds = time.perf_counter() - start
    rng = np.random.default_rng(0)
    sizes, batches, steps = (2.0 ** rng.uniform(*ends, 128) for ends in ((20, 30), (5, 14), (6, 17)))
    settings = nq.runs.run_settings(sizes, batches, steps)
    single = nq.runs.fit(runs, "adam" if "adam" in names else names[0], starts=8, progress=False)
    jobs = {
        "one law, no interval": lambda: mean_log_losses(single, law_inputs(settings)),
        "one law, interval": lambda: nq.runs.predict(single, settings, interval="laplace"),
        f"{len(model.laws)} laws, interval": lambda: nq.runs.predict(model, settings, interval="laplace"),
    }
    rows = []
    for what, job in jobs.items():
        job()
        rows.append({"128 runs": what, "milliseconds": 1e3 * float(np.median([timed(job)[0] for _ in range(30)]))})
    rows.append({"128 runs": f"(nqmjax.runs.fit itself, defaults, from a cold process: {seconds:.3g} s)", "milliseconds": ""})
    for kind, found in model.intervals.items():
        text = f"90% {kind} intervals cover {found.coverage:.1%} of the forward folds, {found.bare_coverage:.1%} uninflated"
        rows.append({"128 runs": f"({text}; inflation {found.inflation:.2f})", "milliseconds": ""})
    return rows


def made_runs() -> nq.runs.Runs:
    """Runs of the plain law with 1% of noise."""
    rng = np.random.default_rng(1)
    sizes, batches, steps = (2.0 ** rng.uniform(*ends, MADE) for ends in ((18, 28), (5, 14), (6, 14)))
    shape = nq.runs.make(sizes, batches, steps, np.linspace(3, 6, MADE))
    law = LAWS["adam"]
    scale = scale_of(shape)
    with jax.enable_x64():
        middle = np.array([parameter.mean for parameter in law.parameters(scale)])
        loss = np.exp(np.asarray(law.log_loss(middle, law_inputs(shape.settings), scale)))
    return nq.runs.make(sizes, batches, steps, loss * np.exp(0.01 * rng.normal(size=MADE)))


if __name__ == "__main__":
    main()
