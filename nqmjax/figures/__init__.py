"""Figures: functions that draw a table, and the figures of the paper by name. Nothing is computed in the drawing."""

from typing import TYPE_CHECKING

from nqmjax._tools import exports

if TYPE_CHECKING:
    from nqmjax.figures.curves import powers_figure, rates_figure, scaling_figure, targets_figure
    from nqmjax.figures.measured import measured_figure
    from nqmjax.figures.paper import PAPER_FIGURES, find_figure
    from nqmjax.figures.risks import decay_figure, effective_rate_figure, momentum_figure
    from nqmjax.figures.runs import fit_figure, frontier_figure, iso_figure
    from nqmjax.figures.schedules import budget_figure, comparison_figure, plan_figure
    from nqmjax.figures.spectrum import spectrum_figure
    from nqmjax.figures.style import write_figure

exports(
    __name__,
    public={
        "curves": ["scaling_figure", "powers_figure", "targets_figure", "rates_figure"],
        "measured": ["measured_figure"],
        "risks": ["decay_figure", "momentum_figure", "effective_rate_figure"],
        "schedules": ["comparison_figure", "plan_figure", "budget_figure"],
        "runs": ["fit_figure", "iso_figure", "frontier_figure"],
        "spectrum": ["spectrum_figure"],
        "paper": ["PAPER_FIGURES", "find_figure"],
        "style": ["write_figure"],
    },
)
