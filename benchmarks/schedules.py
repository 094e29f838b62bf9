"""Steps to target with optimal schedules: figure 3b (40 cells of 10 pieces) and 3c (9 cells of 50 pieces).

The baseline is the published notebook's method: for each number of steps tried by a bisection, SciPy's L-BFGS-B from one
cold start, here with the closed form of SGD's risk in NumPy and finite differences in place of autograd, on a sample of
the cells. Each of nqmjax's answers is checked: an independent scan over steps reaches the target, and the optimum of 0.5%
fewer steps, from ten random starts and the closed form, misses it.
"""

import numpy as np
from common import BATCHES, POWERS, TARGET, quick, report, timed
from scipy.optimize import minimize

import nqmjax as nq


def cap(power):
    return 2 / (1 + 10 ** (-4 * (1 - power)) + 1e-4)


def step_by_step(problem, power, plan):
    """The final risk of SGD by its scalar recursion, one update at a time."""
    h, c = problem.curvature ** (1 - power), problem.noise * problem.curvature ** (-2 * power)
    moment = problem.initial
    for rate, steps, batch in zip(plan.learning_rate, plan.steps.astype(int), plan.batch_size, strict=True):
        for _ in range(steps):
            moment = (1 - rate * h) ** 2 * moment + rate**2 * c / batch
    return 0.5 * (problem.count * problem.curvature) @ moment


def notebook_steps(problem, power, batch, pieces):
    """Bisection over the steps of each piece, a cold L-BFGS-B for each."""
    h, c = problem.curvature ** (1 - power), problem.noise * problem.curvature ** (-2 * power) / batch
    weight = 0.5 * problem.count * problem.curvature

    def log_risk(log_rates, steps):
        moment = problem.initial
        for rate in np.exp(log_rates):
            shrink = (1 - rate * h) ** 2
            many = shrink**steps
            moment = many * moment + rate**2 * c * (1 - many) / (1 - shrink)
        return np.log(weight @ moment)

    def reached(steps):
        start, bounds = np.full(pieces, np.log(0.1)), [(np.log(1e-6), np.log(cap(power)))] * pieces
        return minimize(log_risk, start, args=(steps,), method="L-BFGS-B", bounds=bounds).fun <= np.log(TARGET)

    low, high = 0, 1
    while not reached(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high * pieces


def main() -> None:
    small = quick(__doc__.splitlines()[0])
    problem = nq.power_law(10_000).quantize(100)
    cells = [(10, power, batch) for power in POWERS for batch in BATCHES]
    cells += [(50, 0.0, 2.0**k) for k in range(4, 13)]
    sample = [(10, power, batch) for power in POWERS for batch in (4.0, 2.0**10, 2.0**20)]
    sample += [(50, 0.0, batch) for batch in (2.0**4, 2.0**8, 2.0**12)]
    cells, sample = (cells[::9], sample[1:2]) if small else (cells, sample)

    def ours(pieces, power, batch):
        optimizer = nq.Preconditioned(nq.SGD(0.1), float(power))
        return nq.steps_to_target_with_schedule(problem, optimizer, float(batch), TARGET, pieces, max_learning_rate=cap(power))

    rows, seconds, found = [], {}, {}
    for cell in cells + sample:
        ours(*cell)  # compilation
    for cell in cells + sample:
        seconds[cell], found[cell] = timed(lambda cell=cell: ours(*cell))
    theirs = {}
    for cell in sample:
        pieces, power, batch = cell
        with np.errstate(all="ignore"):
            time, steps = timed(lambda cell=cell: notebook_steps(problem, cell[1], cell[2], cell[0]))
        theirs[cell] = time
        rows.append(row("notebook's method", cell, steps, time, time / seconds[cell]))
        rows.append(row("nqmjax", cell, found[cell].steps, seconds[cell], 1.0))
    reached = minimal = converged = 0
    for cell in cells:
        pieces, power, batch = cell
        answer = found[cell]
        converged += answer.converged
        reached += step_by_step(problem, power, answer.plan) <= TARGET * (1 + 1e-9)
        fewer = int(min(0.995 * answer.steps, answer.steps - 1))
        optimizer = nq.Preconditioned(nq.SGD(0.1), float(power))
        best = nq.optimize_schedule(
            problem, optimizer, batch, fewer, min(pieces, fewer), max_learning_rate=cap(power), starts=11
        )
        minimal += best.risk > TARGET
    total = sum(seconds[cell] for cell in cells)
    print(
        f"{len(cells)} cells: {reached} reach the target step by step, {minimal} miss it with 0.5% fewer, {converged} converged"
    )
    scaled = sum(
        np.mean([theirs[other] for other in sample if other[0] == pieces] or list(theirs.values()))
        * sum(cell[0] == pieces for cell in cells)
        for pieces in (10, 50)
    )
    rows.append(row("nqmjax, all cells", ("10, 50", "all", "all"), "", total, 1.0))
    rows.append(row("notebook's method, all cells, from the sample", ("10, 50", "all", "all"), "", scaled, scaled / total))
    rows.append(
        row(f"checks: {reached} reached, {minimal} minimal, {converged} converged of", ("", "", len(cells)), "", "", "")
    )
    report("schedules", "SciPy L-BFGS-B in a bisection, one cold start each, NumPy", rows, keep=not small)


def row(method, cell, steps, seconds, ratio):
    pieces, power, batch = cell
    return {
        "method": method,
        "pieces": pieces,
        "power": power,
        "batch size": batch,
        "steps": steps,
        "seconds": seconds,
        "times nqmjax": ratio,
    }


if __name__ == "__main__":
    main()
