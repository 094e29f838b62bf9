"""What people read: reports and files say what they are about, in 80 columns, and help does not break its examples."""

import json
import shlex
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import xarray as xr

import nqmjax as nq
from nqmjax._tools.datasets import load_dataset
from nqmjax.cli.app import COMMANDS, app, main
from nqmjax.cli.reports.scaling import scaling_report, sweep_report
from nqmjax.cli.reports.schedules import transfer_report
from nqmjax.cli.reports.text import WIDTH, columns_text
from nqmjax.figures.schedules import plan_figure
from nqmjax.figures.style import write_figure
from nqmjax.optimizers.description import describe, describe_problem, power_law_exponent
from nqmjax.scaling import Observed

SPEC = """
batch_size = [4, 1048576]
target = 0.1
[problem]
dim = 30
[optimizer]
name = "ema_heavy_ball"
learning_rate = [0.123456789, 0.3]
momentum = [0.0, 0.9]
decay = 0.99
power = [0, 0.5]
"""
RECIPE = "--learning-rate 0.3 --steps 200 --batch-size 8 --dim 30"
EXAMPLES = {
    "scaling": "scaling --dim 30 --optimizers ema_heavy_ball --powers 0 --batch-sizes 4..256:8 --fixed momentum=0.9 decay=0.9",
    "sweep": "sweep grid.toml",
    "optimize": "schedule optimize --batch-size 8 --steps 200 --pieces 3 --dim 30 -o plan.json",
    "batch-schedule": f"batch-schedule {RECIPE} --pieces 3 -o ramp.csv",
    "budget": "budget --schedule constant --steps 50 --batch-sizes 1,2^20 --optimizers sgd --dim 30",
    "transfer": f"transfer {RECIPE} --to 16 -o moved.nc",
}


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the command line in an empty directory; returns what it printed."""
    monkeypatch.chdir(tmp_path)
    Path("grid.toml").write_text(SPEC)

    def run(text):
        assert main(text.split()) == 0
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_keeps_its_examples_in_80_columns(run, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    lines = [line.rstrip() for line in run(f"{command} --help").splitlines()]
    text = app.parse_commands(command.split())[1][-1].help_epilogue
    assert max(map(len, lines)) <= WIDTH
    assert [line for line in text.splitlines() if line.rstrip() not in lines] == []


@pytest.mark.parametrize("command", EXAMPLES)
def test_reports_and_files_say_what_they_are_about_in_80_columns(run, command):
    out = run(EXAMPLES[command])
    assert max(map(len, out.splitlines())) <= WIDTH
    assert "risk" not in out.split("Command:")[0]
    words, typed = " ".join(out.split()), shlex.join(["nqmjax", *EXAMPLES[command].split()])
    texts = ["power law, curvature i^-1 of 30 directions", "largest curvature", f"Command: {typed}"]
    for text in [*texts, "Optimizer:"]:
        assert text in words
    written = [path for path in Path().iterdir() if path.name != "grid.toml"]
    assert written
    for path in written:
        about = {".nc": _attributes, ".json": _document, ".csv": Path.read_text, ".png": _metadata}[path.suffix](path)
        for text in [*texts[:2], typed, "EMA" if command in ("scaling", "sweep") else "SGD"]:
            assert text in about, path


def _attributes(path):
    return str(load_dataset(path).attrs)


def _document(path):
    return str(json.loads(path.read_text())["about"])


def _metadata(path):
    from PIL import Image

    with Image.open(path) as picture:
        return picture.info["Description"]


@pytest.mark.parametrize(("rate", "doubted"), [(3e-4, True), (0.3, False)])
def test_a_recipe_in_a_networks_units_is_doubted(rate, doubted):
    recipe = nq.Plan(rate, steps=200, batch_size=8)
    table = nq.schedules.transfer(nq.power_law(30).quantize(100), nq.SGD(0.1), recipe, 16, rules=["none"])
    assert ("is it a network's?" in " ".join(transfer_report(table).split())) == doubted


@pytest.mark.parametrize("dim", [3, 1000, 30_000])
@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 1.2, 3.7])
@pytest.mark.parametrize("bins", [5, 100, 10**6])
def test_power_laws_are_recognised_in_groups_too(dim, exponent, bins):
    problem = nq.power_law(dim, exponent).quantize(bins)
    assert power_law_exponent(problem.curvature, problem.count) == pytest.approx(exponent, abs=1e-7)
    one = problem.curvature.copy()
    one[-1] *= 0.999
    assert power_law_exponent(one, problem.count) is None


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (
            nq.NoisyQuadratic(np.zeros(2), np.zeros(2), np.ones(2), np.ones(2), 0.0),
            "spectrum of 2 directions, curvature 0, trace 0; no noise",
        ),
        (nq.from_spectrum([3.0, 1.0], noise=0.5), "curvature 1 to 3, trace 4; noise variance 0.5 per direction"),
        (
            nq.from_spectrum([3.0, 1.0], noise=[6.0, 2.0], initial=0),
            "noise variance 2 times the curvature; start of mean square 0",
        ),
        (
            nq.power_law(30, noise=0.0, irreducible=0.5),
            "no noise; start of mean square 1 per direction; loss 2.497 at the start, 0.5",
        ),
    ],
)
def test_problems_in_words(problem, text):
    assert text in describe_problem(problem)


def test_optimizers_in_words():
    class Mine(nq.SGD):
        pass

    assert describe(Mine(0.5)) == "Mine, learning rate 0.5"
    assert describe(nq.Averaged(nq.Nesterov(0.1, 0.9), 0.99), ["learning_rate"]) == "Nesterov + EMA, momentum 0.9, decay 0.99"


def test_a_table_with_long_names_and_large_numbers_stays_in_80_columns():
    names = ["ema_heavy_ball", "ema_nesterov", "another_optimizer_with_a_rather_long_name"]
    powers, batches = np.linspace(0, 1, 11), 2.0 ** np.arange(2, 5)
    shape = (len(names), len(powers))
    dims = ("optimizer", "power")
    table = xr.Dataset(
        {
            "steps": ((*dims, "batch_size"), np.full((*shape, 3), 2.0**30 + 1)),
            "status": ((*dims, "batch_size"), np.zeros((*shape, 3), np.int8)),
            "decay_at_edge": ((*dims, "batch_size"), np.ones((*shape, 3), bool)),
            "critical_batch_size": ((*dims, "definition"), np.full((*shape, 2), 123456789.0)),
            "critical_batch_size_bound": ((*dims, "definition"), np.full((*shape, 2), "")),
            "knee_residual": (dims, np.full(shape, 0.5)),
            "bayes_steps": ("batch_size", np.full(3, 1e12)),
        },
        coords={"optimizer": names, "power": powers, "batch_size": batches, "target": 0.01, "definition": ["overhead", "knee"]},
        attrs={"fixed": "", "irreducible": 0.0, "initial_risk": 1.0, "problem": "long " * 50, "command": "x" * 100},
    )
    report = scaling_report(table, [Observed(batches, np.full(3, 123456789.0), label="a label that is rather long as well")])
    assert max(map(len, report.splitlines())) <= WIDTH
    assert report.count("1.0737e9*") == 3 * 11 * 3
    wide = columns_text("row", ["1"], {f"column\nnumber {k}": [str(10**12)] for k in range(12)})
    assert max(map(len, wide.splitlines())) <= WIDTH
    assert wide.count("number") == 12


def test_a_sweep_of_many_axes_stays_in_80_columns():
    grid = nq.sweep(nq.power_law(30), nq.QHM([0.1, 0.123456], [0.5, 0.912345], 0.7), [4, 2**20], [0.1, 0.2], progress=False)
    assert max(map(len, sweep_report(grid).splitlines())) <= WIDTH


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_figures_of_every_format_say_what_they_are_about(tmp_path, suffix):
    about = {"problem": "a $problem$ of mine", "command": "nqmjax " + "word " * 40}
    path = tmp_path / f"plan{suffix}"
    write_figure(plan_figure(nq.Plan([0.1, 0.01], steps=[10, 20], batch_size=[4, 300]), about), path)
    if suffix == ".png":
        assert about["problem"] in _metadata(path)
        assert matplotlib.image.imread(path).shape[1] > 800
    else:
        assert b"problem" in path.read_bytes()
