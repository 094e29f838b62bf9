"""The command line: what it prints and writes, and what it says to bad input."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import xarray as xr

import nqmjax
from nqmjax._tools.datasets import load_dataset
from nqmjax.bounds import bayes_examples, flat_prior_bound
from nqmjax.cli.app import COMMANDS, KEPT
from nqmjax.cli.commands import figure, scaling
from nqmjax.cli.commands import sweep as sweep_command
from nqmjax.cli.examples import EXAMPLES
from nqmjax.cli.numbers import parse_assignments, parse_numbers
from nqmjax.cli.reports.scaling import OUTCOMES
from nqmjax.cli.reports.text import Block, batch_text, count_text, side_by_side
from nqmjax.cli.spec import read_spec
from nqmjax.figures.paper import PAPER_FIGURES
from nqmjax.nonlinear.catalogue import TEMPLATES
from nqmjax.optimizers.methods import SGD, HeavyBall
from nqmjax.optimizers.wrappers import Preconditioned
from nqmjax.problem import power_law, read_spectrum
from nqmjax.runs.files import read as read_runs
from nqmjax.runs.files import read_settings
from nqmjax.scaling import several
from nqmjax.scaling.curves import scaling_curves
from nqmjax.scaling.norms import noise_scale_from_norms, read_norms
from nqmjax.scaling.observed import read_observed
from nqmjax.scaling.tune import tune
from nqmjax.schedules.files import read_plan
from nqmjax.sweeps.grid import sweep
from nqmjax.sweeps.store import open_store
from nqmjax.target.table import Status

SMALL = ["scaling", "--dim", "30", "--optimizers", "sgd", "--powers", "0", "--batch-sizes", "4..256:4"]
SPEC = """
batch_size = "4..256:4"
target = [0.1, 0.01]
[problem]
dim = 30
bins = 10
[optimizer]
name = "sgd"
learning_rate = { logspace = [-3, 1, 9] }
power = [0, 0.5]
"""


def contents() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(Path().rglob("*")) if path.is_file()}


def assert_picture(path):
    pixels = matplotlib.image.imread(path)
    assert pixels.shape[0] > 500
    assert pixels.shape[1] > 800
    assert pixels[..., :3].std() > 0.05


def test_scaling_prints_a_table_and_writes_a_figure_and_a_table_of_everything(run):
    Path("spectrum.csv").write_text("eigenvalue,count,noise,initial\n1.0,2,0.5,1\n0.1,20,0.2,2\n0.01,200,0.01,0\n")
    Path("runs.csv").write_text("batch,steps,label\n16,90,trained\n32,50,trained\n")
    options = "--target 0.1 --optimizers sgd,heavy-ball --powers 0 --batch-sizes 4,16 64 --fixed momentum=0.9 -o a.png"
    code, out, err = run("scaling", "--spectrum", "spectrum.csv", "--observed", "runs.csv", *options.split())
    assert (code, err) == (0, "")
    assert sorted(contents()) == ["a.nc", "a.png", "runs.csv", "spectrum.csv"]
    assert_picture("a.png")
    table = load_dataset("a.nc")
    assert table.steps.dims == ("optimizer", "power", "batch_size")
    assert table.optimizer.values.tolist() == ["sgd", "heavy_ball"]
    assert table.batch_size.values.tolist() == [4, 16, 32, 64]  # the observed one is added
    problem = read_spectrum("spectrum.csv")
    for name, template, fixed in [("sgd", SGD(0.1), []), ("heavy_ball", HeavyBall(0.1, 0.9), ["momentum"])]:
        best = tune(problem, Preconditioned(template, 0.0), table.batch_size.values, 0.1, fixed, progress=False)
        np.testing.assert_array_equal(table.steps.sel(optimizer=name, power=0), best.steps)
    assert (table.momentum.sel(optimizer="heavy_ball") == 0.9).all()
    assert table.momentum.sel(optimizer="sgd").isnull().all()
    np.testing.assert_allclose(table.bayes_steps, bayes_examples(problem, 0.1) / table.batch_size)
    np.testing.assert_allclose(flat_prior_bound(problem, table.flat_prior_steps * table.batch_size), 0.1)
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line}
    assert rows["2^4"][:3] == [*(f"{steps:.0f}" for steps in table.steps.sel(batch_size=16, power=0).values), "90"]
    assert rows["2^6"][2] == "-"
    assert len(rows["overhead"]) == len(rows["knee"]) == 2
    assert "momentum=0.9 fixed" in out
    assert "spectrum of 222 directions in 3 groups, curvature 0.01 to 1" in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("target", "status", "words"),
    [
        ("0.5", Status.NEVER, ["never", "not above the irreducible loss 0.5"]),
        ("99", Status.REACHED, ["met before the first update"]),
    ],
)
def test_a_target_that_is_never_or_always_met_is_said_clearly(run, target, status, words):
    code, out, err = run(*SMALL, "--irreducible", "0.5", "--target", target, "-o", "x")
    assert (code, err) == (0, "")
    assert all(word in " ".join(out.split()) for word in words)
    assert (load_dataset("x.nc").status == status).all()
    assert_picture("x.png")


def test_sweep_writes_what_the_function_returns(run):
    Path("grid.toml").write_text(SPEC)
    code, out, err = run("sweep", "grid.toml")
    assert (code, err) == (0, "")
    table = load_dataset("grid.nc")
    problem, optimizer, question = read_spec(Path("grid.toml"))
    expected = sweep(problem, optimizer, **question, progress=False)
    np.testing.assert_array_equal(table.steps, expected.steps)
    np.testing.assert_array_equal(table.status, expected.status)
    assert table.steps.dims == ("batch_size", "target", "learning_rate", "power")
    for code, text in OUTCOMES.items():
        count = int((expected.status == code).sum())
        assert (f"{count} {text}" in " ".join(out.split())) == (count > 0)
    best = expected.steps.sel(batch_size=16, target=0.01).min().item()
    assert any(line.split()[:3] == ["2^4", "0.01", f"{best:.0f}"] for line in out.splitlines())


def interrupted(*_):
    raise KeyboardInterrupt


def test_a_sweep_into_a_store_goes_on_and_can_be_asked(run, monkeypatch):
    Path("grid.toml").write_text(SPEC)
    assert run("sweep", "grid.toml", "-o", "grid.nc")[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupted)
        code, _, err = run("sweep", "grid.toml", "--store", "grid.zarr")
    assert (code, err) == (130, f"nqmjax: interrupted; {KEPT}\n")
    code, out, err = run("sweep", "grid.toml", "--store", "grid.zarr", "--chunk", "16")
    assert (code, err) == (0, "")
    assert out.rstrip().endswith("Written: grid.zarr")
    table = load_dataset("grid.nc")
    xr.testing.assert_equal(open_store("grid.zarr").load(), table)
    code, best, err = run("store", "best", "grid.zarr", "-o", "best.nc")
    assert (code, err) == (0, "")
    assert best.split("The best settings")[1].split("effective rate:")[0] in out
    lowest = table.steps.min(["learning_rate", "power"])
    np.testing.assert_array_equal(load_dataset("best.nc").steps, lowest)
    assert run("store", "best", "grid.zarr", "--keep", "power")[0] == 0
    assert run("store", "check", "grid.zarr")[:2] == (0, "grid.zarr: 10 of 10 chunks are finished and whole.\n")
    Path("grid.zarr/steps/c/0/0/0/0").write_bytes(b"lost")
    code, out, err = run("store", "check", "grid.zarr", "--repair")
    assert (code, out) == (2, "grid.zarr: 9 of 10 chunks are finished and whole.\n")
    assert "1 damaged files, steps/c/0/0/0/0: removed; run the same sweep again" in err
    assert run("sweep", "grid.toml", "--store", "grid.zarr")[0] == 0
    xr.testing.assert_equal(open_store("grid.zarr").load(), table)


def test_curves_of_a_folder_of_spectra_go_on_where_they_were(run, monkeypatch):
    Path("spectra").mkdir()
    for name, end in {"steep": 0.01, "flat": 0.1}.items():
        Path(f"spectra/{name}.csv").write_text(f"eigenvalue,count\n1,1\n{end},20\n")
    words = [*SMALL[3:], "--spectra", "spectra"]
    asked = ["scaling", *words, "--store", "curves"]
    single, calls = scaling_curves, []

    def interrupted(problem, *arguments, **options):
        calls.append(problem)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return single(problem, *arguments, **options)

    monkeypatch.setattr(several, "scaling_curves", interrupted)
    code, _, error = run("scaling", *words, "--store=curves")
    assert (code, error) == (130, f"nqmjax: interrupted; {KEPT}\n")
    before = contents()
    assert [name for name in before if name.startswith("curves")] == ["curves/flat.nc"]
    for _ in range(2):  # what is there is not computed again
        code, text, _ = run(*asked)
        assert (code, len(calls)) == (0, 3)
        assert "2 spectra" in text
    after = contents()
    assert before.items() <= after.items()
    alone = single(read_spectrum("spectra/steep.csv"), 4.0 ** np.arange(1, 5), 0.01, ["sgd"], [0.0], progress=False)
    kept = load_dataset("curves/steep.nc")
    xr.testing.assert_identical(kept.drop_attrs(), alone.drop_attrs())
    assert f"{alone.steps.values.ravel()[0]:.0f}" in text
    refused = {
        "--target 0.02 --store curves": "--store is curves: flat.nc is of another question (target is 0.01, asked 0.02)",
        "--store spectra/flat.csv": "--store is spectra/flat.csv: File exists",
        "--spectrum spectra/flat.csv": "--spectrum is spectra/flat.csv: give a file, or with --spectra a folder",
        "--store spectra": "--store is spectra: it is the folder of the spectra",
        "--store curves --powers 0.0000001": "powers is 0.0, asked 0.0 1e-07",
        "--exponent 2": "--exponent is 2.0: a spectrum from a file has its own; leave one of the two out",
        "--output x": "--output is x: with --spectra the tables go to --store",
        "--force": "--force is True: with --spectra the tables go to --store",
    }
    for more, message in refused.items():
        code, _, error = run("scaling", *words, *more.split())
        assert (code, error) == (2, error)
        assert message in error
    Path("spectra/README.md").write_text("of two networks")
    code, _, error = run(*asked)
    assert (code, error[:42]) == (2, "nqmjax: --spectra is spectra/README.md: gi")
    Path("spectra/README.md").rename("spectra/steep (1).csv")
    Path("spectra/steep (1).csv").write_text("eigenvalue\n1\n")
    code, _, error = run(*asked)
    assert (code, error[:38]) == (2, "nqmjax: --spectra is 'steep (1)': name")


def test_numbers_in_quotes_are_as_on_the_command_line(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text(SPEC.replace("dim = 30", 'dim = "1k"').replace("[0.1, 0.01]", '["2^-3", 0.1]').replace("9]", '"9"]'))
    problem, optimizer, question = read_spec(path)
    assert problem.dim == 1000
    np.testing.assert_array_equal(question["target"], [0.125, 0.1])
    assert optimizer.optimizer.learning_rate.size == 9


def test_spec_in_the_help_is_valid(tmp_path):
    text = sweep_command.HELP.split("Every hyperparameter")[0].split("A specification:")[1].replace("# average", "average")
    path = tmp_path / "help.toml"
    path.write_text(text)
    problem, optimizer, question = read_spec(path)
    assert (problem.dim, problem.curvature.size) == (10_000, 100)
    assert set(question) == {"batch_size", "target", "max_steps", "rule", "dtype"}
    inner = optimizer.optimizer
    np.testing.assert_allclose(inner.optimizer.learning_rate, np.logspace(-8, 1, 100))
    np.testing.assert_allclose(inner.optimizer.momentum, 1 - np.logspace(-5, 0, 20))
    assert (inner.decay, list(optimizer.power)) == (0.99, [0, 0.5])


def test_figure(run):
    assert run("figure", "Fig-1")[0] == 0
    assert sorted(contents()) == ["figure-1.nc", "figure-1.png"]
    assert_picture("figure-1.png")
    table = PAPER_FIGURES["1"].table(False)
    np.testing.assert_array_equal(load_dataset("figure-1.nc").risk, table.risk)
    assert run("figure", "1", "-o", "other.pdf")[0] == 0
    assert Path("other.pdf").read_bytes().startswith(b"%PDF")


def test_a_second_run_gets_a_number_and_the_first_stays(run):
    Path("grid.toml").write_text(SPEC)
    assert run("sweep", "grid.toml")[0] == 0
    first = contents()
    assert run("sweep", "grid.toml")[0] == run("sweep", "grid.toml")[0] == 0
    assert {name: text for name, text in contents().items() if name in first} == first
    assert sorted(set(contents()) - set(first)) == ["grid-2.nc", "grid-3.nc"]
    assert run("sweep", "grid.toml", "--force")[0] == 0
    assert len(contents()) == 4


def test_the_suffix_says_the_format_of_the_figure(run, computed):
    assert run("scaling", "-o", "x.svg")[0] == 0
    assert sorted(contents()) == ["x.nc", "x.svg"]
    assert Path("x.svg").read_bytes().startswith(b"<?xml")


def test_example_files_are_written_once_and_are_what_the_commands_read(run):
    out = run("example")[1]
    assert all(f"{one.file}: {one.about}\n" in out for one in EXAMPLES.values())
    assert run("example", "all")[0] == 0
    before = contents()
    assert sorted(before) == sorted(one.file for one in EXAMPLES.values())
    Path("plan.csv").unlink()
    code, _, err = run("example", "all")
    there = ", ".join(one.file for one in EXAMPLES.values() if one.file != "plan.csv")
    assert (code, err) == (2, f"nqmjax: {there} are there already: give --force to replace what is there\n")
    assert "plan.csv" not in contents()
    assert run("example", "plan")[0] == 0
    code, _, err = run("example", "runs")
    assert (code, err) == (2, "nqmjax: runs.csv is there already: give --force to replace what is there\n")
    assert run("example", "runs", "--force")[0] == 0
    assert contents() == before
    assert read_spectrum("spectrum.csv").initial_risk > 0.15
    assert len(read_observed("observed.csv")) == 2
    assert len(read_runs("runs.csv")) > 25
    assert noise_scale_from_norms(*read_norms("noise-log.csv")).steps == 160
    assert len(read_settings("ask.csv")) == 3
    assert read_plan("plan.csv").total_steps == 2000
    assert read_spec(Path("grid.toml")).question["target"] == 0.05
    assert all(b"made up" in text for name, text in before.items() if name.endswith(".csv"))


def test_help_names_what_there_is(run):
    assert all(f"\n  {name:3}  {one.description}\n" in figure.HELP for name, one in PAPER_FIGURES.items())
    assert all(name in scaling.HELP for name in TEMPLATES)
    for command in (["--help"], ["scaling", "--help"], ["figure", "--help"], ["sweep", "--help"], []):
        code, out, err = run(*command)
        assert (code, err) == (0, "")
        assert "Examples:" in out
    assert run("--version")[1].strip() == nqmjax.__version__


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("target = [0.1, 0.01]", "", ["target", "missing"]),
        ("target = [0.1, 0.01]", "targets = 0.1", ["'targets'", "did you mean 'target'?"]),
        ("target = [0.1, 0.01]", "target = true", ["target is True"]),
        ('"4..256:4"', '"16..4"', ["batch_size is '16..4'"]),
        ('"4..256:4"', "0", ["batch_size is 0", "at least 1"]),
        ("dim = 30", "dimm = 30", ["'dimm'", "[problem]", "did you mean 'dim'?"]),
        ("dim = 30", "", ["dim in [problem]", "missing"]),
        ("dim = 30", "dim = 0", ["dim is 0"]),
        ("dim = 30", 'exponent = 1\nspectrum = "s.csv"', ["leave out exponent"]),
        ("dim = 30", 'dim = "many"', ["dim is 'many'"]),
        ("dim = 30", 'spectrum = "s.csv"', ["s.csv", "no such file"]),
        ("bins = 10", "bins = 1.5", ["bins is 1.5"]),
        ('"sgd"', '"sdg"', ["'sdg'", "did you mean 'sgd'?"]),
        ('name = "sgd"', "", ["name in [optimizer]", "missing"]),
        ('"sgd"', '"heavy_ball"', ["momentum in [optimizer]", "missing"]),
        ('"sgd"', '"sgd"\naverage = 1.0', ["decay", "[0, 1)"]),
        ('"sgd"', '"ema"\ndecay = 0.9\naverage = 0.9', ["average is 0.9", "averaged already"]),
        ('"sgd"', '"sgd"\nmomentum = 0.9', ["'momentum'", "learning_rate"]),
        ("logspace", "logspce", ["'logspce'", "did you mean 'logspace'?"]),
        ("[-3, 1, 9]", "[-3, 1]", ["logspace in learning_rate", "[first, last, number of values]"]),
        ("[-3, 1, 9]", "[-3, 1, 0.5]", ["logspace in learning_rate"]),
        ("{ logspace = [-3, 1, 9] }", '"fast"', ["learning_rate is 'fast'"]),
        ("{ logspace = [-3, 1, 9] }", '[0.1, "b"]', ["learning_rate", "number"]),
        ("power = [0, 0.5]", "power = 2", ["power", "[0, 1]"]),
        ("[problem]", 'rule = "last"\n[problem]', ["rule is 'last'", "stays"]),
        ("[problem]", 'dtype = "int8"\n[problem]', ["dtype is 'int8'"]),
        ("[problem]", "max_steps = -1\n[problem]", ["max_steps"]),
        ("[optimizer]", "[optimizer", ["line"]),
    ],
)
def test_bad_specifications(run, old, new, words):
    assert old in SPEC
    Path("bad.toml").write_text(SPEC.replace(old, new))
    code, out, err = run("sweep", "bad.toml")
    assert (code, out) == (2, "")
    assert err.startswith("nqmjax: ")
    assert err.count("\n") == 1
    assert all(word in err for word in words), err
    assert sorted(contents()) == ["bad.toml"]


@pytest.fixture
def computed(monkeypatch):
    """A table as `nqmjax scaling` computes it, returned at once."""
    table = scaling_curves(power_law(30), [4, 16, 64, 256], 0.01, ["sgd"], [0.0], progress=False)
    monkeypatch.setattr("nqmjax.scaling.scaling_curves", lambda *_, **__: table)


@pytest.mark.parametrize("where", ["scaling.scaling_curves", "figures.write_figure", "_tools.save_dataset"])
def test_an_interrupt_leaves_everything_as_it_was(run, computed, monkeypatch, where):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"nqmjax.{where}", interrupt)
    Path("old.png").write_text("a figure")
    Path("old.nc").write_text("a table")
    before = contents()
    code, _, err = run("scaling", "-o", "old", "--force")
    assert (code, err) == (130, "nqmjax: interrupted; nothing was written\n")
    assert contents() == before


def test_an_interrupt_swallowed_by_a_callback_comes_again(run, monkeypatch):
    class Swallow:
        def __del__(self):
            raise KeyboardInterrupt

    def compute(*_, **__):
        Swallow()
        for _ in range(1000):
            threading.Event().wait(0.01)

    monkeypatch.setattr("nqmjax.scaling.scaling_curves", compute)
    assert run("scaling")[0] == 130


def test_a_full_disk_is_one_line_and_the_table_is_still_printed(run, computed, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "x.nc")

    monkeypatch.setattr("nqmjax._tools.save_dataset", full)
    code, out, err = run("scaling", "-o", "x")
    assert (code, err) == (2, "nqmjax: x.nc: No space left on device\n")
    assert "Tuned updates" in out
    assert contents() == {}


def test_an_unused_column_is_a_note(run, computed):
    Path("s.csv").write_text("eigenvalue,name\n1,a\n0.1,b\n")
    code, _, err = run("scaling", "--spectrum", "s.csv")
    assert code == 0
    assert err.startswith("nqmjax: note: s.csv")
    assert err.count("\n") == 1


def cold(*arguments):
    code = "import sys; from nqmjax.cli import main; code = main(); assert not {'jax', 'matplotlib', 'xarray'} & {*sys.modules}"
    return subprocess.run(
        [sys.executable, "-c", f"{code}; sys.exit(code)", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_lists_of_commands_have_the_first_lines_of_their_help(run, command):
    listed = run(*command.split()[:-1], "--help")[1].replace("│", " ")
    assert COMMANDS[command] in " ".join(listed.split())
    own = run(*command.split(), "--help")[1].split("\n\n")[1]
    assert " ".join(own.split()) == COMMANDS[command]


@pytest.mark.parametrize("command", ["", "fit"])
def test_help_from_a_cold_process_loads_nothing_slow(command):
    done = cold(*command.split(), "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"nqmjax {command}" in done.stdout


def test_exit_code_of_a_cold_process():
    done = cold("example", "99")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("nqmjax: NAME is '99': choose from spectrum, observed")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        (["4"], [4]),
        (["2^10", "2**3"], [8, 1024]),
        (["1e3,10"], [10, 1000]),
        (["1..10"], [1, 2, 4, 8]),
        (["1..8", "3"], [1, 2, 3, 4, 8]),
        (["2^2..2^20:4"], 2.0 ** np.arange(2, 21, 2)),
        (["5,50..5000:10", "7..9:3"], [5, 7, 50, 500, 5000]),
        (["7..7"], [7]),
        ([" 1 , 2 "], [1, 2]),
        (["4k", "1.5M,2G"], [4000, 1.5e6, 2e9]),
        (["1k..4k"], [1000, 2000, 4000]),
        (["64,128", "32,256,512"], [32, 64, 128, 256, 512]),
        (["1_000"], [1000]),
    ],
)
def test_spellings_of_numbers(words, numbers):
    np.testing.assert_allclose(parse_numbers("n", words), numbers, rtol=1e-14)


@pytest.mark.parametrize(
    "word",
    [
        "",
        ",",
        "x",
        "2^",
        "^2",
        "8..4",
        "0..4",
        "1..inf",
        "4..8:1",
        "4..8:",
        "4..8:x",
        "1..nan",
        "1..1e9:1.001",
        "2^1e9",
        "1e999",
        "1e-999",
        "1,024",
        "8,192",
        "16,384",
        "2,500",
        "1,048,576",
        "4m",
        "k",
    ],
)
def test_spellings_that_are_no_numbers(word):
    with pytest.raises(ValueError, match=r"^n is "):
        parse_numbers("n", [word])


@pytest.mark.parametrize("word", ["1e999", "1e-999", "1,024", "8,192", "16,384", "2,500", "1,048,576", "100,200"])
def test_numbers_that_would_be_read_as_others(word):
    with pytest.raises(ValueError, match=r"^n is .*(write|between)"):
        parse_numbers("n", [word])


def test_assignments():
    assert parse_assignments("fixed", ["momentum=0.9,nu=0.7", " decay = 2^-1 "]) == {"momentum": 0.9, "nu": 0.7, "decay": 0.5}
    assert parse_assignments("fixed", []) == {}


@pytest.mark.parametrize(("value", "text"), [(4.0, "2^2"), (1.0, "1"), (48.0, "48"), (0.5, "0.5"), (2.0**20, "2^20")])
def test_batch_sizes_as_text(value, text):
    assert batch_text(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (12345678.0, "12345678"), (123456789.0, "1.2346e8"), (2e10, "2.0000e10")]
)
def test_steps_as_text(value, text):
    assert count_text(value) == text


@pytest.mark.parametrize("width", [20, 40, 200])
def test_a_table_too_wide_goes_on_below(width):
    blocks = [Block(f"block {i}", [["a", "1"], ["bb", "22"]]) for i in range(5)]
    text = side_by_side(["head", "row"], blocks, width)
    assert max(map(len, text.splitlines())) <= width
    assert sum(line.count("block") for line in text.splitlines()) == 5
    assert text.count("row") == text.count("head")
