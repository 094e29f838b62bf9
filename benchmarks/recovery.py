"""Problems fitted to tuned curves of SGD with scatter, many draws: what comes back of the power laws that were trained.

Draws are kept one by one in `--parts FILE`, from which a run that was cut off goes on.
"""

import argparse
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
from common import report, spent

import nqmjax as nq
from nqmjax.scaling import Observed

EXPONENTS = np.geomspace(0.8, 1.6, 8)
DRAWS, SCATTER, SHARE = 25, 0.03, 0.05
BATCHES = 4.0 ** np.arange(1, 10)
MOMENTUM = nq.HeavyBall(0.1, 0.9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", type=Path, default=Path("recovery.jsonl"), help="where draws are kept until all are done")
    parser.add_argument("--quick", action="store_true", help="one draw of one exponent; leaves no record")
    options = parser.parse_args()
    if options.quick:
        return report("fitted_problems", "", [summary("1", [recovery(1.0, 0)])], keep=False)
    draws = [json.loads(line) for line in options.parts.read_text().splitlines()] if options.parts.exists() else []
    known = {(draw["exponent"], draw["seed"]) for draw in draws}
    for seed in range(DRAWS):
        for exponent in EXPONENTS.round(4).tolist():
            if (exponent, seed) not in known:
                draws.append(recovery(exponent, seed))
                with open(options.parts, "a") as file:
                    file.write(json.dumps(draws[-1]) + "\n")
    rows = [summary(f"{one:.3g}", [draw for draw in draws if draw["exponent"] == one]) for one in EXPONENTS.round(4)]
    report("fitted_problems", "the power laws that were trained", [*rows, summary("all", draws)], keep=True)
    options.parts.unlink()


@functools.cache
def trained(exponent: float) -> tuple[Any, Any, Any]:
    """The power law, its tuned curve of SGD and that of heavy ball."""
    problem = nq.power_law(1_000_000, exponent).quantize(60)
    target = SHARE * float(problem.initial_risk)
    sgd = nq.tune(problem, nq.SGD(0.1), BATCHES, target, progress=False)
    return problem, sgd, nq.tune(problem, MOMENTUM, BATCHES, target, ("momentum",), progress=False)


def recovery(exponent: float, seed: int) -> dict[str, Any]:
    """One draw: the fit, and what it says of momentum, which was not run; errors are logarithms."""
    problem, sgd, momentum = trained(exponent)
    steps = sgd.steps.values * np.exp(SCATTER * np.random.default_rng([round(1e4 * exponent), seed]).normal(size=BATCHES.size))
    seconds, fitted = spent(lambda: nq.fit_problem(Observed(BATCHES, steps, sgd.learning_rate.values), "sgd"))
    other = nq.tune(fitted.problem, MOMENTUM, BATCHES, fitted.target, ("momentum",), progress=False)
    known = sgd.examples.values[0] / sgd.steps.values[-1]
    return {
        "exponent": exponent,
        "seed": seed,
        "fitted": fitted.exponent._asdict(),
        "knee": {name: float(value / known) for name, value in fitted.knee._asdict().items()},
        "noise scale": _noise_scale(fitted.problem) / _noise_scale(problem),
        "SGD": _size(np.log(fitted.curve(BATCHES).steps.values / sgd.steps.values)),
        "momentum": _size(np.log(other.steps.values / momentum.steps.values)),
        "its rates": _size(np.log(other.learning_rate.values / momentum.learning_rate.values)),
        "seconds": seconds,
    }


def summary(name: str, draws: list[dict[str, Any]]) -> dict[str, Any]:
    """One line of the table."""
    exponent = [draw["fitted"]["value"] - draw["exponent"] for draw in draws]
    inside = [draw["fitted"]["lower"] <= draw["exponent"] <= draw["fitted"]["upper"] for draw in draws]
    knees = [draw["knee"]["lower"] <= 1 <= draw["knee"]["upper"] for draw in draws]
    return {
        "exponent": name,
        "draws": len(draws),
        "error of the exponent": _size(exponent),
        "its mean": float(np.mean(exponent)),
        "inside": float(np.mean(inside)),
        "error of the noise scale": _size([np.log(draw["noise scale"]) for draw in draws]),
        "of the knee": _size([np.log(draw["knee"]["value"]) for draw in draws]),
        "knee inside": float(np.mean(knees)),
        "SGD": _size([draw["SGD"] for draw in draws]),
        "momentum, not run": _size([draw["momentum"] for draw in draws]),
        "largest": max(draw["momentum"] for draw in draws),
        "its rates": _size([draw["its rates"] for draw in draws]),
        "seconds of a core": float(np.median([draw["seconds"] for draw in draws])),
    }


def _noise_scale(problem: nq.NoisyQuadratic) -> float:
    """Examples: noise over curvature, in initial losses."""
    ratio = np.asarray(problem.noise) / np.asarray(problem.curvature)
    return float(np.median(ratio) / problem.initial_risk)


def _size(errors: Any) -> float:
    return float(np.sqrt(np.mean(np.square(errors))))


if __name__ == "__main__":
    main()
