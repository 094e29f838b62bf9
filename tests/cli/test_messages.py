"""What the command line says of words that it cannot use: on one line, in the words that were typed."""

from pathlib import Path

import pytest

from nqmjax.cli import app
from nqmjax.cli.messages import message_of

COMMANDS = (
    "schedule, store, scaling, figure, sweep, batch-schedule, budget, transfer, noise-scale, fit, predict, plan, "
    "compare-models, measure, pilot, example"
)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("scalling", f"the command is 'scalling': did you mean 'scaling'? choose from {COMMANDS}"),
        ("schedule compear", "the command is 'compear': did you mean 'compare'? choose from compare, optimize, transfer"),
        ("--verbose scaling", "Unknown option: --verbose. See nqmjax --help"),
        ("scaling -o x.csv", "the suffix of --output is '.csv': did you mean "),
        ("pilot -o x.json", "the suffix of --output is '.json': did you mean '.nc'? choose from .nc, .csv, .png, .pdf, .svg"),
        ("scaling extra", "'extra' is one word too many: it takes options only, see nqmjax scaling --help"),
        (
            "transfer adamw runs.csv --to 10",
            "'runs.csv' is one word too many: besides options it takes TUNED, see nqmjax transfer --help",
        ),
        ("scaling --target", "--target has no value: give one, see nqmjax scaling --help"),
        ("scaling --targt 1", "Unknown option: --targt. Did you mean --target?"),
        ("fit", "RUNS is missing: see nqmjax fit --help"),
        ("schedule compare", "--batch-size is missing: see nqmjax schedule compare --help"),
        ("schedule compare --batchsize 4 --steps 4", "--batch-size is missing: did you mean it with --batchsize?"),
        ("transfer", "--to is missing: see nqmjax transfer --help"),
        ("transfer --optimizer adamw --to 9", "--batch-size is missing: give that of the run, or a file of tuned runs"),
        ("fit none.csv", "RUNS is none.csv: there is no such file"),
        ("predict none.json --N 1", "MODEL is none.json: there is no such file"),
        ("noise-scale folder", "LOG is folder: this is a directory; give the name of a file"),
        ("transfer folder --to 9 --optimizer adamw", "TUNED is folder: this is a directory; give the name of a file"),
        ("transfer empty.csv --to 9 --optimizer adamw", "TUNED is empty.csv: the file is empty"),
        ("sweep folder", "SPEC is folder: this is a directory; give the name of a file"),
        ("sweep empty.toml", "SPEC is empty.toml: the file is empty"),
        ("sweep empty.csv", "SPEC is empty.csv: give a file whose name ends in .toml"),
        ("store best none.zarr", "STORE is none.zarr: there is no such directory"),
        ("scaling --spectrum=none.csv", "--spectrum is none.csv: there is no such file"),
        ("scaling -o none/x", "--output is none/x.png: there is no directory 'none'; make it first"),
        ("pilot --batch-sizes 2..1,024", "--batch-sizes is '1,024': write 1024 for one number, or '1 24' with spaces for 2"),
        ("figure no/3a", "NAME is 'no/3a': "),
        ("schedule compare --batch-size 4 --steps 4 --families cosin", "--families is 'cosin': did you mean 'cosine'?"),
        ("predict one.json --N -1 --B 4 --K 4", "MODEL is one.json: there is no such file"),
        ("transfer several.csv --to 9 --optimizer sgd", "a column in several.csv is 'N': a curve is updates to one target, "),
        ("batch-schedule --plan bad.csv", "learning_rate[1] of --plan is -0.1: give a finite rate that is not negative"),
    ],
)
def test_messages_in_the_words_that_were_typed(run, typed, message):
    Path("folder").mkdir()
    for name in ("empty.csv", "empty.toml"):
        Path(name).touch()
    Path("several.csv").write_text("N,batch_size,steps\n1e6,4,100\n1e7,4,90\n")
    Path("bad.csv").write_text("steps,learning_rate,batch_size\n5,0.1,4\n5,-0.1,4\n")
    code, out, err = run(*typed.split())
    assert (code, out) == (2, "")
    assert err.startswith(f"nqmjax: {message}")
    assert err.count("\n") == 1
    assert sorted(path.name for path in Path().iterdir()) == ["bad.csv", "empty.csv", "empty.toml", "folder", "several.csv"]


def test_a_plan_that_is_not_named_takes_a_free_name(run):
    command = ["batch-schedule", "--learning-rate", "0.1", "--steps", "8", "--batch-size", "4", "--dim", "30", "--bins", "10"]
    for stem in ("nqmjax-batch-schedule", "nqmjax-batch-schedule-2"):
        code, out, err = run(*command)
        assert (code, err) == (0, "")
        assert f"Written: {stem}.csv and {stem}.png" in out


@pytest.mark.parametrize(
    ("typed", "error", "message"),
    [
        ("plan m.json --seconds 9", "seconds is 9: give step_seconds too", "--seconds is 9: give --step-seconds too"),
        ("predict m.json --N -1", "model_size is -1: give more", "--N is -1: give more"),
        ("predict m.json --model-size -1", "model_size is -1: give more", "--model-size is -1: give more"),
        ("pilot", "target is 1: give more max_steps", "--target is 1: give more --max-steps"),
        ("pilot", "a column is 'max_steps': rename max_steps.csv", "a column is 'max_steps': rename max_steps.csv"),
        ("schedule transfer", "fixed is 'a': choose from learning_rate", "--fixed is 'a': choose from learning_rate"),
        ("predict m.json --runs a.csv -o a.csv", "path is a.csv: it exists; --force", "--output is a.csv: it exists; --force"),
        ("transfer a.csv --fit f.json", "path is f.json: it exists; --force", "--fit is f.json: it exists; --force"),
        ("transfer a.csv --to 4", "path is a.csv: no such file", "TUNED is a.csv: no such file"),
        ("fit a.csv", "path is model.json: it exists; --force", "--output is model.json: it exists; --force"),
        ("schedule transfer --plan=p.csv", "learning_rate[1] is -1: give more", "learning_rate[1] of --plan is -1: give more"),
    ],
)
def test_arguments_are_named_as_the_options_that_were_typed(typed, error, message):
    assert message_of(ValueError(error), app, typed.split()) == message


def test_what_a_function_of_a_network_returns_is_looked_at(run):
    Path("swapped.py").write_text("def make():\n    return {}, abs, ([1.0], [2.0])\n")
    for command in ("measure", "pilot"):
        code, out, err = run(command, "--model", "swapped.py:make")
        assert (code, out) == (2, "")
        assert err.startswith(
            "nqmjax: what --model swapped.py:make returns first is of type dict: return (loss, params, data) or"
        )


def test_an_input_is_no_output_of_a_prediction(run):
    for name in ("model.json", "ask.csv"):
        Path(name).write_text("N,B,K\n1e6,4,100\n")
    for force in ([], ["--force"]):
        code, _, err = run("predict", "model.json", "--runs", "ask.csv", "-o", "ask.csv", *force)
        assert (code, err) == (2, "nqmjax: --output is ask.csv: this file is an input; give another name\n")
