"""Tuned steps to target against the best cells of the paper's grids, random points, the Bayes bound and the exact spectrum."""

import itertools
import json

import numpy as np
from common import BATCHES, HERE, POWERS, TARGET, momenta, quick, rates, report, spent, timed

import nqmjax as nq
from nqmjax.nonlinear.catalogue import TEMPLATES
from nqmjax.optimizers import hyperparameters
from nqmjax.sweeps import search_lanes

POINTS = 20_000
SPECTRA = ["1", "2", "3", "4", "5", "rough 12", "rough 40", "power law"]
SEEDS = 2
FEW_BATCHES = 2.0 ** np.array([0, 6, 12, 20])
EDGES = {
    "sgd": lambda beta, nu: 2.0 + 0 * beta,
    "heavy_ball": lambda beta, nu: 2 * (1 + beta),
    "nesterov": lambda beta, nu: 2 * (1 + beta) / (1 + 2 * beta),
    "qhm": lambda beta, nu: 2 * (1 + beta) / (1 + beta * (1 - 2 * nu)),
}
"""Largest stable rates where the largest curvature is 1; averaging does not change them."""

LINEAR = {name: template for name, template in TEMPLATES.items() if isinstance(template, nq.LinearOptimizer)}

DONE = HERE / "records" / "random_points.jsonl"
"""A line for each problem that is done; a run that was cut short goes on from there."""


def main() -> None:
    small = quick(__doc__.splitlines()[0])
    against_random_points(small)
    against_grids(small)


def against_random_points(small: bool) -> None:
    done = {} if small or not DONE.exists() else dict(json.loads(line) for line in DONE.read_text().splitlines())
    found = []
    for seed, spectrum, name in itertools.product(range(1 if small else SEEDS), SPECTRA[:2] if small else SPECTRA, LINEAR):
        label = f"{spectrum}, {name}, {seed}"
        if label not in done:
            done[label] = compare(spectrum, name, seed)
            print(label, done[label], flush=True)
            if not small:
                with DONE.open("a") as file:
                    file.write(json.dumps([label, done[label]]) + "\n")
        found.append((spectrum, name, done[label]))
    rows = [count("all", [one for *_, one in found])]
    rows += [count(name, [one for *_, other, one in found if other == name]) for name in LINEAR]
    rows += [count(name, [one for other, _, one in found if other == name]) for name in dict.fromkeys(row[0] for row in found)]
    report("random_points", f"the best of {POINTS:,} random points", rows, keep=not small)
    DONE.unlink(missing_ok=True)


def random_problem(spectrum: str, rng: np.random.Generator) -> nq.NoisyQuadratic:
    """Some directions over three factors of ten, or a power law of 100; with noise or without; all starts 1, or 1 / h."""
    if spectrum == "power law":
        curvature = np.arange(1.0, 101) ** -rng.uniform(0.5, 2)
    else:
        curvature = 10 ** np.sort(rng.uniform(-3, 0, int(spectrum.split()[-1])))[::-1]
    curvature /= curvature[0]
    return nq.from_spectrum(curvature, noise=rng.choice([None, 0.0]), initial=1.0 if rng.random() < 0.5 else 1 / curvature)


def compare(spectrum: str, name: str, seed: int) -> dict:
    """Tuned steps at several batch sizes beside the fewest of random points, those that take no more than the tuned ones."""
    rng = np.random.default_rng([SPECTRA.index(spectrum), seed, list(LINEAR).index(name)])
    problem = random_problem(spectrum, rng)
    target = 10 ** rng.uniform(-3, np.log10(0.3)) * problem.initial_risk
    power = rng.choice([0.0, 0.5], p=[0.75, 0.25])
    seconds, best = spent(lambda: nq.tune(problem, nq.Preconditioned(LINEAR[name], power), FEW_BATCHES, target, progress=False))
    optimizer = nq.Preconditioned(random_points(name, rng), np.full(POINTS, power))
    batches, limits = (np.tile(values, (POINTS, 1)) for values in (FEW_BATCHES, np.fmin(best.steps.values, 2**31 - 1)))
    found = search_lanes(problem, optimizer, batches, np.full(POINTS, target), limits)
    return {"tuned": best.steps.values.tolist(), "random": found.steps.min(0).tolist(), "seconds": seconds}


