"""Measurements against dense matrices: a small network, and a linear regression, for which the quadratic is exact."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from nqmjax import HeavyBall, from_spectrum, power_law, read_spectrum, risk_curve
from nqmjax.measure import curvature_product, dataset_loss, measure
from nqmjax.measure.lanczos import lanczos
from nqmjax.measure.noise import Batches, noise_scales
from nqmjax.nonlinear import hessian_diagonal

EXAMPLES, INPUTS, HIDDEN, CLASSES = 300, 8, 20, 5
RNG = np.random.default_rng(1)
PARAMS = {
    "in": {"kernel": np.float32(RNG.normal(size=(INPUTS, HIDDEN)) / 2), "bias": np.zeros(HIDDEN, np.float32)},
    "out": {"kernel": np.float32(RNG.normal(size=(HIDDEN, CLASSES)) / 4), "bias": np.zeros(CLASSES, np.float32)},
}
DATA = (
    np.float32(RNG.normal(size=(EXAMPLES, INPUTS)) * np.arange(1, INPUTS + 1) ** -0.7),
    RNG.integers(CLASSES, size=EXAMPLES),
)


def apply(params, inputs):
    hidden = jnp.tanh(inputs @ params["in"]["kernel"] + params["in"]["bias"][None])
    return hidden @ params["out"]["kernel"] + params["out"]["bias"][None]


def loss(params, batch):
    inputs, labels = batch
    return -jnp.take_along_axis(jax.nn.log_softmax(apply(params, inputs)), labels[:, None], 1).mean()


class Dense(NamedTuple):
    hessian: np.ndarray
    gauss_newton: np.ndarray
    gradients: np.ndarray

    @property
    def covariance(self):
        return np.cov(self.gradients.T)


@functools.cache
def dense():
    flat, unravel = ravel_pytree(PARAMS)
    inputs, labels = jax.tree.map(jnp.asarray, DATA)

    @jax.jit
    def matrices(flat):
        outputs = lambda flat: apply(unravel(flat), inputs)  # noqa: E731
        shares, slopes = jax.nn.softmax(outputs(flat)), jax.jacrev(outputs)(flat)
        mean = jnp.einsum("nk,nkp->np", shares, slopes)
        square = jnp.einsum("nkp,nk,nkq->pq", slopes, shares, slopes) - mean.T @ mean
        gradients = mean - slopes[jnp.arange(EXAMPLES), labels]
        return jax.hessian(lambda flat: loss(unravel(flat), (inputs, labels)))(flat), square / EXAMPLES, gradients

    return Dense(*(np.asarray(matrix, float) for matrix in matrices(flat)))


@functools.cache
def measured():
    return measure(
        apply, PARAMS, DATA, loss="cross_entropy", chunk=64, seed=2, progress=False
    ).table  # 300 is no multiple of 64


def flat(tree):
    return np.asarray(ravel_pytree(tree)[0], float)


@pytest.mark.parametrize("matrix", ["hessian", "gauss_newton"])
def test_products(matrix):
    product = curvature_product(apply, PARAMS, DATA, loss="cross_entropy", matrix=matrix, chunk=64)
    vector = jax.tree.map(lambda leaf: np.float32(RNG.normal(size=leaf.shape)), PARAMS)
    np.testing.assert_allclose(flat(product(vector)), getattr(dense(), matrix) @ flat(vector), rtol=1e-4, atol=1e-5)


def test_diagonal():
    total = dataset_loss(loss, DATA, chunk=70)
    found = jax.jit(lambda params: hessian_diagonal(total, params).diagonal)(PARAMS)
    np.testing.assert_allclose(flat(found), np.diag(dense().hessian), rtol=1e-3, atol=1e-5)


def test_density():
    table, exact = measured(), np.linalg.eigvalsh(dense().gauss_newton)[::-1]
    outliers = table.probe.values == -1
    found = table.curvature.values[outliers]
    assert found.size > 10
    nearest = np.abs(found[:, None] - exact).min(1)
    np.testing.assert_allclose(found[0], exact[0], rtol=1e-4)
    assert nearest.max() < 1e-4 * exact[0]
    count, curvature = table["count"].values, table.curvature.values
    np.testing.assert_allclose(count.sum(), exact.size, rtol=1e-5)
    rest = exact[found.size :]
    for power in (1, 2):
        error = np.sqrt(2 * (rest ** (2 * power)).sum() / table.probes)  # that of random signs, at most
        assert abs(count @ curvature**power - (exact**power).sum()) < 2 * error < 0.1 * (exact**power).sum()
    for edge in np.geomspace(1e-3, 0.3, 6) * exact[0]:
        assert abs(count[curvature > edge].sum() - (exact > edge).sum()) < 2 + 0.1 * (exact > edge).sum()
    assert float(table.effective_rank) == pytest.approx(exact.sum() / exact[0], rel=0.05)


def test_noise_and_gradient_along_the_curvature():
    table, matrix, covariance = measured(), dense().gauss_newton, dense().covariance
    mean = dense().gradients.mean(0)
    count, noise, curvature = table["count"].values, table.noise.values, table.curvature.values
    np.testing.assert_allclose(table.noise_trace, np.trace(covariance), rtol=1e-5)
    np.testing.assert_allclose(count @ noise, np.trace(covariance), rtol=1e-4)
    np.testing.assert_allclose((count * noise) @ curvature, np.trace(matrix @ covariance), rtol=0.01)
    values, vectors = np.linalg.eigh(matrix)
    largest = np.flatnonzero(table.probe.values == -1)[:4]
    exact = np.einsum("pi,pq,qi->i", vectors, covariance, vectors)[::-1]
    np.testing.assert_allclose(noise[largest], exact[:4], rtol=0.02)
    np.testing.assert_allclose(table.gradient_square_norm, mean @ mean, rtol=1e-4)
    energy, along = table.gradient_energy.values, table.gradient_curvature.values
    np.testing.assert_allclose(energy.sum(), mean @ mean, rtol=1e-4)
    np.testing.assert_allclose(energy @ along, mean @ matrix @ mean, rtol=1e-3)
    assert values[-1] == pytest.approx(along[0], rel=1e-3)


def test_noise_scales_are_those_of_the_definitions():
    table, matrix = measured(), dense().gauss_newton
    size, batches = table.batch_size, table.batches
    assert (size, batches) == (9, 32)
    order = np.random.default_rng(2).permutation(EXAMPLES)
    means = dense().gradients[order][: size * batches].reshape(batches, size, -1).mean(1)
    for name, metric in (("B_simple", np.eye(len(matrix))), ("B_noise", matrix)):
        gram = means @ metric @ means.T
        signal = (gram.sum() - np.trace(gram)) / (batches * (batches - 1))
        noise = size * (np.trace(gram) / batches - signal)
        scales = table.noise_scale.sel(definition=name)
        assert float(scales.sel(estimator="batches")) == pytest.approx(noise / signal, rel=1e-3)
        alone = np.trace(metric @ dense().covariance) / signal
        assert float(scales.sel(estimator="examples")) == pytest.approx(alone, rel=0.05)
        mean = dense().gradients.mean(0)
        whole = np.trace(metric @ dense().covariance) * (1 - 1 / EXAMPLES) / (mean @ metric @ mean)
        assert float(scales.sel(estimator="all_data")) == pytest.approx(whole, rel=0.01)
        ends = (table[f"noise_scale_{end}"].sel(definition=name).values for end in ("lower", "upper"))
        lower, upper = ends
        assert (lower <= scales.values).all()
        assert (scales.values <= upper).all()


def test_intervals_hold_what_they_should():
    rng, dim, size, batches = np.random.default_rng(0), 20, 10, 32
    curvature, mean = np.arange(1.0, dim + 1) ** -1, np.full(dim, 0.15)
    truth = np.array([curvature.sum() / (mean @ mean), (curvature**2).sum() / (curvature @ mean**2)])
    inside = []
    for _ in range(60):
        gradients = mean + np.sqrt(curvature) * rng.normal(size=(batches * size, dim))
        groups = gradients.reshape(batches, size, dim)
        means, parts = groups.mean(1), ((gradients - gradients.mean(0)) ** 2 * curvature).sum(1)
        square = (groups**2).sum(2).mean(1)
        known = Batches(size, means @ means.T, means * curvature @ means.T, square, parts.reshape(batches, size).mean(1))
        found = noise_scales(known, np.ones(2), np.ones(2), rng)
        inside.append(((found.lower <= truth[:, None]) & (truth[:, None] <= found.upper))[:, :2])
    assert (np.abs(np.mean(inside, 0) - 0.9) < 0.1).all()


class Regression(NamedTuple):
    found: Any
    exact: Any


@functools.cache
def regression():
    """Measured at 0, and the exact problem there; the loss is the user's own, so that the matrix is the Hessian."""
    rng, dim, examples = np.random.default_rng(0), 50, 2000
    x = rng.normal(size=(examples, dim)) * np.arange(1, dim + 1) ** -0.6
    y = x @ rng.normal(size=dim) + rng.normal(size=examples)
    found = measure(
        lambda w, batch: 0.5 * ((batch[0] @ w - batch[1]) ** 2).mean(), np.zeros(dim, np.float32), (x, y), progress=False
    )
    values, vectors = np.linalg.eigh(x.T @ x / examples)
    gradients = (-x * y[:, None]) @ vectors
    initial = (gradients.mean(0) / values) ** 2
    least = 0.5 * ((y**2).mean() - values @ initial)
    return Regression(found, from_spectrum(values, noise=gradients.var(0, ddof=1), initial=initial, irreducible=least))


