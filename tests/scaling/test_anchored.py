"""The anchored law on curves of which it is true, on tuned quadratics and on published ones; what it says of odd points."""

from pathlib import Path

import numpy as np
import pytest

from nqmjax.optimizers.methods import SGD, HeavyBall
from nqmjax.scaling import habits
from nqmjax.scaling.anchored import anchored_curve
from nqmjax.scaling.critical import critical_batch_size
from nqmjax.scaling.habits import optimizer_name
from nqmjax.scaling.norms import noise_scale_from_norms
from nqmjax.scaling.observed import Observed, read_observed

BATCHES = 2.0 ** np.arange(4, 15, 2)
STEPS_MIN, KNEE, RATE_MAX = 1500.0, 1000.0, 3e-3


def law(batch_size, sharpness):
    return STEPS_MIN * (1 + (KNEE / batch_size) ** sharpness) ** (1 / sharpness)


def rate_law(batch_size, sharpness, power):
    return RATE_MAX * (1 + (KNEE / batch_size) ** sharpness) ** (-power / sharpness)


def said(curve):
    return " ".join(" ".join(curve.remarks).split())


@pytest.mark.parametrize(("optimizer", "sharpness", "power"), [("sgd", 1.6, 1), ("momentum", 0.8, 1), ("adamw", 1.2, 0.5)])
def test_exact_points_give_back_their_law(optimizer, sharpness, power):
    rates = rate_law(BATCHES, sharpness, power)
    curve = anchored_curve(Observed(BATCHES, law(BATCHES, sharpness), rates), optimizer)
    others = 2.0 ** np.arange(1, 18)
    np.testing.assert_allclose(curve.steps(others).value, law(others, sharpness), rtol=0.03)
    np.testing.assert_allclose(curve.learning_rate(others).value, rate_law(others, sharpness, power), rtol=0.15)
    assert np.abs(curve.residuals).max() < 0.01
    assert curve.remarks == ()
    for found, true in [
        (curve.steps_min, STEPS_MIN),
        (curve.examples_min, STEPS_MIN * KNEE),
        (curve.sharpness, sharpness),
        (critical_batch_size(curve), KNEE),
    ]:
        lower, upper = found.interval if hasattr(found, "interval") else found[1:]
        assert lower < true < upper
    overhead = critical_batch_size(curve, "overhead")
    assert overhead.batch_size == pytest.approx(KNEE * (1.2**sharpness - 1) ** (1 / sharpness), rel=0.1)
    assert curve.overhead(overhead.batch_size).value == pytest.approx(1.2, rel=0.01)


def test_units_do_not_matter():
    """Another unit of examples and another target, by factors, change answers by these factors."""
    draw = np.random.default_rng(0)
    steps = law(BATCHES, 1.2) * np.exp(0.03 * draw.normal(size=BATCHES.size))
    one = anchored_curve(Observed(BATCHES, steps, 1e-3 * BATCHES**0.4), "adamw")
    other = anchored_curve(Observed(2048 * BATCHES, 7 * steps, 5e-3 * BATCHES**0.4), "adamw")
    np.testing.assert_allclose(other.steps(2048 * 500.0), 7 * np.array(one.steps(500.0)), rtol=1e-9)
    np.testing.assert_allclose(other.learning_rate(2048 * 500.0), 5 * np.array(one.learning_rate(500.0)), rtol=1e-9)
    knee, again = (np.array(critical_batch_size(curve).interval) for curve in (one, other))
    np.testing.assert_allclose(again, 2048 * knee, rtol=1e-9)


@pytest.mark.parametrize("batches", [BATCHES[[0, 3]], BATCHES[1:5]], ids=["two", "four"])
def test_intervals_hold_what_they_claim(batches):
    """With 4% of scatter and a sharpness that varies as it does between networks."""
    draw, inside, beyond = np.random.default_rng(0), [], 2 * batches[-1]
    for _ in range(60):
        sharpness = 1.25 * np.exp(0.25 * draw.normal())
        curve = anchored_curve((batches, law(batches, sharpness) * np.exp(0.04 * draw.normal(size=batches.size))), "sgd")
        steps = law(beyond, sharpness) * np.exp(0.04 * draw.normal())
        knee = critical_batch_size(curve).interval or (0, np.inf)
        at = curve.steps(beyond)
        inside.append((at.lower < steps < at.upper, knee[0] < KNEE < knee[1]))
    share = np.mean(inside, axis=0)
    assert (share >= 0.82).all()
    assert (share <= 0.99).all()


def test_a_run_far_off_hardly_moves_the_curve():
    batches = 2.0 ** np.arange(4, 15)
    steps = law(batches, 1.25)
    steps[5] *= 2
    curve = anchored_curve((batches, steps), "sgd")
    np.testing.assert_allclose(curve.steps(batches).value, law(batches, 1.25), rtol=0.07)
    assert "run at batch size 512 takes" in said(curve)
    assert "than a smaller batch" in said(curve)


def test_standard_errors_weigh():
    steps = law(BATCHES, 1.2) * np.where(BATCHES[-1] == BATCHES, 0.7, 1.0)
    errors = np.where(BATCHES[-1] == BATCHES, 0.5, 0.01) * steps
    unsure = anchored_curve(Observed(BATCHES, steps, standard_error=errors), "adam")
    assert unsure.steps(BATCHES[-1]).value == pytest.approx(law(BATCHES[-1], 1.2), rel=0.08)


