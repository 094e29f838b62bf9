"""Models of training runs that are made by hand, without a fit."""

import math

import numpy as np

from nqmjax.runs.laws.base import Scale
from nqmjax.runs.laws.baselines import Chinchilla, Kaplan
from nqmjax.runs.laws.quadratic import QuadraticLaw
from nqmjax.runs.one_law import Basin, FittedLaw
from nqmjax.runs.predict import Interval, RunModel
from nqmjax.runs.settings import COSINE, run_settings

SCALE = Scale(2e7, 256.0, 2000.0, 0.002, 32.0, 4096.0, 100.0, 2.3, 5.0)
COORDINATES = {
    "chinchilla": (Chinchilla(), np.log([1.7, 0.6, 0.34, 0.6, 0.28])),
    "kaplan": (Kaplan(), np.log([1.5, 0.1, 1.0, 0.3, 300.0])),
    "adam": (
        QuadraticLaw(),
        np.array([math.log(1.7), math.log(5.0), math.log(0.2), math.log(0.5), -1.0, -3.5, math.log(300.0)]),
    ),
}
SEEN = np.array([[1e6, 4096, 100, 0.001], [3e8, 32, 2e4, 0.003], [1e6, 32, 1000, 0.002]])
"""Model sizes, batch sizes, updates and peak rates."""

RUNS = 6
"""In every table, so that a law compiles once."""


def made_law(name, noise=0.01, seed=0):
    """A law at known coordinates, whose covariance is of 2% and less, as if it had been fitted."""
    law, coordinates = COORDINATES[name]
    count = len(coordinates)
    jacobian = np.random.default_rng(seed).standard_normal((RUNS, count))
    covariance = 1e-4 * (np.eye(count) + jacobian.T @ jacobian / RUNS)
    basins = (Basin(noise**2, 0.75), Basin(4 * noise**2, 0.25))
    return FittedLaw(name, law, SCALE, coordinates, covariance, noise, noise**2, jacobian, np.full(count, 0.5), basins)


def made_model(*names, inflation=1.0, seed=0, **columns):
    """A model of laws at known coordinates; seen were N 1e6 to 3e8, B 32 to 4096, K 100 to 2e4."""
    laws = tuple(made_law(name, 0.01 * (1 + place), seed + place) for place, name in enumerate(names))
    rng = np.random.default_rng(seed)
    replicates = tuple(one.coordinates + 0.02 * rng.standard_normal((5, len(one.coordinates))) for one in laws)
    intervals = {
        "laplace": Interval(tuple(one.covariance for one in laws), inflation, 0.75, 0.7),
        "bootstrap": Interval(replicates, 1.5 * inflation, 0.88, 0.5),
    }
    known = {"schedules": (COSINE,), "learning_rate": 0.002, "compute_factor": 1.0, "compute_unit": "parameters x examples"}
    rest = {"scores": None, "summary": ("48 runs",)}
    return RunModel(laws, intervals, **{"settings": SEEN} | known | rest | columns)


SETTINGS = run_settings(np.geomspace(1e6, 1e9, RUNS), np.geomspace(4096, 32, RUNS), np.geomspace(300, 3e5, RUNS), 0.001)
