"""Folds, scores, ensembles and intervals: by hand where they can be, and from runs to a model with cheap laws."""

import dataclasses
import math

import numpy as np
import pytest
import xarray as xr

from nqmjax.runs.extrapolation import distance
from nqmjax.runs.fit import _laws, _scores, choose, compare_models, fit
from nqmjax.runs.folds import Evaluation
from nqmjax.runs.intervals import LEVEL, REPLICATES, _inflation, _resampled
from nqmjax.runs.law_predictions import law_prediction
from nqmjax.runs.laws.base import Scale, law_inputs
from nqmjax.runs.laws.baselines import Chinchilla, Kaplan
from nqmjax.runs.laws.catalogue import LAWS
from nqmjax.runs.laws.quadratic import QuadraticLaw
from nqmjax.runs.one_law import Basin, FittedLaw, fit_law
from nqmjax.runs.predict import DRIFT, predict
from nqmjax.runs.settings import RunSchedule
from nqmjax.runs.study import FORWARD, OUT, Fold, Study, folds
from nqmjax.runs.table import make as make_runs

BUDGETS = np.array([1e13, 1e14, 1e15, 1e16])
CHEAP = {"a": Chinchilla(), "b": Kaplan()}


def made(noise=0.005, seed=0, budgets=BUDGETS, batch_matters=0.0):
    """Twelve runs in each budget, sizes and batches drawn, of a law of model size and data."""
    rng = np.random.default_rng(seed)
    compute = np.repeat(budgets, 12)
    size = 1e7 * (compute / 1e15) ** 0.4 * np.exp(rng.uniform(-1, 1, len(compute)))
    batch = 2.0 ** rng.integers(5, 12, len(compute))
    steps = compute / size / batch
    loss = 1.7 + 0.6 * (size / 1e7) ** -0.3 + 0.5 * (compute / size / 1e8) ** -0.28
    loss = loss * (batch / 256) ** (0.1 * batch_matters) * np.exp(noise * rng.standard_normal(len(compute)))
    return make_runs(size, batch, steps, loss)


def quietly(runs, laws=CHEAP, **options):
    return fit(runs, laws, starts=8, progress=False, **options)


@pytest.fixture(scope="module")
def runs():
    return made()


@pytest.fixture(scope="module")
def model(runs):
    return quietly(runs)


def test_kinds_of_folds(runs):
    found = folds(runs, 5)
    assert [fold.kind for fold in found] == ["budget"] * 4 + ["forward"] * 3
    np.testing.assert_allclose([fold.budget for fold in found], [*BUDGETS, *BUDGETS[:-1]])
    for fold in found:
        expected = runs.budget != fold.budget if fold.kind == "budget" else runs.budget <= fold.budget
        np.testing.assert_array_equal(fold.train, expected)


def test_folds_leave_more_runs_than_parameters(runs):
    for parameters, kinds in {11: 7, 12: 6, 23: 6, 24: 5, 35: 5, 36: 0}.items():
        found = folds(runs, parameters)
        assert len(found) == kinds, parameters
        assert all(fold.train.sum() > parameters and (~fold.train).any() for fold in found)
    assert folds(made(budgets=BUDGETS[:1]), 5) == ()
    two = folds(made(budgets=BUDGETS[:2]), 5)
    assert [fold.kind for fold in two] == ["budget", "budget", "forward"]


def test_folds_count_no_runs_of_weight_zero(runs):
    """The first budget has none that count, the second five."""
    weight = np.where(runs.budget < 2e13, 0.0, np.where((runs.budget < 2e14) & (np.arange(48) > 16), 0.0, 1.0))
    found = folds(dataclasses.replace(runs, weight=weight), 5)
    kinds = {(fold.kind, round(math.log10(fold.budget))) for fold in found}
    assert kinds == {("budget", 14), ("budget", 15), ("budget", 16), ("forward", 15)}


