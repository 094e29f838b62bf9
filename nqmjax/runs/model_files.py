"""Models of training runs as files: JSON that says what it is, in which version, and what every number means."""

import json
import math
import os
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr

from nqmjax._tools import as_path, check_suffix, input_file, require, write_atomically
from nqmjax.runs.laws import Chinchilla, Kaplan, Law, QuadraticLaw, Scale
from nqmjax.runs.one_law import Basin, FittedLaw
from nqmjax.runs.predict import Interval, RunModel
from nqmjax.runs.settings import RunSchedule

FORMAT, VERSION = "nqmjax model of training runs", 2
FORMULAS = {law.__name__: law for law in (QuadraticLaw, Chinchilla, Kaplan)}
MEANING = {
    "loss": "nats; laws are averaged in the logarithm of the loss",
    "scale": "geometric means and ranges of the runs: parameters, examples per update, updates, peak rate, nats",
    "coordinates": "of the parameters named beside them, see the law's documentation; most are logarithms",
    "noise": "standard deviation of the logarithm of the loss",
    "intervals": "laplace: covariance of the coordinates; bootstrap: coordinates fitted to resampled runs",
    "settings": "parameters, examples per update, updates and peak rate of each run",
}
"""What stands in the file's numbers."""


def write_model(model: RunModel, path: str | os.PathLike, force: bool = False) -> None:
    """Write a model to a `.json` file, whole or not at all.

    Args:
      model: see `fit`.
      path: name of the file.
      force: replace a file that exists.

    Raises:
      ValueError: the suffix is another one, the directory does not exist, the file exists and `force` is False, or a law is
        not one of nqmjax's own.
    """
    require(isinstance(model, RunModel), "model", repr(model), "give what fit returns")
    for fitted in model.laws:
        known = FORMULAS.get(type(fitted.law).__name__) is type(fitted.law)
        require(known, f"the law {fitted.name}", type(fitted.law).__name__, f"files hold {', '.join(FORMULAS)} only")
    path = as_path(path)
    check_suffix(path, ".json")
    text = json.dumps(_document(model), indent=1, allow_nan=False) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"), force)


def read_model(path: str | os.PathLike) -> RunModel:
    """Read a model that `write_model` wrote.

    Args:
      path: name of the file.

    Raises:
      ValueError: the file is missing, damaged, of another format or of a newer version.
    """
    path = input_file(path, ".json")
    try:
        document = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    known = isinstance(document, dict) and document.get("format") == FORMAT
    require(known, "path", path, f"this is no file of the format {FORMAT!r}; make one with nqmjax fit")
    found = document.get("version")
    newest = f"this nqmjax reads version {VERSION}; fit again" + " or update it" * (found not in range(VERSION))
    require(found == VERSION, f"the version of {path}", repr(found), newest)
    try:
        return _model(document)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{path} is damaged: {what}") from None


def _document(model: RunModel) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "nqmjax": version("nqmjax"),
        "meaning": MEANING,
        "summary": list(model.summary),
        "settings": model.settings.tolist(),
        "learning_rate": model.learning_rate,
        "compute_factor": model.compute_factor,
        "compute_unit": model.compute_unit,
        "schedules": [schedule._asdict() for schedule in model.schedules],
        "laws": [_law_document(fitted) for fitted in model.laws],
        "intervals": {
            name: {
                "coordinates": [part.tolist() for part in one.coordinates],
                "inflation": one.inflation,
                "coverage": _plain(one.coverage),
                "bare_coverage": _plain(one.bare_coverage),
            }
            for name, one in model.intervals.items()
        },
        "scores": None if model.scores is None else _scores_document(model.scores),
    }


def _law_document(fitted: FittedLaw) -> dict[str, Any]:
    return {
        "name": fitted.name,
        "formula": type(fitted.law).__name__,
        "options": vars(fitted.law),
        "parameters": list(fitted.law.names),
        "coordinates": fitted.coordinates.tolist(),
        "scale": fitted.scale._asdict(),
        "covariance": fitted.covariance.tolist(),
        "noise": fitted.noise,
        "mean_squared_error": fitted.mean_squared_error,
        "jacobian": fitted.jacobian.tolist(),
        "prior": fitted.prior.tolist(),
        "basins": [list(basin) for basin in fitted.basins],
    }


