"""The commands about real training runs: what they print and write, and what they say to bad input."""

import contextlib
import csv
import io
import json
import re
import shutil
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from nqmjax._tools.datasets import load_dataset
from nqmjax._tools.precision import precision
from nqmjax.cli.app import main
from nqmjax.cli.reports.runs import short
from nqmjax.cli.run_options import LAWS_HELP
from nqmjax.runs.laws.base import Scale, law_inputs
from nqmjax.runs.laws.catalogue import CANDIDATES, LAWS
from nqmjax.runs.laws.quadratic import QuadraticLaw
from nqmjax.runs.limits import Limits, StepTable, StepTime
from nqmjax.runs.model_files import read_model
from nqmjax.runs.one_law import identification
from nqmjax.runs.plan import plan
from nqmjax.runs.predict import predict
from nqmjax.runs.settings import RunSchedule, run_settings

FIT = ["fit", "runs.csv", "--laws", "adam-constant,chinchilla", "--starts", "2"]
TIME = ["--seconds", "3600", "--step-seconds", "0.01", "--work-seconds", "1e-10"]


def write_runs(path):
    """Runs along model size and batch size at three budgets, losses of the noisy quadratic system with noise of 0.5%."""
    rows = [(1e6 * 4**k, 128, 1e12 * 8**j, "sizes") for j in range(3) for k in range(4)]
    rows += [(3e6, 2**k, 1e12 * 8**j, "batches") for j in range(3) for k in range(5, 10)]
    size, batch, budget = (np.array([row[k] for row in rows]) for k in range(3))
    steps = np.round(budget / size / batch)
    scale, inputs = Scale(4e6, 128, 5000, 1, 32, 512, 500, 2.5, 6), law_inputs(run_settings(size, batch, steps))
    with precision():
        log = QuadraticLaw(follow_schedule=False).log_loss([0.0, 1.6, -1.8, -0.7, -1.5, -3.0, 5.5], inputs, scale)
    loss = np.exp(np.asarray(log) + 0.005 * np.random.default_rng(0).standard_normal(len(rows)))
    lines = [f"{n:g},{b:g},{k:g},{x:.6f},{row[3]},no" for n, b, k, x, row in zip(size, batch, steps, loss, rows, strict=True)]
    Path(path).write_text("\n".join(["N,B,K,loss,group,exclude", *lines, "1e6,64,10,99,sizes,yes"]) + "\n")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A folder with runs.csv and what `nqmjax fit` makes of it, and what it printed."""
    folder = tmp_path_factory.mktemp("fitted")
    write_runs(folder / "runs.csv")
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        assert main(FIT) == 0
    assert err.getvalue() == ""
    return folder, out.getvalue()


@pytest.fixture
def run(fitted, tmp_path, run):
    """Run the command line in a directory with runs and their model; returns the exit code, stdout and stderr."""
    shutil.copytree(fitted[0], tmp_path, dirs_exist_ok=True)
    (tmp_path / "ask.csv").write_text("K,N,B,note\n2e4,1e9,512,a\n2000.5,1e7,100,b\n")
    (tmp_path / "line.csv").write_text("N,B,seconds\n1e7,64,0.1\n1e7,128,0.2\n1e7,256,0.4\n")
    (tmp_path / "times.csv").write_text("N,B,seconds\n1e7,64,0.1\n1e7,128,0.2\n1e8,64,1\n")
    (tmp_path / "plan.csv").write_text("steps,learning_rate,batch_size\n900,1,64\n100,0.1,128\n")
    return run


def flat(text):
    """Text without its breaks of lines."""
    return " ".join(text.split())


def contents():
    return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file()}


def assert_picture(path):
    pixels = matplotlib.image.imread(path)
    assert min(pixels.shape[:2]) > 500
    assert pixels[..., :3].std() > 0.05


def answers(path):
    return list(csv.DictReader(Path(path).read_text().splitlines()))


def numbers(text):
    """The first line of a table that starts with a label, without the label."""
    return next(line.split()[1:] for line in text.splitlines() if line.startswith("1  "))


def test_fit_writes_a_model_and_two_figures_and_says_how_good_it_is(fitted):
    folder, out = fitted
    model = read_model(folder / "model.json")
    assert {path.name for path in folder.iterdir()} == {"runs.csv", "model.json", "model.png", "model-curves.png"}
    for name in ("model.png", "model-curves.png"):
        assert_picture(folder / name)
    assert "27 runs, N 1e6 to 6.4e7" in out
    assert "1 excluded: marked in column 'exclude'" in flat(out)
    for name, training, forward in zip(model.scores.law, model.scores.training, model.scores.forward, strict=True):
        [line] = [line for line in out.splitlines() if line.split()[:1] == [name.item()] and "%" in line]
        assert f"{float(training) ** 0.5:.2%}" in line
        assert f"{float(forward) ** 0.5:.2%}" in line
    assert "* chosen: adam_constant" in out
    assert re.search("group sizes +12 ", out)
    for one in model.intervals.values():
        assert f"{one.coverage:.0%}" in out
        assert f"{one.inflation:.2f}" in out
    assert max(map(len, out.splitlines())) <= 80
    assert out.endswith("Written: model.json and model.png and model-curves.png\n")


def test_fit_gives_no_values_of_parameters_that_the_runs_do_not_tell(fitted):
    folder, out = fitted
    [law] = [law for law in read_model(folder / "model.json").laws if law.name == "adam_constant"]
    table = identification(law)
    for name in table.parameter.values:
        one = table.sel(parameter=name)
        value = short(float(one.value)) if one.identified else "open"
        lines = [line for line in out.splitlines() if line.startswith(f"{name} ")]
        assert any(
            line.split()[1] == value and f"{short(float(one.lower))} to {short(float(one.upper))}" in line for line in lines
        )
        assert any(line.split(maxsplit=1)[1] == one.meaning.item() for line in lines)
    assert "condition number" in out
    assert "Hardest to tell apart" in out


def test_predict_answers_a_file_in_its_order(run):
    code, out, err = run("predict", "model.json", "--runs", "ask.csv", "-o", "answer.csv")
    assert code == 0
    assert "answer.csv, 2 runs" in out
    assert "note" in err  # a column of another name
    rows = answers("answer.csv")
    assert list(rows[0]) == ["N", "B", "K", "loss", "lower", "upper"]
    assert [(row["N"], row["B"], row["K"]) for row in rows] == [("1000000000", "512", "20000"), ("10000000", "100", "2000.5")]
    table = predict(read_model("model.json"), [1e9, 1e7], [512, 100], [2e4, 2000.5])
    for name in ("loss", "lower", "upper"):
        np.testing.assert_allclose([float(row[name]) for row in rows], table[name], rtol=1e-6)
        assert all(len(row[name]) > 7 for row in rows)
    code, out, _ = run("predict", "model.json", "--runs", "ask.csv", "--details")
    assert code == 0
    assert numbers(out)[:4] == ["1e9", "512", "20,000", f"{float(table.loss[0]):.4f}"]
    assert "N above 6.4e7" in out
    how = ["--level", "0.5", "--interval", "bootstrap", "--schedule", "linear", "--warmup", "0.1"]
    assert run("predict", "model.json", "--runs", "ask.csv", *how, "--details", "--force", "-o", "answer.csv")[0] == 0
    rows = answers("answer.csv")
    model, schedule = read_model("model.json"), RunSchedule("linear", 0.1)
    again = predict(model, [1e9, 1e7], [512, 100], [2e4, 2000.5], schedule=schedule, level=0.5, interval="bootstrap")
    assert [row["outside"] for row in rows] == again.outside.values.tolist()
    assert "schedule unseen" in rows[0]["outside"]
    np.testing.assert_allclose([float(row["upper"]) for row in rows], again.upper, rtol=1e-6)


def test_runs_without_a_learning_rate_have_that_of_the_runs_fitted_to(run):
    document = json.loads(Path("model.json").read_text())
    document["learning_rate"] = 2.0
    Path("model.json").write_text(json.dumps(document))
    for rate, column in (("2", ""), ("0.5", ",0.5")):
        Path("one.csv").write_text(f"N,B,K{',learning_rate' if column else ''}\n1e7,64,2e3{column}\n")
        assert run("predict", "model.json", "--runs", "one.csv", "-o", "a.csv", "--force")[0] == 0
        [row] = answers("a.csv")
        table = predict(read_model("model.json"), 1e7, 64, 2e3, learning_rate=float(rate))
        assert float(row["loss"]) == pytest.approx(float(table.loss[0]), rel=1e-6)


def test_predict_tells_of_one_run(run):
    code, out, err = run("predict", "model.json", "--N", "2^30", "--B", "2^9", "--K", "2e4")
    assert (code, err) == (0, "")
    table = predict(read_model("model.json"), 2**30, 2**9, 2e4)
    loss, lower, upper = (float(table[name][0]) for name in ("loss", "lower", "upper"))
    assert f"Loss {loss:.4f} nats, 90% interval {lower:.4f} to {upper:.4f}" in flat(out)
    assert "N 1.074e9 parameters, B 512 examples per update, K 20,000 updates; cosine, warmup 0.01" in flat(out)
    assert "this is extrapolation" in out
    assert "Outside the runs fitted to: N above 6.4e7" in out
    code, out, _ = run("predict", "model.json", "--model-size", "1e7", "--batch-size", "64", "--steps", "1000", "--warmup", "0")
    assert code == 0
    assert "extrapolation" not in out
    assert "cosine, warmup 0.0" in flat(out)


def test_predict_says_what_no_run_supports(run):
    """Schedules that no run had, models far larger, intervals too wide, updates that are not whole."""
    one = ["predict", "model.json", "--N", "1e7", "--B", "64", "--K", "1000"]
    words = ("a schedule that no run had", "hardly tell this loss", "the formula, not the runs", "K is not a whole number")
    assert [word in run(*one)[1] for word in words] == [False] * 4
    assert words[0] in run(*one, "--schedule", "constant")[1]
    assert "N is 15.6 times the largest of the runs fitted to" in run(*one[:3], "1e9", *one[4:])[1]
    assert words[3] in run(*one[:-1], "1000.5")[1]
    Path("some.csv").write_text("N,B,K,schedule\n1e7,64,1000,cosine\n1e7,64,1000,constant\n1e9,64,1000,cosine\n")
    assert (
        "Outside the runs fitted to (in schedule, model size): runs 2, 3"
        in run("predict", "model.json", "--runs", "some.csv")[1]
    )


def test_predict_takes_a_plan(run):
    code, out, _ = run("predict", "model.json", "--N", "1e7", "--plan", "plan.csv")
    assert code == 0
    assert "B 70.4 examples per update, K 1,000 updates; plan.csv, 2 pieces" in flat(out)


def test_plan_prints_and_writes_the_best_run(run):
    code, out, err = run("plan", "model.json", *TIME, "--devices", "4", "--memory", "1e9", "--largest-batch", "2^8", "-o", "p")
    assert (code, err) == (0, "")
    limits = Limits(seconds=3600, step_seconds=StepTime(0.01, 1e-10, 4), memory=1e9, devices=4, largest_batch=256)
    expected = plan(read_model("model.json"), limits, progress=False)
    best, table = expected.best, load_dataset("p.nc")
    assert f"Loss {float(best.loss):.4f} nats" in out
    assert f"N {short(float(best.model_size))} parameters" in out
    np.testing.assert_allclose(table.best_loss, best.loss)
    np.testing.assert_allclose(table.loss, expected.frontier.loss)
    np.testing.assert_allclose(table.gain, expected.prices.gain)
    np.testing.assert_allclose(table.attrs["flat_model_size"], expected.flat["model_size"])
    assert f"{float(expected.prices.loss_if_doubled[0]):.4f}" in out
    for words in (
        "limit ",
        "seconds",
        "memory",
        "multiples of all limits",
        "1/16",
        "At most 1% more loss",
        "critical batch sizes",
    ):
        assert words.lower() in flat(out).lower()
    assert max(map(len, out.splitlines())) <= 80
    assert_picture("p.png")
    assert run("plan", "model.json", "--compute", "1e12", "-o", "p")[0] == 2


def test_plan_with_measured_steps_and_fixed_settings(run):
    fixed = ["--model-size", "1e7", "--batch-size", "2^6", "--schedule", "linear", "--level", "0.5"]
    code, out, _ = run("plan", "model.json", "--seconds", "1e4", "--step-table", "times.csv", *fixed)
    assert code == 0
    limits = Limits(seconds=1e4, step_seconds=StepTable([1e7, 1e7, 1e8], [64, 128, 64], [0.1, 0.2, 1]))
    best = plan(read_model("model.json"), limits, 1e7, 64, RunSchedule("linear", 0.01), level=0.5, progress=False).best
    assert f"Loss {float(best.loss):.4f} nats, 50% interval {float(best.lower):.4f}" in flat(out)
    assert "linear, warmup 0.01" in flat(out)
    assert Path("nqmjax-run-plan.png").exists()


def test_compare_models_prints_and_writes_only_if_asked(run):
    before = contents()
    command = ["compare-models", "runs.csv", "--laws", "chinchilla,kaplan", "--starts", "2"]
    code, out, _ = run(*command)
    assert code == 0
    assert contents() == before
    code, again, _ = run(*command, "-o", "errors.nc")
    assert code == 0
    assert again.split("Typical", 1)[1] == out.split("Typical", 1)[1] + "\nWritten: errors.nc\n"
    table = load_dataset("errors.nc")
    assert table.law.values.tolist() == ["chinchilla", "kaplan", "ensemble"]
    assert all(f"{value**0.5:.2%}" in out for value in table.budget_out.values)


ONE = ["predict", "model.json", "--N", "1e9", "--B", "64", "--K", "1e4"]
ASK = ["predict", "model.json", "--runs", "ask.csv"]
PLAN = ["plan", "model.json"]
FRESH = ["fit", "runs.csv", "-o", "new.json"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["fit", "none.csv", "-o", "new.json"], "none.csv: there is no such file"),
        (["fit", "ask.csv", "-o", "new.json"], "'loss' is missing"),
        ([*FIT, "-o", "model.txt"], "the suffix of --output is '.txt'"),
        (FIT, "model.json: the file exists"),
        ([*FIT, "-o", "nowhere/m.json"], "there is no directory 'nowhere'"),
        ([*FRESH, "--laws", "adm"], "did you mean 'adam'"),
        ([*FRESH, "--laws", ","], "laws is empty"),
        ([*FRESH, "--starts", "0"], "starts is 0: give a whole number, at least 1"),
        ([*FRESH, "--starts", "1.5"], "1.5 is not whole"),
        ([*FRESH, "--seed", "-1"], "seed is -1"),
        ([*FRESH, "--robust", "0"], "robust is 0.0"),
        ([*FRESH, "--schedule", "cosin"], "did you mean 'cosine'"),
        ([*FRESH, "--warmup", "1"], "--warmup is 1.0"),
        ([*FRESH, "--max-loss", "0.1"], "above 0.1"),
        (["compare-models", "none.csv"], "there is no such file"),
        (["compare-models", "runs.csv", "-o", "x.txt"], "the suffix of --output is '.txt'"),
        (["compare-models", "runs.csv", "--laws", "chinchila"], "did you mean 'chinchilla'"),
        (["predict", "none.json", "--N", "1e9"], "there is no such file"),
        (["predict", "runs.csv", *ONE[2:]], "runs.csv"),
        (["predict", "cut.json", *ONE[2:]], "cut.json is damaged"),
        (["predict", "other.json", *ONE[2:]], "this is no file of the format"),
        (["predict", "model.json"], "give --N, --B and --K, or a file of runs with --runs"),
        (["predict", "model.json", "--N", "1e9", "--B", "4"], "K is missing: give --K"),
        (["predict", "model.json", "--N", "1e9", "--B", "0", "--K", "5"], "--batch-size is 0.0"),
        (["predict", "model.json", "--N", "1e9", "--B", "4", "--K", "0.5"], "--steps is 0.5: give the number of"),
        (["predict", "model.json", "--N", "abc"], "--N is 'abc'"),
        (["predict", "model.json", "--N", "1e8,1e9"], "--N is '1e8,1e9'"),
        ([*ONE, "--level", "1.5"], "level is 1.5"),
        ([*ONE, "--interval", "foo"], "--interval"),
        ([*ONE, "--schedule", "cosin"], "did you mean 'cosine'"),
        ([*ONE, "--warmup", "2"], "for a number of updates, divide it by those of the run"),
        ([*ONE, "--learning-rate", "0"], "--learning-rate is 0.0"),
        ([*ONE, "-o", "a.csv"], "only the answers to a file of runs"),
        ([*ONE, "--plan", "plan.csv"], "the plan has its own; leave out --B"),
        (["predict", "model.json", "--plan", "plan.csv"], "N is missing"),
        (["predict", "model.json", "--N", "1e7", "--plan", "none.csv"], "there is no such file"),
        (["predict", "model.json", "--N", "1e7", "--plan", "plan.csv", "--warmup", "0"], "leave out --warmup"),
        ([*ASK, "--N", "5"], "leave out --N"),
        ([*ASK, "-o", "ask.csv", "--force"], "this file is an input"),
        ([*ASK, "-o", "runs.csv"], "the file exists"),
        ([*ASK, "-o", "a.txt"], "give a file whose name ends in .csv"),
        ([*ASK, "-o", "nowhere/a.csv"], "there is no directory"),
        (["predict", "model.json", "--runs", "none.csv"], "there is no such file"),
        (["predict", "model.json", "--runs", "zero.csv"], "zero.csv, row 2, column 'B' is 0.0"),
        (["predict", "model.json", "--runs", "times.csv"], "'K' is missing"),
        (PLAN, "give one of seconds, compute, examples, steps"),
        (["plan", "none.json", "--compute", "1e12"], "there is no such file"),
        (["plan", "cut.json", "--compute", "1e12"], "cut.json is damaged"),
        ([*PLAN, "--seconds", "5"], "give the seconds of a step too"),
        ([*PLAN, "--seconds", "5", "--step-seconds", "1"], "--work-seconds is missing"),
        ([*PLAN, "--seconds", "5", "--step-seconds", "0", "--work-seconds", "0"], "one of the two above 0"),
        ([*PLAN, *TIME, "--step-table", "times.csv"], "leave it or --step-table out"),
        ([*PLAN, "--seconds", "5", "--step-table", "none.csv"], "there is no such file"),
        ([*PLAN, "--seconds", "5", "--step-table", "line.csv"], "on one line"),
        ([*PLAN, "--seconds", "5", "--step-table", "ask.csv"], "'seconds' is missing"),
        ([*PLAN, *TIME, "--devices", "0"], "devices is 0.0"),
        ([*PLAN, "--compute", "1e12", "--memory", "100"], "memory is 100.0"),
        ([*PLAN, "--compute", "1e12", "--parameter-bytes", "2"], "give --memory with it"),
        ([*PLAN, "--compute", "1"], "compute is 1.0: one update"),
        ([*PLAN, "--compute", "0"], "compute is 0.0"),
        ([*PLAN, "--compute", "1e12", "--smallest-model", "1e9", "--largest-model", "1e8"], "give a range that goes up"),
        ([*PLAN, "--compute", "1e12", "--batch-size", "0"], "--batch-size is 0"),
        ([*PLAN, "--compute", "1e12", "--level", "0"], "level is 0.0"),
        ([*PLAN, "--compute", "1e12", "--schedule", "cosin"], "did you mean 'cosine'"),
        ([*PLAN, "--compute", "1e12", "-o", "nowhere/x"], "there is no directory"),
        ([*PLAN, "--compute", "1e12", "-o", "model"], "model.png: the file exists"),
    ],
)
def test_bad_input_is_one_line_that_names_it(run, command, words):
    Path("cut.json").write_bytes(Path("model.json").read_bytes()[:2000])
    Path("other.json").write_text('{"format": "another"}')
    Path("zero.csv").write_text("N,B,K\n1e9,0,2e4\n")
    before = contents()
    code, out, err = run(*command)
    assert (code, out) == (2, "")
    lines = [line for line in err.splitlines() if not line.startswith("nqmjax: note")]
    assert len(lines) == 1
    assert words in lines[0]
    assert contents() == before


def test_output_is_checked_before_the_fit(run, monkeypatch):
    monkeypatch.setattr("nqmjax.runs.fit", lambda *_, **__: pytest.fail("fitted"))
    assert run(*FIT, "-o", "model.json")[0] == 2


def test_a_model_is_kept_whatever_happens_to_its_figures(run, monkeypatch):
    model, before = read_model("model.json"), contents()
    monkeypatch.setattr("nqmjax.runs.fit", lambda *_, **__: model)

    def fail(*_):
        raise ValueError("no space")

    monkeypatch.setattr("nqmjax.figures.write_figure", fail)
    code, out, err = run(*FRESH, "--force")
    assert (code, err) == (2, "nqmjax: no space\n")
    assert "* chosen: adam_constant" in out
    assert set(contents()) == {*before, "new.json"}
    assert repr(read_model("new.json")) == repr(model)


def test_help_has_examples_and_names_the_laws(run):
    for command in ("fit", "predict", "plan", "compare-models"):
        code, out, _ = run(command, "--help")
        assert code == 0
        assert f"nqmjax {command} " in out
    assert all(name.removesuffix("_constant") in LAWS_HELP for name in [*LAWS, *CANDIDATES])
