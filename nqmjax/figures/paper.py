"""Figures of Zhang et al. 2019, of the regimes of Smith et al. 2020, and the catalogue of all figures of papers."""

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from nqmjax._tools import no_choice, progress_bar
from nqmjax.dynamics import risk, risk_curve, spectral_radius, stationary_risk
from nqmjax.figures import gao, training
from nqmjax.figures.curves import powers_figure, rates_figure, targets_figure
from nqmjax.figures.risks import decay_figure, effective_rate_figure, momentum_figure
from nqmjax.figures.schedules import budget_figure, final_rates_figure, optimal_rates_figure
from nqmjax.optimizers import SGD, HeavyBall, Preconditioned, provenance
from nqmjax.problem import NoisyQuadratic, from_spectrum, power_law
from nqmjax.scaling import scaling_curves
from nqmjax.schedules import budget_curve, budget_regimes, steps_to_target_with_schedule


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
    if plain(name) not in known:
        raise ValueError(no_choice("figure", name, list(PAPER_FIGURES), plain(name)))
    return known[plain(name)]


def decay_table(progress: bool = True) -> xr.Dataset:
    """Figure 1: a steep and a flat direction, each of risk 1 at the start, under SGD whose rate drops to a tenth."""
    rate, drop, last, factor = 1.0, 100, 400, 10.0
    curvatures = [0.5, 0.01]
    halves = from_spectrum(curvatures, initial=[2 / curvature for curvature in curvatures])
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
        attrs={"drop": drop, "factor": factor, **provenance(halves, "SGD, rate 1, then 0.1")},
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
        attrs={**provenance(problem, "SGD and heavy ball, rate 0.0005"), "critical": 1 - (1 - np.sqrt(rate * curvature)) ** 2},
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
        attrs={
            **provenance(paper_problem(), f"SGD and heavy ball, momentum {momentum:g}, batch size {batch_size}"),
            "momentum": momentum,
            "batch_size": batch_size,
        },
    )


def curves_table(optimizers: Sequence[str], progress: bool = True) -> xr.Dataset:
    """Figures 3a, 4 and 14: tuned curves at four powers, target 0.01."""
    return scaling_curves(paper_problem(), paper_batch_sizes(), 0.01, optimizers, progress=progress)


def targets_table(progress: bool = True) -> xr.Dataset:
    """Figure of section E.5: figure 3a for easier and harder targets."""
    targets = [1.0, 0.1, 0.01, 0.001]
    parts: list[xr.Dataset] = []
    for target in progress_bar(targets, desc="figure", unit=" targets", delay=0, progress=progress):
        parts.append(scaling_curves(paper_problem(), paper_batch_sizes(), target, ["sgd", "heavy_ball"], progress=progress))
    return xr.concat(parts, "target", combine_attrs="override")


def paper_cap(power: float) -> float:
    """The cap of the learning rate in the authors' code, `2 / (h_max + h_min + 10^-4)` of the preconditioned problem."""
    return 2 / (1 + 10 ** (-4 * (1 - power)) + 1e-4)


def schedules_table(progress: bool = True) -> xr.Dataset:
    """Figure 3b: steps with optimised schedules of 10 pieces, next to tuned constant rates."""
    constant = curves_table(["sgd"], progress)
    cells = list(itertools.product(constant.power.values.tolist(), constant.batch_size.values.tolist()))
    steps = []
    for power, batch_size in progress_bar(cells, desc="figure", unit=" schedules", delay=0, progress=progress):
        optimizer = Preconditioned(SGD(0.1), power)
        found = steps_to_target_with_schedule(
            paper_problem(), optimizer, batch_size, 0.01, 10, max_learning_rate=paper_cap(power)
        )
        steps.append(found.steps)
    scheduled = constant.assign_coords(optimizer=["sgd_schedule"])
    scheduled["steps"] = constant.steps.dims, np.reshape(steps, constant.steps.shape)
    both = xr.concat([constant[["steps"]], scheduled[["steps"]]], "optimizer", join="exact")
    text = "SGD, tuned; SGD, optimised schedule of 10 pieces"
    return both.merge(constant[["bayes_steps", "flat_prior_steps"]]).assign_attrs(provenance(paper_problem(), text))