def test_folds_are_bounded_in_number():
    """Of many budgets neighbours are left out together, and the forward folds are those of the largest computes."""
    some = made(budgets=np.geomspace(1e13, 1e16, 15))
    found = folds(some, 5)
    assert [fold.kind for fold in found] == ["budget"] * OUT + ["forward"] * FORWARD
    assert [fold.budget for fold in found[OUT:]] == some.budgets[-1 - FORWARD : -1].tolist()
    left_out = np.sum([~fold.train for fold in found[:OUT]], axis=0)
    assert (left_out == 1).all()
    for fold in found[:OUT]:
        assert 3 <= len(np.unique(some.budget[~fold.train])) <= 4


def fake(name, predictions, parameters=5):
    """An evaluation whose fold predictions are given, `(folds, runs)`."""
    scale = Scale(1e7, 256.0, 2000.0, 1.0, 32.0, 4096.0, 100.0, 2.0, 4.0)
    fitted = FittedLaw(
        name,
        Chinchilla(),
        scale,
        np.log([1.7, 0.6, 0.3, 0.6, 0.3]),
        np.eye(parameters),
        0.01,
        1e-4,
        np.eye(5),
        np.ones(5),
        (Basin(1e-4, 1.0),),
    )
    return Evaluation(fitted, (), np.asarray(predictions), np.ones_like(predictions))


def by_hand(runs, errors):
    """Evaluations whose errors in all folds are these, by name: a number, or one for each run."""
    tests = folds(runs, 5)
    return tests, {
        name: fake(name, np.tile(np.log(runs.loss) + np.broadcast_to(error, len(runs)), (len(tests), 1)))
        for name, error in errors.items()
    }


def test_all_laws_but_the_hopeless_are_averaged(runs):
    tests, found = by_hand(runs, {"a": 0.03, "b": 0.01, "c": 0.02, "d": -0.041, "e": 0.039})
    names, scores = choose(Study(runs, tests=tests), found)
    assert names == ("b", "c", "a", "e")
    np.testing.assert_allclose(scores.score, [0.03**2, 0.01**2, 0.02**2, 0.041**2, 0.039**2, 0.02475**2])
    np.testing.assert_allclose(scores.bias, [0.03, 0.01, 0.02, -0.041, 0.039, 0.02475])
    assert scores.members.values.tolist() == [*"abcde", "b, c, a, e"]
    assert scores.parameters.values.tolist() == [5] * 5 + [20]


def test_errors_that_cancel_are_no_merit(runs):
    """The mean of two bad ones would have no error in any fold."""
    tests, found = by_hand(runs, {"a": 0.05, "b": 0.01, "c": -0.05})
    names, scores = choose(Study(runs, tests=tests), found)
    assert names == ("b",)
    assert scores.score.sel(law="ensemble").item() == pytest.approx(0.01**2)


def test_a_lucky_score_leaves_no_law_out(runs):
    """The laws miss the runs by 1% in training: a law that misses what was left out by less is not that much better."""
    tests, found = by_hand(runs, {"a": 0.039, "b": 1e-5, "c": 0.041})
    assert choose(Study(runs, tests=tests), found)[0] == ("b", "a")


def test_near_folds_count_most(runs):
    """Twice as much as the fold before; the runs of each fold have one say together."""
    tests = folds(runs, 5)
    for place, share in zip((4, 5, 6), (1 / 7, 2 / 7, 4 / 7), strict=True):
        predictions = np.tile(np.log(runs.loss), (len(tests), 1))
        predictions[place] += 0.1
        scores = choose(Study(runs, tests=tests), {"a": fake("a", predictions)})[1]
        assert scores.score.sel(law="a").item() == pytest.approx(0.01 * share)


