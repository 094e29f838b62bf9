r"""The noise scale of a network from norms of its gradients at two or more batch sizes.

The mean gradient `g_B` of a batch of `B` examples has `E |g_B|^2 = |G|^2 + tr C / B`, `G` the gradient of the population and
`C` the covariance of the gradients of single examples. So the mean square norms at several batch sizes lie on a line in
`1/B`, whose intercept and slope are estimated without bias; the noise scale `B_simple = tr C / |G|^2` is the ratio of these
two. (A mean of ratios, one for each step, would be biased and have no finite variance.) Steps of a run are not independent:
intervals are those of a bootstrap of blocks of consecutive steps (Kuensch 1989).
"""

import os
import textwrap
from typing import Any, NamedTuple

import numpy as np

from nqmjax._tools import TEXT, Columns, check_values, input_file, numeric, read_table, require, scalar, whole

COLUMNS = Columns(
    required=("batch_size",),
    known=("step", "batch_size", "square_norm", "norm"),
    aliases={
        "step": ("steps", "iteration", "update", "t", "k", "globalstep"),
        "batch_size": ("batch", "b", "bs", "batchsizes", "examples"),
        "square_norm": (
            *("squarenorms", "squarednorm", "normsquared", "normsquare", "sqnorm", "normsq", "gradsq", "gradnormsq", "norm2"),
            *("squaregradientnorm", "gradientnormsquared", "gradnormsquared", "gradsquarednorm", "gradsqnorm", "gsq"),
        ),
        "norm": ("norms", "gradnorm", "gradientnorm", "gnorm"),
    },
)
REPLICATES = 1000
"""Draws of the bootstrap."""

MEMORY = 0.4
"""Power of the number of steps that is the length of a block."""

BLOCKS = 8
"""Blocks of steps from which on a bootstrap says something."""

FEWER = 3
"""Blocks less than there are in each draw: draws of all n vary by too little, by 1/n as of any mean and by 1.9/n because the
90% interval of Student's t is that much wider than the normal one."""

UNIT = "give squares of norms of mean gradients, not of sums over the batch, before clipping and without weight decay"


class MeasuredNoise(NamedTuple):
    """What `noise_scale_from_norms` finds; `print` says it in words.

    `noise_scale` (examples) is inf where `square_gradient` is not positive and 0 where `noise` is not; `lower` and `upper`
    are the ends of its interval, NaN where there are too few steps for one. `square_gradient` is the estimate of `|G|^2`,
    `noise` that of `tr C`, the variance of the gradient of one example. `steps` and `block` are counts of steps: all, and
    those of a block.
    """

    noise_scale: float
    lower: float
    upper: float
    square_gradient: float
    noise: float
    level: float
    steps: int
    block: int

    def __str__(self) -> str:
        text = f"noise scale {self.noise_scale:.4g} examples"
        if np.isfinite(self.lower):
            text += f" ({100 * self.level:.3g}% interval {self.lower:.3g} to {self.upper:.3g}, {self.steps} steps)"
        else:
            text += f" ({self.steps} steps, too few for an interval: give {BLOCKS} or more)"
        if self.square_gradient <= 0:
            text += (
                f"; the estimate of |G|^2, {self.square_gradient:.3g}, is not positive: noise hides the gradient, and the "
                "noise scale is only bounded from below; log more steps or a larger largest batch size"
            )
        elif self.noise <= 0:
            text += (
                f"; the estimate of tr C, {self.noise:.3g}, is not positive: these batch sizes show no noise, and the "
                "noise scale is only bounded from above; log a smaller smallest batch size"
            )
        elif self.upper == np.inf:
            text += "; the gradient may be hidden by noise altogether: log more steps or a larger largest batch size"
        return textwrap.fill(text, 80)

    __repr__ = __str__


