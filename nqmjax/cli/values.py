"""Numbers as one writes them on the command line: `2^10`, lists with commas or spaces, ranges."""

from collections.abc import Iterable

import numpy as np

from nqmjax.checks import require

LONGEST = 1000
"""Values of one range at most."""


def parse_numbers(argument: str, words: Iterable[str]) -> np.ndarray:
    """The numbers in `words`, ascending, each once: `2^10`, `4,16,64`, `1..64` (doubling), `4..1024:4` (times 4).

    Raises:
      ValueError: a word is no number, or a range does not go up.

    >>> parse_numbers("batch sizes", ["1", "2^2..2^8:4"])
    array([  1.,   4.,  16.,  64., 256.])
    """
    items = [item.strip() for word in words for item in word.split(",") if item.strip()]
    require(bool(items), argument, "empty", "give numbers, for example 4,16 or 2^2..2^20")
    numbers = [_range(argument, item) if ".." in item else [_number(argument, item)] for item in items]
    return np.unique(np.concatenate(numbers))


def parse_assignments(argument: str, words: Iterable[str]) -> dict[str, float]:
    """Names and values from words such as `momentum=0.9`.

    >>> parse_assignments("fixed", ["momentum=0.9"])
    {'momentum': 0.9}
    """
    result = {}
    for item in [item.strip() for word in words for item in word.split(",") if item.strip()]:
        name, equals, value = item.partition("=")
        require(bool(equals), argument, repr(item), "give a name and a value, for example momentum=0.9")
        result[name.strip()] = _number(f"{argument} {name.strip()}", value)
    return result


def _range(argument: str, item: str) -> list[float]:
    """The numbers of `first..last:factor`, the factor 2 where none is given."""
    ends, colon, step = item.partition(":")
    first, last = (_number(argument, end) for end in ends.split("..", 1))
    factor = _number(argument, step) if colon else 2.0
    count = np.log(last / first) / np.log(factor) if 0 < first <= last < np.inf and 1 < factor < np.inf else -1.0
    remedy = f"a..b doubles from a up to b, a..b:4 multiplies by 4; at most {LONGEST} values"
    require(0 <= count < LONGEST, argument, repr(item), remedy)
    return [first * factor**power for power in range(int(count + 1e-9) + 1)]


def _number(argument: str, text: str) -> float:
    base, power, exponent = text.replace("**", "^").partition("^")
    try:
        return float(float(base) ** float(exponent) if power else base)
    except (ValueError, TypeError, OverflowError, ZeroDivisionError):  # a root of a negative number is complex
        raise ValueError(f"{argument} is {text.strip()!r}: give a number, as in 0.5, 1024 or 2^10") from None
