"""Risks of random plans, some of which explode on the way, against 60 digits; and risks next to the edge of stability."""

import sys

import numpy as np
from common import HERE, quick, report

import nqmjax as nq

sys.path.insert(0, str(HERE.parent / "tests"))
from extended import risks

METHODS = {
    "SGD": lambda a, m: nq.SGD(a),
    "heavy ball": lambda a, m: nq.HeavyBall(a, m),
    "Nesterov": lambda a, m: nq.Nesterov(a, m),
    "averaged heavy ball": lambda a, m: nq.Averaged(nq.HeavyBall(a, m), 0.9),
}
PIECES = (1, 2, 5, 10, 20)
SEED = 0
ALLOWED = 1e-9


def random_plan(rng, name, pieces):
    """Rates from far below to far above the stability edge, so that some pieces explode and others bring the run back."""
    columns = {"learning_rate": 10 ** rng.uniform(-3, 0.7, pieces)}
    if name != "SGD":
        columns["momentum"] = 1 - 10 ** rng.uniform(-3, 0, pieces)
    return nq.Plan(**columns, steps=rng.integers(1, 80, pieces), batch_size=2.0 ** rng.integers(0, 20, pieces))


def compare(rng, name, pieces):
    """Largest relative error of a random plan, whether it explodes and comes back, and how many risks are given as inf."""
    problem = nq.from_spectrum(
        10 ** rng.uniform(-3, 0, 3), initial=10 ** rng.uniform(-3, 3, 3), noise=10 ** rng.uniform(-3, 1, 3)
    )
    plan = random_plan(rng, name, pieces)
    found = nq.run(problem, METHODS[name](0.1, 0.5), plan)
    momenta = plan.hyperparameters.get("momentum", np.zeros(pieces))
    settings = [METHODS[name](float(a), float(m)) for a, m in zip(plan.learning_rate, momenta, strict=True)]
    expected = risks(problem, settings, plan.batch_size, plan.steps)
    errors = [abs(float(got / want - 1)) for got, want in zip(found, expected, strict=True) if np.isfinite(got)]
    sizes = np.array([float(want) for want in expected])
    back = bool((np.maximum.accumulate(sizes) > 1e6 * np.maximum(sizes, sizes[0])).any())
    return max(errors), back, int(np.isinf(found).sum())


def main() -> None:
    small = quick(__doc__.splitlines()[0])
    rows, wrong = [], 0
    for name in METHODS:
        rng = np.random.default_rng([SEED, *map(ord, name)])
        found = [compare(rng, name, pieces) for pieces in PIECES for _ in range(2 if small else 100)]
        errors, back, infinite = map(np.array, zip(*found, strict=True))
        wrong += int((errors > ALLOWED).sum())
        counts = {"plans": len(found), "explode and come back": int(back.sum()), "risks given as inf": int(infinite.sum())}
        rows.append(
            {"optimizer": name, **counts, "largest error": float(errors.max()), "beyond 1e-9": int((errors > ALLOWED).sum())}
        )
        print(rows[-1], flush=True)
    report("plans", "60 digits", rows, keep=not small)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
