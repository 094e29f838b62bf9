"""A user's own Python, named on the command line as `module:function`."""

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from nqmjax import measure
from nqmjax._tools import check_choice, require


def call_named(argument: str, text: str) -> Any:
    """What the function `module:function` returns, called without arguments.

    The module is looked for in the working directory too, and may be given as a file, `folder/module.py:function`.

    Raises:
      ValueError: there is no such module or function, or one of them fails; the message says with what.
    """
    place, colon, name = text.rpartition(":")
    require(bool(colon and place and name), argument, repr(text), "give a module and a function, for example my_module:make")
    path = Path(place)
    with _importable(path.parent if path.suffix == ".py" else Path()):
        module = _try(argument, text, "the module cannot be imported", lambda: importlib.import_module(_module(path, place)))
        functions = [each for each in vars(module) if callable(getattr(module, each)) and not each.startswith("_")]
        check_choice(f"the function of {argument}", name, functions)
        return _try(argument, text, f"{name}() fails", getattr(module, name))


def source_of(model: str | None) -> Path | None:
    """The file of a model that is given as one."""
    place = Path((model or "").rpartition(":")[0])
    return place if place.suffix == ".py" else None


def network_of(model: str | None) -> tuple:
    """What a user's function returns, with None for a loss that has no name; None names the network that is built in."""
    made = measure.small_network() if model is None else call_named("model", model)
    several = isinstance(made, tuple | list)
    found = f"{len(made)} things" if several else f"of type {type(made).__name__}"
    remedy = "return (loss, params, data) or (apply, params, data, the name of a loss)"
    require(several and len(made) in (3, 4), f"what --model {model} returns", found, remedy)
    require(callable(made[0]), f"what --model {model} returns first", f"of type {type(made[0]).__name__}", remedy)
    return (*made, None) if len(made) == 3 else tuple(made)


def _module(path: Path, place: str) -> str:
    return path.stem if path.suffix == ".py" else place


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    place, written = str(folder.resolve()), sys.dont_write_bytecode
    sys.path.insert(0, place)
    sys.dont_write_bytecode = True  # a command writes what it says, and no more
    try:
        yield
    finally:
        sys.dont_write_bytecode = written
        sys.path.remove(place)


def _try(argument: str, text: str, what: str, call: Callable[[], Any]) -> Any:
    """The result of a call of the user's own code, or a `ValueError` that says on one line why it fails."""
    try:
        return call()
    except (Exception, SystemExit) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"{argument} is {text!r}: {what}: {reason[:300]}") from error
