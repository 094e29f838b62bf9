"""Figures of Zhang et al. 2019, those with constant hyperparameters: what computes their tables, and what draws them."""

import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from tqdm import tqdm

from nqmjax.checks import check_choice
from nqmjax.dynamics import risk, risk_curve, spectral_radius, stationary_risk
from nqmjax.figures.curves import powers_figure, rates_figure, targets_figure
from nqmjax.figures.risks import decay_figure, effective_rate_figure, momentum_figure
from nqmjax.optimizers import SGD, HeavyBall
from nqmjax.problem import NoisyQuadratic, from_spectrum, power_law
from nqmjax.scaling import scaling_curves


class PaperFigure(NamedTuple):
    """What a figure shows, what computes its table (told whether to show progress), and what draws it."""

    description: str
    table: Callable[[bool], xr.Dataset]
    draw: Callable[[xr.Dataset], Figure]


def paper_problem() -> NoisyQuadratic:
    """`H = C = diag(1/i)` of 10^4 directions, in 100 groups (section 3.5)."""
    return power_law(10_000).quantize(100)


def paper_batch_sizes() -> np.ndarray:
    """`2^2, 2^4 .. 2^20` (section 3.7)."""
    return 2.0 ** np.arange(2, 21, 2)


def find_figure(name: str) -> str:
    """The figure's name in `PAPER_FIGURES`, whatever the spelling: "3a", "fig3a", "Figure-3A", "e3".

    Raises:
      ValueError: there is no such figure; the message names the nearest.

    >>> find_figure("fig-e3")
    'E.3'
    """

    def plain(text: str) -> str:
        letters = "".join(letter for letter in text.lower() if letter.isalnum())
        return letters.removeprefix("figure").removeprefix("fig")

    known = {plain(key): key for key in PAPER_FIGURES}
    found = known.get(plain(name), plain(name))
    check_choice("figure", found, PAPER_FIGURES)
    return found


def decay_table(progress: bool = True) -> xr.Dataset:
    """Figure 1: a steep and a flat direction, each of risk 1 at the start, under SGD whose rate drops to a tenth."""
    rate, drop, last, factor = 1.0, 100, 400, 10.0
    curvatures = [0.5, 0.01]
    rows = []
    for curvature in curvatures:
        start = from_spectrum([curvature], initial=2 / curvature)
        constant = risk_curve(start, SGD(rate), batch_size=1, num_steps=last)
        halfway = from_spectrum([curvature], initial=2 / curvature * constant[drop])
        rest = risk_curve(halfway, SGD(rate / factor), batch_size=1, num_steps=last - drop)
        rows.append([constant, np.concatenate([constant[:drop], rest])])
    return xr.Dataset(
        {"risk": (("curvature", "schedule", "steps"), np.array(rows))},
        coords={"curvature": curvatures, "schedule": ["constant", "dropped"], "steps": np.arange(last + 1)},
        attrs={"drop": drop, "factor": factor},
    )


def momentum_table(progress: bool = True) -> xr.Dataset:
    """Figure 2: one direction of curvature 1 at the rate 0.0005 and batch size 1."""
    rate, curvature = 0.0005, 1.0
    distance = np.logspace(-4, 0, 201)
    problem = from_spectrum([curvature])
    methods = {
        "momentum": HeavyBall(rate, 1 - distance),
        "SGD": SGD(np.full(distance.shape, rate)),
        "SGD, effective rate": SGD(rate / distance),
    }
    dims = ("optimizer", "distance")
    return xr.Dataset(
        {
            "convergence_rate": (dims, np.stack([1 - spectral_radius(method, curvature) for method in methods.values()])),
            "stationary_risk": (dims, np.stack([stationary_risk(problem, method, 1) for method in methods.values()])),
        },
        coords={"optimizer": list(methods), "distance": distance},
        attrs={"critical": 1 - (1 - np.sqrt(rate * curvature)) ** 2},
    )


def effective_rate_table(progress: bool = True) -> xr.Dataset:
    """Figure of section E.3: heavy ball against SGD at its effective rate, small and large."""
    momentum, batch_size = 0.9, 2**12
    rates, steps = np.array([0.02, 1.5]), np.unique(np.logspace(0, 6, 240).astype(int))
    methods = {"momentum": HeavyBall(rates[:, None] * (1 - momentum), momentum), "SGD": SGD(rates[:, None])}
    risks = np.stack([risk(paper_problem(), method, batch_size, steps) for method in methods.values()], axis=1)
    return xr.Dataset(
        {"risk": (("effective_learning_rate", "optimizer", "steps"), risks)},
        coords={"effective_learning_rate": rates, "optimizer": list(methods), "steps": steps},
        attrs={"momentum": momentum, "batch_size": batch_size},
    )


def curves_table(optimizers: Sequence[str], progress: bool = True) -> xr.Dataset:
    """Figures 3a, 4 and 14: tuned curves at four powers, target 0.01."""
    return scaling_curves(paper_problem(), paper_batch_sizes(), 0.01, optimizers, progress=progress)


def targets_table(progress: bool = True) -> xr.Dataset:
    """Figure of section E.5: figure 3a for easier and harder targets."""
    targets = [1.0, 0.1, 0.01, 0.001]
    parts: list[xr.Dataset] = []
    for target in tqdm(targets, desc="targets", disable=not progress, leave=False):
        parts.append(scaling_curves(paper_problem(), paper_batch_sizes(), target, ["sgd", "heavy_ball"], progress=progress))
    return xr.concat(parts, "target", combine_attrs="override")


_MOMENTUM, _AVERAGE = functools.partial(curves_table, ["sgd", "heavy_ball"]), functools.partial(curves_table, ["sgd", "ema"])

PAPER_FIGURES: Mapping[str, PaperFigure] = MappingProxyType(
    {
        "1": PaperFigure("risk of single directions with and without learning-rate decay", decay_table, decay_figure),
        "2": PaperFigure("convergence rate and stationary risk against momentum", momentum_table, momentum_figure),
        "3a": PaperFigure("steps to target against batch size, SGD and momentum", _MOMENTUM, powers_figure),
        "4": PaperFigure("steps to target against batch size, SGD with and without EMA", _AVERAGE, powers_figure),
        "14": PaperFigure("tuned learning rates against batch size, SGD and momentum", _MOMENTUM, rates_figure),
        "E.3": PaperFigure("momentum against SGD at its effective learning rate", effective_rate_table, effective_rate_figure),
        "E.5": PaperFigure("steps to target against batch size for several targets", targets_table, targets_figure),
    }
)
"""The figures by their names in the paper; "E.3" and "E.5" are those of its appendix sections."""
