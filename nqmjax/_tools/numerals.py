"""Numbers as people write them, in one syntax for options, specifications and files: `1024`, `1e6`, `2^10`, `4k`, `1.5M`."""

import math
import re

UNITS = {"k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9, "T": 1e12}
"""Letters behind a number and what they multiply it by: thousands, millions, billions and trillions."""

EXAMPLES = "give a number, as in 0.5, 1024, 2^10, 1e6, 4k or 1.5M"


def parse_number(place: str, text: str) -> float:
    """The number that `text` says; `place` is where it stands, for the message.

    Raises:
      ValueError: it says none, or one that is too large or too small to be held.

    >>> [parse_number("n", text) for text in ("1e6", "2^10", "2**3", "4k", "1.5M", "10_000", "inf")]
    [1000000.0, 1024.0, 8.0, 4000.0, 1500000.0, 10000.0, inf]
    """
    try:
        value = _value(text.strip().replace("\N{MINUS SIGN}", "-"))
    except (ValueError, TypeError, ZeroDivisionError):  # a root of a negative number is complex
        raise ValueError(f"{place} is {text.strip()[:80]!r}: {_remedy(text)}") from None
    except OverflowError:
        raise ValueError(f"{place} is {text.strip()[:80]!r}: give a number between 1e-300 and 1e300") from None
    return value


def _value(text: str) -> float:
    if text[-1:] in UNITS:
        return _finite(UNITS[text[-1]] * _plain(text[:-1]))
    base, power, exponent = text.replace("**", "^").partition("^")
    return _finite(float(_plain(base) ** _plain(exponent))) if power else _plain(base)


def _plain(text: str) -> float:
    """A number in Python's own syntax; what would silently become infinite or 0 is an `OverflowError`."""
    value = float(text)
    if value == 0 or math.isinf(value):
        digits = re.split("[eE]", text)[0]
        if any(digit in "123456789" for digit in digits):
            raise OverflowError
    return value


def _finite(value: float) -> float:
    if math.isinf(value):
        raise OverflowError
    return value


def _remedy(text: str) -> str:
    """What to write instead."""
    text = text.strip()
    if re.fullmatch(r"[+-]?\d{1,3}([, ]\d{3})+(\.\d+)?", text):
        return "write thousands without separators, as in 1024"
    if re.fullmatch(r"[+-]?\d+,\d+([eE][+-]?\d+)?", text):
        return "write decimals with a point, as in 0.5"
    if text.endswith("m") or text.endswith("b"):
        return f"{EXAMPLES}; M is a million, B a billion"
    return EXAMPLES