def test_scores_are_weighted(runs):
    weight = np.random.default_rng(2).uniform(0, 2, 48) * (np.arange(48) % 5 > 0)
    some = dataclasses.replace(runs, weight=weight)
    tests = folds(some, 5)
    errors = np.random.default_rng(3).standard_normal((len(tests), 48))
    found = _scores(Study(some, tests=tests), errors)
    for kind, power, name in (("budget", 2, "budget_out"), ("forward", 2, "forward"), ("forward", 1, "bias")):
        mine = [(weight[~fold.train], row[~fold.train]) for fold, row in zip(tests, errors, strict=True) if fold.kind == kind]
        total = sum(w @ row**power for w, row in mine) / sum(w.sum() for w, _ in mine)
        assert found[name] == pytest.approx(total, rel=1e-12), name
    near = []
    for fold, row in zip(tests, errors, strict=True):
        if fold.kind == "forward":
            near.append(np.average(row[~fold.train] ** 2, weights=weight[~fold.train]))
    assert found["score"] == pytest.approx(np.average(near, weights=[1, 2, 4]))


def test_without_folds_the_first_law_is_taken(runs):
    for tests in ((), tuple(fold for fold in folds(runs, 5) if fold.kind == "budget")):
        found = {
            name: fake(name, np.zeros((len(tests), 48)) + np.log(runs.loss) + error) for name, error in (("a", 1), ("b", 0))
        }
        names, scores = choose(Study(runs, tests=tests), found)
        assert names == ("a",)
        assert np.isnan(scores.score).all()
        assert np.isnan(scores.forward).all()
        assert scores.law.values.tolist() == ["a", "b", "ensemble"]


@pytest.mark.parametrize(
    ("wrong", "order"),
    [
        pytest.param(math.nan, "ab"),
        (math.nan, "ba"),
        (math.inf, "ab"),
        (math.inf, "ba"),
    ],
)
def test_a_law_that_predicts_no_number_is_not_chosen(runs, order, wrong):
    errors = {"a": np.where(np.arange(48) == 40, wrong, 0.0), "b": 0.05}
    tests, found = by_hand(runs, {name: errors[name] for name in order})
    assert choose(Study(runs, tests=tests), found)[0] == ("b",)


def test_blocks_are_drawn_whole(runs):
    """Budgets of one or two groups: eight blocks, as many draws, each run with its block, none twice as often as another."""
    group = np.where(np.arange(48) % 2, "one", "two")
    some = dataclasses.replace(runs, group=group)
    for table, blocks in ((runs, runs.budget), (some, [f"{b}{g}" for b, g in zip(runs.budget, group, strict=True)])):
        counts = _resampled(table, np.ones(48, bool), np.random.default_rng(4))
        assert counts.shape == (REPLICATES, 48)
        labels = np.asarray(blocks)
        drawn = np.stack([counts[:, labels == label] for label in np.unique(labels)])
        assert (drawn == drawn[:, :, :1]).all()
        assert (drawn[:, :, 0].sum(axis=0) == len(drawn)).all()
        assert drawn[:, :, 0].std() > 0.5


def test_few_blocks_are_drawn_run_by_run(runs):
    known = runs.budget < 2e15
    counts = _resampled(runs, known, np.random.default_rng(5))
    assert (counts[:, known].sum(axis=1) == 36).all()
    assert len(np.unique(counts[0, :12])) > 1
    assert (counts[:, ~known] <= counts[:, known].max()).all()


def test_draws_average_to_one(runs):
    counts = np.stack([_resampled(runs, np.ones(48, bool), np.random.default_rng(seed)) for seed in range(100)])
    np.testing.assert_allclose(counts.mean(axis=(0, 1)), 1.0, atol=0.15)


def coverage_by_hand(needed, budgets):
    """Of the runs of each budget, with the factor that those of the other budgets ask for."""
    factors, budget = np.concatenate(needed), np.concatenate(budgets)
    inside = 0
    for value, own in zip(factors, budget, strict=True):
        others = factors[budget != own]
        inside += value <= max(1.0, np.quantile(others, 0.9))
    return inside / len(factors)


