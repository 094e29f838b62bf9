r"""Measured spectra from files: tables in text, arrays of NumPy, NetCDF and JSON, and what Lanczos programs give.

Stochastic Lanczos quadrature (PyHessian and others) gives for each of several random vectors a list of eigenvalues and one of
weights that sum to 1. Their mean is a spectrum in which a weight is a share of the directions; how many there are, `dim`, the
weights do not say.
"""

import functools
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from nqmjax._tools import (
    ENGINE,
    TEXT,
    Columns,
    Table,
    clear_round_off,
    input_file,
    labels,
    read_table,
    reading,
    require,
    warn_caller,
    warn_of_unused,
)
from nqmjax.problem.quadratic import NoisyQuadratic
from nqmjax.problem.spectra import SIGNS, from_spectrum

ARRAYS = (".npz", ".npy", ".nc", ".json")
"""Suffixes of files of arrays."""

FITTED = "fitted"
"""What a file of a fitted problem holds besides its spectrum; `nqmjax.scaling.read_problem` reads it."""

DENSITY = "a density needs the widths of its bins; give the directions that each row stands for as 'count'"
VARIANCE = "noise is a variance, the square of a standard deviation; give that as 'noise'"
LOGARITHM = "give the eigenvalues themselves as 'eigenvalue'"

COLUMNS = Columns(
    required=("eigenvalue",),
    known=("eigenvalue", "count", "noise", "initial", "loss_noise", "weight", "dim", "layer"),
    text=("layer",),
    aliases={
        "eigenvalue": (
            *("eigenvalues", "eigval", "eigvals", "eig", "eigs", "eigen", "densityeigen", "lambda", "lambdas", "λ"),
            *("curvature", "curvatures", "h", "hessianeigenvalue", "hessianeigenvalues"),
        ),
        "count": ("counts", "multiplicity", "multiplicities", "directions", "n"),
        "noise": ("c", "gradientvariance", "noisevariance", "variance", "perexamplevariance", "perexamplegradientvariance"),
        "initial": ("s", "start", "secondmoment", "initialsecondmoment"),
        "loss_noise": ("noiseperloss",),
        "weight": ("weights", "w", "densityweight", "densityweights", "share", "shares", "fraction", "probability", "mass"),
        "layer": ("layers", "layername", "layernames", "module", "modules"),
        "dim": ("dimension", "numparameters", "numparams", "nparams", "parameters"),
    },
    refused={
        **dict.fromkeys(("density", "densities", "spectraldensity", "pdf", "histogram", "binwidth"), DENSITY),
        **dict.fromkeys(("std", "sigma", "noisestd", "gradientstd", "standarddeviation"), VARIANCE),
        **dict.fromkeys(("logeigenvalue", "logeigenvalues", "log10eigenvalue", "log10eigenvalues", "loglambda"), LOGARITHM),
    },
)


def read_spectrum(path: str | os.PathLike, irreducible: float = 0.0, dim: float | None = None) -> NoisyQuadratic:
    """The problem given by a file of measured eigenvalues.

    Args:
      path: a table (`.csv`, `.tsv`, `.txt`), or arrays (`.npz`, `.npy`, NetCDF `.nc`, `.json`), with the column `eigenvalue`
        (curvature `h`) and, as far as known, `count` (directions that the row stands for; 1 if absent), `noise` (per-example
        gradient variance `c`; if absent `C = H`), `initial` (`E theta_0^2`; 1 if absent), `loss_noise` (what that variance
        gains per unit of the loss; a single number in units of the curvature) and `layer` (its name), or other common names
        of these. Arrays are 1-D; all but `eigenvalue` may be single entries. In place of `count` there may be `weight`,
        shares of the directions that sum to 1, also as several runs of Lanczos quadrature. A single array needs no name.
        Eigenvalues just below 0, as round-off leaves them, are 0. Other columns are ignored with a warning.
      irreducible: loss at the optimum.
      dim: number of directions in all, where the file gives weights and no `dim` itself.

    Returns:
      a `NoisyQuadratic`, the largest eigenvalue first.

    Raises:
      ValueError: the file is missing, damaged, of another kind or lacks `eigenvalue`, a column would change the meaning, or
        an entry is no number that a spectrum can have.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "spectrum.csv")
    ...     _ = path.write_text("eigenvalue,count\\n0.1,90\\n1.0,10\\n")
    ...     read_spectrum(path).curvature
    array([1. , 0.1])
    """
    path = input_file(path, *TEXT, *ARRAYS)
    table = read_table(path, COLUMNS) if path.suffix.lower() in TEXT else _read_arrays(path)
    columns = table.columns
    if "layer" in columns:
        columns["layer"] = np.array(labels(f"{path}, {table.titles['layer']}", columns["layer"], columns["eigenvalue"].size))
    columns["eigenvalue"] = clear_round_off(columns["eigenvalue"])
    table.check("eigenvalue", lambda values: values >= 0, SIGNS)
    for name in ("noise", "initial", "loss_noise", "weight"):
        if name in columns:
            table.check(name, lambda values: values >= 0, "give a finite number that is not negative")
    if "count" in columns:
        table.check("count", lambda values: values > 0, "give a positive number of directions")
    require(bool(columns["eigenvalue"].any()), f"every eigenvalue in {path}", 0, "give one above 0")
    _share_out(table, dim)
    return from_spectrum(columns.pop("eigenvalue"), irreducible=irreducible, **columns)