def noise_scale_from_norms(
    batch_sizes: Any, square_norms: Any, steps: Any = None, *, level: float = 0.9, block: int | None = None, seed: int = 0
) -> MeasuredNoise:
    r"""The noise scale `B_simple = tr C / |G|^2` from square norms of gradients at two or more batch sizes.

    In data-parallel training both come for free: the square norm of each device's gradient, at the batch size of one device,
    and that of the averaged gradient. The means over all steps of `|g_B|^2` are fitted by `|G|^2 + tr C / B` (with two batch
    sizes exactly, with more by least squares of relative deviations), and the ratio is taken last.

    Args:
      batch_sizes: examples behind each gradient, shape `(n,)`.
      square_norms: squares of the norms of mean gradients, shape `(n,)`, one row of a log each; or `(steps, n)`, a row for each
        step.
      steps: the step of each row of a log, shape `(n,)`; None takes the rows of each batch size to be steps in order.
      level: of the interval.
      block: consecutive steps that the bootstrap keeps together, longer than the norms' memory; by default the number of steps
        to the power 0.4, rounded up.
      seed: of the bootstrap.

    Returns:
      `MeasuredNoise`.

    Raises:
      ValueError: there is only one batch size, batch sizes were measured at different times, a norm is not positive, the norms
        rise with the batch size as those of sums do, or another argument is out of its range.

    >>> draws = np.random.default_rng(0).normal(size=(500, 2, 100)) * 3 / np.sqrt([[8], [64]])  # tr C is 900
    >>> print(noise_scale_from_norms([8, 64], ((draws + 0.2) ** 2).sum(-1)))  # |G|^2 is 4
    noise scale 229.9 examples (90% interval 215 to 246, 500 steps)

    Source: McCandlish et al. 2018, "An empirical model of large-batch training", appendix A.1.
    """
    sizes, norms, times = _log(batch_sizes, square_norms, steps)
    level = scalar("level", level)
    require(0 < level < 1, "level", level, "give a share between 0 and 1")
    distinct, column = np.unique(sizes, return_inverse=True)
    require(distinct.size > 1, "the number of batch sizes", distinct.size, "norms at two or more batch sizes are needed")
    _check_times(distinct, column, times)
    moments, row = np.unique(times, return_inverse=True)
    sums, counts = (np.zeros((moments.size, distinct.size)) for _ in range(2))
    np.add.at(sums, (row, column), norms)
    np.add.at(counts, (row, column), 1)
    length = int(np.ceil(moments.size**MEMORY)) if block is None else whole("block", block)
    seed = whole("seed", seed, 0)
    square, noise = _line(distinct, sums.sum(0), counts.sum(0))
    lower = upper = np.nan
    if moments.size // length >= BLOCKS:
        draws = _bootstrap(sums, counts, length, seed)
        squares, noises = _line(distinct, *draws)
        _check_unit(distinct, sums.sum(0) / counts.sum(0), noises)
        lower, upper = np.quantile(_ratio(squares, noises), [0.5 - level / 2, 0.5 + level / 2], method="inverted_cdf")
    return MeasuredNoise(
        noise_scale=float(_ratio(square, noise)),
        lower=float(lower),
        upper=float(upper),
        square_gradient=float(square),
        noise=float(noise),
        level=level,
        steps=moments.size,
        block=length,
    )