def random_points(name: str, rng: np.random.Generator) -> nq.LinearOptimizer:
    """Rates log-uniform below each point's edge of stability, `1 - momentum` and `1 - decay` log-uniform, nu uniform."""
    beta, decay = 1 - 10 ** rng.uniform(-3, 0, (2, POINTS))
    nu = rng.uniform(0, 1, POINTS)
    rate = 10 ** rng.uniform(-3, 0, POINTS) * EDGES[name.removeprefix("ema_") if name != "ema" else "sgd"](beta, nu)
    values = {"learning_rate": rate, "momentum": beta, "decay": decay, "nu": nu}
    named = hyperparameters(LINEAR[name])
    return LINEAR[name].replace(**{key: values[key.split(".")[-1]] for key in named})


def count(name: str, found: list[dict]) -> dict:
    """One line of the table: cells in which random points are better, and in which by more than is allowed."""
    tuned, random = (np.concatenate([one[key] for one in found]) for key in ("tuned", "random"))
    ratio = np.divide(tuned, random, out=np.ones_like(tuned), where=np.isfinite(random) & (random > 0))
    counts = {"problems": len(found), "cells": tuned.size, "random fewer": int((random < tuned).sum())}
    counts["by more than a step and 0.5%"] = int((tuned > np.maximum(random + 1, 1.005 * random)).sum())
    counts["largest ratio"] = float(ratio.max())
    return {"of": name} | counts | {"core s of tune": float(np.mean([one["seconds"] for one in found]))}


def against_grids(small: bool) -> None:
    exact = nq.power_law(10_000)
    problem = exact.quantize(100)
    powers, grid = (POWERS[:1], (rates(20), momenta(5))) if small else (POWERS, (rates(), momenta()))
    optimizers = {
        "SGD": lambda rate, momentum: nq.SGD(rate),
        "heavy ball": nq.HeavyBall,
        "EMA of SGD": lambda rate, decay: nq.Averaged(nq.SGD(rate), decay),
    }
    rows = []
    for name, make in optimizers.items():
        for power in powers:
            template = nq.Preconditioned(make(0.1, 0.5), power)
            time, best = timed(lambda template=template: nq.tune(problem, template, BATCHES, TARGET, progress=False))
            found = nq.sweep(problem, nq.Preconditioned(make(*grid), power), BATCHES, TARGET, progress=False).steps
            cells = found.min([axis for axis in found.dims if axis != "batch_size"]).values
            gain, steps = cells / best.steps.values, best.steps.values
            row = {
                "optimizer": name,
                "power": float(power),
                "cells": len(steps),
                "worse than the grid": int((steps > cells).sum()),
                "median gain": float(np.median(gain)),
                "largest gain": float(gain.max()),
                "largest efficiency": float(best.efficiency.max()),
                "tune s": time,
                "quantize(100) off by": "",
                "tuned again on all directions": "",
            }
            if name != "EMA of SGD" and not small:
                tuned = template.replace(**{key: best[key].values for key in ("learning_rate", "momentum") if key in best})
                row["quantize(100) off by"] = off(steps, nq.steps_to_target(exact, tuned, BATCHES, TARGET).steps)
            if name == "SGD" and not small:
                few = [1, 5, 9]
                again = nq.tune(exact, template, BATCHES[few], TARGET, progress=False).steps.values
                row["tuned again on all directions"] = off(steps[few], again)
            rows.append(row)
            print(row, flush=True)
    report("tuning", "the best cell of 100 rates x 20 momenta or decays", rows, keep=not small)


def off(steps, exact) -> float:
    """The largest relative difference; a difference of one step counts as none."""
    return float(np.where(abs(steps - exact) <= 1, 0, abs(steps / exact - 1)).max())


if __name__ == "__main__":
    main()
