"""What the command line says of words that it cannot use: on one line, in the words that were typed."""

from pathlib import Path

import pytest

COMMANDS = (
    "schedule, store, scaling, figure, sweep, batch-schedule, budget, transfer, noise-scale, fit, predict, plan, "
    "compare-models, measure, pilot, example"
)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("scalling", f"the command is 'scalling': did you mean 'scaling'? choose from {COMMANDS}"),
        ("schedule compear", "the command is 'compear': did you mean 'compare'? choose from compare, optimize, transfer"),
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
        ("batch-schedule --plan bad.csv", "learning_rate[1] of --plan is -0.1: give a finite rate that is not negative"),
    ],
)
def test_messages_in_the_words_that_were_typed(run, typed, message):
    Path("folder").mkdir()
    for name in ("empty.csv", "empty.toml"):
        Path(name).touch()
    Path("bad.csv").write_text("steps,learning_rate,batch_size\n5,0.1,4\n5,-0.1,4\n")
    code, out, err = run(*typed.split())
    assert (code, out) == (2, "")
    assert err.startswith(f"nqmjax: {message}")
    assert err.count("\n") == 1
    assert sorted(path.name for path in Path().iterdir()) == ["bad.csv", "empty.csv", "empty.toml", "folder"]


def test_a_plan_that_is_not_named_takes_a_free_name(run):
    command = ["batch-schedule", "--learning-rate", "0.1", "--steps", "8", "--batch-size", "4", "--dim", "30", "--bins", "10"]
    for stem in ("nqmjax-batch-schedule", "nqmjax-batch-schedule-2"):
        code, out, err = run(*command)
        assert (code, err) == (0, "")
        assert f"Written: {stem}.csv and {stem}.png" in out