def test_inflation_by_hand():
    """The factor is the quantile of all, at least 1."""
    needed = [np.array([0.5, 1.0, 3.0, 0.2, 0.4]), np.array([0.3, 4.0])]
    budgets = [np.array([1, 1, 1, 2, 2]), np.array([2, 2])]
    factor, coverage, bare = _inflation(needed, budgets)
    assert factor == pytest.approx(np.quantile([0.5, 1.0, 3.0, 0.2, 0.4, 0.3, 4.0], LEVEL))
    assert coverage == pytest.approx(coverage_by_hand(needed, budgets))
    assert bare == pytest.approx(5 / 7)
    assert _inflation([np.array([0.1, 0.2])], [np.array([1, 2])]) == (1.0, 1.0, 1.0)
    assert _inflation([np.array([0.1, 5.0])], [np.array([2, 2])])[1:] == (0.5, 0.5)
    nothing = _inflation([], [])
    assert nothing[0] == 1.0
    assert np.isnan(nothing[1:]).all()


def test_the_inflation_of_a_model():
    """From fits to the smaller budgets alone: what the model's part is multiplied by so that 90% of later runs are covered."""
    some = made(batch_matters=0.3)
    found = quietly(some, {"a": Chinchilla()})
    needed = []
    for budget in some.budgets[:-1]:
        train = some.budget <= budget
        alone = fit_law(some.where(train, "held back"), Chinchilla(), starts=8, progress=False)
        value, variance = law_prediction(alone, alone.covariance, law_inputs(some.settings), "laplace")
        far = distance((some.compute[train].min(), some.compute[train].max()), some.compute)
        sure = alone.noise**2 + (DRIFT * far) ** 2
        excess = np.maximum((value - np.log(some.loss)) ** 2 / 1.6448536269514722**2 - sure, 0)
        needed.append(np.sqrt(excess / variance)[~train])
    factor = np.quantile(np.concatenate(needed), 0.9)
    assert factor > 1.1
    assert found.intervals["laplace"].inflation == pytest.approx(factor, rel=1e-3)
    budgets = [some.budget[some.budget > budget] for budget in some.budgets[:-1]]
    assert found.intervals["laplace"].coverage == pytest.approx(coverage_by_hand(needed, budgets))
    assert found.intervals["laplace"].bare_coverage == pytest.approx((np.concatenate(needed) <= 1).mean())


def test_a_model_of_runs(runs, model):
    assert set(model.scores.data_vars) == {"budget_out", "forward", "bias", "score", "training", "parameters", "members"}
    assert model.scores.law.values.tolist() == ["a", "b", "ensemble"]
    assert model.scores.members.sel(law="ensemble").item() == ", ".join(fitted.name for fitted in model.laws)
    ensemble = model.scores.score.sel(law="ensemble").item()
    assert ensemble <= model.scores.score.max().item()
    assert (model.scores[["budget_out", "forward", "score", "training"]].to_array() > 0).all()
    assert model.scores.attrs["folds"] == 7
    assert model.scores.training.sel(law="a").item() == pytest.approx(0.005**2, rel=0.6)
    for name, interval in model.intervals.items():
        assert interval.inflation >= 1, name
        assert 0 <= interval.coverage <= 1, name
        assert 0 <= interval.bare_coverage <= interval.coverage + 0.2, name
        assert interval.inflation == 1 or interval.bare_coverage < LEVEL + 0.05, name
        size = {"laplace": 5, "bootstrap": REPLICATES}[name]
        assert [part.shape for part in interval.coordinates] == [(size, 5)] * len(model.laws)
    assert model.seen["model_size"] == (runs.model_size.min(), runs.model_size.max())
    assert model.seen["compute"] == pytest.approx((1e13, 1e16))
    assert (model.schedule, model.learning_rate, model.compute_unit) == (RunSchedule(), 1.0, "parameters x examples")
    assert model.compute_factor == pytest.approx(1)
    assert repr(model).startswith("RunModel of 48 runs, N ")