def losses(problem, rate, momentum, batch_size, steps):
    """Expected excess losses after each update, by the second moments of the place and the last move along each mode."""
    h, place = problem.curvature, problem.initial
    mixed, move, found = 0 * h, 0 * h, []
    for _ in range(steps):
        noise = rate**2 * problem.noise / batch_size
        pull = rate * h  # the new move is momentum * move - pull * place, and noise
        move, mixed, place = (
            momentum**2 * move - 2 * momentum * pull * mixed + pull**2 * place + noise,
            momentum**2 * move + momentum * (1 - 2 * pull) * mixed - pull * (1 - pull) * place + noise,
            momentum**2 * move + 2 * momentum * (1 - pull) * mixed + (1 - pull) ** 2 * place + noise,
        )
        found.append(0.5 * (problem.count * h) @ place)
    return np.array(found)


@pytest.mark.parametrize("batch_size", [4, 64, 1024])
@pytest.mark.parametrize(("rate", "momentum"), [(0.3, 0.0), (0.05, 0.9)])
def test_the_quadratic_of_a_regression_is_exact(rate, momentum, batch_size):
    """Losses of SGD and of heavy ball, from the first updates to the noise floor."""
    found, exact = regression().found.problem(), regression().exact
    assert found.initial_risk == pytest.approx(exact.initial_risk, rel=1e-4)
    assert found.irreducible == pytest.approx(exact.irreducible, rel=0.01)
    curves = [losses(problem, rate, momentum, batch_size, 1000) for problem in (found, exact)]
    np.testing.assert_allclose(*curves, rtol=0.05)


