"""The commands about plans: what they print and write, and what they say to bad input."""

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

import nqmjax as nq
from nqmjax._tools.datasets import load_dataset
from nqmjax.cli.commands.budget import default_batch_sizes

SMALL = ["--dim", "30"]
COMPARE = [
    "schedule",
    "compare",
    "--batch-size",
    "2^4",
    "--steps",
    "200",
    "--families",
    "constant,linear",
    "--no-tune-warmup",
    *SMALL,
]
OPTIMIZE = ["schedule", "optimize", "--pieces", "3", *SMALL]
RUN = ["--steps", "200", "--batch-size", "8", *SMALL]
"""Runs of 200 updates in three pieces or one throughout: what evaluates them is compiled once."""
FAMILY = ["--schedule", "cosine", "--learning-rate", "0.3", *RUN]
CONSTANT = ["--learning-rate", "0.3", *RUN]
BUDGET = ["budget", "--schedule", "constant", "--epochs", "2", "--dataset-size", "200", "--batch-sizes", "1,2^3", *SMALL]
PROBLEM = nq.power_law(30).quantize(100)


def assert_picture(path):
    pixels = matplotlib.image.imread(path)
    assert min(pixels.shape[:2]) > 300
    assert pixels[..., :3].std() > 0.05


def test_compare(run):
    code, out, err = run(*COMPARE)
    assert (code, err) == (0, "")
    table = load_dataset("nqmjax-schedules.nc")
    assert set(table.schedule.values) == {"optimal", "constant", "linear"}
    for risk in table.risk.values:
        assert f"{risk:.5g}" in out
    assert_picture("nqmjax-schedules.png")
    code, out, err = run(*COMPARE, "-o", "nqmjax-schedules.svg")
    assert (code, out) == (2, "")
    assert err == "nqmjax: --output is nqmjax-schedules.nc: the file exists; pass --force or choose another name\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--batch-size", "16", "--steps", "200"],
        ["--batch-size", "16", "--steps", "200", "--ramp"],
        ["--batch-size", "16", "--target", "0.1"],
        ["--batch-size", "16", "--steps", "200", "--optimizer", "heavy-ball", "--over", "learning_rate,momentum"],
        ["--seconds", "2", "--step-seconds", "0.02", "--example-seconds", "0.001"],
    ],
)
def test_optimize_writes_the_plan_that_it_prints(run, arguments):
    code, out, err = run(*OPTIMIZE, *arguments, "-o", "plan.json")
    assert (code, err) == (0, "")
    plan = nq.schedules.read_plan("plan.json")
    optimizer = nq.HeavyBall(0.1, 0.9) if "heavy-ball" in arguments else nq.SGD(0.1)
    assert f"Final loss {nq.run(PROBLEM, optimizer, plan)[-1]:.6g} after {plan.total_steps:,.0f} updates" in out
    assert f"Batch ramp, update:batch size: {plan.batch_ramp().replace(',', ', ')}" in " ".join(out.split())
    assert_picture("plan.png")


def test_batch_schedule_and_transfer_take_the_plan_from_a_file(run):
    assert run("batch-schedule", *FAMILY, "--pieces", "3")[0] == 0
    plan = nq.schedules.read_plan("nqmjax-batch-schedule.csv")
    assert 1600 - 67 < plan.total_examples <= 1600
    code, out, _ = run("batch-schedule", "--plan", "nqmjax-batch-schedule.csv", "--examples", "3200", "-o", "b.csv", *SMALL)
    assert code == 0
    assert 3200 - 67 < nq.schedules.read_plan("b.csv").total_examples <= 3200
    assert (nq.schedules.read_plan("b.csv").batch_size % 1 == 0).all()
    assert f"{nq.run(PROBLEM, nq.SGD(0.1), nq.schedules.read_plan('b.csv'))[-1]:.6g}" in out
    code, out, _ = run("transfer", "--plan", "b.csv", "--to", "2^10", *SMALL)
    assert code == 0
    assert "linear" in out
    code, out, _ = run("transfer", *CONSTANT, "--to", "16", "-o", "t.nc")
    assert code == 0
    assert load_dataset("t.nc").attrs["steps"] == 200


def test_an_input_is_never_overwritten(run):
    nq.Plan([0.1, 0.05], steps=10, batch_size=8).write("plan.csv")
    before = Path("plan.csv").read_bytes()
    code, _, err = run("batch-schedule", "--plan", "plan.csv", "-o", "plan.csv", "--force", *SMALL)
    assert code == 2
    assert "this file is an input" in err
    assert Path("plan.csv").read_bytes() == before