def test_one_batch_size_gives_bounds_and_says_what_would_settle_it():
    curve = anchored_curve(Observed([256, 256], [5000, 5000], [1e-3, 1e-3]), "adamw")
    found = curve.steps([64, 1024])
    assert np.isnan(found.value).all()
    np.testing.assert_allclose([found.lower, found.upper], [[5000, 1250], [20000, 5000]])
    rates = curve.learning_rate([64, 1024])
    np.testing.assert_allclose([rates.lower, rates.upper], [[5e-4, 1e-3], [1e-3, 2e-3]])
    assert "One batch size does not tell" in said(curve)
    assert "noise-scale" in said(curve)
    with pytest.raises(ValueError, match="number of batch sizes is 1"):
        critical_batch_size(curve)


def test_one_run_and_a_noise_scale_suffice():
    run = Observed([256], [5000.0], [1e-3])
    rough = anchored_curve(run, "adamw", noise_scale=4096)
    known = anchored_curve(run, "adamw", critical_batch_size=4096)
    expected = 5000 * ((1 + (4096 / 4096) ** 1.2) / (1 + (4096 / 256) ** 1.2)) ** (1 / 1.2)
    for curve in (rough, known):
        assert curve.steps(256).value == pytest.approx(5000, rel=0.02)
        assert curve.steps(4096).value == pytest.approx(expected, rel=0.15)
    wide, narrow = (curve.steps(4096).upper / curve.steps(4096).lower for curve in (rough, known))
    assert narrow < wide < 16
    lower, upper = critical_batch_size(rough).interval
    assert 5 < upper / 4096 < 8
    assert 5 < 4096 / lower < 8
    assert "far from the batch sizes" in said(anchored_curve(run, "adamw", noise_scale=4096 * 2048))


def test_a_measured_noise_scale_is_taken():
    draws = np.random.default_rng(0).normal(size=(100, 2, 50)) * 3 / np.sqrt([[8], [64]])
    noise = noise_scale_from_norms([8, 64], ((draws + 0.3) ** 2).sum(-1))
    one = anchored_curve(Observed([64], [900.0]), "sgd", noise_scale=noise)
    assert one.steps(512) == anchored_curve(Observed([64], [900.0]), "sgd", noise_scale=noise.noise_scale).steps(512)


def test_rates_rest_on_one_run_if_only_one_is_known():
    steps = law(BATCHES, 1.25)
    curve = anchored_curve(Observed(BATCHES, steps, [1e-3, *[np.nan] * 5]), "sgd")
    assert curve.learning_rate(32).value == pytest.approx(2e-3, rel=0.1)
    assert "Rates are known of 1 of 6 runs" in said(curve)


def test_what_is_not_seen_is_said_and_bounded():
    few = 2.0 ** np.arange(3, 7)
    perfect = anchored_curve((few, 1e6 / few), "sgd")
    assert "scale almost perfectly" in said(perfect)
    found = critical_batch_size(perfect)
    assert (found.bound, found.interval) == ("at least", None)
    assert found.batch_size > few[-1]
    flat = anchored_curve((few, [1000.0, 1001.0, 999.0, 1000.0]), "sgd")
    assert "hardly fall" in said(flat)
    assert critical_batch_size(flat).bound == "at most"
    assert "Two batch sizes cannot show the scatter" in said(anchored_curve((few[:2], 1e6 / few[:2]), "sgd"))
    assert "tuned rate falls" in said(anchored_curve(Observed(BATCHES, law(BATCHES, 1), 1 / BATCHES), "sgd"))


def test_faults():
    with pytest.raises(ValueError, match=r"steps is 900 at batch size 64 and 3000 at 256: tuned runs .* not examples"):
        anchored_curve(([64, 256], [900, 3000]), "sgd")
    curve = anchored_curve(([64, 256], [900, 300]), "sgd")
    with pytest.raises(ValueError, match="learning_rate is unknown"):
        curve.learning_rate(512)
    with pytest.raises(ValueError, match=r"optimizer is None: .* name it"):
        anchored_curve(Observed([64], [900], [0.1])).learning_rate(512)
    with pytest.raises(ValueError, match="noise_scale is inf"):
        anchored_curve(([64], [900]), noise_scale=np.inf)


def test_optimizers_have_many_names():
    assert optimizer_name(SGD(0.1)) == "sgd"
    assert optimizer_name(HeavyBall(0.1, 0.9)) == optimizer_name("SGD-momentum") == optimizer_name("heavyball") == "heavy_ball"
    assert optimizer_name("AdamW") == "adam"
    assert set(habits.ALIASES.values()) <= habits.SHARPNESS.keys()


PUBLISHED = {"85M": 745, "151M": 955, "302M": 1394, "604M": 1888, "1.2B": 2533}
CURVES = Path(__file__).parents[3] / "shared" / "data" / "runs" / "cbs_zhang2024_curves.csv"


@pytest.mark.skipif(not CURVES.exists(), reason="the published curves are not here")
def test_published_curves_are_reproduced_and_foretold():
    """All nine batch sizes within 4%; the largest three from the smallest six within 15%, and within the intervals."""
    errors, inside, overheads = [], [], []
    for points in read_observed(CURVES):
        curve = anchored_curve(points, "adamw")
        assert np.sqrt((np.log1p(curve.residuals) ** 2).mean()) < 0.04
        overheads.append(critical_batch_size(curve, "overhead"))
        assert overheads[-1].interval[0] < PUBLISHED[points.label] < overheads[-1].interval[1]
        found = anchored_curve((points.batch_size[:6], points.steps[:6]), "adamw").steps(points.batch_size[6:])
        errors.append(np.log(found.value / points.steps[6:]))
        inside.append((found.lower < points.steps[6:]) & (points.steps[6:] < found.upper))
    assert np.sqrt(np.mean(np.square(errors))) < 0.15
    assert np.mean(inside) > 0.85
    assert (np.diff([one.batch_size for one in overheads]) > 0).all()
