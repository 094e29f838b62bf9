"""Random cells for tests of exactness, and brute force over every step of each."""

import dataclasses
import functools
from dataclasses import dataclass, fields
from typing import Any

import jax
import numpy as np

import nqmjax as nq
from nqmjax.dynamics.model import build_model
from nqmjax.optimizers.base import hyperparameters, linear_system


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


def strength(rng):
    return 10 ** rng.uniform(-6, 0)


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
    "Averaged HeavyBall": lambda rng, a: nq.Averaged(nq.HeavyBall(a, momentum(rng)), momentum(rng)),
    "Averaged QHM": lambda rng, a: nq.Averaged(nq.QHM(a, momentum(rng), rng.uniform(0, 1)), momentum(rng)),
    "Preconditioned Nesterov": lambda rng, a: nq.Preconditioned(nq.Nesterov(a, momentum(rng)), rng.uniform(0, 1)),
}

DECAYED = {
    "L2 HeavyBall": lambda rng, a: nq.L2(nq.HeavyBall(a, momentum(rng)), strength(rng)),
    "Averaged Preconditioned L2 SGD": lambda rng, a: nq.Averaged(
        nq.Preconditioned(nq.L2(nq.SGD(a), strength(rng)), rng.uniform(0, 1)), momentum(rng)
    ),
    "Decayed HeavyBall": lambda rng, a: nq.DecoupledWeightDecay(nq.HeavyBall(a, momentum(rng)), strength(rng)),
    "Decayed Averaged SGD": lambda rng, a: nq.DecoupledWeightDecay(nq.Averaged(nq.SGD(a), momentum(rng)), strength(rng)),
}
"""Optimizers whose runs never forget their start."""

ALL = OPTIMIZERS | DECAYED


def edge(optimizer, curvature):
    """The learning rate at which a direction becomes unstable, in closed form."""
    match optimizer:
        case nq.Preconditioned():
            return edge(optimizer.optimizer, curvature ** (1 - optimizer.power))
        case nq.Averaged():
            return edge(optimizer.optimizer, curvature)
        case nq.L2():
            return edge(optimizer.optimizer, curvature + optimizer.strength)
        case nq.DecoupledWeightDecay(optimizer=inner):
            m = getattr(inner, "momentum", 0.0)
            return 2 * (1 + m) / (curvature + (1 + m) * optimizer.strength)
        case nq.SGD():
            return 2 / curvature
        case nq.HeavyBall(momentum=m):
            return 2 * (1 + m) / curvature
        case nq.Nesterov(momentum=m):
            return 2 * (1 + m) / (1 + 2 * m) / curvature
        case nq.QHM(momentum=m, nu=nu):
            return 2 * (1 + m) / (1 + m * (1 - 2 * nu)) / curvature
        case AggMo(slow=m, fast=n):
            return 4 / (1 / (1 + m) + 1 / (1 + n)) / curvature
    raise TypeError(f"no edge is known for {optimizer}")


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
    return problem, ALL[name](rng, rate), batch, problem.irreducible + excess


def adversarial_problem(rng, groups):
    """Few directions, some of them equal or idle; noise or none; a start that hides the direction that explodes first."""
    curvature = np.sort(10 ** rng.uniform(-4 * rng.random(), 0.5, groups))[::-1]
    curvature[1:] = curvature[1:] * rng.choice([1.0, 0.1])
    if rng.random() < 0.2:
        curvature[1] = curvature[0]
    noise = curvature * rng.choice([0.0, 1e-12, 1.0, 100.0], p=[0.4, 0.1, 0.4, 0.1])
    initial = 10 ** rng.uniform(-3, 3, groups) * np.maximum(rng.random(groups) < 0.8, np.arange(groups) == 1)
    if rng.random() < 0.4:
        initial[0] = 10 ** rng.uniform(-30, 0)
    return nq.NoisyQuadratic(curvature, noise, initial, np.ones(groups), rng.choice([0.0, 1.0], p=[0.8, 0.2]))


