r"""The noisy quadratic system: a power-law spectrum of directions, of which a model of `N` parameters learns the first `N`.

Direction `n` has curvature `h_n ~ n^-q`, initial excess loss `1/2 P n^-p` and gradient noise; `lambda_n = c n^-q` is its rate
times its curvature. After the run

    L = irreducible + 1/2 P sum_{n>N} n^-p + 1/2 P sum_{n<=N} n^-p b_n + 1/2 (V/B) sum_{n<=N} n^-v s_n,

`b_n` and `s_n` the bias factor and the accumulated noise of `nqmjax.runs.laws.kernel`. Each option changes one thing in this:

| option | what changes |
|---|---|
| `discrete` | updates `1 - lambda` in place of the flow `exp(-lambda)`, in which no bias ever grows |
| `follow_schedule` | the rate follows the run's schedule; otherwise rate and batch size are constant at their means |
| `adaptive` | the rate is `c (1 + B0/B)^(-1/2)`: Adam divides by the size of the noisy gradient |
| `free_noise` | the noise exponent `v` is fitted; otherwise `v = 2 q`, noise in proportion to curvature |
| `noise_by_size` | noise variance `~ N^-nu` with this `nu`, None to fit it, 0 for none |
| `rate_by_size` | the rate grows as `N^rho` |
| `size_offset` | a model of `N` parameters learns `N / (1 + n0/N)` directions: small ones make less of theirs |
| `delay` | the bias shrinks over `K / (K + k0)` of the exponent only, `k0 ~ N^delta`: runs begin slowly |
| `weight_norm` | the rate falls as the squared norm of the weights grows, by the square of the schedule's rate per update |

A constant rate of SGD depends on nothing but the irreducible loss, `P`, `p`, `c`, `q`, `V` and `v`, so that a fitted rate or a
power of preconditioning is no new parameter.

Source: Li & Maddison 2026 (arXiv:2605.09154), whose form is `QuadraticLaw(discrete=True, follow_schedule=False,
adaptive=False, free_noise=True, noise_by_size=0)`. The norm's feedback is that of van Laarhoven 2017 (arXiv:1706.05350),
`1 / |w|^2` for SGD and `1 / |w|` for adaptive methods.
"""

import dataclasses
import math
from typing import Any, ClassVar

import numpy as np

from nqmjax.runs.laws.base import Inputs, Law, Parameter, Scale
from nqmjax.runs.laws.kernel import Pieces, piece_sums
from nqmjax.runs.laws.sums import COARSE, Rule, directions, namespace, tail_sum

FEWEST = 100.0
"""Directions that any model learns."""

ZETA_HEAD = 16.0
"""Terms of the zeta function that are added one by one."""


