"""Predictions of one fitted law, with the variances that its uncertain coordinates cause.

Few runs are predicted by NumPy, sooner than a law is compiled: the same formulas, and slopes from imaginary nudges.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nqmjax._tools import precision
from nqmjax.runs.laws import COARSE, FINE, Inputs, Law, Rule, law_inputs
from nqmjax.runs.one_law import FittedLaw
from nqmjax.runs.settings import RunSettings

FEW = 25_000
"""Pieces of runs times evaluations up to which NumPy answers before a law is compiled: 64 runs in 24 pieces, 16 replicates."""

NUDGE = 1e-20
"""Imaginary part of a coordinate whose effect, over it, is a slope without rounding (Squire & Trapp 1998)."""


def law_prediction(fitted: FittedLaw, known: np.ndarray, inputs: Inputs, interval: str) -> tuple[np.ndarray, np.ndarray]:
    """Log losses of one law and the variances that its uncertain coordinates cause, `(runs,)` each.

    Args:
      fitted: the law.
      known: what is known of its coordinates, see `Interval`.
      inputs: settings of the runs.
      interval: "laplace" or "bootstrap".
    """
    if _at_once(fitted, inputs, evaluations=1 + len(known)):
        return _by_numpy(fitted, known, inputs, interval)
    kernel = _laplace if interval == "laplace" else _bootstrap
    with precision():
        value, variance = kernel(fitted.law, fitted.scale, fitted.coordinates, known, inputs)
        return np.asarray(value), np.asarray(variance)


def law_log_loss(fitted: FittedLaw, inputs: Inputs, rule: Rule = COARSE) -> np.ndarray:
    """Log losses of one law `(runs,)`, with its sums over directions by the rule."""
    if _at_once(fitted, inputs, evaluations=1):
        with np.errstate(all="ignore"):
            return fitted.law.log_loss(fitted.coordinates, inputs, fitted.scale, rule)
    with precision():
        return np.asarray(_log_loss(fitted.law, fitted.scale, fitted.coordinates, inputs, rule))


def sum_error(fitted: FittedLaw, settings: RunSettings) -> float:
    """Largest relative error of the losses due to sums over directions at few nodes, against the fine rule.

    Args:
      fitted: see `fit_law`.
      settings: of the runs that are predicted.
    """
    coarse, fine = (law_log_loss(fitted, law_inputs(settings), rule) for rule in (COARSE, FINE))
    return float(abs(np.expm1(coarse - fine)).max())


def _at_once(fitted: FittedLaw, inputs: Inputs, evaluations: int) -> bool:
    return fitted.law.by_numpy and evaluations * np.size(inputs.share) <= FEW


@np.errstate(all="ignore")
def _by_numpy(fitted: FittedLaw, known: np.ndarray, inputs: Inputs, interval: str) -> tuple[np.ndarray, np.ndarray]:
    value = fitted.law.log_loss(fitted.coordinates, inputs, fitted.scale)
    if interval == "bootstrap":
        others = np.array([fitted.law.log_loss(x, inputs, fitted.scale) for x in known])
        return value, np.mean((others - value) ** 2, axis=0)
    nudged = fitted.coordinates + 1j * NUDGE * np.eye(len(fitted.coordinates))
    gradient = np.stack([fitted.law.log_loss(x, inputs, fitted.scale).imag / NUDGE for x in nudged], axis=1)
    return value, np.sum((gradient @ known) * gradient, axis=1)


@functools.partial(jax.jit, static_argnames=("law", "rule"))
def _log_loss(law: Law, scale: Any, coordinates: Any, inputs: Inputs, rule: Rule) -> jax.Array:
    return law.log_loss(coordinates, inputs, scale, rule)


@functools.partial(jax.jit, static_argnames="law")
def _laplace(law: Law, scale: Any, coordinates: Any, covariance: Any, inputs: Inputs) -> tuple[jax.Array, jax.Array]:
    def value(x: Any) -> tuple[Any, Any]:
        found = law.log_loss(x, inputs, scale)
        return found, found

    gradient, found = jax.jacfwd(value, has_aux=True)(coordinates)
    return found, jnp.sum((gradient @ covariance) * gradient, axis=1)


@functools.partial(jax.jit, static_argnames="law")
def _bootstrap(law: Law, scale: Any, coordinates: Any, replicates: Any, inputs: Inputs) -> tuple[jax.Array, jax.Array]:
    found = law.log_loss(coordinates, inputs, scale)
    others = jax.lax.map(lambda x: law.log_loss(x, inputs, scale), replicates)
    return found, jnp.mean((others - found) ** 2, axis=0)
