r"""The main job: tuned steps to target against batch size, for several optimizers and preconditioner powers side by side."""

import itertools
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import xarray as xr

from nqmjax._tools import check_choice, check_loss, local_devices, numeric, progress_bar, require
from nqmjax.bounds import bayes_examples, flat_prior_bound
from nqmjax.dynamics import check_run
from nqmjax.nonlinear import TEMPLATES, preconditioned
from nqmjax.optimizers import LinearOptimizer, Optimizer, describe, hyperparameters, provenance, rate_units
from nqmjax.problem import NoisyQuadratic
from nqmjax.scaling.critical import CriticalBatchSize, critical_batch_size
from nqmjax.scaling.search_space import names_to_tune
from nqmjax.scaling.tune import tune
from nqmjax.sweeps import with_units
from nqmjax.target import Status

DEFINITIONS = ("overhead", "knee")
"""Definitions of the critical batch size that a table of `scaling_curves` holds."""


def scaling_curves(
    problem: NoisyQuadratic,
    batch_size: Any,
    target: float,
    optimizers: Sequence[str] = ("sgd", "heavy_ball", "ema"),
    powers: Sequence[float] = (0.0, 0.25, 0.5, 0.75),
    fixed: Mapping[str, float] = MappingProxyType({}),
    dtype: Any = "float64",
    progress: bool = True,
    *,
    devices: Any = None,
) -> xr.Dataset:
    r"""Tuned steps to target against batch size, with critical batch sizes and bounds, of several optimizers.

    Args:
      problem: the quadratic.
      batch_size: examples per update, shape `(b,)`.
      target: risk to reach, the irreducible loss included.
      optimizers: names, see `nqmjax.nonlinear.TEMPLATES`.
      powers: powers `p` of the preconditioner `H^p`, each between 0 and 1. Adam and its kin take none: they have a curve at
        0 only, and no value at other powers.
      fixed: values of hyperparameters that are not to be tuned, for the optimizers that have them.
      dtype: "float64" or "float32".
      progress: show which curve is under way.
      devices: where to compute, see `sweep`.

    Returns:
      `xarray.Dataset` with the dimensions optimizer, power, batch_size: the variables of `tune` (without a value where an
      optimizer lacks the hyperparameter), `critical_batch_size` and its `critical_batch_size_bound` by definition
      (without a value where too few batch sizes reach the target), `knee_residual`; and by batch size the updates
      `bayes_steps` and `flat_prior_steps` that the two bounds of the examples leave.

    Raises:
      ValueError: an argument is out of its range, or a name is unknown.

    >>> from nqmjax import power_law
    >>> table = scaling_curves(power_law(100), [16, 256, 4096], 0.01, ["sgd"], powers=[0.0, 0.5], progress=False)
    >>> table.steps.sel(optimizer="sgd").values
    array([[2037.,  169.,   77.],
           [ 819.,   54.,   10.]])

    Source: Zhang et al. 2019, section 3.7.1 and figures 3a, 4 and 14.
    """
    templates = check_curves(problem, batch_size, target, optimizers, powers, fixed)
    places = local_devices(devices)
    curves, powers = {}, [float(power) for power in powers]
    asked = [(name, power) for name, template in templates.items() for power in _powers_of(template, powers)]
    with progress_bar(asked, unit=" curves", delay=0, progress=progress) as bar:
        for name, power in bar:
            bar.set_description(f"{name}, power {power:g}")
            held = [other for other in fixed if other in hyperparameters(templates[name])]
            optimizer = preconditioned(templates[name], power)
            curves[name, power] = tune(
                problem, optimizer, batch_size, target, held, dtype=dtype, progress=progress, devices=places
            )
    table = _side_by_side(curves, powers).merge(_critical(curves, powers)).merge(_bounds(problem, batch_size, target))
    table.attrs = {
        "title": "tuned updates to a target loss against batch size",
        **provenance(problem, _names(templates, fixed)),
        "rate_units": rate_units(problem, templates.values()),
        "initial_risk": float(problem.initial_risk),
        "irreducible": float(problem.irreducible),
        "fixed": ", ".join(f"{name}={value:g}" for name, value in fixed.items()),
    }
    return with_units(table)


def _names(templates: Mapping[str, Optimizer], fixed: Mapping[str, float]) -> str:
    """The optimizers in words; of their hyperparameters those that are not tuned have a value."""
    held = {name: [key for key in fixed if key in hyperparameters(template)] for name, template in templates.items()}
    return (
        "; ".join(describe(template, names_to_tune(template, held[name])) for name, template in templates.items()) + ", tuned"
    )


