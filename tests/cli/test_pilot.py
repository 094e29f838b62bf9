"""`nqmjax pilot`: what it prints and writes, for a network of a user's own and for runs that were made elsewhere."""

from pathlib import Path

import numpy as np

from nqmjax._tools.datasets import load_dataset
from nqmjax.scaling import read_observed

MODEL = """
import numpy as np

rng = np.random.default_rng(0)
X = rng.normal(size=(64, 3))


def make():
    return lambda w, x: x @ w, np.zeros(3, np.float32), (X, X.sum(1) + rng.normal(size=64)), "squared_error"
"""
RUNS = "label,batch_size,steps,lr\nsgd,16,2900,0.02\nsgd,1024,140,0.35\nadam,16,2000,0.001\nadam,1024,100,0.006\n"


def test_a_network_of_ones_own(run):
    Path("own_net.py").write_text(MODEL)
    words = ["pilot", "--model", "own_net:make", "--target", "0.8", "--optimizers", "sgd", "--small", "4"]
    words += ["--batch-sizes", "4..32", "--rates", "0.1..1.6"]
    code, out, err = run(*words, "--seeds", "1", "--folder", "runs", "-o", "mine")
    assert (code, err) == (0, "")
    assert {path.name for path in Path().iterdir()} == {"own_net.py", "runs", "mine.nc", "mine.csv", "mine.png"}
    assert "to a training loss of 0.8" in " ".join(out.split())
    assert "With sgd" in out
    assert "nqmjax transfer mine.csv" in out
    assert max(map(len, out.splitlines())) <= 80
    table = load_dataset("mine.nc")
    assert table.steps.dims == table.learning_rate_upper.dims == ("optimizer", "batch_size")
    [one] = read_observed("mine.csv")
    np.testing.assert_allclose(one.steps, table.pilot_steps.values[0], rtol=1e-6)
    code, out, err = run(*words, "-o", "mine")
    assert (code, out) == (2, "")
    assert "mine.png: the file exists" in err


def test_runs_that_were_made_elsewhere(run):
    Path("tuned.csv").write_text(RUNS)
    code, out, err = run("pilot", "--runs", "tuned.csv", "--batch-sizes", "16..4096:4", "-o", "told.nc")
    assert (code, err) == (0, "")
    assert {path.name for path in Path().iterdir()} == {"tuned.csv", "told.nc", "told.png"}
    assert "adam:" in out
    assert "At batch size 4096" in out
    assert load_dataset("told.nc").steps.shape == (2, 5)
    assert max(map(len, out.splitlines())) <= 80
