"""Tables of results as NetCDF files, with the versions that made them."""

import contextlib
import datetime
import importlib.metadata
import json
import os
from typing import Any

import jax
import numpy as np
import xarray as xr

from nqmjax._tools.checks import require
from nqmjax._tools.tables import input_file, reading
from nqmjax._tools.writing import as_path, check_suffix, write_atomically

ENGINE = "h5netcdf"
"""What reads and writes NetCDF."""


def save_dataset(dataset: xr.Dataset, path: str | os.PathLike, force: bool = False, title: str | None = None) -> None:
    """Save a table of results as NetCDF, with the versions that made it and the time.

    An attribute that is no text, number or 1-D array of numbers (None, a truth value, a dictionary) is saved as JSON text.

    Args:
      dataset: the table; it is not changed.
      path: name of the file, ending in `.nc`.
      force: whether a file that exists may be replaced.
      title: one line for the attribute `title`; None leaves the dataset's own.

    Raises:
      ValueError: `dataset` is not an `xarray.Dataset`, or see `check_output`.

    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "sweep.nc")
    ...     save_dataset(xr.Dataset({"steps": ("batch_size", [900.0, 500.0])}), path, title="A sweep")
    ...     loaded = load_dataset(path)
    >>> loaded.steps.values, loaded.title
    (array([900., 500.]), 'A sweep')
    """
    require(isinstance(dataset, xr.Dataset), "dataset", type(dataset).__name__, "give an xarray.Dataset")
    path = as_path(path)
    check_suffix(path, ".nc")
    dataset = dataset.copy()
    dataset.attrs |= {
        "nqmjax_version": importlib.metadata.version("nqmjax"),
        "jax_version": jax.__version__,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    } | ({} if title is None else {"title": title})
    for item in (dataset, *dataset.variables.values()):
        item.attrs = {str(name): _attribute(value) for name, value in item.attrs.items()}
    write_atomically(path, lambda temporary: dataset.to_netcdf(temporary, engine=ENGINE), force)


def load_dataset(path: str | os.PathLike) -> xr.Dataset:
    """Load what `save_dataset` saved; all of it is in memory and the file is closed.

    Args:
      path: name of the file, ending in `.nc`.

    Raises:
      ValueError: the file is missing, damaged or not made by nqmjax.
    """
    path = input_file(path, ".nc")
    with reading(path):
        # Left to itself xarray turns numbers with the attribute units="seconds" into time intervals.
        dataset = xr.load_dataset(path, engine=ENGINE, decode_timedelta=False)
    made_here = "nqmjax_version" in dataset.attrs
    require(
        made_here, str(path), "not a file made by nqmjax", "it lacks the attribute 'nqmjax_version'; save it with save_dataset"
    )
    return dataset


def _attribute(value: Any) -> Any:
    """An attribute as NetCDF can hold it: text, a number, a 1-D array of numbers, or JSON text for anything else."""
    if isinstance(value, str):
        return str(value)
    with contextlib.suppress(ValueError):
        array = np.asarray(value)
        if array.dtype.kind in "iuf" and array.ndim < 2:
            return array[()]
    return json.dumps(value, default=_plain, ensure_ascii=False)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic | jax.Array) else str(value)
