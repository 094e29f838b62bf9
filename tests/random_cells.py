"""Random cells for tests of exactness, and brute force over every step of each."""

from dataclasses import dataclass

import jax
import numpy as np

import nqmjax as nq


class AggMo(nq.LinearOptimizer):
    """Aggregated momentum with two velocities (Lucas et al. 2019): a user's own optimizer."""

    learning_rate: float
    slow: float
    fast: float

    def initial(self, theta):
        return theta, 0.0, 0.0

    def change(self, state, gradient):
        _, v, w = state
        dv, dw = (self.slow - 1) * v - gradient, (self.fast - 1) * w - gradient
        return self.learning_rate / 2 * (v + dv + w + dw), dv, dw


def momentum(rng):
    return 1 - 10 ** rng.uniform(-4, 0)


OPTIMIZERS = {
    "SGD": lambda rng, a: nq.SGD(a),
    "HeavyBall": lambda rng, a: nq.HeavyBall(a, momentum(rng)),
    "Nesterov": lambda rng, a: nq.Nesterov(a, momentum(rng)),
    "QHM": lambda rng, a: nq.QHM(a, momentum(rng), rng.uniform(0, 1)),
    "AggMo": lambda rng, a: AggMo(a, momentum(rng), momentum(rng)),
    "Preconditioned SGD": lambda rng, a: nq.Preconditioned(nq.SGD(a), rng.uniform(0, 1)),
    "Preconditioned HeavyBall": lambda rng, a: nq.Preconditioned(nq.HeavyBall(a, momentum(rng)), rng.uniform(0, 1)),
    "Averaged SGD": lambda rng, a: nq.Averaged(nq.SGD(a), momentum(rng)),
    "Averaged Preconditioned HeavyBall": lambda rng, a: nq.Averaged(
        nq.Preconditioned(nq.HeavyBall(a, momentum(rng)), rng.uniform(0, 1)), momentum(rng)
    ),
    "Averaged Averaged Nesterov": lambda rng, a: nq.Averaged(
        nq.Averaged(nq.Nesterov(a, momentum(rng)), momentum(rng)), momentum(rng)
    ),
}


def random_problem(rng, groups):
    """A power law or a log-uniform spectrum; noise equal to the curvature or not; starts equal or not."""
    if rng.random() < 0.5:
        curvature = np.arange(1.0, groups + 1) ** -rng.uniform(0.5, 2.5)
    else:
        curvature = np.sort(10 ** rng.uniform(-8 * rng.random(), 0, groups))[::-1]
    noise = curvature if rng.random() < 0.5 else curvature ** rng.uniform(0, 2) * 10 ** rng.uniform(-2, 1, groups)
    noise = noise * (rng.random() < 0.85)  # now and then none
    initial = np.ones(groups) if rng.random() < 0.5 else 10 ** rng.uniform(-3, 1, groups) * (rng.random(groups) < 0.9)
    count = np.ones(groups) if rng.random() < 0.5 else rng.integers(1, 50, groups).astype(float)
    return nq.NoisyQuadratic(curvature, noise, initial, count, 0.0 if rng.random() < 0.5 else rng.uniform(0, 1))


def random_cell(rng, name, groups):
    """One cell: rates up to a little beyond the stability edge, targets anywhere between what is reached and not."""
    problem = random_problem(rng, groups)
    rate = 10 ** rng.uniform(-4, 0.8) / problem.curvature[0]
    batch = 2.0 ** rng.uniform(0, 22)
    excess = (problem.initial_risk - problem.irreducible) * 10 ** rng.uniform(-4, -0.01)
    return problem, OPTIMIZERS[name](rng, rate), batch, problem.irreducible + excess


@dataclass
class Tally:
    cells: int = 0
    reached: int = 0
    oscillating: int = 0
    mismatches: tuple = ()

    def __add__(self, other):
        return Tally(
            self.cells + other.cells,
            self.reached + other.reached,
            self.oscillating + other.oscillating,
            self.mismatches + other.mismatches,
        )


def compare(name, seed, cells=25, groups=12, horizon=20_000):
    """Compare both rules with brute force over `horizon` updates on random cells of one optimizer."""
    rng = np.random.default_rng([seed, *map(ord, name)])
    drawn = [random_cell(rng, name, groups) for _ in range(cells)]
    problem, optimizer, batch, target = jax.tree.map(lambda *leaves: np.stack(leaves), *drawn)
    with jax.enable_x64(True):
        curves = np.asarray(jax.vmap(lambda *run: nq.risk_curve(*run, horizon))(problem, optimizer, batch))
        lowest = curves.min(1) - problem.irreducible
        dips = (rng.uniform(size=cells) < 0.3) & (lowest > 1e-12)  # targets just above the lowest risk, at a dip maybe
        target = np.where(dips, problem.irreducible + lowest * rng.uniform(1.0001, 1.3, cells), target)
        found = {
            rule: jax.tree.map(
                np.asarray,
                jax.vmap(lambda *cell, rule=rule: nq.steps_to_target(*cell, rule=rule))(problem, optimizer, batch, target),
            )
            for rule in ("first", "stays")
        }
    tally = Tally(cells=cells)
    for i, curve in enumerate(curves):
        below = curve <= target[i]
        tally.reached += bool(below.any())
        tally.oscillating += bool((curve[1:] > curve[:-1]).any())
        expected = int(below.argmax()) if below.any() else None
        first, stays = found["first"], found["stays"]
        got = int(first.steps[i]) if first.steps[i] <= horizon else None
        if got != expected:
            tally.mismatches += ((name, seed, i, "first", got, expected),)
        # Brute force sees the last crossing before the horizon; the search also knows of later ones.
        expected = int(horizon + 1 - below[::-1].argmin() if not below.all() else 0) if below[-1] else None
        got = int(stays.steps[i]) if stays.steps[i] <= horizon else None
        rises_later = expected is not None and got is None and crosses_later((*drawn[i][:3], target[i]), horizon)
        if got != expected and not rises_later:
            tally.mismatches += ((name, seed, i, "stays", got, expected),)
    return tally


def crosses_later(cell, horizon):
    """Whether the risk is above the target at some later time, by closed form at many of them."""
    *run, target = cell
    return (nq.risk(*run, np.unique(np.geomspace(horizon, 2**31, 20_000).astype(np.int64))) > target).any()
