"""nqmjax: which optimizer, at which batch size, with which schedule, exactly and in milliseconds.

The way of the data, with the names in the order in which one meets them:

    problem      NoisyQuadratic, power_law, from_spectrum, read_spectrum; problem.quantize
    optimizer    SGD, HeavyBall, Nesterov, QHM; the wrappers Preconditioned and Averaged; LinearOptimizer for your own
    dynamics     risk (any number of steps at once), risk_curve (every step), stationary_risk, spectral_radius, stability_edge
    questions    steps_to_target, sweep, tune
    plans        Plan, run; closed_form_rates, optimal_batch_sizes; optimize_schedule, steps_to_target_with_schedule
                 nqmjax.schedules for cosine, linear, wsd and others
                 optimize_rates (many batch sizes at once); read_plan, and the methods of a Plan for optax, PyTorch and files
    comparisons  compare_schedules, tune_family; budget_curve, budget_regimes; transfer
                 TimeModel, best_plan_in_time, fastest_plan
    real runs    Runs, make_runs, read_runs; Schedule, run_settings, read_settings
                 fit, compare_models, predict; plan, Limits, StepTime, StepTable, critical_batch_sizes
                 write_model, read_model; fit_law, identification and nqmjax.laws for single laws
    bounds       bayes_bound, flat_prior_bound, bayes_examples
    batch size   critical_batch_size, noise_scale, regimes
    by sampling  monte_carlo, with any optax optimizer; precondition

Beyond which batch size does heavy ball need 20% more examples?

>>> import numpy as np
>>> problem = power_law(10_000).quantize(100)
>>> curve = tune(problem, HeavyBall(0.1, 0.9), batch_size=2.0 ** np.arange(2, 21, 2), target=0.01)
>>> critical_batch_size(curve, definition="overhead").batch_size > 1000
True
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nqmjax.batch_size import critical_batch_size, noise_scale, regimes
    from nqmjax.batched_search import optimize_rates
    from nqmjax.bounds import bayes_bound, bayes_examples, flat_prior_bound
    from nqmjax.budgets import budget_curve, budget_regimes
    from nqmjax.closed_forms import closed_form_rates, optimal_batch_sizes
    from nqmjax.comparison import compare_schedules, tune_family
    from nqmjax.critical_batches import critical_batch_sizes
    from nqmjax.dynamics import risk, risk_curve, spectral_radius, stability_edge, stationary_risk
    from nqmjax.fitting import FittedLaw, fit_law, identification
    from nqmjax.limits import Limits, StepTable, StepTime
    from nqmjax.model_files import read_model, write_model
    from nqmjax.montecarlo import monte_carlo, precondition
    from nqmjax.optimizers import QHM, SGD, Averaged, HeavyBall, LinearOptimizer, Nesterov, Preconditioned
    from nqmjax.plan_files import read_plan
    from nqmjax.plans import Plan, run
    from nqmjax.prediction import RunModel, predict
    from nqmjax.problem import NoisyQuadratic, from_spectrum, power_law
    from nqmjax.run_files import read_runs, read_settings
    from nqmjax.run_planning import plan
    from nqmjax.runs import Runs, make_runs
    from nqmjax.schedule_search import optimize_schedule, steps_to_target_with_schedule
    from nqmjax.selection import compare_models, fit
    from nqmjax.settings import RunSettings, Schedule, run_settings
    from nqmjax.spectrum_files import read_spectrum
    from nqmjax.sweeping import sweep
    from nqmjax.target import Status, StepsToTarget, steps_to_target
    from nqmjax.transfers import transfer
    from nqmjax.tuning import tune
    from nqmjax.wall_clock import TimeModel, best_plan_in_time, fastest_plan

_HOME = {
    "problem": ["NoisyQuadratic", "power_law", "from_spectrum"],
    "spectrum_files": ["read_spectrum"],
    "optimizers": ["LinearOptimizer", "SGD", "HeavyBall", "Nesterov", "QHM", "Preconditioned", "Averaged"],
    "dynamics": ["risk", "risk_curve", "stationary_risk", "spectral_radius", "stability_edge"],
    "target": ["steps_to_target", "StepsToTarget", "Status"],
    "sweeping": ["sweep"],
    "tuning": ["tune"],
    "plans": ["Plan", "run"],
    "batched_search": ["optimize_rates"],
    "plan_files": ["read_plan"],
    "closed_forms": ["closed_form_rates", "optimal_batch_sizes"],
    "schedule_search": ["optimize_schedule", "steps_to_target_with_schedule"],
    "comparison": ["compare_schedules", "tune_family"],
    "budgets": ["budget_curve", "budget_regimes"],
    "transfers": ["transfer"],
    "wall_clock": ["TimeModel", "best_plan_in_time", "fastest_plan"],
    "settings": ["Schedule", "RunSettings", "run_settings"],
    "runs": ["Runs", "make_runs"],
    "run_files": ["read_runs", "read_settings"],
    "selection": ["fit", "compare_models"],
    "prediction": ["predict", "RunModel"],
    "limits": ["Limits", "StepTime", "StepTable"],
    "run_planning": ["plan"],
    "critical_batches": ["critical_batch_sizes"],
    "model_files": ["write_model", "read_model"],
    "fitting": ["fit_law", "identification", "FittedLaw"],
    "bounds": ["bayes_bound", "flat_prior_bound", "bayes_examples"],
    "batch_size": ["critical_batch_size", "noise_scale", "regimes"],
    "montecarlo": ["monte_carlo", "precondition"],
}
_MODULE = {name: module for module, names in _HOME.items() for name in names}

__version__ = "0.1.0"
__all__ = list(_MODULE)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    """Load the module of a public name when it is first used: importing nqmjax costs little more than importing jax."""
    if name not in _MODULE:
        raise AttributeError(f"module 'nqmjax' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"nqmjax.{_MODULE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