def optimal_rates_table(progress: bool = True) -> xr.Dataset:
    """Figures 3c and 15: optimal plans of 50 pieces for batch sizes 2^4 .. 2^12, without a preconditioner."""
    batches, plans = 2.0 ** np.arange(4, 13), []
    for batch_size in progress_bar(batches, desc="figure", unit=" schedules", delay=0, progress=progress):
        found = steps_to_target_with_schedule(
            paper_problem(), SGD(0.1), float(batch_size), 0.01, 50, max_learning_rate=paper_cap(0.0)
        )
        plans.append(found)
    return xr.Dataset(
        {
            "learning_rates": (("batch_size", "piece"), np.stack([found.plan.learning_rate for found in plans])),
            "steps": ("batch_size", [found.steps for found in plans]),
        },
        coords={"batch_size": batches},
        attrs={"target": 0.01, **provenance(paper_problem(), "SGD, rates optimised")},
    )


def regimes_table(progress: bool = True) -> xr.Dataset:
    """Figures 1b and 1c of Smith et al. 2020, training loss: two million examples, their schedule."""
    batches, methods = 2.0 ** np.arange(0, 17), {"SGD": (SGD(0.1), 0.0), "momentum 0.9": (HeavyBall(0.1, 0.9), 0.0)}
    methods["momentum 0.9, warm-up"] = (HeavyBall(0.1, 0.9), 0.05)
    curves: list[xr.Dataset] = []
    for optimizer, warmup in methods.values():
        curve = budget_curve(paper_problem(), optimizer, batches, examples=2e6, warmup=warmup, progress=progress)
        curves.append(curve.assign(boundary=budget_regimes(curve).boundary))
    index = xr.DataArray(list(methods), dims="optimizer", name="optimizer")
    table = xr.concat(curves, index, combine_attrs="drop_conflicts")
    return table.assign_attrs(provenance(paper_problem(), "SGD and heavy ball, momentum 0.9, rate tuned"))


_MOMENTUM, _AVERAGE = functools.partial(curves_table, ["sgd", "heavy_ball"]), functools.partial(curves_table, ["sgd", "ema"])

_TO_TARGET = training.trained("to_target", "SGD, heavy ball, Nesterov (momentum 0.9), Adam, EMA of SGD (decay 0.99, or said)")
_HARDEST, _HELD_OUT = "training loss 0.2", "held out accuracy 0.88"
_LOSSES = [f"training loss {value:g}" for value in (0.5, 0.4, 0.3, 0.2)]
_BUDGETED = "heavy ball, momentum 0.9, rates halved ten times in the second half"
_FIRST_EPOCHS = training.trained("first_epochs", "SGD, constant rates, tuned for each method")
_SMALL_FIRST = ["plain", "small first epoch", "small first epoch, a tenth of the rate", "plain, as many updates"]
_METHODS = ["sgd", "heavy_ball", "nesterov", "adam"]