def test_a_model_predicts_what_it_was_fitted_to(runs, model):
    found = predict(model, runs.settings)
    error = np.log(found.loss.values / runs.loss)
    assert np.sqrt((error**2).mean()) < 0.01
    assert ((found.lower <= runs.loss) & (runs.loss <= found.upper)).mean() > 0.85


def test_a_seed_is_reproduced(runs, model):
    again = quietly(runs)
    xr.testing.assert_identical(again.scores, model.scores)
    xr.testing.assert_identical(predict(again, 1e8, 256, 1e5), predict(model, 1e8, 256, 1e5))
    for name, interval in again.intervals.items():
        for one, other in zip(interval.coordinates, model.intervals[name].coordinates, strict=True):
            np.testing.assert_array_equal(one, other)
    other = quietly(runs, seed=1)
    np.testing.assert_allclose(other.scores.forward, model.scores.forward, rtol=1e-3)
    assert not np.array_equal(other.intervals["bootstrap"].coordinates[0], model.intervals["bootstrap"].coordinates[0])


def test_the_order_of_the_runs_does_not_matter(runs, model):
    order = np.random.default_rng(6).permutation(48)
    columns = [getattr(runs, name)[order] for name in ("model_size", "batch_size", "steps", "loss")]
    found = quietly(make_runs(*columns))
    np.testing.assert_allclose(found.scores.score, model.scores.score, rtol=1e-4)
    np.testing.assert_allclose(
        predict(found, 1e8, 256, 1e5, interval="laplace").upper,
        predict(model, 1e8, 256, 1e5, interval="laplace").upper,
        rtol=1e-4,
    )


def test_a_quadratic_law_among_the_candidates(runs):
    found = quietly(runs, {"adam_constant": LAWS["adam_constant"], "a": Chinchilla()})
    assert found.scores.parameters.values.tolist()[:2] == [7, 5]
    assert found.scores.training.sel(law="adam_constant").item() < 0.01
    assert all(isinstance(one.law, QuadraticLaw | Chinchilla) for one in found.laws)
    for interval in found.intervals.values():
        assert interval.inflation >= 1
        assert 0 <= interval.coverage <= 1


def test_folds_learn_nothing_from_what_was_held_back(runs):
    """The forward score is that of fits to the smaller budgets only: of tables that hold nothing else."""
    tests = folds(runs, 5)
    shares, weights = [], []
    for fold in tests:
        if fold.kind == "forward":
            alone = fit_law(runs.where(fold.train, "held back"), Chinchilla(), starts=8, progress=False)
            with_rest = np.log(predict_one(alone, runs) / runs.loss)[~fold.train]
            shares += (with_rest**2).tolist()
            weights.append(len(with_rest))
    found = compare_models(runs, {"a": Chinchilla()}, starts=8, progress=False)
    assert sum(weights) == 36 + 24 + 12
    assert found.forward.sel(law="a").item() == pytest.approx(np.mean(shares), rel=1e-4)


def predict_one(fitted, runs):
    x, scale = np.exp(fitted.coordinates), fitted.scale
    examples = runs.batch_size * runs.steps / scale.batch_size / scale.steps
    return x[0] + x[1] * (runs.model_size / scale.model_size) ** -x[2] + x[3] * examples ** -x[4]


def test_held_back_losses_do_not_change_the_score_of_others(runs):
    """The highest budget's losses doubled: each forward fold's fit stays, as its errors tell."""
    top = runs.budget == runs.budgets[-1]
    changed = dataclasses.replace(runs, loss=np.where(top, 2 * runs.loss, runs.loss))
    fold = Fold("forward", float(runs.budgets[-2]), ~top)
    fits = [
        fit_law(dataclasses.replace(some, weight=fold.train.astype(float)), Chinchilla(), starts=8, progress=False)
        for some in (runs, changed)
    ]
    np.testing.assert_array_equal(fits[0].coordinates, fits[1].coordinates)
    scores = [compare_models(some, {"a": Chinchilla()}, starts=8, progress=False) for some in (runs, changed)]
    error = np.log(predict_one(fits[0], runs) / runs.loss)[top]
    bias = [one.bias.sel(law="a").item() for one in scores]
    assert bias[1] - bias[0] == pytest.approx(-36 / 72 * math.log(2), abs=1e-5)
    assert abs(error.mean()) < 0.02