def test_the_recursion_of_these_tests_is_that_of_the_package():
    problem = power_law(5)
    expected = risk_curve(problem, HeavyBall(0.2, 0.8), 3, 20)[1:]
    np.testing.assert_allclose(losses(problem, 0.2, 0.8, 3, 20), expected, rtol=1e-9)


def test_spectra_are_written_as_they_are_read(tmp_path):
    found, path = regression().found, tmp_path / "spectrum.csv"
    found.write_spectrum(path)
    problem, read = found.problem(), read_spectrum(path, irreducible=found.problem().irreducible)
    for name in ("curvature", "count", "noise", "initial"):
        np.testing.assert_allclose(getattr(read, name), getattr(problem, name), rtol=1e-7)
    with pytest.raises(ValueError, match="the file exists"):
        found.write_spectrum(path)
    with pytest.raises(ValueError, match=r"ends in \.csv"):
        found.write_spectrum(tmp_path / "spectrum.nc")


def test_negative_curvature_is_refused_or_clipped():
    bend = np.float32([2.0, 1.0, 0.1, -0.5, -1e-8])
    found = measure(
        lambda w, shift: (0.5 * bend @ w**2 + shift @ w).mean() + 1, np.zeros(5, np.float32), np.eye(5), progress=False
    )
    np.testing.assert_allclose(found.table.curvature[[0, -1]], [2.0, -0.5], rtol=1e-4)
    with pytest.raises(ValueError, match=r"the least curvature is -0\.\d+: clip"):
        found.problem()
    problem = found.problem(clip=True)
    assert problem.curvature.min() == 0
    assert problem.dim == pytest.approx(5, rel=1e-3)
    np.testing.assert_allclose(problem.initial_risk - problem.irreducible, 0.5 * (0.04 / bend[:3]).sum(), rtol=1e-3)
    assert problem.initial_risk == pytest.approx(float(found.table.loss), rel=1e-6)


