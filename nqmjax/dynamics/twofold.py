"""Numbers of twice the precision: each the unevaluated sum of two, the second no more than the rounding of the first.

Powers of an optimizer's map need them. Close to the edge of stability with momentum near 1 the roots of the map all but
coincide, its powers grow to `1e6` and more before they decay, and their squares cancel almost entirely. And a run that
explodes and comes back multiplies what is huge by what is tiny. With some 32 digits (15 in float32) both are exact.

The algorithms are Dekker's error-free sum and product, in a form that survives compilers: they may fuse a product with a sum
and reorder sums with constants. `+` and `*` work between two of these numbers and are differentiable: the rounding errors that
are carried along count as constants.

Source: T. J. Dekker, "A floating-point technique for extending the available precision", Numer. Math. 18, 1971.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Twofold:
    """The array `high + low`."""

    high: jax.Array
    low: jax.Array

    @classmethod
    def of(cls, value: Any) -> "Twofold":
        """An array as it is."""
        return cls(value, jnp.zeros_like(value))

    @property
    def rounded(self) -> jax.Array:
        """The nearest array of numbers of the usual precision."""
        return self.high

    def __add__(self, other: "Twofold") -> "Twofold":
        total, error = _exact_sum(self.high, other.high)
        return _normal(total, error + (self.low + other.low))

    def __mul__(self, other: "Twofold") -> "Twofold":
        total, error = _exact_product(self.high, other.high)
        return _normal(total, error + (self.high * other.low + self.low * other.high))

    def __getitem__(self, index: Any) -> "Twofold":
        return jax.tree.map(lambda part: part[index], self)

    def __len__(self) -> int:
        return len(self.high)

    def __iter__(self) -> Iterator["Twofold"]:
        return (self[i] for i in range(len(self)))


def _normal(total: jax.Array, error: jax.Array) -> Twofold:
    """`total + error` with nothing in the second part that the first can hold."""
    high = total + error
    return Twofold(high, error - (high - total))


@jax.custom_jvp
def _exact_sum(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    # By size, and not without regard to it as Knuth does: XLA makes `b` of `(a + b) - a` where `a` is a constant.
    larger = jnp.abs(a) > jnp.abs(b)
    large, small = jnp.where(larger, a, b), jnp.where(larger, b, a)
    total = large + small
    return total, small - (total - large)


@_exact_sum.defjvp
def _(primals: Any, tangents: Any) -> Any:
    total = tangents[0] + tangents[1]
    return _exact_sum(*primals), (total, jnp.zeros_like(total))


@jax.custom_jvp
def _exact_product(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    # All products but the last are exact, so that it does not matter where a compiler fuses one with a sum.
    (a_high, a_low), (b_high, b_low) = _halves(a), _halves(b)
    total, error = _exact_sum(a_high * b_high, a_high * b_low)
    total, rest = _exact_sum(total, a_low * b_high)
    return total, error + rest + a_low * b_low


@_exact_product.defjvp
def _(primals: Any, tangents: Any) -> Any:
    total = tangents[0] * primals[1] + primals[0] * tangents[1]
    return _exact_product(*primals), (total, jnp.zeros_like(total))


def _halves(value: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Two numbers of half as many digits whose sum is `value`."""
    info = jnp.finfo(value.dtype)
    bits = jax.lax.bitcast_convert_type(value, jnp.dtype(f"uint{info.bits}"))
    dropped = (info.nmant + 2) // 2
    high = jax.lax.bitcast_convert_type((bits >> dropped) << dropped, value.dtype)
    return high, value - high


def where(condition: jax.Array, yes: Twofold, no: Twofold) -> Twofold:
    """Entries of `yes` where the condition holds, of `no` elsewhere."""
    return jax.tree.map(functools.partial(jnp.where, condition), yes, no)


def dot(x: Twofold, y: Twofold) -> Twofold:
    """`sum_k x_k y_k` along the first axis: in a loop, since XLA would compute fused sums of such terms over and over."""

    def add(total: Twofold, pair: tuple[Twofold, Twofold]) -> tuple[Twofold, None]:
        return total + pair[0] * pair[1], None

    return jax.lax.scan(add, x[0] * y[0], (x[1:], y[1:]))[0]


def transpose(matrix: Twofold) -> Twofold:
    """`M^T` of matrices of shape `(m, m, ...)`."""
    return jax.tree.map(lambda part: jnp.swapaxes(part, 0, 1), matrix)


def product(a: Twofold, b: Twofold) -> Twofold:
    """`A B`, matrix times matrix."""
    return dot(transpose(a)[:, :, None], b[:, None])


def act(matrix: Twofold, x: Twofold) -> Twofold:
    """`A x`, matrix times vector."""
    return dot(transpose(matrix), x[:, None])
