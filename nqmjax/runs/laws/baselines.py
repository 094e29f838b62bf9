"""Scaling laws of others, as baselines: they know of model size, data and batch size, but nothing of schedules."""

import dataclasses
import math
from typing import Any, ClassVar

from nqmjax.runs.laws.base import Inputs, Law, Parameter, Scale
from nqmjax.runs.laws.sums import COARSE, Rule, namespace


@dataclasses.dataclass(frozen=True)
class Chinchilla(Law):
    """`L = E + A N^-alpha + C D^-beta` with `D = B K` examples (Hoffmann et al. 2022, equation 2).

    Without `by_size` the second term, which is then a constant, is part of the first.
    """

    by_numpy: ClassVar[bool] = True

    by_size: bool = True

    def parameters(self, scale: Scale) -> tuple[Parameter, ...]:
        """The parameters, in the order of their coordinates."""
        floor, part = math.log(scale.smallest_loss / 3), math.log(scale.smallest_loss / 4)
        of_size = (
            Parameter("A", part - 1, part + 1, part, 2.0, "loss for want of parameters, of the typical model"),
            Parameter("alpha", -2.5, 0.0, -1.0, 1.0, "exponent of model size"),
        )
        return (
            Parameter("irreducible", floor - 0.6, floor + 1, floor, 0.5, "loss that no model goes below"),
            *(of_size if self.by_size else ()),
            Parameter("C", part - 1, part + 1, part, 2.0, "loss for want of data, of the typical run"),
            Parameter("beta", -2.5, 0.0, -1.0, 1.0, "exponent of the number of examples"),
        )

    def parts(self, coordinates: Any, inputs: Inputs, scale: Scale, rule: Rule = COARSE) -> dict[str, Any]:
        """Irreducible loss, approximation and want of data of each run."""
        xp, x = namespace(coordinates, inputs), dict(zip(self.names, coordinates, strict=True))
        examples = inputs.batch_size * inputs.steps / (scale.batch_size * scale.steps)
        found = {"irreducible": xp.broadcast_to(xp.exp(x["irreducible"]), examples.shape)}
        if self.by_size:
            found["approximation"] = xp.exp(x["A"] - xp.exp(x["alpha"]) * xp.log(inputs.model_size / scale.model_size))
        return found | {"data": xp.exp(x["C"] - xp.exp(x["beta"]) * xp.log(examples))}

    def reduced(self, same: frozenset[str]) -> "Chinchilla":
        """Of one model size, the law of data alone."""
        return Chinchilla(by_size=self.by_size and "model_size" not in same)


@dataclasses.dataclass(frozen=True)
class Kaplan(Law):
    """`L = (N_c/N)^alpha_N + (S_c/S_min)^alpha_S`, `S_min = K / (1 + B_crit/B)` (Kaplan et al. 2020, equations 1.6 and 5.4).

    The critical batch size is one number here, where Kaplan et al. let it grow as the loss falls. Without `by_size` the first
    term is a constant, without `by_batch` `S_min` is `K`.
    """

    by_numpy: ClassVar[bool] = True

    by_size: bool = True
    by_batch: bool = True

    def parameters(self, scale: Scale) -> tuple[Parameter, ...]:
        """The parameters, in the order of their coordinates."""
        part = math.log(scale.smallest_loss / 2)
        few, many = math.log(scale.smallest_batch), math.log(scale.largest_batch)
        found = (
            Parameter("A", part - 1, part + 1, part, 2.0, "loss for want of parameters, of the typical model"),
            *([Parameter("alpha_N", -4.0, -0.5, -2.0, 1.0, "exponent of model size")] if self.by_size else []),
            Parameter("S", part - 2, part + 1, part - 0.5, 2.0, "loss for want of updates, of the typical run"),
            Parameter("alpha_S", -2.5, 0.0, -1.0, 1.0, "exponent of the number of updates"),
        )
        critical = Parameter("B_crit", few, many, (few + many) / 2, 2.0, "critical batch size")
        return (*found, critical) if self.by_batch else found

    def parts(self, coordinates: Any, inputs: Inputs, scale: Scale, rule: Rule = COARSE) -> dict[str, Any]:
        """Want of parameters and want of updates of each run."""
        xp, x = namespace(coordinates, inputs), dict(zip(self.names, coordinates, strict=True))
        updates = inputs.steps / scale.steps
        if self.by_batch:
            updates = updates / (1 + xp.exp(x["B_crit"]) / inputs.batch_size)
        smaller = xp.exp(x["alpha_N"]) * xp.log(inputs.model_size / scale.model_size) if self.by_size else 0.0
        return {
            "approximation": xp.broadcast_to(xp.exp(x["A"] - smaller), updates.shape),
            "updates": xp.exp(x["S"] - xp.exp(x["alpha_S"]) * xp.log(updates)),
        }

    def reduced(self, same: frozenset[str]) -> "Kaplan":
        """Of one model size or one batch size, the law without exponent or critical batch size."""
        return Kaplan(self.by_size and "model_size" not in same, self.by_batch and "batch_size" not in same)
