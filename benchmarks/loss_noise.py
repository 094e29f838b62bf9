"""Noise that follows the loss: first passages of random cells against every update, and what a cell of 100 groups costs."""

import sys
import time

import numpy as np
from common import quick, report

import nqmjax as nq

HORIZON = 20_000
CELLS = 250
GROUPS = 100
METHODS = {
    "SGD": lambda rate, momentum: nq.SGD(20 * rate),
    "HeavyBall": lambda rate, momentum: nq.HeavyBall(rate, momentum),
    "Nesterov": lambda rate, momentum: nq.Nesterov(rate, momentum),
    "Averaged HeavyBall": lambda rate, momentum: nq.Averaged(nq.HeavyBall(rate, momentum), momentum),
}


def main() -> None:
    small = quick("noise that follows the loss")
    rows = [row(name, 5 if small else CELLS) for name in METHODS]
    report("loss_noise", f"nqmjax.risk_curve, {HORIZON:,} updates", rows, keep=not small)
    sys.exit(any(row["mismatches"] for row in rows))


def row(name, cells):
    """Random cells of one optimizer, ten problems of them: the updates that the search finds against those of the curve."""
    rng, tally, milliseconds = np.random.default_rng(list(map(ord, name))), np.zeros(4, int), []
    for _ in range(max(1, cells // 25)):
        problem = random_problem(rng)
        optimizer = METHODS[name](10 ** rng.uniform(-3, -0.3, 25), 1 - 10 ** rng.uniform(-2.5, -0.2, 25))
        batch = np.clip(nq.noise_edge(problem, optimizer) * 10 ** rng.uniform(-0.1, 3, 25), 1, 1e12)
        excess = float(problem.initial_risk - problem.irreducible) * 10 ** rng.uniform(-3, 0.1, 25)
        target = problem.irreducible + excess
        nq.steps_to_target(problem, optimizer, batch, target)
        start = time.process_time()
        found = nq.steps_to_target(problem, optimizer, batch, target)
        milliseconds.append(1e3 * (time.process_time() - start) / 25)
        curve = nq.risk_curve(problem, optimizer, batch, HORIZON)
        below = curve <= target[:, None]
        first = np.where(below.any(1), below.argmax(1), np.inf)
        wrong = np.where(np.isfinite(first), found.steps != first, found.steps <= HORIZON)
        tally += [25, np.isfinite(first).sum(), (curve[:, 1:] > curve[:, :-1]).any(1).sum(), wrong.sum()]
    counts = dict(zip(["cells", "reached", "rising in between", "mismatches"], tally.tolist(), strict=True))
    return {"optimizer": name, **counts, "ms a cell": round(float(np.median(milliseconds)), 2)}


def random_problem(rng):
    """A power law with noise that follows the loss, and more or less noise and loss that stay."""
    stays = rng.random() < 0.5
    problem = nq.power_law(
        10_000,
        exponent=rng.uniform(0.8, 1.4),
        noise=10 ** rng.uniform(-2, 0) if stays else 0.0,
        irreducible=10 ** rng.uniform(-3, -1) if rng.random() < 0.5 else 0.0,
        loss_noise=10 ** rng.uniform(-0.5, 0.5),
    )
    return problem.quantize(GROUPS)


if __name__ == "__main__":
    main()
