"""Tables of runs: every column has its meaning and its checks, no run is dropped silently, schedules keep their integral."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from nqmjax import schedules
from nqmjax._tools.datasets import load_dataset, save_dataset
from nqmjax.runs.files import read as read_runs
from nqmjax.runs.files import read_settings
from nqmjax.runs.settings import RunSchedule, RunSettings, run_settings
from nqmjax.runs.table import Excluded
from nqmjax.runs.table import make as make_runs

pytestmark = pytest.mark.filterwarnings("error")

REAL = Path(__file__).parents[3] / "shared" / "data" / "llm_runs_train.csv"

FAMILIES = [
    RunSchedule("constant", 0.0),
    RunSchedule("constant", 0.05),
    RunSchedule("linear", 0.01),
    RunSchedule("linear", 0.2, (("final", 0.1),)),
    RunSchedule("cosine", 0.01),
    RunSchedule("cosine", 0.0, (("final", 0.3),)),
    RunSchedule("exponential", 0.02, (("final", 0.001),)),
    RunSchedule("inverse_sqrt", 0.01),
    RunSchedule("inverse_sqrt", 0.0, (("timescale", 0.003),)),
    RunSchedule("wsd", 0.01, (("cooldown", 0.13),)),
    *(RunSchedule("wsd", 0.01, (("cooldown", 0.4), ("shape", shape))) for shape in ("linear", "cosine", "sqrt", "exponential")),
    RunSchedule("step_decay", 0.01),
    RunSchedule("step_decay", 0.0, (("factor", 3.0), ("drops", 4))),
]


def message(call, *arguments, **options):
    """The text of the `ValueError` that the call must raise."""
    with pytest.raises(ValueError, match=r"\S") as caught:
        call(*arguments, **options)
    return str(caught.value)


def names(text, *parts):
    for part in parts:
        assert str(part) in text, (part, text)


@pytest.fixture
def table(tmp_path):
    """A function that writes a file and gives its path."""

    def write(text):
        path = tmp_path / "runs.csv"
        path.write_text(text)
        return path

    return write


# Schedules


def per_step(schedule, steps):
    """The multiplier of each update of a run of so many, as `nqmjax.schedules` defines it."""
    plan = getattr(schedules, schedule.family)(1.0, steps, 8, warmup=schedule.warmup, pieces=steps, **dict(schedule.options))
    return np.repeat(plan.learning_rate, plan.steps.astype(int))


def test_every_family_is_among_the_schedules():
    assert {schedule.family for schedule in FAMILIES} == set(schedules.FAMILIES)


@pytest.mark.parametrize("count", [1, 7, 24])
@pytest.mark.parametrize("schedule", FAMILIES, ids=str)
def test_pieces_have_the_mean_of_the_multipliers_of_each_update(schedule, count):
    exact = per_step(schedule, 20_000)
    shares, multipliers = schedule.pieces(count)
    assert shares.shape == multipliers.shape
    assert shares.dtype == multipliers.dtype == np.float64
    assert (shares > 0).all()
    assert shares.sum() == pytest.approx(1, abs=1e-12)
    assert shares @ multipliers == pytest.approx(exact.mean(), abs=1e-3)


@pytest.mark.parametrize("schedule", FAMILIES, ids=str)
def test_pieces_converge_to_the_multipliers(schedule):
    exact = per_step(schedule, 20_000)
    errors = []
    for count in (25, 100):
        shares, multipliers = schedule.pieces(count)
        ends = np.cumsum(shares)[:-1]
        found = multipliers[np.searchsorted(ends, (np.arange(20_000) + 0.5) / 20_000)]
        errors.append(abs(found - exact).mean())
    assert errors[1] < 0.012
    assert errors[1] <= max(0.6 * errors[0], 0.012 * (schedule.warmup > 0), 1e-12)


def test_pieces_of_one_multiplier_are_one():
    for schedule, expected in {
        RunSchedule("constant", 0.0): ([1.0], [1.0]),
        RunSchedule("constant", 0.02): ([0.02, 0.98], [0.5, 1.0]),
        RunSchedule("step_decay", 0.0, (("drops", 2),)): ([0.5, 0.25, 0.25], [1.0, 0.5, 0.25]),
        RunSchedule("wsd", 0.0, (("cooldown", 0.25), ("final", 0.0))): ([0.75, 0.25], [1.0, 0.5]),
    }.items():
        for found, values in zip(schedule.pieces(4), expected, strict=True):
            np.testing.assert_allclose(found, values, atol=5e-4)


def test_a_short_warm_up_is_there_however_few_the_pieces():
    shares, multipliers = RunSchedule("cosine", 1e-6).pieces()
    assert shares[0] == pytest.approx(1 / 24_000)
    assert multipliers[0] == 0.5
    shares, multipliers = RunSchedule("cosine", 0.9999999).pieces(2)
    np.testing.assert_allclose(shares @ multipliers, 0.5, atol=1e-3)


def test_defaults_of_schedules():
    assert RunSchedule() == ("cosine", 0.01, ())
    assert str(RunSchedule()) == "cosine, warmup 0.01"
    assert len(RunSchedule().pieces()[0]) == 25


BAD_SCHEDULES = [
    (RunSchedule("cosin"), ["'cosin'", "did you mean 'cosine'?"]),
    (RunSchedule(warmup=1.0), ["schedule.warmup is 1.0", "below 1"]),
    (RunSchedule(warmup=500), ["schedule.warmup is 500", "share of the run", "divide it by those of the run"]),
    (RunSchedule(warmup=math.nan), ["schedule.warmup is nan"]),
    (RunSchedule(warmup="1%"), ["schedule.warmup is '1%'", "number"]),
    (RunSchedule("cosine", options=(("cooldown", 0.2),)), ["'cooldown'", "the options of cosine are: final"]),
    (RunSchedule("cosine", options=(("warmup", 0.2),)), ["'warmup'", "the options of cosine are: final"]),
    (RunSchedule("constant", options=(("momentum", 0.2),)), ["'momentum'", "the options of constant are: none"]),
    (RunSchedule("cosine", options=("final", 0.2)), ["schedule.options", "pairs"]),
    (RunSchedule("cosine", options={"final": 0.2}), ["schedule.options", "{'final': 0.2}", "pairs"]),
    (RunSchedule("cosine", options=(("final", 2.0),)), ["final is 2.0", "0 to 1"]),
    (RunSchedule("inverse_sqrt", 0.0), ["schedule.warmup is 0.0", "timescale"]),
]


@pytest.mark.parametrize(("schedule", "parts"), BAD_SCHEDULES)
def test_faults_of_schedules(table, schedule, parts):
    names(message(schedule.pieces), *parts)
    names(message(run_settings, 1e6, 64, 100, schedule=schedule), *parts)
    path = table("N,B,K,loss\n1e6,64,100,3\n")
    names(message(read_runs, path, schedule), *parts)
    names(message(read_settings, path, schedule), *parts)


def test_faults_of_counts():
    names(message(RunSchedule().pieces, 0), "count is 0", "at least 1")
    names(message(RunSchedule().pieces, 2.5), "count is 2.5", "whole")


# Settings


def test_settings_are_broadcast_and_flattened():
    settings = run_settings([[1e6], [1e7]], [32, 64, 128], steps=500, learning_rate=0.1)
    np.testing.assert_array_equal(settings.model_size, [1e6] * 3 + [1e7] * 3)
    np.testing.assert_array_equal(settings.batch_size, [32, 64, 128] * 2)
    np.testing.assert_array_equal(settings.steps, [500] * 6)
    np.testing.assert_array_equal(settings.learning_rate, [0.1] * 6)
    assert settings.schedule == (RunSchedule(),) * 6
    assert all(getattr(settings, name).dtype == np.float64 for name in ("model_size", "batch_size", "steps", "learning_rate"))
    assert len(settings) == 6
    assert len(run_settings(1000, 1, 1)) == 1


def test_settings_are_copies():
    sizes = np.array([1e6, 1e7])
    settings = run_settings(sizes, 64, 100)
    sizes[0] = 1
    assert settings.model_size[0] == 1e6
    settings.batch_size[0] = 32
    np.testing.assert_array_equal(settings.batch_size, [32, 64])


def test_a_schedule_for_each_run():
    several = [RunSchedule("linear"), RunSchedule("wsd")]
    settings = run_settings([1e6, 1e7], 64, 100, schedule=several)
    assert settings.schedule == tuple(several)
    assert settings.select([False, True]).schedule == (several[1],)
    assert run_settings(1e6, 64, 100, schedule=several).schedule == tuple(several)


def test_selected_settings():
    settings = run_settings([1e6, 2e6, 3e6], [1, 2, 3], [10, 20, 30], [0.1, 0.2, 0.3])
    chosen = settings.select(settings.batch_size != 2)
    assert isinstance(chosen, RunSettings)
    np.testing.assert_array_equal(chosen.model_size, [1e6, 3e6])
    np.testing.assert_array_equal(chosen.steps, [10, 30])
    np.testing.assert_array_equal(chosen.learning_rate, [0.1, 0.3])
    assert repr(chosen) == "2 runs, N 1e6 to 3e6, B 1 to 3, K 10 to 30"
    assert repr(settings.select([False, True, False])) == "1 run, N 2e6, B 2, K 20"
    assert repr(settings.select(np.zeros(3, bool))) == "0 runs"
    for mask in ([0, 2], [True], np.ones((3, 1), bool), True):
        names(message(settings.select, mask), "mask", "bool", "(3,)")


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"model_size": [1e6, 99]}, ["model_size[1] is 99.0", "at least 100"]),
        ({"model_size": "large"}, ["model_size is 'large'", "number"]),
        ({"batch_size": 0}, ["batch_size is 0.0", "above 0"]),
        ({"batch_size": [64, math.nan]}, ["batch_size[1] is nan"]),
        ({"steps": [-5.0, 10]}, ["steps[0] is -5.0", "at least 1"]),
        ({"steps": 0.5}, ["steps is 0.5", "at least 1"]),
        ({"steps": math.inf}, ["steps is inf"]),
        ({"learning_rate": 0.0}, ["learning_rate is 0.0", "above 0"]),
        ({"model_size": [1e6, 1e7], "steps": [1, 2, 3]}, ["model_size (2,)", "steps (3,)", "one for each run"]),
        ({"batch_size": []}, ["the number of runs is 0"]),
        ({"schedule": "cosine"}, ["schedule is 'cosine'", "give a Schedule"]),
        ({"schedule": [RunSchedule(), None]}, ["schedule is None", "give a Schedule"]),
        ({"schedule": [RunSchedule()] * 2, "steps": [1, 2, 3]}, ["schedule (2,)", "steps (3,)"]),
    ],
)
def test_faults_of_settings(change, parts):
    arguments = {"model_size": 1e6, "batch_size": 64, "steps": 100} | change
    names(message(run_settings, **arguments), *parts)
    names(message(make_runs, loss=3.0, **arguments), *parts)


# Runs


def some_runs(**change):
    arguments = {"model_size": [1e6, 2e6, 4e6], "batch_size": 64, "steps": [1000, 2000, 4000], "loss": [3.3, 3.2, 3.1]}
    return make_runs(**arguments | change)


def test_runs_made_in_python():
    runs = some_runs(group=["a", "b", "b"], weight=[1, 0, 2])
    assert len(runs) == 3
    np.testing.assert_array_equal(runs.model_size, runs.settings.model_size)
    np.testing.assert_array_equal(runs.batch_size, [64] * 3)
    np.testing.assert_array_equal(runs.steps, [1000, 2000, 4000])
    np.testing.assert_array_equal(runs.loss, [3.3, 3.2, 3.1])
    np.testing.assert_array_equal(runs.weight, [1, 0, 2])
    np.testing.assert_array_equal(runs.group, ["a", "b", "b"])
    np.testing.assert_array_equal(runs.row, [0, 1, 2])
    np.testing.assert_array_equal(runs.compute, runs.model_size * 64 * runs.steps)
    assert runs.compute_unit == "parameters x examples"
    assert (runs.excluded, runs.source) == ((), "")
    np.testing.assert_array_equal(some_runs().weight, [1, 1, 1])
    np.testing.assert_array_equal(some_runs().group, ["", "", ""])


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"loss": [3.0, 0.0, 3.0]}, ["loss[1] is 0.0", "above 0"]),
        ({"loss": [3.0, 3.0, math.nan]}, ["loss[2] is nan", "exclude"]),
        ({"loss": math.inf}, ["loss is inf"]),
        ({"weight": -1}, ["weight is -1.0"]),
        ({"weight": 0}, ["the weight of every run", "above 0"]),
        ({"compute": [1, 0, 1]}, ["compute[1] is 0.0"]),
        ({"loss": [3.0, 2.0]}, ["loss (2,)", "one for each run"]),
        ({"group": ["a", "b"]}, ["group (2,)"]),
        ({"model_size": 1e6, "steps": [10, 20, 10], "loss": 3.0}, ["run 2 is a copy of run 0", "leave one out"]),
    ],
)
def test_faults_of_runs(change, parts):
    names(message(some_runs, **change), *parts)


@pytest.mark.parametrize(
    "change",
    [
        {"loss": [3.0, 3.1, 3.2]},
        {"learning_rate": [0.1, 0.2, 0.3]},
        {"schedule": [RunSchedule("linear"), RunSchedule("cosine"), RunSchedule("linear", 0.0)]},
        {"batch_size": [1, 2, 3]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_runs_that_differ_in_anything_are_no_copies(change):
    same = {"model_size": [1e6] * 3, "batch_size": 4, "steps": 100, "loss": 3.0}
    names(message(make_runs, **same), "run 1 is a copy of run 0")
    assert len(make_runs(**same | change)) == 3


def test_budgets_without_computes_are_cut_at_gaps_of_a_quarter():
    computes = 1e6 * np.array([1.0, 1.2, 1.44, 1.9, 2.0, 10.0])
    order = [3, 0, 5, 1, 4, 2]
    runs = make_runs(1e6, 1, computes[order] / 1e6, np.arange(1, 7))
    middle = 1e6 * np.array([1.2, 1.2, 1.2, math.sqrt(3.8), math.sqrt(3.8), 10.0])
    np.testing.assert_allclose(runs.budget, 1e6 * middle[order] / 1e6)
    np.testing.assert_allclose(runs.budgets, [1.2e6, 1e6 * math.sqrt(3.8), 1e7])


def test_budgets_of_computes_that_are_given():
    runs = make_runs(1e6, [1, 2, 3, 4, 5], 100, 3.0, compute=[59e6, 59e6, 50e6, 52e6, 54.7e6])
    assert runs.compute_unit == "as given"
    np.testing.assert_allclose(runs.budget, [59e6, 59e6, math.sqrt(50 * 52) * 1e6, math.sqrt(50 * 52) * 1e6, 54.7e6])
    assert runs.budget[0] == 59e6  # equal computes come back to the last bit


def test_dense_tables_are_cut_into_budgets_of_bounded_width():
    """Computes that no gap divides: at most a factor of two in each budget, and about as many runs."""
    rng = np.random.default_rng(0)
    for count, span in ((200, 700.0), (50, 3.0), (30, 1.9)):
        computes = np.exp(rng.uniform(0, math.log(span), count)) * 1e12
        runs = make_runs(1e6, 64, computes / 64e6, 3.0)
        for budget in runs.budgets:
            inside = runs.compute[runs.budget == budget]
            assert inside.max() <= 2.0000001 * inside.min(), f"seed 0, {count} runs"
            assert budget == pytest.approx(np.exp(np.log(inside).mean()))
        order = np.argsort(runs.compute)
        assert (np.diff(runs.budget[order]) >= 0).all()
        assert len(runs.budgets) == math.ceil(math.log2(span))


def test_where_records_what_it_leaves_out():
    runs = some_runs(group=["a", "b", "c"], compute=[1, 1.01, 5])
    kept = runs.where(runs.steps < 3000, "held back").where([False, True], "too early")
    np.testing.assert_array_equal(kept.loss, [3.2])
    np.testing.assert_array_equal(kept.row, [1])
    np.testing.assert_array_equal(kept.group, ["b"])
    np.testing.assert_array_equal(kept.steps, [2000])
    np.testing.assert_array_equal(kept.budget, runs.budget[[1]])
    assert kept.compute_unit == runs.compute_unit
    assert kept.excluded == (Excluded(2, "held back"), Excluded(0, "too early"))
    assert len(runs) == 3
    assert runs.excluded == ()


def test_faults_of_where():
    runs = some_runs()
    names(message(runs.where, [True, False], "no"), "mask", "(2,)", "(3,)")
    names(message(runs.where, [1, 0, 1], "no"), "mask", "int64", "bool")
    names(message(runs.where, [True] * 3, ""), "reason is ''")
    names(message(runs.where, [False] * 3, "diverged"), "(diverged) is 0", "at least one")


def test_runs_print_as_one_line():
    assert repr(some_runs()) == "3 runs, N 1e6 to 4e6, B 64, K 1e3 to 4e3, 3 compute budgets"
    one = some_runs().where([False, False, True], "small")
    assert repr(one) == "1 run, N 4e6, B 64, K 4e3, 1 compute budget; 2 excluded"


def test_runs_as_a_dataset(tmp_path):
    runs = some_runs(compute=[1, 2, 3], schedule=RunSchedule("wsd", options=(("final", 0.1),)), group=["a", "", "b"])
    runs = runs.where([True, False, True], "diverged")
    save_dataset(runs.to_dataset(), tmp_path / "runs.nc")
    table = load_dataset(tmp_path / "runs.nc")
    assert table.sizes == {"run": 2}
    for name in ("model_size", "batch_size", "steps", "loss", "weight", "compute", "budget", "row", "group"):
        np.testing.assert_array_equal(table[name].values, getattr(runs, name))
        assert table[name].dims == ("run",)
    np.testing.assert_array_equal(table.learning_rate, [1, 1])
    units = {"model_size": "parameters", "batch_size": "examples", "steps": "updates", "loss": "nats", "budget": "as given"}
    assert {name: table[name].units for name in units} == units
    assert table.schedule.values.tolist() == ["wsd, warmup 0.01, final 0.1"] * 2
    assert table.source == ""
    assert "row 1: diverged" in table.excluded


# Files


def test_all_columns_come_back(table):
    rows = "1e6,64,1000,3.25,0.001,big,2,5e9\n\n2000000,32,500,3.5,0.002,,0.5,6e9\n"
    path = table(f"# ours\nN,B,K,loss,learning_rate,group,weight,C\n{rows}")
    runs = read_runs(str(path))
    np.testing.assert_array_equal(runs.model_size, [1e6, 2e6])
    np.testing.assert_array_equal(runs.batch_size, [64, 32])
    np.testing.assert_array_equal(runs.steps, [1000, 500])
    np.testing.assert_array_equal(runs.loss, [3.25, 3.5])
    np.testing.assert_array_equal(runs.settings.learning_rate, [0.001, 0.002])
    np.testing.assert_array_equal(runs.group, ["big", ""])
    np.testing.assert_array_equal(runs.weight, [2, 0.5])
    np.testing.assert_array_equal(runs.compute, [5e9, 6e9])
    np.testing.assert_array_equal(runs.row, [3, 5])
    assert runs.compute_unit == "as in column C"
    assert runs.source == str(path)
    assert runs.to_dataset().row.long_name == "line in the file"


def test_absent_columns_take_their_defaults(table):
    runs = read_runs(table("K,loss,B,N\n1000,3.25,64,1e6\n"), RunSchedule("linear"))
    np.testing.assert_array_equal(runs.settings.learning_rate, [1])
    np.testing.assert_array_equal(runs.weight, [1])
    np.testing.assert_array_equal(runs.group, [""])
    np.testing.assert_array_equal(runs.compute, [64e9])
    assert runs.settings.schedule == (RunSchedule("linear"),)
    assert runs.compute_unit == "parameters x examples"
    assert runs.excluded == ()


def test_schedules_of_files(table):
    path = table(
        "N,B,K,schedule,warmup,final,cooldown\n1e6,1,1,,,,\n1e6,1,1,cosine,0,0,\n1e6,1,1,wsd,,,0.5\n1e6,1,1,wsd,0.1,,\n"
    )
    default = RunSchedule("wsd", 0.02, (("cooldown", 0.3), ("shape", "sqrt"), ("final", 0.2)))
    own, cosine, longer, warm = read_settings(path, default).schedule
    assert own == default
    assert cosine == RunSchedule("cosine", 0.0, (("final", 0.0),))
    assert longer == RunSchedule("wsd", 0.02, (("cooldown", 0.5), ("shape", "sqrt"), ("final", 0.2)))
    assert warm == default._replace(warmup=0.1)


def test_options_of_the_default_hold_for_the_families_that_have_them(table):
    path = table("N,B,K,schedule\n1e6,1,1,linear\n1e6,1,1,constant\n")
    linear, constant = read_settings(path, RunSchedule("wsd", 0.0, (("cooldown", 0.3), ("final", 0.2)))).schedule
    assert linear == RunSchedule("linear", 0.0, (("final", 0.2),))
    assert constant == RunSchedule("constant", 0.0)


@pytest.mark.parametrize("column", ["exclude", "filtered"])
def test_excluded_runs_may_hold_anything(table, column):
    flags = ["True", "yes", "1", "FALSE", "no", "0", ""]
    rows = "".join(f"1e6,64,1000,{'nan' if i < 2 else 'diverged' if i < 3 else i},{flag}\n" for i, flag in enumerate(flags))
    runs = read_runs(table(f"N,B,K,loss,{column}\n{rows}"))
    np.testing.assert_array_equal(runs.loss, [3, 4, 5, 6])
    np.testing.assert_array_equal(runs.row, [5, 6, 7, 8])
    assert runs.excluded == tuple(Excluded(row, f"marked in column {column!r}") for row in (2, 3, 4))


def test_either_flag_excludes(table):
    runs = read_runs(table("N,B,K,loss,exclude,filtered\n1e6,1,1,3,no,yes\n1e6,1,1,3,yes,yes\n1e6,1,1,3,,\n"))
    assert len(runs) == 1
    assert [run.reason for run in runs.excluded] == ["marked in column 'filtered'", "marked in column 'exclude'"]


def test_a_copy_that_is_excluded_and_another_seed_are_fine(table):
    assert len(read_runs(table("N,B,K,loss,exclude\n1e6,1,1,3,\n1e6,1,1,3,yes\n1e6,1,1,3.1,\n"))) == 2


def test_other_names_and_spellings_of_numbers(table):
    runs = read_runs(table("Params;Batch size;Iterations;val_loss;lr;Series\n1M;2^6;4k;3,5;0,1;a\n2e6;128;1_000;3,25;0,2;b\n"))
    expected = make_runs([1e6, 2e6], [64, 128], [4000, 1000], [3.5, 3.25], [0.1, 0.2], group=["a", "b"])
    for name in ("model_size", "batch_size", "steps", "loss", "group"):
        np.testing.assert_array_equal(getattr(runs, name), getattr(expected, name))
    np.testing.assert_array_equal(runs.settings.learning_rate, expected.settings.learning_rate)


@pytest.mark.parametrize("label", ["group", "type"])
def test_labels(table, label):
    np.testing.assert_array_equal(read_runs(table(f"N,B,K,loss,{label}\n1e6,1,1,3,iso flop\n")).group, ["iso flop"])


def test_unknown_columns_are_ignored_with_a_warning(table):
    path = table("N,B,K,loss,seed,learning_rats,group,type\n1e6,1,1,3,7,x,a,b\n")
    with pytest.warns(UserWarning, match=r"'seed', 'learning_rats' \(did you mean 'learning_rate'\?\), 'type'$") as caught:
        np.testing.assert_array_equal(read_runs(path).group, ["a"])
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match=r"'seed', 'learning_rats' \(did you mean 'learning_rate'\?\)$") as caught:
        read_settings(path)
    assert caught[0].filename == __file__


def test_settings_from_a_table_of_runs(table):
    text = (
        "N,B,K,loss,C,group,type,exclude,filtered,weight,learning_rate\n1e6,8,9,?,,a,b,maybe,,-1,0.1\n1e7,8,9,,,,,yes,,,0.2\n"
    )
    settings = read_settings(table(text))
    assert isinstance(settings, RunSettings)
    np.testing.assert_array_equal(settings.model_size, [1e6, 1e7])
    np.testing.assert_array_equal(settings.learning_rate, [0.1, 0.2])
    assert len(read_settings(table("N,B,K\n1e6,8,9\n"))) == 1


OF_SHAPE = [
    ("N,B\n1e6,64\n", ["'N', 'B'", "'K' is missing"]),
    ("parameter,B,K\n1e6,64,9\n", ["'N' is missing"]),
    ("N,batch,bs,K\n1e6,64,64,9\n", ["'batch' and 'bs' may both mean 'B'"]),
    ("N,B,K,warmup_steps\n1e6,64,9,1\n", ["'warmup_steps'", "shares of the run", "by K"]),
    ("N,B,K\n", ["rows", "is 0"]),
    ("N,B,K\n1e6,64\n", ["row 2", "is 2", "names, 3"]),
]
OF_SETTINGS = [
    ("N,B,K\n1e6,64,9\n2.5,64,9\n", ["row 3, column 'N' is 2.5", "at least 100"]),
    ("N,B,K\nnan,64,9\n", ["row 2, column 'N' is nan"]),
    ("N,B,K\n1e6,0,9\n", ["row 2, column 'B' is 0.0", "above 0"]),
    ("N,B,K\n1e6,nan,9\n", ["row 2, column 'B' is nan"]),
    ("N,B,K\n1e6,,9\n", ["row 2, column 'B' is ''", "give a number"]),
    ("N,B,K\n#\n1e6,64,-9\n", ["row 3, column 'K' is -9.0", "at least 1"]),
    ("N,B,K,learning_rate\n1e6,64,9,0\n", ["row 2, column 'learning_rate' is 0.0"]),
    ("N,B,K,learning_rate\n1e6,64,9,\n", ["row 2, column 'learning_rate' is ''"]),
    ("N,B,K,schedule\n1e6,64,9,cosin\n", ["row 2, column 'schedule' is 'cosin'", "did you mean 'cosine'?"]),
    ("N,B,K,warmup\n1e6,64,9,100\n", ["row 2, column 'warmup' is 100.0", "share from 0 to 1"]),
    ("N,B,K,warmup\n1e6,64,9,1\n", ["row 2", "warmup is 1.0", "below 1"]),
    ("N,B,K,final\n1e6,64,9,-0.1\n", ["row 2, column 'final' is -0.1", "share from 0 to 1"]),
    ("N,B,K,final\n1e6,64,9,10%\n", ["row 2, column 'final' is '10%'", "give a number"]),
    ("N,B,K,cooldown\n1e6,64,9,0.2\n", ["row 2, column 'cooldown' is 0.2", "cosine has no option 'cooldown'", "empty"]),
    ("N,B,K,schedule,final\n1e6,64,9,constant,0\n", ["row 2, column 'final' is 0.0", "constant has no option 'final'"]),
    ("N,B,K,schedule,final\n1e6,64,9,exponential,0\n", ["row 2", "final is 0.0", "above 0"]),
    ("N,B,K,schedule,warmup\n1e6,64,9,inverse_sqrt,0\n", ["row 2", "warmup is 0.0", "timescale"]),
]


@pytest.mark.parametrize(("text", "parts"), OF_SHAPE + OF_SETTINGS)
def test_faults_of_files_of_settings(table, text, parts):
    path = table(text)
    names(message(read_settings, path), path, *parts)


@pytest.mark.parametrize(("text", "parts"), OF_SETTINGS)
def test_faults_of_settings_in_files_of_runs(table, text, parts):
    header, *rows = text.splitlines()
    path = table("\n".join([f"loss,{header}", *(row if row == "#" else f"3,{row}" for row in rows)]))
    names(message(read_runs, path), path, *parts)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("N,B,K\n1e6,64,9\n", ["'N', 'B', 'K'", "'loss' is missing"]),
        ("N,B,K,loss\n1e6,64,9,0\n", ["row 2, column 'loss' is 0.0", "above 0"]),
        ("N,B,K,loss\n1e6,64,9,nan\n", ["row 2, column 'loss' is nan", "diverged"]),
        ("N,B,K,loss,exclude\n1e6,64,9,inf,no\n", ["row 2, column 'loss' is inf"]),
        ("N,B,K,loss\n1e6,64,9,high\n", ["row 2, column 'loss' is 'high'", "give a number"]),
        (
            "N,B,K,loss\n1e6,64,9,3\n1e6,64,9,25.3\n",
            [
                "row 3, column 'loss' is 25.3: above 13.8, what guessing among a million tokens costs; ",
                "give nats per token, or raise max_loss",
            ],
        ),
        ("N,B,K,loss\n1e6,64,9,3\n\n1e6,64,9,3\n", ["row 4 is a copy of row 2", "leave one out"]),
        ("N,B,K,loss,exclude\n1e6,64,9,3,maybe\n", ["row 2, column 'exclude' is 'maybe'", "true or false"]),
        ("N,B,K,loss,filtered\n1e6,64,9,3,2\n", ["row 2, column 'filtered' is '2'"]),
        ("N,B,K,loss,filtered\n1e6,64,9,3,1\n1e6,64,9,3,yes\n", ["not excluded is 0", "at least one"]),
        ("N,B,K,loss,weight\n1e6,64,9,3,-1\n", ["row 2, column 'weight' is -1.0"]),
        ("N,B,K,loss,weight\n1e6,64,9,3,0\n", ["the weight of every run", "is 0"]),
        ("N,B,K,loss,C\n1e6,64,9,3,0\n", ["row 2, column 'C' is 0.0", "above 0"]),
        ("N,B,K,loss,loss\n1e6,64,9,3,3\n", ["'loss' is there more than once"]),
    ],
)
def test_faults_of_files_of_runs(table, text, parts):
    path = table(text)
    names(message(read_runs, path), path, *parts)


def test_the_largest_loss_may_be_raised(table):
    path = table("N,B,K,loss\n1e6,64,9,25.3\n")
    assert read_runs(path, max_loss=30).loss == 25.3
    assert read_runs(path, max_loss=math.inf).loss == 25.3
    names(message(read_runs, path, max_loss=11), "is 25.3: above 11; give nats per token, or raise max_loss")
    for most in (0, -1, math.nan):
        names(message(read_runs, path, max_loss=most), f"max_loss is {most}")


@pytest.mark.parametrize("read", [read_runs, read_settings])
def test_what_is_no_file(tmp_path, read):
    names(message(read, tmp_path / "missing.csv"), "missing.csv", "no such file")
    (tmp_path / "runs.xlsx").write_text("x")
    names(message(read, tmp_path / "runs.xlsx"), ".csv")
    (tmp_path / "runs.csv").write_text("N,B,K,loss\n1e6,1,1,3\n")
    names(message(read, tmp_path / "runs.csv", "cosine"), "schedule is 'cosine'", "give a Schedule")


@pytest.mark.skipif(not REAL.exists(), reason="the table of real runs is not here")
def test_the_real_table():
    runs = read_runs(REAL)
    assert repr(runs) == "64 runs, N 2.5e5 to 2.56e8, B 48 to 2.46e4, K 39 to 1.81e4, 6 compute budgets; 9 excluded"
    np.testing.assert_array_equal(runs.budgets, [920000, 3680000, 9200000, 14700000, 36800000, 59000000])
    assert {run.reason for run in runs.excluded} == {"marked in column 'filtered'"}
    assert set(runs.group) == {"isoflop", "isotoken"}
    lines = REAL.read_text().splitlines()
    assert all(lines[row - 1].split(",")[4] == str(loss) for row, loss in zip(runs.row, runs.loss, strict=True))
    assert all(lines[run.row - 1].endswith("True") for run in runs.excluded)
    assert len(read_settings(REAL)) == 73


def test_tables_cannot_be_changed_by_name():
    with pytest.raises(dataclasses.FrozenInstanceError):
        some_runs().loss = np.zeros(3)  # pyright: ignore