def adversarial_optimizer(rng, name, curvature):
    """Rates at the edge of stability, closely below or above it, beyond it, far below; momenta and decays up to 1 - 1e-9."""
    optimizer = ALL[name](rng, 1.0)
    if rng.random() < 0.3:
        near_one = [key for key in hyperparameters(optimizer) if key.split(".")[-1] in ("momentum", "decay", "slow")]
        optimizer = optimizer.replace(**{key: 1 - 10 ** rng.uniform(-9, -3) for key in near_one})
    away = {
        "close": rng.choice([-1, 1]) * 10 ** rng.uniform(-12, -2),
        "above": 10 ** rng.uniform(-3, 0.3),
        "below": -rng.uniform(0, 1),
        "slow": 10 ** rng.uniform(-6, -1) - 1,
        "exactly": 0.0,
    }
    kind = rng.choice([*away], p=[0.45, 0.2, 0.2, 0.1, 0.05])
    return optimizer.replace(learning_rate=edge(optimizer, curvature[0]) * (1 + away[kind]))


def adversarial_target(rng, curve, irreducible):
    """A level between the highest and the lowest risk, one that is met exactly, or one just above or below a dip."""
    curve = curve[np.isfinite(curve) & (curve < 1e100)] - irreducible
    floor = 1e-25 * curve[0]
    dips = np.flatnonzero((curve[1:-1] <= curve[:-2]) & (curve[1:-1] <= curve[2:])) + 1 if len(curve) > 2 else []
    dip = curve[rng.choice(dips)] if len(dips) and rng.random() < 0.6 else curve.min()
    level = {
        "between": np.exp(rng.uniform(*np.log(np.maximum([curve.min(), curve.max()], floor)))),
        "met": rng.choice(curve),
        "above a dip": dip * (1 + 10 ** rng.uniform(-9, -0.3)),
        "below a dip": dip * (1 - 10 ** rng.uniform(-9, -0.3)),
    }
    return irreducible + max(level[rng.choice([*level], p=[0.3, 0.1, 0.4, 0.2])], floor)


@dataclass
class Tally:
    """What became of the cells; `ties` are decided by the last digits, `given_up` by the bound on the work."""

    cells: int = 0
    reached: int = 0
    oscillating: int = 0
    ties: int = 0
    given_up: int = 0
    mismatches: tuple = ()

    def __add__(self, other):
        return Tally(**{field.name: getattr(self, field.name) + getattr(other, field.name) for field in fields(self)})


def compare(name, seed, cells=25, groups=12, horizon=20_000):
    """Compare both rules with brute force over `horizon` updates on random cells of one optimizer."""
    rng = np.random.default_rng([seed, *map(ord, name)])
    drawn = [random_cell(rng, name, groups) for _ in range(cells)]
    problem, optimizer, batch, target = jax.tree.map(lambda *leaves: np.stack(leaves), *drawn)
    with jax.enable_x64(True):
        curves = np.asarray(jax.vmap(functools.partial(nq.risk_curve, num_steps=horizon))(problem, optimizer, batch))
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
    runs = [(*cell[:3], goal) for cell, goal in zip(drawn, target, strict=True)]
    return judge((name, seed), runs, curves, found)


def compare_adversarial(name, seed, problems=10, settings=20, groups=6, horizon=2000):
    """The same for cells of the kinds that have deceived a search, `settings` of them to a problem."""
    rng = np.random.default_rng([seed, 1, *map(ord, name)])
    tally = Tally()
    for number in range(problems):
        problem = adversarial_problem(rng, groups)
        drawn = [adversarial_optimizer(rng, name, problem.curvature) for _ in range(settings)]
        optimizer = jax.tree.map(lambda *leaves: np.array(leaves), *drawn)
        batch = rng.choice([np.ones(settings), 2.0 ** rng.uniform(0, 40, settings), np.full(settings, 1e12)])
        curves = nq.risk_curve(problem, optimizer, batch, horizon)
        target = np.array([adversarial_target(rng, curve, problem.irreducible) for curve in curves])
        found = {rule: nq.steps_to_target(problem, optimizer, batch, target, rule=rule) for rule in ("first", "stays")}
        runs = [(problem, *cell) for cell in zip(drawn, batch, target, strict=True)]
        tally += judge((name, seed, number), runs, curves, found)
    return tally