@pytest.fixture(scope="module")
def with_and_without_zero():
    """Models of runs of which twelve have weight 0, and of the others alone."""
    first = made(budgets=BUDGETS[:3])
    other = made(seed=1, budgets=BUDGETS[3:])
    columns = {
        name: np.concatenate([getattr(first, name), getattr(other, name)])
        for name in ("model_size", "batch_size", "steps", "loss")
    }
    compute = np.repeat([6.0, 60.0], [36, 12]) * columns["model_size"] * columns["batch_size"] * columns["steps"]
    weight, schedules = (
        np.repeat([1.0, 0.0], [36, 12]),
        [RunSchedule("linear")] * 15 + [RunSchedule("wsd")] * 21 + [RunSchedule("linear")] * 12,
    )
    known = {"learning_rate": np.repeat([1e-3, 1.0], [36, 12]), "schedule": schedules}
    whole = make_runs(**columns, **known, compute=compute, weight=weight)
    part = whole.where(weight > 0, "weight 0")
    return tuple(quietly(some, {"a": Chinchilla()}) for some in (whole, part))


def test_runs_of_weight_zero_teach_nothing(with_and_without_zero):
    with_zero, without = with_and_without_zero
    assert (with_zero.seen, with_zero.learning_rate) == (without.seen, without.learning_rate)
    np.testing.assert_allclose(with_zero.laws[0].coordinates, without.laws[0].coordinates, atol=1e-6)
    np.testing.assert_allclose(with_zero.scores.forward, without.scores.forward, rtol=1e-4)


def test_runs_of_weight_zero_are_not_usual(with_and_without_zero):
    """They do not say which schedule and which compute of N B K is usual."""
    with_zero, without = with_and_without_zero
    assert with_zero.schedule == without.schedule == RunSchedule("wsd")
    assert with_zero.compute_factor == pytest.approx(without.compute_factor)


def test_one_budget():
    """Nothing can be held back, so nothing is known of coverage."""
    found = quietly(made(budgets=BUDGETS[:1]))
    assert [fitted.name for fitted in found.laws] == ["a"]
    for interval in found.intervals.values():
        assert interval.inflation == 1
        assert np.isnan([interval.coverage, interval.bare_coverage]).all()
    assert found.best_interval == "laplace"
    assert np.isnan(found.scores.score).all()
    assert np.isfinite(found.scores.training).all()
    assert np.isfinite(predict(found, 1e8, 256, 1e5).upper).all()


def test_laws_that_are_passed_over():
    some = made().where(np.arange(48) % 8 == 0, "thinned")
    found = quietly(some, {"big": QuadraticLaw(), "a": Chinchilla()})
    assert [fitted.name for fitted in found.laws] == ["a"]
    assert any(line.startswith("big not tried") for line in found.summary)
    assert any(line == "42 excluded: thinned" for line in found.summary)
    assert compare_models(some, {"big": QuadraticLaw(), "a": Chinchilla()}, progress=False).law.values.tolist() == [
        "a",
        "ensemble",
    ]


def test_all_rows_are_compared(runs):
    found = compare_models(runs, {"z": Kaplan(), "a": Chinchilla()}, starts=8, progress=False)
    assert found.law.values.tolist() == ["z", "a", "ensemble"]
    assert set(found.data_vars) == {"budget_out", "forward", "bias", "score", "training", "parameters", "members"}
    xr.testing.assert_equal(found.sel(law="a"), quietly(runs).scores.sel(law="a"))