def _share_out(table: Table, dim: float | None) -> None:
    """Put counts in the place of weights; rows of weight 0 stand for nothing and go."""
    columns, path = table.columns, table.path
    own = columns.pop("dim", None)
    if "weight" not in columns:
        require(dim is None, "dim", dim, f"{path} gives no weights to share it out by; leave it out")
        if own is not None:
            warn_caller(f"{path}: {table.titles['dim']!r} is not used, for there are no weights")
        return
    weight = columns.pop("weight")
    remedy = "they say the same in two ways; leave one out"
    require("count" not in columns, f"the list of columns in {path}", "'count' and 'weight'", remedy)
    title, total = table.titles.get("weight", "weight"), float(np.sum(weight))
    require(
        abs(total - 1) <= 0.01, f"the sum of {title!r} in {path}", f"{total:g}", "give shares of all directions, which sum to 1"
    )
    directions = dim if dim is not None else None if own is None else float(np.ravel(own)[0])
    remedy = "give dim (--dim on the command line), which the weights are shares of"
    require(directions is not None, f"the number of directions in {path}", "missing", remedy)
    assert directions is not None
    require(0 < directions < np.inf, "dim", directions, "give the number of directions, above 0")
    columns["count"] = directions * weight / total
    some = columns["count"] > 0
    for name, values in columns.items():
        columns[name] = values[some] if np.ndim(values) else values


def _read_arrays(path: Path) -> Table:
    """The known columns of a file of arrays as float64: one length, or single numbers."""
    with reading(path):
        entries = CONTENTS[path.suffix.lower()](path)
    entries = _named(path, entries)
    titles = COLUMNS.named(path, list(entries))
    warn_of_unused(path, list(entries), titles, COLUMNS)
    with reading(path):
        found = {name: entries[title]() for name, title in titles.items()}
    places = {name: f"{path}, {title}" for name, title in titles.items()}
    runs = {name: _runs(places[name], found.pop(name)) for name in ("eigenvalue", "weight") if name in found}
    names = {name: np.asarray(values) for name, values in found.items() if name in COLUMNS.text}
    numbers = {name: _numbers(places[name], values) for name, values in found.items() if name not in names}
    columns = numbers | names | _mean(path, runs, places)
    shape = columns["eigenvalue"].shape
    for name, values in columns.items():
        remedy = f"give a number or {shape[0]} of them, one for each eigenvalue"
        allowed = {"weight": [shape], "dim": [(), (1,)]}.get(name, [(), shape])
        require(values.shape in allowed, f"the shape of {places[name]}", values.shape, remedy)
    return Table(path, columns, titles)