def test_budget(run):
    code, out, err = run(*BUDGET)
    assert (code, err) == (0, "")
    table = load_dataset("nqmjax-budget.nc")
    np.testing.assert_array_equal(table.optimizer, ["sgd", "heavy_ball"])
    assert f"{float(table.risk[0, 0]):.4g}" in out
    assert "sgd: rate ~ B^" in out
    assert_picture("nqmjax-budget.png")
    capped = run(
        "budget", "--steps", "50", *BUDGET[1:3], "--batch-sizes", "1,8", "-o", "steps", "--max-learning-rate", "0.01", *SMALL
    )
    assert capped[0] == 0
    assert "sgd: from batch size 1 on best rates lie at the cap" in capped[1]


def test_the_default_batch_sizes_of_a_budget_fit_it():
    assert default_batch_sizes(None)[-1] == default_batch_sizes(1e9)[-1] == 2**16
    assert default_batch_sizes(20_000)[-1] == 1024
    for examples in (1, 3, 10, 25):
        assert default_batch_sizes(examples)[-1] <= examples


def test_a_target_that_needs_no_plan_is_said_and_nothing_is_written(run):
    for target, words in (("99", "met before the first update"), ("0", "no plan reaches it")):
        code, out, _ = run(*OPTIMIZE, "--batch-size", "16", "--target", target)
        assert code == 0
        assert words in out
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ([*COMPARE, "--families", "cosin"], "did you mean 'cosine'"),
        (["schedule", "compare", "--batch-size", "4", "--steps", "1.5"], "--steps is '1.5'"),
        ([*COMPARE, "--max-learning-rate", "0"], "--max-learning-rate is 0.0"),
        ([*COMPARE, "--optimizer", "adm"], "did you mean 'adam'"),
        ([*OPTIMIZE, "--steps", "10", "--batch-size", "4", "--optimizer", "adam"], "--optimizer is 'adam': it is not linear"),
        ([*COMPARE, "--fixed", "momentum=0.9"], "--fixed is 'momentum'"),
        ([*COMPARE, "-o", "nowhere/x"], "nowhere"),
        ([*OPTIMIZE, "--batch-size", "16"], "give one of --steps, --target and --seconds"),
        ([*OPTIMIZE, "--steps", "10"], "give --batch-size"),
        ([*OPTIMIZE, "--seconds", "10"], "--step-seconds is missing|give --batch-size"),
        ([*OPTIMIZE, "--batch-size", "4", "--steps", "10", "-o", "plan.txt"], "the suffix of --output is '.txt'"),
        ([*OPTIMIZE, "--batch-size", "4", "--steps", "0"], "--steps is 0|--pieces is"),
        ([*OPTIMIZE, "--batch-size", "4", "--steps", "2"], "--pieces is 3: give from 1 to 2"),
        (["schedule", "optimize", "--batch-size", "4", "--steps", "2", "--pieces", "0"], "--pieces is 0"),
        (["batch-schedule", *FAMILY, "--pieces", "201"], "--pieces is 201: give from 1 to 200"),
        (["batch-schedule", *RUN, "--pieces", "3", "--learning-rate", "5"], "it diverges: keep rates below"),
        (["transfer", *RUN, "--learning-rate", "1e-5", "--to", "16"], "multiply your network's rate by its largest"),
        (["batch-schedule", *FAMILY, "--examples", "5"], "--examples is 5.0: give at least 200|--examples is 5: give"),
        (["batch-schedule", "--steps", "5"], "--learning-rate is missing"),
        (["transfer", *FAMILY, "--to", "0.5"], "--batch-size is 0.5|--to is 0.5"),
        (["transfer", "--plan", "none.csv", "--to", "4"], "there is no such file"),
        (["transfer", *FAMILY, "--plan", "none.csv", "--to", "4"], "the plan has its own"),
        (["budget", "--epochs", "2"], "--dataset-size is missing: a budget of epochs is --epochs and --dataset-size"),
        ([*BUDGET, "--batch-sizes", "2^20"], "less than one batch"),
        (["budget", *RUN[:2], "--schedule", "wsdd", *SMALL], "did you mean 'wsd'"),
        ([*BUDGET, "--fixed", "momentom=0.5"], "did you mean 'momentum'"),
        ([*BUDGET, "--optimizers", ""], "--optimizers is empty"),
        ([*OPTIMIZE, "--seconds", "inf", "--step-seconds", "1", "--example-seconds", "1"], "--seconds is inf"),
        ([*BUDGET, "--optimizers", "sdg"], "did you mean 'sgd'"),
    ],
)
def test_bad_input_is_one_line_that_names_it(run, command, words):
    code, out, err = run(*command)
    assert code == 2
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert any(word in err for word in words.split("|"))
    assert not list(Path().iterdir())


def test_examples_in_the_help_are_valid(run):
    for command in (["schedule", "compare"], ["schedule", "optimize"], ["batch-schedule"], ["budget"], ["transfer"]):
        code, out, _ = run(*command, "--help")
        assert code == 0
        assert f"nqmjax {' '.join(command)}" in out