def judge(label: tuple, runs: list[Any], curves: np.ndarray, found: dict[str, Any]) -> Tally:
    """Count what became of the cells: brute force in the same precision decides, where it cannot, in a higher one."""
    tally = Tally(cells=len(runs))
    for i, (run, curve) in enumerate(zip(runs, curves, strict=True)):
        tally.reached += bool((curve <= run[-1]).any())
        tally.oscillating += bool((curve[1:] > curve[:-1]).any())
        for rule, result in found.items():
            got, given_up = result.steps[i], result.status[i] == nq.Status.OUT_OF_STEPS
            if verdict(rule, curve, got, run, 0.0):
                continue
            if verdict(rule, curve, got, run, TIE) or verdict(
                rule, precise_curve(run[0], run[1], run[2], len(curve) - 1), got, run, TIE
            ):
                tally.ties += 1
            elif given_up and rule == "stays":
                tally.given_up += 1
            else:
                tally.mismatches += ((*label, i, rule, got, answers(rule, curve, run[-1])),)
    return tally


TIE = 1e-12
"""Targets that are met within this share of themselves may be met or not: rounding decides."""


def verdict(rule: str, curve: np.ndarray, got: float, run: Any, tie: float) -> bool:
    """Whether an answer is what brute force finds for some target within `tie`; `got` may lie beyond the horizon."""
    horizon, target = len(curve) - 1, run[-1]
    early, late = (answers(rule, curve, target * (1 + side * tie)) for side in (1, -1))
    if early <= min(got, horizon + 1) <= late:
        return True
    # Brute force sees the last crossing before the horizon; the search also knows of later ones.
    return rule == "stays" and got > horizon and late <= horizon and crosses_later(run, horizon, got)


def answers(rule, curve, target):
    """Steps to target by the whole curve, one more than its updates where there are none."""
    below = curve <= target
    if rule == "first":
        return int(below.argmax()) if below.any() else len(curve)
    return int(len(curve) - below[::-1].argmin()) if not below.all() else 0


def crosses_later(run, horizon, got):
    """Whether the risk is above the target just before `got`, or at some other later time, or in the limit."""
    problem, optimizer, batch_size, target = run
    cell = problem, optimizer, batch_size
    later = np.append(np.geomspace(horizon, 2**31, 255), min(got - 1, 2**31)).astype(np.int64)
    return nq.stationary_risk(*cell) > target or (nq.risk(*cell, later) > target).any()


def precise_curve(problem, optimizer, batch_size, horizon):
    """`risk_curve` in NumPy's extended precision, of the same map in double precision."""
    with jax.enable_x64(True):
        model = jax.tree.map(
            lambda leaf: np.asarray(leaf, np.longdouble), build_model(problem, optimizer, np.asarray(batch_size))
        )
    read, squares, risks = model.read, np.zeros_like(model.noise), []
    start, kick = model.start, model.kick
    with np.errstate(all="ignore"):
        for _ in range(horizon + 1):
            bias = (read * start).sum(0) ** 2
            risks.append(model.irreducible + (model.weight * (model.initial * bias + model.noise * squares)).sum())
            squares = squares + (read * kick).sum(0) ** 2
            start, kick = (x + (model.increment * x).sum(1) for x in (start, kick))
    return np.where(np.isnan(risks), np.inf, risks)


OUTER = {
    "SGD": lambda rate, m: nq.SGD(rate),
    "HeavyBall": lambda rate, m: nq.HeavyBall(rate, m),
    "Nesterov": lambda rate, m: nq.Nesterov(rate, m),
}


