"""What the benchmarks share: the paper's grids, a stopwatch, and the record that a run leaves."""

import argparse
import datetime
import json
import os
import platform
import re
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
TARGET = 0.01
BATCHES = 2.0 ** np.arange(2, 21, 2)
POWERS = np.array([0.0, 0.25, 0.5, 0.75])


def rates(count: int = 100) -> np.ndarray:
    """Learning rates of the paper's grids."""
    return np.logspace(-8, 1, count)


def momenta(count: int = 20) -> np.ndarray:
    """Momenta, or decays of the average, of the paper's grids."""
    return 1 - np.logspace(-5, 0, count)


def quick(description: str) -> bool:
    """Whether the command line asks for a quick run."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a small version, to see that it works; leaves no record")
    return parser.parse_args().quick


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of wall time of a call, and its result."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def spent(function: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of processor time of a call, all threads together, and its result."""
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def report(name: str, baseline: str, rows: list[dict[str, Any]], keep: bool) -> None:
    """Print a table; to keep it, write `records/<name>.json` and put the table into the README."""
    table = "\n".join(_line(cells) for cells in [rows[0], ["---"] * len(rows[0]), *(row.values() for row in rows)])
    print(table)
    if not keep:
        return
    record = {
        "benchmark": name,
        "baseline": baseline,
        "date": datetime.date.today().isoformat(),
        "machine": {"processor": _processor(), "cores": len(os.sched_getaffinity(0)), "system": platform.platform()},
        "versions": {"python": platform.python_version()} | {name: version(name) for name in ("numpy", "jax", "nqmjax")},
        "rows": rows,
    }
    (HERE / "records").mkdir(exist_ok=True)
    (HERE / "records" / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    readme = HERE / "README.md"
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    between = re.compile(f"{start}.*?{end}", re.DOTALL)
    readme.write_text(between.sub(lambda _: f"{start}\n{table}\n{end}", readme.read_text()))


def _line(cells: Any) -> str:
    return "| " + " | ".join(f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in cells) + " |"


def _processor() -> str:
    """The processor's model as the system tells it."""
    known = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.*)", known.read_text()) if known.exists() else None
    return found[1] if found else platform.processor()