def _scores_document(scores: xr.Dataset) -> dict[str, Any]:
    columns = {str(name): [_plain(value) for value in values.values.tolist()] for name, values in scores.data_vars.items()}
    return {"law": scores.law.values.tolist(), "columns": columns, "attributes": dict(scores.attrs)}


def _plain(value: Any) -> Any:
    """What is no finite number as null, which JSON has."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number that the file can have")


def _model(document: dict[str, Any]) -> RunModel:
    laws = tuple(_law(part) for part in document["laws"])
    require(len(laws) > 0, "the number of laws", 0, "there must be one")
    intervals = {name: _interval(name, document["intervals"][name], laws) for name in ("laplace", "bootstrap")}
    settings = _array(document, "settings", (None, 4))
    require(bool((settings > 0).all()), "settings", settings.min(), "all of them must be above 0")
    require(len(document["summary"]) > 0, "summary", "empty", "it must say something of the runs")
    scores = document["scores"]
    model = RunModel(
        laws,
        intervals,
        settings,
        _schedules(document["schedules"]),
        _positive("learning_rate", document["learning_rate"]),
        _positive("compute_factor", document["compute_factor"]),
        document["compute_unit"],
        None if scores is None else _scores(scores),
        tuple(document["summary"]),
    )
    return model


def _schedules(parts: list[dict[str, Any]]) -> tuple[RunSchedule, ...]:
    require(len(parts) > 0, "the number of schedules", 0, "there must be one")
    found = [
        RunSchedule(part["family"], part["warmup"], tuple((name, value) for name, value in part["options"])) for part in parts
    ]
    for schedule in found:
        schedule.pieces(1)
    return tuple(found)


def _law(part: dict[str, Any]) -> FittedLaw:
    require(part["formula"] in FORMULAS, "formula", repr(part["formula"]), f"this nqmjax knows {', '.join(FORMULAS)}")
    law: Law = FORMULAS[part["formula"]](**part["options"])
    names = tuple(part["parameters"])
    require(names == law.names, "parameters", ", ".join(names), f"this formula has {', '.join(law.names)}")
    count = len(names)
    return FittedLaw(
        part["name"],
        law,
        Scale(*(_positive(f"scale.{name}", part["scale"][name]) for name in Scale._fields)),
        _array(part, "coordinates", (count,)),
        _array(part, "covariance", (count, count)),
        _positive("noise", part["noise"]),
        float(part["mean_squared_error"]),
        _array(part, "jacobian", (None, count)),
        _array(part, "prior", (count,)),
        tuple(Basin(*map(float, basin)) for basin in part["basins"]),
    )


def _interval(kind: str, part: dict[str, Any], laws: tuple[FittedLaw, ...]) -> Interval:
    arrays = part["coordinates"]
    require(len(arrays) == len(laws), f"the number of {kind} intervals", len(arrays), f"there are {len(laws)} laws")
    coordinates = []
    for values, law in zip(arrays, laws, strict=True):
        count = len(law.coordinates)
        coordinates.append(_array({kind: values}, kind, (count if kind == "laplace" else None, count)))
    coverages = (math.nan if part[name] is None else float(part[name]) for name in ("coverage", "bare_coverage"))
    return Interval(tuple(coordinates), _positive("inflation", part["inflation"]), *coverages)


def _array(part: dict[str, Any], name: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """An array of finite numbers of this shape, in which None is any length above 0."""
    values = np.array(part[name], dtype=np.float64)
    like = values.ndim == len(shape) and values.size > 0
    like = like and all(wanted in (None, found) for wanted, found in zip(shape, values.shape, strict=True))
    require(like, f"the shape of {name}", values.shape, f"it must be {shape}")
    return values


def _positive(name: str, value: Any) -> float:
    require(isinstance(value, int | float) and value > 0, name, repr(value), "it must be a number above 0")
    return float(value)


def _scores(part: dict[str, Any]) -> xr.Dataset:
    columns = {
        name: ("law", [math.nan if value is None else value for value in values]) for name, values in part["columns"].items()
    }
    return xr.Dataset(columns, coords={"law": part["law"]}, attrs=part["attributes"])
