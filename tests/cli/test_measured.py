"""The commands on what was measured: `nqmjax transfer` in its two meanings, and `nqmjax noise-scale`."""

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from nqmjax.cli.app import _as_before
from nqmjax.cli.commands.transfer import csv_text
from nqmjax.scaling.anchored import anchored_curve
from nqmjax.scaling.observed import read_observed
from nqmjax.scaling.recipes import recipes


def words(text):
    return " ".join(text.split())


def test_tuned_runs_become_recipes_a_csv_and_a_figure(run):
    run("example", "tuned-runs")
    options = "--optimizer adamw --to 2048 2^12 --examples-per-second 2k --devices 8 --per-device-batch 32 -o moved.csv"
    code, out, err = run("transfer", "tuned-runs.csv", *options.split())
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    for part in ["5 runs", "2^12", "beta2", "Shortest on these devices: batch size 256", "the law alone", "20% more examples"]:
        assert part in words(out)
    table = np.genfromtxt("moved.csv", delimiter=",", names=True)
    curve = anchored_curve(read_observed("tuned-runs.csv")[0], "adamw")
    expected = curve.steps([2048, 4096]), curve.learning_rate([2048, 4096])
    for name, found in zip(["steps", "learning_rate"], expected, strict=True):
        np.testing.assert_allclose([table[name + end] for end in ("", "_lower", "_upper")], found, rtol=1e-5)
    np.testing.assert_allclose(table["examples"], table["steps"] * table["batch_size"], rtol=1e-5)
    assert matplotlib.image.imread("moved.png").shape[0] > 500


def test_labels_name_the_optimizer_of_each_curve(run):
    run("example", "observed")
    code, out, _ = run("transfer", "observed.csv", "--to", "4096", "--momentum", "0.8")
    assert code == 0
    assert "SGD: 5 runs" in out
    assert "momentum: 5 runs" in out
    curves = read_observed("observed.csv")
    tables = [recipes(anchored_curve(curve, curve.label), [4096]) for curve in curves]
    text = csv_text([anchored_curve(curve, curve.label) for curve in curves], tables)
    assert [line.split(",")[0] for line in text.splitlines()] == ["label", "SGD", "momentum"]
    assert text.splitlines()[1].startswith("SGD,4096,,,,")  # no rate is known


def test_one_run_and_a_noise_scale(run):
    options = "--batch-size 256 --learning-rate 3e-4 --steps 50000 --optimizer adamw --noise-scale 1.2e3 --to 2048"
    code, out, err = run("transfer", *options.split())
    assert (code, err) == (0, "")
    assert "1 run, batch size 256, 50000 updates" in words(out)
    assert list(Path().iterdir()) == []


def test_one_run_alone_says_what_is_not_known(run):
    Path("one.csv").write_text("batch,steps\n64,900\n")
    _, out, _ = run("transfer", "one.csv", "--optimizer", "sgd", "--to", "128")
    assert "450 to 900" in out
    assert "One batch size does not tell" in words(out)


@pytest.mark.parametrize(
    ("typed", "measured"),
    [
        ("transfer --learning-rate 0.3 --steps 50 --batch-size 8 --to 16", False),
        ("transfer --plan plan.csv --to 16 -o x.nc", False),
        ("transfer --plan=plan.csv --spectrum s.csv --to 16", False),
        ("transfer --plan=plan.csv --problem fitted.json --to 16", False),
        ("transfer --learning-rate=0.3 --steps 50 --batch-size 8 --to 16 --noise-scale 30", True),
        ("transfer --learning-rate 0.3 --optimizer adamw --to 16", True),
        ("transfer folder --optimizer adamw --to 16", True),
        ("transfer", True),
        ("transfer runs.csv --to 16", True),
        ("transfer --to 16 --optimizer sgd runs.tsv", True),
        ("transfer --to 16 --noise-scale=30 --batch-size 8 --steps 50", True),
        ("transfer --help", True),
        ("scaling --plan x", True),
    ],
)
def test_a_recipe_on_the_quadratic_keeps_its_old_name(typed, measured):
    words = typed.split()
    assert _as_before(words) == (words if measured else ["schedule", *words])


def test_a_log_of_norms(run):
    run("example", "noise-log")
    code, out, err = run("noise-scale", "noise-log.csv")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    for part in ["whole log", "last quarter", "moves by a factor", "What it does not tell"]:
        assert part in words(out)
