r"""From a loss, parameters and data to a measurement: a table of curvature, noise and noise scales, and a quadratic made of it.

What `Measurement.problem` makes of the table: a mode stands for `count` directions of curvature `h` with noise `c`; the energy
`e` of the gradient at a curvature `h` is a distance from the optimum of `e / h^2`, whose part of the loss, `e / 2h`, is shared
out among the two modes next to it such that both the loss and the energy stay what they are. A quadratic whose loss at the
start would be larger than the loss that was measured has its distances damped, `e / (h + d)^2`, until it is not; otherwise
what the quadratic does not explain of the loss is its irreducible part.
"""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from scipy.optimize import brentq

from nqmjax._tools import ROUND_OFF, clear_round_off, progress_bar, require, whole, write_atomically
from nqmjax.measure.inputs import CHUNK, build
from nqmjax.measure.modes import Modes, find_modes
from nqmjax.measure.network import Network, settings
from nqmjax.measure.noise import DEFINITIONS, ESTIMATORS, LEVEL, Batches, NoiseScales, noise_scales
from nqmjax.problem import NoisyQuadratic, from_spectrum

BATCHES = 32
"""Batches whose gradients are held together for the noise scales, at most."""

FEWEST = 0.01
"""Directions that a mode of a quadratic stands for, at least."""


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What `measure` finds: a table, and the quadratic that it makes.

    Args:
      table: Dataset over `mode` of `curvature`, `count` (directions), `noise` (variance of one example's gradient along each)
        and `probe` (-1 for eigenvectors found by themselves); over `gradient_mode` of `gradient_curvature` and
        `gradient_energy` (squared length of the gradient there); over `definition` and `estimator` of `noise_scale`, in
        examples, with its interval `noise_scale_lower` and `noise_scale_upper` (the estimators "examples" and "batches" take
        the data for a sample, "all_data" for all that training draws from); and of the numbers `loss`,
        `gradient_square_norm`, `noise_trace`, `largest_curvature`, `curvature_trace` and `effective_rank`.
    """

    table: xr.Dataset

    def problem(self, clip: bool = False) -> NoisyQuadratic:
        r"""The quadratic of this measurement, in the network's own units of loss and learning rate.

        Args:
          clip: whether directions of negative curvature, which a quadratic cannot have, become flat; by default they are
            refused. Those that are negative by round-off alone, as of a Gauss-Newton matrix, always do.

        Raises:
          ValueError: the curvature is negative in places, or nowhere above 0.
        """
        table = self.table
        curvature, along = self._not_negative("curvature", clip), self._not_negative("gradient_curvature", clip)
        kept = table["count"].values >= FEWEST
        curvature, count, noise = curvature[kept], table["count"].values[kept], table.noise.values[kept]
        count[np.argmin(curvature)] += table["count"].values[~kept].sum()
        require(bool(curvature.any()), "every curvature", 0, "the loss is flat here: there is nothing to learn")
        steep = along > ROUND_OFF * curvature.max()
        damped, irreducible = _start(along[steep], table.gradient_energy.values[steep], float(table.loss))
        shares = _shared_out(curvature, along[steep], damped)
        initial = np.divide(2 * shares, curvature * count, out=np.zeros_like(shares), where=curvature > 0)
        return from_spectrum(curvature, count, noise, initial, irreducible)

    def write_spectrum(self, path: str | os.PathLike, force: bool = False, clip: bool = False) -> None:
        """Write the modes of `problem` as a table that `read_spectrum` and the option `--spectrum` read.

        Args:
          path: name of the file, ending in `.csv`.
          force: whether a file that exists may be replaced.
          clip: see `problem`.

        Raises:
          ValueError: see `problem`; or the file cannot be written.
        """
        require(str(path).lower().endswith(".csv"), "path", path, "give a file whose name ends in .csv")
        problem = self.problem(clip)
        columns = zip(problem.curvature, problem.count, problem.noise, problem.initial, strict=True)
        rows = [",".join(f"{value:.12g}" for value in row) for row in columns]
        about = f"# Modes of a network; irreducible loss {problem.irreducible:.9g}"
        text = "\n".join([about, "eigenvalue,count,noise,initial", *rows]) + "\n"
        write_atomically(path, lambda temporary: Path(temporary).write_text(text, encoding="utf-8"), force)

    def _not_negative(self, name: str, clip: bool) -> np.ndarray:
        values = clear_round_off(self.table[name].values)
        remedy = "clip it to 0 (clip=True), or measure the Gauss-Newton matrix, which has none: apply(params, inputs) and loss"
        least, largest = values.min(initial=0.0), np.abs(values).max(initial=0.0)
        semidefinite = self.table.attrs["matrix"] == "gauss_newton" and least >= -1e-3 * largest
        require(clip or semidefinite or least >= 0, "the least curvature", float(least), remedy)
        return np.maximum(values, 0.0)


def measure(
    function: Callable,
    params: Any,
    data: Any,
    *,
    loss: Any = None,
    matrix: str | None = None,
    lanczos_steps: int = 30,
    probes: int = 4,
    batch_size: int | None = None,
    chunk: int = CHUNK,
    seed: int = 0,
    progress: bool = True,
) -> Measurement:
    r"""Curvature, gradient noise along it, and noise scales of a network, measured at its parameters.

    The spectrum is that of the Hessian or of the Gauss-Newton matrix: eigenvectors of large curvature one by one, all other
    directions by stochastic Lanczos quadrature with full reorthogonalisation. It takes `(probes + 2) lanczos_steps` products
    with vectors and about as many forward passes over the data, in float32, and holds some `4 lanczos_steps` vectors of
    parameters and what a chunk of examples needs.

    Args:
      function: `loss(params, batch)`, the mean loss of a batch as one number; or with `loss` given `apply(params, inputs)`, the
        outputs of a batch, whose first axis is that of the inputs.
      params: tree of floating-point arrays, those that are trained.
      data: tree of arrays whose first axis counts the examples, `batch` is a part of it; with `loss` given a pair of inputs and
        targets.
      loss: "cross_entropy" (labels or probabilities), "squared_error" (half the squared distance, summed over outputs), or a
        function of outputs and targets that returns the mean loss of a batch.
      matrix: "hessian" or "gauss_newton"; None for the latter if `loss` is given.
      lanczos_steps: products of a Lanczos run, at least 2.
      probes: random vectors for the directions that are not found one by one.
      batch_size: examples in the batches whose gradients are compared for noise scales; None for a 32nd of the data. At most 32
        batches are compared, and there must be two.
      chunk: examples that are worked on together, at most.
      seed: a whole number; the same one gives the same measurement.
      progress: whether to show a bar where it takes long.

    Returns:
      `Measurement`, whose `table` has it all and whose `problem()` is the quadratic. Intervals are 90% intervals, from a
      bootstrap over batches.

    Raises:
      ValueError: the loss is no differentiable number, is not finite somewhere or not the mean over examples; parameters
        are not floating point; axes of the data disagree; there are fewer examples than two batches; another argument is out of
        its range.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(500, 3)) * [2.0, 1.0, 0.5]
    >>> y = x @ [1.0, 1.0, 1.0] + rng.normal(size=500)
    >>> found = measure(lambda w, x: x @ w, np.zeros(3, np.float32), (x, y), loss="squared_error")
    >>> found.problem().curvature.round(2), np.linalg.eigvalsh(x.T @ x / 500)[::-1].round(2)
    (array([3.9 , 0.92, 0.26]), array([3.9 , 0.92, 0.26]))

    Source: Zhang et al. 2019, appendices E.2 and E.4; McCandlish et al. 2018 (noise scales).
    """
    steps, probes, seed = whole("lanczos_steps", lanczos_steps, least=2), whole("probes", probes), whole("seed", seed, least=0)
    rng = np.random.default_rng(seed)
    with settings():
        network = build(function, params, data, rng, loss=loss, matrix=matrix, chunk=chunk)
        size, batches = _batches(network.count, batch_size)
        passes = steps * (2 * probes + 3) + batches
        with progress_bar(total=passes, desc="measure", unit=" passes", progress=progress) as bar:
            losses, square_norms = network.single_losses()
            gradient = network.gradient()
            square_norm = float(np.square(np.asarray(gradient, np.float64)).sum())
            noise = max(square_norms.mean() - square_norm, 0.0) * network.count / (network.count - 1)
            modes = find_modes(network, gradient, noise, steps=steps, probes=probes, rng=rng, tick=bar.update)
            groups = _compare(network, size, batches, square_norms, modes.curved_noise, bar.update)
    about = {
        "matrix": "hessian" if network.outputs is None else "gauss_newton",
        "loss": loss if isinstance(loss, str) else "a function",
        "parameters": network.size,
        "examples": network.count,
        "batch_size": size,
        "batches": batches,
        "lanczos_steps": steps,
        "probes": probes,
        "seed": seed,
        "noise_rescaling": modes.rescaling,
    }
    totals = {"loss": float(losses.mean()), "gradient_square_norm": square_norm, "noise_trace": noise}
    whole_noise = np.array([noise, modes.curved_noise.mean()]) * (network.count - 1) / network.count
    signal = np.array([square_norm, modes.gradient_energy @ modes.gradient_curvature])
    return Measurement(_table(modes, noise_scales(groups, whole_noise, signal, rng), totals, about))


def _batches(examples: int, batch_size: int | None) -> tuple[int, int]:
    """Examples in each batch, and how many batches."""
    size = max(examples // BATCHES, 1) if batch_size is None else whole("batch_size", batch_size)
    remedy = f"give at most {examples // 2}: two batches of the {examples} examples"
    require(2 * size <= examples, "batch_size", batch_size, remedy)
    return size, min(examples // size, BATCHES)


def _compare(
    network: Network, size: int, batches: int, norms: np.ndarray, parts: np.ndarray, tick: Callable[[], object]
) -> Batches:
    every = [network.gradient(batch * size, size) for batch in range(batches)]
    gradients, curved = np.stack(every), []
    for gradient in every:
        curved.append(gradients @ np.asarray(network.product(gradient)))
        tick()
    curved_gram = np.array(curved, np.float64)
    means = [values[: batches * size].reshape(batches, size).mean(1) for values in (norms, parts)]
    return Batches(size, (gradients @ gradients.T).astype(np.float64), (curved_gram + curved_gram.T) / 2, *means)


def _table(modes: Modes, scales: NoiseScales, totals: dict[str, float], about: dict[str, Any]) -> xr.Dataset:
    order, along = np.argsort(-modes.curvature, kind="stable"), np.argsort(-modes.gradient_curvature, kind="stable")
    largest, trace = float(modes.curvature.max()), float(modes.count @ modes.curvature)
    totals |= {"largest_curvature": largest, "curvature_trace": trace, "effective_rank": trace / (largest or 1.0)}
    grid = ("definition", "estimator")
    texts = {
        "curvature": ("mode", modes.curvature[order], "curvature", "loss"),
        "count": ("mode", modes.count[order], "directions that the mode stands for", "directions"),
        "noise": ("mode", modes.noise[order], "variance of the gradient of one example along each of them", "loss"),
        "probe": ("mode", modes.probe[order], "random vector that the mode comes from, -1 for an eigenvector", "1"),
        "gradient_curvature": ("gradient_mode", modes.gradient_curvature[along], "curvature", "loss"),
        "gradient_energy": ("gradient_mode", modes.gradient_energy[along], "squared length of the gradient there", "loss"),
        "noise_scale": (grid, scales.value, "noise scale", "examples"),
        "noise_scale_lower": (grid, scales.lower, f"lower end of the {100 * LEVEL:g}% interval", "examples"),
        "noise_scale_upper": (grid, scales.upper, f"upper end of the {100 * LEVEL:g}% interval", "examples"),
        **{name: ((), value, name.replace("_", " "), "loss") for name, value in totals.items()},
    }
    texts["effective_rank"] = ((), totals["effective_rank"], "trace of the curvature over the largest", "directions")
    variables = {name: (dims, value, {"long_name": text, "units": unit}) for name, (dims, value, text, unit) in texts.items()}
    coordinates = {"definition": list(DEFINITIONS), "estimator": list(ESTIMATORS)}
    return xr.Dataset(variables, coords=coordinates, attrs={"title": "A network, measured", **about})


def _start(curvature: np.ndarray, energy: np.ndarray, loss: float) -> tuple[np.ndarray, float]:
    """The loss above the optimum that each part of the gradient's energy stands for, and the irreducible loss."""
    most = 0.5 * energy / curvature
    if most.sum() <= loss:
        return most, loss - float(most.sum())
    if loss <= 0:
        return most, 0.0

    def damped(log_damping: float) -> np.ndarray:
        return most * (curvature / (curvature + np.exp(log_damping))) ** 2

    middle = np.log(curvature.max())
    root: Any = brentq(lambda log: np.log(damped(log).sum() / loss), middle - 40, middle + 40)
    return damped(root), 0.0


def _shared_out(grid: np.ndarray, places: np.ndarray, amounts: np.ndarray) -> np.ndarray:
    """Amounts at places, each shared out among the two points of a grid around it: sum and mean place stay; none goes to 0."""
    points, first = np.unique(grid, return_index=True)
    first, points = first[points > 0], points[points > 0]
    found = np.zeros(grid.size)
    after = np.clip(np.searchsorted(points, places), 1, max(len(points) - 1, 1)) if len(points) > 1 else None
    if after is None:
        found[first] = amounts.sum()
        return found
    part = np.clip((places - points[after - 1]) / (points[after] - points[after - 1]), 0.0, 1.0)
    np.add.at(found, first[after - 1], amounts * (1 - part))
    np.add.at(found, first[after], amounts * part)
    return found
