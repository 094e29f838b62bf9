"""Numbers of twice the precision, against exact fractions, in every form in which a compiler may see them."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from nqmjax.dynamics.twofold import Twofold, product


def exact(number, i):
    return Fraction(float(number.high[i])) + Fraction(float(number.low[i]))


def mixed(a, b):
    """Sums and products of numbers and constants that cancel."""
    one = Twofold.of(jnp.ones_like(a.high))
    return a * b + one + Twofold.of(-a.high) * b + (one + b) * (one + b)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_sums_and_products_keep_twice_the_digits(transform, dtype):
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=200) * 10 ** rng.uniform(-6, 6, 200) for _ in range(2))
    with jax.enable_x64(True):
        a, b = (Twofold.of(jnp.asarray(value, dtype)) + Twofold.of(jnp.asarray(1e-9 * value, dtype)) for value in (a, b))
        found = transform(mixed)(a, b)
    for i in range(200):
        x, y, high = exact(a, i), exact(b, i), Fraction(float(a.high[i]))
        size = abs(x * y) + 1 + (1 + abs(y)) ** 2
        error = abs(exact(found, i) - (x * y + 1 - high * y + (1 + y) ** 2))
        assert error <= 32 * float(jnp.finfo(dtype).eps) ** 2 * size, i


def test_powers_of_a_matrix_whose_roots_nearly_coincide():
    with jax.enable_x64(True), mpmath.workdps(60):
        tiny = 2.0**-40
        matrix = Twofold.of(jnp.asarray([[-3.0, -4.0], [1.0, 1.0]])) + Twofold.of(jnp.asarray([[tiny, 0.0], [0.0, 0.0]]))
        power = jax.jit(lambda a: jax.lax.fori_loop(0, 20, lambda _, a: product(a, a), a))(matrix)
        reference = mpmath.matrix([[mpmath.mpf(-3) + tiny, -4], [1, 1]]) ** (2**20)
        for i in (0, 1):
            for j in (0, 1):
                found = mpmath.mpf(float(power.high[i, j])) + float(power.low[i, j])
                assert abs(found / reference[i, j] - 1) < 1e-13  # entries of 1e6 whose products cancel twice


def test_gradients_are_those_of_plain_numbers():
    def plain(x):
        return (x * x + 3.0 * x) * x

    def twofold(x):
        number = Twofold.of(x)
        return ((number * number + Twofold.of(jnp.full_like(x, 3.0)) * number) * number).rounded

    with jax.enable_x64(True):
        x = jnp.asarray([0.3, -2.0])
        for transform in (jax.jacfwd, jax.jacrev):
            np.testing.assert_allclose(transform(twofold)(x), transform(plain)(x), rtol=1e-15)
