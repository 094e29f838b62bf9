"""What the commands print."""

from typing import TYPE_CHECKING

from nqmjax._tools import exports

if TYPE_CHECKING:
    from nqmjax.cli.reports.fit import fit_report, scores_report
    from nqmjax.cli.reports.measure import measure_report
    from nqmjax.cli.reports.measured import noise_report, problem_report, recipes_report
    from nqmjax.cli.reports.pilot import pilot_report
    from nqmjax.cli.reports.runs import LETTERS, answers_report, plan_report, run_report
    from nqmjax.cli.reports.scaling import scaling_report, several_report, sweep_report
    from nqmjax.cli.reports.schedules import budget_report, comparison_report, schedule_report, transfer_report
    from nqmjax.cli.reports.text import COMMAND, report, set_command, with_command, wrap

exports(
    __name__,
    internal={
        "fit": ["fit_report", "scores_report"],
        "measure": ["measure_report"],
        "measured": ["noise_report", "problem_report", "recipes_report"],
        "pilot": ["pilot_report"],
        "runs": ["LETTERS", "answers_report", "plan_report", "run_report"],
        "scaling": ["scaling_report", "several_report", "sweep_report"],
        "schedules": ["budget_report", "comparison_report", "schedule_report", "transfer_report"],
        "text": ["COMMAND", "report", "set_command", "with_command", "wrap"],
    },
)