def check_curves(
    problem: NoisyQuadratic,
    batch_size: Any,
    target: float,
    optimizers: Sequence[str],
    powers: Sequence[float],
    fixed: Mapping[str, float],
) -> dict[str, Optimizer]:
    """The named optimizers with the fixed values in them, everything checked before anything is computed."""
    check_loss(target)
    several = isinstance(optimizers, Collection) and not isinstance(optimizers, str)
    require(several, "optimizers", repr(optimizers), "give a list of names")
    require(numeric("powers", powers).ndim == 1, "powers", repr(powers), "give a list of numbers")
    require(isinstance(fixed, Mapping), "fixed", repr(fixed), "give a dict of hyperparameters and their values")
    for argument, values in {"optimizers": optimizers, "powers": powers}.items():
        require(len(values) > 0, argument, list(values), "give at least one")
        require(len(set(values)) == len(values), argument, list(values), "give each one once")
    for name in optimizers:
        check_choice("optimizer", name, TEMPLATES)
    templates = {name: TEMPLATES[name] for name in optimizers}
    known = dict.fromkeys(name for template in templates.values() for name in hyperparameters(template))
    for name in fixed:
        check_choice("fixed", name, known)
    for name, template in templates.items():
        values = hyperparameters(template)
        templates[name] = template.replace(**{key: value for key, value in fixed.items() if key in values})
        some = numeric("powers", _powers_of(template, powers))
        require(some.size > 0, "powers", list(powers), f"{name} takes no preconditioner: add 0, or leave {name} out")
        check_run(problem, preconditioned(templates[name], some), batch_size, closures=True, loss_noise=True)
        names_to_tune(template, [key for key in fixed if key in values])
    return templates


def _powers_of(template: Optimizer, powers: Sequence[float]) -> list[float]:
    """Those of the powers that an optimizer takes."""
    return [power for power in powers if isinstance(template, LinearOptimizer) or power == 0]


def _side_by_side(curves: Mapping[tuple[str, float], xr.Dataset], powers: list[float]) -> xr.Dataset:
    """One table of all curves; no value and no flag where an optimizer lacks the hyperparameter."""
    flags = {str(name): False for curve in curves.values() for name, values in curve.data_vars.items() if values.dtype == bool}
    fill = {**flags, "status": np.int8(Status.REACHED)}
    rows: list[xr.Dataset] = []
    for name, group in itertools.groupby(curves, key=lambda key: key[0]):
        row = [curves[key].drop_vars("power", errors="ignore").expand_dims(power=[key[1]]) for key in group]
        joined = xr.concat(row, "power", join="exact", coords="minimal", compat="equals")
        rows.append(joined.reindex(power=powers, fill_value=fill).expand_dims(optimizer=[name]))
    return xr.concat(rows, "optimizer", data_vars="all", join="exact", coords="minimal", compat="equals", fill_value=fill)


def _critical(curves: Mapping[tuple[str, float], xr.Dataset], powers: list[float]) -> xr.Dataset:
    """Critical batch sizes of every curve by every definition."""
    found = {key: {name: _critical_or_none(curve, name) for name in DEFINITIONS} for key, curve in curves.items()}
    names = list(dict.fromkeys(name for name, _ in curves))
    nothing: dict[str, None] = dict.fromkeys(DEFINITIONS)

    def column(read: Any, missing: Any, definitions: Sequence[str]) -> np.ndarray:
        cells = [found.get(key, nothing)[each] for key in itertools.product(names, powers) for each in definitions]
        values = [read(cell) if cell else missing for cell in cells]
        return np.array(values).reshape(len(names), len(powers), len(definitions))

    dims = ("optimizer", "power", "definition")
    return xr.Dataset(
        {
            "critical_batch_size": (dims, column(lambda c: c.batch_size, np.nan, DEFINITIONS)),
            "critical_batch_size_bound": (dims, column(lambda c: c.bound or "", "", DEFINITIONS)),
            "knee_residual": (dims[:2], column(lambda c: c.residual, np.nan, ["knee"])[..., 0]),
        },
        coords={"optimizer": names, "power": powers, "definition": list(DEFINITIONS)},
    )


def _critical_or_none(curve: xr.Dataset, definition: str) -> CriticalBatchSize | None:
    """The critical batch size, or None where too few batch sizes take a finite, positive number of steps."""
    steps = curve.steps.values
    some = np.isfinite(steps) & (steps > 0)
    if some.sum() < 3:
        return None
    return critical_batch_size((curve.batch_size.values[some], steps[some]), definition)


def _bounds(problem: NoisyQuadratic, batch_size: Any, target: float) -> xr.Dataset:
    """Updates that the Bayes bound and the flat-prior line leave at each batch size."""
    batches = np.atleast_1d(numeric("batch_size", batch_size))
    excess = float(target) - float(problem.irreducible)
    flat = np.nan if problem.follows_loss else float(flat_prior_bound(problem, 1.0)) - float(problem.irreducible)
    flat_prior = np.divide(flat, excess * batches, out=np.full(batches.shape, np.inf), where=excess > 0)
    plain = np.array_equal(problem.noise, problem.curvature)
    return xr.Dataset(
        {
            "bayes_steps": ("batch_size", bayes_examples(problem, target) / batches, {"long_name": "ideal bound"}),
            "flat_prior_steps": (
                "batch_size",
                flat_prior,
                {"long_name": "d / (2 x examples)" if plain else "ideal line, start unknown"},
            ),
        },
        coords={"batch_size": batches},
    )
