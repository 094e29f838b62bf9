"""Runs in pieces: plans, families of schedules, the best ones, comparisons, budgets and the clock."""

from typing import TYPE_CHECKING

from nqmjax._tools import exports

if TYPE_CHECKING:
    from nqmjax.schedules.budget import budget_curve, budget_regimes
    from nqmjax.schedules.caps import AT_CAP, chosen_cap
    from nqmjax.schedules.clock import TimedPlan, TimeModel, best_plan_in_time, fastest_plan
    from nqmjax.schedules.closed_forms import closed_form_rates, optimal_batch_sizes
    from nqmjax.schedules.compare import COMPARED, compare, tune_family
    from nqmjax.schedules.families import PIECES, constant, cosine, exponential, inverse_sqrt, linear, step_decay, wsd
    from nqmjax.schedules.family import FAMILIES, options
    from nqmjax.schedules.files import read_plan
    from nqmjax.schedules.first_epoch import small_first_epoch
    from nqmjax.schedules.many import optimize_rates
    from nqmjax.schedules.phases import Phase, borders, means
    from nqmjax.schedules.plan import Plan, check_columns, piece_lengths, run
    from nqmjax.schedules.search import OptimizedPlan, PlanToTarget, optimize_schedule, steps_to_target_with_schedule
    from nqmjax.schedules.transfers import transfer

exports(
    __name__,
    public={
        "plan": ["Plan", "run"],
        "many": ["optimize_rates"],
        "files": ["read_plan"],
        "closed_forms": ["closed_form_rates", "optimal_batch_sizes"],
        "search": ["optimize_schedule", "steps_to_target_with_schedule"],
        "compare": ["compare", "tune_family"],
        "budget": ["budget_curve", "budget_regimes"],
        "transfers": ["transfer"],
        "clock": ["TimeModel", "best_plan_in_time", "fastest_plan"],
        "families": ["constant", "linear", "cosine", "exponential", "inverse_sqrt", "wsd", "step_decay"],
        "first_epoch": ["small_first_epoch"],
    },
    internal={
        "caps": ["AT_CAP", "chosen_cap"],
        "clock": ["TimedPlan"],
        "compare": ["COMPARED"],
        "families": ["PIECES"],
        "family": ["FAMILIES", "options"],
        "phases": ["Phase", "borders", "means"],
        "plan": ["check_columns", "piece_lengths"],
        "search": ["OptimizedPlan", "PlanToTarget"],
    },
)