def test_lanczos_ends_where_the_space_does():
    values = np.float32([4, 2, 1, 0.5] + [0] * 6)
    ritz = lanczos(lambda vector: jnp.asarray(values) * vector, jnp.ones(10), 9)
    np.testing.assert_allclose(ritz.values, [0, 0.5, 1, 2, 4], atol=1e-5)
    np.testing.assert_allclose(ritz.weights, [0.6, 0.1, 0.1, 0.1, 0.1], rtol=1e-4)
    known = jnp.eye(10, dtype=jnp.float32)[:2]
    rest = lanczos(lambda vector: jnp.asarray(values) * vector, jnp.ones(10), 9, known)
    np.testing.assert_allclose(rest.values, [0, 0.5, 1], atol=1e-5)
    np.testing.assert_allclose(np.asarray(rest.vectors @ known.T), 0, atol=1e-6)
    assert rest.square_norm == pytest.approx(8, rel=1e-5)
    nothing = lanczos(lambda vector: vector, known[0], 9, known)
    assert (nothing.values.size, nothing.vectors.shape, nothing.square_norm) == (0, (0, 10), 0)


def test_quadrature_is_exact_for_polynomials():
    rng = np.random.default_rng(3)
    values, start = np.float32(rng.normal(size=60)), jnp.asarray(rng.normal(size=60), jnp.float32)
    ritz = lanczos(lambda vector: jnp.asarray(values) * vector, start, 5)
    for degree in range(10):
        exact = (np.asarray(start, float) ** 2) @ values.astype(float) ** degree
        assert ritz.square_norm * (ritz.weights @ ritz.values**degree) == pytest.approx(exact, rel=1e-4)


def test_sequences_and_equal_curvatures():
    """Logits looked up in a table: each token has two curvatures of a third of its share, and one of 0."""
    tokens = np.repeat(np.arange(4), [16, 12, 8, 4]).reshape(20, 2)
    data = tokens, np.random.default_rng(0).integers(3, size=tokens.shape)
    found = measure(
        lambda table, tokens: table[tokens], np.zeros((4, 3), np.float32), data, loss="cross_entropy", progress=False
    )
    values, problem = np.array([0.4, 0.3, 0.2, 0.1, 0]) / 3, found.problem()
    which = np.abs(problem.curvature[:, None] - values).argmin(1)
    np.testing.assert_allclose(problem.curvature, values[which], atol=1e-6)
    counts = np.bincount(which, weights=problem.count, minlength=5)
    assert (counts[:4] >= 1 - 1e-6).all()  # one eigenvector of each, and what the probes see of its equal
    assert counts.sum() == pytest.approx(12)
    assert found.table.loss == pytest.approx(np.log(3))
