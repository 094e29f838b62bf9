"""The command line as a fixture."""

import pytest

from nqmjax.cli import main


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the command line in an empty directory; returns the exit code and what went to stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