def periodic_cells(rng, kind, groups, cells, inner=None, outer=None):
    """Cells of one problem and one structure: inner momentum or none, a period, a pull or an outer optimizer."""
    problem = random_problem(rng, groups)
    name, outer = inner or rng.choice(["HeavyBall", "Nesterov"]), outer or rng.choice([*OUTER])
    rate = 10 ** rng.uniform(-4, 0.4, cells) / problem.curvature[0]
    momenta, slow = ((1 - 10 ** rng.uniform(-2, 0, cells)) * (rng.random(cells) < 0.7) for _ in range(2))
    period = np.round(10 ** rng.uniform(0, 2, cells))
    inner, batch = OUTER[name](rate, momenta), 2.0 ** rng.uniform(0, 22, cells)
    if kind == "Lookahead":
        pull = 1 - rng.random(cells)
        return problem, nq.Lookahead(inner, period, pull), batch, (name, "SGD", rate, momenta, pull, 0 * pull, period, 1)
    high, workers = 10 ** rng.uniform(-1, 0, cells) * (1 - 0.5 * slow), np.round(10 ** rng.uniform(0, 2, cells))
    optimizer = nq.LocalSGD(inner, OUTER[outer](high, slow), period, workers)
    return problem, optimizer, batch, (name, outer, rate, momenta, high, slow, period, workers)


def periodic_maps(h, settings):
    """Maps of an update and of a synchronisation, and the kick: of parameter, momentum, slow weights and their momentum."""
    inner, outer, *values = settings
    a, b, o, s = (value[:, None, None] for value in values)
    theta, m, phi, v = np.broadcast_to(np.eye(4)[:, None, None], (4, len(a), len(h), 4))
    gradient, unit = h[:, None] * theta, np.ones((1, len(h)))
    moved, away = b * m + gradient, phi - theta
    step = gradient + b * moved if inner == "Nesterov" else moved
    push = s * v + away if outer != "SGD" else away
    jump = phi - o * (away + s * push if outer == "Nesterov" else push)
    kicked = -(a * (1 + b) if inner == "Nesterov" else a)[..., 0] * unit
    kick = np.stack([kicked, np.ones_like(kicked), 0 * kicked, 0 * kicked], axis=-1)
    return np.stack([theta - a * step, moved, phi, v], axis=-2), np.stack([jump, m, jump, push], axis=-2), kick


def periodic_curves(problem, batch, settings, horizon):
    """Risks `(cells, horizon + 1)` by the recursion of second moments, in NumPy."""
    h, (*method, period, workers) = problem.curvature, settings
    matrix, synchronise, kick = periodic_maps(h, method)
    added = (problem.noise / (batch * workers)[:, None])[..., None, None] * kick[..., :, None] * kick[..., None, :]
    start = np.array([1.0, 0.0, 1.0, 0.0])
    moments = np.broadcast_to(problem.initial[:, None, None] * np.outer(start, start), added.shape)
    weight, risks = 0.5 * problem.count * h, []
    with np.errstate(all="ignore"):
        for time in range(1, horizon + 2):
            risks.append(problem.irreducible + moments[..., 0, 0] @ weight)
            moments = matrix @ moments @ matrix.swapaxes(-1, -2) + added
            due = time % period == 0
            if due.any():
                moments = np.where(due[:, None, None, None], synchronise @ moments @ synchronise.swapaxes(-1, -2), moments)
    risks = np.array(risks).T
    return np.where(np.isnan(risks), np.inf, risks)


def compare_periodic(kind, seed, cells=25, groups=8, horizon=5000, inner=None):
    """First passages of random cells of Lookahead or LocalSGD against brute force over `horizon` updates, and their risks."""
    rng = np.random.default_rng([seed, 2, *map(ord, kind)])
    problem, optimizer, batch, settings = periodic_cells(rng, kind, groups, cells, inner)
    curves = periodic_curves(problem, batch, settings, horizon)
    steps = rng.integers(0, horizon, cells)
    known, risks = curves[np.arange(cells), steps], nq.risk(problem, optimizer, batch, steps)
    tame = known < 1e6 * problem.initial_risk
    np.testing.assert_allclose(risks[tame], known[tame], rtol=1e-7)
    target = np.array([adversarial_target(rng, curve, problem.irreducible) for curve in curves])
    return judge_first((kind, seed), curves, target, nq.steps_to_target(problem, optimizer, batch, target), horizon)


