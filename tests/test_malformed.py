"""Everything that must be refused is refused: in one line that names it, with exit code 2, and with all files as they were."""

from pathlib import Path

import pytest
from malformed import COMMANDS, FILES, FOLDERS

from nqmjax.cli import main

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