@pytest.mark.parametrize(
    "work", [quietly, lambda *args, **named: compare_models(*args, progress=False, **named)], ids=["fit", "compare"]
)
@pytest.mark.parametrize(
    ("change", "laws", "options", "message"),
    [
        ({}, "secret", {}, "laws is 'secret'"),
        ({}, ["chinchilla", "secret"], {}, "laws is 'secret'"),
        ({}, [], {}, "laws is empty: choose from adam, "),
        ({}, {}, {}, "laws is empty: .*choose from adam, "),
        ({}, CHEAP, {"robust": 0.0}, "robust is 0.0"),
        ({}, CHEAP, {"seed": -1}, "seed is -1"),
        ({}, {"a": "chinchilla"}, {}, "laws"),
    ],
)
def test_bad_arguments(runs, work, change, laws, options, message):
    columns = {name: getattr(runs, name) for name in ("model_size", "batch_size", "steps", "loss")}
    with pytest.raises(ValueError, match=message):
        work(make_runs(**columns | change), laws, **options)


def test_bad_runs_and_starts(runs):
    for work in (fit, compare_models):
        with pytest.raises(ValueError, match=r"runs is None: give what nqmjax\.runs\.read or"):
            work(None, CHEAP)
        with pytest.raises(ValueError, match="starts is 0: give a whole number"):
            work(runs, CHEAP, starts=0, progress=False)
        few = runs.where(np.arange(48) < 5, "few")
        with pytest.raises(ValueError, match="the number of runs is 5: the law a has 5 parameters"):
            work(few, {"a": Chinchilla()}, progress=False)


@pytest.mark.parametrize(
    ("change", "words", "names"),
    [
        ({"batch_size": 64.0}, ["batch size 64"], {"a": ["alpha", "beta"], "b": ["alpha_N", "alpha_S"]}),
        ({"model_size": 1e7}, ["model size 1e7"], {"a": ["beta"], "b": ["alpha_S", "B_crit"]}),
        ({"model_size": 1e7, "batch_size": 64.0}, ["model size 1e7", "batch size 64"], {"a": ["beta"], "b": ["alpha_S"]}),
    ],
)
def test_runs_of_one_size(runs, change, words, names):
    """Laws lose what such runs cannot tell; that is said, and another size is outside."""
    columns = {name: getattr(runs, name) for name in ("model_size", "batch_size", "steps", "loss")}
    found = quietly(make_runs(**columns | change), CHEAP)
    for part in words:
        assert f"All runs have {part}: what another one does they cannot tell" in found.summary
    for one in found.laws:
        assert set(one.law.names) & {"alpha", "beta", "alpha_N", "alpha_S", "B_crit"} == set(names[one.name])
        assert np.isfinite(one.covariance).all()
    asked = {"model_size": 1e7, "batch_size": 64, "steps": 1000}
    marks = {name: f"{name} above" for name in change}
    for name, mark in marks.items():
        assert mark in predict(found, **asked | {name: 2 * change[name]}).outside.item()
        assert name not in predict(found, **asked).outside.item()


def test_laws_that_one_size_makes_equal_are_tried_once():
    laws = {name: LAWS[name] for name in ("adam", "sized", "capacity", "weight_norm")}
    some = _laws(laws, frozenset({"model_size", "batch_size"}))
    assert list(some) == ["adam", "capacity", "weight_norm"]
    assert some["adam"].names == ("irreducible", "initial", "p", "q", "progress", "noise")
    assert some["capacity"].names == ("irreducible", "initial", "p", "q", "progress", "noise", "v")
    assert some["weight_norm"] == LAWS["weight_norm"]
    assert _laws(laws, frozenset()) == laws


def test_runs_of_weight_zero_are_no_second_batch_size(runs):
    weight = np.where(runs.batch_size == 2048, 1.0, 0.0)
    found = quietly(dataclasses.replace(runs, weight=weight), {"a": Chinchilla()})
    assert "All runs have batch size 2048: what another one does they cannot tell" in found.summary