TRAINED: Mapping[str, PaperFigure] = MappingProxyType(
    {
        "5": PaperFigure(
            "training runs: updates to target against batch size, four optimizers",
            _TO_TARGET,
            training.reached_figure(_METHODS, [_HARDEST, _HELD_OUT]),
        ),
        "6": PaperFigure(
            "training runs: updates to target, SGD with and without EMA",
            _TO_TARGET,
            training.reached_figure(["sgd", "ema", "SGD + EMA, decay 0.9"], [_HARDEST, _HELD_OUT]),
        ),
        "7": PaperFigure(
            "training runs: tuned learning rates against batch size, SGD and momentum",
            _TO_TARGET,
            training.best_rates_figure(["sgd", "heavy_ball", "nesterov"], [_HARDEST, _HELD_OUT]),
        ),
        "8": PaperFigure(
            "training runs: updates to four training losses against batch size",
            _TO_TARGET,
            training.reached_figure(_METHODS, _LOSSES),
        ),
        "smith-1": PaperFigure(
            "training runs of as many epochs each (Smith et al. 2020)",
            training.trained("constant_epochs", f"SGD; {_BUDGETED}"),
            training.regimes_figure,
        ),
        "smith-table-1": PaperFigure(
            "training runs of as many updates each (Smith et al. 2020)",
            training.trained("constant_updates", _BUDGETED),
            training.updates_figure,
        ),
        "smith-2": PaperFigure(
            "training runs: best rates by epochs (Smith et al. 2020)",
            training.trained("epoch_budgets", _BUDGETED),
            training.temperature_figure,
        ),
        "gao-10": PaperFigure(
            "training runs: small losses discarded (Gao & Zhong 2020)",
            _FIRST_EPOCHS,
            training.course_figure("held_out_accuracy", ["plain", "small losses discarded"]),
        ),
        "gao-11": PaperFigure(
            "training runs: loss, small first epoch (Gao & Zhong 2020)",
            _FIRST_EPOCHS,
            training.course_figure("training_loss", _SMALL_FIRST),
        ),
        "gao-12": PaperFigure(
            "training runs: accuracy, small first epoch (Gao & Zhong 2020)",
            _FIRST_EPOCHS,
            training.course_figure("held_out_accuracy", _SMALL_FIRST),
        ),
        "gao-16": PaperFigure(
            "training runs: accuracy with rates of layers (Gao & Zhong 2020)",
            training.trained("layer_rates", "SGD, heavy ball, LARS, LAMB; SGD with rates of layers by medians"),
            training.layers_figure,
        ),
    }
)
"""Figures of training runs, whose tables come with the package."""

PAPER_FIGURES: Mapping[str, PaperFigure] = MappingProxyType(
    {
        "1": PaperFigure("loss of single directions with and without learning-rate decay", decay_table, decay_figure),
        "2": PaperFigure("convergence rate and final loss against momentum", momentum_table, momentum_figure),
        "3a": PaperFigure("updates to target against batch size, SGD and momentum", _MOMENTUM, powers_figure),
        "3b": PaperFigure("updates to target against batch size, constant rates and schedules", schedules_table, powers_figure),
        "3c": PaperFigure("optimised learning-rate schedules by batch size", optimal_rates_table, optimal_rates_figure),
        "4": PaperFigure("updates to target against batch size, SGD with and without EMA", _AVERAGE, powers_figure),
        "14": PaperFigure("tuned learning rates against batch size, SGD and momentum", _MOMENTUM, rates_figure),
        "15": PaperFigure("last rates of optimised schedules against batch size", optimal_rates_table, final_rates_figure),
        "E.3": PaperFigure("momentum against SGD at its effective learning rate", effective_rate_table, effective_rate_figure),
        "E.5": PaperFigure("updates to target against batch size, several targets", targets_table, targets_figure),
        "regimes": PaperFigure("two regimes under a budget of epochs (Smith et al. 2020)", regimes_table, budget_figure),
        "gao-3": PaperFigure(
            "first gradient against batch size (Gao & Zhong 2020)", gao.first_gradient_table, gao.first_gradient_figure
        ),
        "gao-4": PaperFigure(
            "updates of the first epoch against batch size (Gao & Zhong 2020)", gao.first_epoch_table, gao.first_epoch_figure
        ),
        "gao-5": PaperFigure(
            "updates by epoch, one rate and linear rule (Gao & Zhong 2020)", gao.epochs_table, gao.epochs_figure
        ),
        "gao-7": PaperFigure(
            "gains of the first epoch against batch size (Gao & Zhong 2020)", gao.first_epoch_table, gao.first_epoch_loss_figure
        ),
        "gao-8": PaperFigure(
            "losses by epoch, one rate and linear rule (Gao & Zhong 2020)", gao.epochs_table, gao.losses_figure
        ),
    }
    | TRAINED
)
"""The figures by their names in the papers; "E.3" and "E.5" are those of appendix sections, "gao-3" is of another paper."""
