r"""Optimal schedules in closed form: of the learning rate by a forgetting kernel, of the batch size by water-filling.

**Rates.** Let every direction shrink at `g h` per unit of rate (`g` is 1, or the preconditioner's factor) and let `r` be
the integral of the rate that remains. For small `a g h` a gradient of variance `c / B`, taken with rate `a` when `r`
remains, adds `a^2 K(r) / B` to the final risk, with the forgetting kernel

    K(r) = 1/2 sum_k w_k h_k c_k g_k^2 exp(-2 g_k h_k r).

With `a = -dr/dt` and `y = int_0^r sqrt(K)` all the noise adds up to `1/B int (dy/dt)^2 dt`. Whatever the total `r`, it is
least where `dy/dt` is constant, so that `a ~ 1/sqrt(K(r))`, and the risk is

    R = irreducible + 1/2 sum_k w_k h_k s_k exp(-2 g_k h_k r) + y(r)^2 / (B T),

a function of the one number `r`, to be minimised. Under a cap the rates are `min(cap, k / sqrt(K(r)))`, again with one
number to be found. Momentum multiplies the rate by `1/(1 - beta)` and acts alike as long as
it forgets faster than the schedule changes. All this is accurate while `a g h << 1`: in tests the risk is within 1e-4 of
the numerical optimum where no `a g h` exceeds 0.1, and off by a per cent near 1.

**Batch sizes.** The final risk of any linear optimizer is affine in `1 / B_j`, with weights `w_j >= 0` that the adjoint of
the dynamics gives (here `jax.grad`): `R = bias + sum_j w_j / B_j`. Under a budget `sum_j n_j B_j = D` the minimum has
`B_j = clip(lambda sqrt(w_j / n_j), low, high)` with the one `lambda` that spends the budget; this is exact.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.integrate import cumulative_trapezoid
from scipy.optimize import root_scalar

from nqmjax._tools import evaluate, require, scalar, shown
from nqmjax.dynamics import check_run, doublings, quick_risks_of_pieces
from nqmjax.optimizers import LinearOptimizer, hyperparameters, is_anchored
from nqmjax.problem import NoisyQuadratic
from nqmjax.schedules.caps import learning_rate_cap, unstable_pieces
from nqmjax.schedules.plan import Plan, check_plan, piece_lengths, run

GRID = 4000
"""Points of the grid of remaining integrals of the rate, equally spaced in their logarithm."""


def closed_form_rates(
    problem: NoisyQuadratic, optimizer: LinearOptimizer, batch_size: float, steps: int, pieces: int | None = None
) -> Plan:
    r"""The optimal learning rates of a run of `steps` updates, by the forgetting kernel (see `nqmjax.schedules.closed_forms`).

    Args:
      problem: the quadratic.
      optimizer: scalar hyperparameters; its learning rate is replaced.
      batch_size: examples per update, a number.
      steps: number of updates.
      pieces: pieces of equal length, each with its mean rate; one per update by default.

    Returns:
      the plan; rates may exceed the stability edge where the approximation does not hold.

    Raises:
      ValueError: an argument is out of its range, or the optimizer decays weights, which the closed form knows nothing of.

    >>> from nqmjax import SGD, power_law
    >>> closed_form_rates(power_law(100), SGD(0.1), batch_size=1, steps=1000, pieces=4).learning_rate.round(4)
    array([0.4245, 0.1358, 0.0619, 0.022 ])

    Source: nqmjax's own derivation, above; Zhang et al. 2019, figure 3c, finds such schedules numerically.
    """
    check_run(problem, optimizer, batch_size, asked="closed_form_rates")
    require(np.ndim(batch_size) == 0, "the shape of batch_size", np.shape(batch_size), "give a number")
    remedy = "the closed form knows no weight decay: use optimize_schedule, or leave the decay out"
    require(not is_anchored(optimizer), "optimizer", shown(optimizer), remedy)
    lengths = piece_lengths(steps, steps if pieces is None else pieces)
    return ForgettingKernel(problem, optimizer).plan(float(batch_size), lengths)


class ForgettingKernel:
    """What the closed form of the rates needs of a problem and an optimizer, for any number of steps and batch size."""

    def __init__(self, problem: NoisyQuadratic, optimizer: LinearOptimizer) -> None:
        scale = np.asarray(optimizer.gradient_scale(problem.curvature)) * np.ones_like(problem.curvature)
        speed = np.where(problem.curvature > 0, scale * problem.curvature, 0.0)
        busy = speed > 0
        require(bool(busy.any()), "the largest curvature", 0, "give a direction with curvature")
        weight = 0.5 * (problem.count * problem.curvature)[busy]
        speed, spread, start = speed[busy], (problem.noise * scale**2)[busy], problem.initial[busy]
        values = hyperparameters(optimizer)
        unit = optimizer.replace(learning_rate=1.0).effective_learning_rate if "learning_rate" in values else 1.0
        self.amplification = unit if np.isfinite(unit) else 1.0
        self.remaining = np.concatenate([[0.0], np.geomspace(1e-6 / speed.max(), 40 / speed.min(), GRID)])
        decay = np.exp(-2 * self.remaining[:, None] * speed)
        kernel = decay @ (weight * spread)
        self.root = np.sqrt(kernel)
        self.effort = cumulative_trapezoid(self.root, self.remaining, initial=0)
        self.power = cumulative_trapezoid(kernel, self.remaining, initial=0)
        self.bias = decay @ (weight * start)

    def plan(self, batch_size: float, lengths: np.ndarray, cap: float = np.inf) -> Plan:
        """The plan of pieces of these lengths, each with its mean rate, none above `cap`."""
        steps = float(lengths.sum())
        left = steps - np.concatenate([[0], np.cumsum(lengths)])
        total = int(np.argmin(self.bias + self.effort**2 / (batch_size * steps)))
        if self.effort[total] == 0:  # without noise any rate will do that arrives
            integral = left / steps * self.remaining[total]
        else:
            integral = np.interp(left * self.effort[total] / steps, self.effort, self.remaining)
        cap = cap * self.amplification
        if self.effort[total] > steps * cap * max(self.root[total], 1e-300):
            integral = self._capped(batch_size, steps, left, cap)
        rates = np.minimum(-np.diff(integral) / lengths, cap) / self.amplification
        return Plan(rates, steps=lengths, batch_size=batch_size)

    def _capped(self, batch_size: float, steps: float, left: np.ndarray, cap: float) -> np.ndarray:
        """The remaining integral of the best rates `min(cap, k / sqrt(K))`; where they meet is sought on the grid."""
        meet = self.remaining
        with np.errstate(divide="ignore", invalid="ignore"):
            time = np.nan_to_num(self.effort / (cap * self.root), nan=np.inf)
        total = meet + cap * (steps - time)
        at_cap = np.interp(total, self.remaining, self.power) - self.power
        risk = np.interp(total, self.remaining, self.bias) + cap * (self.root * self.effort + at_cap) / batch_size
        best = int(np.argmin(np.where(time <= steps, risk, np.inf)))
        decayed = np.interp(left * cap * self.root[best], self.effort, self.remaining)
        return np.where(left <= time[best], decayed, meet[best] + cap * (left - time[best]))


def optimal_batch_sizes(
    problem: NoisyQuadratic,
    optimizer: LinearOptimizer,
    plan: Plan,
    examples: float,
    *,
    smallest: float = 1.0,
    largest: float = np.inf,
) -> Plan:
    r"""The plan with the batch sizes that reach the least final risk with so many examples, its rates kept.

    `B_j = clip(lambda sqrt(w_j / n_j), smallest, largest)` (see `nqmjax.schedules.closed_forms`): exact, for any linear
    optimizer.

    Args:
      problem: the quadratic.
      optimizer: scalar hyperparameters, used where the plan does not name them.
      plan: its batch sizes are replaced.
      examples: budget `D` of the whole plan.
      smallest: least batch size.
      largest: greatest batch size.

    Returns:
      the plan; batch sizes are real numbers, see `Plan.whole_batches`.

    Raises:
      ValueError: the budget does not allow the smallest batch size throughout, or exceeds the largest; or the plan diverges:
        a rate beyond the stability edge takes it above the initial risk.

    >>> from nqmjax import SGD, power_law, run
    >>> plan = Plan([0.5, 0.5, 0.5], steps=[100, 100, 100], batch_size=20)
    >>> better = optimal_batch_sizes(power_law(10), SGD(0.5), plan, examples=plan.total_examples)
    >>> better.batch_size.round(1), bool(run(power_law(10), SGD(0.5), better)[-1] < run(power_law(10), SGD(0.5), plan)[-1])
    (array([ 1.,  1., 58.]), True)

    Source: nqmjax's own derivation, above.
    """
    check_plan(problem, optimizer, plan)
    check_budget(plan.steps, examples, smallest, largest)
    weights = noise_weights(problem, optimizer, plan)
    found = plan.replace(batch_size=water_filling(weights, np.asarray(plan.steps), examples, smallest, largest))
    risk = run(problem, optimizer, found)[-1]
    if not risk <= problem.initial_risk and "learning_rate" in hyperparameters(optimizer):
        fast = unstable_pieces(problem, optimizer, plan)
        edge = f"keep rates below the stability edge, give at most {learning_rate_cap(problem, optimizer):.4g}"
        require(not fast.any(), "the final risk of the plan", f"{risk:.4g}", f"it diverges: {edge}")
    return found


def noise_weights(problem: NoisyQuadratic, optimizer: LinearOptimizer, plan: Plan) -> np.ndarray:
    """`w_j` of each piece: the final risk is affine in the pieces' `1 / B_j`, and these are its slopes."""
    settings, steps = optimizer.replace(**plan.hyperparameters), np.asarray(plan.steps, np.uint32)
    kernel = functools.partial(_noise_weights, levels=doublings(int(steps.max())))
    return np.maximum(evaluate(kernel, problem, settings, 1 / np.asarray(plan.batch_size), steps), 0)


