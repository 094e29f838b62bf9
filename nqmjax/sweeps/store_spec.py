"""What a store says of itself: the sweep that it holds, word by word, so that another one is told from it."""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import inspect
import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from nqmjax._tools import require
from nqmjax.optimizers import Optimizer
from nqmjax.problem import NoisyQuadratic
from nqmjax.sweeps.cells import Grid

FORMAT, VERSION = "nqmjax sweep", 1
METADATA = "zarr.json"
"""The file of a Zarr group with its attributes."""

REMEDY = "give another path, or ask what the store holds"


def attributes(grid: Grid) -> dict[str, Any]:
    """The attributes of the store of a grid: those of the table, and `spec`, by which stores are compared."""
    program, *words = sys.argv or [""]
    program = Path(program).name
    return {
        "format": FORMAT,
        "format_version": VERSION,
        **grid.attributes,
        "dtype": grid.dtype,
        "jax_version": jax.__version__,
        "command": shlex.join([program, *words]) if program == "nqmjax" else "",
        "spec": specification(grid),
    }


def specification(grid: Grid) -> dict[str, str]:
    """All that the cells depend on, in words; arrays by their size, their ends and a digest of all values.

    >>> from nqmjax import SGD, power_law
    >>> grid = Grid(power_law(3), SGD([0.1, 0.2]), {"learning_rate": np.array([0.1, 0.2])}, 100, "first", "float64")
    >>> spec = specification(grid)
    >>> spec["optimizer"], spec["learning_rate"]
    ('SGD(learning_rate)', '2 values, 0.1 .. 0.2 (15d49616eec2)')
    """
    return {
        "nqmjax": importlib.metadata.version("nqmjax"),
        **problem_specification(grid.problem),
        "optimizer": _optimizer_text(grid.optimizer),
        **{name: values_text(values) for name, values in grid.axes.items()},
        "max_steps": str(grid.max_steps),
        "rule": grid.rule,
        "dtype": grid.dtype,
    }


def problem_specification(problem: NoisyQuadratic) -> dict[str, str]:
    """All that a problem consists of, in words; see `specification`."""
    arrays = {f"the problem's {name}": values_text(values) for name, values in problem_arrays(problem).items()}
    return arrays | {f"the problem's {name}": _words_text(words) for name, words in problem_words(problem).items()}


def problem_arrays(problem: NoisyQuadratic) -> dict[str, np.ndarray]:
    """The arrays of which a problem consists, by name."""
    names = [field.name for field in dataclasses.fields(problem) if not field.metadata.get("static")]
    return {name: np.asarray(getattr(problem, name), np.float64) for name in names if getattr(problem, name) is not None}


def problem_words(problem: NoisyQuadratic) -> dict[str, list[str]]:
    """What else a problem consists of, lists of words such as the `layer` of each group, by name."""
    names = [field.name for field in dataclasses.fields(problem) if field.metadata.get("static")]
    return {name: list(getattr(problem, name)) for name in names if getattr(problem, name) is not None}


def read_attributes(path: Path) -> dict[str, Any]:
    """The attributes of the store at `path`.

    Raises:
      ValueError: there is none, or a newer nqmjax made it.
    """
    require(path.is_dir(), "store", path, "there is no such directory")
    remedy = "this directory is no store of a sweep"
    try:
        about = json.loads((path / METADATA).read_text(encoding="utf-8"))["attributes"]
        known = about["format"] == FORMAT and isinstance(about["format_version"], int) and isinstance(about["spec"], dict)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = "" if isinstance(error, FileNotFoundError) else f" ({type(error).__name__})"
        raise ValueError(f"store is {path}: {remedy}{reason}; give another path") from None
    require(known, "store", path, f"{remedy}; give another path")
    newer = f"its format has version {about['format_version']}, and this nqmjax reads {VERSION}; use a newer nqmjax"
    require(about["format_version"] == VERSION, "store", path, newer)
    return about


def check_same(path: Path, grid: Grid) -> None:
    """Raise `ValueError` unless the store holds this sweep; the message says in what it differs."""
    told = differences(read_attributes(path)["spec"], specification(grid))
    require(not told, "store", path, f"it holds another sweep ({told}); {REMEDY}")


def differences(there: Mapping[str, str], asked: Mapping[str, str]) -> str:
    """In what two specifications differ, in words; nothing if they are the same.

    >>> differences({"rule": "first", "dtype": "float64"}, {"rule": "stays", "dtype": "float64"})
    'rule is first, asked stays'
    """
    different = [name for name in {**there, **asked} if there.get(name) != asked.get(name)]
    return "; ".join(f"{name} is {there.get(name, 'not there')}, asked {asked.get(name, 'without')}" for name in different)


def values_text(values: np.ndarray) -> str:
    """A number, or an array so that any other value in it shows."""
    if values.ndim == 0:
        return repr(float(values))
    ends = f"{values.flat[0]:.6g} .. {values.flat[-1]:.6g}" if values.size else "none"
    return f"{'x'.join(map(str, values.shape))} values, {ends} ({_digest(values.astype('<f8').tobytes())})"


def _words_text(words: list[str]) -> str:
    """A list of words so that any other word in it shows."""
    return f"{len(words)} words, {words[0]!r} .. {words[-1]!r} ({_digest(json.dumps(words).encode())})"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]


def _optimizer_text(value: Any, name: str = "") -> str:
    """The classes of an optimizer with the names of their hyperparameters and the values of what is static.

    A class that is not part of nqmjax counts with its source, where that can be read: its cells follow from it.
    """
    if not isinstance(value, Optimizer):
        return name
    kind, parts = type(value), []
    for field in dataclasses.fields(value):  # pyright: ignore[reportArgumentType]
        inner = getattr(value, field.name)
        parts.append(f"{field.name}={inner!r}" if field.metadata.get("static") else _optimizer_text(inner, field.name))
    return f"{_class_text(kind)}({', '.join(parts)})"


def _class_text(kind: type) -> str:
    own = [each for each in kind.__mro__ if issubclass(each, Optimizer) and each.__module__.split(".")[0] != "nqmjax"]
    if not own:
        return kind.__qualname__
    text = ""
    with contextlib.suppress(OSError, TypeError):
        text = "".join(inspect.getsource(each) for each in own)
    return f"{kind.__qualname__} of {kind.__module__} ({_digest(text.encode())})"
