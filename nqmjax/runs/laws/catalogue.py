"""The laws that are tried, by name."""

from collections.abc import Mapping
from types import MappingProxyType

from nqmjax.runs.laws.base import Law
from nqmjax.runs.laws.baselines import Chinchilla, Kaplan
from nqmjax.runs.laws.quadratic import QuadraticLaw

SIZED = {"rate_by_size": True, "delay": True}
CAPACITY = {**SIZED, "size_offset": True, "free_noise": True, "noise_by_size": 0.0}
LAWS: Mapping[str, Law] = MappingProxyType(
    {
        "adam": QuadraticLaw(),
        "adam_constant": QuadraticLaw(follow_schedule=False),
        "sized": QuadraticLaw(noise_by_size=None, **SIZED),
        "sized_constant": QuadraticLaw(noise_by_size=None, follow_schedule=False, **SIZED),
        "capacity": QuadraticLaw(**CAPACITY),
        "capacity_constant": QuadraticLaw(follow_schedule=False, **CAPACITY),
        "discrete": QuadraticLaw(discrete=True),
        "free_noise": QuadraticLaw(free_noise=True),
        "weight_norm": QuadraticLaw(weight_norm=True),
        "published": QuadraticLaw(discrete=True, follow_schedule=False, adaptive=False, free_noise=True, noise_by_size=0.0),
        "chinchilla": Chinchilla(),
        "kaplan": Kaplan(),
    }
)
"""Laws by name. `adam` is the plain form. In the `sized` ones the rate grows with model size, runs begin late and noise falls
as a fitted power of size; in the `capacity` ones noise does not fall, but small models use less of their size. The ones called
`constant` take the rate for constant. `published` is the form of Li & Maddison 2026; the last two are laws of others, which
know nothing of schedules."""

CANDIDATES = ("adam", "adam_constant", "sized", "sized_constant", "capacity", "capacity_constant", "chinchilla", "kaplan")
"""Laws from which `fit` makes its ensemble unless told otherwise."""
