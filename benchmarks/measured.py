"""The anchored law on measured curves of others, and on tuned quadratics with scatter: errors, intervals, bends."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from common import report

import nqmjax as nq
from nqmjax.scaling import Observed

PUBLISHED = {"85M": 745, "151M": 955, "302M": 1394, "604M": 1888, "1.2B": 2533}
"""Critical batch sizes at 20% more examples by Zhang et al. 2024, of their curves by label."""

SCATTER, DRAWS = 0.03, 25
BATCHES = 2.0 ** np.arange(2, 20)
NEAR = 8.0
"""Factor beyond the points at which a prediction counts."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("curves", type=Path, help="CSV file of curves, see read_observed")
    parser.add_argument("--optimizer", default="adamw", help="of the curves")
    parser.add_argument("--quick", action="store_true", help="only the first curve and one quadratic; leaves no record")
    options = parser.parse_args()
    curves = nq.read_observed(options.curves)[: 1 if options.quick else None]
    rows = [published(curve, options.optimizer) for curve in curves]
    report("measured", "the published critical batch sizes", [*rows, _pooled(rows)], keep=not options.quick)
    cases = [(name, exponent) for name in ("sgd", "momentum") for exponent in (0.8, 1.0, 1.2, 1.6)]
    rows = [row for case in cases[: 1 if options.quick else None] for row in quadratic(*case)]
    report("measured_quadratics", "the tuned curves themselves", rows, keep=not options.quick)


def _pooled(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Root mean squares of the errors, means of the shares inside."""
    pooled: dict[str, Any] = {"curve": "root mean square, mean"}
    for name in list(rows[0])[1:]:
        values = [row[name] for row in rows]
        kind = name.split(": ")[-1]
        pooled[name] = _size(values) if kind == "error" else float(np.mean(values)) if kind == "inside" else ""
    return pooled


def published(curve: Observed, optimizer: str) -> dict[str, Any]:
    """How well a curve is reproduced, and its larger batch sizes foretold from its smaller ones."""
    fitted = nq.anchored_curve(curve, optimizer)
    critical = nq.critical_batch_size(fitted, "overhead")
    row = {"curve": f"{curve.label}, {optimizer}", "all: error": _size(np.log1p(fitted.residuals))}
    order = np.argsort(curve.batch_size)
    for name, count in (("last 3 from the others", len(curve) - 3), ("all but 3 from the first 3", 3)):
        known, asked = order[:count], order[count:]
        part = nq.anchored_curve((curve.batch_size[known], curve.steps[known]), optimizer)
        row |= {f"{name}: {key}": value for key, value in _judged(part, curve.batch_size[asked], curve.steps[asked]).items()}
    problem = nq.fit_problem(curve, optimizer)
    table = problem.compare(curve.batch_size)
    row |= {"fitted problem: error": _size(np.log(table["problem"].values / curve.steps))}
    ends = critical.interval or (None, None)
    row |= {"critical batch size": critical.batch_size, "from": ends[0], "to": ends[1], "published": PUBLISHED.get(curve.label)}
    return row


def quadratic(name: str, exponent: float) -> list[dict[str, Any]]:
    """Tuned curves of a power law with scatter, from few points: errors and intervals near them."""
    problem = nq.power_law(10_000, exponent).quantize(60)
    template, fixed = {"sgd": (nq.SGD(0.1), ()), "momentum": (nq.HeavyBall(0.1, 0.9), ("momentum",))}[name]
    exact = nq.tune(problem, template, BATCHES, 0.01 * float(problem.initial_risk), fixed).steps.values
    draw, rows = np.random.default_rng(0), []
    for count, stride in ((2, 4), (4, 2), (6, 2)):
        judged = []
        for _ in range(DRAWS):
            first = draw.integers(0, BATCHES.size - stride * (count - 1))
            place = first + stride * np.arange(count)
            steps = exact * np.exp(SCATTER * draw.normal(size=exact.size))
            near = np.abs(np.log(BATCHES / np.clip(BATCHES, *BATCHES[place[[0, -1]]]))) <= np.log(NEAR) + 1e-9
            judged.append(_judged(nq.anchored_curve((BATCHES[place], steps[place]), name), BATCHES[near], steps[near]))
        row = {"curve": f"{name}, power law {exponent:g}, {count} points of a factor {2**stride}"}
        row |= {"within 8 times: error": _size([one["error"] for one in judged])}
        rows.append(row | {"within 8 times: inside": float(np.mean([one["inside"] for one in judged]))})
    return rows


def _judged(curve: Any, batches: np.ndarray, steps: np.ndarray) -> dict[str, float]:
    """Root mean square of the log error, and the share inside the intervals."""
    found = curve.steps(batches)
    return {
        "error": _size(np.log(found.value / steps)),
        "inside": float(np.mean((found.lower <= steps) & (steps <= found.upper))),
    }


def _size(errors: Any) -> float:
    return float(np.sqrt(np.mean(np.square(errors))))


if __name__ == "__main__":
    main()
