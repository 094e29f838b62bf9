"""What cannot be measured is refused with one clear message."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nqmjax.measure import curvature_product, dataset_loss, measure
from nqmjax.measure import network as networks

X, Y = np.ones((6, 2), np.float32), np.arange(6.0, dtype=np.float32)
W = np.zeros(2, np.float32)


def squares(w, batch):
    return ((batch[0] @ w - batch[1]) ** 2).mean()


def linear(w, x):
    return x @ w


def logits(w, x):
    return x * w[None]


@jax.custom_jvp
def opaque(x):
    return x


@opaque.defjvp
def opaque_jvp(primals, tangents):
    raise TypeError("no rule for this")


LABELS = np.array([0, 1, 0, 1, 0, 1])
CASES = {
    "no function": ({"function": 3.0}, "the function is 3.0: give loss"),
    "the name of a loss that is none": ({"loss": "cross_entropi"}, "did you mean 'cross_entropy'"),
    "a loss that is a number": ({"loss": 2}, "loss is 2: give cross_entropy, squared_error or a function"),
    "an unknown matrix": ({"matrix": "fisher"}, "matrix is 'fisher': choose from hessian, gauss_newton"),
    "Gauss-Newton without outputs": ({"matrix": "gauss_newton"}, "matrix is gauss_newton: the Gauss-Newton matrix needs"),
    "a loss that fails": ({"function": lambda w, batch: w @ batch}, r"loss\(params, batch\) fails: TypeError"),
    "a loss of each example": (
        {"function": lambda w, batch: batch[0] @ w},
        r"loss\(params, batch\) is .*: give a loss that returns one floating-point number",
    ),
    "a count": ({"function": lambda w, batch: (batch[0] @ w > batch[1]).sum()}, "give a loss that returns one floating-point"),
    "no derivative": (
        {"function": lambda w, batch: opaque(squares(w, batch))},
        r"the second derivative of loss\(params, batch\) fails: TypeError: no rule for this",
    ),
    "a sum": (
        {"function": lambda w, batch: ((batch[0] @ w - batch[1]) ** 2).sum()},
        "is 55 on 6 examples whose own losses have the mean 9.16667: give the mean over examples",
    ),
    "loss of NaN": (
        {"data": (X, np.where(Y == 3, np.nan, Y))},
        "the loss is not finite at 1 of 6 examples, the first of them number 3",
    ),
    "gradient of NaN": (
        {"function": lambda w, batch: jnp.sqrt((w**2).sum()) + 0 * batch[1].mean()},
        "the gradient is not finite at 6 of 6",
    ),
    "second derivative of NaN": (
        {"function": lambda w, batch: (jnp.abs(w) ** 1.5).sum() + batch[1].mean()},
        "a product of the curvature with a vector is (nan|inf): the second derivative",
    ),
    "integers for parameters": (
        {"params": {"w": np.zeros(2, int)}},
        r"the type of params\['w'\] is int64: give",
    ),
    "no parameters": ({"params": {}}, "params is {}: give a tree with at least one parameter"),
    "parameters that have diverged": ({"params": np.float32([np.inf, 0])}, "params is not finite"),
    "axes that disagree": (
        {"data": (X, Y[:5])},
        r"the number of examples is 6 \(data\[0\]\), 5 \(data\[1\]\): give first axes",
    ),
    "numbers for data": ({"data": (X, 3.0)}, r"the type of data\[1\] is float: give arrays"),
    "an array without axes": ({"data": (X, np.float32(3.0))}, r"the shape of data\[1\] is \(\)"),
    "no data": ({"data": ()}, r"data is \(\): give a tree of arrays"),
    "words for data": ({"data": (X, np.array(["a"] * 6))}, r"the type of data\[1\]"),
    "one example": ({"data": (X[:1], Y[:1])}, "the number of examples is 1: give at least 2"),
    "no pair": ({"function": linear, "loss": "squared_error", "data": X}, "data is ndarray: give a pair of inputs and targets"),
    "targets of another shape": (
        {"function": linear, "loss": "squared_error", "data": (X, Y[:, None])},
        r"the shape of the targets is \(6, 1\): give \(6,\) for outputs of the shape \(6,\)",
    ),
    "labels for each class": (
        {"function": logits, "loss": "cross_entropy", "data": (X, np.stack([LABELS, LABELS], 1))},
        r"the shape of the targets is \(6, 2\): give \(6,\) for outputs of the shape \(6, 2\)",
    ),
    "labels from 1": (
        {"function": logits, "loss": "cross_entropy", "data": (X, LABELS + 1)},
        r"targets\[1\] is 2: give labels from 0 to 1",
    ),
    "no probabilities": (
        {"function": logits, "loss": "cross_entropy", "data": (X, X)},
        r"the sum of the targets\[0\] is 2.0: give probabilities that sum to 1",
    ),
    "a batch of more than half": ({"batch_size": 4}, "batch_size is 4: give at most 3: two batches of the 6 examples"),
    "no steps": ({"lanczos_steps": 1}, "lanczos_steps is 1: give a whole number, at least 2"),
    "no probes": ({"probes": 0}, "probes is 0"),
    "half a chunk": ({"chunk": 0.5}, "chunk is 0.5"),
    "a negative seed": ({"seed": -1}, "seed is -1"),
}


@pytest.mark.parametrize("case", CASES)
def test_refused(case):
    changed, message = CASES[case]
    arguments = {"function": squares, "params": W, "data": (X, Y), "progress": False} | changed
    with pytest.raises(ValueError, match=message) as found:
        measure(**arguments)
    assert "\n" not in str(found.value)
    assert len(str(found.value)) < 500


def test_flat_losses_make_no_quadratic():
    found = measure(lambda w, batch: batch[1].mean() + 0 * w.sum(), W, (X, Y), progress=False)
    assert (found.table.noise_trace, found.table.largest_curvature) == (0, 0)
    assert (found.table.noise_scale == 0).all()
    with pytest.raises(ValueError, match="every curvature is 0: the loss is flat here"):
        found.problem()


def test_what_does_not_fit_in_memory_says_which_chunk_would(monkeypatch):
    monkeypatch.setattr(networks, "memory", lambda: 40.0)
    with pytest.raises(ValueError, match=r"chunk is 6: a product needs .* GiB, and there are .*; give (chunk=|a smaller)"):
        measure(squares, W, (X, Y), progress=False)


def test_products_and_losses_check_what_they_get():
    product = curvature_product(squares, W, (X, Y))
    np.testing.assert_allclose(product(X[0]), [4, 4])  # 2 x x^T
    np.testing.assert_allclose(jax.jit(product)(X[0]), [4, 4])
    ranks = dataset_loss(lambda w, batch: ((batch[0] + w) ** 2).mean(), (X, Y))  # mixed, which these tests forbid us
    np.testing.assert_allclose(jax.jit(jax.grad(ranks))(W), [1, 1])
    with pytest.raises(ValueError, match="tree is"):
        product(np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="the number of examples"):
        dataset_loss(squares, (X, Y[:5]))
    with pytest.raises(ValueError, match="traced"):
        jax.jit(lambda w: measure(squares, w, (X, Y)))(W)