@dataclasses.dataclass(frozen=True)
class QuadraticLaw(Law):
    """The noisy quadratic system with the options that this module's docstring lists.

    >>> from nqmjax.runs import scale_of
    >>> from nqmjax.runs import make
    >>> scale = scale_of(make([1e6, 4e6], 64, [1000, 500], [3.1, 3.3]))
    >>> [parameter.name for parameter in QuadraticLaw().parameters(scale)]
    ['irreducible', 'initial', 'p', 'q', 'progress', 'noise', 'B0']
    """

    by_numpy: ClassVar[bool] = True

    discrete: bool = False
    follow_schedule: bool = True
    adaptive: bool = True
    free_noise: bool = False
    noise_by_size: float | None = 1.0
    rate_by_size: bool = False
    size_offset: bool = False
    delay: bool = False
    weight_norm: bool = False

    def parameters(self, scale: Scale) -> tuple[Parameter, ...]:
        """The parameters, in the order of their coordinates."""
        log = math.log
        floor, top = log(scale.smallest_loss / 3), log(1.1 * scale.largest_loss)
        few, many = log(scale.smallest_batch), log(scale.largest_batch)
        first = log(max(scale.fewest_steps / 10, 1.0))

        def same(x: Any) -> Any:
            return x

        found = [
            Parameter("irreducible", floor - 0.6, floor + 1, floor, 0.5, "loss that no model goes below"),
            Parameter("initial", top - 0.4, top + 0.8, top, 0.5, "excess loss at the start, all directions together"),
            Parameter("p", -3.0, 0.0, -2.0, 1.0, "exponent of the initial excess", lambda x: 1 + np.exp(x)),
            Parameter("q", log(0.2), log(1.5), log(0.5), 0.7, "exponent of the curvature"),
            Parameter("progress", -4.0, 1.0, -1.5, 2.0, "rate times curvature times updates of the last direction"),
            Parameter("noise", -6.0, -1.0, -3.0, 2.0, "loss due to noise if the rate never fell"),
        ]
        if self.free_noise:
            found.append(Parameter("v", log(0.5), log(4.0), log(1.5), 1.0, "exponent of the noise"))
        if self.adaptive:
            found.append(Parameter("B0", few, many, (few + many) / 2, 2.0, "batch size at which noise halves the squared rate"))
        if self.noise_by_size is None:
            found.append(Parameter("nu", 0.3, 1.7, 1.0, 0.4, "fall of the noise variance with model size", same))
        if self.rate_by_size:
            found.append(Parameter("rho", -0.2, 0.3, 0.1, 0.1, "growth of the rate with model size", same))
        if self.size_offset:
            found.append(Parameter("n0", -6.0, 1.0, -2.0, 2.0, "size over the typical one at which models use half of theirs"))
        if self.delay:
            found.append(Parameter("k0", first - 1.5, first + 1.5, first, 1.0, "updates by which runs begin late"))
            found.append(Parameter("delta", 0.0, 1.5, 0.75, 0.3, "growth of that delay with model size", same))
        if self.weight_norm:
            found.append(Parameter("growth", -4.0, 2.0, -1.0, 2.0, "growth of the squared weight norm over a run"))
        return tuple(found)

    def reduced(self, same: frozenset[str]) -> "QuadraticLaw":
        """Of one batch size, the law whose rate does not follow it; of one model size, the law of one size."""
        # With weight_norm, adaptive also says how the rate falls; B0 then keeps its prior.
        law = dataclasses.replace(self, adaptive=self.weight_norm) if "batch_size" in same else self
        if "model_size" not in same:
            return law
        return dataclasses.replace(law, noise_by_size=1.0, rate_by_size=False, size_offset=False, delay=False)

    def parts(self, coordinates: Any, inputs: Inputs, scale: Scale, rule: Rule = COARSE) -> dict[str, Any]:
        """Irreducible loss, approximation, bias and variance of each run."""
        xp, x = namespace(coordinates, inputs), dict(zip(self.names, coordinates, strict=True))
        p, q = 1 + xp.exp(x["p"]), xp.exp(x["q"])
        v = xp.exp(x["v"]) if self.free_noise else 2 * q
        size = xp.log(inputs.model_size / scale.model_size)
        log_c = x["progress"] - xp.log(scale.steps) + q * xp.log(scale.model_size)

        reference = directions(xp.asarray(scale.model_size, q.dtype), rule)
        log_noise = x["noise"] + log_c + xp.log(4 * scale.batch_size) - _log_sum(reference, (q - v) * reference.log_number)
        nu = x["nu"] if self.noise_by_size is None else self.noise_by_size
        log_noise = log_noise - nu * size - xp.log(inputs.batch_size)

        log_peak = xp.log(inputs.learning_rate / scale.learning_rate)
        log_gain = log_peak
        if self.rate_by_size:
            log_gain = log_gain + x["rho"] * size
        if self.adaptive:
            log_gain = log_gain - 0.5 * xp.log1p(xp.exp(x["B0"]) / inputs.batch_size)

        learnt = inputs.model_size
        if self.size_offset:
            learnt = xp.maximum(learnt / (1 + xp.exp(x["n0"]) * scale.model_size / learnt), FEWEST)
        nodes = directions(xp.asarray(learnt), rule)
        log_rate = (log_c + log_gain)[:, None] - q * nodes.log_number
        log_bias, variance = piece_sums(log_rate, self._pieces(x, inputs, log_peak, scale), self.discrete)
        if self.delay:
            late = xp.exp(x["k0"] + x["delta"] * size)
            log_bias = log_bias * (inputs.steps / (inputs.steps + late))[:, None]
        half = xp.exp(x["initial"]) / (xp.sum(xp.arange(1.0, ZETA_HEAD + 1) ** -p) + tail_sum(ZETA_HEAD, p))
        return {
            "irreducible": xp.broadcast_to(xp.exp(x["irreducible"]), size.shape),
            "approximation": half * tail_sum(learnt, p),
            "bias": half * nodes.sum(xp.exp(log_bias - p * nodes.log_number)),
            "variance": 0.5 * xp.exp(log_noise + 2 * log_gain) * nodes.sum(xp.exp(-v * nodes.log_number) * variance),
        }

    def _pieces(self, x: dict[str, Any], inputs: Inputs, log_peak: Any, scale: Scale) -> Pieces:
        """The schedule, with rates relative to the peak at the run's mean batch size."""
        xp, (share, multiplier, batch) = namespace(x, inputs), inputs[4:]
        if not self.follow_schedule:
            multiplier = xp.sum(share * multiplier, axis=1, keepdims=True)
            share, batch = xp.ones_like(multiplier), None
        rate, fewer = multiplier, 1.0
        if batch is not None:
            fewer = batch
            if self.adaptive:
                ratio = xp.exp(x["B0"]) / inputs.batch_size[:, None]
                rate = rate * xp.sqrt((1 + ratio) / (1 + ratio / batch))
        steps = share * inputs.steps[:, None]
        if self.weight_norm:
            squares = steps * xp.exp(2 * log_peak)[:, None] * multiplier**2 / scale.steps
            before = xp.cumsum(squares, axis=1) - squares / 2
            rate = rate * (1 + xp.exp(x["growth"]) * before) ** (-0.5 if self.adaptive else -1.0)
        return Pieces(steps, rate, rate**2 / fewer)


def _log_sum(nodes: Any, exponents: Any) -> Any:
    xp = namespace(exponents)
    return xp.log(nodes.sum(xp.exp(exponents)))
