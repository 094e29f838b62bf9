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
                 write_model, read_model; fit_law, identification and nqmjax.runs.laws for single laws
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

from typing import TYPE_CHECKING

from nqmjax._tools import exports

if TYPE_CHECKING:
    from nqmjax import cli, dynamics, figures, nonlinear, optimizers, runs, scaling, schedules, sweeps, target
    from nqmjax.bounds import bayes_bound, bayes_examples, flat_prior_bound
    from nqmjax.dynamics import risk, risk_curve, spectral_radius, stability_edge, stationary_risk
    from nqmjax.nonlinear import monte_carlo, precondition
    from nqmjax.optimizers import QHM, SGD, Averaged, HeavyBall, LinearOptimizer, Nesterov, Preconditioned
    from nqmjax.problem import NoisyQuadratic, from_spectrum, power_law
    from nqmjax.runs import (
        FittedLaw,
        Limits,
        RunModel,
        Runs,
        RunSettings,
        Schedule,
        StepTable,
        StepTime,
        compare_models,
        critical_batch_sizes,
        fit,
        fit_law,
        identification,
        make_runs,
        plan,
        predict,
        read_model,
        read_runs,
        read_settings,
        run_settings,
        write_model,
    )
    from nqmjax.scaling import critical_batch_size, noise_scale, regimes, tune
    from nqmjax.schedules import (
        Plan,
        TimeModel,
        best_plan_in_time,
        budget_curve,
        budget_regimes,
        closed_form_rates,
        compare_schedules,
        fastest_plan,
        optimal_batch_sizes,
        optimize_rates,
        optimize_schedule,
        read_plan,
        run,
        steps_to_target_with_schedule,
        transfer,
        tune_family,
    )
    from nqmjax.spectrum_files import read_spectrum
    from nqmjax.sweeps import sweep
    from nqmjax.target import Status, StepsToTarget, steps_to_target

__version__ = "0.1.0"

exports(
    __name__,
    public={
        "problem": ["NoisyQuadratic", "power_law", "from_spectrum"],
        "spectrum_files": ["read_spectrum"],
        "optimizers": ["LinearOptimizer", "SGD", "HeavyBall", "Nesterov", "QHM", "Preconditioned", "Averaged"],
        "dynamics": ["risk", "risk_curve", "stationary_risk", "spectral_radius", "stability_edge"],
        "target": ["steps_to_target", "StepsToTarget", "Status"],
        "sweeps": ["sweep"],
        "scaling": ["tune", "critical_batch_size", "noise_scale", "regimes"],
        "schedules": [
            "Plan",
            "run",
            "optimize_rates",
            "read_plan",
            "closed_form_rates",
            "optimal_batch_sizes",
            "optimize_schedule",
            "steps_to_target_with_schedule",
            "compare_schedules",
            "tune_family",
            "budget_curve",
            "budget_regimes",
            "transfer",
            "TimeModel",
            "best_plan_in_time",
            "fastest_plan",
        ],
        "runs": [
            "Schedule",
            "RunSettings",
            "run_settings",
            "Runs",
            "make_runs",
            "read_runs",
            "read_settings",
            "fit",
            "compare_models",
            "predict",
            "RunModel",
            "Limits",
            "StepTime",
            "StepTable",
            "plan",
            "critical_batch_sizes",
            "write_model",
            "read_model",
            "fit_law",
            "identification",
            "FittedLaw",
        ],
        "bounds": ["bayes_bound", "flat_prior_bound", "bayes_examples"],
        "nonlinear": ["monte_carlo", "precondition"],
    },
    packages=["optimizers", "dynamics", "target", "nonlinear", "sweeps", "schedules", "scaling", "runs", "figures", "cli"],
)
