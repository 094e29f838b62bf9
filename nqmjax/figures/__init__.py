"""Figures: functions that draw a table, and the figures of the paper by name. Nothing is computed in the drawing."""

from nqmjax.figures.curves import powers_figure, rates_figure, scaling_figure, targets_figure
from nqmjax.figures.paper import PAPER_FIGURES, find_figure
from nqmjax.figures.risks import decay_figure, effective_rate_figure, momentum_figure
from nqmjax.figures.runs import fit_figure, frontier_figure, iso_figure
from nqmjax.figures.schedules import budget_figure, comparison_figure, plan_figure
from nqmjax.figures.style import write_figure

__all__ = [
    "scaling_figure",
    "powers_figure",
    "targets_figure",
    "rates_figure",
    "decay_figure",
    "momentum_figure",
    "effective_rate_figure",
    "comparison_figure",
    "plan_figure",
    "budget_figure",
    "fit_figure",
    "iso_figure",
    "frontier_figure",
    "PAPER_FIGURES",
    "find_figure",
    "write_figure",
]
