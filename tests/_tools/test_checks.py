"""Messages: one line, short however large the value."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nqmjax._tools.checks import check_choice, check_steps, check_values, numeric, require, shown

VALUES = {
    "number": (0.1, "0.1"),
    "numpy's number": (np.float64(0.1), "0.1"),
    "nothing": (None, "None"),
    "text": ("a", "'a'"),
    "long text": ("a" * 500, "'" + "a" * 56 + "..."),
    "short array": (np.arange(3), "[0 1 2]"),
    "long array": (np.arange(10.0), "[0.0, 1.0, .. 9.0] (shape (10,))"),
    "long list": (list(range(1000)), "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16..."),
    "matrix": (np.eye(2), "[[1. 0.] [0. 1.]]"),
    "many words": (np.array(["a" * 30] * 7), "[aaaaaaaaa..., aaaaaaaaa..., .. aaaaaaaaa...] (shape (7,))"),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_are_shown_on_one_short_line(name):
    value, text = VALUES[name]
    assert shown(value) == text
    assert len(text) <= 60


def test_arrays_of_jax_traced_and_keys_are_shown():
    assert shown(jnp.arange(10)) == "[0, 1, .. 9] (shape (10,))"
    assert len(shown(jax.random.split(jax.random.key(0), 9))) <= 60
    texts = []
    jax.jit(lambda x: texts.append(shown(x)))(jnp.arange(10))
    assert len(texts[0]) <= 60


def test_whole_numbers_beyond_64_bits_are_numbers():
    assert numeric("batch_size", 10**30) == 1e30
    assert numeric("batch_size", [1, 2**70]).tolist() == [1.0, 2.0**70]
    with pytest.raises(ValueError, match=r"batch_size is 1000.*: give a number"):
        numeric("batch_size", 10**400)


@pytest.mark.parametrize("value", [None, "7", [1, "a"], [[1, 2], [3]], {}, object(), True, 1j, np.array([None] * 99), b"7"])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(ValueError, match=r"^steps is .*: give a number or an array of numbers") as error:
        check_steps("steps", value)
    assert len(str(error.value)) < 120


def test_messages_name_argument_value_and_remedy():
    with pytest.raises(ValueError, match=r"^x\[1\] is 2.0: give less$"):
        check_values("x", np.array([1.0, 2.0]), [True, False], "give less")
    with pytest.raises(ValueError, match=r"^x is \[0, 0, .. 0\] \(shape \(9,\)\): give less$"):
        require(False, "x", np.zeros(9, int), "give less")
    for value in (3, None, np.arange(9), ["first"]):
        with pytest.raises(ValueError, match=r"^rule is .*choose from first, stays"):
            check_choice("rule", value, ["first", "stays"])
    with pytest.raises(ValueError, match="rule is 'frist': did you mean 'first'"):
        check_choice("rule", "frist", ["first", "stays"])