@functools.partial(jax.jit, static_argnames="levels")
def _noise_weights(problem: Any, optimizer: Any, inverse_batch: Any, steps: Any, levels: int) -> jax.Array:
    final = lambda inverse: quick_risks_of_pieces(problem, optimizer, inverse, steps, levels)[-1]  # noqa: E731
    return jax.grad(final)(jnp.asarray(inverse_batch))


def water_filling(weights: np.ndarray, steps: np.ndarray, examples: float, smallest: float, largest: float) -> np.ndarray:
    """Batch sizes `clip(lambda sqrt(w / n), smallest, largest)` with `sum n B = examples`.

    >>> water_filling(np.array([1.0, 4.0]), np.array([10, 10]), examples=300, smallest=1, largest=100)
    array([10., 20.])
    """
    check_budget(steps, examples, smallest, largest)
    require(
        bool(np.isfinite(weights).all()), "the final risk of the plan", "not finite", "it diverges: lower its learning rates"
    )
    total, share, least = steps.sum(), np.sqrt(weights / steps), smallest * steps.sum()

    def sizes(level: float) -> np.ndarray:
        return np.clip(np.exp(level) * share, smallest, largest)

    if examples <= least * (1 + 1e-12):
        return np.full(len(steps), float(smallest))
    if share.max() == 0:  # nothing is noisy: spend evenly
        return np.full(len(steps), examples / total)
    positive = share[share > 0]
    low = np.log(smallest / positive.max())
    high = np.log(max(examples, smallest) / positive.min())
    if steps @ sizes(high) <= examples:  # pieces without noise are what is left over
        return sizes(high)
    spent = root_scalar(lambda level: steps @ sizes(level) - examples, bracket=(low, high), xtol=1e-15)
    return sizes(spent.root)


def check_budget(steps: np.ndarray, examples: float, smallest: float, largest: float) -> None:
    """Raise `ValueError` unless batch sizes from the smallest to the largest can spend so many examples."""
    total = steps.sum()
    require(np.isfinite(scalar("examples", examples)), "examples", examples, "give a finite number")
    require(scalar("largest", largest) >= 1, "largest", largest, "give a batch size of at least 1")
    valid = 1 <= scalar("smallest", smallest) <= largest
    require(valid, "smallest", smallest, f"give a batch size from 1 to the largest, {largest:g}")
    least, most = smallest * total, largest * total
    require(examples >= least, "examples", f"{examples:g}", f"give at least {least:g}, batch size {smallest:g} throughout")
    require(examples <= most, "examples", f"{examples:g}", f"give at most {most:g}, batch size {largest:g} throughout")
