"""Tuned curves of several problems, kept in a folder: what is there is not computed again."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import xarray as xr

from nqmjax._tools import as_path, check_dtype, check_output, load_dataset, numeric, progress_bar, require, save_dataset, shown
from nqmjax.problem import NoisyQuadratic, check_problem
from nqmjax.scaling.curves import check_curves, scaling_curves
from nqmjax.sweeps import differences, problem_specification, values_text


def curves_of_several(
    problems: Mapping[str, NoisyQuadratic],
    store: Any,
    batch_size: Any,
    target: float,
    optimizers: Sequence[str] = ("sgd", "heavy_ball", "ema"),
    powers: Sequence[float] = (0.0,),
    fixed: Mapping[str, float] = MappingProxyType({}),
    dtype: Any = "float64",
    progress: bool = True,
    *,
    devices: Any = None,
) -> xr.Dataset:
    """Tuned steps to target of several optimizers on each of several problems, in a folder that may be gone on with.

    The table of each problem, as `scaling_curves` makes it, is the file `NAME.nc` of the folder, written whole. Called again
    with the same arguments after an interruption, or with more problems, it computes what is not there.

    Args:
      problems: the quadratics by name; names are those of files, such as "resnet-20".
      store: the folder where the tables are kept; it is made if it is not there.
      batch_size: examples per update, shape `(b,)`.
      target: risk to reach, the irreducible loss included.
      optimizers: names, see `nqmjax.nonlinear.TEMPLATES`.
      powers: powers of the preconditioner, see `scaling_curves`.
      fixed: values of hyperparameters that are not to be tuned.
      dtype: "float64" or "float32".
      progress: show how many problems are done.
      devices: where to compute, see `sweep`.

    Returns:
      `xarray.Dataset` of the tables side by side, over `problem`, optimizer, power and batch_size.

    Raises:
      ValueError: an argument is out of its range, a table in the folder was made for other arguments (the message says in
        what they differ), or the folder cannot be written to.

    >>> import tempfile
    >>> from nqmjax import power_law
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     laws = {f"exponent-{p}": power_law(100, exponent=p) for p in (1, 2)}
    ...     table = curves_of_several(laws, folder, [16, 256], target=0.01, optimizers=["sgd"], progress=False)
    >>> table.steps.sel(optimizer="sgd", power=0).values
    array([[2037.,  169.],
           [5664.,  658.]])
    """
    several = isinstance(problems, Mapping) and bool(problems)
    require(several, "problems", shown(problems), "give a dict of names and problems")
    check_dtype(dtype)
    question = (batch_size, target, optimizers, powers, fixed)
    files = {name: _file(name, as_path(store)) for name in problems}
    for problem in problems.values():
        check_problem(problem, loss_noise=True)
        check_curves(problem, *question)
    specs = {name: _specification(problem, *question, dtype) for name, problem in problems.items()}
    for name, path in files.items():
        _ready(path, specs[name])
    with progress_bar(problems.items(), unit=" problems", delay=0, progress=progress) as bar:
        for name, problem in bar:
            bar.set_description(name)
            if not _ready(files[name], specs[name]):
                table = scaling_curves(problem, *question, dtype, progress, devices=devices)
                save_dataset(table.assign_attrs(spec=specs[name]), files[name], force=True)
    tables = [load_dataset(path).expand_dims(problem=[name]) for name, path in files.items()]
    found = xr.concat(tables, "problem", join="exact", coords="minimal", compat="override", combine_attrs="drop_conflicts")
    return found.assign_attrs(
        problem="; ".join(f"{name}: {table.attrs['problem']}" for name, table in zip(files, tables, strict=True))
    )


def _file(name: Any, folder: Path) -> Path:
    plain = isinstance(name, str) and re.fullmatch(r"[\w][\w .=+-]*", name) is not None
    require(plain, "problems", repr(name), "names are those of files: letters, digits, spaces and any of _ . = + -")
    return folder / f"{name}.nc"


def _specification(
    problem: NoisyQuadratic,
    batch_size: Any,
    target: float,
    optimizers: Sequence[str],
    powers: Sequence[float],
    fixed: Mapping[str, float],
    dtype: Any,
) -> dict[str, str]:
    """All that a table depends on, in words."""
    return {
        **problem_specification(problem),
        "batch_size": values_text(np.asarray(numeric("batch_size", batch_size), np.float64)),
        "target": repr(float(target)),
        "optimizers": " ".join(optimizers),
        "powers": " ".join(repr(float(power)) for power in powers),
        "fixed": " ".join(f"{name}={float(value)!r}" for name, value in fixed.items()),
        "dtype": getattr(dtype, "__name__", str(dtype)),
    }


def _ready(path: Path, spec: Mapping[str, str]) -> bool:
    """Whether the table of this specification is there; raises `ValueError` for another one, and where none can be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        require(False, "store", shown(path.parent), f"{error.strerror}; give the name of a folder that can be written to")
    if not path.exists():
        check_output(path)
        return False
    told = differences(json.loads(load_dataset(path).attrs.get("spec", "{}")), spec)
    require(not told, "store", path.parent, f"{path.name} is of another question ({told}); give another folder")
    return True