def judge_first(label, curves, target, found, horizon):
    """First passages that were found, one of each curve, against those of the curves; ties are told apart."""
    tally = Tally(cells=len(curves))
    for i, (curve, got) in enumerate(zip(curves, found.steps, strict=True)):
        tally.reached += bool((curve <= target[i]).any())
        tally.oscillating += bool((curve[1:] > curve[:-1]).any())
        early, exact, late = (answers("first", curve, target[i] * (1 + tie)) for tie in (TIE, 0.0, -TIE))
        tally.ties += early <= min(got, horizon + 1) <= late and min(got, horizon + 1) != exact
        if not early <= min(got, horizon + 1) <= late:
            tally.mismatches += ((*label, i, got, exact, int(found.status[i])),)
    return tally


LOSS_NOISE = ("SGD", "HeavyBall", "Nesterov", "Averaged HeavyBall")
"""Optimizers that are compared under noise that follows the loss."""


def loss_noise_curves(problem, optimizer, batch, horizon):
    """Risks `(cells, horizon + 1)` under noise that follows the loss by the recursion of second moments, in NumPy."""
    with jax.enable_x64(True):
        system = jax.tree.map(np.asarray, linear_system(optimizer, problem.curvature))
    a = np.moveaxis(system.increment, (0, 1), (-2, -1))
    a = np.broadcast_to(a + np.eye(a.shape[-1]), (len(batch), problem.curvature.size, *a.shape[-2:]))
    b, read, parameter, first = (
        np.broadcast_to(np.moveaxis(row, 0, -1), a.shape[:-1])
        for row in (system.kick, system.read, system.parameter, system.start)
    )
    moments = problem.initial[:, None, None] * first[..., :, None] * first[..., None, :]
    kicked, weight, risks = b[..., :, None] * b[..., None, :], 0.5 * problem.count * problem.curvature, []

    def mean_square(row):
        return np.einsum("cni,cnij,cnj->cn", row, moments, row)

    with np.errstate(all="ignore"):
        for _ in range(horizon + 1):
            risks.append(problem.irreducible + mean_square(read) @ weight)
            now = mean_square(parameter)
            loss = problem.irreducible + now @ weight
            noise = problem.noise + problem.loss_noise * loss[:, None] + problem.own_noise * now
            moments = a @ moments @ a.swapaxes(-1, -2) + (noise / batch[:, None])[..., None, None] * kicked
    risks = np.array(risks).T
    return np.where(np.isnan(risks), np.inf, risks)


def compare_loss_noise(name, seed, cells=25, groups=6, horizon=5000):
    """First passages of random cells under noise that follows the loss, around its edge too, and their risks."""
    rng = np.random.default_rng([seed, 3, *map(ord, name)])
    problem = random_problem(rng, groups)
    gain = problem.curvature * 10 ** rng.uniform(-1, 2, groups if rng.random() < 0.5 else 1)
    own = problem.curvature**2 * (rng.random() < 0.5)
    problem = dataclasses.replace(problem, loss_noise=gain, own_noise=own)
    rate = 10 ** rng.uniform(-4, 0.4, cells) / problem.curvature[0]
    values = {
        key: 1 - 10 ** rng.uniform(-2, 0, cells) for key in hyperparameters(ALL[name](rng, 1.0)) if key != "learning_rate"
    }
    optimizer = ALL[name](rng, 1.0).replace(learning_rate=rate, **values)
    smallest = nq.noise_edge(problem, optimizer)
    near = np.where(np.isfinite(smallest), smallest, 1.0) * (1 + rng.choice([-1, 1], cells) * 10 ** rng.uniform(-6, 0, cells))
    batch = np.where(rng.random(cells) < 0.4, np.maximum(near, 1.0), 2.0 ** rng.uniform(0, 22, cells))
    curves = loss_noise_curves(problem, optimizer, batch, horizon)
    steps = rng.integers(0, horizon, cells)
    known, risks = curves[np.arange(cells), steps], nq.risk(problem, optimizer, batch, steps)
    tame = known < 1e6 * problem.initial_risk
    np.testing.assert_allclose(risks[tame], known[tame], rtol=1e-7, atol=1e-290)
    target = np.array([adversarial_target(rng, curve, problem.irreducible) for curve in curves])
    return judge_first((name, seed), curves, target, nq.steps_to_target(problem, optimizer, batch, target), horizon)