def read_norms(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """A log of gradient norms, as `noise_scale_from_norms` takes it.

    Args:
      path: a CSV file with the columns `batch_size` (examples behind the gradient), `square_norm` (or `norm`, which is
        squared row by row) and, unless the rows of each batch size are steps in order, `step`; or other common names of
        these.

    Returns:
      `(batch_sizes, square_norms, steps)`, `steps` None if the file has none.

    Raises:
      ValueError: the file is missing or no CSV, lacks a column, or an entry is no number that it can be.

    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "log.csv")
    ...     _ = path.write_text("step,batch,grad_norm\\n0,32,3\\n0,256,2\\n")
    ...     read_norms(path)
    (array([ 32., 256.]), array([9., 4.]), array([0., 0.]))
    """
    path = input_file(path, *TEXT)
    table = read_table(path, COLUMNS)
    given = [name for name in ("square_norm", "norm") if name in table.columns]
    remedy = "give one column with square norms of gradients, 'square_norm', or with their norms, 'norm'"
    require(len(given) == 1, f"the list of columns in {path}", ", ".join(map(repr, table.titles.values())), remedy)
    table.check("batch_size", lambda values: values >= 1, "give examples behind the gradient, at least 1")
    table.check(given[0], lambda values: values > 0, "give a positive number; leave out steps without a gradient")
    if "step" in table.columns:
        table.check("step", np.isfinite, "give the number of the step")
    values = table.columns[given[0]]
    return table.columns["batch_size"], values if given == ["square_norm"] else values**2, table.columns.get("step")


def _log(batch_sizes: Any, square_norms: Any, steps: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Batch size, square norm and step of each row, checked."""
    sizes, norms = numeric("batch_sizes", batch_sizes), numeric("square_norms", square_norms)
    good = sizes.ndim == 1 and norms.ndim in (1, 2) and norms.shape[-1:] == sizes.shape and norms.size > 0
    remedy = "give two 1-D arrays of one length, or square norms of shape (steps, number of batch sizes)"
    require(good, "the shape of (batch_sizes, square_norms)", (sizes.shape, norms.shape), remedy)
    check_values("batch_sizes", sizes, np.isfinite(sizes) & (sizes >= 1), "give examples behind each gradient, at least 1")
    check_values("square_norms", norms, np.isfinite(norms) & (norms > 0), f"{UNIT}; leave out steps without a gradient")
    if norms.ndim == 2:
        require(steps is None, "steps", steps, "square norms of shape (steps, n) have theirs already; leave it out")
        return np.tile(sizes, len(norms)), norms.ravel(), np.repeat(np.arange(len(norms)), sizes.size)
    if steps is None:
        times = np.empty(sizes.size)
        for size in np.unique(sizes):
            times[sizes == size] = np.arange(np.count_nonzero(sizes == size))
        return sizes, norms, times
    times = numeric("steps", steps)
    require(times.shape == norms.shape, "the shape of steps", times.shape, f"give {norms.size}, one for each square norm")
    check_values("steps", times, np.isfinite(times), "give the number of the step")
    return sizes, norms, times


def _check_times(sizes: np.ndarray, column: np.ndarray, times: np.ndarray) -> None:
    """Gradients shrink along a run, so that batch sizes of different times cannot be compared."""
    spans = [(times[column == place].min(), times[column == place].max()) for place in range(sizes.size)]
    first, last = max(low for low, _ in spans), min(high for _, high in spans)
    apart = " and ".join(f"{low:g} to {high:g} at {size:g}" for size, (low, high) in zip(sizes[:2], spans, strict=False))
    require(first <= last, "the range of steps", apart, "batch sizes are compared at the same time: give norms of one stretch")


def _line(sizes: np.ndarray, sums: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Intercept and slope of the mean square norms, `(..., sizes)`, in `1/B`, by least squares of relative deviations."""
    mean = sums / counts
    weight = counts / mean**2
    weight = weight / weight.sum(-1, keepdims=True)
    inverse = 1 / sizes
    center, level = (weight * inverse).sum(-1, keepdims=True), (weight * mean).sum(-1, keepdims=True)
    slope = (weight * (inverse - center) * (mean - level)).sum(-1) / (weight * (inverse - center) ** 2).sum(-1)
    return level[..., 0] - slope * center[..., 0], slope


def _ratio(square: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """`tr C / |G|^2`: inf where noise hides the gradient, 0 where there is no noise."""
    hidden = square <= 0
    return np.where(hidden, np.inf, np.maximum(noise, 0) / np.where(hidden, 1, square))


def _bootstrap(sums: np.ndarray, counts: np.ndarray, length: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums and counts, `(draws, sizes)`, of blocks of so many steps in a row, drawn with replacement; the ends are joined."""
    generator, steps = np.random.default_rng(seed), len(sums)

    def blocks(values: np.ndarray) -> np.ndarray:
        total = np.cumsum(np.concatenate([np.zeros_like(values[:1]), values, values[: length - 1]]), axis=0)
        return total[length:] - total[:-length]

    start = generator.integers(steps, size=(REPLICATES, steps // length - FEWER))
    drawn = blocks(sums)[start].sum(1), blocks(counts)[start].sum(1)
    complete = (drawn[1] > 0).all(-1)
    return drawn[0][complete], drawn[1][complete]


def _check_unit(sizes: np.ndarray, means: np.ndarray, noises: np.ndarray) -> None:
    """Norms that surely rise with the batch size are not those of mean gradients."""
    rising = f"{means[0]:.3g} at batch size {sizes[0]:g} and {means[-1]:.3g} at {sizes[-1]:g}"
    require(bool(np.mean(noises <= 0) < 0.999), "the mean of square_norms", rising, f"they cannot rise: {UNIT}")
