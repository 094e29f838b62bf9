"""nqmjax: which optimizer, at which batch size, with which schedule, exactly and in milliseconds.

The way of the data, with the names in the order in which one meets them:

    problem      NoisyQuadratic, power_law, from_spectrum, read_spectrum, least_squares; problem.quantize
    optimizer    SGD, HeavyBall, Nesterov, QHM; the wrappers Preconditioned, Averaged, L2, DecoupledWeightDecay;
                 Lookahead and LocalSGD, which synchronise every so many updates; LinearOptimizer for your own;
                 by a closure Adam, AdamW, AdamL2, RMSprop, SignSGD, Lion; NormalizedSGD, ClippedSGD, LARS, LAMB
    dynamics     risk (any number of steps at once), risk_curve (every step), stationary_risk, spectral_radius,
                 stability_edge, noise_edge
    questions    steps_to_target, sweep, tune
    bounds       bayes_bound, flat_prior_bound, bayes_examples
    batch size   critical_batch_size, noise_scale, regimes; strides, participation; read_observed, anchored_curve,
                 fit_problem, noise_scale_from_norms
    plans        Plan, run; optimize_schedule, steps_to_target_with_schedule
    by sampling  monte_carlo, with any optax optimizer; precondition
    compilation  use_compilation_cache

    nqmjax.schedules  cosine, linear, wsd and others; closed_form_rates, optimal_batch_sizes, optimize_rates; compare,
                      tune_family; budget_curve, budget_regimes; transfer; best_plan_in_time, fastest_plan; read_plan
    nqmjax.runs       tables of real runs: read, make; fit, predict, plan, compare_models, critical_batch_sizes; Limits,
                      StepTime, StepTable; RunSchedule, RunSettings; read_model, write_model; fit_law and the laws
    nqmjax.nonlinear  for real networks: scale_by_percent_delta, scale_by_median_curvature, scale_by_curvature_radius,
                      hessian_diagonal, discard_small_losses
    nqmjax.measure    a network: measure (curvature, gradient noise, noise scales; the quadratic that they make),
                      curvature_product, dataset_loss
    nqmjax.training   networks trained for real, many runs in lock step: Task, mlp, cnn and others; experiment (loss curves),
                      steps, tuned (updates to a target, at the best rates); pilot, forecast (at any batch size)
    nqmjax.figures    everything as a figure

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
    from nqmjax import (
        cli,
        dynamics,
        figures,
        measure,
        nonlinear,
        optimizers,
        problem,
        runs,
        scaling,
        schedules,
        sweeps,
        target,
        training,
    )
    from nqmjax._tools import use_compilation_cache
    from nqmjax.bounds import bayes_bound, bayes_examples, flat_prior_bound
    from nqmjax.dynamics import noise_edge, noise_scale, risk, risk_curve, spectral_radius, stability_edge, stationary_risk
    from nqmjax.nonlinear import (
        LAMB,
        LARS,
        Adam,
        AdamL2,
        AdamW,
        ClippedSGD,
        Lion,
        NormalizedSGD,
        RMSprop,
        SignSGD,
        monte_carlo,
        participation,
        precondition,
    )
    from nqmjax.optimizers import (
        L2,
        QHM,
        SGD,
        Averaged,
        DecoupledWeightDecay,
        HeavyBall,
        LinearOptimizer,
        LocalSGD,
        Lookahead,
        Nesterov,
        Preconditioned,
    )
    from nqmjax.problem import NoisyQuadratic, from_spectrum, least_squares, power_law, read_spectrum
    from nqmjax.scaling import (
        anchored_curve,
        critical_batch_size,
        fit_problem,
        noise_scale_from_norms,
        read_observed,
        regimes,
        strides,
        tune,
    )
    from nqmjax.schedules import Plan, optimize_schedule, run, steps_to_target_with_schedule
    from nqmjax.sweeps import sweep
    from nqmjax.target import Status, StepsToTarget, steps_to_target

__version__ = "0.1.0"

exports(
    __name__,
    public={
        "problem": ["NoisyQuadratic", "power_law", "from_spectrum", "least_squares", "read_spectrum"],
        "optimizers": [
            "LinearOptimizer",
            "SGD",
            "HeavyBall",
            "Nesterov",
            "QHM",
            "Preconditioned",
            "Averaged",
            "L2",
            "DecoupledWeightDecay",
            "Lookahead",
            "LocalSGD",
        ],
        "dynamics": [
            "noise_edge",
            "noise_scale",
            "risk",
            "risk_curve",
            "stationary_risk",
            "spectral_radius",
            "stability_edge",
        ],
        "target": ["steps_to_target", "StepsToTarget", "Status"],
        "sweeps": ["sweep"],
        "scaling": [
            "tune",
            "critical_batch_size",
            "regimes",
            "read_observed",
            "anchored_curve",
            "fit_problem",
            "noise_scale_from_norms",
            "strides",
        ],
        "schedules": ["Plan", "run", "optimize_schedule", "steps_to_target_with_schedule"],
        "bounds": ["bayes_bound", "flat_prior_bound", "bayes_examples"],
        "nonlinear": [
            "Adam",
            "AdamW",
            "AdamL2",
            "RMSprop",
            "SignSGD",
            "Lion",
            "NormalizedSGD",
            "ClippedSGD",
            "LARS",
            "LAMB",
            "participation",
            "monte_carlo",
            "precondition",
        ],
        "_tools": ["use_compilation_cache"],
    },
    packages=[
        "problem",
        "optimizers",
        "dynamics",
        "target",
        "nonlinear",
        "measure",
        "sweeps",
        "schedules",
        "scaling",
        "runs",
        "training",
        "figures",
        "cli",
    ],
)
