"""Files of fitted problems: JSON, with the columns of a spectrum and beside them what was fitted to."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from nqmjax._tools import as_path, check_suffix, input_file, reading, require, write_atomically
from nqmjax.problem import from_spectrum
from nqmjax.scaling.anchored import Estimate, anchored_curve
from nqmjax.scaling.families import template_of
from nqmjax.scaling.fitted import FittedProblem
from nqmjax.scaling.observed import Observed

VERSION = 1

COLUMNS = {"eigenvalue": "curvature", "noise": "noise", "initial": "initial", "count": "count"}
"""What a file, as a spectrum, calls the arrays of a problem."""

ARRAYS = ("batch_size", "steps", "learning_rate", "standard_error")


def write_problem(fitted: FittedProblem, path: str | os.PathLike, force: bool = False) -> None:
    """Write a fitted problem as JSON, which `read_problem` reads, and `read_spectrum`, as a spectrum (`--problem`).

    Args:
      fitted: what `fit_problem` returns.
      path: name of the file, ending in `.json`.
      force: whether a file that exists may be replaced.

    Raises:
      ValueError: `fitted` is another thing, or the file cannot be written.
    """
    require(isinstance(fitted, FittedProblem), "fitted", type(fitted).__name__, "give what fit_problem returns")
    path = as_path(path)
    check_suffix(path, ".json")
    text = json.dumps(_document(fitted), indent=1)
    write_atomically(path, lambda place: Path(place).write_text(text, encoding="utf-8"), force)


def read_problem(path: str | os.PathLike) -> FittedProblem:
    """The fitted problem in a file that `write_problem` wrote.

    Args:
      path: its name, ending in `.json`.

    Raises:
      ValueError: the file is missing, damaged or of another kind.
    """
    path = input_file(path, ".json")
    with reading(path):
        document = json.loads(path.read_text(encoding="utf-8"))
    known = isinstance(document, dict) and isinstance(document.get("fitted"), dict)
    require(known, str(path), "not a fitted problem", "give a file that write_problem wrote")
    about = document["fitted"]
    require(about.get("version") == VERSION, f"the version of {path}", about.get("version"), f"this nqmjax reads {VERSION}")
    with reading(path):
        law = anchored_curve(Observed(**_without_none(about["observed"])), about["optimizer"], level=about["level"])
        columns = {title: np.array(document[title], dtype=np.float64) for title in COLUMNS}
        return FittedProblem(
            problem=from_spectrum(columns["eigenvalue"], columns["count"], columns["noise"], columns["initial"]),
            target=about["target"],
            optimizer=template_of(str(law.optimizer), about["momentum"]),
            exponent=Estimate(*about["exponent"]),
            knee=Estimate(*about["knee"]),
            rates_known=about["rates_known"],
            law=law,
            remarks=tuple(about["remarks"]),
        )


def _document(fitted: FittedProblem) -> dict[str, Any]:
    """What is written: columns as a spectrum has them, and the rest."""
    problem, points = fitted.problem, fitted.law.observed
    observed = {name: getattr(points, name).tolist() for name in ARRAYS}
    about = {
        "version": VERSION,
        "optimizer": fitted.law.optimizer,
        "momentum": float(getattr(fitted.optimizer, "momentum", 0.9)),
        "observed": {name: [None if np.isnan(one) else one for one in column] for name, column in observed.items()}
        | {"label": points.label},
        **{name: getattr(fitted, name) for name in ("target", "rates_known", "remarks")},
        **{name: [float(end) for end in getattr(fitted, name)] for name in ("exponent", "knee")},
        "level": fitted.law.level,
    }
    size = np.shape(problem.curvature)
    columns = {title: np.broadcast_to(getattr(problem, name), size).tolist() for title, name in COLUMNS.items()}
    return columns | {"fitted": about}


def _without_none(observed: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value if name == "label" else [np.nan if one is None else one for one in value]
        for name, value in observed.items()
    }
