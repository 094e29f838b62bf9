"""The specification of a sweep: a TOML file with a problem, an optimizer and its grids."""

import dataclasses
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nqmjax._tools import check_choice, input_file, numeric, parse_number, require
from nqmjax.cli.numbers import parse_numbers
from nqmjax.nonlinear import TEMPLATES, preconditioned
from nqmjax.optimizers import Averaged, LinearOptimizer, Optimizer, hyperparameters
from nqmjax.problem import NoisyQuadratic, power_law, read_spectrum, with_loss_noise

QUESTION = ("batch_size", "target", "max_steps", "rule", "dtype")
LONGEST = 1_000_000
"""Values of one grid at most."""

GENERATED = ("dim", "exponent", "noise", "initial")
GRIDS = {
    "linspace": np.linspace,
    "logspace": np.logspace,
    "one_minus_logspace": lambda *ends: 1 - np.logspace(*ends),
}


class Spec(NamedTuple):
    """A problem, an optimizer whose hyperparameters may be arrays, and the other arguments of `nqmjax.sweep`."""

    problem: NoisyQuadratic
    optimizer: Optimizer
    question: dict[str, Any]


def read_spec(path: Path) -> Spec:
    """Read a sweep from a TOML file.

    Raises:
      ValueError: the file is missing or no TOML, a key is unknown or missing, or a value is not what the key wants.
    """
    path = input_file(path, ".toml")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        check_keys("the file", table, ["problem", "optimizer", *QUESTION], ["problem", "optimizer", "batch_size", "target"])
        for name in ("problem", "optimizer"):
            require(isinstance(table[name], dict), name, repr(table[name]), f"make it a table, [{name}]")
        problem = _problem(table.pop("problem"), path.parent)
        optimizer = _optimizer(table.pop("optimizer"))
        return Spec(problem, optimizer, {name: _question(name, value) for name, value in table.items()})
    except (ValueError, OSError) as error:
        raise ValueError(f"{path}: {error}") from None


def check_keys(place: str, table: dict[str, Any], known: list[str], required: list[str]) -> None:
    """Raise for a key that is unknown or missing."""
    for key in table:
        check_choice(f"a key in {place}", key, known)
    for key in required:
        require(key in table, f"{key} in {place}", "missing", f"{place} needs {', '.join(required)}")


def _problem(table: dict[str, Any], folder: Path) -> NoisyQuadratic:
    check_keys(
        "[problem]",
        table,
        [*GENERATED, "irreducible", "loss_noise", "bins", "spectrum"],
        [] if "spectrum" in table else ["dim"],
    )
    bins = table.pop("bins", None)
    bins = None if bins is None else _whole("bins", bins)
    numbers = {name: _values(name, value) for name, value in table.items() if name != "spectrum"}
    if "spectrum" in table:
        require(isinstance(table["spectrum"], str), "spectrum", repr(table["spectrum"]), "give the name of a file")
        spare = [name for name in numbers if name in GENERATED and name != "dim"]
        require(not spare, "[problem]", ", ".join(table), f"the spectrum's file says it all: leave out {', '.join(spare)}")
        least, dim = (numbers.get(name) for name in ("irreducible", "dim"))
        problem = read_spectrum(folder / table["spectrum"], 0.0 if least is None else least, dim)
        problem = with_loss_noise(problem, numbers.get("loss_noise"))
    else:
        problem = power_law(**numbers)
    return problem if bins is None else problem.quantize(bins)


def _optimizer(table: dict[str, Any]) -> Optimizer:
    check_keys("[optimizer]", {key: table[key] for key in table if key == "name"}, ["name"], ["name"])
    name, average, power = table.pop("name"), table.pop("average", None), table.pop("power", 0.0)
    check_choice("name in [optimizer]", name, TEMPLATES)
    template = TEMPLATES[name]
    names = list(hyperparameters(template))
    optional = [field.name for field in dataclasses.fields(template) if field.default is not dataclasses.MISSING]  # pyright: ignore
    needed = [each for each in names if each not in optional]
    check_keys("[optimizer]", table, ["name", *names, "power", "average"], needed)
    optimizer = template.replace(**{key: _values(key, value) for key, value in table.items()})
    if average is not None:
        require("decay" not in names, "average", average, f"{name} is averaged already; give its decay instead")
        if not isinstance(optimizer, LinearOptimizer):
            raise ValueError(f"average is {average}: {name} is not linear and takes none; leave it out")
        optimizer = Averaged(optimizer, _values("average", average))
    return preconditioned(optimizer, _values("power", power))


def _question(name: str, value: Any) -> Any:
    if name in ("batch_size", "target") and isinstance(value, str):
        numbers = parse_numbers(name, [value])
        return numbers if numbers.size > 1 else numbers[0]
    if name in ("rule", "dtype"):
        require(isinstance(value, str), name, repr(value), "give a word in quotes")
        return value
    return _whole(name, value) if name == "max_steps" else _values(name, value)


def _whole(name: str, value: Any) -> int:
    number = _values(name, value)
    require(np.ndim(number) == 0 and float(number).is_integer(), name, repr(value), "give a whole number")
    return int(number)


def _values(name: str, value: Any) -> Any:
    """A number, an array from a list, or an array from a table such as `{ logspace = [-3, 0, 20] }`."""
    require(not isinstance(value, bool), name, repr(value), "give a number, a list or a grid")
    if not isinstance(value, dict):
        return numeric(name, _number(name, value))[()]
    check_keys(name, value, list(GRIDS), [])
    require(len(value) == 1, f"the number of grids in {name}", len(value), f"give one of {', '.join(GRIDS)}")
    [(kind, ends)] = value.items()
    remedy = "give [first, last, number of values], for example [-3, 0, 20]"
    require(isinstance(ends, list) and len(ends) == 3, f"{kind} in {name}", ends, remedy)
    first, last, count = numeric(f"{kind} in {name}", _number(f"{kind} in {name}", ends))
    require(1 <= count <= LONGEST and float(count).is_integer(), f"{kind} in {name}", ends, f"{remedy}, at most {LONGEST:,}")
    return GRIDS[kind](first, last, int(count))


def _number(name: str, value: Any) -> Any:
    """The value with the numbers that stand in quotes, such as "2^10" or "4k"."""
    if isinstance(value, list):
        return [_number(name, part) for part in value]
    return parse_number(name, value) if isinstance(value, str) else value
