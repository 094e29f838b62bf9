"""Forecasts of larger runs: tables of runs are fitted without the top quarter of their compute, which is then predicted."""

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from common import HERE, report, timed

import nqmjax as nq

HELD_OUT = 0.25
"""Share of the range of the log compute, from the top, that is held out."""

LEVEL = 0.9
BEFORE = HERE / "records" / "forecasts_before.json"
"""The squared errors of the code that chose the set of laws of the least cross-validated error, by table."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="CSV files of runs, see nqmjax.runs.files; others in it are passed over")
    parser.add_argument("--starts", type=int, default=8, help="searches for each law")
    parser.add_argument("--keep", type=Path, help="JSON file of rows by table: those in it are not made again")
    parser.add_argument("--quick", action="store_true", help="only the first table, 2 starts; leaves no record")
    options = parser.parse_args()
    done = json.loads(options.keep.read_text()) if options.keep and options.keep.exists() else {}
    for path in sorted(options.folder.glob("*.csv")):
        if path.stem in done or (options.quick and done):
            continue
        runs = _runs(path)
        if runs is None:
            continue
        done[path.stem] = forecast(runs, 2 if options.quick else options.starts)
        print(path.stem, done[path.stem], flush=True)
        if options.keep:
            options.keep.write_text(json.dumps(done, indent=1) + "\n")
    before = json.loads(BEFORE.read_text()) if BEFORE.exists() else {}
    report("forecasts", "the ensemble of the least cross-validated error", table(done, before), keep=not options.quick)


def _runs(path: Path) -> nq.runs.Runs | None:
    """The runs of a file, None where it is no table of runs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return nq.runs.read(path)
        except ValueError as error:
            print(f"{path.name} passed over: {error}")
            return None


def forecast(runs: nq.runs.Runs, starts: int) -> dict[str, Any]:
    """Fit to the runs of less compute, and what the prediction of the others is worth."""
    logs = np.log(runs.compute)
    small = logs <= logs.max() - HELD_OUT * (logs.max() - logs.min())
    seconds, model = timed(lambda: nq.runs.fit(runs.where(small, "held out"), starts=starts, progress=False))
    asked, loss = runs.settings.select(~small), runs.loss[~small]
    found = nq.runs.predict(model, asked, level=LEVEL)
    error = np.log(found.loss.values / loss)
    inside = (found.lower.values <= loss) & (loss <= found.upper.values)
    return {
        "fitted": int(small.sum()),
        "held out": int((~small).sum()),
        "squared error": float((error**2).mean()),
        "bias": float(error.mean()),
        "covered": int(inside.sum()),
        "width": float(np.log(found.upper.values / found.lower.values).mean() / 2),
        "laws": ", ".join(one.name for one in model.laws),
        "seconds": seconds,
    }


def table(rows: dict[str, Any], before: dict[str, Any]) -> list[dict[str, Any]]:
    """A line for each table, and one for all: the geometric mean of the ratios, and the share of runs covered."""
    lines = []
    for name, row in rows.items():
        then = before.get(name)
        ratio = row["squared error"] / then["squared error"] if then else float("nan")
        counts = {key: row[key] for key in ("fitted", "held out", "squared error", "bias")}
        covered = {"covered": f"{row['covered'] / row['held out']:.0%}", "half width": row["width"]}
        lines.append({"table": name} | counts | {"ratio to before": ratio} | covered | {"laws": row["laws"]})
    logs = np.log([line["squared error"] for line in lines])
    ratio = np.exp(np.nanmean(np.log([line["ratio to before"] for line in lines])))
    counts = {key: sum(row[key] for row in rows.values()) for key in ("fitted", "held out", "covered")}
    total = {"fitted": counts["fitted"], "held out": counts["held out"], "squared error": float(np.exp(logs.mean()))}
    covered = {"covered": f"{counts['covered'] / counts['held out']:.0%}"}
    empty = dict.fromkeys(lines[0], "")
    return [*lines, empty | {"table": "all (geometric mean)"} | total | {"ratio to before": float(ratio)} | covered]


if __name__ == "__main__":
    main()