def _mean(path: Path, runs: dict[str, list[np.ndarray]], places: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Eigenvalues and weights of all runs in a row; a weight is a share of all directions, which the runs sample equally."""
    eigenvalues, weights = runs["eigenvalue"], runs.get("weight")
    shape = eigenvalues[0].shape
    if len(eigenvalues) == 1 or weights is None:
        shape = shape if len(eigenvalues) == 1 else (len(eigenvalues), *shape)
        good = len(shape) == 1 and shape != (0,)
        require(good, f"the shape of {places['eigenvalue']}", shape, "give a 1-D array, not empty")
        return {name: parts[0] for name, parts in runs.items()}
    lengths = [[len(run) for run in parts] for parts in (eigenvalues, weights)]
    remedy = "give one weight for each eigenvalue of each run"
    require(lengths[0] == lengths[1], f"the list of lengths of the runs in {path}", " and ".join(map(str, lengths)), remedy)
    return {"eigenvalue": np.concatenate(eigenvalues), "weight": np.concatenate(weights) / len(weights)}


def _runs(place: str, values: Any) -> list[np.ndarray]:
    """The runs as arrays of numbers."""
    return [_numbers(place, run) for run in _parts(values)]


def _parts(values: Any) -> list[Any]:
    """The runs in a list of lists or an array of two dimensions; anything else is one."""
    several = isinstance(values, list) and any(isinstance(part, list) for part in values)
    return list(values) if several or (isinstance(values, np.ndarray) and values.ndim == 2) else [values]


def _numbers(place: str, values: Any) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError:  # lists of unequal lengths
        array = np.asarray(None)
    kind = array.dtype if array.dtype != object else "no array"
    require(array.dtype.kind in "iuf", f"the type of {place}", kind, "give an array of real numbers")
    return array.astype(np.float64)


Entries = Mapping[str, Callable[[], Any]]
"""What is in a file by name, read when it is called."""


def _named(path: Path, entries: Entries) -> Entries:
    """Names for arrays that have none: a list is eigenvalues, and shares that sum to 1 behind it in each run are weights."""
    if not all(name == "" or name.startswith("arr_") for name in entries):
        return entries
    with reading(path):
        arrays = [read() for read in entries.values()]
    if len(arrays) == 1 and len(_parts(arrays[0])) == 1 and np.ndim(arrays[0]) == 1:
        return {"eigenvalue": lambda: arrays[0]}
    pair = list(arrays[0]) if len(arrays) == 1 else arrays
    if len(pair) == 2 and _is_quadrature(path, *pair):
        return {"eigenvalue": lambda: pair[0], "weight": lambda: pair[1]}
    remedy = "give them the names eigenvalue, count, noise and initial, as in np.savez(path, eigenvalue=..., count=...)"
    shapes = ", ".join(str(np.shape(array)) if isinstance(array, np.ndarray) else "a list" for array in arrays)
    raise ValueError(f"the arrays in {path} are without names, of shape {shapes}: {remedy}")


def _is_quadrature(path: Path, eigenvalues: Any, weights: Any) -> bool:
    """Whether these are runs of equal lengths whose second numbers are shares that sum to 1 in each."""
    try:
        pairs = list(zip(_runs(str(path), eigenvalues), _runs(str(path), weights), strict=True))
    except (ValueError, TypeError):
        return False
    return all(a.shape == b.shape and b.ndim == 1 and bool((b >= 0).all()) and abs(b.sum() - 1) <= 0.01 for a, b in pairs)


def _npz(path: Path) -> Entries:
    def entry(name: str) -> np.ndarray:
        with open(path, "rb") as raw, np.lib.npyio.NpzFile(raw) as file:
            return np.asarray(file[name])

    with open(path, "rb") as raw, np.lib.npyio.NpzFile(raw) as file:
        return {name: functools.partial(entry, name) for name in file.files}


def _npy(path: Path) -> Entries:
    array = np.load(path, allow_pickle=False)
    require(isinstance(array, np.ndarray), "the content", "not one array", "give the suffix .npz")
    if array.dtype.names:
        return {name: functools.partial(array.__getitem__, name) for name in array.dtype.names}
    return {"": lambda: array}


def _netcdf(path: Path) -> Entries:
    with xr.open_dataset(path, engine=ENGINE, decode_times=False) as file:
        used = [str(name) for name in file.variables if COLUMNS.score([str(name)]) or name in file.data_vars]
        arrays = {name: file[name].values for name in used}
    return {name: functools.partial(arrays.__getitem__, name) for name in used}


def _json(path: Path) -> Entries:
    content = json.loads(path.read_text(encoding="utf-8-sig"))
    require(isinstance(content, dict | list), "the content", type(content).__name__, "give lists of numbers by name")
    entries = {name: one for name, one in content.items() if name != FITTED} if isinstance(content, dict) else {"": content}
    return {name: functools.partial(entries.__getitem__, name) for name in entries}


CONTENTS = {".npz": _npz, ".npy": _npy, ".nc": _netcdf, ".json": _json}
