"""Options that several commands share: their types, and data classes that the command line takes apart."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter, Token

from nqmjax import nonlinear, optimizers
from nqmjax._tools import check_choice, parse_number, require
from nqmjax.cli.numbers import parse_assignments, parse_names

if TYPE_CHECKING:
    from nqmjax.optimizers import LinearOptimizer, Optimizer
    from nqmjax.problem import NoisyQuadratic

QUESTION, PROBLEM, METHOD, OUTPUT, MACHINE = (
    Group(name, sort_key=key) for key, name in enumerate(["Question", "Problem", "Optimizer", "Output", "Machine"])
)
LINEAR = "sgd, heavy_ball, nesterov, qhm; with ema_ in front, averaged"
CLOSURES = "adam, adamw, rmsprop, sign, lion, adam_rotated, normalized_sgd, clipped_sgd, lars, lamb"
OUTPUT_NAMES = ("--output", "-o")
SPECTRUM = ("--spectrum", "--problem")


def number(_: Any, tokens: Sequence[Token]) -> float:
    """A number in the syntax of `nqmjax._tools.numerals`."""
    token = tokens[0]
    return parse_number(token.keyword or "the number", token.value)


def whole(_: Any, tokens: Sequence[Token]) -> int:
    """A whole number, 1e6 and 4k included."""
    value = number(_, tokens)
    if not value.is_integer() or abs(value) > 2**63:
        raise ValueError(f"{tokens[0].keyword} is {tokens[0].value!r}: {value:g} is not whole; give a whole number below 2^63")
    return int(value)


def loss(_: Any, tokens: Sequence[Token]) -> float:
    """A loss, or another number of 0 or more."""
    value = number(_, tokens)
    if not 0 <= value < float("inf"):
        raise ValueError(f"{tokens[0].keyword} is {tokens[0].value}: give a finite number, 0 or more")
    return value


Words = Annotated[
    tuple[str, ...],
    Parameter(group=QUESTION, consume_multiple=True, negative=(), show_default=lambda words: " ".join(words) or "none"),
]
Whole = Annotated[int | None, Parameter(group=PROBLEM, converter=whole)]
Count = Annotated[int | None, Parameter(group=QUESTION, converter=whole)]
Number = Annotated[float | None, Parameter(group=QUESTION, converter=number)]
Loss = Annotated[float | None, Parameter(group=QUESTION, converter=loss)]
Force = Annotated[bool, Parameter(group=OUTPUT, negative=(), show_default=False, help="Replace files that exist.")]
Devices = Annotated[
    tuple[str, ...],
    Parameter(
        group=MACHINE,
        consume_multiple=True,
        negative=(),
        show_default=lambda _: "all devices of the kind that JAX prefers",
        help="Where to compute: gpu, cpu:0, ...",
    ),
]
Output = Annotated[Path | None, Parameter(name=OUTPUT_NAMES, group=OUTPUT)]


@Parameter(name="*")
@dataclasses.dataclass
class ProblemOptions:
    """Which problem."""

    dim: Annotated[
        Whole,
        Parameter(help="Number of directions of the power law, or those that a spectrum's weights share. [default: 10000]"),
    ] = None
    exponent: Annotated[
        float | None,
        Parameter(group=PROBLEM, converter=number, help="Decay of the power law, h_i = i^-exponent. [default: 1]"),
    ] = None
    spectrum: Annotated[
        Path | None,
        Parameter(
            name=SPECTRUM,
            group=PROBLEM,
            help="File with a measured spectrum instead, see scaling --help; or with a problem that transfer --fit fitted.",
        ),
    ] = None
    irreducible: Annotated[float, Parameter(group=PROBLEM, converter=loss, help="Loss at the optimum.")] = 0.0
    loss_noise: Annotated[
        float,
        Parameter(
            group=PROBLEM,
            converter=loss,
            help="What the noise variance gains per unit of the current loss, in units of the curvature; 2 is least squares'.",
        ),
    ] = 0.0
    bins: Annotated[Whole, Parameter(help="Group the directions. [default: 100 for the power law, none for a spectrum]")] = None

    def build(self) -> "NoisyQuadratic":
        """The problem itself, from a file or as a power law in groups."""
        from nqmjax.problem import power_law, read_spectrum, with_loss_noise

        if self.spectrum is None:
            dim, exponent = 10_000 if self.dim is None else self.dim, 1.0 if self.exponent is None else self.exponent
            made = power_law(dim, exponent, irreducible=self.irreducible, loss_noise=self.loss_noise)
            return made.quantize(100 if self.bins is None else self.bins)
        remedy = "a spectrum from a file has its own; leave one of the two out"
        require(self.exponent is None, "exponent", self.exponent, remedy)
        problem = with_loss_noise(read_spectrum(self.spectrum, self.irreducible, self.dim), self.loss_noise)
        return problem if self.bins is None else problem.quantize(self.bins)


@Parameter(name="*")
@dataclasses.dataclass
class AnyOptimizerOptions:
    """Which optimizer, linear or not; its learning rate is tuned or comes from the plan."""

    optimizer: Annotated[str, Parameter(group=METHOD, help=f"{LINEAR}; {CLOSURES}.")] = "sgd"
    fixed: Annotated[
        Words,
        Parameter(
            group=METHOD,
            help="Values of its hyperparameters, momentum=0.95 or beta2=0.95; otherwise momentum 0.9, decay 0.99, nu 0.7, "
            "beta1 0.9, beta2 0.999.",
        ),
    ] = ()
    power: Annotated[float, Parameter(group=METHOD, converter=number, help="Preconditioner power p of H^p.")] = 0.0

    def build(self) -> "Optimizer":
        """The optimizer itself; its learning rate is only a placeholder."""
        [name] = parse_names([self.optimizer]) or [""]
        check_choice("optimizer", name, nonlinear.TEMPLATES)
        template, values = nonlinear.TEMPLATES[name], parse_assignments("fixed", self.fixed)
        for key in values:
            check_choice("fixed", key, optimizers.hyperparameters(template))
        return nonlinear.preconditioned(template.replace(**values), self.power)


@Parameter(name="*")
@dataclasses.dataclass
class OptimizerOptions(AnyOptimizerOptions):
    """Which linear optimizer."""

    optimizer: Annotated[str, Parameter(group=METHOD, help=f"{LINEAR}.")] = "sgd"
    fixed: Annotated[
        Words,
        Parameter(
            group=METHOD, help="Values of its hyperparameters, momentum=0.95; otherwise momentum 0.9, decay 0.99, nu 0.7."
        ),
    ] = ()

    def build(self) -> "LinearOptimizer":
        """The optimizer itself."""
        found = super().build()
        if not isinstance(found, optimizers.LinearOptimizer):
            raise ValueError(f"optimizer is {self.optimizer!r}: it is not linear, and this command is for {LINEAR}")
        return found


THE_PROBLEM = ProblemOptions()
THE_OPTIMIZER = OptimizerOptions()
ANY_OPTIMIZER = AnyOptimizerOptions()
"""What is meant where no option is given."""
