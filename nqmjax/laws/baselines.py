"""Scaling laws of others, as baselines: they know of model size, data and batch size, but nothing of schedules."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from nqmjax.laws.base import Inputs, Law, Parameter, Scale
from nqmjax.power_law_sums import COARSE, Rule


@dataclasses.dataclass(frozen=True)
class Chinchilla(Law):
    """`L = E + A N^-alpha + C D^-beta` with `D = B K` examples (Hoffmann et al. 2022, equation 2)."""

    def parameters(self, scale: Scale) -> tuple[Parameter, ...]:
        """The parameters, in the order of their coordinates."""
        floor, part = math.log(scale.smallest_loss / 3), math.log(scale.smallest_loss / 4)
        return (
            Parameter("irreducible", floor - 0.6, floor + 1, floor, 0.5, "loss that no model goes below"),
            Parameter("A", part - 1, part + 1, part, 2.0, "loss for want of parameters, of the typical model"),
            Parameter("alpha", -2.5, 0.0, -1.0, 1.0, "exponent of model size"),
            Parameter("C", part - 1, part + 1, part, 2.0, "loss for want of data, of the typical run"),
            Parameter("beta", -2.5, 0.0, -1.0, 1.0, "exponent of the number of examples"),
        )

    def parts(self, coordinates: Any, inputs: Inputs, scale: Scale, rule: Rule = COARSE) -> dict[str, jax.Array]:
        """Irreducible loss, approximation and want of data of each run."""
        floor, size, alpha, data, beta = coordinates
        examples = inputs.batch_size * inputs.steps / (scale.batch_size * scale.steps)
        return {
            "irreducible": jnp.broadcast_to(jnp.exp(floor), examples.shape),
            "approximation": jnp.exp(size - jnp.exp(alpha) * jnp.log(inputs.model_size / scale.model_size)),
            "data": jnp.exp(data - jnp.exp(beta) * jnp.log(examples)),
        }


@dataclasses.dataclass(frozen=True)
class Kaplan(Law):
    """`L = (N_c/N)^alpha_N + (S_c/S_min)^alpha_S`, `S_min = K / (1 + B_crit/B)` (Kaplan et al. 2020, equations 1.6 and 5.4).

    The critical batch size is one number here, where Kaplan et al. let it grow as the loss falls.
    """

    def parameters(self, scale: Scale) -> tuple[Parameter, ...]:
        """The parameters, in the order of their coordinates."""
        part = math.log(scale.smallest_loss / 2)
        few, many = math.log(scale.smallest_batch), math.log(scale.largest_batch)
        return (
            Parameter("A", part - 1, part + 1, part, 2.0, "loss for want of parameters, of the typical model"),
            Parameter("alpha_N", -4.0, -0.5, -2.0, 1.0, "exponent of model size"),
            Parameter("S", part - 2, part + 1, part - 0.5, 2.0, "loss for want of updates, of the typical run"),
            Parameter("alpha_S", -2.5, 0.0, -1.0, 1.0, "exponent of the number of updates"),
            Parameter("B_crit", few, many, (few + many) / 2, 2.0, "critical batch size"),
        )

    def parts(self, coordinates: Any, inputs: Inputs, scale: Scale, rule: Rule = COARSE) -> dict[str, jax.Array]:
        """Want of parameters and want of updates of each run."""
        size, alpha_n, data, alpha_s, critical = coordinates
        updates = inputs.steps / scale.steps / (1 + jnp.exp(critical) / inputs.batch_size)
        return {
            "approximation": jnp.exp(size - jnp.exp(alpha_n) * jnp.log(inputs.model_size / scale.model_size)),
            "updates": jnp.exp(data - jnp.exp(alpha_s) * jnp.log(updates)),
        }
