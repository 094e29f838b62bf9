"""The noise scale from gradient norms, against gradients whose noise is known."""

import numpy as np
import pytest

from nqmjax.scaling.norms import noise_scale_from_norms, read_norms

SQUARE, NOISE = 4.0, 900.0
SIZES = np.array([8.0, 64.0])


def gradient_norms(seed, steps, sizes=SIZES, square=SQUARE, noise=NOISE, dim=100):
    """Square norms of Gaussian mean gradients, `(steps, sizes)`; the larger batches hold the smaller ones."""
    draw = np.random.default_rng(seed)
    devices = int(sizes[-1] // sizes[0])
    each = np.sqrt(square / dim) + draw.normal(size=(steps, devices, dim)) * np.sqrt(noise / sizes[0] / dim)
    counts = (sizes // sizes[0]).astype(int)
    return np.stack([(each[:, :count].mean(1) ** 2).sum(-1) for count in counts], axis=1)


def test_two_batch_sizes_give_what_their_formulas_give():
    norms = gradient_norms(0, 50)
    first, second = norms.mean(0)
    found = noise_scale_from_norms(SIZES, norms)
    square = (64 * second - 8 * first) / (64 - 8)
    noise = (first - second) / (1 / 8 - 1 / 64)
    assert (found.square_gradient, found.noise) == pytest.approx((square, noise), rel=1e-12)
    assert found.noise_scale == pytest.approx(noise / square, rel=1e-12)
    assert (found.steps, found.block) == (50, 5)


@pytest.mark.parametrize("sizes", [SIZES, np.array([8.0, 16.0, 64.0])])
def test_the_truth_lies_in_90_percent_of_the_intervals(sizes):
    found = [noise_scale_from_norms(sizes, gradient_norms(seed, 100, sizes)) for seed in range(100)]
    inside = np.mean([one.lower <= NOISE / SQUARE <= one.upper for one in found])
    assert 0.82 <= inside <= 0.97
    estimates = np.array([[one.square_gradient, one.noise] for one in found])
    error = estimates.std(0, ddof=1) / np.sqrt(len(found))
    assert (np.abs(estimates.mean(0) - [SQUARE, NOISE]) < 4 * error).all()


def test_a_mean_of_ratios_would_be_wrong_where_this_is_right():
    """Beyond the batch sizes the ratios of single steps have no mean; that of the means is within its interval."""
    norms = gradient_norms(0, 4000, square=0.15)
    found = noise_scale_from_norms(SIZES, norms)
    assert found.lower < 6000 < found.upper
    first, second = norms.T
    ratios = (first - second) / (1 / 8 - 1 / 64) / ((64 * second - 8 * first) / 56)
    assert not found.lower < ratios.mean() < found.upper


def test_a_log_in_any_order_is_the_table_that_it_holds():
    norms = gradient_norms(0, 40)
    table = noise_scale_from_norms(SIZES, norms)
    steps, place = np.divmod(np.random.default_rng(1).permutation(norms.size), 2)
    assert noise_scale_from_norms(SIZES[place], norms[steps, place], 10 * steps) == table
    assert noise_scale_from_norms(np.repeat(SIZES, 40), norms.T.ravel()) == table  # steps in order at each batch size


def test_devices_logged_one_by_one_count_as_their_mean():
    norms = gradient_norms(0, 40)
    spread = np.stack([0.9 * norms[:, 0], 1.1 * norms[:, 0], norms[:, 1]], axis=1)
    assert noise_scale_from_norms([8, 8, 64], spread).noise == pytest.approx(noise_scale_from_norms(SIZES, norms).noise)


def test_a_gradient_that_noise_hides_is_said():
    norms = np.array([8.0, 0.99]) * (1 + 0.02 * np.random.default_rng(0).normal(size=(60, 2)))
    found = noise_scale_from_norms(SIZES, norms)
    assert found.square_gradient < 0
    assert (found.noise_scale, found.upper) == (np.inf, np.inf)
    assert found.lower > 64
    assert "noise hides the gradient" in " ".join(str(found).split())
    assert max(map(len, str(found).splitlines())) <= 80


def test_no_noise_and_too_few_steps_are_said():
    found = noise_scale_from_norms(SIZES, [[1.0, 1.001], [1.0, 1.0]])
    assert found.noise_scale == 0
    assert np.isnan([found.lower, found.upper]).all()
    assert "show no noise" in " ".join(str(found).split())
    assert "too few for an interval" in " ".join(str(found).split())


def test_norms_of_sums_are_refused():
    norms = gradient_norms(0, 60) * SIZES**2
    with pytest.raises(ValueError, match=r"square_norms is .* at batch size 8 and .* cannot rise: .* not of sums"):
        noise_scale_from_norms(SIZES, norms)


def test_batch_sizes_of_different_times_are_refused():
    with pytest.raises(ValueError, match=r"range of steps is 0 to 9 at 8 and 10 to 19 at 64: .* same time"):
        noise_scale_from_norms(np.repeat(SIZES, 10), np.ones(20), np.arange(20))


def test_a_log_of_norms_is_squared(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("iteration,B,grad norm\n1,8,2\n1,64,1\n")
    sizes, norms, steps = read_norms(path)
    assert steps is not None
    np.testing.assert_array_equal([sizes, norms, steps], [[8, 64], [4, 1], [1, 1]])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("step,batch\n1,8\n", "'square_norm'"),
        ("batch,norm,square_norm\n8,1,1\n", "give one column"),
        ("batch,square_norm\n8,0\n", "row 2, column 'square_norm' is 0"),
        ("batch,square_norm\n8,-1\n", "positive"),
        ("step,batch,square_norm\nnan,8,1\n", "number of the step"),
    ],
)
def test_faults_of_logs(tmp_path, text, words):
    path = tmp_path / "log.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        read_norms(path)
