"""Lists as one writes them on the command line: `4,16`, `1..64`, `2^2..2^20:4`, `momentum=0.9`, `sgd,heavy-ball`."""

import itertools
import re
from collections.abc import Iterable

import numpy as np

from nqmjax._tools import parse_number, require

LONGEST = 100
"""Values of one range at most."""


def parse_numbers(argument: str, words: Iterable[str]) -> np.ndarray:
    """The numbers in `words`, ascending, each once: `2^10`, `4,16,64`, `1..64` (doubling), `4..1024:4` (times 4).

    Raises:
      ValueError: a word is no number or may be one with a separator of thousands, or a range does not go up.

    >>> parse_numbers("batch sizes", ["1", "2^2..2^8:4"])
    array([  1.,   4.,  16.,  64., 256.])
    """
    words = list(words)
    for word in words:
        for part in re.split(r"\.\.|:", word):
            _check_thousands(argument, part.strip())
    items = [item.strip() for word in words for item in word.split(",") if item.strip()]
    require(bool(items), argument, "empty", "give numbers, for example 4,16 or 2^2..2^20")
    numbers = [_range(argument, item) if ".." in item else [parse_number(argument, item)] for item in items]
    return np.unique(np.concatenate(numbers))


def one_number(argument: str, text: str | None) -> float:
    """A single number, as in 64 or 2^6.

    >>> one_number("batch size", "2^6")
    64.0
    """
    numbers = parse_numbers(argument, [text or ""])
    require(numbers.size == 1, argument, text, "give one number")
    return float(numbers[0])


def parse_names(words: Iterable[str]) -> list[str]:
    """Names with commas or spaces between them.

    >>> parse_names(["sgd,heavy-ball", "QHM"])
    ['sgd', 'heavy_ball', 'qhm']
    """
    return [name.replace("-", "_") for word in words for name in word.lower().split(",") if name]


def parse_assignments(argument: str, words: Iterable[str]) -> dict[str, float]:
    """Names and values from words such as `momentum=0.9`.

    >>> parse_assignments("fixed", ["momentum=0.9"])
    {'momentum': 0.9}
    """
    result: dict[str, float] = {}
    for item in [item.strip() for word in words for item in word.split(",") if item.strip()]:
        name, equals, value = item.partition("=")
        name = name.strip().replace("-", "_")
        require(bool(equals), argument, repr(item), "give a name and a value, for example momentum=0.9")
        require(name not in result, argument, repr(item), f"{name} is there already; give it once")
        result[name] = parse_number(f"{argument} {name}", value)
    return result


def _check_thousands(argument: str, word: str) -> None:
    """Raise for `1,024`, which would be read as two numbers; powers of two such as `64,128` are plainly a list."""
    if not re.fullmatch(r"\d{1,3}(,\d{3})+", word):
        return
    parts = word.split(",")
    values = [int(part) for part in parts]
    ascending = all(a < b for a, b in itertools.pairwise(values)) and not any(part[0] == "0" for part in parts[1:])
    plain = len(parts) > 2 or all(value & (value - 1) == 0 for value in values)
    several = " ".join(str(value) for value in values)
    remedy = f"write {''.join(parts)} for one number, or {several!r} with spaces for {len(parts)}"
    require(ascending and plain, argument, repr(word), remedy)


def _range(argument: str, item: str) -> list[float]:
    """The numbers of `first..last:factor`, the factor 2 where none is given."""
    ends, colon, step = item.partition(":")
    first, last = (parse_number(argument, end) for end in ends.split("..", 1))
    factor = parse_number(argument, step) if colon else 2.0
    count = (np.log(last) - np.log(first)) / np.log(factor) if 0 < first <= last < np.inf and 1 < factor < np.inf else -1.0
    remedy = f"a..b doubles from a up to b, a..b:4 multiplies by 4; at most {LONGEST} values"
    require(0 <= count < LONGEST, argument, repr(item), remedy)
    return [float(first * factor**power) for power in range(int(count + 1e-9) + 1)]
