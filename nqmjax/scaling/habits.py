"""Habits of optimizers that the anchored law starts from: how sharply their curves bend, and how their rates grow."""

import re
from typing import Any

from nqmjax._tools import check_choice

SHARPNESS = {
    "sgd": (1.25, 0.25),
    **dict.fromkeys(("heavy_ball", "nesterov", "qhm"), (1.0, 0.3)),
    **dict.fromkeys(("adam", "rmsprop", "sign", "lion"), (1.2, 0.12)),
}
"""`p` by optimizer, as networks have it, and the standard deviation of its logarithm; tuned quadratics have 0.8 to 2.6."""

ALIASES = {
    "heavyball": "heavy_ball",
    "momentum": "heavy_ball",
    "sgdmomentum": "heavy_ball",
    "sgdm": "heavy_ball",
    "adamw": "adam",
    "nadam": "adam",
    "adafactor": "adam",
    "lamb": "adam",
    "signsgd": "sign",
}
WRITTEN = ("sgd", "heavy_ball", "nesterov", "qhm", "adam", "adamw", "nadam", "adafactor", "lamb", "rmsprop", "sign", "lion")
"""Names as the command line writes them, for messages."""

ANY = (1.15, 0.3)
"""The same of an optimizer that is not named."""

ADAPTIVE = ("adam", "rmsprop", "sign", "lion")
"""Optimizers whose rates grow as the square root of the batch size."""


def optimizer_name(optimizer: Any) -> str | None:
    """The name by which an optimizer's habits are known.

    >>> optimizer_name("AdamW"), optimizer_name("SGD momentum"), optimizer_name(None)
    ('adam', 'heavy_ball', None)
    """
    if optimizer is None:
        return None
    given = optimizer if isinstance(optimizer, str) else type(optimizer).__name__
    plain = re.sub("[^a-z]", "", given.lower())
    name = ALIASES.get(plain, plain)
    if name not in SHARPNESS:
        check_choice("optimizer", given, WRITTEN)
    return name


def rate_power(optimizer: str) -> float:
    """How the rate grows with the batch size where noise dominates: `B^k`."""
    return 0.5 if optimizer in ADAPTIVE else 1.0


def expected_sharpness(optimizer: str | None) -> tuple[float, float]:
    """`p` and the standard deviation of its logarithm, before any curve is seen."""
    return ANY if optimizer is None else SHARPNESS[optimizer]
