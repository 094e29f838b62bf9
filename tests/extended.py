"""The dynamics in 60 digits, from an optimizer's declaration alone: slow, plain, and exact wherever floats are not."""

import jax
import mpmath
from mpmath import matrix, mpf


def system(optimizer, h):
    """The map `A`, the kick `b`, the read-out `r` and the start `x_0` along a direction, in the optimizer's own state."""
    optimizer = jax.tree.map(mpf, optimizer)
    start = optimizer.initial(mpf(1))
    units = [tuple(mpf(i == k) for i in range(len(start))) for k in range(len(start))]
    moved = [[x + dx for x, dx in zip(unit, optimizer.change(unit, mpf(h) * unit[0]), strict=True)] for unit in units]
    kick = optimizer.change(tuple(mpf(0) for _ in start), mpf(1))
    return matrix(moved).T, matrix(kick), matrix([[optimizer.read(unit) for unit in units]]), matrix(start)


def risks(problem, settings, batch_sizes, steps, digits=60):
    """Risk at the start and after each piece: `settings` holds an optimizer for each; state and moments are carried on."""
    with mpmath.workdps(digits):
        total = [mpf(float(problem.irreducible)) for _ in range(len(steps) + 1)]
        for h, c, s, w in zip(problem.curvature, problem.noise, problem.initial, problem.count, strict=True):
            _, _, read, start = system(settings[0], h)
            moments = mpf(float(s)) * start * start.T
            total[0] += mpf(float(w)) * mpf(float(h)) / 2 * (read * moments * read.T)[0]
            for piece, (optimizer, batch, n) in enumerate(zip(settings, batch_sizes, steps, strict=True)):
                power, noise = run(*system(optimizer, h)[:2], int(n))
                moments = power * moments * power.T + mpf(float(c)) / mpf(float(batch)) * noise
                total[piece + 1] += mpf(float(w)) * mpf(float(h)) / 2 * (read * moments * read.T)[0]
        return total


def run(power, kick, n):
    """`A^n` and `sum_{j<n} A^j b b^T A^jT` by squaring."""
    whole, added, noise = mpmath.eye(len(kick)), mpmath.zeros(len(kick)), kick * kick.T
    while n:
        if n & 1:
            added, whole = noise + power * added * power.T, power * whole
        noise, power, n = noise + power * noise * power.T, power * power, n >> 1
    return whole, added
