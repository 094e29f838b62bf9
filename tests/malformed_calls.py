"""What every public function and class is called with, and for each argument what must be refused."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import optax
import xarray as xr
from made_models import made_model

import nqmjax as nq

PROBLEM, METHOD, PLAN = nq.power_law(3), nq.SGD(0.1), nq.Plan(0.1, steps=10, batch_size=4)
RUNS = nq.runs.make([1e6, 1e6, 4e6, 4e6], [64, 128, 64, 128], [2000, 1000, 500, 400], [3.1, 3.2, 3.3, 3.25])
MANY = nq.runs.make(np.geomspace(1e6, 8e6, 8), [64, 128] * 4, [2000, 1000, 500, 400] * 2, np.linspace(3.3, 3.0, 8))
MODEL = made_model("chinchilla")
CURVE = ([1.0, 4.0, 16.0, 64.0], [100.0, 30.0, 20.0, 18.0])

TABLE = xr.Dataset(
    {name: ("batch_size", [9.0]) for name in ("steps", "status", "effective_learning_rate")}, {"batch_size": [4]}
)
RAGGED = [[1.0], [1.0, 2.0]]
THING = [None, "a", 3.0, [1, 2], math.nan]
"""In the place of an object of nqmjax."""
NUMBER = [None, "a", math.nan, RAGGED, {}]
POSITIVE = [*NUMBER, -1.0]
COUNT = [*NUMBER, -1, 1.5, math.inf]
WORD = [None, "nonsense", 3]
NAMES = ["", RAGGED, 1.5, {}, ["a"], ["a", "b", "c", "d"]]
PATH = [None, 3, b"x.csv", ["x.csv"], "no such folder/x.csv", "no.such.suffix", "zero\0byte.csv"]

ON_PROBLEM = {"problem": (PROBLEM, THING), "optimizer": (METHOD, THING)}
BATCH = {"batch_size": (4, [*NUMBER, 0.5, 0, -1, math.inf])}
STEPS = {"steps": (10, COUNT)}
DTYPE = {"dtype": ("float64", WORD)}
DEVICES = {"devices": (None, ["nonsense", "cpu:99", 3, [], [None]])}
FAMILY = {"family": ("cosine", WORD)}
CAP = {"max_learning_rate": (1.0, ["a", math.nan, -1.0, 0.0, RAGGED])}
OVER = {"over": (("learning_rate",), [["speed"], 3])}
PIECES = {"pieces": (2, [*COUNT, 0])}
CLOCK = nq.schedules.TimeModel(0.1, 0.01)

SHARE = [*POSITIVE, 1.5]
WARM = {"warmup": (0.1, ["a", math.nan, -0.1, 1.5, RAGGED, {}])}
FAMILIES = {
    "constant": WARM,
    "linear": WARM | {"final": (0.0, SHARE)},
    "cosine": WARM | {"final": (0.0, SHARE)},
    "exponential": WARM | {"final": (0.01, SHARE)},
    "inverse_sqrt": WARM | {"timescale": (0.1, ["a", math.nan, -0.1, RAGGED])},
    "wsd": WARM | {"cooldown": (0.2, ["a", math.nan, -0.1, 1.5, RAGGED]), "shape": ("linear", WORD)},
    "step_decay": WARM | {"factor": (2.0, [*POSITIVE, 0.0]), "drops": (10, COUNT), "hold": (0.5, SHARE)},
}

HYPER = [None, "a", RAGGED, math.nan, {}]

DATA = (np.ones((6, 2), np.float32), np.arange(6.0))
NETWORK = {
    "function": (lambda params, batch: ((batch[0] @ params - batch[1]) ** 2).mean(), [*THING, lambda params, batch: batch]),
    "params": (np.zeros(2, np.float32), [None, "a", 3, [1, 2], {}, np.arange(2)]),
    "data": (DATA, [*THING, (), (DATA[0], DATA[1][:5]), (DATA[0][:1], DATA[1][:1])]),
    "chunk": (4, [*COUNT, 0]),
    "loss": (None, ["nonsense", 3]),
    "matrix": (None, ["nonsense", 3, "gauss_newton"]),
}


def used(method: Callable) -> Callable:
    """A method in use: the constructor checks nothing, for its arguments may be traced."""
    return lambda **values: nq.risk(PROBLEM, method(**values), 4, 3)


SMALL = nq.training.Split((DATA[0], np.arange(6) % 2), (DATA[0], np.arange(6) % 2))
TASK = nq.training.Task(NETWORK["function"][0], NETWORK["params"][0], DATA)
CURVES = xr.Dataset(
    {
        "training_loss": (("optimizer", "batch_size", "rate", "seed", "update"), np.ones((1, 1, 1, 1, 2)) / [1, 2]),
        "learning_rate": (("optimizer", "batch_size", "rate"), np.ones((1, 1, 1))),
        "end": (("optimizer", "batch_size", "rate", "seed"), np.full((1, 1, 1, 1), 3)),
    },
    {"optimizer": ["sgd"], "batch_size": [4], "seed": [0], "update": [0, 1]},
)
OBSERVED = nq.scaling.Observed([1, 8], [80, 20], [0.1, 0.3], label="sgd")
READ = {
    "curves": (CURVES, [*THING, xr.Dataset(), CURVES.isel(seed=0)]),
    "target": (0.7, [*NUMBER, math.inf, 2.0]),
    "measure": ("training_loss", [*WORD, "held_out_loss"]),
}
UNITS = {"hidden": ((2,), [[0], [None], ["a"], [math.nan]]), "activation": ("tanh", WORD)}
SPLIT = {"split": (SMALL, [3.0, "a", [1, 2], SMALL.data, (SMALL.data, None), ((DATA[0], DATA[1]), SMALL.held_out)])}
TRAINING: dict[str, tuple[Callable, dict[str, tuple[Any, list]]]] = {
    "training.Task": (
        nq.training.Task,
        {name: NETWORK[name] for name in ("function", "data", "loss")}
        | {
            "params": (NETWORK["params"][0], [None, "a", 3, [1, 2], {}, np.arange(2), np.full(2, np.nan), lambda seed: 3]),
            "held_out": (None, [3.0, "a", [1, 2], (DATA[0][:, :1], DATA[1])]),
            "accuracy": (None, [3.0, "a"]),
            "name": ("mine", [None, "", 3]),
        },
    ),
    "training.experiment": (
        lambda **values: nq.training.experiment(**values, progress=False),
        {
            "task": (TASK, THING),
            "optimizers": (["sgd"], [None, 3.0, [], ["sdg"], ["sgd", "sgd"], [3], {"mine": 3}, {3: "sgd"}, {}]),
            "batch_sizes": ([2], [*NUMBER, 0, 1.5, -1, math.inf, [], [2, 2], 7, [[2]]]),
            "rates": ([0.1], [*NUMBER, 0.1, [], [0.0], [-1.0], [math.inf], [0.1, 0.1], {"adam": [0.1]}, lambda batch: None]),
            "max_steps": (2, [*COUNT, 0, [1, 2]]),
            "seeds": (1, [*NUMBER, 0, -1, 1.5, [], [-1], [0, 0]]),
            "target": (None, ["a", math.nan, math.inf, RAGGED, 1e9]),
            "goal": ("training_loss", [*WORD, "held_out_loss", "held_out_accuracy"]),
            "slack": (None, ["a", math.nan, 0.5, 2.0]),
            "lag": (None, ["a", math.nan, 1.0]),
            "fixed": ({}, [None, 3.0, {"momentum": 0.9}]),
            "sampling": ("replacement", [*WORD, "all"]),
            "spacing": (1.1, [*NUMBER, 1.0, math.inf]),
            "evaluation": (None, ["a", math.nan, 0, -1, 1.5]),
            "folder": (None, [3, "zero\0byte", "x" * 5000]),
        },
    ),
    "training.method": (
        nq.training.method,
        {"name": ("heavy_ball", [*WORD, "ema_sgd"]), "momentum": (0.9, [*NUMBER, 1.0, -0.1])},
    ),
    "training.steps": (nq.training.steps, READ),
    "training.tuned": (nq.training.tuned, READ),
    "training.tuned_runs": (nq.training.tuned_runs, {"table": (nq.training.tuned(CURVES, 0.7), [*THING, CURVES])}),
    "training.forecast": (
        nq.training.forecast,
        {
            "runs": ([OBSERVED], [*THING, [], [3], [OBSERVED, OBSERVED], [nq.scaling.Observed([1, 9], [9, 3], label="mine")]]),
            "batch_sizes": ([4], [*NUMBER, 0, [], [[2]]]),
            "level": (0.9, [*NUMBER, 0.0, 1.0]),
        },
    ),
    "training.pilot": (
        lambda **values: nq.training.pilot(**values, progress=False),
        {
            "task": (TASK, THING),
            "optimizers": (["sgd"], [None, 3.0, [], ["sdg"], {"mine": "sgd"}]),
            "batch_sizes": ([2], [*NUMBER, 0, [], [[2]]]),
            "target": (1.0, [*NUMBER, math.inf, 1e9]),
            "fixed": ({}, [None, 3.0, {"momentum": 0.9}]),
            "small": (1, [*COUNT, 0, 7, 4]),
            "large": (4, ["a", math.nan, 0, 7, 3]),
            "rates": ([0.1], [*NUMBER, [], [0.0]]),
            "max_steps": (2, [*COUNT, 0]),
            "seeds": (1, [*COUNT, 0]),
            "evaluation": (None, ["a", math.nan, 0]),
            "level": (0.9, [*NUMBER, 0.0, 1.0]),
        },
    ),
    "training.mlp": (nq.training.mlp, UNITS | SPLIT | {"loss": ("cross_entropy", WORD)}),
    "training.cnn": (
        nq.training.cnn,
        {
            "channels": ((2,), [[], [0], ["a"], [1] * 9]),
            "activation": ("tanh", WORD),
            "split": (((np.ones((6, 4)), np.arange(6) % 2),) * 2, [*SPLIT["split"][1], SMALL]),
        },
    ),
    "training.autoencoder": (nq.training.autoencoder, UNITS | SPLIT),
    "training.linear_regression": (
        nq.training.linear_regression,
        {
            "dim": (3, [*COUNT, 0]),
            "examples": (4, [*COUNT, 1]),
            "exponent": (1.0, [*NUMBER, math.inf]),
            "noise": (1.0, [*POSITIVE, math.inf]),
            "seed": (0, COUNT),
        },
    ),
    "training.linearized": (
        nq.training.linearized,
        {"task": (nq.training.linear_regression(2, 4), [*THING, TASK])},
    ),
    "training.text": (nq.training.text, {"length": (8, [*COUNT, 1]), "examples": (10, [*COUNT, 0, 10**7])}),
}

CALLS: dict[str, tuple[Callable, dict[str, tuple[Any, list]]]] = {
    "power_law": (
        nq.power_law,
        {
            "dim": (3, [*COUNT, 0, 1e30]),
            "exponent": (1.0, [*NUMBER, math.inf]),
            "noise": (1.0, ["a", math.nan, RAGGED, -1.0, [1.0, 2.0], {}]),
            "initial": (1.0, [*POSITIVE, [1.0, 2.0]]),
            "irreducible": (0.0, [*POSITIVE, math.inf, [0.0]]),
            "loss_noise": (1.0, ["a", math.nan, RAGGED, -1.0, [1.0, 2.0], {}]),
            "layer": ("a", NAMES),
        },
    ),
    "from_spectrum": (
        nq.from_spectrum,
        {
            "eigenvalues": ([1.0, 2.0], [*NUMBER, [], [[1.0, 2.0]], [-1.0, 1.0], [0.0, 0.0], [math.inf, 1.0]]),
            "count": ([1.0, 2.0], ["a", math.nan, RAGGED, 0.0, -1.0, [1.0, 2.0, 3.0]]),
            "noise": ([1.0, 2.0], ["a", math.nan, RAGGED, -1.0, [1.0, 2.0, 3.0]]),
            "initial": ([1.0, 2.0], [*POSITIVE, [1.0, 2.0, 3.0]]),
            "irreducible": (0.0, [*POSITIVE, math.inf]),
            "loss_noise": ([1.0, 2.0], ["a", math.nan, RAGGED, -1.0, [1.0, 2.0, 3.0]]),
            "layer": (["a", "b"], NAMES),
        },
    ),
    "least_squares": (
        nq.least_squares,
        {
            "eigenvalues": ([1.0, 2.0], [*NUMBER, [], [[1.0, 2.0]], [-1.0, 1.0], [0.0, 0.0], [math.inf, 1.0]]),
            "label_noise": (0.1, [*POSITIVE, math.inf, [0.0]]),
            "count": ([1.0, 2.0], ["a", math.nan, RAGGED, 0.0, -1.0, [1.0, 2.0, 3.0]]),
            "initial": ([1.0, 2.0], [*POSITIVE, [1.0, 2.0, 3.0]]),
        },
    ),
    "read_spectrum": (nq.read_spectrum, {"path": ("x.csv", PATH)}),
    "use_compilation_cache": (nq.use_compilation_cache, {"directory": ("cache", [3, b"cache", ["cache"], "zero\0byte"])}),
    "NoisyQuadratic": (
        lambda **values: nq.risk(nq.NoisyQuadratic(**values), METHOD, 4, 3),
        {
            "curvature": ([1.0, 0.1], [*POSITIVE, [1.0, -1.0], [1.0, math.nan]]),
            "noise": ([1.0, 0.1], [*POSITIVE, [1.0, -1.0], [1.0, 2.0, 3.0]]),
            "initial": ([1.0, 1.0], [*POSITIVE, [1.0, 2.0, 3.0]]),
            "count": ([1.0, 1.0], [*POSITIVE, 0.0, [1.0, 0.0]]),
            "loss_noise": (None, ["a", math.nan, RAGGED, -1.0, 1.0, [1.0, 2.0, 3.0]]),
            "own_noise": (None, ["a", math.nan, RAGGED, -1.0, 1.0, [1.0, 2.0, 3.0]]),
            "irreducible": (0.0, [*POSITIVE, math.inf]),
            "layer": (("a", "b"), ["ab", 3, ["a", "b"], ("a",), ("a", 1)]),
        },
    ),
    "SGD": (used(nq.SGD), {"learning_rate": (0.1, HYPER)}),
    "HeavyBall": (used(nq.HeavyBall), {"learning_rate": (0.1, HYPER), "momentum": (0.9, HYPER)}),
    "Nesterov": (used(nq.Nesterov), {"learning_rate": (0.1, HYPER), "momentum": (0.9, HYPER)}),
    "QHM": (used(nq.QHM), {"learning_rate": (0.1, HYPER), "momentum": (0.9, HYPER), "nu": (0.7, HYPER)}),
    "Adam": (used(nq.Adam), {"learning_rate": (0.1, HYPER), "beta1": (0.9, HYPER), "beta2": (0.9, HYPER), "eps": (0.1, HYPER)}),
    "AdamW": (used(nq.AdamW), {"learning_rate": (0.1, HYPER), "weight_decay": (0.1, HYPER)}),
    "AdamL2": (used(nq.AdamL2), {"learning_rate": (0.1, HYPER), "strength": (0.1, HYPER)}),
    "RMSprop": (used(nq.RMSprop), {"learning_rate": (0.1, HYPER), "beta2": (0.9, HYPER), "eps": (0.1, HYPER)}),
    "SignSGD": (used(nq.SignSGD), {"learning_rate": (0.1, HYPER), "weight_decay": (0.1, HYPER)}),
    "Lion": (used(nq.Lion), {"learning_rate": (0.1, HYPER), "beta1": (0.9, HYPER), "beta2": (0.9, HYPER)}),
    "NormalizedSGD": (used(nq.NormalizedSGD), {"learning_rate": (0.1, HYPER), "momentum": (0.9, HYPER), "eps": (0.1, HYPER)}),
    "ClippedSGD": (used(nq.ClippedSGD), {"learning_rate": (0.1, HYPER), "max_norm": (1.0, [*HYPER, 0.0, -1.0])}),
    "LARS": (used(nq.LARS), {"learning_rate": (0.1, HYPER), "trust_coefficient": (0.1, [*HYPER, 0.0]), "eps": (0.1, HYPER)}),
    "LAMB": (used(nq.LAMB), {"learning_rate": (0.1, HYPER), "beta1": (0.9, HYPER), "beta2": (0.9, HYPER), "eps": (0.1, HYPER)}),
    "participation": (
        nq.participation,
        {"problem": (PROBLEM, THING), "second_moments": (np.ones(3), ["a", math.nan, -1.0, RAGGED, [1.0]])} | BATCH,
    ),
    "Preconditioned": (used(nq.Preconditioned), {"optimizer": (METHOD, THING), "power": (0.5, HYPER)}),
    "Averaged": (used(nq.Averaged), {"optimizer": (METHOD, THING), "decay": (0.9, HYPER)}),
    "L2": (used(nq.L2), {"optimizer": (METHOD, THING), "strength": (0.1, HYPER)}),
    "Lookahead": (used(nq.Lookahead), {"inner": (METHOD, THING), "period": (5, HYPER), "pull": (0.5, HYPER)}),
    "LocalSGD": (
        used(nq.LocalSGD),
        {"inner": (METHOD, THING), "outer": (METHOD, THING), "period": (5, HYPER), "workers": (2, HYPER)},
    ),
    "DecoupledWeightDecay": (used(nq.DecoupledWeightDecay), {"optimizer": (METHOD, THING), "strength": (0.1, HYPER)}),
    "risk": (nq.risk, ON_PROBLEM | BATCH | STEPS | DTYPE),
    "risk_curve": (nq.risk_curve, ON_PROBLEM | BATCH | {"num_steps": (3, [*COUNT, [1, 2]])} | DTYPE),
    "stationary_risk": (nq.stationary_risk, ON_PROBLEM | BATCH | DTYPE),
    "spectral_radius": (nq.spectral_radius, {"optimizer": (METHOD, THING), "curvature": (1.0, POSITIVE)}),
    "stability_edge": (nq.stability_edge, {"optimizer": (METHOD, THING), "curvature": (1.0, POSITIVE)}),
    "noise_edge": (nq.noise_edge, ON_PROBLEM),
    "steps_to_target": (
        nq.steps_to_target,
        ON_PROBLEM | BATCH | {"target": (0.1, [*NUMBER, math.inf]), "max_steps": (9, COUNT), "rule": ("first", WORD)} | DTYPE,
    ),
    "sweep": (
        nq.sweep,
        ON_PROBLEM
        | BATCH
        | {"target": (0.1, [*NUMBER, [[0.1]]]), "max_steps": (9, COUNT), "rule": ("first", WORD)}
        | DTYPE
        | DEVICES
        | {"store": (None, [*PATH[1:], "grid.nc"]), "chunk": (None, [*COUNT[1:], 0])},
    ),
    "sweeps.open_store": (nq.sweeps.open_store, {"path": ("none.zarr", [*PATH, "none.zarr"])}),
    "sweeps.check_store": (nq.sweeps.check_store, {"path": ("none.zarr", [*PATH, "none.zarr"])}),
    "sweeps.best_cells": (nq.sweeps.best_cells, {"table": (TABLE, [*THING, "none.zarr"]), "keep": ("batch_size", WORD)}),
    "tune": (
        nq.tune,
        {"problem": (PROBLEM, THING), "template": (METHOD, THING)}
        | BATCH
        | {"target": (0.1, POSITIVE), "fixed": ((), [["momentun"], ["learning_rate"]]), "max_steps": (9, COUNT)}
        | DTYPE
        | DEVICES,
    ),
    "Plan": (
        nq.Plan,
        {"learning_rate": (0.1, [None, "a", RAGGED]), "steps": (10, [None, "a", RAGGED]), "batch_size": (4, ["a", RAGGED])},
    ),
    **{
        f"schedules.{name}": (
            getattr(nq.schedules, name),
            {"learning_rate": (0.1, [None, "a", RAGGED])} | STEPS | {"batch_size": (4, ["a", RAGGED])} | extra,
        )
        for name, extra in FAMILIES.items()
    },
    "schedules.TimeModel": (
        lambda **values: nq.schedules.fastest_plan(PROBLEM, METHOD, 0.1, nq.schedules.TimeModel(**values), 2),
        {
            "fixed": (0.1, [*POSITIVE, math.inf]),
            "per_example": (0.01, [*POSITIVE, math.inf]),
            "max_batch_size": (8.0, [*POSITIVE, 0.5]),
        },
    ),
    "run": (nq.run, ON_PROBLEM | {"plan": (PLAN, THING)} | DTYPE),
    "schedules.optimize_rates": (nq.schedules.optimize_rates, ON_PROBLEM | BATCH | STEPS | PIECES | CAP),
    "schedules.read_plan": (nq.schedules.read_plan, {"path": ("x.csv", PATH)}),
    "schedules.closed_form_rates": (
        nq.schedules.closed_form_rates,
        {"problem": (nq.from_spectrum([1.0]), THING), "optimizer": (METHOD, THING)} | BATCH | STEPS,
    ),
    "schedules.optimal_batch_sizes": (
        nq.schedules.optimal_batch_sizes,
        ON_PROBLEM | {"plan": (PLAN, THING), "examples": (40, [None, "a", RAGGED]), "smallest": (1.0, [None, "a", 0.0, 9.0])},
    ),
    "optimize_schedule": (nq.optimize_schedule, ON_PROBLEM | BATCH | STEPS | PIECES | CAP | OVER),
    "steps_to_target_with_schedule": (
        nq.steps_to_target_with_schedule,
        ON_PROBLEM | BATCH | {"target": (0.1, [*NUMBER, -1.0, math.inf])} | PIECES | CAP | OVER,
    ),
    "schedules.compare": (
        nq.schedules.compare,
        ON_PROBLEM | BATCH | STEPS | {"families": (("cosine",), [["nonsense"], "nonsense", 3])} | CAP,
    ),
    "schedules.tune_family": (nq.schedules.tune_family, ON_PROBLEM | BATCH | STEPS | FAMILY | CAP),
    "schedules.budget_curve": (
        nq.schedules.budget_curve,
        ON_PROBLEM | BATCH | STEPS | FAMILY | {"warmup": (0.0, SHARE)},
    ),
    "schedules.budget_regimes": (nq.schedules.budget_regimes, {"table": (None, THING)}),
    "schedules.transfer": (
        nq.schedules.transfer,
        ON_PROBLEM | {"plan": (PLAN, THING), "batch_size": (8, [*NUMBER, 0.5]), "rules": (("none",), [["best"], "best"])},
    ),
    "schedules.best_plan_in_time": (
        nq.schedules.best_plan_in_time,
        ON_PROBLEM | {"seconds": (1.0, [*POSITIVE, math.inf]), "time": (CLOCK, THING)} | PIECES | OVER | CAP,
    ),
    "schedules.fastest_plan": (
        nq.schedules.fastest_plan,
        ON_PROBLEM | {"target": (0.1, POSITIVE), "time": (CLOCK, THING)} | PIECES | OVER | CAP,
    ),
    "runs.run_settings": (
        nq.runs.run_settings,
        {
            "model_size": (1e6, [*POSITIVE, 3.0]),
            "batch_size": (64, [*POSITIVE, 0]),
            "steps": (10, [*POSITIVE, 0]),
            "learning_rate": (0.1, [*POSITIVE, 0]),
            "schedule": (
                nq.runs.RunSchedule(),
                ["cosine", 3, None, nq.runs.RunSchedule("cosin"), nq.runs.RunSchedule("cosine", 2.0)],
            ),
        },
    ),
    "runs.make": (
        nq.runs.make,
        {
            "model_size": ([1e6, 2e6], [*POSITIVE, 3.0, [1e6, 2e6, 3e6]]),
            "batch_size": (64, [*POSITIVE, 0]),
            "steps": (10, [*POSITIVE, 0]),
            "loss": ([3.0, 2.0], [*POSITIVE, 0]),
            "learning_rate": (0.1, [*POSITIVE, 0]),
            "compute": (1.0, ["a", math.nan, -1.0, 0.0, RAGGED]),
            "weight": (1.0, [*POSITIVE, 0.0]),
        },
    ),
    "runs.read": (nq.runs.read, {"path": ("x.csv", PATH)}),
    "runs.read_settings": (nq.runs.read_settings, {"path": ("x.csv", PATH)}),
    "runs.fit": (
        nq.runs.fit,
        {
            "runs": (RUNS, THING),
            "laws": (["chinchilla"], [["nonsense"], "nonsense", [], 3]),
            "starts": (1, [*COUNT, 0]),
            "robust": (1.0, [*POSITIVE, 0.0]),
            "seed": (0, COUNT),
        },
    ),
    "runs.compare_models": (nq.runs.compare_models, {"runs": (RUNS, THING), "laws": (["chinchilla"], [["nonsense"], [], 3])}),
    "runs.predict": (
        nq.runs.predict,
        {
            "model": (MODEL, THING),
            "model_size": (1e6, [*POSITIVE, 3.0]),
            "batch_size": (64, [*POSITIVE, 0]),
            "steps": (100, [*POSITIVE, 0]),
            "level": (0.9, [*POSITIVE, 0.0, 1.0]),
            "interval": ("laplace", ["nonsense", 3]),
        },
    ),
    "runs.Limits": (
        lambda **values: nq.runs.plan(MODEL, nq.runs.Limits(**values), progress=False),
        {"compute": (1e12, ["a", math.nan, -1.0, 0.0, math.inf, RAGGED, {}])}
        | {name: (None, ["a", math.nan, -1.0, 0.0, RAGGED, {}]) for name in ("seconds", "memory", "examples", "steps")}
        | {name: (1.0, [*POSITIVE, 0.0]) for name in ("parameter_bytes", "devices")}
        | {"example_bytes": (0.0, POSITIVE)},
    ),
    "runs.StepTime": (
        lambda **values: nq.runs.plan(
            MODEL, nq.runs.Limits(seconds=10.0, step_seconds=nq.runs.StepTime(**values)), progress=False
        ),
        {"fixed": (0.1, POSITIVE), "per_work": (1e-9, POSITIVE), "devices": (1.0, [*POSITIVE, 0.0])},
    ),
    "runs.RunSchedule": (
        lambda **values: nq.runs.run_settings(1e6, 64, 10, 0.1, nq.runs.RunSchedule(**values)),
        {"family": ("cosine", WORD), "warmup": (0.1, [*POSITIVE, 1.5])},
    ),
    "runs.scale_of": (nq.runs.scale_of, {"runs": (RUNS, THING)}),
    "runs.fit_law": (
        lambda **values: nq.runs.fit_law(**values, progress=False),
        {
            "runs": (MANY, [*THING, RUNS]),
            "law": ("chinchilla", [None, "nonsense", 3.0, [], ["chinchilla"]]),
            "starts": (1, [*COUNT, 0]),
            "robust": (1.0, [*POSITIVE, 0.0]),
            "seed": (0, COUNT),
        },
    ),
    "runs.StepTable": (
        nq.runs.StepTable,
        {
            "model_size": ([1e6, 1e6, 1e7, 1e7], [*POSITIVE, [1e6]]),
            "batch_size": ([1, 2, 1, 2], [*POSITIVE, [1]]),
            "seconds": ([1.0, 2.0, 3.0, 4.0], [*POSITIVE, [1.0]]),
        },
    ),
    "runs.plan": (
        nq.runs.plan,
        {
            "model": (MODEL, THING),
            "limits": (nq.runs.Limits(compute=1e12), [*THING, nq.runs.Limits()]),
            "model_size": (1e6, ["a", math.nan, -1.0, 3.0, RAGGED]),
            "batch_size": (64, ["a", math.nan, -1.0, 0.0, RAGGED]),
            "level": (0.9, [*POSITIVE, 0.0, 1.0]),
        },
    ),
    "runs.critical_batch_sizes": (
        nq.runs.critical_batch_sizes,
        {"model": (MODEL, THING), "model_size": (1e6, [*POSITIVE, 3.0])},
    ),
    "runs.write_model": (nq.runs.write_model, {"model": (MODEL, THING), "path": ("m.json", PATH)}),
    "runs.read_model": (nq.runs.read_model, {"path": ("m.json", PATH)}),
    "runs.identification": (nq.runs.identification, {"fitted": (None, THING)}),
    "bayes_bound": (nq.bayes_bound, {"problem": (PROBLEM, THING), "examples": (4, POSITIVE)}),
    "flat_prior_bound": (nq.flat_prior_bound, {"problem": (PROBLEM, THING), "examples": (4, POSITIVE)}),
    "bayes_examples": (nq.bayes_examples, {"problem": (PROBLEM, THING), "target": (0.1, POSITIVE)}),
    "critical_batch_size": (
        nq.critical_batch_size,
        {
            "curve": (CURVE, [None, "a", 3.0, [1], ([1.0], [1.0, 2.0]), ([], []), ([math.nan] * 4, [1.0] * 4), RAGGED]),
            "definition": ("knee", WORD),
            "overhead": (0.2, [*POSITIVE, 0.0]),
        },
    ),
    "read_observed": (nq.read_observed, {"path": ("x.csv", PATH)}),
    "anchored_curve": (
        nq.anchored_curve,
        {
            "observed": (([64, 256], [900, 300]), [*THING, ([64], [900, 300]), ([64, 256], [300, 900]), [CURVE, CURVE]]),
            "optimizer": ("adamw", ["nonsense", 3, [], math.nan]),
            "noise_scale": (None, ["a", math.nan, 0.0, -1.0, math.inf, RAGGED]),
            "critical_batch_size": (None, ["a", math.nan, 0.0, -1.0, math.inf, RAGGED]),
            "sharpness": (None, ["a", math.nan, 0.0, -1.0, math.inf, RAGGED]),
            "level": (0.9, [*NUMBER, 0.0, 1.0]),
            "seed": (0, COUNT),
        },
    ),
    "fit_problem": (
        nq.fit_problem,
        {
            "observed": (CURVE, [*THING, ([64, 256], [900, 300]), ([64, 256, 512], [300, 900, 950])]),
            "optimizer": ("adamw", ["nonsense", 3, None, [], math.nan]),
            "level": (0.9, [*NUMBER, 0.0, 1.0]),
            "seed": (0, COUNT),
        },
    ),
    "scaling.write_observed": (
        nq.scaling.write_observed,
        {"curves": ([nq.scaling.Observed([1], [1])], [*THING, [], nq.scaling.Observed([1], [1])]), "path": (None, PATH)},
    ),
    "scaling.read_problem": (nq.scaling.read_problem, {"path": ("x.json", [*PATH, "x.json"])}),
    "scaling.write_problem": (nq.scaling.write_problem, {"fitted": (None, THING), "path": ("x.json", [])}),
    "noise_scale_from_norms": (
        nq.noise_scale_from_norms,
        {
            "batch_sizes": ([8, 64], [*NUMBER, 8, [8, 8], [0.5, 64], [8, 64, 512], [[8, 64]]]),
            "square_norms": ([[5.0, 2.0]] * 40, [*NUMBER, 5.0, [5.0, 0.0], [5.0, -2.0], [math.inf, 2.0], [[2.0, 5.0]] * 40]),
            "steps": (None, ["a", [0], RAGGED]),
            "level": (0.9, [*NUMBER, 0.0, 1.0]),
            "block": (2, ["a", math.nan, 0, 1.5, RAGGED]),
            "seed": (0, COUNT),
        },
    ),
    "scaling.scaling_curves": (
        nq.scaling.scaling_curves,
        {"problem": (PROBLEM, THING)}
        | BATCH
        | {
            "target": (0.1, POSITIVE),
            "optimizers": (["sgd"], [["nonsense"], "sgd", [], 3]),
            "powers": ([0.0], [["a"], [2.0], [], 3]),
        }
        | DEVICES,
    ),
    "scaling.curves_of_several": (
        lambda **values: nq.scaling.curves_of_several(**values, optimizers=["sgd"], progress=False),
        {"problems": ({"one": PROBLEM}, [*THING, {}, PROBLEM, {"a/b": PROBLEM}, {3: PROBLEM}, {"one": 3}])}
        | {"store": ("curves", [None, 3, "zero\0byte", "x" * 5000])}
        | BATCH
        | {"target": (0.1, POSITIVE), "powers": ([0.0], [["a"], [2.0], [], 3])}
        | DTYPE,
    ),
    "scaling.recipes": (
        nq.scaling.recipes,
        {
            "curve": (nq.anchored_curve(CURVE, "adamw"), [*THING, CURVE]),
            "batch_size": ([256], [*NUMBER, 0.5, [], [[256]], math.inf]),
            "reference": (64, ["a", math.nan, 0.5, [64, 128], RAGGED]),
            "momentum": (0.9, [*POSITIVE, 1.0]),
            "beta2": (0.9, [*POSITIVE, 1.0]),
            "warmup": (0.9, [*POSITIVE, 1.0]),
        },
    ),
    "scaling.Devices": (
        nq.scaling.Devices,
        {
            "examples_per_second": (100.0, [*POSITIVE, 0.0, math.inf]),
            "devices": (2, [*COUNT, 0]),
            "per_device_batch": (32, [*POSITIVE, 0.5, math.inf]),
        },
    ),
    "scaling.read_norms": (nq.scaling.read_norms, {"path": ("x.csv", PATH)}),
    "scaling.Observed": (
        nq.scaling.Observed,
        {
            "batch_size": ([64, 128], [*POSITIVE, 64, [], [64], [64, 0.5], [[64, 128]]]),
            "steps": ([900, 500], [*POSITIVE, [900], [900, 0], [900, math.inf]]),
            "learning_rate": ([0.1, 0.2], ["a", 0.1, RAGGED, [0.1], [0.1, 0.0], [0.1, math.inf], {}]),
            "standard_error": ([9, 5], ["a", 9, RAGGED, [9], [9, -5], [9, math.inf], {}]),
            "label": ("adamw", [None, 3]),
        },
    ),
    "noise_scale": (
        nq.noise_scale,
        {"problem": (PROBLEM, THING), "second_moments": (1.0, ["a", math.nan, -1.0, RAGGED]), "definition": ("B_noise", WORD)},
    ),
    "regimes": (
        nq.regimes,
        {"curve": (CURVE, [None, "a", 3.0, [1], ([1.0], [1.0, 2.0])]), "tolerance": (0.1, [*POSITIVE, 0.0])},
    ),
    "strides": (
        nq.strides,
        ON_PROBLEM
        | {"batch_size": (4, [*NUMBER, 0.5, 0, -1, math.inf, [[4.0]]]), "steps": (2, [*COUNT, 0])}
        | {"dataset_size": (64, [*[bad for bad in POSITIVE if bad is not None], 3, math.inf])}
        | DTYPE,
    ),
    "monte_carlo": (
        nq.monte_carlo,
        {
            "problem": (PROBLEM, THING),
            "optax_transformation": (optax.sgd(0.1), THING),
            "batch_size": (4, [*NUMBER, 0.5, -1]),
            "num_steps": (3, COUNT),
            "num_seeds": (2, [*COUNT, 0]),
            "key": (0, [None, "a", 1.5, math.nan]),
            "average": (0.0, [*POSITIVE, 1.0]),
        }
        | DTYPE,
    ),
    "schedules.small_first_epoch": (
        nq.schedules.small_first_epoch,
        {
            "learning_rate": (0.1, [*POSITIVE, math.inf]),
            "epochs": (3, [*COUNT, 0]),
            "batch_size": (64, [*NUMBER, 0.5, 0, -1, math.inf, 1000]),
            "dataset_size": (640, [*POSITIVE, 63, math.inf]),
            "batch_divisor": (16, [*POSITIVE, 0.5, 65]),
            "rate_factor": (0.1, [*POSITIVE, math.inf]),
        },
    ),
    "measure.measure": (
        lambda **values: nq.measure.measure(**values, progress=False),
        NETWORK
        | {
            "lanczos_steps": (2, [*COUNT, 1]),
            "probes": (1, [*COUNT, 0]),
            "batch_size": (2, ["a", math.nan, RAGGED, {}, 0, 1.5, 4]),
            "seed": (0, COUNT),
        },
    ),
    "measure.curvature_product": (nq.measure.curvature_product, NETWORK),
    "measure.dataset_loss": (
        nq.measure.dataset_loss,
        {name: NETWORK[name] for name in ("data", "chunk", "loss")} | {"function": (NETWORK["function"][0], THING)},
    ),
    **TRAINING,
    "precondition": (nq.precondition, {"problem": (PROBLEM, THING), "power": (0.5, [*POSITIVE, 2.0])}),
}
UNCHECKED = {
    "LinearOptimizer": "a base class",
    "StepsToTarget": "a result",
    "Status": "an enumeration",
    "measure.Measurement": "a result",
    "sweeps.StoreCheck": "a result",
    "training.Method": "what method returns",
    "training.Split": "a pair of pairs, checked where it is used",
    "training.digits": "needs a package that is not always there; checked with its tests",
    "training.transformer": "needs a text that is not always there; checked with its tests",
    "runs.RunSettings": "built by run_settings",
    "runs.Runs": "built by make and read",
    "runs.RunModel": "a result",
    "runs.FittedLaw": "a result",
    "runs.LAWS": "a catalogue",
    "runs.QuadraticLaw": "its options are truth values",
    "runs.Chinchilla": "it has no options",
}

CASES = [(name, argument, value) for name, (_, known) in CALLS.items() for argument, (_, bad) in known.items() for value in bad]


def call(name: str, argument: str, value: Any) -> Any:
    """Call a public function with one argument replaced."""
    function, known = CALLS[name]
    return function(**{key: good for key, (good, _) in known.items()} | {argument: value})
