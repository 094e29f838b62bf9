"""`nqmjax measure`: what it prints and writes, for the network that is built in and for one of a user's own."""

from pathlib import Path

import numpy as np
import pytest

from nqmjax._tools.datasets import load_dataset
from nqmjax.cli.modules import call_named
from nqmjax.measure import Measurement
from nqmjax.problem import read_spectrum

MODEL = """
import numpy as np
import jax.numpy as jnp

BEND = np.float32([2.0, 1.0, 0.1, -0.5])


def loss(w, shift):
    return (0.5 * BEND @ w["w"] ** 2 + shift @ w["w"]).mean() + 1


def make():
    return loss, {"w": np.zeros(4, np.float32)}, np.float32(np.random.default_rng(0).normal(size=(64, 4)) + 1)
"""


def test_a_network_of_ones_own(run):
    Path("own_model.py").write_text(MODEL)
    code, out, err = run("measure", "--model", "own_model:make", "--batch-size", "4", "-o", "mine.pdf")
    assert (code, err) == (0, "")
    assert {path.name for path in Path().iterdir()} == {"own_model.py", "mine.nc", "mine.csv", "mine.pdf"}
    assert "Largest curvature: 2. Gradient descent is unstable above a learning rate of 1." in out
    assert "Negative curvature: 1 directions, down to -0.5" in out
    assert " of 4 " in out
    assert max(map(len, out.splitlines())) <= 80
    table = load_dataset("mine.nc")
    assert table.attrs["command"] == "nqmjax measure --model own_model:make --batch-size 4 -o mine.pdf"
    found = Measurement(table).problem(clip=True)
    read = read_spectrum("mine.csv", irreducible=found.irreducible)
    np.testing.assert_allclose(read.curvature, found.curvature)
    np.testing.assert_allclose(read.curvature[:3], [2, 1, 0.1], rtol=1e-4)
    [printed] = [line.split() for line in out.splitlines() if line.startswith("  nqmjax scaling --spectrum mine.csv")]
    assert float(printed[5]) == pytest.approx(found.irreducible, rel=1e-3)
    assert float(printed[7]) == pytest.approx(0.9 * found.irreducible + 0.1 * found.initial_risk, rel=1e-3)
    code, out, err = run("measure", "--model", "own_model:make", "-o", "mine")
    assert (code, out) == (2, "")
    assert "mine.nc: the file exists" in err


def test_the_network_that_is_built_in(run):
    code, out, err = run("measure", "--probes", "1", "--lanczos-steps", "6", "--chunk", "300")
    assert (code, err) == (0, "")
    assert {path.name for path in Path().iterdir()} == {f"nqmjax-measure.{suffix}" for suffix in ("nc", "csv", "png")}
    assert "1,642 parameters, 2,000 examples" in out
    assert "Gauss-Newton matrix of cross_entropy" in out
    assert "Negative" not in out
    assert read_spectrum("nqmjax-measure.csv").dim == pytest.approx(1642)


def test_modules_by_name_and_by_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("nets").mkdir()
    for number, place in enumerate(["by_name.py", "nets/by_file.py"]):
        Path(place).write_text(f"make = lambda: {number}\n")
    assert call_named("model", "by_name:make") == 0
    assert call_named("model", "nets/by_file.py:make") == 1
    assert not list(Path().rglob("__pycache__"))
