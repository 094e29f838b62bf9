"""Everything that must be refused is refused: in one line that names it, with exit code 2, and with all files as they were."""

from pathlib import Path

import pytest
from malformed import COMMANDS, FILES, FOLDERS
from malformed_calls import CALLS, CASES, UNCHECKED, call

import nqmjax
from nqmjax.cli.app import main

BATCH = 25


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in FOLDERS:
        Path(name).mkdir()
    for name, content in FILES.items():
        if content is not None:
            Path(name).parent.mkdir(exist_ok=True)
            Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return tmp_path


def contents():
    return {path: path.read_bytes() for path in sorted(Path().rglob("*")) if path.is_file()}


@pytest.mark.parametrize("first", range(0, len(COMMANDS), BATCH))
def test_malformed_commands(folder, capsys, first):
    before, faults = contents(), []
    for command, words in list(COMMANDS.items())[first : first + BATCH]:
        code = main(command.split())
        out, err = capsys.readouterr()
        good = code == 2 and not out and err.startswith("nqmjax: ") and err.count("\n") == 1 and len(err) < 600
        if not good or not all(word in err for word in words):
            faults.append(f"{command}\n    -> {code} {out[:200]} {err.strip()}\n    wanted {words}")
    assert not faults, "\n".join(["", *faults])
    assert contents() == before


def test_there_are_many_of_them():
    assert len(COMMANDS) >= 400


@pytest.mark.parametrize("name", CALLS)
def test_malformed_calls(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    faults = []
    for _, argument, value in [case for case in CASES if case[0] == name]:
        try:
            faults.append(f"{argument}={value!r} is accepted: {call(name, argument, value)!r}"[:300])
        except ValueError as error:
            if "\n" in str(error) or len(str(error)) > 500:
                faults.append(f"{argument}={value!r}: {error}")
        except Exception as error:
            faults.append(f"{argument}={value!r}: {type(error).__name__}: {error}")
    assert not faults, "\n".join(["", *faults])
    assert not list(tmp_path.iterdir())


def test_every_public_name_is_called_or_says_why_not():
    public = {*nqmjax.__all__, *(f"runs.{name}" for name in nqmjax.runs.__all__)}
    for folder in ("schedules", "scaling", "measure", "training", "sweeps"):
        public |= {f"{folder}.{name}" for name in set(getattr(nqmjax, folder).__all__) - set(nqmjax.__all__)}
    assert {*CALLS, *UNCHECKED} == public
    assert len(CASES) > 800
